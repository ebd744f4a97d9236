// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounting, unmounting, and the list of mounts.
 */
#include <linux/backing-dev.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs_context.h>
#include <linux/fs_struct.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "back.h"
#include "blobcache_dev.h"
#include "fs.h"

static unsigned int max_identities = 262144;
module_param(max_identities, uint, 0444);
MODULE_PARM_DESC(max_identities, "most paths whose version is kept in memory");

static unsigned int patience_ms = 1000;
module_param(patience_ms, uint, 0644);
MODULE_PARM_DESC(patience_ms, "how long a name that was seen before waits for the lower, and an open for the store");

u32 bc_patience_ms(void)
{
	return clamp(READ_ONCE(patience_ms), 10U, 60U * MSEC_PER_SEC);
}

static DEFINE_MUTEX(mounts_lock);
static LIST_HEAD(mounts);

static const struct cred *without_fsetid(void)
{
	struct cred *creds = prepare_creds();

	if (creds)
		cap_lower(creds->cap_effective, CAP_FSETID);
	return creds;
}

static struct bc_mount *mount_new(const struct bc_options *options)
{
	struct bc_mount *mount = kzalloc(sizeof(*mount), GFP_KERNEL);

	if (!mount)
		return NULL;
	if (bc_options_copy(&mount->options, options)) {
		kfree(mount);
		return NULL;
	}
	refcount_set(&mount->refs, 1);
	INIT_LIST_HEAD(&mount->node);
	INIT_LIST_HEAD(&mount->calls);
	INIT_LIST_HEAD(&mount->calls_inside);
	spin_lock_init(&mount->lower_lock);
	INIT_DELAYED_WORK(&mount->resolve_probe, bc_resolve_probe_work);
	mount->creds = get_current_cred();
	mount->writer_creds = without_fsetid();
	if (!mount->writer_creds) {
		put_cred(mount->creds);
		bc_options_free(&mount->options);
		kfree(mount);
		return NULL;
	}
	/* Until the last worker is back, which may be long after the superblock is gone. */
	__module_get(THIS_MODULE);
	return mount;
}

/* Drop a reference. Process context; the superblock dropped what may sleep for long. */
void bc_mount_put(struct bc_mount *mount)
{
	if (!refcount_dec_and_test(&mount->refs))
		return;
	put_cred(mount->creds);
	put_cred(mount->writer_creds);
	bc_options_free(&mount->options);
	kfree(mount->resolve_path);
	/* A walk in RCU mode may be looking at the flags and the generation. */
	kfree_rcu(mount, rcu);
	module_put(THIS_MODULE);
}

/* Take a private clone of the mount that @path is on: what is mounted over it does not matter. */
static int clone_lower(const struct bc_mount *mount, const struct path *path, struct path *lower)
{
	struct vfsmount *mnt = clone_private_mount(path);

	if (IS_ERR(mnt))
		return PTR_ERR(mnt);
	mnt->mnt_flags |= MNT_NOATIME;
	if (!test_bit(BC_MOUNT_WRITABLE, &mount->flags))
		mnt->mnt_flags |= MNT_READONLY;
	lower->mnt = mnt;
	lower->dentry = dget(mnt->mnt_root);
	return 0;
}

static void drop_lower(struct path *lower)
{
	dput(lower->dentry);
	/* Dentries and workers hold it too; with the last of them it goes. */
	kern_unmount(lower->mnt);
}

/* Return: what is wrong with it, or NULL. */
static const char *lower_refused(const struct path *path)
{
	if (!d_is_dir(path->dentry))
		return "it is not a directory";
	if (bc_is_ours(path->dentry->d_sb))
		return "it is on a blobcache mount already";
	if (is_idmapped_mnt(path->mnt))
		return "its mount is idmapped";
	return NULL;
}

