// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the engine asks of this front end for an object: its lower bytes, and to
 * be told its version. An object may be used longer than its mapping inode, its
 * superblock and its mount, so nothing here needs them.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/namei.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "fs.h"
#include "key.h"

/**
 * bc_source_new - describe where the bytes of a visible inode's path are
 * @visible: inode
 *
 * Return: for bc_object_create(), or NULL.
 */
struct bc_source *bc_source_new(struct bc_inode *visible)
{
	struct bc_source *source = kzalloc(sizeof(*source), GFP_KERNEL);

	if (!source)
		return NULL;
	source->path = kstrdup(visible->path, GFP_KERNEL);
	if (!source->path) {
		kfree(source);
		return NULL;
	}
	spin_lock_init(&source->lock);
	source->mount = BC_M(visible->vfs.i_sb);
	bc_mount_get(source->mount);
	source->path_hash = visible->key;
	spin_lock(&visible->lock);
	source->attr = visible->attr;
	spin_unlock(&visible->lock);
	return source;
}

static void source_release(void *private)
{
	struct bc_source *source = private;

	bc_mount_put(source->mount);
	kfree(source->path);
	kfree(source);
}

/* Called by whoever binds: the daemon's ioctl or a worker. */
static void source_bound(void *private, struct bc_object *object)
{
	struct bc_source *source = private;
	struct bc_version version;
	unsigned int nofs;

	if (!bc_object_version(object, &version))
		return;
	/*
	 * First the identity, then the inode: who opens in between finds one of
	 * the two, and does not begin anew.
	 */
	if (bc_object_key(object)) {
		nofs = memalloc_nofs_save();
		bc_version_bound(source, &version, bc_object_key(object));
		memalloc_nofs_restore(nofs);
	}
	spin_lock(&source->lock);
	if (source->inode)
		bc_mapping_bound(source->inode, object, &version);
	spin_unlock(&source->lock);
}

/**
 * bc_lower_attr_of - what identifies a state of a lower file
 * @stat: what the lower said
 * @attr: out
 */
void bc_lower_attr_of(const struct kstat *stat, struct bc_lower_attr *attr)
{
	attr->ino = stat->ino;
	attr->size = stat->size;
	attr->mtime = stat->mtime.tv_sec;
	attr->mtime_nsec = stat->mtime.tv_nsec;
	attr->ctime = stat->ctime.tv_sec;
	attr->ctime_nsec = stat->ctime.tv_nsec;
	attr->mode = stat->mode;
	attr->uid = from_kuid(&init_user_ns, stat->uid);
	attr->gid = from_kgid(&init_user_ns, stat->gid);
}

static s64 nanoseconds(s64 seconds, u32 nsec)
{
	/* Far from the epoch it wraps, and still tells two times apart. */
	return (s64)((u64)seconds * NSEC_PER_SEC + nsec);
}

/**
 * bc_lower_version - the version that a state of a lower file is
 * @attr: state
 * @version: out
 */
void bc_lower_version(const struct bc_lower_attr *attr, struct bc_version *version)
{
	memset(version, 0, sizeof(*version));
	version->size = attr->size;
	version->last_modified = attr->mtime;
	version->etag_length = scnprintf(version->etag, sizeof(version->etag),
					 "lower-%llx-%llx-%llx", attr->size,
					 nanoseconds(attr->mtime, attr->mtime_nsec),
					 nanoseconds(attr->ctime, attr->ctime_nsec));
}

static int version_now(struct file *file, struct bc_version *version)
{
	struct bc_lower_attr attr;
	struct kstat stat;
	int error;

	/* What a cache of the lower says would be equal before and after in any case. */
	error = vfs_getattr(&file->f_path, &stat, STATX_BASIC_STATS, AT_STATX_FORCE_SYNC);
	if (error)
		return error;
	bc_lower_attr_of(&stat, &attr);
	bc_lower_version(&attr, version);
	return 0;
}

static int read_pages(struct file *file, u64 pos, u32 length, struct page **pages)
{
	u32 count = DIV_ROUND_UP(length, PAGE_SIZE), i, got = 0;
	struct bio_vec *bvecs = kmalloc_array(count, sizeof(*bvecs), GFP_NOFS);
	struct iov_iter iter;
	loff_t at = pos;
	ssize_t ret = 0;

	if (!bvecs)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		bvecs[i].bv_page = pages[i];
		bvecs[i].bv_len = min_t(u32, length - i * PAGE_SIZE, PAGE_SIZE);
		bvecs[i].bv_offset = 0;
	}
	iov_iter_bvec(&iter, ITER_DEST, bvecs, count, length);
	while (iov_iter_count(&iter)) {
		ret = vfs_iter_read(file, &iter, &at, 0);
		if (ret <= 0)
			break;
		got += ret;
	}
	kfree(bvecs);
	return ret < 0 ? ret : got;
}

static int read_version(struct file *file, u64 pos, u32 length, struct page **pages,
			struct bc_version *version)
{
	struct bc_version after;
	int error, ret;

	error = version_now(file, version);
	if (error)
		return error;
	ret = read_pages(file, pos, length, pages);
	if (ret < 0)
		return ret;
	error = version_now(file, &after);
	if (error)
		return error;
	return strcmp(version->etag, after.etag) ? -ESTALE : ret;
}

static struct file *open_lower(struct bc_source *source, u64 *generation)
{
	struct bc_mount *mount = source->mount;
	struct path root, path;
	struct file *file;
	int error;

	bc_lower_root(mount, &root, generation);
	if (!root.dentry)
		return ERR_PTR(-EIO);
	error = vfs_path_lookup(root.dentry, root.mnt, bc_lower_name(mount, source->path),
				LOOKUP_NO_SYMLINKS, &path);
	path_put(&root);
	if (error)
		return ERR_PTR(error);
	if (d_is_reg(path.dentry))
		file = dentry_open(&path, O_RDONLY | O_LARGEFILE, mount->creds);
	else
		file = ERR_PTR(-ESTALE);
	path_put(&path);
	return file;
}

/* In a worker of the engine, which is bounded in number and need not come back. */
static int source_read_lower(void *private, u64 pos, u32 length, struct page **pages,
			     struct bc_version *version)
{
	struct bc_source *source = private;
	const struct cred *old;
	struct file *file;
	u64 generation;
	int ret;

	if (bc_lower_is_suspect(source->mount))
		return -EIO;
	old = override_creds(source->mount->creds);
	file = open_lower(source, &generation);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
	} else {
		ret = read_version(file, pos, length, pages, version);
		fput(file);
	}
	revert_creds(old);
	/* ESTALE may be ours, too: the file changed while it was read. */
	if (ret < 0)
		bc_lower_failed(source->mount, generation, ret);
	return ret;
}

const struct bc_object_ops bc_source_ops = {
	.bound = source_bound,
	.read_lower = source_read_lower,
	.release = source_release,
};
