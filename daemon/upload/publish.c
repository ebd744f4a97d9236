// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is there, which blocks, and the commit; and what follows from the answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/http.h"
#include "upload/crc.h"
#include "upload/internal.h"
#include "util.h"

#define NAME_MAX_BYTES	1024U		/* of a blob */
#define ASIDE_MAX	100U		/* names that are tried */

static struct bc_upload *upload_of(void *control)
{
	return (struct bc_upload *)((char *)control - offsetof(struct bc_upload, control));
}

static void on_end(struct bc_transfer *transfer)
{
	upload_of(transfer)->control_ended = true;
}

static const struct bc_transfer_ops control_ops = {
	.end = on_end,
};

static void start(struct bc_upload *upload, enum bc_verb verb)
{
	struct bc_transfer *transfer = &upload->control.head;

	bc_upload_prepare(upload, transfer, verb);
	transfer->ops = &control_ops;
	upload->control_busy = true;
	upload->control_ended = false;
	bc_store_start(transfer, upload->net);
}

/**
 * bc_publish_look - ask what lies under the name
 * @upload: the upload
 */
void bc_publish_look(struct bc_upload *upload)
{
	memset(&upload->control, 0, sizeof(upload->control));
	upload->control.head.durable = true;
	start(upload, BC_VERB_HEAD);
}

static void on_block(struct bc_block_list *list, const char *id, uint64_t size, bool committed)
{
	struct bc_upload *upload = upload_of(list);

	bc_staged_add(&upload->staged, upload->job.source->lineage, id, size, committed);
}

/**
 * bc_publish_list - ask which blocks there are
 * @upload: the upload, with no block under way
 */
void bc_publish_list(struct bc_upload *upload)
{
	memset(&upload->control, 0, sizeof(upload->control));
	bc_staged_clear(&upload->staged);
	bc_stage_again(upload);
	upload->control.list.block = on_block;
	start(upload, BC_VERB_BLOCKS);
}

static const char *print_id(struct bc_commit *commit, uint32_t index, char *to)
{
	bc_plan_print(&upload_of(commit)->ids[index], to);
	return to;
}

static uint32_t whole_checksum(const struct bc_upload *upload)
{
	uint32_t checksum = 0, i;

	for (i = 0; i < upload->count; i++)
		checksum = bc_crc_join(checksum, upload->checksums[i],
				       bc_plan_block(i, upload->mine.size).length);
	return checksum;
}

static void set_meta(struct bc_upload *upload)
{
	const struct bc_source *source = upload->job.source;
	struct bc_meta *meta = &upload->meta;

	*meta = (struct bc_meta){
		.has_generation = true,
		.has_cut = true,
		.has_checksum = upload->checksum_known,
		.has_mode = source->has_mode,
		.has_mtime = source->has_mtime,
		.cut = upload->mine.cut,
		.checksum = whole_checksum(upload),
		.mode = source->mode,
		.mtime = source->mtime,
		.mtime_ns = source->mtime_ns,
	};
	memcpy(meta->generation, upload->mine.generation, BC_GENERATION_SIZE);
	memcpy(meta->node, upload->node, sizeof(meta->node));
}

/**
 * bc_publish_commit - make the blocks the next version
 * @upload: the upload; the store has all its blocks
 */
void bc_publish_commit(struct bc_upload *upload)
{
	struct bc_source *source = upload->job.source;
	enum bc_source_status status;
	char text[160] = "";

	status = source->ops->check(source, text, sizeof(text));
	if (status != BC_SOURCE_OK) {
		bc_upload_source_failed(upload, status, text);
		return;
	}
	if (upload->job.stage_only) {
		bc_upload_end(upload, BC_UPLOAD_STAGED, "all blocks are staged");
		return;
	}
	memset(&upload->control, 0, sizeof(upload->control));
	set_meta(upload);
	upload->control.commit.condition = upload->base.condition;
	upload->control.commit.etag = upload->base.etag;
	upload->control.commit.id = print_id;
	upload->control.commit.count = upload->count;
	upload->control.commit.size = upload->mine.size;
	upload->control.commit.run = upload->run;
	upload->control.commit.meta = &upload->meta;
	upload->committing = true;
	start(upload, BC_VERB_COMMIT);
}

