/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/identity.c kmod/identity_loaded.c kmod/identity_marks.c kmod/identity_shown.c kmod/identity_disk.c kmod/key.c */
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
		.key = { { 1 } },
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
	BAD(reserved[47] = 1);
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

#define VIEW	77U

/* Later than what was dropped by now. */
static s64 tick(void)
{
	return ktime_get_boottime_ns() + 1;
}

static struct bc_shown shown(u32 mode, s64 asked_ns)
{
	struct bc_shown shown = {
		.attr = { .ino = 7, .mode = mode, .size = 10 },
		.view = VIEW,
		.asked_ns = asked_ns,
	};

	return shown;
}

/* The lower shows what store() writes to. */
static void show(u32 mode, s64 asked_ns)
{
	struct bc_shown now = shown(mode, asked_ns);
	struct bc_key path = path_key(1, 1);

	bc_identity_seen_file(&volume, &path, &now);
}

static u32 show_dir(u64 ino, s64 asked_ns, u32 nonce)
{
	struct bc_shown now = shown(0040755, asked_ns);
	struct bc_key path = path_key(1, 1);

	now.attr.ino = ino;
	return bc_identity_seen_dir(&volume, &path, &now, nonce);
}

static void drop(void)
{
	struct bc_key path = path_key(1, 1);

	bc_identity_drop(&volume, &path);
}

/* Guards: who may do what with a file is known as it was shown last; and nothing of one that moved. */
static void file_seen(void **state)
{
	struct bc_shown now = shown(0100600, 110);
	struct bc_key path = path_key(1, 1);
	u32 changes = bc_identity_changes();

	(void)state;
	now.attr.uid = 5;
	now.attr.ctime = 3;
	bc_identity_seen_file(&volume, &path, &now);
	assert_int_equal(bc_identity_count(), 0);
	store('a', 100);
	assert_int_equal(found().view, 0);
	bc_identity_seen_file(&volume, &path, &now);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(found().lower.mode, 0100600);
	assert_int_equal(found().lower.uid, 5);
	assert_int_equal(found().lower.ino, 7);
	assert_int_equal(found().lower.ctime, 3);
	assert_int_equal(found().seen_ns, 110);
	assert_int_equal(found().resolved_ns, 100);
	assert_int_not_equal(bc_identity_changes(), changes);
	changes = bc_identity_changes();
	now.asked_ns = 120;
	bc_identity_seen_file(&volume, &path, &now);
	assert_int_equal(bc_identity_changes(), changes);
	assert_int_equal(found().seen_ns, 120);
	now.attr.size = 11;
	bc_identity_seen_file(&volume, &path, &now);
	assert_int_equal(found().view, 0);
	assert_int_equal(found().lower.size, 10);
	now.attr.size = 10;
	bc_identity_seen_file(&volume, &path, &now);
	assert_int_equal(found().view, VIEW);
	/* The store is asked again, by somebody who looked at the lower before. */
	now.attr.mode = 0100640;
	now.attr.ctime = 4;
	bc_identity_seen_file(&volume, &path, &now);
	store('b', 200);
	assert_int_equal(found().etag[0], 'b');
	assert_int_equal(found().lower.mode, 0100640);
	assert_int_equal(found().lower.ctime, 4);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(found().seen_ns, 120);
}

/* Guards: of two answers of the lower the one that was asked for later counts, whoever comes first. */
static void shown_in_order(void **state)
{
	(void)state;
	store('a', 100);
	show(0100600, 200);
	show(0100644, 150);
	assert_int_equal(found().lower.mode, 0100600);
	assert_int_equal(found().view, VIEW);
	show(0100640, 200);
	assert_int_equal(found().lower.mode, 0100640);
	/* Also if that said only that it moved, or if it is not known any more. */
	store('b', 300);
	show(0100604, 310);
	assert_int_equal(found().view, VIEW);
	show_dir(5, 320, 0);
	store('c', 330);
	show(0100644, 315);
	assert_int_equal(found().view, 0);
	show(0100644, 325);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(show_dir(5, 322, 9), 9);
	assert_int_equal(found().kind, BC_IDENTITY_FILE);
	assert_int_equal(found().view, VIEW);
}

