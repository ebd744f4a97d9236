/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The clean table of a tier. Advisory: losing a record loses a cache entry. It is on the device;
 * in memory is what the device does not say yet (pending.h), and a few units (units.h).
 */
#ifndef BC_CLEAN_H
#define BC_CLEAN_H

#include <linux/workqueue.h>

#include "pending.h"

struct bc_fetched;
struct bc_tier;
struct netlink_ext_ack;

/* Read the table and rebuild index and free space from it. Nothing is written yet. */
int bc_clean_load(struct bc_tier *tier, struct netlink_ext_ack *extack);

/* Once others may write to the device: what the load found to erase is written, some time. */
void bc_clean_start(struct bc_tier *tier);
void bc_clean_free(struct bc_tier *tier);

/**
 * bc_clean_get - descriptors of a frame
 * @tier: tier
 * @frame: number of the frame
 * @blocks: of it, bit per block
 * @descs: those of @blocks are filled in, perhaps others
 *
 * Those of an entry stay as long as it is pinned, but for blocks that come to it; others may have
 * changed on return. Process context, may wait for the device, allocates nothing but bios.
 * Return: 0 or errno.
 */
int bc_clean_get(struct bc_tier *tier, u32 frame, u16 blocks,
		 struct bc_disk_desc descs[BC_FRAME_BLOCKS]);

/* Descriptors of these blocks of a frame will be asked for: begin to read what is not known. */
void bc_clean_ahead(struct bc_tier *tier, u32 frame, u16 blocks);

/**
 * bc_clean_reserve - memory for descriptors, before anything is stored
 * @tier: tier
 * @wanted: somebody asked for it to be stored
 *
 * May sleep (GFP_NOIO); if too many wait to be written already, a second for them; few wait so if
 * it is not @wanted. Return: NULL if there is none.
 */
struct bc_overlay *bc_clean_reserve(struct bc_tier *tier, bool wanted);

/* What was not needed of it; may be NULL. */
void bc_clean_unreserve(struct bc_tier *tier, struct bc_overlay *spare);

/**
 * bc_clean_set - some blocks of a chunk are on the device: let the table say so
 * @tier: tier; its lock is held
 * @place: of the chunk
 * @fetched: the chunk
 * @blocks: which of its blocks
 * @crc: their checksums
 * @spare: from bc_clean_reserve(); NULL on return if it was used
 */
void bc_clean_set(struct bc_tier *tier, const struct bc_place *place,
		  const struct bc_fetched *fetched, u16 blocks,
		  const u32 crc[BC_CHUNK_BLOCKS], struct bc_overlay **spare);

/* A place is nobody's: let the table say nothing of it. tier->lock held. */
void bc_clean_erase(struct bc_tier *tier, const struct bc_place *place);

/* clean_write.c */

/* Write what changed, for the last time before a detach. Return: 0 or errno. May sleep. */
int bc_clean_write(struct bc_tier *tier);

/* What it needs: a buffer. Return of init: 0 or -ENOMEM; exit is for a tier without, too. */
int bc_clean_write_init(struct bc_tier *tier);
void bc_clean_write_exit(struct bc_tier *tier);
size_t bc_clean_write_memory(void);

/* The same now and then: tier->table_work. */
void bc_clean_work(struct work_struct *work);

/* Records are written this long after the first of them changed, unless too many wait by then. */
#define BC_CLEAN_DELAY	HZ

/* Does so much wait that it is to be written at once? tier->lock held. */
static inline bool bc_clean_crowded(const struct bc_pending *pending)
{
	return pending->overlays >= pending->max / 2;
}

/* Is that so no more, for a while? tier->lock held. */
static inline bool bc_clean_light(const struct bc_pending *pending)
{
	return pending->overlays < pending->max - pending->max / 4;
}

/* Can nothing more be stored until some of it is written? tier->lock held. */
static inline bool bc_clean_full(const struct bc_pending *pending)
{
	return pending->overlays >= pending->max;
}

#endif /* BC_CLEAN_H */
