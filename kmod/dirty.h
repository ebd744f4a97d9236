/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty objects from the engine's inside. Front ends see back.h only.
 *
 * Locks, outer to inner: bc_dirty_claim_mutex, dirty_store.mutex (commits, and the image of the
 * dirty table; never under a front end's page locks), dirty_names_lock, dirty_store.slots_lock,
 * tier->lock, the lock of bc_dirty.blocks (interrupts off; all states of blocks, and attributes).
 */
#ifndef BC_DIRTY_H
#define BC_DIRTY_H

#include <linux/hashtable.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "back.h"
#include "dirty_recover.h"
#include "tier_meta.h"

struct bc_tier;

/* One version of a block; place.count 0 = none. */
struct bc_dirty_version {
	struct bc_place place;
	u32 length, crc;
	u64 seq;
};

/**
 * struct bc_dirty_block - what is known of a block
 * @block: number
 * @slot: its descriptor in the dirty table
 * @valid: bytes of @cur that count
 * @kept: the place of @durable is somebody else's when the descriptor is cleared
 * @verified: the bytes of @cur were seen to fit its checksum
 * @durable: the table on the device says so, and its place is not to be touched
 * @pending: a commit is under way to make it so; likewise
 * @cur: written last
 * @next: reserved for the next write
 * @spare: was @cur, and nobody's
 * @link: of bc_dirty.dead
 */
struct bc_dirty_block {
	u64 block;
	u32 slot;
	u32 valid;
	bool kept;
	bool verified;
	struct bc_dirty_version durable, pending, cur;
	struct bc_place next, spare;
	struct bc_dirty_block *link;
	struct rcu_head rcu;
};

/* Marks of bc_dirty.blocks. */
#define BC_DIRTY_CACHED		XA_MARK_0	/* the page cache has a newer version */
#define BC_DIRTY_WRITTEN	XA_MARK_1	/* @cur is not described */
#define BC_DIRTY_PENDING	XA_MARK_2	/* a commit has it in its hands */

/* Cut off, see docs/disk-format.md; seq 0 = nothing. */
struct bc_dirty_cut {
	u64 size, seq;
};

/* A version that is kept for an upload. */
struct bc_dirty_kept {
	struct bc_dirty_version version;
	bool described;			/* still by the table: not the flush's to free */
};

/**
 * struct bc_dirty_flush - an upload as of a cut
 * @active: there is one
 * @broken: there was no memory to keep a version of it
 * @renamed: the object has another name since
 * @owner: epoch of the daemon
 * @cut: names it; no version of it has a higher sequence
 * @size: of the object then
 * @step: of commits then
 * @kept: number of a block -> struct bc_dirty_kept, of those that have a newer one by now; an
 *	empty one of those that had none
 */
struct bc_dirty_flush {
	bool active, broken, renamed;
	u64 owner;
	u64 cut, size, step;
	struct xarray kept;
};

/**
 * struct bc_dirty - a dirty object
 * @refs: the names while it has one, and whoever has got it
 * @tier: where it is; stays attached: the claim of a mount sees to that
 * @generation: its key; fixed
 * @volume: fixed
 * @source: fixed
 * @domain: fixed; "" = none
 * @by_path: in the table of names; dirty_names_lock
 * @by_dir: by directory, then by @serial; likewise
 * @by_serial: likewise
 * @by_generation: likewise
 * @on_tier: in the store's list; dirty_names_lock
 * @path_key: of @path; dirty_names_lock
 * @dir_key: of its directory; likewise
 * @serial: grows from object to object; fixed
 * @path: dirty_names_lock
 * @named: it is in the tables
 * @blocks: number -> struct bc_dirty_block; its lock covers all down to @run_left
 * @attr: of now
 * @attr_changed: since the last commit
 * @writers: open files that may write
 * @under_way: blocks that are being written
 * @shrunk: counts truncations
 * @cut: to be said by the next name block
 * @run: blocks of @run_chunk, bit per block that is still nobody's
 * @name_slot: descriptor of the name; from here on the store's mutex
 * @name_place: for the name blocks, in turn
 * @name_now: which of them was written last
 * @name_durable: the device has one
 * @durable_size: that the name on the device says
 * @step: of commits
 * @replaces: generation of the object whose name it took last
 * @base: what the store had
 * @state: as the device says
 * @unlinked: it has no name any more
 * @held: see bc_dirty_hold()
 * @superseded: see there
 * @dead: blocks that were cut off, whose descriptors are to be cleared
 * @release: frees it
 * @acked_seq: the last cut that the store has; 0 = none; the store's mutex, as all that follow
 * @acked_size: of the object then
 * @acked_last_modified: as the store says
 * @acked_etag: of it
 * @acked_ns: boot clock, when the store was asked; 0 = before the attach
 * @retiring: see bc_dirty_unused()
 * @flush: see there
 * @flush_sem: readers of a cut against its end; outside of the store's mutex
 */
struct bc_dirty {
	refcount_t refs;
	struct bc_tier *tier;
	struct bc_key generation, volume;
	char *source, *domain;
	struct hlist_node by_path, by_generation;
	struct rb_node by_dir, by_serial;
	struct list_head on_tier;
	u64 serial;
	char *path;
	struct bc_key path_key, dir_key;
	bool named;

	struct xarray blocks;
	struct bc_dirty_attr attr;
	bool attr_changed;
	u32 writers, under_way, shrunk;
	struct bc_dirty_cut cut;
	u32 last_slot;
	u64 run_chunk;
	struct bc_place run;
	u16 run_left;

	u32 name_slot;
	struct bc_place name_place[2];
	u32 name_now;
	bool name_durable;
	u64 durable_size;
	u64 step;
	struct bc_key replaces;
	enum bc_name_base base;
	enum bc_name_state state;
	bool unlinked, held, superseded;
	struct bc_dirty_block *dead;
	struct work_struct release;

	u64 acked_seq, acked_size;
	s64 acked_last_modified;
	char acked_etag[BC_ETAG_MAX + 1];
	s64 acked_ns;
	bool retiring;
	struct bc_dirty_flush flush;
	struct rw_semaphore flush_sem;
};

#define BC_DIRTY_BATCH	64U

/**
 * struct bc_dirty_store - what a tier keeps for dirty objects
 * @mutex: see above
 * @slots_lock: bc_dtable_take() and bc_dtable_release()
 * @table: the dirty table
 * @failed: it could not be written: what the device says is not known, nothing is freed any more
 * @torn: of some units only the copy of before is there, and nobody knows whether it is the newer
 * @used: INCOMPAT_DIRTY is set
 * @leaving: it is being detached; dirty_names_lock
 * @aside: objects that were set aside
 * @objects: all others; dirty_names_lock
 * @wait: for room
 * @freed: counts what was freed
 * @name: buffer for a name block
 * @units: buffer for units that are written together
 * @requests: of them
 */
struct bc_dirty_store {
	struct mutex mutex;		/* see above */
	spinlock_t slots_lock;		/* likewise */
	struct bc_dtable table;
	bool failed;
	bool torn;
	bool used;
	bool leaving;
	u32 aside;
	struct list_head objects;
	wait_queue_head_t wait;
	atomic_t freed;
	void *name;
	struct bc_disk_dirty_unit *units;
	struct bc_meta_request requests[BC_DIRTY_BATCH];
};

static inline bool bc_place_is(const struct bc_place *place)
{
	return place->count;
}

static inline bool bc_place_equal(const struct bc_place *a, const struct bc_place *b)
{
	return a->frame == b->frame && a->slot == b->slot && a->count == b->count;
}

/* dirty_load.c */

struct netlink_ext_ack;

/* Read the table and find out what is there; frames are taken. Return: 0 or errno. */
int bc_dirty_load(struct bc_tier *tier, struct netlink_ext_ack *extack);

/* Is it too late for it to come? Return: 0, or -EBUSY if a mount writes back what it has. */
int bc_dirty_late(struct bc_tier *tier, struct netlink_ext_ack *extack);

/* Those that nobody has any more give back what they had, now. May sleep. */
void bc_dirty_settle(void);

/* Is the table as the device says it is? @check: out: for the superblock. Nothing is to come. */
bool bc_dirty_close(struct bc_tier *tier, u32 *check);

/* Clear what is dead, once the superblock was written, and let objects be found. */
int bc_dirty_load_finish(struct bc_tier *tier, struct netlink_ext_ack *extack);

/* The tier is to be detached: nobody finds what is on it any more. Return: 0, or -EBUSY. */
int bc_dirty_leave(struct bc_tier *tier);

/* Nobody uses the tier any more: forget what is on it. Also for what load left half done. */
void bc_dirty_unload(struct bc_tier *tier);

/* dirty.c */
extern spinlock_t bc_dirty_names_lock;
extern struct mutex bc_dirty_claim_mutex;
struct workqueue_struct;
extern struct workqueue_struct *bc_dirty_wq;
struct bc_dirty *bc_dirty_alloc(struct bc_tier *tier, const struct bc_dirty_name *name);
void bc_dirty_free(struct bc_dirty *dirty);
int bc_dirty_publish(struct bc_dirty *dirty);
bool bc_dirty_unpublish(struct bc_dirty *dirty);
bool bc_dirty_unpublish_unused(struct bc_dirty *dirty);
void bc_dirty_renamed(struct bc_dirty *dirty, char *path);
struct bc_dirty *bc_dirty_same_path(struct bc_dirty *dirty);
struct bc_dirty *bc_dirty_by_generation(const struct bc_key *generation);
struct bc_dirty *bc_dirty_next_any(u64 *serial);
void bc_dirty_put_any(struct bc_dirty *dirty);
bool bc_dirty_volume_claimed(const struct bc_key *volume);
int bc_dirty_init(void);
void bc_dirty_exit(void);

/* dirty_block.c */
struct bc_dirty_block *bc_dirty_block_new(u64 block, u32 slot);
int bc_dirty_take_slot(struct bc_tier *tier, u32 near, u32 *slot);
void bc_dirty_release_slot(struct bc_tier *tier, u32 slot);
int bc_dirty_take_place(struct bc_tier *tier, const struct bc_key *key, u64 block, u32 count,
			struct bc_place *place);
void bc_dirty_release_place(struct bc_tier *tier, struct bc_place *place);
void bc_dirty_drop_run(struct bc_dirty *dirty);
void bc_dirty_freed(struct bc_tier *tier);

/* dirty_io.c */
int bc_dirty_io_init(void);
void bc_dirty_io_exit(void);

/* dirty_commit.c */
int bc_dirty_write_units(struct bc_tier *tier, u64 except);
int bc_dirty_flush_device(struct bc_tier *tier);
int bc_dirty_clear(struct bc_dirty *dirty);
void bc_dirty_lock(struct bc_dirty *dirty);
int bc_dirty_commit_acked(struct bc_dirty *dirty, bool committed);
void bc_dirty_release_work(struct work_struct *work);

/* flush.c */
bool bc_flush_keep(struct bc_dirty *dirty, const struct bc_dirty_block *b, bool described);
bool bc_flush_take_over(struct bc_dirty *dirty, const struct bc_dirty_block *b);
void bc_flush_drop(struct bc_dirty *dirty);

#endif /* BC_DIRTY_H */
