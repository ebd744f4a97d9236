// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the daemon does to fills: claim, bind, copy bytes in, done.
 */
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "daemon.h"
#include "dev_check.h"
#include "fill.h"
#include "segment.h"
#include "stats.h"

#define RETRY_MIN_MS	10U
#define RETRY_MAX_MS	60000U

static struct bc_fill *find(u64 id)
{
	struct bc_fill *fill, *found = NULL;

	spin_lock(&bc_fills.lock);
	list_for_each_entry(fill, &bc_fills.all, node) {
		if (fill->id == id) {
			bc_fill_get(fill);
			found = fill;
			break;
		}
	}
	spin_unlock(&bc_fills.lock);
	return found;
}

/* Find a fill that this owner claimed, and renew its lease. */
static struct bc_fill *find_claimed(u64 id, u64 epoch, int *error)
{
	struct bc_fill *fill = find(id);

	*error = -ENOENT;
	if (!fill)
		return NULL;
	spin_lock(&bc_fills.lock);
	if (fill->id != id) {
		/* It is another request by now. */
		*error = -ENOENT;
	} else if (fill->state == BC_FILL_CLAIMED && fill->epoch == epoch) {
		fill->lease = jiffies + bc_daemon_lease();
		*error = 0;
	} else if (fill->state != BC_FILL_ENDED) {
		*error = -ESTALE;
	}
	spin_unlock(&bc_fills.lock);
	if (*error) {
		bc_fill_put(fill);
		return NULL;
	}
	return fill;
}

static bool claimable(const struct bc_fill *fill)
{
	const struct bc_object *object = fill->object;

	return fill->state == BC_FILL_NEW && !fill->parked && !fill->retry_later &&
	       !object->lower_only && object->binding != BC_BOUND_LOWER;
}

int bc_fill_claim(u64 id, u64 epoch, bool renew)
{
	struct bc_fill *fill = find(id);
	int ret = 0;

	if (!fill)
		return -ENOENT;
	spin_lock(&bc_fills.lock);
	if (fill->id != id) {
		ret = -ENOENT;
	} else if (renew && fill->state == BC_FILL_CLAIMED && fill->epoch == epoch) {
		fill->lease = jiffies + bc_daemon_lease();
	} else if (!renew && claimable(fill)) {
		WRITE_ONCE(fill->state, BC_FILL_CLAIMED);
		fill->epoch = epoch;
		fill->claimed_ns = ktime_get_boottime_ns();
		fill->lease = jiffies + bc_daemon_lease();
	} else if (fill->state == BC_FILL_ENDED) {
		ret = -ENOENT;
	} else {
		ret = renew ? -ESTALE : -EBUSY;
	}
	spin_unlock(&bc_fills.lock);
	bc_fill_put(fill);
	return ret;
}

int bc_fill_bind(u64 id, u64 epoch, struct bc_version *version)
{
	struct bc_fill *fill;
	int ret;

	fill = find_claimed(id, epoch, &ret);
	if (!fill)
		return ret;
	/* It asks the store after it claims. */
	version->asked_ns = READ_ONCE(fill->claimed_ns);
	ret = bc_object_set_version(fill->object, BC_BOUND_STORE, version);
	if (!ret)
		bc_fill_wake_covered(fill);
	bc_fill_put(fill);
	return ret;
}

static int fill_page(struct bc_fill *fill, u32 index, u32 bytes, const void __user *from)
{
	unsigned long left;
	void *to;

	if (!fill->pages[index])
		fill->pages[index] = alloc_page(GFP_KERNEL);
	if (!fill->pages[index])
		return -ENOMEM;
	to = kmap_local_page(fill->pages[index]);
	left = copy_from_user(to, from, bytes);
	if (!left && bytes < PAGE_SIZE)
		memset(to + bytes, 0, PAGE_SIZE - bytes);
	kunmap_local(to);
	return left ? -EFAULT : 0;
}

/* Copies pages that are not valid yet: valid ones are being read. copy_mutex held. */
static int fill_pages(struct bc_fill *fill, u32 offset, u32 length, const void __user *bytes)
{
	while (length) {
		u32 index = offset >> PAGE_SHIFT;
		u32 part = min_t(u32, length, PAGE_SIZE);

		if (!test_bit(index, fill->valid)) {
			int ret = fill_page(fill, index, part, bytes);

			if (ret)
				return ret;
			spin_lock(&fill->lock);
			__set_bit(index, fill->valid);
			fill->valid_pages++;
			spin_unlock(&fill->lock);
		}
		offset += part;
		bytes += part;
		length -= part;
	}
	return 0;
}

