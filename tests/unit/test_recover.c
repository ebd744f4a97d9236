/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/record.c */
/*
 * What an attach makes of a frame's descriptors: extents of chunks, never more
 * than the descriptors say, whatever they say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "record.h"

static u64 seed;

static u32 roll(u32 below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % below;
}

static struct bc_disk_desc descs[BC_FRAME_BLOCKS];

static int setup(void **state)
{
	(void)state;
	memset(descs, 0, sizeof(descs));
	return 0;
}

static void put(u32 slot, u8 key, u64 block, u32 length)
{
	struct bc_desc desc = {
		.key = { { key } }, .block = block, .seq = 1000 + slot, .length = length,
		.crc = 7 * slot, .kind = BC_KIND_CLEAN,
	};

	bc_desc_encode(&desc, &descs[slot]);
}

static void put_run(u32 slot, u8 key, u64 block, u32 count, u32 tail)
{
	u32 i;

	for (i = 0; i < count; i++)
		put(slot + i, key, block + i, i + 1 < count ? BC_BLOCK_SIZE : tail);
}

static const u64 no_end = U64_MAX;

/* The next extent has the blocks of @valid from @slot on, of key @key; @block is its block 0. */
static void assert_part(u32 *at, u32 slot, u8 key, u64 block, u16 valid, u32 bytes)
{
	struct bc_extent extent;

	assert_true(bc_recover_chunk(descs, no_end, at, &extent));
	assert_int_equal(extent.slot, slot);
	assert_int_equal(extent.count, 32 - __builtin_clz(valid));
	assert_int_equal(extent.key.bytes[0], key);
	assert_int_equal(extent.chunk, block / BC_CHUNK_BLOCKS);
	assert_int_equal(block % BC_CHUNK_BLOCKS, 0);
	assert_int_equal(extent.valid, valid);
	assert_int_equal(extent.bytes, bytes);
	assert_int_equal(*at, slot + extent.count);
}

static void assert_next(u32 *at, u32 slot, u8 key, u64 block, u32 count, u32 bytes)
{
	assert_part(at, slot, key, block, (1U << count) - 1, bytes);
}

static void assert_end(u32 *at)
{
	struct bc_extent extent;

	assert_false(bc_recover_chunk(descs, no_end, at, &extent));
	assert_int_equal(*at, BC_FRAME_BLOCKS);
	assert_false(bc_recover_chunk(descs, no_end, at, &extent));
}

/* Guards: warm restart: a whole chunk comes back whole. */
static void whole_chunk(void **state)
{
	u32 at = 0;

	(void)state;
	put_run(0, 1, 0, 16, BC_BLOCK_SIZE);
	assert_next(&at, 0, 1, 0, 16, BC_CHUNK_SIZE);
	assert_end(&at);

	at = 0;
	put_run(0, 1, 160, 16, 1);
	assert_next(&at, 0, 1, 160, 16, BC_CHUNK_SIZE - BC_BLOCK_SIZE + 1);
	assert_end(&at);
}

/* Guards: as above for short objects and tails that share a frame. */
static void short_chunks_share(void **state)
{
	u32 at = 0;

	(void)state;
	put_run(1, 1, 0, 1, 5);
	put_run(2, 2, 32, 3, 77);
	put_run(5, 3, 16, 2, BC_BLOCK_SIZE);
	put_run(15, 4, 0, 1, BC_BLOCK_SIZE);
	assert_next(&at, 1, 1, 0, 1, 5);
	assert_next(&at, 2, 2, 32, 3, 2 * BC_BLOCK_SIZE + 77);
	assert_next(&at, 5, 3, 16, 2, 2 * BC_BLOCK_SIZE);
	assert_next(&at, 15, 4, 0, 1, BC_BLOCK_SIZE);
	assert_end(&at);
}

