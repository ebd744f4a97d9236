/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filesystem front end: over a lower directory, read through the engine.
 *
 * A path has one visible inode, which the dentry points to and which carries
 * what the lower says of it. Bytes live in hidden mapping inodes, one per
 * version; ->open() chooses one and points file->f_mapping to it, for good.
 *
 * Everything that calls the lower does so in a worker (call.h), for which the
 * caller waits killably and not for ever; the exceptions are what changes it
 * (modify.c, write.c) and reads past the cache. What a worker uses it holds
 * references to, since it may come back after the mount is gone: the mount
 * (struct bc_mount), lower paths, never the superblock or an inode of ours.
 */
#ifndef BC_FS_H
#define BC_FS_H

#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/path.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/statfs.h>
#include <linux/workqueue.h>

#include "engine.h"
#include "identity.h"

/* For the rest of the module. */

/* A mount, as enum bc_mount_attr lists it. Strings are valid during the call only. */
struct bc_mount_info {
	dev_t dev;
	const char *source;
	const char *prefix;
	const char *lower_type;
	const struct bc_key *volume_id;
	enum bc_consistency consistency;
	enum bc_daemon_loss on_daemon_loss;
	u64 ttl_ms;
	u64 stale_ms;
	bool lower_exact;
	bool read_only;
	bool lower_suspect;
	u64 stale_opens;
	u64 open_files;
	u32 lower_stuck;
};

int bc_fs_identity_init(void);
int bc_fs_init(void);
void bc_fs_exit(void);
int bc_fs_mounts_for_each(int (*fn)(const struct bc_mount_info *info, void *arg), void *arg);
int bc_fs_file_object(struct file *file, struct bc_object **object);
int bc_fs_relower(struct file *target, struct file *newlower);

/* Inside the front end. */

/* Lower calls running at once, and engine reads of the lower, each per mount. */
#define BC_LOWER_CALLS		16
#define BC_LOWER_READS		16

/*
 * Workers of a mount inside lowers, of today and of before. Each change of the
 * lower leaves at most the two above behind; one that would leave more than
 * this is refused, and the processes that serve the old lowers must go first.
 */
#define BC_LOWER_STUCK_MAX	128

/* How long a revalidation, a resolve, and a probe of a suspect wait. */
u32 bc_patience_ms(void);

/* How often one that did not answer is asked whether it does by now. */
#define BC_PROBE_EVERY_MS	1000

/* stale= of a mount that never takes an identity for too old. */
#define BC_STALE_FOREVER	U64_MAX

struct bc_options {
	char *volume;
	char *domain;			/* or NULL */
	char *prefix;			/* no slash at either end; "" = all */
	enum bc_consistency consistency;
	enum bc_daemon_loss on_daemon_loss;
	u64 ttl_ms;
	u64 stale_ms;
	u64 deadline_ms;
	bool lower_exact;
	bool write_back;
};

enum bc_mount_flag {
	BC_MOUNT_DEAD,			/* the superblock is going, or gone */
	BC_MOUNT_LOWER_SUSPECT,		/* the lower did not answer; nobody waits for it */
	BC_MOUNT_RESOLVE_SUSPECT,	/* the daemon did not answer in time; nobody waits for it */
	BC_MOUNT_NOSUID,		/* the lower, or one of before, was mounted nosuid */
	BC_MOUNT_WRITABLE,		/* the lower may be written; fixed */
	BC_MOUNT_READ_ONLY,		/* as the superblock is now */
	BC_MOUNT_WRITE_BACK,		/* new files are written back; fixed */
	BC_MOUNT_BACK_STOP,		/* nothing more is handed over to the lower */
	BC_MOUNT_BACK_SOON,		/* a dirty file was closed: it is made durable soon */
};