/* Guards: what goes out of the table to make room takes no older news when it is back. */
static void shown_before_eviction(void **state)
{
	struct bc_identity id;
	u32 n;

	(void)state;
	store('a', 100);
	show(0100600, 200);
	for (n = 0; n < 10 * MAX && known(); n++) {
		id = identity(2 + n % 60, n / 60 + 1, 'x', 100);
		assert_int_equal(bc_identity_store(&id), 0);
	}
	if (known()) {
		for (n = 0; n < 20 * MAX; n++) {
			id = identity(2 + n % 60, n / 60 + 30, 'x', 100);
			assert_int_equal(bc_identity_store(&id), 0);
		}
	}
	assert_int_equal(known(), 0);
	store('a', 300);
	show(0100644, 150);
	assert_int_equal(found().view, 0);
	show(0100644, 250);
	assert_int_equal(found().view, VIEW);
}

/* Guards: a file in the place of a directory, or the other way round: what was shown later counts. */
static void changed_kind(void **state)
{
	struct bc_identity id = identity(1, 1, 'a', 400);

	(void)state;
	show_dir(7, 200, 0);
	show(0100600, 150);
	assert_int_equal(found().kind, BC_IDENTITY_DIR);
	show(0100600, 300);
	assert_int_equal(bc_identity_count(), 0);
	/* The directory was shown by an answer that comes late. */
	assert_int_equal(show_dir(7, 250, 0), 0);
	assert_int_equal(bc_identity_count(), 0);
	/* What the store is said to have is there, but not who may do what: the asker knows it not. */
	id.view = VIEW;
	id.seen_ns = 500;
	assert_int_equal(bc_identity_store(&id), 0);
	assert_int_equal(found().view, 0);
	show(0100600, 300);
	assert_int_equal(found().view, VIEW);
	/* The store was asked later than the lower: the file stays, its rights do not. */
	assert_int_not_equal(show_dir(7, 350, 0), 0);
	assert_int_equal(found().kind, BC_IDENTITY_FILE);
	assert_int_equal(found().lower.mode, 0100600);
	assert_int_equal(found().view, 0);
	assert_int_not_equal(show_dir(7, 450, 0), 0);
	assert_int_equal(found().kind, BC_IDENTITY_DIR);
}

/* Guards: what is not there any more, or became something else, is not known by its old rights. */
static void not_seen(void **state)
{
	struct bc_key path = path_key(1, 1);
	u32 changes;

	(void)state;
	drop();
	store('a', 100);
	show(0100600, tick());
	mark(200, 5);
	drop();
	assert_int_equal(found().view, 0);
	assert_int_equal(found().written_at, 5);
	bc_identity_forget(&volume, &path);
	show_dir(7, tick(), 0);
	assert_int_equal(found().kind, BC_IDENTITY_DIR);
	show(0100600, tick());
	assert_int_equal(known(), 0);
	assert_int_equal(bc_identity_count(), 0);
	show_dir(7, tick(), 0);
	drop();
	assert_int_equal(bc_identity_count(), 0);
	/* A file where a directory was that is remembered as renamed: the tier gets to know. */
	show_dir(7, tick(), 0);
	{
		struct bc_identity id = mark_of(1, 1, 100, 5);

		id.kind = BC_IDENTITY_DIR;
		assert_int_equal(bc_identity_store(&id), 0);
	}
	show_dir(7, tick(), 0);
	assert_int_equal(found().view, VIEW);
	changes = bc_identity_changes();
	show(0100600, tick());
	assert_int_equal(found().view, 0);
	assert_int_equal(found().nonce, 0);
	assert_int_not_equal(bc_identity_changes(), changes);
}

/* Guards: what the store said stays when the lower has no such name; what was shown before does not. */
static void file_dropped(void **state)
{
	s64 before = tick();

	(void)state;
	store('a', 100);
	show(0100600, before);
	drop();
	assert_int_equal(found().etag[0], 'a');
	assert_int_equal(found().view, 0);
	show(0100644, before);
	assert_int_equal(found().view, 0);
	show(0100640, tick());
	assert_int_equal(found().lower.mode, 0100640);
	assert_int_equal(found().view, VIEW);
}

/* Guards: an answer from before a drop also takes away what is known since: it is not known which is right. */
static void shown_too_late(void **state)
{
	struct bc_key neighbour = path_key(1, 2);
	s64 before = tick(), between, after;

	(void)state;
	store('a', 100);
	show(0100600, before);
	between = tick();
	bc_identity_drop(&volume, &neighbour);
	assert_int_equal(found().view, VIEW);
	show(0100644, between);
	assert_int_equal(found().view, 0);
	after = tick();
	show(0100644, after);
	assert_int_equal(found().view, VIEW);
	/* From before what is known: it has been overtaken. */
	show(0100666, before);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(found().lower.mode, 0100644);
}

