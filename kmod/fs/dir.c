// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dentries, lookups, directories, symbolic links.
 *
 * A dentry is good for ttl, without asking anybody; then the lower is asked by
 * name, in a worker. If the lower does not answer, dentries stay as they are.
 * Negative dentries are not kept.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/namei.h>
#include <linux/slab.h>

#include "back.h"
#include "fs.h"

/**
 * bc_dentry_path - path of a dentry below the root of the mount
 * @dentry: ours
 *
 * Return: without a leading slash, for the caller to free, or ERR_PTR.
 */
char *bc_dentry_path(struct dentry *dentry)
{
	char *buffer = kmalloc(PATH_MAX, GFP_KERNEL), *path;

	if (!buffer)
		return ERR_PTR(-ENOMEM);
	path = dentry_path_raw(dentry, buffer, PATH_MAX);
	if (IS_ERR(path)) {
		kfree(buffer);
		return path;
	}
	while (*path == '/')
		path++;
	memmove(buffer, path, strlen(path) + 1);
	return buffer;
}

/**
 * bc_dentry_volume_path - path of a dentry in the volume
 * @dentry: ours
 *
 * Return: prefix included, for the caller to free, or ERR_PTR.
 */
char *bc_dentry_volume_path(struct dentry *dentry)
{
	const char *prefix = BC_M(dentry->d_sb)->options.prefix;
	char *path = bc_dentry_path(dentry), *full;

	if (IS_ERR(path) || !*prefix)
		return path;
	full = kasprintf(GFP_KERNEL, *path ? "%s/%s" : "%s%s", prefix, path);
	kfree(path);
	return full ?: ERR_PTR(-ENOMEM);
}

/**
 * bc_dentry_in_place - does the inode's path still name this dentry?
 * @dentry: ours, positive
 *
 * Not so after a rename, of a file or of a directory above, through this mount. Always true for
 * directories, of which no more than the name is known.
 */
bool bc_dentry_in_place(struct dentry *dentry)
{
	u64 renames = atomic64_read(&BC_M(dentry->d_sb)->renames);
	struct bc_inode *visible = BC_I(d_inode(dentry));
	struct bc_dentry *info = dentry->d_fsdata;
	char *path;
	bool same;

	if (READ_ONCE(info->renames) == renames || S_ISDIR(visible->vfs.i_mode))
		return !READ_ONCE(visible->detached);
	path = bc_dentry_volume_path(dentry);
	if (IS_ERR(path))
		return false;
	same = !READ_ONCE(visible->detached) && !strcmp(path, visible->path);
	kfree(path);
	if (same)
		WRITE_ONCE(info->renames, renames);
	else
		bc_visible_detach(&visible->vfs);
	return same;
}

/**
 * bc_dentry_expire - the lower was changed: ask it at the next use
 * @dentry: ours
 */
void bc_dentry_expire(struct dentry *dentry)
{
	struct bc_dentry *info = dentry->d_fsdata;

	spin_lock(&info->lock);
	WRITE_ONCE(info->expires, get_jiffies_64() - 1);
	spin_unlock(&info->lock);
}

/**
 * bc_dentry_writer - is the lower file open for writing, or mapped so, by anybody?
 * @dentry: ours, of a regular file
 */
bool bc_dentry_writer(struct dentry *dentry)
{
	struct bc_dentry *info = dentry->d_fsdata;
	struct inode *inode = NULL;
	struct dentry *lower;
	bool writer;

	/* Dentries and inodes are freed after a grace period. */
	rcu_read_lock();
	lower = READ_ONCE(info->lower.dentry);
	if (lower)
		inode = d_inode_rcu(lower);
	writer = inode && inode_is_open_for_write(inode);
	rcu_read_unlock();
	return writer;
}

/**
 * bc_dentry_set_lower - a dentry was looked up in the lower just now
 * @dentry: ours
 * @lower: of the lower; references are taken
 * @generation: of the lower root it was found below
 * @stat: what the lower said
 */
