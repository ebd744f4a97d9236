/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/index.c kmod/evict.c kmod/frame.c kmod/pending.c */
/* The index: contracts call by call, random calls against a map, and threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "evict.h"
#include "frame.h"
#include "index.h"
#include "key.h"
#include "pending.h"

static u64 seed;

static u32 roll_with(u64 *s, u32 below)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return (*s >> 16) % below;
}

static u32 roll(u32 below)
{
	return roll_with(&seed, below);
}

static struct bc_key key_of(u32 n)
{
	struct bc_key key = {};

	/* The hash of the index takes the first bytes: let some keys differ elsewhere only. */
	key.bytes[0] = n / 2;
	key.bytes[BC_KEY_SIZE - 1] = n;
	return key;
}

static const struct bc_evict_tuning tuning = BC_EVICT_TUNING_DEFAULT;

/* A victim of an index of one group, by an evictor that has seen nothing before. */
static int evict_any(struct bc_index *index, struct bc_place *place)
{
	const struct bc_key key = {};
	struct bc_evict evict;
	int ret;

	assert_int_equal(bc_evict_init(&evict, index, 1, &tuning), 0);
	ret = bc_evict_one(&evict, &key, 0, U32_MAX, place);
	bc_evict_free(&evict);
	return ret;
}

static struct bc_place place_of(u32 frame, u8 slot, u8 count)
{
	return (struct bc_place){ .frame = frame, .slot = slot, .count = count };
}

static bool place_equal(const struct bc_place *a, const struct bc_place *b)
{
	return a->frame == b->frame && a->slot == b->slot && a->count == b->count;
}

static void assert_place(const struct bc_place *a, const struct bc_place *b)
{
	assert_true(place_equal(a, b));
}

/* Guards: capacity is what was asked for, memory what the design allows. */
static void init(void **state)
{
	static const u64 sizes[] = { 1, 2, 3, 1000, 1024, 1025, 65536, 65537, 1000000 };
	struct bc_index index;
	size_t i, memory;

	(void)state;
	assert_int_equal(bc_index_init(&index, 0, 1), -EINVAL);
	assert_int_equal(bc_index_init(&index, BC_INDEX_NONE, 1 << 24), -EINVAL);
	assert_int_equal(bc_index_init(&index, 1ULL << 40, 1 << 24), -EINVAL);
	assert_int_equal(bc_index_init(&index, 100, 3), -EINVAL);
	assert_int_equal(bc_index_init(&index, 3, 4), -EINVAL);
	assert_int_equal(bc_index_init(&index, BC_INDEX_GROUP_MAX + 1, 1), -EINVAL);
	assert_int_equal(bc_index_init(&index, 2 * BC_INDEX_GROUP_MAX + 2, 2), -EINVAL);
	assert_int_equal(bc_index_memory(&index), 0);
	bc_index_free(&index);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		u32 groups = bc_evict_groups(sizes[i]);

		assert_int_equal(bc_index_init(&index, sizes[i], groups), 0);
		assert_in_range(index.entries, sizes[i] - groups + 1, sizes[i]);
		memory = bc_index_memory(&index) - BC_INDEX_STRIPES * sizeof(spinlock_t);
		assert_true(memory <= BC_INDEX_ENTRY_BYTES * index.entries + groups *
			    (sizeof(struct bc_index_line) + sizeof(struct bc_index_group)));
		bc_index_free(&index);
	}
}

/* Bytes of an entry and its part of a frame; pending as far as it is not for what waits. */
static void memory_of_an_entry(u64 frame_count, u32 ratio, double most)
{
	u64 entries = frame_count * ratio;
	struct bc_pending pending;
	struct bc_frames frames;
	struct bc_index index;
	struct bc_evict evict;
	double memory;

	assert_int_equal(bc_index_init(&index, entries, bc_evict_groups(entries)), 0);
	assert_int_equal(bc_evict_init(&evict, &index, frame_count, &tuning), 0);
	assert_int_equal(bc_frames_init(&frames, frame_count), 0);
	assert_int_equal(bc_pending_init(&pending, frame_count, BC_PENDING_MAX), 0);
	memory = bc_index_memory(&index) + bc_evict_memory(&evict) + bc_frames_memory(&frames);
	if (ratio == 1)
		assert_true(memory <= 44.0 * index.entries);
	memory += bc_pending_memory(&pending);
	print_message("# %8llu frames, %u entries each: %.2f bytes per entry\n",
		      (unsigned long long)frame_count, ratio, memory / index.entries);
	assert_true(memory <= most * index.entries);
	bc_pending_free(&pending);
	bc_frames_free(&frames);
	bc_evict_free(&evict);
	bc_index_free(&index);
}

/* Guards: what a chunk costs in memory, all that grows with the tier included. */
static void memory_of_a_chunk(void **state)
{
	static const u64 frames[] = { 65536, 100000, 1000000, 3655535 };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(frames); i++) {
		memory_of_an_entry(frames[i], 1, 47);
		memory_of_an_entry(frames[i], 2, 43);
	}
}

/* The next chunk of a key that belongs to a group, and in it to a line. */
static u32 chunk_at(const struct bc_index *index, const struct bc_key *key, u32 chunk, u32 group,
		    u32 line)
{
	u64 hash;

	for (;; chunk++) {
		hash = bc_chunk_hash(key, chunk);
		if (bc_index_group(index, hash) == group &&
		    (u64)(u32)hash * index->group_lines >> 32 == line)
			return chunk;
	}
}

