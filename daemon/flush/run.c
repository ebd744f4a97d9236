// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Uploads of dirty objects: which begin, which may be committed, and what follows from their ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush/cut.h"
#include "flush/lane.h"
#include "flush/mark.h"
#include "log.h"
#include "util.h"

#define AGAIN_MS	500		/* the kernel is not ready */
#define AGAIN_MAX_MS	30000
#define IDLE_MS		60000
#define STALL_MS	30000
#define MEMORY_LEAST	((uint64_t)8 << 20)

static const char *name_of(const struct bc_entry *entry, char *to, size_t size)
{
	return bc_escape(to, size, entry->told.path);
}

static unsigned int backoff(unsigned int tries)
{
	unsigned int most = tries < 7 ? AGAIN_MS << tries : AGAIN_MAX_MS;

	most = (unsigned int)bc_min(most, AGAIN_MAX_MS);
	return most / 2 + bc_random_below(most / 2 + 1);
}

static void again(struct bc_lane *lane, struct bc_entry *entry)
{
	entry->due_ms = bc_now_ms() + backoff(entry->tries++);
	lane->look = true;
}

/* --- beginnings */

static void on_trouble(struct bc_upload *upload, void *context)
{
	const struct bc_upload_progress *progress = bc_upload_progress(upload);
	struct bc_entry *entry = context;
	char path[1024];

	if (!progress->trouble)
		return;
	bc_warn_limited("%s %s: not uploaded yet: %s (%s): %s", entry->told.source,
			name_of(entry, path, sizeof(path)), bc_trouble_name(progress->trouble),
			progress->text, bc_trouble_advice(progress->trouble));
}

static const struct bc_upload_ops upload_ops = { .trouble = on_trouble };

static void set_base(const struct bc_lane *lane, const struct bc_entry *entry,
		     struct bc_upload_job *job)
{
	const struct bc_dirty_told *told = &entry->told;
	const uint8_t *before = bc_past_find(lane, entry);

	if (entry->has_base) {
		job->base = entry->base;
	} else if (told->base == BC_BASE_ETAG) {
		job->base.condition = BC_IF_MATCH;
		memcpy(job->base.etag, told->acked_etag, sizeof(job->base.etag));
	} else if (told->base == BC_BASE_UNKNOWN) {
		job->replace = true;
	}
	if (!before)
		return;
	memcpy(job->base.generation, before, sizeof(job->base.generation));
	job->base.has_generation = true;
}

static struct bc_upload *create(struct bc_lane *lane, struct bc_entry *entry, char *text,
				size_t size)
{
	struct bc_upload_config config = BC_UPLOAD_CONFIG_DEFAULT;
	struct bc_upload_job job = {
		.config = &config, .store = entry->store, .path = entry->told.path,
		.keep_aside = true, .stage_only = entry->staging, .node = lane->node,
		.fresh = !entry->found && !entry->tried && entry->told.base == BC_BASE_NONE,
		.ops = &upload_ops, .context = entry,
	};

	config.blocks = lane->config->blocks;
	config.memory = lane->config->memory / lane->config->uploads;
	if (config.memory < MEMORY_LEAST)
		config.memory = MEMORY_LEAST;
	config.stall_timeout_ms = STALL_MS;
	config.rate = &lane->rate;
	set_base(lane, entry, &job);
	job.source = bc_cut_open(lane->kernel, &entry->cut);
	if (!job.source) {
		snprintf(text, size, "out of memory");
		return NULL;
	}
	job.source->has_mode = true;
	job.source->has_mtime = true;
	job.source->mode = entry->told.mode & 07777;
	job.source->mtime = entry->told.mtime;
	job.source->mtime_ns = entry->told.mtime_ns;
	return bc_upload_create(&job, lane->net, text, size);
}

/* Returns 0, -ENOENT if the object is gone, or -EAGAIN. */
static int begin_cut(struct bc_lane *lane, struct bc_entry *entry)
{
	int error;

	memcpy(entry->cut.generation, entry->told.generation, BC_GENERATION_SIZE);
	error = bc_kernel_flush_begin(lane->kernel, &entry->cut);
	if (error == -ENOENT)
		return error;
	if (!error && entry->cut.step == entry->told.step)
		return 0;
	/* It changed; that is told soon, and whether it is open again. */
	if (!error)
		bc_kernel_flush_end(lane->kernel, &entry->cut, NULL);
	else if (error != -EAGAIN)
		bc_warn_limited("the kernel refuses an upload: %s", strerror(-error));
	return -EAGAIN;
}

