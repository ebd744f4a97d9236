// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free space of a tier, see frame.h. Frames with the same longest run of free
 * blocks are in one set, so that the tightest fit is found in a few steps.
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

static void set_add(struct bc_frames *frames, u32 run, u32 frame)
{
	u32 level, at = frame;

	for (level = 0; run && level < frames->levels; level++, at /= 64) {
		u64 *word = &frames->set[run][frames->level[level] + at / 64], before = *word;

		*word |= 1ULL << at % 64;
		if (before)
			break;
	}
}

static void set_del(struct bc_frames *frames, u32 run, u32 frame)
{
	u32 level, at = frame;

	for (level = 0; run && level < frames->levels; level++, at /= 64) {
		u64 *word = &frames->set[run][frames->level[level] + at / 64];

		*word &= ~(1ULL << at % 64);
		if (*word)
			break;
	}
}

/* The lowest member, or BC_FRAME_NONE. */
static u32 set_first(const struct bc_frames *frames, u32 run)
{
	u32 level = frames->levels, at = 0;

	while (level--) {
		u64 word = frames->set[run][frames->level[level] + at];

		if (!word)
			return BC_FRAME_NONE;
		at = at * 64 + __ffs64(word);
	}
	return at;
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
	set_del(frames, before, frame);
	set_add(frames, after, frame);
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

static void init_levels(struct bc_frames *frames)
{
	u64 words = frames->count;

	do {
		words = DIV_ROUND_UP(words, 64);
		frames->levels++;
		frames->level[frames->levels] = frames->level[frames->levels - 1] + words;
	} while (words > 1);
}

int bc_frames_init(struct bc_frames *frames, u64 count)
{
	u32 frame, run;

	BUILD_BUG_ON(BC_FRAME_LEVELS * 6 < 32);
	memset(frames, 0, sizeof(*frames));
	if (!count || count >= BC_FRAME_NONE)
		return -EINVAL;
	frames->count = count;
	init_levels(frames);
	frames->used = bc_table_alloc(count, sizeof(*frames->used));
	for (run = 1; run <= BC_FRAME_BLOCKS; run++) {
		frames->set[run] = bc_table_alloc(frames->level[frames->levels], sizeof(u64));
		if (!frames->set[run])
			break;
	}
	if (!frames->used || run <= BC_FRAME_BLOCKS) {
		bc_frames_free(frames);
		return -ENOMEM;
	}
	frames->free_blocks = count * BC_FRAME_BLOCKS;
	for (frame = 0; frame < count; frame++) {
		set_add(frames, BC_FRAME_BLOCKS, frame);
		if (!(frame & U16_MAX))
			cond_resched();
	}
	return 0;
}

void bc_frames_free(struct bc_frames *frames)
{
	u32 run;

	kvfree(frames->used);
	for (run = 1; run <= BC_FRAME_BLOCKS; run++)
		kvfree(frames->set[run]);
	memset(frames, 0, sizeof(*frames));
}

int bc_frames_alloc(struct bc_frames *frames, u32 blocks, struct bc_place *place)
{
	u32 frame = BC_FRAME_NONE, run;

	if (WARN_ON_ONCE(!blocks || blocks > BC_FRAME_BLOCKS))
		return -ENOSPC;
	for (run = blocks; run <= BC_FRAME_BLOCKS && frame == BC_FRAME_NONE; run++)
		frame = set_first(frames, run);
	if (frame == BC_FRAME_NONE)
		return -ENOSPC;
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

bool bc_frames_fit(const struct bc_frames *frames, u32 frame, u32 blocks)
{
	return longest_free_run(frames->used[frame]) >= blocks;
}

size_t bc_frames_memory(const struct bc_frames *frames)
{
	return frames->count * sizeof(*frames->used) +
	       (size_t)frames->level[frames->levels] * sizeof(u64) * BC_FRAME_BLOCKS;
}
