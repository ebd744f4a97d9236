// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changing the lower: names, attributes, sizes. Each change is made in the lower
 * first, by the caller, who waits for it as he would without us; then what is
 * known of the path is made to fit.
 *
 * The mounter's credentials are used, after the VFS has checked the caller's
 * rights by what we show; what is created belongs to the caller.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "back.h"
#include "fs.h"

/* A change of the lower that is being made. */
struct change {
	struct bc_mount *mount;
	struct path dir;		/* lower directory; references */
	u64 generation;			/* of the lower it is in */
	const struct cred *old;
	struct cred *creds;
};

/* The mounter, who creates in the name of the caller. */
static struct cred *creds_for(struct bc_mount *mount)
{
	const struct cred *caller = override_creds(mount->creds);
	struct cred *creds = prepare_creds();

	revert_creds(caller);
	if (!creds)
		return NULL;
	creds->fsuid = caller->fsuid;
	creds->fsgid = caller->fsgid;
	set_groups(creds, caller->group_info);
	if (!capable(CAP_FSETID))
		cap_lower(creds->cap_effective, CAP_FSETID);
	return creds;
}

/* A suspect lower is not waited for: a change that hangs cannot be left behind. */
static int find_lower(struct dentry *dentry, struct path *lower, u64 *generation)
{
	if (bc_lower_is_suspect(BC_M(dentry->d_sb)))
		return -EIO;
	return bc_dentry_lower(dentry, lower, generation);
}

static int change_begin(struct change *change, struct dentry *dir)
{
	int error;

	change->mount = BC_M(dir->d_sb);
	error = find_lower(dir, &change->dir, &change->generation);
	if (error)
		return error;
	change->creds = creds_for(change->mount);
	if (!change->creds) {
		path_put(&change->dir);
		return -ENOMEM;
	}
	change->old = override_creds(change->creds);
	return 0;
}

static void change_end(struct change *change)
{
	revert_creds(change->old);
	put_cred(change->creds);
	path_put(&change->dir);
}

/* The dentry's lower file is @lower, which is new. Within a change. */
static int instantiate(struct change *change, struct dentry *dentry, const struct path *lower)
{
	s64 asked_ns = ktime_get_boottime_ns();
	struct inode *inode;
	struct kstat stat;
	int error;

	error = bc_lower_attributes(lower, &stat);
	if (error)
		return error;
	inode = bc_dentry_inode(dentry, &stat, asked_ns);
	if (IS_ERR(inode))
		return PTR_ERR(inode);
	bc_dentry_set_lower(dentry, lower, change->generation, &stat);
	bc_dentry_expire(dentry->d_parent);
	/* A walker may have thrown the negative dentry out meanwhile. */
	if (d_unhashed(dentry))
		d_add(dentry, inode);
	else
		d_instantiate(dentry, inode);
	bc_known_seen(dentry, inode);
	return 0;
}

/*
 * Create a lower file, open as the caller wants it, as servers of a FUSE lower
 * may let a new file be written by who created it only. It is a change of its own.
 */
static struct file *create_lower(struct dentry *dentry, unsigned int flags, umode_t mode)
{
	const unsigned int keep = O_ACCMODE | O_APPEND | O_EXCL | O_DSYNC | __O_SYNC;
	struct change change;
	struct file *lower;
	int error;

	error = change_begin(&change, dentry->d_parent);
	if (error)
		return ERR_PTR(error);
	/* It starts the write of the lower itself. */
	lower = file_open_root(&change.dir, dentry->d_name.name,
			       (flags & keep) | O_CREAT | O_NOFOLLOW | O_LARGEFILE,
			       mode & S_IALLUGO);
	if (!IS_ERR(lower)) {
		error = instantiate(&change, dentry, &lower->f_path);
		if (error) {
			fput(lower);
			lower = ERR_PTR(error);
		}
	}
	change_end(&change);
	return lower;
}

/* Return: 0; 1 it is to be made in the lower; or errno. */
static int create_dirty(struct inode *dir, struct dentry *dentry, umode_t mode)
{
	int error;

	if (!bc_is_back(dir->i_sb))
		return 1;
	error = bc_back_create(dir, dentry, mode);
	/* That no tier has room for it now is decided here, and not when it is half written. */
	return error == -ENODEV || error == -ENOSPC ? 1 : error;
}