static bool name_aside(struct bc_upload *upload)
{
	const struct bc_source *source = upload->job.source;
	time_t when = (time_t)source->mtime;
	char stamp[32], number[16] = "";
	struct tm tm;

	if (upload->aside_count++)
		snprintf(number, sizeof(number), "-%u", upload->aside_count);
	/* The file's own time: who is killed and comes again finds the same name. */
	if (!gmtime_r(&when, &tm) || !strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm))
		snprintf(stamp, sizeof(stamp), "%lld", (long long)source->mtime);
	free(upload->aside);
	if (asprintf(&upload->aside, "%s.conflict-%s-%s%s", upload->path, upload->node, stamp,
		     number) < 0)
		upload->aside = NULL;
	return upload->aside && strlen(upload->aside) <= NAME_MAX_BYTES;
}

/* Somebody else's version is there: ours goes under another name, from the beginning. */
static void go_aside(struct bc_upload *upload)
{
	if (!upload->job.keep_aside) {
		bc_upload_end(upload, BC_UPLOAD_CONFLICT,
			      "somebody else's version is there; nothing was replaced");
		return;
	}
	upload->next = BC_NEXT_LOOK;
	upload->step = BC_STEP_BEGIN;
	upload->answer = BC_ANSWER_NONE;
	upload->replace = false;
	if (upload->aside_count >= ASIDE_MAX || !name_aside(upload)) {
		upload->aside_count = 0;
		free(upload->aside);
		upload->aside = NULL;
		bc_upload_wait(upload, BC_TROUBLE_REFUSED, 0,
			       "somebody else's version is there, and there is no name under which ours can be kept");
		return;
	}
	upload->base = (struct bc_base){ .condition = BC_IF_NONE };
	upload->restaged = 0;
	bc_staged_clear(&upload->staged);
	bc_stage_again(upload);
}

static void committed(struct bc_upload *upload, const struct bc_object *object)
{
	bool aside = upload->aside;

	upload->result.object = *object;
	upload->result.object.size = upload->mine.size;
	upload->result.path = bc_upload_path(upload);
	bc_upload_end(upload, aside ? BC_UPLOAD_CONFLICT : BC_UPLOAD_COMMITTED,
		      aside ? "somebody else's version is there; ours is kept aside" :
			      "committed");
}

/* What to go on with after a wait, or at once. */
static enum bc_upload_next after(enum bc_step step)
{
	switch (step) {
	case BC_STEP_BEGIN:
		return BC_NEXT_LIST;
	case BC_STEP_STAGE:
		return BC_NEXT_STAGE;
	default:
		return BC_NEXT_COMMIT;
	}
}

static unsigned int least_wait(const struct bc_result *result)
{
	return result->answer == BC_ANSWER_BUSY ? result->retry_after_ms : 0;
}

/**
 * bc_publish_decide - what follows from an answer
 * @upload: the upload
 * @step: what was asked for: BC_STEP_STAGE or BC_STEP_COMMIT
 * @result: what was answered
 */
void bc_publish_decide(struct bc_upload *upload, enum bc_step step,
		       const struct bc_result *result)
{
	struct bc_decision decision = bc_decide(step, result->answer);

	/* Of several blocks that were answered one wants to know more: that comes first. */
	if (step == BC_STEP_STAGE && upload->next != BC_NEXT_STAGE) {
		if (decision.verdict == BC_VERDICT_WAIT || decision.verdict == BC_VERDICT_ALARM)
			bc_upload_wait(upload, decision.trouble, least_wait(result), result->text);
		return;
	}
	upload->next = after(step);
	switch (decision.verdict) {
	case BC_VERDICT_DONE:
		committed(upload, &upload->control.commit.transfer.object);
		break;
	case BC_VERDICT_LOOK:
		upload->next = BC_NEXT_LOOK;
		upload->step = step;
		upload->answer = result->answer;
		memcpy(upload->text, result->text, sizeof(upload->text));
		break;
	case BC_VERDICT_GO:
		break;
	default:
		/* To ask for a list tells as much as to send a block once more, and costs less. */
		if (decision.trouble == BC_TROUBLE_FOREIGN_BLOCKS)
			upload->next = BC_NEXT_LIST;
		bc_upload_wait(upload, decision.trouble, least_wait(result), result->text);
	}
}