/**
 * struct bc_mount - a mount, without its superblock
 * @refs: superblock, lower calls, objects' sources. Holds the module.
 * @node: in the list of mounts; mounts_lock
 * @dev: st_dev
 * @options: fixed
 * @client: of the engine; objects hold references to it of their own
 * @aborts: counts umount -f
 * @creds: the mounter's, with which the lower is called
 * @writer_creds: the same without CAP_FSETID, for callers that do not have it
 * @lower: root of the lower, in a private clone of its mount
 * @lower_type: name of its filesystem, as /proc/mounts shows it
 * @view: see bc_known_view(); 0 = not known, for good
 * @root_view: see there; fixed
 * @renaming: directories that are being renamed now
 * @lower_generation: counts changes of @lower, beginning with 1
 * @in_vain_until: a known name was waited for in vain, the lower being there: until then others are
 *	not waited for as long
 * @statfs: the last one that the lower gave
 * @calls: waiting for one of the running ones to end, all of them for @lower
 * @calls_inside: begun, in whichever lower
 * @calls_running: how many are inside @lower
 * @calls_left: how many are inside lowers that were replaced, or in files of those
 * @renames: counts renames of directories through this mount
 * @flags: bits of enum bc_mount_flag
 * @lower_probe: asks the lower root whether it answers again; NULL = none; lower_lock
 * @resolve_path: what to ask the daemon to see whether it answers again; lower_lock
 * @resolve_probe: asks; holds a reference while pending or running
 * @sb: with BC_MOUNT_WRITE_BACK, for @back_work, which ends before the superblock does
 * @back_work: makes dirty files durable now and then
 * @handover_work: looks whether the lower shows those that the store has
 */
struct bc_mount {
	refcount_t refs;
	struct list_head node;
	dev_t dev;
	struct bc_options options;
	struct bc_client *client;
	atomic_t aborts;
	const struct cred *creds;
	const struct cred *writer_creds;

	spinlock_t lower_lock;		/* for all down to resolve_path */
	struct path lower;
	char lower_type[32];
	u32 view;
	u32 root_view;
	atomic_t renaming;
	u64 lower_generation;
	u64 in_vain_until;		/* jiffies64, without the lock */
	struct kstatfs statfs;
	struct list_head calls;
	struct list_head calls_inside;
	u32 calls_running;
	u32 calls_left;

	unsigned long flags;
	struct bc_lower_probe *lower_probe;
	char *resolve_path;
	struct delayed_work resolve_probe;
	struct super_block *sb;
	struct delayed_work back_work;
	struct delayed_work handover_work;

	atomic64_t renames;
	atomic64_t stale_opens;
	atomic64_t open_files;
	struct rcu_head rcu;
};

enum bc_inode_kind {
	BC_INODE_VISIBLE,
	BC_INODE_UNBOUND,		/* mapping inode; key = path hash */
	BC_INODE_UNBOUND_LOWER,		/* the same, past the cache */
	BC_INODE_STORE,			/* mapping inode; key = version's key */
	BC_INODE_LOWER,			/* mapping inode; key = that of the lower's version */
	BC_INODE_DIRTY,			/* mapping inode of a dirty file; key = generation */
};

/* So many chunks that follow each other can fail at once, and all their readers hear of it. */
#define BC_FAILED	16

/**
 * struct bc_inode - visible or mapping inode
 * @lock: kind and key of a mapping inode, attributes of a visible one, i_size of both
 * @kind: what it is; changes only when a mapping inode is bound
 * @key: with @kind, what it is found by
 * @dirty: object of a dirty file, visible or mapping, with a reference; else NULL. Once it is set
 *	@key is its generation.
 * @mapped: mapping, of a dirty file: somebody may have, or have had, pages of it to write to
 * @stray: mapping: pages of it were made dirty that no dirty block has, see bc_back_adopt()
 * @attr: visible: what the lower said last
 * @asked_ns: visible: boot clock before it was asked for that
 * @path: visible: name in the volume, prefix included; fixed
 * @writes: visible: counts writers that came, and truncations
 * @writers: visible: open files of this mount that may write
 * @changes: visible: counts changes of attributes through this mount
 * @renames: visible: of the mount, when @path was the inode's last
 * @detached: visible: @path names something else, or nothing, by a change through this mount
 * @object: mapping: fixed; one reference
 * @source: mapping: private data of @object
 * @gone: mapping: the store has this version no longer
 * @failures: mapping: counts reads of it that failed
 * @failed: mapping: the last failures, each in the slot of its chunk: chunk << 32 | @failures
 * @failed_at: mapping: when that was, low half of jiffies; hints, see failed.c
 */
struct bc_inode {
	struct inode vfs;
	spinlock_t lock;		/* see above */
	enum bc_inode_kind kind;
	struct bc_key key;
	struct bc_dirty *dirty;
	bool stray, mapped;
	union {
		struct {
			struct bc_lower_attr attr;
			s64 asked_ns;
			char *path;
			atomic_t writes;
			atomic_t writers;
			atomic_t changes;
			u64 renames;
			bool detached;
		};
		struct {
			struct bc_object *object;
			struct bc_source *source;
			bool gone;
			atomic_t failures;
			u64 failed[BC_FAILED];
			u32 failed_at[BC_FAILED];
		};
	};
};

