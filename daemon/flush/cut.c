// SPDX-License-Identifier: GPL-2.0-or-later
#include "flush/cut.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upload/crc.h"
#include "util.h"

struct cut_source {
	struct bc_source source;	/* first */
	struct bc_kernel *kernel;
	struct bc_kernel_cut cut;
};

static enum bc_source_status failed(int error, const char *what, char *text, size_t size)
{
	snprintf(text, size, "%s: %s", what, strerror(-error));
	/* Removed, or the kernel had no memory to keep the cut. */
	return error == -ENOENT || error == -ESTALE ? BC_SOURCE_STALE : BC_SOURCE_FAILED;
}

/* The kernel tells of the bytes that it has stored; zeroes follow. */
static bool to_sum(const struct bc_flush_block *block, uint64_t bytes, struct bc_sum *sum)
{
	static const uint8_t zeroes[BC_SUM_SIZE];
	uint32_t length = block->seq ? block->length : 0;
	size_t rest;

	if (length > bytes)
		return false;
	rest = (size_t)(bytes - length);
	*sum = (struct bc_sum){ .sequence = block->seq, .crc32c = length ? block->crc : 0 };
	if (rest)
		sum->crc32c = bc_crc_join(sum->crc32c, bc_crc_bytes(0, zeroes, rest), rest);
	return true;
}

static enum bc_source_status map(struct cut_source *cut, uint64_t first, size_t count,
				 struct bc_flush_block *blocks, struct bc_sum *sums,
				 char *text, size_t size)
{
	int error = bc_kernel_flush_map(cut->kernel, &cut->cut, first, blocks, (uint32_t)count);
	size_t i;

	if (error)
		return failed(error, "the kernel does not tell of blocks", text, size);
	for (i = 0; i < count; i++) {
		uint64_t begin = (first + i) * BC_SUM_SIZE;
		uint64_t bytes = bc_min(BC_SUM_SIZE, cut->cut.size - begin);

		if (to_sum(&blocks[i], bytes, &sums[i]))
			continue;
		snprintf(text, size, "the kernel tells of more bytes than there are, at %llu",
			 (unsigned long long)begin);
		return BC_SOURCE_FAILED;
	}
	return BC_SOURCE_OK;
}

static enum bc_source_status cut_sums(struct bc_source *source, uint64_t first, size_t count,
				      struct bc_sum *sums, char *text, size_t size)
{
	size_t most = bc_min(count, BC_FLUSH_MAP_MAX), done, part;
	struct bc_flush_block *blocks = calloc(most, sizeof(*blocks));
	enum bc_source_status status = BC_SOURCE_OK;

	if (!blocks) {
		snprintf(text, size, "out of memory");
		return BC_SOURCE_FAILED;
	}
	for (done = 0; done < count && status == BC_SOURCE_OK; done += part) {
		part = bc_min(count - done, most);
		status = map((struct cut_source *)source, first + done, part, blocks, sums + done,
			     text, size);
	}
	free(blocks);
	return status;
}

static enum bc_source_status cut_read(struct bc_source *source, uint64_t offset, void *to,
				      size_t length, char *text, size_t size)
{
	struct cut_source *cut = (struct cut_source *)source;
	size_t done, part;
	int error;

	for (done = 0; done < length; done += part) {
		part = bc_min(length - done, BC_READ_MAX);
		error = bc_kernel_flush_read(cut->kernel, &cut->cut, offset + done,
					     (char *)to + done, (uint32_t)part);
		if (error)
			return failed(error, "the kernel does not give the bytes", text, size);
	}
	return BC_SOURCE_OK;
}

/* All calls say whether the cut is still there; so does one that asks for nothing else. */
static enum bc_source_status cut_check(struct bc_source *source, char *text, size_t size)
{
	struct cut_source *cut = (struct cut_source *)source;
	struct bc_flush_block block;
	int error = bc_kernel_flush_map(cut->kernel, &cut->cut, 0, &block, 1);

	return error ? failed(error, "the kernel has given the cut up", text, size) : BC_SOURCE_OK;
}

static void cut_close(struct bc_source *source)
{
	free(source);
}

static const struct bc_source_ops cut_ops = {
	.sums = cut_sums,
	.read = cut_read,
	.check = cut_check,
	.close = cut_close,
};

/**
 * bc_cut_open - a cut as a source
 * @kernel: outlives it
 * @cut: begun; copied
 *
 * Mode and mtime are for the caller to set. Returns NULL if there is no memory.
 */
struct bc_source *bc_cut_open(struct bc_kernel *kernel, const struct bc_kernel_cut *cut)
{
	struct cut_source *source = calloc(1, sizeof(*source));

	if (!source)
		return NULL;
	source->kernel = kernel;
	source->cut = *cut;
	source->source.ops = &cut_ops;
	source->source.cut = cut->cut;
	source->source.size = cut->size;
	memcpy(source->source.generation, cut->generation, BC_GENERATION_SIZE);
	memcpy(source->source.lineage, cut->generation, BC_GENERATION_SIZE);
	return &source->source;
}
