/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/frame.c */
/* Free space of a tier, against a model that is nothing but a bitmap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "frame.h"

#define FRAMES 24

static u64 seed;

static u32 roll(u32 below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % below;
}

static struct bc_place place_of(u32 frame, u8 slot, u8 count)
{
	return (struct bc_place){ .frame = frame, .slot = slot, .count = count };
}

/* Longest run of free blocks, the slow way. */
static u32 model_run(u16 used)
{
	u32 slot, run = 0, best = 0;

	for (slot = 0; slot < BC_FRAME_BLOCKS; slot++) {
		run = used >> slot & 1 ? 0 : run + 1;
		best = max(best, run);
	}
	return best;
}

static bool bit(const struct bc_frames *frames, u32 run, u32 level, u32 at)
{
	return frames->set[run][frames->level[level] + at / 64] >> at % 64 & 1;
}

/* Every frame is in the set of its longest run only; a set's levels agree; so do the counts. */
static void check(const struct bc_frames *frames, const u16 *model)
{
	u32 frame, run, level, at;
	u64 free = 0;

	for (run = 1; run <= BC_FRAME_BLOCKS; run++) {
		for (frame = 0; frame < frames->count; frame++)
			assert_int_equal(bit(frames, run, 0, frame),
					 model_run(model[frame]) == run);
		for (level = 1; level < frames->levels; level++)
			for (at = frames->level[level - 1]; at < frames->level[level]; at++)
				assert_int_equal(bit(frames, run, level,
						     at - frames->level[level - 1]),
						 !!frames->set[run][at]);
	}
	for (frame = 0; frame < frames->count; frame++) {
		assert_int_equal(frames->used[frame], model[frame]);
		free += BC_FRAME_BLOCKS - hweight16(model[frame]);
	}
	assert_int_equal(frames->free_blocks, free);
}

static u16 mask_of(const struct bc_place *place)
{
	return ((1U << place->count) - 1) << place->slot;
}

/* Guards: what bc_frames_init() promises, and refusal of sizes that numbers cannot reach. */
static void init(void **state)
{
	u16 model[FRAMES] = {};
	struct bc_frames frames;

	(void)state;
	assert_int_equal(bc_frames_init(&frames, 0), -EINVAL);
	assert_int_equal(bc_frames_init(&frames, BC_FRAME_NONE), -EINVAL);
	assert_int_equal(bc_frames_init(&frames, 1ULL << 40), -EINVAL);
	assert_int_equal(bc_frames_memory(&frames), 0);
	bc_frames_free(&frames);
	assert_int_equal(bc_frames_init(&frames, FRAMES), 0);
	check(&frames, model);
	bc_frames_free(&frames);
}

/* Guards: what a frame costs, and every frame is reached, whatever the number of levels. */
static void sizes(void **state)
{
	static const u32 counts[] = { 1, 2, 63, 64, 65, 4095, 4096, 4097, 262144, 262145, 1000000 };
	const struct bc_place last_block = place_of(0, 15, 1);
	struct bc_frames frames;
	struct bc_place place;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		assert_int_equal(bc_frames_init(&frames, counts[i]), 0);
		assert_true(bc_frames_memory(&frames) <=
			    BC_FRAMES_FRAME_BYTES * (size_t)counts[i] + 8 * BC_FRAME_BLOCKS *
			    BC_FRAME_LEVELS);
		place = last_block;
		place.frame = counts[i] - 1;
		assert_int_equal(bc_frames_take(&frames, &place), 0);
		assert_int_equal(bc_frames_alloc(&frames, 15, &place), 0);
		assert_int_equal(place.frame, counts[i] - 1);
		bc_frames_free(&frames);
	}
}

/* Guards: an empty tier fills in ascending order, to the last block, then says -ENOSPC. */
static void fills_up(void **state)
{
	struct bc_frames frames;
	struct bc_place place;
	u32 i;

	(void)state;
	assert_int_equal(bc_frames_init(&frames, FRAMES), 0);
	for (i = 0; i < FRAMES; i++) {
		assert_int_equal(bc_frames_alloc(&frames, BC_FRAME_BLOCKS, &place), 0);
		assert_int_equal(place.frame, i);
		assert_int_equal(place.slot, 0);
		assert_int_equal(place.count, BC_FRAME_BLOCKS);
	}
	assert_int_equal(frames.free_blocks, 0);
	assert_int_equal(bc_frames_alloc(&frames, 1, &place), -ENOSPC);
	bc_frames_free(&frames);
}

/* Guards: short objects share frames and do not break up whole ones; tightest run first. */
static void tightest_fit(void **state)
{
	const struct bc_place taken[] = {
		place_of(0, 2, 3),	/* leaves runs of 2 and 11 */
		place_of(1, 4, 12),	/* leaves a run of 4 */
	};
	struct bc_frames frames;
	struct bc_place place;
	size_t i;

	(void)state;
	assert_int_equal(bc_frames_init(&frames, 3), 0);
	for (i = 0; i < ARRAY_SIZE(taken); i++)
		assert_int_equal(bc_frames_take(&frames, &taken[i]), 0);
	assert_int_equal(bc_frames_alloc(&frames, 2, &place), 0);
	assert_memory_equal(&place, (&(struct bc_place){ 1, 0, 2 }), 6);
	assert_int_equal(bc_frames_alloc(&frames, 2, &place), 0);
	assert_memory_equal(&place, (&(struct bc_place){ 1, 2, 2 }), 6);
	assert_int_equal(bc_frames_alloc(&frames, 2, &place), 0);
	assert_memory_equal(&place, (&(struct bc_place){ 0, 0, 2 }), 6);
	assert_int_equal(bc_frames_alloc(&frames, 12, &place), 0);
	assert_memory_equal(&place, (&(struct bc_place){ 2, 0, 12 }), 6);
	assert_int_equal(bc_frames_alloc(&frames, 12, &place), -ENOSPC);
	bc_frames_free(&frames);
}

