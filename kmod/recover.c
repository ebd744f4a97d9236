// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the clean table to index and free space, see recover.h.
 */
#include "recover.h"

static struct bc_disk_clean_unit *unit_at(const struct bc_recovery *recovery, u64 unit)
{
	return &recovery->units[unit - recovery->first];
}

int bc_recover_unit(const struct bc_recovery *recovery, u64 unit)
{
	struct bc_disk_clean_unit *bytes = unit_at(recovery, unit);
	int ret = bc_unit_check(bytes, BC_UNIT_MAGIC_CLEAN, unit, recovery->super->uuid);

	if (ret) {
		memset(bytes, 0, sizeof(*bytes));
		bc_pending_lost(recovery->pending, unit);
	}
	return ret;
}

/* What is recovered may be the beginning of a chunk that goes on, unless its last block says no. */
static u8 recovered_flags(const struct bc_extent *extent)
{
	/* Not on probation: what is read next must not sweep it out unseen. */
	if (extent->bytes % BC_BLOCK_SIZE || extent->slot + extent->count == BC_FRAME_BLOCKS)
		return BC_ENTRY_MAIN;
	return BC_ENTRY_MAIN | BC_ENTRY_OPEN;
}

/* Return: whether an entry owns the extent's blocks now. */
static bool keep(const struct bc_recovery *recovery, u32 frame, const struct bc_extent *extent)
{
	struct bc_place place = {
		.frame = frame,
		.slot = extent->slot,
		.count = extent->count,
	};

	if (bc_frames_take(recovery->frames, &place))
		return false;
	if (!bc_index_insert_part(recovery->index, &extent->key, extent->chunk, &place,
				  extent->bytes, extent->valid, recovered_flags(extent)))
		return true;
	/* There already (an old place of it), or the index is full. */
	bc_frames_release(recovery->frames, &place);
	return false;
}

static void erase_unowned(const struct bc_recovery *recovery, u32 frame,
			  const struct bc_disk_desc *descs, u16 owned)
{
	u16 unowned = 0;
	u32 slot;

	for (slot = 0; slot < BC_FRAME_BLOCKS; slot++) {
		if (!(owned & BIT(slot)) && memchr_inv(&descs[slot], 0, sizeof(descs[slot])))
			unowned |= BIT(slot);
	}
	if (unowned)
		bc_pending_erase(recovery->pending, frame, unowned);
}

void bc_recover_frame(const struct bc_recovery *recovery, u32 frame)
{
	struct bc_disk_clean_unit *unit = unit_at(recovery, bc_clean_unit_of(frame));
	struct bc_disk_desc *descs = &unit->desc[bc_clean_desc_of(frame, 0)];
	struct bc_extent extent;
	u32 slot = 0;
	u16 owned = 0;

	/* A sequence nobody can have handed out: not ours, whatever it is. */
	while (bc_recover_chunk(descs, recovery->super->seq_reserved, &slot, &extent)) {
		if (keep(recovery, frame, &extent))
			owned |= extent.valid << extent.slot;
	}
	erase_unowned(recovery, frame, descs, owned);
}
