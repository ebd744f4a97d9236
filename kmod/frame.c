// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free space of a tier, see frame.h. Frames with the same longest run of free
 * blocks are on one list, so that the tightest fit is found without a search.
 */
#include "frame.h"

static u16 mask_of(u32 slot, u32 count)
{
	return ((1U << count) - 1) << slot;
}

static u32 longest_free_run(u16 used)
{
	u32 free = (u16)~used, run = 0;

	/* Each step shortens every run by one. */
	for (; free; free &= free << 1)
		run++;
	return run;
}

static void list_add_frame(struct bc_frames *frames, u32 frame, u32 run)
{
	u32 head = frames->head[run];

	frames->prev[frame] = BC_FRAME_NONE;
	frames->next[frame] = head;
	if (head != BC_FRAME_NONE)
		frames->prev[head] = frame;
	frames->head[run] = frame;
}

static void list_del_frame(struct bc_frames *frames, u32 frame, u32 run)
{
	u32 next = frames->next[frame], prev = frames->prev[frame];

	if (next != BC_FRAME_NONE)
		frames->prev[next] = prev;
	if (prev != BC_FRAME_NONE)
		frames->next[prev] = next;
	else
		frames->head[run] = next;
}

static void set_used(struct bc_frames *frames, u32 frame, u16 used)
{
	u32 before = longest_free_run(frames->used[frame]);
	u32 after = longest_free_run(used);

	frames->free_blocks += hweight16(frames->used[frame]);
	frames->free_blocks -= hweight16(used);
	frames->used[frame] = used;
	if (before == after)
		return;
	list_del_frame(frames, frame, before);
	list_add_frame(frames, frame, after);
}

/* Where the shortest run of at least @blocks free blocks begins; there is one. */
static u32 tightest_run(u16 used, u32 blocks)
{
	u32 slot = 0, best = 0, best_run = BC_FRAME_BLOCKS + 1;

	while (slot < BC_FRAME_BLOCKS) {
		u32 start = slot;

		while (slot < BC_FRAME_BLOCKS && !(used & mask_of(slot, 1)))
			slot++;
		if (slot - start >= blocks && slot - start < best_run) {
			best = start;
			best_run = slot - start;
		}
		slot++;
	}
	return best;
}

static bool place_valid(const struct bc_frames *frames, const struct bc_place *place)
{
	return place->frame < frames->count && place->count &&
	       place->slot + place->count <= BC_FRAME_BLOCKS;
}

int bc_frames_init(struct bc_frames *frames, u64 count)
{
	u32 frame, run;

	memset(frames, 0, sizeof(*frames));
	if (!count || count >= BC_FRAME_NONE)
		return -EINVAL;
	frames->used = bc_table_alloc(count, sizeof(*frames->used));
	frames->next = bc_table_alloc(count, sizeof(*frames->next));
	frames->prev = bc_table_alloc(count, sizeof(*frames->prev));
	if (!frames->used || !frames->next || !frames->prev) {
		bc_frames_free(frames);
		return -ENOMEM;
	}
	frames->count = count;
	frames->free_blocks = count * BC_FRAME_BLOCKS;
	for (run = 0; run <= BC_FRAME_BLOCKS; run++)
		frames->head[run] = BC_FRAME_NONE;
	/* Backwards, so that an empty tier fills in ascending order. */
	for (frame = count; frame-- > 0; ) {
		list_add_frame(frames, frame, BC_FRAME_BLOCKS);
		if (!(frame & U16_MAX))
			cond_resched();
	}
	return 0;
}

void bc_frames_free(struct bc_frames *frames)
{
	kvfree(frames->used);
	kvfree(frames->next);
	kvfree(frames->prev);
	memset(frames, 0, sizeof(*frames));
}

int bc_frames_alloc(struct bc_frames *frames, u32 blocks, struct bc_place *place)
{
	u32 frame, run;

	if (WARN_ON_ONCE(!blocks || blocks > BC_FRAME_BLOCKS))
		return -ENOSPC;
	for (run = blocks; run <= BC_FRAME_BLOCKS; run++)
		if (frames->head[run] != BC_FRAME_NONE)
			break;
	if (run > BC_FRAME_BLOCKS)
		return -ENOSPC;
	frame = frames->head[run];
	place->frame = frame;
	place->slot = tightest_run(frames->used[frame], blocks);
	place->count = blocks;
	set_used(frames, frame, frames->used[frame] | mask_of(place->slot, blocks));
	return 0;
}

void bc_frames_release(struct bc_frames *frames, const struct bc_place *place)
{
	u16 mask;

	if (WARN_ON_ONCE(!place_valid(frames, place)))
		return;
	mask = mask_of(place->slot, place->count);
	if (WARN_ON_ONCE((frames->used[place->frame] & mask) != mask))
		return;
	set_used(frames, place->frame, frames->used[place->frame] & ~mask);
}

int bc_frames_take(struct bc_frames *frames, const struct bc_place *place)
{
	u16 mask;

	if (!place_valid(frames, place))
		return -ERANGE;
	mask = mask_of(place->slot, place->count);
	if (frames->used[place->frame] & mask)
		return -EEXIST;
	set_used(frames, place->frame, frames->used[place->frame] | mask);
	return 0;
}

size_t bc_frames_memory(const struct bc_frames *frames)
{
	return (size_t)frames->count *
	       (sizeof(*frames->used) + sizeof(*frames->next) + sizeof(*frames->prev));
}
