/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/recover.c kmod/pending.c kmod/record.c kmod/frame.c kmod/index.c */
/*
 * What an attach makes of the clean table: entries of the index, blocks in use, and
 * what is to be erased; window by window, whatever the size of the windows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "recover.h"

#define FRAMES		33		/* the last unit has but three */
#define UNITS		7
#define SEQ_RESERVED	5000

static struct bc_super super = {
	.uuid = { 1, 2, 3 }, .seq_reserved = SEQ_RESERVED, .layout.frame_count = FRAMES,
};

static struct bc_disk_clean_unit device[UNITS];
static struct bc_pending pending;
static struct bc_frames frames;
static struct bc_index index_;
static u32 damaged;

static struct bc_disk_desc *descs_of(u32 frame)
{
	return &device[bc_clean_unit_of(frame)].desc[bc_clean_desc_of(frame, 0)];
}

static void put(u32 frame, u32 slot, u8 key, u64 block, u64 seq)
{
	struct bc_desc desc = {
		.key = { { key } }, .block = block, .seq = seq, .length = BC_BLOCK_SIZE,
		.kind = BC_KIND_CLEAN,
	};

	bc_desc_encode(&desc, &descs_of(frame)[slot]);
}

static void put_run(u32 frame, u32 slot, u8 key, u64 block, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++)
		put(frame, slot + i, key, block + i, 1000);
}

static void seal(void)
{
	u64 unit;

	for (unit = 0; unit < UNITS; unit++)
		bc_unit_seal(&device[unit], BC_UNIT_MAGIC_CLEAN, unit, 3, super.uuid);
}

static int setup(void **state)
{
	(void)state;
	memset(device, 0, sizeof(device));
	damaged = 0;
	return bc_pending_init(&pending, FRAMES, 0) || bc_frames_init(&frames, FRAMES) ||
	       bc_index_init(&index_, 2 * FRAMES, 1);
}

static int teardown(void **state)
{
	(void)state;
	bc_pending_free(&pending);
	bc_frames_free(&frames);
	bc_index_free(&index_);
	assert_int_equal(bc_warnings, 0);
	return 0;
}

static void recover(u64 window)
{
	struct bc_disk_clean_unit units[UNITS];
	struct bc_recovery recovery = {
		.super = &super, .units = units, .pending = &pending, .frames = &frames,
		.index = &index_,
	};
	u64 unit, frame, seen = 0;

	for (; recovery.first < UNITS; recovery.first += recovery.count) {
		recovery.count = min(window, UNITS - recovery.first);
		memcpy(units, &device[recovery.first], recovery.count * sizeof(*units));
		for (unit = 0; unit < recovery.count; unit++)
			damaged += bc_recover_unit(&recovery, recovery.first + unit) == -EBADMSG;
		assert_int_equal(bc_recover_first(&recovery), seen);
		for (frame = seen; frame < bc_recover_end(&recovery); frame++)
			bc_recover_frame(&recovery, frame);
		seen = bc_recover_end(&recovery);
	}
	assert_int_equal(seen, FRAMES);
}

static void assert_chunk(u8 n, u32 chunk, u32 frame, u32 slot, u32 count, u16 valid)
{
	struct bc_key key = { { n } };
	struct bc_hit hit;

	assert_true(bc_index_peek(&index_, &key, chunk, &hit));
	assert_int_equal(hit.place.frame, frame);
	assert_int_equal(hit.place.slot, slot);
	assert_int_equal(hit.place.count, count);
	assert_int_equal(hit.valid, valid);
	assert_int_equal(frames.used[frame] & bc_blocks_mask(count) << slot,
			 bc_blocks_mask(count) << slot);
}

static void assert_nothing(u32 from, u32 end)
{
	for (; from < end; from++) {
		assert_int_equal(pending.erased[from], 0);
		assert_int_equal(frames.used[from], 0);
	}
}

/* Guards: a table in order is not written, however often it is attached. */
static void in_order(void **state)
{
	u64 window;

	(void)state;
	put_run(0, 0, 1, 0, 16);
	put_run(4, 3, 2, 0, 5);
	put_run(5, 0, 1, 16, 16);
	put_run(32, 12, 3, 2, 2);	/* in part */
	seal();
	for (window = 1; window <= UNITS; window++) {
		recover(window);
		assert_chunk(1, 0, 0, 0, 16, 0xffff);
		assert_chunk(2, 0, 4, 3, 5, 0x001f);
		assert_chunk(1, 1, 5, 0, 16, 0xffff);
		assert_chunk(3, 0, 32, 10, 4, 0x000c);
		assert_int_equal(index_.used, 4);
		assert_int_equal(frames.free_blocks, FRAMES * BC_FRAME_BLOCKS - 41);
		assert_int_equal(pending.units_dirty, 0);
		assert_nothing(6, 32);
		teardown(NULL);
		assert_int_equal(bc_pending_init(&pending, FRAMES, 0), 0);
		assert_int_equal(bc_frames_init(&frames, FRAMES), 0);
		assert_int_equal(bc_index_init(&index_, 2 * FRAMES, 1), 0);
	}
	assert_int_equal(damaged, 0);
}

