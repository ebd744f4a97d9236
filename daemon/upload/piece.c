// SPDX-License-Identifier: GPL-2.0-or-later
#include "upload/piece.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upload/crc.h"
#include "util.h"

/**
 * bc_piece_memory - how much memory a block takes on its way
 * @length: of the block
 */
uint32_t bc_piece_memory(uint32_t length)
{
	return length <= BC_PIECE_WHOLE ? length : BC_PIECE_WINDOW;
}

static bool fail(struct bc_piece *piece, enum bc_source_status status, const char *text)
{
	piece->status = status;
	snprintf(piece->text, sizeof(piece->text), "%s", text);
	return false;
}

static bool verify(struct bc_piece *piece)
{
	uint32_t done;

	for (done = 0; done < piece->held; done += BC_SUM_SIZE) {
		uint32_t length = (uint32_t)bc_min(BC_SUM_SIZE, piece->held - done);
		const struct bc_sum *sum = &piece->sums[(piece->at + done) / BC_SUM_SIZE];

		if (sum->unknown ||
		    bc_crc_bytes(0, piece->window + done, length) == sum->crc32c)
			continue;
		piece->status = BC_SOURCE_FAILED;
		snprintf(piece->text, sizeof(piece->text),
			 "the checksum of the bytes at %llu is wrong: they are not sent",
			 (unsigned long long)(piece->extent.offset + piece->at + done));
		return false;
	}
	return true;
}

/* Makes the window cover @at, a multiple of its size. */
static bool fill(struct bc_piece *piece, uint32_t at)
{
	struct bc_source *source = piece->source;
	uint32_t length = (uint32_t)bc_min(piece->room, piece->extent.length - at);

	piece->held = 0;
	piece->status = source->ops->read(source, piece->extent.offset + at, piece->window, length,
					  piece->text, sizeof(piece->text));
	if (piece->status != BC_SOURCE_OK)
		return false;
	piece->at = at;
	piece->held = length;
	if (verify(piece))
		return true;
	piece->held = 0;
	/* Who was written to meanwhile says so; then it is no damage. */
	if (source->ops->check(source, piece->text, sizeof(piece->text)) == BC_SOURCE_STALE)
		piece->status = BC_SOURCE_STALE;
	return false;
}

static bool hash(struct bc_piece *piece, EVP_MD_CTX *context, const bool *stop)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	uint32_t at;

	if (!EVP_DigestInit_ex(context, EVP_md5(), NULL))
		return fail(piece, BC_SOURCE_FAILED,
			    "OpenSSL refuses MD5, as in FIPS mode; the store wants it with each block");
	for (at = 0; at < piece->extent.length; at += piece->room) {
		if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
			return fail(piece, BC_SOURCE_FAILED, "stopped");
		if (!fill(piece, at))
			return false;
		if (!EVP_DigestUpdate(context, piece->window, piece->held))
			return fail(piece, BC_SOURCE_FAILED, "OpenSSL failed");
	}
	if (!EVP_DigestFinal_ex(context, digest, NULL))
		return fail(piece, BC_SOURCE_FAILED, "OpenSSL failed");
	memcpy(piece->md5, digest, sizeof(piece->md5));
	return true;
}

/**
 * bc_piece_open - read a block, or as much of it as is held
 * @piece: overwritten
 * @source: whose block
 * @extent: where
 * @sums: of all its bytes; taken over, also on failure
 * @stop: set by another thread if it is not wanted any more; may be NULL
 *
 * Returns false with status and text set; bc_piece_close() in any case.
 */
bool bc_piece_open(struct bc_piece *piece, struct bc_source *source, struct bc_extent extent,
		   struct bc_sum *sums, const bool *stop)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good;

	*piece = (struct bc_piece){ .source = source, .extent = extent, .sums = sums };
	piece->room = bc_piece_memory(extent.length);
	piece->window = malloc(piece->room);
	if (context && piece->window)
		good = hash(piece, context, stop);
	else
		good = fail(piece, BC_SOURCE_FAILED, "out of memory");
	EVP_MD_CTX_free(context);
	return good;
}

/**
 * bc_piece_bytes - some of the bytes
 * @piece: opened
 * @offset: in the block; any, also one that was before
 * @to: where to
 * @length: how many
 *
 * Returns false with status and text set.
 */
bool bc_piece_bytes(struct bc_piece *piece, uint64_t offset, void *to, size_t length)
{
	unsigned char *out = to;

	while (length) {
		uint32_t at = (uint32_t)offset, part;

		if ((at < piece->at || at >= piece->at + piece->held) &&
		    !fill(piece, at - at % piece->room))
			return false;
		part = (uint32_t)bc_min(length, piece->at + piece->held - at);
		memcpy(out, piece->window + (at - piece->at), part);
		out += part;
		offset += part;
		length -= part;
	}
	return true;
}

/**
 * bc_piece_close - free
 * @piece: zeroed, or opened
 */
void bc_piece_close(struct bc_piece *piece)
{
	free(piece->sums);
	free(piece->window);
	*piece = (struct bc_piece){ 0 };
}
