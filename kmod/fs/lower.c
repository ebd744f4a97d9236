// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls of the lower filesystem, each in a worker with the mounter's
 * credentials. A lower that is served by a process may keep a call for as long
 * as it likes, uninterruptibly: the worker sleeps there, not the caller.
 *
 * A call is referenced by its caller and by its worker. The caller that gives
 * up drops its reference; the worker, back from the lower after all, then frees
 * what the call holds, results included. At most BC_LOWER_CALLS of a mount are
 * inside the lower; others wait in a queue that a caller can leave.
 */
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/slab.h>

#include "fs.h"

static struct workqueue_struct *calls_wq;

struct call {
	refcount_t refs;
	struct list_head node;		/* mount->calls while queued; calls_lock */
	struct work_struct work;
	struct completion done;
	struct bc_mount *mount;
	int (*run)(struct call *call);
	int error;
	struct path path;		/* what it is about */
	struct path found;		/* what it found */
	u64 generation;			/* of both */
	struct file *file;
	int flags;			/* to open with */
	struct kstat stat;
	struct kstatfs statfs;
	struct bc_dirents dirents;
	char *text;
	bool by_path;
	struct qstr name;
	char name_text[];
};

static void call_put(struct call *call)
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

static void call_run(struct call *call)
{
	const struct cred *old = override_creds(call->mount->creds);

	call->error = call->run(call);
	revert_creds(old);
	complete(&call->done);
}

/* Runs calls of one mount until none waits. */
static void calls_work(struct work_struct *work)
{
	struct call *call = container_of(work, struct call, work), *next;

	while (call) {
		struct bc_mount *mount = call->mount;

		call_run(call);
		spin_lock(&mount->calls_lock);
		next = list_first_entry_or_null(&mount->calls, struct call, node);
		if (next)
			list_del_init(&next->node);
		else
			mount->calls_running--;
		spin_unlock(&mount->calls_lock);
		call_put(call);
		call = next;
	}
}

static struct call *call_new(struct bc_mount *mount, int (*run)(struct call *call),
			     const char *name, size_t length)
{
	struct call *call = kzalloc(sizeof(*call) + length + 1, GFP_KERNEL);

	if (!call)
		return NULL;
	refcount_set(&call->refs, 1);
	INIT_LIST_HEAD(&call->node);
	INIT_WORK(&call->work, calls_work);
	init_completion(&call->done);
	bc_mount_get(mount);
	call->mount = mount;
	call->run = run;
	if (length)
		memcpy(call->name_text, name, length);
	call->name = (struct qstr)QSTR_INIT(call->name_text, length);
	return call;
}

static void call_start(struct call *call)
{
	struct bc_mount *mount = call->mount;
	bool start;

	refcount_inc(&call->refs);	/* the worker's */
	spin_lock(&mount->calls_lock);
	start = mount->calls_running < BC_LOWER_CALLS;
	if (start)
		mount->calls_running++;
	else
		list_add_tail(&call->node, &mount->calls);
	spin_unlock(&mount->calls_lock);
	if (start)
		queue_work(calls_wq, &call->work);
}

/* Nobody waits for it: do not begin with it. */
static void call_withdraw(struct call *call)
{
	struct bc_mount *mount = call->mount;
	bool queued;

	spin_lock(&mount->calls_lock);
	queued = !list_empty(&call->node);
	list_del_init(&call->node);
	spin_unlock(&mount->calls_lock);
	if (queued)
		call_put(call);
}

/*
 * Run the call and wait for it. Its results may be used if this returns what
 * the call did; -EINTR and -ETIMEDOUT of this function mean that it is still
 * running, so the results must be left alone.
 */
static int call_wait(struct call *call, unsigned long timeout)
{
	long left;

	if (bc_lower_is_suspect(call->mount))
		return -EIO;
	call_start(call);
	left = wait_for_completion_killable_timeout(&call->done, timeout);
	if (left > 0) {
		if (bc_lower_lost(call->error))
			bc_lower_suspect(call->mount);
		return call->error;
	}
	call_withdraw(call);
	if (left < 0)
		return -EINTR;
	bc_lower_suspect(call->mount);
	return -ETIMEDOUT;
}

/**
 * bc_lower_root - the lower directory of a mount
 * @mount: mount
 * @path: out, with references
 * @generation: out, may be NULL
 */
void bc_lower_root(struct bc_mount *mount, struct path *path, u64 *generation)
{
	spin_lock(&mount->lower_lock);
	*path = mount->lower;
	path_get(path);
	if (generation)
		*generation = mount->lower_generation;
	spin_unlock(&mount->lower_lock);
}

/**
 * bc_lower_lost - does this error mean that the lower as a whole is not there?
 * @error: what a call of the lower returned
 */
