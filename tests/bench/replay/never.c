// SPDX-License-Identifier: GPL-2.0-or-later
/* What came first stays: the best there is for epochs over one set, and bad for all else. */
#include <stdlib.h>

#include "cache.h"

struct never {
	uint32_t free;
	uint8_t *cached;	/* by name */
};

static void *create(uint32_t slots, uint32_t names)
{
	struct never *never = cache_alloc(1, sizeof(*never));

	never->free = slots;
	never->cached = cache_alloc(names, 1);
	return never;
}

static void destroy(void *cache)
{
	struct never *never = cache;

	free(never->cached);
	free(never);
}

static enum access access_chunk(void *cache, uint32_t name)
{
	struct never *never = cache;

	if (never->cached[name])
		return HIT;
	if (!never->free)
		return MISS_PASSED;
	never->free--;
	never->cached[name] = 1;
	return MISS_KEPT;
}

const struct cache_ops never_cache = { "never evict", create, access_chunk, destroy };
