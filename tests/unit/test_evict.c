/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/evict.c kmod/index.c kmod/frame.c */
/* Which chunk goes and which comes in: order, uses, ghosts, the duel, what is passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "evict.h"

#define ENTRIES 20

static const struct bc_key key = { { 1, 2, 3 } };
static struct bc_evict_tuning tuning;

static struct {
	struct bc_index index;
	struct bc_evict evict;
} t;

/* Chunk i of the key lies in frame 100 + i, so that a place tells the chunk. */
static void insert_as(u32 chunk, u8 flags)
{
	struct bc_place place = { .frame = 100 + chunk, .count = 1 };

	assert_int_equal(bc_index_insert(&t.index, &key, chunk, &place, 1, 0, flags), 0);
}

/* As a tier does it. */
static void insert(u32 chunk)
{
	insert_as(chunk, bc_evict_role(&t.evict, &key, chunk));
}

static int setup_empty(void **state)
{
	(void)state;
	tuning = (struct bc_evict_tuning)BC_EVICT_TUNING_DEFAULT;
	assert_int_equal(bc_index_init(&t.index, ENTRIES, 1), 0);
	assert_int_equal(bc_evict_init(&t.evict, &t.index, 1 << 20, &tuning), 0);
	return 0;
}

static int setup(void **state)
{
	u32 i;

	setup_empty(state);
	for (i = 0; i < ENTRIES; i++)
		insert(i);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bc_evict_free(&t.evict);
	bc_index_free(&t.index);
	return bc_warnings;
}

/* One more read within what counts as one use. */
static void touch_again(u32 chunk)
{
	struct bc_hit hit;

	assert_true(bc_index_lookup(&t.index, &key, chunk, &hit));
	bc_index_unpin(&t.index, hit.id);
}

static void touch(u32 chunk)
{
	t.index.tick += 2;
	touch_again(chunk);
}

static bool there(u32 chunk)
{
	return bc_index_contains(&t.index, &key, chunk, NULL);
}

static int evict(u32 *chunk)
{
	struct bc_place place = {};
	int ret = bc_evict_one(&t.evict, &key, 0, U32_MAX, &place);

	*chunk = place.frame - 100;
	return ret;
}

static void assert_goes(u32 chunk)
{
	u32 gone;

	assert_int_equal(evict(&gone), 0);
	assert_int_equal(gone, chunk);
	assert_false(there(chunk));
}

static void assert_none_goes(void)
{
	u32 gone;

	assert_int_equal(evict(&gone), -ENOSPC);
}

/* Guards: what was never used again goes first, oldest first, to the last one. */
static void oldest_first(void **state)
{
	u32 i;

	(void)state;
	for (i = 0; i < ENTRIES; i++)
		assert_goes(i);
	assert_none_goes();
}

/* Guards: one use makes a main chunk, which goes after those on probation. */
static void used_once_goes_last(void **state)
{
	u32 i;

	(void)state;
	touch(0);
	touch(2);
	for (i = 0; i < ENTRIES; i++)
		if (i != 0 && i != 2)
			assert_goes(i);
	assert_goes(0);
	assert_goes(2);
	assert_none_goes();
}

/* Guards: looking whether a chunk is there is no use of it. */
static void contains_is_no_use(void **state)
{
	(void)state;
	t.index.tick += 2;
	assert_true(there(0));
	assert_goes(0);
}

/* Guards: many reads of one pass are one use, also those right after it came. */
static void one_pass_is_one_use(void **state)
{
	(void)state;
	touch_again(0);
	t.index.tick++;
	touch_again(0);
	assert_int_equal(t.index.entry[0].state, BC_ENTRY_LIVE);
	t.index.tick++;
	touch_again(0);
	touch_again(0);
	assert_int_equal(t.index.entry[0].state, BC_ENTRY_LIVE + BC_ENTRY_USE);
	touch(0);
	touch(0);
	touch(0);
	assert_int_equal(t.index.entry[0].state, BC_ENTRY_LIVE + BC_ENTRY_USES);
}

/* Guards: a new chunk takes the place behind the hand: it waits as long as all before it did. */
static void newest_last(void **state)
{
	u32 i;

	(void)state;
	assert_goes(0);
	insert(100);
	for (i = 1; i < ENTRIES; i++)
		assert_goes(i);
	assert_goes(100);
}

