// SPDX-License-Identifier: GPL-2.0-only
/*
 * Codecs of the on-disk format, see record.h. Nothing of what is decoded here
 * is trusted: each number is bounded before it takes part in arithmetic.
 */
#include "record.h"

#define DEFAULT_INDEX_RATIO	2
#define DEFAULT_DIRTY_PERCENT	25
#define DEFAULT_IDENTITIES	2

/* Frame numbers and, with the index ratio, entry numbers stay below U32_MAX. */
static u64 max_frames(u32 index_ratio)
{
	return div_u64(U32_MAX - 1, index_ratio);
}

u32 bc_crc32c_more(u32 crc, const void *bytes, size_t length)
{
	return ~crc32c(~crc, bytes, length);
}

u32 bc_crc32c(const void *bytes, size_t length)
{
	return bc_crc32c_more(0, bytes, length);
}

/* Checksum of a unit as if its own checksum field were zero. */
static u32 unit_crc(const void *unit, size_t crc_offset)
{
	static const __le32 zero;
	size_t rest = crc_offset + sizeof(zero);
	u32 crc = bc_crc32c(unit, crc_offset);

	crc = bc_crc32c_more(crc, &zero, sizeof(zero));
	return bc_crc32c_more(crc, (const u8 *)unit + rest, BC_UNIT_SIZE - rest);
}

static u64 units_for(u64 items, u32 per_unit)
{
	return div_u64(items + per_unit - 1, per_unit);
}

static u64 units_end(u64 offset, u64 units)
{
	return offset + (units << BC_UNIT_SHIFT);
}

static u64 frames_end(const struct bc_layout *layout)
{
	return layout->frames_offset + (layout->frame_count << BC_CHUNK_SHIFT);
}

/* Place the regions one after the other. @frames is bounded by max_frames(). */
static void layout_regions(struct bc_layout *layout, u64 frames, u32 dirty_percent, u32 identities)
{
	u64 dirty_blocks = div_u64(frames * dirty_percent * BC_FRAME_BLOCKS + 99, 100);

	layout->frame_count = frames;
	layout->dirty_units = units_for(dirty_blocks, BC_DIRTY_DESCS);
	layout->clean_units = units_for(frames, BC_CLEAN_FRAMES);
	layout->identity_units = units_for(frames * identities, BC_IDENTITY_RECORDS);

	layout->dirty_offset = BC_DISK_SUPER_COPIES << BC_UNIT_SHIFT;
	layout->clean_offset = units_end(layout->dirty_offset,
					 BC_DIRTY_COPIES * layout->dirty_units);
	layout->identity_offset = units_end(layout->clean_offset, layout->clean_units);
	layout->frames_offset = ALIGN(units_end(layout->identity_offset, layout->identity_units),
				      (u64)BC_FRAME_SIZE);
}

int bc_layout_compute(u64 device_bytes, const struct bc_layout_options *options,
		      struct bc_layout *layout)
{
	u32 ratio = options->index_ratio ?: DEFAULT_INDEX_RATIO;
	u32 percent = options->dirty_percent ?: DEFAULT_DIRTY_PERCENT;
	u32 identities = options->identities_per_frame ?: DEFAULT_IDENTITIES;
	u64 low = 0, high;

	memset(layout, 0, sizeof(*layout));
	if (ratio > BC_LAYOUT_MAX_INDEX_RATIO || percent > 100 ||
	    identities > BC_LAYOUT_MAX_IDENTITIES || device_bytes > S64_MAX)
		return -EINVAL;
	layout->index_ratio = ratio;
	layout->device_bytes = device_bytes;

	/* The largest number of frames that fit behind their tables. */
	high = min_t(u64, device_bytes >> BC_CHUNK_SHIFT, max_frames(ratio));
	while (low < high) {
		u64 frames = low + (high - low + 1) / 2;

		layout_regions(layout, frames, percent, identities);
		if (frames_end(layout) <= device_bytes)
			low = frames;
		else
			high = frames - 1;
	}
	if (low < BC_LAYOUT_MIN_FRAMES)
		return -ENOSPC;
	layout_regions(layout, low, percent, identities);
	return 0;
}

