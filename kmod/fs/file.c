// SPDX-License-Identifier: GPL-2.0-only
/* Open files: they read the mapping inode that ->open() chose, or the lower file (write.c). */
#include <linux/fadvise.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/timekeeping.h>
#include <linux/uio.h>

#include "back.h"
#include "fs.h"

/**
 * bc_getattr - attributes of a visible inode
 * @idmap: of the mount; idmapped mounts are refused
 * @path: ours
 * @stat: out
 * @request_mask: as statx(2)
 * @flags: as statx(2)
 */
int bc_getattr(struct mnt_idmap *idmap, const struct path *path, struct kstat *stat,
	       u32 request_mask, unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);
	struct bc_inode *visible = BC_I(inode);
	int changes, error;
	u64 size;

	if (bc_back_of(inode)) {
		generic_fillattr(&nop_mnt_idmap, request_mask, inode, stat);
		bc_back_getattr(inode, stat);
		return 0;
	}
	if (!(flags & AT_STATX_DONT_SYNC) && !d_unhashed(path->dentry)) {
		/* That it is another file now concerns those who look it up. */
		error = bc_dentry_refresh_open(path->dentry, flags & AT_STATX_FORCE_SYNC);
		if (error < 0)
			return error;
	}
	changes = atomic_read(&visible->changes);
	generic_fillattr(&nop_mnt_idmap, request_mask, inode, stat);
	stat->ino = visible->attr.ino;
	if (!S_ISREG(inode->i_mode))
		return 0;
	/* Not that of the inode, which may still be a version's that is not shown any more. */
	spin_lock(&visible->lock);
	size = visible->attr.size;
	spin_unlock(&visible->lock);
	if (bc_dentry_in_place(path->dentry))
		bc_version_shown(visible, &size, &stat->mtime);
	bc_visible_set_size(inode, size, &changes);
	stat->size = size;
	if (request_mask & STATX_DIOALIGN) {
		stat->result_mask |= STATX_DIOALIGN;
		stat->dio_mem_align = BC_DIRECT_ALIGN;
		stat->dio_offset_align = PAGE_SIZE;
	}
	/* A lower that does not count blocks would make it look like a file of holes. */
	stat->blocks = DIV_ROUND_UP_ULL(stat->size, 512);
	return 0;
}

/* Is the file to be read past the cache, for what is known without asking the store? */
static bool must_bypass(struct file *file)
{
	struct dentry *dentry = file_dentry(file);
	struct bc_mount *mount = BC_M(dentry->d_sb);

	if (!bc_dentry_in_place(dentry) || atomic_read(&BC_I(d_inode(dentry))->writers))
		return true;
	return mount->options.consistency != BC_CONSISTENCY_IMMUTABLE && bc_dentry_writer(dentry);
}

static int open_read(struct inode *inode, struct file *file)
{
	struct bc_file *bf = file->private_data;
	struct inode *mapping = NULL;
	int error;

	error = bc_dentry_settle_open(file_dentry(file));
	if (error)
		return error;
	/* Before we look for a writer: one that comes later is seen by the count. */
	bf->writes = atomic_read_acquire(&BC_I(inode)->writes);
	if (!must_bypass(file))
		mapping = bc_version_choose(file_dentry(file));
	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	if (!mapping)
		return bc_file_open_lower(file);
	bc_known_seen(file_dentry(file), inode);
	bf->mapping = mapping;
	bc_object_open(BC_I(mapping)->object);
	file->f_mapping = mapping->i_mapping;
	file->f_wb_err = filemap_sample_wb_err(file->f_mapping);
	return 0;
}

/* A clean file that is written anew is written back from now on, where the mount does that. */
static int make_dirty(struct inode *inode, struct file *file)
{
	int ret;

	if (!bc_is_back(inode->i_sb) || bc_back_of(inode) || !(file->f_flags & O_TRUNC) ||
	    !(file->f_mode & FMODE_WRITE))
		return 0;
	ret = bc_back_truncated(file);
	return min(ret, 0);
}

static int open_write(struct inode *inode, struct file *file)
{
	struct bc_file *bf = file->private_data;
	int ret = bc_file_open_write(file);

	if (ret <= 0)
		return ret;
	ret = bc_back_open(inode, file);
	/* One that was created here, and has a dirty one above it by now. */
	if (!ret && bf->lower) {
		fput(bf->lower);
		bf->lower = NULL;
	}
	return ret;
}