/* Guards: the same of a directory; it is another incarnation then. */
static void dir_shown_too_late(void **state)
{
	struct bc_key neighbour = path_key(1, 2);
	s64 between;
	u32 nonce;

	(void)state;
	nonce = show_dir(7, tick(), 0);
	between = tick();
	bc_identity_drop(&volume, &neighbour);
	assert_int_equal(show_dir(7, between, nonce), nonce);
	assert_int_equal(found().view, 0);
	assert_int_equal(found().nonce, 0);
	assert_int_not_equal(show_dir(7, tick(), 0), nonce);
	assert_int_equal(found().view, VIEW);
}

/* Guards: a file that the store has no longer, and again, is not shown by an answer of before. */
static void shown_before_gone(void **state)
{
	struct bc_key path = path_key(1, 1);

	(void)state;
	store('a', 100);
	show(0100600, 200);
	bc_identity_forget_asked(&volume, &path, 250);
	store('a', 300);
	show(0100644, 150);
	assert_int_equal(found().view, 0);
	show(0100644, 201);
	assert_int_equal(found().view, VIEW);
}

static void forget(void)
{
	struct bc_key path = path_key(1, 1);

	bc_identity_forget(&volume, &path);
}

static void forget_volume(void)
{
	bc_identity_forget_volume(&volume);
}

static void rename_to(void)
{
	struct bc_identity id = mark_of(1, 1, ktime_get_boottime_ns(), 5);

	assert_int_equal(bc_identity_store(&id), 0);
	forget();
}

/* Guards: however a path is lost, neither a file nor a directory of before is recorded after that. */
static void lost_between(void **state)
{
	void (*const lose[])(void) = { drop, forget, forget_volume, rename_to };
	s64 before;
	u32 i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(lose); i++) {
		forget();
		before = tick();
		lose[i]();
		assert_int_equal(show_dir(7, before, 0), 0);
		assert_int_equal(show_dir(7, before, 9), 9);
		assert_int_equal(bc_identity_count(), 0);
		store('a', tick());
		show(0100644, before);
		assert_int_equal(found().view, 0);
		show(0100600, tick());
		assert_int_equal(found().view, VIEW);
	}
	/* A rename to the path by itself. */
	before = tick();
	{
		struct bc_identity id = mark_of(1, 1, ktime_get_boottime_ns(), 5);

		id.lower.size = 10;
		assert_int_equal(bc_identity_store(&id), 0);
	}
	show(0100644, before);
	assert_int_equal(found().view, 0);
	show(0100644, tick());
	assert_int_equal(found().view, VIEW);
}

/* Guards: of what was written the tier gets to know the version of before, and nobody's rights. */
static void mark_saved(void **state)
{
	struct bc_disk_identity disk;
	struct bc_identity id;

	(void)state;
	id = identity(1, 1, 'a', 100);
	memset(&id.key, 1, sizeof(id.key));
	assert_int_equal(bc_identity_store(&id), 0);
	show(0100600, 110);
	id = found();
	bc_identity_encode(&id, 200, 1000, &disk);
	assert_true(bc_identity_decode(&disk, 200, 1000, &id));
	assert_int_equal(id.view, VIEW);
	mark(200, 5);
	id = found();
	bc_identity_encode(&id, 200, 1000, &disk);
	assert_true(bc_identity_decode(&disk, 200, 1000, &id));
	assert_int_equal(id.view, 0);
	memset(disk.key, 0, sizeof(disk.key));
	assert_false(bc_identity_decode(&disk, 200, 1000, &id));
}

