/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tier: one block device with chunks on it; a node may have several. Pointers
 * to them are under RCU and each use holds a percpu reference, so that detach
 * waits for reads and writes in flight and for nothing else.
 *
 * tier->lock covers free space, eviction, and what of the clean table is to be
 * written. Process context only. Inside it come the index's stripe locks.
 */
#ifndef BC_TIER_H
#define BC_TIER_H

#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/percpu-refcount.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "blobcache_netlink.h"
#include "clean.h"
#include "dirty.h"
#include "engine.h"
#include "evict.h"
#include "frame.h"
#include "index.h"
#include "pending.h"
#include "record.h"
#include "tier_pick.h"
#include "units.h"

struct netlink_ext_ack;

#define BC_TIER_NAME_MAX	255

struct bc_tier {
	struct bc_bdev bdev;
	char name[BC_TIER_NAME_MAX + 1];
	struct mutex super_mutex;	/* for writing it */
	struct bc_super super;
	u32 sector_mask;		/* logical block size - 1 */
	bool was_clean;
	bool failed;			/* serves no more: too many reads failed in a row */
	bool read_only;			/* nothing more is kept: too many writes did */
	bool table_stuck;		/* nor now: the table cannot be written */
	bool table_failing;		/* some of it could not */
	atomic_t errors[2];		/* I/O errors since the last success; READ, WRITE */
	struct work_struct failed_work;	/* tells of it; from failed on, until it is detached */
	struct percpu_ref ref;
	struct completion idle;		/* last reference gone */
	struct bc_index index;
	spinlock_t lock;		/* see above */
	struct bc_frames frames;
	struct bc_evict evict;
	u32 tight_blocks;		/* no room for so many or more in one run, */
	unsigned long tight_until;	/* it was found: jiffies */
	struct bc_pending pending;		/* what the clean table does not say yet */
	struct bc_units units;			/* some of it, as it is on the device */
	struct mutex table_mutex;		/* one writer of the table at a time */
	struct bc_clean_batch *batch;		/* units being written: clean_write.c */
	wait_queue_head_t table_wait;		/* for some of it to be written */
	atomic_t table_waiters;
	struct delayed_work table_work;
	struct bc_dirty_store dirty;		/* what is not in Blob yet */
	struct delayed_work identity_work;
	u32 identity_changes;			/* of the table when it was last written */
	u64 identity_generation;		/* of that save */
	atomic64_t seq;
	/* Checks what was read. Its own: a device that hangs holds up no other tier's. */
	struct workqueue_struct *verify_wq;
};

/* What is told of a tier. */
struct bc_tier_info {
	char name[BC_TIER_NAME_MAX + 1];
	u8 uuid[BC_UUID_SIZE];
	char label[65];
	enum bc_tier_state state;
	u64 device_bytes, table_bytes, frame_bytes, used_bytes, free_bytes, pinned_bytes;
	u64 chunks, chunks_max, memory;
	bool was_clean;
};

static inline void bc_tier_put(struct bc_tier *tier)
{
	percpu_ref_put(&tier->ref);
}

/**
 * bc_tier_attach - open a formatted device and serve from it
 * @path: of the block device, in the caller's mount namespace
 * @extack: says what is wrong
 *
 * Process context; reads the tables, which takes a while. Return: 0 or errno.
 */
int bc_tier_attach(const char *path, struct netlink_ext_ack *extack);

/* Stop serving from it, write its tables, let it go. @path: as given to attach. */
int bc_tier_detach(const char *path, struct netlink_ext_ack *extack);

/* It is going to hold data that is not in Blob. Process context. Return: 0 or errno. */
int bc_tier_mark_dirty(struct bc_tier *tier);

/* What is told of it. */
void bc_tier_info(struct bc_tier *tier, struct bc_tier_info *info);

/* tier_set.c: which tiers there are. What is returned has a reference. Any context. */

/* The tier of a slot below BC_TIERS_MAX, or NULL. */
struct bc_tier *bc_tier_slot(u32 slot);

/* Are chunks to be stored on it? */
static inline bool bc_tier_is_home(const struct bc_tier *tier)
{
	return !READ_ONCE(tier->failed) && !READ_ONCE(tier->read_only) &&
	       !READ_ONCE(tier->table_stuck);
}

/* The next tier, from *@slot on, which moves behind it; NULL if there is none. */
struct bc_tier *bc_tier_next(u32 *slot);

/* The one of that device path, or NULL. */
struct bc_tier *bc_tier_named(const char *name);

/* Let a tier be found. Return: 0, or -EUSERS: too many. */
int bc_tier_publish(struct bc_tier *tier);

/* Let it be found no more. Process context, waits for RCU. */
void bc_tier_unpublish(struct bc_tier *tier);

/* One of them serves no more. Any context. */
void bc_tier_homes(void);

/**
 * bc_tier_find - the tier that serves a chunk
 * @key: version
 * @chunk: number of the chunk
 * @bytes: of the chunk
 * @hit: out: what it has of it; may be of another size
 *
 * If several have some of it, one that has all, or else the one that has most: all who ask for
 * the same are told the same. No side effects. Return: NULL if none does.
 */
struct bc_tier *bc_tier_find(const struct bc_key *key, u32 chunk, u32 bytes, struct bc_hit *hit);