static int create(BC_CREATE_PARAMETERS)
{
	struct file *lower;
	int error = create_dirty(dir, dentry, mode);

	if (error <= 0)
		return error;
	lower = create_lower(dentry, O_RDWR | O_EXCL, mode);
	if (IS_ERR(lower))
		return PTR_ERR(lower);
	error = bc_version_written(dentry, ktime_get_real_seconds());
	fput(lower);
	return error;
}

static int atomic_open(struct inode *dir, struct dentry *dentry, struct file *file,
		       unsigned int flags, umode_t mode)
{
	struct dentry *found = NULL;
	struct file *lower;
	int error;

	if (d_in_lookup(dentry)) {
		found = bc_lookup(dir, dentry, 0);
		if (IS_ERR(found))
			return PTR_ERR(found);
		if (found)
			dentry = found;
	}
	if (!(flags & O_CREAT) || d_really_is_positive(dentry))
		return finish_no_open(file, found);

	error = create_dirty(dir, dentry, mode);
	if (!error) {
		file->f_mode |= FMODE_CREATED;
		error = finish_open(file, dentry, bc_open);
		goto out;
	}
	if (error < 0)
		goto out;
	lower = create_lower(dentry, flags, mode);
	error = PTR_ERR_OR_ZERO(lower);
	if (!error) {
		file->private_data = lower;
		/* Else it came to be meanwhile: the VFS has yet to ask for rights, and to cut. */
		file->f_mode |= lower->f_mode & FMODE_CREATED;
		error = finish_open(file, dentry, bc_open);
		if (error && !(file->f_mode & FMODE_OPENED))
			fput(lower);
	}
out:
	dput(found);
	return error;
}

static BC_MKDIR_RETURN mkdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
			     umode_t mode)
{
	struct qstr name = dentry->d_name;
	struct path lower;
	struct change change;
	int error;

	error = change_begin(&change, dentry->d_parent);
	if (error)
		return bc_mkdir_return(error);
	error = mnt_want_write(change.dir.mnt);
	if (error)
		goto out;
	lower.mnt = change.dir.mnt;
	lower.dentry = start_creating(&nop_mnt_idmap, change.dir.dentry, &name);
	if (!IS_ERR(lower.dentry))
		lower.dentry = bc_vfs_mkdir(&nop_mnt_idmap, d_inode(change.dir.dentry),
					    lower.dentry, mode);
	error = PTR_ERR_OR_ZERO(lower.dentry);
	if (!error) {
		error = instantiate(&change, dentry, &lower);
		end_creating(lower.dentry);
	}
	mnt_drop_write(change.dir.mnt);
out:
	change_end(&change);
	return bc_mkdir_return(error);
}

static int vfs_remove(struct change *change, struct dentry *lower, bool directory)
{
	struct inode *dir = d_inode(change->dir.dentry);

	if (directory)
		return bc_vfs_rmdir(&nop_mnt_idmap, dir, lower);
	return vfs_unlink(&nop_mnt_idmap, dir, lower, NULL);
}

/* The inode stands for a file that no path names any more, if it is open still. */
static void removed(struct dentry *dentry, unsigned int nlink)
{
	struct inode *inode = d_inode(dentry);
	struct bc_inode *visible = BC_I(inode);

	bc_visible_detach(inode);
	spin_lock(&visible->lock);
	set_nlink(inode, nlink);
	spin_unlock(&visible->lock);
	bc_dentry_expire(dentry->d_parent);
}

static int remove_lower(struct change *change, struct dentry *dentry, bool directory)
{
	struct qstr name = dentry->d_name;
	struct dentry *lower;
	struct inode *inode;
	int error;

	lower = start_removing(&nop_mnt_idmap, change->dir.dentry, &name);
	if (IS_ERR(lower))
		return PTR_ERR(lower);
	inode = d_inode(lower);
	ihold(inode);
	error = vfs_remove(change, lower, directory);
	end_removing(lower);
	if (!error) {
		removed(dentry, directory ? 0 : inode->i_nlink);
		/* Then: who records what was shown before looks whether it is gone, after that. */
		if (directory)
			bc_known_removed(dentry);
		else
			bc_version_forget(BC_I(d_inode(dentry)));
	}
	iput(inode);
	return error;
}

