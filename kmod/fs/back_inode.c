// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inodes of dirty files, and the worker that makes them durable now and then.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "back.h"
#include "call.h"
#include "key.h"

/* What nobody made durable is made so after this long; what was closed, earlier. */
#define COMMIT_EVERY	(5 * HZ)
#define COMMIT_SOON	(HZ / 4)

/* Of one file that is closed, or written by its path, again and again meanwhile. */
#define ROUNDS		4

struct dirty_id {
	struct bc_dirty *dirty;
	enum bc_inode_kind kind;
};

static u32 hash_of(const struct bc_dirty *dirty, enum bc_inode_kind kind)
{
	return bc_key_hash(bc_dirty_generation(dirty), kind);
}

static int dirty_test(struct inode *inode, void *data)
{
	const struct dirty_id *id = data;
	const struct bc_inode *bi = BC_I(inode);

	return bi->kind == id->kind && READ_ONCE(bi->dirty) == id->dirty;
}

/* The inode has a reference from now on. */
static int dirty_set(struct inode *inode, void *data)
{
	const struct dirty_id *id = data;
	struct bc_inode *bi = BC_I(inode);

	bi->kind = id->kind;
	bi->key = *bc_dirty_generation(id->dirty);
	bc_dirty_get(id->dirty);
	bi->dirty = id->dirty;
	if (id->kind == BC_INODE_DIRTY) {
		bi->object = NULL;
		bi->source = NULL;
	}
	return 0;
}

/* Its inode number: any but those that lowers are likely to have. */
u64 bc_back_number(const struct bc_dirty *dirty)
{
	u64 ino;

	memcpy(&ino, bc_dirty_generation(dirty)->bytes, sizeof(ino));
	return ino | 1ULL << 62;
}

static void show_attr(struct inode *inode, const struct bc_dirty_attr *attr)
{
	inode->i_mode = attr->mode;
	inode->i_uid = make_kuid(&init_user_ns, attr->uid);
	inode->i_gid = make_kgid(&init_user_ns, attr->gid);
	inode_set_mtime_to_ts(inode, attr->mtime);
	inode_set_ctime_to_ts(inode, attr->ctime);
	inode_set_atime_to_ts(inode, attr->mtime);
	i_size_write(inode, attr->size);
}

/**
 * bc_back_inode - the visible inode of a dirty file
 * @sb: superblock
 * @dirty: its object
 * @path: name in the volume
 *
 * Return: with a reference, or ERR_PTR(-ENOMEM).
 */
struct inode *bc_back_inode(struct super_block *sb, struct bc_dirty *dirty, const char *path)
{
	struct dirty_id id = { dirty, BC_INODE_VISIBLE };
	struct bc_dirty_attr attr;
	struct inode *inode;

	inode = iget5_locked(sb, hash_of(dirty, id.kind), dirty_test, dirty_set, &id);
	if (!inode)
		return ERR_PTR(-ENOMEM);
	if (!(inode_state_read_once(inode) & I_NEW))
		return inode;
	BC_I(inode)->path = kstrdup(path, GFP_KERNEL);
	if (!BC_I(inode)->path) {
		iget_failed(inode);
		return ERR_PTR(-ENOMEM);
	}
	bc_dirty_attr(dirty, &attr);
	inode->i_ino = bc_back_number(dirty);
	BC_I(inode)->attr.ino = inode->i_ino;
	inode->i_flags |= S_NOATIME | S_NOCMTIME;
	inode->i_op = &bc_file_inode_operations;
	inode->i_fop = &bc_file_operations;
	show_attr(inode, &attr);
	unlock_new_inode(inode);
	return inode;
}

/**
 * bc_back_take_over - a clean file's inode is a dirty one's from now on
 * @inode: visible inode, its lock held
 * @dirty: object; a reference is taken
 */
void bc_back_take_over(struct inode *inode, struct bc_dirty *dirty)
{
	struct bc_inode *bi = BC_I(inode);
	struct bc_dirty_attr attr;

	bc_dirty_attr(dirty, &attr);
	bc_dirty_get(dirty);
	remove_inode_hash(inode);
	spin_lock(&bi->lock);
	bi->key = *bc_dirty_generation(dirty);
	WRITE_ONCE(bi->dirty, dirty);
	atomic_inc(&bi->changes);
	show_attr(inode, &attr);
	spin_unlock(&bi->lock);
	__insert_inode_hash(inode, hash_of(dirty, BC_INODE_VISIBLE));
}

/**
 * bc_back_mapping - the mapping inode of a dirty object
 * @sb: superblock
 * @dirty: object
 *
 * Return: with a reference, or ERR_PTR(-ENOMEM).
 */
