// SPDX-License-Identifier: GPL-2.0-or-later
#include "upload/upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "store/http.h"
#include "upload/internal.h"
#include "util.h"

#define TELL_MS		100
#define STEP_MS		1000		/* waits for transfers are ended by the net */

static void copy_node(char *to, const char *node)
{
	size_t i;

	/* It becomes part of a name. */
	for (i = 0; node && node[i] && i + 1 < BC_NODE_MAX; i++) {
		bool plain = (node[i] >= '0' && node[i] <= '9') ||
			     (node[i] >= 'a' && node[i] <= 'z') ||
			     (node[i] >= 'A' && node[i] <= 'Z') || strchr("._-", node[i]);

		to[i] = plain ? node[i] : '-';
	}
	if (!i)
		to[i++] = '-';
	to[i] = 0;
}

static bool allocate(struct bc_upload *upload, char *text, size_t size)
{
	upload->path = strdup(upload->job.path);
	upload->slots = calloc(upload->config.blocks, sizeof(*upload->slots));
	upload->ids = calloc(upload->count ? upload->count : 1, sizeof(*upload->ids));
	upload->states = calloc(upload->count ? upload->count : 1, sizeof(*upload->states));
	upload->checksums = calloc(upload->count ? upload->count : 1, sizeof(*upload->checksums));
	if (upload->path && upload->slots && upload->ids && upload->states && upload->checksums)
		return true;
	snprintf(text, size, "out of memory");
	return false;
}

static bool check_job(const struct bc_upload_job *job, char *text, size_t size)
{
	if (!bc_path_valid(job->path)) {
		snprintf(text, size,
			 "the name is empty, or has an empty segment, '.' or '..'; choose another");
		return false;
	}
	if (!(job->store->ops->capabilities & BC_STORE_WRITES)) {
		snprintf(text, size, "sources of this kind (%s) are read-only; choose another",
			 job->store->ops->scheme);
		return false;
	}
	if (job->source->size > BC_UPLOAD_MAX) {
		snprintf(text, size,
			 "the file has %llu bytes, a blob at most %llu; divide it into several",
			 (unsigned long long)job->source->size, (unsigned long long)BC_UPLOAD_MAX);
		return false;
	}
	return true;
}

/**
 * bc_upload_create - begin an upload
 * @job: what, and where to
 * @net: of the calling thread; outlives the upload
 * @text: why it failed
 * @size: of @text
 *
 * Nothing is sent before bc_upload_step(). Returns NULL on failure; the source is
 * closed then.
 */
struct bc_upload *bc_upload_create(const struct bc_upload_job *job, struct bc_net *net,
				   char *text, size_t size)
{
	struct bc_upload *upload = calloc(1, sizeof(*upload));

	if (!upload) {
		snprintf(text, size, "out of memory");
		job->source->ops->close(job->source);
		return NULL;
	}
	upload->job = *job;
	upload->config = *job->config;
	if (!upload->config.blocks)
		upload->config.blocks = 1;
	upload->net = net;
	upload->store = bc_store_get(job->store);
	upload->count = bc_plan_count(job->source->size);
	if (!check_job(job, text, size) || !allocate(upload, text, size)) {
		bc_upload_free(upload);
		return NULL;
	}
	copy_node(upload->node, job->node);
	if (getrandom(&upload->run, sizeof(upload->run), 0) != sizeof(upload->run)) {
		snprintf(text, size, "no random numbers: %s", strerror(errno));
		bc_upload_free(upload);
		return NULL;
	}
	memcpy(upload->mine.generation, job->source->generation, BC_GENERATION_SIZE);
	upload->mine.cut = job->source->cut;
	upload->mine.size = job->source->size;
	upload->base = job->base;
	upload->replace = job->replace;
	upload->next = job->fresh && !job->replace ? BC_NEXT_STAGE : BC_NEXT_LOOK;
	upload->window = upload->config.blocks;
	upload->checksum_known = true;
	upload->progress.size = job->source->size;
	upload->progress.blocks = upload->count;
	return upload;
}

static void nothing(struct bc_transfer *transfer)
{
	(void)transfer;
}