/* Guards: never another object's bytes: an extent ends where key or block number break off. */
static void breaks(void **state)
{
	u32 at = 0;

	(void)state;
	put_run(0, 1, 0, 2, BC_BLOCK_SIZE);
	put_run(2, 2, 2, 2, BC_BLOCK_SIZE);	/* the same numbers of another key: no beginning */
	put_run(4, 3, 0, 2, BC_BLOCK_SIZE);
	put_run(6, 3, 3, 2, BC_BLOCK_SIZE);	/* a gap */
	put_run(8, 4, 0, 2, BC_BLOCK_SIZE);
	put_run(10, 4, 1, 1, BC_BLOCK_SIZE);	/* backwards */
	put_run(11, 5, 0, 1, BC_BLOCK_SIZE);
	put_run(12, 5, 0, 2, BC_BLOCK_SIZE);	/* the same chunk again */
	assert_next(&at, 0, 1, 0, 2, 2 * BC_BLOCK_SIZE);
	assert_next(&at, 4, 3, 0, 2, 2 * BC_BLOCK_SIZE);
	assert_next(&at, 8, 4, 0, 2, 2 * BC_BLOCK_SIZE);
	assert_next(&at, 11, 5, 0, 1, BC_BLOCK_SIZE);
	assert_next(&at, 12, 5, 0, 2, 2 * BC_BLOCK_SIZE);
	assert_end(&at);
}

/* Guards: never uninitialised memory: nothing is valid behind a block that is not full. */
static void short_block_ends(void **state)
{
	u32 at = 0;

	(void)state;
	put(0, 1, 0, BC_BLOCK_SIZE);
	put(1, 1, 1, BC_BLOCK_SIZE - 1);
	put(2, 1, 2, BC_BLOCK_SIZE);
	assert_next(&at, 0, 1, 0, 2, 2 * BC_BLOCK_SIZE - 1);
	assert_end(&at);
}

/* Guards: an entry is one chunk: an extent does not run into the next chunk of its object. */
static void chunk_border(void **state)
{
	u32 at = 0;

	(void)state;
	put_run(0, 1, 14, 8, BC_BLOCK_SIZE);	/* blocks 14..21: chunk 1 begins at slot 2 */
	assert_next(&at, 2, 1, 16, 6, 6 * BC_BLOCK_SIZE);
	assert_end(&at);

	setup(NULL);
	at = 0;
	put_run(0, 1, BC_DESC_MAX_BLOCK - 15, 16, BC_BLOCK_SIZE);
	assert_next(&at, 0, 1, BC_DESC_MAX_BLOCK - 15, 16, BC_CHUNK_SIZE);
	assert_end(&at);
}

/* Guards: only clean blocks are blob bytes, and a bad descriptor spoils no neighbour. */
static void foreign_kinds(void **state)
{
	u32 at = 0;

	(void)state;
	put_run(0, 1, 0, 4, BC_BLOCK_SIZE);
	descs[2].kind = BC_KIND_DIRTY;
	put_run(4, 2, 0, 1, 9);
	descs[4].kind = BC_KIND_NAME;
	put_run(5, 3, 0, 3, 9);
	descs[7].flags = 1;
	put_run(8, 4, 0, 1, 9);
	descs[8].reserved[5] = 1;
	put_run(9, 5, 0, 1, 9);
	assert_part(&at, 0, 1, 0, 0xb, 4 * BC_BLOCK_SIZE);
	assert_next(&at, 5, 3, 0, 2, 2 * BC_BLOCK_SIZE);
	assert_next(&at, 9, 5, 0, 1, 9);
	assert_end(&at);
}

