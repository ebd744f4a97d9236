// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the lower is asked, each by a call that may be given up. See call.h.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/posix_acl.h>
#include <linux/slab.h>

#include "call.h"

static int lookup_step(struct bc_call *call)
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

static int run_lookup(struct bc_call *call)
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
static struct bc_call *lookup_in_parent(struct bc_mount *mount, struct dentry *dentry)
{
	struct dentry *parent = dget_parent(dentry);
	struct bc_dentry *info = parent->d_fsdata;
	struct name_snapshot name;
	struct bc_call *call = NULL;

	take_dentry_name_snapshot(&name, dentry);
	spin_lock(&info->lock);
	if (info->lower.dentry && info->generation == READ_ONCE(mount->lower_generation) &&
	    info->lower.mnt == READ_ONCE(mount->lower.mnt)) {
		struct path path = info->lower;
		u64 generation = info->generation;

		path_get(&path);
		spin_unlock(&info->lock);
		call = bc_call_new(mount, run_lookup, name.name.name, name.name.len);
		if (call) {
			call->anew = true;
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

static struct bc_call *lookup_by_path(struct bc_mount *mount, struct dentry *dentry)
{
	char *path = bc_dentry_path(dentry);
	struct bc_call *call;

	if (IS_ERR(path))
		return NULL;
	call = bc_call_new(mount, run_lookup, path, strlen(path));
	if (call) {
		call->anew = true;
		call->by_path = true;
		bc_lower_root(mount, &call->path, &call->generation);
	}
	kfree(path);
	return call;
}

static struct bc_call *lookup_call(struct bc_mount *mount, struct dentry *dentry)
{
	struct bc_call *call = IS_ROOT(dentry) ? NULL : lookup_in_parent(mount, dentry);

	return call ?: lookup_by_path(mount, dentry);
}

/**
 * bc_lower_lookup - find the lower file of a dentry, by its parent and name, or by its path
 * @dentry: ours; not the root, unless its lower was changed
 * @timeout: in jiffies
 * @known: asked if it takes longer than patience_ms: is there another answer? Then it is waited
 *	for only until it is suspect. NULL = there is none
 * @path: out, with references
 * @generation: out: of the lower it was found in
 * @stat: out
 *
 * Killable. Return: 0, -ENOENT, -ETIMEDOUT, -EINTR, -EIO at once if the lower is suspect, or what
 * the lower says.
 */
int bc_lower_lookup(struct dentry *dentry, unsigned long timeout, bool (*known)(struct dentry *),
		    struct path *path, u64 *generation, struct kstat *stat)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct bc_call *call;
	bool missed;
	int error;

	do {
		if (bc_lower_is_suspect(mount))
			return -EIO;
		call = lookup_call(mount, dentry);
		if (!call)
			return -ENOMEM;
		call->known = known;
		call->dentry = dentry;
		error = bc_call_wait(call, timeout);
		if (!error) {
			*path = call->found;
			path_get(path);
			*generation = call->generation;
			*stat = call->stat;
		}
		missed = error && error != -EINTR && READ_ONCE(call->missed);
		bc_call_put(call);
	} while (missed);
	return error;
}

static int run_getattr(struct bc_call *call)
{
	return bc_lower_attributes(&call->path, &call->stat);
}

/**
 * bc_lower_stat - what the lower has by a name
 * @mount: mount
 * @name: below the lower's root
 * @timeout: jiffies
 * @stat: out
 *
 * Killable. Return: 0, -ENOENT, or as bc_call_wait().
 */
int bc_lower_stat(struct bc_mount *mount, const char *name, unsigned long timeout,
		  struct kstat *stat)
{
	struct bc_call *call = bc_call_new(mount, run_lookup, name, strlen(name));
	int error;

	if (!call)
		return -ENOMEM;
	call->by_path = true;
	bc_lower_root(mount, &call->path, &call->generation);
	error = bc_call_wait(call, timeout);
	if (!error)
		*stat = call->stat;
	bc_call_put(call);
	return error;
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
	struct bc_call *call = bc_call_new(mount, run_getattr, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	call->path = *path;
	path_get(&call->path);
	error = bc_call_wait(call, timeout);
	if (!error)
		*stat = call->stat;
	bc_call_put(call);
	return error;
}

static int run_statfs(struct bc_call *call)
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
	struct bc_call *call = bc_call_new(mount, run_statfs, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	bc_lower_root(mount, &call->path, NULL);
	error = bc_call_wait(call, timeout);
	if (!error)
		*statfs = call->statfs;
	bc_call_put(call);
	return error;
}

static int run_open(struct bc_call *call)
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
	struct bc_call *call = bc_call_new(mount, run_open, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	call->path = *path;
	path_get(&call->path);
	call->flags = flags;
	error = bc_call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	if (!error)
		*file = get_file(call->file);
	bc_call_put(call);
	return error;
}

static int run_sync(struct bc_call *call)
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
	struct bc_call *call = bc_call_new(mount, run_sync, NULL, 0);
	int error;

	if (!call)
		return -ENOMEM;
	bc_lower_root(mount, &call->path, NULL);
	call->slow = true;
	error = bc_call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	bc_call_put(call);
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

static int run_readdir(struct bc_call *call)
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
	struct bc_call *call = bc_call_new(mount, run_readdir, NULL, 0);
	int error = -ENOMEM;

	if (!call)
		return -ENOMEM;
	call->dirents.pos = dirents->pos;
	call->dirents.entries = kvmalloc(BC_DIRENTS_SIZE, GFP_KERNEL);
	if (call->dirents.entries) {
		call->file = get_file(lower);
		error = bc_call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	}
	if (!error) {
		*dirents = call->dirents;
		call->dirents.entries = NULL;
	}
	bc_call_put(call);
	return error;
}

static int run_readlink(struct bc_call *call)
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
	struct bc_call *call = bc_call_new(mount, run_readlink, NULL, 0);
	char *text;
	int error;

	if (!call)
		return ERR_PTR(-ENOMEM);
	call->path = *path;
	path_get(&call->path);
	error = bc_call_wait(call, msecs_to_jiffies(mount->options.deadline_ms));
	text = ERR_PTR(error);
	if (!error) {
		text = call->text;
		call->text = NULL;
	}
	bc_call_put(call);
	return text;
}