void bc_dentry_set_lower(struct dentry *dentry, const struct path *lower, u64 generation,
			 const struct kstat *stat)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct bc_dentry *info = dentry->d_fsdata;
	struct path old;

	path_get(lower);
	spin_lock(&info->lock);
	old = info->lower;
	info->lower = *lower;
	/* A directory that is another by now, or in another lower: what was below is not known. */
	if (info->ino != stat->ino)
		WRITE_ONCE(info->nonce, 0);
	info->ino = stat->ino;
	WRITE_ONCE(info->generation, generation);
	WRITE_ONCE(info->expires,
		   get_jiffies_64() + msecs_to_jiffies(min_t(u64, mount->options.ttl_ms, INT_MAX)));
	spin_unlock(&info->lock);
	path_put(&old);
}

/* Was it found while there was no lower to ask? */
static bool without_lower(const struct bc_dentry *info)
{
	return !READ_ONCE(info->generation);
}

static bool is_fresh(const struct bc_mount *mount, const struct bc_dentry *info)
{
	if (bc_lower_is_suspect(mount))
		return true;
	return READ_ONCE(info->generation) == READ_ONCE(mount->lower_generation) &&
	       time_before64(get_jiffies_64(), READ_ONCE(info->expires));
}

static bool looks_same(struct bc_inode *visible, const struct kstat *stat)
{
	struct bc_lower_attr now;
	bool same;

	bc_lower_attr_of(stat, &now);
	spin_lock(&visible->lock);
	same = !bc_lower_attr_moved(&visible->attr, &now);
	spin_unlock(&visible->lock);
	return same;
}

/* Is what the lower has now the file that the dentry stands for? */
static bool same_file(struct dentry *dentry, const struct kstat *stat, u64 generation)
{
	struct bc_dentry *info = dentry->d_fsdata;
	bool same;

	if ((stat->mode ^ d_inode(dentry)->i_mode) & S_IFMT)
		return false;
	spin_lock(&info->lock);
	/* Another lower numbers its inodes anew. */
	if (info->generation)
		same = info->generation != generation || info->ino == stat->ino;
	else
		/* A lower that was started anew may number its files anew. */
		same = S_ISDIR(stat->mode) || looks_same(BC_I(d_inode(dentry)), stat);
	spin_unlock(&info->lock);
	return same;
}

static u64 deadline_of(const struct bc_mount *mount)
{
	return get_jiffies_64() + msecs_to_jiffies(mount->options.deadline_ms);
}

/* Nobody goes through that twice, for one component after the other. */
static bool is_in_vain(const struct bc_mount *mount)
{
	return time_before64(get_jiffies_64(), READ_ONCE(mount->in_vain_until));
}

/* A known name was waited for, up to @timeout, with that result. A short wait says nothing. */
static void set_in_vain(struct bc_mount *mount, unsigned long timeout, int error)
{
	if (error == -ETIMEDOUT && timeout > msecs_to_jiffies(bc_patience_ms()))
		WRITE_ONCE(mount->in_vain_until, deadline_of(mount));
}

/* By when a walk over known names wants an answer. */
static u64 walk_deadline(const struct bc_mount *mount)
{
	if (is_in_vain(mount))
		return get_jiffies_64() + msecs_to_jiffies(bc_patience_ms());
	return deadline_of(mount);
}

static unsigned long until(u64 deadline)
{
	u64 now = get_jiffies_64();

	return time_before64(now, deadline) ? deadline - now : 0;
}

static int ask_lower(struct dentry *dentry, unsigned long timeout, bool (*known)(struct dentry *),
		     struct path *path, u64 *generation, struct kstat *stat)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	int error;

	if (!IS_ROOT(dentry))
		return bc_lower_lookup(dentry, timeout, known, path, generation, stat);
	bc_lower_root(mount, path, generation);
	error = bc_lower_getattr(mount, path, timeout, stat);
	if (error)
		path_put(path);
	return error;
}

