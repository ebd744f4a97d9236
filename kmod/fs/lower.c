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
 *
 * When the lower is replaced, calls that are inside the old one no longer count
 * as inside the lower, those in the queue do not begin, and lookups, whether
 * queued or inside, begin anew in the new one.
 */
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/posix_acl.h>
#include <linux/slab.h>

#include "fs.h"

static struct workqueue_struct *calls_wq;

/**
 * bc_lower_root - the lower directory of a mount
 * @mount: mount
 * @path: out, with references; empty if the superblock is gone
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
 * bc_lower_lost - may this error mean that the lower as a whole is not there?
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
 * A lower that is in doubt has its root asked, once a second, by one worker,
 * until it answers. The probe belongs to one lower root: after a change of the
 * lower, the old one may still be stuck in the old lower, and no longer matters.
 */
struct bc_lower_probe {
	refcount_t refs;		/* of each work, while it is pending or running */
	struct delayed_work ask;
	struct delayed_work late;	/* there is no answer within BC_PATIENCE_MS */
	struct bc_mount *mount;		/* holds a reference */
	struct path path;
};

static void probe_put(struct bc_lower_probe *probe)
{
	if (!refcount_dec_and_test(&probe->refs))
		return;
	path_put(&probe->path);
	bc_mount_put(probe->mount);
	kfree(probe);
}

/* Return: how the lower as a whole failed, or 0: any other error is an answer, too. */
static int probe_ask(struct bc_lower_probe *probe)
{
	const struct cred *old = override_creds(probe->mount->creds);
	struct kstat stat;
	int error;

	/* Not from a cache: it is the server of the lower that must answer. */
	error = vfs_getattr(&probe->path, &stat, STATX_BASIC_STATS, AT_STATX_FORCE_SYNC);
	revert_creds(old);
	return bc_lower_lost(error) ? error : 0;
}

/* lower_lock held. Return: true if that is new. */
static bool set_suspect(struct bc_mount *mount)
{
	return !test_and_set_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
}

static void say_suspect(const struct bc_mount *mount)
{
	pr_warn_ratelimited("%s: lower does not answer\n", mount->options.volume);
}

static void probe_late(struct work_struct *work)
{
	struct bc_lower_probe *probe = container_of(to_delayed_work(work), struct bc_lower_probe,
						    late);
	struct bc_mount *mount = probe->mount;
	bool suspect;

	spin_lock(&mount->lower_lock);
	suspect = mount->lower_probe == probe && set_suspect(mount);
	spin_unlock(&mount->lower_lock);
	if (suspect)
		say_suspect(mount);
	probe_put(probe);
}

static void probe_work(struct work_struct *work)
{
	struct bc_lower_probe *probe = container_of(to_delayed_work(work), struct bc_lower_probe,
						    ask);
	bool lost, again, suspect = false, trusted = false, cancelled = false;
	struct bc_mount *mount = probe->mount;

	lost = !test_bit(BC_MOUNT_DEAD, &mount->flags) && probe_ask(probe);
	spin_lock(&mount->lower_lock);
	again = lost && mount->lower_probe == probe;
	if (again) {
		suspect = set_suspect(mount);
		queue_delayed_work(calls_wq, &probe->ask, msecs_to_jiffies(BC_PATIENCE_MS));
	} else if (mount->lower_probe == probe) {
		mount->lower_probe = NULL;
		trusted = test_and_clear_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
		cancelled = cancel_delayed_work(&probe->late);
	}
	spin_unlock(&mount->lower_lock);
	if (suspect)
		say_suspect(mount);
	if (trusted)
		pr_info_ratelimited("%s: lower answers again\n", mount->options.volume);
	if (cancelled)
		probe_put(probe);
	if (!again)
		probe_put(probe);
}

