// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which version of a path an open file reads. See docs/consistency.md.
 *
 * The identity table says what the store had when last asked. Open asks again
 * when that is too old, or when the lower shows that something happened; if
 * nobody answers, the old answer is good for as long as the mount says.
 */
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "fs.h"
#include "key.h"

static unsigned int settle_ms = 30000;
module_param(settle_ms, uint, 0644);
MODULE_PARM_DESC(settle_ms,
		 "how long a lower file must stay the same after it changed, if its times tell nothing");

static bool settled(s64 moved_ns, s64 now, u32 times)
{
	return now - moved_ns >= (s64)READ_ONCE(settle_ms) * NSEC_PER_MSEC * times;
}

/* When a path was written, in seconds since the epoch; at 0 = it was not. */
struct span {
	s64 from, at;
};

static struct span moment(s64 at)
{
	return (struct span){ .from = at, .at = at };
}

struct choice {
	bool past;			/* read the lower file itself; then nothing else counts */
	enum bc_inode_kind kind;	/* UNBOUND, UNBOUND_LOWER or STORE */
	struct bc_key key;		/* of STORE */
	struct bc_version version;	/* of STORE */
};

static void attr_of(struct bc_inode *visible, struct bc_lower_attr *attr)
{
	spin_lock(&visible->lock);
	*attr = visible->attr;
	spin_unlock(&visible->lock);
}

static bool find_identity(struct bc_inode *visible, struct bc_identity *id)
{
	struct bc_mount *mount = BC_M(visible->vfs.i_sb);

	return bc_identity_find(bc_client_volume_id(mount->client), &visible->key, id) &&
	       id->kind == BC_IDENTITY_FILE;
}

static void set_version(struct bc_identity *id, const struct bc_version *version)
{
	id->kind = BC_IDENTITY_FILE;
	memcpy(id->etag, version->etag, sizeof(id->etag));
	id->etag_length = version->etag_length;
	id->size = version->size;
	id->last_modified = version->last_modified;
	id->resolved_ns = version->asked_ns;
	id->flags = 0;
	id->moved_ns = 0;
	id->written_at = 0;
	id->written_from = 0;
}

static void store(const struct bc_identity *id)
{
	unsigned int nofs = memalloc_nofs_save();

	/* Without memory nothing is known of the path, but marks: that is slower, not wrong. */
	if (bc_identity_store(id))
		bc_identity_forget_asked(&id->volume, &id->path, id->resolved_ns);
	memalloc_nofs_restore(nofs);
}

/**
 * bc_version_bound - record the version that an object was bound to
 * @source: of the object
 * @version: of the store
 * @key: of the version
 */
void bc_version_bound(struct bc_source *source, const struct bc_version *version,
		      const struct bc_key *key)
{
	struct bc_identity id = {
		.volume = *bc_client_volume_id(source->mount->client),
		.path = source->path_hash,
		.key = *key,
		.lower = source->attr,
	};

	set_version(&id, version);
	if (id.lower.size != id.size)
		id.flags = BC_IDENTITY_LOWER_BEHIND;
	store(&id);
}

/**
 * bc_version_committed - record the version that a file became that was written back here
 * @mount: mount
 * @path: name in the volume
 * @stat: what the lower shows by that name
 * @version: of the store
 */
void bc_version_committed(struct bc_mount *mount, const char *path, const struct kstat *stat,
			  const struct bc_version *version)
{
	const struct bc_key *volume = bc_client_volume_id(mount->client);
	struct bc_identity id = { .volume = *volume };

	bc_key_path(volume, path, strlen(path), &id.path);
	bc_key_version(volume, path, strlen(path), version->etag, version->etag_length, &id.key);
	bc_lower_attr_of(stat, &id.lower);
	set_version(&id, version);
	store(&id);
}

/**
 * bc_version_shown - the size and time that stat shows, where they are not the lower's
 * @visible: of a regular file
 * @size: out
 * @mtime: out, unless the lower keeps its own
 *
 * Return: false if the lower's are right; then nothing is changed.
 */
