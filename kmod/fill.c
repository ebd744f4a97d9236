// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of fills and their life. See fill.h for states, references, locks.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "daemon.h"
#include "fill.h"
#include "netlink.h"
#include "segment.h"
#include "stats.h"
#include "tier.h"
#include "trace.h"

static unsigned int max_fills = 64;
module_param(max_fills, uint, 0644);
MODULE_PARM_DESC(max_fills, "fills in flight above which read-ahead and prefetch start no more");

static unsigned int max_resting = 64;
module_param(max_resting, uint, 0644);
MODULE_PARM_DESC(max_resting,
		 "chunks that no tier keeps and that are held in memory until they were read, of 1 MiB each");

/*
 * A reader that is not back by then is not going to read the rest of the chunk. What
 * was read ahead may wait longer for a reader that is slow.
 */
#define REST_TIME	(10 * HZ)
#define REST_TIME_UNREAD (60 * HZ)

#define SCAN_INTERVAL	msecs_to_jiffies(250)

/* A lower file that changes while it is read is read again this often. */
#define LOWER_TRIES	3

struct bc_fills bc_fills;

static void store_work(struct work_struct *work);

/* Fills being written to the tier at once; each keeps a chunk in memory. */
#define MAX_STORING	64

u64 bc_request_id(void)
{
	static atomic64_t last = ATOMIC64_INIT(0);

	return atomic64_inc_return(&last);
}

static void fill_release(struct kref *ref)
{
	struct bc_fill *fill = container_of(ref, struct bc_fill, ref);

	WARN_ON_ONCE(!list_empty(&fill->waiters));
	bc_pages_free(fill->pages, fill->nr_pages);
	bc_object_put(fill->object);
	kfree(fill);
}

void bc_fill_put(struct bc_fill *fill)
{
	kref_put(&fill->ref, fill_release);
}

static struct bc_fill *fill_alloc(struct bc_object *object, u32 chunk, enum bc_priority priority)
{
	struct bc_fill *fill = kzalloc(sizeof(*fill), GFP_NOFS);

	if (!fill)
		return NULL;
	kref_init(&fill->ref);
	INIT_HLIST_NODE(&fill->hash);
	INIT_LIST_HEAD(&fill->node);
	INIT_LIST_HEAD(&fill->waiters);
	spin_lock_init(&fill->lock);
	mutex_init(&fill->copy_mutex);
	INIT_WORK(&fill->store_work, store_work);
	bc_object_get(object);
	fill->object = object;
	fill->chunk = chunk;
	fill->priority = priority;
	fill->wanted = priority == BC_PRIORITY_PREFETCH;
	fill->created = jiffies;
	fill->announced = jiffies;
	fill->deadline = jiffies + msecs_to_jiffies(object->client->deadline_ms);
	return fill;
}

u32 bc_chunk_bytes(const struct bc_object *object, u32 chunk)
{
	u64 start = (u64)chunk << BC_CHUNK_SHIFT;

	if (object->version.size <= start)
		return 0;
	return min_t(u64, object->version.size - start, BC_CHUNK_SIZE);
}

/* Mounts share a fill only if both would have it end the same way when the daemon goes. */
static bool same_policy(const struct bc_client *a, const struct bc_client *b)
{
	return a == b || (a->lower_exact == b->lower_exact &&
			  a->on_daemon_loss == b->on_daemon_loss &&
			  a->deadline_ms == b->deadline_ms);
}

/*
 * The fill of this chunk of the object, of this mount or of another. A store
 * that gives one ETag to two sizes gets two fills.
 */
static struct bc_fill *table_find(const struct bc_object *object, const struct bc_key *key,
				  u32 chunk)
{
	struct bc_fill *fill;

	lockdep_assert_held(&bc_fills.lock);
	hash_for_each_possible(bc_fills.table, fill, hash, bc_key_hash(key, chunk)) {
		if (fill->chunk != chunk || !bc_key_equal(&fill->key, key))
			continue;
		if (fill->object == object ||
		    (same_policy(fill->object->client, object->client) &&
		     fill->length == bc_chunk_bytes(object, chunk)))
			return fill;
	}
	return NULL;
}

/* Only one fill of an unbound object goes to the daemon: the one that binds. */
static bool has_binder(const struct bc_object *object)
{
	struct bc_fill *fill;

	lockdep_assert_held(&bc_fills.lock);
	list_for_each_entry(fill, &bc_fills.all, node) {
		if (fill->object == object && !fill->parked)
			return true;
	}
	return false;
}