/* Guards: a chunk fetched in part comes back with just those blocks, at their places. */
static void partial_chunks(void **state)
{
	u32 at = 0;

	(void)state;
	put(5, 1, 160 + 5, BC_BLOCK_SIZE);
	put(6, 1, 160 + 6, BC_BLOCK_SIZE);
	put(15, 1, 160 + 15, 77);
	assert_part(&at, 0, 1, 160, 0x8060, 15 * BC_BLOCK_SIZE + 77);
	assert_end(&at);

	/* Two in one frame; the second's first block is missing, there is room for it. */
	setup(NULL);
	at = 0;
	put(1, 1, 1, BC_BLOCK_SIZE);
	put(3, 1, 3, BC_BLOCK_SIZE);
	put(6, 2, 32 + 2, BC_BLOCK_SIZE);
	put(7, 2, 32 + 3, 5);
	assert_part(&at, 0, 1, 0, 0xa, 4 * BC_BLOCK_SIZE);
	assert_part(&at, 4, 2, 32, 0xc, 3 * BC_BLOCK_SIZE + 5);
	assert_end(&at);
}

/* Guards: never two chunks in one block: a block whose chunk would begin in another's is nobody's. */
static void no_room_before(void **state)
{
	u32 at = 0;

	(void)state;
	put(0, 1, 1, BC_BLOCK_SIZE);	/* would begin before the frame */
	put(1, 2, 0, BC_BLOCK_SIZE);
	put(2, 3, 1, BC_BLOCK_SIZE);	/* begins where key 2's is */
	put(3, 2, 2, BC_BLOCK_SIZE);	/* key 2 ended at what is not its own */
	put(9, 4, 16 + 5, BC_BLOCK_SIZE);
	assert_next(&at, 1, 2, 0, 1, BC_BLOCK_SIZE);
	assert_part(&at, 4, 4, 16, 0x20, 6 * BC_BLOCK_SIZE);
	assert_end(&at);
}

/* Guards: a sequence that nobody handed out is damage: that block is free, others are not. */
static void foreign_sequence(void **state)
{
	struct bc_extent extent;
	u32 at = 0;

	(void)state;
	put_run(0, 1, 0, 4, BC_BLOCK_SIZE);
	descs[1].seq = cpu_to_le64(5000);
	assert_true(bc_recover_chunk(descs, 5000, &at, &extent));
	assert_int_equal(extent.valid, 0xd);
	assert_int_equal(extent.count, 4);
	at = 0;
	assert_false(bc_recover_chunk(descs, 1000, &at, &extent));
}

/* Guards: the loop of the caller ends, from any start. */
static void starts(void **state)
{
	u32 at;

	(void)state;
	put_run(0, 1, 0, 16, BC_BLOCK_SIZE);
	at = 1;		/* no chunk begins there */
	assert_end(&at);
	for (at = BC_FRAME_BLOCKS; at < BC_FRAME_BLOCKS + 2; at++) {
		struct bc_extent extent;

		assert_false(bc_recover_chunk(descs, no_end, &at, &extent));
	}
}

/* Is this descriptor one of a clean block, and would its chunk's block 0 be at a slot >= @from? */
static bool has_chunk(u32 slot, u32 from, struct bc_desc *desc)
{
	return !bc_desc_decode(&descs[slot], desc) && desc->kind == BC_KIND_CLEAN &&
	       slot >= from + desc->block % BC_CHUNK_BLOCKS;
}

static void check_extent(const struct bc_extent *extent, u32 covered)
{
	u32 end = extent->slot + extent->count, i;
	struct bc_desc desc;

	assert_true(extent->slot >= covered && extent->count >= 1 && end <= BC_FRAME_BLOCKS);
	assert_true(extent->valid >> (extent->count - 1) == 1);
	for (i = covered; i < extent->slot; i++)
		assert_false(has_chunk(i, covered, &desc));
	for (i = extent->slot; i < end; i++) {
		u32 block = i - extent->slot;

		if (!(extent->valid & 1U << block)) {
			/* Nobody's, or what came before the first valid one. */
			assert_true(bc_desc_decode(&descs[i], &desc) ||
				    desc.kind != BC_KIND_CLEAN ||
				    !(extent->valid & ((1U << block) - 1)));
			continue;
		}
		assert_true(has_chunk(i, covered, &desc));
		assert_int_equal(desc.block, (u64)extent->chunk * BC_CHUNK_BLOCKS + block);
		assert_memory_equal(&desc.key, &extent->key, sizeof(desc.key));
		assert_true(desc.length == BC_BLOCK_SIZE || i + 1 == end);
		if (i + 1 == end)
			assert_int_equal(extent->bytes, block * BC_BLOCK_SIZE + desc.length);
	}
}