#define CROWD	60	/* four lines full */

/* Guards: more chunks than a line holds are all found, in whatever order they come and go. */
static void crowded_line(void **state)
{
	const struct bc_place place = place_of(1, 0, 1);
	const struct bc_key key = key_of(0);
	u32 chunk[CROWD], i, turn, last;
	struct bc_index index;
	struct bc_place back;

	(void)state;
	seed = 0x5eed0004;
	assert_int_equal(bc_index_init(&index, 1024, 4), 0);
	last = index.group_lines - 1;
	for (i = 0; i < CROWD; i++) {
		chunk[i] = chunk_at(&index, &key, i ? chunk[i - 1] + 1 : 0, 2, last);
		assert_int_equal(bc_index_insert(&index, &key, chunk[i], &place, 1, 0, 0), 0);
	}
	for (turn = 0; turn < 5000; turn++) {
		bool present;

		i = roll(CROWD);
		present = bc_index_contains(&index, &key, chunk[i], NULL);
		assert_int_equal(bc_index_remove(&index, &key, chunk[i], &back),
				 present ? 0 : -ENOENT);
		if (!present)
			assert_int_equal(bc_index_insert(&index, &key, chunk[i], &place, 1, 0, 0), 0);
		assert_int_equal(bc_index_contains(&index, &key, chunk[i], NULL), !present);
	}
	for (i = 0; i < CROWD; i++)
		bc_index_remove(&index, &key, chunk[i], &back);
	assert_int_equal(index.used, 0);
	/* Nothing is left in the lines, nor in their counts. */
	for (i = 0; i < 4 * index.group_lines; i++)
		assert_memory_equal(&index.line[i], &(struct bc_index_line){}, 32);
	bc_index_free(&index);
}

/* Guards: a hit tells exactly what was inserted; a name is there once. */
static void insert_and_find(void **state)
{
	const struct bc_key a = key_of(0), b = key_of(1);
	const struct bc_place place = place_of(7, 3, 4), other = place_of(8, 0, 1);
	struct bc_index index;
	struct bc_hit hit;
	u32 bytes;

	(void)state;
	assert_int_equal(bc_index_init(&index, 4, 1), 0);
	assert_false(bc_index_lookup(&index, &a, 5, &hit));
	assert_int_equal(bc_index_insert(&index, &a, 5, &place, 3 * BC_BLOCK_SIZE + 1, 0x5, 0), 0);
	assert_int_equal(bc_index_insert(&index, &a, 5, &other, 1, 0, 0), -EEXIST);
	assert_int_equal(index.used, 1);
	assert_false(bc_index_lookup(&index, &a, 4, &hit));
	assert_false(bc_index_lookup(&index, &b, 5, &hit));
	assert_false(bc_index_contains(&index, &b, 5, NULL));
	assert_true(bc_index_contains(&index, &a, 5, &bytes));
	assert_int_equal(bytes, 3 * BC_BLOCK_SIZE + 1);
	assert_true(bc_index_lookup(&index, &a, 5, &hit));
	assert_place(&hit.place, &place);
	assert_int_equal(hit.bytes, 3 * BC_BLOCK_SIZE + 1);
	assert_int_equal(hit.verified, 0x5);
	bc_index_unpin(&index, hit.id);
	bc_index_free(&index);
}

static int put(struct bc_index *index, const struct bc_key *key, const struct bc_place *place,
	       u32 bytes)
{
	return bc_index_insert(index, key, 0, place, bytes, 0, 0);
}

/* Guards: every legal length survives the packing; every illegal one is refused. */
static void lengths(void **state)
{
	const struct bc_key key = key_of(3);
	struct bc_index index;
	struct bc_place place, back;
	u32 count, bytes;
	size_t i;

	(void)state;
	assert_int_equal(bc_index_init(&index, 4, 1), 0);
	for (count = 1; count <= BC_FRAME_BLOCKS; count++) {
		const u32 good[] = { (count - 1) * BC_BLOCK_SIZE + 1, count * BC_BLOCK_SIZE - 1,
				     count * BC_BLOCK_SIZE };
		const u32 bad[] = { (count - 1) * BC_BLOCK_SIZE, count * BC_BLOCK_SIZE + 1 };

		place = place_of(1, BC_FRAME_BLOCKS - count, count);
		for (i = 0; i < ARRAY_SIZE(good); i++) {
			assert_int_equal(put(&index, &key, &place, good[i]), 0);
			assert_true(bc_index_contains(&index, &key, 0, &bytes));
			assert_int_equal(bytes, good[i]);
			assert_int_equal(bc_index_remove(&index, &key, 0, &back), 0);
			assert_place(&back, &place);
		}
		bc_warnings = 1;
		for (i = 0; i < ARRAY_SIZE(bad); i++)
			assert_int_equal(put(&index, &key, &place, bad[i]), -EINVAL);
		assert_int_equal(bc_warnings, 3);
	}
	place = place_of(1, 10, 7);
	assert_int_equal(put(&index, &key, &place, 7 << BC_BLOCK_SHIFT), -EINVAL);
	place = place_of(1, 0, 1);
	assert_int_equal(bc_index_insert(&index, &key, 0, &place, 1, 0, BC_ENTRY_LIVE), -EINVAL);
	bc_warnings = 0;
	assert_int_equal(index.used, 0);
	bc_index_free(&index);
}

