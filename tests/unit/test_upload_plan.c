/* sources: daemon/upload/plan.c daemon/upload/crc.c */
/* libs: libcrypto */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How a file is cut into blocks and what these are called, frozen: blocks that an
 * earlier release staged are found by a later one, or by another node. The vectors
 * were made with Python's hashlib.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upload/crc.h"
#include "upload/plan.h"
#include "util.h"

#define MIB	((uint64_t)1 << 20)
#define GIB	((uint64_t)1 << 30)

static void test_count(void **state)
{
	static const struct {
		uint64_t size;
		uint32_t count;
	} cases[] = {
		{ 0, 0 }, { 1, 1 }, { 8 * MIB, 1 }, { 8 * MIB + 1, 2 }, { 64 * GIB, 8192 },
		{ 64 * GIB + 1, 8193 }, { 512 * GIB, 22528 }, { 512 * GIB + 1, 22529 },
		{ 2048 * GIB, 34816 }, { 2048 * GIB + 1, 34817 }, { BC_UPLOAD_MAX, BC_BLOCKS_MAX },
		{ BC_UPLOAD_MAX + 1, BC_BLOCKS_MAX + 1 }, { UINT64_MAX, BC_BLOCKS_MAX + 1 },
	};
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(cases); i++)
		assert_int_equal(bc_plan_count(cases[i].size), cases[i].count);
}

/* Blocks follow each other without gaps, and end where the file does. */
static void check_blocks(uint64_t size)
{
	uint32_t count = bc_plan_count(size), i;
	uint64_t at = 0;

	for (i = 0; i < count; i++) {
		struct bc_extent extent = bc_plan_block(i, size);

		assert_true(extent.offset == at);
		assert_true(extent.length && extent.length <= GIB);
		at += extent.length;
	}
	assert_true(at == size);
}

static void test_blocks(void **state)
{
	static const struct {
		uint64_t offset, length;
	} lengths[] = {
		{ 0, 8 * MIB }, { 64 * GIB - 8 * MIB, 8 * MIB }, { 64 * GIB, 32 * MIB },
		{ 512 * GIB - 32 * MIB, 32 * MIB }, { 512 * GIB, 128 * MIB },
		{ 2048 * GIB - 128 * MIB, 128 * MIB }, { 2048 * GIB, GIB },
	};
	static const uint64_t sizes[] = {
		1, 65536, 8 * MIB - 1, 8 * MIB, 100 * MIB + 7, 64 * GIB - 1, 64 * GIB + 33 * MIB,
		512 * GIB + 1, 2048 * GIB + 3, BC_UPLOAD_MAX - 1, BC_UPLOAD_MAX,
	};
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(sizes); i++)
		check_blocks(sizes[i]);
	for (i = 0; i < BC_COUNT(lengths); i++) {
		/* The block at this offset begins there, so it is the last of what is before. */
		uint32_t index = bc_plan_count(lengths[i].offset);
		struct bc_extent extent = bc_plan_block(index, BC_UPLOAD_MAX);

		assert_true(extent.offset == lengths[i].offset);
		assert_int_equal(extent.length, lengths[i].length);
	}
}

/* A file that grows, or is cut off, keeps the blocks that it has as a whole. */
static void test_growth(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < BC_BLOCKS_MAX; i += 97) {
		struct bc_extent large = bc_plan_block(i, BC_UPLOAD_MAX);
		struct bc_extent small = bc_plan_block(i, large.offset + large.length);

		assert_true(large.offset == small.offset);
		assert_int_equal(large.length, small.length);
	}
}

static void check_id(const uint8_t *generation, struct bc_extent extent,
		     const struct bc_sum *sums, size_t count, const char *expected)
{
	struct bc_block_id id, again;
	char text[BC_ID_TEXT + 1];

	assert_int_equal(count, bc_plan_sums(extent.length));
	assert_true(bc_plan_id(&id, generation, extent, sums, count));
	bc_plan_print(&id, text);
	assert_string_equal(text, expected);
	assert_int_equal(strlen(text), BC_ID_TEXT);
	assert_true(bc_plan_parse(&again, text));
	assert_memory_equal(&again, &id, sizeof(id));
	assert_true(bc_plan_ours(&id, generation));
}

static const uint8_t one[BC_GENERATION_SIZE] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
};

static void test_ids(void **state)
{
	struct bc_sum sums[128] = { { 1, 0xe3069283, false } };
	uint8_t ones[BC_GENERATION_SIZE];
	uint32_t i;

	(void)state;
	check_id(one, (struct bc_extent){ 0, 1 }, sums, 1,
		 "YmNCMQABAgMEBQYHCAkKCwwNDg8AAAAAAAAAAAEAAADLd9/NoH8j7xGR9hvqHG0s");
	for (i = 0; i < 128; i++)
		sums[i] = (struct bc_sum){ i + 1, i * 0x01010101U, false };
	check_id(one, (struct bc_extent){ 0, 8 * MIB }, sums, 128,
		 "YmNCMQABAgMEBQYHCAkKCwwNDg8AAAAAAAAAAAAAgACrfbtbqBA8pJ9WYfFd8ZyM");
	memset(ones, 0xff, sizeof(ones));
	sums[0] = (struct bc_sum){ UINT64_MAX, UINT32_MAX, false };
	sums[1] = (struct bc_sum){ 0, 0x1234, true };	/* not known: 0 */
	check_id(ones, (struct bc_extent){ 64 * GIB + 32 * MIB, 65537 }, sums, 2,
		 "YmNCMf////////////////////8AAAACEAAAAAEAAQByiCCiwY/1Vs46zEKqf4EI");
}