/* What was mounted nosuid or noexec stays so, whatever lies below it later. */
static void take_restrictions(struct super_block *sb, const struct path *lower)
{
	if (lower->mnt->mnt_flags & MNT_NOSUID)
		set_bit(BC_MOUNT_NOSUID, &BC_M(sb)->flags);
	/* Once made nothing else writes these. */
	if (lower->mnt->mnt_flags & MNT_NOEXEC || lower->dentry->d_sb->s_iflags & SB_I_NOEXEC)
		sb->s_iflags |= SB_I_NOEXEC;
}

static bool is_read_only(const struct path *path)
{
	return path->mnt->mnt_flags & MNT_READONLY || sb_rdonly(path->dentry->d_sb);
}

static int attach_lower(struct super_block *sb, struct fs_context *fc)
{
	struct bc_mount *mount = BC_M(sb);
	struct super_block *lower_sb;
	const char *refused;
	struct path path;
	int error;

	if (!fc->source)
		return invalfc(fc, "no lower directory: mount -t blobcache LOWER TARGET -o ...");
	error = kern_path(fc->source, LOOKUP_FOLLOW, &path);
	if (error) {
		errorfc(fc, "cannot open the lower directory %s: error %d", fc->source, error);
		return error;
	}
	lower_sb = path.dentry->d_sb;
	refused = lower_refused(&path);
	if (refused) {
		error = invalfc(fc, "cannot use %s as the lower directory: %s", fc->source,
				refused);
		goto out;
	}
	if (test_bit(BC_MOUNT_WRITABLE, &mount->flags) && is_read_only(&path)) {
		/* For which mount(8) tries again with "ro". */
		errorfc(fc, "%s is mounted read-only: mount with -o ro", fc->source);
		error = -EROFS;
		goto out;
	}
	sb->s_stack_depth = lower_sb->s_stack_depth + 1;
	if (sb->s_stack_depth > FILESYSTEM_MAX_STACK_DEPTH) {
		error = invalfc(fc, "%s is on too many filesystems on top of each other",
				fc->source);
		goto out;
	}
	error = clone_lower(mount, &path, &mount->lower);
	if (error) {
		errorfc(fc, "cannot clone the mount of %s: error %d", fc->source, error);
		goto out;
	}
	mount->lower_generation = 1;
	bc_lower_set_type(mount);
	take_restrictions(sb, &path);
	sb->s_iflags |= SB_I_NODEV;
	sb->s_time_gran = lower_sb->s_time_gran;
out:
	path_put(&path);
	return error;
}

static int attach_engine(struct bc_mount *mount)
{
	const struct bc_options *options = &mount->options;
	struct bc_client_options client = {
		.source = options->volume,
		.domain = options->domain,
		.on_daemon_loss = options->on_daemon_loss,
		.deadline_ms = options->deadline_ms,
		/* Nothing changes in an immutable volume: the lower has the same bytes. */
		.lower_exact = options->lower_exact ||
			       options->consistency == BC_CONSISTENCY_IMMUTABLE,
		.lower_workers = BC_LOWER_READS,
	};
	struct bc_client *created = bc_client_create(&client);

	if (IS_ERR(created))
		return PTR_ERR(created);
	mount->client = created;
	return 0;
}

static int make_root(struct super_block *sb, struct fs_context *fc)
{
	struct inode *root;
	struct bc_mount *mount = BC_M(sb);
	unsigned long timeout = msecs_to_jiffies(mount->options.deadline_ms);
	s64 asked_ns = ktime_get_boottime_ns();
	struct kstat stat;
	int error;

	error = bc_lower_getattr(mount, &mount->lower, timeout, &stat);
	if (!error)
		error = bc_lower_statfs(mount, timeout, &mount->statfs);
	if (error) {
		errorfc(fc, "the lower directory %s does not answer: error %d", fc->source, error);
		return error;
	}
	root = bc_visible_get(sb, mount->options.prefix, &stat, asked_ns);
	if (IS_ERR(root))
		return PTR_ERR(root);
	sb->s_root = d_make_root(root);
	if (!sb->s_root)
		return -ENOMEM;
	bc_dentry_set_lower(sb->s_root, &mount->lower, mount->lower_generation, &stat);
	bc_known_view(mount, fc->source);
	bc_known_seen(sb->s_root, root);
	return 0;
}