/* Guards: a full index says so, knows duplicates, and takes entries again after a removal. */
static void full(void **state)
{
	const struct bc_key key = key_of(0);
	struct bc_place place = place_of(0, 0, 1);
	struct bc_index index;
	u32 i;

	(void)state;
	assert_int_equal(bc_index_init(&index, 3, 1), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(bc_index_insert(&index, &key, i, &place, 1, 0, 0), 0);
	assert_int_equal(bc_index_insert(&index, &key, 3, &place, 1, 0, 0), -ENOSPC);
	assert_int_equal(bc_index_insert(&index, &key, 1, &place, 1, 0, 0), -EEXIST);
	assert_int_equal(bc_index_remove(&index, &key, 1, &place), 0);
	assert_int_equal(bc_index_remove(&index, &key, 1, &place), -ENOENT);
	assert_int_equal(bc_index_insert(&index, &key, 3, &place, 1, 0, 0), 0);
	bc_index_free(&index);
}

/* Guards: frames are reused at zero pins only. */
static void readers_keep_their_blocks(void **state)
{
	const struct bc_key key = key_of(2);
	const struct bc_place place = place_of(9, 0, 16);
	struct bc_place back;
	struct bc_index index;
	struct bc_hit one, two;

	(void)state;
	assert_int_equal(bc_index_init(&index, 4, 1), 0);
	assert_int_equal(bc_index_insert(&index, &key, 1, &place, BC_CHUNK_SIZE, 0, 0), 0);
	assert_true(bc_index_lookup(&index, &key, 1, &one));
	assert_true(bc_index_lookup(&index, &key, 1, &two));
	assert_int_equal(one.id, two.id);
	assert_int_equal(bc_index_remove(&index, &key, 1, &back), -EBUSY);
	assert_int_equal(evict_any(&index, &back), -ENOSPC);
	bc_index_unpin(&index, one.id);
	assert_int_equal(bc_index_remove(&index, &key, 1, &back), -EBUSY);
	assert_false(bc_index_unpin_last(&index, two.id, &back));
	assert_int_equal(bc_index_remove(&index, &key, 1, &back), 0);
	assert_place(&back, &place);
	assert_int_equal(index.used, 0);
	bc_index_free(&index);
}

/* Guards: what failed its checksum is found by nobody any more; its blocks come back once. */
static void bad_block_of_one_reader(void **state)
{
	const struct bc_key key = key_of(2);
	const struct bc_place place = place_of(9, 4, 2);
	struct bc_place back;
	struct bc_index index;
	struct bc_hit hit;

	(void)state;
	assert_int_equal(bc_index_init(&index, 4, 1), 0);
	assert_int_equal(bc_index_insert(&index, &key, 1, &place, BC_BLOCK_SIZE + 9, 0,
					 BC_ENTRY_PINNED), 0);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_int_equal(bc_index_remove_pinned(&index, hit.id, &back), 0);
	assert_place(&back, &place);
	assert_false(bc_index_lookup(&index, &key, 1, &hit));
	assert_int_equal(index.used, 0);
	bc_index_free(&index);
}

static void three_readers(struct bc_index *index, const struct bc_place *place, u32 *id)
{
	const struct bc_key key = key_of(2);
	struct bc_place back;
	struct bc_hit hit;
	u32 i;

	assert_int_equal(bc_index_init(index, 4, 1), 0);
	assert_int_equal(bc_index_insert(index, &key, 1, place, BC_BLOCK_SIZE + 9, 0, 0), 0);
	for (i = 0; i < 3; i++)
		assert_true(bc_index_lookup(index, &key, 1, &hit));
	*id = hit.id;
	assert_int_equal(bc_index_remove_pinned(index, hit.id, &back), -EBUSY);
	assert_false(bc_index_lookup(index, &key, 1, &hit));
	assert_int_equal(bc_index_remove(index, &key, 1, &back), -ENOENT);
	assert_int_equal(bc_index_pin_chunk(index, &key, 1, true), 0);
	assert_int_equal(evict_any(index, &back), -ENOSPC);
}

/* Guards: as above with other readers, the last of whom can give the blocks back itself. */
static void bad_block_last_reader_frees(void **state)
{
	const struct bc_place place = place_of(9, 4, 2), again = place_of(1, 1, 1);
	const struct bc_key key = key_of(2);
	struct bc_index index;
	struct bc_place back;
	u32 id;

	(void)state;
	three_readers(&index, &place, &id);
	/* The name is free for a good copy meanwhile. */
	assert_int_equal(bc_index_insert(&index, &key, 1, &again, 1, 1, 0), 0);
	assert_false(bc_index_unpin_last(&index, id, &back));
	assert_true(bc_index_unpin_last(&index, id, &back));
	assert_place(&back, &place);
	assert_int_equal(index.used, 1);
	bc_index_free(&index);
}

/* Guards: as above when the last reader ends where it cannot: the evictor finds it. */
static void bad_block_evictor_frees(void **state)
{
	const struct bc_place place = place_of(9, 4, 2);
	struct bc_index index;
	struct bc_place back;
	u32 id;

	(void)state;
	three_readers(&index, &place, &id);
	bc_index_unpin(&index, id);
	assert_int_equal(evict_any(&index, &back), -ENOSPC);
	bc_index_unpin(&index, id);
	assert_int_equal(evict_any(&index, &back), 0);
	assert_place(&back, &place);
	assert_int_equal(evict_any(&index, &back), -ENOSPC);
	assert_int_equal(index.used, 0);
	bc_index_free(&index);
}

/* Guards: all readers of one bad block may report it; only the last gets the blocks. */
static void bad_block_seen_by_all(void **state)
{
	const struct bc_place place = place_of(9, 4, 2);
	struct bc_index index;
	struct bc_place back;
	u32 id;

	(void)state;
	three_readers(&index, &place, &id);
	assert_int_equal(bc_index_remove_pinned(&index, id, &back), -EBUSY);
	assert_int_equal(bc_index_remove_pinned(&index, id, &back), 0);
	assert_place(&back, &place);
	assert_int_equal(index.used, 0);
	bc_index_free(&index);
}

/* Guards: a block is verified once after an attach, and another chunk never inherits that. */
static void verified_bits(void **state)
{
	const struct bc_key key = key_of(2);
	struct bc_place place = place_of(9, 0, 16);
	struct bc_index index;
	struct bc_hit hit;

	(void)state;
	assert_int_equal(bc_index_init(&index, 1, 1), 0);
	assert_int_equal(bc_index_insert(&index, &key, 1, &place, BC_CHUNK_SIZE, 0, 0), 0);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_int_equal(hit.verified, 0);
	bc_index_set_verified(&index, hit.id, 0x8001);
	bc_index_set_verified(&index, hit.id, 0x0003);
	bc_index_set_verified(&index, hit.id, 0);
	bc_index_unpin(&index, hit.id);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_int_equal(hit.verified, 0x8003);
	bc_index_unpin(&index, hit.id);
	assert_int_equal(bc_index_remove(&index, &key, 1, &place), 0);
	assert_int_equal(bc_index_insert(&index, &key, 2, &place, BC_CHUNK_SIZE, 0, 0), 0);
	assert_true(bc_index_lookup(&index, &key, 2, &hit));
	assert_int_equal(hit.verified, 0);
	bc_index_unpin(&index, hit.id);
	bc_index_free(&index);
}

/* Guards: pinned accounting: the number of blocks is told once per change. */
static void user_pins(void **state)
{
	const struct bc_key key = key_of(2);
	struct bc_place place = place_of(9, 0, 3);
	struct bc_index index;
	struct bc_hit hit;

	(void)state;
	assert_int_equal(bc_index_init(&index, 2, 1), 0);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, true), 0);
	assert_int_equal(bc_index_insert(&index, &key, 1, &place, 3 << BC_BLOCK_SHIFT, 0, 0), 0);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, false), 0);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, true), 3);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, true), 0);
	assert_int_equal(evict_any(&index, &place), -ENOSPC);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, false), 3);
	assert_int_equal(evict_any(&index, &place), 0);
	/* A user's pin keeps it, and counts until it goes, whichever way. */
	assert_int_equal(bc_index_insert(&index, &key, 1, &place, 3 << BC_BLOCK_SHIFT, 0,
					 BC_ENTRY_PINNED), 0);
	assert_int_equal(atomic64_read(&index.pinned_blocks), 3);
	assert_int_equal(bc_index_remove(&index, &key, 1, &place), -EBUSY);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, false), 3);
	assert_int_equal(atomic64_read(&index.pinned_blocks), 0);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, true), 3);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_int_equal(bc_index_remove_pinned(&index, hit.id, &place), 0);
	assert_int_equal(atomic64_read(&index.pinned_blocks), 0);
	bc_index_free(&index);
}

