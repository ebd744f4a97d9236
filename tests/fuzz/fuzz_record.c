/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/record.c */
/* flags: -max_len=8300 */
/*
 * Everything that reads a device, on bytes from libFuzzer. Checksums are
 * repaired, since a fuzzer finds none; the first byte says whether. What is
 * accepted must keep the promises of kmod/record.h.
 */
#include "fuzz.h"
#include "record.h"

static void repair(void *unit, size_t crc_offset)
{
	__le32 crc = 0;

	memcpy((u8 *)unit + crc_offset, &crc, sizeof(crc));
	crc = cpu_to_le32(bc_crc32c(unit, BC_UNIT_SIZE));
	memcpy((u8 *)unit + crc_offset, &crc, sizeof(crc));
}

static void check_super(const struct bc_super *super, u64 device_bytes)
{
	const struct bc_layout *l = &super->layout;
	u64 dirty = l->clean_offset - l->dirty_offset;
	u64 clean = l->identity_offset - l->clean_offset;
	u64 identity = l->frames_offset - l->identity_offset;

	need(l->device_bytes <= device_bytes && l->frames_offset <= l->device_bytes);
	need(l->dirty_offset >= BC_DISK_SUPER_COPIES * BC_UNIT_SIZE);
	need(l->dirty_offset <= l->clean_offset && l->clean_offset <= l->identity_offset &&
	     l->identity_offset <= l->frames_offset);
	need(l->dirty_units && dirty >> BC_UNIT_SHIFT >= BC_DIRTY_COPIES * l->dirty_units);
	need(l->clean_units && clean >> BC_UNIT_SHIFT >= l->clean_units);
	need(l->identity_units && identity >> BC_UNIT_SHIFT >= l->identity_units);
	need(l->clean_units * BC_CLEAN_FRAMES >= l->frame_count);
	need(l->frame_count >= BC_LAYOUT_MIN_FRAMES);
	need(l->index_ratio && l->frame_count * l->index_ratio < U32_MAX);
	need((l->device_bytes - l->frames_offset) >> BC_CHUNK_SHIFT >= l->frame_count);
	need(!super->label[64] && super->seq_reserved + BC_SEQ_STEP > super->seq_reserved);
}

static void one_super(struct bc_disk_super *disk, u64 device_bytes, bool fix)
{
	struct bc_disk_super again;
	struct bc_super super, back;
	const char *why;

	if (fix) {
		memcpy(disk->magic, BC_DISK_MAGIC, BC_DISK_MAGIC_SIZE);
		repair(disk, offsetof(struct bc_disk_super, crc));
	}
	if (bc_super_decode(disk, device_bytes, &super, &why)) {
		need(why);
		return;
	}
	need(!why);
	check_super(&super, device_bytes);
	/* Nothing gets lost: what was decoded encodes to what was read. */
	bc_super_encode(&super, &again);
	if (!(super.incompat & ~BC_INCOMPAT_DIRTY))
		need(!memcmp(&again, disk, sizeof(again)));
	else
		need(!bc_super_decode(&again, device_bytes, &back, &why));
}

static void both_supers(const struct bc_disk_super copies[2], u64 device_bytes)
{
	struct bc_super super, chosen;
	const char *why, *other;
	int copy = bc_super_choose(copies, device_bytes, &chosen, &why);

	if (copy < 0) {
		need(why);
		return;
	}
	need(!why && copy < BC_DISK_SUPER_COPIES);
	need(!bc_super_decode(&copies[copy], device_bytes, &super, &other));
	need(!memcmp(&super, &chosen, sizeof(super)) && (super.generation & 1) == (u64)copy);
}

static void one_frame(const struct bc_disk_desc descs[BC_FRAME_BLOCKS])
{
	u32 slot = 0, before = 0, i;
	struct bc_extent extent;
	struct bc_desc desc;

	for (i = 0; i < BC_FRAME_BLOCKS; i++)
		if (!bc_desc_decode(&descs[i], &desc))
			need(desc.kind == BC_KIND_FREE ||
			     (desc.kind <= BC_KIND_RENAME && desc.length &&
			      desc.length <= BC_BLOCK_SIZE && desc.block <= BC_DESC_MAX_BLOCK));
	while (bc_recover_chunk(descs, U64_MAX, &slot, &extent)) {
		need(extent.slot >= before && extent.count);
		need(extent.slot + extent.count <= BC_FRAME_BLOCKS);
		need(slot == (u32)extent.slot + extent.count);
		need(extent.valid >> (extent.count - 1) == 1);
		need(extent.bytes > (extent.count - 1) * BC_BLOCK_SIZE);
		need(extent.bytes <= extent.count * BC_BLOCK_SIZE);
		before = slot;
	}
	need(slot == BC_FRAME_BLOCKS);
}

static void one_unit(struct bc_disk_clean_unit *unit, bool fix)
{
	u32 frame;

	if (fix)
		repair(unit, offsetof(struct bc_disk_unit_head, crc));
	if (bc_unit_check(unit, BC_UNIT_MAGIC_CLEAN, le64_to_cpu(unit->head.index),
			  unit->head.uuid) && fix)
		need(le32_to_cpu(unit->head.magic) != BC_UNIT_MAGIC_CLEAN);
	for (frame = 0; frame < BC_CLEAN_FRAMES; frame++)
		one_frame(&unit->desc[frame * BC_FRAME_BLOCKS]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bc_disk_super supers[2];
	static struct bc_disk_clean_unit unit;
	u64 device_bytes;
	u8 how;

	if (size < 1 + sizeof(device_bytes))
		return 0;
	how = data[0];
	memcpy(&device_bytes, data + 1, sizeof(device_bytes));
	data += 1 + sizeof(device_bytes);
	size -= 1 + sizeof(device_bytes);

	memset(supers, 0, sizeof(supers));
	memcpy(supers, data, min_t(size_t, size, sizeof(supers)));
	memset(&unit, 0, sizeof(unit));
	/* Half of the units begin with descriptors: those are what matters. */
	if (how & 2)
		memcpy(unit.desc, data, min_t(size_t, size, sizeof(unit.desc)));
	else
		memcpy(&unit, data, min_t(size_t, size, sizeof(unit)));

	one_super(&supers[0], device_bytes, how & 1);
	one_super(&supers[1], device_bytes, how & 1);
	both_supers(supers, device_bytes);
	one_unit(&unit, how & 1);
	return 0;
}
