// SPDX-License-Identifier: GPL-2.0-only
/* Open files that are dirty: reads, writes, mappings, sizes, fsync. */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/timekeeping.h>
#include <linux/uio.h>
#include <linux/writeback.h>

#include "back.h"

static void touch(struct inode *inode, struct bc_dirty *dirty)
{
	struct timespec64 now;

	ktime_get_coarse_real_ts64(&now);
	now = timestamp_truncate(now, inode);
	bc_dirty_touch(dirty, now);
	inode_set_mtime_to_ts(inode, now);
	inode_set_ctime_to_ts(inode, now);
}

/* With the visible inode's lock. */
static void set_size(struct inode *inode, struct inode *mapping, struct bc_dirty *dirty,
		     loff_t size)
{
	i_size_write(mapping, size);
	i_size_write(inode, size);
	bc_dirty_set_size(dirty, size);
}

/**
 * bc_back_sync - make a dirty file durable
 * @mapping: mapping inode
 * @dirty: its object
 * @rename: its name from now on, or NULL
 *
 * Return: 0 or errno.
 */
int bc_back_sync(struct inode *mapping, struct bc_dirty *dirty,
		 const struct bc_dirty_rename *rename)
{
	struct bc_dirty_point point;
	int error;

	do {
		/* What others append meanwhile belongs to the next one. */
		bc_dirty_point(dirty, &point);
		error = bc_back_adopt(mapping->i_mapping, dirty);
		if (!error)
			error = filemap_write_and_wait(mapping->i_mapping);
		if (!error)
			error = bc_dirty_commit(dirty, &point, rename);
	} while (error == -EAGAIN && !fatal_signal_pending(current));
	return error == -EAGAIN ? -EINTR : error;
}

static int fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct inode *mapping = file->f_mapping->host;
	struct bc_dirty *dirty = bc_back_of(mapping);
	struct bc_dirty_point point;
	int error;

	do {
		bc_dirty_point(dirty, &point);
		error = bc_back_adopt(file->f_mapping, dirty);
		/* All of it: a size is durable only together with its bytes. */
		if (!error)
			error = file_write_and_wait_range(file, 0, LLONG_MAX);
		if (!error)
			error = bc_dirty_commit(dirty, &point, NULL);
	} while (error == -EAGAIN && !fatal_signal_pending(current));
	return error == -EAGAIN ? -EINTR : error;
}

static ssize_t read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	/* Direct reads, too: what is in the page cache only is nowhere else. */
	return filemap_read(iocb, to, 0);
}

/* Copy into the locked folios. Return: bytes; those that were not valid are, then. */
static size_t copy_in(struct bc_back_block *locked, loff_t pos, size_t bytes,
		      struct iov_iter *from)
{
	size_t done = 0;
	u32 i;

	for (i = 0; i < locked->count; i++) {
		struct folio *folio = locked->folio[i];
		size_t offset = offset_in_folio(folio, pos + done), part, copied = 0;

		part = min(bytes - done, folio_size(folio) - offset);
		if (part && pos + done >= folio_pos(folio) &&
		    pos + done < folio_pos(folio) + folio_size(folio))
			copied = copy_folio_from_iter_atomic(folio, offset, part, from);
		/* Others than those to be covered are valid already. */
		if (!folio_test_uptodate(folio)) {
			folio_zero_range(folio, copied, folio_size(folio) - copied);
			folio_mark_uptodate(folio);
		}
		if (copied)
			flush_dcache_folio(folio);
		done += copied;
	}
	return done;
}

/* Bytes of one block. Return: how many, 0 if the source is to be faulted in first; or errno. */
static ssize_t write_block(struct inode *inode, struct address_space *mapping,
			   struct bc_dirty *dirty, loff_t pos, size_t bytes, struct iov_iter *from)
{
	u64 block = pos >> BC_BLOCK_SHIFT;
	loff_t size = i_size_read(mapping->host), end = max_t(loff_t, size, pos + bytes);
	struct bc_back_block locked;
	size_t copied;
	int error;

	error = bc_back_lock(mapping, dirty, block, bc_back_pages(block, end), pos, pos + bytes,
			     iov_iter_count(from) > bytes, &locked);
	if (error)
		return error;
	copied = copy_in(&locked, pos, bytes, from);
	if (copied) {
		/* In this order: a commit that sees the size finds the block. */
		bc_back_dirty(mapping, dirty, block, &locked);
		/* Before it is unlocked: writing it back goes by the size. */
		if (pos + (loff_t)copied > size)
			set_size(inode, mapping->host, dirty, pos + copied);
	}
	bc_back_unlock(&locked, NULL);
	return copied;
}

