/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * On-disk format of a blobcache tier. docs/disk-format.md explains it and is
 * normative for the order of writes; this file is normative for the layout.
 *
 *   byte 0     superblock copy 0           (BC_UNIT_SIZE)
 *   byte 4096  superblock copy 1           (BC_UNIT_SIZE)
 *   dirty_offset     dirty table, two copies of every unit side by side
 *   clean_offset     clean table, one unit per BC_CLEAN_FRAMES frames
 *   identity_offset  identity table
 *   frames_offset    frames of 1 MiB each, 1 MiB aligned
 *
 * All integers are little endian. Unused bytes are zero when written and are
 * checked to be zero only where the text says so.
 */
#ifndef _UAPI_BLOBCACHE_DISK_H
#define _UAPI_BLOBCACHE_DISK_H

#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#else
#include <assert.h>
#include <stddef.h>
#endif

#define BC_UNIT_SHIFT		12
#define BC_UNIT_SIZE		(1U << BC_UNIT_SHIFT)
#define BC_BLOCK_SHIFT		16
#define BC_BLOCK_SIZE		(1U << BC_BLOCK_SHIFT)
#define BC_CHUNK_SHIFT		20
#define BC_CHUNK_SIZE		(1U << BC_CHUNK_SHIFT)
#define BC_CHUNK_BLOCKS		(1U << (BC_CHUNK_SHIFT - BC_BLOCK_SHIFT))
#define BC_FRAME_SIZE		BC_CHUNK_SIZE
#define BC_FRAME_BLOCKS		BC_CHUNK_BLOCKS

#define BC_KEY_SIZE		16
#define BC_UUID_SIZE		16
#define BC_ETAG_MAX		64	/* a longer ETag bypasses the cache */

#define BC_DISK_MAGIC		"BLBCACHE"
#define BC_DISK_MAGIC_SIZE	8
#define BC_DISK_VERSION		1
#define BC_DISK_SUPER_COPIES	2

/*
 * Feature words as in ext4: an unknown compat bit is ignored, an unknown
 * ro_compat bit allows a tier to be read but not changed, an unknown incompat
 * bit refuses the tier.
 */
#define BC_INCOMPAT_DIRTY	(1U << 0)	/* dirty table in use: data not yet in Blob */

/* Superblock state. */
#define BC_SUPER_CLEAN		(1U << 0)	/* detached in order: tables are complete */

/*
 * Sequences are handed out below seq_reserved only. Each attach raises it by
 * this much before the first write, so that no sequence is used twice even
 * when lazily written records were lost.
 */
#define BC_SEQ_STEP		(1ULL << 40)

struct bc_disk_super {
	__u8	magic[BC_DISK_MAGIC_SIZE];
	__le32	crc;			/* crc32c of the unit, this field zero */
	__le32	version;
	__le64	generation;		/* higher valid copy wins; written to copy generation & 1 */
	__u8	uuid[BC_UUID_SIZE];	/* of this tier; every table unit repeats it */
	__u8	node_id[BC_UUID_SIZE];
	__u8	set_id[BC_UUID_SIZE];	/* tiers of one node share it */
	__le32	compat;
	__le32	ro_compat;
	__le32	incompat;
	__le32	state;
	__le64	device_bytes;
	__le32	unit_shift;
	__le32	block_shift;
	__le32	chunk_shift;
	__le32	index_ratio;		/* index entries per frame */
	__le64	frame_count;
	__le64	dirty_offset;
	__le64	dirty_units;		/* per copy */
	__le64	clean_offset;
	__le64	clean_units;
	__le64	identity_offset;
	__le64	identity_units;
	__le64	frames_offset;
	__le64	seq_reserved;
	__le64	attach_count;
	__le64	formatted_at;		/* seconds since the epoch */
	__u8	label[64];		/* for people; zero padded */
	__le32	dirty_check;		/* with CLEAN and DIRTY: of the units' generations */
	__u8	reserved[3828];		/* zero, checked */
};

