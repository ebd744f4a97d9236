// SPDX-License-Identifier: GPL-2.0-only
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "daemon.h"
#include "fill.h"
#include "netlink.h"
#include "resolve.h"
#include "stats.h"

static DEFINE_SPINLOCK(resolves_lock);
static LIST_HEAD(resolves);
static u32 resolves_count;

static void resolve_release(struct kref *ref)
{
	struct bc_resolve *resolve = container_of(ref, struct bc_resolve, ref);

	bc_client_put(resolve->client);
	kfree(resolve);
}

void bc_resolve_put(struct bc_resolve *resolve)
{
	kref_put(&resolve->ref, resolve_release);
}

static struct bc_resolve *resolve_alloc(struct bc_client *client, const char *path)
{
	size_t length = strlen(path);
	struct bc_resolve *resolve = kzalloc(sizeof(*resolve) + length + 1, GFP_NOFS);

	if (!resolve)
		return NULL;
	kref_init(&resolve->ref);
	kref_get(&client->ref);
	resolve->client = client;
	init_completion(&resolve->answered);
	resolve->created = jiffies;
	resolve->asked_ns = ktime_get_boottime_ns();
	resolve->path_length = length;
	memcpy(resolve->path, path, length + 1);
	return resolve;
}

static bool same_question(const struct bc_resolve *a, const struct bc_resolve *b)
{
	return a->path_length == b->path_length && bc_key_equal(&a->client->volume,
								&b->client->volume) &&
	       !memcmp(a->path, b->path, a->path_length);
}

/* Join the pending question or ask the new one. Returns with a reference and a waiter. */
static struct bc_resolve *find_or_add(struct bc_resolve *new)
{
	struct bc_resolve *resolve;

	spin_lock(&resolves_lock);
	list_for_each_entry(resolve, &resolves, node) {
		if (same_question(resolve, new))
			goto found;
	}
	resolve = new;
	resolve->id = bc_request_id();
	list_add_tail(&resolve->node, &resolves);
	resolves_count++;
	kref_get(&resolve->ref);	/* the table's */
found:
	kref_get(&resolve->ref);
	resolve->waiters++;
	spin_unlock(&resolves_lock);
	return resolve;
}

/* Take it off the table, if it is there. Return: true if it was. */
static bool table_del(struct bc_resolve *resolve)
{
	lockdep_assert_held(&resolves_lock);
	if (list_empty(&resolve->node))
		return false;
	list_del_init(&resolve->node);
	resolves_count--;
	return true;
}

/* A question nobody waits for any more is withdrawn. */
static void leave(struct bc_resolve *resolve)
{
	bool last;

	spin_lock(&resolves_lock);
	last = !--resolve->waiters && table_del(resolve);
	spin_unlock(&resolves_lock);
	if (last)
		bc_resolve_put(resolve);
	bc_resolve_put(resolve);
}

int bc_resolve(struct bc_client *client, const char *path, u32 timeout_ms,
	       struct bc_version *version)
{
	struct bc_resolve *new, *resolve;
	long ret;

	if (!timeout_ms)
		return -ETIMEDOUT;
	if (!bc_daemon_alive())
		return -ENOTCONN;
	new = resolve_alloc(client, path);
	if (!new)
		return -ENOMEM;
	resolve = find_or_add(new);
	if (resolve == new) {
		bc_stat_inc(BC_STAT_RESOLVES);
		bc_netlink_announce_resolve(resolve);
	}
	bc_resolve_put(new);
	/* It may have gone, and answered for what was asked, before we asked. */
	if (!bc_daemon_alive() && !completion_done(&resolve->answered)) {
		leave(resolve);
		return -ENOTCONN;
	}
	ret = wait_for_completion_killable_timeout(&resolve->answered,
						   msecs_to_jiffies(timeout_ms));
	if (ret > 0) {
		ret = resolve->error;
		*version = resolve->version;
	} else if (!ret) {
		bc_stat_inc(BC_STAT_RESOLVE_TIMEOUT);
		ret = -ETIMEDOUT;
	} else {
		ret = -EINTR;
	}
	leave(resolve);
	return ret;
}

static void answer(struct bc_resolve *resolve, int error, const struct bc_version *version)
{
	resolve->error = error;
	if (version)
		resolve->version = *version;
	resolve->version.asked_ns = resolve->asked_ns;
	complete_all(&resolve->answered);
	bc_resolve_put(resolve);	/* the table's */
}

static const int resolve_errno[BC_DONE_STATUS_COUNT] = {
	[BC_DONE_CHANGED] = -EIO,
	[BC_DONE_GONE] = -ENOENT,
	[BC_DONE_DENIED] = -EACCES,
	[BC_DONE_RETRY_AFTER] = -EIO,
	[BC_DONE_FAILED] = -EIO,
	[BC_DONE_UNSUPPORTED] = -EOPNOTSUPP,
};

int bc_resolve_reply(u64 id, enum bc_done_status status, const struct bc_version *version)
{
	struct bc_resolve *resolve;
	bool found = false;

	spin_lock(&resolves_lock);
	list_for_each_entry(resolve, &resolves, node) {
		if (resolve->id == id) {
			found = table_del(resolve);
			break;
		}
	}
	spin_unlock(&resolves_lock);
	if (!found)
		return -ENOENT;
	answer(resolve, resolve_errno[status], status == BC_DONE_OK ? version : NULL);
	return 0;
}

void bc_resolves_daemon_lost(void)
{
	struct bc_resolve *resolve;

	for (;;) {
		spin_lock(&resolves_lock);
		resolve = list_first_entry_or_null(&resolves, struct bc_resolve, node);
		if (resolve)
			table_del(resolve);
		spin_unlock(&resolves_lock);
		if (!resolve)
			return;
		answer(resolve, -ENOTCONN, NULL);
	}
}

u32 bc_resolves_pending(void)
{
	return READ_ONCE(resolves_count);
}

struct bc_resolve *bc_resolves_next(u64 after)
{
	struct bc_resolve *resolve, *found = NULL;

	spin_lock(&resolves_lock);
	list_for_each_entry(resolve, &resolves, node) {
		if (resolve->id > after) {
			kref_get(&resolve->ref);
			found = resolve;
			break;
		}
	}
	spin_unlock(&resolves_lock);
	return found;
}
