// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read-ahead: what a sequential reader is going to miss is fetched to the tier before he comes,
 * without folios being locked for it. What is on the tier is left to the page cache's read-ahead.
 *
 * An open file, or a disk, follows a few streams, since threads may share it. A read that begins
 * where one of them is, or overlaps that, goes on with it; any other begins a new one, and fetches
 * nothing. With each miss that a stream meets ahead its window doubles.
 */
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/module.h>

#include "engine.h"

#define WINDOW_MIN	(2 * BC_CHUNK_SIZE)

static unsigned int readahead_max_mib = 16;
module_param(readahead_max_mib, uint, 0644);
MODULE_PARM_DESC(readahead_max_mib,
		 "how far ahead of a sequential reader missing chunks are fetched; 0 turns it off");

u64 bc_streams_window(void)
{
	return (u64)min(READ_ONCE(readahead_max_mib), 1024U) << 20;
}

static struct bc_stream *stream_find(struct bc_streams *streams, u64 pos, u64 end)
{
	u32 i;

	for (i = 0; i < BC_STREAMS; i++) {
		u64 next = READ_ONCE(streams->stream[i].next);

		if (pos <= next && next < end)
			return &streams->stream[i];
	}
	return NULL;
}

bool bc_streams_follow(struct bc_streams *streams, u64 pos, u64 end)
{
	return stream_find(streams, pos, end);
}

static void stream_begin(struct bc_streams *streams, u64 next)
{
	struct bc_stream *stream = &streams->stream[READ_ONCE(streams->turn) % BC_STREAMS];

	WRITE_ONCE(streams->turn, READ_ONCE(streams->turn) + 1);
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

void bc_streams_read(struct bc_streams *streams, struct bc_object *object, u64 pos, u64 end,
		     u64 max)
{
	struct bc_stream *stream = stream_find(streams, pos, end);
	struct bc_version version;

	if (!stream) {
		stream_begin(streams, end);
		return;
	}
	WRITE_ONCE(stream->next, end);
	if (max && bc_object_version(object, &version))
		stream_extend(stream, object, end, version.size, max);
}
