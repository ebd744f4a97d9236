// SPDX-License-Identifier: GPL-2.0-or-later
/* The loads, see load.h. Rounds are of as many accesses as there are chunks. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define ROUNDS		8
#define WARM_ROUNDS	2

uint32_t load_random(uint64_t *state, uint32_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state >> 32) * below >> 32;
}

static void shuffle(uint32_t *list, uint32_t count, uint64_t *state)
{
	uint32_t i, j, x;

	for (i = count; i > 1; i--) {
		j = load_random(state, i);
		x = list[i - 1];
		list[i - 1] = list[j];
		list[j] = x;
	}
}

static void in_order(uint32_t *list, uint32_t count, uint32_t first)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		list[i] = first + i;
}

/* Each round reads each chunk once, in a new order. */
static void make_shuffled(struct load *load, uint64_t *state)
{
	uint32_t i;

	for (i = 0; i < load->count; i += load->names) {
		in_order(load->access + i, load->names, 0);
		shuffle(load->access + i, load->names, state);
	}
}

/* Each round reads each chunk once, in the same order. */
static void make_cyclic(struct load *load, uint64_t *state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < load->count; i += load->names)
		in_order(load->access + i, load->names, 0);
}

#define ZIPF_EXPONENT	0.9
/* As in the study, ranks are scattered over the chunks at random, so that some have several. */
#define SHIFT_ROUNDS	2	/* after so many all is scattered anew */

struct zipf {
	uint32_t ranks;
	double *sum;		/* of the probabilities up to this rank */
	uint32_t *name;		/* of this rank */
};

static void scatter(struct zipf *zipf, uint64_t *state)
{
	uint32_t i;

	for (i = 0; i < zipf->ranks; i++)
		zipf->name[i] = load_random(state, zipf->ranks);
}

static int zipf_init(struct zipf *zipf, uint32_t ranks, uint64_t *state)
{
	double sum = 0;
	uint32_t i;

	zipf->ranks = ranks;
	zipf->sum = malloc(ranks * sizeof(*zipf->sum));
	zipf->name = malloc(ranks * sizeof(*zipf->name));
	if (!zipf->sum || !zipf->name)
		return -ENOMEM;
	for (i = 0; i < ranks; i++) {
		sum += pow(i + 1, -ZIPF_EXPONENT);
		zipf->sum[i] = sum;
	}
	scatter(zipf, state);
	return 0;
}

static void zipf_free(struct zipf *zipf)
{
	free(zipf->sum);
	free(zipf->name);
}

static uint32_t zipf_draw(const struct zipf *zipf, uint64_t *state)
{
	double x = (load_random(state, 1U << 31) + 0.5) / (1U << 31) * zipf->sum[zipf->ranks - 1];
	uint32_t low = 0, high = zipf->ranks - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (zipf->sum[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return zipf->name[low];
}

static void draw_all(struct load *load, uint32_t shift_after, uint64_t *state)
{
	struct zipf zipf = {};
	uint32_t i;

	if (zipf_init(&zipf, load->names, state)) {
		load_free(load);
	} else {
		for (i = 0; i < load->count; i++) {
			if (i && i % shift_after == 0)
				scatter(&zipf, state);
			load->access[i] = zipf_draw(&zipf, state);
		}
	}
	zipf_free(&zipf);
}

/* Independent draws. */
static void make_zipf(struct load *load, uint64_t *state)
{
	draw_all(load, load->count, state);
}

/* The same, and from time to time other chunks are the popular ones. */
static void make_shifting(struct load *load, uint64_t *state)
{
	draw_all(load, SHIFT_ROUNDS * load->names, state);
}

static const struct {
	const char *name, *text;
	void (*make)(struct load *load, uint64_t *state);
} loads[] = {
	{ "shuffled", "epochs, shuffled", make_shuffled },
	{ "cyclic", "epochs, same order", make_cyclic },
	{ "zipf", "Zipf 0.9", make_zipf },
	{ "shifting", "Zipf 0.9, shifting", make_shifting },
};

int load_make(const char *name, struct load *load)
{
	uint64_t state = 0x5eed0001;
	size_t i;

	memset(load, 0, sizeof(*load));
	for (i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
		if (!strcmp(name, loads[i].name))
			break;
	if (i == sizeof(loads) / sizeof(loads[0]))
		return -ENOENT;
	load->name = loads[i].name;
	load->text = loads[i].text;
	load->names = LOAD_CHUNKS;
	load->count = ROUNDS * LOAD_CHUNKS;
	load->warm = WARM_ROUNDS * LOAD_CHUNKS;
	load->access = malloc(load->count * sizeof(*load->access));
	if (load->access)
		loads[i].make(load, &state);
	return load->access ? 0 : -ENOMEM;
}

void load_free(struct load *load)
{
	free(load->access);
	load->access = NULL;
}