struct inode *bc_back_mapping(struct super_block *sb, struct bc_dirty *dirty)
{
	struct dirty_id id = { dirty, BC_INODE_DIRTY };
	struct bc_dirty_attr attr;
	struct inode *inode;

	inode = iget5_locked(sb, hash_of(dirty, id.kind), dirty_test, dirty_set, &id);
	if (!inode)
		return ERR_PTR(-ENOMEM);
	if (!(inode_state_read_once(inode) & I_NEW))
		return inode;
	bc_dirty_attr(dirty, &attr);
	inode->i_mode = S_IFREG | 0600;
	inode->i_flags |= S_NOATIME | S_NOCMTIME;
	inode->i_mapping->a_ops = &bc_back_aops;
	i_size_write(inode, attr.size);
	unlock_new_inode(inode);
	return inode;
}

/**
 * bc_back_mapping_find - the same, if it is there
 * @sb: superblock
 * @dirty: object
 *
 * Return: with a reference, or NULL.
 */
struct inode *bc_back_mapping_find(struct super_block *sb, struct bc_dirty *dirty)
{
	struct dirty_id id = { dirty, BC_INODE_DIRTY };

	return ilookup5(sb, hash_of(dirty, id.kind), dirty_test, &id);
}

/*
 * Whoever had it open is gone, perhaps with his inode: then all of it is on the device, or was lost
 * (bc_back_forget()).
 */
static int sync_one(struct super_block *sb, struct bc_dirty *dirty, bool wait)
{
	struct inode *mapping = bc_back_mapping_find(sb, dirty);
	struct bc_dirty_point point;
	int error, round;

	/* What another commit has in its hands is not durable before that is over. */
	if (!wait && !bc_dirty_uncommitted(dirty) &&
	    !(mapping && READ_ONCE(BC_I(mapping)->stray))) {
		iput(mapping);
		return 0;
	}
	if (!mapping) {
		bc_dirty_point(dirty, &point);
		error = bc_dirty_commit(dirty, &point, NULL);
		if (error != -EAGAIN)
			return error;
		/* Somebody has cut it off: so it has one now. */
		mapping = bc_back_mapping(sb, dirty);
		if (IS_ERR(mapping))
			return PTR_ERR(mapping);
	}
	/*
	 * One that was closed in the middle of it is ready before those that were closed after it:
	 * the store gets them in that order.
	 */
	for (round = 0; round < ROUNDS; round++) {
		error = bc_back_sync(mapping, dirty, NULL);
		if (error || !bc_dirty_closed_late(dirty))
			break;
	}
	iput(mapping);
	return error;
}

/**
 * bc_back_sync_all - make all dirty files durable
 * @sb: superblock
 * @wait: also for what others are about to make durable
 *
 * Return: 0, or the first errno; the others are tried all the same.
 */
int bc_back_sync_all(struct super_block *sb, bool wait)
{
	struct bc_client *client = BC_M(sb)->client;
	struct bc_dirty *dirty;
	int error = 0, one;
	u64 serial = 0;

	while ((dirty = bc_dirty_next(client, &serial))) {
		one = sync_one(sb, dirty, wait);
		error = error ?: one;
		bc_dirty_put(dirty);
		cond_resched();
	}
	return error;
}

/**
 * bc_back_sync_dir - make the dirty files durable that are just in a directory
 * @dir: ours
 *
 * Return: as bc_back_sync_all().
 */
int bc_back_sync_dir(struct dentry *dir)
{
	struct bc_client *client = BC_M(dir->d_sb)->client;
	char *path = bc_dentry_volume_path(dir);
	struct bc_dirty *dirty;
	int error = 0, one;
	u64 serial = 0;

	if (IS_ERR(path))
		return PTR_ERR(path);
	while ((dirty = bc_dirty_next_in(client, path, &serial))) {
		one = sync_one(dir->d_sb, dirty, true);
		error = error ?: one;
		bc_dirty_put(dirty);
	}
	kfree(path);
	return error;
}

/**
 * bc_back_forget - a mapping inode goes, and its pages are gone
 * @inode: mapping inode of a dirty file
 *
 * That is without loss, but after writes that failed until the file system was unmounted.
 */
void bc_back_forget(struct inode *inode)
{
	struct bc_dirty *dirty = BC_I(inode)->dirty;

	if (bc_dirty_lost(dirty))
		pr_err("bytes of a dirty file that could not be written are lost: it is as it was when fsync last returned 0 (generation %16phN)\n",
		       bc_dirty_generation(dirty));
}

/**
 * bc_back_drop - is the mapping inode of a dirty file, which nobody uses, to go?
 * @inode: with its lock, and without references
 */