/* There is no such file. */
static bool is_gone(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -ELOOP;
}

/* What it is, or was, is not for the mounter. */
static bool is_refused(int error)
{
	return error == -EACCES || error == -EPERM;
}

/* Return: 1 good; 0 the lower has another file or none; 2 it was changed here since; or errno. */
static int ask_once(struct dentry *dentry, unsigned long timeout, bool (*known)(struct dentry *))
{
	struct inode *inode = d_inode(dentry);
	int changes = atomic_read(&BC_I(inode)->changes);
	s64 asked_ns = ktime_get_boottime_ns();
	struct path path;
	struct kstat stat;
	u64 generation;
	int error;

	error = ask_lower(dentry, timeout, known, &path, &generation, &stat);
	if (error)
		return is_gone(error) ? 0 : error;
	error = same_file(dentry, &stat, generation);
	if (error && bc_visible_update(inode, &stat, asked_ns, &changes)) {
		bc_dentry_set_lower(dentry, &path, generation, &stat);
		bc_known_seen(dentry, inode);
	} else if (error) {
		error = 2;
	}
	path_put(&path);
	return error;
}

/* So often a lower is asked while others write; more than that is no chance. */
#define ASK_ROUNDS	8

/* Ask the lower again. Return: 1 good; 0 the lower has another file or none; or errno. */
static int ask_again(struct dentry *dentry, unsigned long timeout, bool (*known)(struct dentry *))
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	u32 rounds = ASK_ROUNDS;
	int error;

	do {
		error = ask_once(dentry, timeout, known);
		/* An answer from before a write would hide it; but for this one there is none. */
	} while (error == 2 && without_lower(dentry->d_fsdata) && --rounds);
	if (error == 2 && !rounds)
		return -EBUSY;
	if (!error)
		bc_known_gone(dentry);
	if (is_refused(error))
		bc_known_refused(dentry);
	set_in_vain(mount, timeout, error);
	return min(error, 1);
}

static bool is_known(struct dentry *dentry)
{
	return true;
}

/* Its permissions, as the VFS knows them. */
struct rights {
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
	unsigned int flags;
};

static void rights_of(struct inode *inode, struct rights *rights)
{
	struct bc_inode *visible = BC_I(inode);

	spin_lock(&visible->lock);
	rights->mode = inode->i_mode;
	rights->uid = inode->i_uid;
	rights->gid = inode->i_gid;
	rights->flags = inode->i_flags & (S_APPEND | S_IMMUTABLE);
	spin_unlock(&visible->lock);
}

static bool same_rights(const struct rights *a, const struct rights *b)
{
	return a->mode == b->mode && uid_eq(a->uid, b->uid) && gid_eq(a->gid, b->gid) &&
	       a->flags == b->flags;
}

/*
 * One that was found without the lower: what does it say? Waits until @deadline, in jiffies64.
 * Return: 0; 1 if there is none, or it has other rights than those that were checked; or errno.
 */
static int settle_one(struct dentry *dentry, u64 deadline)
{
	struct inode *inode = d_inode(dentry);
	struct rights before, now;
	int good;

	/* By its name another file would be found. */
	if (d_unhashed(dentry) && !IS_ROOT(dentry))
		return 1;
	rights_of(inode, &before);
	good = ask_again(dentry, until(deadline), is_known);
	if (good <= 0)
		return good ?: 1;
	rights_of(inode, &now);
	return !same_rights(&before, &now);
}

static bool has_unsettled(const struct dentry *dentry)
{
	bool unsettled = false;

	rcu_read_lock();
	while (!unsettled && !IS_ROOT(dentry)) {
		dentry = READ_ONCE(dentry->d_parent);
		unsettled = without_lower(dentry->d_fsdata);
	}
	rcu_read_unlock();
	return unsettled;
}