/* Guards: extents are disjoint, of what their descriptors say, and none is passed over. */
static void random_frames(void **state)
{
	u32 i, n, found = 0;

	(void)state;
	seed = 0x5eed0006;
	for (n = 0; n < 50000; n++) {
		struct bc_extent extent;
		u32 at = 0, covered = 0;
		struct bc_desc desc;

		setup(NULL);
		for (i = 0; i < BC_FRAME_BLOCKS; ) {
			u32 count = min(1 + roll(6), BC_FRAME_BLOCKS - i);

			if (roll(5))
				put_run(i, roll(2), roll(2) ? 0 : roll(40), count,
					roll(3) ? BC_BLOCK_SIZE : 1 + roll(BC_BLOCK_SIZE));
			i += count;
		}
		for (i = roll(3); i > 0; i--)
			((u8 *)descs)[roll(sizeof(descs))] ^= 1 << roll(8);
		while (bc_recover_chunk(descs, no_end, &at, &extent)) {
			check_extent(&extent, covered);
			covered = extent.slot + extent.count;
			assert_int_equal(at, covered);
			found++;
		}
		for (i = covered; i < BC_FRAME_BLOCKS; i++)
			assert_false(has_chunk(i, covered, &desc));
	}
	assert_true(found > 50000);
}

/* Guards: what was stored in part is found so, whichever blocks it is. */
static void random_parts(void **state)
{
	u32 n, i;

	(void)state;
	seed = 0x5eed0008;
	for (n = 0; n < 20000; n++) {
		u32 count = 1 + roll(BC_CHUNK_BLOCKS), slot = roll(BC_FRAME_BLOCKS - count + 1);
		u32 valid = 1 + roll((1U << count) - 1), tail = 1 + roll(BC_BLOCK_SIZE), at = slot;
		u32 last = 31 - __builtin_clz(valid);

		setup(NULL);
		for (i = 0; i < count; i++)
			if (valid & 1U << i)
				put(slot + i, 3, 48 + i, i + 1 < count ? BC_BLOCK_SIZE : tail);
		assert_part(&at, slot, 3, 48, valid,
			    last * BC_BLOCK_SIZE + (last + 1 < count ? BC_BLOCK_SIZE : tail));
		assert_end(&at);
	}
}

/* Guards: a tier full of noise is an empty tier. */
static void noise(void **state)
{
	struct bc_extent extent;
	u32 n, i, at;

	(void)state;
	seed = 0x5eed0007;
	for (n = 0; n < 2000; n++) {
		for (i = 0; i < sizeof(descs); i++)
			((u8 *)descs)[i] = roll(256);
		at = 0;
		while (bc_recover_chunk(descs, no_end, &at, &extent))
			assert_true(extent.slot + extent.count <= BC_FRAME_BLOCKS &&
				    extent.bytes <= extent.count * BC_BLOCK_SIZE);
		assert_int_equal(at, BC_FRAME_BLOCKS);
	}
}

#define test(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(whole_chunk),
		test(short_chunks_share),
		test(breaks),
		test(short_block_ends),
		test(chunk_border),
		test(foreign_kinds),
		test(partial_chunks),
		test(no_room_before),
		test(foreign_sequence),
		test(starts),
		test(random_frames),
		test(random_parts),
		test(noise),
	};

	return cmocka_run_group_tests_name("recover", tests, NULL, NULL);
}