/* Every table unit begins with this head. */
#define BC_UNIT_MAGIC_DIRTY	0x74726944U	/* "Dirt" */
#define BC_UNIT_MAGIC_CLEAN	0x61656c43U	/* "Clea" */
#define BC_UNIT_MAGIC_IDENTITY	0x6e656449U	/* "Iden" */

struct bc_disk_unit_head {
	__le32	magic;
	__le32	crc;			/* crc32c of the whole unit, this field zero */
	__le64	generation;		/* dirty units: higher valid copy wins */
	__le64	index;			/* of this unit in its table */
	__u8	uuid[BC_UUID_SIZE];	/* of the tier: a unit of an older format is void */
	__u8	reserved[24];
};

enum bc_disk_kind {
	BC_KIND_FREE		= 0,
	BC_KIND_CLEAN		= 1,	/* blob bytes that Blob has too */
	BC_KIND_DIRTY		= 2,	/* blob bytes that only this tier has */
	BC_KIND_NAME		= 3,	/* name block of a dirty object */
	BC_KIND_TOMBSTONE	= 4,	/* a dirty name's removal */
	BC_KIND_RENAME		= 5,	/* a directory rename over dirty names */
};

/*
 * Describes one 64 KiB block. seq is set when the block is written and copied
 * unchanged whenever the unit is rewritten for a neighbour's sake.
 */
struct bc_disk_desc {
	__u8	key[BC_KEY_SIZE];
	__le64	block;			/* offset in the object >> BC_BLOCK_SHIFT */
	__le64	seq;
	__le32	length;			/* valid bytes, 1..BC_BLOCK_SIZE */
	__le32	crc;			/* crc32c of those bytes */
	__u8	kind;			/* enum bc_disk_kind */
	__u8	flags;			/* zero, checked */
	__u8	reserved[6];		/* zero, checked */
};

/*
 * Clean table: the descriptor's position is its place. Frame f, block b is
 * descriptor (f % BC_CLEAN_FRAMES) * BC_FRAME_BLOCKS + b of unit
 * f / BC_CLEAN_FRAMES.
 */
#define BC_CLEAN_FRAMES		5
#define BC_CLEAN_DESCS		(BC_CLEAN_FRAMES * BC_FRAME_BLOCKS)

struct bc_disk_clean_unit {
	struct bc_disk_unit_head head;
	__u8	reserved[192];
	struct bc_disk_desc desc[BC_CLEAN_DESCS];
};

/*
 * Dirty table: descriptors carry their place. Unit u has its two copies at
 * dirty_offset + (2 * u + (generation & 1)) * BC_UNIT_SIZE.
 */
#define BC_DIRTY_COPIES		2
#define BC_DIRTY_DESCS		63

struct bc_disk_dirty_desc {
	struct bc_disk_desc desc;
	__le64	frame;
	__u8	slot;			/* block in the frame */
	__u8	reserved[7];
};

struct bc_disk_dirty_unit {
	struct bc_disk_unit_head head;
	struct bc_disk_dirty_desc desc[BC_DIRTY_DESCS];
};

/*
 * What a block of kind NAME, TOMBSTONE or RENAME holds: this head, then source, trust domain, path
 * and other path, each of the length given, without terminators. The descriptor's key is the
 * generation, its block number 0, its length that of all this, and its crc covers it.
 */
#define BC_NAME_MAGIC		0x656d614eU	/* "Name" */
#define BC_NAME_SOURCE_MAX	1023
#define BC_NAME_DOMAIN_MAX	1023
#define BC_NAME_PATH_MAX	4095

/* Where a dirty object stands. */
enum bc_name_state {
	BC_NAME_WRITING		= 0,	/* somebody has it open for writing, or had at a crash */
	BC_NAME_READY		= 1,	/* closed: may be committed to Blob */
	BC_NAME_COMMITTED	= 2,	/* Blob has it: only the name is left */
};