/* The same for all directories above. All are asked: a walk that is begun anew shall get by. */
static int settle_above(struct dentry *dentry, u64 deadline)
{
	struct dentry *at, *parent;
	int changed = 0, error = 0;

	if (!has_unsettled(dentry))
		return 0;
	for (at = dget(dentry); !IS_ROOT(at) && error >= 0; at = parent) {
		parent = dget_parent(at);
		dput(at);
		if (without_lower(parent->d_fsdata))
			error = settle_one(parent, deadline);
		changed |= error > 0;
	}
	dput(at);
	return changed ?: error;
}

static int settle(struct dentry *dentry, u64 deadline)
{
	int above = settle_above(dentry, deadline), error;

	if (above < 0 || !without_lower(dentry->d_fsdata))
		return above;
	/* Also if the walk is to begin anew: that does so once only. */
	error = settle_one(dentry, deadline);
	return above ?: error;
}

/**
 * bc_dentry_settle - before it is used: has the lower shown it, and all above?
 * @dentry: ours, positive
 *
 * What was found without the lower was let in by rights that may not be those of now. Killable,
 * bounded by the mount's deadline.
 * Return: 0; -ESTALE if rights are not those that were checked, so that the caller's walk begins
 * anew; or errno.
 */
int bc_dentry_settle(struct dentry *dentry)
{
	int error = settle(dentry, deadline_of(BC_M(dentry->d_sb)));

	return error > 0 ? -ESTALE : error;
}

/**
 * bc_dentry_settle_both - bc_dentry_settle(), for a rename
 * @a: ours, positive
 * @b: ours, may be negative
 *
 * Both by one deadline: other renames wait.
 */
int bc_dentry_settle_both(struct dentry *a, struct dentry *b)
{
	u64 deadline = deadline_of(BC_M(a->d_sb));
	int error = settle(a, deadline), error_b = 0;

	if (d_is_positive(b) && error >= 0)
		error_b = settle(b, deadline);
	if (error < 0 || error_b < 0)
		return min(error, error_b);
	return error || error_b ? -ESTALE : 0;
}

/**
 * bc_dentry_settle_open - before a file is opened to read it from the cache
 * @dentry: ours, positive
 *
 * Who has a descriptor opens it anew without a walk (/proc/self/fd). As bc_dentry_settle(), but a
 * lower that is not there is not needed.
 * Return: 0; -ESTALE if rights are not those that were checked; or errno.
 */
int bc_dentry_settle_open(struct dentry *dentry)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	int error;

	if (!without_lower(dentry->d_fsdata) || bc_lower_is_suspect(mount))
		return 0;
	error = settle(dentry, walk_deadline(mount));
	if (error > 0)
		return -ESTALE;
	return bc_lower_lost(error) ? 0 : error;
}

/* It was found without the lower. Return: as bc_dentry_refresh(). */
static int refresh_known(struct dentry *dentry)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	u64 deadline = walk_deadline(mount);
	int good = settle_above(dentry, deadline);

	if (good > 0)
		return -ESTALE;
	if (!good)
		good = ask_again(dentry, until(deadline), is_known);
	return bc_lower_lost(good) ? 1 : good;
}

/**
 * bc_dentry_refresh - ask the lower again, if the dentry is too old
 * @dentry: ours, positive
 * @force: ask in any case
 *
 * Killable, waits at most patience_ms, and not at all for a suspect lower. For one that was found
 * without the lower: at most the mount's deadline, or until the lower is suspect.
 * Return: 1 good; 0 the lower has another file or none; or -ENOMEM, -EINTR, -EACCES ...
 */
int bc_dentry_refresh(struct dentry *dentry, bool force)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	int good;

	if (bc_lower_is_suspect(mount) || (!force && is_fresh(mount, dentry->d_fsdata)))
		return 1;
	if (without_lower(dentry->d_fsdata))
		return refresh_known(dentry);
	good = ask_again(dentry, msecs_to_jiffies(bc_patience_ms()), NULL);
	/* No such error says anything of the file. */
	return bc_lower_lost(good) ? 1 : good;
}

