/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/record.c */
/*
 * Codecs of the on-disk format: frozen images, every flipped bit, and hostile
 * superblocks. Expected checksums come from an independent computation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "record.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define TIB (1ULL << 40)

static const struct bc_layout_options defaults;
static const u8 uuid[BC_UUID_SIZE] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

static u64 seed;

static u32 roll(u32 below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 16) % below;
}

/* ---- checksum ---- */

/* Guards: which CRC the format uses, for every other implementation of it. */
static void crc_check_values(void **state)
{
	static u8 bytes[BC_UNIT_SIZE];

	(void)state;
	assert_int_equal(bc_crc32c("123456789", 9), 0xe3069283);
	assert_int_equal(bc_crc32c("", 0), 0);
	assert_int_equal(bc_crc32c(bytes, sizeof(bytes)), 0x98f94189);
	/* The vectors of RFC 3720, appendix B.4. */
	assert_int_equal(bc_crc32c(bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	assert_int_equal(bc_crc32c(bytes, 32), 0x62a8ab43);
}

/* Guards: a block's checksum does not depend on how its bytes lie in pages. */
static void crc_in_pieces(void **state)
{
	u8 bytes[257];
	u32 whole;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = i * 31 + 5;
	whole = bc_crc32c(bytes, sizeof(bytes));
	for (i = 0; i <= sizeof(bytes); i++) {
		u32 crc = bc_crc32c_more(0, bytes, i);

		assert_int_equal(bc_crc32c_more(crc, bytes + i, sizeof(bytes) - i), whole);
	}
	/* With and without the processor's instruction. */
	assert_int_equal(~bc_crc32c_soft(~0U, bytes, sizeof(bytes)), whole);
}

/* ---- layout ---- */

/* What docs/disk-format.md demands of every layout, and what a reader would refuse. */
static void check_layout(const struct bc_layout *l, u64 device)
{
	assert_int_equal(l->device_bytes, device);
	assert_true(l->frame_count >= BC_LAYOUT_MIN_FRAMES);
	assert_int_equal(l->dirty_offset, 2 * BC_UNIT_SIZE);
	assert_true(l->clean_offset >= l->dirty_offset + 2 * l->dirty_units * BC_UNIT_SIZE);
	assert_true(l->identity_offset >= l->clean_offset + l->clean_units * BC_UNIT_SIZE);
	assert_true(l->frames_offset >= l->identity_offset + l->identity_units * BC_UNIT_SIZE);
	assert_int_equal(l->frames_offset % BC_FRAME_SIZE, 0);
	assert_true(l->frames_offset + l->frame_count * BC_FRAME_SIZE <= device);
	assert_true(l->clean_units * BC_CLEAN_FRAMES >= l->frame_count);
	assert_true((l->clean_units - 1) * BC_CLEAN_FRAMES < l->frame_count);
	assert_true(l->dirty_units && l->identity_units);
}

static double overhead(const struct bc_layout *l)
{
	return 100.0 * (l->device_bytes - l->frame_count * BC_FRAME_SIZE) / l->device_bytes;
}

/* Guards: table overhead <= 0.25 % on devices from 64 GiB; nothing larger fits. */
static void overheads(void **state)
{
	static const struct {
		const char *name;
		u64 bytes;
	} devices[] = {
		{ "256 MiB", 256 * MIB }, { "1 GiB", GIB }, { "4 GiB", 4 * GIB },
		{ "16 GiB", 16 * GIB }, { "64 GiB", 64 * GIB }, { "256 GiB", 256 * GIB },
		{ "1 TiB", TIB }, { "3.84 TB", 3840000000000 }, { "7.68 TB", 7680000000000 },
		{ "30.72 TB", 30720000000000 }, { "64 TiB", 64 * TIB },
	};
	struct bc_layout l;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(devices); i++) {
		assert_int_equal(bc_layout_compute(devices[i].bytes, &defaults, &l), 0);
		check_layout(&l, devices[i].bytes);
		print_message("# %-9s %9llu frames, units: dirty %7llu x 2, clean %8llu, "
			      "identity %8llu; frames at %12llu, overhead %.4f %%\n",
			      devices[i].name, l.frame_count, l.dirty_units, l.clean_units,
			      l.identity_units, l.frames_offset, overhead(&l));
		if (devices[i].bytes >= 64 * GIB)
			assert_true(overhead(&l) <= 0.25);
		assert_int_equal(l.index_ratio, 2);
	}
}

/* Guards: the layout of a given device never changes: independently computed. */
static void layout_is_frozen(void **state)
{
	struct bc_layout l;

	(void)state;
	assert_int_equal(bc_layout_compute(64 * GIB, &defaults, &l), 0);
	assert_int_equal(l.frame_count, 65418);
	assert_int_equal(l.dirty_units, 4154);
	assert_int_equal(l.clean_offset, 34037760);
	assert_int_equal(l.clean_units, 13084);
	assert_int_equal(l.identity_offset, 87629824);
	assert_int_equal(l.identity_units, 8723);
	assert_int_equal(l.frames_offset, 123731968);
}

/* Guards: devices of any size and all options: valid, and the largest that fits. */
static void random_layouts(void **state)
{
	struct bc_layout l, more;
	int i, err;

	(void)state;
	seed = 0x5eed0004;
	for (i = 0; i < 20000; i++) {
		struct bc_layout_options o = { roll(65), roll(101), roll(65) };
		u64 bytes = ((u64)roll(1U << 31) << roll(24)) / (1 + roll(7)) + roll(4096);

		err = bc_layout_compute(bytes, &o, &l);
		if (err) {
			assert_int_equal(err, -ENOSPC);
			/* Even the dearest options leave half of a device of 32 MiB. */
			assert_true(bytes < 32 * MIB);
			continue;
		}
		check_layout(&l, bytes);
		assert_int_equal(l.index_ratio, o.index_ratio ? o.index_ratio : 2);
		assert_true(l.frame_count * l.index_ratio < U32_MAX);
		assert_true(l.dirty_units * BC_DIRTY_DESCS * 100 >=
			    l.frame_count * BC_FRAME_BLOCKS * (o.dirty_percent ?: 25));
		assert_true(l.identity_units * BC_IDENTITY_RECORDS >=
			    l.frame_count * (o.identities_per_frame ?: 2));
		/* One more frame needs at most 2 MiB more than is left. */
		if (bytes + 3 * MIB < TIB) {
			assert_int_equal(bc_layout_compute(bytes + 3 * MIB, &o, &more), 0);
			assert_true(more.frame_count > l.frame_count);
		}
	}
}

/* Guards: too small, too large and absurd are told apart. */
static void layout_limits(void **state)
{
	const struct bc_layout_options bad[] = {
		{ .index_ratio = 65 }, { .dirty_percent = 101 }, { .identities_per_frame = 65 },
		{ .index_ratio = U32_MAX }, { .dirty_percent = U32_MAX },
		{ .identities_per_frame = U32_MAX },
	};
	struct bc_layout l;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(bc_layout_compute(GIB, &bad[i], &l), -EINVAL);
	assert_int_equal(bc_layout_compute(0, &defaults, &l), -ENOSPC);
	assert_int_equal(bc_layout_compute(9 * MIB - 1, &defaults, &l), -ENOSPC);
	assert_int_equal(bc_layout_compute(9 * MIB, &defaults, &l), 0);
	assert_int_equal(l.frame_count, BC_LAYOUT_MIN_FRAMES);
	assert_int_equal(bc_layout_compute(U64_MAX, &defaults, &l), -EINVAL);
	/* Frame and entry numbers have 32 bits: what is beyond stays unused. */
	assert_int_equal(bc_layout_compute(S64_MAX, &defaults, &l), 0);
	check_layout(&l, S64_MAX);
	assert_int_equal(l.frame_count, (U32_MAX - 1) / 2);
}

/* ---- superblock ---- */

static void golden(struct bc_super *s)
{
	size_t i;

	memset(s, 0, sizeof(*s));
	s->generation = 7;
	memcpy(s->uuid, uuid, BC_UUID_SIZE);
	for (i = 0; i < BC_UUID_SIZE; i++) {
		s->node_id[i] = 0x21 + i;
		s->set_id[i] = 0x41 + i;
	}
	s->state = BC_SUPER_CLEAN;
	assert_int_equal(bc_layout_compute(64 * GIB, &defaults, &s->layout), 0);
	s->seq_reserved = 3 * BC_SEQ_STEP + 1;
	s->attach_count = 3;
	s->formatted_at = 1700000000;
	strcpy(s->label, "golden");
}

static void reseal(struct bc_disk_super *disk)
{
	disk->crc = 0;
	disk->crc = cpu_to_le32(bc_crc32c(disk, sizeof(*disk)));
}

/* Guards: tiers of this version stay readable: the encoded bytes are frozen by their checksum. */
static void super_is_frozen(void **state)
{
	struct bc_disk_super disk;
	struct bc_super s;

	(void)state;
	golden(&s);
	memset(&disk, 0xa5, sizeof(disk));
	bc_super_encode(&s, &disk);
	assert_int_equal(le32_to_cpu(disk.crc), 0x2d4cb058);
	assert_memory_equal(disk.magic, "BLBCACHE", 8);
	assert_memory_equal(disk.label, "golden\0\0", 8);
}

/* Guards: what is written is what is read. */
static void super_round_trip(void **state)
{
	struct bc_disk_super disk;
	struct bc_super s, back;
	const char *why;

	(void)state;
	golden(&s);
	s.compat = 0x80000001;
	s.ro_compat = 2;
	s.incompat = BC_INCOMPAT_DIRTY;
	memset(s.label, 'L', 64);
	bc_super_encode(&s, &disk);
	memset(&back, 0xa5, sizeof(back));
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &back, &why), 0);
	assert_null(why);
	assert_memory_equal(&back, &s, sizeof(s));
	assert_int_equal(bc_super_decode(&disk, 65 * GIB, &back, &why), 0);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB - 1, &back, &why), -EFBIG);
	assert_non_null(why);
}

