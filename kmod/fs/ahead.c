// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read-ahead: what a sequential reader is going to miss is fetched to the tier before he comes,
 * without folios being locked for it. What is on the tier is left to the page cache's read-ahead.
 *
 * An open file follows a few streams, since threads may share it. A read that begins where one of
 * them is, or overlaps that, goes on with it; any other begins a new one, and fetches nothing. With
 * each miss that a stream meets ahead its window doubles. Page faults come here like reads, by way
 * of ->readahead(). All of it is hints, without a lock.
 */
#include <linux/backing-dev.h>
#include <linux/fadvise.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "fs.h"

#define WINDOW_MIN	(2 * BC_CHUNK_SIZE)

static unsigned int readahead_max_mib = 16;
module_param(readahead_max_mib, uint, 0644);
MODULE_PARM_DESC(readahead_max_mib,
		 "how far ahead of a sequential reader missing chunks are fetched; 0 turns it off");

/* POSIX_FADV_SEQUENTIAL doubles it, POSIX_FADV_RANDOM stops it; the kernel keeps what was said. */
static u64 window_max(struct file *file, struct inode *mapping)
{
	u64 max = (u64)min(READ_ONCE(readahead_max_mib), 1024U) << 20;

	if (READ_ONCE(file->f_mode) & FMODE_RANDOM)
		return 0;
	return READ_ONCE(file->f_ra.ra_pages) > inode_to_bdi(mapping)->ra_pages ? max * 2 : max;
}

static struct bc_stream *stream_find(struct bc_file *bf, u64 pos, u64 end)
{
	u32 i;

	for (i = 0; i < BC_STREAMS; i++) {
		u64 next = READ_ONCE(bf->streams[i].next);

		if (pos <= next && next < end)
			return &bf->streams[i];
	}
	return NULL;
}

/**
 * bc_ahead_follows - does a read go on with a stream, so that what is behind it is read next?
 * @file: ours, not read past the cache
 * @pos: what is about to be read; bc_ahead() was not told of it yet
 * @end: its end; greater than @pos
 */
bool bc_ahead_follows(struct file *file, u64 pos, u64 end)
{
	return !(READ_ONCE(file->f_mode) & FMODE_RANDOM) &&
	       stream_find(file->private_data, pos, end);
}

static void stream_begin(struct bc_file *bf, u64 next)
{
	struct bc_stream *stream = &bf->streams[READ_ONCE(bf->stream_turn) % BC_STREAMS];

	WRITE_ONCE(bf->stream_turn, READ_ONCE(bf->stream_turn) + 1);
	WRITE_ONCE(stream->next, next);
	WRITE_ONCE(stream->window, 0);
	WRITE_ONCE(stream->ahead, 0);
}

static u64 first_missing(struct bc_object *object, u64 pos, u64 end)
{
	while (pos < end && bc_resident(object, pos))
		pos += BC_CHUNK_SIZE;
	return pos;
}

/* The reader has come to @end. */
static void stream_extend(struct bc_stream *stream, struct bc_object *object, u64 end, u64 size,
			  u64 max)
{
	u64 window = READ_ONCE(stream->window), start = round_up(end, BC_CHUNK_SIZE);
	u64 ahead = max(READ_ONCE(stream->ahead), start);
	u64 target, missing;
	int left;

	/* Twice per window, so that the next one is on its way before this one is read. */
	if (window && ahead - end > window / 2)
		return;
	window = clamp(window * 2, min_t(u64, WINDOW_MIN, max), max);
	target = min(start + window, round_up(size, BC_CHUNK_SIZE));
	missing = first_missing(object, ahead, target);
	if (missing >= target) {
		if (READ_ONCE(stream->window))
			WRITE_ONCE(stream->ahead, max(ahead, target));
		return;
	}
	left = bc_prefetch(object, missing, target - missing, BC_PRIORITY_READAHEAD);
	/* What could not be started is tried again with the next read. */
	if (left < 0)
		target = missing;
	else
		target -= (u64)left << BC_CHUNK_SHIFT;
	WRITE_ONCE(stream->window, window);
	WRITE_ONCE(stream->ahead, target);
}

/**
 * bc_ahead - fetch ahead of a reader, if he reads on and on
 * @file: ours, not read past the cache
 * @pos: what he reads now
 * @end: its end; greater than @pos
 *
 * Starts fills, waits for nothing. May sleep for memory (GFP_NOFS).
 */
void bc_ahead(struct file *file, u64 pos, u64 end)
{
	struct bc_file *bf = file->private_data;
	struct bc_object *object = BC_I(bf->mapping)->object;
	struct bc_stream *stream;
	u64 max;

	if (bc_object_binding(object) != BC_BOUND_STORE || READ_ONCE(bf->advised))
		return;
	stream = stream_find(bf, pos, end);
	if (!stream) {
		stream_begin(bf, end);
		return;
	}
	WRITE_ONCE(stream->next, end);
	max = window_max(file, bf->mapping);
	if (max)
		stream_extend(stream, object, end, i_size_read(bf->mapping), max);
}

/* Who asks for a file larger than this must not push out what others have in the page cache. */
static u64 willneed_budget(void)
{
	return ((u64)max(si_mem_available(), 0L) << PAGE_SHIFT) / 4;
}

/* What is on the tier goes to the page cache, as far as it should; what is not goes to the tier. */
static int willneed_tier(struct file *file, struct bc_object *object, u64 pos, u64 end)
{
	struct bc_file *bf = file->private_data;
	u64 last = min(end, pos + willneed_budget()), next;
	int error = 0;

	/* The kernel reads it as a sequential reader would, who wants no more than he said. */
	WRITE_ONCE(bf->advised, true);
	bc_prefetch(object, pos, end - pos, BC_PRIORITY_PREFETCH);
	for (; pos < last && !error; pos = next) {
		next = min(round_up(pos + 1, BC_CHUNK_SIZE), last);
		if (fatal_signal_pending(current))
			error = -EINTR;
		else if (bc_resident_part(object, pos, next))
			error = generic_fadvise(file, pos, next - pos, POSIX_FADV_WILLNEED);
		cond_resched();
	}
	WRITE_ONCE(bf->advised, false);
	return error;
}

/**
 * bc_ahead_willneed - POSIX_FADV_WILLNEED, also of readahead(2) and MADV_WILLNEED
 * @file: ours, not read past the cache
 * @offset: as posix_fadvise(2)
 * @length: as posix_fadvise(2)
 *
 * Return: 0 or errno.
 */
int bc_ahead_willneed(struct file *file, loff_t offset, loff_t length)
{
	struct bc_file *bf = file->private_data;
	struct bc_object *object = BC_I(bf->mapping)->object;
	u64 size = i_size_read(bf->mapping), end;

	if (offset < 0 || length < 0)
		return -EINVAL;
	end = length && length < size - min_t(u64, size, offset) ? offset + length : size;
	if (offset >= end)
		return 0;
	if (bc_cacheable(object))
		return willneed_tier(file, object, offset, end);
	bc_prefetch(object, offset, end - offset, BC_PRIORITY_PREFETCH);
	return generic_fadvise(file, offset, end - offset, POSIX_FADV_WILLNEED);
}