/* Guards: a chunk inherits no use from the one that had its entry before. */
static void use_is_not_inherited(void **state)
{
	struct bc_place place;

	(void)state;
	touch(0);
	assert_int_equal(bc_index_remove(&t.index, &key, 0, &place), 0);
	insert(100);
	assert_goes(100);
	assert_goes(1);
}

/* Guards: a chunk that is back soon after it went from probation is a main one. */
static void ghost_makes_main(void **state)
{
	u32 i;

	(void)state;
	assert_int_equal(bc_evict_role(&t.evict, &key, 0), 0);
	assert_goes(0);
	assert_int_equal(bc_evict_role(&t.evict, &key, 0), BC_ENTRY_MAIN);
	insert(0);
	for (i = 1; i < ENTRIES; i++)
		assert_goes(i);
	assert_goes(0);
}

/* Guards: what went from main leaves no ghost, nor does what was dropped. */
static void main_leaves_no_ghost(void **state)
{
	struct bc_place place;

	(void)state;
	insert_as(100, BC_ENTRY_MAIN);
	assert_goes(100);
	assert_int_equal(bc_evict_role(&t.evict, &key, 100), 0);
	insert_as(101, 0);
	assert_int_equal(bc_index_remove(&t.index, &key, 101, &place), 0);
	assert_int_equal(bc_evict_role(&t.evict, &key, 101), 0);
}

/* Guards: a scan passes through probation, however long it is, and the hot set stays. */
static void scan_spares_hot_set(void **state)
{
	u32 i, gone;

	(void)state;
	for (i = 0; i < ENTRIES / 2; i++)
		touch(i);
	for (i = 0; i < 50 * ENTRIES; i++) {
		assert_int_equal(evict(&gone), 0);
		insert(1000 + i);
	}
	for (i = 0; i < ENTRIES / 2; i++)
		assert_true(there(i));
}

/* Guards: a hot set that nobody uses any more makes room for one that is used. */
static void old_hot_set_goes(void **state)
{
	u32 i, gone, left = 0;

	(void)state;
	for (i = 0; i < ENTRIES; i++)
		touch(i);
	for (i = 0; i < 10 * ENTRIES; i++) {
		assert_int_equal(evict(&gone), 0);
		insert(1000 + i);
		touch(1000 + i);
	}
	for (i = 0; i < ENTRIES; i++)
		left += there(i);
	assert_int_equal(left, 0);
}

/* Guards: the probation's share is a parameter, and is taken when it is used. */
static void probation_percent(void **state)
{
	u32 i;

	(void)state;
	for (i = 0; i < ENTRIES / 2; i++)
		insert_as(i, BC_ENTRY_MAIN);
	for (; i < ENTRIES; i++)
		insert_as(i, 0);
	tuning.probation_percent = 60;
	assert_goes(0);
	tuning.probation_percent = 10;
	assert_goes(ENTRIES / 2);
}

/* Guards: when all are in use, the search ends and one goes all the same. */
static void all_in_use(void **state)
{
	u32 i, turn;

	(void)state;
	for (turn = 0; turn < 3; turn++)
		for (i = 0; i < ENTRIES; i++)
			touch(i);
	tuning.spares = 5;
	/* Five become main ones; the next goes in spite of its uses. */
	assert_goes(5);
	tuning.spares = 0;
	assert_goes(6);
	tuning.spares = U32_MAX;
	assert_goes(0);
}

/* Guards: neither what a reader holds nor what the user pinned ever goes. */
static void pinned_stay(void **state)
{
	struct bc_hit hit;
	u32 i;

	(void)state;
	tuning.spares = 0;
	assert_int_equal(bc_index_pin_chunk(&t.index, &key, 0, true), 1);
	assert_true(bc_index_lookup(&t.index, &key, 1, &hit));
	for (i = 2; i < ENTRIES; i++)
		assert_goes(i);
	assert_none_goes();
	bc_index_unpin(&t.index, hit.id);
	assert_goes(1);
	assert_none_goes();
	assert_true(there(0));
	assert_int_equal(bc_index_pin_chunk(&t.index, &key, 0, false), 1);
	assert_goes(0);
}

