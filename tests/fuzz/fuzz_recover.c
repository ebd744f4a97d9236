/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/record.c kmod/recover.c kmod/pending.c kmod/frame.c kmod/index.c kmod/evict.c kmod/identity.c kmod/identity_loaded.c kmod/identity_marks.c kmod/identity_shown.c kmod/identity_disk.c */
/* flags: -max_len=1200 */
/*
 * An attach of a whole image: the superblocks, the clean and the identity table. The
 * input is a list of changes to a good image, since bytes at random are no tier;
 * checksums are right unless a change says otherwise. Whatever is on the device,
 * what comes of it is consistent, and attaching what was made of it gives the same.
 * The clean table is recovered in windows, of a size that the input chooses.
 */
#include "evict.h"
#include "frame.h"
#include "fuzz.h"
#include "identity.h"
#include "index.h"
#include "recover.h"

#define FRAMES_MAX	12U
#define IMAGE_UNITS	12U		/* all tables of FRAMES_MAX frames */
#define SEQ_RESERVED	(1ULL << 41)
#define SUPER_CRC	offsetof(struct bc_disk_super, crc)
#define UNIT_CRC	offsetof(struct bc_disk_unit_head, crc)

static const struct bc_evict_tuning tuning = BC_EVICT_TUNING_DEFAULT;

union unit {
	u8 bytes[BC_UNIT_SIZE];
	struct bc_disk_super super;
	struct bc_disk_clean_unit clean;
	struct bc_disk_identity_unit identity;
};

struct image {
	union unit unit[IMAGE_UNITS];
	struct bc_layout layout;
	u64 device_bytes;
	u64 spoiled;			/* bit per unit: its checksum is not repaired */
};

struct attached {
	struct bc_super super;
	struct bc_frames frames;
	struct bc_index index;
	struct bc_evict evict;
	struct bc_pending pending;
	struct bc_disk_clean_unit *units;	/* as they are once all that waits was written */
	u64 written;				/* bit per unit: it is written for that */
	u32 identities;
};

static void set_crc(union unit *unit, size_t offset)
{
	__le32 crc = 0;

	memcpy(unit->bytes + offset, &crc, sizeof(crc));
	crc = cpu_to_le32(bc_crc32c(unit, BC_UNIT_SIZE));
	memcpy(unit->bytes + offset, &crc, sizeof(crc));
}

static union unit *table(struct image *image, u64 offset)
{
	return &image->unit[offset >> BC_UNIT_SHIFT];
}

static void format(struct image *image, struct input *input)
{
	struct bc_layout_options options = { .index_ratio = take8(input) % 5 };
	struct bc_super super = { .uuid = { 1 }, .seq_reserved = SEQ_RESERVED };
	u64 frames = BC_LAYOUT_MIN_FRAMES + take8(input) % (FRAMES_MAX - BC_LAYOUT_MIN_FRAMES);
	u64 generation = 2 + take8(input) % 2, i;

	memset(image, 0, sizeof(*image));
	image->device_bytes = (frames + 1) << BC_CHUNK_SHIFT;
	need(!bc_layout_compute(image->device_bytes, &options, &super.layout));
	image->layout = super.layout;
	need(super.layout.identity_offset + (super.layout.identity_units << BC_UNIT_SHIFT) <=
	     IMAGE_UNITS << BC_UNIT_SHIFT);
	super.attach_count = 3;
	for (i = 0; i < BC_DISK_SUPER_COPIES; i++) {
		super.generation = generation - i;
		bc_super_encode(&super, &image->unit[super.generation & 1].super);
	}
	for (i = 0; i < super.layout.clean_units; i++)
		bc_unit_seal(table(image, super.layout.clean_offset) + i, BC_UNIT_MAGIC_CLEAN, i,
			     3, super.uuid);
	for (i = 0; i < super.layout.identity_units; i++)
		bc_unit_seal(table(image, super.layout.identity_offset) + i,
			     BC_UNIT_MAGIC_IDENTITY, i, 3, super.uuid);
}

static struct bc_disk_desc *desc_at(struct image *image, u32 frame, u32 slot)
{
	union unit *units = table(image, image->layout.clean_offset);

	frame %= image->layout.frame_count;
	return &units[bc_clean_unit_of(frame)].clean.desc[bc_clean_desc_of(frame, slot % 16)];
}