/* Guards: rights are saved with their age and incarnation, apart from the version's; without they do not count. */
static void rights_saved(void **state)
{
	struct bc_identity file = identity(1, 1, 'a', 15000000000LL), dir = identity(1, 2, 0, 0), id;
	struct bc_disk_identity disk;

	(void)state;
	file.view = VIEW;
	file.seen_ns = 5000000000LL;
	bc_identity_encode(&file, 25000000000LL, 1800000000, &disk);
	assert_true(bc_identity_decode(&disk, 1000000000LL, 1800000030, &id));
	assert_int_equal(id.seen_ns, -49000000000LL);
	assert_int_equal(id.resolved_ns, -39000000000LL);
	assert_int_equal(id.view, VIEW);
	disk.seen_at = 0;
	assert_true(bc_identity_decode(&disk, 1000000000LL, 1800000030, &id));
	assert_int_equal(id.view, 0);
	assert_int_equal(id.etag[0], 'a');

	dir.kind = BC_IDENTITY_DIR;
	dir.etag_length = 0;
	dir.lower.mode = 0040755;
	dir.view = VIEW;
	dir.nonce = 99;
	dir.seen_ns = 5000000000LL;
	bc_identity_encode(&dir, 25000000000LL, 1800000000, &disk);
	assert_true(bc_identity_decode(&disk, 1000000000LL, 1800000030, &id));
	assert_int_equal(id.view, VIEW);
	assert_int_equal(id.nonce, 99);
	disk.nonce = 0;
	assert_true(bc_identity_decode(&disk, 1000000000LL, 1800000030, &id));
	assert_int_equal(id.view, 0);
}

/* Guards: a directory is known as it was shown last, a rename of it stays remembered. */
static void dir_seen(void **state)
{
	struct bc_shown now = shown(0040755, 50);
	struct bc_identity id = mark_of(1, 1, 100, 5);
	struct bc_key path = path_key(1, 1);
	u32 changes;

	(void)state;
	now.attr.mtime = 1;
	bc_identity_seen_dir(&volume, &path, &now, 0);
	assert_int_equal(found().kind, BC_IDENTITY_DIR);
	assert_int_equal(found().lower.mode, 0040755);
	changes = bc_identity_changes();
	now.asked_ns = 60;
	bc_identity_seen_dir(&volume, &path, &now, 0);
	assert_int_equal(bc_identity_changes(), changes);
	assert_int_equal(found().seen_ns, 60);
	now.attr.mode = 0040700;
	bc_identity_seen_dir(&volume, &path, &now, 0);
	assert_int_not_equal(bc_identity_changes(), changes);
	now.attr.mode = 0040755;
	now.asked_ns = 59;
	bc_identity_seen_dir(&volume, &path, &now, 0);
	assert_int_equal(found().lower.mode, 0040700);
	id.kind = BC_IDENTITY_DIR;
	assert_int_equal(bc_identity_store(&id), 0);
	now.attr.mtime = 2;
	now.asked_ns = tick();
	bc_identity_seen_dir(&volume, &path, &now, 0);
	assert_int_equal(found().lower.mtime, 2);
	assert_int_equal(found().flags, BC_IDENTITY_WRITTEN);
	assert_int_equal(found().written_at, 5);
	/* A file that was written is there in its place: that is not forgotten by looking at it. */
	bc_identity_forget(&volume, &path);
	mark(200, 6);
	now.asked_ns = tick();
	bc_identity_seen_dir(&volume, &path, &now, 0);
	assert_int_equal(found().kind, BC_IDENTITY_FILE);
	assert_int_equal(found().written_at, 6);
}

/* Guards: a directory that was gone, or is another by its number, is another incarnation; else it is the same. */
static void incarnations(void **state)
{
	struct bc_identity id = mark_of(1, 1, 100, 5);
	struct bc_shown other = shown(0040755, 0);
	struct bc_key path = path_key(1, 1);
	u32 first, second, third, changes;

	(void)state;
	first = show_dir(7, 50, 0);
	assert_int_not_equal(first, 0);
	assert_int_equal(found().nonce, first);
	/* Another dentry, or one that had another by a race. */
	assert_int_equal(show_dir(7, 60, 0), first);
	assert_int_equal(show_dir(7, 60, first + 1), first);
	changes = bc_identity_changes();
	second = show_dir(8, 70, 0);
	assert_int_not_equal(second, first);
	assert_int_not_equal(bc_identity_changes(), changes);
	assert_int_equal(found().nonce, second);
	drop();
	third = show_dir(8, tick(), 0);
	assert_int_not_equal(third, second);
	assert_int_not_equal(third, 0);
	/* Who has seen it all the time knows it, though the table has forgotten. */
	bc_identity_forget(&volume, &path);
	assert_int_equal(show_dir(8, tick(), third), third);
	assert_int_equal(found().nonce, third);
	/* By another lower's eyes it is another. */
	other.view = VIEW + 1;
	other.attr.ino = 8;
	other.asked_ns = tick();
	assert_int_not_equal(bc_identity_seen_dir(&volume, &path, &other, 0), third);
	/* A mark says that it was renamed: what was below is not there any more. */
	id.kind = BC_IDENTITY_DIR;
	assert_int_equal(bc_identity_store(&id), 0);
	assert_int_equal(found().nonce, 0);
	assert_int_not_equal(show_dir(8, tick(), 0), third);
	assert_int_not_equal(found().nonce, 0);
	bc_identity_forget_volume(&volume);
	assert_int_equal(found().nonce, 0);
}