/* What is staged goes, where no other run can go on with it. */
static void discard(struct bc_upload *upload)
{
	static const struct bc_transfer_ops ops = { .end = nothing };
	struct bc_discard discard = {
		.generation = upload->mine.generation,
		.run = upload->run,
	};

	if (!upload->begun || upload->result.path)
		return;
	bc_upload_prepare(upload, &discard.transfer, BC_VERB_DISCARD);
	discard.transfer.ops = &ops;
	/* Ends before it returns: no store needs the network for it. */
	bc_store_start(&discard.transfer, upload->net);
	bc_upload_release(&discard.transfer);
}

/**
 * bc_upload_free - end an upload, however far it is
 * @upload: may be NULL; not from within its callbacks
 *
 * What is staged stays, for who goes on later.
 */
void bc_upload_free(struct bc_upload *upload)
{
	if (!upload)
		return;
	if (upload->slots)
		bc_stage_stop(upload);
	bc_publish_stop(upload);
	if (!upload->end_told)
		discard(upload);
	bc_prepare_end(upload);
	upload->job.source->ops->close(upload->job.source);
	bc_store_put(upload->store);
	bc_staged_clear(&upload->staged);
	free(upload->slots);
	free(upload->ids);
	free(upload->states);
	free(upload->checksums);
	free(upload->aside);
	free(upload->path);
	free(upload);
}

/**
 * bc_upload_prepare - what all transfers of an upload say
 * @upload: the upload
 * @transfer: zeroed
 * @verb: what it is
 *
 * It holds its store, since the upload may get another meanwhile: bc_upload_release().
 */
void bc_upload_prepare(struct bc_upload *upload, struct bc_transfer *transfer, enum bc_verb verb)
{
	transfer->store = bc_store_get(upload->store);
	transfer->verb = verb;
	transfer->path = bc_upload_path(upload);
	transfer->connect_timeout_ms = upload->config.connect_timeout_ms;
	transfer->stall_timeout_ms = upload->config.stall_timeout_ms;
}

/**
 * bc_upload_release - a transfer has ended
 * @transfer: prepared by bc_upload_prepare()
 */
void bc_upload_release(struct bc_transfer *transfer)
{
	bc_store_put(transfer->store);
	transfer->store = NULL;
}

static void set_trouble(struct bc_upload *upload, enum bc_trouble trouble, const char *text)
{
	struct bc_upload_progress *progress = &upload->progress;
	const struct bc_upload_ops *ops = upload->job.ops;
	bool other = progress->trouble != trouble;

	progress->trouble = trouble;
	snprintf(progress->text, sizeof(progress->text), "%s", text);
	if (other && ops && ops->trouble)
		ops->trouble(upload, upload->job.context);
}

/**
 * bc_upload_moved - something went well
 * @upload: the upload
 */
void bc_upload_moved(struct bc_upload *upload)
{
	upload->tries = 0;
	upload->failing_ms = 0;
	upload->moved = true;
	/* Several blocks failed at once, perhaps; one that went through is as good a sign. */
	if (upload->due_ms && upload->progress.trouble == BC_TROUBLE_NETWORK)
		upload->due_ms = 0;
	set_trouble(upload, BC_TROUBLE_NONE, "");
}

static unsigned int backoff(const struct bc_upload *upload)
{
	unsigned int limit = upload->config.backoff_ms ? upload->config.backoff_ms : 1, i;

	for (i = 1; i < upload->tries && limit < upload->config.backoff_max_ms; i++)
		limit *= 2;
	limit = (unsigned int)bc_min(limit, upload->config.backoff_max_ms);
	/* Many nodes begin at the same time. */
	return limit / 2 + bc_random_below(limit / 2 + 1);
}

/**
 * bc_upload_wait - go on later
 * @upload: the upload; its next step is set
 * @trouble: why
 * @least_ms: not earlier than that
 * @text: why, for people
 */
void bc_upload_wait(struct bc_upload *upload, enum bc_trouble trouble, unsigned int least_ms,
		    const char *text)
{
	int64_t now = bc_now_ms();

	if (!upload->failing_ms)
		upload->failing_ms = now;
	/* Blocks that fail together are one failure. */
	if (upload->due_ms <= now)
		upload->tries++;
	upload->progress.retries++;
	upload->due_ms = now + least_ms + backoff(upload);
	set_trouble(upload, trouble, text);
	if (upload->config.give_up_ms && now - upload->failing_ms >= upload->config.give_up_ms)
		bc_upload_end(upload, BC_UPLOAD_FAILED, text);
}