/* Guards: a single flipped bit anywhere in a superblock is detected. */
static void super_flips(void **state)
{
	struct bc_disk_super disk;
	struct bc_super s;
	u8 *bytes = (u8 *)&disk;
	const char *why;
	int expected;
	size_t i;

	(void)state;
	golden(&s);
	bc_super_encode(&s, &disk);
	for (i = 0; i < 8 * BC_UNIT_SIZE; i++) {
		bytes[i / 8] ^= 1 << i % 8;
		expected = i / 8 < BC_DISK_MAGIC_SIZE ? -ENODATA : -EBADMSG;
		assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), expected);
		assert_non_null(why);
		bytes[i / 8] ^= 1 << i % 8;
	}
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), 0);
}

#define F(field, v) { #field "=" #v, offsetof(struct bc_disk_super, field), \
		      sizeof(((struct bc_disk_super *)0)->field), (u64)(v) }

/* One field of the golden superblock with a hostile value, properly sealed. */
static const struct hostile {
	const char *name;
	size_t offset, size;
	u64 value;
} hostile[] = {
	F(generation, U64_MAX),
	F(state, 2), F(state, 0x80000001),
	F(device_bytes, 0), F(device_bytes, 64 * GIB - BC_FRAME_SIZE), F(device_bytes, U64_MAX),
	F(device_bytes, 1ULL << 63),
	F(unit_shift, 0), F(unit_shift, 9), F(unit_shift, 13), F(unit_shift, U32_MAX),
	F(block_shift, 0), F(block_shift, 12), F(block_shift, 17), F(block_shift, 64),
	F(chunk_shift, 0), F(chunk_shift, 16), F(chunk_shift, 22), F(chunk_shift, 64),
	F(index_ratio, 0), F(index_ratio, 65), F(index_ratio, U32_MAX),
	F(frame_count, 0), F(frame_count, 1), F(frame_count, 65415), F(frame_count, 65419),
	F(frame_count, U32_MAX), F(frame_count, 1ULL << 32), F(frame_count, 1ULL << 44),
	F(frame_count, U64_MAX), F(frame_count, U64_MAX - 65417),
	F(dirty_offset, 0), F(dirty_offset, BC_UNIT_SIZE), F(dirty_offset, 2 * BC_UNIT_SIZE + 512),
	F(dirty_offset, 3 * BC_UNIT_SIZE), F(dirty_offset, U64_MAX),
	F(dirty_offset, U64_MAX - BC_UNIT_SIZE + 1),
	F(dirty_units, 0), F(dirty_units, 4155), F(dirty_units, U64_MAX),
	F(dirty_units, 1ULL << 51), F(dirty_units, 1ULL << 63),
	F(clean_offset, 0), F(clean_offset, 34037760 - BC_UNIT_SIZE), F(clean_offset, 34037761),
	F(clean_offset, 34037760 + BC_UNIT_SIZE), F(clean_offset, U64_MAX & ~4095ULL),
	F(clean_units, 0), F(clean_units, 13083), F(clean_units, 13085), F(clean_units, U64_MAX),
	F(clean_units, 1ULL << 52),
	F(identity_offset, 0), F(identity_offset, 87629824 - BC_UNIT_SIZE),
	F(identity_offset, 87629824 + 8), F(identity_offset, U64_MAX & ~4095ULL),
	F(identity_units, 0), F(identity_units, 9000), F(identity_units, U64_MAX),
	F(identity_units, 1ULL << 52),
	F(frames_offset, 0), F(frames_offset, 123731968 - MIB), F(frames_offset, 123731968 + 4096),
	F(frames_offset, 123731968 + 2 * MIB), F(frames_offset, 64 * GIB),
	F(frames_offset, U64_MAX & ~(MIB - 1)),
	F(seq_reserved, U64_MAX), F(seq_reserved, U64_MAX - BC_SEQ_STEP + 1),
};

