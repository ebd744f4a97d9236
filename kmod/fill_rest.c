// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a fill: its chunk goes to the tier; if none keeps it, the fill rests, so that
 * those who read on find it in memory. See fill.h.
 */
#include <linux/jiffies.h>
#include <linux/module.h>

#include "fill.h"
#include "stats.h"
#include "tier.h"

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

/* Fills being written to the tier at once; each keeps a chunk in memory. */
#define MAX_STORING	64

bool bc_fills_rest_full(u32 more)
{
	u32 resting = READ_ONCE(bc_fills.resting);

	return resting && resting + more >= READ_ONCE(max_resting);
}

static void queue_store(struct bc_fill *fill)
{
	bc_fill_get(fill);	/* the store worker's */
	atomic_inc(&bc_fills.storing);
	queue_work(bc_fills.store_wq, &fill->store_work);
}

void bc_fill_store_again(struct bc_fill *fill)
{
	lockdep_assert_held(&bc_fills.lock);
	bc_fills.resting--;
	bc_fills.count++;
	WRITE_ONCE(fill->state, BC_FILL_STORING);
	queue_store(fill);
	/* The scan may have seen neither count. */
	bc_fills_scan_later();
}

/* It has not all that is needed: it is to be filled again. */
static void revive(struct bc_fill *fill, const struct bc_fill *reason, u16 urgent)
{
	lockdep_assert_held(&bc_fills.lock);
	bc_fills.resting--;
	bc_fills.count++;
	fill->priority = reason->priority;
	fill->deadline = reason->deadline;
	fill->expired = false;
	bc_fill_ask(fill, urgent);
	bc_fill_next_request(fill);
	bc_fills_scan_later();
}

enum bc_joined bc_fill_join_resting(struct bc_fill *fill, const struct bc_fill *reason,
				    const struct bc_aim *aim)
{
	u16 needed = aim->need | (reason->wanted ? fill->want & ~fill->have : 0);

	lockdep_assert_held(&bc_fills.lock);
	if (needed & bc_fill_all(fill) & ~bc_fill_complete(fill)) {
		revive(fill, reason, aim->need);
		return BC_REVIVED;
	}
	if (reason->wanted)
		bc_fill_store_again(fill);
	return BC_JOINED;
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
	return list_empty(&fill->waiters) && !bc_fill_all_seen(fill);
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
	bc_fills_scan_later();
	return true;
}

/* In state STORING, and no tier keeps it. @wanted: what the tier was told when it was asked. */
static void rest(struct bc_fill *fill, bool wanted)
{
	struct bc_fill *other = NULL;
	bool rests, again;

	spin_lock(&bc_fills.lock);
	/* Somebody asked for it to be kept after the tier was asked without that. */
	again = fill->state == BC_FILL_STORING && fill->wanted && !wanted &&
		!READ_ONCE(fill->object->client->dead);
	if (again)
		queue_store(fill);
	rests = !again && begin_rest(fill);
	if (rests)
		other = one_too_many();
	spin_unlock(&bc_fills.lock);
	if (!rests && !again)
		bc_fill_end(fill, 0);
	if (other) {
		bc_fill_end(other, 0);
		bc_fill_put(other);
	}
}

/* Somebody asked for all of the chunk while a part of it was stored. */
static void fetch_more(struct bc_fill *fill)
{
	bool more;

	spin_lock(&bc_fills.lock);
	more = fill->more;
	fill->more = false;
	spin_unlock(&bc_fills.lock);
	/* Nobody waits for it: who asked finds out by the residency. */
	if (more)
		bc_fill_start(fill->object, fill->chunk, NULL, BC_PRIORITY_PREFETCH, false, NULL);
}

/* The store has told everything: give it to the tier, then end. Holds a reference. */
void bc_fill_store_work(struct work_struct *work)
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
		rest(fill, fetched.wanted);
	fetch_more(fill);
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
	rest(fill, false);
	fetch_more(fill);
	bc_fill_put(fill);
}
