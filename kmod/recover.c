// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the clean table to index and free space, see recover.h.
 */
#include "recover.h"

int bc_recover_unit(const struct bc_recovery *recovery, u64 unit)
{
	int ret = bc_unit_check(&recovery->units[unit], BC_UNIT_MAGIC_CLEAN, unit,
				recovery->super->uuid);

	if (ret)
		memset(&recovery->units[unit], 0, BC_UNIT_SIZE);
	return ret;
}

static u16 place_mask(const struct bc_place *place)
{
	return ((1U << place->count) - 1) << place->slot;
}

/* Return: whether an entry owns the extent's blocks now. */
static bool keep(const struct bc_recovery *recovery, const struct bc_desc *first,
		 const struct bc_place *place, u32 bytes)
{
	/* A sequence nobody can have handed out: not ours, whatever it is. */
	if (first->seq >= recovery->super->seq_reserved)
		return false;
	if (bc_frames_take(recovery->frames, place))
		return false;
	/* Not on probation: what is read next must not sweep it out unseen. */
	if (!bc_index_insert(recovery->index, &first->key, first->block / BC_CHUNK_BLOCKS, place,
			     bytes, 0, BC_ENTRY_MAIN))
		return true;
	/* There already (an old place of it), or the index is full. */
	bc_frames_release(recovery->frames, place);
	return false;
}

/* Descriptors that no entry owns are erased, so that the image tells the truth. */
static void erase_unowned(struct bc_disk_desc *descs, u16 owned)
{
	u32 slot;

	for (slot = 0; slot < BC_FRAME_BLOCKS; slot++) {
		if (!(owned & BIT(slot)))
			memset(&descs[slot], 0, sizeof(descs[slot]));
	}
}

void bc_recover_frame(const struct bc_recovery *recovery, u32 frame)
{
	struct bc_disk_clean_unit *unit = &recovery->units[bc_clean_unit_of(frame)];
	struct bc_disk_desc *descs = &unit->desc[bc_clean_desc_of(frame, 0)];
	struct bc_place place = { .frame = frame };
	struct bc_desc first;
	u32 slot = 0, bytes;
	u16 owned = 0;

	while (bc_recover_chunk(descs, &slot, &place, &first, &bytes)) {
		if (keep(recovery, &first, &place, bytes))
			owned |= place_mask(&place);
	}
	erase_unowned(descs, owned);
}