static void put(struct bc_disk_super *disk, const struct hostile *h)
{
	__le64 value = cpu_to_le64(h->value);

	memcpy((u8 *)disk + h->offset, &value, h->size);
	reseal(disk);
}

/* Guards: everything from disk is validated: no single hostile number gets through. */
static void super_hostile_fields(void **state)
{
	struct bc_disk_super disk;
	struct bc_super s;
	const char *why;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(hostile); i++) {
		golden(&s);
		bc_super_encode(&s, &disk);
		put(&disk, &hostile[i]);
		if (bc_super_decode(&disk, 64 * GIB, &s, &why) != -EINVAL)
			fail_msg("accepted %s", hostile[i].name);
		assert_non_null(why);
	}
}

/* What the rest of the code relies on after a successful decode, in 128-bit arithmetic. */
static bool sane(const struct bc_super *s, u64 device)
{
	typedef unsigned __int128 u128;
	const struct bc_layout *l = &s->layout;
	u128 dirty_end = l->dirty_offset + (u128)l->dirty_units * 2 * BC_UNIT_SIZE;
	u128 clean_end = l->clean_offset + (u128)l->clean_units * BC_UNIT_SIZE;
	u128 identity_end = l->identity_offset + (u128)l->identity_units * BC_UNIT_SIZE;
	u128 end = l->frames_offset + (u128)l->frame_count * BC_FRAME_SIZE;

	return l->dirty_offset >= 2 * BC_UNIT_SIZE && dirty_end <= l->clean_offset &&
	       clean_end <= l->identity_offset && identity_end <= l->frames_offset &&
	       end <= l->device_bytes && l->device_bytes <= device &&
	       !((l->dirty_offset | l->clean_offset | l->identity_offset) % BC_UNIT_SIZE) &&
	       !(l->frames_offset % BC_FRAME_SIZE) && l->frame_count < U32_MAX &&
	       (u128)l->frame_count * l->index_ratio < U32_MAX && l->index_ratio &&
	       (u128)l->clean_units * BC_CLEAN_FRAMES >= l->frame_count &&
	       s->label[64] == 0;
}

