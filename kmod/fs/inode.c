// SPDX-License-Identifier: GPL-2.0-only
/*
 * Visible and mapping inodes. Both are in the inode hash: visible ones by path
 * hash and lower inode number, mapping ones by kind and key. A visible inode
 * goes with its last reference; a bound mapping inode stays, with its page
 * cache, until memory is short.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/statfs.h>

#include "back.h"
#include "blobcache_dev.h"
#include "fs.h"
#include "key.h"

static bool large_folios = true;
module_param(large_folios, bool, 0644);
MODULE_PARM_DESC(large_folios, "use large folios, on kernels where their size can be limited");

static struct kmem_cache *inode_cache;

static struct inode *bc_alloc_inode(struct super_block *sb)
{
	struct bc_inode *bi = alloc_inode_sb(sb, inode_cache, GFP_KERNEL);

	if (!bi)
		return NULL;
	spin_lock_init(&bi->lock);
	bi->kind = BC_INODE_VISIBLE;
	bi->dirty = NULL;
	bi->stray = false;
	bi->mapped = false;
	memset(&bi->attr, 0, sizeof(bi->attr));
	bi->asked_ns = S64_MIN;
	bi->path = NULL;
	atomic_set(&bi->writes, 0);
	atomic_set(&bi->writers, 0);
	atomic_set(&bi->changes, 0);
	bi->renames = 0;
	bi->detached = false;
	return &bi->vfs;
}

static void bc_free_inode(struct inode *inode)
{
	struct bc_inode *bi = BC_I(inode);

	if (bi->kind == BC_INODE_VISIBLE)
		kfree(bi->path);
	kmem_cache_free(inode_cache, bi);
}

static int bc_drop_inode(struct inode *inode)
{
	switch (READ_ONCE(BC_I(inode)->kind)) {
	case BC_INODE_DIRTY:
		return bc_back_drop(inode) ? inode_just_drop(inode) : inode_generic_drop(inode);
	case BC_INODE_STORE:
	case BC_INODE_LOWER:
		return READ_ONCE(BC_I(inode)->gone) ? inode_just_drop(inode) :
						      inode_generic_drop(inode);
	default:
		return inode_just_drop(inode);
	}
}

static void bc_evict_inode(struct inode *inode)
{
	struct bc_inode *bi = BC_I(inode);

	/* Waits for folios being read, so no read is left that uses bi->object. */
	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	if (bi->kind == BC_INODE_DIRTY)
		bc_back_forget(inode);
	if (bi->dirty)
		bc_dirty_put(bi->dirty);
	if (bi->kind == BC_INODE_VISIBLE || !bi->object)
		return;
	/* From here on a late binder finds no inode. */
	spin_lock(&bi->source->lock);
	bi->source->inode = NULL;
	spin_unlock(&bi->source->lock);
	bc_object_put(bi->object);
}

static int show_options(struct seq_file *m, struct dentry *root)
{
	bc_options_show(m, &BC_M(root->d_sb)->options);
	return 0;
}

static int statfs(struct dentry *dentry, struct kstatfs *buf)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	int error;

	error = bc_lower_statfs(mount, msecs_to_jiffies(bc_patience_ms()), buf);
	spin_lock(&mount->lower_lock);
	if (!error)
		mount->statfs = *buf;
	else if (bc_lower_lost(error))
		*buf = mount->statfs;
	spin_unlock(&mount->lower_lock);
	if (error && !bc_lower_lost(error))
		return error;
	buf->f_type = BC_SUPER_MAGIC;
	buf->f_fsid = u64_to_fsid(huge_encode_dev(dentry->d_sb->s_dev));
	return 0;
}

static int sync_fs(struct super_block *sb, int wait)
{
	struct bc_mount *mount = BC_M(sb);
	int error = 0, lower;

	if (wait && bc_is_back(sb))
		error = bc_back_sync_all(sb, true);
	/* Of what is written through nothing of ours is dirty; the lower may be. */
	if (!wait || !test_bit(BC_MOUNT_WRITABLE, &mount->flags) ||
	    test_bit(BC_MOUNT_DEAD, &mount->flags))
		return error;
	lower = bc_lower_sync(mount);
	return error ?: lower;
}

