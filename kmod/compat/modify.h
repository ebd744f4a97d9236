/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Changing directories of another filesystem: the newest kernels' pairs of
 * start_X() and end_X(), which look a name up and lock its directory, and the
 * prototypes of inode operations.
 */
#ifndef BC_COMPAT_MODIFY_H
#define BC_COMPAT_MODIFY_H

#include <linux/err.h>
#include <linux/fs.h>
#include <linux/namei.h>

#include "vfs.h"

#ifdef HAVE_START_CREATING

/* Return: the new directory, locked in as start_creating() did it, or ERR_PTR: then nothing is. */
static inline struct dentry *bc_vfs_mkdir(struct mnt_idmap *idmap, struct inode *dir,
					  struct dentry *dentry, umode_t mode)
{
	return vfs_mkdir(idmap, dir, dentry, mode, NULL);
}

static inline int bc_vfs_rmdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry)
{
	return vfs_rmdir(idmap, dir, dentry, NULL);
}

#else

static inline struct dentry *bc_start_dirop(struct mnt_idmap *idmap, struct dentry *parent,
					    struct qstr *name)
{
	struct dentry *dentry;

	inode_lock_nested(d_inode(parent), I_MUTEX_PARENT);
	dentry = lookup_one(idmap, (const char *)name->name, parent, name->len);
	if (IS_ERR(dentry))
		inode_unlock(d_inode(parent));
	return dentry;
}

static inline void bc_end_dirop(struct dentry *dentry)
{
	inode_unlock(d_inode(dentry->d_parent));
	dput(dentry);
}

static inline struct dentry *start_creating(struct mnt_idmap *idmap, struct dentry *parent,
					    struct qstr *name)
{
	struct dentry *dentry = bc_start_dirop(idmap, parent, name);

	if (IS_ERR(dentry) || d_is_negative(dentry))
		return dentry;
	bc_end_dirop(dentry);
	return ERR_PTR(-EEXIST);
}

static inline struct dentry *start_removing(struct mnt_idmap *idmap, struct dentry *parent,
					    struct qstr *name)
{
	struct dentry *dentry = bc_start_dirop(idmap, parent, name);

	if (IS_ERR(dentry) || !d_is_negative(dentry))
		return dentry;
	bc_end_dirop(dentry);
	return ERR_PTR(-ENOENT);
}

#define end_creating bc_end_dirop
#define end_removing bc_end_dirop

static inline struct dentry *bc_vfs_mkdir(struct mnt_idmap *idmap, struct inode *dir,
					  struct dentry *dentry, umode_t mode)
{
	int error = vfs_mkdir(idmap, dir, dentry, mode);
	struct dentry *made = dentry;

	/* Some filesystems leave it to the next lookup to find what they made. */
	if (!error && d_unhashed(dentry)) {
		made = lookup_one(idmap, (const char *)dentry->d_name.name, dentry->d_parent,
				  dentry->d_name.len);
		error = PTR_ERR_OR_ZERO(made);
		if (!error)
			dput(dentry);
	}
	if (!error && d_is_positive(made))
		return made;
	bc_end_dirop(error ? dentry : made);
	return ERR_PTR(error ?: -ESTALE);
}

#define bc_vfs_rmdir vfs_rmdir

#endif

struct bc_rename {
	struct dentry *old_parent;
	struct dentry *new_parent;
	struct qstr *old_name;
	struct qstr *new_name;
	unsigned int flags;
};

#ifdef HAVE_START_CREATING

static inline int bc_vfs_rename(const struct bc_rename *rename)
{
	struct renamedata data = {
		.mnt_idmap = &nop_mnt_idmap,
		.old_parent = rename->old_parent,
		.new_parent = rename->new_parent,
		.flags = rename->flags,
	};
	int error = start_renaming(&data, 0, rename->old_name, rename->new_name);

	if (error)
		return error;
	error = vfs_rename(&data);
	end_renaming(&data);
	return error;
}