/* ---- random calls against a map ---- */

#define MAP_NAMES	48
#define MAP_ENTRIES	40
#define MAP_HELD	24
#define MAP_SERIALS	MAP_ENTRIES	/* at most that many live and dead together */

/* An incarnation of a name: from insert until its blocks came back. */
struct incarnation {
	bool used, dead, pinned;
	u32 name, pins, bytes;
	u16 verified;
	struct bc_place place;
};

static struct incarnation map[MAP_SERIALS];
static struct { struct incarnation *of; u32 id; } held[MAP_HELD];
static u32 held_count, next_frame;

static struct incarnation *map_live(u32 name)
{
	u32 i;

	for (i = 0; i < MAP_SERIALS; i++)
		if (map[i].used && !map[i].dead && map[i].name == name)
			return &map[i];
	return NULL;
}

static struct incarnation *map_of_place(const struct bc_place *place)
{
	u32 i;

	for (i = 0; i < MAP_SERIALS; i++)
		if (map[i].used && place_equal(&map[i].place, place))
			return &map[i];
	fail_msg("blocks of nobody came back");
	return NULL;
}

static u32 map_used(void)
{
	u32 i, used = 0;

	for (i = 0; i < MAP_SERIALS; i++)
		used += map[i].used;
	return used;
}

static void map_insert(struct bc_index *index, u32 name)
{
	const struct bc_key key = key_of(name / 8);
	struct incarnation new = { .used = true, .name = name, .pinned = !roll(8) };
	int err, expected;
	u32 i;

	new.place = place_of(next_frame++, roll(8), 1 + roll(8));
	new.bytes = (new.place.count - 1) * BC_BLOCK_SIZE + 1 + roll(BC_BLOCK_SIZE);
	new.verified = roll(65536);
	expected = map_live(name) ? -EEXIST : map_used() == MAP_ENTRIES ? -ENOSPC : 0;
	err = bc_index_insert(index, &key, name % 8, &new.place, new.bytes, new.verified,
			      new.pinned ? BC_ENTRY_PINNED : 0);
	assert_int_equal(err, expected);
	for (i = 0; !err; i++) {
		if (!map[i].used) {
			map[i] = new;
			break;
		}
	}
}

