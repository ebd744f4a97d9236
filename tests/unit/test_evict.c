/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/evict.c kmod/index.c */
/* Which chunk goes: order, second chances, what is passed over, and the bounds of the search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "evict.h"

#define ENTRIES 8

static const struct bc_key key = { { 1, 2, 3 } };
static struct bc_index evicted_from;

/* Chunk i of the key lies in frame 100 + i, so that a place tells the chunk. */
static int setup(void **state)
{
	struct bc_index *index = &evicted_from;
	u32 i;

	*state = index;
	assert_int_equal(bc_index_init(index, ENTRIES), 0);
	for (i = 0; i < ENTRIES; i++) {
		struct bc_place place = { .frame = 100 + i, .count = 1 };

		assert_int_equal(bc_index_insert(index, &key, i, &place, 1, 0, 0), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	bc_index_free(*state);
	return bc_warnings;
}

static void touch(struct bc_index *index, u32 chunk)
{
	struct bc_hit hit;

	assert_true(bc_index_lookup(index, &key, chunk, &hit));
	bc_index_unpin(index, hit.id);
}

static void assert_goes(struct bc_index *index, u32 chunk)
{
	struct bc_place place;

	assert_int_equal(bc_evict_one(index, U32_MAX, &place), 0);
	assert_int_equal(place.frame, 100 + chunk);
	assert_int_equal(place.slot, 0);
	assert_int_equal(place.count, 1);
	assert_false(bc_index_contains(index, &key, chunk, NULL));
}

/* Guards: what was never used again goes first, oldest first, to the last one. */
static void oldest_first(void **state)
{
	struct bc_place place;
	u32 i;

	for (i = 0; i < ENTRIES; i++)
		assert_goes(*state, i);
	assert_int_equal(bc_evict_one(*state, U32_MAX, &place), -ENOSPC);
}

/* Guards: a chunk that was read gets one more round, not two. */
static void second_chance(void **state)
{
	touch(*state, 0);
	touch(*state, 2);
	assert_goes(*state, 1);
	assert_goes(*state, 3);
	touch(*state, 5);
	assert_goes(*state, 4);
	assert_goes(*state, 6);
	assert_goes(*state, 7);
	assert_goes(*state, 0);
	assert_goes(*state, 2);
	assert_goes(*state, 5);
}

/* Guards: looking whether a chunk is there is no use of it. */
static void contains_is_no_use(void **state)
{
	assert_true(bc_index_contains(*state, &key, 0, NULL));
	assert_goes(*state, 0);
}

/* Guards: one new chunk does not push out another: it waits a whole round, as all before it did. */
static void newest_last(void **state)
{
	struct bc_place place = { .frame = 108, .count = 1 };

	assert_goes(*state, 0);
	assert_goes(*state, 1);
	assert_int_equal(bc_index_insert(*state, &key, 8, &place, 1, 0, 0), 0);
	assert_goes(*state, 2);
	assert_goes(*state, 3);
	assert_goes(*state, 4);
	assert_goes(*state, 5);
	assert_goes(*state, 6);
	assert_goes(*state, 7);
	assert_goes(*state, 8);
}

/* Guards: a chunk inherits no use from the one that had its entry before. */
static void use_is_not_inherited(void **state)
{
	struct bc_place place;

	touch(*state, 0);
	assert_int_equal(bc_index_remove(*state, &key, 0, &place), 0);
	place.frame = 108;
	assert_int_equal(bc_index_insert(*state, &key, 8, &place, 1, 0, 0), 0);
	assert_goes(*state, 8);
	assert_goes(*state, 1);
}

/* Guards: all in use: every chunk loses its bit in the first round, one goes in the second. */
static void all_referenced(void **state)
{
	u32 i;

	for (i = 0; i < ENTRIES; i++)
		touch(*state, i);
	assert_goes(*state, 0);
	assert_goes(*state, 1);
}

/* Guards: neither what a reader holds nor what the user pinned ever goes. */
static void pinned_stay(void **state)
{
	struct bc_index *index = *state;
	struct bc_place place;
	struct bc_hit hit;
	u32 i;

	assert_int_equal(bc_index_pin_chunk(index, &key, 0, true), 1);
	assert_true(bc_index_lookup(index, &key, 1, &hit));
	for (i = 2; i < ENTRIES; i++)
		assert_goes(index, i);
	assert_int_equal(bc_evict_one(index, U32_MAX, &place), -ENOSPC);
	bc_index_unpin(index, hit.id);
	assert_goes(index, 1);
	assert_int_equal(bc_evict_one(index, U32_MAX, &place), -ENOSPC);
	assert_true(bc_index_contains(index, &key, 0, NULL));
	assert_int_equal(bc_index_pin_chunk(index, &key, 0, false), 1);
	assert_goes(index, 0);
}

/* Guards: blocks of a dead entry come back, even with the reference bit of its life set. */
static void dead_go_at_once(void **state)
{
	struct bc_index *index = *state;
	struct bc_hit one, two;
	struct bc_place place;

	assert_true(bc_index_lookup(index, &key, 3, &one));
	assert_true(bc_index_lookup(index, &key, 3, &two));
	assert_int_equal(bc_index_remove_pinned(index, one.id, &place), -EBUSY);
	bc_index_unpin(index, two.id);
	assert_goes(index, 0);
	assert_goes(index, 1);
	assert_goes(index, 2);
	assert_goes(index, 3);
	assert_goes(index, 4);
}

/* Guards: the search is bounded, and goes on where it stopped. */
static void budget(void **state)
{
	struct bc_index *index = *state;
	struct bc_place place;
	u32 i;

	for (i = 0; i < ENTRIES; i++)
		touch(index, i);
	assert_int_equal(bc_evict_one(index, 0, &place), -EAGAIN);
	assert_int_equal(bc_evict_one(index, 5, &place), -EAGAIN);
	assert_int_equal(index->clock_hand, 5);
	assert_int_equal(bc_evict_one(index, 3, &place), -EAGAIN);
	assert_int_equal(index->clock_hand, 0);
	assert_int_equal(bc_evict_one(index, 1, &place), 0);
	assert_int_equal(place.frame, 100);

	for (i = 1; i < ENTRIES; i++)
		assert_int_equal(bc_index_pin_chunk(index, &key, i, true), 1);
	assert_int_equal(bc_evict_one(index, 2 * ENTRIES - 1, &place), -EAGAIN);
	assert_int_equal(bc_evict_one(index, 2 * ENTRIES, &place), -ENOSPC);
}

/* Guards: the evictor's entry point refuses by itself: free, referenced, pinned, held entries. */
static void evict_by_number(void **state)
{
	struct bc_index *index = *state;
	struct bc_place place;
	struct bc_hit hit;

	assert_true(bc_index_lookup(index, &key, 0, &hit));
	index->entry[hit.id].referenced = 0;
	assert_false(bc_index_evict(index, hit.id, &place));
	bc_index_unpin(index, hit.id);
	index->entry[hit.id].referenced = 1;
	assert_false(bc_index_evict(index, hit.id, &place));
	index->entry[hit.id].referenced = 0;
	assert_int_equal(bc_index_pin_chunk(index, &key, 0, true), 1);
	assert_false(bc_index_evict(index, hit.id, &place));
	assert_int_equal(bc_index_pin_chunk(index, &key, 0, false), 1);
	assert_true(bc_index_evict(index, hit.id, &place));
	assert_int_equal(place.frame, 100);
	assert_false(bc_index_evict(index, hit.id, &place));
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(oldest_first),
		test(second_chance),
		test(contains_is_no_use),
		test(newest_last),
		test(use_is_not_inherited),
		test(all_referenced),
		test(pinned_stay),
		test(dead_go_at_once),
		test(budget),
		test(evict_by_number),
	};

	return cmocka_run_group_tests_name("evict", tests, NULL, NULL);
}
