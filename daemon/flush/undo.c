// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What was committed under a name that its file has lost meanwhile is deleted again, on condition
 * that it is still that version: somebody else's is not touched. Nothing is uploaded to the name
 * before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/lane.h"
#include "flush/mark.h"
#include "log.h"
#include "store/meta.h"
#include "util.h"

#define AGAIN_MS	1000U
#define AGAIN_MAX_MS	30000U
#define IDLE_MS		60000
#define CONNECT_MS	5000
#define STALL_MS	30000

static void on_end(struct bc_transfer *transfer)
{
	((struct bc_undo *)transfer)->ended = true;
}

static const struct bc_transfer_ops undo_ops = { .end = on_end };

static struct bc_undo *add(struct bc_lane *lane, struct bc_store *store, const char *path,
			   const uint8_t *generation)
{
	struct bc_undo *undo = calloc(1, sizeof(*undo));
	char text[1024];

	if (undo)
		undo->path = strdup(path);
	if (!undo || !undo->path) {
		bc_error("%s %s: out of memory; delete it, the file has another name or is gone",
			 store->source, bc_escape(text, sizeof(text), path));
		free(undo);
		return NULL;
	}
	memcpy(undo->generation, generation, sizeof(undo->generation));
	undo->transfer = (struct bc_transfer){
		.store = bc_store_get(store),
		.ops = &undo_ops,
		.path = undo->path,
		.connect_timeout_ms = CONNECT_MS,
		.stall_timeout_ms = STALL_MS,
	};
	TAILQ_INSERT_TAIL(&lane->undos, undo, link);
	lane->look = true;
	return undo;
}

/**
 * bc_undo_add - delete a version
 * @lane: where
 * @entry: of which it is
 * @path: the name that it does not have any more
 * @etag: the version; NULL = whatever there is of it
 */
void bc_undo_add(struct bc_lane *lane, const struct bc_entry *entry, const char *path,
		 const char *etag)
{
	struct bc_mark mark = {
		.source = entry->told.source,
		.device = entry->told.device,
		.path = path,
	};
	struct bc_undo *undo = add(lane, entry->store, path, entry->told.generation);

	/* If we are killed now who comes next knows. */
	memcpy(mark.generation, entry->told.generation, sizeof(mark.generation));
	bc_mark_set(lane->marks, &mark);
	if (!undo)
		return;
	undo->look = !etag;
	if (etag)
		snprintf(undo->object.etag, sizeof(undo->object.etag), "%s", etag);
}

/**
 * bc_undo_marked - delete a version, if its object does not have that name any more
 * @lane: where
 * @news: the mark, with its store
 */
void bc_undo_marked(struct bc_lane *lane, struct bc_news *news)
{
	const struct bc_entry *entry = bc_entry_find(lane, news->told.generation);
	struct bc_undo *undo;

	/* Else its upload sees what is there, and clears the mark. */
	if (entry && !strcmp(entry->told.path, news->told.path) &&
	    entry->told.state != BC_NAME_COMMITTED)
		return;
	if (entry && !strcmp(entry->told.path, news->told.path)) {
		bc_mark_clear(lane->marks, news->told.generation, news->told.path);
		return;
	}
	undo = add(lane, news->store, news->told.path, news->told.generation);
	if (undo)
		undo->look = true;
}

static void undo_free(struct bc_lane *lane, struct bc_undo *undo)
{
	TAILQ_REMOVE(&lane->undos, undo, link);
	bc_store_put(undo->transfer.store);
	free(undo->path);
	free(undo);
	lane->look = true;
}

/**
 * bc_undo_busy - whether a name waits for its version to be deleted
 * @lane: where
 * @source: of the store
 * @path: the name
 */
bool bc_undo_busy(const struct bc_lane *lane, const char *source, const char *path)
{
	const struct bc_undo *undo;

	TAILQ_FOREACH(undo, &lane->undos, link)
		if (!strcmp(undo->path, path) && !strcmp(undo->transfer.store->source, source))
			return true;
	return false;
}

static bool is_settled(const struct bc_transfer *transfer)
{
	enum bc_answer answer = transfer->result.answer;

	if (transfer->verb == BC_VERB_HEAD)
		return transfer->result.status == BC_DONE_GONE;
	return answer == BC_ANSWER_DONE || answer == BC_ANSWER_GONE ||
	       answer == BC_ANSWER_CONDITION || answer == BC_ANSWER_NO_CONTAINER;
}

static void settle(struct bc_lane *lane, struct bc_undo *undo)
{
	bc_mark_clear(lane->marks, undo->generation, undo->path);
	lane->to_tell = true;
	undo_free(lane, undo);
}

/* Ours goes; anything else stays. */
static void looked(struct bc_lane *lane, struct bc_undo *undo)
{
	const struct bc_meta *meta = &undo->transfer.meta;

	undo->object = undo->transfer.object;
	undo->look = false;
	if (!bc_meta_ours(meta) ||
	    memcmp(meta->generation, undo->generation, BC_GENERATION_SIZE))
		settle(lane, undo);
}

static void collect(struct bc_lane *lane, struct bc_undo *undo)
{
	const struct bc_result *result = &undo->transfer.result;
	unsigned int wait;
	char text[1024];

	undo->running = false;
	bc_debug("flush %s %s: taken back: %s", undo->transfer.store->source,
		 bc_escape(text, sizeof(text), undo->path), result->text);
	if (undo->look && result->status == BC_DONE_OK) {
		looked(lane, undo);
		return;
	}
	if (is_settled(&undo->transfer)) {
		lane->counts.undone += result->answer == BC_ANSWER_DONE;
		settle(lane, undo);
		return;
	}
	bc_warn_limited("%s %s: cannot be deleted, though its file has another name or is gone: %s; trying again",
			undo->transfer.store->source, bc_escape(text, sizeof(text), undo->path),
			result->text);
	wait = undo->tries < 5 ? AGAIN_MS << undo->tries : AGAIN_MAX_MS;
	undo->tries++;
	undo->due_ms = bc_now_ms() + wait / 2 + bc_random_below(wait / 2);
}

/**
 * bc_undo_step - do what can be done now
 * @lane: where
 *
 * Returns after how many milliseconds at the latest to call it again.
 */
int bc_undo_step(struct bc_lane *lane)
{
	int64_t now = bc_now_ms(), wait = IDLE_MS;
	struct bc_undo *undo, *next;

	for (undo = TAILQ_FIRST(&lane->undos); undo; undo = next) {
		next = TAILQ_NEXT(undo, link);
		if (!undo->running && undo->due_ms <= now) {
			undo->running = true;
			undo->ended = false;
			undo->transfer.verb = undo->look ? BC_VERB_HEAD : BC_VERB_DELETE;
			undo->transfer.want = undo->look ? NULL : &undo->object;
			bc_store_start(&undo->transfer, lane->net);
		}
		if (undo->running && undo->ended) {
			collect(lane, undo);
			wait = 0;
		} else if (!undo->running) {
			wait = (int64_t)bc_min((uint64_t)wait, (uint64_t)(undo->due_ms - now));
		}
	}
	return (int)wait;
}

/**
 * bc_undo_stop - forget all
 * @lane: where
 */
void bc_undo_stop(struct bc_lane *lane)
{
	struct bc_undo *undo;

	while ((undo = TAILQ_FIRST(&lane->undos))) {
		if (undo->running && !undo->ended)
			bc_store_cancel(&undo->transfer, lane->net);
		undo_free(lane, undo);
	}
}
