/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fills: chunks, or blocks of them, on their way. One fill per (key, chunk), however
 * many readers.
 *
 * A fill's life:
 *
 *   NEW -> CLAIMED -> (BIND, FILLs) -> STORING -> ENDED     from the store
 *                                   STORING -> RESTING -> ENDED   and no tier keeps it
 *              CLAIMED -> NEW                             the next blocks
 *              RESTING -> NEW                             a reader needs what it has not
 *              RESTING -> STORING                         somebody wants it kept after all
 *       NEW, CLAIMED -> STORING                           given up: what came is kept
 *   NEW -> LOWER -> ENDED                                   from the lower
 *          LOWER -> NEW                               it failed, or is another one now
 *   any -> ENDED with an error
 *
 * A fill that no tier keeps rests: its pages serve the reads that one pass over the
 * chunk consists of, until each was read once or a time has passed.
 *
 * What the daemon is asked for is one run of blocks; each run is a request with an
 * id of its own. Blocks that readers wait for come first, what else is wanted of the
 * chunk after that, with a lower priority; fill_part.c decides. A fill may end with
 * a part of its chunk.
 *
 * CLAIMED returns to NEW when the lease expires or the daemon goes. Bytes that
 * arrived stay: whoever goes on with the fill brings the same version.
 *
 * References: the table holds one until the fill ended; each worker and each
 * ioctl holds one while it works on it. Pages go with the last reference.
 *
 * Locks, outer to inner: object->bind_mutex, fill->copy_mutex, bc_fills.lock, the
 * tier's and fill->lock. bc_fills.lock covers the table, states and owners; fill->lock
 * covers waiters and which pages are valid. Process context only. A state that
 * was looked at is looked at again under the lock before it is changed.
 *
 * fill.c has the table and the life of a fill, fill_read.c its readers, fill_part.c
 * which blocks come when, fill_cancel.c what ends it before its time, fill_rest.c what
 * becomes of it when it is full, fill_scan.c what happens to all at once, fill_daemon.c
 * what the daemon does to it, fallback.c how the lower fills it.
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
	u64 id;				/* of the request; bc_fills.lock, as the next five */
	u16 want;			/* blocks that shall come */
	u16 have;			/* blocks that the tier had: not fetched unless needed */
	u16 asked;			/* blocks of the request: one run */
	bool stream;			/* what is missing comes in one run, not block by block */
	bool again;			/* touched before: its rest is worth fetching */
	enum bc_fill_state state;	/* bc_fills.lock */
	enum bc_priority priority;
	bool parked;			/* another fill shall bind the object; bc_fills.lock */
	bool kick;			/* the scan shall dispatch it; bc_fills.lock */
	bool wanted;			/* on the tier: not only read; bc_fills.lock */
	bool more;			/* all is wanted, since it is STORING; bc_fills.lock */
	bool expired;			/* it ends as its time is over; bc_fills.lock */
	bool retry_later;		/* the store wants to be left alone until retry_at */
	u8 lower_tries;
	int store_error;		/* how the store failed before the lower was asked, or 0 */
	int error;			/* valid when ENDED */
	u64 epoch;			/* owner while CLAIMED or LOWER; bc_fills.lock */
	s64 claimed_ns;			/* boot clock of its claim; bc_fills.lock */
	unsigned long created, deadline, lease, announced, retry_at; /* jiffies; bc_fills.lock */
	unsigned long rests_until;	/* jiffies; set before RESTING */
	unsigned long due;		/* jiffies; no waiter's deadline is before it; fill->lock */

	struct mutex copy_mutex;	/* one FILL copies at a time */
	spinlock_t lock;		/* inside bc_fills.lock */
	struct list_head waiters;	/* bc_io; fill->lock */
	struct page **pages;		/* set once under copy_mutex; each where it is valid */
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
 * @io: the read that needs blocks of it; NULL = all of it
 * @priority: reason
 * @limited: refuse when too many are in flight, or no daemon is there: nobody waits for it
 * @out: if not NULL: the fill with a reference, or NULL if that is on a tier already
 *
 * Return: 0, -EBUSY refused, -ENOMEM, -EIO client is gone, -ESTALE version is gone.
 */