/* A region of units that begins at or behind @from and ends at or before @to. */
static bool region_fits(u64 offset, u64 units, u64 from, u64 to)
{
	return IS_ALIGNED(offset, (u64)BC_UNIT_SIZE) && offset >= from && offset <= to &&
	       units <= (to - offset) >> BC_UNIT_SHIFT;
}

static const char *check_counts(const struct bc_layout *layout)
{
	u64 frames = layout->frame_count;

	if (!layout->index_ratio || layout->index_ratio > BC_LAYOUT_MAX_INDEX_RATIO)
		return "index ratio out of range";
	if (frames < BC_LAYOUT_MIN_FRAMES || frames > max_frames(layout->index_ratio))
		return "number of frames out of range";
	if (layout->clean_units != units_for(frames, BC_CLEAN_FRAMES))
		return "clean table does not match the number of frames";
	if (!layout->dirty_units ||
	    layout->dirty_units > units_for(frames * BC_FRAME_BLOCKS, BC_DIRTY_DESCS))
		return "size of the dirty table out of range";
	if (!layout->identity_units ||
	    layout->identity_units > units_for(frames * BC_LAYOUT_MAX_IDENTITIES,
					       BC_IDENTITY_RECORDS))
		return "size of the identity table out of range";
	return NULL;
}

/* After check_counts(): the counts are small enough for any arithmetic. */
static const char *check_regions(const struct bc_layout *layout)
{
	if (layout->device_bytes > S64_MAX)
		return "device size out of range";
	if (!IS_ALIGNED(layout->frames_offset, (u64)BC_FRAME_SIZE) ||
	    layout->frames_offset > layout->device_bytes ||
	    layout->frame_count > (layout->device_bytes - layout->frames_offset) >> BC_CHUNK_SHIFT)
		return "frames outside of the device";
	if (!region_fits(layout->dirty_offset, BC_DIRTY_COPIES * layout->dirty_units,
			 BC_DISK_SUPER_COPIES << BC_UNIT_SHIFT, layout->clean_offset))
		return "dirty table misplaced";
	if (!region_fits(layout->clean_offset, layout->clean_units, BC_UNIT_SIZE,
			 layout->identity_offset))
		return "clean table misplaced";
	if (!region_fits(layout->identity_offset, layout->identity_units, BC_UNIT_SIZE,
			 layout->frames_offset))
		return "identity table misplaced";
	return NULL;
}

void bc_super_encode(const struct bc_super *super, struct bc_disk_super *disk)
{
	const struct bc_layout *layout = &super->layout;

	memset(disk, 0, sizeof(*disk));
	memcpy(disk->magic, BC_DISK_MAGIC, BC_DISK_MAGIC_SIZE);
	disk->version = cpu_to_le32(BC_DISK_VERSION);
	disk->generation = cpu_to_le64(super->generation);
	memcpy(disk->uuid, super->uuid, BC_UUID_SIZE);
	memcpy(disk->node_id, super->node_id, BC_UUID_SIZE);
	memcpy(disk->set_id, super->set_id, BC_UUID_SIZE);
	disk->compat = cpu_to_le32(super->compat);
	disk->ro_compat = cpu_to_le32(super->ro_compat);
	disk->incompat = cpu_to_le32(super->incompat);
	disk->state = cpu_to_le32(super->state);
	disk->device_bytes = cpu_to_le64(layout->device_bytes);
	disk->unit_shift = cpu_to_le32(BC_UNIT_SHIFT);
	disk->block_shift = cpu_to_le32(BC_BLOCK_SHIFT);
	disk->chunk_shift = cpu_to_le32(BC_CHUNK_SHIFT);
	disk->index_ratio = cpu_to_le32(layout->index_ratio);
	disk->frame_count = cpu_to_le64(layout->frame_count);
	disk->dirty_offset = cpu_to_le64(layout->dirty_offset);
	disk->dirty_units = cpu_to_le64(layout->dirty_units);
	disk->clean_offset = cpu_to_le64(layout->clean_offset);
	disk->clean_units = cpu_to_le64(layout->clean_units);
	disk->identity_offset = cpu_to_le64(layout->identity_offset);
	disk->identity_units = cpu_to_le64(layout->identity_units);
	disk->frames_offset = cpu_to_le64(layout->frames_offset);
	disk->seq_reserved = cpu_to_le64(super->seq_reserved);
	disk->attach_count = cpu_to_le64(super->attach_count);
	disk->formatted_at = cpu_to_le64(super->formatted_at);
	disk->dirty_check = cpu_to_le32(super->dirty_check);
	memcpy(disk->label, super->label, strnlen(super->label, sizeof(disk->label)));
	disk->crc = cpu_to_le32(unit_crc(disk, offsetof(struct bc_disk_super, crc)));
}

