/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/dirty_table.c kmod/dirty_recover.c kmod/name.c kmod/key.c kmod/record.c */
/*
 * The dirty table: two copies of each unit in turn, and what an attach makes of what is on them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dirty_recover.h"
#include "key.h"

#define UNITS	3
#define FRAMES	64

static const u8 uuid[BC_UUID_SIZE] = { 9 };
static const struct bc_layout layout = { .frame_count = FRAMES, .dirty_units = UNITS };
static struct bc_disk_dirty_unit device[UNITS][BC_DIRTY_COPIES];
static u8 frames[FRAMES][BC_FRAME_BLOCKS][BC_NAME_BYTES_MAX];
static struct bc_dtable table;
static struct bc_dirty_recovery recovery;

static int setup(void **state)
{
	(void)state;
	memset(device, 0, sizeof(device));
	memset(frames, 0, sizeof(frames));
	return bc_dtable_init(&table, UNITS);
}

static int teardown(void **state)
{
	(void)state;
	bc_dirty_recovered(&recovery);
	bc_dtable_free(&table);
	return 0;
}

/* Write what is to be written. */
static void sync_table(void)
{
	struct bc_disk_dirty_unit bytes;
	u64 unit;

	for (unit = bc_dtable_next(&table, 0); unit < UNITS; unit = bc_dtable_next(&table, unit + 1)) {
		u32 copy = bc_dtable_seal(&table, unit, &bytes, uuid);

		device[unit][copy] = bytes;
		bc_dtable_written(&table, unit);
	}
}

static int load_unit(u64 unit)
{
	return bc_dtable_load(&table, unit, device[unit], &layout, 1 << 20, uuid);
}

static void reload(void)
{
	u64 unit;

	bc_dtable_free(&table);
	assert_int_equal(bc_dtable_init(&table, UNITS), 0);
	for (unit = 0; unit < UNITS; unit++)
		assert_true(load_unit(unit) >= 0);
}

static u32 put(u8 key, u64 block, u64 seq, u32 frame, u8 slot, u8 kind, u32 length, u32 crc)
{
	struct bc_dirty_desc desc = {
		.desc = { .key = { { key } }, .block = block, .seq = seq, .length = length,
			  .crc = crc, .kind = kind },
		.place = { .frame = frame, .slot = slot, .count = 1 },
	};
	u32 number = bc_dtable_take(&table, BC_DTABLE_NONE);

	assert_int_not_equal(number, BC_DTABLE_NONE);
	assert_int_equal(bc_dtable_grow(&table, number), 0);
	bc_dtable_set(&table, number, &desc);
	return number;
}

static u32 put_data(u8 key, u64 block, u64 seq, u32 frame, u8 slot)
{
	return put(key, block, seq, frame, slot, BC_KIND_DIRTY, BC_BLOCK_SIZE, 0);
}

struct named {
	u8 key, kind;
	u64 seq, size, cut_size, cut_seq;
	const char *path;
	u32 frame;
};

static u32 put_name(struct named n)
{
	struct bc_dirty_name name = {
		.kind = n.kind ?: BC_KIND_NAME, .generation = { { n.key } }, .seq = n.seq,
		.size = n.size, .mode = 0100644, .cut_size = n.cut_size, .cut_seq = n.cut_seq,
		.source = "s", .source_length = 1, .path = n.path, .path_length = strlen(n.path),
	};
	u32 length;
	void *at = frames[n.frame][0];

	memcpy(name.uuid, uuid, sizeof(uuid));
	bc_key_volume("s", NULL, &name.volume);
	length = bc_dirty_name_encode(&name, at);
	return put(n.key, 0, n.seq, n.frame, 0, name.kind, length, bc_crc32c(at, length));
}

static int read_block(void *arg, const struct bc_dirty_desc *desc, void *buffer)
{
	(void)arg;
	memcpy(buffer, frames[desc->place.frame][desc->place.slot], desc->desc.length);
	return 0;
}

static void recover(void)
{
	sync_table();
	reload();
	bc_dirty_recovered(&recovery);
	recovery = (struct bc_dirty_recovery){ .table = &table, .uuid = uuid, .read = read_block };
	assert_int_equal(bc_dirty_recover(&recovery), 0);
}