bool bc_version_shown(struct bc_inode *visible, u64 *size, struct timespec64 *mtime)
{
	struct bc_mount *mount = BC_M(visible->vfs.i_sb);
	struct bc_lower_attr attr;
	struct bc_identity id;

	if (READ_ONCE(visible->detached) || !find_identity(visible, &id) ||
	    id.flags & BC_IDENTITY_WRITTEN)
		return false;
	attr_of(visible, &attr);
	if (mount->options.consistency != BC_CONSISTENCY_IMMUTABLE &&
	    bc_lower_attr_moved(&id.lower, &attr))
		return false;
	*size = id.size;
	if (id.flags & BC_IDENTITY_LOWER_BEHIND) {
		mtime->tv_sec = id.last_modified;
		mtime->tv_nsec = 0;
	} else {
		mtime->tv_sec = attr.mtime;
		mtime->tv_nsec = attr.mtime_nsec;
	}
	return true;
}

/*
 * A daemon that does not answer in time is asked again by one worker, for the
 * path it did not answer, until it does.
 */
static void resolve_suspect(struct bc_mount *mount, const char *path)
{
	char *copy;

	if (test_bit(BC_MOUNT_RESOLVE_SUSPECT, &mount->flags))
		return;
	copy = kstrdup(path, GFP_KERNEL);
	if (!copy)
		return;
	spin_lock(&mount->lower_lock);
	if (!test_bit(BC_MOUNT_DEAD, &mount->flags) &&
	    !test_and_set_bit(BC_MOUNT_RESOLVE_SUSPECT, &mount->flags)) {
		swap(mount->resolve_path, copy);
		bc_mount_get(mount);
		if (!schedule_delayed_work(&mount->resolve_probe,
					   msecs_to_jiffies(BC_PROBE_EVERY_MS)))
			refcount_dec(&mount->refs);
	}
	spin_unlock(&mount->lower_lock);
	kfree(copy);
}

/* mount->resolve_probe. The superblock's end cancels it, and then waits for it. */
void bc_resolve_probe_work(struct work_struct *work)
{
	struct bc_mount *mount = container_of(to_delayed_work(work), struct bc_mount,
					      resolve_probe);
	struct bc_version version;
	int error;

	/* The path is not replaced while the bit is set. */
	error = bc_resolve(mount->client, mount->resolve_path, bc_patience_ms(), &version);
	if (error == -ETIMEDOUT && !test_bit(BC_MOUNT_DEAD, &mount->flags) &&
	    schedule_delayed_work(&mount->resolve_probe, msecs_to_jiffies(BC_PROBE_EVERY_MS)))
		return;
	clear_bit(BC_MOUNT_RESOLVE_SUSPECT, &mount->flags);
	bc_mount_put(mount);
}

static int resolve(struct bc_mount *mount, const char *path, struct bc_version *version)
{
	bool strict = mount->options.consistency == BC_CONSISTENCY_STRICT;
	s64 now = ktime_get_boottime_ns();
	int error;

	if (!bc_daemon_alive())
		return -ENOTCONN;
	if (test_bit(BC_MOUNT_RESOLVE_SUSPECT, &mount->flags))
		return -ETIMEDOUT;
	error = bc_resolve(mount->client, path, bc_patience_ms(), version);
	/* Somebody had asked already: who must know what is there now asks after that. */
	if (strict && (!error || error == -ENOENT) && version->asked_ns < now)
		error = bc_resolve(mount->client, path, bc_patience_ms(), version);
	if (error == -ETIMEDOUT)
		resolve_suspect(mount, path);
	return error;
}

static void choose_store(const struct bc_identity *id, struct choice *choice)
{
	choice->kind = BC_INODE_STORE;
	choice->key = id->key;
	memset(&choice->version, 0, sizeof(choice->version));
	choice->version.size = id->size;
	choice->version.last_modified = id->last_modified;
	choice->version.etag_length = id->etag_length;
	memcpy(choice->version.etag, id->etag, id->etag_length);
}