static void begin(struct bc_lane *lane, struct bc_entry *entry, bool staging)
{
	char text[256] = "", path[1024];
	int error = begin_cut(lane, entry);

	if (error == -ENOENT)
		bc_entry_forget(lane, entry);
	else if (error)
		again(lane, entry);
	if (error)
		return;
	entry->staging = staging;
	entry->retries = 0;
	entry->upload = create(lane, entry, text, sizeof(text));
	entry->tried = true;
	lane->to_tell = true;
	if (entry->upload) {
		lane->running++;
		bc_upload_pause(entry->upload, lane->config->paused);
		bc_upload_hold(entry->upload, true);
		return;
	}
	bc_warn_limited("%s %s: cannot be uploaded: %s", entry->told.source,
			name_of(entry, path, sizeof(path)), text);
	bc_kernel_flush_end(lane->kernel, &entry->cut, NULL);
	again(lane, entry);
}

/* One that is written for long is staged meanwhile: little is left to do when it is closed. */
static bool wants_staging(const struct bc_lane *lane, const struct bc_entry *entry, int64_t now)
{
	const struct bc_dirty_told *told = &entry->told;
	const struct bc_flush_config *config = lane->config;

	if (!entry->store || entry->aside || told->state == BC_NAME_COMMITTED || !told->writers ||
	    told->step <= entry->staged_step || told->size < config->stage_bytes)
		return false;
	/* Where nobody can go on with what is staged it is of no use. */
	if (entry->store->ops->capabilities & BC_STORE_BLOCKS)
		return false;
	return told->size >= entry->staged_size + config->stage_bytes ||
	       now >= entry->staged_ms + config->stage_age_ms;
}

/* Of two uploads to one name one would take the other's blob for somebody else's. */
static bool name_is_busy(const struct bc_lane *lane, const struct bc_entry *entry)
{
	const struct bc_entry *other;

	TAILQ_FOREACH(other, &lane->entries, link)
		if (other->upload && !strcmp(other->told.path, entry->told.path) &&
		    !strcmp(other->store->source, entry->store->source))
			return true;
	return bc_undo_busy(lane, entry->store->source, entry->told.path);
}

/* Those that wait for others, or for better times, do not keep the rest from going on. */
static unsigned int working(const struct bc_lane *lane)
{
	const struct bc_entry *entry;
	unsigned int count = 0;

	TAILQ_FOREACH(entry, &lane->entries, link)
		count += entry->upload && !bc_upload_waits(entry->upload) &&
			 !bc_upload_progress(entry->upload)->trouble;
	return count;
}

/* There is always room for what others may be waiting for. */
static bool has_room(const struct bc_lane *lane, const struct bc_entry *entry)
{
	if (lane->running < BC_RUNNING_MAX)
		return true;
	return lane->running < 2 * BC_RUNNING_MAX &&
	       bc_order_may_commit(&lane->entries, entry, lane->config);
}

static void begin_those_that_may(struct bc_lane *lane, int64_t now)
{
	unsigned int room = lane->config->uploads, busy = working(lane);
	struct bc_entry *entry, *next;

	for (entry = TAILQ_FIRST(&lane->entries); entry && busy < room; entry = next) {
		bool staging;

		next = TAILQ_NEXT(entry, link);
		if (entry->upload)
			continue;
		staging = wants_staging(lane, entry, now);
		if (!staging && !bc_entry_pending(entry))
			continue;
		if (entry->due_ms > now)
			lane->look_ms = bc_min((uint64_t)lane->look_ms, (uint64_t)entry->due_ms);
		else if (!name_is_busy(lane, entry) && has_room(lane, entry))
			begin(lane, entry, staging && !bc_entry_pending(entry));
		busy = working(lane);
	}
}