static int start_back(struct super_block *sb, struct fs_context *fc)
{
	int error;

	if (!BC_M(sb)->options.write_back)
		return 0;
	error = bc_back_start(sb);
	if (error == -EBUSY)
		errorfc(fc, "volume=%s is mounted with write=back already",
			BC_M(sb)->options.volume);
	if (error == -ENODEV)
		error = invalfc(fc, "write=back needs a tier: attach one first (cachectl device attach)");
	return error;
}

static int fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct bc_mount *mount = mount_new(fc->fs_private);
	int error;

	if (!mount)
		return -ENOMEM;
	/* From here on kill_sb() undoes, whatever is there. */
	sb->s_fs_info = mount;
	bc_identity_mounted(1);
	mount->dev = sb->s_dev;
	set_bit(fc->sb_flags & SB_RDONLY ? BC_MOUNT_READ_ONLY : BC_MOUNT_WRITABLE, &mount->flags);
	sb->s_magic = BC_SUPER_MAGIC;
	sb->s_op = &bc_super_operations;
	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	/* Checksums are of what is written. */
	sb->s_iflags |= SB_I_STABLE_WRITES;
	set_default_d_op(sb, &bc_dentry_operations);

	error = super_setup_bdi(sb);
	if (error)
		return error;
	sb->s_bdi->ra_pages = SZ_4M >> PAGE_SHIFT;
	sb->s_bdi->io_pages = SZ_4M >> PAGE_SHIFT;
	error = attach_lower(sb, fc);
	if (error)
		return error;
	error = attach_engine(mount);
	if (error)
		return error;
	/* What a name block can say. */
	if (mount->options.write_back)
		sb->s_maxbytes = min_t(u64, MAX_LFS_FILESIZE, BC_NAME_SIZE_MAX);
	error = make_root(sb, fc);
	if (!error)
		error = start_back(sb, fc);
	if (error)
		return error;
	mutex_lock(&mounts_lock);
	list_add_tail(&mount->node, &mounts);
	mutex_unlock(&mounts_lock);
	return 0;
}

static void kill_sb(struct super_block *sb)
{
	struct bc_mount *mount = BC_M(sb);
	struct path lower;

	if (!mount) {
		kill_anon_super(sb);
		return;
	}
	mutex_lock(&mounts_lock);
	list_del_init(&mount->node);
	mutex_unlock(&mounts_lock);
	bc_back_stop(mount);
	/* Under the lock, so that nothing is started after what is stopped here. */
	spin_lock(&mount->lower_lock);
	set_bit(BC_MOUNT_DEAD, &mount->flags);
	spin_unlock(&mount->lower_lock);
	bc_lower_trusted(mount);
	if (cancel_delayed_work_sync(&mount->resolve_probe))
		bc_mount_put(mount);
	/* Read-ahead that nobody waits for would keep folios locked until its deadline. */
	if (mount->client)
		bc_client_abort(mount->client);
	kill_anon_super(sb);
	if (test_bit(BC_MOUNT_WRITE_BACK, &mount->flags))
		bc_dirty_unclaim(mount->client);
	/* A source may look for it still. */
	spin_lock(&mount->lower_lock);
	lower = mount->lower;
	memset(&mount->lower, 0, sizeof(mount->lower));
	spin_unlock(&mount->lower_lock);
	if (lower.mnt)
		drop_lower(&lower);
	if (mount->client)
		bc_client_destroy(mount->client);
	bc_identity_mounted(-1);
	bc_mount_put(mount);
}