static void map_lookup(struct bc_index *index, u32 name)
{
	const struct bc_key key = key_of(name / 8);
	struct incarnation *of = map_live(name);
	struct bc_hit hit;
	u32 bytes;

	assert_int_equal(bc_index_contains(index, &key, name % 8, &bytes), !!of);
	if (held_count == MAP_HELD)
		return;
	assert_int_equal(bc_index_lookup(index, &key, name % 8, &hit), !!of);
	if (!of)
		return;
	assert_place(&hit.place, &of->place);
	assert_int_equal(hit.bytes, of->bytes);
	assert_int_equal(bytes, of->bytes);
	assert_int_equal(hit.verified, of->verified);
	of->pins++;
	held[held_count].of = of;
	held[held_count++].id = hit.id;
	if (!roll(4)) {
		u16 mask = roll(65536);

		bc_index_set_verified(index, hit.id, mask);
		of->verified |= mask;
	}
}

static void map_unpin(struct bc_index *index)
{
	struct incarnation *of;
	struct bc_place place;
	u32 i, id;
	int err;

	if (!held_count)
		return;
	i = roll(held_count);
	of = held[i].of;
	id = held[i].id;
	held[i] = held[--held_count];
	of->pins--;
	switch (roll(4)) {
	case 0:
		bc_index_unpin(index, id);
		break;
	case 1:
		err = bc_index_remove_pinned(index, id, &place);
		assert_int_equal(err, of->pins ? -EBUSY : 0);
		of->dead = true;
		if (err)
			break;
		assert_place(&place, &of->place);
		of->used = false;
		break;
	default:
		assert_int_equal(bc_index_unpin_last(index, id, &place), of->dead && !of->pins);
		if (!of->dead || of->pins)
			break;
		assert_place(&place, &of->place);
		of->used = false;
	}
}

static void map_remove(struct bc_index *index, u32 name)
{
	const struct bc_key key = key_of(name / 8);
	struct incarnation *of = map_live(name);
	struct bc_place place;

	assert_int_equal(bc_index_remove(index, &key, name % 8, &place),
			 !of ? -ENOENT : of->pins || of->pinned ? -EBUSY : 0);
	if (!of || of->pins || of->pinned)
		return;
	assert_place(&place, &of->place);
	of->used = false;
}

static void map_evict(struct bc_index *index)
{
	struct incarnation *of;
	struct bc_place place;
	bool possible = false;
	int err;
	u32 i;

	for (i = 0; i < MAP_SERIALS; i++)
		possible |= map[i].used && !map[i].pins && (map[i].dead || !map[i].pinned);
	err = evict_any(index, &place);
	assert_int_equal(err, possible ? 0 : -ENOSPC);
	if (err)
		return;
	of = map_of_place(&place);
	assert_int_equal(of->pins, 0);
	assert_true(of->dead || !of->pinned);
	of->used = false;
}

static void map_pin(struct bc_index *index, u32 name, bool pin)
{
	const struct bc_key key = key_of(name / 8);
	struct incarnation *of = map_live(name);
	u32 blocks = bc_index_pin_chunk(index, &key, name % 8, pin);

	assert_int_equal(blocks, of && of->pinned != pin ? of->place.count : 0);
	if (of)
		of->pinned = pin;
}

static void map_demote(struct bc_index *index, u32 name)
{
	const struct bc_key key = key_of(name / 8);
	struct incarnation *of = map_live(name);
	u32 blocks = bc_index_demote(index, &key, name % 8);

	assert_true(!blocks || (of && !of->pinned && blocks == of->place.count));
	index->tick++;
}

/* Guards: every answer, and where each block is, over 200,000 random calls. */
static void random_against_map(void **state)
{
	struct bc_index index;
	u32 i, name;

	(void)state;
	seed = 0x5eed0002;
	assert_int_equal(bc_index_init(&index, MAP_ENTRIES, 1), 0);
	for (i = 0; i < 200000; i++) {
		name = roll(MAP_NAMES);
		switch (roll(13)) {
		case 0 ... 2:
			map_insert(&index, name);
			break;
		case 3 ... 5:
			map_lookup(&index, name);
			break;
		case 6 ... 8:
			map_unpin(&index);
			break;
		case 9:
			map_remove(&index, name);
			break;
		case 10:
			map_evict(&index);
			break;
		case 11:
			map_pin(&index, name, !roll(3));
			break;
		case 12:
			map_demote(&index, name);
		}
		assert_int_equal(index.used, map_used());
	}
	assert_int_equal(bc_warnings, 0);
	bc_index_free(&index);
}

/* ---- threads ---- */

#define T_THREADS	4
#define T_ROUNDS	25000
#define T_FRAMES	12
#define T_ENTRIES	96
#define T_KEYS		8
#define T_CHUNKS	64
#define T_PINNABLE	6	/* chunks of key 0 that the threads pin and unpin */

static struct {
	struct bc_index index;
	struct bc_frames frames;
	struct bc_evict evict;
	pthread_mutex_t alloc;
	/*
	 * Which chunk's bytes each block holds, 0 if nobody's. Plain memory on
	 * purpose: the thread sanitizer then sees whether pins, locks and the
	 * dead mark order a reader before the next owner, as they must for the
	 * real blocks on the device.
	 */
	u32 content[T_FRAMES][BC_FRAME_BLOCKS];
	/* Pins that were handed to the thread that plays the part of bio completion. */
	pthread_mutex_t done_lock;
	u32 done[64], done_count;
	bool stop;
	u32 failures, hits, fills, evictions, deaths;
} t;

