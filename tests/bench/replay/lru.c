// SPDX-License-Identifier: GPL-2.0-or-later
/* Least recently used goes first. */
#include <stdlib.h>

#include "cache.h"

#define NONE	UINT32_MAX

struct node {
	uint32_t next, prev;
	int cached;
};

struct lru {
	uint32_t slots, used, newest, oldest;
	struct node *node;	/* by name */
};

static void *create(uint32_t slots, uint32_t names)
{
	struct lru *lru = cache_alloc(1, sizeof(*lru));

	lru->slots = slots;
	lru->newest = NONE;
	lru->oldest = NONE;
	lru->node = cache_alloc(names, sizeof(*lru->node));
	return lru;
}

static void destroy(void *cache)
{
	struct lru *lru = cache;

	free(lru->node);
	free(lru);
}

static void add(struct lru *lru, uint32_t name)
{
	struct node *node = &lru->node[name];

	node->cached = 1;
	node->prev = NONE;
	node->next = lru->newest;
	if (lru->newest != NONE)
		lru->node[lru->newest].prev = name;
	else
		lru->oldest = name;
	lru->newest = name;
	lru->used++;
}

static void del(struct lru *lru, uint32_t name)
{
	struct node *node = &lru->node[name];

	node->cached = 0;
	if (node->prev != NONE)
		lru->node[node->prev].next = node->next;
	else
		lru->newest = node->next;
	if (node->next != NONE)
		lru->node[node->next].prev = node->prev;
	else
		lru->oldest = node->prev;
	lru->used--;
}

static enum access access_chunk(void *cache, uint32_t name)
{
	struct lru *lru = cache;
	enum access access = lru->node[name].cached ? HIT : MISS_KEPT;

	if (access == HIT)
		del(lru, name);
	else if (lru->used == lru->slots)
		del(lru, lru->oldest);
	add(lru, name);
	return access;
}

const struct cache_ops lru_cache = { "LRU", create, access_chunk, destroy };
