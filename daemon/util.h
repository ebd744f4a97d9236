/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BC_UTIL_H
#define BC_UTIL_H

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define BC_COUNT(array)	(sizeof(array) / sizeof((array)[0]))

/* Monotonic milliseconds. */
static inline int64_t bc_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline uint64_t bc_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

unsigned int bc_random_below(unsigned int limit);

#endif /* BC_UTIL_H */