static void hold(struct bc_lane *lane, struct bc_entry *entry)
{
	struct bc_mark mark = {
		.source = entry->told.source,
		.device = entry->told.device,
		.path = bc_upload_path(entry->upload),
	};
	bool wait = !entry->staging && !bc_upload_may_show(entry->upload) &&
		    !bc_order_may_commit(&lane->entries, entry, lane->config);

	if (!wait && !entry->staging && !entry->marked) {
		memcpy(mark.generation, entry->told.generation, sizeof(mark.generation));
		bc_mark_set(lane->marks, &mark);
		entry->marked = strdup(mark.path);
	}
	bc_upload_hold(entry->upload, wait);
}

static void hold_those_that_wait(struct bc_lane *lane)
{
	struct bc_entry *entry;

	TAILQ_FOREACH(entry, &lane->entries, link)
		if (entry->upload)
			hold(lane, entry);
}

/**
 * bc_run_begin - begin what may begin, let be committed what may be
 * @lane: whose
 */
void bc_run_begin(struct bc_lane *lane)
{
	int64_t now = bc_now_ms();

	if (!lane->look && now < lane->look_ms)
		return;
	lane->look = false;
	lane->look_ms = now + IDLE_MS;
	if (!lane->config->paused)
		begin_those_that_may(lane, now);
	hold_those_that_wait(lane);
}

/* --- ends */

/* Who lost a reply finds his version by what he thought was there. */
static void keep_base(struct bc_entry *entry)
{
	const struct bc_base *base = bc_upload_base(entry->upload);

	if (!base)
		return;
	entry->base = *base;
	entry->has_base = true;
}

/* There is nothing that the kernel does not know of, or will not in a moment. */
static void unmark(struct bc_lane *lane, struct bc_entry *entry)
{
	if (entry->marked)
		bc_mark_clear(lane->marks, entry->told.generation, entry->marked);
	free(entry->marked);
	entry->marked = NULL;
}

/* The store has the cut. */
static void committed(struct bc_lane *lane, struct bc_entry *entry,
		      const struct bc_upload_result *result)
{
	const struct bc_upload_progress *progress = bc_upload_progress(entry->upload);
	char path[1024];
	int error;

	/* Before: what the kernel knows of stays, whatever becomes of us. */
	unmark(lane, entry);
	error = bc_kernel_flush_end(lane->kernel, &entry->cut, &result->object);
	if (!error) {
		lane->counts.commits++;
		lane->counts.bytes += progress->size - progress->reused;
		lane->counts.reused += progress->reused;
		bc_debug("flush %s %s step %llu: %llu bytes, %llu of them reused",
			 entry->told.source, name_of(entry, path, sizeof(path)),
			 (unsigned long long)entry->cut.step, (unsigned long long)progress->size,
			 (unsigned long long)progress->reused);
		entry->flushed_step = entry->cut.step;
		entry->told.base = BC_BASE_ETAG;
		memcpy(entry->told.acked_etag, result->object.etag,
		       sizeof(entry->told.acked_etag));
		entry->has_base = false;
		entry->renamed = false;
		entry->tries = 0;
		if (entry->told.step <= entry->cut.step)
			entry->told.state = BC_NAME_COMMITTED;
		entry->since_ms = bc_now_ms();
		return;
	}
	if (error == -ENOENT || error == -ESTALE) {
		/* It was removed, or has another name: nobody may find it under this one. */
		bc_undo_add(lane, entry, result->path, result->object.etag);
		entry->has_base = false;
	} else {
		bc_warn_limited("%s %s: the kernel does not note that it is uploaded: %s",
				entry->told.source, name_of(entry, path, sizeof(path)),
				strerror(-error));
		keep_base(entry);
	}
	again(lane, entry);
}

static void conflict(struct bc_lane *lane, struct bc_entry *entry,
		     const struct bc_upload_result *result)
{
	char path[1024], aside[1100] = "";

	bc_kernel_flush_end(lane->kernel, &entry->cut, NULL);
	free(entry->aside);
	entry->aside = strdup(result->path ? result->path : "");
	entry->flushed_step = entry->cut.step;
	entry->has_base = false;
	lane->counts.conflicts++;
	if (result->path)
		bc_escape(aside, sizeof(aside), result->path);
	bc_error("%s %s: not uploaded: %s%s%s; it stays on this node until it is written, renamed or removed",
		 entry->told.source, name_of(entry, path, sizeof(path)), result->text,
		 *aside ? ", as " : "", aside);
}