/* Guards: what nobody owns is erased, on the device too, and nothing else of that unit. */
static void unowned(void **state)
{
	(void)state;
	put_run(0, 0, 1, 0, 16);
	put_run(7, 0, 1, 0, 4);		/* the same chunk again */
	put_run(7, 8, 2, 0, 4);
	put_run(8, 0, 3, 5, 2);		/* would begin before the frame */
	descs_of(9)[3].reserved[0] = 1;
	seal();
	recover(2);
	assert_int_equal(index_.used, 2);
	assert_chunk(1, 0, 0, 0, 16, 0xffff);
	assert_chunk(2, 0, 7, 8, 4, 0x000f);
	assert_int_equal(pending.erased[0], 0);
	assert_int_equal(pending.erased[7], 0x000f);
	assert_int_equal(pending.erased[8], 0x0003);
	assert_int_equal(pending.erased[9], 0x0008);
	assert_int_equal(frames.used[7], 0x0f00);
	assert_int_equal(pending.units_dirty, 1);
	assert_int_equal(bc_pending_next(&pending, 0), 1);
	bc_pending_apply(&pending, 1, &device[1]);
	assert_int_equal(descs_of(7)[0].kind, BC_KIND_FREE);
	assert_int_equal(descs_of(7)[8].kind, BC_KIND_CLEAN);
}

/*
 * Guards: a sequence that nobody handed out does not become a good one by the attach that raises
 * the limit: its descriptor goes.
 */
static void foreign_sequence(void **state)
{
	(void)state;
	put_run(11, 0, 1, 0, 3);
	put(11, 1, 1, 1, SEQ_RESERVED);
	seal();
	recover(1);
	assert_chunk(1, 0, 11, 0, 3, 0x0005);
	assert_int_equal(pending.erased[11], 0x0002);
	assert_int_equal(bc_pending_next(&pending, 0), 2);
	bc_pending_apply(&pending, 2, &device[2]);
	seal();
	teardown(NULL);
	assert_int_equal(bc_pending_init(&pending, FRAMES, 0), 0);
	assert_int_equal(bc_frames_init(&frames, FRAMES), 0);
	assert_int_equal(bc_index_init(&index_, 2 * FRAMES, 1), 0);
	super.seq_reserved += BC_SEQ_STEP;
	recover(1);
	super.seq_reserved = SEQ_RESERVED;
	assert_chunk(1, 0, 11, 0, 3, 0x0005);
	assert_int_equal(pending.units_dirty, 0);
}

/*
 * Guards: a unit that was never written, and a damaged one, are empty, and are not written for
 * that: who can read it next time may find more in it. When they are, they are not read before.
 */
static void void_and_damaged(void **state)
{
	u32 frame;

	(void)state;
	put_run(0, 0, 1, 0, 16);
	put_run(5, 0, 2, 0, 16);
	put_run(30, 0, 3, 0, 16);
	seal();
	device[1].desc[3].crc ^= cpu_to_le32(1);
	device[6].head.uuid[5]++;
	recover(4);
	assert_int_equal(damaged, 1);
	assert_int_equal(index_.used, 1);
	assert_int_equal(pending.units_dirty, 0);
	for (frame = 0; frame < FRAMES; frame++)
		assert_int_equal(pending.erased[frame],
				 bc_clean_unit_of(frame) % 5 == 1 ? 0xffff : 0);
	assert_false(bc_pending_covers(&pending, 0));
	assert_true(bc_pending_covers(&pending, 1));
	assert_true(bc_pending_covers(&pending, 6));
}

/* Guards: what does not fit into the index is not left on the device for the next attach to find. */
static void index_full(void **state)
{
	u32 frame;

	(void)state;
	bc_index_free(&index_);
	assert_int_equal(bc_index_init(&index_, 4, 1), 0);
	for (frame = 0; frame < 6; frame++)
		put_run(frame, 0, 1 + frame, 0, 16);
	seal();
	recover(1);
	assert_int_equal(index_.used, 4);
	assert_int_equal(pending.erased[3], 0);
	assert_int_equal(pending.erased[4], 0xffff);
	assert_int_equal(pending.erased[5], 0xffff);
	assert_int_equal(pending.units_dirty, 2);
	assert_int_equal(frames.used[4], 0);
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(in_order),
		test(unowned),
		test(foreign_sequence),
		test(void_and_damaged),
		test(index_full),
	};

	return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
