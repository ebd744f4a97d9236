/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/identity.c kmod/key.c */
/* What is known of paths: who wins when answers overtake each other, the bound, the form on a tier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "identity.h"

#define MAX 64

static const struct bc_key volume = { { 7 } };

/* Buckets are chosen by the first bytes: paths of one @bucket share one, others do not. */
static struct bc_key path_key(u8 bucket, u8 n)
{
	return (struct bc_key){ { bucket, [15] = n } };
}

static struct bc_identity identity(u8 bucket, u8 n, char version, s64 asked_ns)
{
	struct bc_identity id = {
		.volume = volume,
		.path = path_key(bucket, n),
		.etag = { version },
		.etag_length = 1,
		.kind = BC_IDENTITY_FILE,
		.size = 10,
		.resolved_ns = asked_ns,
		.lower = { .mode = 0100644, .size = 10 },
	};

	return id;
}

static void store(char version, s64 asked_ns)
{
	struct bc_identity id = identity(1, 1, version, asked_ns);

	assert_int_equal(bc_identity_store(&id), 0);
}

/* The version of the path that store() writes to; 0 = none. */
static char known(void)
{
	struct bc_key path = path_key(1, 1);
	struct bc_identity id;

	return bc_identity_find(&volume, &path, &id) ? id.etag[0] : 0;
}

static int setup(void **state)
{
	(void)state;
	return bc_identity_init(MAX);
}

static int teardown(void **state)
{
	(void)state;
	bc_identity_exit();
	return bc_warnings;
}

/* Guards: found by volume and path, both; the latest answer counts. */
static void find(void **state)
{
	struct bc_key path = path_key(1, 1), other = { { 8 } };
	struct bc_identity id;

	(void)state;
	assert_int_equal(known(), 0);
	store('a', 100);
	assert_int_equal(known(), 'a');
	assert_false(bc_identity_find(&other, &path, &id));
	path = path_key(1, 2);
	assert_false(bc_identity_find(&volume, &path, &id));
	store('b', 200);
	assert_int_equal(known(), 'b');
	assert_int_equal(bc_identity_count(), 1);
}

/* Guards: an answer that was asked for earlier and comes later changes nothing. */
static void overtaken(void **state)
{
	(void)state;
	store('b', 200);
	store('a', 199);
	assert_int_equal(known(), 'b');
	/* Two who waited for one answer: the second has looked at the lower, too. */
	store('c', 200);
	assert_int_equal(known(), 'c');
}

/* Guards: what was asked before a path was forgotten does not bring it back; what was later does. */
static void forgotten(void **state)
{
	struct bc_key path = path_key(1, 1);
	s64 before = ktime_get_boottime_ns();

	(void)state;
	store('a', before);
	bc_identity_forget(&volume, &path);
	assert_int_equal(known(), 0);
	assert_int_equal(bc_identity_count(), 0);
	store('a', before);
	assert_int_equal(known(), 0);
	store('b', ktime_get_boottime_ns() + 1);
	assert_int_equal(known(), 'b');
	store('a', before);
	assert_int_equal(known(), 'b');
}

/* Guards: "no such path" is an answer as others: the one asked for last counts. */
static void answered_gone(void **state)
{
	struct bc_key path = path_key(1, 1);

	(void)state;
	store('b', 200);
	bc_identity_forget_asked(&volume, &path, 150);
	assert_int_equal(known(), 'b');
	bc_identity_forget_asked(&volume, &path, 250);
	assert_int_equal(known(), 0);
	store('b', 240);
	assert_int_equal(known(), 0);
	/* An older such answer does not undo that. */
	bc_identity_forget_asked(&volume, &path, 210);
	store('b', 240);
	assert_int_equal(known(), 0);
	store('c', 251);
	assert_int_equal(known(), 'c');
}

/* Guards: forgetting one path loses no other, of its bucket or not. */
static void others_stay(void **state)
{
	struct bc_identity same = identity(1, 2, 'x', 100), far = identity(2, 1, 'y', 100), out;
	struct bc_key path = path_key(1, 1);

	(void)state;
	assert_int_equal(bc_identity_store(&same), 0);
	store('a', 100);
	bc_identity_forget(&volume, &path);
	assert_true(bc_identity_find(&volume, &same.path, &out));
	assert_int_equal(bc_identity_store(&far), 0);
	assert_true(bc_identity_find(&volume, &far.path, &out));
	/* It is known: what was asked of it before counts, forgotten neighbours or not. */
	same.resolved_ns = 200;
	assert_int_equal(bc_identity_store(&same), 0);
	assert_true(bc_identity_find(&volume, &same.path, &out));
	assert_int_equal(out.resolved_ns, 200);
}