/* Guards: what a tier knows of rights is for a lower that has shown nothing yet: it may be older. */
static void loaded_late(void **state)
{
	struct bc_identity dir = identity(1, 1, 0, 100), file = identity(1, 2, 'a', 100);
	struct bc_shown now = shown(0040755, 200);
	struct bc_key path = path_key(3, 3);
	u32 i;

	(void)state;
	dir.kind = BC_IDENTITY_DIR;
	dir.etag_length = 0;
	dir.lower.mode = 0040755;
	dir.view = VIEW;
	file.view = VIEW;
	for (i = 0; i < 3; i++) {
		dir.path = path_key(1, 1);
		assert_int_equal(bc_identity_insert_loaded(&dir), 0);
		assert_int_equal(found().view, VIEW);
		if (!i)
			bc_identity_seen_dir(&volume, &path, &now, 0);
		else if (i == 1)
			bc_identity_seen_file(&volume, &path, &now);
		else
			bc_identity_drop(&volume, &path);
		dir.path = path_key(2, 1);
		assert_int_equal(bc_identity_insert_loaded(&dir), 0);
		assert_false(bc_identity_find(&volume, &dir.path, &dir));
		bc_identity_exit();
		assert_int_equal(bc_identity_init(MAX), 0);
	}
	bc_identity_drop(&volume, &path);
	assert_int_equal(bc_identity_insert_loaded(&file), 0);
	assert_true(bc_identity_find(&volume, &file.path, &file));
	assert_int_equal(file.view, 0);
	assert_int_equal(file.etag[0], 'a');
}

/* Guards: whether there is a mount whose lower may show other rights. */
static void watched(void **state)
{
	(void)state;
	assert_false(bc_identity_watched());
	bc_identity_mounted(1);
	bc_identity_mounted(1);
	bc_identity_mounted(-1);
	assert_true(bc_identity_watched());
	bc_identity_mounted(-1);
	assert_false(bc_identity_watched());
}

#define SECONDS	1000000000LL

/* What a tier knew of a file, or of a directory, that the lower showed that many seconds ago. */
static struct bc_identity record_of(bool is_dir, u32 mode, s64 resolved, s64 seen)
{
	s64 now = ktime_get_boottime_ns();
	struct bc_identity id = identity(1, 1, 'a', now - resolved * SECONDS);

	id.lower.mode = (is_dir ? 0040000 : 0100000) | mode;
	id.view = seen ? VIEW : 0;
	id.seen_ns = seen ? now - seen * SECONDS : 0;
	if (is_dir) {
		id.kind = BC_IDENTITY_DIR;
		id.etag_length = 0;
		id.etag[0] = 0;
		id.nonce = mode;
	}
	return id;
}

static void load_all(const struct bc_identity *a, const struct bc_identity *b,
		     const struct bc_identity *c)
{
	bc_identity_exit();
	assert_int_equal(bc_identity_init(MAX), 0);
	assert_int_equal(bc_identity_insert_loaded(a), 0);
	assert_int_equal(bc_identity_insert_loaded(b), 0);
	if (c)
		assert_int_equal(bc_identity_insert_loaded(c), 0);
	assert_int_equal(bc_identity_count(), 1);
}

/* In whatever order they come. @mode: whose rights are to be known; 0 = nobody's. */
static void expect_loaded(const struct bc_identity *a, const struct bc_identity *b, u32 mode)
{
	u32 i;

	for (i = 0; i < 2; i++) {
		load_all(i ? b : a, i ? a : b, NULL);
		assert_int_equal(found().view, mode ? VIEW : 0);
		if (mode)
			assert_int_equal(found().lower.mode & 0777, mode);
	}
}