int bc_fill_start(struct bc_object *object, u32 chunk, const struct bc_io *io,
		  enum bc_priority priority, bool limited, struct bc_fill **out);

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
int bc_fill_done(u64 id, u64 epoch, enum bc_done_status status, u32 retry_after_ms,
		 bool coalesced);

/* Binding changes the key of an object's fills, atomically with the binding. */
void bc_fills_bind(struct bc_object *object, enum bc_binding binding,
		   const struct bc_version *version, const struct bc_key *key);

/* End all fills of a client with an error. */
void bc_fills_abort(struct bc_client *client, int error);

/* What waits in the lower that the client had, or failed there, is read from the new one. */
void bc_fills_lower_renewed(struct bc_client *client);

/* The daemon went: what it had claimed is new again. It is not alive any more. */
void bc_fills_daemon_lost(void);

/**
 * bc_fill_requeue - back to NEW, if it is in this state
 * @epoch: whose claim, or which read of the lower
 *
 * Return: true if it was and is NEW now.
 */
bool bc_fill_requeue(struct bc_fill *fill, enum bc_fill_state from, u64 epoch);

/* Bring a NEW fill to whoever can serve it; nothing happens to others. Process context. */
void bc_fill_dispatch(struct bc_fill *fill);

/* NEW -> LOWER, if that is allowed. Return: true if so. */
bool bc_fill_try_lower(struct bc_fill *fill);

/* End a fill: complete its readers, take it off the table. What it has is lost. */
void bc_fill_end(struct bc_fill *fill, int error);

/* States that a fill is in until it has all that is wanted, or is given up. */
#define BC_FILL_FETCHING	(BIT(BC_FILL_NEW) | BIT(BC_FILL_CLAIMED) | BIT(BC_FILL_LOWER))

/* The same, if it is in one of these states. Return: whether it was. */
bool bc_fill_end_if(struct bc_fill *fill, int error, unsigned int states);

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

/* What a fill is started for, or joined. */
struct bc_aim {
	u16 need;		/* blocks that a reader waits for */
	u16 want;		/* these, and what shall come with them */
	bool stream;		/* in one run */
};

/* fill_part.c. bc_fills.lock held, except where it says otherwise. */

/* @io may be NULL: all of the chunk. */
void bc_fill_aim(const struct bc_object *object, u32 chunk, const struct bc_io *io,
		 struct bc_aim *aim);
/* All blocks of the chunk; as if it were a whole one while its object is unbound. */
u16 bc_fill_all(const struct bc_fill *fill);
/* Blocks whose bytes are in the fill's pages. Any locks. */
u16 bc_fill_complete(struct bc_fill *fill);
/* Let the next request be for these blocks first. Return: false if there is nothing to ask for. */
bool bc_fill_ask(struct bc_fill *fill, u16 urgent);
/* It is NEW again, as another request with another id. */
void bc_fill_next_request(struct bc_fill *fill);
/* It is NEW again, as the same request for what is left of it. */
void bc_fill_same_request(struct bc_fill *fill);

enum bc_advance {
	BC_ADVANCE_NOT,		/* bytes of the request are missing, or it is not the caller's */
	BC_ADVANCE_MORE,	/* it is NEW again, with another request */
	BC_ADVANCE_STORE,	/* it is STORING; the caller has a reference for bc_fill_store() */
};

/* The request was answered in full. No locks held. */
enum bc_advance bc_fill_advance(struct bc_fill *fill, u64 epoch);

/* A request as the daemon is told of it. */
struct bc_fetch_request {
	u64 id, offset, length;
	enum bc_priority priority;
	bool claimed;
};

/* No locks held. */
void bc_fill_request(struct bc_fill *fill, struct bc_fetch_request *request);