/* The answer to a look was to another question: why is it not to be had? */
static void look_failed(struct bc_upload *upload, const struct bc_result *result)
{
	enum bc_trouble trouble = BC_TROUBLE_NETWORK;

	if (result->answer == BC_ANSWER_NO_CONTAINER)
		trouble = BC_TROUBLE_GONE;
	else if (result->status == BC_DONE_DENIED)
		trouble = BC_TROUBLE_DENIED;
	else if (result->status == BC_DONE_RETRY_AFTER)
		trouble = BC_TROUBLE_BUSY;
	else if (!result->retry)
		trouble = BC_TROUBLE_REFUSED;
	bc_upload_wait(upload, trouble, result->retry_after_ms, result->text);
}

static void apply(struct bc_upload *upload, struct bc_decision decision,
		  const struct bc_object *object)
{
	upload->next = after(upload->step);
	switch (decision.verdict) {
	case BC_VERDICT_GO:
		/* Lost again and again is a trouble, too. */
		if (upload->step == BC_STEP_COMMIT)
			bc_upload_wait(upload, BC_TROUBLE_NETWORK, 0, upload->text);
		break;
	case BC_VERDICT_DONE:
		committed(upload, object);
		break;
	case BC_VERDICT_SUPERSEDED:
		bc_upload_end(upload, BC_UPLOAD_SUPERSEDED,
			      "a later state of the same file is there");
		break;
	case BC_VERDICT_RESTAGE:
		upload->restaged++;
		upload->next = BC_NEXT_LIST;
		break;
	case BC_VERDICT_ASIDE:
		go_aside(upload);
		break;
	default:
		/* Whose blocks went asks which there are before he tries again. */
		if (decision.trouble == BC_TROUBLE_RIVAL && upload->answer == BC_ANSWER_BLOCK_LIST)
			upload->next = BC_NEXT_LIST;
		bc_upload_wait(upload, decision.trouble, 0, upload->text);
	}
}

/* Whether it told that there is none. */
static bool is_absent(const struct bc_result *result)
{
	return result->status == BC_DONE_GONE && result->answer != BC_ANSWER_NO_CONTAINER;
}

static void looked(struct bc_upload *upload)
{
	const struct bc_transfer *head = &upload->control.head;
	struct bc_found found = {
		.exists = head->result.status == BC_DONE_OK,
		.object = head->object,
		.meta = head->meta,
	};
	struct bc_decision decision;

	if (!found.exists && !is_absent(&head->result)) {
		upload->next = BC_NEXT_LOOK;
		look_failed(upload, &head->result);
		return;
	}
	if (!found.exists)
		found = (struct bc_found){ 0 };
	if (upload->replace) {
		upload->base.condition = found.exists ? BC_IF_MATCH : BC_IF_NONE;
		memcpy(upload->base.etag, found.object.etag, sizeof(upload->base.etag));
		upload->replace = false;
	}
	decision = bc_decide_found(upload->step, upload->answer, &upload->mine, &upload->base,
				   &found, upload->restaged);
	apply(upload, decision, &found.object);
}

static void listed(struct bc_upload *upload)
{
	const struct bc_result *result = &upload->control.list.transfer.result;

	upload->next = BC_NEXT_LIST;
	if (result->status != BC_DONE_OK && !is_absent(result)) {
		look_failed(upload, result);
	} else if (upload->staged.failed) {
		bc_upload_wait(upload, BC_TROUBLE_REFUSED, 0, "out of memory");
	} else if (upload->staged.foreign) {
		bc_upload_wait(upload, BC_TROUBLE_FOREIGN_BLOCKS, 0,
			       "the store has staged blocks of another program under this name");
	} else {
		bc_staged_sort(&upload->staged);
		upload->next = BC_NEXT_STAGE;
	}
}

/**
 * bc_publish_collect - take note of an answer
 * @upload: the upload, whose request has ended
 */
void bc_publish_collect(struct bc_upload *upload)
{
	upload->control_busy = false;
	bc_upload_release(&upload->control.head);
	switch (upload->control.head.verb) {
	case BC_VERB_HEAD:
		looked(upload);
		break;
	case BC_VERB_BLOCKS:
		listed(upload);
		break;
	default:
		bc_publish_decide(upload, BC_STEP_COMMIT, &upload->control.commit.transfer.result);
	}
}

/**
 * bc_publish_stop - end what is under way
 * @upload: the upload
 */
void bc_publish_stop(struct bc_upload *upload)
{
	if (!upload->control_busy)
		return;
	if (!upload->control_ended)
		bc_store_cancel(&upload->control.head, upload->net);
	bc_upload_release(&upload->control.head);
	upload->control_busy = false;
}