bool bc_back_drop(struct inode *inode)
{
	struct bc_dirty *dirty = BC_I(inode)->dirty;

	if (!bc_dirty_unused(dirty))
		return false;
	/* One that is not unlinked was written meanwhile: then it stays. */
	return bc_dirty_is_unlinked(dirty) ||
	       (!mapping_tagged(inode->i_mapping, PAGECACHE_TAG_DIRTY) &&
		!mapping_tagged(inode->i_mapping, PAGECACHE_TAG_WRITEBACK));
}

static void commit_work(struct work_struct *work)
{
	struct bc_mount *mount = container_of(to_delayed_work(work), struct bc_mount, back_work);

	clear_bit(BC_MOUNT_BACK_SOON, &mount->flags);
	bc_back_sync_all(mount->sb, false);
	/* Unless a file was closed meanwhile. */
	queue_delayed_work(bc_calls_wq, &mount->back_work, COMMIT_EVERY);
}

/* Inodes and dentries of it that nobody uses go. */
static void drop_unused(struct super_block *sb, struct bc_dirty *dirty)
{
	struct dirty_id id = { dirty, BC_INODE_VISIBLE };
	struct inode *inode = ilookup5(sb, hash_of(dirty, id.kind), dirty_test, &id);

	if (inode) {
		d_prune_aliases(inode);
		iput(inode);
	}
	inode = bc_back_mapping_find(sb, dirty);
	if (inode)
		iput(inode);
}

/* The store has it. If the lower shows it, too, it is a clean file from now on. */
static void hand_over(struct super_block *sb, struct bc_dirty *dirty,
		      const struct bc_version *version)
{
	struct bc_mount *mount = BC_M(sb);
	char *path = bc_dirty_path(dirty);
	struct kstat stat;

	if (IS_ERR(path))
		return;
	if (!bc_is_below_prefix(mount, path) ||
	    bc_lower_stat(mount, bc_lower_name(mount, path), msecs_to_jiffies(bc_patience_ms()),
			  &stat) ||
	    !S_ISREG(stat.mode) || stat.size != version->size)
		goto out;
	bc_dirty_set_retiring(dirty, true);
	drop_unused(sb, dirty);
	/* Before it is found no more: who comes then finds the version. */
	bc_version_committed(mount, path, &stat, version);
	bc_dirty_retire(dirty);
	bc_dirty_set_retiring(dirty, false);
out:
	kfree(path);
}

static void handover_work(struct work_struct *work)
{
	struct bc_mount *mount = container_of(to_delayed_work(work), struct bc_mount,
					      handover_work);
	struct bc_version version;
	struct bc_dirty *dirty;
	u64 serial = 0;

	while (!test_bit(BC_MOUNT_BACK_STOP, &mount->flags) &&
	       (dirty = bc_dirty_next(mount->client, &serial))) {
		if (bc_dirty_committed(dirty, &version))
			hand_over(mount->sb, dirty, &version);
		bc_dirty_put(dirty);
		cond_resched();
	}
	queue_delayed_work(bc_calls_wq, &mount->handover_work, COMMIT_EVERY);
}

/**
 * bc_back_closed - the last writer of a file is gone: it may go to the store when it is durable
 * @mount: mount
 *
 * Any context.
 */
void bc_back_closed(struct bc_mount *mount)
{
	if (!test_and_set_bit(BC_MOUNT_BACK_SOON, &mount->flags))
		mod_delayed_work(bc_calls_wq, &mount->back_work, COMMIT_SOON);
}

/**
 * bc_back_start - a mount writes back from now on
 * @sb: superblock
 *
 * Return: 0, or as bc_dirty_claim().
 */
int bc_back_start(struct super_block *sb)
{
	struct bc_mount *mount = BC_M(sb);
	int error = bc_dirty_claim(mount->client);

	if (error)
		return error;
	mount->sb = sb;
	set_bit(BC_MOUNT_WRITE_BACK, &mount->flags);
	INIT_DELAYED_WORK(&mount->back_work, commit_work);
	INIT_DELAYED_WORK(&mount->handover_work, handover_work);
	queue_delayed_work(bc_calls_wq, &mount->back_work, COMMIT_EVERY);
	queue_delayed_work(bc_calls_wq, &mount->handover_work, COMMIT_EVERY);
	return 0;
}

/* The superblock is going: before its inodes do. */
void bc_back_stop(struct bc_mount *mount)
{
	if (!test_bit(BC_MOUNT_WRITE_BACK, &mount->flags))
		return;
	set_bit(BC_MOUNT_BACK_STOP, &mount->flags);
	cancel_delayed_work_sync(&mount->handover_work);
	cancel_delayed_work_sync(&mount->back_work);
}