static enum bc_fate fate_of(u8 key, u8 kind, u64 block)
{
	u32 i;

	for (i = 0; i < recovery.count; i++) {
		const struct bc_desc *desc = &recovery.found[i].at.desc;

		if (desc->key.bytes[0] == key && desc->kind == kind && desc->block == block)
			return recovery.found[i].fate;
	}
	fail_msg("no descriptor of %u, block %llu", key, (unsigned long long)block);
	return 0;
}

/* Guards: "a torn write damages the copy that was being written, and the one before stays". */
static void copies_alternate(void **state)
{
	struct bc_dirty_desc desc;
	u32 number = put_data(1, 5, 10, 3, 4);

	(void)state;
	sync_table();
	assert_int_equal(device[0][1].head.generation, 1);
	assert_int_equal(device[0][0].head.generation, 0);
	put_data(1, 6, 11, 3, 5);
	sync_table();
	assert_int_equal(device[0][0].head.generation, 2);

	reload();
	assert_int_equal(table.count, 2);
	assert_true(bc_dtable_get(&table, number, &desc));
	assert_int_equal(desc.desc.block, 5);
	assert_int_equal(desc.place.frame, 3);
	assert_int_equal(desc.place.slot, 4);

	/* Torn: the one before. */
	device[0][0].desc[1].frame = 7;
	reload();
	assert_int_equal(table.count, 1);
	assert_int_equal(load_unit(1), BC_DTABLE_VOID);

	/* The next goes where the torn one was. */
	put_data(1, 7, 12, 3, 6);
	sync_table();
	assert_int_equal(device[0][0].head.generation, 2);
	reload();
	assert_int_equal(table.count, 2);

	/* Both gone: nothing is made up. */
	device[0][0].desc[1].frame = 7;
	device[0][1].desc[1].frame = 7;
	bc_dtable_free(&table);
	assert_int_equal(bc_dtable_init(&table, UNITS), 0);
	assert_int_equal(load_unit(0), BC_DTABLE_DAMAGED);
}

/* Guards: the very first write of a unit may be torn, too. */
static void first_torn(void **state)
{
	(void)state;
	put_data(1, 5, 10, 3, 4);
	sync_table();
	device[0][1].desc[0].frame = 9;
	bc_dtable_free(&table);
	assert_int_equal(bc_dtable_init(&table, UNITS), 0);
	assert_int_equal(load_unit(0), BC_DTABLE_TORN);
	assert_int_equal(table.count, 0);
}

/* Guards: a copy at the other's place, or of another tier, is none. */
static void misplaced(void **state)
{
	(void)state;
	put_data(1, 5, 10, 3, 4);
	sync_table();
	device[0][0] = device[0][1];
	memset(&device[0][1], 0, BC_UNIT_SIZE);
	bc_dtable_free(&table);
	assert_int_equal(bc_dtable_init(&table, UNITS), 0);
	assert_int_equal(load_unit(0), BC_DTABLE_DAMAGED);
	device[1][1] = device[0][0];
	assert_int_equal(load_unit(1), BC_DTABLE_TORN);
	assert_int_equal(table.count, 0);
}

static void forget(void)
{
	memset(device, 0, sizeof(device));
	bc_dtable_free(&table);
	assert_int_equal(bc_dtable_init(&table, UNITS), 0);
}

static int written(void)
{
	sync_table();
	bc_dtable_free(&table);
	assert_int_equal(bc_dtable_init(&table, UNITS), 0);
	return load_unit(0);
}

/* Guards: a unit with a descriptor that makes no sense is damaged: it is not erased. */
static void nonsense(void **state)
{
	(void)state;
	put_data(1, 0, 10, FRAMES, 0);
	assert_int_equal(written(), BC_DTABLE_DAMAGED);
	forget();
	put_data(1, 1, 10, 0, 16);
	assert_int_equal(written(), BC_DTABLE_DAMAGED);
	forget();
	put_data(1, 2, 1 << 20, 0, 0);
	assert_int_equal(written(), BC_DTABLE_DAMAGED);
	forget();
	put(1, 3, 10, 0, 1, BC_KIND_CLEAN, 1, 0);
	assert_int_equal(written(), BC_DTABLE_DAMAGED);
	forget();
	put_data(1, 4, (1 << 20) - 1, 0, 2);
	assert_int_equal(written(), BC_DTABLE_VALID);
	assert_int_equal(table.count, 1);
}