static void umount_begin(struct super_block *sb)
{
	atomic_inc(&BC_M(sb)->aborts);
	bc_client_abort(BC_M(sb)->client);
}

const struct super_operations bc_super_operations = {
	.alloc_inode = bc_alloc_inode,
	.free_inode = bc_free_inode,
	.drop_inode = bc_drop_inode,
	.evict_inode = bc_evict_inode,
	.statfs = statfs,
	.sync_fs = sync_fs,
	.show_options = show_options,
	.umount_begin = umount_begin,
};

struct visible_id {
	struct bc_key key;
	u64 ino;
	u64 renames;
	umode_t mode;
};

/*
 * After a rename of a directory, inodes of before may be those of files that are
 * elsewhere now, though lowers that make inode numbers of paths give the same
 * number to what is at their old path: then that is another inode.
 */

static int visible_test(struct inode *inode, void *data)
{
	const struct visible_id *id = data;
	const struct bc_inode *bi = BC_I(inode);

	return bi->kind == BC_INODE_VISIBLE && bc_key_equal(&bi->key, &id->key) &&
	       bi->attr.ino == id->ino && bi->renames == id->renames &&
	       !((inode->i_mode ^ id->mode) & S_IFMT);
}

static int visible_set(struct inode *inode, void *data)
{
	const struct visible_id *id = data;
	struct bc_inode *bi = BC_I(inode);

	bi->kind = BC_INODE_VISIBLE;
	bi->key = id->key;
	bi->attr.ino = id->ino;
	bi->renames = id->renames;
	inode->i_ino = id->ino;
	inode->i_mode = id->mode;
	return 0;
}

static void visible_init(struct inode *inode, const struct kstat *stat)
{
	inode->i_flags |= S_NOATIME | S_NOCMTIME;
	switch (stat->mode & S_IFMT) {
	case S_IFREG:
		inode->i_op = &bc_file_inode_operations;
		inode->i_fop = &bc_file_operations;
		break;
	case S_IFDIR:
		inode->i_op = test_bit(BC_MOUNT_WRITABLE, &BC_M(inode->i_sb)->flags) ?
			      &bc_dir_write_operations : &bc_dir_inode_operations;
		inode->i_fop = &bc_dir_operations;
		break;
	case S_IFLNK:
		inode->i_op = &bc_symlink_inode_operations;
		break;
	default:
		inode->i_op = &bc_file_inode_operations;
		init_special_inode(inode, stat->mode, stat->rdev);
	}
}

/**
 * bc_visible_get - the visible inode of a path
 * @sb: superblock
 * @path: name in the volume, prefix included
 * @stat: what the lower says of it
 * @asked_ns: boot clock before it was asked
 *
 * Return: inode with a reference, or ERR_PTR(-ENOMEM).
 */
struct inode *bc_visible_get(struct super_block *sb, const char *path, const struct kstat *stat,
			     s64 asked_ns)
{
	struct visible_id id = {
		.ino = stat->ino,
		.renames = atomic64_read(&BC_M(sb)->renames),
		.mode = stat->mode,
	};
	struct inode *inode;

	bc_key_path(bc_client_volume_id(BC_M(sb)->client), path, strlen(path), &id.key);
	inode = iget5_locked(sb, bc_key_hash(&id.key, BC_INODE_VISIBLE), visible_test, visible_set,
			     &id);
	if (!inode)
		return ERR_PTR(-ENOMEM);
	if (inode_state_read_once(inode) & I_NEW) {
		BC_I(inode)->path = kstrdup(path, GFP_KERNEL);
		if (!BC_I(inode)->path) {
			iget_failed(inode);
			return ERR_PTR(-ENOMEM);
		}
		visible_init(inode, stat);
		bc_visible_update(inode, stat, asked_ns, NULL);
		unlock_new_inode(inode);
	} else {
		bc_visible_update(inode, stat, asked_ns, NULL);
	}
	return inode;
}