/**
 * bc_upload_source_failed - our own bytes are not to be had
 * @upload: the upload
 * @status: of the source
 * @text: why
 */
void bc_upload_source_failed(struct bc_upload *upload, enum bc_source_status status,
			     const char *text)
{
	if (status == BC_SOURCE_STALE)
		bc_upload_end(upload, BC_UPLOAD_STALE, text);
	else
		bc_upload_wait(upload, BC_TROUBLE_SOURCE, 0, text);
}

/**
 * bc_upload_end - that was it
 * @upload: the upload
 * @end: how
 * @text: why
 */
void bc_upload_end(struct bc_upload *upload, enum bc_upload_end end, const char *text)
{
	if (upload->result.end)
		return;
	upload->result.end = end;
	upload->next = BC_NEXT_NOTHING;
	snprintf(upload->result.text, sizeof(upload->result.text), "%s", text);
}

static void tell_progress(struct bc_upload *upload, bool last)
{
	const struct bc_upload_ops *ops = upload->job.ops;
	int64_t now = bc_now_ms();

	if (!upload->moved || (!last && now - upload->told_ms < TELL_MS))
		return;
	upload->moved = false;
	upload->told_ms = now;
	if (ops && ops->progress)
		ops->progress(upload, upload->job.context);
}

static int finish(struct bc_upload *upload)
{
	const struct bc_upload_ops *ops = upload->job.ops;

	if (upload->end_told)
		return -1;
	upload->end_told = true;
	bc_stage_stop(upload);
	bc_publish_stop(upload);
	discard(upload);
	if (upload->result.end != BC_UPLOAD_FAILED)
		set_trouble(upload, BC_TROUBLE_NONE, "");
	tell_progress(upload, true);
	if (ops && ops->end)
		ops->end(upload, upload->job.context);
	return -1;
}

/* Returns true if there may be more to do at once. */
static bool go_on(struct bc_upload *upload)
{
	if (upload->next == BC_NEXT_STAGE)
		return bc_stage_blocks(upload);
	/* What follows is about all blocks. */
	bc_stage_drop_ready(upload);
	if (upload->busy || upload->progress.paused)
		return false;
	if (upload->next == BC_NEXT_LOOK)
		bc_publish_look(upload);
	else if (upload->next == BC_NEXT_LIST)
		bc_publish_list(upload);
	else if (bc_upload_waits(upload))
		return false;
	else if (upload->next == BC_NEXT_COMMIT)
		bc_publish_commit(upload);
	return true;
}

/* How long nothing happens unless the net says so. */
static int wait_ms(const struct bc_upload *upload, int64_t now)
{
	int wait = STEP_MS;
	unsigned int rate = bc_rate_wait(upload->config.rate, now);

	if (upload->due_ms > now)
		wait = (int)bc_min((uint64_t)(upload->due_ms - now), STEP_MS);
	if (rate && upload->next == BC_NEXT_STAGE)
		wait = (int)bc_min((uint64_t)wait, rate);
	if (upload->moved)
		wait = (int)bc_min((uint64_t)wait, TELL_MS);
	return wait;
}

/**
 * bc_upload_step - do what can be done now
 * @upload: the upload
 *
 * Returns after how many milliseconds at the latest to call it again, or earlier when
 * something happened in the net; -1 when it has ended.
 */
int bc_upload_step(struct bc_upload *upload)
{
	bool more = bc_stage_collect(upload);
	int64_t now;

	if (upload->control_busy && upload->control_ended && !upload->result.end) {
		bc_publish_collect(upload);
		more = true;
	}
	if (upload->result.end)
		return finish(upload);
	now = bc_now_ms();
	if (!upload->control_busy && upload->due_ms <= now) {
		upload->due_ms = 0;
		more |= go_on(upload);
	}
	tell_progress(upload, false);
	if (upload->result.end)
		return finish(upload);
	return more ? 0 : wait_ms(upload, now);
}

/**
 * bc_upload_run - do all of an upload
 * @upload: the upload, the only one of its net
 */