static void table_add(struct bc_fill *fill, const struct bc_aim *aim)
{
	struct bc_object *object = fill->object;

	lockdep_assert_held(&bc_fills.lock);
	fill->key = object->key;
	fill->id = bc_request_id();
	if (object->binding == BC_UNBOUND)
		fill->parked = has_binder(object);
	else
		fill->length = bc_chunk_bytes(object, fill->chunk);
	fill->want = aim->want;
	fill->stream = aim->stream;
	bc_fill_ask(fill, aim->need);
	hash_add(bc_fills.table, &fill->hash, bc_key_hash(&fill->key, fill->chunk));
	list_add_tail(&fill->node, &bc_fills.all);
	if (!bc_fills.count++)
		queue_delayed_work(bc_fills.scan_wq, &bc_fills.scan, SCAN_INTERVAL);
}

/* The caller puts the table's reference after dropping the lock. */
static void table_del(struct bc_fill *fill)
{
	lockdep_assert_held(&bc_fills.lock);
	hash_del(&fill->hash);
	list_del_init(&fill->node);
	if (fill->state == BC_FILL_RESTING)
		bc_fills.resting--;
	else
		bc_fills.count--;
}

/* A resting fill shall be on the tier after all. */
static void store_again(struct bc_fill *fill)
{
	lockdep_assert_held(&bc_fills.lock);
	bc_fills.resting--;
	bc_fills.count++;
	WRITE_ONCE(fill->state, BC_FILL_STORING);
	bc_fill_get(fill);	/* the store worker's */
	atomic_inc(&bc_fills.storing);
	queue_work(bc_fills.store_wq, &fill->store_work);
	/* The scan may have seen neither count. */
	queue_delayed_work(bc_fills.scan_wq, &bc_fills.scan, SCAN_INTERVAL);
}

enum joined { JOINED, RAISED, REVIVED };

/* A resting fill has not all that is needed: it is to be filled again. */
static void revive(struct bc_fill *fill, const struct bc_fill *reason, u16 urgent)
{
	lockdep_assert_held(&bc_fills.lock);
	bc_fills.resting--;
	bc_fills.count++;
	fill->priority = reason->priority;
	fill->deadline = reason->deadline;
	bc_fill_ask(fill, urgent);
	bc_fill_next_request(fill);
	queue_delayed_work(bc_fills.scan_wq, &bc_fills.scan, SCAN_INTERVAL);
}

static enum joined join_resting(struct bc_fill *fill, const struct bc_fill *reason,
				const struct bc_aim *aim)
{
	u16 needed = aim->need | (reason->wanted ? fill->want & ~fill->have : 0);

	lockdep_assert_held(&bc_fills.lock);
	if (needed & bc_fill_all(fill) & ~bc_fill_complete(fill)) {
		revive(fill, reason, aim->need);
		return REVIVED;
	}
	if (reason->wanted)
		store_again(fill);
	return JOINED;
}

/* Somebody joins, maybe for a better reason. If nobody waited yet, time begins anew. */
static enum joined join_fill(struct bc_fill *fill, const struct bc_fill *reason,
			     const struct bc_aim *aim)
{
	lockdep_assert_held(&bc_fills.lock);
	fill->want |= aim->want;
	if (aim->need)
		fill->again = true;
	if (reason->wanted)
		WRITE_ONCE(fill->wanted, true);
	if (fill->state == BC_FILL_RESTING)
		return join_resting(fill, reason, aim);
	if (reason->priority >= fill->priority)
		return JOINED;
	fill->priority = reason->priority;
	spin_lock(&fill->lock);
	if (list_empty(&fill->waiters))
		fill->deadline = reason->deadline;
	spin_unlock(&fill->lock);
	return RAISED;
}

/* Is all that is wanted on the tier? Else the fill knows what is. */
static bool on_tier(struct bc_fill *fill, const struct bc_io *io, const struct bc_aim *aim)
{
	struct bc_object *object = fill->object;
	u16 valid;

	lockdep_assert_held(&bc_fills.lock);
	if (object->binding != BC_BOUND_STORE)
		return false;
	valid = bc_tier_prepare(&object->key, fill->chunk, bc_chunk_bytes(object, fill->chunk));
	if (!((io ? aim->need : aim->want) & ~valid))
		return true;
	fill->have = valid & ~aim->need;
	fill->again = valid;
	return false;
}