/* What chattr(1) forbids below is forbidden here, where the caller's rights are checked. */
static unsigned int protection(const struct kstat *stat)
{
	return (stat->attributes & STATX_ATTR_APPEND ? S_APPEND : 0) |
	       (stat->attributes & STATX_ATTR_IMMUTABLE ? S_IMMUTABLE : 0);
}

/**
 * bc_visible_detach - the inode's path names something else from now on, or nothing
 * @inode: visible inode
 */
void bc_visible_detach(struct inode *inode)
{
	WRITE_ONCE(BC_I(inode)->detached, true);
	/* Nobody shall find it by that path, not even if the same lower file returns there. */
	remove_inode_hash(inode);
}

/**
 * bc_visible_update - the lower has told the attributes anew
 * @inode: visible inode, of the same type of file
 * @stat: what it said
 * @asked_ns: boot clock before it was asked; what it was asked for later stays
 * @changes: bc_inode.changes before it was asked; NULL = nothing was changed since
 *
 * Return: false if it was changed by us since: then nothing was taken.
 */
bool bc_visible_update(struct inode *inode, const struct kstat *stat, s64 asked_ns,
		       const int *changes)
{
	struct bc_mount *mount = BC_M(inode->i_sb);
	struct bc_inode *bi = BC_I(inode);
	umode_t mode = stat->mode;
	struct bc_lower_attr attr;
	struct timespec64 mtime;
	u64 size;
	int now;

	/* A lower mounted nosuid must not get its set-id bits back by us. */
	if (test_bit(BC_MOUNT_NOSUID, &mount->flags))
		mode &= ~(S_ISUID | S_ISGID);
	bc_lower_attr_of(stat, &attr);
	attr.ino = bi->attr.ino;	/* st_ino does not change while the inode lives */

	spin_lock(&bi->lock);
	if (changes && atomic_read(&bi->changes) != *changes) {
		spin_unlock(&bi->lock);
		return false;
	}
	if (asked_ns < bi->asked_ns) {
		spin_unlock(&bi->lock);
		return true;
	}
	now = atomic_read(&bi->changes);
	bi->attr = attr;
	bi->asked_ns = asked_ns;
	inode->i_mode = mode;
	inode->i_uid = stat->uid;
	inode->i_gid = stat->gid;
	/* One that was removed here stays so, whatever was on its way. */
	if (!READ_ONCE(bi->detached))
		set_nlink(inode, stat->nlink);
	inode_set_flags(inode, protection(stat), S_APPEND | S_IMMUTABLE);
	inode_set_atime_to_ts(inode, stat->atime);
	inode_set_mtime_to_ts(inode, stat->mtime);
	inode_set_ctime_to_ts(inode, stat->ctime);
	spin_unlock(&bi->lock);

	size = stat->size;
	if (S_ISREG(mode))
		bc_version_shown(bi, &size, &mtime);
	bc_visible_set_size(inode, size, &now);
	return true;
}

/**
 * bc_visible_nosuid - take away set-id bits that a lower showed before it was replaced
 * @inode: visible inode, about to be opened: perhaps to be executed
 *
 * Attributes that the new lower shows have none, but it may not have been asked yet.
 */
void bc_visible_nosuid(struct inode *inode)
{
	struct bc_inode *bi = BC_I(inode);

	if (likely(!(inode->i_mode & (S_ISUID | S_ISGID))) ||
	    !test_bit(BC_MOUNT_NOSUID, &BC_M(inode->i_sb)->flags))
		return;
	spin_lock(&bi->lock);
	inode->i_mode &= ~(S_ISUID | S_ISGID);
	spin_unlock(&bi->lock);
}

/**
 * bc_visible_set_size - some callers in the kernel ask the visible inode for the size
 * @inode: visible inode
 * @size: bytes
 * @changes: bc_inode.changes before that was found out: it is not the size any more if that moved
 */