/* Guards: blocks of a dead entry come back, whatever it was in its life. */
static void dead_go_at_once(void **state)
{
	struct bc_hit one, two;
	struct bc_place place;

	(void)state;
	t.index.tick += 2;
	assert_true(bc_index_lookup(&t.index, &key, 3, &one));
	assert_true(bc_index_lookup(&t.index, &key, 3, &two));
	assert_int_equal(bc_index_remove_pinned(&t.index, one.id, &place), -EBUSY);
	bc_index_unpin(&t.index, two.id);
	assert_goes(0);
	assert_goes(1);
	assert_goes(2);
	assert_goes(3);
	assert_int_equal(bc_evict_role(&t.evict, &key, 3), 0);
	assert_goes(4);
}

/* Guards: demoted chunks go before all others, main ones too, unless they are used again. */
static void demoted_first(void **state)
{
	(void)state;
	touch(7);
	touch(8);
	touch(9);
	assert_int_equal(bc_index_demote(&t.index, &key, 8), 1);
	assert_int_equal(bc_index_demote(&t.index, &key, 9), 1);
	assert_int_equal(bc_index_demote(&t.index, &key, 12), 1);
	assert_int_equal(bc_index_demote(&t.index, &key, 12), 0);
	assert_int_equal(bc_index_demote(&t.index, &key, 999), 0);
	touch(9);
	assert_goes(8);
	assert_goes(12);
	assert_goes(0);
	assert_int_equal(atomic_read(&t.index.group[0].demoted), 0);
	assert_true(there(7) && there(9));
}

/* Guards: a pin holds against demotion, whichever comes first. */
static void demote_and_pin(void **state)
{
	(void)state;
	assert_int_equal(bc_index_pin_chunk(&t.index, &key, 5, true), 1);
	assert_int_equal(bc_index_demote(&t.index, &key, 5), 0);
	assert_int_equal(bc_index_demote(&t.index, &key, 6), 1);
	assert_int_equal(bc_index_pin_chunk(&t.index, &key, 6, true), 1);
	assert_goes(0);
	assert_true(there(5) && there(6));
	assert_int_equal(atomic_read(&t.index.group[0].demoted), 0);
}

/* Guards: the search is bounded, and goes on where it stopped. */
static void budget(void **state)
{
	struct bc_place place;
	u32 i;

	(void)state;
	for (i = 0; i < ENTRIES; i++)
		assert_int_equal(bc_index_pin_chunk(&t.index, &key, i, i != 7), i != 7);
	assert_int_equal(bc_evict_one(&t.evict, &key, 0, 0, &place), -EAGAIN);
	assert_int_equal(bc_evict_one(&t.evict, &key, 0, 5, &place), -EAGAIN);
	assert_int_equal(bc_evict_one(&t.evict, &key, 0, 5, &place), 0);
	assert_int_equal(place.frame, 107);
	assert_int_equal(bc_evict_one(&t.evict, &key, 0, ENTRIES, &place), -EAGAIN);
	assert_int_equal(bc_evict_one(&t.evict, &key, 0, U32_MAX, &place), -ENOSPC);
}

/* Guards: the counts that choose the hand follow every change of state. */
static void counts(void **state)
{
	const struct bc_index_group *group = &t.index.group[0];
	struct bc_place place = { .frame = 1, .count = 7 };
	u32 gone;

	(void)state;
	assert_int_equal(bc_index_insert(&t.index, &key, 0, &place, 7 << BC_BLOCK_SHIFT, 0, 0), 0);
	assert_int_equal(atomic_read(&group->blocks), 7);
	assert_int_equal(atomic_read(&group->probation), 7);
	insert_as(1, BC_ENTRY_MAIN);
	assert_int_equal(atomic_read(&group->blocks), 8);
	assert_int_equal(atomic_read(&group->probation), 7);
	assert_int_equal(bc_index_demote(&t.index, &key, 1), 1);
	assert_int_equal(atomic_read(&group->probation), 8);
	assert_int_equal(atomic_read(&group->demoted), 1);
	touch(0);
	assert_int_equal(evict(&gone), 0);
	assert_int_equal(gone, 1);
	assert_int_equal(atomic_read(&group->probation), 7);
	insert_as(2, 0);
	assert_goes(2);
	assert_int_equal(atomic_read(&group->blocks), 7);
	assert_int_equal(atomic_read(&group->probation), 0);
	assert_int_equal(bc_index_remove(&t.index, &key, 0, &place), 0);
	assert_int_equal(atomic_read(&group->blocks), 0);
}