static inline struct bc_inode *BC_I(struct inode *inode)
{
	return container_of(inode, struct bc_inode, vfs);
}

static inline struct bc_mount *BC_M(struct super_block *sb)
{
	return sb->s_fs_info;
}

/**
 * struct bc_source - private data of an engine object: where its lower bytes are
 * @mount: holds a reference
 * @path: name in the volume, prefix included
 * @path_hash: of it
 * @lock: for @inode
 * @inode: the mapping inode; NULL when that is going. No reference: the inode
 *	holds the object, which holds this.
 * @attr: what the lower said when the object was made
 */
struct bc_source {
	struct bc_mount *mount;
	char *path;
	struct bc_key path_hash;
	spinlock_t lock;		/* for inode */
	struct bc_inode *inode;
	struct bc_lower_attr attr;
};

/**
 * struct bc_dentry - d_fsdata
 * @lock: for @lower
 * @lower: the lower's dentry, with a reference to its mount; may be empty
 * @ino: number of its inode: tells one that was replaced. Not st_ino, which another lower does
 *	not change.
 * @generation: of bc_mount.lower it belongs to; 0 = it was found without, see known.c
 * @expires: in jiffies64; until then the dentry and the inode's attributes are good
 * @renames: of the mount, when the inode's path was last known to be the dentry's
 * @nonce_ns: boot clock: what the lower was asked before of names below is not of this incarnation;
 *	0 = it had none yet
 * @nonce: of a directory: see bc_identity.nonce; 0 = not known
 * @view: of a name that was found without the lower: see bc_known_still()
 */
struct bc_dentry {
	spinlock_t lock;		/* for writing what follows, and for reading most of it */
	struct path lower;
	u64 ino;
	u64 generation;
	u64 expires;
	u64 renames;
	s64 nonce_ns;
	u32 nonce;
	u32 view;
	struct rcu_head rcu;
};

/**
 * struct bc_file - private data of an open file
 * @mapping: mapping inode; one reference; NULL if it was opened past the cache
 * @lower: lower file, if it is read past the cache; set once, and good until release
 * @writes: of the visible inode, before the version was chosen
 * @written_at: seconds since the epoch of the last write; 0 = none
 * @mapped: shared and for writing: written as late as it is closed, at least
 * @streams: its sequential readers
 * @advised: what is read now was advised, and tells nothing of the reader; a hint too
 * @began: jiffies, when the last call began; see failed.c, as the next two
 * @failures: of @mapping, then
 * @aborts: of the mount, then
 */
struct bc_file {
	struct inode *mapping;
	struct file *lower;
	u32 writes;
	time64_t written_at;
	bool mapped;
	struct bc_streams streams;
	bool advised;
	unsigned long began;
	u32 failures;
	u32 aborts;
};

/* super.c */
extern struct file_system_type bc_fs_type;
void bc_mount_put(struct bc_mount *mount);

static inline void bc_mount_get(struct bc_mount *mount)
{
	refcount_inc(&mount->refs);
}

/* Are new files of the mount written back? */
static inline bool bc_is_back(const struct super_block *sb)
{
	const struct bc_mount *mount = sb->s_fs_info;

	return test_bit(BC_MOUNT_WRITE_BACK, &mount->flags);
}

static inline bool bc_is_ours(const struct super_block *sb)
{
	return sb->s_type == &bc_fs_type;
}

/* Name below the mount's root of a name in the volume. */
static inline const char *bc_lower_name(const struct bc_mount *mount, const char *path)
{
	size_t prefix = strlen(mount->options.prefix);

	return prefix ? path + prefix + 1 : path;
}

/* Is it the name of something below the mount's root? */
static inline bool bc_is_below_prefix(const struct bc_mount *mount, const char *path)
{
	size_t prefix = strlen(mount->options.prefix);

	return !prefix || (!strncmp(path, mount->options.prefix, prefix) && path[prefix] == '/');
}

/* options.c */
int bc_options_init(struct fs_context *fc);
int bc_options_check(struct fs_context *fc, struct bc_options *options);
int bc_options_parse(struct fs_context *fc, struct fs_parameter *param);
void bc_options_free(struct bc_options *options);
int bc_options_copy(struct bc_options *to, const struct bc_options *from);
bool bc_options_equal(const struct bc_options *a, const struct bc_options *b);
void bc_options_show(struct seq_file *m, const struct bc_options *options);

/* known.c */