static void super_read(const struct bc_disk_super *disk, struct bc_super *super)
{
	struct bc_layout *layout = &super->layout;

	memset(super, 0, sizeof(*super));
	super->generation = le64_to_cpu(disk->generation);
	memcpy(super->uuid, disk->uuid, BC_UUID_SIZE);
	memcpy(super->node_id, disk->node_id, BC_UUID_SIZE);
	memcpy(super->set_id, disk->set_id, BC_UUID_SIZE);
	super->compat = le32_to_cpu(disk->compat);
	super->ro_compat = le32_to_cpu(disk->ro_compat);
	super->incompat = le32_to_cpu(disk->incompat);
	super->state = le32_to_cpu(disk->state);
	layout->device_bytes = le64_to_cpu(disk->device_bytes);
	layout->index_ratio = le32_to_cpu(disk->index_ratio);
	layout->frame_count = le64_to_cpu(disk->frame_count);
	layout->dirty_offset = le64_to_cpu(disk->dirty_offset);
	layout->dirty_units = le64_to_cpu(disk->dirty_units);
	layout->clean_offset = le64_to_cpu(disk->clean_offset);
	layout->clean_units = le64_to_cpu(disk->clean_units);
	layout->identity_offset = le64_to_cpu(disk->identity_offset);
	layout->identity_units = le64_to_cpu(disk->identity_units);
	layout->frames_offset = le64_to_cpu(disk->frames_offset);
	super->seq_reserved = le64_to_cpu(disk->seq_reserved);
	super->attach_count = le64_to_cpu(disk->attach_count);
	super->formatted_at = le64_to_cpu(disk->formatted_at);
	super->dirty_check = le32_to_cpu(disk->dirty_check);
	memcpy(super->label, disk->label, sizeof(disk->label));
}

/* Labels go to terminals: no control characters, and nothing behind the end. */
static bool label_valid(const struct bc_super *super)
{
	size_t i, length = strnlen(super->label, sizeof(super->label));

	for (i = 0; i < length; i++)
		if ((u8)super->label[i] < ' ' || super->label[i] == 0x7f)
			return false;
	return !memchr_inv(super->label + length, 0, sizeof(super->label) - length);
}

static const char *check_super(const struct bc_disk_super *disk, const struct bc_super *super)
{
	if (le32_to_cpu(disk->unit_shift) != BC_UNIT_SHIFT ||
	    le32_to_cpu(disk->block_shift) != BC_BLOCK_SHIFT ||
	    le32_to_cpu(disk->chunk_shift) != BC_CHUNK_SHIFT)
		return "unit, block or chunk size is not of this format version";
	/* A feature that nobody here knows may have given them a meaning. */
	if (!(super->incompat & ~BC_INCOMPAT_DIRTY) &&
	    memchr_inv(disk->reserved, 0, sizeof(disk->reserved)))
		return "reserved bytes are not zero";
	if (!memchr_inv(super->uuid, 0, BC_UUID_SIZE))
		return "uuid is zero";
	if (super->state & ~BC_SUPER_CLEAN)
		return "unknown state";
	if (super->generation == U64_MAX || super->seq_reserved > U64_MAX - BC_SEQ_STEP)
		return "generations or sequences used up";
	if (!label_valid(super))
		return "label is not text";
	return check_counts(&super->layout) ?: check_regions(&super->layout);
}

