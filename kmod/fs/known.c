// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names that are looked up while the lower does not answer: what the identity table
 * knows of them will do. So a tree that was cached can be walked after a restart.
 *
 * The lower's answers keep the table up to date: who may do what must not be older
 * there than what the mount has shown. So each answer has the time before it was
 * asked for, and a dropped name takes none of before. What is known of a name is
 * bound to the incarnation of its directory, a random number that is kept with it:
 * of a directory that is another by now nothing below is known, whoever saw that.
 */
#include <linux/jhash.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/stringhash.h>

#include "fs.h"
#include "key.h"

static int path_key(struct dentry *dentry, struct bc_key *key)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(dentry->d_sb)->client);
	char *path = bc_dentry_volume_path(dentry);

	if (IS_ERR(path))
		return PTR_ERR(path);
	bc_key_path(volume, path, strlen(path), key);
	kfree(path);
	return 0;
}

/* Is a directory above gone, or another by now? Then the path is no longer of what is below it. */
static bool is_reachable(struct dentry *dentry)
{
	bool reachable = true;

	rcu_read_lock();
	for (; reachable && !IS_ROOT(dentry); dentry = READ_ONCE(dentry->d_parent))
		reachable = !d_unhashed(dentry);
	rcu_read_unlock();
	return reachable;
}

/* The inode of a directory does not hear of renames: its path may be one of before. */
static bool dir_key(struct dentry *dentry, struct bc_inode *visible, u64 renames,
		    struct bc_key *key)
{
	struct bc_dentry *info = dentry->d_fsdata;

	*key = visible->key;
	if (READ_ONCE(info->renames) == renames)
		return true;
	if (path_key(dentry, key))
		return false;
	if (bc_key_equal(key, &visible->key))
		WRITE_ONCE(info->renames, renames);
	return true;
}

static bool key_of(struct dentry *dentry, struct bc_inode *visible, u64 renames,
		   struct bc_key *key)
{
	/* Removed, or replaced in the lower: the name is another's. */
	if (!is_reachable(dentry))
		return false;
	if (S_ISDIR(visible->vfs.i_mode))
		return dir_key(dentry, visible, renames, key);
	*key = visible->key;
	return bc_dentry_in_place(dentry);
}

/* A rename raises the count before it is no longer under way: that must not be seen earlier. */
static bool renames_are(struct bc_mount *mount, u64 renames)
{
	if (atomic_read(&mount->renaming))
		return false;
	smp_rmb();	/* pairs with atomic_dec_return_release() in renamed() */
	return atomic64_read(&mount->renames) == renames;
}

static bool has_still(struct bc_inode *visible, const struct bc_lower_attr *attr)
{
	bool same;

	spin_lock(&visible->lock);
	same = visible->attr.mode == attr->mode && visible->attr.uid == attr->uid &&
	       visible->attr.gid == attr->gid;
	spin_unlock(&visible->lock);
	return same && !READ_ONCE(visible->detached);
}

/* By what a name is known that the lower was asked for then. Return: 0 = it is not to be. */
static u32 view_of(const struct dentry *dentry, s64 asked_ns)
{
	u32 view = READ_ONCE(BC_M(dentry->d_sb)->view), nonce;
	const struct bc_dentry *info;

	if (!view || IS_ROOT(dentry))
		return view;
	/* Dentries, and what they have, are freed after a grace period. */
	rcu_read_lock();
	info = READ_ONCE(dentry->d_parent)->d_fsdata;
	nonce = READ_ONCE(info->nonce);
	smp_rmb();	/* pairs with smp_wmb() in set_nonce() */
	/* Before that its directory was another, perhaps. */
	if (READ_ONCE(info->nonce_ns) >= asked_ns)
		nonce = 0;
	rcu_read_unlock();
	/* 0 is nobody's. */
	return nonce ? jhash_2words(view, nonce, 0) ?: 1 : 0;
}

static void shown_of(struct dentry *dentry, struct bc_inode *visible, struct bc_shown *shown)
{
	struct bc_dentry *info = dentry->d_fsdata;

	spin_lock(&visible->lock);
	shown->attr = visible->attr;
	shown->asked_ns = visible->asked_ns;
	spin_unlock(&visible->lock);
	shown->view = view_of(dentry, shown->asked_ns);
	/* st_ino does not change while the inode lives; the directory may be another by now. */
	if (S_ISDIR(shown->attr.mode)) {
		spin_lock(&info->lock);
		shown->attr.ino = info->ino;
		spin_unlock(&info->lock);
	}
}

