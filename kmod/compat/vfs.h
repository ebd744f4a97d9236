/* SPDX-License-Identifier: GPL-2.0-only */
/* Inodes, dentries, files. */
#ifndef BC_COMPAT_VFS_H
#define BC_COMPAT_VFS_H

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/posix_acl.h>

/*
 * Before struct mnt_idmap the same argument was the user namespace of the
 * mount. The module knows of it only what it passes on.
 */
#ifndef HAVE_MNT_IDMAP
#define mnt_idmap user_namespace
#define nop_mnt_idmap init_user_ns
#endif

#ifndef HAVE_GENERIC_FILLATTR_MASK
static inline void bc_generic_fillattr(struct mnt_idmap *idmap, u32 mask, struct inode *inode,
				       struct kstat *stat)
{
	generic_fillattr(idmap, inode, stat);
}

#define generic_fillattr bc_generic_fillattr
#endif

#ifndef HAVE_LOOKUP_ONE_QSTR
static inline struct dentry *bc_lookup_one_unlocked(struct mnt_idmap *idmap, struct qstr *name,
						    struct dentry *base)
{
	return lookup_one_unlocked(idmap, (const char *)name->name, base, name->len);
}

#define lookup_one_unlocked bc_lookup_one_unlocked
#endif

#ifndef HAVE_GET_INODE_ACL
#define get_inode_acl get_acl
#endif

/* The parameters of ->d_revalidate(); the module needs the last two only. */
#ifdef HAVE_D_REVALIDATE_NAME
#define BC_D_REVALIDATE_PARAMETERS						\
	struct inode *dir __always_unused, const struct qstr *name __always_unused, \
	struct dentry *dentry, unsigned int flags
#else
#define BC_D_REVALIDATE_PARAMETERS struct dentry *dentry, unsigned int flags
#endif

#ifndef HAVE_SET_DEFAULT_D_OP
static inline void set_default_d_op(struct super_block *sb, const struct dentry_operations *ops)
{
	sb->s_d_op = ops;
}
#endif

#ifndef HAVE_INODE_JUST_DROP
#define inode_just_drop generic_delete_inode
#define inode_generic_drop generic_drop_inode
#endif

#ifndef HAVE_INODE_STATE_READ
#define inode_state_read_once(inode) READ_ONCE((inode)->i_state)
#endif

#ifndef HAVE_INODE_CTIME
static inline struct timespec64 inode_get_ctime(const struct inode *inode)
{
	return inode->i_ctime;
}

static inline struct timespec64 inode_set_ctime_to_ts(struct inode *inode, struct timespec64 ts)
{
	inode->i_ctime = ts;
	return ts;
}
#endif

#ifndef HAVE_INODE_MTIME
static inline struct timespec64 inode_get_mtime(const struct inode *inode)
{
	return inode->i_mtime;
}

static inline struct timespec64 inode_set_mtime_to_ts(struct inode *inode, struct timespec64 ts)
{
	inode->i_mtime = ts;
	return ts;
}

static inline struct timespec64 inode_set_atime_to_ts(struct inode *inode, struct timespec64 ts)
{
	inode->i_atime = ts;
	return ts;
}
#endif

#ifndef HAVE_FILEMAP_SPLICE_READ
#define filemap_splice_read generic_file_splice_read
#endif

/* Newer lower filesystems ask how much the caller can take. */
static inline void bc_dir_context_unlimited(struct dir_context *ctx)
{
#ifdef HAVE_DIR_CONTEXT_COUNT
	ctx->count = INT_MAX;
#endif
}

/* Exported for long, declared in a public header only lately. */
#ifndef HAVE_VFS_PATH_LOOKUP
int vfs_path_lookup(struct dentry *dentry, struct vfsmount *mnt, const char *name,
		    unsigned int flags, struct path *path);
#endif

#endif /* BC_COMPAT_VFS_H */