static u32 some_length(u8 n)
{
	static const u32 length[] = {
		BC_BLOCK_SIZE, BC_BLOCK_SIZE, BC_BLOCK_SIZE, BC_BLOCK_SIZE,
		1, 4096, BC_BLOCK_SIZE - 1, BC_BLOCK_SIZE + 1, 0, U32_MAX,
	};

	return length[n % ARRAY_SIZE(length)];
}

/* A run of descriptors: one chunk in one place, or what looks like it. */
static void put_run(struct image *image, struct input *input)
{
	u32 frame = take8(input), slot = take8(input), count = 1 + take8(input) % 16, i;
	struct bc_desc desc = { .kind = BC_KIND_CLEAN, .length = BC_BLOCK_SIZE };
	u8 more = take8(input);

	desc.key.bytes[0] = take8(input) % 4;
	desc.block = (u64)(take8(input) % 3) * BC_CHUNK_BLOCKS + (more & 1 ? more >> 4 : 0);
	if (more & 2)
		desc.block += BC_DESC_MAX_BLOCK - 15;
	desc.seq = more & 4 ? SEQ_RESERVED + take8(input) - 128 : 1000 + frame;
	for (i = 0; i < count && slot % 16 + i < BC_FRAME_BLOCKS; i++) {
		if (i + 1 == count)
			desc.length = some_length(more >> 3);
		bc_desc_encode(&desc, desc_at(image, frame, slot % 16 + i));
		desc.block++;
	}
}

static void put_identity(struct image *image, struct input *input)
{
	u32 unit = take8(input) % image->layout.identity_units;
	union unit *units = table(image, image->layout.identity_offset);
	struct bc_disk_identity *disk = &units[unit].identity.record[take8(input) % 15];
	u8 more = take8(input);

	memset(disk, 0, sizeof(*disk));
	disk->path_hash[0] = more % 5;
	disk->kind = 1 + (more >> 3 & 1);
	disk->mode = cpu_to_le32(disk->kind == BC_IDENTITY_FILE ? 0100644 : 0040755);
	if (disk->kind == BC_IDENTITY_FILE) {
		disk->etag_length = 1 + take8(input) % BC_ETAG_MAX;
		memset(disk->etag, 'x', disk->etag_length);
	}
	disk->flags = cpu_to_le16(more >> 5 & 1);
	disk->size = cpu_to_le64(take16(input));
	disk->resolved_at = cpu_to_le64(take64(input));
}

/* Any byte of any table. */
static void poke(struct image *image, struct input *input)
{
	u32 unit = take8(input) % IMAGE_UNITS, offset = take16(input) % BC_UNIT_SIZE;

	image->unit[unit].bytes[offset] = take8(input);
}

/* A field of a superblock: what a hostile one would use. */
static void poke_super(struct image *image, struct input *input)
{
	u8 how = take8(input);
	u32 offset = 8 + take8(input) % 48 * 4;
	u64 value = take32(input);

	if (how & 2)
		value <<= how >> 2;
	if (how & 4)
		value = -value;
	memcpy(image->unit[how & 1].bytes + offset, &value, how & 8 ? 8 : 4);
}

static void change(struct image *image, struct input *input)
{
	switch (take8(input) % 8) {
	case 0:
	case 1:
	case 2:
	case 3:
		put_run(image, input);
		break;
	case 4:
		put_identity(image, input);
		break;
	case 5:
		poke(image, input);
		break;
	case 6:
		poke_super(image, input);
		break;
	case 7:
		image->spoiled |= BIT(take8(input) % IMAGE_UNITS);
		break;
	}
}

static void seal(struct image *image)
{
	u32 unit;

	for (unit = 0; unit < IMAGE_UNITS; unit++) {
		if (image->spoiled & BIT(unit))
			continue;
		if (unit < BC_DISK_SUPER_COPIES)
			memcpy(image->unit[unit].super.magic, BC_DISK_MAGIC, BC_DISK_MAGIC_SIZE);
		set_crc(&image->unit[unit], unit < BC_DISK_SUPER_COPIES ? SUPER_CRC : UNIT_CRC);
	}
}

/* Of the tables as far as the image has them: what a hostile layout moved is not there. */
static void *load(struct image *image, u64 offset, u64 units)
{
	u64 first = offset >> BC_UNIT_SHIFT;
	union unit *copy = calloc(units, BC_UNIT_SIZE);

	need(copy);
	if (first < IMAGE_UNITS)
		memcpy(copy, &image->unit[first],
		       min(units, IMAGE_UNITS - first) << BC_UNIT_SHIFT);
	return copy;
}