int bc_super_decode(const struct bc_disk_super *disk, u64 device_bytes, struct bc_super *super,
		    const char **why)
{
	*why = NULL;
	if (memcmp(disk->magic, BC_DISK_MAGIC, BC_DISK_MAGIC_SIZE)) {
		*why = "no blobcache superblock";
		return -ENODATA;
	}
	if (le32_to_cpu(disk->crc) != unit_crc(disk, offsetof(struct bc_disk_super, crc))) {
		*why = "superblock checksum is wrong";
		return -EBADMSG;
	}
	if (le32_to_cpu(disk->version) != BC_DISK_VERSION) {
		*why = "unknown format version";
		return -EPROTONOSUPPORT;
	}
	super_read(disk, super);
	*why = check_super(disk, super);
	if (*why)
		return -EINVAL;
	if (super->layout.device_bytes > device_bytes) {
		*why = "device is shorter than the tier";
		return -EFBIG;
	}
	return 0;
}

static int decode_copy(const struct bc_disk_super *disk, u32 copy, u64 device_bytes,
		       struct bc_super *super, const char **why)
{
	int err = bc_super_decode(disk, device_bytes, super, why);

	if (!err && (super->generation & 1) != copy) {
		*why = "superblock copy at the wrong place";
		return -EINVAL;
	}
	return err;
}

int bc_super_choose(const struct bc_disk_super copies[BC_DISK_SUPER_COPIES], u64 device_bytes,
		    struct bc_super *super, const char **why)
{
	const char *why_first, *why_second;
	u64 generation = 0;
	u8 uuid[BC_UUID_SIZE];
	int first, second;

	first = decode_copy(&copies[0], 0, device_bytes, super, &why_first);
	if (!first) {
		generation = super->generation;
		memcpy(uuid, super->uuid, BC_UUID_SIZE);
	}
	second = decode_copy(&copies[1], 1, device_bytes, super, &why_second);

	*why = why_first;
	if (first == -EPROTONOSUPPORT)
		return first;
	if (second == -EPROTONOSUPPORT || (first == -ENODATA && second)) {
		*why = why_second;
		return second;
	}
	if (first && second)
		return first;
	*why = NULL;
	if (first)
		return 1;
	if (!second && memcmp(uuid, super->uuid, BC_UUID_SIZE)) {
		*why = "the two superblock copies are of different tiers";
		return -EINVAL;
	}
	if (!second && super->generation > generation)
		return 1;
	decode_copy(&copies[0], 0, device_bytes, super, why);
	return 0;
}

void bc_unit_seal(void *unit, u32 magic, u64 index, u64 generation,
		  const u8 uuid[BC_UUID_SIZE])
{
	struct bc_disk_unit_head *head = unit;

	memset(head, 0, sizeof(*head));
	head->magic = cpu_to_le32(magic);
	head->generation = cpu_to_le64(generation);
	head->index = cpu_to_le64(index);
	memcpy(head->uuid, uuid, BC_UUID_SIZE);
	head->crc = cpu_to_le32(unit_crc(unit, offsetof(struct bc_disk_unit_head, crc)));
}

int bc_unit_check(const void *unit, u32 magic, u64 index, const u8 uuid[BC_UUID_SIZE])
{
	const struct bc_disk_unit_head *head = unit;

	/* Format does not wipe the tables: anything may lie where nothing was written yet. */
	if (memcmp(head->uuid, uuid, BC_UUID_SIZE))
		return -ENODATA;
	if (le32_to_cpu(head->crc) != unit_crc(unit, offsetof(struct bc_disk_unit_head, crc)) ||
	    le32_to_cpu(head->magic) != magic || le64_to_cpu(head->index) != index)
		return -EBADMSG;
	return 0;
}