/* ---- groups ---- */

#define GROUPS	64
#define SLOTS	(GROUPS * 64)

static int setup_groups(void **state)
{
	(void)state;
	tuning = (struct bc_evict_tuning)BC_EVICT_TUNING_DEFAULT;
	assert_int_equal(bc_index_init(&t.index, 2 * SLOTS, GROUPS), 0);
	assert_int_equal(bc_evict_init(&t.evict, &t.index, SLOTS, &tuning), 0);
	return 0;
}

static u32 group_of(u32 chunk)
{
	return bc_index_group(&t.index, bc_chunk_hash(&key, chunk));
}

/* The next chunk of a group. */
static u32 chunk_in(u32 group, u32 chunk)
{
	while (group_of(chunk) != group)
		chunk++;
	return chunk;
}

static u32 admitted(u32 group, u32 tries, bool room)
{
	u32 chunk = 0, count = 0;

	for (; tries; tries--) {
		chunk = chunk_in(group, chunk + 1);
		count += bc_evict_admit(&t.evict, &key, chunk, room);
	}
	return count;
}

/* Guards: as many groups as an index needs; a small tier has too few for a duel. */
static void number_of_groups(void **state)
{
	u64 entries, groups;

	(void)state;
	assert_int_equal(bc_evict_groups(1), 1);
	assert_int_equal(bc_evict_groups(511), 1);
	assert_int_equal(bc_evict_groups(512), 2);
	assert_int_equal(bc_evict_groups(16383), 32);
	assert_int_equal(bc_evict_groups(16384), 64);
	for (entries = 1; entries < U32_MAX; entries = entries * 3 + 1) {
		groups = bc_evict_groups(entries);
		assert_true(is_power_of_2(groups) && entries / groups < BC_INDEX_GROUP_MAX);
	}
}

/* Guards: without a decision all is admitted but by the group that always bypasses. */
static void leaders(void **state)
{
	u32 count;

	(void)state;
	tuning.duel_fraction = 1;
	assert_int_equal(admitted(0, 10, false), 10);
	assert_int_equal(admitted(2, 200, false), 200);
	count = admitted(1, 1000, false);
	assert_true(count >= 4 && count <= 40);
	assert_false(t.evict.bypass);
	tuning.admit_one_in = 1;
	assert_int_equal(admitted(1, 100, false), 100);
	tuning.admit_one_in = 0;
	assert_int_equal(admitted(1, 100, false), 100);
}

/* Guards: misses of those who admit lead to bypass, misses of the others back, with hysteresis. */
static void duel(void **state)
{
	const s32 limit = SLOTS / 256;
	u32 count;

	(void)state;
	admitted(0, limit / 2 - 1, false);
	assert_false(t.evict.bypass);
	admitted(0, 1, false);
	assert_true(t.evict.bypass);
	admitted(0, 1000, false);
	assert_int_equal(t.evict.duel, limit);
	count = admitted(5, 1000, false);
	assert_true(count >= 4 && count <= 40);
	/* Where there is room nothing is lost by taking it, and who always admits still does. */
	assert_int_equal(admitted(5, 100, true), 100);
	assert_int_equal(admitted(0, 100, false), 100);
	admitted(1, limit, false);
	assert_int_equal(t.evict.duel, 0);
	assert_true(t.evict.bypass);
	admitted(1, limit / 2, false);
	assert_false(t.evict.bypass);
	assert_int_equal(admitted(5, 100, false), 100);
}

/* Guards: under bypass a new set gets the place of a demoted one at once. */
static void demoted_are_room(void **state)
{
	const u32 old = chunk_in(7, 0);
	struct bc_place place;

	(void)state;
	insert_as(old, BC_ENTRY_MAIN);
	t.evict.bypass = true;
	t.evict.duel = SLOTS / 256;
	tuning.admit_one_in = U32_MAX;
	assert_int_equal(admitted(7, 10, false), 0);
	assert_int_equal(bc_index_demote(&t.index, &key, old), 1);
	assert_int_equal(admitted(7, 10, false), 10);
	assert_int_equal(admitted(8, 10, false), 0);
	assert_int_equal(bc_evict_one(&t.evict, &key, chunk_in(7, old + 1), U32_MAX, &place), 0);
	assert_int_equal(place.frame, 100 + old);
	assert_int_equal(admitted(7, 10, false), 0);
}