/*
 * Find the chunk's fill or add the given new one. The tier is asked again under
 * the lock, since a finished fill enters the index before it leaves the table.
 * Returns with a reference, or NULL if what is needed is on the tier by now, or
 * -ESTALE if its version is gone: what was fetched before may still be read.
 */
static struct bc_fill *find_or_add(struct bc_fill *new, const struct bc_io *io,
				   enum joined *joined)
{
	struct bc_object *object = new->object;
	struct bc_fill *fill;
	struct bc_aim aim;

	spin_lock(&bc_fills.lock);
	bc_fill_aim(object, new->chunk, io, &aim);
	fill = table_find(object, &object->key, new->chunk);
	if (fill) {
		*joined = join_fill(fill, new, &aim);
	} else if (on_tier(new, io, &aim)) {
		fill = NULL;
	} else if (READ_ONCE(object->gone)) {
		fill = ERR_PTR(-ESTALE);
	} else {
		table_add(new, &aim);
		bc_fill_get(new);	/* the table's */
		fill = new;
	}
	if (!IS_ERR_OR_NULL(fill))
		bc_fill_get(fill);
	spin_unlock(&bc_fills.lock);
	return fill;
}

static bool lower_allowed(const struct bc_fill *fill)
{
	const struct bc_object *object = fill->object;

	if (!object->ops->read_lower || fill->lower_tries >= LOWER_TRIES ||
	    READ_ONCE(object->client->dead))
		return false;
	return object->binding != BC_BOUND_STORE || object->client->lower_exact;
}

bool bc_fill_try_lower(struct bc_fill *fill)
{
	bool start;

	spin_lock(&bc_fills.lock);
	start = fill->state == BC_FILL_NEW && lower_allowed(fill);
	if (start) {
		WRITE_ONCE(fill->state, BC_FILL_LOWER);
		fill->lower_tries++;
		fill->parked = false;
		bc_fill_get(fill);	/* the lower worker's */
	}
	spin_unlock(&bc_fills.lock);
	if (start && bc_lower_start(fill) && bc_fill_requeue(fill, BC_FILL_LOWER, 0))
		bc_fill_end(fill, -ENOMEM);
	return start;
}

static void end_if_new(struct bc_fill *fill, int error);
static bool end_if_unwanted(struct bc_fill *fill, int error);

/* No daemon answers: what the mount wants now. */
static void without_daemon(struct bc_fill *fill)
{
	if (end_if_unwanted(fill, -ENOTCONN))
		return;
	switch (fill->object->client->on_daemon_loss) {
	case BC_LOSS_FAIL:
		end_if_new(fill, -EIO);
		break;
	case BC_LOSS_LOWER:
		/* Once. If not allowed, or tried: wait for the next daemon, until the deadline. */
		if (!fill->lower_tries)
			bc_fill_try_lower(fill);
		break;
	case BC_LOSS_WAIT:
		break;
	}
}

void bc_fill_dispatch(struct bc_fill *fill)
{
	struct bc_object *object = fill->object;

	if (READ_ONCE(object->client->dead)) {
		end_if_new(fill, -EIO);
		return;
	}
	if (object->lower_only || bc_object_bound(object) == BC_BOUND_LOWER) {
		if (!bc_fill_try_lower(fill))
			end_if_new(fill, -EIO);
		return;
	}
	if (READ_ONCE(fill->parked))
		return;
	/* Even if it does not answer now: it may yet. */
	if (bc_daemon_present() && READ_ONCE(fill->state) == BC_FILL_NEW) {
		WRITE_ONCE(fill->announced, jiffies);
		bc_netlink_announce_fetch(fill);
	}
	if (!bc_daemon_alive())
		without_daemon(fill);
}

/* The daemon learns that it is in more of a hurry than it was told. */
static void announce_again(struct bc_fill *fill)
{
	enum bc_fill_state state = READ_ONCE(fill->state);

	if ((state == BC_FILL_NEW || state == BC_FILL_CLAIMED) && !READ_ONCE(fill->parked) &&
	    !fill->object->lower_only && bc_daemon_present())
		bc_netlink_announce_fetch(fill);
}

static void joined_fill(struct bc_fill *fill, enum joined joined)
{
	if (joined == REVIVED)
		bc_fill_dispatch(fill);
	else if (joined == RAISED)
		announce_again(fill);
}

/*
 * More than can be in flight; or, where no tier keeps them, more than can rest in memory: they
 * would push each other out unread, only to be fetched again.
 */
