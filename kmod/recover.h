/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an attach makes of the clean table: units that are void or damaged become
 * empty, extents become index entries, and the image keeps nothing else. No I/O.
 */
#ifndef BC_RECOVER_H
#define BC_RECOVER_H

#include "frame.h"
#include "index.h"
#include "record.h"

struct bc_recovery {
	const struct bc_super *super;
	struct bc_disk_clean_unit *units;	/* the whole table, as read */
	struct bc_frames *frames;
	struct bc_index *index;
};

/**
 * bc_recover_unit - keep a unit only if it is of this tier and undamaged
 * @recovery: what is recovered
 * @unit: number of the unit
 *
 * Return: as bc_unit_check().
 */
int bc_recover_unit(const struct bc_recovery *recovery, u64 unit);

/* Once per frame, when its unit was looked at. Under the lock that covers @recovery->frames. */
void bc_recover_frame(const struct bc_recovery *recovery, u32 frame);

#endif /* BC_RECOVER_H */
