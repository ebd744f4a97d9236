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

/* A lower file that changes while it is read is read again this often. */
#define LOWER_TRIES	3

struct bc_fills bc_fills;

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
	INIT_WORK(&fill->store_work, bc_fill_store_work);
	bc_object_get(object);
	fill->object = object;
	fill->chunk = chunk;
	fill->priority = priority;
	fill->wanted = priority == BC_PRIORITY_PREFETCH;
	fill->created = jiffies;
	fill->announced = jiffies;
	fill->deadline = bc_deadline(object->client);
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
		bc_fills_scan_later();
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

/* Somebody joins, maybe for a better reason. If nobody waited yet, time begins anew. */
static enum bc_joined join_fill(struct bc_fill *fill, const struct bc_fill *reason,
				const struct bc_aim *aim)
{
	lockdep_assert_held(&bc_fills.lock);
	fill->want |= aim->want;
	if (aim->need)
		fill->again = true;
	if (reason->wanted)
		WRITE_ONCE(fill->wanted, true);
	if (fill->state == BC_FILL_RESTING)
		return bc_fill_join_resting(fill, reason, aim);
	/* What comes beyond what it has must come by another: bc_fill_store_work() starts that. */
	if (fill->state == BC_FILL_STORING && reason->wanted &&
	    aim->want & bc_fill_all(fill) & ~bc_fill_complete(fill))
		fill->more = true;
	if (reason->priority == BC_PRIORITY_DEMAND || reason->priority < fill->priority) {
		spin_lock(&fill->lock);
		if (list_empty(&fill->waiters) && time_after(reason->deadline, fill->deadline))
			fill->deadline = reason->deadline;
		spin_unlock(&fill->lock);
	}
	if (reason->priority >= fill->priority)
		return BC_JOINED;
	fill->priority = reason->priority;
	return BC_RAISED;
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
				   enum bc_joined *joined)
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
	u64 turn = bc_request_id();
	bool start;

	spin_lock(&bc_fills.lock);
	start = fill->state == BC_FILL_NEW && lower_allowed(fill);
	if (start) {
		WRITE_ONCE(fill->epoch, turn);
		WRITE_ONCE(fill->state, BC_FILL_LOWER);
		fill->lower_tries++;
		fill->parked = false;
		bc_fill_get(fill);	/* the lower worker's */
	}
	spin_unlock(&bc_fills.lock);
	if (start && bc_lower_start(fill, turn) && bc_fill_requeue(fill, BC_FILL_LOWER, turn))
		bc_fill_end(fill, -ENOMEM);
	return start;
}

static void end_if_new(struct bc_fill *fill, int error)
{
	bc_fill_end_if(fill, error, BIT(BC_FILL_NEW));
}

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
	/* The store's version ends before this chunk: there is nothing to ask for. */
	if (bc_object_bound(object) == BC_BOUND_STORE && !fill->length) {
		end_if_new(fill, 0);
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

static void joined_fill(struct bc_fill *fill, enum bc_joined joined)
{
	if (joined == BC_REVIVED)
		bc_fill_dispatch(fill);
	else if (joined == BC_RAISED)
		announce_again(fill);
}

/*
 * More than can be in flight; or, where no tier keeps them, more than can rest in memory: they
 * would push each other out unread, only to be fetched again.
 */
static bool too_many(enum bc_priority priority)
{
	u32 count = READ_ONCE(bc_fills.count);

	return count >= READ_ONCE(max_fills) ||
	       (priority == BC_PRIORITY_READAHEAD && bc_fills_rest_full(count));
}

int bc_fill_start(struct bc_object *object, u32 chunk, const struct bc_io *io,
		  enum bc_priority priority, bool limited, struct bc_fill **out)
{
	struct bc_fill *new, *fill;
	enum bc_joined joined;

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

static void end_stat(int error)
{
	if (error == -ETIMEDOUT)
		bc_stat_inc(BC_STAT_FETCH_TIMEOUT);
	else if (error && error != -ESTALE && error != -ECANCELED)
		bc_stat_inc(BC_STAT_FETCH_FAILED);
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

bool bc_fill_end_if(struct bc_fill *fill, int error, unsigned int states)
{
	LIST_HEAD(waiters);
	bool ends;

	spin_lock(&bc_fills.lock);
	ends = BIT(fill->state) & states & ~BIT(BC_FILL_ENDED);
	if (ends)
		end_locked(fill, error, &waiters);
	spin_unlock(&bc_fills.lock);
	if (ends)
		end_rest(fill, error, &waiters);
	return ends;
}

void bc_fill_end(struct bc_fill *fill, int error)
{
	bc_fill_end_if(fill, error, ~0U);
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
	requeued = fill->state == from && fill->epoch == epoch;
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

int bc_fills_init(void)
{
	spin_lock_init(&bc_fills.lock);
	hash_init(bc_fills.table);
	INIT_LIST_HEAD(&bc_fills.all);
	INIT_DELAYED_WORK(&bc_fills.scan, bc_fills_scan_work);
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