static bool too_many(enum bc_priority priority)
{
	u32 count = READ_ONCE(bc_fills.count), resting = READ_ONCE(bc_fills.resting);

	if (count >= READ_ONCE(max_fills))
		return true;
	return priority == BC_PRIORITY_READAHEAD && resting &&
	       count + resting >= READ_ONCE(max_resting);
}

int bc_fill_start(struct bc_object *object, u32 chunk, const struct bc_io *io,
		  enum bc_priority priority, bool limited, struct bc_fill **out)
{
	struct bc_fill *new, *fill;
	enum joined joined;

	if (READ_ONCE(object->client->dead))
		return -EIO;
	if (limited && (too_many(priority) || !bc_daemon_alive())) {
		bc_stat_inc(BC_STAT_PREFETCH_DROPPED);
		return -EBUSY;
	}
	new = fill_alloc(object, chunk, priority);
	if (!new)
		return -ENOMEM;
	fill = find_or_add(new, io, &joined);
	if (IS_ERR(fill)) {
		bc_fill_put(new);
		return PTR_ERR(fill);
	}
	if (fill == new) {
		bc_stat_inc(limited ? BC_STAT_PREFETCH_REQUESTS : BC_STAT_FETCH_REQUESTS);
		trace_bc_fill_start(new->id, chunk, priority);
		bc_fill_dispatch(new);
	} else if (fill) {
		if (!limited)
			bc_stat_inc(BC_STAT_JOINED_READS);
		joined_fill(fill, joined);
	}
	bc_fill_put(new);
	if (out)
		*out = fill;
	else if (fill)
		bc_fill_put(fill);
	return 0;
}

/* Are the bytes of this read in the fill's pages? Then it has seen them. fill->lock held. */
static bool io_covered(struct bc_fill *fill, const struct bc_io *io)
{
	u32 offset = io->pos & (BC_CHUNK_SIZE - 1), first, last, end;

	lockdep_assert_held(&fill->lock);
	if (bc_object_bound(fill->object) != BC_BOUND_STORE)
		return false;
	end = min(offset + io->length, fill->length);
	if (offset >= end)
		return true;
	first = offset >> PAGE_SHIFT;
	last = (end - 1) >> PAGE_SHIFT;
	if (find_next_zero_bit(fill->valid, last + 1, first) <= last)
		return false;
	bitmap_set(fill->seen, first, last - first + 1);
	return true;
}

/* All that it has. */
static bool all_seen(const struct bc_fill *fill)
{
	return bitmap_subset(fill->valid, fill->seen, BC_CHUNK_PAGES);
}

static void io_copy(struct bc_io *io, struct page **pages, u32 length)
{
	u32 offset = io->pos & (BC_CHUNK_SIZE - 1);
	u32 bytes = offset < length ? min(io->length, length - offset) : 0;

	bc_segments_from_pages(io->bvecs, io->nr_bvecs, pages, offset, bytes);
	bc_segments_zero(io->bvecs, io->nr_bvecs, bytes);
}

/* Return: 0 done or queued, -EAGAIN begin anew, or an error to tell the reader. */
static int join(struct bc_fill *fill, struct bc_io *io)
{
	bool covered = false;
	int ret = 0;

	spin_lock(&fill->lock);
	if (io_covered(fill, io))
		covered = true;
	else if (fill->state == BC_FILL_RESTING)
		/* It came to rest meanwhile: it must be told that there is more to fetch. */
		ret = -EAGAIN;
	else if (fill->state != BC_FILL_ENDED)
		list_add_tail(&io->node, &fill->waiters);
	else if (fill->error == -ECANCELED)
		ret = -EAGAIN;
	else
		/* If it ended well it did not keep its pages: begin anew. */
		ret = fill->error ?: -EAGAIN;
	spin_unlock(&fill->lock);
	if (covered) {
		io_copy(io, fill->pages, fill->length);
		io->done(io, 0);
		if (READ_ONCE(fill->state) == BC_FILL_RESTING && all_seen(fill))
			bc_fill_end(fill, 0);
	}
	return ret;
}

