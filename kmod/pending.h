/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the clean table on the device does not say yet. Of the table itself nothing is kept in
 * memory but this: the descriptor of a block is the one that waits in its frame's overlay,
 * or nothing if it was erased, or else what is on the device.
 *
 * A unit is written as a whole. It is read, unless all of it waits here; then
 * bc_pending_apply() makes it what it shall be, without forgetting anything. When it was
 * written bc_pending_written() forgets what the device says now, and finds that out by
 * comparing, so that what changed meanwhile still waits. When it was not,
 * bc_pending_mark() says that it is to be written still.
 *
 * Not locked: the tier's lock covers every call but init and free. Nothing sleeps but these.
 */
#ifndef BC_PENDING_H
#define BC_PENDING_H

#include "pure.h"
#include "record.h"

/* Descriptors of one frame that wait to be written. */
struct bc_overlay {
	struct bc_overlay *next;	/* in its bucket */
	u32 frame;
	u16 set;			/* bit per block: it waits; not 0 for long */
	struct bc_disk_desc desc[BC_FRAME_BLOCKS];
};

#define BC_PENDING_BUCKETS	1024

/* Whoever stores when so many wait, or are about to, is to be told that the table lags behind. */
#define BC_PENDING_MAX		4096U

/* Lists of 64. */
#define BC_PENDING_LIMIT	(64U * BC_PENDING_BUCKETS)

struct bc_pending {
	u64 frames, units;
	u32 max;
	u32 overlays;			/* in buckets, or reserved */
	u64 units_dirty;		/* their number */
	unsigned long *dirty;		/* bit per unit: it is to be written */
	u16 *erased;			/* per frame: bit per block; never one of its overlay's */
	struct bc_overlay **bucket;
};

/* What a frame costs, rounded up: 16 bits, and a fifth of one for its unit. */
#define BC_PENDING_FRAME_BYTES	3

/**
 * bc_pending_init - nothing waits
 * @pending: to initialise
 * @frames: number of frames
 * @max: most overlays
 *
 * May sleep. Return: 0 or -ENOMEM.
 */
int bc_pending_init(struct bc_pending *pending, u64 frames, u32 max);
void bc_pending_free(struct bc_pending *pending);

/*
 * May one more overlay be allocated? It counts from now on. Who did not use it, or had no memory
 * for it, calls bc_pending_unreserve().
 */
bool bc_pending_reserve(struct bc_pending *pending);
void bc_pending_unreserve(struct bc_pending *pending);

/**
 * bc_pending_overlay - the overlay of a frame
 * @pending: what waits
 * @frame: number of the frame
 * @spare: an overlay from kmalloc() that was reserved; NULL on return if it was used
 *
 * The caller puts descriptors into it and says which by bc_pending_set(), under the same lock.
 */
struct bc_overlay *bc_pending_overlay(struct bc_pending *pending, u32 frame,
				      struct bc_overlay **spare);

/* These descriptors of it (bit per block, not 0) are to be written. */
void bc_pending_set(struct bc_pending *pending, struct bc_overlay *overlay, u16 blocks);

/* Descriptors of these blocks of a frame are to be erased, whatever they are. */
void bc_pending_erase(struct bc_pending *pending, u32 frame, u16 blocks);

/*
 * The unit on the device says nothing: it was never written, or is damaged. That alone does not
 * have it written.
 */
void bc_pending_lost(struct bc_pending *pending, u64 unit);

/**
 * bc_pending_get - a frame's descriptors, as far as they wait
 * @pending: what waits
 * @frame: number of the frame
 * @descs: those of the returned blocks are filled in
 *
 * Return: bit per block. The others are as the device says.
 */
u16 bc_pending_get(const struct bc_pending *pending, u32 frame,
		   struct bc_disk_desc descs[BC_FRAME_BLOCKS]);

/* Blocks of a frame of which bc_pending_get() tells. */
u16 bc_pending_known(const struct bc_pending *pending, u32 frame);

/* The unit is to be written. */
void bc_pending_mark(struct bc_pending *pending, u64 unit);

/* The first unit from @unit on that is to be written, or pending->units. */
u64 bc_pending_next(const struct bc_pending *pending, u64 unit);

/* A way through the units, once round from where the last one ended. */
struct bc_pending_walk {
	u64 cursor;	/* the unit to go on with; stays from way to way */
	u64 left;	/* units to be looked at */
};

void bc_pending_walk(const struct bc_pending *pending, struct bc_pending_walk *walk);

/* The next one that is to be written, or BC_PENDING_END. */
u64 bc_pending_walk_next(const struct bc_pending *pending, struct bc_pending_walk *walk);

#define BC_PENDING_END	U64_MAX

/* Is nothing of what the device says in this unit to stay? */
bool bc_pending_covers(const struct bc_pending *pending, u64 unit);

/*
 * Make a unit, as read or of zeros, what it shall be. It counts as written from now on; what
 * changes after this marks it again.
 */
void bc_pending_apply(struct bc_pending *pending, u64 unit, struct bc_disk_clean_unit *bytes);

/* These bytes of the unit are on the device. */
void bc_pending_written(struct bc_pending *pending, u64 unit,
			const struct bc_disk_clean_unit *bytes);

/* Bytes of memory in use. */
size_t bc_pending_memory(const struct bc_pending *pending);

#endif /* BC_PENDING_H */