/**
 * bc_open - file_operations.open, also for a file that was created by its opening
 * @inode: visible inode of a regular file
 * @file: ours; its private data is the lower file that was created, or NULL
 *
 * Return: 0 or errno; then the lower file is still the caller's.
 */
int bc_open(struct inode *inode, struct file *file)
{
	struct bc_file *bf = kzalloc(sizeof(*bf), GFP_KERNEL);
	struct file *created = file->private_data;
	int error;

	if (!bf)
		return -ENOMEM;
	bc_visible_nosuid(inode);
	bf->lower = created;
	file->private_data = bf;
	file->f_mode |= FMODE_CAN_ODIRECT;
	error = created ? 0 : make_dirty(inode, file);
	if (error)
		goto out;
	if (bc_back_of(inode))
		error = bc_back_open(inode, file);
	else if (file->f_mode & FMODE_WRITE)
		error = open_write(inode, file);
	else if (!created)
		error = open_read(inode, file);
	else
		error = bc_version_written(file_dentry(file), ktime_get_real_seconds());
out:
	if (error) {
		file->private_data = created;
		kfree(bf);
		return error;
	}
	atomic64_inc(&BC_M(inode->i_sb)->open_files);
	return 0;
}

static int release(struct inode *inode, struct file *file)
{
	struct bc_file *bf = file->private_data;

	if (bf->lower)
		bc_file_close(file);
	if (bf->mapping) {
		bc_object_close(BC_I(bf->mapping)->object);
		iput(bf->mapping);
	}
	kfree(bf);
	atomic64_dec(&BC_M(inode->i_sb)->open_files);
	return 0;
}

static bool is_unbound(struct file *file)
{
	struct bc_file *bf = file->private_data;
	/* Pairs with bc_mapping_bound(). */
	enum bc_inode_kind kind = smp_load_acquire(&BC_I(bf->mapping)->kind);

	return kind == BC_INODE_UNBOUND || kind == BC_INODE_UNBOUND_LOWER;
}

/*
 * The size of a file that is bound to no version yet is the lower's, and may be
 * wrong: it must be bound before anybody looks at its size.
 */
static int bind(struct file *file, loff_t pos)
{
	struct bc_file *bf = file->private_data;
	struct bc_object *object = BC_I(bf->mapping)->object;
	struct inode *inode = file_inode(file);
	int changes, error;

	if (likely(!is_unbound(file)))
		return 0;
	changes = atomic_read(&BC_I(inode)->changes);
	/* What is to be read next does as well as the beginning. */
	if (pos >= i_size_read(bf->mapping))
		pos = 0;
	error = bc_object_bind(object, pos);
	if (error)
		return error == -ENOENT ? -ESTALE : error;
	bc_visible_set_size(inode, i_size_read(bf->mapping), &changes);
	bc_known_seen(file_dentry(file), inode);
	return 0;
}

/*
 * Before anything of a file is used: is it the lower file's, or is its version known now?
 * While that was waited for, the path by which it was asked may have come to
 * name another file.
 *
 * Return: as bc_file_lower(): NULL = the mapping inode is to be used.
 */
static struct file *prepare(struct file *file, loff_t pos)
{
	struct file *lower = bc_file_lower(file);
	int error;

	if (lower || likely(!is_unbound(file)))
		return lower;
	error = bind(file, pos);
	return error ? ERR_PTR(error) : bc_file_lower(file);
}

/* The page cache says EIO for whatever went wrong. */
static ssize_t read_error(struct file *file, ssize_t ret)
{
	struct bc_file *bf = file->private_data;

	return ret == -EIO && READ_ONCE(BC_I(bf->mapping)->gone) ? -ESTALE : ret;
}

/* Does finding out where the bytes are need no wait? */
static bool may_read_now(struct file *file)
{
	struct bc_file *bf = file->private_data;

	return !READ_ONCE(bf->lower) && bf->mapping && !is_unbound(file) && !bc_file_moved(file);
}

static ssize_t read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct file *file = iocb->ki_filp, *lower;
	ssize_t ret;

	if (iocb->ki_flags & IOCB_NOWAIT && !may_read_now(file))
		return -EAGAIN;
	lower = prepare(file, iocb->ki_pos);
	if (lower)
		return bc_file_read(iocb, to, lower);
	bc_failed_begin(file);
	if (iocb->ki_flags & IOCB_DIRECT) {
		ret = bc_direct_read(iocb, to);
		/* The caller may have been told by now, and have closed the file. */
		return ret == -EIOCBQUEUED ? ret : read_error(file, ret);
	}
	return read_error(file, generic_file_read_iter(iocb, to));
}

