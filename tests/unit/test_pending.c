/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/pending.c kmod/record.c */
/*
 * What waits to be written to the clean table: whatever happens while a unit is being
 * written, and whether that works or not, each descriptor is the one that was set
 * last, and comes to the device in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "pending.h"

#define FRAMES	13		/* the last unit has but three */
#define UNITS	3
#define ALL	0xffff

static u64 seed, last_seq;

static u32 roll(u32 below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % below;
}

static struct bc_pending pending;
static struct bc_disk_clean_unit device[UNITS];
static struct bc_disk_desc model[FRAMES][BC_FRAME_BLOCKS];

static int setup(void **state)
{
	(void)state;
	memset(device, 0, sizeof(device));
	memset(model, 0, sizeof(model));
	last_seq = 0;
	return bc_pending_init(&pending, FRAMES, 100);
}

static int teardown(void **state)
{
	(void)state;
	bc_pending_free(&pending);
	assert_int_equal(bc_warnings, 0);
	return 0;
}

static struct bc_overlay *spare(void)
{
	struct bc_overlay *overlay;

	if (!bc_pending_reserve(&pending))
		return NULL;
	overlay = malloc(sizeof(*overlay));
	assert_non_null(overlay);
	memset(overlay, 0xa5, sizeof(*overlay));
	return overlay;
}

static void put_back(struct bc_overlay *overlay)
{
	if (overlay)
		bc_pending_unreserve(&pending);
	free(overlay);
}

/* New descriptors for these blocks of a frame, as a store makes them. */
static void set(u32 frame, u16 blocks)
{
	struct bc_overlay *reserved = spare(), *overlay;
	u32 slot;

	overlay = bc_pending_overlay(&pending, frame, &reserved);
	for (slot = 0; slot < BC_FRAME_BLOCKS; slot++) {
		struct bc_desc desc = {
			.key = { { frame } }, .block = slot, .seq = ++last_seq, .length = 1 + slot,
			.kind = BC_KIND_CLEAN,
		};

		if (!(blocks & BIT(slot)))
			continue;
		bc_desc_encode(&desc, &overlay->desc[slot]);
		model[frame][slot] = overlay->desc[slot];
	}
	bc_pending_set(&pending, overlay, blocks);
	put_back(reserved);
}

static void erase(u32 frame, u16 blocks)
{
	u32 slot;

	bc_pending_erase(&pending, frame, blocks);
	for (slot = 0; slot < BC_FRAME_BLOCKS; slot++)
		if (blocks & BIT(slot))
			memset(&model[frame][slot], 0, sizeof(model[frame][slot]));
}

static struct bc_disk_desc *on_device(u32 frame)
{
	return &device[bc_clean_unit_of(frame)].desc[bc_clean_desc_of(frame, 0)];
}

/* The unit as it is to be written. */
static void copy(u64 unit, struct bc_disk_clean_unit *bytes)
{
	if (bc_pending_covers(&pending, unit))
		memset(bytes, 0, sizeof(*bytes));
	else
		*bytes = device[unit];
	bc_pending_apply(&pending, unit, bytes);
	assert_false(test_bit(unit, pending.dirty));
}

static void written(u64 unit, const struct bc_disk_clean_unit *bytes)
{
	device[unit] = *bytes;
	bc_pending_written(&pending, unit, bytes);
}

/* Each descriptor is what it was made last. */
static void check_descs(void)
{
	struct bc_disk_desc descs[BC_FRAME_BLOCKS];
	u32 frame;

	for (frame = 0; frame < FRAMES; frame++) {
		memcpy(descs, on_device(frame), sizeof(descs));
		bc_pending_get(&pending, frame, descs);
		assert_memory_equal(descs, model[frame], sizeof(descs));
	}
}

static u32 count_overlays(void)
{
	const struct bc_overlay *overlay;
	u32 i, count = 0;

	for (i = 0; i < BC_PENDING_BUCKETS; i++)
		for (overlay = pending.bucket[i]; overlay; overlay = overlay->next) {
			assert_true(overlay->set);
			assert_int_equal(overlay->frame % BC_PENDING_BUCKETS, i);
			assert_false(overlay->set & pending.erased[overlay->frame]);
			count++;
		}
	return count;
}