static int copy_in(struct bc_fill *fill, u64 offset, u32 length, const void __user *bytes)
{
	int ret;

	if (mutex_lock_killable(&fill->copy_mutex))
		return -EINTR;
	if (!fill->pages) {
		fill->nr_pages = DIV_ROUND_UP(fill->length, PAGE_SIZE);
		fill->pages = kcalloc(fill->nr_pages, sizeof(*fill->pages), GFP_KERNEL);
	}
	ret = fill->pages ? fill_pages(fill, offset & (BC_CHUNK_SIZE - 1), length, bytes) : -ENOMEM;
	mutex_unlock(&fill->copy_mutex);
	return ret;
}

int bc_fill_copy(u64 id, u64 epoch, u64 offset, u32 length, const void __user *bytes)
{
	struct bc_fill *fill;
	int ret;

	fill = find_claimed(id, epoch, &ret);
	if (!fill)
		return ret;
	ret = -EPROTO;
	if (bc_object_bound(fill->object) == BC_BOUND_STORE)
		ret = bc_check_range(fill->chunk, fill->length, offset, length);
	if (!ret)
		ret = copy_in(fill, offset, length, bytes);
	if (!ret) {
		bc_stat_add(BC_STAT_FETCH_BYTES, length);
		bc_fill_wake_covered(fill);
	}
	bc_fill_put(fill);
	return ret;
}

/* The store cannot serve it. Who is left to ask? */
static void store_failed(struct bc_fill *fill, u64 epoch, int error)
{
	if (!bc_fill_requeue(fill, BC_FILL_CLAIMED, epoch))
		return;
	if (error == -ESTALE || error == -EACCES) {
		/* Not a matter of reaching the store: its answer stands. */
		if (error == -ESTALE)
			WRITE_ONCE(fill->object->gone, true);
		bc_fill_end(fill, error);
		return;
	}
	fill->store_error = error;
	if (!bc_fill_try_lower(fill))
		bc_fill_settle(fill, error);
}

static int done_ok(struct bc_fill *fill, u64 epoch)
{
	switch (bc_fill_advance(fill, epoch)) {
	case BC_ADVANCE_MORE:
		bc_fill_wake_covered(fill);
		bc_fill_dispatch(fill);
		return 0;
	case BC_ADVANCE_STORE:
		bc_fill_wake_covered(fill);
		bc_fill_store(fill);
		return 0;
	default:
		store_failed(fill, epoch, -EIO);
		return -ENODATA;
	}
}

static void done_retry(struct bc_fill *fill, u64 epoch, u32 retry_after_ms)
{
	u32 delay = clamp(retry_after_ms, RETRY_MIN_MS, RETRY_MAX_MS);

	spin_lock(&bc_fills.lock);
	if (fill->state == BC_FILL_CLAIMED && fill->epoch == epoch) {
		bc_fill_same_request(fill);
		fill->announced = jiffies;
		fill->retry_later = true;
		fill->retry_at = jiffies + msecs_to_jiffies(delay);
	}
	spin_unlock(&bc_fills.lock);
}

static const int done_errno[BC_DONE_STATUS_COUNT] = {
	[BC_DONE_CHANGED] = -ESTALE,
	[BC_DONE_GONE] = -ENOENT,
	[BC_DONE_DENIED] = -EACCES,
	[BC_DONE_FAILED] = -EIO,
	[BC_DONE_UNSUPPORTED] = -EOPNOTSUPP,
};

int bc_fill_done(u64 id, u64 epoch, enum bc_done_status status, u32 retry_after_ms,
		 bool coalesced)
{
	struct bc_fill *fill;
	int ret;

	fill = find_claimed(id, epoch, &ret);
	if (!fill)
		return ret;
	if (coalesced)
		bc_stat_inc(BC_STAT_FETCH_COALESCED);
	if (status == BC_DONE_OK) {
		ret = done_ok(fill, epoch);
	} else if (status == BC_DONE_RETRY_AFTER) {
		done_retry(fill, epoch, retry_after_ms);
	} else {
		int error = done_errno[status];

		/* A bound version that is gone cannot come back: same as changed. */
		if (error == -ENOENT && bc_object_bound(fill->object) == BC_BOUND_STORE)
			error = -ESTALE;
		store_failed(fill, epoch, error);
	}
	bc_fill_put(fill);
	return ret;
}