static void load_identities(struct attached *tier, struct image *image)
{
	const struct bc_layout *layout = &tier->super.layout;
	struct bc_disk_identity_unit *units;
	struct bc_disk_identity again;
	struct bc_identity identity;
	u64 unit;
	u32 i;

	units = load(image, layout->identity_offset, layout->identity_units);
	for (unit = 0; unit < layout->identity_units; unit++) {
		if (bc_unit_check(&units[unit], BC_UNIT_MAGIC_IDENTITY, unit, tier->super.uuid))
			continue;
		for (i = 0; i < BC_IDENTITY_RECORDS; i++) {
			if (!bc_identity_decode(&units[unit].record[i], 1000, 1000000, &identity))
				continue;
			need(identity.etag_length == strlen(identity.etag));
			need(identity.size <= S64_MAX && identity.lower.size <= S64_MAX);
			need(identity.resolved_ns <= 1000);
			bc_identity_encode(&identity, 1000, 1000000, &again);
			need(!memcmp(&again, &units[unit].record[i],
				     offsetof(struct bc_disk_identity, resolved_at)));
			tier->identities++;
		}
	}
	free(units);
}

/* One window: it is read, recovered, and thrown away. */
static void recover(struct attached *tier, struct image *image, u64 first, u64 count)
{
	const struct bc_layout *layout = &tier->super.layout;
	struct bc_recovery recovery = {
		.super = &tier->super, .first = first, .count = count,
		.pending = &tier->pending, .frames = &tier->frames, .index = &tier->index,
	};
	u64 unit, frame;

	recovery.units = load(image, layout->clean_offset + (first << BC_UNIT_SHIFT), count);
	for (unit = first; unit < first + count; unit++)
		bc_recover_unit(&recovery, unit);
	for (frame = bc_recover_first(&recovery); frame < bc_recover_end(&recovery); frame++)
		bc_recover_frame(&recovery, frame);
	free(recovery.units);
}

/*
 * The table as it is once all that waits was written: of what is on the device it changes the
 * units that are to be written, and no others but those that are void or damaged.
 */
static void apply(struct attached *tier, struct image *image)
{
	const struct bc_layout *layout = &tier->super.layout;
	struct bc_disk_clean_unit before;
	bool valid, dirty;
	u64 unit;

	tier->units = load(image, layout->clean_offset, layout->clean_units);
	for (unit = 0; unit < layout->clean_units; unit++) {
		struct bc_disk_clean_unit *bytes = &tier->units[unit];

		before = *bytes;
		valid = !bc_unit_check(bytes, BC_UNIT_MAGIC_CLEAN, unit, tier->super.uuid);
		dirty = bc_pending_next(&tier->pending, unit) == unit;
		need(valid || (!dirty && bc_pending_covers(&tier->pending, unit)));
		if (!valid)
			memset(bytes, 0, sizeof(*bytes));
		bc_pending_apply(&tier->pending, unit, bytes);
		need(!valid || dirty == !!memcmp(&before, bytes, sizeof(before)));
		bc_pending_written(&tier->pending, unit, bytes);
		tier->written |= dirty ? BIT(unit) : 0;
		need(!bc_pending_covers(&tier->pending, unit));
	}
	need(!tier->pending.units_dirty && !tier->pending.overlays);
}

/* Return: whether there is a tier. */
static bool attach(struct attached *tier, struct image *image, u64 window)
{
	const struct bc_layout *layout = &tier->super.layout;
	struct bc_disk_super copies[2];
	u64 entries, unit;
	const char *why;

	memset(tier, 0, sizeof(*tier));
	memcpy(copies, image->unit, sizeof(copies));
	if (bc_super_choose(copies, image->device_bytes, &tier->super, &why) < 0)
		return false;
	entries = layout->frame_count * layout->index_ratio;
	need(!bc_frames_init(&tier->frames, layout->frame_count));
	need(!bc_index_init(&tier->index, entries, bc_evict_groups(entries)));
	need(!bc_evict_init(&tier->evict, &tier->index, layout->frame_count, &tuning));
	need(!bc_pending_init(&tier->pending, layout->frame_count, 0));
	for (unit = 0; unit < layout->clean_units; unit += window)
		recover(tier, image, unit, min(window, layout->clean_units - unit));
	apply(tier, image);
	load_identities(tier, image);
	return true;
}

