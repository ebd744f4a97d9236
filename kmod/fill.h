/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fills: chunks on their way. One fill per (key, chunk), however many readers.
 *
 * A fill's life:
 *
 *   NEW -> CLAIMED -> (BIND, FILLs) -> STORING -> ENDED     from the store
 *                                   STORING -> RESTING -> ENDED   and no tier keeps it
 *   NEW -> LOWER -> ENDED                                   from the lower
 *   any -> ENDED with an error
 *
 * A fill that no tier keeps rests: its pages serve the reads that one pass over the
 * chunk consists of, until each was read once or a time has passed.
 *
 * CLAIMED returns to NEW when the lease expires or the daemon goes. Bytes that
 * arrived stay: whoever goes on with the fill brings the same version.
 *
 * References: the table holds one until the fill ended; each worker and each
 * ioctl holds one while it works on it. Pages go with the last reference.
 *
 * Locks, outer to inner: object->bind_mutex, fill->copy_mutex, bc_fills.lock,
 * fill->lock. bc_fills.lock covers the table, states and owners; fill->lock
 * covers waiters and which pages are valid. Process context only. A state that
 * was looked at is looked at again under the lock before it is changed.
 *
 * fill.c has the table and the life of a fill, fill_daemon.c what the daemon
 * does to it, fallback.c how the lower fills it.
 */
#ifndef BC_FILL_H
#define BC_FILL_H

#include <linux/bitmap.h>
#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "object.h"

#define BC_CHUNK_PAGES	(BC_CHUNK_SIZE >> PAGE_SHIFT)

enum bc_fill_state {
	BC_FILL_NEW,
	BC_FILL_CLAIMED,
	BC_FILL_LOWER,
	BC_FILL_STORING,
	BC_FILL_RESTING,
	BC_FILL_ENDED,
};

struct bc_fill {
	struct kref ref;
	struct hlist_node hash;		/* by key and chunk; may be unhashed; bc_fills.lock */
	struct list_head node;		/* all, in order of ids; bc_fills.lock */
	struct bc_object *object;	/* holds a reference */
	struct bc_key key;		/* the object's; bc_fills.lock */
	u32 chunk;
	u64 id;
	enum bc_fill_state state;	/* bc_fills.lock */
	enum bc_priority priority;
	bool parked;			/* another fill shall bind the object; bc_fills.lock */
	bool kick;			/* the scan shall dispatch it; bc_fills.lock */
	bool wanted;			/* on the tier: not only read; bc_fills.lock */
	bool retry_later;		/* the store wants to be left alone until retry_at */
	u8 lower_tries;
	int store_error;		/* how the store failed before the lower was asked, or 0 */
	int error;			/* valid when ENDED */
	u64 epoch;			/* owner while CLAIMED */
	s64 claimed_ns;			/* boot clock of its claim; bc_fills.lock */
	unsigned long created, deadline, lease, announced, retry_at; /* jiffies; bc_fills.lock */
	unsigned long rests_until;	/* jiffies; set before RESTING */

	struct mutex copy_mutex;	/* one FILL copies at a time */
	spinlock_t lock;		/* inside bc_fills.lock */
	struct list_head waiters;	/* bc_io; fill->lock */
	struct page **pages;		/* set once under copy_mutex */
	u32 nr_pages;
	u32 length;			/* bytes of the chunk; set when the object is bound */
	u32 valid_pages;
	DECLARE_BITMAP(valid, BC_CHUNK_PAGES);
	DECLARE_BITMAP(seen, BC_CHUNK_PAGES);	/* some reader got it; fill->lock */

	struct work_struct store_work;
};

struct bc_fills {
	spinlock_t lock;		/* see above */
	DECLARE_HASHTABLE(table, 10);
	struct list_head all;
	u32 count;			/* of all but the resting */
	u32 resting;
	atomic_t storing;
	struct workqueue_struct *scan_wq;
	struct workqueue_struct *store_wq;
	struct delayed_work scan;
};

extern struct bc_fills bc_fills;

int bc_fills_init(void);
void bc_fills_exit(void);

/**
 * bc_fill_read - answer a read from a fill, an existing or a new one
 * @io: the read; its done() is called in any case
 *
 * Process context, may allocate GFP_NOFS, does not wait.
 */