static int check_writable(struct fs_context *fc, const struct bc_options *options)
{
	if (!(fc->sb_flags & SB_RDONLY) && options->consistency == BC_CONSISTENCY_IMMUTABLE)
		return invalfc(fc, "consistency=immutable is for what nobody writes: mount with -o ro");
	if (!(fc->sb_flags & SB_RDONLY) && options->lower_exact)
		return invalfc(fc, "lower_exact=1 is for what nobody writes here: mount with -o ro");
	if (fc->sb_flags & SB_RDONLY && options->write_back)
		return invalfc(fc, "write=back is for what is written: mount without -o ro");
	return 0;
}

static int get_tree(struct fs_context *fc)
{
	int error = bc_options_check(fc, fc->fs_private);

	if (error)
		return error;
	error = check_writable(fc, fc->fs_private);
	if (error)
		return error;
	return get_tree_nodev(fc, fill_super);
}

static int reconfigure(struct fs_context *fc)
{
	struct bc_mount *mount = BC_M(fc->root->d_sb);
	int error = bc_options_check(fc, fc->fs_private);

	if (error)
		return error;
	if (!(fc->sb_flags & SB_RDONLY) && !test_bit(BC_MOUNT_WRITABLE, &mount->flags))
		return invalfc(fc, "was mounted read-only, and stays so: unmount, and mount anew");
	if (!bc_options_equal(fc->fs_private, &mount->options))
		return invalfc(fc, "options do not change by a remount: unmount, and mount anew");
	assign_bit(BC_MOUNT_READ_ONLY, &mount->flags, fc->sb_flags & SB_RDONLY);
	return 0;
}

static void free_fc(struct fs_context *fc)
{
	struct bc_options *options = fc->fs_private;

	if (!options)
		return;
	bc_options_free(options);
	kfree(options);
}

static const struct fs_context_operations context_operations = {
	.parse_param = bc_options_parse,
	.get_tree = get_tree,
	.reconfigure = reconfigure,
	.free = free_fc,
};

/* A remount begins with what the mount has, so that only what is said can differ. */
static int init_fs_context(struct fs_context *fc)
{
	struct bc_options *options;
	int error;

	fc->ops = &context_operations;
	if (fc->purpose != FS_CONTEXT_FOR_RECONFIGURE)
		return bc_options_init(fc);
	options = kzalloc(sizeof(*options), GFP_KERNEL);
	if (!options)
		return -ENOMEM;
	error = bc_options_copy(options, &BC_M(fc->root->d_sb)->options);
	if (error) {
		kfree(options);
		return error;
	}
	fc->fs_private = options;
	return 0;
}

struct file_system_type bc_fs_type = {
	.owner = THIS_MODULE,
	.name = "blobcache",
	.fs_flags = FS_RENAME_DOES_D_MOVE,
	.init_fs_context = init_fs_context,
	.kill_sb = kill_sb,
};
MODULE_ALIAS_FS("blobcache");

static u32 lower_stuck(struct bc_mount *mount)
{
	u32 calls;

	spin_lock(&mount->lower_lock);
	calls = mount->calls_running + mount->calls_left;
	spin_unlock(&mount->lower_lock);
	return calls + bc_client_lower_busy(mount->client);
}

static void mount_info(struct bc_mount *mount, char *lower_type, struct bc_mount_info *info)
{
	spin_lock(&mount->lower_lock);
	memcpy(lower_type, mount->lower_type, sizeof(mount->lower_type));
	spin_unlock(&mount->lower_lock);
	*info = (struct bc_mount_info) {
		.dev = mount->dev,
		.source = mount->options.volume,
		.prefix = mount->options.prefix,
		.lower_type = lower_type,
		.volume_id = bc_client_volume_id(mount->client),
		.consistency = mount->options.consistency,
		.on_daemon_loss = mount->options.on_daemon_loss,
		.ttl_ms = mount->options.ttl_ms,
		.stale_ms = mount->options.stale_ms,
		.lower_exact = mount->options.lower_exact,
		.read_only = test_bit(BC_MOUNT_READ_ONLY, &mount->flags),
		.lower_suspect = bc_lower_is_suspect(mount),
		.stale_opens = atomic64_read(&mount->stale_opens),
		.open_files = atomic64_read(&mount->open_files),
		.lower_stuck = lower_stuck(mount),
	};
}

