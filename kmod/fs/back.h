/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files that are written back: their bytes are on a tier, and go to the store later.
 *
 * A dirty file has a visible inode, whose bc_inode.dirty says so, and a mapping inode, both found
 * by the generation id of the engine's object (back.h). What stat shows is the object's.
 *
 * Locks: the visible inode's i_rwsem, for writes, sizes and attributes; the mapping's
 * invalidate_lock; folios, in ascending order. The first folio of a block of 64 KiB is the
 * block's lock: who holds it may make the block dirty, or write it back.
 */
#ifndef BC_FS_BACK_H
#define BC_FS_BACK_H

#include "../back.h"
#include "fs.h"

#define BC_BACK_PAGES	BC_DIRTY_PAGES

/* Folios of a block, locked, from its first on. */
struct bc_back_block {
	u32 count;
	struct folio *folio[BC_BACK_PAGES];
};

/* The dirty object of a visible or mapping inode; NULL if it is none. */
static inline struct bc_dirty *bc_back_of(const struct inode *inode)
{
	return READ_ONCE(container_of(inode, struct bc_inode, vfs)->dirty);
}

/* back_block.c */
int bc_back_lock(struct address_space *mapping, struct bc_dirty *dirty, u64 block, u32 count,
		 loff_t from, loff_t to, bool more, struct bc_back_block *locked);
void bc_back_dirty(struct address_space *mapping, struct bc_dirty *dirty, u64 block,
		   struct bc_back_block *locked);
void bc_back_unlock(struct bc_back_block *locked, const struct folio *keep);
u32 bc_back_pages(u64 block, loff_t size);
int bc_back_adopt(struct address_space *mapping, struct bc_dirty *dirty);
void bc_back_zero_behind(const struct bc_back_block *locked, loff_t size);
void bc_back_zero_tail(struct address_space *mapping, loff_t size);

/* back_aops.c */
extern const struct address_space_operations bc_back_aops;

/* back_file.c */
extern const struct file_operations bc_back_file_operations;
int bc_back_resize(struct inode *inode, struct bc_dirty *dirty, loff_t size);
int bc_back_sync(struct inode *mapping, struct bc_dirty *dirty,
		 const struct bc_dirty_rename *rename);

/* back_names.c */
struct inode *bc_back_lookup(struct dentry *dentry);
int bc_back_create(struct inode *dir, struct dentry *dentry, umode_t mode);
int bc_back_truncated(struct file *file);
int bc_back_open(struct inode *inode, struct file *file);
int bc_back_unlink(struct dentry *dentry);
int bc_back_rename(struct dentry *old, struct dentry *new);
bool bc_back_below(struct dentry *dentry);
void bc_back_getattr(struct inode *inode, struct kstat *stat);
int bc_back_setattr(struct dentry *dentry, struct iattr *attr);

/* back_dir.c */
struct bc_back_listing;
struct bc_back_listing *bc_back_list(struct file *file, struct file *lower);
void bc_back_emit(struct bc_back_listing *listing, struct dir_context *ctx);
void bc_back_listing_free(struct bc_back_listing *listing);

/* back_inode.c */
struct inode *bc_back_inode(struct super_block *sb, struct bc_dirty *dirty, const char *path);
void bc_back_take_over(struct inode *inode, struct bc_dirty *dirty);
u64 bc_back_number(const struct bc_dirty *dirty);
int bc_back_start(struct super_block *sb);
void bc_back_stop(struct bc_mount *mount);
void bc_back_closed(struct bc_mount *mount);
struct inode *bc_back_mapping(struct super_block *sb, struct bc_dirty *dirty);
struct inode *bc_back_mapping_find(struct super_block *sb, struct bc_dirty *dirty);
int bc_back_sync_all(struct super_block *sb, bool wait);
int bc_back_sync_dir(struct dentry *dir);
void bc_back_forget(struct inode *inode);
bool bc_back_drop(struct inode *inode);

#endif /* BC_FS_BACK_H */
