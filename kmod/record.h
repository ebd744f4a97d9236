/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Codecs of the on-disk format (uapi/blobcache_disk.h): layout, superblock,
 * table units. No I/O here: callers bring the bytes. Everything read from a
 * device goes through a check of this file before use.
 */
#ifndef BC_RECORD_H
#define BC_RECORD_H

#include "pure.h"

/**
 * bc_crc32c - every checksum of the format: CRC-32C, initial value and final xor ~0
 *
 * Of the nine bytes "123456789" it is 0xe3069283.
 */
u32 bc_crc32c(const void *bytes, size_t length);

/* The checksum of what @crc covers followed by @bytes; @crc is 0 at the beginning. */
u32 bc_crc32c_more(u32 crc, const void *bytes, size_t length);

/* Smallest tier: tables and this many frames. */
#define BC_LAYOUT_MIN_FRAMES	8

#define BC_LAYOUT_MAX_INDEX_RATIO	64
#define BC_LAYOUT_MAX_IDENTITIES	64

struct bc_layout_options {
	u32 index_ratio;		/* index entries per frame; 0 = default 2, <= 64 */
	u32 dirty_percent;		/* of frames that may be dirty; 0 = default 25, <= 100 */
	u32 identities_per_frame;	/* 0 = default 2, <= 64 */
};

struct bc_layout {
	u64 device_bytes;
	u64 frame_count;
	u64 dirty_offset, dirty_units;	/* units per copy */
	u64 clean_offset, clean_units;
	u64 identity_offset, identity_units;
	u64 frames_offset;
	u32 index_ratio;
};

/**
 * bc_layout_compute - the largest tier that fits a device
 * @device_bytes: size of the device
 * @options: zeroes for defaults
 * @layout: out
 *
 * A device beyond what frame and index numbers of 32 bits reach is used as far as they do.
 * Return: 0, -ENOSPC if the device is too small, -EINVAL for bad options.
 */
int bc_layout_compute(u64 device_bytes, const struct bc_layout_options *options,
		      struct bc_layout *layout);

/* A superblock in memory, in CPU byte order. */
struct bc_super {
	u64 generation;
	u8 uuid[BC_UUID_SIZE], node_id[BC_UUID_SIZE], set_id[BC_UUID_SIZE];
	u32 compat, ro_compat, incompat, state;
	struct bc_layout layout;
	u64 seq_reserved, attach_count, formatted_at;
	char label[65];
	u32 dirty_check;
};

void bc_super_encode(const struct bc_super *super, struct bc_disk_super *disk);

/**
 * bc_super_decode - check and decode one copy
 * @disk: BC_UNIT_SIZE bytes as read
 * @device_bytes: size of the device they came from
 * @super: out
 * @why: out on error: what is wrong, for the user; a static string
 *
 * Checks magic, checksum, version, reserved bytes, and that every region lies
 * in order inside the device without overlap or overflow, with a size that the
 * number of frames explains. Unknown feature bits are left to the caller; with
 * an unknown incompat bit the reserved bytes may be anything.
 * Return: 0; -ENODATA no magic (not a tier); -EBADMSG checksum; -EPROTONOSUPPORT version;
 * -EINVAL nonsense; -EFBIG device shorter than the tier.
 */
int bc_super_decode(const struct bc_disk_super *disk, u64 device_bytes, struct bc_super *super,
		    const char **why);

/**
 * bc_super_choose - the newest valid of both copies
 *
 * A copy at the wrong place (generation & 1) is not valid. Nothing is chosen if
 * one copy has another format version (who wrote it may have moved on), or if
 * they are of different tiers.
 * Return: index of the copy (0 or 1), or a negative errno (with @why) if none can be chosen: that
 * of the first copy which bears the magic.
 */
int bc_super_choose(const struct bc_disk_super copies[BC_DISK_SUPER_COPIES], u64 device_bytes,
		    struct bc_super *super, const char **why);

/* Fill in a unit's head and checksum; for all three kinds of unit. */
void bc_unit_seal(void *unit, u32 magic, u64 index, u64 generation,
		  const u8 uuid[BC_UUID_SIZE]);

/**
 * bc_unit_check - is this a unit of this tier?
 * Return: 0; -ENODATA never written or of another tier, as its uuid says (void, not an error);
 * -EBADMSG damaged, or a unit of this tier that belongs elsewhere.
 */
int bc_unit_check(const void *unit, u32 magic, u64 index, const u8 uuid[BC_UUID_SIZE]);

/* Chunk numbers have 32 bits. */
#define BC_DESC_MAX_BLOCK	((1ULL << (32 + BC_CHUNK_SHIFT - BC_BLOCK_SHIFT)) - 1)

/* A descriptor in CPU byte order. */
struct bc_desc {
	struct bc_key key;
	u64 block;
	u64 seq;
	u32 length;
	u32 crc;
	u8 kind;
};

void bc_desc_encode(const struct bc_desc *desc, struct bc_disk_desc *disk);

/**
 * bc_desc_decode - check and decode
 * Return: 0 (also for kind BC_KIND_FREE, all else zero then), -EINVAL for nonsense.
 */
int bc_desc_decode(const struct bc_disk_desc *disk, struct bc_desc *desc);

/* Unit of the clean table and first descriptor in it that belong to a frame. */
static inline u64 bc_clean_unit_of(u32 frame)
{
	return frame / BC_CLEAN_FRAMES;
}

static inline u32 bc_clean_desc_of(u32 frame, u32 slot)
{
	return frame % BC_CLEAN_FRAMES * BC_FRAME_BLOCKS + slot;
}

/* Descriptors of one chunk that lie together in a frame; some of its blocks may be missing. */
struct bc_extent {
	struct bc_key key;
	u32 chunk;
	u8 slot, count;		/* from the place of the chunk's block 0 to the last valid block */
	u16 valid;		/* bit per block */
	u32 bytes;		/* up to the end of the last valid block */
};

/**
 * bc_recover_chunk - the next extent of one chunk among a frame's clean descriptors
 * @descs: the frame's BC_FRAME_BLOCKS descriptors
 * @seq_end: descriptors with this sequence or a higher one are free
 * @slot: where to begin; advanced past what was looked at
 * @extent: out
 *
 * The blocks of a chunk lie behind each other as they do in the object: so each tells where its
 * chunk's block 0 would be, which must not be before @slot. An extent goes on, over
 * free descriptors, while the next one in use is of the same key and chunk and at its place, and
 * the one before it is full. Anything else is passed over.
 * Return: true if one was found, false at the frame's end.
 */
bool bc_recover_chunk(const struct bc_disk_desc descs[BC_FRAME_BLOCKS], u64 seq_end, u32 *slot,
		      struct bc_extent *extent);

#endif /* BC_RECORD_H */
