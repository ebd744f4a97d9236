// SPDX-License-Identifier: GPL-2.0-only
/*
 * Readers of fills: who waits for which bytes, and gets them. See fill.h.
 */
#include <linux/jiffies.h>

#include "fill.h"
#include "segment.h"
#include "stats.h"
#include "tier.h"

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

static void io_copy(struct bc_io *io, struct page **pages, u32 length)
{
	u32 offset = io->pos & (BC_CHUNK_SIZE - 1);
	u32 bytes = offset < length ? min(io->length, length - offset) : 0;

	bc_segments_from_pages(io->bvecs, io->nr_bvecs, pages, offset, bytes);
	bc_segments_zero(io->bvecs, io->nr_bvecs, bytes);
}

/*
 * What ended the fill need not end the read: the policy of another mount, or a deadline that was
 * another reader's. If the fill has not expired, it is the lower that timed out: to ask it again
 * at once would be no use. Return: -EAGAIN begin anew, or an error to tell the reader.
 */
static int verdict(const struct bc_fill *fill, const struct bc_io *io, int error)
{
	bool again = io->object->client != fill->object->client;

	if (!error)
		return -EAGAIN;		/* it did not keep its pages */
	if (error == -ESTALE)
		return error;
	if (error == -ECANCELED || (error == -ETIMEDOUT && READ_ONCE(fill->expired)))
		again = true;
	if (!again)
		return error;
	return time_after(jiffies, io->deadline) ? -ETIMEDOUT : -EAGAIN;
}

/* fill->lock held. */
static void wait_in(struct bc_fill *fill, struct bc_io *io)
{
	lockdep_assert_held(&fill->lock);
	if (list_empty(&fill->waiters) || time_before(io->deadline, fill->due))
		fill->due = io->deadline;
	list_add_tail(&io->node, &fill->waiters);
}

/* Return: 0 done or queued, -EAGAIN begin anew, or an error to tell the reader. */
static int join(struct bc_fill *fill, struct bc_io *io)
{
	bool covered = false;
	int ret = 0;

	spin_lock(&fill->lock);
	if (io_covered(fill, io))
		covered = true;
	else if (READ_ONCE(io->object->client->dead))
		/* Its abort may have looked here before. */
		ret = -EIO;
	else if (fill->state == BC_FILL_RESTING)
		/* It came to rest meanwhile: it must be told that there is more to fetch. */
		ret = -EAGAIN;
	else if (fill->state != BC_FILL_ENDED)
		wait_in(fill, io);
	else
		ret = verdict(fill, io, fill->error);
	spin_unlock(&fill->lock);
	if (covered) {
		io_copy(io, fill->pages, fill->length);
		io->done(io, 0);
		if (READ_ONCE(fill->state) == BC_FILL_RESTING && bc_fill_all_seen(fill))
			bc_fill_end_if(fill, 0, BIT(BC_FILL_RESTING));
	}
	return ret;
}

/* So often a chunk may come to the tier, and be gone again, before it is read. */
#define READ_ROUNDS	1000

void bc_fill_read(struct bc_io *io)
{
	u32 chunk = io->pos >> BC_CHUNK_SHIFT, rounds = READ_ROUNDS;
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
			/* If that is no coincidence, somebody must not wait for ever. */
			ret = WARN_ON_ONCE(!--rounds) ? -EIO : -EAGAIN;
			cond_resched();
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

/*
 * What is left of the readers when a fill ended. Who came after the lower's
 * bytes were handed out, or is not concerned by what ended the fill, begins anew,
 * with what is left of his time.
 */
void bc_fill_end_waiter(struct bc_fill *fill, struct bc_io *io, int error)
{
	list_del_init(&io->node);
	error = verdict(fill, io, error);
	if (error == -EAGAIN) {
		bc_fill_read(io);
		return;
	}
	bc_stat_inc(error == -ESTALE ? BC_STAT_STALE_READS : BC_STAT_READ_ERRORS);
	io->done(io, error);
}