/* lower_lock held; takes over @probe, which has the reference of @ask. */
static void probe_start(struct bc_mount *mount, struct bc_lower_probe *probe)
{
	probe->path = mount->lower;
	path_get(&probe->path);
	mount->lower_probe = probe;
	/* At once: a lower that was only slow must not be suspected for long. */
	queue_delayed_work(calls_wq, &probe->ask, 0);
	refcount_inc(&probe->refs);
	queue_delayed_work(calls_wq, &probe->late, msecs_to_jiffies(BC_PATIENCE_MS));
}

/*
 * Something speaks against a lower: it is asked, and if there is no more to be
 * @sure of, nobody waits for it until it answers. May sleep for memory.
 */
static void doubt(struct bc_mount *mount, u64 generation, bool sure)
{
	struct bc_lower_probe *probe;
	bool suspect = false;

	if (bc_lower_is_suspect(mount) || (!sure && READ_ONCE(mount->lower_probe)))
		return;
	probe = kzalloc(sizeof(*probe), GFP_NOFS);
	if (!probe)
		return;
	refcount_set(&probe->refs, 1);
	INIT_DELAYED_WORK(&probe->ask, probe_work);
	INIT_DELAYED_WORK(&probe->late, probe_late);
	bc_mount_get(mount);
	probe->mount = mount;

	spin_lock(&mount->lower_lock);
	/* What happens in a lower of before says nothing of this one. */
	if (mount->lower_generation == generation && !test_bit(BC_MOUNT_DEAD, &mount->flags)) {
		suspect = sure && set_suspect(mount);
		if (!mount->lower_probe) {
			probe_start(mount, probe);
			probe = NULL;
		}
	}
	spin_unlock(&mount->lower_lock);
	if (probe)
		probe_put(probe);
	if (suspect)
		say_suspect(mount);
}

/**
 * bc_lower_failed - a call of the lower came back with an error: is it the lower that failed?
 * @mount: mount
 * @generation: of the lower that was called
 * @error: what it answered
 *
 * EIO or ESTALE may be of one file: then the lower's root is asked. If its server is gone nobody
 * waits for it from now on. May sleep for memory.
 */
void bc_lower_failed(struct bc_mount *mount, u64 generation, int error)
{
	switch (error) {
	case -ECONNABORTED:
	case -EHOSTDOWN:
	case -ENOTCONN:
	case -ESHUTDOWN:
		doubt(mount, generation, true);
		break;
	default:
		if (bc_lower_lost(error))
			doubt(mount, generation, false);
	}
}

/* lower_lock held. Return: the probe of before, for probe_drop(). */
static struct bc_lower_probe *trust(struct bc_mount *mount)
{
	struct bc_lower_probe *probe = mount->lower_probe;

	mount->lower_probe = NULL;
	clear_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
	/* For probe_drop(), since the works drop theirs any time. */
	if (probe)
		refcount_inc(&probe->refs);
	return probe;
}

/* Those that are running find that theirs is no longer the current one. */
static void probe_drop(struct bc_lower_probe *probe)
{
	if (!probe)
		return;
	if (cancel_delayed_work(&probe->ask))
		probe_put(probe);
	if (cancel_delayed_work(&probe->late))
		probe_put(probe);
	probe_put(probe);
}

/**
 * bc_lower_trusted - stop suspecting the lower: the mount goes
 * @mount: mount
 *
 * May sleep.
 */
void bc_lower_trusted(struct bc_mount *mount)
{
	struct bc_lower_probe *probe;

	spin_lock(&mount->lower_lock);
	probe = trust(mount);
	spin_unlock(&mount->lower_lock);
	probe_drop(probe);
}

