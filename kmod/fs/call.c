// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls of the lower filesystem in workers. See call.h.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "call.h"

struct workqueue_struct *bc_calls_wq;
static struct workqueue_struct *asked_wq;	/* what callers wait for */

void bc_call_put(struct bc_call *call)
{
	if (!refcount_dec_and_test(&call->refs))
		return;
	path_put(&call->path);
	path_put(&call->found);
	if (call->file)
		fput(call->file);
	kvfree(call->dirents.entries);
	kfree(call->text);
	bc_mount_put(call->mount);
	kfree(call);
}

static void call_run(struct bc_call *call)
{
	const struct cred *old = override_creds(call->mount->creds);

	call->error = call->run(call);
	revert_creds(old);
	complete(&call->done);
}

/* Is it about the lower of today? lower_lock held. */
static bool of_today(const struct bc_call *call)
{
	const struct path *path = call->file ? &call->file->f_path : &call->path;

	/* A lower is a mount of its own, whose address is not reused while we refer to it. */
	return path->mnt == call->mount->lower.mnt;
}

/* lower_lock held. Return: false if too many are inside already. */
static bool enter(struct bc_call *call)
{
	struct bc_mount *mount = call->mount;
	u32 *inside = of_today(call) ? &mount->calls_running : &mount->calls_left;

	if (*inside >= BC_LOWER_CALLS)
		return false;
	++*inside;
	call->begun = true;
	list_move_tail(&call->node, &mount->calls_inside);
	return true;
}

/* Return: one that may begin now. */
static struct bc_call *leave(struct bc_call *call)
{
	struct bc_mount *mount = call->mount;
	struct bc_call *next;

	spin_lock(&mount->lower_lock);
	list_del_init(&call->node);
	if (call->epoch == mount->lower_generation)
		mount->calls_running--;
	else
		mount->calls_left--;
	next = list_first_entry_or_null(&mount->calls, struct bc_call, node);
	if (next && !enter(next))
		next = NULL;
	spin_unlock(&mount->lower_lock);
	return next;
}

static void queue(struct bc_call *call)
{
	queue_work(call->slow ? bc_calls_wq : asked_wq, &call->work);
}

/*
 * One work item, one call: to the workqueue an item is its address, and a new
 * call at the address of one that is freed must not wait for its work function.
 * So the call is freed at the very end of it.
 */
static void call_work(struct work_struct *work)
{
	struct bc_call *call = container_of(work, struct bc_call, work), *next;

	call_run(call);
	next = leave(call);
	if (next)
		queue(next);
	bc_call_put(call);
}

struct bc_call *bc_call_new(struct bc_mount *mount, int (*run)(struct bc_call *call),
			    const char *name, size_t length)
{
	struct bc_call *call = kzalloc(sizeof(*call) + length + 1, GFP_KERNEL);

	if (!call)
		return NULL;
	refcount_set(&call->refs, 1);
	INIT_LIST_HEAD(&call->node);
	INIT_WORK(&call->work, call_work);
	init_completion(&call->done);
	bc_mount_get(mount);
	call->mount = mount;
	call->run = run;
	if (length)
		memcpy(call->name_text, name, length);
	call->name = (struct qstr)QSTR_INIT(call->name_text, length);
	return call;
}

static int call_start(struct bc_call *call)
{
	struct bc_mount *mount = call->mount;
	bool begin, today;

	refcount_inc(&call->refs);	/* the worker's */
	spin_lock(&mount->lower_lock);
	today = of_today(call);
	call->epoch = today ? mount->lower_generation : 0;
	/* In a lower of before only what is open is used: a directory. Nobody waits for that. */
	begin = (today || call->file) && enter(call);
	call->missed = !begin && !today;
	if (!begin && today)
		list_add_tail(&call->node, &mount->calls);
	spin_unlock(&mount->lower_lock);
	if (begin)
		queue(call);
	if (begin || today)
		return 0;
	bc_call_put(call);
	return -ESTALE;
}

/* Nobody waits for it: do not begin with it. */
static void call_withdraw(struct bc_call *call)
{
	struct bc_mount *mount = call->mount;
	bool queued;

	spin_lock(&mount->lower_lock);
	queued = !call->begun && !list_empty(&call->node);
	if (queued)
		list_del_init(&call->node);
	spin_unlock(&mount->lower_lock);
	if (queued)
		bc_call_put(call);
}