/*
 * The lower moved since the version was recorded, and the store still has that
 * version. Either the lower came to show it only now, or a write is on its way
 * to the store.
 */
static bool lower_settled(const struct bc_identity *id, const struct bc_lower_attr *attr, s64 now)
{
	if (attr->size != id->size)
		return false;
	if (id->flags & BC_IDENTITY_LOWER_BEHIND || attr->mtime == id->last_modified)
		return true;
	return id->moved_ns && !bc_lower_attr_moved(&id->moved, attr) &&
	       settled(id->moved_ns, now, 1);
}

static bool same_version(const struct bc_identity *id, const struct bc_version *version)
{
	return id->size == version->size && id->etag_length == version->etag_length &&
	       !memcmp(id->etag, version->etag, id->etag_length);
}

/* The store has the same version as before. */
static void take_same(struct bc_inode *visible, struct bc_identity *id,
		      const struct bc_lower_attr *attr, s64 asked_ns, struct choice *choice)
{
	struct bc_mount *mount = BC_M(visible->vfs.i_sb);
	/* The lower was looked at after that, perhaps: its times do not count from the question. */
	s64 now = ktime_get_boottime_ns();
	bool moved = mount->options.consistency != BC_CONSISTENCY_IMMUTABLE &&
		     bc_lower_attr_moved(&id->lower, attr);

	id->resolved_ns = asked_ns;
	if (moved && !lower_settled(id, attr, now)) {
		if (!id->moved_ns || bc_lower_attr_moved(&id->moved, attr)) {
			id->moved = *attr;
			id->moved_ns = now;
		}
		choice->kind = BC_INODE_UNBOUND_LOWER;
	} else {
		if (moved) {
			id->flags = 0;
			id->moved_ns = 0;
			id->lower = *attr;
		}
		choose_store(id, choice);
	}
	store(id);
}

/* The store has answered. */
static void take_answer(struct bc_inode *visible, struct bc_identity *id,
			const struct bc_lower_attr *attr, const struct bc_version *version,
			struct choice *choice)
{
	bool behind;

	if (same_version(id, version)) {
		take_same(visible, id, attr, version->asked_ns, choice);
		return;
	}
	/* The store wins, whatever the lower shows: lowers cache attributes for minutes. */
	behind = !bc_lower_attr_moved(&id->lower, attr) || attr->size != version->size;
	set_version(id, version);
	if (behind)
		id->flags = BC_IDENTITY_LOWER_BEHIND;
	id->lower = *attr;
	bc_key_version(&id->volume, visible->path, strlen(visible->path), version->etag,
		       version->etag_length, &id->key);
	store(id);
	choose_store(id, choice);
}

/* @id is nothing yet. */
static void name_identity(struct bc_inode *visible, struct bc_identity *id)
{
	memset(id, 0, sizeof(*id));
	id->volume = *bc_client_volume_id(BC_M(visible->vfs.i_sb)->client);
	id->path = visible->key;
	id->kind = BC_IDENTITY_FILE;
}

/* When the lower changed, by what it says itself: by a mapping, or past the mount. */
static s64 changed_at(const struct bc_lower_attr *attr)
{
	return min_t(s64, max(attr->mtime, attr->ctime), ktime_get_real_seconds());
}

/*
 * The lower file was written through this node, or is another file than it was. With
 * @written.at 0 somebody opens or closes it for writing: what a mapping wrote since the last mark
 * must not be taken for what was there then. If nothing is marked as written there is no mapping:
 * to close a file that was mapped is a write.
 */
static int mark_written(struct bc_inode *visible, const struct bc_key *path, struct span written)
{
	struct bc_identity mark, was;

	name_identity(visible, &mark);
	mark.path = *path;
	mark.flags = BC_IDENTITY_WRITTEN;
	mark.written_at = written.at;
	mark.written_from = written.from;
	attr_of(visible, &mark.moved);
	if (!written.at && bc_identity_find(&mark.volume, path, &was) &&
	    was.flags & BC_IDENTITY_WRITTEN && was.written_at &&
	    bc_lower_attr_moved(&was.moved, &mark.moved)) {
		mark.written_at = changed_at(&mark.moved);
		mark.written_from = mark.written_at;
	}
	mark.moved_ns = ktime_get_boottime_ns();
	mark.mark_ns = mark.moved_ns;
	return bc_identity_mark(&mark);
}