/* Guards: of what two tiers knew of a file the rights that were shown last count, if they are certain and of its version. */
static void loaded_rights(void **state)
{
	struct bc_identity a, b, c;

	(void)state;
	/* Each has the later of one. */
	a = record_of(false, 0644, 100, 500);
	b = record_of(false, 0600, 200, 300);
	b.etag[0] = 'b';
	expect_loaded(&a, &b, 0600);
	assert_int_equal(known(), 'a');
	assert_int_equal(found().seen_ns, b.seen_ns);
	/* The file that was shown later is not the later version. */
	b.lower.size = 11;
	expect_loaded(&a, &b, 0);
	assert_int_equal(known(), 'a');
	assert_int_equal(found().lower.size, 10);
	b.resolved_ns = a.resolved_ns + SECONDS;
	expect_loaded(&a, &b, 0600);
	assert_int_equal(known(), 'b');
	/* One says that they are not known, and not since when: nor does a third know more. */
	b = record_of(false, 0600, 200, 0);
	expect_loaded(&a, &b, 0);
	c = record_of(false, 0640, 50, 50);
	load_all(&a, &b, &c);
	assert_int_equal(found().view, 0);
	/* Too close together, unless they say the same. */
	b = record_of(false, 0600, 200, 503);
	expect_loaded(&a, &b, 0);
	b.lower.mode = a.lower.mode;
	expect_loaded(&a, &b, 0644);
	b.view = VIEW + 1;
	expect_loaded(&a, &b, 0);
	/* One that was detached: later it would be the other that knows less. */
	b.view = 0;
	expect_loaded(&a, &b, 0644);
	b.seen_ns += 100 * SECONDS;
	expect_loaded(&a, &b, 0);
	/* Of times from the future nothing is known. */
	b = record_of(false, 0600, 200, 10LL * 365 * 86400);
	expect_loaded(&a, &b, 0);
}

/* Guards: the same of directories, which have their nonce with them; of a file and a directory the later is known. */
static void loaded_dirs(void **state)
{
	struct bc_identity a = record_of(true, 0755, 500, 500), b = record_of(true, 0700, 300, 300);
	u32 changes = bc_identity_changes();

	(void)state;
	expect_loaded(&a, &b, 0700);
	assert_int_equal(found().nonce, 0700);
	/* The tier that had the older gets to know. */
	assert_int_not_equal(bc_identity_changes(), changes);
	changes = bc_identity_changes();
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(bc_identity_changes(), changes);
	b = record_of(true, 0700, 499, 499);
	expect_loaded(&a, &b, 0);
	assert_int_equal(found().nonce, 0);

	b = record_of(false, 0600, 300, 300);
	expect_loaded(&a, &b, 0600);
	assert_int_equal(found().kind, BC_IDENTITY_FILE);
	assert_int_equal(found().nonce, 0);
	b = record_of(false, 0600, 300, 700);
	expect_loaded(&a, &b, 0);
	assert_int_equal(found().kind, BC_IDENTITY_FILE);
	b = record_of(false, 0600, 700, 300);
	expect_loaded(&a, &b, 0);
	assert_int_equal(found().kind, BC_IDENTITY_DIR);
}

static void load_one(const struct bc_identity *id)
{
	bc_identity_exit();
	assert_int_equal(bc_identity_init(MAX), 0);
	assert_int_equal(bc_identity_insert_loaded(id), 0);
}

/* Guards: what one tier knew, and went to make room, is not known by what another knew before. */
static void loaded_without_room(void **state)
{
	struct bc_identity older = record_of(false, 0644, 500, 500), newer = older, id;
	u32 n;

	(void)state;
	newer.seen_ns += 200 * SECONDS;
	load_one(&newer);
	for (n = 0; n < 20 * MAX; n++) {
		id = identity(2 + n % 60, n / 60 + 1, 'x', older.resolved_ns);
		id.seen_ns = older.seen_ns - SECONDS;
		assert_int_equal(bc_identity_insert_loaded(&id), 0);
	}
	assert_int_equal(known(), 0);
	assert_int_equal(bc_identity_insert_loaded(&older), 0);
	assert_int_equal(known(), 'a');
	assert_int_equal(found().view, 0);
	load_one(&older);
	assert_int_equal(found().view, VIEW);
}

