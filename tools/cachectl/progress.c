// SPDX-License-Identifier: GPL-2.0-or-later
/* Progress on stderr. */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "format.h"
#include "progress.h"

#define DRAW_MS		100
#define LINE_MS		10000
#define SAMPLE_MS	500
#define BAR_MAX		60

uint64_t progress_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void eta_text(char *buf, const struct progress *progress)
{
	uint64_t left = progress->total - progress->shown;

	if (progress->rate < 1)
		snprintf(buf, FMT_SIZE, "-");
	else
		fmt_ms(buf, (uint64_t)((double)left / progress->rate) * 1000);
}

const char *progress_text(char *buf, size_t size, unsigned int width,
			  const struct progress *progress)
{
	char percent[FMT_SIZE], done[FMT_SIZE], total[FMT_SIZE], rate[FMT_SIZE], eta[FMT_SIZE];
	char bar[BAR_MAX + 3] = "", numbers[160];
	size_t used;

	eta_text(eta, progress);
	snprintf(numbers, sizeof(numbers), "%6s  %s of %s  %s/s  ETA %s",
		 fmt_percent(percent, progress->shown, progress->total),
		 fmt_bytes(done, progress->shown), fmt_bytes(total, progress->total),
		 fmt_bytes(rate, (uint64_t)progress->rate), eta);
	used = strlen(numbers) + 5;
	if (width > used + 8)
		fmt_bar(bar, width - used < BAR_MAX ? (unsigned int)(width - used) : BAR_MAX,
			progress->shown, progress->total);
	snprintf(buf, size, "%s%s%s", bar, *bar ? " " : "", numbers);
	return buf;
}

void progress_rate(struct progress *progress, uint64_t now)
{
	uint64_t ms = now - progress->sampled_at;
	double sample;

	if (ms < SAMPLE_MS)
		return;
	sample = (double)(progress->shown - progress->sampled) * 1000 / (double)ms;
	progress->rate = progress->rate > 0 ? progress->rate * 0.8 + sample * 0.2 : sample;
	progress->sampled = progress->shown;
	progress->sampled_at = now;
}

static unsigned int columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

static void draw(struct progress *progress, uint64_t now)
{
	char line[256];

	if (now - progress->drawn_at < (progress->terminal ? DRAW_MS : LINE_MS))
		return;
	progress->drawn_at = now;
	if (progress->terminal)
		fprintf(stderr, "\r%s\033[K", progress_text(line, sizeof(line), columns() - 1,
							    progress));
	else
		fprintf(stderr, "%s\n", progress_text(line, sizeof(line), 0, progress));
	fflush(stderr);
}

void progress_begin(struct progress *progress, uint64_t total, uint64_t done)
{
	uint64_t now = progress_clock();

	*progress = (struct progress){
		.terminal = isatty(STDERR_FILENO), .total = total, .shown = done, .sampled = done,
		.begun = now, .sampled_at = now, .drawn_at = now,
	};
}

void progress_update(struct progress *progress, uint64_t done)
{
	uint64_t now = progress_clock();

	if (done > progress->total)
		done = progress->total;
	if (done > progress->shown)
		progress->shown = done;
	progress_rate(progress, now);
	draw(progress, now);
}

void progress_end(struct progress *progress)
{
	if (progress->terminal)
		fprintf(stderr, "\r\033[K");
}
