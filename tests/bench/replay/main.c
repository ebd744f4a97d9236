// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Hit ratios of the module's eviction next to others, and the time of a lookup in
 * its index.
 *
 * usage: replay [-o LINES.json] [-e ENTRIES]
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache.h"
#include "load.h"
#include "lookup.h"

struct result {
	double hits, inserts;	/* in percent of accesses */
};

/* What is wanted of SCD, in percent; 0: nothing. */
struct run {
	const char *load;
	uint32_t percent;	/* slots, of chunks */
	double hits, inserts;
};

static const struct run runs[] = {
	{ "shuffled", 10, 0, 0 }, { "shuffled", 25, 0, 0 }, { "shuffled", 50, 48.5, 3.0 },
	{ "shuffled", 75, 0, 0 }, { "shuffled", 90, 0, 0 },
	{ "cyclic", 10, 0, 0 }, { "cyclic", 25, 0, 0 }, { "cyclic", 50, 46.5, 0 },
	{ "cyclic", 75, 0, 0 }, { "cyclic", 90, 0, 0 },
	{ "zipf", 10, 71.0, 0 }, { "zipf", 25, 0, 0 }, { "zipf", 50, 0, 0 },
	{ "shifting", 10, 64.0, 0 }, { "shifting", 25, 0, 0 }, { "shifting", 50, 0, 0 },
};

static const struct cache_ops *const caches[] = {
	&scd_cache, &lru_cache, &s3fifo_cache, &never_cache,
};

#define CACHES	(sizeof(caches) / sizeof(caches[0]))

void *cache_alloc(uint64_t count, uint64_t size)
{
	void *p = calloc(count, size);

	if (!p)
		errx(1, "out of memory");
	return p;
}

static struct result replay(const struct cache_ops *ops, const struct load *load, uint32_t percent)
{
	uint32_t count[3] = {}, i;
	void *cache = ops->create((uint64_t)load->names * percent / 100, load->names);
	double all = load->count - load->warm;

	for (i = 0; i < load->count; i++) {
		enum access access = ops->access(cache, load->access[i]);

		if (i >= load->warm)
			count[access]++;
	}
	ops->destroy(cache);
	return (struct result){ .hits = 100 * count[HIT] / all,
				.inserts = 100 * count[MISS_KEPT] / all };
}

static void print_lines(FILE *lines, const struct run *run, const struct result *result)
{
	size_t i;

	for (i = 0; lines && i < CACHES; i++) {
		fprintf(lines, "{\"bench\": \"replay\", \"load\": \"%s\", \"slots_percent\": %u, ",
			run->load, run->percent);
		fprintf(lines, "\"policy\": \"%s\", \"hit_percent\": %.2f, \"insert_percent\": %.2f",
			caches[i]->name, result[i].hits, result[i].inserts);
		if (!i && run->hits)
			fprintf(lines, ", \"goal_hit_percent\": %.1f", run->hits);
		if (!i && run->inserts)
			fprintf(lines, ", \"goal_insert_percent\": %.1f", run->inserts);
		fprintf(lines, "}\n");
	}
}

static void print_goal(const struct run *run, const struct result *scd)
{
	if (run->hits)
		printf("  hits >= %.1f: %s", run->hits, scd->hits >= run->hits ? "yes" : "NO");
	if (run->inserts)
		printf(", inserts <= %.1f: %s", run->inserts,
		       scd->inserts <= run->inserts ? "yes" : "NO");
	printf("\n");
}

/* Return: was what is wanted reached? */
static int run_one(const struct run *run, const struct load *load, FILE *lines)
{
	struct result result[CACHES];
	size_t i;

	for (i = 0; i < CACHES; i++)
		result[i] = replay(caches[i], load, run->percent);
	printf("%-20s %3u %%", load->text, run->percent);
	for (i = 0; i < CACHES; i++)
		printf(" %6.1f %5.1f", result[i].hits, result[i].inserts);
	print_goal(run, &result[0]);
	fflush(stdout);
	print_lines(lines, run, result);
	return result[0].hits >= run->hits &&
	       (!run->inserts || result[0].inserts <= run->inserts);
}

static int run_all(FILE *lines)
{
	struct load load = {};
	int good = 1;
	size_t i;

	printf("Hits and inserts, in percent of accesses; %u chunks, slots in percent of them.\n\n",
	       LOAD_CHUNKS);
	printf("%26s", "");
	for (i = 0; i < CACHES; i++)
		printf(" %12s", caches[i]->name);
	printf("\n");
	for (i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		if (!load.name || strcmp(load.name, runs[i].load)) {
			load_free(&load);
			if (load_make(runs[i].load, &load))
				errx(1, "load %s cannot be made", runs[i].load);
		}
		good &= run_one(&runs[i], &load, lines);
	}
	load_free(&load);
	return good;
}

int main(int argc, char **argv)
{
	uint32_t entries = 30000000;
	FILE *lines = NULL;
	int opt, good;

	while ((opt = getopt(argc, argv, "o:e:")) != -1) {
		if (opt == 'o')
			lines = fopen(optarg, "w");
		else if (opt == 'e')
			entries = strtoul(optarg, NULL, 0);
		if (opt == '?' || (opt == 'o' && !lines))
			errx(2, "usage: replay [-o LINES.json] [-e ENTRIES]");
	}
	good = run_all(lines);
	good &= lookup_run(entries, lines);
	if (lines && fclose(lines))
		err(1, "lines not written");
	return good ? 0 : 1;
}
