// SPDX-License-Identifier: GPL-2.0-only
/*
 * Past the cache: what an open file does with the lower file.
 *
 * Files open for writing have the lower file open for writing; their bytes go
 * there, and nothing of ours is ever dirty. Who reads a path that somebody
 * writes, or wrote a moment ago, reads the lower file too. An open file that
 * once went to the lower stays there, since what it read last may be newer than
 * what the cache has.
 *
 * A writer that comes counts up visible->writes; a file whose version was chosen
 * before sees that at its next read. A writer that does not come through this
 * mount keeps the lower inode's write count up, which open looks at.
 *
 * The lower is called by the caller itself, who waits for it as he would without
 * us. What he waits for may change the file later, so it could not be left behind.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fadvise.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/splice.h>
#include <linux/timekeeping.h>
#include <linux/uio.h>

#include "back.h"
#include "fs.h"

static struct bc_mount *mount_of(struct file *file)
{
	return BC_M(file_inode(file)->i_sb);
}

/**
 * bc_file_open_lower - from now on read the lower file
 * @file: ours
 *
 * Killable, bounded by the mount's deadline. Return: 0, or as bc_lower_open().
 */
int bc_file_open_lower(struct file *file)
{
	struct bc_file *bf = file->private_data;
	struct file *lower;
	struct path path;
	int error;

	error = bc_dentry_lower(file_dentry(file), &path, NULL);
	if (error)
		return error;
	error = bc_lower_open(mount_of(file), &path, O_RDONLY, &lower);
	path_put(&path);
	if (error)
		return error;
	if (cmpxchg_release(&bf->lower, NULL, lower))
		fput(lower);
	return 0;
}

static bool is_bound(const struct bc_file *bf)
{
	enum bc_inode_kind kind = smp_load_acquire(&BC_I(bf->mapping)->kind); /* see is_unbound() */

	return kind == BC_INODE_STORE || kind == BC_INODE_LOWER;
}

/* Was it, or a directory above, renamed, or was it removed? Then its path may be another file's. */
static bool gone_from_path(struct file *file)
{
	struct bc_dentry *info = file_dentry(file)->d_fsdata;

	if (READ_ONCE(BC_I(file_inode(file))->detached))
		return true;
	return unlikely(READ_ONCE(info->renames) != atomic64_read(&mount_of(file)->renames)) &&
	       !bc_dentry_in_place(file_dentry(file));
}

/**
 * bc_file_moved - has something happened since the version was chosen?
 * @file: ours, of a regular file
 *
 * Does not wait. Return: true also if it is not known: then bc_file_lower() finds out.
 */
bool bc_file_moved(struct file *file)
{
	struct bc_dentry *info = file_dentry(file)->d_fsdata;
	struct bc_inode *visible = BC_I(file_inode(file));
	struct bc_file *bf = file->private_data;

	return atomic_read(&visible->writes) != bf->writes || READ_ONCE(visible->detached) ||
	       READ_ONCE(info->renames) != atomic64_read(&mount_of(file)->renames);
}

/**
 * bc_file_lower - the lower file, if the file is read past the cache now
 * @file: ours, of a regular file
 *
 * Waits for the lower when it is the first to find that somebody wrote.
 * Return: lower file, good until @file is released; NULL; or ERR_PTR.
 */
struct file *bc_file_lower(struct file *file)
{
	struct bc_inode *visible = BC_I(file_inode(file));
	struct bc_file *bf = file->private_data;
	struct file *lower = READ_ONCE(bf->lower);
	bool written = atomic_read(&visible->writes) != bf->writes;
	int error;

	if (lower || likely(!written && !gone_from_path(file)))
		return lower;
	/*
	 * Renamed: where the rest of its version may be had, only the lower knows. Of one
	 * that was removed even that may not know any more what we have.
	 */
	if (!written && !visible->vfs.i_nlink && is_bound(bf))
		return NULL;
	error = bc_file_open_lower(file);
	return error ? ERR_PTR(error) : READ_ONCE(bf->lower);
}

/* dentry_open() does not ask whether the mounter may. */
static int access_of(const struct file *file)
{
	int access = MAY_OPEN | MAY_WRITE;

	if (file->f_mode & FMODE_READ)
		access |= MAY_READ;
	if (file->f_flags & O_APPEND)
		access |= MAY_APPEND;
	return access;
}

