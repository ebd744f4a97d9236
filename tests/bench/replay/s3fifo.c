// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * S3-FIFO: a small queue of a tenth of the slots, a main queue, and the names of what
 * left the small one unused. Used twice in the small queue leads to the main one.
 */
#include <stdlib.h>

#include "cache.h"

enum where { NOWHERE, SMALL, MAIN };

#define SMALL_PERCENT	10
#define USES_TO_MAIN	2
#define USES_MAX	3

struct queue {
	uint32_t *name;
	uint32_t size, head, used;
};

struct entry {
	uint8_t where, uses, remembered;
};

struct s3fifo {
	uint32_t slots;
	struct queue small, main, ghost;
	struct entry *entry;	/* by name */
};

static void queue_init(struct queue *queue, uint32_t size)
{
	queue->size = size;
	queue->head = 0;
	queue->used = 0;
	queue->name = cache_alloc(size, sizeof(*queue->name));
}

static void push(struct queue *queue, uint32_t name)
{
	queue->name[(queue->head + queue->used++) % queue->size] = name;
}

static uint32_t pop(struct queue *queue)
{
	uint32_t name = queue->name[queue->head];

	queue->head = (queue->head + 1) % queue->size;
	queue->used--;
	return name;
}

static void *create(uint32_t slots, uint32_t names)
{
	struct s3fifo *s3 = cache_alloc(1, sizeof(*s3));

	s3->slots = slots;
	queue_init(&s3->small, slots);
	queue_init(&s3->main, slots);
	queue_init(&s3->ghost, slots - slots * SMALL_PERCENT / 100);
	s3->entry = cache_alloc(names, sizeof(*s3->entry));
	return s3;
}

static void destroy(void *cache)
{
	struct s3fifo *s3 = cache;

	free(s3->small.name);
	free(s3->main.name);
	free(s3->ghost.name);
	free(s3->entry);
	free(s3);
}

static void enter(struct s3fifo *s3, uint32_t name, enum where where)
{
	push(where == MAIN ? &s3->main : &s3->small, name);
	s3->entry[name].where = where;
	s3->entry[name].uses = 0;
}

static void remember(struct s3fifo *s3, uint32_t name)
{
	uint32_t old;

	if (s3->ghost.used == s3->ghost.size) {
		old = pop(&s3->ghost);
		s3->entry[old].remembered--;
	}
	push(&s3->ghost, name);
	s3->entry[name].remembered++;
}

static void evict_main(struct s3fifo *s3)
{
	uint32_t name = pop(&s3->main);

	while (s3->entry[name].uses) {
		s3->entry[name].uses--;
		push(&s3->main, name);
		name = pop(&s3->main);
	}
	s3->entry[name].where = NOWHERE;
}

static void evict(struct s3fifo *s3)
{
	uint32_t name;

	while (s3->small.used && s3->small.used >= s3->slots * SMALL_PERCENT / 100) {
		name = pop(&s3->small);
		if (s3->entry[name].uses < USES_TO_MAIN) {
			s3->entry[name].where = NOWHERE;
			remember(s3, name);
			return;
		}
		enter(s3, name, MAIN);
	}
	evict_main(s3);
}

static enum access access_chunk(void *cache, uint32_t name)
{
	struct s3fifo *s3 = cache;
	struct entry *entry = &s3->entry[name];

	if (entry->where != NOWHERE) {
		if (entry->uses < USES_MAX)
			entry->uses++;
		return HIT;
	}
	if (s3->small.used + s3->main.used == s3->slots)
		evict(s3);
	enter(s3, name, entry->remembered ? MAIN : SMALL);
	return MISS_KEPT;
}

const struct cache_ops s3fifo_cache = { "S3-FIFO", create, access_chunk, destroy };