void bc_fill_read(struct bc_io *io)
{
	u32 chunk = io->pos >> BC_CHUNK_SHIFT;
	struct bc_object *object = io->object;
	struct bc_fill *fill;
	u16 valid;
	int ret;

	do {
		/* Nothing to fetch behind the end. */
		if (bc_object_bound(object) != BC_UNBOUND && io->pos >= object->version.size) {
			bc_segments_zero(io->bvecs, io->nr_bvecs, 0);
			io->done(io, 0);
			return;
		}
		ret = bc_fill_start(object, chunk, io, io->priority, false, &fill);
		if (ret)
			break;
		if (!fill) {
			/* It reached the tier meanwhile. */
			if (bc_tier_read(io, &valid))
				return;
			ret = -EAGAIN;
			continue;
		}
		ret = join(fill, io);
		bc_fill_put(fill);
	} while (ret == -EAGAIN);
	if (ret)
		io->done(io, ret);
}

void bc_fill_wake_covered(struct bc_fill *fill)
{
	struct bc_io *io, *next;
	LIST_HEAD(ready);

	spin_lock(&fill->lock);
	list_for_each_entry_safe(io, next, &fill->waiters, node) {
		if (io_covered(fill, io))
			list_move_tail(&io->node, &ready);
	}
	spin_unlock(&fill->lock);

	list_for_each_entry_safe(io, next, &ready, node) {
		list_del_init(&io->node);
		io_copy(io, fill->pages, fill->length);
		io->done(io, 0);
	}
}

static bool takes_lower(const struct bc_io *io)
{
	return bc_object_bound(io->object) != BC_BOUND_STORE || io->object->client->lower_exact;
}

void bc_fill_deliver(struct bc_fill *fill, struct page **pages, u32 length)
{
	struct bc_io *io, *next;
	LIST_HEAD(ready);

	spin_lock(&fill->lock);
	list_for_each_entry_safe(io, next, &fill->waiters, node) {
		if (takes_lower(io))
			list_move_tail(&io->node, &ready);
	}
	spin_unlock(&fill->lock);
	list_for_each_entry_safe(io, next, &ready, node) {
		list_del_init(&io->node);
		io_copy(io, pages, length);
		io->done(io, 0);
	}
}

static void end_stat(int error)
{
	if (error == -ETIMEDOUT)
		bc_stat_inc(BC_STAT_FETCH_TIMEOUT);
	else if (error && error != -ESTALE && error != -ECANCELED)
		bc_stat_inc(BC_STAT_FETCH_FAILED);
}

/*
 * What is left of the readers when a fill ended. Who came after the lower's
 * bytes were handed out, or belongs to another mount than the one whose policy
 * ended the fill, begins anew.
 */
void bc_fill_end_waiter(struct bc_fill *fill, struct bc_io *io, int error)
{
	list_del_init(&io->node);
	if (!error || error == -ECANCELED ||
	    (error != -ESTALE && io->object->client != fill->object->client)) {
		bc_fill_read(io);
		return;
	}
	bc_stat_inc(error == -ESTALE ? BC_STAT_STALE_READS : BC_STAT_READ_ERRORS);
	io->done(io, error);
}

/* Another fill of an object that is still unbound may try to bind it: the scan starts it. */
static void unpark(struct bc_object *object)
{
	struct bc_fill *fill;

	spin_lock(&bc_fills.lock);
	list_for_each_entry(fill, &bc_fills.all, node) {
		if (fill->object == object && fill->parked) {
			fill->parked = false;
			fill->kick = true;
			mod_delayed_work(bc_fills.scan_wq, &bc_fills.scan, 0);
			break;
		}
	}
	spin_unlock(&bc_fills.lock);
}

static void end_locked(struct bc_fill *fill, int error, struct list_head *waiters)
{
	lockdep_assert_held(&bc_fills.lock);
	table_del(fill);
	spin_lock(&fill->lock);
	fill->error = error;
	WRITE_ONCE(fill->state, BC_FILL_ENDED);
	list_splice_init(&fill->waiters, waiters);
	spin_unlock(&fill->lock);
}

static void end_rest(struct bc_fill *fill, int error, struct list_head *waiters)
{
	struct bc_object *object = fill->object;
	struct bc_io *io, *next;

	end_stat(error);
	trace_bc_fill_end(fill->id, fill->chunk, error);
	list_for_each_entry_safe(io, next, waiters, node)
		bc_fill_end_waiter(fill, io, error);
	wake_up_all(&object->bind_wait);
	if (bc_object_bound(object) == BC_UNBOUND)
		unpark(object);
	bc_fill_put(fill);	/* the table's */
}