static void count(u32 *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

/* cmocka's asserts work in the main thread only. */
static void check(bool good, const char *what)
{
	if (!good && !__atomic_fetch_add(&t.failures, 1, __ATOMIC_RELAXED))
		fprintf(stderr, "# failed: %s\n", what);
}

static void t_fill(const struct bc_place *place, u32 before, u32 after)
{
	u32 i;

	for (i = place->slot; i < place->slot + place->count; i++) {
		check(t.content[place->frame][i] == before, "a block has two owners");
		t.content[place->frame][i] = after;
	}
}

/* Give back blocks, which all hold the bytes of one chunk. */
static void t_release(const struct bc_place *place)
{
	t_fill(place, t.content[place->frame][place->slot], 0);
	pthread_mutex_lock(&t.alloc);
	bc_frames_release(&t.frames, place);
	pthread_mutex_unlock(&t.alloc);
}

static bool t_evict(u32 budget)
{
	struct bc_place place;
	int err;

	pthread_mutex_lock(&t.alloc);
	err = bc_evict_one(&t.evict, &(struct bc_key){}, 0, budget, &place);
	pthread_mutex_unlock(&t.alloc);
	if (err)
		return false;
	count(&t.evictions);
	t_release(&place);
	return true;
}

static bool t_alloc(u32 blocks, struct bc_place *place)
{
	int tries, err;

	for (tries = 0; tries < 100; tries++) {
		pthread_mutex_lock(&t.alloc);
		err = bc_frames_alloc(&t.frames, blocks, place);
		pthread_mutex_unlock(&t.alloc);
		if (!err)
			return true;
		t_evict(16);
	}
	return false;
}

static void t_miss(const struct bc_key *key, u32 chunk, u32 tag)
{
	u32 blocks = 1 + tag % 5;
	struct bc_place place;
	int err;

	if (!t_alloc(blocks, &place))
		return;
	t_fill(&place, 0, tag);
	err = bc_index_insert(&t.index, key, chunk, &place, blocks * BC_BLOCK_SIZE - tag, 0,
			      bc_evict_role(&t.evict, key, chunk));
	if (!err) {
		count(&t.fills);
		return;
	}
	check(err == -EEXIST || err == -ENOSPC, "insert");
	t_release(&place);
	if (err == -ENOSPC)
		t_evict(U32_MAX);
}

/* Let another thread unpin, if it has room. */
static bool t_complete_elsewhere(u32 id)
{
	bool room;

	pthread_mutex_lock(&t.done_lock);
	room = t.done_count < ARRAY_SIZE(t.done);
	if (room)
		t.done[t.done_count++] = id;
	pthread_mutex_unlock(&t.done_lock);
	return room;
}

static void t_hit(const struct bc_hit *hit, u32 tag, u64 *s)
{
	struct bc_place place;
	u32 i;

	count(&t.hits);
	check(hit->place.count == 1 + tag % 5, "count");
	check(hit->bytes == hit->place.count * BC_BLOCK_SIZE - tag, "bytes");
	for (i = 0; i < hit->place.count; i++)
		check(t.content[hit->place.frame][hit->place.slot + i] == tag, "wrong bytes");
	bc_index_set_verified(&t.index, hit->id, 1U << roll_with(s, hit->place.count));
	switch (roll_with(s, 16)) {
	case 0:
		count(&t.deaths);
		if (!bc_index_remove_pinned(&t.index, hit->id, &place))
			t_release(&place);
		break;
	case 1 ... 5:
		if (t_complete_elsewhere(hit->id))
			break;
		/* fall through */
	case 6 ... 9:
		bc_index_unpin(&t.index, hit->id);
		break;
	default:
		if (bc_index_unpin_last(&t.index, hit->id, &place))
			t_release(&place);
	}
}

static void *t_reader(void *arg)
{
	u64 s = 0x5eed0003 + (u64)(uintptr_t)arg * 7919;
	struct bc_place place;
	struct bc_hit hit;
	u32 i;

	for (i = 0; i < T_ROUNDS; i++) {
		u32 k = roll_with(&s, T_KEYS), chunk = roll_with(&s, T_CHUNKS);
		const struct bc_key key = key_of(k);
		u32 tag = 1 + k * T_CHUNKS + chunk;

		switch (roll_with(&s, 32)) {
		case 0:
			if (!bc_index_remove(&t.index, &key, chunk, &place))
				t_release(&place);
			break;
		case 1:
			bc_index_pin_chunk(&t.index, &(struct bc_key){}, chunk % T_PINNABLE,
					   chunk & 1);
			break;
		case 2:
			bc_index_contains(&t.index, &key, chunk, NULL);
			break;
		case 3:
			bc_index_demote(&t.index, &key, chunk);
			break;
		default:
			WRITE_ONCE(t.index.tick, i);
			if (bc_index_lookup(&t.index, &key, chunk, &hit))
				t_hit(&hit, tag, &s);
			else
				t_miss(&key, chunk, tag);
		}
	}
	return NULL;
}

/* Claims what is dead all the time, and so meets entries at every moment of their death. */
static void *t_evictor(void *arg)
{
	bool stop;
	u32 i;

	do {
		pthread_mutex_lock(&t.done_lock);
		stop = t.stop;
		pthread_mutex_unlock(&t.done_lock);
		for (i = 0; i < T_ENTRIES; i++) {
			struct bc_entry *entry = &t.index.entry[i];
			struct bc_victim victim;

			if (atomic_read(&entry->pins) & BC_PINS_DEAD &&
			    bc_index_visit(&t.index, i, false, &victim) == BC_VISIT_EVICTED)
				t_release(&victim.place);
		}
	} while (!stop);
	return arg;
}

static void *t_completer(void *arg)
{
	bool stop;

	do {
		u32 ids[ARRAY_SIZE(t.done)], i, n;

		pthread_mutex_lock(&t.done_lock);
		stop = t.stop;
		n = t.done_count;
		memcpy(ids, t.done, n * sizeof(*ids));
		t.done_count = 0;
		pthread_mutex_unlock(&t.done_lock);
		for (i = 0; i < n; i++)
			bc_index_unpin(&t.index, ids[i]);
	} while (!stop);
	return arg;
}

/*
 * Guards: never wrong bytes: no block has two owners and no reader ever sees
 * another chunk's bytes, however lookups, fills, removals, deaths and the
 * evictor interleave; and nothing leaks.
 */
static void threads(void **state)
{
	pthread_t reader[T_THREADS], completer, evictor;
	struct bc_place place;
	uintptr_t i;

	(void)state;
	assert_int_equal(bc_index_init(&t.index, T_ENTRIES, 1), 0);
	assert_int_equal(bc_evict_init(&t.evict, &t.index, T_FRAMES, &tuning), 0);
	assert_int_equal(bc_frames_init(&t.frames, T_FRAMES), 0);
	pthread_mutex_init(&t.alloc, NULL);
	pthread_mutex_init(&t.done_lock, NULL);
	assert_int_equal(pthread_create(&completer, NULL, t_completer, NULL), 0);
	assert_int_equal(pthread_create(&evictor, NULL, t_evictor, NULL), 0);
	for (i = 0; i < T_THREADS; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, t_reader, (void *)i), 0);
	for (i = 0; i < T_THREADS; i++)
		pthread_join(reader[i], NULL);
	pthread_mutex_lock(&t.done_lock);
	t.stop = true;
	pthread_mutex_unlock(&t.done_lock);
	pthread_join(completer, NULL);
	pthread_join(evictor, NULL);

	for (i = 0; i < T_PINNABLE; i++)
		bc_index_pin_chunk(&t.index, &(struct bc_key){}, i, false);
	while (!bc_evict_one(&t.evict, &(struct bc_key){}, 0, U32_MAX, &place))
		t_release(&place);
	assert_int_equal(t.index.used, 0);
	assert_int_equal(atomic_read(&t.index.group[0].blocks), 0);
	assert_int_equal(atomic_read(&t.index.group[0].probation), 0);
	assert_int_equal(atomic_read(&t.index.group[0].demoted), 0);
	assert_int_equal(t.frames.free_blocks, T_FRAMES * BC_FRAME_BLOCKS);
	assert_int_equal(t.failures, 0);
	assert_int_equal(bc_warnings, 0);
	/* The mixture must have met what it is for. */
	assert_true(t.hits > 1000 && t.fills > 1000 && t.evictions > 1000 && t.deaths > 100);
	bc_index_free(&t.index);
	bc_evict_free(&t.evict);
	bc_frames_free(&t.frames);
}