static ssize_t write_blocks(struct inode *inode, struct address_space *mapping,
			    struct bc_dirty *dirty, loff_t pos, struct iov_iter *from)
{
	ssize_t written = 0, ret = 0;
	size_t bytes;

	while (iov_iter_count(from)) {
		bytes = min_t(size_t, iov_iter_count(from),
			      BC_BLOCK_SIZE - (pos & (BC_BLOCK_SIZE - 1)));
		/* The copy must not fault: it could be of a page that is locked. */
		if (fault_in_iov_iter_readable(from, bytes) == bytes) {
			ret = -EFAULT;
			break;
		}
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		ret = write_block(inode, mapping, dirty, pos, bytes, from);
		if (ret < 0)
			break;
		pos += ret;
		written += ret;
		balance_dirty_pages_ratelimited(mapping);
		cond_resched();
	}
	return written ?: ret;
}

static ssize_t write_locked(struct kiocb *iocb, struct iov_iter *from)
{
	struct file *file = iocb->ki_filp;
	struct address_space *mapping = file->f_mapping;
	struct inode *inode = file_inode(file);
	struct bc_dirty *dirty = bc_back_of(mapping->host);
	loff_t size = i_size_read(mapping->host);
	ssize_t ret;

	ret = generic_write_checks(iocb, from);
	if (ret <= 0)
		return ret;
	ret = file_remove_privs(file);
	if (ret)
		return ret;
	if (iocb->ki_pos > size)
		bc_back_zero_tail(mapping, size);
	ret = write_blocks(inode, mapping, dirty, iocb->ki_pos, from);
	if (ret > 0) {
		iocb->ki_pos += ret;
		touch(inode, dirty);
	}
	return ret;
}

/* Direct writes go by the page cache, too. */
static ssize_t write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	if (iocb->ki_flags & IOCB_NOWAIT)
		return -EAGAIN;
	inode_lock(inode);
	ret = write_locked(iocb, from);
	inode_unlock(inode);
	return ret > 0 ? generic_write_sync(iocb, ret) : ret;
}

static struct folio *find_locked(const struct bc_back_block *locked, const struct folio *folio)
{
	u32 i;

	for (i = 0; i < locked->count; i++) {
		if (locked->folio[i] == folio)
			return locked->folio[i];
	}
	return NULL;
}

static vm_fault_t make_writable(struct vm_fault *vmf)
{
	struct address_space *mapping = vmf->vma->vm_file->f_mapping;
	struct bc_dirty *dirty = bc_back_of(mapping->host);
	u64 block = vmf->pgoff / BC_BACK_PAGES;
	struct bc_back_block locked;
	struct folio *folio;
	u32 count;
	int error;

	count = bc_back_pages(block, i_size_read(mapping->host));
	if (vmf->pgoff % BC_BACK_PAGES >= count)
		return VM_FAULT_SIGBUS;
	error = bc_back_lock(mapping, dirty, block, count, 0, 0, false, &locked);
	if (error)
		return error == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
	folio = find_locked(&locked, page_folio(vmf->page));
	if (folio)
		bc_back_dirty(mapping, dirty, block, &locked);
	bc_back_unlock(&locked, folio);
	/* It was truncated, or reclaimed: the fault begins anew. */
	return folio ? VM_FAULT_LOCKED : VM_FAULT_NOPAGE;
}

static vm_fault_t page_mkwrite(struct vm_fault *vmf)
{
	struct file *file = vmf->vma->vm_file;
	struct inode *inode = file_inode(file);
	vm_fault_t ret;

	sb_start_pagefault(inode->i_sb);
	touch(inode, bc_back_of(file->f_mapping->host));
	filemap_invalidate_lock_shared(file->f_mapping);
	ret = make_writable(vmf);
	filemap_invalidate_unlock_shared(file->f_mapping);
	sb_end_pagefault(inode->i_sb);
	return ret;
}

static const struct vm_operations_struct vm_operations = {
	.fault = filemap_fault,
	.map_pages = filemap_map_pages,
	.page_mkwrite = page_mkwrite,
};

static int mmap(struct file *file, struct vm_area_struct *vma)
{
	file_accessed(file);
	if (vma->vm_flags & VM_SHARED && vma->vm_flags & VM_MAYWRITE)
		WRITE_ONCE(BC_I(file->f_mapping->host)->mapped, true);
	vma->vm_ops = &vm_operations;
	return 0;
}