/**
 * bc_version_written - a writer of a path came or goes, through this mount
 * @dentry: regular file
 * @written_at: when it wrote last, in seconds since the epoch; 0 = not yet
 *
 * From now on opens read past the cache, until the store has what was written.
 * Return: 0 or -ENOMEM.
 */
int bc_version_written(struct dentry *dentry, s64 written_at)
{
	struct bc_inode *visible = BC_I(d_inode(dentry));
	struct bc_key key;
	char *path;

	if (bc_dentry_in_place(dentry))
		return mark_written(visible, &visible->key, moment(written_at));
	/* Renamed while it was open. What has no name any more is nobody's concern. */
	if (!visible->vfs.i_nlink)
		return 0;
	path = bc_dentry_volume_path(dentry);
	if (IS_ERR(path))
		return PTR_ERR(path);
	bc_key_path(bc_client_volume_id(BC_M(dentry->d_sb)->client), path, strlen(path), &key);
	kfree(path);
	return mark_written(visible, &key, moment(written_at));
}

/**
 * bc_version_forget - the path names this file no longer
 * @visible: inode
 */
void bc_version_forget(struct bc_inode *visible)
{
	bc_identity_forget(bc_client_volume_id(BC_M(visible->vfs.i_sb)->client), &visible->key);
}

/* The last rename of a directory above, here: the path may have named another file before. */
static struct bc_lost last_renamed_above(struct bc_inode *visible)
{
	const struct bc_key *volume = bc_client_volume_id(BC_M(visible->vfs.i_sb)->client);
	struct bc_lost last = bc_identity_lost(BC_IDENTITY_DIR);
	const char *slash = visible->path;
	struct bc_identity id;
	struct bc_key key;

	for (; (slash = strchr(slash, '/')); slash++) {
		bc_key_path(volume, visible->path, slash - visible->path, &key);
		if (!bc_identity_find(volume, &key, &id) || id.kind != BC_IDENTITY_DIR ||
		    !(id.flags & BC_IDENTITY_WRITTEN))
			continue;
		last.mark_ns = max(last.mark_ns, id.mark_ns);
		last.written_at = max(last.written_at, id.written_at);
		last.written_from = max(last.written_from, id.written_from);
	}
	return last;
}

/*
 * What a mapping wrote since then told nobody, but the lower shows it. A whole second is the
 * store's own time, perhaps: then a version of that second is it.
 */
static struct span written_since(struct bc_inode *visible, const struct bc_lost *last)
{
	struct bc_lower_attr attr;
	s64 mtime;

	attr_of(visible, &attr);
	mtime = attr.mtime_nsec ? attr.mtime : attr.mtime - 1;
	mtime = min_t(s64, mtime, ktime_get_real_seconds());
	return (struct span){
		.from = max(last->written_from, mtime),
		.at = max(last->written_at, mtime),
	};
}

/* Nothing is known of a path. Return: when it may have been written here last, or 0. */
static struct span unknown_written(struct bc_inode *visible)
{
	struct bc_lost last, files;

	if (!test_bit(BC_MOUNT_WRITABLE, &BC_M(visible->vfs.i_sb)->flags))
		return moment(0);
	last = last_renamed_above(visible);
	files = bc_identity_lost(BC_IDENTITY_FILE);
	last.written_at = max(last.written_at, files.written_at);
	last.written_from = max(last.written_from, files.written_from);
	return last.written_at ? written_since(visible, &last) : moment(0);
}

/* It was marked. Return: when it became another file since, by a rename above it; or 0. */
static struct span moved_since(struct bc_inode *visible, const struct bc_identity *mark)
{
	struct bc_lost last = last_renamed_above(visible);

	return last.mark_ns > mark->mark_ns ? written_since(visible, &last) : moment(0);
}