static void end(struct bc_fill *fill, int error, bool only_if_new)
{
	LIST_HEAD(waiters);

	spin_lock(&bc_fills.lock);
	if (fill->state == BC_FILL_ENDED || (only_if_new && fill->state != BC_FILL_NEW)) {
		spin_unlock(&bc_fills.lock);
		return;
	}
	end_locked(fill, error, &waiters);
	spin_unlock(&bc_fills.lock);
	end_rest(fill, error, &waiters);
}

void bc_fill_end(struct bc_fill *fill, int error)
{
	end(fill, error, false);
}

static void end_if_new(struct bc_fill *fill, int error)
{
	end(fill, error, true);
}

/* Who comes for its bytes raises the priority before he is among the waiters. */
static bool somebody_waits(struct bc_fill *fill)
{
	bool waits;

	lockdep_assert_held(&bc_fills.lock);
	spin_lock(&fill->lock);
	waits = !list_empty(&fill->waiters);
	spin_unlock(&fill->lock);
	return waits || fill->priority == BC_PRIORITY_DEMAND;
}

/*
 * For a reason that concerns nobody who waits. In one step, so that who joins now is not failed
 * by it. Blocks that came are kept. Return: false if somebody waits.
 */
static bool end_if_unwanted(struct bc_fill *fill, int error)
{
	bool unwanted, ends, stores;
	LIST_HEAD(waiters);

	spin_lock(&bc_fills.lock);
	unwanted = fill->state == BC_FILL_ENDED || !somebody_waits(fill);
	ends = unwanted && fill->state == BC_FILL_NEW;
	stores = ends && bc_fill_begin_store(fill);
	if (ends && !stores)
		end_locked(fill, error, &waiters);
	spin_unlock(&bc_fills.lock);
	if (stores) {
		end_stat(error);
		bc_fill_store(fill);
	} else if (ends) {
		end_rest(fill, error, &waiters);
	}
	return unwanted;
}

bool bc_fill_requeue(struct bc_fill *fill, enum bc_fill_state from, u64 epoch)
{
	bool requeued;

	spin_lock(&bc_fills.lock);
	requeued = fill->state == from && (from != BC_FILL_CLAIMED || fill->epoch == epoch);
	if (requeued) {
		bc_fill_same_request(fill);
		fill->announced = jiffies;
	}
	spin_unlock(&bc_fills.lock);
	return requeued;
}

void bc_fills_bind(struct bc_object *object, enum bc_binding binding,
		   const struct bc_version *version, const struct bc_key *key)
{
	struct bc_fill *fill;
	bool kick = false;

	spin_lock(&bc_fills.lock);
	object->version = *version;
	object->key = *key;
	list_for_each_entry(fill, &bc_fills.all, node) {
		if (fill->object != object)
			continue;
		fill->length = bc_chunk_bytes(object, fill->chunk);
		hash_del(&fill->hash);
		fill->key = *key;
		/* Another mount may be filling it too: then this one stays without a name. */
		if (!table_find(object, key, fill->chunk))
			hash_add(bc_fills.table, &fill->hash, bc_key_hash(key, fill->chunk));
		if (fill->parked) {
			fill->parked = false;
			fill->kick = true;
			kick = true;
		}
	}
	/* Pairs with bc_object_bound(): who sees the binding sees the lengths. */
	smp_store_release(&object->binding, binding);
	if (kick)
		mod_delayed_work(bc_fills.scan_wq, &bc_fills.scan, 0);
	spin_unlock(&bc_fills.lock);
}

/* The store has told everything: give it to the tier, then end. Holds a reference. */
static void store_work(struct work_struct *work)
{
	struct bc_fill *fill = container_of(work, struct bc_fill, store_work);
	struct bc_fetched fetched = {
		.key = &fill->object->key,
		.chunk = fill->chunk,
		.bytes = fill->length,
		.blocks = bc_fill_complete(fill),
		.pages = fill->pages,
		.wanted = READ_ONCE(fill->wanted),
	};
	bool stored;

	if (fetched.blocks != bc_blocks_of(fill->length))
		bc_stat_inc(BC_STAT_PARTIAL_FILLS);
	stored = !fetched.blocks || bc_tier_store(&fetched);
	atomic_dec(&bc_fills.storing);
	if (stored)
		bc_fill_end(fill, 0);
	else
		bc_fill_rest(fill, fetched.wanted);
	bc_fill_put(fill);
}