struct call {
	refcount_t refs;
	struct list_head node;		/* mount->calls or calls_inside; lower_lock */
	bool begun;			/* lower_lock */
	bool missed;			/* its lower was replaced: its results do not count */
	u64 epoch;			/* generation of its lower; 0 = one of before it began */
	struct work_struct work;
	struct completion done;		/* or missed */
	struct bc_mount *mount;
	int (*run)(struct call *call);
	int error;
	struct path path;		/* what it is about */
	struct path found;		/* what it found */
	u64 generation;			/* of both */
	struct file *file;
	int flags;			/* to open with */
	bool slow;			/* that it takes long says nothing of the lower */
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

/* Is it about the lower of today? lower_lock held. */
static bool of_today(const struct call *call)
{
	const struct path *path = call->file ? &call->file->f_path : &call->path;

	/* A lower is a mount of its own, whose address is not reused while we refer to it. */
	return path->mnt == call->mount->lower.mnt;
}

/* lower_lock held. Return: false if too many are inside already. */
static bool enter(struct call *call)
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
static struct call *leave(struct call *call)
{
	struct bc_mount *mount = call->mount;
	struct call *next;

	spin_lock(&mount->lower_lock);
	list_del_init(&call->node);
	if (call->epoch == mount->lower_generation)
		mount->calls_running--;
	else
		mount->calls_left--;
	next = list_first_entry_or_null(&mount->calls, struct call, node);
	if (next && !enter(next))
		next = NULL;
	spin_unlock(&mount->lower_lock);
	return next;
}

/*
 * One work item, one call: to the workqueue an item is its address, and a new
 * call at the address of one that is freed must not wait for its work function.
 * So the call is freed at the very end of it.
 */
static void call_work(struct work_struct *work)
{
	struct call *call = container_of(work, struct call, work), *next;

	call_run(call);
	next = leave(call);
	if (next)
		queue_work(calls_wq, &next->work);
	call_put(call);
}

static struct call *call_new(struct bc_mount *mount, int (*run)(struct call *call),
			     const char *name, size_t length)
{
	struct call *call = kzalloc(sizeof(*call) + length + 1, GFP_KERNEL);

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

static int call_start(struct call *call)
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
		queue_work(calls_wq, &call->work);
	if (begin || today)
		return 0;
	call_put(call);
	return -ESTALE;
}

/* Nobody waits for it: do not begin with it. */
static void call_withdraw(struct call *call)
{
	struct bc_mount *mount = call->mount;
	bool queued;

	spin_lock(&mount->lower_lock);
	queued = !call->begun && !list_empty(&call->node);
	if (queued)
		list_del_init(&call->node);
	spin_unlock(&mount->lower_lock);
	if (queued)
		call_put(call);
}

static int run_lookup(struct call *call);

/* The lower was replaced. lower_lock held. */
static void calls_miss(struct bc_mount *mount)
{
	struct call *call, *next;

	lockdep_assert_held(&mount->lower_lock);
	mount->calls_left += mount->calls_running;
	mount->calls_running = 0;
	/* Only those that can begin anew: others may have an answer yet, within their time. */
	list_for_each_entry(call, &mount->calls_inside, node) {
		if (call->run != run_lookup)
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

/*
 * Run the call and wait for it. Its results may be used if this returns what
 * the call did; -EINTR and -ETIMEDOUT of this function mean that it is still
 * running, so the results must be left alone.
 */
static int call_wait(struct call *call, unsigned long timeout)
{
	struct bc_mount *mount = call->mount;
	long left;
	int error;

	if (bc_lower_is_suspect(mount))
		return -EIO;
	error = call_start(call);
	if (error)
		return error;
	left = wait_for_completion_killable_timeout(&call->done, timeout);
	if (left > 0) {
		if (READ_ONCE(call->missed))
			return call->begun ? -ETIMEDOUT : -ESTALE;
		bc_lower_failed(mount, call->epoch, call->error);
		return call->error;
	}
	call_withdraw(call);
	if (left < 0)
		return -EINTR;
	if (!call->slow)
		doubt(mount, call->epoch, true);
	return -ETIMEDOUT;
}

/**
 * bc_lower_set_type - set lower_type from the lower
 * @mount: mount; with lower_lock, unless nobody else knows it yet
 */
void bc_lower_set_type(struct bc_mount *mount)
{
	const struct super_block *sb = mount->lower.dentry->d_sb;

	snprintf(mount->lower_type, sizeof(mount->lower_type), "%s%s%s", sb->s_type->name,
		 sb->s_subtype ? "." : "", sb->s_subtype ?: "");
}

/**
 * bc_lower_replace - from now on the lower is another one
 * @mount: mount
 * @lower: in: the new root; out: the old one; with their references
 *
 * May sleep.
 */
void bc_lower_replace(struct bc_mount *mount, struct path *lower)
{
	struct bc_lower_probe *probe;

	spin_lock(&mount->lower_lock);
	swap(mount->lower, *lower);
	WRITE_ONCE(mount->lower_generation, mount->lower_generation + 1);
	bc_lower_set_type(mount);
	probe = trust(mount);
	calls_miss(mount);
	spin_unlock(&mount->lower_lock);
	probe_drop(probe);
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

/* Return: does it have an ACL that says more than its mode? Or errno. */
static int has_acl(const struct path *path)
{
	struct inode *inode = d_inode(path->dentry);
	struct posix_acl *acl;
	int ret;

	if (!IS_POSIXACL(inode) || S_ISLNK(inode->i_mode))
		return 0;
	/* As permission checks of the lower do: there may be one to be read that nobody heeds. */
	acl = get_inode_acl(inode, ACL_TYPE_ACCESS);
	if (IS_ERR_OR_NULL(acl))
		return PTR_ERR_OR_ZERO(acl);
	ret = posix_acl_equiv_mode(acl, NULL);
	posix_acl_release(acl);
	return ret;
}

/**
 * bc_lower_attributes - what is to be shown of a lower file
 * @path: of the lower
 * @stat: out
 *
 * Access is checked by mode bits. Those of a file with an ACL may grant what the
 * ACL refuses: to its group, and to users and groups that it names. They are
 * sure of the owner only, so only the owner is let in.
 *
 * Waits for the lower, as long as it takes. Return: 0 or errno.
 */
int bc_lower_attributes(const struct path *path, struct kstat *stat)
{
	int error, acl;

	error = vfs_getattr(path, stat, STATX_BASIC_STATS, AT_STATX_SYNC_AS_STAT);
	if (error)
		return error;
	acl = has_acl(path);
	if (acl < 0)
		return acl;
	if (acl)
		stat->mode &= ~0077;
	return 0;
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
	return bc_lower_attributes(&call->found, &call->stat);
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
	if (info->lower.dentry && info->generation == READ_ONCE(mount->lower_generation) &&
	    info->lower.mnt == READ_ONCE(mount->lower.mnt)) {
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

static struct call *lookup_call(struct bc_mount *mount, struct dentry *dentry)
{
	struct call *call = IS_ROOT(dentry) ? NULL : lookup_in_parent(mount, dentry);

	return call ?: lookup_by_path(mount, dentry);
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
	struct call *call;
	bool missed;
	int error;

	do {
		if (bc_lower_is_suspect(mount))
			return -EIO;
		call = lookup_call(mount, dentry);
		if (!call)
			return -ENOMEM;
		error = call_wait(call, timeout);
		if (!error) {
			*path = call->found;
			path_get(path);
			*generation = call->generation;
			*stat = call->stat;
		}
		missed = error && error != -EINTR && READ_ONCE(call->missed);
		call_put(call);
	} while (missed);
	return error;
}

static int run_getattr(struct call *call)
{
	return bc_lower_attributes(&call->path, &call->stat);
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
	call->slow = true;
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
	/*
	 * Not WQ_MEM_RECLAIM: these workers may sleep in the lower for long. As
	 * many as there can be, since those of one mount that are stuck (see
	 * BC_LOWER_CALLS, BC_LOWER_STUCK_MAX) must leave room for other mounts.
	 */
	calls_wq = alloc_workqueue("blobcache-fs", WQ_UNBOUND, WQ_MAX_ACTIVE);
	return calls_wq ? 0 : -ENOMEM;
}

void bc_calls_exit(void)
{
	destroy_workqueue(calls_wq);
}
