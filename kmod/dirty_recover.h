/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an attach makes of the dirty table: which objects are there, and which descriptors are dead.
 * Pure: the same code looks at images in userspace.
 *
 * An object is what has a live name block of its generation. Of its blocks the one with the highest
 * sequence counts, unless it is behind the object's size or was cut off. Of two names with one
 * path the higher sequence wins. What contradicts itself is set aside: it stays as it is,
 * and nothing is done with it.
 */
#ifndef BC_DIRTY_RECOVER_H
#define BC_DIRTY_RECOVER_H

#include "dirty_table.h"
#include "name.h"

enum bc_fate {
	BC_FATE_LIVE,
	BC_FATE_DEAD,		/* to be cleared; its place is free then */
	BC_FATE_ASIDE,
};

/* One descriptor in use. */
struct bc_dirty_found {
	struct bc_dirty_desc at;
	u32 number;		/* in the table */
	enum bc_fate fate;
};

/* What has a name. */
struct bc_dirty_object {
	u32 first, end;		/* of its descriptors; the first is that of the name */
	enum bc_fate fate;
	const char *why;	/* of BC_FATE_ASIDE; a static string */
	struct bc_dirty_name name;	/* but of BC_FATE_ASIDE; strings are in @bytes */
	void *bytes;
};

/**
 * struct bc_dirty_recovery - in and out
 * @table: loaded
 * @uuid: of the tier
 * @read: bytes of a block, as many as its descriptor says; 0 or errno
 * @arg: for @read
 * @torn: of some units only the copy of before is there: data without a name is set aside, then
 * @nameless: out: descriptors of such data
 * @buffer: its own
 * @found: out: all descriptors, each object's together
 * @count: out: their number
 * @object: out
 * @objects: out: their number
 */
struct bc_dirty_recovery {
	const struct bc_dtable *table;
	const u8 *uuid;
	int (*read)(void *arg, const struct bc_dirty_desc *desc, void *buffer);
	void *arg;
	bool torn;
	u32 nameless;
	void *buffer;
	struct bc_dirty_found *found;
	u32 count;
	struct bc_dirty_object *object;
	u32 objects;
};

/**
 * bc_dirty_recover - find out what is there
 * @recovery: see there
 *
 * May sleep. Return: 0 or -ENOMEM; bc_dirty_recovered() frees in either case.
 */
int bc_dirty_recover(struct bc_dirty_recovery *recovery);
void bc_dirty_recovered(struct bc_dirty_recovery *recovery);

/* Bytes of a block that count: behind them are zeroes, whatever the block has there. */
u32 bc_dirty_valid(const struct bc_dirty_name *name, const struct bc_desc *desc);

#endif /* BC_DIRTY_RECOVER_H */