void bc_desc_encode(const struct bc_desc *desc, struct bc_disk_desc *disk)
{
	memset(disk, 0, sizeof(*disk));
	if (desc->kind == BC_KIND_FREE)
		return;
	memcpy(disk->key, desc->key.bytes, BC_KEY_SIZE);
	disk->block = cpu_to_le64(desc->block);
	disk->seq = cpu_to_le64(desc->seq);
	disk->length = cpu_to_le32(desc->length);
	disk->crc = cpu_to_le32(desc->crc);
	disk->kind = desc->kind;
}

int bc_desc_decode(const struct bc_disk_desc *disk, struct bc_desc *desc)
{
	memset(desc, 0, sizeof(*desc));
	if (disk->flags || disk->kind > BC_KIND_RENAME ||
	    memchr_inv(disk->reserved, 0, sizeof(disk->reserved)))
		return -EINVAL;
	if (disk->kind == BC_KIND_FREE)
		return 0;
	if (!disk->length || le32_to_cpu(disk->length) > BC_BLOCK_SIZE ||
	    le64_to_cpu(disk->block) > BC_DESC_MAX_BLOCK)
		return -EINVAL;
	memcpy(desc->key.bytes, disk->key, BC_KEY_SIZE);
	desc->block = le64_to_cpu(disk->block);
	desc->seq = le64_to_cpu(disk->seq);
	desc->length = le32_to_cpu(disk->length);
	desc->crc = le32_to_cpu(disk->crc);
	desc->kind = disk->kind;
	return 0;
}

static bool decode_clean(const struct bc_disk_desc *disk, u64 seq_end, struct bc_desc *desc)
{
	return !bc_desc_decode(disk, desc) && desc->kind == BC_KIND_CLEAN && desc->seq < seq_end;
}

/* Is @next as many blocks behind @first as its slot is? */
static bool belongs(const struct bc_desc *first, const struct bc_desc *next, u32 behind)
{
	return next->block == first->block + behind &&
	       !memcmp(next->key.bytes, first->key.bytes, BC_KEY_SIZE);
}

/* The first block of a chunk from @slot on, with room for those before it. Return: its slot. */
static u32 find_first(const struct bc_disk_desc descs[BC_FRAME_BLOCKS], u64 seq_end, u32 slot,
		      struct bc_desc *first)
{
	u32 from = slot;

	for (; slot < BC_FRAME_BLOCKS; slot++) {
		if (decode_clean(&descs[slot], seq_end, first) &&
		    first->block % BC_CHUNK_BLOCKS <= slot - from)
			break;
	}
	return slot;
}

bool bc_recover_chunk(const struct bc_disk_desc descs[BC_FRAME_BLOCKS], u64 seq_end, u32 *slot,
		      struct bc_extent *extent)
{
	u32 at, begin, end, last;
	struct bc_desc first, next;

	/* A frame ends before what begins in it leaves its chunk. */
	BUILD_BUG_ON(BC_FRAME_BLOCKS > BC_CHUNK_BLOCKS);
	at = find_first(descs, seq_end, *slot, &first);
	if (at >= BC_FRAME_BLOCKS) {
		*slot = max_t(u32, *slot, BC_FRAME_BLOCKS);
		return false;
	}
	begin = at - first.block % BC_CHUNK_BLOCKS;
	end = min_t(u32, begin + BC_CHUNK_BLOCKS, BC_FRAME_BLOCKS);
	extent->valid = 1U << (at - begin);
	last = at;
	next = first;
	while (next.length == BC_BLOCK_SIZE && ++at < end) {
		struct bc_desc desc;

		if (!decode_clean(&descs[at], seq_end, &desc))
			continue;
		if (!belongs(&next, &desc, at - last))
			break;
		next = desc;
		last = at;
		extent->valid |= 1U << (at - begin);
	}
	extent->key = first.key;
	extent->chunk = first.block / BC_CHUNK_BLOCKS;
	extent->slot = begin;
	extent->count = last - begin + 1;
	extent->bytes = (extent->count - 1) * BC_BLOCK_SIZE + next.length;
	*slot = last + 1;
	return true;
}