/* Guards: that a newer copy is damaged can be told from an older one, if all was well before. */
static void checked(void **state)
{
	struct bc_disk_dirty_unit newer;
	u32 check;

	(void)state;
	put_data(1, 5, 10, 3, 4);
	sync_table();
	put_data(1, 6, 11, 3, 5);
	sync_table();
	check = bc_dtable_check(&table);
	reload();
	assert_int_equal(bc_dtable_check(&table), check);
	newer = device[0][0];
	device[0][0].desc[0].frame = 7;
	reload();
	assert_int_not_equal(bc_dtable_check(&table), check);
	device[0][0] = newer;
	device[0][1].desc[0].frame = 7;
	reload();
	assert_int_equal(bc_dtable_check(&table), check);
	assert_int_equal(table.count, 2);
	/* Both are good again after it was written as it is. */
	assert_int_equal(bc_dtable_rewrite(&table, 0), 0);
	sync_table();
	assert_int_equal(load_unit(0), BC_DTABLE_VALID);
}

/* Guards: descriptors are somebody's or nobody's; those of one object lie together. */
static void taking(void **state)
{
	u32 first = bc_dtable_take(&table, BC_DTABLE_NONE), i, number;

	(void)state;
	assert_int_equal(first, 0);
	number = bc_dtable_take(&table, 2 * BC_DIRTY_DESCS + 5);
	assert_int_equal(bc_dtable_unit_of(number), 2);
	for (i = 2; i < UNITS * BC_DIRTY_DESCS; i++)
		assert_int_not_equal(bc_dtable_take(&table, 0), BC_DTABLE_NONE);
	assert_int_equal(bc_dtable_take(&table, 0), BC_DTABLE_NONE);
	bc_dtable_release(&table, number);
	assert_int_equal(bc_dtable_take(&table, 0), number);
}

/* Guards: every fsynced byte is there; data without a name, behind the end or cut off is not. */
static void objects(void **state)
{
	(void)state;
	put_data(1, 0, 10, 1, 0);
	put_data(1, 1, 11, 1, 1);
	put_data(1, 2, 12, 1, 2);	/* behind the end */
	put_name((struct named){ .key = 1, .seq = 12, .size = BC_BLOCK_SIZE + 1, .path = "a",
				 .frame = 2 });
	put_data(2, 0, 20, 1, 3);	/* without a name */
	put_data(3, 0, 30, 1, 4);
	put_data(3, 1, 31, 1, 5);	/* cut off */
	put_data(3, 2, 33, 1, 6);	/* written since */
	put_name((struct named){ .key = 3, .seq = 33, .size = 1 << 20, .path = "b", .frame = 3,
				 .cut_size = 10, .cut_seq = 32 });
	recover();
	assert_int_equal(recovery.objects, 2);
	assert_int_equal(fate_of(1, BC_KIND_NAME, 0), BC_FATE_LIVE);
	assert_int_equal(fate_of(1, BC_KIND_DIRTY, 0), BC_FATE_LIVE);
	assert_int_equal(fate_of(1, BC_KIND_DIRTY, 1), BC_FATE_LIVE);
	assert_int_equal(fate_of(1, BC_KIND_DIRTY, 2), BC_FATE_DEAD);
	assert_int_equal(fate_of(2, BC_KIND_DIRTY, 0), BC_FATE_DEAD);
	assert_int_equal(fate_of(3, BC_KIND_DIRTY, 0), BC_FATE_LIVE);
	assert_int_equal(fate_of(3, BC_KIND_DIRTY, 1), BC_FATE_DEAD);
	assert_int_equal(fate_of(3, BC_KIND_DIRTY, 2), BC_FATE_LIVE);
	/* Of the block that the cut went through only what is before it. */
	assert_int_equal(bc_dirty_valid(&recovery.object[1].name, &recovery.found[6].at.desc), 10);
	assert_int_equal(bc_dirty_valid(&recovery.object[0].name, &recovery.found[2].at.desc), 1);
}