/**
 * bc_dentry_refresh_open - bc_dentry_refresh(), for who has it open already
 * @dentry: ours, positive
 * @force: ask in any case
 *
 * What rights there are now, or whether it is slow, is no concern of his: he gets what is known.
 */
int bc_dentry_refresh_open(struct dentry *dentry, bool force)
{
	int good;

	if (!without_lower(dentry->d_fsdata))
		return bc_dentry_refresh(dentry, force);
	if (bc_lower_is_suspect(BC_M(dentry->d_sb)))
		return 1;
	/* That this one is slow says nothing of the lower. */
	good = ask_again(dentry, msecs_to_jiffies(bc_patience_ms()), is_known);
	return bc_lower_lost(good) ? 1 : good;
}

/* There is none, or of another lower than there is now. Return: as bc_dentry_lower(). */
static int find_lower(struct dentry *dentry)
{
	int good;

	/* By its name another file would be found. */
	if (d_unhashed(dentry) && !IS_ROOT(dentry))
		return -ESTALE;
	if (without_lower(dentry->d_fsdata))
		return bc_dentry_settle(dentry);
	good = bc_dentry_refresh(dentry, true);
	if (good > 0)
		return 0;
	return good ?: -ESTALE;
}

/**
 * bc_dentry_lower - the lower file of a dentry, for a call of the lower
 * @dentry: ours, positive
 * @lower: out, with references
 * @generation: out: of the lower that it is in; may be NULL
 *
 * Killable, waits at most patience_ms, or as bc_dentry_settle() if it was found without a lower.
 * Return: 0, -ESTALE if there is none, -EIO or -ETIMEDOUT if there was never an answer, or as
 * bc_dentry_refresh() or bc_dentry_settle().
 */
int bc_dentry_lower(struct dentry *dentry, struct path *lower, u64 *generation)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct bc_dentry *info = dentry->d_fsdata;
	int error;

	if (READ_ONCE(info->generation) != READ_ONCE(mount->lower_generation)) {
		error = find_lower(dentry);
		if (error)
			return error;
	}
	spin_lock(&info->lock);
	*lower = info->lower;
	if (generation)
		*generation = info->generation;
	path_get(lower);
	spin_unlock(&info->lock);
	if (lower->dentry)
		return 0;
	path_put(lower);
	return without_lower(info) ? -EIO : -ESTALE;
}

/* Of a directory that is another by now nothing is known that nobody can be asked about. */
static bool is_still_known(const struct bc_mount *mount, const struct dentry *dentry)
{
	const struct bc_dentry *info = dentry->d_fsdata;

	return !without_lower(info) || !bc_lower_is_suspect(mount) ||
	       bc_known_still(dentry, READ_ONCE(info->view));
}

/* A dirty file's names change by us alone. Also in RCU mode. */
static bool is_dirty(const struct dentry *dentry)
{
	const struct inode *inode = d_inode_rcu(dentry);

	return inode && bc_back_of(inode);
}

static int dentry_revalidate(BC_D_REVALIDATE_PARAMETERS)
{
	struct bc_mount *mount = BC_M(dentry->d_sb);
	struct bc_dentry *info = dentry->d_fsdata;

	if (d_is_negative(dentry))
		return flags & LOOKUP_RCU ? -ECHILD : 0;
	/* Nobody else knows of it. */
	if (is_dirty(dentry))
		return 1;
	if (READ_ONCE(info->renames) != atomic64_read(&mount->renames)) {
		if (flags & LOOKUP_RCU)
			return -ECHILD;
		if (!bc_dentry_in_place(dentry))
			return 0;
	}
	if (!is_still_known(mount, dentry))
		return flags & LOOKUP_RCU ? -ECHILD : 0;
	if (!(flags & LOOKUP_REVAL) && is_fresh(mount, info))
		return 1;
	return flags & LOOKUP_RCU ? -ECHILD : bc_dentry_refresh(dentry, flags & LOOKUP_REVAL);
}