/* What of it Blob had when it became dirty. */
enum bc_name_base {
	BC_BASE_NONE		= 0,	/* no such blob */
	BC_BASE_ETAG		= 1,	/* the one of base_etag */
	BC_BASE_UNKNOWN		= 2,	/* nobody asked: whoever commits has to */
};

struct bc_disk_name {
	__le32	magic;			/* BC_NAME_MAGIC */
	__le32	length;			/* of all, strings included */
	__u8	uuid[BC_UUID_SIZE];	/* of the tier */
	__u8	generation[BC_KEY_SIZE];
	__u8	volume_id[BC_KEY_SIZE];
	__u8	node_id[BC_UUID_SIZE];	/* of the writer */
	__le64	seq;			/* as in the descriptor */
	__le64	step;			/* counts commit steps: each fsync, rename, truncation */
	__le64	size;
	__le64	mtime;			/* seconds since the epoch, signed */
	__le64	ctime;
	__le32	mtime_nsec;
	__le32	ctime_nsec;
	__le32	mode;			/* type included */
	__le32	uid;
	__le32	gid;
	__u8	state;			/* enum bc_name_state */
	__u8	base;			/* enum bc_name_base */
	__u8	base_etag_length;	/* 0..BC_ETAG_MAX */
	__u8	acked_etag_length;	/* likewise */
	__le64	cut_size;		/* what is behind, up to this sequence, was cut off */
	__le64	cut_seq;		/* 0 = nothing was */
	__le64	acked_seq;		/* the last cut that Blob has; 0 = none */
	__le64	acked_size;
	__le64	acked_last_modified;	/* seconds since the epoch, as the store says */
	__u8	base_key[BC_KEY_SIZE];	/* of the base; of a tombstone: which generation is gone */
	__le64	base_size;
	__u8	base_etag[BC_ETAG_MAX];	/* quotes stripped, zero padded */
	__u8	acked_etag[BC_ETAG_MAX];
	__le64	chain_frame;		/* more of it; all ones = no more */
	__u8	chain_slot;
	__u8	reserved_chain[7];	/* zero, checked */
	__le16	source_length;
	__le16	domain_length;
	__le16	path_length;
	__le16	other_length;		/* of the base's path; of a rename: from where */
	__le32	flags;			/* zero, checked */
	__u8	replaces[BC_KEY_SIZE];	/* generation whose name it took; zero = none */
	__u8	reserved[652];		/* zero, checked */
};

#define BC_NAME_BYTES_MAX	(sizeof(struct bc_disk_name) + BC_NAME_SOURCE_MAX + \
				 BC_NAME_DOMAIN_MAX + 2 * BC_NAME_PATH_MAX)

/* Identity table: advisory, like the clean table. */
#define BC_IDENTITY_RECORDS	15

enum bc_identity_kind {
	BC_IDENTITY_FREE	= 0,
	BC_IDENTITY_FILE	= 1,
	BC_IDENTITY_DIR		= 2,
};

struct bc_disk_identity {
	__u8	path_hash[BC_KEY_SIZE];	/* keyed by the volume id */
	__u8	volume_id[BC_KEY_SIZE];
	__u8	key[BC_KEY_SIZE];	/* of the version; zero for directories */
	__u8	etag[BC_ETAG_MAX];	/* quotes stripped, zero padded */
	__u8	etag_length;
	__u8	kind;			/* enum bc_identity_kind */
	__le16	flags;
	__le32	mode;
	__le32	uid;
	__le32	gid;
	__le64	lower_ino;
	__le64	lower_size;
	__le64	size;			/* of the version, as the store says */
	__le64	resolved_at;		/* seconds since the epoch */
	__le64	mtime;
	__le64	ctime;
	__le64	last_modified;		/* seconds since the epoch, as the store says */
	__le32	mtime_nsec;
	__le32	ctime_nsec;
	__le32	view;			/* which lower showed mode, uid, gid; 0 = not known */
	__le32	nonce;			/* of this incarnation of a directory; 0 = none */
	__le64	seen_at;		/* seconds since the epoch, when it was asked; 0 = none */
	__u8	reserved[48];
};