void bc_fill_store(struct bc_fill *fill)
{
	/* The number of those that are wanted is bounded by max_fills. */
	if (atomic_inc_return(&bc_fills.storing) <= MAX_STORING || READ_ONCE(fill->wanted)) {
		queue_work(bc_fills.store_wq, &fill->store_work);
		return;
	}
	/* The tier does not keep up: its readers are served, the chunk is not kept. */
	atomic_dec(&bc_fills.storing);
	bc_stat_inc(BC_STAT_NO_SPACE);
	bc_fill_rest(fill, true);
	bc_fill_put(fill);
}

/* The resting fill that rests longest, with a reference, if there are too many. */
static struct bc_fill *one_too_many(void)
{
	struct bc_fill *fill;

	lockdep_assert_held(&bc_fills.lock);
	if (bc_fills.resting <= READ_ONCE(max_resting))
		return NULL;
	list_for_each_entry(fill, &bc_fills.all, node) {
		if (fill->state == BC_FILL_RESTING) {
			bc_fill_get(fill);
			return fill;
		}
	}
	return NULL;
}

/* Who waits for what it has not must begin anew. */
static bool may_rest(struct bc_fill *fill)
{
	lockdep_assert_held(&fill->lock);
	return list_empty(&fill->waiters) && !all_seen(fill);
}

/* Under the lock, so that an abort, which makes the client dead before, meets it or stops it. */
static bool begin_rest(struct bc_fill *fill)
{
	bool rests;

	lockdep_assert_held(&bc_fills.lock);
	if (fill->state != BC_FILL_STORING || READ_ONCE(fill->object->client->dead))
		return false;
	spin_lock(&fill->lock);
	rests = may_rest(fill);
	if (rests)
		WRITE_ONCE(fill->state, BC_FILL_RESTING);
	spin_unlock(&fill->lock);
	if (!rests)
		return false;
	fill->rests_until = jiffies + (bitmap_empty(fill->seen, BC_CHUNK_PAGES) ?
				       REST_TIME_UNREAD : REST_TIME);
	bc_fills.count--;
	bc_fills.resting++;
	queue_delayed_work(bc_fills.scan_wq, &bc_fills.scan, SCAN_INTERVAL);
	return true;
}

void bc_fill_rest(struct bc_fill *fill, bool wanted)
{
	struct bc_fill *other = NULL;
	bool rests;

	spin_lock(&bc_fills.lock);
	rests = begin_rest(fill);
	if (rests)
		other = one_too_many();
	/* Somebody asked for it to be kept after the tier was asked without that. */
	if (rests && fill->wanted && !wanted)
		store_again(fill);
	spin_unlock(&bc_fills.lock);
	if (!rests)
		bc_fill_end(fill, 0);
	if (other) {
		bc_fill_end(other, 0);
		bc_fill_put(other);
	}
}

struct bc_fill *bc_fills_match(u64 *after, bool (*match)(struct bc_fill *fill, const void *arg),
			       const void *arg)
{
	struct bc_fill *fill, *found = NULL;

	spin_lock(&bc_fills.lock);
	list_for_each_entry(fill, &bc_fills.all, node) {
		if (fill->id > *after && match(fill, arg)) {
			bc_fill_get(fill);
			*after = fill->id;
			found = fill;
			break;
		}
	}
	spin_unlock(&bc_fills.lock);
	return found;
}

static bool of_client(struct bc_fill *fill, const void *client)
{
	/* What is on its way to the tier ends by itself. */
	return fill->object->client == client && fill->state != BC_FILL_STORING;
}

void bc_fills_abort(struct bc_client *client, int error)
{
	struct bc_fill *fill;
	u64 id = 0;

	while ((fill = bc_fills_match(&id, of_client, client))) {
		/* What rests was fetched well. */
		bc_fill_end(fill, READ_ONCE(fill->state) == BC_FILL_RESTING ? 0 : error);
		bc_fill_put(fill);
	}
	bc_lower_purge(client);
}

static bool of_daemon(struct bc_fill *fill, const void *unused)
{
	if (fill->state == BC_FILL_CLAIMED) {
		bc_fill_same_request(fill);
		bc_stat_inc(BC_STAT_FETCH_REQUEUED);
	}
	return fill->state == BC_FILL_NEW;
}

void bc_fills_daemon_lost(void)
{
	struct bc_fill *fill;
	u64 id = 0;

	while ((fill = bc_fills_match(&id, of_daemon, NULL))) {
		bc_fill_dispatch(fill);
		bc_fill_put(fill);
	}
}