void bc_fill_read(struct bc_io *io);

/**
 * bc_fill_start - make sure a fill of this chunk is on its way
 * @object: of it
 * @chunk: number of the chunk
 * @priority: reason
 * @limited: refuse when too many are in flight, or no daemon is there: nobody waits for it
 * @out: if not NULL: the fill with a reference, or NULL if the chunk is on a tier already
 *
 * Return: 0, -EBUSY refused, -ENOMEM, -EIO client is gone, -ESTALE version is gone.
 */
int bc_fill_start(struct bc_object *object, u32 chunk, enum bc_priority priority, bool limited,
		  struct bc_fill **out);

static inline void bc_fill_get(struct bc_fill *fill)
{
	kref_get(&fill->ref);
}

void bc_fill_put(struct bc_fill *fill);

/* Bytes of a chunk of a bound object. */
u32 bc_chunk_bytes(const struct bc_object *object, u32 chunk);

/* For the daemon's ioctls; errno as blobcache_dev.h says. */
int bc_fill_claim(u64 id, u64 epoch, bool renew);
int bc_fill_bind(u64 id, u64 epoch, struct bc_version *version);
int bc_fill_copy(u64 id, u64 epoch, u64 offset, u32 length, const void __user *bytes);
int bc_fill_done(u64 id, u64 epoch, enum bc_done_status status, u32 retry_after_ms);

/* Binding changes the key of an object's fills, atomically with the binding. */
void bc_fills_bind(struct bc_object *object, enum bc_binding binding,
		   const struct bc_version *version, const struct bc_key *key);

/* End all fills of a client with an error. */
void bc_fills_abort(struct bc_client *client, int error);

/* The daemon went: what it had claimed is new again. It is not alive any more. */
void bc_fills_daemon_lost(void);

/**
 * bc_fill_requeue - back to NEW, if it is in this state
 * @epoch: with BC_FILL_CLAIMED, whose claim
 *
 * Return: true if it was and is NEW now.
 */
bool bc_fill_requeue(struct bc_fill *fill, enum bc_fill_state from, u64 epoch);

/* Bring a NEW fill to whoever can serve it; nothing happens to others. Process context. */
void bc_fill_dispatch(struct bc_fill *fill);

/* NEW -> LOWER, if that is allowed. Return: true if so. */
bool bc_fill_try_lower(struct bc_fill *fill);

/* End a fill: complete its readers, take it off the table. */
void bc_fill_end(struct bc_fill *fill, int error);

/*
 * End a fill in state STORING that no tier keeps; let it rest before. @wanted: what the tier was
 * told when it was asked.
 */
void bc_fill_rest(struct bc_fill *fill, bool wanted);

/* Complete the readers whose bytes are there. */
void bc_fill_wake_covered(struct bc_fill *fill);

/**
 * bc_fill_deliver - hand the lower's bytes to readers
 * @fill: in state LOWER
 * @pages: of the whole chunk
 * @length: bytes
 *
 * Readers whose mount does not allow lower bytes for this object stay; they are
 * asked again for when the fill ends.
 */
void bc_fill_deliver(struct bc_fill *fill, struct page **pages, u32 length);

u32 bc_fills_pending(void);
u64 bc_fills_pending_bytes(const struct bc_key *key);

/**
 * bc_fills_next - iterate pending requests for a dump
 * @after: id of the last one seen, 0 to begin
 *
 * Return: the next fill the daemon should know of, with a reference, or NULL.
 */
struct bc_fill *bc_fills_next(u64 after);

/* New request ids, shared with resolves. */
u64 bc_request_id(void);

/**
 * bc_lower_start - fill from the front end's lower source, in a worker
 * @fill: in state BC_FILL_LOWER; the caller's reference is taken over
 *
 * Return: 0 or -ENOMEM (the reference is taken in both cases).
 */
int bc_lower_start(struct bc_fill *fill);

/* Forget lower reads that did not begin and whose fills ended. */
void bc_lower_purge(struct bc_client *client);
int bc_lower_init(void);
void bc_lower_exit(void);

#endif /* BC_FILL_H */
