// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Blocks: which are missing, and their way to the store, several at a time.
 */
#include <string.h>

#include "store/http.h"
#include "upload/internal.h"
#include "util.h"

static bool on_bytes(struct bc_stage *stage, uint64_t offset, void *to, size_t length)
{
	struct bc_slot *slot = (struct bc_slot *)stage;

	if (bc_piece_bytes(&slot->piece, offset, to, length)) {
		slot->sent = offset + length;
		slot->upload->moved = true;
		return true;
	}
	bc_result_set(&stage->transfer.result, BC_DONE_FAILED, false, "%s", slot->piece.text);
	return false;
}

static void on_end(struct bc_transfer *transfer)
{
	struct bc_slot *slot = (struct bc_slot *)transfer;

	slot->ended = true;
	slot->upload->begun |= transfer->result.answer == BC_ANSWER_DONE;
}

static const struct bc_transfer_ops slot_ops = {
	.end = on_end,
};

static void set_done(struct bc_upload *upload, const struct bc_slot *slot)
{
	upload->states[slot->index] = BC_BLOCK_DONE;
	upload->ids[slot->index] = slot->block;
	upload->checksums[slot->index] = slot->checksum;
	upload->checksum_known &= slot->checksum_known;
	upload->done++;
	upload->progress.done += bc_plan_block(slot->index, upload->mine.size).length;
	upload->moved = true;
}

static struct bc_slot *idle_slot(struct bc_upload *upload)
{
	unsigned int i;

	for (i = 0; i < upload->config.blocks; i++)
		if (!upload->slots[i].busy)
			return &upload->slots[i];
	return NULL;
}

/* Room for one more block; a single one is always sent, and tries whether it goes again. */
static bool has_room(const struct bc_upload *upload, uint32_t length)
{
	if (!upload->busy)
		return true;
	return !upload->tries && upload->busy < upload->window &&
	       upload->memory + bc_piece_memory(length) <= upload->config.memory;
}

/* The cursor's block gets a slot. Returns false if it has to wait. */
static bool take_block(struct bc_upload *upload)
{
	struct bc_extent extent = bc_plan_block(upload->cursor, upload->mine.size);
	struct bc_slot *slot;

	if (upload->states[upload->cursor] != BC_BLOCK_TODO) {
		upload->cursor++;
		return true;
	}
	if (upload->progress.paused || !has_room(upload, extent.length))
		return false;
	slot = idle_slot(upload);
	*slot = (struct bc_slot){
		.upload = upload,
		.index = upload->cursor,
		.piece.extent = extent,
		.busy = true,
	};
	upload->busy++;
	upload->memory += bc_piece_memory(extent.length);
	upload->states[upload->cursor++] = BC_BLOCK_TAKEN;
	bc_prepare(upload, slot);
	return true;
}

/* The block is whose turn it is again, or is done. */
static void release(struct bc_upload *upload, struct bc_slot *slot)
{
	upload->busy--;
	upload->memory -= bc_piece_memory(bc_plan_block(slot->index, upload->mine.size).length);
	bc_piece_close(&slot->piece);
	if (slot->sending)
		bc_upload_release(&slot->stage.transfer);
	slot->busy = false;
	if (upload->states[slot->index] == BC_BLOCK_DONE)
		return;
	upload->states[slot->index] = BC_BLOCK_TODO;
	if (upload->cursor > slot->index)
		upload->cursor = slot->index;
}

static void send_block(struct bc_upload *upload, struct bc_slot *slot)
{
	struct bc_transfer *transfer = &slot->stage.transfer;
	struct bc_rate *rate = upload->config.rate;

	bc_plan_print(&slot->block, slot->id);
	bc_upload_prepare(upload, transfer, BC_VERB_STAGE);
	transfer->ops = &slot_ops;
	transfer->offset = slot->piece.extent.offset;
	transfer->length = slot->piece.extent.length;
	/* Also within a block; several of them take turns. */
	transfer->bytes_per_second = rate ? rate->bytes_per_second : 0;
	slot->stage.id = slot->id;
	slot->stage.generation = upload->mine.generation;
	slot->stage.run = upload->run;
	slot->stage.first = !upload->begun;
	slot->stage.md5 = slot->piece.md5;
	slot->stage.bytes = on_bytes;
	slot->sending = true;
	bc_rate_take(rate, transfer->length, bc_now_ms());
	bc_store_start(transfer, upload->net);
}

/* Of a slot that waits for it, the one with the first block. */
static struct bc_slot *next_ready(struct bc_upload *upload)
{
	struct bc_slot *best = NULL;
	unsigned int i;