/* Guards: a tier knows only what nobody else does: nothing newer, nothing that was forgotten. */
static void loaded(void **state)
{
	struct bc_identity old = identity(1, 1, 'a', -500);
	struct bc_key path = path_key(1, 1);

	(void)state;
	assert_int_equal(bc_identity_insert_loaded(&old), 0);
	assert_int_equal(known(), 'a');
	store('b', 100);
	old.resolved_ns = 300;
	assert_int_equal(bc_identity_insert_loaded(&old), 0);
	assert_int_equal(known(), 'b');
	bc_identity_forget_asked(&volume, &path, 400);
	assert_int_equal(bc_identity_insert_loaded(&old), 0);
	assert_int_equal(known(), 0);
}

/* Guards: a save is due after a store and after a forget that forgot something. */
static void changes(void **state)
{
	struct bc_key path = path_key(1, 1);
	u32 before = bc_identity_changes();

	(void)state;
	bc_identity_forget(&volume, &path);
	assert_int_equal(bc_identity_changes(), before);
	store('a', S64_MAX);
	assert_int_not_equal(bc_identity_changes(), before);
	before = bc_identity_changes();
	bc_identity_forget_asked(&volume, &path, S64_MAX);
	assert_int_not_equal(bc_identity_changes(), before);
}

/* Guards: the table is bounded, and what was stored last is there. */
static void bounded(void **state)
{
	struct bc_identity id, out;
	struct bc_key path;
	u32 i;

	(void)state;
	for (i = 0; i < 10 * MAX; i++) {
		path = path_key(i % 200 + 2, i / 200 + 1);
		id = identity(path.bytes[0], path.bytes[15], 'x', 100);
		assert_int_equal(bc_identity_store(&id), 0);
		assert_true(bc_identity_count() <= MAX);
		assert_true(bc_identity_find(&volume, &path, &out));
	}
}

static int count(const struct bc_identity *id, void *arg)
{
	(void)id;
	return ++*(int *)arg == 3 ? 42 : 0;
}

/* Guards: a visit sees all, and ends when it is told to. */
static void for_each(void **state)
{
	struct bc_identity id;
	int n = 0;

	(void)state;
	id = identity(1, 1, 'a', 1);
	assert_int_equal(bc_identity_store(&id), 0);
	id = identity(1, 2, 'a', 1);
	assert_int_equal(bc_identity_store(&id), 0);
	assert_int_equal(bc_identity_for_each(count, &n), 0);
	assert_int_equal(n, 2);
	id = identity(2, 1, 'a', 1);
	assert_int_equal(bc_identity_store(&id), 0);
	n = 0;
	assert_int_equal(bc_identity_for_each(count, &n), 42);
}

/* Guards: what is saved is loaded, its age counted by the clocks of then and now. */
static void save_and_load(void **state)
{
	struct bc_identity id = identity(1, 1, 'a', 5000000000LL), out;
	struct bc_disk_identity disk;

	(void)state;
	id.last_modified = 1700000000;
	id.flags = BC_IDENTITY_LOWER_BEHIND;
	id.lower.ino = 12;
	id.lower.mtime = -3;
	id.lower.mtime_nsec = 999999999;
	id.moved_ns = 77;	/* not kept */
	/* 20 s after it was asked; a reboot; 30 s later. */
	bc_identity_encode(&id, 25000000000LL, 1800000000, &disk);
	assert_true(bc_identity_decode(&disk, 1000000000LL, 1800000030, &out));
	assert_int_equal(out.resolved_ns, -49000000000LL);
	id.resolved_ns = out.resolved_ns;
	id.moved_ns = 0;
	assert_memory_equal(&out, &id, sizeof(id));

	/* The clock was set back: nobody knows how old it is; it is not young. */
	assert_true(bc_identity_decode(&disk, 1000000000LL, 1700000000, &out));
	assert_true(out.resolved_ns < -86400 * 1000000000LL);
}

static void refuse(const struct bc_disk_identity *disk)
{
	struct bc_identity out;

	assert_false(bc_identity_decode(disk, 0, 1800000000, &out));
}

/* Guards: what a damaged or hostile tier says is not believed. */
static void refused(void **state)
{
	struct bc_identity id = identity(1, 1, 'a', 0);
	struct bc_disk_identity good, disk;

	(void)state;
	bc_identity_encode(&id, 0, 1800000000, &good);
	memset(&disk, 0, sizeof(disk));
	refuse(&disk);
#define BAD(change) do { disk = good; disk.change; refuse(&disk); } while (0)
	BAD(kind = BC_IDENTITY_DIR);
	BAD(kind = 99);
	BAD(etag_length = 0);
	BAD(etag_length = 2);
	BAD(etag_length = BC_ETAG_MAX + 1);
	BAD(etag[1] = 'x');
	BAD(flags = cpu_to_le16(0x8000));
	BAD(mode = cpu_to_le32(0040755));
	BAD(size = cpu_to_le64(1ULL << 63));
	BAD(lower_size = cpu_to_le64(1ULL << 63));
	BAD(mtime_nsec = cpu_to_le32(1000000000));
	BAD(ctime_nsec = cpu_to_le32(1000000000));
	BAD(reserved[63] = 1);
#undef BAD
}

