// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dirty objects of a lane.
 *
 * Events and dumps come on two sockets, so what is told may be older than what is known: the step,
 * which grows with each change of an object, says so.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/lane.h"
#include "log.h"
#include "util.h"

#define DELAY_MAX_MS	5000		/* and what is configured, once more */

static struct bc_bucket *bucket(struct bc_lane *lane, const uint8_t *generation)
{
	uint32_t hash;

	/* They are random. */
	memcpy(&hash, generation, sizeof(hash));
	return &lane->buckets[hash % BC_ENTRY_BUCKETS];
}

/**
 * bc_entry_find - the entry of an object, or NULL
 * @lane: where
 * @generation: of the object
 */
struct bc_entry *bc_entry_find(struct bc_lane *lane, const uint8_t *generation)
{
	struct bc_entry *entry;

	LIST_FOREACH(entry, bucket(lane, generation), same_hash)
		if (!memcmp(entry->told.generation, generation, BC_GENERATION_SIZE))
			return entry;
	return NULL;
}

/**
 * bc_entry_pending - whether the store is to get it, as it is now
 * @entry: the object
 */
bool bc_entry_pending(const struct bc_entry *entry)
{
	const struct bc_dirty_told *told = &entry->told;

	/* One that was being written when the node went down is somebody's to finish. */
	return entry->store && told->step && !entry->aside &&
	       (told->state == BC_NAME_READY ||
		(told->state == BC_NAME_WRITING && entry->renamed));
}

static bool is_older(const struct bc_dirty_told *a, const struct bc_dirty_told *b)
{
	return a->mtime < b->mtime || (a->mtime == b->mtime && a->mtime_ns < b->mtime_ns);
}

/* Of those that a dump brings nobody knows when they were closed: when they were written, then. */
static void insert(struct bc_lane *lane, struct bc_entry *entry)
{
	struct bc_entry *after = TAILQ_LAST(&lane->entries, bc_entries);

	while (entry->found && after && after->found && is_older(&entry->told, &after->told))
		after = TAILQ_PREV(after, bc_entries, link);
	if (after)
		TAILQ_INSERT_AFTER(&lane->entries, after, entry, link);
	else
		TAILQ_INSERT_HEAD(&lane->entries, entry, link);
}

static struct bc_entry *add(struct bc_lane *lane, struct bc_news *news)
{
	struct bc_entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->told = news->told;
	news->told.source = NULL;
	news->told.path = NULL;
	news->told.device = NULL;
	entry->found = news->dump || news->told.acked_etag[0];
	entry->since_ms = bc_now_ms();
	entry->changed_ms = entry->since_ms;
	entry->due_ms = entry->since_ms + lane->config->delay_ms;
	LIST_INSERT_HEAD(bucket(lane, entry->told.generation), entry, same_hash);
	insert(lane, entry);
	return entry;
}

/* By the name that it had there is a version of it, perhaps. */
static void rename_entry(struct bc_lane *lane, struct bc_entry *entry)
{
	if (entry->upload && !bc_upload_may_show(entry->upload))
		bc_run_cancel(lane, entry);
	if (entry->store && entry->told.base == BC_BASE_ETAG && entry->told.acked_etag[0])
		bc_undo_add(lane, entry, entry->told.path, entry->told.acked_etag);
	entry->renamed = true;
	entry->has_base = false;
}

static void change(struct bc_lane *lane, struct bc_entry *entry, struct bc_news *news)
{
	bool was_there = entry->told.state == BC_NAME_COMMITTED;

	if (strcmp(entry->told.path, news->told.path))
		rename_entry(lane, entry);
	free(entry->told.source);
	free(entry->told.path);
	free(entry->told.device);
	entry->told = news->told;
	news->told.source = NULL;
	news->told.path = NULL;
	news->told.device = NULL;
	if (entry->told.state == BC_NAME_COMMITTED)
		return;
	free(entry->aside);
	entry->aside = NULL;
	entry->tries = 0;
	entry->changed_ms = bc_now_ms();
	if (was_there)
		entry->since_ms = entry->changed_ms;
	/* One that changes all the time has its turn, too. */
	if (entry->changed_ms < entry->since_ms + DELAY_MAX_MS)
		entry->due_ms = entry->changed_ms + lane->config->delay_ms;
	TAILQ_REMOVE(&lane->entries, entry, link);
	TAILQ_INSERT_TAIL(&lane->entries, entry, link);
}

/* A reload of the configuration brings others. */
static void set_store(struct bc_entry *entry, struct bc_news *news)
{
	struct bc_store *old = entry->store;

	if (entry->upload && news->store && news->store != old)
		bc_upload_set_store(entry->upload, news->store);
	entry->store = news->store;
	news->store = old;
	free(entry->why);
	entry->why = news->why;
	news->why = NULL;
}

/**
 * bc_entry_take - the kernel tells of an object
 * @lane: whose source it is of
 * @news: what it tells; emptied
 */
void bc_entry_take(struct bc_lane *lane, struct bc_news *news)
{
	struct bc_entry *entry = bc_entry_find(lane, news->told.generation);

	lane->look = true;
	lane->to_tell = true;
	if (!entry) {
		entry = add(lane, news);
		if (!entry)
			return;		/* the next dump brings it again */
	} else if (news->told.step > entry->told.step && news->told.step > entry->flushed_step) {
		change(lane, entry, news);
	} else if (news->told.step == entry->told.step) {
		entry->told.writers = news->told.writers;
	}
	entry->round = lane->round ? lane->round : entry->round;
	set_store(entry, news);
}

/**
 * bc_entry_forget - the object is gone
 * @lane: where
 * @entry: freed; its upload is ended
 */
void bc_entry_forget(struct bc_lane *lane, struct bc_entry *entry)
{
	lane->to_tell = true;
	bc_past_add(lane, entry);
	TAILQ_REMOVE(&lane->entries, entry, link);
	LIST_REMOVE(entry, same_hash);
	bc_store_put(entry->store);
	free(entry->told.source);
	free(entry->told.path);
	free(entry->told.device);
	free(entry->why);
	free(entry->aside);
	free(entry->marked);
	free(entry);
}

/**
 * bc_entry_sweep - a dump was complete: what it did not have is no dirty object any more
 * @lane: where
 *
 * What is being uploaded is found out at its end.
 */
void bc_entry_sweep(struct bc_lane *lane)
{
	struct bc_entry *entry, *next;

	for (entry = TAILQ_FIRST(&lane->entries); entry; entry = next) {
		next = TAILQ_NEXT(entry, link);
		if (entry->round != lane->round && !entry->upload)
			bc_entry_forget(lane, entry);
	}
}
