/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an attach makes of the clean table: units that are void or damaged are
 * taken as empty, extents become index entries, and what no entry owns is to be
 * erased. The table is looked at in windows of some units, in their order. No I/O.
 */
#ifndef BC_RECOVER_H
#define BC_RECOVER_H

#include "frame.h"
#include "index.h"
#include "pending.h"
#include "record.h"

struct bc_recovery {
	const struct bc_super *super;
	struct bc_disk_clean_unit *units;	/* the window, as read; changed */
	u64 first;				/* number of its first unit in the table */
	u64 count;				/* of its units */
	struct bc_pending *pending;		/* takes what is to be erased */
	struct bc_frames *frames;
	struct bc_index *index;
};

/**
 * bc_recover_unit - use a unit only if it is of this tier and undamaged
 * @recovery: what is recovered
 * @unit: number of the unit, in the window
 *
 * Otherwise it is zeroed, and counts as erased; it is not written for that: a later attach may be
 * able to read it. Under the lock that covers @recovery->pending. Return: as bc_unit_check().
 */
int bc_recover_unit(const struct bc_recovery *recovery, u64 unit);

/*
 * Once per frame, when its unit was looked at. What is in no extent is to be erased, and the unit
 * to be written: what is nobody's now must not look like somebody's at a later attach, with other
 * neighbours and a higher limit of sequences. Under the lock that covers @recovery->frames.
 */
void bc_recover_frame(const struct bc_recovery *recovery, u32 frame);

/* The frames of the window: from this one on, up to that before the other. */
static inline u64 bc_recover_first(const struct bc_recovery *recovery)
{
	return recovery->first * BC_CLEAN_FRAMES;
}

static inline u64 bc_recover_end(const struct bc_recovery *recovery)
{
	return min_t(u64, recovery->super->layout.frame_count,
		     (recovery->first + recovery->count) * BC_CLEAN_FRAMES);
}

#endif /* BC_RECOVER_H */