static void take_version(struct bc_identity *to, const struct bc_identity *from)
{
	memcpy(to->etag, from->etag, sizeof(to->etag));
	to->etag_length = from->etag_length;
	to->size = from->size;
}

/* Is the lower file the known version, though perhaps renamed? @attr: what it shows. */
static bool has_version(struct bc_inode *visible, const struct bc_identity *id,
			const struct bc_lower_attr *attr)
{
	if (!(id->flags & BC_IDENTITY_WRITTEN))
		return true;
	return id->flags & BC_IDENTITY_MOVED && !bc_lower_attr_moved(&id->moved, attr) &&
	       !moved_since(visible, id).at;
}

/*
 * The copy that a rename makes is of the very time of the rename, by the store's clock, in whole
 * seconds. If ours is ahead by less than this, it is known for what it is.
 */
#define CLOCKS_APART	1

/* It has happened: without memory for the mark, whatever is not known counts as written. */
static void mark_renamed(const struct bc_identity *id)
{
	if (bc_identity_store(id))
		bc_identity_lose_mark(id);
}

/**
 * bc_version_renamed - a path names another file now, by a rename through this mount
 * @mount: mount
 * @path: name in the volume, prefix included
 * @from: the file that was renamed; NULL = a directory: then so do all paths below
 * @since: seconds since the epoch when the lower was asked to; one that copies takes a while, and
 *	its copies are of that time
 */
void bc_version_renamed(struct bc_mount *mount, const char *path, struct bc_inode *from,
			s64 since)
{
	const struct bc_key *volume = bc_client_volume_id(mount->client);
	struct bc_identity id = {}, was;

	bc_key_path(volume, path, strlen(path), &id.path);
	id.volume = *volume;
	id.kind = from ? BC_IDENTITY_FILE : BC_IDENTITY_DIR;
	id.flags = BC_IDENTITY_WRITTEN;
	/* Which paths were below, the table does not know. */
	if (!from)
		bc_identity_forget_volume(volume);
	id.mark_ns = ktime_get_boottime_ns();
	id.moved_ns = id.mark_ns;
	id.written_at = ktime_get_real_seconds();
	id.written_from = min(since, id.written_at) - CLOCKS_APART;
	if (!from) {
		mark_renamed(&id);
		return;
	}
	attr_of(from, &id.moved);
	/* Known: what the store will have. Else what it has not any more. */
	if (find_identity(from, &was) && has_version(from, &was, &id.moved)) {
		id.flags |= BC_IDENTITY_MOVED;
		take_version(&id, &was);
	} else if (bc_identity_find(volume, &id.path, &was) && was.kind == BC_IDENTITY_FILE &&
		   !(was.flags & BC_IDENTITY_MOVED)) {
		take_version(&id, &was);
	}
	mark_renamed(&id);
}

/*
 * Has the store what was written? It may have an older version for as long as the
 * upload takes, and even several: one that is not what it had before, and was made
 * after the last write, is the last, if the lower agrees with its size. A file that
 * was renamed, and not written, may also keep its version.
 */
static bool upload_done(const struct bc_identity *id, const struct bc_lower_attr *attr,
			const struct bc_version *version, s64 now)
{
	if (version->size != attr->size)
		return false;
	if (same_version(id, version))
		return id->flags & BC_IDENTITY_MOVED;
	/* In the same second, before or after, or by the rename: no later one has come for long. */
	if (version->last_modified >= id->written_from && version->last_modified <= id->written_at)
		return settled(id->moved_ns, now, 10);
	if (version->last_modified > id->written_at)
		return true;
	/* The lower has taken the store's time, which is of whole seconds, for its own. */
	return version->last_modified == attr->mtime && !attr->mtime_nsec;
}

/*
 * Written here, and nobody has it open for writing now. Who wrote by a mapping told nobody:
 * the lower must be asked whether it moved.
 */
