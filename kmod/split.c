// SPDX-License-Identifier: GPL-2.0-only
/*
 * A read of a chunk that the tier has in part: a run of blocks that are there is one
 * read of its own, a run of those that are not another.
 *
 * The parent's segments stay where they are until its done(); the parts point into
 * them. Each part holds the parent by the count of those that are on their way; the
 * last one ends it and frees them all.
 */
#include <linux/slab.h>

#include "engine.h"
#include "fill.h"
#include "split.h"
#include "tier.h"

struct split {
	struct bc_io *whole;
	atomic_t left;
	int error;		/* the first one; 0 = none */
	u32 count;
	struct part {
		struct bc_io io;
		struct split *split;
	} part[BC_CHUNK_BLOCKS];
	struct bio_vec bvecs[];
};

/* Any context. */
static void part_done(struct bc_io *io, int error)
{
	struct split *split = container_of(io, struct part, io)->split;
	struct bc_io *whole = split->whole;

	if (error)
		cmpxchg(&split->error, 0, error);
	if (!atomic_dec_and_test(&split->left))
		return;
	error = READ_ONCE(split->error);
	kfree(split);
	whole->done(whole, error);
}

/* Where the next part's segments come from. */
struct cursor {
	const struct bio_vec *bvec;
	u32 used;		/* bytes of it */
};

/* Point at the next @length bytes. Return: segments. */
static u32 take_segments(struct cursor *cursor, u32 length, struct bio_vec *to)
{
	u32 nr = 0;

	while (length) {
		u32 part = min(length, cursor->bvec->bv_len - cursor->used);
		u32 offset = cursor->bvec->bv_offset + cursor->used;

		to[nr].bv_page = cursor->bvec->bv_page + (offset >> PAGE_SHIFT);
		to[nr].bv_offset = offset & ~PAGE_MASK;
		to[nr++].bv_len = part;
		length -= part;
		cursor->used += part;
		if (cursor->used == cursor->bvec->bv_len) {
			cursor->bvec++;
			cursor->used = 0;
		}
	}
	return nr;
}

/* Bytes from @pos on that are in blocks alike, there or not; what is behind the end goes along. */
static u64 alike(const struct bc_io *io, u64 pos, u16 valid)
{
	u64 end = io->pos + io->length, size = io->object->version.size;
	u32 block = (pos & (BC_CHUNK_SIZE - 1)) >> BC_BLOCK_SHIFT;
	bool there = valid & BIT(block);

	for (pos = round_up(pos + 1, BC_BLOCK_SIZE); pos < end; pos += BC_BLOCK_SIZE) {
		block = (pos & (BC_CHUNK_SIZE - 1)) >> BC_BLOCK_SHIFT;
		if (pos < size && !(valid & BIT(block)) == there)
			break;
	}
	return min(pos, end);
}

static void make_parts(struct split *split, u16 valid)
{
	struct bc_io *whole = split->whole;
	struct cursor cursor = { .bvec = whole->bvecs };
	struct bio_vec *bvecs = split->bvecs;
	u64 pos = whole->pos, end = pos + whole->length, next;

	for (; pos < end; pos = next) {
		struct part *part = &split->part[split->count++];

		next = alike(whole, pos, valid);
		part->split = split;
		part->io.object = whole->object;
		part->io.pos = pos;
		part->io.length = next - pos;
		part->io.priority = whole->priority;
		part->io.sequential = whole->sequential;
		part->io.foreign = whole->foreign;
		part->io.deadline = whole->deadline;
		part->io.done = part_done;
		part->io.bvecs = bvecs;
		part->io.nr_bvecs = take_segments(&cursor, part->io.length, bvecs);
		bvecs += part->io.nr_bvecs;
	}
}

bool bc_split_read(struct bc_io *io, u16 valid)
{
	u32 nr_bvecs = io->nr_bvecs + BC_CHUNK_BLOCKS, i, count;
	struct split *split;

	split = kzalloc(struct_size(split, bvecs, nr_bvecs), GFP_NOFS | __GFP_NOWARN);
	if (!split)
		return false;
	split->whole = io;
	make_parts(split, valid);
	count = split->count;
	atomic_set(&split->left, count);
	/* The last part to end frees it: nothing of it is looked at once that one was started. */
	for (i = 0; i < count; i++)
		bc_read(&split->part[i].io);
	return true;
}