/* The same for a read, by bc_index_lookup(): it counts, and the entry is pinned. */
struct bc_tier *bc_tier_lookup(const struct bc_key *key, u32 chunk, u32 bytes,
			       struct bc_hit *hit);

/*
 * The tier for a chunk that was fetched: which has some of it, or its home. Process context.
 * Return: NULL if there is none.
 */
struct bc_tier *bc_tier_for(const struct bc_key *key, u32 chunk, u32 bytes);

/* Unpin an entry, and free its place if it died meanwhile. Process context. */
void bc_tier_unpin(struct bc_tier *tier, u32 id);

/* Which blocks of a chunk of just so many bytes are there? No side effects. */
u16 bc_tier_blocks(const struct bc_key *key, u32 chunk, u32 bytes);

/*
 * The same before others of its blocks are fetched: an extent that was recovered without its end
 * gets it, or goes, so that what is fetched will not find it too short. Process context.
 */
u16 bc_tier_prepare(const struct bc_key *key, u32 chunk, u32 bytes);

/* Are all of them? */
static inline bool bc_tier_has(const struct bc_key *key, u32 chunk, u32 bytes)
{
	return bc_tier_blocks(key, chunk, bytes) == bc_blocks_of(bytes);
}

/* Bytes of a version of @size bytes that are there. Process context; a kill cuts it short. */
u64 bc_tier_resident(const struct bc_key *key, u64 size);

/**
 * bc_tier_read - answer a read from the tier
 * @io: the read; its object is bound to a version of the store
 * @valid: out, if false is returned: blocks of the chunk that are there
 *
 * Return: false if a block that it needs is not there, or not with the bytes the
 * version has: the caller goes on with a fill. On
 * true io->done() is called later (or was); if the device fails or a checksum
 * is wrong, the read goes on as a miss by itself.
 */
bool bc_tier_read(struct bc_io *io, u16 *valid);

/* Blocks of its chunk that a read of an object of known size touches. */
u16 bc_io_blocks(const struct bc_io *io, u32 bytes);

/* Blocks of a chunk that were fetched. */
struct bc_fetched {
	const struct bc_key *key;
	u32 chunk;
	u32 bytes;		/* of the whole chunk */
	u16 blocks;		/* those that came; not 0 */
	struct page **pages;	/* of the chunk; the last one is zero behind its bytes */
	bool wanted;		/* somebody asked for it to be there: it is worth it */
};

/**
 * bc_tier_store - keep blocks that were fetched, if they are worth it and room can be made
 * @fetched: which
 *
 * Blocks of a chunk that is there in part go to their place in its extent; else there must be room
 * for the whole chunk, whatever came of it. Process context, waits for the device.
 * Return: whether they are there now.
 */
bool bc_tier_store(const struct bc_fetched *fetched);

/* Is this an extent of a chunk of so many bytes? One recovered without its end may be. */
static inline bool bc_tier_fits(const struct bc_hit *hit, u32 bytes)
{
	return hit->bytes == bytes || (hit->open && hit->bytes < bytes);
}

/* Is there a tier that works? */
bool bc_tier_serves(void);

/* Drop a chunk. Return: bytes freed, 0 if not there or being read or pinned. */
u64 bc_tier_drop(const struct bc_key *key, u32 chunk);

/* Let a chunk be among the first to be evicted. Return: its bytes, 0 if not there or pinned. */
u64 bc_tier_demote(const struct bc_key *key, u32 chunk);

/* Drop everything that can be dropped. Return: 0, or -ENOENT if that tier is not attached. */
int bc_tier_drop_all(const char *path);

/* Give blocks back and erase their descriptors. Process context. */
void bc_tier_free_place(struct bc_tier *tier, const struct bc_place *place);

/* Device offset of a place, in sectors. */
static inline sector_t bc_tier_sector(const struct bc_tier *tier, u32 frame, u32 slot, u32 offset)
{
	u64 byte = tier->super.layout.frames_offset + ((u64)frame << BC_CHUNK_SHIFT) +
		   ((u64)slot << BC_BLOCK_SHIFT) + offset;

	return byte >> SECTOR_SHIFT;
}

/* identities.c: the identity table. Load never fails: what is unreadable is not known. */
void bc_identities_load(struct bc_tier *tier);
int bc_identities_save(struct bc_tier *tier, bool last);
void bc_identities_start(struct bc_tier *tier);
void bc_identities_stop(struct bc_tier *tier);

/* Before any I/O of a new tier. Return: 0 or -ENOMEM. */
int bc_tier_io_prepare(struct bc_tier *tier);

/* After all of it. May sleep. */
void bc_tier_io_finish(struct bc_tier *tier);

/*
 * An I/O of this tier, READ or WRITE, ended. Enough failures of one of them in a row, and it serves
 * no more. Any context.
 */
void bc_tier_io_result(struct bc_tier *tier, int rw, int error);

/* tier_io.c */
extern struct workqueue_struct *bc_table_wq;
extern struct bio_set bc_tier_bioset;

/* Its bios in reserve. */
#define BC_TIER_BIOS	64

int bc_tier_io_init(void);
void bc_tier_io_exit(void);

#endif /* BC_TIER_H */