/* What was known before of names below is not of @nonce, that of a directory numbered @ino. */
static void set_nonce(struct bc_dentry *info, u32 nonce, u64 ino, s64 asked_ns)
{
	spin_lock(&info->lock);
	/* If it is another by now, it has its own, or will have. */
	if (info->nonce != nonce && (!nonce || info->ino == ino)) {
		/* Before it had one nobody could ask for what is below another. */
		WRITE_ONCE(info->nonce_ns, info->nonce_ns ? ktime_get_boottime_ns() : asked_ns);
		smp_wmb();	/* pairs with smp_rmb() in view_of() */
		WRITE_ONCE(info->nonce, nonce);
	}
	spin_unlock(&info->lock);
}

static u32 root_nonce(u64 ino)
{
	/* 0 is nobody's. */
	return jhash_2words(lower_32_bits(ino), upper_32_bits(ino), 0) ?: 1;
}

static void seen_dir(struct dentry *dentry, const struct bc_key *key, const struct bc_shown *shown)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(dentry->d_sb)->client);
	struct bc_dentry *info = dentry->d_fsdata;
	u32 nonce = READ_ONCE(info->nonce);

	/*
	 * All views come from that of the root, which nobody looks up: it is not left to a table
	 * that may have no room for it.
	 */
	if (IS_ROOT(dentry))
		nonce = root_nonce(shown->attr.ino);
	else
		nonce = bc_identity_seen_dir(volume, key, shown, nonce);
	set_nonce(info, nonce, shown->attr.ino, shown->asked_ns);
}

/* What was shown below them is of use only as long as the directories above are known. */
static void use_parents(struct dentry *dentry, u64 renames)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(dentry->d_sb)->client);
	struct dentry *at = dget(dentry), *parent;
	bool is_new = true;
	struct bc_key key;

	while (is_new && !IS_ROOT(at)) {
		parent = dget_parent(at);
		dput(at);
		at = parent;
		is_new = !IS_ROOT(at) && key_of(at, BC_I(d_inode(at)), renames, &key) &&
			 bc_identity_use(volume, &key);
	}
	dput(at);
}

static void record(struct dentry *dentry, const struct bc_key *key, const struct bc_shown *shown)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(dentry->d_sb)->client);

	if (S_ISREG(shown->attr.mode))
		bc_identity_seen_file(volume, key, shown);
	else if (S_ISDIR(shown->attr.mode) && shown->view)
		seen_dir(dentry, key, shown);
	else
		bc_identity_drop(volume, key);
}

/**
 * bc_known_seen - the lower has shown what is at a name
 * @dentry: ours
 * @inode: its visible inode
 *
 * Process context, may sleep for memory.
 */
void bc_known_seen(struct dentry *dentry, struct inode *inode)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	u64 renames = atomic64_read(&mount->renames);
	struct bc_dentry *info = dentry->d_fsdata;
	struct bc_inode *visible = BC_I(inode);
	struct bc_shown shown;
	struct bc_key key;

	/* Nothing was shown of what was found without the lower, nor is there a place for it. */
	if (!READ_ONCE(info->generation) || !READ_ONCE(mount->view) || READ_ONCE(visible->detached))
		return;
	smp_rmb();	/* pairs with smp_mb__after_atomic() in renamed() */
	if (!renames_are(mount, renames) || !key_of(dentry, visible, renames, &key)) {
		/* Whatever is known by its name is older. */
		bc_known_gone(dentry);
		return;
	}
	shown_of(dentry, visible, &shown);
	record(dentry, &key, &shown);
	use_parents(dentry, renames);
	smp_rmb();	/* the same */
	/* A directory above was renamed since, or it was shown anew: what was put in may be old. */
	if (!renames_are(mount, renames) || !is_reachable(dentry) ||
	    !has_still(visible, &shown.attr))
		bc_identity_drop(bc_client_volume_id(mount->client), &key);
}

/**
 * bc_known_refused - the mounter may not look a name up
 * @dentry: ours
 *
 * What was written here stays known: the lower may be behind itself.
 */
void bc_known_refused(struct dentry *dentry)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(dentry->d_sb)->client);
	struct bc_key key;
	int error = path_key(dentry, &key);

	if (!error)
		bc_identity_drop(volume, &key);
	else if (error == -ENOMEM)
		/* Rather nothing is known than what is gone. */
		bc_identity_forget_volume(volume);
}

