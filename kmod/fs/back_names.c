// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names of dirty files: they are in the mount and on the tier, and perhaps nowhere else. What the
 * lower may have under the same name is older; it goes when ours is removed or renamed.
 *
 * Directories are the lower's. One that dirty names need and the lower has lost is made anew.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "back.h"

static struct bc_client *client_of(const struct dentry *dentry)
{
	return BC_M(dentry->d_sb)->client;
}

/**
 * bc_back_lookup - a dirty file of that name
 * @dentry: new
 *
 * Return: its inode with a reference, NULL if there is none, or ERR_PTR.
 */
struct inode *bc_back_lookup(struct dentry *dentry)
{
	char *path = bc_dentry_volume_path(dentry);
	struct inode *inode = NULL;
	struct bc_dirty *dirty;

	if (IS_ERR(path))
		return ERR_CAST(path);
	dirty = bc_dirty_find(client_of(dentry), path);
	if (dirty) {
		inode = bc_back_inode(dentry->d_sb, dirty, path);
		bc_dirty_put(dirty);
	}
	kfree(path);
	return inode;
}

/**
 * bc_back_below - are there dirty files below a directory?
 * @dentry: ours, or a name
 */
bool bc_back_below(struct dentry *dentry)
{
	char *path;
	bool below;

	if (!bc_is_back(dentry->d_sb))
		return false;
	path = bc_dentry_volume_path(dentry);
	/* Without memory: as if. */
	if (IS_ERR(path))
		return true;
	below = bc_dirty_below(client_of(dentry), path);
	kfree(path);
	return below;
}

static void new_attr(struct inode *dir, umode_t mode, struct bc_dirty_attr *attr)
{
	struct timespec64 now;

	ktime_get_coarse_real_ts64(&now);
	now = timestamp_truncate(now, dir);
	*attr = (struct bc_dirty_attr) {
		.mtime = now,
		.ctime = now,
		.mode = S_IFREG | (mode & S_IALLUGO),
		.uid = from_kuid(&init_user_ns, current_fsuid()),
		.gid = from_kgid(&init_user_ns,
				 dir->i_mode & S_ISGID ? dir->i_gid : current_fsgid()),
	};
}

/**
 * bc_back_create - a new dirty file
 * @dir: its directory
 * @dentry: negative
 * @mode: of it
 *
 * Return: 0 or errno; with -ENODEV, -ENOSPC or -ENAMETOOLONG it can still be made in the lower.
 */
int bc_back_create(struct inode *dir, struct dentry *dentry, umode_t mode)
{
	char *path = bc_dentry_volume_path(dentry);
	struct bc_dirty_attr attr;
	struct bc_dirty *dirty;
	struct inode *inode;

	if (IS_ERR(path))
		return PTR_ERR(path);
	new_attr(dir, mode, &attr);
	dirty = bc_dirty_create(client_of(dentry), path, &attr, BC_BASE_NONE);
	if (IS_ERR(dirty)) {
		kfree(path);
		return PTR_ERR(dirty);
	}
	inode = bc_back_inode(dentry->d_sb, dirty, path);
	kfree(path);
	if (IS_ERR(inode))
		bc_dirty_unlink(dirty);
	bc_dirty_put(dirty);
	if (IS_ERR(inode))
		return PTR_ERR(inode);
	/* A walker may have thrown the negative dentry out meanwhile. */
	if (d_unhashed(dentry))
		d_add(dentry, inode);
	else
		d_instantiate(dentry, inode);
	return 0;
}

/**
 * bc_back_truncated - a clean file is opened to be written anew: it is a dirty one from now on
 * @file: ours, opened with O_TRUNC
 *
 * Return: 0; 1 if it is to be written through, since somebody else does, or no tier takes it; or
 * errno.
 */
int bc_back_truncated(struct file *file)
{
	struct inode *inode = file_inode(file);
	char *path = bc_dentry_volume_path(file_dentry(file));
	struct bc_dirty_attr attr;
	struct bc_dirty *dirty;
	int ret = 0;

	if (IS_ERR(path))
		return PTR_ERR(path);
	inode_lock(inode);
	if (bc_back_of(inode))
		goto out;
	ret = 1;
	if (atomic_read(&BC_I(inode)->writers) || !bc_dentry_in_place(file_dentry(file)))
		goto out;
	new_attr(inode, inode->i_mode, &attr);
	attr.uid = from_kuid(&init_user_ns, inode->i_uid);
	attr.gid = from_kgid(&init_user_ns, inode->i_gid);
	dirty = bc_dirty_create(client_of(file_dentry(file)), path, &attr, BC_BASE_UNKNOWN);
	if (!IS_ERR(dirty)) {
		bc_back_take_over(inode, dirty);
		bc_dirty_put(dirty);
		ret = 0;
	}
out:
	inode_unlock(inode);
	kfree(path);
	return ret;
}

/**
 * bc_back_open - open a dirty file
 * @inode: visible inode
 * @file: ours; its private data is a new struct bc_file
 *
 * Return: 0 or errno.
 */
int bc_back_open(struct inode *inode, struct file *file)
{
	struct bc_file *bf = file->private_data;
	struct bc_dirty *dirty = bc_back_of(inode);
	struct inode *mapping = bc_back_mapping(inode->i_sb, dirty);

	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	bf->mapping = mapping;
	file->f_mapping = mapping->i_mapping;
	file->f_wb_err = filemap_sample_wb_err(file->f_mapping);
	/* For release(), which lets go of the one that is in its place then. */
	__module_get(THIS_MODULE);
	replace_fops(file, &bc_back_file_operations);
	if (file->f_mode & FMODE_WRITE)
		bc_dirty_writer(dirty, 1);
	return 0;
}

