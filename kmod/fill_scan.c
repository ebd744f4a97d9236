// SPDX-License-Identifier: GPL-2.0-only
/*
 * All fills at once: what became of deadlines and leases, what waits for the daemon, and the
 * end of a mount or of the daemon. See fill.h.
 */
#include <linux/jiffies.h>

#include "daemon.h"
#include "fill.h"
#include "index.h"
#include "netlink.h"
#include "stats.h"

#define SCAN_INTERVAL	msecs_to_jiffies(250)

void bc_fills_scan_later(void)
{
	queue_delayed_work(bc_fills.scan_wq, &bc_fills.scan, SCAN_INTERVAL);
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

/* It is the client's, or one of its reads waits in it. */
static bool concerns(struct bc_fill *fill, const void *client)
{
	const struct bc_io *io;
	bool found = fill->object->client == client;

	spin_lock(&fill->lock);
	list_for_each_entry(io, &fill->waiters, node)
		found |= io->object->client == client;
	spin_unlock(&fill->lock);
	return found;
}

void bc_fills_abort(struct bc_client *client, int error)
{
	struct bc_fill *fill;
	LIST_HEAD(reads);
	u64 id = 0;

	while ((fill = bc_fills_match(&id, concerns, client))) {
		spin_lock(&fill->lock);
		bc_fill_take_reads(fill, client, &reads);
		spin_unlock(&fill->lock);
		bc_fill_fail_reads(&reads, error);
		/* What rests was fetched well; what is on its way to the tier ends by itself. */
		if (fill->object->client == client &&
		    !bc_fill_end_if(fill, 0, BIT(BC_FILL_RESTING)))
			bc_fill_end_if(fill, error, BC_FILL_FETCHING);
		bc_fill_put(fill);
	}
	bc_lower_purge(client);
}

static bool of_lower(struct bc_fill *fill, const void *client)
{
	if (fill->object->client != client || !fill->lower_tries)
		return false;
	/* What the old one said counts no more. Who waits for others since may not have to. */
	fill->lower_tries = 0;
	fill->kick = fill->state == BC_FILL_NEW && !fill->retry_later;
	if (fill->state != BC_FILL_LOWER)
		return false;
	/* From here on the read that has it is not awaited, nor the daemon, which was not told. */
	fill->announced = jiffies;
	bc_fill_same_request(fill);
	return true;
}

void bc_fills_lower_renewed(struct bc_client *client)
{
	struct bc_fill *fill;
	u64 id = 0;

	while ((fill = bc_fills_match(&id, of_lower, client))) {
		if (!bc_fill_try_lower(fill))
			bc_fill_dispatch(fill);
		bc_fill_put(fill);
	}
	mod_delayed_work(bc_fills.scan_wq, &bc_fills.scan, 0);
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

static bool has_overdue(struct bc_fill *fill, unsigned long now)
{
	bool has;

	spin_lock(&fill->lock);
	has = !list_empty(&fill->waiters) && time_after(now, fill->due);
	spin_unlock(&fill->lock);
	return has;
}

static bool needs_attention(struct bc_fill *fill, const void *unused)
{
	unsigned long now = jiffies;

	if (has_overdue(fill, now))
		return true;
	if (fill->state == BC_FILL_STORING)
		return false;
	if (fill->state == BC_FILL_RESTING)
		return time_after(now, fill->rests_until);
	return fill->kick || time_after(now, fill->deadline) || lease_expired(fill, now) ||
	       retry_due(fill, now);
}

/*
 * Reads whose time is over, though the fill's is not: they waited in another before, or the store
 * answers, but with something else; or the device hangs, to which the fill is written.
 */
static void fail_overdue(struct bc_fill *fill)
{
	unsigned long now = jiffies, due = now + MAX_JIFFY_OFFSET;
	struct bc_io *io, *next;
	LIST_HEAD(overdue);

	spin_lock(&fill->lock);
	list_for_each_entry_safe(io, next, &fill->waiters, node) {
		if (time_after(now, io->deadline))
			list_move_tail(&io->node, &overdue);
		else if (time_before(io->deadline, due))
			due = io->deadline;
	}
	fill->due = due;
	spin_unlock(&fill->lock);
	bc_fill_fail_reads(&overdue, -ETIMEDOUT);
}

static void attend(struct bc_fill *fill)
{
	enum bc_fill_state state = READ_ONCE(fill->state);
	unsigned long now = jiffies;
	bool expired, acts;

	if (state == BC_FILL_RESTING) {
		bc_fill_end_if(fill, 0, BIT(BC_FILL_RESTING));
		return;
	}
	fail_overdue(fill);
	if (state == BC_FILL_STORING)
		return;
	if (time_after(now, fill->deadline)) {
		bc_fill_expire(fill);
		return;
	}
	spin_lock(&bc_fills.lock);
	expired = lease_expired(fill, now);
	if (expired && fill->state == BC_FILL_CLAIMED) {
		bc_fill_same_request(fill);
		bc_stat_inc(BC_STAT_FETCH_REQUEUED);
	}
	/* Not for the sake of a reader whose time is over: that would put the lease off. */
	acts = expired || fill->kick || retry_due(fill, now);
	fill->kick = false;
	if (retry_due(fill, now))
		fill->retry_later = false;
	spin_unlock(&bc_fills.lock);
	if (expired)
		bc_daemon_suspect();
	if (acts)
		bc_fill_dispatch(fill);
}

/* Its own queue: deadlines must pass even when the device under the tier hangs. */
void bc_fills_scan_work(struct work_struct *work)
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
		bc_fills_scan_later();
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