static int decide_written(struct dentry *dentry, struct bc_identity *id, struct choice *choice)
{
	struct bc_inode *visible = BC_I(d_inode(dentry));
	s64 now = ktime_get_boottime_ns();
	struct bc_version version;
	struct bc_lower_attr attr;
	int error;

	choice->past = true;
	error = bc_dentry_refresh(dentry, true);
	if (error <= 0)
		return error;
	attr_of(visible, &attr);
	if (!id->written_at) {
		/* Its writers wrote nothing, nor mapped it: if the lower moved, others did that. */
		bc_identity_unmark(id);
		choice->past = false;
		return 0;
	}
	if (bc_lower_attr_moved(&id->moved, &attr))
		return mark_written(visible, &visible->key, moment(changed_at(&attr)));
	if (!settled(id->moved_ns, now, 1))
		return 0;
	error = resolve(BC_M(visible->vfs.i_sb), visible->path, &version);
	if (error)
		return error == -EINTR ? error : 0;
	if (!upload_done(id, &attr, &version, now))
		return 0;
	set_version(id, &version);
	id->lower = attr;
	bc_key_version(&id->volume, visible->path, strlen(visible->path), version.etag,
		       version.etag_length, &id->key);
	store(id);
	choose_store(id, choice);
	choice->past = false;
	return 0;
}

static bool is_fresh(struct bc_mount *mount, const struct bc_identity *id,
		     const struct bc_lower_attr *attr, s64 age)
{
	switch (mount->options.consistency) {
	case BC_CONSISTENCY_IMMUTABLE:
		return true;
	case BC_CONSISTENCY_STRICT:
		return false;
	default:
		return age < (s64)(mount->options.ttl_ms * NSEC_PER_MSEC) &&
		       !bc_lower_attr_moved(&id->lower, attr);
	}
}

/* Nobody said what the store has now. May the old answer do? */
static bool is_usable(struct bc_mount *mount, const struct bc_identity *id,
		      const struct bc_lower_attr *attr, s64 age)
{
	if (mount->options.consistency == BC_CONSISTENCY_IMMUTABLE)
		return true;
	if (mount->options.consistency == BC_CONSISTENCY_STRICT ||
	    bc_lower_attr_moved(&id->lower, attr))
		return false;
	return mount->options.stale_ms == BC_STALE_FOREVER ||
	       age < (s64)(mount->options.stale_ms * NSEC_PER_MSEC);
}

static int decide(struct dentry *dentry, bool again, struct choice *choice)
{
	struct bc_inode *visible = BC_I(d_inode(dentry));
	struct bc_mount *mount = BC_M(visible->vfs.i_sb);
	struct bc_lower_attr attr;
	struct bc_identity id;
	struct bc_version version;
	struct span written;
	s64 age;
	int error;

	choice->past = false;
	choice->kind = BC_INODE_UNBOUND;
	if (!find_identity(visible, &id)) {
		written = unknown_written(visible);
		choice->past = written.at;
		return written.at ? mark_written(visible, &visible->key, written) : 0;
	}
	if (id.flags & BC_IDENTITY_WRITTEN) {
		written = moved_since(visible, &id);
		choice->past = written.at;
		if (written.at)
			return mark_written(visible, &visible->key, written);
		error = decide_written(dentry, &id, choice);
		if (error || choice->past || choice->kind == BC_INODE_STORE ||
		    !find_identity(visible, &id))
			return error;
		/* Somebody else wrote just now. */
		choice->past = id.flags & BC_IDENTITY_WRITTEN;
		if (choice->past)
			return 0;
	}
	attr_of(visible, &attr);
	age = ktime_get_boottime_ns() - id.resolved_ns;
	if (!again && is_fresh(mount, &id, &attr, age)) {
		choose_store(&id, choice);
		return 0;
	}

	error = resolve(mount, visible->path, &version);
	switch (error) {
	case 0:
		if (find_identity(visible, &id)) {
			/* Somebody wrote meanwhile: the store may not have it yet. */
			choice->past = id.flags & BC_IDENTITY_WRITTEN;
			if (choice->past)
				return 0;
			/* Somebody asked later and was answered before. */
			if (id.resolved_ns > version.asked_ns &&
			    !bc_lower_attr_moved(&id.lower, &attr)) {
				choose_store(&id, choice);
				return 0;
			}
		} else {
			name_identity(visible, &id);
		}
		take_answer(visible, &id, &attr, &version, choice);
		return 0;
	case -ENOENT:
		/*
		 * Gone from the store, while the lower shows it still or already:
		 * not known which, and its bytes are what an open gets without us.
		 */
		bc_identity_forget_asked(&id.volume, &id.path, version.asked_ns);
		choice->kind = BC_INODE_UNBOUND_LOWER;
		return 0;
	case -EOPNOTSUPP:
		choice->kind = BC_INODE_UNBOUND_LOWER;
		return 0;
	case -EACCES:
	case -EINTR:
		return error;
	}
	/* Else unbound: its first read waits, fails or goes to the lower, as the mount says. */
	if (is_usable(mount, &id, &attr, age)) {
		atomic64_inc(&mount->stale_opens);
		choose_store(&id, choice);
	}
	return 0;
}

