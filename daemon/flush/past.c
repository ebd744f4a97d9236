// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Objects that are gone, and what the store may have of them: a file that is removed right after
 * it was committed is not found by the lower, perhaps, and its blob stays. Who writes a file of
 * that name next may replace it: it is nobody else's.
 */
#include <stdlib.h>
#include <string.h>

#include "flush/lane.h"

#define PAST_MAX	4096U		/* the oldest ones are forgotten */

static void forget(struct bc_lane *lane, struct bc_past *past)
{
	TAILQ_REMOVE(&lane->past, past, link);
	lane->past_count--;
	free(past->source);
	free(past->path);
	free(past);
}

/**
 * bc_past_add - an object is gone
 * @lane: where
 * @entry: of it
 */
void bc_past_add(struct bc_lane *lane, const struct bc_entry *entry)
{
	struct bc_past *past;

	if (!entry->store || entry->told.base != BC_BASE_ETAG)
		return;
	past = calloc(1, sizeof(*past));
	if (!past)
		return;
	past->source = strdup(entry->store->source);
	past->path = strdup(entry->told.path);
	memcpy(past->generation, entry->told.generation, sizeof(past->generation));
	TAILQ_INSERT_HEAD(&lane->past, past, link);
	lane->past_count++;
	if (!past->source || !past->path)
		forget(lane, past);
	else if (lane->past_count > PAST_MAX)
		forget(lane, TAILQ_LAST(&lane->past, bc_pasts));
}

/* An object that another one has the name of is gone, whether that was told or not. */
static const uint8_t *find_entry(const struct bc_lane *lane, const struct bc_entry *entry)
{
	const struct bc_entry *other;

	for (other = TAILQ_FIRST(&lane->entries); other; other = TAILQ_NEXT(other, link))
		if (other != entry && other->store && other->told.base == BC_BASE_ETAG &&
		    !strcmp(other->told.path, entry->told.path) &&
		    !strcmp(other->store->source, entry->store->source))
			return other->told.generation;
	return NULL;
}

/**
 * bc_past_find - whose version may lie where an object is to be
 * @lane: where
 * @entry: of the object
 *
 * Returns its generation, or NULL.
 */
const uint8_t *bc_past_find(const struct bc_lane *lane, const struct bc_entry *entry)
{
	const uint8_t *generation = find_entry(lane, entry);
	const struct bc_past *past;

	if (generation)
		return generation;
	for (past = TAILQ_FIRST(&lane->past); past; past = TAILQ_NEXT(past, link))
		if (!strcmp(past->path, entry->told.path) &&
		    !strcmp(past->source, entry->store->source))
			return past->generation;
	return NULL;
}

/**
 * bc_past_free - forget all
 * @lane: where
 */
void bc_past_free(struct bc_lane *lane)
{
	while (!TAILQ_EMPTY(&lane->past))
		forget(lane, TAILQ_FIRST(&lane->past));
}