/* Opening the lower may cut it off, whatever happens then. */
static int mark_cut(struct file *file)
{
	struct bc_file *bf = file->private_data;

	if (!(file->f_flags & O_TRUNC))
		return 0;
	bf->written_at = ktime_get_real_seconds();
	return bc_version_written(file_dentry(file), bf->written_at);
}

static struct file *open_for_write(struct file *file)
{
	const unsigned int flags = O_ACCMODE | O_APPEND | O_TRUNC | O_DSYNC | __O_SYNC;
	struct bc_mount *mount = mount_of(file);
	const struct cred *old;
	struct file *lower;
	struct path path;
	int error;

	if (bc_lower_is_suspect(mount))
		return ERR_PTR(-EIO);
	error = bc_dentry_lower(file_dentry(file), &path, NULL);
	if (error)
		return ERR_PTR(error);
	old = override_creds(mount->creds);
	error = inode_permission(&nop_mnt_idmap, d_inode(path.dentry), access_of(file));
	if (!error)
		error = mark_cut(file);
	if (error)
		lower = ERR_PTR(error);
	else
		lower = dentry_open(&path, (file->f_flags & flags) | O_LARGEFILE, mount->creds);
	revert_creds(old);
	path_put(&path);
	return lower;
}

/* Return: 0; 1 if the file is written back: who made it so saw no writer; or -EINTR. */
static int become_writer(struct bc_inode *visible)
{
	struct inode *inode = &visible->vfs;
	bool back;

	if (!bc_is_back(inode->i_sb)) {
		atomic_inc(&visible->writers);
		return 0;
	}
	/* Who has it may wait for a lower that hangs. */
	if (down_write_killable(&inode->i_rwsem))
		return -EINTR;
	back = bc_back_of(inode);
	if (!back)
		atomic_inc(&visible->writers);
	inode_unlock(inode);
	return back;
}

/**
 * bc_file_open_write - open the lower file for writing too
 * @file: ours, open for writing; may have a lower file already
 *
 * Waits for the lower. Return: 0; 1 if the file is written back by now; or errno. A lower file that
 * was there is still the caller's, unless it returns 0.
 */
int bc_file_open_write(struct file *file)
{
	struct bc_inode *visible = BC_I(file_inode(file));
	struct bc_file *bf = file->private_data;
	struct file *lower = bf->lower;
	int error;

	/* First that there is a writer, then the identity, then the count: see open_read(). */
	error = become_writer(visible);
	if (error)
		return error;
	if (!lower)
		lower = open_for_write(file);
	if (IS_ERR(lower)) {
		atomic_dec(&visible->writers);
		return PTR_ERR(lower);
	}
	if (file->f_mode & FMODE_CREATED)
		bf->written_at = ktime_get_real_seconds();
	error = bc_version_written(file_dentry(file), bf->written_at);
	if (error) {
		atomic_dec(&visible->writers);
		if (!bf->lower)
			fput(lower);
		return error;
	}
	bf->lower = lower;
	atomic_inc_return_release(&visible->writes);
	return 0;
}

/**
 * bc_file_written - the lower file of an open file was written just now
 * @file: ours, open for writing
 */
void bc_file_written(struct file *file)
{
	struct bc_file *bf = file->private_data;

	bf->written_at = ktime_get_real_seconds();
	bc_visible_copy(file_inode(file), file_inode(bf->lower));
}

/**
 * bc_file_close - close the lower file
 * @file: ours, with a lower file, being released
 */
void bc_file_close(struct file *file)
{
	struct bc_inode *visible = BC_I(file_inode(file));
	struct bc_file *bf = file->private_data;

	if (file->f_mode & FMODE_WRITE) {
		if (bf->mapped)
			bf->written_at = ktime_get_real_seconds();
		if (bf->written_at)
			bc_visible_copy(&visible->vfs, file_inode(bf->lower));
		bc_dentry_expire(file_dentry(file));
		/* Without memory, what was recorded at its opening stays. */
		bc_version_written(file_dentry(file), bf->written_at);
		atomic_dec(&visible->writers);
	}
	fput(bf->lower);
}

