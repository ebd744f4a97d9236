// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl stats: all counters. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cachectl.h"
#include "counters.h"
#include "fields.h"
#include "format.h"
#include "netlink.h"
#include "output.h"

static const char *show(char *buf, const struct stat_field *field, uint64_t value)
{
	return field->unit == STAT_BYTES ? fmt_bytes(buf, value) : fmt_count(buf, value);
}

static void render_line(FILE *stream, const struct stat_field *field, const json_t *now,
			const json_t *before, uint64_t ms)
{
	uint64_t value = out_num(now, field->name), rate;
	char text[FMT_SIZE], per_second[FMT_SIZE];

	fprintf(stream, "  %-18s %-33s %14s", field->name, field->label, show(text, field, value));
	if (before && ms) {
		rate = (value - out_num(before, field->name)) * 1000 / ms;
		fprintf(stream, " %12s/s", show(per_second, field, rate));
	}
	fputc('\n', stream);
}

/* Groups appear in the order of their first counter. */
static bool first_of_group(size_t index)
{
	size_t i;

	for (i = 0; i < index; i++)
		if (stat_fields[i].name && !strcmp(stat_fields[i].group, stat_fields[index].group))
			return false;
	return true;
}

static void render_group(FILE *stream, const char *group, const json_t *now, const json_t *before,
			 uint64_t ms)
{
	size_t i;

	fprintf(stream, "%s%s%s\n", out_paint(stream, OUT_BOLD), group,
		out_paint(stream, OUT_PLAIN));
	for (i = 0; i <= BC_STAT_MAX; i++)
		if (stat_fields[i].name && !strcmp(stat_fields[i].group, group) &&
		    json_object_get(now, stat_fields[i].name))
			render_line(stream, &stat_fields[i], now, before, ms);
}

void stats_render(FILE *stream, const json_t *now, const json_t *before, uint64_t ms)
{
	size_t i;

	for (i = 0; i <= BC_STAT_MAX; i++)
		if (stat_fields[i].name && first_of_group(i))
			render_group(stream, stat_fields[i].group, now, before, ms);
}

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int show_once(const json_t *now, const json_t *before, uint64_t ms, bool watch)
{
	if (ctl.json)
		return out_json(stdout, json_incref((json_t *)now), watch ? JSON_COMPACT : 0);
	if (watch && isatty(STDOUT_FILENO))
		printf("\033[H\033[2J");
	else if (before)
		putchar('\n');
	stats_render(stdout, now, before, ms);
	return fflush(stdout) ? CTL_FAILED : CTL_OK;
}

/* @every: milliseconds; 0 = once. Ends by a signal, or when nobody reads any more. */
static int watch(struct bcnl *nl, uint64_t every)
{
	struct timespec pause = { (time_t)(every / 1000), (long)(every % 1000) * 1000000 };
	json_t *now = NULL, *before = NULL;
	uint64_t at, last = 0;
	int rc;

	do {
		if (bcnl_get(nl, BC_CMD_STATS_GET, BC_A_STATS, &now)) {
			rc = bcnl_failed(nl, "");
			break;
		}
		at = clock_ms();
		rc = show_once(now, before, at - last, every != 0);
		json_decref(before);
		before = now;
		last = at;
	} while (!rc && every && !nanosleep(&pause, NULL));
	json_decref(before);
	return rc;
}

static int run_stats(const struct command *cmd, int argc, char **argv)
{
	uint64_t every = 0;
	struct bcnl *nl;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		if (parse_ms(optarg, &every) || every < 100)
			return ctl_usage("--watch: '%s' is not a time of at least 0.1 s", optarg);
	if (optind != argc)
		return ctl_usage("%s: takes no arguments", ctl.path);
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = watch(nl, every);
	bcnl_close(nl);
	return rc;
}

static const struct option options[] = {
	{ "watch", required_argument, NULL, 'w' },
	{ 0 }
};

const struct command cmd_stats = {
	.name = "stats",
	.summary = "all counters since the module was loaded",
	.usage = "[--watch SECONDS]",
	.options = options,
	.run = run_stats,
	.help =
"\n"
"Options\n"
"  -w, --watch SECONDS  again and again, with rates\n"
"      --json           one flat object of integers (with --watch one per line)\n"
"\n"
"Examples\n"
"  cachectl stats\n"
"  cachectl stats --watch 2\n"
"  cachectl stats --json | jq '.hit_bytes / (.hit_bytes + .miss_bytes)'\n",
};