/* What was cut off before and was not made durable must be, before other bytes are cut off. */
static int finish_cut(struct inode *mapping, struct bc_dirty *dirty, loff_t size)
{
	int error = 0;

	if (!bc_dirty_can_truncate(dirty, size))
		error = bc_back_sync(mapping, dirty, NULL);
	if (!error && !bc_dirty_can_truncate(dirty, size))
		error = -EIO;
	return error;
}

static bool has_tail(struct bc_dirty *dirty, loff_t size)
{
	u64 block = size >> BC_BLOCK_SHIFT;

	return size & (BC_BLOCK_SIZE - 1) &&
	       (bc_dirty_stored(dirty, block) || bc_dirty_is(dirty, block));
}

/* The block that the new end lies in is written again, without what is behind. */
static int lock_tail(struct inode *mapping, struct bc_dirty *dirty, loff_t size,
		     struct bc_back_block *locked)
{
	u64 block = size >> BC_BLOCK_SHIFT;

	locked->count = 0;
	if (!has_tail(dirty, size))
		return 0;
	return bc_back_lock(mapping->i_mapping, dirty, block, bc_back_pages(block, size), 0, 0,
			    false, locked);
}

/*
 * All that can fail comes first. With the invalidate lock nobody makes pages behind the new end
 * valid by what is about to be cut off, until it is.
 */
static int shrink(struct inode *inode, struct inode *mapping, struct bc_dirty *dirty, loff_t size)
{
	struct bc_back_block locked;
	int error;

	error = finish_cut(mapping, dirty, size);
	/* Room is waited for here, not with the lock. */
	if (!error && has_tail(dirty, size))
		error = bc_dirty_reserve(dirty, size >> BC_BLOCK_SHIFT, false);
	if (error)
		return error;
	filemap_invalidate_lock(mapping->i_mapping);
	error = lock_tail(mapping, dirty, size, &locked);
	if (error)
		goto out;
	set_size(inode, mapping, dirty, size);
	if (locked.count) {
		bc_back_zero_behind(&locked, size);
		bc_back_dirty(mapping->i_mapping, dirty, size >> BC_BLOCK_SHIFT, &locked);
		bc_back_unlock(&locked, NULL);
	}
	truncate_pagecache(mapping, size);
	bc_dirty_truncate(dirty, size);
out:
	filemap_invalidate_unlock(mapping->i_mapping);
	return error;
}

/* Pages behind the old end that somebody reads already are zeroes, as nothing of them is stored. */
static void grow(struct inode *inode, struct inode *mapping, struct bc_dirty *dirty, loff_t old,
		 loff_t size)
{
	filemap_invalidate_lock(mapping->i_mapping);
	bc_back_zero_tail(mapping->i_mapping, old);
	set_size(inode, mapping, dirty, size);
	filemap_invalidate_unlock(mapping->i_mapping);
}

/**
 * bc_back_resize - cut a dirty file off, or make it longer by zeroes
 * @inode: visible inode, its lock held
 * @dirty: its object
 * @size: new
 *
 * Return: 0 or errno.
 */
int bc_back_resize(struct inode *inode, struct bc_dirty *dirty, loff_t size)
{
	struct inode *mapping = bc_back_mapping(inode->i_sb, dirty);
	loff_t old;
	int error = 0;

	if (IS_ERR(mapping))
		return PTR_ERR(mapping);
	old = i_size_read(mapping);
	if (size < old)
		error = shrink(inode, mapping, dirty, size);
	else if (size > old)
		grow(inode, mapping, dirty, old, size);
	if (!error)
		touch(inode, dirty);
	iput(mapping);
	return error;
}

static int release(struct inode *inode, struct file *file)
{
	struct bc_file *bf = file->private_data;

	if (file->f_mode & FMODE_WRITE) {
		bc_dirty_writer(bc_back_of(bf->mapping), -1);
		bc_back_closed(BC_M(inode->i_sb));
	}
	iput(bf->mapping);
	kfree(bf);
	atomic64_dec(&BC_M(inode->i_sb)->open_files);
	return 0;
}

const struct file_operations bc_back_file_operations = {
	.owner = THIS_MODULE,
	.open = bc_open,
	.release = release,
	.llseek = generic_file_llseek,
	.read_iter = read_iter,
	.write_iter = write_iter,
	.splice_read = filemap_splice_read,
	.splice_write = iter_file_splice_write,
	.mmap = mmap,
	.fsync = fsync,
};
