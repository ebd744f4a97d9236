/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/frame.c */
/* flags: -max_len=300 */
/*
 * The allocator of frames against a map of blocks: no block twice, none lost, and
 * what fits is found, where it fits tightest.
 */
#include "frame.h"
#include "fuzz.h"

#define FRAMES_MAX	4200U		/* three levels of sets */
#define PLACES_MAX	256U

static u16 map[FRAMES_MAX];
static u32 runs[BC_FRAME_BLOCKS + 1];	/* frames by their longest free run */
static struct bc_place places[PLACES_MAX];
static u32 used_places, count;
static u64 free_blocks;

static u16 mask_of(const struct bc_place *place)
{
	return ((1U << place->count) - 1) << place->slot;
}

static u8 longest[U16_MAX + 1];		/* free run, by what is used */

static u32 longest_run(u16 used)
{
	return longest[used];
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	u32 used, run, slot;

	(void)argc;
	(void)argv;
	for (used = 0; used <= U16_MAX; used++) {
		for (slot = 0, run = 0; slot < BC_FRAME_BLOCKS; slot++) {
			run = used >> slot & 1 ? 0 : run + 1;
			longest[used] = max(longest[used], run);
		}
	}
	return 0;
}

static void set_map(u32 frame, u16 used)
{
	runs[longest_run(map[frame])]--;
	map[frame] = used;
	runs[longest_run(used)]++;
}

/* Of all frames the shortest longest run that suffices, or 0. */
static u32 tightest(u32 blocks)
{
	while (blocks <= BC_FRAME_BLOCKS && !runs[blocks])
		blocks++;
	return blocks > BC_FRAME_BLOCKS ? 0 : blocks;
}

static void mark(const struct bc_place *place)
{
	need(place->frame < count && place->count &&
	     place->slot + place->count <= BC_FRAME_BLOCKS);
	need(!(map[place->frame] & mask_of(place)));
	set_map(place->frame, map[place->frame] | mask_of(place));
	free_blocks -= place->count;
	places[used_places++] = *place;
}

static void alloc(struct bc_frames *frames, u32 blocks)
{
	u32 best = tightest(blocks);
	struct bc_place place;
	int ret = bc_frames_alloc(frames, blocks, &place);

	need(ret == (best ? 0 : -ENOSPC));
	if (ret)
		return;
	need(place.count == blocks && longest_run(map[place.frame]) == best);
	mark(&place);
}

static void take_given(struct bc_frames *frames, struct input *input)
{
	struct bc_place place = {
		.frame = take16(input) % (count + 2), .slot = take8(input) % 20,
		.count = take8(input) % 20,
	};
	int want = 0, ret = bc_frames_take(frames, &place);

	if (place.frame >= count || !place.count || place.slot + place.count > BC_FRAME_BLOCKS)
		want = -ERANGE;
	else if (map[place.frame] & mask_of(&place))
		want = -EEXIST;
	need(ret == want);
	if (!ret)
		mark(&place);
}

static void release(struct bc_frames *frames, u32 which)
{
	struct bc_place place = places[which];

	places[which] = places[--used_places];
	set_map(place.frame, map[place.frame] & ~mask_of(&place));
	free_blocks += place.count;
	bc_frames_release(frames, &place);
}

static void step(struct bc_frames *frames, struct input *input)
{
	u8 what = take8(input);

	if (what & 1 && used_places < PLACES_MAX)
		alloc(frames, 1 + (what >> 1) % BC_FRAME_BLOCKS);
	else if (what & 2 && used_places < PLACES_MAX)
		take_given(frames, input);
	else if (used_places)
		release(frames, (what >> 2) * 7U % used_places);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct bc_frames frames;
	u32 frame, steps;
	u8 large = take8(&input);

	/* Mostly few frames, so that they fill up. */
	count = large == 0xff ? 1 + take16(&input) % FRAMES_MAX : 1 + large % 20;
	need(!bc_frames_init(&frames, count));
	memset(map, 0, count * sizeof(map[0]));
	memset(runs, 0, sizeof(runs));
	runs[BC_FRAME_BLOCKS] = count;
	used_places = 0;
	free_blocks = (u64)count * BC_FRAME_BLOCKS;
	for (steps = 0; input.left && steps < 200; steps++) {
		step(&frames, &input);
		need(frames.free_blocks == free_blocks);
	}
	for (frame = 0; frame < count; frame++)
		need(frames.used[frame] == map[frame]);
	while (used_places)
		release(&frames, used_places - 1);
	/* Merged again: each frame can be had as a whole, once. */
	for (frame = 0; frame < count; frame++) {
		struct bc_place place;

		need(!bc_frames_alloc(&frames, BC_FRAME_BLOCKS, &place) && place.frame == frame);
	}
	need(!frames.free_blocks && !bc_warnings);
	bc_frames_free(&frames);
	return 0;
}
