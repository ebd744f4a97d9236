/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sequences of accesses to chunks, the same at each run. */
#ifndef LOAD_H
#define LOAD_H

#include <stdint.h>

/* Accesses to chunks with the numbers 0..names-1; the first @warm of them are not counted. */
struct load {
	const char *name, *text;
	uint32_t names;
	uint32_t count, warm;
	uint32_t *access;
};

/* One object of so many chunks, as in the study that defined the policy. */
#define LOAD_CHUNKS	300000U

/**
 * load_make - make a load
 * @name: shuffled, cyclic, zipf, or shifting
 * @load: out; load_free() when done
 *
 * Return: 0, -ENOENT no such load, -ENOMEM.
 */
int load_make(const char *name, struct load *load);
void load_free(struct load *load);

/* Random numbers: below @below, from a state that is not 0. */
uint32_t load_random(uint64_t *state, uint32_t below);

#endif /* LOAD_H */
