/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/name.c kmod/key.c kmod/record.c */
/*
 * Name blocks: what is written is read as it was, and of what makes no sense nothing is taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "key.h"
#include "name.h"

static u8 buffer[BC_NAME_BYTES_MAX];
static struct bc_disk_name *disk = (void *)buffer;

static struct bc_dirty_name sample(void)
{
	static const char source[] = "azure://host/box", path[] = "runs/7/model.pt", domain[] = "a";
	struct bc_dirty_name name = {
		.kind = BC_KIND_NAME, .uuid = { 1 }, .node_id = { 2 }, .generation = { { 3 } },
		.seq = 77, .step = 5, .size = 1 << 20, .mtime = -5, .ctime = 6, .mtime_nsec = 7,
		.ctime_nsec = 999999999, .mode = 0100644, .uid = 8, .gid = 9,
		.state = BC_NAME_READY, .base = BC_BASE_ETAG, .base_etag_length = 4,
		.base_etag = "0x8D", .cut_size = 10, .cut_seq = 60, .acked_seq = 50,
		.acked_size = 11, .acked_last_modified = 12, .base_size = 13,
		.base_key = { { 14 } }, .acked_etag = "e", .acked_etag_length = 1,
		.source = source, .source_length = sizeof(source) - 1,
		.domain = domain, .domain_length = sizeof(domain) - 1,
		.path = path, .path_length = sizeof(path) - 1, .other = "x/y", .other_length = 3,
	};

	bc_key_volume(source, domain, &name.volume);
	return name;
}

static bool same_string(const char *a, u32 a_length, const char *b, u32 b_length)
{
	return a_length == b_length && !memcmp(a, b, a_length);
}

/* Guards: what a tier says of a dirty object is what was written. */
static void round_trip(void **state)
{
	struct bc_dirty_name name = sample(), back;
	u32 length = bc_dirty_name_encode(&name, buffer);

	(void)state;
	assert_int_equal(length, sizeof(*disk) + 16 + 1 + 15 + 3);
	assert_int_equal(bc_dirty_name_decode(buffer, length, BC_KIND_NAME, &back), 0);
	assert_true(same_string(back.source, back.source_length, name.source, name.source_length));
	assert_true(same_string(back.domain, back.domain_length, name.domain, name.domain_length));
	assert_true(same_string(back.path, back.path_length, name.path, name.path_length));
	assert_true(same_string(back.other, back.other_length, name.other, name.other_length));
	back.source = name.source;
	back.domain = name.domain;
	back.path = name.path;
	back.other = name.other;
	assert_memory_equal(&back, &name, sizeof(name));
}

static int decode_changed(void (*change)(void))
{
	struct bc_dirty_name name = sample();
	u32 length = bc_dirty_name_encode(&name, buffer);

	change();
	return bc_dirty_name_decode(buffer, length, BC_KIND_NAME, &name);
}

#define REFUSED(change) do {						\
	void changed(void) { change; }					\
	assert_int_equal(decode_changed(changed), -EINVAL);		\
} while (0)

/* Guards: hostile or damaged blocks: each field has its limits. */
static void refused(void **state)
{
	(void)state;
	REFUSED(disk->magic = 0);
	REFUSED(disk->length = 0);
	REFUSED(disk->volume_id[0] ^= 1);
	REFUSED(disk->seq = 0);
	REFUSED(disk->size = cpu_to_le64(BC_NAME_SIZE_MAX + 1));
	REFUSED(disk->cut_size = cpu_to_le64(U64_MAX));
	REFUSED(disk->cut_seq = cpu_to_le64(78));
	REFUSED(disk->acked_seq = cpu_to_le64(78));
	REFUSED(disk->mtime_nsec = cpu_to_le32(1000000000));
	REFUSED(disk->mode = cpu_to_le32(0040755));
	REFUSED(disk->state = 3);
	REFUSED(disk->state = BC_NAME_COMMITTED; disk->acked_etag_length = 0);
	REFUSED(disk->base = 3);
	REFUSED(disk->base = BC_BASE_NONE);
	REFUSED(disk->base_etag_length = 65);
	REFUSED(disk->base_etag_length = 3);
	REFUSED(disk->base_etag[1] = 0);
	REFUSED(disk->chain_frame = 0);
	REFUSED(disk->chain_slot = 1);
	REFUSED(disk->flags = 1);
	REFUSED(disk->reserved[667] = 1);
	REFUSED(disk->reserved_chain[0] = 1);
	REFUSED(disk->path_length = 0);
	REFUSED(disk->path_length = cpu_to_le16(4096));
	REFUSED(disk->source_length = 0);
	REFUSED(disk->source_length = cpu_to_le16(17));
	REFUSED(disk->other_length = cpu_to_le16(4));
}

/* Guards: names are '/'-separated bytes and lead nowhere else. */
static void paths(void **state)
{
	static const char *const bad[] = {
		"", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "./a",
	};
	static const char *const good[] = { "a", "a/b", "...", "a/..b", "\xff/ b" };
	u32 i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(bc_dirty_name_path_valid(bad[i], strlen(bad[i])));
	for (i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(bc_dirty_name_path_valid(good[i], strlen(good[i])));
	assert_false(bc_dirty_name_path_valid("a\0b", 3));
}

/* Guards: the largest fits what is set aside for it. */
static void largest(void **state)
{
	static char source[BC_NAME_SOURCE_MAX + 1], path[BC_NAME_PATH_MAX + 1];
	struct bc_dirty_name name = sample(), back;
	u32 length;

	(void)state;
	memset(source, 's', BC_NAME_SOURCE_MAX);
	memset(path, 'p', BC_NAME_PATH_MAX);
	name.source = source;
	name.domain = source;
	name.path = path;
	name.other = path;
	name.source_length = BC_NAME_SOURCE_MAX;
	name.domain_length = BC_NAME_DOMAIN_MAX;
	name.path_length = BC_NAME_PATH_MAX;
	name.other_length = BC_NAME_PATH_MAX;
	bc_key_volume(source, source, &name.volume);
	length = bc_dirty_name_encode(&name, buffer);
	assert_int_equal(length, BC_NAME_BYTES_MAX);
	assert_true(length <= BC_BLOCK_SIZE);
	assert_int_equal(bc_dirty_name_decode(buffer, length, BC_KIND_NAME, &back), 0);
	assert_int_equal(bc_dirty_name_decode(buffer, length - 1, BC_KIND_NAME, &back), -EINVAL);
	assert_int_equal(bc_dirty_name_decode(buffer, 1023, BC_KIND_NAME, &back), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(refused),
		cmocka_unit_test(paths),
		cmocka_unit_test(largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
