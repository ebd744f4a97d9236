// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read-ahead of an open file, see stream.c, and what the reader advises. Page faults come here like
 * reads, by way of ->readahead(). All of it is hints, without a lock.
 */
#include <linux/backing-dev.h>
#include <linux/fadvise.h>
#include <linux/mm.h>

#include "fs.h"

/* POSIX_FADV_SEQUENTIAL doubles it, POSIX_FADV_RANDOM stops it; the kernel keeps what was said. */
static u64 window_max(struct file *file, struct inode *mapping)
{
	u64 max = bc_streams_window();

	if (READ_ONCE(file->f_mode) & FMODE_RANDOM)
		return 0;
	return READ_ONCE(file->f_ra.ra_pages) > inode_to_bdi(mapping)->ra_pages ? max * 2 : max;
}

/**
 * bc_ahead_follows - does a read go on with a stream, so that what is behind it is read next?
 * @file: ours, not read past the cache
 * @pos: what is about to be read; bc_ahead() was not told of it yet
 * @end: its end; greater than @pos
 */
bool bc_ahead_follows(struct file *file, u64 pos, u64 end)
{
	struct bc_file *bf = file->private_data;

	return !(READ_ONCE(file->f_mode) & FMODE_RANDOM) &&
	       bc_streams_follow(&bf->streams, pos, end);
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

	if (bc_object_binding(object) != BC_BOUND_STORE || READ_ONCE(bf->advised))
		return;
	bc_streams_read(&bf->streams, object, pos, end, window_max(file, bf->mapping));
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