static int remove(struct dentry *dentry, bool directory)
{
	struct change change;
	int error;

	/* Its owner counts, too, if the directory is sticky. */
	error = bc_dentry_settle(dentry);
	if (error)
		return error;
	error = change_begin(&change, dentry->d_parent);
	if (error)
		return error;
	error = mnt_want_write(change.dir.mnt);
	if (!error) {
		error = remove_lower(&change, dentry, directory);
		mnt_drop_write(change.dir.mnt);
	}
	change_end(&change);
	return error;
}

/**
 * bc_lower_remove - remove what the lower has by the name of a file
 * @dentry: ours
 *
 * Return: 0, also if it has nothing; or errno.
 */
int bc_lower_remove(struct dentry *dentry)
{
	struct qstr name = dentry->d_name;
	struct dentry *lower;
	struct change change;
	int error;

	error = change_begin(&change, dentry->d_parent);
	if (error)
		return error;
	error = mnt_want_write(change.dir.mnt);
	if (error)
		goto out;
	lower = start_removing(&nop_mnt_idmap, change.dir.dentry, &name);
	error = PTR_ERR_OR_ZERO(lower);
	if (!error) {
		error = vfs_remove(&change, lower, false);
		end_removing(lower);
	}
	mnt_drop_write(change.dir.mnt);
out:
	change_end(&change);
	return error == -ENOENT ? 0 : error;
}

/**
 * bc_lower_make_dir - make a directory in the lower, by a name that is looked up
 * @dentry: ours, new
 *
 * Return: 0, also if it is there; or errno.
 */
int bc_lower_make_dir(struct dentry *dentry)
{
	struct qstr name = dentry->d_name;
	struct dentry *lower;
	struct change change;
	int error;

	error = change_begin(&change, dentry->d_parent);
	if (error)
		return error;
	error = mnt_want_write(change.dir.mnt);
	if (error)
		goto out;
	lower = start_creating(&nop_mnt_idmap, change.dir.dentry, &name);
	if (!IS_ERR(lower))
		lower = bc_vfs_mkdir(&nop_mnt_idmap, d_inode(change.dir.dentry), lower, 0755);
	error = PTR_ERR_OR_ZERO(lower);
	if (!error)
		end_creating(lower);
	mnt_drop_write(change.dir.mnt);
out:
	change_end(&change);
	return error == -EEXIST ? 0 : error;
}

static int unlink(struct inode *dir, struct dentry *dentry)
{
	if (bc_back_of(d_inode(dentry)))
		return bc_back_unlink(dentry);
	return remove(dentry, false);
}

static int rmdir(struct inode *dir, struct dentry *dentry)
{
	if (bc_back_below(dentry))
		return -ENOTEMPTY;
	return remove(dentry, true);
}

/*
 * The lower has renamed @old to @new, whose path in the volume is @path. The VFS
 * holds the locks of both directories.
 */
static void renamed(struct dentry *old, struct dentry *new, const char *path, s64 since)
{
	struct bc_mount *mount = BC_M(old->d_sb);
	struct inode *inode = d_inode(old);
	struct bc_dentry *info = old->d_fsdata;
	bool directory = d_is_dir(old);

	if (d_is_positive(new)) {
		unsigned int nlink = directory ? 0 : d_inode(new)->i_nlink;

		removed(new, nlink ? nlink - 1 : 0);
	}
	if (directory) {
		/* From here to the count nothing is recorded by a path that may be old. */
		atomic_inc(&mount->renaming);
		smp_mb__after_atomic();	/* before what is dropped, see bc_known_seen() */
		bc_known_gone(old);
	}
	bc_version_renamed(mount, path, directory ? NULL : BC_I(inode), since);
	if (!directory) {
		bc_version_forget(BC_I(inode));
		bc_visible_detach(inode);
		WRITE_ONCE(info->renames, U64_MAX);
	}
	bc_dentry_expire(old->d_parent);
	bc_dentry_expire(new->d_parent);
	bc_dentry_expire(old);
	d_move(old, new);
	/* After the move: who sees the count sees the new path. */
	if (directory) {
		atomic64_inc_return_release(&mount->renames);
		atomic_dec_return_release(&mount->renaming);
	}
}

/*
 * Two names of one lower file: rename(2) then does nothing. Not so of what was renamed in the
 * lower from the one name to the other, which we have not heard of yet.
 *
 * Return: 1 if so, 0 if not, or errno.
 */