void bc_calls_miss(struct bc_mount *mount)
{
	struct bc_call *call, *next;

	lockdep_assert_held(&mount->lower_lock);
	mount->calls_left += mount->calls_running;
	mount->calls_running = 0;
	/* Only those that can begin anew: others may have an answer yet, within their time. */
	list_for_each_entry(call, &mount->calls_inside, node) {
		if (!call->anew)
			continue;
		WRITE_ONCE(call->missed, true);
		complete(&call->done);
	}
	list_for_each_entry_safe(call, next, &mount->calls, node) {
		list_del_init(&call->node);
		call->error = -ESTALE;
		WRITE_ONCE(call->missed, true);
		/* Not the last one: the caller waits, or for the lock, to leave the queue. */
		refcount_dec(&call->refs);
		complete(&call->done);
	}
}

static void give_up(struct bc_call *call)
{
	if (!call->unsure)
		return;
	WRITE_ONCE(call->given_up, true);
	complete(&call->done);
}

void bc_calls_give_up(struct bc_mount *mount)
{
	struct bc_call *call;

	lockdep_assert_held(&mount->lower_lock);
	list_for_each_entry(call, &mount->calls_inside, node)
		give_up(call);
	list_for_each_entry(call, &mount->calls, node)
		give_up(call);
}

/* From now on it is waited for as long as the lower is not suspect. */
static void set_unsure(struct bc_call *call)
{
	struct bc_mount *mount = call->mount;

	spin_lock(&mount->lower_lock);
	call->unsure = true;
	if (bc_lower_is_suspect(mount))
		give_up(call);
	spin_unlock(&mount->lower_lock);
	bc_lower_doubt(mount, call->epoch, false);
}

/* Return: as wait_for_completion_killable_timeout(). */
static long wait_done(struct bc_call *call, unsigned long timeout)
{
	unsigned long patience = min(timeout, msecs_to_jiffies(bc_patience_ms()));
	long left;

	if (!call->known)
		return wait_for_completion_killable_timeout(&call->done, timeout);
	left = wait_for_completion_killable_timeout(&call->done, patience);
	if (left)
		return left;
	if (call->known(call->dentry))
		set_unsure(call);
	return wait_for_completion_killable_timeout(&call->done, timeout - patience);
}

int bc_call_wait(struct bc_call *call, unsigned long timeout)
{
	struct bc_mount *mount = call->mount;
	long left;
	int error;

	if (bc_lower_is_suspect(mount))
		return -EIO;
	error = call_start(call);
	if (error)
		return error;
	left = wait_done(call, timeout);
	if (left > 0 && !READ_ONCE(call->given_up)) {
		if (READ_ONCE(call->missed))
			return call->begun ? -ETIMEDOUT : -ESTALE;
		bc_lower_failed(mount, call->epoch, call->error);
		return call->error;
	}
	call_withdraw(call);
	if (left < 0)
		return -EINTR;
	if (left > 0)
		return -EIO;
	if (!call->slow)
		bc_lower_doubt(mount, call->epoch, !call->unsure);
	return -ETIMEDOUT;
}

int bc_calls_init(void)
{
	/*
	 * Not WQ_MEM_RECLAIM: these workers may sleep in the lower for long. As
	 * many as there can be, since those of one mount that are stuck (see
	 * BC_LOWER_CALLS, BC_LOWER_STUCK_MAX) must leave room for other mounts.
	 */
	bc_calls_wq = alloc_workqueue("blobcache-fs", WQ_UNBOUND, WQ_MAX_ACTIVE);
	/*
	 * On the caller's processor, which he is about to leave: to wake another one
	 * there and back takes longer than most answers. Nor does he who waits go
	 * behind all that computes there; it is his time. CPU_INTENSIVE: what takes
	 * long in the lower keeps no other work of this processor waiting.
	 */
	asked_wq = alloc_workqueue("blobcache-ask", WQ_PERCPU | WQ_HIGHPRI | WQ_CPU_INTENSIVE,
				   WQ_MAX_ACTIVE);
	if (bc_calls_wq && asked_wq)
		return 0;
	bc_calls_exit();
	return -ENOMEM;
}

void bc_calls_exit(void)
{
	if (asked_wq)
		destroy_workqueue(asked_wq);
	if (bc_calls_wq)
		destroy_workqueue(bc_calls_wq);
}