static void check(void)
{
	u64 unit, dirty = 0;

	check_descs();
	assert_int_equal(pending.overlays, count_overlays());
	for (unit = bc_pending_next(&pending, 0); unit < pending.units;
	     unit = bc_pending_next(&pending, unit + 1))
		dirty++;
	assert_int_equal(pending.units_dirty, dirty);
}

/* All of it is on the device, and nothing waits. */
static void check_settled(void)
{
	u32 frame;

	check();
	assert_int_equal(pending.units_dirty, 0);
	assert_int_equal(pending.overlays, 0);
	for (frame = 0; frame < FRAMES; frame++) {
		assert_memory_equal(on_device(frame), model[frame], sizeof(model[frame]));
		assert_int_equal(pending.erased[frame], 0);
	}
}

static void write_all(void)
{
	struct bc_disk_clean_unit bytes;
	u64 unit = 0;

	while ((unit = bc_pending_next(&pending, unit)) < pending.units) {
		copy(unit, &bytes);
		written(unit, &bytes);
	}
}

/* Guards: what is set or erased comes to the device, and only that. */
static void set_and_erase(void **state)
{
	(void)state;
	check_settled();
	set(2, 0x000f);
	set(2, 0x8000);
	set(12, ALL);
	check();
	assert_int_equal(pending.overlays, 2);
	assert_int_equal(pending.units_dirty, 2);
	write_all();
	check_settled();
	erase(2, 0x0006);
	check();
	assert_int_equal(pending.overlays, 0);
	write_all();
	check_settled();
	assert_int_equal(on_device(2)[0].kind, BC_KIND_CLEAN);
	assert_int_equal(on_device(2)[1].kind, BC_KIND_FREE);
}

/* Guards: what was erased before it was ever written leaves nothing behind, in memory neither. */
static void erased_before_written(void **state)
{
	(void)state;
	set(3, 0x00ff);
	erase(3, 0x00f0);
	check();
	assert_int_equal(pending.overlays, 1);
	erase(3, 0x000f);
	check();
	assert_int_equal(pending.overlays, 0);
	write_all();
	check_settled();
}

/* Guards: a place that was given to another chunk has that one's descriptors. */
static void set_after_erase(void **state)
{
	(void)state;
	set(3, 0x00ff);
	write_all();
	erase(3, 0x00ff);
	set(3, 0x000f);
	check();
	write_all();
	check_settled();
	assert_int_equal(on_device(3)[4].kind, BC_KIND_FREE);
}

/* Guards: what is set while its unit is being written is not taken for written. */
static void set_during_write(void **state)
{
	struct bc_disk_clean_unit bytes;

	(void)state;
	set(1, 0x0003);
	copy(0, &bytes);
	set(1, 0x000c);		/* more of that frame */
	set(4, 0x0001);		/* another of that unit */
	written(0, &bytes);
	check();
	assert_int_equal(pending.overlays, 2);
	assert_int_equal(pending.units_dirty, 1);
	assert_int_equal(on_device(1)[2].kind, BC_KIND_FREE);
	write_all();
	check_settled();
}

/* Guards: a block that goes while its record is being written stays gone: it may be another's now. */
static void erase_during_write(void **state)
{
	struct bc_disk_clean_unit bytes;

	(void)state;
	set(1, 0x0003);
	copy(0, &bytes);
	erase(1, 0x0001);
	check();
	written(0, &bytes);
	check();
	assert_int_equal(on_device(1)[0].kind, BC_KIND_CLEAN);
	assert_int_equal(pending.units_dirty, 1);
	assert_int_equal(pending.erased[1], 0x0001);
	write_all();
	check_settled();
}

/* Guards: the same for one whose place was given away, and for one that came back to where it was. */
static void replaced_during_write(void **state)
{
	struct bc_disk_clean_unit bytes;

	(void)state;
	set(1, 0x0003);
	set(2, 0x0003);
	write_all();
	erase(2, 0x0003);
	copy(0, &bytes);
	erase(1, 0x0003);
	set(1, 0x0001);
	set(2, 0x0001);
	erase(2, 0x0001);
	check();
	written(0, &bytes);
	check();
	assert_int_equal(pending.overlays, 1);
	write_all();
	check_settled();
}