struct bc_disk_identity_unit {
	struct bc_disk_unit_head head;
	__le64	saved_at;		/* seconds since the epoch; 0 = not known */
	__u8	reserved[184];
	struct bc_disk_identity record[BC_IDENTITY_RECORDS];
};

static_assert(sizeof(struct bc_disk_super) == BC_UNIT_SIZE, "super is one unit");
static_assert(offsetof(struct bc_disk_super, generation) == 16, "super.generation");
static_assert(offsetof(struct bc_disk_super, compat) == 72, "super.compat");
static_assert(offsetof(struct bc_disk_super, device_bytes) == 88, "super.device_bytes");
static_assert(offsetof(struct bc_disk_super, frame_count) == 112, "super.frame_count");
static_assert(offsetof(struct bc_disk_super, frames_offset) == 168, "super.frames_offset");
static_assert(offsetof(struct bc_disk_super, label) == 200, "super.label");
static_assert(offsetof(struct bc_disk_super, dirty_check) == 264, "super.dirty_check");
static_assert(sizeof(struct bc_disk_unit_head) == 64, "unit head");
static_assert(sizeof(struct bc_disk_desc) == 48, "descriptor");
static_assert(offsetof(struct bc_disk_desc, kind) == 40, "descriptor.kind");
static_assert(sizeof(struct bc_disk_clean_unit) == BC_UNIT_SIZE, "clean unit");
static_assert(offsetof(struct bc_disk_clean_unit, desc) == 256, "clean unit descriptors");
static_assert(sizeof(struct bc_disk_dirty_desc) == 64, "dirty descriptor");
static_assert(sizeof(struct bc_disk_dirty_unit) == BC_UNIT_SIZE, "dirty unit");
static_assert(offsetof(struct bc_disk_dirty_desc, frame) == 48, "dirty descriptor.frame");
static_assert(sizeof(struct bc_disk_name) == 1024, "name");
static_assert(offsetof(struct bc_disk_name, seq) == 72, "name.seq");
static_assert(offsetof(struct bc_disk_name, size) == 88, "name.size");
static_assert(offsetof(struct bc_disk_name, mode) == 120, "name.mode");
static_assert(offsetof(struct bc_disk_name, state) == 132, "name.state");
static_assert(offsetof(struct bc_disk_name, cut_size) == 136, "name.cut_size");
static_assert(offsetof(struct bc_disk_name, base_key) == 176, "name.base_key");
static_assert(offsetof(struct bc_disk_name, acked_etag) == 264, "name.acked_etag");
static_assert(offsetof(struct bc_disk_name, chain_frame) == 328, "name.chain_frame");
static_assert(offsetof(struct bc_disk_name, source_length) == 344, "name.source_length");
static_assert(offsetof(struct bc_disk_name, replaces) == 356, "name.replaces");
static_assert(offsetof(struct bc_disk_name, reserved) == 372, "name.reserved");
static_assert(sizeof(struct bc_disk_identity) == 256, "identity record");
static_assert(offsetof(struct bc_disk_identity, mode) == 116, "identity.mode");
static_assert(offsetof(struct bc_disk_identity, lower_ino) == 128, "identity.lower_ino");
static_assert(offsetof(struct bc_disk_identity, mtime_nsec) == 184, "identity.mtime_nsec");
static_assert(offsetof(struct bc_disk_identity, view) == 192, "identity.view");
static_assert(offsetof(struct bc_disk_identity, nonce) == 196, "identity.nonce");
static_assert(offsetof(struct bc_disk_identity, seen_at) == 200, "identity.seen_at");
static_assert(sizeof(struct bc_disk_identity_unit) == BC_UNIT_SIZE, "identity unit");
static_assert(offsetof(struct bc_disk_identity_unit, saved_at) == 64, "identity saved_at");
static_assert(offsetof(struct bc_disk_identity_unit, record) == 256, "identity records");

#endif /* _UAPI_BLOBCACHE_DISK_H */
