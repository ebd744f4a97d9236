/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Units of the clean table, read and written. A few are kept in memory as they are on the device,
 * since whoever reads a block for the first time since attach needs its descriptor.
 *
 * A unit belongs to one slot. None is read to be kept while a unit of its slot is being written,
 * nor the other way round: so none is read half written, and what a slot has is what
 * the device has. What a slot has may be used meanwhile: who asks does so of
 * descriptors that do not change. Who writes may read units as it likes, as there is one writer
 * at a time.
 */
#ifndef BC_UNITS_H
#define BC_UNITS_H

#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "record.h"

struct bc_meta_group;
struct bc_meta_request;
struct bc_tier;

/* Most units that are kept: 1 MiB. */
#define BC_UNITS_KEPT	256

/* A unit that could not be read is not asked for again so soon; nor if it was no fault of its. */
#define BC_UNIT_BAD_TIME	(5 * HZ)
#define BC_UNIT_ERROR_TIME	(HZ / 4)

struct bc_unit_slot {
	spinlock_t lock;		/* what follows, and the bytes unless it is being read */
	u64 unit;			/* the one that is kept, or BC_UNIT_NONE */
	u64 bad;			/* one that could not be read, or BC_UNIT_NONE: */
	int error;			/* why, */
	unsigned long bad_until;	/* it is believed that long: jiffies */
	u32 writing;			/* its units that are being written */
	bool reading;			/* one is being read to be kept */
	bool used;			/* asked for since it was kept, or was to go */
	struct work_struct ahead;	/* reads @ahead_unit; holds a reference to the tier */
	u64 ahead_unit;
	struct bc_tier *tier;
};

#define BC_UNIT_NONE	U64_MAX

struct bc_units {
	u32 slots;
	struct bc_unit_slot *slot;
	struct bc_disk_clean_unit *bytes;	/* of each slot */
	wait_queue_head_t wait;			/* for a slot that is being read or written */
};

/* For a table of so many units. May sleep. Return: 0 or -ENOMEM. */
int bc_units_init(struct bc_tier *tier, u64 count);
void bc_units_free(struct bc_units *units);

/* Bytes of memory in use. */
size_t bc_units_memory(const struct bc_units *units);

/**
 * bc_units_get - descriptors of a frame, as the device has them
 * @tier: tier
 * @frame: number of the frame
 * @blocks: of it, bit per block
 * @descs: those of @blocks are filled in
 *
 * Of a damaged unit: none. Sleeps, allocates nothing but bios. Return: 0 or errno of the device,
 * now or some seconds ago.
 */
int bc_units_get(struct bc_tier *tier, u32 frame, u16 blocks,
		 struct bc_disk_desc descs[BC_FRAME_BLOCKS]);

/* Descriptors of this frame will be asked for: begin to read them. */
void bc_units_ahead(struct bc_tier *tier, u32 frame);

/* Read some units that follow each other, by one request. Return: 0 or errno. */
int bc_units_read(struct bc_tier *tier, u64 unit, u32 count, struct bc_disk_clean_unit *bytes);

/*
 * A unit that was read: if it is not what was written there, read again either, it is taken as
 * empty, and lost.
 */
void bc_units_check(struct bc_tier *tier, u64 unit, struct bc_disk_clean_unit *bytes);

/* The same of one that cannot be read at all. */
void bc_units_lost(struct bc_tier *tier, u64 unit, struct bc_disk_clean_unit *bytes,
		   const char *why);

/* By the writer, tier->table_mutex held; each unit at most once in a group. */

/* If it is kept: the same as what would be read. Return: whether it is. */
bool bc_units_copy(struct bc_tier *tier, u64 unit, struct bc_disk_clean_unit *bytes);

void bc_units_submit_read(struct bc_tier *tier, struct bc_meta_group *group,
			  struct bc_meta_request *request, u64 unit,
			  struct bc_disk_clean_unit *bytes);

/* Seals it, too. When the group has ended bc_units_written() follows. */
void bc_units_submit_write(struct bc_tier *tier, struct bc_meta_group *group,
			   struct bc_meta_request *request, u64 unit,
			   struct bc_disk_clean_unit *bytes);

/* After a write of it failed, and before bc_units_written(): once more. */
void bc_units_submit_again(struct bc_tier *tier, struct bc_meta_group *group,
			   struct bc_meta_request *request, u64 unit,
			   struct bc_disk_clean_unit *bytes);
void bc_units_written(struct bc_tier *tier, u64 unit, const struct bc_disk_clean_unit *bytes,
		      int error);

#endif /* BC_UNITS_H */