static struct bc_identity mark_of(u8 bucket, u8 n, s64 at_ns, s64 written_at)
{
	struct bc_identity mark = {
		.volume = volume,
		.path = path_key(bucket, n),
		.kind = BC_IDENTITY_FILE,
		.flags = BC_IDENTITY_WRITTEN,
		.moved_ns = at_ns,
		.resolved_ns = at_ns,
		.mark_ns = at_ns,
		.written_at = written_at,
	};

	return mark;
}

static void mark(s64 at_ns, s64 written_at)
{
	struct bc_identity id = mark_of(1, 1, at_ns, written_at);

	assert_int_equal(bc_identity_mark(&id), 0);
}

static struct bc_identity found(void)
{
	struct bc_key path = path_key(1, 1);
	struct bc_identity id;

	assert_true(bc_identity_find(&volume, &path, &id));
	return id;
}

/* Guards: what was written here is not taken from an answer of before, nor by another writer. */
static void marked(void **state)
{
	struct bc_key path = path_key(1, 1);

	(void)state;
	store('a', 100);
	mark(200, 0);
	assert_int_equal(found().flags, BC_IDENTITY_WRITTEN);
	assert_int_equal(found().etag[0], 'a');
	store('b', 150);
	assert_int_equal(found().flags, BC_IDENTITY_WRITTEN);
	assert_int_equal(found().etag[0], 'a');
	/* One writer closes, having written; another, who began before, has not. */
	mark(300, 77);
	mark(400, 0);
	assert_int_equal(found().written_at, 77);
	assert_int_equal(found().moved_ns, 400);
	/* What the store said before is as old as it was. */
	assert_int_equal(found().resolved_ns, 100);
	/* Asked later, by somebody who knows nothing of the mark: the upload may not be done. */
	store('c', 500);
	bc_identity_forget_asked(&volume, &path, 500);
	assert_int_equal(found().flags, BC_IDENTITY_WRITTEN);
	assert_int_equal(found().etag[0], 'a');
}

/* Store what the store said to who had judged a mark. */
static void answer_to(const struct bc_identity *judged, char version, s64 asked_ns)
{
	struct bc_identity id = identity(1, 1, version, asked_ns);

	id.mark_ns = judged->mark_ns;
	assert_int_equal(bc_identity_store(&id), 0);
}

/* Guards: a mark goes by the judgement of that mark, not of one before. */
static void judged(void **state)
{
	struct bc_identity first, second;

	(void)state;
	mark(200, 5);
	first = found();
	mark(200, 5);
	second = found();
	answer_to(&first, 'a', 300);
	bc_identity_unmark(&first);
	assert_int_equal(found().flags, BC_IDENTITY_WRITTEN);
	answer_to(&second, 'b', 300);
	assert_int_equal(found().flags, 0);
	assert_int_equal(found().mark_ns, 0);
	assert_int_equal(known(), 'b');
	/* A later one is another, also in the same tick of the clock. */
	mark(200, 0);
	answer_to(&second, 'c', 400);
	bc_identity_unmark(&second);
	assert_int_equal(known(), 'b');
	assert_int_equal(found().flags, BC_IDENTITY_WRITTEN);
}

/* Guards: open for writing without a write leaves what was known, no younger than it was. */
static void nothing_written(void **state)
{
	struct bc_identity id;

	(void)state;
	store('a', 100);
	mark(200, 0);
	id = found();
	bc_identity_unmark(&id);
	assert_int_equal(found().flags, 0);
	assert_int_equal(found().resolved_ns, 100);
	store('b', 150);
	assert_int_equal(known(), 'b');
	bc_identity_forget(&volume, &id.path);
	mark(300, 0);
	id = found();
	bc_identity_unmark(&id);
	assert_int_equal(known(), 0);
	assert_int_equal(bc_identity_count(), 0);
}

/* Guards: without memory for a mark nothing is known, and all that is not known counts as written. */
static void mark_lost(void **state)
{
	struct bc_identity id = mark_of(1, 1, 100, 7);

	(void)state;
	store('a', 100);
	bc_identity_lose_mark(&id);
	assert_int_equal(known(), 0);
	assert_int_equal(bc_identity_lost(BC_IDENTITY_FILE).written_at, 7);
	id.written_at = 6;
	bc_identity_lose_mark(&id);
	assert_int_equal(bc_identity_lost(BC_IDENTITY_FILE).written_at, 7);
	assert_int_equal(bc_identity_lost(BC_IDENTITY_DIR).written_at, 0);
}