static int same_lower(struct dentry *a, struct dentry *b)
{
	struct path lower_a, lower_b;
	int ret;

	if (d_is_negative(b))
		return 0;
	ret = bc_dentry_lower(a, &lower_a, NULL);
	if (ret)
		return ret;
	ret = bc_dentry_lower(b, &lower_b, NULL);
	if (!ret) {
		ret = lower_a.dentry != lower_b.dentry && !d_unhashed(lower_a.dentry) &&
		      !d_unhashed(lower_b.dentry) &&
		      d_inode(lower_a.dentry) == d_inode(lower_b.dentry);
		path_put(&lower_b);
	}
	path_put(&lower_a);
	return ret;
}

static int rename_lower(struct dentry *old, struct dentry *new, unsigned int flags)
{
	struct qstr old_name = old->d_name, new_name = new->d_name;
	struct bc_rename lower = {
		.old_name = &old_name,
		.new_name = &new_name,
		.flags = flags,
	};
	struct change change;
	struct path target;
	u64 generation;
	int error;

	error = find_lower(new->d_parent, &target, &generation);
	if (error)
		return error;
	error = change_begin(&change, old->d_parent);
	if (error)
		goto out;
	error = mnt_want_write(change.dir.mnt);
	if (!error) {
		lower.old_parent = change.dir.dentry;
		lower.new_parent = target.dentry;
		error = generation == change.generation ? bc_vfs_rename(&lower) : -ESTALE;
		mnt_drop_write(change.dir.mnt);
	}
	change_end(&change);
out:
	path_put(&target);
	return error;
}

/*
 * A clean file over a dirty one, or a directory with dirty files below: not yet in one step, so
 * whoever wants it copies.
 */
static int back_forbids(struct dentry *old, struct dentry *new)
{
	if (d_is_positive(new) && (bc_back_of(d_inode(new)) ||
				   (d_is_dir(new) && bc_back_below(new))))
		return d_is_dir(new) ? -ENOTEMPTY : -EXDEV;
	return d_is_dir(old) && bc_back_below(old) ? -EXDEV : 0;
}

static int rename(struct mnt_idmap *idmap, struct inode *old_dir, struct dentry *old,
		  struct inode *new_dir, struct dentry *new, unsigned int flags)
{
	s64 since = ktime_get_real_seconds();
	char *path;
	int error;

	if (flags & ~RENAME_NOREPLACE)
		return -EINVAL;
	if (bc_back_of(d_inode(old)))
		return flags & RENAME_NOREPLACE && d_is_positive(new) ? -EEXIST :
									bc_back_rename(old, new);
	error = back_forbids(old, new);
	if (error)
		return error;
	/* Owners count, too, if a directory is sticky. */
	error = bc_dentry_settle_both(old, new);
	if (error)
		return error;
	error = same_lower(old, new);
	if (error)
		return error > 0 ? 0 : error;
	path = bc_dentry_volume_path(new);
	if (IS_ERR(path))
		return PTR_ERR(path);
	error = rename_lower(old, new, flags);
	if (!error)
		renamed(old, new, path, since);
	kfree(path);
	return error;
}

/* The open file by which it is asked for, if that has the lower file open for writing. */
static struct file *writable_lower(const struct iattr *attr)
{
	struct bc_file *bf = attr->ia_valid & ATTR_FILE ? attr->ia_file->private_data : NULL;

	return bf && bf->lower && bf->lower->f_mode & FMODE_WRITE ? bf->lower : NULL;
}

/* What notify_change() of @inode, of the lower, is asked, of what it was asked of ours. */
static void translate(struct iattr *lower, const struct iattr *attr, const struct inode *inode)
{
	*lower = *attr;
	lower->ia_file = writable_lower(attr);
	if (!lower->ia_file)
		lower->ia_valid &= ~(ATTR_FILE | ATTR_OPEN);
	/* We may not show bits that the lower has. */
	if (lower->ia_valid & ATTR_SIZE && !capable(CAP_FSETID)) {
		if (inode->i_mode & S_ISUID)
			lower->ia_valid |= ATTR_KILL_SUID;
		if ((inode->i_mode & (S_ISGID | 0010)) == (S_ISGID | 0010))
			lower->ia_valid |= ATTR_KILL_SGID;
	}
	/* Capabilities of the file: we show none, so nobody has asked whether it has any. */
	if (lower->ia_valid & ATTR_SIZE)
		lower->ia_valid |= ATTR_KILL_PRIV;
	/* Which bits to clear, the lower finds out itself. */
	if (lower->ia_valid & (ATTR_KILL_SUID | ATTR_KILL_SGID))
		lower->ia_valid &= ~ATTR_MODE;
}