static void expect_away(const struct bc_identity *away, const struct bc_identity *there)
{
	struct bc_identity id = *away;

	/* The one that was away comes first; what it alone knows is not known any more. */
	bc_identity_exit();
	assert_int_equal(bc_identity_init(MAX), 0);
	assert_true(bc_identity_loading(-1000 * SECONDS));
	assert_int_equal(bc_identity_insert_loaded(&id), 0);
	assert_int_equal(found().view, VIEW);
	assert_true(bc_identity_loading(-10 * SECONDS));
	assert_int_equal(found().view, 0);
	/* Both knew it. */
	if (there) {
		assert_int_equal(bc_identity_insert_loaded(there), 0);
		assert_int_equal(found().view, VIEW);
	}
	/* It comes last. */
	bc_identity_exit();
	assert_int_equal(bc_identity_init(MAX), 0);
	assert_true(bc_identity_loading(-10 * SECONDS));
	if (there)
		assert_int_equal(bc_identity_insert_loaded(there), 0);
	assert_false(bc_identity_loading(-1000 * SECONDS));
	id.view = 0;
	assert_int_equal(bc_identity_insert_loaded(&id), 0);
	assert_int_equal(found().view, there ? VIEW : 0);
}

/* Guards: a tier that was away while another was told does not bring back rights that may be gone. */
static void loaded_after_away(void **state)
{
	struct bc_identity file = record_of(false, 0644, 2000, 2000);
	struct bc_identity dir = record_of(true, 0755, 2000, 2000);

	(void)state;
	expect_away(&file, NULL);
	expect_away(&dir, NULL);
	expect_away(&file, &file);
	expect_away(&dir, &dir);
	/* Two that were told in the same minutes. */
	bc_identity_exit();
	assert_int_equal(bc_identity_init(MAX), 0);
	assert_true(bc_identity_loading(-100 * SECONDS));
	assert_int_equal(bc_identity_insert_loaded(&file), 0);
	assert_true(bc_identity_loading(0));
	assert_int_equal(found().view, VIEW);
	assert_true(bc_identity_loading(-100 * SECONDS));
}

/* Guards: what a lower has shown is newer than any tier; what it has not shown is not known, if another tier knew later. */
static void loaded_late_twice(void **state)
{
	struct bc_identity a = record_of(false, 0644, 500, 500);
	struct bc_identity b = record_of(false, 0600, 300, 300);
	struct bc_key path = path_key(1, 1), other = path_key(1, 2);
	s64 now;

	(void)state;
	b.etag[0] = 'b';
	/* It has shown this one. */
	load_one(&a);
	now = tick();
	show(0100640, now);
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(known(), 'b');
	assert_int_equal(found().lower.mode, 0100640);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(found().seen_ns, now);
	b.resolved_ns += SECONDS;
	b.lower.size = 11;
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(found().view, 0);
	assert_int_equal(found().seen_ns, now);
	b.lower.size = 10;
	/* Another one. */
	load_one(&a);
	bc_identity_drop(&volume, &other);
	a.seen_ns += SECONDS;
	assert_int_equal(bc_identity_insert_loaded(&a), 0);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(found().seen_ns, a.seen_ns);
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(known(), 'b');
	assert_int_equal(found().view, 0);
	load_one(&b);
	bc_identity_drop(&volume, &other);
	assert_int_equal(bc_identity_insert_loaded(&a), 0);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(found().lower.mode, 0100600);
	/* That it is not there. */
	load_one(&a);
	drop();
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(found().view, 0);

	a = record_of(true, 0755, 500, 500);
	b = record_of(true, 0700, 300, 300);
	load_one(&a);
	now = tick();
	show_dir(7, now, 0);
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(found().lower.mode, 0040755);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(found().seen_ns, now);
	load_one(&a);
	bc_identity_drop(&volume, &other);
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(found().view, 0);
	assert_int_equal(found().nonce, 0);
	/* The store was asked, and no lower. */
	a = record_of(false, 0644, 500, 500);
	b = record_of(false, 0600, 300, 300);
	load_one(&a);
	store('c', tick());
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(known(), 'c');
	assert_int_equal(found().lower.mode, 0100600);
	assert_int_equal(found().view, VIEW);
	/* It is marked: it is known no more. */
	load_one(&a);
	mark(tick(), 5);
	assert_int_equal(bc_identity_insert_loaded(&b), 0);
	assert_int_equal(known(), 'a');
	assert_int_equal(found().view, 0);
	bc_identity_forget(&volume, &path);
}