/* Guards: a write that fails costs nothing, whether the device has some of it or not. */
static void failed_write(void **state)
{
	struct bc_disk_clean_unit bytes;
	int turn;

	(void)state;
	for (turn = 0; turn < 2; turn++) {
		set(1, 0x0003);
		set(3, 0x0010);
		write_all();
		set(1, 0x0030);
		erase(3, 0x0010);
		copy(0, &bytes);
		erase(1, 0x0001);
		set(3, 0x0020);
		if (turn)
			device[0] = bytes;
		bc_pending_mark(&pending, 0);
		check();
		assert_int_equal(pending.units_dirty, 1);
		write_all();
		check_settled();
		erase(1, ALL);
		erase(3, ALL);
		write_all();
	}
}

/* Guards: memory is bounded: when too many wait there is no more, until some were written. */
static void bounded(void **state)
{
	struct bc_overlay *held[FRAMES];
	u32 i;

	(void)state;
	bc_pending_free(&pending);
	assert_int_equal(bc_pending_init(&pending, FRAMES, FRAMES), 0);
	for (i = 0; i < FRAMES - 1; i++)
		set(i, 1);
	held[0] = spare();
	assert_non_null(held[0]);
	assert_null(spare());
	put_back(held[0]);
	/* What goes to a frame that has an overlay needs none. */
	set(0, 2);
	held[0] = spare();
	assert_non_null(held[0]);
	put_back(held[0]);
	write_all();
	for (i = 0; i < FRAMES; i++) {
		held[i] = spare();
		assert_non_null(held[i]);
	}
	assert_null(spare());
	for (i = 0; i < FRAMES; i++)
		put_back(held[i]);
	check_settled();
}

/* Guards: a unit of which all waits is not read; one of which anything does not is. */
static void covers(void **state)
{
	u32 frame;

	(void)state;
	assert_false(bc_pending_covers(&pending, 2));
	for (frame = 10; frame < FRAMES; frame++)
		set(frame, ALL);
	assert_true(bc_pending_covers(&pending, 2));
	write_all();
	assert_false(bc_pending_covers(&pending, 2));
	erase(10, ALL);
	erase(11, ALL);
	erase(12, 0xff00);
	set(12, 0x00fe);
	assert_false(bc_pending_covers(&pending, 2));
	set(12, 0x0001);
	assert_true(bc_pending_covers(&pending, 2));
	write_all();
	check_settled();
}

/* Guards: a damaged unit costs what was in it, and nothing that came since; it is not written for that. */
static void lost(void **state)
{
	u32 frame;

	(void)state;
	for (frame = 0; frame < FRAMES; frame++)
		set(frame, 0x0ff0);
	write_all();
	set(6, 0x000f);
	erase(7, 0x0010);
	write_all();
	set(8, 0x0001);
	memset(&device[1], 0x5a, sizeof(device[1]));
	bc_pending_lost(&pending, 1);
	for (frame = 5; frame < 10; frame++)
		memset(model[frame], 0, sizeof(model[frame]));
	model[8][0] = pending.bucket[8]->desc[0];
	check();
	assert_true(bc_pending_covers(&pending, 1));
	write_all();
	check_settled();

	memset(&device[2], 0x5a, sizeof(device[2]));
	bc_pending_lost(&pending, 2);
	for (frame = 10; frame < FRAMES; frame++)
		memset(model[frame], 0, sizeof(model[frame]));
	check();
	assert_int_equal(pending.units_dirty, 0);
}

/* Guards: what it costs is what the header says, and what waits is counted. */
static void memory(void **state)
{
	struct bc_pending large;
	size_t idle = bc_pending_memory(&pending);

	(void)state;
	set(1, 1);
	assert_int_equal(bc_pending_memory(&pending), idle + sizeof(struct bc_overlay));
	/* More would take a page for four. */
	assert_true(sizeof(struct bc_overlay) <= 1024);
	assert_int_equal(bc_pending_init(&large, 1000000, 10), 0);
	assert_true(bc_pending_memory(&large) <= BC_PENDING_FRAME_BYTES * 1000000);
	bc_pending_free(&large);
}

/* A unit that is being written; the device may have it already. */
static struct {
	bool on;
	struct bc_disk_clean_unit bytes;
} flight[UNITS];

static void random_lost(u64 unit)
{
	u64 frame;
	u32 slot, i;

	for (i = 0; i < sizeof(device[unit]); i++)
		((u8 *)&device[unit])[i] = roll(256);
	for (frame = unit * BC_CLEAN_FRAMES;
	     frame < min_t(u64, FRAMES, (unit + 1) * BC_CLEAN_FRAMES); frame++) {
		struct bc_disk_desc descs[BC_FRAME_BLOCKS];
		u16 known = bc_pending_get(&pending, frame, descs);

		for (slot = 0; slot < BC_FRAME_BLOCKS; slot++)
			if (!(known & BIT(slot)))
				memset(&model[frame][slot], 0, sizeof(model[frame][slot]));
	}
	bc_pending_lost(&pending, unit);
}