/* Guards: as above for combinations: whatever is accepted satisfies every promise of decode. */
static void super_hostile_combinations(void **state)
{
	struct bc_disk_super disk;
	struct bc_super s;
	const char *why;
	int i, n, accepted = 0;

	(void)state;
	seed = 0x5eed0005;
	for (i = 0; i < 30000; i++) {
		u64 device = roll(2) ? 64 * GIB : (u64)roll(1U << 31) << roll(40);

		golden(&s);
		bc_super_encode(&s, &disk);
		for (n = roll(4); n > 0; n--) {
			struct hostile h = hostile[roll(ARRAY_SIZE(hostile))];

			if (roll(2))
				h.value = (u64)roll(1U << 31) << roll(34);
			if (roll(4) == 0)
				memcpy(&h.value, (u8 *)&disk + h.offset, h.size);
			h.value += roll(3) * BC_UNIT_SIZE - BC_UNIT_SIZE;
			put(&disk, &h);
		}
		if (bc_super_decode(&disk, device, &s, &why))
			continue;
		accepted++;
		assert_true(sane(&s, device));
	}
	assert_true(accepted > 1000 && accepted < 20000);
}

static void resealed_reserved_byte(struct bc_disk_super *disk, size_t offset)
{
	struct bc_super s;

	golden(&s);
	bc_super_encode(&s, disk);
	((u8 *)disk)[offset] = 1;
	reseal(disk);
}