static int dentry_delete(const struct dentry *dentry)
{
	return d_is_negative(dentry);
}

static int dentry_init(struct dentry *dentry)
{
	struct bc_dentry *info = kzalloc(sizeof(*info), GFP_KERNEL_ACCOUNT);

	if (!info)
		return -ENOMEM;
	spin_lock_init(&info->lock);
	info->renames = atomic64_read(&BC_M(dentry->d_sb)->renames);
	dentry->d_fsdata = info;
	return 0;
}

static void dentry_release(struct dentry *dentry)
{
	struct bc_dentry *info = dentry->d_fsdata;

	path_put(&info->lower);
	/* A walk in RCU mode may be looking at the times. */
	kfree_rcu(info, rcu);
}

const struct dentry_operations bc_dentry_operations = {
	.d_revalidate = dentry_revalidate,
	.d_delete = dentry_delete,
	.d_init = dentry_init,
	.d_release = dentry_release,
};

/**
 * bc_dentry_inode - the visible inode for a dentry
 * @dentry: ours
 * @stat: what the lower says of it
 * @asked_ns: boot clock before it was asked
 *
 * Return: inode with a reference, or ERR_PTR.
 */
struct inode *bc_dentry_inode(struct dentry *dentry, const struct kstat *stat, s64 asked_ns)
{
	char *path = bc_dentry_volume_path(dentry);
	struct inode *inode;

	if (IS_ERR(path))
		return ERR_CAST(path);
	if (strlen(path) > BC_NL_PATH_MAX)
		inode = ERR_PTR(-ENAMETOOLONG);
	else
		inode = bc_visible_get(dentry->d_sb, path, stat, asked_ns);
	kfree(path);
	return inode;
}

/* The lower is not there. Until it is, the dentry stays without. @error: what it said */
static struct dentry *lookup_known(struct dentry *dentry, int error)
{
	struct bc_dentry *info = dentry->d_fsdata;
	struct bc_known known;

	if (!bc_known_find(dentry, &known))
		return ERR_PTR(error);
	spin_lock(&info->lock);
	info->ino = known.stat.ino;
	info->nonce = known.nonce;
	info->nonce_ns = ktime_get_boottime_ns();
	info->view = known.view;
	spin_unlock(&info->lock);
	return d_splice_alias(bc_dentry_inode(dentry, &known.stat, known.asked_ns), dentry);
}

static struct dentry *lookup_failed(struct dentry *dentry, unsigned int flags, int error)
{
	if (is_gone(error))
		bc_known_gone(dentry);
	if (is_refused(error))
		bc_known_refused(dentry);
	if (error == -ENOENT)
		return d_splice_alias(NULL, dentry);
	/* It has lost its place in the lower, if that is there: the walk begins anew, and asks. */
	if (error == -ESTALE && !(flags & LOOKUP_REVAL) &&
	    !bc_lower_is_suspect(BC_M(dentry->d_sb)))
		return ERR_PTR(error);
	return bc_lower_lost(error) ? lookup_known(dentry, error) : ERR_PTR(error);
}

/* What those above it have left; enough to tell whether the lower is there, in any case. */
static unsigned long name_timeout(struct dentry *dentry, u64 deadline)
{
	const struct bc_mount *mount = BC_M(dentry->d_sb);
	u64 least = min_t(u64, bc_patience_ms(), mount->options.deadline_ms);

	if (is_in_vain(mount) && bc_known_exists(dentry))
		return msecs_to_jiffies(least);
	return max(until(deadline), msecs_to_jiffies(least));
}

