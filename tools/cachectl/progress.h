/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Progress on stderr: a bar on a terminal, else a line every ten seconds. */
#ifndef CACHECTL_PROGRESS_H
#define CACHECTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct progress - state between two updates
 * @terminal: draw a bar
 * @total: bytes to be done
 * @shown: bytes at the last drawing; never goes back
 * @sampled: bytes when the rate was last looked at
 * @begun: monotonic milliseconds
 * @sampled_at: likewise, of the rate
 * @drawn_at: likewise, of the drawing
 * @rate: bytes per second, smoothed
 */
struct progress {
	bool terminal;
	uint64_t total, shown, sampled;
	uint64_t begun, sampled_at, drawn_at;
	double rate;
};

/* progress_clock - monotonic milliseconds */
uint64_t progress_clock(void);

/**
 * progress_text - one line
 * @buf: out
 * @size: of @buf
 * @width: columns to fill with a bar; 0 = no bar
 * @progress: state
 * Return: @buf
 */
const char *progress_text(char *buf, size_t size, unsigned int width,
			  const struct progress *progress);

/* progress_rate - take a sample at @now; pure */
void progress_rate(struct progress *progress, uint64_t now);

void progress_begin(struct progress *progress, uint64_t total, uint64_t done);

/* progress_update - tell that @done bytes are done; draws at most ten times a second */
void progress_update(struct progress *progress, uint64_t done);

/* progress_end - clear the bar */
void progress_end(struct progress *progress);

#endif /* CACHECTL_PROGRESS_H */