void bc_visible_set_size(struct inode *inode, u64 size, const int *changes)
{
	struct bc_inode *bi = BC_I(inode);

	if (i_size_read(inode) == size)
		return;
	spin_lock(&bi->lock);
	if (atomic_read(&bi->changes) == *changes)
		i_size_write(inode, size);
	spin_unlock(&bi->lock);
}

/**
 * bc_visible_copy - take size and times of the lower inode, which was written just now
 * @inode: visible inode of a regular file
 * @lower: lower inode
 */
void bc_visible_copy(struct inode *inode, struct inode *lower)
{
	struct timespec64 mtime = inode_get_mtime(lower), ctime = inode_get_ctime(lower);
	struct bc_inode *bi = BC_I(inode);

	spin_lock(&bi->lock);
	bi->attr.size = i_size_read(lower);
	bi->attr.mtime = mtime.tv_sec;
	bi->attr.mtime_nsec = mtime.tv_nsec;
	bi->attr.ctime = ctime.tv_sec;
	bi->attr.ctime_nsec = ctime.tv_nsec;
	atomic_inc(&bi->changes);
	i_size_write(inode, bi->attr.size);
	inode_set_mtime_to_ts(inode, mtime);
	inode_set_ctime_to_ts(inode, ctime);
	spin_unlock(&bi->lock);
}

struct mapping_id {
	enum bc_inode_kind kind;
	struct bc_key key;
};

static u32 mapping_hash(const struct mapping_id *id)
{
	return bc_key_hash(&id->key, id->kind);
}

static int mapping_test(struct inode *inode, void *data)
{
	const struct mapping_id *id = data;
	const struct bc_inode *bi = BC_I(inode);

	/* Neither changes while the inode is hashed. */
	return bi->kind == id->kind && bc_key_equal(&bi->key, &id->key);
}

static int mapping_set(struct inode *inode, void *data)
{
	const struct mapping_id *id = data;
	struct bc_inode *bi = BC_I(inode);

	bi->kind = id->kind;
	bi->key = id->key;
	bi->object = NULL;
	bi->source = NULL;
	bi->gone = false;
	atomic_set(&bi->failures, 0);
	memset(bi->failed, 0, sizeof(bi->failed));
	return 0;
}

/**
 * bc_mapping_find - an existing mapping inode
 * @sb: superblock
 * @kind: with @key, which
 * @key: see enum bc_inode_kind
 *
 * Return: inode with a reference, or NULL.
 */
struct inode *bc_mapping_find(struct super_block *sb, enum bc_inode_kind kind,
			      const struct bc_key *key)
{
	struct mapping_id id = { .kind = kind, .key = *key };
	struct inode *inode = ilookup5(sb, mapping_hash(&id), mapping_test, &id);

	/* One whose making failed. */
	if (inode && !BC_I(inode)->object) {
		iput(inode);
		return NULL;
	}
	return inode;
}

static int mapping_init(struct bc_inode *bi, struct bc_inode *visible,
			const struct bc_version *version)
{
	struct bc_client *client = BC_M(visible->vfs.i_sb)->client;
	struct bc_source *source = bc_source_new(visible);
	struct bc_object *object;

	if (!source)
		return -ENOMEM;
	if (bi->kind == BC_INODE_UNBOUND_LOWER)
		object = bc_object_create_lower(client, visible->path, &bc_source_ops, source);
	else
		object = bc_object_create(client, visible->path, version, &bc_source_ops, source);
	if (IS_ERR(object))
		return PTR_ERR(object);
	bi->object = object;
	bi->source = source;
	source->inode = bi;

	bi->vfs.i_mode = S_IFREG | 0400;
	bi->vfs.i_flags |= S_NOATIME | S_NOCMTIME;
	bi->vfs.i_mapping->a_ops = &bc_address_space_operations;
	/* Up to a chunk: a folio then is read by one read. */
	if (READ_ONCE(large_folios))
		mapping_set_folio_order_range(bi->vfs.i_mapping, 0, BC_CHUNK_SHIFT - PAGE_SHIFT);
	return 0;
}