/* A directory that dirty files need, and the lower has lost or never had, is made anew. */
static int lookup_lower(struct dentry *dentry, unsigned long timeout, struct path *lower,
			u64 *generation, struct kstat *stat)
{
	int error = bc_lower_lookup(dentry, timeout, bc_known_exists, lower, generation, stat);

	if (error != -ENOENT || !bc_back_below(dentry))
		return error;
	error = bc_lower_make_dir(dentry);
	return error ?: bc_lower_lookup(dentry, timeout, bc_known_exists, lower, generation, stat);
}

/**
 * bc_lookup - inode_operations.lookup
 * @dir: directory
 * @dentry: new
 * @flags: LOOKUP_*
 */
struct dentry *bc_lookup(struct inode *dir, struct dentry *dentry, unsigned int flags)
{
	struct bc_mount *mount = BC_M(dir->i_sb);
	u64 deadline = deadline_of(mount);
	unsigned long timeout;
	struct dentry *found;
	struct inode *inode;
	struct path lower;
	struct kstat stat;
	u64 generation;
	s64 asked_ns;
	int error;

	if (dentry->d_name.len > NAME_MAX)
		return ERR_PTR(-ENAMETOOLONG);
	if (bc_is_back(dir->i_sb)) {
		inode = bc_back_lookup(dentry);
		if (inode)
			return d_splice_alias(inode, dentry);
	}
	error = settle_above(dentry, walk_deadline(mount));
	/* The walk came here by rights that are not those of now. */
	if (error > 0)
		return ERR_PTR(-ESTALE);
	asked_ns = ktime_get_boottime_ns();
	timeout = name_timeout(dentry, deadline);
	if (!error)
		error = lookup_lower(dentry, timeout, &lower, &generation, &stat);
	if (error && bc_known_exists(dentry))
		set_in_vain(mount, timeout, error);
	if (error)
		return lookup_failed(dentry, flags, error);
	inode = bc_dentry_inode(dentry, &stat, asked_ns);
	bc_dentry_set_lower(dentry, &lower, generation, &stat);
	found = d_splice_alias(inode, dentry);
	/* A directory that was here under another dentry. */
	if (!IS_ERR_OR_NULL(found))
		bc_dentry_set_lower(found, &lower, generation, &stat);
	path_put(&lower);
	if (!IS_ERR(found))
		bc_known_seen(found ?: dentry, d_inode(found ?: dentry));
	return found;
}

const struct inode_operations bc_dir_inode_operations = {
	.lookup = bc_lookup,
	.getattr = bc_getattr,
	.setattr = bc_setattr,
};

static const char *get_link(struct dentry *dentry, struct inode *inode, struct delayed_call *done)
{
	struct path lower;
	char *text;
	int error;

	if (!dentry)
		return ERR_PTR(-ECHILD);
	error = bc_dentry_lower(dentry, &lower, NULL);
	if (error)
		return ERR_PTR(error);
	text = bc_lower_readlink(BC_M(inode->i_sb), &lower);
	path_put(&lower);
	if (!IS_ERR(text))
		set_delayed_call(done, kfree_link, text);
	return text;
}

const struct inode_operations bc_symlink_inode_operations = {
	.get_link = get_link,
	.getattr = bc_getattr,
	.setattr = bc_setattr,
};

/*
 * An open directory. A reader that gave up leaves a worker with the lower file,
 * which then nobody else may use.
 */
struct open_dir {
	struct file *lower;
	struct bc_back_listing *listing;	/* if it had dirty files; f_pos_lock */
	bool abandoned;
};

static int dir_open(struct inode *inode, struct file *file)
{
	struct open_dir *dir = kzalloc(sizeof(*dir), GFP_KERNEL);
	struct path lower;
	int error;

	if (!dir)
		return -ENOMEM;
	error = bc_dentry_lower(file_dentry(file), &lower, NULL);
	if (!error) {
		error = bc_lower_open(BC_M(inode->i_sb), &lower, O_RDONLY | O_DIRECTORY,
				      &dir->lower);
		path_put(&lower);
	}
	if (error) {
		kfree(dir);
		return error;
	}
	file->private_data = dir;
	return 0;
}