static ssize_t splice_read(struct file *file, loff_t *pos, struct pipe_inode_info *pipe,
			   size_t length, unsigned int flags)
{
	struct file *lower = prepare(file, *pos);

	if (lower)
		return IS_ERR(lower) ? PTR_ERR(lower) :
				       bc_splice_by_read(file, pos, pipe, length, flags);
	bc_failed_begin(file);
	return read_error(file, filemap_splice_read(file, pos, pipe, length, flags));
}

static loff_t llseek(struct file *file, loff_t offset, int whence)
{
	bool sized = whence != SEEK_SET && whence != SEEK_CUR;
	struct file *lower = sized ? prepare(file, 0) : bc_file_lower(file);

	if (lower)
		return bc_file_llseek(file, offset, whence, lower);
	return generic_file_llseek(file, offset, whence);
}

/*
 * One that was tried before has waited for its folio, and not begun anew. Under the lock of its
 * VMA alone the kernel says so (FAULT_FLAG_TRIED) only of a fault that was called major. One that
 * found the folio locked is not, but has waited as long.
 */
static vm_fault_t fault(struct vm_fault *vmf)
{
	vm_fault_t ret;

	if (!(vmf->flags & FAULT_FLAG_TRIED))
		bc_failed_begin(vmf->vma->vm_file);
	ret = filemap_fault(vmf);
	if (ret & VM_FAULT_RETRY && !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT))
		ret |= VM_FAULT_MAJOR;
	return ret;
}

static const struct vm_operations_struct vm_operations = {
	.fault = fault,
	.map_pages = filemap_map_pages,
};

/*
 * Called with mmap_lock, as on any filesystem: while the first bytes of a file
 * without a version are awaited, other threads' page faults wait too. That is
 * so once per file, killable, and bounded by the mount's deadline; to fail
 * earlier would fail mappings of files that are just not cached yet. Who read
 * a byte of the file before does not wait here, nor, if the answer has come by
 * then, who announced it by posix_fadvise(POSIX_FADV_WILLNEED).
 */
static int mmap(struct file *file, struct vm_area_struct *vma)
{
	struct file *lower = prepare(file, (loff_t)vma->vm_pgoff << PAGE_SHIFT);

	if (lower)
		return bc_file_mmap(file, vma, lower);
	file_accessed(file);
	vma->vm_ops = &vm_operations;
	return 0;
}

static int fadvise(struct file *file, loff_t offset, loff_t length, int advice)
{
	struct file *lower = bc_file_lower(file);

	if (lower)
		return IS_ERR(lower) ? PTR_ERR(lower) : vfs_fadvise(lower, offset, length, advice);
	if (advice == POSIX_FADV_WILLNEED)
		return bc_ahead_willneed(file, offset, length);
	return generic_fadvise(file, offset, length, advice);
}

const struct inode_operations bc_file_inode_operations = {
	.getattr = bc_getattr,
	.setattr = bc_setattr,
};

const struct file_operations bc_file_operations = {
	.owner = THIS_MODULE,
	.open = bc_open,
	.flush = bc_file_flush,
	.release = release,
	.llseek = llseek,
	.read_iter = read_iter,
	.write_iter = bc_file_write_iter,
	.splice_read = splice_read,
	.splice_write = bc_file_splice_write,
	.mmap = mmap,
	.fsync = bc_file_fsync,
	.fallocate = bc_file_fallocate,
	.fadvise = fadvise,
};

/**
 * bc_fs_file_object - the version that an open file reads
 * @file: any file
 * @object: out, with a reference
 *
 * Return: 0, -EXDEV if it is not a regular file of a blobcache mount, -EOPNOTSUPP if it is read
 * past the cache.
 */
int bc_fs_file_object(struct file *file, struct bc_object **object)
{
	struct bc_file *bf = file->private_data;

	if (file->f_op != &bc_file_operations)
		return -EXDEV;
	if (!bf->mapping)
		return -EOPNOTSUPP;
	*object = BC_I(bf->mapping)->object;
	bc_object_get(*object);
	return 0;
}