/**
 * struct bc_known - what is known of a name without the lower
 * @stat: what it showed last
 * @asked_ns: boot clock before it was asked for that
 * @view: by which it was found, see bc_known_still()
 * @nonce: of a directory
 */
struct bc_known {
	struct kstat stat;
	s64 asked_ns;
	u32 view;
	u32 nonce;
};

void bc_known_seen(struct dentry *dentry, struct inode *inode);
void bc_known_refused(struct dentry *dentry);
void bc_known_gone(struct dentry *dentry);
void bc_known_removed(struct dentry *dentry);
bool bc_known_find(struct dentry *dentry, struct bc_known *known);
bool bc_known_exists(struct dentry *dentry);
bool bc_known_still(const struct dentry *dentry, u32 view);
void bc_known_view(struct bc_mount *mount, const char *lower);
void bc_known_relower(struct bc_mount *mount, const struct path *root);

/* call.c */
int bc_calls_init(void);
void bc_calls_exit(void);

/* lower.c */
void bc_lower_root(struct bc_mount *mount, struct path *path, u64 *generation);
bool bc_lower_lost(int error);

static inline bool bc_lower_is_suspect(const struct bc_mount *mount)
{
	return test_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
}

void bc_lower_failed(struct bc_mount *mount, u64 generation, int error);
void bc_lower_trusted(struct bc_mount *mount);
void bc_lower_replace(struct bc_mount *mount, struct path *lower);
void bc_lower_set_type(struct bc_mount *mount);
void bc_lower_type(const struct super_block *sb, char *type, size_t size);

/* lower_ask.c */
int bc_lower_lookup(struct dentry *dentry, unsigned long timeout, bool (*known)(struct dentry *),
		    struct path *path, u64 *generation, struct kstat *stat);
int bc_lower_getattr(struct bc_mount *mount, const struct path *path, unsigned long timeout,
		     struct kstat *stat);
int bc_lower_statfs(struct bc_mount *mount, unsigned long timeout, struct kstatfs *statfs);
int bc_lower_attributes(const struct path *path, struct kstat *stat);
int bc_lower_stat(struct bc_mount *mount, const char *name, unsigned long timeout,
		  struct kstat *stat);
int bc_lower_open(struct bc_mount *mount, const struct path *path, int flags, struct file **file);
int bc_lower_sync(struct bc_mount *mount);
char *bc_lower_readlink(struct bc_mount *mount, const struct path *path);

/**
 * struct bc_dirents - entries of a lower directory, on their way to a reader
 * @pos: in: where to begin; out: where to go on
 * @used: bytes of @entries
 * @end: the directory has no more
 * @entries: struct bc_dirent, each aligned to 8 bytes
 */
struct bc_dirents {
	loff_t pos;
	u32 used;
	bool end;
	u8 *entries;
};

struct bc_dirent {
	u64 ino;
	loff_t pos;
	u32 type;
	u32 length;
	char name[];
};

#define BC_DIRENTS_SIZE	(32 * 1024)

int bc_lower_readdir(struct bc_mount *mount, struct file *lower, struct bc_dirents *dirents);

/* source.c */
extern const struct bc_object_ops bc_source_ops;
struct bc_source *bc_source_new(struct bc_inode *visible);
void bc_lower_version(const struct bc_lower_attr *attr, struct bc_version *version);
void bc_lower_attr_of(const struct kstat *stat, struct bc_lower_attr *attr);

/* inode.c */
int bc_inodes_init(void);
void bc_inodes_exit(void);
extern const struct super_operations bc_super_operations;
struct inode *bc_visible_get(struct super_block *sb, const char *path, const struct kstat *stat,
			     s64 asked_ns);
bool bc_visible_update(struct inode *inode, const struct kstat *stat, s64 asked_ns,
		       const int *changes);
void bc_visible_nosuid(struct inode *inode);
void bc_visible_set_size(struct inode *inode, u64 size, const int *changes);
void bc_visible_copy(struct inode *inode, struct inode *lower);
struct inode *bc_mapping_find(struct super_block *sb, enum bc_inode_kind kind,
			      const struct bc_key *key);
struct inode *bc_mapping_get(struct bc_inode *visible, enum bc_inode_kind kind,
			     const struct bc_key *key, const struct bc_version *version);
void bc_mapping_bound(struct bc_inode *mapping, struct bc_object *object,
		      const struct bc_version *version);

/* version.c */
struct inode *bc_version_choose(struct dentry *dentry);
int bc_version_written(struct dentry *dentry, s64 written_at);
void bc_version_forget(struct bc_inode *visible);
void bc_version_renamed(struct bc_mount *mount, const char *path, struct bc_inode *from,
			s64 since);