static void mark_removed(struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);
	struct inode *mapping = bc_back_mapping_find(inode->i_sb, bc_back_of(inode));

	clear_nlink(inode);
	bc_dentry_expire(dentry->d_parent);
	/* One that nobody has open is of no use any more: it goes now, and with it the bytes. */
	if (mapping)
		iput(mapping);
}

/**
 * bc_back_unlink - remove a dirty file, durably
 * @dentry: its name
 *
 * Return: 0 or errno.
 */
int bc_back_unlink(struct dentry *dentry)
{
	struct bc_dirty *dirty = bc_back_of(d_inode(dentry));
	int error = bc_dirty_hold(dirty, true);

	if (error)
		return error;
	/* First what is older: it must not be seen in its place. */
	if (bc_dirty_has_counterpart(dirty))
		error = bc_lower_remove(dentry);
	if (!error)
		error = bc_dirty_unlink(dirty);
	if (!error)
		mark_removed(dentry);
	bc_dirty_unhold(dirty);
	return error;
}

/* Ours has the name, durably. */
static void replaced(struct dentry *new)
{
	struct bc_dirty *victim = bc_back_of(d_inode(new));

	if (victim) {
		bc_dirty_replaced(victim);
		mark_removed(new);
	} else {
		bc_version_forget(BC_I(d_inode(new)));
		bc_visible_detach(d_inode(new));
	}
}

static enum bc_name_base base_of(struct dentry *new)
{
	struct bc_dirty *victim;

	if (d_is_negative(new))
		return BC_BASE_NONE;
	victim = bc_back_of(d_inode(new));
	return victim && !bc_dirty_has_counterpart(victim) ? BC_BASE_NONE : BC_BASE_UNKNOWN;
}

/* With all that was written; a dirty file that has the new name goes. */
static int rename_durably(struct dentry *old, struct dentry *new, const char *path)
{
	struct inode *inode = d_inode(old);
	struct bc_dirty *dirty = bc_back_of(inode);
	struct inode *mapping = bc_back_mapping(inode->i_sb, dirty);
	struct bc_dirty_rename rename = {
		.path = path,
		.victim = d_is_positive(new) ? bc_back_of(d_inode(new)) : NULL,
	};
	int error;

	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	if (rename.victim)
		bc_dirty_supersede(rename.victim, true);
	rename.base = base_of(new);
	error = bc_back_sync(mapping, dirty, &rename);
	if (!error && d_is_positive(new))
		replaced(new);
	if (rename.victim && error)
		bc_dirty_survived(rename.victim, dirty);
	if (rename.victim)
		bc_dirty_supersede(rename.victim, false);
	iput(mapping);
	return error;
}

/* Without what the lower has by the old name: it would be seen there. */
static int rename_held(struct dentry *old, struct dentry *new, const char *path)
{
	struct bc_dirty *dirty = bc_back_of(d_inode(old));
	int error = 0;

	if (bc_dirty_has_counterpart(dirty))
		error = bc_lower_remove(old);
	return error ?: rename_durably(old, new, path);
}

/**
 * bc_back_rename - rename a dirty file, durably, with all that was written
 * @old: its name
 * @new: name from now on; may be that of another file
 *
 * The VFS holds the locks of both directories. Return: 0 or errno.
 */
int bc_back_rename(struct dentry *old, struct dentry *new)
{
	struct bc_dirty *dirty = bc_back_of(d_inode(old));
	char *path = bc_dentry_volume_path(new);
	int error = 0;

	if (IS_ERR(path))
		return PTR_ERR(path);
	if (strlen(path) > BC_NAME_PATH_MAX)
		error = -ENAMETOOLONG;
	if (!error)
		error = bc_dirty_hold(dirty, false);
	if (!error) {
		error = rename_held(old, new, path);
		bc_dirty_unhold(dirty);
	}
	kfree(path);
	if (error)
		return error;
	bc_dentry_expire(old->d_parent);
	bc_dentry_expire(new->d_parent);
	d_move(old, new);
	return 0;
}

/**
 * bc_back_getattr - what stat shows of a dirty file
 * @inode: visible inode
 * @stat: out, filled in from the inode
 */
void bc_back_getattr(struct inode *inode, struct kstat *stat)
{
	struct bc_dirty_attr attr;

	bc_dirty_attr(bc_back_of(inode), &attr);
	stat->ino = BC_I(inode)->attr.ino;
	stat->size = attr.size;
	stat->mtime = attr.mtime;
	stat->ctime = attr.ctime;
	stat->blocks = DIV_ROUND_UP_ULL(stat->size, 512);
}

/**
 * bc_back_setattr - change attributes of a dirty file
 * @dentry: ours
 * @attr: checked by setattr_prepare()
 *
 * With the inode's lock. Return: 0 or errno.
 */
int bc_back_setattr(struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	struct bc_dirty *dirty = bc_back_of(inode);
	struct bc_dirty_attr now;
	int error = 0;

	if (attr->ia_valid & ATTR_SIZE)
		error = bc_back_resize(inode, dirty, attr->ia_size);
	if (error)
		return error;
	setattr_copy(&nop_mnt_idmap, inode, attr);
	bc_dirty_attr(dirty, &now);
	now.mode = inode->i_mode;
	now.uid = from_kuid(&init_user_ns, inode->i_uid);
	now.gid = from_kgid(&init_user_ns, inode->i_gid);
	if (attr->ia_valid & ATTR_MTIME)
		now.mtime = inode_get_mtime(inode);
	now.ctime = inode_get_ctime(inode);
	bc_dirty_set_attr(dirty, &now);
	return 0;
}