/* Of one that is unbound still: the best guess until it is bound. */
static void mapping_guess_size(struct bc_inode *bi, struct bc_inode *visible)
{
	u64 size;

	spin_lock(&visible->lock);
	size = visible->attr.size;
	spin_unlock(&visible->lock);
	spin_lock(&bi->lock);
	if (bi->kind == BC_INODE_UNBOUND || bi->kind == BC_INODE_UNBOUND_LOWER)
		i_size_write(&bi->vfs, size);
	spin_unlock(&bi->lock);
}

/**
 * bc_mapping_get - find or make the mapping inode of a version
 * @visible: whose
 * @kind: BC_INODE_UNBOUND, BC_INODE_UNBOUND_LOWER or BC_INODE_STORE
 * @key: path hash, or the version's
 * @version: of BC_INODE_STORE, else NULL
 *
 * Return: inode with a reference, or ERR_PTR.
 */
struct inode *bc_mapping_get(struct bc_inode *visible, enum bc_inode_kind kind,
			     const struct bc_key *key, const struct bc_version *version)
{
	struct mapping_id id = { .kind = kind, .key = *key };
	struct inode *inode;
	int error;

	inode = iget5_locked(visible->vfs.i_sb, mapping_hash(&id), mapping_test, mapping_set, &id);
	if (!inode)
		return ERR_PTR(-ENOMEM);
	if (inode_state_read_once(inode) & I_NEW) {
		error = mapping_init(BC_I(inode), visible, version);
		if (error) {
			iget_failed(inode);
			return ERR_PTR(error);
		}
		if (version)
			i_size_write(inode, version->size);
		else
			mapping_guess_size(BC_I(inode), visible);
		unlock_new_inode(inode);
	} else if (!BC_I(inode)->object) {
		iput(inode);
		return ERR_PTR(-ENOMEM);
	} else if (!version) {
		mapping_guess_size(BC_I(inode), visible);
	}
	return inode;
}

/**
 * bc_mapping_bound - the object of a mapping inode was bound
 * @bi: mapping inode; no folio of it is uptodate yet
 * @object: its object
 * @version: to which version
 *
 * From now on it is found by the version. Called with the source's lock, which keeps the inode
 * from going; atomic.
 */
void bc_mapping_bound(struct bc_inode *bi, struct bc_object *object,
		      const struct bc_version *version)
{
	struct bc_mount *mount = bi->source->mount;
	const struct bc_key *key = bc_object_key(object);
	struct mapping_id id;

	if (key) {
		id.kind = BC_INODE_STORE;
		id.key = *key;
	} else {
		id.kind = BC_INODE_LOWER;
		bc_key_version(bc_client_volume_id(mount->client), bi->source->path,
			       strlen(bi->source->path), version->etag, version->etag_length,
			       &id.key);
	}
	remove_inode_hash(&bi->vfs);
	spin_lock(&bi->lock);
	i_size_write(&bi->vfs, version->size);
	bi->key = id.key;
	/* Pairs with is_unbound(): who sees that it is bound sees its size. */
	smp_store_release(&bi->kind, id.kind);
	spin_unlock(&bi->lock);
	/*
	 * Another inode of the same version may be there: it does no harm, the
	 * bytes are the same.
	 */
	__insert_inode_hash(&bi->vfs, mapping_hash(&id));
}

static void init_once(void *inode)
{
	inode_init_once(&((struct bc_inode *)inode)->vfs);
}

int bc_inodes_init(void)
{
	inode_cache = kmem_cache_create("bc_inode", sizeof(struct bc_inode), 0,
					SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, init_once);
	return inode_cache ? 0 : -ENOMEM;
}

void bc_inodes_exit(void)
{
	/* Inodes are freed after a grace period. */
	rcu_barrier();
	kmem_cache_destroy(inode_cache);
}
