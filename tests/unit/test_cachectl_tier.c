/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: tools/cachectl/tierfmt.c tools/cachectl/nodeid.c tools/cachectl/format.c tools/cachectl/output.c tools/cachectl/cli.c kmod/record.c */
/* libs: jansson smartcols libcrypto */
/* Formatting a tier, on a regular file; ids of the node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blobcache_disk.h"
#include "nodeid.h"
#include "output.h"
#include "tierfmt.h"

#define MIB (1024ULL * 1024)

static const struct tier_options defaults = {
	.node_id = { 1 }, .set_id = { 2 }, .label = "fast",
};

/* A file of random bytes, as a used device would be. */
static int file_of(uint64_t size)
{
	char name[] = "/tmp/test_cachectl_tier.XXXXXX";
	int fd = mkstemp(name);
	uint8_t noise[4096];
	uint64_t at;

	assert_true(fd >= 0);
	unlink(name);
	memset(noise, 0xa5, sizeof(noise));
	for (at = 0; at < 2 * MIB && at < size; at += sizeof(noise))
		assert_int_equal(pwrite(fd, noise, sizeof(noise), (off_t)at), sizeof(noise));
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void write_read(void **state)
{
	int fd = file_of(256 * MIB);
	struct tier_info made, found;
	const char *why;

	(void)state;
	assert_int_equal(tier_write(fd, 256 * MIB, &defaults, &made), 0);
	assert_int_equal(tier_read(fd, 256 * MIB, &found, &why), 0);
	assert_memory_equal(&made, &found, sizeof(made));
	assert_string_equal(found.label, "fast");
	assert_int_equal(found.node_id[0], 1);
	assert_int_equal(found.set_id[0], 2);
	assert_true(found.clean);
	assert_int_equal(found.attach_count, 0);
	assert_int_equal(found.incompat, 0);
	assert_true(found.table_bytes + found.frame_bytes <= 256 * MIB);
	assert_true(found.table_bytes + found.frame_bytes + BC_FRAME_SIZE > 256 * MIB);
	close(fd);
}

static void two_formats_differ(void **state)
{
	int fd = file_of(64 * MIB);
	struct tier_info first, second;

	(void)state;
	assert_int_equal(tier_write(fd, 64 * MIB, &defaults, &first), 0);
	assert_int_equal(tier_write(fd, 64 * MIB, &defaults, &second), 0);
	assert_memory_not_equal(first.uuid, second.uuid, 16);
	close(fd);
}

static void flip(int fd, off_t at)
{
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void either_copy_will_do(void **state)
{
	int fd = file_of(64 * MIB);
	struct tier_info info;
	const char *why;

	(void)state;
	assert_int_equal(tier_write(fd, 64 * MIB, &defaults, &info), 0);
	flip(fd, 100);
	assert_int_equal(tier_read(fd, 64 * MIB, &info, &why), 0);
	flip(fd, 100);
	flip(fd, BC_UNIT_SIZE + 100);
	assert_int_equal(tier_read(fd, 64 * MIB, &info, &why), 0);
	flip(fd, 100);
	assert_int_equal(tier_read(fd, 64 * MIB, &info, &why), -EBADMSG);
	assert_true(*why);
	close(fd);
}

/* The first unit of every table, and both copies of the first dirty unit. */
static void tables_are_void(void **state)
{
	static const uint8_t zero[BC_UNIT_SIZE];
	struct bc_disk_super disk;
	int fd = file_of(64 * MIB);
	struct tier_info info;
	uint8_t unit[BC_UNIT_SIZE];
	uint64_t at[4];
	size_t i;

	(void)state;
	assert_int_equal(tier_write(fd, 64 * MIB, &defaults, &info), 0);
	assert_int_equal(pread(fd, &disk, sizeof(disk), 0), sizeof(disk));
	at[0] = disk.dirty_offset;
	at[1] = disk.dirty_offset + BC_UNIT_SIZE;
	at[2] = disk.clean_offset;
	at[3] = disk.identity_offset;
	for (i = 0; i < 4; i++) {
		assert_int_equal(pread(fd, unit, sizeof(unit), (off_t)at[i]), sizeof(unit));
		assert_memory_equal(unit, zero, sizeof(zero));
	}
	close(fd);
}

static void no_tier(void **state)
{
	struct tier_info info;
	const char *why;
	int fd = file_of(64 * MIB);

	(void)state;
	assert_int_equal(tier_read(fd, 64 * MIB, &info, &why), -ENODATA);
	assert_int_equal(tier_read(fd, 512, &info, &why), -ENODATA);
	close(fd);
}

static void short_device(void **state)
{
	struct tier_info info;
	const char *why;
	int fd = file_of(64 * MIB);

	(void)state;
	assert_int_equal(tier_write(fd, 64 * MIB, &defaults, &info), 0);
	assert_int_equal(tier_read(fd, 32 * MIB, &info, &why), -EFBIG);
	assert_true(*why);
	close(fd);
}

static void minimum(void **state)
{
	struct tier_options more = { .index_ratio = tier_index_ratio_max,
				     .identities_per_frame = tier_identities_max };
	struct tier_options wrong = { .index_ratio = tier_index_ratio_max + 1 };
	struct tier_info info;
	uint64_t least = tier_minimum(&defaults);

	(void)state;
	assert_int_equal(tier_plan(least, &defaults, &info), 0);
	assert_int_equal(tier_plan(least - BC_UNIT_SIZE, &defaults, &info), -ENOSPC);
	assert_int_equal(tier_plan(0, &defaults, &info), -ENOSPC);
	assert_true(tier_minimum(&more) >= least);
	assert_int_equal(tier_plan(64 * MIB, &wrong, &info), -EINVAL);
	assert_int_equal(tier_minimum(&wrong), 0);
}

static void overhead(void **state)
{
	struct tier_info info;

	(void)state;
	assert_int_equal(tier_plan(1024ULL * 1024 * MIB, &defaults, &info), 0);
	/* The promise of the disk format, at a size people use. */
	assert_true((double)info.table_bytes / (double)info.device_bytes < 0.0025);
	assert_true(info.memory_bytes > info.chunks_max * 40);
}

static void unwritable(void **state)
{
	struct tier_info info;
	int pipes[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(tier_write(pipes[1], 64 * MIB, &defaults, &info), -ESPIPE);
	close(pipes[0]);
	close(pipes[1]);
}

static void json(void **state)
{
	int fd = file_of(64 * MIB);
	struct tier_info info;
	json_t *object;

	(void)state;
	assert_int_equal(tier_write(fd, 64 * MIB, &defaults, &info), 0);
	object = tier_json(&info);
	assert_string_equal(out_str(object, "label"), "fast");
	assert_int_equal(out_num(object, "frame_bytes"), info.frame_bytes);
	assert_true(out_bool(object, "was_clean"));
	json_decref(object);
	close(fd);
}

static void node_ids(void **state)
{
	uint8_t node[16], set[16], again[16], other[16];

	(void)state;
	assert_int_equal(node_id_from("0123456789abcdef0123456789abcdef\n", node, set), 0);
	assert_memory_not_equal(node, set, 16);
	assert_int_equal(node_id_from("0123456789abcdef0123456789abcdef", again, set), 0);
	assert_memory_equal(node, again, 16);
	assert_int_equal(node_id_from("0123456789abcdef0123456789abcdee", other, set), 0);
	assert_memory_not_equal(node, other, 16);
	assert_int_equal(node_id_from("", node, set), -EINVAL);
	assert_int_equal(node_id_from("uninitialized\n", node, set), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_read), cmocka_unit_test(two_formats_differ),
		cmocka_unit_test(either_copy_will_do), cmocka_unit_test(tables_are_void),
		cmocka_unit_test(no_tier), cmocka_unit_test(short_device),
		cmocka_unit_test(minimum), cmocka_unit_test(overhead),
		cmocka_unit_test(unwritable), cmocka_unit_test(json),
		cmocka_unit_test(node_ids),
	};

	return cmocka_run_group_tests_name("cachectl tier", tests, NULL, NULL);
}
