// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fills that end before their time: at their deadline, when the store fails, when
 * nobody waits for them any more. What came until then is kept.
 *
 * A reader that is killed leaves without a word: its folios stay locked and its
 * read stays queued. But its file is closed then, and when that was the last one of the
 * object nobody can wait for these folios. The count of open files goes up before
 * a new reader's first read can be queued under fill->lock; so if it is 0 under that
 * lock, all the object's reads in the fill are of the past.
 *
 * A daemon that has claimed a fill which ends hears of it by its next call about it
 * (ENOENT), and ends the transfer.
 */
#include <linux/atomic.h>
#include <linux/sched.h>

#include "fill.h"
#include "pin.h"
#include "stats.h"

/* With these locks held: does it end here, and does it leave something behind? */
static bool keeps_blocks(struct bc_fill *fill)
{
	lockdep_assert_held(&bc_fills.lock);
	return fill->object->binding == BC_BOUND_STORE && fill->length && bc_fill_complete(fill);
}

static bool in_request(const struct bc_fill *fill)
{
	return fill->state == BC_FILL_NEW || fill->state == BC_FILL_CLAIMED;
}

bool bc_fill_begin_store(struct bc_fill *fill)
{
	lockdep_assert_held(&bc_fills.lock);
	if (!in_request(fill) || !keeps_blocks(fill))
		return false;
	WRITE_ONCE(fill->state, BC_FILL_STORING);
	bc_fill_get(fill);
	return true;
}

void bc_fill_expire(struct bc_fill *fill)
{
	/* Who joins may have made it longer since somebody looked. */
	spin_lock(&bc_fills.lock);
	if (in_request(fill) || fill->state == BC_FILL_LOWER)
		fill->expired = time_after(jiffies, fill->deadline);
	spin_unlock(&bc_fills.lock);
	if (READ_ONCE(fill->expired))
		bc_fill_settle(fill, -ETIMEDOUT);
}

void bc_fill_settle(struct bc_fill *fill, int error)
{
	struct bc_io *io, *next;
	LIST_HEAD(waiters);
	bool stores;

	spin_lock(&bc_fills.lock);
	stores = bc_fill_begin_store(fill);
	if (stores) {
		spin_lock(&fill->lock);
		list_splice_init(&fill->waiters, &waiters);
		spin_unlock(&fill->lock);
	}
	spin_unlock(&bc_fills.lock);
	if (!stores) {
		bc_fill_end_if(fill, error, BC_FILL_FETCHING);
		return;
	}
	bc_stat_inc(error == -ETIMEDOUT ? BC_STAT_FETCH_TIMEOUT : BC_STAT_FETCH_FAILED);
	list_for_each_entry_safe(io, next, &waiters, node)
		bc_fill_end_waiter(fill, io, error);
	bc_fill_store(fill);
}

void bc_fill_take_reads(struct bc_fill *fill, const struct bc_client *client,
			struct list_head *taken)
{
	struct bc_io *io, *next;

	lockdep_assert_held(&fill->lock);
	list_for_each_entry_safe(io, next, &fill->waiters, node) {
		if (io->object->client == client)
			list_move_tail(&io->node, taken);
	}
}

void bc_fill_fail_reads(struct list_head *taken, int error)
{
	struct bc_io *io, *next;

	list_for_each_entry_safe(io, next, taken, node) {
		list_del_init(&io->node);
		if (error != -ECANCELED)
			bc_stat_inc(BC_STAT_READ_ERRORS);
		io->done(io, error);
	}
}

/* Takes the reads of an object that nobody has open. fill->lock held. */
static void take_forsaken(struct bc_fill *fill, const struct bc_object *object,
			  struct list_head *taken)
{
	struct bc_io *io, *next;

	lockdep_assert_held(&fill->lock);
	if (atomic_read(&object->users))
		return;
	list_for_each_entry_safe(io, next, &fill->waiters, node) {
		if (io->object == object)
			list_move_tail(&io->node, taken);
	}
}

enum fate { GOES_ON, STORES, ENDS };

/*
 * What somebody else waits for goes on, and what was asked for by name. Of an empty
 * object nothing is to come: whoever has claimed it is about to end it.
 */
static bool needed(struct bc_fill *fill, bool pinned)
{
	lockdep_assert_held(&bc_fills.lock);
	lockdep_assert_held(&fill->lock);
	return !list_empty(&fill->waiters) || fill->wanted || pinned ||
	       atomic_read(&fill->object->users) ||
	       (fill->object->binding == BC_BOUND_STORE && !fill->length);
}

/*
 * Who just closes the file has read what it wanted. What it read from may be read on by
 * the next one, and to break its transfer off would cost a connection; what it did
 * not come to is not worth its bytes. Who was killed wanted what was to come.
 */
static void cancel(struct bc_fill *fill, const struct bc_object *object, bool killed)
{
	bool pinned = bc_pins_have(&object->key);
	enum fate fate = GOES_ON;
	LIST_HEAD(taken);

	spin_lock(&bc_fills.lock);
	spin_lock(&fill->lock);
	if (in_request(fill) && (killed || !fill->valid_pages)) {
		take_forsaken(fill, object, &taken);
		if (!needed(fill, pinned))
			fate = ENDS;
	} else if (fill->state == BC_FILL_STORING) {
		/* When it is stored they would begin anew, for nobody. */
		take_forsaken(fill, object, &taken);
	}
	spin_unlock(&fill->lock);
	if (fate == ENDS && bc_fill_begin_store(fill))
		fate = STORES;
	spin_unlock(&bc_fills.lock);
	bc_fill_fail_reads(&taken, -ECANCELED);
	if (fate == GOES_ON)
		return;
	bc_stat_inc(BC_STAT_FETCH_CANCELLED);
	if (fate == STORES)
		bc_fill_store(fill);
	else
		bc_fill_end_if(fill, -ECANCELED, BC_FILL_FETCHING);
}

/* Is the file closed because a signal ended the process? */
static bool is_killed(void)
{
	return current->flags & PF_EXITING && current->exit_code & 0x7f;
}

/* bc_fills.lock held: its key and that of a bound object do not change meanwhile. */
static bool of_object(struct bc_fill *fill, const void *arg)
{
	const struct bc_object *object = arg;

	return fill->object == object || bc_key_equal(&fill->key, &object->key);
}

void bc_fills_cancel(struct bc_object *object)
{
	bool killed = is_killed();
	struct bc_fill *fill;
	u64 id = 0;

	if (!bc_fills_pending())
		return;
	while ((fill = bc_fills_match(&id, of_object, object))) {
		cancel(fill, object, killed);
		bc_fill_put(fill);
	}
}