static void random_end(u64 unit)
{
	u32 how = roll(8);

	flight[unit].on = false;
	if (how < 4) {
		written(unit, &flight[unit].bytes);
		return;
	}
	/* It failed: the device has it, or has not, or neither. */
	if (how == 4)
		device[unit] = flight[unit].bytes;
	else if (how == 5)
		random_lost(unit);
	bc_pending_mark(&pending, unit);
}

static void random_step(void)
{
	u32 frame = roll(FRAMES), slot = roll(BC_FRAME_BLOCKS);
	u16 blocks = (u16)((1U << (1 + roll(BC_FRAME_BLOCKS - slot))) - 1) << slot;
	u64 unit = roll(UNITS);

	switch (roll(8)) {
	case 0:
	case 1:
		set(frame, blocks & (roll(3) ? ALL : 1 + roll(ALL)) ?: 1);
		break;
	case 2:
	case 3:
		erase(frame, blocks);
		break;
	default:
		if (flight[unit].on)
			random_end(unit);
		else if (test_bit(unit, pending.dirty) && (flight[unit].on = true))
			copy(unit, &flight[unit].bytes);
	}
}

/* Guards: all of the above, in any order. */
static void random_steps(void **state)
{
	u32 i, unit;

	(void)state;
	seed = 0x5eed0011;
	for (i = 0; i < 60000; i++) {
		random_step();
		check();
		if (i % 1000)
			continue;
		for (unit = 0; unit < UNITS; unit++)
			if (flight[unit].on)
				random_end(unit);
		write_all();
		check();
		assert_int_equal(pending.overlays, 0);
	}
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* The units of one way, as digits. */
static u32 way(struct bc_pending_walk *at)
{
	u32 units = 0;
	u64 unit;

	bc_pending_walk(&pending, at);
	while ((unit = bc_pending_walk_next(&pending, at)) != BC_PENDING_END)
		units = 10 * units + 1 + unit;
	assert_int_equal(bc_pending_walk_next(&pending, at), BC_PENDING_END);
	return units;
}

static void walk(void **state)
{
	struct bc_pending_walk at = {};

	(void)state;
	assert_int_equal(way(&at), 0);
	bc_pending_mark(&pending, 0);
	bc_pending_mark(&pending, 2);
	assert_int_equal(way(&at), 13);
	assert_int_equal(way(&at), 13);
	bc_pending_mark(&pending, 1);
	at.cursor = 1;
	assert_int_equal(way(&at), 231);
	at.cursor = UNITS;
	assert_int_equal(way(&at), 123);
	/* One that ends early is gone on with. */
	at.cursor = 0;
	bc_pending_walk(&pending, &at);
	assert_int_equal(bc_pending_walk_next(&pending, &at), 0);
	assert_int_equal(way(&at), 231);
}

/* However often a unit becomes dirty: one way meets it once. */
static void walk_while_it_changes(void **state)
{
	struct bc_pending_walk at = {};
	u32 round, met;
	u64 unit;

	(void)state;
	for (round = 0; round < 200; round++) {
		met = 0;
		bc_pending_walk(&pending, &at);
		bc_pending_mark(&pending, roll(UNITS));
		while ((unit = bc_pending_walk_next(&pending, &at)) != BC_PENDING_END) {
			assert_true(unit < UNITS && !(met & BIT(unit)));
			met |= BIT(unit);
			bc_pending_apply(&pending, unit, &device[unit]);
			bc_pending_mark(&pending, roll(UNITS));
			bc_pending_mark(&pending, roll(UNITS));
		}
		assert_true(met);
		if (roll(2))
			at.cursor = roll(UNITS + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(set_and_erase),
		test(erased_before_written),
		test(set_after_erase),
		test(set_during_write),
		test(erase_during_write),
		test(replaced_during_write),
		test(failed_write),
		test(bounded),
		test(covers),
		test(lost),
		test(memory),
		test(walk),
		test(walk_while_it_changes),
		test(random_steps),
	};

	return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}
