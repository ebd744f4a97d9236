/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Caches of whole chunks that are compared with each other. */
#ifndef CACHE_H
#define CACHE_H

#include <stdint.h>

enum access { MISS_KEPT, MISS_PASSED, HIT };

/**
 * struct cache_ops - one policy
 * @name: for the table
 * @create: an empty cache of @slots chunks, of names below @names; exits if there is no memory
 * @access: read a chunk
 * @destroy: free it
 */
struct cache_ops {
	const char *name;
	void *(*create)(uint32_t slots, uint32_t names);
	enum access (*access)(void *cache, uint32_t name);
	void (*destroy)(void *cache);
};

extern const struct cache_ops scd_cache, lru_cache, s3fifo_cache, never_cache;

/* Zeroed memory, or exit. */
void *cache_alloc(uint64_t count, uint64_t size);

#endif /* CACHE_H */