/**
 * bc_file_read - read past the cache
 * @iocb: of our file
 * @to: where to
 * @lower: of bc_file_lower()
 */
ssize_t bc_file_read(struct kiocb *iocb, struct iov_iter *to, struct file *lower)
{
	const struct cred *old;
	ssize_t ret;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	if (iocb->ki_flags & IOCB_NOWAIT)
		return -EAGAIN;
	old = override_creds(mount_of(iocb->ki_filp)->creds);
	ret = vfs_iter_read(lower, to, &iocb->ki_pos, 0);
	revert_creds(old);
	return ret;
}

/**
 * bc_file_mmap - map the lower file in place of ours
 * @file: ours
 * @vma: not linked yet
 * @lower: of bc_file_lower()
 *
 * A lower that refuses such a mapping refuses it here. Called with mmap_lock.
 */
int bc_file_mmap(struct file *file, struct vm_area_struct *vma, struct file *lower)
{
	struct bc_file *bf = file->private_data;
	const struct cred *old;
	int error;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	if (!bc_can_mmap(lower))
		return -ENODEV;
	vma_set_file(vma, lower);
	old = override_creds(mount_of(file)->creds);
	error = vfs_mmap(lower, vma);
	revert_creds(old);
	/* Nobody tells us when it is written. */
	if (!error && vma->vm_flags & VM_SHARED && file->f_mode & FMODE_WRITE) {
		bf->mapped = true;
		bc_file_written(file);
	}
	return error;
}

/**
 * bc_file_llseek - seek in a file that is read past the cache
 * @file: ours
 * @offset: as lseek(2)
 * @whence: as lseek(2)
 * @lower: of bc_file_lower()
 */
loff_t bc_file_llseek(struct file *file, loff_t offset, int whence, struct file *lower)
{
	const struct cred *old;
	loff_t ret;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	if (whence == SEEK_SET || whence == SEEK_CUR)
		return generic_file_llseek(file, offset, whence);
	/* The lower's own position is nobody's. */
	old = override_creds(mount_of(file)->creds);
	ret = vfs_llseek(lower, offset, whence);
	revert_creds(old);
	return ret < 0 ? ret : vfs_setpos(file, ret, file_inode(file)->i_sb->s_maxbytes);
}

/**
 * bc_writer_creds - with which credentials the lower is written
 * @mount: mount
 * @lower: inode
 *
 * The mounter's; but who may not keep set-id bits must not do so by them. Return: borrowed.
 */
const struct cred *bc_writer_creds(struct bc_mount *mount, const struct inode *lower)
{
	if (lower->i_mode & (S_ISUID | S_ISGID) && !capable(CAP_FSETID))
		return mount->writer_creds;
	return mount->creds;
}

/* fcntl(2) may have changed it since the lower was opened. The inode's lock is held. */
static void pass_append(struct file *lower, bool append)
{
	if (!!(lower->f_flags & O_APPEND) == append)
		return;
	spin_lock(&lower->f_lock);
	lower->f_flags ^= O_APPEND;
	bc_file_flags_changed(lower);
	spin_unlock(&lower->f_lock);
}

/* Errors with which nothing was written. With others some may have been, as when a sync fails. */
static bool nothing_written(ssize_t ret)
{
	switch (ret) {
	case -EAGAIN:
	case -EACCES:
	case -EBADF:
	case -EFAULT:
	case -EFBIG:
	case -EINVAL:
	case -EOPNOTSUPP:
	case -EPERM:
	case -EROFS:
		return true;
	}
	return false;
}

static ssize_t write_locked(struct kiocb *iocb, struct iov_iter *from)
{
	const int flags = IOCB_APPEND | IOCB_DSYNC | IOCB_SYNC;
	struct file *file = iocb->ki_filp;
	struct bc_file *bf = file->private_data;
	loff_t pos = iocb->ki_pos;
	const struct cred *old;
	ssize_t ret;

	ret = file_remove_privs(file);
	if (ret)
		return ret;
	/* Of one write only, it is in the flags; a splice that runs meanwhile must not see it. */
	pass_append(bf->lower, file->f_flags & O_APPEND && iocb->ki_flags & IOCB_APPEND);
	old = override_creds(bc_writer_creds(mount_of(file), file_inode(bf->lower)));
	ret = bc_iter_write(bf->lower, from, &pos, (__force rwf_t)(iocb->ki_flags & flags));
	revert_creds(old);
	if (ret > 0)
		iocb->ki_pos = pos;
	if (!nothing_written(ret))
		bc_file_written(file);
	return ret;
}