/**
 * bc_known_gone - there is no such name, or another file than was known
 * @dentry: ours
 *
 * As bc_known_refused(); and what was below is not known any more.
 */
void bc_known_gone(struct dentry *dentry)
{
	set_nonce(dentry->d_fsdata, 0, 0, 0);
	bc_known_refused(dentry);
}

/**
 * bc_known_removed - a directory was removed here
 * @dentry: ours
 */
void bc_known_removed(struct dentry *dentry)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(dentry->d_sb)->client);
	struct bc_key key;
	int error = path_key(dentry, &key);

	if (!error)
		bc_identity_forget(volume, &key);
	else if (error == -ENOMEM)
		bc_identity_forget_volume(volume);
}

/* What tells a lower by its root. */
static u32 root_view(const struct path *root)
{
	const struct inode *inode = d_inode(root->dentry);
	char text[96], type[32];
	int length;

	bc_lower_type(root->dentry->d_sb, type, sizeof(type));
	length = scnprintf(text, sizeof(text), "%s %o %u %u", type, inode->i_mode,
			   from_kuid(&init_user_ns, inode->i_uid),
			   from_kgid(&init_user_ns, inode->i_gid));
	return full_name_hash(NULL, text, length);
}

/**
 * bc_known_view - set by which lower's eyes a mount sees owners and rights
 * @mount: mount, which nobody else knows yet, and whose lower has been asked for its root
 * @lower: its lower directory, as the mounter called it
 *
 * Lowers of one volume may show other owners and rights, as they were mounted to: what one shows
 * is not for the mounts over another.
 */
void bc_known_view(struct bc_mount *mount, const char *lower)
{
	mount->root_view = root_view(&mount->lower);
	/* 0 is nobody's. */
	mount->view = (mount->root_view ^ full_name_hash(NULL, lower, strlen(lower))) ?: 1;
}

/**
 * bc_known_relower - a mount is to get another lower
 * @mount: mount
 * @root: root of the new lower
 *
 * One that looks like the one before is to show the same. Else nothing is known from now on.
 */
void bc_known_relower(struct bc_mount *mount, const struct path *root)
{
	if (root_view(root) != mount->root_view)
		WRITE_ONCE(mount->view, 0);
}

/* Not older than the mount wants it. */
static bool is_usable(const struct bc_mount *mount, const struct bc_identity *id)
{
	s64 age = ktime_get_boottime_ns() - id->seen_ns;

	return mount->options.consistency == BC_CONSISTENCY_IMMUTABLE ||
	       (mount->options.stale_ms == BC_STALE_FOREVER ||
		age < (s64)(mount->options.stale_ms * NSEC_PER_MSEC));
}

/* Of a file that was written here the table has what the lower showed before. */
static bool has_rights(struct dentry *dentry, const struct bc_identity *id)
{
	return id->view && id->view == view_of(dentry, S64_MAX) &&
	       (id->kind == BC_IDENTITY_DIR || !(id->flags & BC_IDENTITY_WRITTEN));
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

static bool find(struct dentry *dentry, struct bc_identity *id)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct bc_key key;

	if (mount->options.consistency == BC_CONSISTENCY_STRICT || !READ_ONCE(mount->view))
		return false;
	/* It is not hashed yet. */
	return is_reachable(dentry->d_parent) && !path_key(dentry, &key) &&
	       bc_identity_find(bc_client_volume_id(mount->client), &key, id) &&
	       has_rights(dentry, id) && is_usable(mount, id);
}

/**
 * bc_known_find - what is known of a name
 * @dentry: ours, being looked up
 * @known: out
 *
 * Return: false if that is nothing, or too old.
 */
bool bc_known_find(struct dentry *dentry, struct bc_known *known)
{
	struct bc_identity id;

	if (!find(dentry, &id))
		return false;
	stat_of(&id.lower, &known->stat);
	known->asked_ns = id.seen_ns;
	known->view = id.view;
	known->nonce = id.nonce;
	return true;
}

/**
 * bc_known_still - is what a name was found by still that of its directory?
 * @dentry: ours
 * @view: of bc_known_find()
 *
 * Does not sleep.
 */
bool bc_known_still(const struct dentry *dentry, u32 view)
{
	return view_of(dentry, S64_MAX) == view;
}

/**
 * bc_known_exists - is anything known of a name?
 * @dentry: ours, being looked up
 */
bool bc_known_exists(struct dentry *dentry)
{
	struct bc_identity id;

	return find(dentry, &id);
}