/**
 * bc_fs_mounts_for_each - visit the mounts, oldest first
 * @fn: called with a lock that mounting takes too; anything but 0 ends the visit
 * @arg: for @fn
 *
 * Return: what @fn returned last, or 0.
 */
int bc_fs_mounts_for_each(int (*fn)(const struct bc_mount_info *info, void *arg), void *arg)
{
	char lower_type[sizeof_field(struct bc_mount, lower_type)];
	struct bc_mount_info info;
	struct bc_mount *mount;
	int ret = 0;

	mutex_lock(&mounts_lock);
	list_for_each_entry(mount, &mounts, node) {
		mount_info(mount, lower_type, &info);
		ret = fn(&info, arg);
		if (ret)
			break;
	}
	mutex_unlock(&mounts_lock);
	return ret;
}

/**
 * bc_fs_relower - give a mount another lower, in place of one that died
 * @target: any open file of the mount
 * @newlower: open directory, in the mount namespace of the caller
 *
 * Files stay open. Dentries are looked up in the new lower by their paths, each when it is used
 * next. If it is mounted nosuid or noexec the mount is so from now on.
 * Return: 0, -EXDEV if @target is not ours, -ENOTDIR, -EINVAL, -ELOOP, -EBUSY if too many workers
 * are stuck in lowers that the mount had.
 */
int bc_fs_relower(struct file *target, struct file *newlower)
{
	struct super_block *sb = target->f_path.dentry->d_sb;
	struct super_block *lower_sb = newlower->f_path.dentry->d_sb;
	struct bc_mount *mount;
	struct path lower;
	int error;

	if (!bc_is_ours(sb))
		return -EXDEV;
	if (!d_is_dir(newlower->f_path.dentry))
		return -ENOTDIR;
	if (lower_refused(&newlower->f_path))
		return -EINVAL;
	/* Who is stacked on us has counted on the depth we have. */
	if (lower_sb->s_stack_depth >= sb->s_stack_depth)
		return -ELOOP;
	mount = BC_M(sb);
	if (test_bit(BC_MOUNT_WRITABLE, &mount->flags) && is_read_only(&newlower->f_path))
		return -EROFS;
	if (lower_stuck(mount) > BC_LOWER_STUCK_MAX)
		return -EBUSY;
	error = clone_lower(mount, &newlower->f_path, &lower);
	if (error)
		return error;
	/* Before anybody sees the new one. */
	take_restrictions(sb, &newlower->f_path);
	bc_known_relower(mount, &newlower->f_path);
	bc_lower_replace(mount, &lower);
	bc_client_lower_renewed(mount->client);
	drop_lower(&lower);
	return 0;
}

/**
 * bc_fs_identity_init - make the identity table, of which tiers know too
 *
 * Return: 0 or -ENOMEM.
 */
int bc_fs_identity_init(void)
{
	return bc_identity_init(max_identities);
}

/**
 * bc_fs_init - register the filesystem
 *
 * Return: 0 or errno.
 */
int bc_fs_init(void)
{
	int error;

	error = bc_inodes_init();
	if (error)
		return error;
	error = bc_calls_init();
	if (error)
		goto err_inodes;
	error = bc_direct_init();
	if (error)
		goto err_calls;
	error = register_filesystem(&bc_fs_type);
	if (error)
		goto err_direct;
	return 0;

err_direct:
	bc_direct_exit();
err_calls:
	bc_calls_exit();
err_inodes:
	bc_inodes_exit();
	return error;
}

/* No mount and no worker is left: each holds the module. */
void bc_fs_exit(void)
{
	unregister_filesystem(&bc_fs_type);
	bc_direct_exit();
	bc_calls_exit();
	bc_inodes_exit();
}