/* Guards: a chunk that is there in part is found so, and its blocks arrive one by one. */
static void partial(void **state)
{
	struct bc_place place = place_of(7, 2, 5), back;
	const struct bc_key key = key_of(1);
	const u32 bytes = 4 * BC_BLOCK_SIZE + 9;
	struct bc_index index;
	struct bc_hit hit;

	(void)state;
	assert_int_equal(bc_index_init(&index, 4, 1), 0);
	assert_int_equal(bc_index_insert_part(&index, &key, 1, &place, bytes, 0, 0), -EINVAL);
	assert_int_equal(bc_index_insert_part(&index, &key, 1, &place, bytes, 0x20, 0), -EINVAL);
	assert_int_equal(bc_index_insert_part(&index, &key, 1, &place, bytes, 0x12, 0), 0);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_int_equal(hit.valid, 0x12);
	assert_int_equal(hit.bytes, bytes);
	assert_false(hit.open);
	assert_place(&hit.place, &place);
	/* All its room is accounted for from the beginning. */
	assert_int_equal(atomic_read(&index.group[0].blocks), 5);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, true), 5);
	assert_true(bc_index_add_blocks(&index, hit.id, 0x1));
	assert_true(bc_index_peek(&index, &key, 1, &hit));
	assert_int_equal(hit.valid, 0x13);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, false), 5);
	assert_int_equal(bc_index_demote(&index, &key, 1), 5);
	assert_true(bc_index_peek(&index, &key, 1, &hit));
	assert_int_equal(hit.valid, 0x13);
	assert_true(bc_index_add_blocks(&index, hit.id, 0xfc));
	assert_true(bc_index_peek(&index, &key, 1, &hit));
	assert_int_equal(hit.valid, 0x1f);
	assert_int_equal(atomic_read(&index.group[0].blocks), 5);

	/* Of a dead entry nothing is found, and the place comes back whole. */
	assert_int_equal(bc_index_remove_pinned(&index, hit.id, &back), 0);
	assert_place(&back, &place);
	assert_int_equal(bc_index_insert_part(&index, &key, 1, &place, bytes, 0x2, 0), 0);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_int_equal(bc_index_remove_pinned(&index, hit.id, &back), -EBUSY);
	assert_false(bc_index_add_blocks(&index, hit.id, 0x1));
	assert_false(bc_index_extend(&index, hit.id, 5, bytes));
	assert_true(bc_index_unpin_last(&index, hit.id, &back));
	assert_place(&back, &place);
	/* Its successor has nothing of its bitmap. */
	assert_int_equal(bc_index_insert(&index, &key, 1, &place, bytes, 0, 0), 0);
	assert_true(bc_index_peek(&index, &key, 1, &hit));
	assert_int_equal(hit.valid, 0x1f);
	assert_int_equal(atomic_read(&index.group[0].blocks), 5);
	bc_index_free(&index);
}