/* Guards: of two versions of a block the newer counts. */
static void versions(void **state)
{
	(void)state;
	put_data(1, 0, 10, 1, 0);
	put_data(1, 0, 12, 1, 1);
	put_name((struct named){ .key = 1, .seq = 12, .size = 5, .path = "a", .frame = 2 });
	recover();
	assert_int_equal(recovery.found[1].at.desc.seq, 12);
	assert_int_equal(recovery.found[1].fate, BC_FATE_LIVE);
	assert_int_equal(recovery.found[2].fate, BC_FATE_DEAD);
}

/* Guards: no superseded file returns: of two names with one path the higher sequence wins. */
static void replaced(void **state)
{
	(void)state;
	put_data(1, 0, 10, 1, 0);
	put_name((struct named){ .key = 1, .seq = 12, .size = 5, .path = "a", .frame = 2 });
	put_data(2, 0, 13, 1, 1);
	put_name((struct named){ .key = 2, .seq = 14, .size = 5, .path = "a", .frame = 3 });
	put_name((struct named){ .key = 3, .seq = 15, .size = 5, .path = "aa", .frame = 4 });
	recover();
	assert_int_equal(fate_of(1, BC_KIND_NAME, 0), BC_FATE_DEAD);
	assert_int_equal(fate_of(1, BC_KIND_DIRTY, 0), BC_FATE_DEAD);
	assert_int_equal(fate_of(2, BC_KIND_NAME, 0), BC_FATE_LIVE);
	assert_int_equal(fate_of(2, BC_KIND_DIRTY, 0), BC_FATE_LIVE);
	assert_int_equal(fate_of(3, BC_KIND_NAME, 0), BC_FATE_LIVE);
}

/* Guards: no unlinked file returns. */
static void tombstone(void **state)
{
	(void)state;
	put_data(1, 0, 10, 1, 0);
	put_name((struct named){ .key = 1, .kind = BC_KIND_TOMBSTONE, .seq = 12, .path = "a",
				 .frame = 2 });
	recover();
	assert_int_equal(recovery.object[0].fate, BC_FATE_LIVE);
	assert_int_equal(fate_of(1, BC_KIND_DIRTY, 0), BC_FATE_DEAD);
}

/* Guards: what contradicts itself is set aside, never replayed and never cleared. */
static void aside(void **state)
{
	(void)state;
	put_data(1, 0, 10, 1, 0);
	put_name((struct named){ .key = 1, .seq = 12, .size = 5, .path = "a", .frame = 2 });
	put_data(2, 0, 13, 1, 0);	/* the same block */
	put_name((struct named){ .key = 2, .seq = 14, .size = 5, .path = "b", .frame = 3 });
	put_data(3, 9, 15, 1, 1);
	put_name((struct named){ .key = 3, .seq = 16, .size = 5, .path = "c", .frame = 4 });
	frames[4][0][100] ^= 1;
	put_name((struct named){ .key = 4, .seq = 17, .size = 5, .path = "d", .frame = 5 });
	memcpy(frames[5][0], frames[3][0], sizeof(frames[5][0]));
	recover();
	assert_int_equal(fate_of(1, BC_KIND_DIRTY, 0), BC_FATE_ASIDE);
	assert_int_equal(fate_of(2, BC_KIND_DIRTY, 0), BC_FATE_ASIDE);
	assert_int_equal(fate_of(3, BC_KIND_DIRTY, 9), BC_FATE_ASIDE);
	assert_int_equal(fate_of(4, BC_KIND_NAME, 0), BC_FATE_ASIDE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(copies_alternate, setup, teardown),
		cmocka_unit_test_setup_teardown(first_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(misplaced, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense, setup, teardown),
		cmocka_unit_test_setup_teardown(checked, setup, teardown),
		cmocka_unit_test_setup_teardown(taking, setup, teardown),
		cmocka_unit_test_setup_teardown(objects, setup, teardown),
		cmocka_unit_test_setup_teardown(versions, setup, teardown),
		cmocka_unit_test_setup_teardown(replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(tombstone, setup, teardown),
		cmocka_unit_test_setup_teardown(aside, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