/* @tried: out: it was asked to change, so it may have, whatever it said. */
static int notify_lower(const struct path *lower, struct iattr *attr, struct kstat *stat,
			s64 *asked_ns, bool *tried)
{
	struct inode *inode = d_inode(lower->dentry);
	int error = 0;

	if (attr->ia_valid & ATTR_SIZE)
		error = IS_APPEND(inode) || IS_IMMUTABLE(inode) ? -EPERM : get_write_access(inode);
	if (error)
		return error;
	*tried = true;
	inode_lock(inode);
	error = notify_change(&nop_mnt_idmap, lower->dentry, attr, NULL);
	inode_unlock(inode);
	*asked_ns = ktime_get_boottime_ns();
	if (!error)
		error = bc_lower_attributes(lower, stat);
	if (attr->ia_valid & ATTR_SIZE)
		put_write_access(inode);
	return error;
}

static int change_attributes(struct bc_mount *mount, const struct path *lower,
			     const struct iattr *attr, struct kstat *stat, s64 *asked_ns,
			     bool *tried)
{
	struct iattr lower_attr;
	const struct cred *old;
	int error;

	translate(&lower_attr, attr, d_inode(lower->dentry));
	error = mnt_want_write(lower->mnt);
	if (error)
		return error;
	old = override_creds(mount->creds);
	error = notify_lower(lower, &lower_attr, stat, asked_ns, tried);
	revert_creds(old);
	mnt_drop_write(lower->mnt);
	return error;
}

/* The file was cut off or made longer, by its path or by an open file. */
static int resized(struct dentry *dentry, const struct iattr *attr)
{
	time64_t now = ktime_get_real_seconds();
	int error = bc_version_written(dentry, now);

	if (attr->ia_valid & ATTR_FILE)
		((struct bc_file *)attr->ia_file->private_data)->written_at = now;
	atomic_inc_return_release(&BC_I(d_inode(dentry))->writes);
	return error;
}

/* An open file's is the one that it has open, whatever the path leads to by now. */
static int find_target(struct dentry *dentry, const struct iattr *attr, struct path *lower)
{
	struct file *file = writable_lower(attr);
	u64 generation;

	if (!file)
		return find_lower(dentry, lower, &generation);
	*lower = file->f_path;
	path_get(lower);
	return 0;
}

static void take_attributes(struct dentry *dentry, const struct kstat *stat, s64 asked_ns)
{
	bc_visible_update(d_inode(dentry), stat, asked_ns, NULL);
	bc_known_seen(dentry, d_inode(dentry));
}

/**
 * bc_setattr - inode_operations.setattr
 * @idmap: of the mount; idmapped mounts are refused
 * @dentry: ours
 * @attr: what to change
 */
int bc_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	bool tried = false;
	struct path lower;
	struct kstat stat;
	s64 asked_ns;
	int error, marked;

	error = setattr_prepare(&nop_mnt_idmap, dentry, attr);
	if (error)
		return error;
	if (bc_back_of(inode))
		return bc_back_setattr(dentry, attr);
	error = find_target(dentry, attr, &lower);
	if (error)
		return error;
	error = change_attributes(BC_M(inode->i_sb), &lower, attr, &stat, &asked_ns, &tried);
	path_put(&lower);
	if (!tried)
		return error;
	atomic_inc(&BC_I(inode)->changes);
	if (error)
		bc_dentry_expire(dentry);
	else
		take_attributes(dentry, &stat, asked_ns);
	marked = attr->ia_valid & ATTR_SIZE ? resized(dentry, attr) : 0;
	return error ?: marked;
}

const struct inode_operations bc_dir_write_operations = {
	.lookup = bc_lookup,
	.getattr = bc_getattr,
	.setattr = bc_setattr,
	.atomic_open = atomic_open,
	.create = create,
	.mkdir = mkdir,
	.unlink = unlink,
	.rmdir = rmdir,
	.rename = rename,
};