static void detach(struct attached *tier)
{
	bc_evict_free(&tier->evict);
	bc_index_free(&tier->index);
	bc_frames_free(&tier->frames);
	bc_pending_free(&tier->pending);
	free(tier->units);
}

/* Each descriptor that is left is of one entry, each entry of such, and no other block is used. */
static void check(struct attached *tier)
{
	u32 frame, slot, chunks = 0;
	struct bc_extent extent;
	struct bc_hit hit;
	struct bc_desc desc;

	for (frame = 0; frame < tier->super.layout.frame_count; frame++) {
		struct bc_disk_desc *descs = &tier->units[bc_clean_unit_of(frame)]
						.desc[bc_clean_desc_of(frame, 0)];
		u16 used = 0, owned = 0;

		for (slot = 0; slot < BC_FRAME_BLOCKS; slot++) {
			need(!bc_desc_decode(&descs[slot], &desc));
			used |= (desc.kind == BC_KIND_CLEAN) << slot;
			need(desc.kind == BC_KIND_CLEAN || desc.kind == BC_KIND_FREE);
		}
		/* Without a limit of sequences: what is of no use must be gone. */
		for (slot = 0; bc_recover_chunk(descs, U64_MAX, &slot, &extent); chunks++) {
			need(bc_index_lookup(&tier->index, &extent.key, extent.chunk, &hit));
			bc_index_unpin(&tier->index, hit.id);
			need(hit.place.frame == frame && hit.place.slot == extent.slot &&
			     hit.place.count == extent.count && hit.bytes == extent.bytes &&
			     hit.valid == extent.valid && !hit.verified);
			used &= ~(extent.valid << extent.slot);
			owned |= bc_blocks_mask(extent.count) << extent.slot;
		}
		need(!used && tier->frames.used[frame] == owned);
	}
	need(tier->index.used == chunks);
}

/* All can be evicted, and the tier is empty then. */
static void drain(struct attached *tier)
{
	static const struct bc_key key;
	u32 frame;
	struct bc_place place;

	while (!bc_evict_one(&tier->evict, &key, 0, U32_MAX, &place))
		bc_frames_release(&tier->frames, &place);
	need(!tier->index.used);
	need(tier->frames.free_blocks == tier->super.layout.frame_count * BC_FRAME_BLOCKS);
	for (frame = 0; frame < tier->super.layout.frame_count; frame++)
		need(!tier->frames.used[frame]);
}

/* What an attach and a detach write, when nothing was read or stored between them. */
static void write_back(struct attached *tier, struct image *image)
{
	union unit *units = table(image, tier->super.layout.clean_offset);
	u64 unit;

	tier->super.generation++;
	if (tier->super.seq_reserved < U64_MAX - 2 * BC_SEQ_STEP)
		tier->super.seq_reserved += BC_SEQ_STEP;
	bc_super_encode(&tier->super, &image->unit[tier->super.generation & 1].super);
	for (unit = 0; unit < tier->super.layout.clean_units; unit++) {
		if (!(tier->written & BIT(unit)))
			continue;
		memcpy(&units[unit], &tier->units[unit], BC_UNIT_SIZE);
		bc_unit_seal(&units[unit], BC_UNIT_MAGIC_CLEAN, unit, 4, tier->super.uuid);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct attached tier, again;
	static struct image image;
	u32 changes;
	u64 window;

	format(&image, &input);
	window = 1 + input.left % IMAGE_UNITS;
	for (changes = 0; input.left && changes < 300; changes++)
		change(&image, &input);
	seal(&image);
	if (!attach(&tier, &image, window))
		return 0;
	check(&tier);
	/* A hostile layout may lie anywhere in the device; the image is its beginning only. */
	if (tier.super.layout.clean_offset == image.layout.clean_offset &&
	    !(tier.super.incompat & ~BC_INCOMPAT_DIRTY)) {
		write_back(&tier, &image);
		need(attach(&again, &image, IMAGE_UNITS));
		check(&again);
		need(again.index.used == tier.index.used);
		need(!memcmp(again.frames.used, tier.frames.used,
			     tier.super.layout.frame_count * sizeof(*tier.frames.used)));
		detach(&again);
	}
	drain(&tier);
	detach(&tier);
	need(!bc_warnings);
	return 0;
}