/* Guards: what was recovered without its end gets it, and the counts follow. */
static void extended(void **state)
{
	struct bc_place place = place_of(7, 2, 3), back;
	const struct bc_key key = key_of(1);
	struct bc_index index;
	struct bc_hit hit;

	(void)state;
	assert_int_equal(bc_index_init(&index, 4, 1), 0);
	assert_int_equal(bc_index_insert_part(&index, &key, 1, &place, 2 * BC_BLOCK_SIZE + 1, 0x4,
					      BC_ENTRY_OPEN), -EINVAL);
	assert_int_equal(bc_index_insert_part(&index, &key, 1, &place, 3 * BC_BLOCK_SIZE, 0x5,
					      BC_ENTRY_MAIN | BC_ENTRY_OPEN), 0);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, true), 3);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_true(hit.open);
	assert_false(bc_index_extend(&index, hit.id, 3, 3 * BC_BLOCK_SIZE));
	assert_false(bc_index_extend(&index, hit.id, 15, 15 * BC_BLOCK_SIZE));
	assert_true(bc_index_extend(&index, hit.id, 14, 13 * BC_BLOCK_SIZE + 3));
	assert_false(bc_index_extend(&index, hit.id, 14, 13 * BC_BLOCK_SIZE + 3));
	assert_true(bc_index_peek(&index, &key, 1, &hit));
	assert_false(hit.open);
	assert_int_equal(hit.valid, 0x5);
	assert_int_equal(hit.bytes, 13 * BC_BLOCK_SIZE + 3);
	assert_int_equal(atomic_read(&index.group[0].blocks), 14);
	assert_int_equal(atomic_read(&index.group[0].probation), 0);
	assert_int_equal(atomic64_read(&index.pinned_blocks), 14);
	assert_true(bc_index_add_blocks(&index, hit.id, 0x3ffa));
	assert_true(bc_index_peek(&index, &key, 1, &hit));
	assert_int_equal(hit.valid, 0x3fff);
	bc_index_unpin(&index, hit.id);
	assert_int_equal(bc_index_pin_chunk(&index, &key, 1, false), 14);
	assert_int_equal(bc_index_remove(&index, &key, 1, &back), 0);
	place.count = 14;
	assert_place(&back, &place);
	assert_int_equal(atomic_read(&index.group[0].blocks), 0);
	bc_index_free(&index);

	/* One that is whole so far becomes partial. */
	place.count = 3;
	assert_int_equal(bc_index_init(&index, 4, 1), 0);
	assert_int_equal(bc_index_insert_part(&index, &key, 1, &place, 3 * BC_BLOCK_SIZE, 0x7,
					      BC_ENTRY_OPEN), 0);
	assert_true(bc_index_lookup(&index, &key, 1, &hit));
	assert_true(bc_index_extend(&index, hit.id, 5, 4 * BC_BLOCK_SIZE + 1));
	assert_true(bc_index_peek(&index, &key, 1, &hit));
	assert_int_equal(hit.valid, 0x7);
	bc_index_free(&index);
}

/* Guards: bytes of blocks; the last one may be short. */
static void block_bytes(void **state)
{
	(void)state;
	assert_int_equal(bc_blocks_of(0), 0);
	assert_int_equal(bc_blocks_of(1), 1);
	assert_int_equal(bc_blocks_of(BC_CHUNK_SIZE), 0xffff);
	assert_int_equal(bc_blocks_bytes(0, 0), 0);
	assert_int_equal(bc_blocks_bytes(0xffff, BC_CHUNK_SIZE), BC_CHUNK_SIZE);
	assert_int_equal(bc_blocks_bytes(0x5, 2 * BC_BLOCK_SIZE + 7), BC_BLOCK_SIZE + 7);
	assert_int_equal(bc_blocks_bytes(0x3, 2 * BC_BLOCK_SIZE + 7), 2 * BC_BLOCK_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(partial),
		cmocka_unit_test(extended),
		cmocka_unit_test(block_bytes),
		cmocka_unit_test(init),
		cmocka_unit_test(memory_of_a_chunk),
		cmocka_unit_test(insert_and_find),
		cmocka_unit_test(crowded_line),
		cmocka_unit_test(lengths),
		cmocka_unit_test(full),
		cmocka_unit_test(readers_keep_their_blocks),
		cmocka_unit_test(bad_block_of_one_reader),
		cmocka_unit_test(bad_block_last_reader_frees),
		cmocka_unit_test(bad_block_evictor_frees),
		cmocka_unit_test(bad_block_seen_by_all),
		cmocka_unit_test(verified_bits),
		cmocka_unit_test(user_pins),
		cmocka_unit_test(random_against_map),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
