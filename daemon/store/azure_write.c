// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Blocks of Azure's block blobs: Put Block, Put Block List, Get Block List.
 *
 * Each body goes with its MD5, which the service checks. It would take a CRC64, too,
 * which costs less; but the emulator, against which all of this is tested, refuses it.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/azure.h"
#include "store/block_list.h"
#include "store/text.h"

static void print_md5(struct bc_draft *draft, const uint8_t *md5)
{
	EVP_EncodeBlock((unsigned char *)draft->md5, md5, BC_MD5_SIZE);
}

static void print_etag(struct bc_draft *draft, const char *etag)
{
	snprintf(draft->if_match, sizeof(draft->if_match), "\"%s\"", etag);
}

static bool stage_body(struct bc_transfer *transfer, uint64_t offset, void *to, size_t length)
{
	struct bc_stage *stage = (struct bc_stage *)transfer;

	return stage->bytes(stage, offset, to, length);
}

static bool draft_stage(struct bc_stage *stage, struct bc_draft *draft)
{
	struct bc_text query = { 0 };

	bc_text_put(&query, "comp=block&blockid=");
	bc_text_encode(&query, stage->id, "");
	draft->query = bc_text_take(&query);
	draft->method = "PUT";
	draft->body.length = stage->transfer.length;
	draft->body.read = stage_body;
	print_md5(draft, stage->md5);
	return draft->query;
}

static bool commit_body(struct bc_transfer *transfer, uint64_t offset, void *to, size_t length)
{
	const struct bc_commit *commit = (const struct bc_commit *)transfer;

	memcpy(to, (const char *)commit->body + offset, length);
	return true;
}

static void commit_end(struct bc_transfer *transfer)
{
	bc_azure_forget_write(transfer);
	transfer->ops->end(transfer);
}

static const struct bc_transfer_ops commit_ops = {
	.end = commit_end,
};

static bool draft_commit(struct bc_commit *commit, struct bc_draft *draft)
{
	unsigned char md5[EVP_MAX_MD_SIZE];
	struct bc_text text = { 0 };

	draft->method = "PUT";
	draft->ops = &commit_ops;
	bc_block_list_write(&text, commit);
	commit->body_length = text.length;
	commit->body = bc_text_take(&text);
	draft->query = strdup("comp=blocklist");
	if (!commit->body || !draft->query ||
	    !EVP_Digest(commit->body, commit->body_length, md5, NULL, EVP_md5(), NULL))
		return false;
	print_md5(draft, md5);
	draft->body.length = commit->body_length;
	draft->body.read = commit_body;
	if (commit->condition == BC_IF_NONE)
		draft->if_none_match = "*";
	else
		print_etag(draft, commit->etag);
	draft->meta_count = bc_meta_lines(commit->meta, draft->meta);
	return true;
}

static bool blocks_data(struct bc_transfer *transfer, const void *bytes, size_t length)
{
	struct bc_block_list *list = (struct bc_block_list *)transfer;

	if (bc_block_parser_parse(list->parser, bytes, length, false))
		return true;
	bc_result_set(&transfer->result, BC_DONE_FAILED, true, "the block list is not well-formed");
	return false;
}

static void blocks_end(struct bc_transfer *transfer)
{
	struct bc_block_list *list = (struct bc_block_list *)transfer;

	if (transfer->result.status == BC_DONE_OK &&
	    !bc_block_parser_parse(list->parser, "", 0, true))
		bc_result_set(&transfer->result, BC_DONE_FAILED, true, "the block list is cut off");
	bc_azure_forget_write(transfer);
	transfer->ops->end(transfer);
}

static const struct bc_transfer_ops blocks_ops = {
	.data = blocks_data,
	.end = blocks_end,
};

static bool draft_blocks(struct bc_block_list *list, struct bc_draft *draft)
{
	draft->method = "GET";
	draft->ops = &blocks_ops;
	draft->query = strdup("comp=blocklist&blocklisttype=all");
	list->parser = bc_block_parser_create(list);
	return draft->query && list->parser;
}

static bool draft_delete(const struct bc_transfer *transfer, struct bc_draft *draft)
{
	draft->method = "DELETE";
	if (transfer->want)
		print_etag(draft, transfer->want->etag);
	return true;
}

/**
 * bc_azure_draft_write - say what a transfer from BC_VERB_BLOCKS on is as a request
 * @transfer: the transfer
 * @draft: has its path; in case of failure it and bc_azure_forget_write() clean up
 */
bool bc_azure_draft_write(struct bc_transfer *transfer, struct bc_draft *draft)
{
	switch (transfer->verb) {
	case BC_VERB_BLOCKS:
		return draft_blocks((struct bc_block_list *)transfer, draft);
	case BC_VERB_STAGE:
		return draft_stage((struct bc_stage *)transfer, draft);
	case BC_VERB_COMMIT:
		return draft_commit((struct bc_commit *)transfer, draft);
	case BC_VERB_DELETE:
		return draft_delete(transfer, draft);
	default:
		return false;
	}
}

/**
 * bc_azure_forget_write - free what a transfer held while it ran
 * @transfer: any
 */
void bc_azure_forget_write(struct bc_transfer *transfer)
{
	if (transfer->verb == BC_VERB_COMMIT) {
		struct bc_commit *commit = (struct bc_commit *)transfer;

		free(commit->body);
		commit->body = NULL;
	} else if (transfer->verb == BC_VERB_BLOCKS) {
		struct bc_block_list *list = (struct bc_block_list *)transfer;

		bc_block_parser_free(list->parser);
		list->parser = NULL;
	}
}