#else

static inline int bc_rename_locked(const struct bc_rename *rename, struct dentry *trap,
				   struct dentry *old, struct dentry *new)
{
	struct renamedata data = {
		.old_dir = d_inode(rename->old_parent),
		.old_dentry = old,
		.new_dir = d_inode(rename->new_parent),
		.new_dentry = new,
		.flags = rename->flags,
	};

#ifdef HAVE_MNT_IDMAP
	data.old_mnt_idmap = &nop_mnt_idmap;
	data.new_mnt_idmap = &nop_mnt_idmap;
#else
	data.old_mnt_userns = &init_user_ns;
	data.new_mnt_userns = &init_user_ns;
#endif
	if (d_is_negative(old))
		return -ENOENT;
	if (rename->flags & RENAME_NOREPLACE && !d_is_negative(new))
		return -EEXIST;
	if (old == trap)
		return -EINVAL;
	if (new == trap)
		return -ENOTEMPTY;
	return vfs_rename(&data);
}

static inline int bc_vfs_rename(const struct bc_rename *rename)
{
	struct dentry *trap, *old, *new;
	int error;

	trap = lock_rename(rename->new_parent, rename->old_parent);
	if (IS_ERR(trap))
		return PTR_ERR(trap);
	old = lookup_one(&nop_mnt_idmap, (const char *)rename->old_name->name, rename->old_parent,
			 rename->old_name->len);
	error = PTR_ERR_OR_ZERO(old);
	if (error)
		goto out;
	new = lookup_one(&nop_mnt_idmap, (const char *)rename->new_name->name, rename->new_parent,
			 rename->new_name->len);
	error = PTR_ERR_OR_ZERO(new);
	if (!error) {
		error = bc_rename_locked(rename, trap, old, new);
		dput(new);
	}
	dput(old);
out:
	unlock_rename(rename->new_parent, rename->old_parent);
	return error;
}

#endif

/* ->create() and ->mkdir(). */
#ifdef HAVE_I_OP_CREATE_EXCL
#define BC_CREATE_PARAMETERS							\
	struct mnt_idmap *idmap __always_unused, struct inode *dir,		\
	struct dentry *dentry, umode_t mode, bool excl __always_unused
#else
#define BC_CREATE_PARAMETERS							\
	struct mnt_idmap *idmap __always_unused, struct inode *dir,		\
	struct dentry *dentry, umode_t mode
#endif

#ifdef HAVE_I_OP_MKDIR_DENTRY
#define BC_MKDIR_RETURN struct dentry *
#define bc_mkdir_return(error) ERR_PTR(error)
#else
#define BC_MKDIR_RETURN int
#define bc_mkdir_return(error) (error)
#endif

/* Since it starts the write itself; before, its caller has to. */
static inline ssize_t bc_iter_write(struct file *file, struct iov_iter *iter, loff_t *pos,
				    rwf_t flags)
{
#ifdef HAVE_EXPORT_BACKING_FILE_WRITE_ITER
	return vfs_iter_write(file, iter, pos, flags);
#else
	ssize_t ret;

	file_start_write(file);
	ret = vfs_iter_write(file, iter, pos, flags);
	file_end_write(file);
	return ret;
#endif
}

#ifdef HAVE_VFS_MMAP
#define bc_can_mmap can_mmap_file
#else
#define vfs_mmap call_mmap
#define bc_can_mmap(file) (!!(file)->f_op->mmap)
#endif

/* O_APPEND or the like was changed in f_flags, under f_lock. */
static inline void bc_file_flags_changed(struct file *file)
{
	file->f_iocb_flags = iocb_flags(file);
}

#ifdef HAVE_EXPORT_COPY_SPLICE_READ
#define bc_splice_by_read copy_splice_read
#else
#define bc_splice_by_read generic_file_splice_read
#endif

#endif /* BC_COMPAT_MODIFY_H */