static u32 count_dirs(u32 buckets)
{
	struct bc_identity id;
	struct bc_key path;
	u32 b, count = 0;

	for (b = 0; b < buckets; b++) {
		path = path_key(b, 9);
		count += bc_identity_find(&volume, &path, &id);
	}
	return count;
}

/* Guards: a walk over directories costs few files; a table full of files has room for some. */
static void dirs_share(void **state)
{
	struct bc_shown now = shown(0040755, 200);
	struct bc_identity id;
	struct bc_key path;
	u32 b;

	(void)state;
	for (b = 0; b < 2 * MAX; b++) {
		id = identity(b, 1, 'a', 100);
		assert_int_equal(bc_identity_store(&id), 0);
	}
	assert_true(bc_identity_count() >= MAX - 1);
	for (b = 0; b < 2 * MAX; b++) {
		path = path_key(b, 9);
		bc_identity_seen_dir(&volume, &path, &now, 0);
		assert_true(count_dirs(2 * MAX) <= MAX / 4);
	}
	assert_true(count_dirs(2 * MAX) >= MAX / 8);
	assert_true(bc_identity_count() <= MAX + 1);
	/* What goes makes room again, however it goes. */
	bc_identity_forget_volume(&volume);
	assert_int_equal(count_dirs(2 * MAX), 0);
	now.asked_ns = tick();
	for (b = 0; b < MAX; b++) {
		path = path_key(b, 9);
		assert_int_not_equal(bc_identity_seen_dir(&volume, &path, &now, 0), 0);
	}
	/* At its end there are the last of them: those that nobody came back to went. */
	assert_int_equal(count_dirs(2 * MAX), MAX / 4);
	path = path_key(MAX - 1, 9);
	assert_true(bc_identity_find(&volume, &path, &id));
	/* What is below one of them is used: it stays. */
	for (b = MAX; b < 3 * MAX; b++) {
		bc_identity_use(&volume, &path);
		id.path = path_key(b, 10);
		now.asked_ns = tick();
		assert_int_not_equal(bc_identity_seen_dir(&volume, &id.path, &now, 0), 0);
	}
	assert_true(bc_identity_find(&volume, &path, &id));
	path = path_key(MAX - 2, 9);
	assert_false(bc_identity_find(&volume, &path, &id));
}

/* Guards: an answer that is known already is not forgotten because of another path of its bucket. */
static void seen_again(void **state)
{
	struct bc_shown now = shown(0100600, tick()), dir = shown(0040755, now.asked_ns);
	struct bc_key path = path_key(1, 1), other = path_key(1, 2), third = path_key(1, 3);
	u32 nonce;

	(void)state;
	store('a', now.asked_ns - 1);
	bc_identity_seen_file(&volume, &path, &now);
	nonce = bc_identity_seen_dir(&volume, &third, &dir, 0);
	bc_identity_drop(&volume, &other);
	bc_identity_seen_file(&volume, &path, &now);
	assert_int_equal(found().view, VIEW);
	assert_int_equal(bc_identity_seen_dir(&volume, &third, &dir, 0), nonce);
	/* It was dropped itself. */
	drop();
	bc_identity_seen_file(&volume, &path, &now);
	assert_int_equal(found().view, 0);
}

/* Guards: who forgets a volume forgets what its lower has shown of marks, too. */
static void mark_view_forgotten(void **state)
{
	(void)state;
	store('a', 100);
	show(0100600, 200);
	mark(200, 5);
	assert_int_equal(found().view, VIEW);
	bc_identity_forget_volume(&volume);
	assert_int_equal(found().view, 0);
	assert_int_equal(found().written_at, 5);
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
		test(file_seen),
		test(dir_seen),
		test(not_seen),
		test(file_dropped),
		test(shown_in_order),
		test(changed_kind),
		test(shown_before_eviction),
		test(shown_too_late),
		test(dir_shown_too_late),
		test(shown_before_gone),
		test(lost_between),
		test(incarnations),
		test(mark_saved),
		test(rights_saved),
		test(watched),
		test(loaded_late),
		test(loaded_rights),
		test(loaded_dirs),
		test(loaded_late_twice),
		test(loaded_after_away),
		test(loaded_without_room),
		test(dirs_share),
		test(seen_again),
		test(mark_view_forgotten),
		test(mark_lost),
		test(renamed_meanwhile),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