/* Guards: a chunk's room is made in its group; if nothing may go there, in another. */
static void own_group_first(void **state)
{
	const u32 mine = chunk_in(9, 0), next = chunk_in(9, mine + 1), other = chunk_in(10, 0);
	struct bc_place place;

	(void)state;
	insert(other);
	insert(mine);
	insert(next);
	assert_int_equal(bc_evict_one(&t.evict, &key, mine, U32_MAX, &place), 0);
	assert_int_equal(place.frame, 100 + mine);
	assert_int_equal(bc_index_pin_chunk(&t.index, &key, next, true), 1);
	assert_int_equal(bc_evict_one(&t.evict, &key, mine, U32_MAX, &place), 0);
	assert_int_equal(place.frame, 100 + other);
	assert_int_equal(bc_evict_one(&t.evict, &key, mine, U32_MAX, &place), -ENOSPC);
}

/* Guards: what may go is found, whichever group it is in and wherever the last search ended. */
static void any_group(void **state)
{
	const u32 mine = chunk_in(9, 0);
	struct bc_place place;
	u32 group, chunk;

	(void)state;
	for (group = 0; group < GROUPS; group++) {
		chunk = chunk_in(group, 0);
		insert(chunk);
		assert_int_equal(bc_evict_one(&t.evict, &key, mine, U32_MAX, &place), 0);
		assert_int_equal(place.frame, 100 + chunk);
	}
}

/* Guards: a group that has far less than others takes from them. */
static void no_group_starves(void **state)
{
	u32 group, i, chunk, mine = chunk_in(3, 0), taken = 0;
	struct bc_place place;

	(void)state;
	for (group = 0; group < GROUPS; group++)
		for (i = 0, chunk = 0; i < (group == 3 ? 20 : 60); i++) {
			chunk = chunk_in(group, chunk + 1);
			insert(chunk);
		}
	for (i = 0; i < 20; i++) {
		assert_int_equal(bc_evict_one(&t.evict, &key, mine, U32_MAX, &place), 0);
		taken += group_of(place.frame - 100) != 3;
	}
	assert_true(taken >= 15);
}

/* Guards: a group has its part of the entries, and says when there is none left. */
static void entries_of_a_group(void **state)
{
	u32 chunk = chunk_in(4, 0), count = 0;
	struct bc_place place = { .count = 1 };

	(void)state;
	while (bc_evict_entry_free(&t.evict, &key, chunk)) {
		insert(chunk);
		count++;
		chunk = chunk_in(4, chunk + 1);
	}
	assert_int_equal(count, 2 * SLOTS / GROUPS);
	assert_int_equal(bc_index_insert(&t.index, &key, chunk, &place, 1, 0, 0), -ENOSPC);
	assert_int_equal(bc_evict_one(&t.evict, &key, chunk, U32_MAX, &place), 0);
	assert_int_equal(group_of(place.frame - 100), 4);
	assert_true(bc_evict_entry_free(&t.evict, &key, chunk));
}

/* Guards: what it costs is what the documentation says. */
static void memory(void **state)
{
	(void)state;
	assert_int_equal(bc_evict_memory(&t.evict),
			 2 * SLOTS + GROUPS * sizeof(struct bc_evict_group));
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define test_empty(f) cmocka_unit_test_setup_teardown(f, setup_empty, teardown)
#define test_groups(f) cmocka_unit_test_setup_teardown(f, setup_groups, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(oldest_first),
		test(used_once_goes_last),
		test(contains_is_no_use),
		test(one_pass_is_one_use),
		test(newest_last),
		test(use_is_not_inherited),
		test(ghost_makes_main),
		test_empty(main_leaves_no_ghost),
		test(scan_spares_hot_set),
		test(old_hot_set_goes),
		test_empty(probation_percent),
		test(all_in_use),
		test(pinned_stay),
		test(dead_go_at_once),
		test(demoted_first),
		test(demote_and_pin),
		test(budget),
		test_empty(counts),
		cmocka_unit_test(number_of_groups),
		test_groups(leaders),
		test_groups(duel),
		test_groups(demoted_are_room),
		test_groups(own_group_first),
		test_groups(any_group),
		test_groups(no_group_starves),
		test_groups(entries_of_a_group),
		test_groups(memory),
	};

	return cmocka_run_group_tests_name("evict", tests, NULL, NULL);
}