static void staged(struct bc_lane *lane, struct bc_entry *entry)
{
	const struct bc_upload_progress *progress = bc_upload_progress(entry->upload);

	bc_kernel_flush_end(lane->kernel, &entry->cut, NULL);
	lane->counts.bytes += progress->size - progress->reused;
	entry->staged_step = entry->cut.step;
	entry->staged_size = entry->cut.size;
	entry->staged_ms = bc_now_ms();
	entry->tries = 0;
	keep_base(entry);
}

static void given_up(struct bc_lane *lane, struct bc_entry *entry,
		     const struct bc_upload_result *result)
{
	int error = bc_kernel_flush_end(lane->kernel, &entry->cut, NULL);
	char path[1024];

	unmark(lane, entry);
	/* Removed, and perhaps it is in the store all the same. */
	if (error == -ENOENT && bc_upload_may_show(entry->upload))
		bc_undo_add(lane, entry, bc_upload_path(entry->upload), NULL);
	if (result->end != BC_UPLOAD_CANCELLED)
		bc_debug("flush %s %s: %s: %s", entry->told.source,
			 name_of(entry, path, sizeof(path)), bc_upload_end_name(result->end),
			 result->text);
	keep_base(entry);
	again(lane, entry);
}

static void end(struct bc_lane *lane, struct bc_entry *entry)
{
	const struct bc_upload_result *result = bc_upload_result(entry->upload);
	struct bc_upload *upload = entry->upload;

	switch (result->end) {
	case BC_UPLOAD_COMMITTED:
		committed(lane, entry, result);
		break;
	case BC_UPLOAD_STAGED:
		staged(lane, entry);
		break;
	case BC_UPLOAD_CONFLICT:
	case BC_UPLOAD_SUPERSEDED:
		conflict(lane, entry, result);
		break;
	default:
		given_up(lane, entry, result);
	}
	unmark(lane, entry);
	entry->upload = NULL;
	bc_upload_free(upload);
	lane->running--;
	lane->look = true;
	lane->to_tell = true;
}

/**
 * bc_run_cancel - the object has another name
 * @lane: where
 * @entry: of which nothing can be in the store under the old one by this upload
 */
void bc_run_cancel(struct bc_lane *lane, struct bc_entry *entry)
{
	bc_upload_cancel(entry->upload);
	bc_upload_step(entry->upload);
	end(lane, entry);
	entry->tries = 0;
}

static bool is_waiting(const struct bc_entry *entry)
{
	return bc_upload_waits(entry->upload) || bc_upload_progress(entry->upload)->trouble;
}

/* What troubles it, counted once. */
static void count_trouble(struct bc_lane *lane, struct bc_entry *entry)
{
	const struct bc_upload_progress *progress = bc_upload_progress(entry->upload);

	if (progress->retries > entry->retries)
		lane->counts.failures[progress->trouble] += progress->retries - entry->retries;
	entry->retries = progress->retries;
}

/**
 * bc_run_step - do what can be done now for all uploads
 * @lane: whose
 *
 * Returns after how many milliseconds at the latest to call it again.
 */
int bc_run_step(struct bc_lane *lane)
{
	int wait = IDLE_MS, one;
	struct bc_entry *entry, *next;
	int64_t now;

	for (entry = TAILQ_FIRST(&lane->entries); entry; entry = next) {
		bool waited;

		next = TAILQ_NEXT(entry, link);
		if (!entry->upload)
			continue;
		waited = is_waiting(entry);
		bc_upload_pause(entry->upload, lane->config->paused);
		one = bc_upload_step(entry->upload);
		count_trouble(lane, entry);
		/* There is room for another one. */
		lane->look |= waited != is_waiting(entry);
		if (one < 0)
			end(lane, entry);
		else
			wait = (int)bc_min((uint64_t)wait, (uint64_t)one);
	}
	now = bc_now_ms();
	if (lane->look || lane->look_ms <= now)
		return 0;
	return (int)bc_min((uint64_t)wait, (uint64_t)(lane->look_ms - now));
}