/* Guards: reserved bytes are zero in this version, so that later versions can use them. */
static void super_reserved(void **state)
{
	const size_t begin = offsetof(struct bc_disk_super, reserved);
	struct bc_disk_super disk;
	struct bc_super s;
	const char *why;
	size_t i;

	(void)state;
	for (i = begin; i < sizeof(disk); i += 97) {
		resealed_reserved_byte(&disk, i);
		assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -EINVAL);
	}
	/* An unknown incompat bit is the caller's to name; it may explain the bytes. */
	disk.incompat = cpu_to_le32(1U << 31);
	reseal(&disk);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), 0);
	assert_int_equal(s.incompat, 1U << 31);
	disk.incompat = cpu_to_le32(BC_INCOMPAT_DIRTY);
	reseal(&disk);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -EINVAL);
}

/* Guards: a later version is refused as such, and only when it is not just damage. */
static void super_version(void **state)
{
	struct bc_disk_super disk;
	struct bc_super s;
	const char *why;

	(void)state;
	golden(&s);
	bc_super_encode(&s, &disk);
	disk.version = cpu_to_le32(BC_DISK_VERSION + 1);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -EBADMSG);
	reseal(&disk);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -EPROTONOSUPPORT);
	assert_non_null(why);
	memset(&disk, 0, sizeof(disk));
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -ENODATA);
	golden(&s);
	memset(s.uuid, 0, sizeof(s.uuid));
	bc_super_encode(&s, &disk);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -EINVAL);
}

/* Guards: labels are safe to print. */
static void super_label(void **state)
{
	static const char *const bad[] = { "\x1b[31mred", "new\nline", "del\x7f", "\x01" };
	struct bc_disk_super disk;
	struct bc_super s;
	const char *why;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		golden(&s);
		strcpy(s.label, bad[i]);
		bc_super_encode(&s, &disk);
		assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -EINVAL);
	}
	golden(&s);
	strcpy(s.label, "Z\xc3\xbcrich 3");
	bc_super_encode(&s, &disk);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), 0);
	disk.label[40] = 'x';
	reseal(&disk);
	assert_int_equal(bc_super_decode(&disk, 64 * GIB, &s, &why), -EINVAL);
}

static void write_copy(struct bc_disk_super copies[2], int at, u64 generation)
{
	struct bc_super s;

	golden(&s);
	s.generation = generation;
	bc_super_encode(&s, &copies[at]);
}

static int choose(const struct bc_disk_super copies[2], u64 *generation)
{
	struct bc_super s = {};
	const char *why;
	int chosen = bc_super_choose(copies, 64 * GIB, &s, &why);

	*generation = s.generation;
	if (chosen < 0)
		assert_non_null(why);
	else
		assert_null(why);
	return chosen;
}

/* Guards: the newest valid copy wins; a torn write of one copy leaves the other. */
static void choose_newest(void **state)
{
	struct bc_disk_super copies[2];
	u64 generation;

	(void)state;
	write_copy(copies, 0, 10);
	write_copy(copies, 1, 9);
	assert_int_equal(choose(copies, &generation), 0);
	assert_int_equal(generation, 10);
	write_copy(copies, 1, 11);
	assert_int_equal(choose(copies, &generation), 1);
	assert_int_equal(generation, 11);
	((u8 *)&copies[1])[2000] ^= 1;
	assert_int_equal(choose(copies, &generation), 0);
	assert_int_equal(generation, 10);
	memset(&copies[1], 0, sizeof(copies[1]));
	assert_int_equal(choose(copies, &generation), 0);
	write_copy(copies, 1, 11);
	memset(&copies[0], 0xff, sizeof(copies[0]));
	assert_int_equal(choose(copies, &generation), 1);
	assert_int_equal(generation, 11);
}

/* Guards: with no valid copy, the reason that helps most is told. */
static void choose_none(void **state)
{
	struct bc_disk_super copies[2] = {};
	u64 generation;

	(void)state;
	assert_int_equal(choose(copies, &generation), -ENODATA);
	write_copy(copies, 1, 11);
	copies[1].label[0] ^= 1;
	assert_int_equal(choose(copies, &generation), -EBADMSG);
	write_copy(copies, 0, 10);
	copies[0].state = cpu_to_le32(2);
	reseal(&copies[0]);
	assert_int_equal(choose(copies, &generation), -EINVAL);
}