bool bc_lower_lost(int error)
{
	switch (error) {
	case -ECONNABORTED:
	case -EHOSTDOWN:
	case -EIO:
	case -ENODEV:
	case -ENOTCONN:
	case -ESHUTDOWN:
	case -ESTALE:
	case -ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

/*
 * A suspect's root is asked once a second, by one worker, until it answers. The
 * probe belongs to one lower root: after a change of the lower, the old one may
 * still be stuck in the old lower, and no longer matters.
 */
struct bc_lower_probe {
	struct delayed_work work;
	struct bc_mount *mount;		/* holds a reference */
	struct path path;
};

static void probe_free(struct bc_lower_probe *probe)
{
	path_put(&probe->path);
	bc_mount_put(probe->mount);
	kfree(probe);
}

static int probe_ask(struct bc_lower_probe *probe)
{
	const struct cred *old = override_creds(probe->mount->creds);
	struct kstat stat;
	int error;

	/* Not from a cache: it is the server of the lower that must answer. */
	error = vfs_getattr(&probe->path, &stat, STATX_BASIC_STATS, AT_STATX_FORCE_SYNC);
	revert_creds(old);
	return error;
}

static void probe_work(struct work_struct *work)
{
	struct bc_lower_probe *probe = container_of(to_delayed_work(work), struct bc_lower_probe,
						    work);
	struct bc_mount *mount = probe->mount;
	bool again, current_one;

	again = !test_bit(BC_MOUNT_DEAD, &mount->flags) && probe_ask(probe);
	spin_lock(&mount->lower_lock);
	current_one = mount->lower_probe == probe;
	again = again && current_one && !test_bit(BC_MOUNT_DEAD, &mount->flags);
	if (again) {
		queue_delayed_work(calls_wq, &probe->work, msecs_to_jiffies(BC_PATIENCE_MS));
	} else if (current_one) {
		mount->lower_probe = NULL;
		clear_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
	}
	spin_unlock(&mount->lower_lock);
	if (again)
		return;
	if (current_one)
		pr_info_ratelimited("%s: lower answers again\n", mount->options.volume);
	probe_free(probe);
}

/**
 * bc_lower_suspect - the lower did not answer: nobody waits for it until it does
 * @mount: mount
 *
 * May sleep for memory.
 */
void bc_lower_suspect(struct bc_mount *mount)
{
	struct bc_lower_probe *probe;

	if (bc_lower_is_suspect(mount))
		return;
	probe = kzalloc(sizeof(*probe), GFP_NOFS);
	if (!probe)
		return;
	INIT_DELAYED_WORK(&probe->work, probe_work);
	bc_mount_get(mount);
	probe->mount = mount;

	spin_lock(&mount->lower_lock);
	probe->path = mount->lower;
	path_get(&probe->path);
	if (!mount->lower_probe && !test_bit(BC_MOUNT_DEAD, &mount->flags)) {
		set_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
		mount->lower_probe = probe;
		/* At once: a lower that was only slow must not be suspected for long. */
		queue_delayed_work(calls_wq, &probe->work, 0);
		probe = NULL;
	}
	spin_unlock(&mount->lower_lock);
	if (probe)
		probe_free(probe);
	else
		pr_warn_ratelimited("%s: lower does not answer\n", mount->options.volume);
}

/**
 * bc_lower_trusted - stop suspecting the lower: it is another one, or the mount goes
 * @mount: mount
 *
 * May sleep.
 */
void bc_lower_trusted(struct bc_mount *mount)
{
	struct bc_lower_probe *probe;

	spin_lock(&mount->lower_lock);
	probe = mount->lower_probe;
	mount->lower_probe = NULL;
	clear_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
	/* Running: it finds that it is no longer the current one, and frees itself. */
	if (probe && !cancel_delayed_work(&probe->work))
		probe = NULL;
	spin_unlock(&mount->lower_lock);
	if (probe)
		probe_free(probe);
}

static int lookup_step(struct call *call)
{
	struct dentry *dentry;

	dentry = lookup_one_unlocked(&nop_mnt_idmap, &call->name, call->path.dentry);
	if (IS_ERR(dentry))
		return PTR_ERR(dentry);
	call->found.mnt = mntget(call->path.mnt);
	call->found.dentry = dentry;
	return d_is_negative(dentry) ? -ENOENT : 0;
}

static int run_lookup(struct call *call)
{
	int error;

	if (!call->by_path)
		error = lookup_step(call);
	else
		/* Links were followed above us; one that appears meanwhile leads nowhere. */
		error = vfs_path_lookup(call->path.dentry, call->path.mnt, call->name_text,
					LOOKUP_NO_SYMLINKS, &call->found);
	if (error)
		return error;
	return vfs_getattr(&call->found, &call->stat, STATX_BASIC_STATS, AT_STATX_SYNC_AS_STAT);
}

/* By name in the lower directory of the parent, if that belongs to the lower of today. */
static struct call *lookup_in_parent(struct bc_mount *mount, struct dentry *dentry)
{
	struct dentry *parent = dget_parent(dentry);
	struct bc_dentry *info = parent->d_fsdata;
	struct name_snapshot name;
	struct call *call = NULL;

	take_dentry_name_snapshot(&name, dentry);
	spin_lock(&info->lock);
	if (info->lower.dentry && info->generation == READ_ONCE(mount->lower_generation)) {
		struct path path = info->lower;
		u64 generation = info->generation;

		path_get(&path);
		spin_unlock(&info->lock);
		call = call_new(mount, run_lookup, name.name.name, name.name.len);
		if (call) {
			call->path = path;
			call->generation = generation;
		} else {
			path_put(&path);
		}
	} else {
		spin_unlock(&info->lock);
	}
	release_dentry_name_snapshot(&name);
	dput(parent);
	return call;
}

static struct call *lookup_by_path(struct bc_mount *mount, struct dentry *dentry)
{
	char *path = bc_dentry_path(dentry);
	struct call *call;

	if (IS_ERR(path))
		return NULL;
	call = call_new(mount, run_lookup, path, strlen(path));
	if (call) {
		call->by_path = true;
		bc_lower_root(mount, &call->path, &call->generation);
	}
	kfree(path);
	return call;
}

/**
 * bc_lower_lookup - find the lower file of a dentry, by its parent and name, or by its path
 * @dentry: ours; not the root, unless its lower was changed
 * @timeout: in jiffies
 * @path: out, with references
 * @generation: out: of the lower it was found in
 * @stat: out
 *
 * Killable. Return: 0, -ENOENT, -ETIMEDOUT, -EINTR, -EIO at once if the lower is suspect, or what
 * the lower says.
 */
int bc_lower_lookup(struct dentry *dentry, unsigned long timeout, struct path *path,
		    u64 *generation, struct kstat *stat)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct call *call = NULL;
	int error;

	if (bc_lower_is_suspect(mount))
		return -EIO;
	if (!IS_ROOT(dentry))
		call = lookup_in_parent(mount, dentry);
	if (!call)
		call = lookup_by_path(mount, dentry);
	if (!call)
		return -ENOMEM;
	error = call_wait(call, timeout);
	if (!error) {
		*path = call->found;
		path_get(path);
		*generation = call->generation;
		*stat = call->stat;
	}
	call_put(call);
	return error;
}

static int run_getattr(struct call *call)
{
	return vfs_getattr(&call->path, &call->stat, STATX_BASIC_STATS, AT_STATX_SYNC_AS_STAT);
}

/**
 * bc_lower_getattr - attributes of a lower file
 * @mount: mount
 * @path: of the lower
 * @timeout: in jiffies
 * @stat: out
 *
 * Killable. Return: as bc_lower_lookup().
 */
int bc_lower_getattr(struct bc_mount *mount, const struct path *path, unsigned long timeout,
		     struct kstat *stat)
{
	struct call *call = call_new(mount, run_getattr, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	call->path = *path;
	path_get(&call->path);
	error = call_wait(call, timeout);
	if (!error)
		*stat = call->stat;
	call_put(call);
	return error;
}

static int run_statfs(struct call *call)
{
	return vfs_statfs(&call->path, &call->statfs);
}

/**
 * bc_lower_statfs - statfs of the lower
 * @mount: mount
 * @timeout: in jiffies
 * @statfs: out
 *
 * Killable. Return: as bc_lower_lookup().
 */
int bc_lower_statfs(struct bc_mount *mount, unsigned long timeout, struct kstatfs *statfs)
{
	struct call *call = call_new(mount, run_statfs, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	bc_lower_root(mount, &call->path, NULL);
	error = call_wait(call, timeout);
	if (!error)
		*statfs = call->statfs;
	call_put(call);
	return error;
}

static int run_open(struct call *call)
{
	struct file *file = dentry_open(&call->path, call->flags | O_LARGEFILE, call->mount->creds);

	if (IS_ERR(file))
		return PTR_ERR(file);
	call->file = file;
	return 0;
}

/**
 * bc_lower_open - open a lower file or directory to read it
 * @mount: mount
 * @path: of the lower
 * @flags: O_RDONLY, and what goes with it
 * @file: out
 *
 * Killable, bounded by the mount's deadline. Return: as bc_lower_lookup().
 */
int bc_lower_open(struct bc_mount *mount, const struct path *path, int flags, struct file **file)
{
	struct call *call = call_new(mount, run_open, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	call->path = *path;
	path_get(&call->path);
	call->flags = flags;
	error = call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	if (!error)
		*file = get_file(call->file);
	call_put(call);
	return error;
}

static int run_sync(struct call *call)
{
	struct super_block *sb = call->path.dentry->d_sb;
	int error;

	down_read(&sb->s_umount);
	error = sync_filesystem(sb);
	up_read(&sb->s_umount);
	return error;
}

/**
 * bc_lower_sync - write back what the lower filesystem has dirty
 * @mount: mount
 *
 * Killable, bounded by the mount's deadline. Return: as bc_lower_lookup().
 */
int bc_lower_sync(struct bc_mount *mount)
{
	struct call *call = call_new(mount, run_sync, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	bc_lower_root(mount, &call->path, NULL);
	error = call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	call_put(call);
	return error;
}

struct fill_context {
	struct dir_context ctx;
	struct bc_dirents *dirents;
	bool full;
};

static bool fill_dirent(struct dir_context *ctx, const char *name, int length, loff_t pos, u64 ino,
			unsigned int type)
{
	struct fill_context *fill = container_of(ctx, struct fill_context, ctx);
	struct bc_dirents *dirents = fill->dirents;
	u32 size = ALIGN(sizeof(struct bc_dirent) + length, 8);
	struct bc_dirent *dirent;

	if (size > BC_DIRENTS_SIZE - dirents->used) {
		fill->full = true;
		return false;
	}
	dirent = (struct bc_dirent *)(dirents->entries + dirents->used);
	dirent->ino = ino;
	dirent->pos = pos;
	dirent->type = type;
	dirent->length = length;
	memcpy(dirent->name, name, length);
	dirents->used += size;
	return true;
}

static int run_readdir(struct call *call)
{
	struct fill_context fill = {
		.ctx.actor = fill_dirent,
		.dirents = &call->dirents,
	};
	loff_t pos;
	int error;

	bc_dir_context_unlimited(&fill.ctx);
	pos = vfs_llseek(call->file, call->dirents.pos, SEEK_SET);
	if (pos < 0)
		return pos;
	error = iterate_dir(call->file, &fill.ctx);
	call->dirents.pos = fill.ctx.pos;
	call->dirents.end = !error && !fill.full && !call->dirents.used;
	/* What was read before the error is good. */
	return call->dirents.used ? 0 : error;
}

/**
 * bc_lower_readdir - read a batch of a lower directory
 * @mount: mount
 * @lower: the open directory
 * @dirents: pos in; all of it out; the caller frees its entries
 *
 * Killable, bounded by the mount's deadline. After -EINTR or -ETIMEDOUT a worker may still be
 * reading @lower: do not read it again.
 * Return: as bc_lower_lookup().
 */
int bc_lower_readdir(struct bc_mount *mount, struct file *lower, struct bc_dirents *dirents)
{
	struct call *call = call_new(mount, run_readdir, NULL, 0);
	int error = -ENOMEM;

	if (!call)
		return -ENOMEM;
	call->dirents.pos = dirents->pos;
	call->dirents.entries = kvmalloc(BC_DIRENTS_SIZE, GFP_KERNEL);
	if (call->dirents.entries) {
		call->file = get_file(lower);
		error = call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	}
	if (!error) {
		*dirents = call->dirents;
		call->dirents.entries = NULL;
	}
	call_put(call);
	return error;
}

static int run_readlink(struct call *call)
{
	DEFINE_DELAYED_CALL(done);
	const char *link = vfs_get_link(call->path.dentry, &done);

	if (IS_ERR(link))
		return PTR_ERR(link);
	call->text = kstrdup(link, GFP_KERNEL);
	do_delayed_call(&done);
	return call->text ? 0 : -ENOMEM;
}

/**
 * bc_lower_readlink - where a lower symbolic link points to
 * @mount: mount
 * @path: of the lower
 *
 * Killable, bounded by the mount's deadline. Return: text for the caller to free, or ERR_PTR.
 */
char *bc_lower_readlink(struct bc_mount *mount, const struct path *path)
{
	struct call *call = call_new(mount, run_readlink, NULL, 0);
	char *text;
	int error;

	if (!call)
		return ERR_PTR(-ENOMEM);
	call->path = *path;
	path_get(&call->path);
	error = call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	text = ERR_PTR(error);
	if (!error) {
		text = call->text;
		call->text = NULL;
	}
	call_put(call);
	return text;
}

int bc_calls_init(void)
{
	calls_wq = alloc_workqueue("blobcache-fs", WQ_UNBOUND, 0);
	return calls_wq ? 0 : -ENOMEM;
}

void bc_calls_exit(void)
{
	destroy_workqueue(calls_wq);
}
