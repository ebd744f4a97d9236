// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fills from the front end's lower source.
 *
 * A lower read owns its pages and a reference to the fill. The lower may keep
 * it for ever; the fill does not wait: at its deadline it ends, and the worker
 * that comes back too late finds it ended and frees what it holds. So does one that was left
 * behind in a lower that was replaced: the fill is read from the new one by another. At most
 * client->lower_workers are inside the lower at once; others wait in its queue.
 */
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "fill.h"
#include "segment.h"
#include "stats.h"
#include "trace.h"

static struct workqueue_struct *lower_wq;

struct bc_lower_read {
	struct list_head node;		/* client->lower_queue; client->lower_lock */
	u32 epoch;			/* client->lower_epoch when it began */
	struct work_struct work;
	struct bc_fill *fill;		/* holds a reference */
	u64 turn;			/* fill->epoch as long as the fill waits for this read */
	struct page **pages;
	u32 nr_pages;
};

/* Does the fill wait for it? Without a lock: what changes just now is as good as a moment later. */
static bool is_awaited(const struct bc_lower_read *read)
{
	return READ_ONCE(read->fill->state) == BC_FILL_LOWER &&
	       READ_ONCE(read->fill->epoch) == read->turn;
}

static void read_free(struct bc_lower_read *read)
{
	bc_pages_free(read->pages, read->nr_pages);
	bc_fill_put(read->fill);
	kfree(read);
}

/*
 * The bytes are of this version: may the fill take them? An unbound object
 * becomes bound to it; one bound to an ETag takes them only if the mount says
 * that the lower is exact, and the sizes agree.
 */
static int accept_version(struct bc_object *object, const struct bc_version *version)
{
	if (bc_object_bound(object) != BC_BOUND_STORE)
		return bc_object_set_version(object, BC_BOUND_LOWER, version);
	if (!object->client->lower_exact || object->version.size != version->size)
		return -ESTALE;
	return 0;
}

static int read_lower(struct bc_lower_read *read)
{
	struct bc_fill *fill = read->fill;
	struct bc_object *object = fill->object;
	u64 start = (u64)fill->chunk << BC_CHUNK_SHIFT;
	struct bc_version version = {};
	u32 expected;
	int ret;

	read->nr_pages = BC_CHUNK_PAGES;
	read->pages = bc_pages_alloc(read->nr_pages, GFP_NOFS);
	if (!read->pages)
		return -ENOMEM;
	ret = object->ops->read_lower(object->private, start, BC_CHUNK_SIZE, read->pages,
				      &version);
	if (ret < 0)
		return ret;
	expected = version.size > start ? min_t(u64, version.size - start, BC_CHUNK_SIZE) : 0;
	if (ret != expected)
		return -EIO;
	/* Too late: the deadline or an umount -f ended it, or another lower is there. */
	if (!is_awaited(read))
		return -ECANCELED;
	ret = accept_version(object, &version);
	if (ret)
		return ret;
	bc_stat_add(BC_STAT_LOWER_BYTES, expected);
	bc_fill_deliver(fill, read->pages, expected);
	return 0;
}

/*
 * The lower could not give the bytes. What is known of the store decides: if it
 * failed before, that was the last hope; else the store is asked, or waited for.
 */
static void lower_failed(struct bc_lower_read *read, int error)
{
	struct bc_fill *fill = read->fill;
	enum bc_binding binding = bc_object_bound(fill->object);

	bc_stat_inc(BC_STAT_LOWER_FAILED);
	if (!bc_fill_requeue(fill, BC_FILL_LOWER, read->turn))
		return;
	if (binding == BC_BOUND_LOWER || fill->object->lower_only) {
		/* ESTALE: the lower file is another one now than this object was bound to. */
		if (binding != BC_UNBOUND || error != -ESTALE || !bc_fill_try_lower(fill))
			bc_fill_end(fill, error);
		return;
	}
	/* An unbound object's lower file may have changed while it was read: read it again. */
	if (binding == BC_UNBOUND && error == -ESTALE && bc_fill_try_lower(fill))
		return;
	if (fill->store_error)
		bc_fill_end(fill, fill->store_error);
	else
		bc_fill_dispatch(fill);
}