/* Guards: a path that became a directory, or was forgotten, can be marked. */
static void marked_anew(void **state)
{
	struct bc_identity id = mark_of(1, 1, 100, 5);

	(void)state;
	id.kind = BC_IDENTITY_DIR;
	assert_int_equal(bc_identity_mark(&id), 0);
	mark(200, 6);
	assert_int_equal(found().kind, BC_IDENTITY_FILE);
	bc_identity_forget(&volume, &id.path);
	/* In the same tick of the clock. */
	mark(0, 7);
	assert_int_equal(found().written_at, 7);
}

/* Guards: forgetting a volume leaves what was written, and nothing else. */
static void volume_forgotten(void **state)
{
	struct bc_identity other = identity(2, 2, 'x', 10), id;

	(void)state;
	mark(10, 5);
	assert_int_equal(bc_identity_store(&other), 0);
	bc_identity_forget_volume(&volume);
	assert_int_equal(found().written_at, 5);
	assert_false(bc_identity_find(&volume, &other.path, &id));
	/* Asked before, answered now. */
	assert_int_equal(bc_identity_store(&other), 0);
	assert_false(bc_identity_find(&volume, &other.path, &id));
}

/* Guards: marks are not evicted by reading; if they are too many, that is told. */
static void marks_stay(void **state)
{
	struct bc_identity id;
	int n;

	(void)state;
	mark(10, 5);
	for (n = 0; n < 40 * MAX; n++) {
		id = identity(n, n >> 8, 'a', 10);
		id.path.bytes[14] = 1;
		assert_int_equal(bc_identity_store(&id), 0);
	}
	assert_int_equal(found().written_at, 5);
	assert_int_equal(bc_identity_lost(BC_IDENTITY_FILE).written_at, 0);
	for (n = 0; n < 4 * MAX; n++) {
		id = mark_of(n, n >> 8, 10, 6);
		id.path.bytes[14] = 2;
		assert_int_equal(bc_identity_mark(&id), 0);
	}
	assert_int_equal(bc_identity_lost(BC_IDENTITY_FILE).written_at, 6);
	assert_true(bc_identity_count() <= MAX + 1);
}

/* Guards: when a rename began is known for as long as it is the last that was written; else it is the later's. */
static void renamed_meanwhile(void **state)
{
	struct bc_identity id = mark_of(1, 1, 100, 50);

	(void)state;
	id.written_from = 40;
	assert_int_equal(bc_identity_store(&id), 0);
	/* A writer comes, an older write is told late, one in the same second, a later one. */
	mark(110, 0);
	assert_int_equal(found().written_from, 40);
	id = mark_of(1, 1, 120, 45);
	id.written_from = 45;
	assert_int_equal(bc_identity_mark(&id), 0);
	assert_int_equal(found().written_from, 40);
	assert_int_equal(found().written_at, 50);
	id.written_at = id.written_from = 50;
	assert_int_equal(bc_identity_mark(&id), 0);
	assert_int_equal(found().written_from, 50);
	id.written_at = id.written_from = 60;
	assert_int_equal(bc_identity_mark(&id), 0);
	assert_int_equal(found().written_from, 60);
	id.kind = BC_IDENTITY_DIR;
	id.written_from = 55;
	bc_identity_lose_mark(&id);
	assert_int_equal(bc_identity_lost(BC_IDENTITY_DIR).written_from, 55);
	assert_int_equal(bc_identity_lost(BC_IDENTITY_DIR).mark_ns, 120);
}

/* Guards: of what two tiers knew the later counts, in whatever order they come. */
static void loaded_twice(void **state)
{
	struct bc_identity older = identity(1, 1, 'a', -500), newer = identity(1, 1, 'b', -400);

	(void)state;
	assert_int_equal(bc_identity_insert_loaded(&older), 0);
	assert_int_equal(bc_identity_insert_loaded(&newer), 0);
	assert_int_equal(known(), 'b');
	assert_int_equal(bc_identity_insert_loaded(&older), 0);
	assert_int_equal(known(), 'b');
	assert_int_equal(bc_identity_count(), 1);
	/* Marked since: no tier knows better. */
	mark(-300, 5);
	newer.resolved_ns = 400;
	newer.etag[0] = 'c';
	assert_int_equal(bc_identity_insert_loaded(&newer), 0);
	assert_int_equal(found().written_at, 5);
	assert_int_equal(known(), 'b');
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(find),
		test(overtaken),
		test(forgotten),
		test(answered_gone),
		test(others_stay),
		test(loaded),
		test(loaded_twice),
		test(changes),
		test(bounded),
		test(for_each),
		test(save_and_load),
		test(refused),
		test(marked),
		test(judged),
		test(nothing_written),
		test(marked_anew),
		test(volume_forgotten),
		test(marks_stay),
		test(mark_lost),
		test(renamed_meanwhile),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
