// SPDX-License-Identifier: GPL-2.0-only
/*
 * Clock eviction, see evict.h.
 */
#include "evict.h"

/*
 * Looks without a lock, so that most entries cost no lock; bc_index_evict()
 * decides. A reference that races with the clearing is lost at worst, which
 * costs a chance and never a reader: those hold pins.
 */
static bool visit(struct bc_index *index, u32 id, struct bc_place *place)
{
	struct bc_entry *entry = &index->entry[id];
	int pins = atomic_read(&entry->pins);
	u8 flags = READ_ONCE(entry->flags);

	if (pins != BC_PINS_DEAD) {
		if (pins || flags != BC_ENTRY_LIVE)
			return false;
		if (READ_ONCE(entry->referenced)) {
			WRITE_ONCE(entry->referenced, 0);
			return false;
		}
	}
	return bc_index_evict(index, id, place);
}

int bc_evict_one(struct bc_index *index, u32 budget, struct bc_place *place)
{
	u64 rounds = 2ULL * index->entries;
	u64 visits = min_t(u64, budget, rounds);
	u32 id;

	if (!READ_ONCE(index->used))
		return -ENOSPC;
	for (; visits; visits--) {
		id = index->clock_hand;
		index->clock_hand = id + 1 < index->entries ? id + 1 : 0;
		if (visit(index, id, place))
			return 0;
	}
	return budget < rounds ? -EAGAIN : -ENOSPC;
}