static bool start_next(struct bc_client *client)
{
	struct bc_lower_read *read = NULL;

	spin_lock(&client->lower_lock);
	if (client->lower_busy < client->lower_workers) {
		read = list_first_entry_or_null(&client->lower_queue, struct bc_lower_read, node);
		if (read) {
			list_del_init(&read->node);
			read->epoch = client->lower_epoch;
			client->lower_busy++;
		}
	}
	spin_unlock(&client->lower_lock);
	if (read)
		queue_work(lower_wq, &read->work);
	return read;
}

static void read_ended(struct bc_client *client, u32 epoch)
{
	spin_lock(&client->lower_lock);
	if (epoch == client->lower_epoch)
		client->lower_busy--;
	else
		client->lower_left--;
	spin_unlock(&client->lower_lock);
	start_next(client);
}

void bc_client_lower_renewed(struct bc_client *client)
{
	spin_lock(&client->lower_lock);
	client->lower_epoch++;
	client->lower_left += client->lower_busy;
	client->lower_busy = 0;
	spin_unlock(&client->lower_lock);
	bc_fills_lower_renewed(client);
	while (start_next(client))
		;
}

static void lower_work(struct work_struct *work)
{
	struct bc_lower_read *read = container_of(work, struct bc_lower_read, work);
	struct bc_client *client = read->fill->object->client;
	int ret = -ECANCELED;

	if (is_awaited(read)) {
		bc_stat_inc(BC_STAT_LOWER_READS);
		ret = read_lower(read);
	}
	if (!ret)
		bc_fill_end(read->fill, 0);
	else if (ret != -ECANCELED)
		lower_failed(read, ret);
	read_ended(client, read->epoch);
	/* At the end: a new read at this address must not wait for this work function. */
	read_free(read);
}

void bc_lower_purge(struct bc_client *client)
{
	struct bc_lower_read *read, *next;
	LIST_HEAD(ended);

	spin_lock(&client->lower_lock);
	list_for_each_entry_safe(read, next, &client->lower_queue, node) {
		if (!is_awaited(read))
			list_move_tail(&read->node, &ended);
	}
	spin_unlock(&client->lower_lock);
	list_for_each_entry_safe(read, next, &ended, node)
		read_free(read);
}

/* While the lower hangs, fills end at their deadlines: what is queued for them must not pile up. */
static void purge_now_and_then(struct bc_client *client)
{
	unsigned long last = READ_ONCE(client->lower_purged);

	if (list_empty_careful(&client->lower_queue) || !time_after(jiffies, last + HZ))
		return;
	WRITE_ONCE(client->lower_purged, jiffies);
	bc_lower_purge(client);
}

int bc_lower_start(struct bc_fill *fill, u64 turn)
{
	struct bc_client *client = fill->object->client;
	struct bc_lower_read *read = kzalloc(sizeof(*read), GFP_NOFS);

	if (!read) {
		bc_fill_put(fill);
		return -ENOMEM;
	}
	INIT_LIST_HEAD(&read->node);
	INIT_WORK(&read->work, lower_work);
	read->fill = fill;
	read->turn = turn;
	purge_now_and_then(client);
	spin_lock(&client->lower_lock);
	list_add_tail(&read->node, &client->lower_queue);
	spin_unlock(&client->lower_lock);
	start_next(client);
	return 0;
}

int bc_lower_init(void)
{
	/* Not WQ_MEM_RECLAIM: these workers may sleep in the lower for long. */
	lower_wq = alloc_workqueue("blobcache-lower", WQ_UNBOUND, WQ_MAX_ACTIVE);
	return lower_wq ? 0 : -ENOMEM;
}

void bc_lower_exit(void)
{
	destroy_workqueue(lower_wq);
}
