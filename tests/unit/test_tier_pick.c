/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/key.c */
/* Which tier is a chunk's home: by capacity, and in each tier all groups of the index alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "key.h"
#include "tier_pick.h"

#define CHUNKS	100000U
#define GROUPS	16

static u64 hash_of(u32 n)
{
	struct bc_key key = { { 1, 2, 3 } };
	u32 object = n / 100;

	memcpy(key.bytes, &object, sizeof(object));
	/* Keys are hashes themselves; these are not. */
	bc_key_path(&key, "x", 1, &key);
	return bc_chunk_hash(&key, n % 100);
}

static void count(const u32 weights[BC_TIERS_MAX], u32 of[BC_TIERS_MAX], u32 groups[BC_TIERS_MAX][GROUPS])
{
	u32 n;

	memset(of, 0, BC_TIERS_MAX * sizeof(*of));
	memset(groups, 0, BC_TIERS_MAX * sizeof(*groups));
	for (n = 0; n < CHUNKS; n++) {
		u64 hash = hash_of(n);
		u32 slot = bc_tier_pick(hash, weights);

		assert_true(slot < BC_TIERS_MAX);
		of[slot]++;
		groups[slot][hash >> 60]++;
	}
}

static void check(const u32 weights[BC_TIERS_MAX])
{
	u32 of[BC_TIERS_MAX], groups[BC_TIERS_MAX][GROUPS], slot, group;
	u64 total = 0, want;

	for (slot = 0; slot < BC_TIERS_MAX; slot++)
		total += weights[slot];
	count(weights, of, groups);
	for (slot = 0; slot < BC_TIERS_MAX; slot++) {
		want = (u64)CHUNKS * weights[slot] / total;
		assert_in_range(of[slot], want * 95 / 100, want * 105 / 100 + (weights[slot] ? 50 : 0));
		for (group = 0; group < GROUPS && want > CHUNKS / 10; group++)
			assert_in_range(groups[slot][group], want / GROUPS * 85 / 100,
					want / GROUPS * 115 / 100);
	}
}

static void by_capacity(void **state)
{
	static const u32 one[BC_TIERS_MAX] = { [3] = 7 };
	static const u32 two[BC_TIERS_MAX] = { 1000, 0, 3000 };
	static const u32 many[BC_TIERS_MAX] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	static const u32 huge[BC_TIERS_MAX] = { U32_MAX, [7] = U32_MAX };

	(void)state;
	check(one);
	check(two);
	check(many);
	check(huge);
}

/* Guards: with no tier there is no division by nothing, and no slot outside. */
static void none(void **state)
{
	static const u32 nothing[BC_TIERS_MAX];

	(void)state;
	assert_true(bc_tier_pick(0, nothing) < BC_TIERS_MAX);
	assert_true(bc_tier_pick(U64_MAX, nothing) < BC_TIERS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_capacity),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests_name("tier_pick", tests, NULL, NULL);
}
