// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names that are looked up while the lower does not answer: what the identity table
 * knows of them will do. So a tree that was cached can be walked after a restart.
 *
 * The lower's answers keep the table up to date: who may do what must not be older
 * there than what the mount has shown.
 */
#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "fs.h"
#include "key.h"

/**
 * bc_known_seen - the lower has shown a file or a directory
 * @dentry: ours
 * @inode: its visible inode, updated just now
 *
 * Process context, may sleep for memory.
 */
void bc_known_seen(struct dentry *dentry, struct inode *inode)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct bc_dentry *info = dentry->d_fsdata;
	struct bc_inode *visible = BC_I(inode);
	struct bc_lower_attr attr;

	/* The inode of a directory does not hear of renames: its path may be one of before. */
	if (READ_ONCE(info->renames) != atomic64_read(&mount->renames) ||
	    READ_ONCE(visible->detached))
		return;
	spin_lock(&visible->lock);
	attr = visible->attr;
	spin_unlock(&visible->lock);
	if (S_ISREG(attr.mode))
		bc_identity_seen_file(bc_client_volume_id(mount->client), &visible->key, &attr);
	else if (S_ISDIR(attr.mode))
		bc_identity_seen_dir(bc_client_volume_id(mount->client), &visible->key, &attr);
}

static bool path_key(struct dentry *dentry, struct bc_key *key)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(dentry->d_sb)->client);
	char *path = bc_dentry_volume_path(dentry);

	if (IS_ERR(path))
		return false;
	bc_key_path(volume, path, strlen(path), key);
	kfree(path);
	return true;
}

/**
 * bc_known_gone - the lower has no such name
 * @dentry: ours
 *
 * What was written here stays known: the lower may be behind itself.
 */
void bc_known_gone(struct dentry *dentry)
{
	struct bc_key key;

	if (path_key(dentry, &key))
		bc_identity_forget_asked(bc_client_volume_id(BC_M(dentry->d_sb)->client), &key,
					 ktime_get_boottime_ns());
}

/**
 * bc_known_removed - a directory was removed here
 * @dentry: ours
 */
void bc_known_removed(struct dentry *dentry)
{
	struct bc_key key;

	if (path_key(dentry, &key))
		bc_identity_forget(bc_client_volume_id(BC_M(dentry->d_sb)->client), &key);
}

/* Not older than the mount wants it. */
static bool is_usable(const struct bc_mount *mount, const struct bc_identity *id)
{
	s64 age = ktime_get_boottime_ns() - id->resolved_ns;

	if (mount->options.consistency == BC_CONSISTENCY_IMMUTABLE)
		return true;
	return mount->options.consistency != BC_CONSISTENCY_STRICT &&
	       (mount->options.stale_ms == BC_STALE_FOREVER ||
		age < (s64)(mount->options.stale_ms * NSEC_PER_MSEC));
}

/*
 * Of a file that was written here, or moved in the lower (see bc_identity_seen_file()), the table
 * has what the lower showed before.
 */
static bool has_attributes(const struct bc_identity *id)
{
	if (id->kind == BC_IDENTITY_DIR)
		return S_ISDIR(id->lower.mode);
	return S_ISREG(id->lower.mode) && id->lower.mode & ~S_IFMT &&
	       !(id->flags & BC_IDENTITY_WRITTEN);
}

static void stat_of(const struct bc_lower_attr *attr, struct kstat *stat)
{
	*stat = (struct kstat){
		.result_mask = STATX_BASIC_STATS,
		.mode = attr->mode,
		.nlink = 1,
		.ino = attr->ino,
		.uid = make_kuid(&init_user_ns, attr->uid),
		.gid = make_kgid(&init_user_ns, attr->gid),
		.size = attr->size,
		.mtime = { .tv_sec = attr->mtime, .tv_nsec = attr->mtime_nsec },
		.ctime = { .tv_sec = attr->ctime, .tv_nsec = attr->ctime_nsec },
	};
	stat->atime = stat->mtime;
}

/**
 * bc_known_find - what is known of a name
 * @dentry: ours, being looked up
 * @stat: out: what the lower said of it last
 *
 * Return: false if that is nothing, or too old.
 */
bool bc_known_find(struct dentry *dentry, struct kstat *stat)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct bc_identity id;
	struct bc_key key;

	if (!path_key(dentry, &key) ||
	    !bc_identity_find(bc_client_volume_id(mount->client), &key, &id) ||
	    !has_attributes(&id) || !is_usable(mount, &id))
		return false;
	stat_of(&id.lower, stat);
	return true;
}
