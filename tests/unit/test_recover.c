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

/* The next extent is @count blocks from @slot on of key @key, block @block, with @bytes. */
static void assert_next(u32 *at, u32 slot, u8 key, u64 block, u32 count, u32 bytes)
{
	struct bc_place place;
	struct bc_desc first;
	u32 got;

	assert_true(bc_recover_chunk(descs, at, &place, &first, &got));
	assert_int_equal(place.slot, slot);
	assert_int_equal(place.count, count);
	assert_int_equal(first.key.bytes[0], key);
	assert_int_equal(first.block, block);
	assert_int_equal(first.seq, 1000 + slot);
	assert_int_equal(first.crc, 7 * slot);
	assert_int_equal(got, bytes);
	assert_int_equal(*at, slot + count);
}

static void assert_end(u32 *at)
{
	struct bc_place place;
	struct bc_desc first;
	u32 bytes;

	assert_false(bc_recover_chunk(descs, at, &place, &first, &bytes));
	assert_int_equal(*at, BC_FRAME_BLOCKS);
	assert_false(bc_recover_chunk(descs, at, &place, &first, &bytes));
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
	assert_next(&at, 0, 1, 0, 2, 2 * BC_BLOCK_SIZE);
	assert_next(&at, 5, 3, 0, 2, 2 * BC_BLOCK_SIZE);
	assert_next(&at, 9, 5, 0, 1, 9);
	assert_end(&at);
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
		struct bc_place place;
		struct bc_desc first;
		u32 bytes;

		assert_false(bc_recover_chunk(descs, &at, &place, &first, &bytes));
	}
}

/* Beginning and continuation of an extent, straight from the format's text. */
static bool begins(const struct bc_disk_desc *d)
{
	struct bc_desc desc;

	return !bc_desc_decode(d, &desc) && desc.kind == BC_KIND_CLEAN && desc.block % 16 == 0;
}

static bool follows(const struct bc_disk_desc *a, const struct bc_disk_desc *b)
{
	struct bc_desc x, y;

	return !bc_desc_decode(a, &x) && !bc_desc_decode(b, &y) && y.kind == BC_KIND_CLEAN &&
	       x.length == BC_BLOCK_SIZE && x.block + 1 == y.block && y.block % 16 &&
	       !memcmp(&x.key, &y.key, sizeof(x.key));
}

/* Guards: extents are disjoint, maximal, complete: random frames against the definition. */
static void random_frames(void **state)
{
	u32 i, n, found = 0;

	(void)state;
	seed = 0x5eed0006;
	for (n = 0; n < 50000; n++) {
		u32 at = 0, bytes, covered = 0;
		struct bc_place place;
		struct bc_desc first;

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
		while (bc_recover_chunk(descs, &at, &place, &first, &bytes)) {
			u32 end = place.slot + place.count;

			assert_true(place.slot >= covered);
			for (i = covered; i < place.slot; i++)
				assert_false(begins(&descs[i]));
			assert_true(begins(&descs[place.slot]));
			assert_true(place.count >= 1 && end <= BC_FRAME_BLOCKS);
			for (i = place.slot + 1; i < end; i++)
				assert_true(follows(&descs[i - 1], &descs[i]));
			assert_false(end < BC_FRAME_BLOCKS &&
				     follows(&descs[end - 1], &descs[end]));
			assert_int_equal(bytes, (place.count - 1) * BC_BLOCK_SIZE +
						le32_to_cpu(descs[end - 1].length));
			assert_int_equal(at, end);
			covered = end;
			found++;
		}
		for (i = covered; i < BC_FRAME_BLOCKS; i++)
			assert_false(begins(&descs[i]));
	}
	assert_true(found > 50000);
}

/* Guards: a tier full of noise is an empty tier. */
static void noise(void **state)
{
	u32 n, i, at, bytes;
	struct bc_place place;
	struct bc_desc first;

	(void)state;
	seed = 0x5eed0007;
	for (n = 0; n < 2000; n++) {
		for (i = 0; i < sizeof(descs); i++)
			((u8 *)descs)[i] = roll(256);
		at = 0;
		while (bc_recover_chunk(descs, &at, &place, &first, &bytes))
			assert_true(place.slot + place.count <= BC_FRAME_BLOCKS &&
				    bytes <= place.count * BC_BLOCK_SIZE);
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
		test(starts),
		test(random_frames),
		test(noise),
	};

	return cmocka_run_group_tests_name("recover", tests, NULL, NULL);
}