/* Guards: never a guess between copies that contradict each other. */
static void choose_refuses(void **state)
{
	struct bc_disk_super copies[2];
	u64 generation;
	int other;

	(void)state;
	/* A copy at the other's place is no copy. */
	write_copy(copies, 0, 11);
	write_copy(copies, 1, 9);
	assert_int_equal(choose(copies, &generation), 1);
	write_copy(copies, 1, 10);
	assert_int_equal(choose(copies, &generation), -EINVAL);

	/* A format of another version may have gone on from here. */
	for (other = 0; other < 2; other++) {
		write_copy(copies, 0, 10);
		write_copy(copies, 1, 11);
		copies[other].version = cpu_to_le32(2);
		reseal(&copies[other]);
		assert_int_equal(choose(copies, &generation), -EPROTONOSUPPORT);
	}

	/* A format that did not finish. */
	write_copy(copies, 0, 10);
	write_copy(copies, 1, 1);
	copies[1].uuid[0] ^= 1;
	reseal(&copies[1]);
	assert_int_equal(choose(copies, &generation), -EINVAL);
}

/* ---- table units ---- */

static void golden_unit(struct bc_disk_clean_unit *unit)
{
	struct bc_desc desc = {
		.block = 32, .seq = 0x1122334455667788, .length = 40000, .crc = 0xe3069283,
		.kind = BC_KIND_CLEAN,
	};
	int i;

	for (i = 0; i < BC_KEY_SIZE; i++)
		desc.key.bytes[i] = 0x80 + i;
	memset(unit, 0, sizeof(*unit));
	bc_desc_encode(&desc, &unit->desc[bc_clean_desc_of(6, 3)]);
	bc_unit_seal(unit, BC_UNIT_MAGIC_CLEAN, bc_clean_unit_of(6), 9, uuid);
}

/* Guards: tables of this version stay readable: a unit's bytes are frozen by its checksum. */
static void unit_is_frozen(void **state)
{
	struct bc_disk_clean_unit unit;

	(void)state;
	assert_int_equal(bc_clean_unit_of(6), 1);
	assert_int_equal(bc_clean_desc_of(6, 3), 19);
	golden_unit(&unit);
	assert_int_equal(le32_to_cpu(unit.head.crc), 0x166e6194);
	assert_int_equal(le64_to_cpu(unit.head.generation), 9);
	assert_int_equal(le32_to_cpu(unit.head.magic), 0x61656c43);
	assert_int_equal(bc_unit_check(&unit, BC_UNIT_MAGIC_CLEAN, 1, uuid), 0);
}

/* Guards: a single flipped bit of a sealed unit, of any kind, is detected. */
static void unit_flips(void **state)
{
	static const u32 magics[] = { BC_UNIT_MAGIC_CLEAN, BC_UNIT_MAGIC_DIRTY,
				      BC_UNIT_MAGIC_IDENTITY };
	const size_t begin = offsetof(struct bc_disk_unit_head, uuid);
	struct bc_disk_clean_unit unit;
	u8 *bytes = (u8 *)&unit;
	size_t m, i;

	(void)state;
	for (m = 0; m < ARRAY_SIZE(magics); m++) {
		golden_unit(&unit);
		bc_unit_seal(&unit, magics[m], 5, 1ULL << 60, uuid);
		for (i = 0; i < 8 * BC_UNIT_SIZE; i++) {
			bool in_uuid = i / 8 >= begin && i / 8 < begin + BC_UUID_SIZE;

			bytes[i / 8] ^= 1 << i % 8;
			assert_int_equal(bc_unit_check(&unit, magics[m], 5, uuid),
					 in_uuid ? -ENODATA : -EBADMSG);
			bytes[i / 8] ^= 1 << i % 8;
		}
		assert_int_equal(bc_unit_check(&unit, magics[m], 5, uuid), 0);
	}
}

/* Guards: what another format of this device left behind is void; a misplaced unit is damage. */
static void unit_of_another(void **state)
{
	struct bc_disk_clean_unit unit = {};
	u8 other[BC_UUID_SIZE];

	(void)state;
	assert_int_equal(bc_unit_check(&unit, BC_UNIT_MAGIC_CLEAN, 0, uuid), -ENODATA);
	golden_unit(&unit);
	memcpy(other, uuid, sizeof(other));
	other[15] ^= 1;
	assert_int_equal(bc_unit_check(&unit, BC_UNIT_MAGIC_CLEAN, 1, other), -ENODATA);
	assert_int_equal(bc_unit_check(&unit, BC_UNIT_MAGIC_CLEAN, 2, uuid), -EBADMSG);
	assert_int_equal(bc_unit_check(&unit, BC_UNIT_MAGIC_DIRTY, 1, uuid), -EBADMSG);
	memset(&unit, 0xff, sizeof(unit));
	assert_int_equal(bc_unit_check(&unit, BC_UNIT_MAGIC_CLEAN, 1, uuid), -ENODATA);
}