static int dir_release(struct inode *inode, struct file *file)
{
	struct open_dir *dir = file->private_data;

	bc_back_listing_free(dir->listing);
	fput(dir->lower);
	kfree(dir);
	return 0;
}

/* From the beginning, look anew whether it has dirty files. Return: 1 if so, 0, or errno. */
static int take_listing(struct file *file, loff_t pos)
{
	struct open_dir *dir = file->private_data;
	struct bc_back_listing *listing;

	if (pos || !bc_is_back(file_inode(file)->i_sb))
		return !!dir->listing;
	bc_back_listing_free(dir->listing);
	dir->listing = NULL;
	listing = bc_back_list(file, dir->lower);
	if (IS_ERR(listing)) {
		if (PTR_ERR(listing) == -EINTR || PTR_ERR(listing) == -ETIMEDOUT)
			dir->abandoned = true;
		return PTR_ERR(listing);
	}
	dir->listing = listing;
	return !!listing;
}

/* As many as the reader has room for; ctx->pos then is where to go on. */
static void emit(struct dir_context *ctx, const struct bc_dirents *dirents)
{
	const struct bc_dirent *dirent;
	u32 at = 0;

	for (; at < dirents->used; at += ALIGN(sizeof(*dirent) + dirent->length, 8)) {
		dirent = (const struct bc_dirent *)(dirents->entries + at);
		ctx->pos = dirent->pos;
		if (!dir_emit(ctx, dirent->name, dirent->length, dirent->ino, dirent->type))
			return;
	}
	ctx->pos = dirents->pos;
}

static int dir_iterate(struct file *file, struct dir_context *ctx)
{
	struct bc_mount *mount = BC_M(file_inode(file)->i_sb);
	struct open_dir *dir = file->private_data;
	struct bc_dirents dirents;
	int error;

	if (dir->abandoned)
		return -EIO;
	error = take_listing(file, ctx->pos);
	if (error < 0)
		return error;
	if (error) {
		bc_back_emit(dir->listing, ctx);
		return 0;
	}
	dirents.pos = ctx->pos;
	error = bc_lower_readdir(mount, dir->lower, &dirents);
	if (!error) {
		/*
		 * No more than the lower gave at once, though there may be room: what becomes of
		 * these names before the next call tells FUSE whether to get attributes with names.
		 */
		emit(ctx, &dirents);
		kvfree(dirents.entries);
	} else if (error == -EINTR || error == -ETIMEDOUT) {
		dir->abandoned = true;
	}
	return error;
}

/* Positions are the lower's, whatever they mean. */
static loff_t dir_llseek(struct file *file, loff_t offset, int whence)
{
	if (whence == SEEK_CUR)
		offset += file->f_pos;
	else if (whence != SEEK_SET)
		return -EINVAL;
	if (offset < 0)
		return -EINVAL;
	file->f_pos = offset;
	return offset;
}

/* Names that were changed are the lower's to make durable. */
static int dir_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct bc_mount *mount = BC_M(file_inode(file)->i_sb);
	struct open_dir *dir = file->private_data;
	const struct cred *old;
	int error = 0, lower;

	if (!test_bit(BC_MOUNT_WRITABLE, &mount->flags))
		return 0;
	if (bc_is_back(file_inode(file)->i_sb))
		error = bc_back_sync_dir(file_dentry(file));
	old = override_creds(mount->creds);
	lower = vfs_fsync_range(dir->lower, start, end, datasync);
	revert_creds(old);
	return error ?: lower;
}

const struct file_operations bc_dir_operations = {
	.owner = THIS_MODULE,
	.open = dir_open,
	.release = dir_release,
	.llseek = dir_llseek,
	.read = generic_read_dir,
	.iterate_shared = dir_iterate,
	.fsync = dir_fsync,
};