static bool lease_expired(const struct bc_fill *fill, unsigned long now)
{
	if (fill->state == BC_FILL_CLAIMED)
		return time_after(now, fill->lease);
	/* Also once the daemon is suspect: this one was announced before, and nobody told it. */
	return fill->state == BC_FILL_NEW && !fill->parked && !fill->retry_later &&
	       bc_daemon_present() && time_after(now, fill->announced + bc_daemon_lease());
}

static bool retry_due(const struct bc_fill *fill, unsigned long now)
{
	return fill->state == BC_FILL_NEW && fill->retry_later &&
	       time_after_eq(now, fill->retry_at);
}

static bool needs_attention(struct bc_fill *fill, const void *unused)
{
	unsigned long now = jiffies;

	if (fill->state == BC_FILL_STORING)
		return false;
	if (fill->state == BC_FILL_RESTING)
		return time_after(now, fill->rests_until);
	return fill->kick || time_after(now, fill->deadline) || lease_expired(fill, now) ||
	       retry_due(fill, now);
}

static void attend(struct bc_fill *fill)
{
	unsigned long now = jiffies;
	bool expired;

	if (READ_ONCE(fill->state) == BC_FILL_RESTING) {
		bc_fill_end(fill, 0);
		return;
	}
	if (time_after(now, fill->deadline)) {
		bc_fill_settle(fill, -ETIMEDOUT);
		return;
	}
	spin_lock(&bc_fills.lock);
	expired = lease_expired(fill, now);
	if (expired && fill->state == BC_FILL_CLAIMED) {
		bc_fill_same_request(fill);
		bc_stat_inc(BC_STAT_FETCH_REQUEUED);
	}
	fill->kick = false;
	if (retry_due(fill, now))
		fill->retry_later = false;
	spin_unlock(&bc_fills.lock);
	if (expired)
		bc_daemon_suspect();
	bc_fill_dispatch(fill);
}

/* Its own queue: deadlines must pass even when the device under the tier hangs. */
static void scan_work(struct work_struct *work)
{
	struct bc_fill *fill;
	u64 id = 0;
	bool more;

	while ((fill = bc_fills_match(&id, needs_attention, NULL))) {
		attend(fill);
		bc_fill_put(fill);
	}
	spin_lock(&bc_fills.lock);
	more = bc_fills.count || bc_fills.resting;
	spin_unlock(&bc_fills.lock);
	if (more)
		queue_delayed_work(bc_fills.scan_wq, &bc_fills.scan, SCAN_INTERVAL);
}

u32 bc_fills_pending(void)
{
	return READ_ONCE(bc_fills.count);
}

u64 bc_fills_pending_bytes(const struct bc_key *key)
{
	struct bc_fill *fill;
	u64 bytes = 0;

	spin_lock(&bc_fills.lock);
	list_for_each_entry(fill, &bc_fills.all, node) {
		if (fill->state != BC_FILL_RESTING && bc_key_equal(&fill->key, key))
			bytes += bc_blocks_bytes(fill->want & ~fill->have & bc_fill_all(fill),
						 fill->length);
	}
	spin_unlock(&bc_fills.lock);
	return bytes;
}

static bool is_request(struct bc_fill *fill, const void *unused)
{
	const struct bc_object *object = fill->object;

	return !fill->parked && !fill->retry_later && !object->lower_only &&
	       object->binding != BC_BOUND_LOWER &&
	       (fill->state == BC_FILL_NEW || fill->state == BC_FILL_CLAIMED);
}

struct bc_fill *bc_fills_next(u64 *after)
{
	return bc_fills_match(after, is_request, NULL);
}

int bc_fills_init(void)
{
	spin_lock_init(&bc_fills.lock);
	hash_init(bc_fills.table);
	INIT_LIST_HEAD(&bc_fills.all);
	INIT_DELAYED_WORK(&bc_fills.scan, scan_work);
	bc_fills.scan_wq = alloc_workqueue("blobcache-scan", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	bc_fills.store_wq = alloc_workqueue("blobcache-store", WQ_UNBOUND | WQ_MEM_RECLAIM, 16);
	if (bc_fills.scan_wq && bc_fills.store_wq)
		return 0;
	if (bc_fills.scan_wq)
		destroy_workqueue(bc_fills.scan_wq);
	if (bc_fills.store_wq)
		destroy_workqueue(bc_fills.store_wq);
	return -ENOMEM;
}

void bc_fills_exit(void)
{
	cancel_delayed_work_sync(&bc_fills.scan);
	destroy_workqueue(bc_fills.store_wq);
	destroy_workqueue(bc_fills.scan_wq);
}