/* ---- descriptors ---- */

static struct bc_desc some_desc(void)
{
	return (struct bc_desc){
		.key = { { 1, 2, 3 } }, .block = BC_DESC_MAX_BLOCK, .seq = U64_MAX,
		.length = BC_BLOCK_SIZE, .crc = U32_MAX, .kind = BC_KIND_RENAME,
	};
}

/* Guards: what is written is what is read, at the limits of every field. */
static void desc_round_trip(void **state)
{
	struct bc_desc desc = some_desc(), back;
	struct bc_disk_desc disk;
	u8 kind;

	(void)state;
	for (kind = BC_KIND_CLEAN; kind <= BC_KIND_RENAME; kind++) {
		desc.kind = kind;
		bc_desc_encode(&desc, &disk);
		memset(&back, 0xa5, sizeof(back));
		assert_int_equal(bc_desc_decode(&disk, &back), 0);
		assert_memory_equal(back.key.bytes, desc.key.bytes, BC_KEY_SIZE);
		assert_int_equal(back.block, desc.block);
		assert_int_equal(back.seq, desc.seq);
		assert_int_equal(back.length, desc.length);
		assert_int_equal(back.crc, desc.crc);
		assert_int_equal(back.kind, kind);
	}
	desc.kind = BC_KIND_FREE;
	bc_desc_encode(&desc, &disk);
	assert_null(memchr_inv(&disk, 0, sizeof(disk)));
	assert_int_equal(bc_desc_decode(&disk, &back), 0);
	assert_int_equal(back.kind, BC_KIND_FREE);
	/* Whatever else a free one carries is not to be seen. */
	memset(&disk, 0xff, offsetof(struct bc_disk_desc, kind));
	assert_int_equal(bc_desc_decode(&disk, &back), 0);
	assert_int_equal(back.length, 0);
}

/* Guards: everything from disk is validated. */
static void desc_hostile(void **state)
{
	struct bc_desc desc = some_desc();
	struct bc_disk_desc disk, bad;
	size_t i;

	(void)state;
	bc_desc_encode(&desc, &disk);
	bad = disk, bad.kind = BC_KIND_RENAME + 1;
	assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
	bad = disk, bad.kind = 255;
	assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
	bad = disk, bad.flags = 1;
	assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
	bad = disk, bad.length = 0;
	assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
	bad = disk, bad.length = cpu_to_le32(BC_BLOCK_SIZE + 1);
	assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
	bad = disk, bad.block = cpu_to_le64(BC_DESC_MAX_BLOCK + 1);
	assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
	for (i = 0; i < sizeof(bad.reserved); i++) {
		bad = disk, bad.reserved[i] = 0x80;
		assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
	}
	bad = (struct bc_disk_desc){ .flags = 1 };
	assert_int_equal(bc_desc_decode(&bad, &desc), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_check_values),
		cmocka_unit_test(crc_in_pieces),
		cmocka_unit_test(overheads),
		cmocka_unit_test(layout_is_frozen),
		cmocka_unit_test(random_layouts),
		cmocka_unit_test(layout_limits),
		cmocka_unit_test(super_is_frozen),
		cmocka_unit_test(super_round_trip),
		cmocka_unit_test(super_flips),
		cmocka_unit_test(super_hostile_fields),
		cmocka_unit_test(super_hostile_combinations),
		cmocka_unit_test(super_reserved),
		cmocka_unit_test(super_version),
		cmocka_unit_test(super_label),
		cmocka_unit_test(choose_newest),
		cmocka_unit_test(choose_none),
		cmocka_unit_test(choose_refuses),
		cmocka_unit_test(unit_is_frozen),
		cmocka_unit_test(unit_flips),
		cmocka_unit_test(unit_of_another),
		cmocka_unit_test(desc_round_trip),
		cmocka_unit_test(desc_hostile),
	};

	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