/* Whatever is other about a block, its id is another. */
static void test_ids_differ(void **state)
{
	struct bc_sum sums[2] = { { 1, 2, false }, { 3, 4, false } };
	struct bc_extent extent = { 0, 65537 };
	struct bc_block_id id, other;
	uint8_t two[BC_GENERATION_SIZE] = { 9 };

	(void)state;
	assert_true(bc_plan_id(&id, one, extent, sums, 2));
	sums[1].sequence = 5;
	assert_true(bc_plan_id(&other, one, extent, sums, 2));
	assert_memory_not_equal(&id, &other, sizeof(id));
	sums[1] = (struct bc_sum){ 3, 5, false };
	assert_true(bc_plan_id(&other, one, extent, sums, 2));
	assert_memory_not_equal(&id, &other, sizeof(id));
	sums[1].crc32c = 4;
	extent.offset = 8 * MIB;
	assert_true(bc_plan_id(&other, one, extent, sums, 2));
	assert_memory_not_equal(&id, &other, sizeof(id));
	extent = (struct bc_extent){ 0, 65538 };
	assert_true(bc_plan_id(&other, one, extent, sums, 2));
	assert_memory_not_equal(&id, &other, sizeof(id));
	extent.length = 65537;
	assert_true(bc_plan_id(&other, two, extent, sums, 2));
	assert_memory_not_equal(&id, &other, sizeof(id));
	assert_false(bc_plan_ours(&other, one));
}

static void test_foreign_ids(void **state)
{
	static const char *const foreign[] = {
		"", "QUJD", "MDAwMDAwMDA=",
		/* ours but for the first letter, the length, a character */
		"ZmNCMQABAgMEBQYHCAkKCwwNDg8AAAAAAAAAAAEAAADLd9/NoH8j7xGR9hvqHG0s",
		"YmNCMQABAgMEBQYHCAkKCwwNDg8AAAAAAAAAAAEAAADLd9/NoH8j7xGR9hvqHG0",
		"YmNCMQABAgMEBQYHCAkKCwwNDg8AAAAAAAAAAAEAAADLd9/NoH8j7xGR9hvqHG0sAAAA",
		"YmNCMQABAgMEBQYHCAkKCwwNDg8AAAAAAAAAAAEAAADLd9/NoH8j7xGR9hvqHG0=",
		"YmNCMQABAgMEBQYHCAkKCwwNDg8 AAAAAAAAAAEAAADLd9/NoH8j7xGR9hvqHG0s",
	};
	struct bc_block_id id;
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(foreign); i++)
		if (bc_plan_parse(&id, foreign[i]))
			fail_msg("taken: '%s'", foreign[i]);
}

/* The sum of the parts is that of the whole, wherever it is divided. */
static void test_crc(void **state)
{
	unsigned char bytes[200000];
	uint32_t whole, zeros = 0;
	size_t i;

	(void)state;
	assert_int_equal(bc_crc_bytes(0, "123456789", 9), 0xe3069283);
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 31 + i / 251);
	whole = bc_crc_bytes(0, bytes, sizeof(bytes));
	assert_int_equal(bc_crc_bytes(bc_crc_bytes(0, bytes, 777), bytes + 777,
				      sizeof(bytes) - 777), whole);
	for (i = 0; i <= sizeof(bytes); i += 4096 - (i == 131072))
		assert_int_equal(bc_crc_join(bc_crc_bytes(0, bytes, i),
					     bc_crc_bytes(0, bytes + i, sizeof(bytes) - i),
					     sizeof(bytes) - i), whole);
	assert_int_equal(bc_crc_join(bc_crc_bytes(0, bytes, 5), bc_crc_bytes(0, bytes + 5, 65536),
				     65536), bc_crc_bytes(0, bytes, 65541));
	/* 64 MiB of zeros, 64 KiB at a time and by doubling. */
	memset(bytes, 0, 65536);
	whole = bc_crc_bytes(0, bytes, 65536);
	for (i = 0; i < 1024; i++)
		zeros = bc_crc_join(zeros, bc_crc_bytes(0, bytes, 65536), 65536);
	for (i = 0; i < 10; i++)
		whole = bc_crc_join(whole, whole, (uint64_t)65536 << i);
	assert_int_equal(zeros, whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_ids_differ),
		cmocka_unit_test(test_foreign_ids),
		cmocka_unit_test(test_crc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