bool bc_version_shown(struct bc_inode *visible, u64 *size, struct timespec64 *mtime);
void bc_version_committed(struct bc_mount *mount, const char *path, const struct kstat *stat,
			  const struct bc_version *version);
void bc_version_bound(struct bc_source *source, const struct bc_version *version,
		      const struct bc_key *key);
void bc_resolve_probe_work(struct work_struct *work);

/* dir.c */
extern const struct dentry_operations bc_dentry_operations;
extern const struct inode_operations bc_dir_inode_operations;
extern const struct inode_operations bc_symlink_inode_operations;
extern const struct file_operations bc_dir_operations;
char *bc_dentry_path(struct dentry *dentry);
char *bc_dentry_volume_path(struct dentry *dentry);
bool bc_dentry_in_place(struct dentry *dentry);
void bc_dentry_expire(struct dentry *dentry);
bool bc_dentry_writer(struct dentry *dentry);
void bc_visible_detach(struct inode *inode);
const struct cred *bc_writer_creds(struct bc_mount *mount, const struct inode *lower);
struct inode *bc_dentry_inode(struct dentry *dentry, const struct kstat *stat, s64 asked_ns);
struct dentry *bc_lookup(struct inode *dir, struct dentry *dentry, unsigned int flags);
void bc_dentry_set_lower(struct dentry *dentry, const struct path *lower, u64 generation,
			 const struct kstat *stat);
int bc_dentry_lower(struct dentry *dentry, struct path *lower, u64 *generation);
int bc_dentry_refresh(struct dentry *dentry, bool force);
int bc_dentry_settle(struct dentry *dentry);
int bc_dentry_settle_both(struct dentry *a, struct dentry *b);
int bc_dentry_settle_open(struct dentry *dentry);
int bc_dentry_refresh_open(struct dentry *dentry, bool force);

/* file.c */
extern const struct inode_operations bc_file_inode_operations;
extern const struct file_operations bc_file_operations;
int bc_getattr(struct mnt_idmap *idmap, const struct path *path, struct kstat *stat,
	       u32 request_mask, unsigned int flags);

/* Of open files the dentry is file_dentry(): overlayfs of 6.1 opens ours under its own path. */
int bc_open(struct inode *inode, struct file *file);

/* write.c */
bool bc_file_moved(struct file *file);
struct file *bc_file_lower(struct file *file);
int bc_file_open_lower(struct file *file);
int bc_file_open_write(struct file *file);
void bc_file_written(struct file *file);
void bc_file_close(struct file *file);
ssize_t bc_file_read(struct kiocb *iocb, struct iov_iter *to, struct file *lower);
int bc_file_mmap(struct file *file, struct vm_area_struct *vma, struct file *lower);
loff_t bc_file_llseek(struct file *file, loff_t offset, int whence, struct file *lower);
ssize_t bc_file_write_iter(struct kiocb *iocb, struct iov_iter *from);
int bc_file_fsync(struct file *file, loff_t start, loff_t end, int datasync);
int bc_file_flush(struct file *file, fl_owner_t id);
ssize_t bc_file_splice_write(struct pipe_inode_info *pipe, struct file *file, loff_t *pos,
			     size_t length, unsigned int flags);
long bc_file_fallocate(struct file *file, int mode, loff_t offset, loff_t length);

/* modify.c */
extern const struct inode_operations bc_dir_write_operations;
int bc_lower_remove(struct dentry *dentry);
int bc_lower_make_dir(struct dentry *dentry);
int bc_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr);

/* direct.c */

/* Direct reads: of positions, lengths and addresses. Whole pages need not go by the page cache. */
#define BC_DIRECT_ALIGN	512

ssize_t bc_direct_read(struct kiocb *iocb, struct iov_iter *to);
int bc_direct_init(void);
void bc_direct_exit(void);

/* ahead.c */
bool bc_ahead_follows(struct file *file, u64 pos, u64 end);
void bc_ahead(struct file *file, u64 pos, u64 end);
int bc_ahead_willneed(struct file *file, loff_t offset, loff_t length);

/* failed.c */
void bc_failed_begin(struct file *file);
void bc_failed(struct bc_inode *mapping, u32 chunk, int error);
bool bc_failed_since(struct file *file, struct folio *folio);

/* aops.c */
extern const struct address_space_operations bc_address_space_operations;

#endif /* BC_FS_H */
