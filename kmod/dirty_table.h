/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The dirty table of a tier in memory: which descriptors are in use, and what the units that have
 * any say. docs/disk-format.md has the rules by which it is written. Pure.
 *
 * A descriptor is somebody's from bc_dtable_take() to bc_dtable_release(): it is his to set, again
 * and again, so that a new version of a block replaces the old one by one write of one unit.
 *
 * Not locked. Taking and releasing need one lock, all the rest another one; bc_dtable_grow() may
 * run beside both.
 */
#ifndef BC_DIRTY_TABLE_H
#define BC_DIRTY_TABLE_H

#include "pure.h"
#include "record.h"

/* A descriptor of the dirty table with its place. */
struct bc_dirty_desc {
	struct bc_desc desc;
	struct bc_place place;		/* of one block */
};

#define BC_DTABLE_NONE	U32_MAX

struct bc_dtable {
	u64 units;
	u32 count;			/* of descriptors in use */
	u32 cursor;			/* unit to take one from next */
	u64 *used;			/* per unit: bit per descriptor */
	u64 *generation;		/* per unit: of its last write; 0 = none */
	unsigned long *changed;		/* bit per unit: it is to be written */
	struct bc_disk_dirty_unit **image;
};

/**
 * bc_dtable_init - an empty table
 * @table: to initialise
 * @units: per copy
 *
 * May sleep. Return: 0, -ENOMEM, or -EINVAL if there are more than descriptor numbers for.
 */
int bc_dtable_init(struct bc_dtable *table, u64 units);
void bc_dtable_free(struct bc_dtable *table);

/* How many descriptors there are. */
static inline u32 bc_dtable_size(const struct bc_dtable *table)
{
	return table->units * BC_DIRTY_DESCS;
}

/* What was found of a unit. */
enum bc_dtable_found {
	BC_DTABLE_VOID,			/* never written since the format */
	BC_DTABLE_VALID,
	BC_DTABLE_TORN,			/* one copy is damaged, the other one counts */
	BC_DTABLE_DAMAGED,		/* nothing of it can be told */
};

/**
 * bc_dtable_load - take the newer valid copy of a unit
 * @table: table
 * @unit: number of the unit
 * @copies: both, as read; at least one of them is kept by copying
 * @layout: of the tier, which bounds places
 * @seq_end: descriptors with this sequence or a higher one are damage
 * @uuid: of the tier
 *
 * A unit with a descriptor that makes no sense is damaged: nothing of it may be overwritten.
 * Return: what was found, or -ENOMEM.
 */
int bc_dtable_load(struct bc_dtable *table, u64 unit, const struct bc_disk_dirty_unit copies[2],
		   const struct bc_layout *layout, u64 seq_end, const u8 uuid[BC_UUID_SIZE]);

/**
 * bc_dtable_take - a free descriptor
 * @near: one of whose unit it should be, or BC_DTABLE_NONE
 *
 * Return: its number, or BC_DTABLE_NONE if there is none.
 */
u32 bc_dtable_take(struct bc_dtable *table, u32 near);

/* It is free, and says nothing: bc_dtable_clear() came before if it ever was set. */
void bc_dtable_release(struct bc_dtable *table, u32 number);

/* Memory for what a taken descriptor will say. May sleep. Return: 0 or -ENOMEM. */
int bc_dtable_grow(struct bc_dtable *table, u32 number);

/* A descriptor that was taken, and has memory, says this from the next write on. */
void bc_dtable_set(struct bc_dtable *table, u32 number, const struct bc_dirty_desc *desc);

/* It says nothing. */
void bc_dtable_clear(struct bc_dtable *table, u32 number);

/* What it says. Return: false if nothing. */
bool bc_dtable_get(const struct bc_dtable *table, u32 number, struct bc_dirty_desc *desc);

static inline u64 bc_dtable_unit_of(u32 number)
{
	return number / BC_DIRTY_DESCS;
}

/* The first unit from @unit on that is to be written, or table->units. */
u64 bc_dtable_next(const struct bc_dtable *table, u64 unit);

/**
 * bc_dtable_seal - the bytes of a unit's next write
 * @bytes: out
 * @uuid: of the tier
 *
 * Return: which copy they go to.
 */
u32 bc_dtable_seal(const struct bc_dtable *table, u64 unit, struct bc_disk_dirty_unit *bytes,
		   const u8 uuid[BC_UUID_SIZE]);

/* They are on the device, durably. */
void bc_dtable_written(struct bc_dtable *table, u64 unit);

/* A unit of which a copy was damaged is to be written as it is. Return: 0 or -ENOMEM. */
int bc_dtable_rewrite(struct bc_dtable *table, u64 unit);

/* A checksum of what is the newest of each unit: of their generations (docs/disk-format.md). */
u32 bc_dtable_check(const struct bc_dtable *table);

size_t bc_dtable_memory(const struct bc_dtable *table);

/* Encode, and check and decode; places are bounded by @frames. Return of decode: 0 or -EINVAL. */
void bc_dirty_desc_encode(const struct bc_dirty_desc *desc, struct bc_disk_dirty_desc *disk);
int bc_dirty_desc_decode(const struct bc_disk_dirty_desc *disk, u64 frames,
			 struct bc_dirty_desc *desc);

#endif /* BC_DIRTY_TABLE_H */