/* Lower bytes that are in the page cache, of what the lower shows now. */
static struct inode *find_lower(struct bc_inode *visible)
{
	struct bc_mount *mount = BC_M(visible->vfs.i_sb);
	struct bc_lower_attr attr;
	struct bc_version version;
	struct inode *mapping;
	struct bc_key key;

	attr_of(visible, &attr);
	bc_lower_version(&attr, &version);
	bc_key_version(bc_client_volume_id(mount->client), visible->path, strlen(visible->path),
		       version.etag, version.etag_length, &key);
	mapping = bc_mapping_find(visible->vfs.i_sb, BC_INODE_LOWER, &key);
	/* The lower failed it once; who opens now gets one that knows nothing of that. */
	if (mapping && READ_ONCE(BC_I(mapping)->gone)) {
		remove_inode_hash(mapping);
		iput(mapping);
		mapping = NULL;
	}
	return mapping;
}

static struct inode *get_unbound(struct bc_inode *visible, enum bc_inode_kind kind)
{
	struct inode *mapping = NULL;

	/* Lower bytes do not count any more once the store answers. */
	if (kind == BC_INODE_UNBOUND_LOWER || !bc_daemon_alive())
		mapping = find_lower(visible);
	return mapping ?: bc_mapping_get(visible, kind, &visible->key, NULL);
}

/**
 * bc_version_choose - choose the version that an open file reads
 * @dentry: of a regular file, its attributes having been revalidated
 *
 * Killable; waits for the daemon at most patience_ms.
 * Return: mapping inode with a reference, NULL if the lower file itself is to be read, or ERR_PTR.
 */
struct inode *bc_version_choose(struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry), *mapping = NULL;
	struct bc_inode *visible = BC_I(inode);
	int changes = atomic_read(&visible->changes);
	struct bc_identity id;
	bool again = false;
	struct choice choice;
	int tries, error;

	for (tries = 0; tries < 4; tries++) {
		if (mapping)
			iput(mapping);
		error = decide(dentry, again, &choice);
		if (error)
			return ERR_PTR(error);
		if (choice.past)
			return NULL;
		if (choice.kind != BC_INODE_STORE) {
			mapping = get_unbound(visible, choice.kind);
			/* Bound while we looked: then all readers share what that bound. */
			if (IS_ERR(mapping) || choice.kind != BC_INODE_UNBOUND ||
			    BC_I(mapping)->kind != BC_INODE_UNBOUND || again ||
			    !find_identity(visible, &id))
				return mapping;
			continue;
		}
		bc_visible_set_size(inode, choice.version.size, &changes);
		mapping = bc_mapping_get(visible, BC_INODE_STORE, &choice.key, &choice.version);
		if (IS_ERR(mapping) || !READ_ONCE(BC_I(mapping)->gone))
			return mapping;
		/*
		 * The store said that it has this version no longer, since we asked
		 * last. If it says now that it does, an object that knows nothing of
		 * that is needed.
		 */
		if (again)
			remove_inode_hash(mapping);
		again = true;
	}
	return mapping;
}