/* Guards: no block has two owners: a double free or foreign place is refused and told. */
static void misuse_is_refused(void **state)
{
	const struct bc_place bad[] = {
		place_of(FRAMES, 0, 1), place_of(U32_MAX, 0, 1), place_of(0, 0, 0),
		place_of(0, 16, 1), place_of(0, 1, 16), place_of(0, 255, 255), place_of(0, 200, 56),
	};
	u16 model[FRAMES] = {};
	struct bc_frames frames;
	struct bc_place place;
	size_t i;

	(void)state;
	bc_warnings = 1;	/* keep quiet */
	assert_int_equal(bc_frames_init(&frames, FRAMES), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(bc_frames_take(&frames, &bad[i]), -ERANGE);
		bc_frames_release(&frames, &bad[i]);
		assert_int_equal(bc_warnings, i + 2);
	}
	bc_warnings = 1;
	place = place_of(3, 4, 4);
	assert_int_equal(bc_frames_take(&frames, &place), 0);
	assert_int_equal(bc_frames_take(&frames, &place), -EEXIST);
	model[3] = 0x00f0;
	place = place_of(3, 7, 2);
	assert_int_equal(bc_frames_take(&frames, &place), -EEXIST);
	bc_frames_release(&frames, &place);	/* half of it is not in use */
	assert_int_equal(bc_warnings, 2);
	check(&frames, model);
	place = place_of(3, 4, 4);
	bc_frames_release(&frames, &place);
	assert_int_equal(bc_warnings, 2);
	bc_frames_release(&frames, &place);
	assert_int_equal(bc_warnings, 3);
	assert_int_equal(bc_frames_alloc(&frames, 0, &place), -ENOSPC);
	assert_int_equal(bc_frames_alloc(&frames, BC_FRAME_BLOCKS + 1, &place), -ENOSPC);
	assert_int_equal(bc_warnings, 5);
	model[3] = 0;
	check(&frames, model);
	bc_warnings = 0;
	bc_frames_free(&frames);
}

static void model_alloc(struct bc_frames *frames, u16 *model, u32 blocks)
{
	u32 frame, best = BC_FRAME_BLOCKS + 1, run;
	struct bc_place place;
	int err;

	for (frame = 0; frame < FRAMES; frame++) {
		run = model_run(model[frame]);
		if (run >= blocks)
			best = min(best, run);
	}
	err = bc_frames_alloc(frames, blocks, &place);
	if (best > BC_FRAME_BLOCKS) {
		assert_int_equal(err, -ENOSPC);
		return;
	}
	assert_int_equal(err, 0);
	assert_int_equal(place.count, blocks);
	assert_in_range(place.frame, 0, FRAMES - 1);
	assert_true(place.slot + place.count <= BC_FRAME_BLOCKS);
	assert_int_equal(model_run(model[place.frame]), best);
	assert_int_equal(model[place.frame] & mask_of(&place), 0);
	model[place.frame] |= mask_of(&place);
}

static void model_take(struct bc_frames *frames, u16 *model, const struct bc_place *place)
{
	bool free = !(model[place->frame] & mask_of(place));

	assert_int_equal(bc_frames_take(frames, place), free ? 0 : -EEXIST);
	if (free)
		model[place->frame] |= mask_of(place);
}

static void model_release(struct bc_frames *frames, u16 *model, const struct bc_place *place)
{
	if ((model[place->frame] & mask_of(place)) != mask_of(place))
		return;
	bc_frames_release(frames, place);
	model[place->frame] &= ~mask_of(place);
}

/* Guards: accounting adds up to the device exactly, whatever the order of calls. */
static void random_against_bitmap(void **state)
{
	u16 model[FRAMES] = {};
	struct bc_frames frames;
	int i;

	(void)state;
	seed = 0x5eed0001;
	assert_int_equal(bc_frames_init(&frames, FRAMES), 0);
	for (i = 0; i < 60000; i++) {
		u8 slot = roll(BC_FRAME_BLOCKS);
		struct bc_place place = place_of(roll(FRAMES), slot,
						 1 + roll(BC_FRAME_BLOCKS - slot));

		/* Rounds that fill up alternate with rounds that empty. */
		if (roll(8) < (i / 4000 % 2 ? 2 : 5))
			model_alloc(&frames, model, 1 + roll(BC_FRAME_BLOCKS));
		else if (roll(4))
			model_release(&frames, model, &place);
		else
			model_take(&frames, model, &place);
		if (i % 16 == 0)
			check(&frames, model);
	}
	check(&frames, model);
	assert_int_equal(bc_warnings, 0);
	bc_frames_free(&frames);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init),
		cmocka_unit_test(sizes),
		cmocka_unit_test(fills_up),
		cmocka_unit_test(tightest_fit),
		cmocka_unit_test(misuse_is_refused),
		cmocka_unit_test(random_against_bitmap),
	};

	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