/* fill_rest.c. No locks held, except where it says otherwise. */

/* Store what it has, then end it. In state STORING; takes the caller's reference over. */
void bc_fill_store(struct bc_fill *fill);
void bc_fill_store_work(struct work_struct *work);

/* A resting fill shall be on the tier after all. bc_fills.lock held. */
void bc_fill_store_again(struct bc_fill *fill);

/* What joining a fill changed. */
enum bc_joined {
	BC_JOINED,	/* nothing that the daemon should know */
	BC_RAISED,	/* its priority: the daemon is told again */
	BC_REVIVED,	/* it is NEW again: to be dispatched */
};

/* @reason joins a resting fill. bc_fills.lock held. */
enum bc_joined bc_fill_join_resting(struct bc_fill *fill, const struct bc_fill *reason,
				    const struct bc_aim *aim);

/* Would this many more push out of memory what rests there unread? Any locks. */
bool bc_fills_rest_full(u32 more);

/* All that it has was read. Without fill->lock: a hint. */
static inline bool bc_fill_all_seen(const struct bc_fill *fill)
{
	return bitmap_subset(fill->valid, fill->seen, BC_CHUNK_PAGES);
}

/* fill_scan.c */

/* Deadlines, leases and rests are looked at again, after an interval. Any locks. */
void bc_fills_scan_later(void);
void bc_fills_scan_work(struct work_struct *work);

/* fill_cancel.c. No locks held, except where it says otherwise. */

/*
 * NEW or CLAIMED -> STORING, if there is anything to store. bc_fills.lock held.
 * Return: true if so; the caller has a reference for bc_fill_store().
 */
bool bc_fill_begin_store(struct bc_fill *fill);

/**
 * bc_fill_settle - end a fill with an error, but keep the blocks that came
 * @fill: one that is STORING or RESTING by now is left alone
 * @error: for its readers
 */
void bc_fill_settle(struct bc_fill *fill, int error);

/* The same with -ETIMEDOUT, if its time is over. */
void bc_fill_expire(struct bc_fill *fill);

/* Take the reads of a client off the waiters. fill->lock held. */
void bc_fill_take_reads(struct bc_fill *fill, const struct bc_client *client,
			struct list_head *taken);

/* End reads that were taken, with an error. */
void bc_fill_fail_reads(struct list_head *taken, int error);

/* Nobody has the object open any more: end what only its readers waited for. */
void bc_fills_cancel(struct bc_object *object);

/* A reader of a fill that ended with this error. */
void bc_fill_end_waiter(struct bc_fill *fill, struct bc_io *io, int error);

/**
 * bc_fills_match - the next fill after an id that matches
 * @after: 0 to begin; then the id of the one that was returned
 * @match: called under bc_fills.lock
 * @arg: for @match
 *
 * Return: with a reference, or NULL.
 */
struct bc_fill *bc_fills_match(u64 *after, bool (*match)(struct bc_fill *fill, const void *arg),
			       const void *arg);

u32 bc_fills_pending(void);
u64 bc_fills_pending_bytes(const struct bc_key *key);

/**
 * bc_fills_next - iterate pending requests for a dump
 * @after: 0 to begin; then the id of the one that was returned
 *
 * Return: the next fill the daemon should know of, with a reference, or NULL.
 */
struct bc_fill *bc_fills_next(u64 *after);

/* New request ids, shared with resolves. */
u64 bc_request_id(void);

/**
 * bc_lower_start - fill from the front end's lower source, in a worker
 * @fill: in state BC_FILL_LOWER; the caller's reference is taken over
 * @turn: its owner then
 *
 * Return: 0 or -ENOMEM (the reference is taken in both cases).
 */
int bc_lower_start(struct bc_fill *fill, u64 turn);

/* Forget lower reads that did not begin and for which no fill waits any more. */
void bc_lower_purge(struct bc_client *client);
int bc_lower_init(void);
void bc_lower_exit(void);

#endif /* BC_FILL_H */