const struct bc_upload_result *bc_upload_run(struct bc_upload *upload)
{
	int wait;

	while ((wait = bc_upload_step(upload)) >= 0) {
		/* In this order: the next step sees what came. */
		bc_net_wait(upload->net, wait);
		bc_net_run(upload->net);
	}
	return bc_upload_result(upload);
}

/**
 * bc_upload_pause - begin nothing new, or go on
 * @upload: the upload
 * @pause: blocks under way come to their end
 */
void bc_upload_pause(struct bc_upload *upload, bool pause)
{
	upload->progress.paused = pause;
}

/**
 * bc_upload_hold - no commit for now, or go on
 * @upload: the upload
 * @hold: blocks are staged all the same
 */
void bc_upload_hold(struct bc_upload *upload, bool hold)
{
	upload->held = hold;
}

/**
 * bc_upload_waits - whether all is staged and only bc_upload_hold() keeps it from its commit
 * @upload: the upload
 */
bool bc_upload_waits(const struct bc_upload *upload)
{
	return upload->held && upload->next == BC_NEXT_COMMIT && !upload->busy &&
	       !upload->control_busy;
}

/**
 * bc_upload_may_show - whether something may be in the store because of it
 * @upload: the upload
 */
bool bc_upload_may_show(const struct bc_upload *upload)
{
	return upload->committing;
}

/**
 * bc_upload_base - what it is about to replace, under the name that was asked for
 * @upload: the upload
 *
 * Returns NULL if that is not known.
 */
const struct bc_base *bc_upload_base(const struct bc_upload *upload)
{
	return upload->replace || upload->aside ? NULL : &upload->base;
}

/**
 * bc_upload_set_store - the same source, with other credentials
 * @upload: the upload
 * @store: for what begins from now on; a reference is taken
 */
void bc_upload_set_store(struct bc_upload *upload, struct bc_store *store)
{
	struct bc_store *old = upload->store;

	upload->store = bc_store_get(store);
	bc_store_put(old);
}

/**
 * bc_upload_cancel - the file is not wanted any more
 * @upload: the upload
 *
 * What was staged of it is dropped where that does no harm to others. A commit that was
 * under way may have been done all the same: who deleted the file looks for it.
 */
void bc_upload_cancel(struct bc_upload *upload)
{
	if (upload->result.end)
		return;
	bc_stage_stop(upload);
	bc_publish_stop(upload);
	bc_upload_end(upload, BC_UPLOAD_CANCELLED, "cancelled");
}

/**
 * bc_upload_result - how it ended
 * @upload: the upload
 */
const struct bc_upload_result *bc_upload_result(const struct bc_upload *upload)
{
	return &upload->result;
}

/**
 * bc_upload_progress - how far it is
 * @upload: the upload
 */
const struct bc_upload_progress *bc_upload_progress(struct bc_upload *upload)
{
	unsigned int i;

	upload->progress.sending = 0;
	for (i = 0; i < upload->config.blocks; i++)
		if (upload->slots[i].busy)
			upload->progress.sending += upload->slots[i].sent;
	upload->progress.blocks_done = upload->done;
	return &upload->progress;
}

/**
 * bc_upload_path - under which name it goes to the store
 * @upload: the upload; after a conflict another than was asked for
 */
const char *bc_upload_path(const struct bc_upload *upload)
{
	return upload->aside ? upload->aside : upload->path;
}

/**
 * bc_upload_end_name - an end as a word
 * @end: the end
 */
const char *bc_upload_end_name(enum bc_upload_end end)
{
	static const char *const names[BC_UPLOAD_END_COUNT] = {
		[BC_UPLOAD_RUNNING]	= "running",
		[BC_UPLOAD_COMMITTED]	= "committed",
		[BC_UPLOAD_STAGED]	= "staged",
		[BC_UPLOAD_CONFLICT]	= "conflict",
		[BC_UPLOAD_SUPERSEDED]	= "superseded",
		[BC_UPLOAD_STALE]	= "stale",
		[BC_UPLOAD_FAILED]	= "failed",
		[BC_UPLOAD_CANCELLED]	= "cancelled",
	};

	return (unsigned int)end < BC_COUNT(names) ? names[end] : "?";
}