	for (i = 0; i < upload->config.blocks; i++) {
		struct bc_slot *slot = &upload->slots[i];

		if (slot->busy && !slot->sending &&
		    __atomic_load_n(&slot->ready, __ATOMIC_ACQUIRE) &&
		    (!best || slot->index < best->index))
			best = slot;
	}
	return best;
}

/* A block that is ready. Returns false if there is none, or it has to wait. */
static bool send_ready(struct bc_upload *upload)
{
	struct bc_slot *slot = next_ready(upload);
	enum bc_source_status status;
	char text[sizeof(slot->piece.text)];

	if (!slot || upload->progress.paused)
		return false;
	status = slot->piece.status;
	if (status != BC_SOURCE_OK) {
		memcpy(text, slot->piece.text, sizeof(text));
		release(upload, slot);
		bc_upload_source_failed(upload, status, text);
		return false;
	}
	/* What is there already costs nothing. */
	if (slot->reused) {
		set_done(upload, slot);
		upload->progress.reused += slot->piece.extent.length;
		release(upload, slot);
		return true;
	}
	if (bc_rate_wait(upload->config.rate, bc_now_ms()))
		return false;
	send_block(upload, slot);
	return true;
}

/**
 * bc_stage_blocks - send what there is room for
 * @upload: the upload
 *
 * Returns true if there may be more to do at once.
 */
bool bc_stage_blocks(struct bc_upload *upload)
{
	bool more = false;

	if (upload->done == upload->count) {
		upload->next = BC_NEXT_COMMIT;
		return true;
	}
	while (upload->cursor < upload->count && take_block(upload)) {
		more = true;
		/* Without threads it was made ready here, and others want their turn. */
		if (!upload->preparer)
			break;
	}
	/* A trouble told may have led to anything. */
	while (!upload->result.end && send_ready(upload))
		more = true;
	return more;
}

/**
 * bc_stage_drop_ready - give up blocks that are not being sent yet
 * @upload: the upload, which does something else first
 */
void bc_stage_drop_ready(struct bc_upload *upload)
{
	struct bc_slot *slot;

	while ((slot = next_ready(upload)))
		release(upload, slot);
}

/* A store that is busy is asked for less at once; one that is not, slowly for more. */
static void adapt(struct bc_upload *upload, enum bc_answer answer)
{
	if (answer == BC_ANSWER_BUSY) {
		upload->window = (upload->window + 1) / 2;
		upload->credit = 0;
	} else if (answer == BC_ANSWER_DONE && upload->window < upload->config.blocks &&
		   ++upload->credit >= upload->window) {
		upload->window++;
		upload->credit = 0;
	}
}

static void collect(struct bc_upload *upload, struct bc_slot *slot)
{
	struct bc_result result = slot->stage.transfer.result;
	enum bc_source_status status = slot->piece.status;
	char text[sizeof(slot->piece.text)];

	memcpy(text, slot->piece.text, sizeof(text));
	if (result.answer == BC_ANSWER_DONE)
		set_done(upload, slot);
	release(upload, slot);
	adapt(upload, result.answer);
	if (result.answer == BC_ANSWER_DONE)
		bc_upload_moved(upload);
	else if (status != BC_SOURCE_OK)
		bc_upload_source_failed(upload, status, text);
	else
		bc_publish_decide(upload, BC_STEP_STAGE, &result);
}

/**
 * bc_stage_collect - take note of blocks that ended
 * @upload: the upload
 *
 * Returns true if there was one.
 */
bool bc_stage_collect(struct bc_upload *upload)
{
	bool any = false;
	unsigned int i;

	for (i = 0; i < upload->config.blocks; i++) {
		struct bc_slot *slot = &upload->slots[i];

		if (!slot->busy || !slot->sending || !slot->ended || upload->result.end)
			continue;
		any = true;
		collect(upload, slot);
	}
	return any;
}

/**
 * bc_stage_again - what the store had may be gone: begin with the first block
 * @upload: with no block under way
 */
void bc_stage_again(struct bc_upload *upload)
{
	if (upload->count)
		memset(upload->states, BC_BLOCK_TODO, upload->count);
	upload->cursor = 0;
	upload->begun = false;
	upload->checksum_known = true;
	upload->done = 0;
	upload->progress.done = 0;
	upload->progress.reused = 0;
}

/**
 * bc_stage_stop - end all that is under way
 * @upload: the upload
 */
void bc_stage_stop(struct bc_upload *upload)
{
	unsigned int i;

	bc_prepare_stop(upload);
	for (i = 0; i < upload->config.blocks; i++) {
		struct bc_slot *slot = &upload->slots[i];

		if (!slot->busy)
			continue;
		if (slot->sending && !slot->ended)
			bc_store_cancel(&slot->stage.transfer, upload->net);
		release(upload, slot);
	}
}