/**
 * bc_file_write_iter - file_operations.write_iter
 * @iocb: of our file
 * @from: what to write
 *
 * Direct writes too go to the lower's page cache.
 */
ssize_t bc_file_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	if (!iov_iter_count(from))
		return 0;
	if (iocb->ki_flags & IOCB_NOWAIT)
		return -EAGAIN;
	inode_lock(inode);
	ret = write_locked(iocb, from);
	inode_unlock(inode);
	return ret;
}

/**
 * bc_file_splice_write - file_operations.splice_write
 * @pipe: from
 * @file: ours, open for writing
 * @pos: where to; moved on
 * @length: bytes
 * @flags: as splice(2)
 *
 * Not by way of write_iter: the write of the lower must be started before the pipe is locked, as it
 * is when the lower is spliced into directly. And without our inode's lock, since it waits for
 * what comes through the pipe; the lower takes its own.
 */
ssize_t bc_file_splice_write(struct pipe_inode_info *pipe, struct file *file, loff_t *pos,
			     size_t length, unsigned int flags)
{
	struct inode *inode = file_inode(file);
	struct bc_file *bf = file->private_data;
	const struct cred *old;
	ssize_t ret;

	inode_lock(inode);
	ret = file_remove_privs(file);
	if (!ret)
		pass_append(bf->lower, false);
	inode_unlock(inode);
	if (ret)
		return ret;
	old = override_creds(bc_writer_creds(mount_of(file), file_inode(bf->lower)));
	file_start_write(bf->lower);
	ret = iter_file_splice_write(pipe, bf->lower, pos, length, flags);
	file_end_write(bf->lower);
	revert_creds(old);
	if (ret && !nothing_written(ret))
		bc_file_written(file);
	return ret;
}

/**
 * bc_file_fsync - file_operations.fsync
 * @file: ours
 * @start: first byte
 * @end: last byte
 * @datasync: as fdatasync(2)
 */
int bc_file_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct file *lower = bc_file_lower(file);
	const struct cred *old;
	int error;

	if (IS_ERR_OR_NULL(lower))
		return PTR_ERR_OR_ZERO(lower);
	old = override_creds(mount_of(file)->creds);
	error = vfs_fsync_range(lower, start, end, datasync);
	revert_creds(old);
	return error;
}

/**
 * bc_file_flush - file_operations.flush
 * @file: ours
 * @id: of the closer
 *
 * Lowers that upload on close do it here, and report what went wrong.
 */
int bc_file_flush(struct file *file, fl_owner_t id)
{
	struct bc_file *bf = file->private_data;
	struct file *lower = READ_ONCE(bf->lower);
	const struct cred *old;
	int error;

	/* Of a reader nothing is to be flushed, and it shall not wait for that. */
	if (!lower || !(lower->f_mode & FMODE_WRITE) || !lower->f_op->flush)
		return 0;
	old = override_creds(mount_of(file)->creds);
	error = lower->f_op->flush(lower, id);
	revert_creds(old);
	return error;
}

/**
 * bc_file_fallocate - file_operations.fallocate
 * @file: ours, open for writing
 * @mode: as fallocate(2)
 * @offset: first byte
 * @length: bytes
 */
long bc_file_fallocate(struct file *file, int mode, loff_t offset, loff_t length)
{
	struct inode *inode = file_inode(file);
	struct bc_file *bf = file->private_data;
	const struct cred *old;
	long error;

	inode_lock(inode);
	error = file_remove_privs(file);
	if (!error) {
		old = override_creds(bc_writer_creds(mount_of(file), file_inode(bf->lower)));
		error = vfs_fallocate(bf->lower, mode, offset, length);
		revert_creds(old);
		if (!nothing_written(error))
			bc_file_written(file);
	}
	inode_unlock(inode);
	return error;
}
