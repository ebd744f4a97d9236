// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct reads: from the tier, or from a fill, into the caller's memory, past the page cache.
 *
 * A read is cut into parts of one chunk each. Its life is counted in @pending: one for who starts
 * the parts, one for each part; whoever drops the last ends it. A caller who waits frees it. One
 * who is killed leaves it behind, with a reference to the object, since the file may be closed
 * before the device or the store is done with his pages; a worker frees it then. Of an asynchronous
 * read the end tells the caller, whose request holds the file until then.
 *
 * Only what a tier may keep is read so, in whole pages: for the rest, and for memory or lengths
 * that do not fit, the page cache does, which is right and may be slower.
 */
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "fs.h"

/* Started at once, for one read: bounds its fills. */
#define WINDOW		(16 * BC_CHUNK_SIZE)

/* Pages taken from an iterator in one call. */
#define BATCH		32

enum state {
	WAITING,		/* the caller is there, or is asynchronous */
	ABANDONED,		/* the caller was killed */
	ENDED,
};

struct part {
	struct bc_io io;
	struct direct *direct;
	struct part *next;
	int error;
	struct bio_vec bvecs[];
};

struct direct {
	struct kiocb *iocb;		/* whom to tell, if asynchronous */
	struct bc_inode *mapping;	/* good until ENDED or ABANDONED */
	struct bc_object *object;	/* holds a reference if ABANDONED */
	atomic_t pending;		/* see above */
	int state;			/* enum state, by xchg() and cmpxchg() */
	bool held;			/* the pages are pinned or referenced */
	bool user;			/* they are a process's memory */
	bool sequential;		/* it goes on where another read ended */
	struct part *parts;		/* in order of positions */
	struct part **tail;
	struct completion done;
	struct work_struct work;
};

static struct workqueue_struct *direct_wq;

static bool is_clean(struct page *page)
{
	return !PageDirty(page);
}

static bool any_clean(const struct direct *direct)
{
	const struct part *part;
	u32 i;

	for (part = direct->parts; part; part = part->next) {
		for (i = 0; i < part->io.nr_bvecs; i++) {
			if (is_clean(part->bvecs[i].bv_page))
				return true;
		}
	}
	return false;
}

/* @dirty: pages may have been cleaned since they were made dirty; may sleep. */
static void put_pages(const struct direct *direct, struct part *part, bool dirty)
{
	u32 i;

	for (i = 0; i < part->io.nr_bvecs; i++) {
		struct page *page = part->bvecs[i].bv_page;

		if (dirty && is_clean(page))
			set_page_dirty_lock(page);
		if (direct->held)
			bc_iter_page_put(page);
	}
}

static void direct_free(struct direct *direct, bool dirty)
{
	struct part *part, *next;

	for (part = direct->parts; part; part = next) {
		next = part->next;
		put_pages(direct, part, dirty);
		kfree(part);
	}
	kfree(direct);
}

/* Bytes up to the first that could not be read, or why there is none. */
static ssize_t direct_result(const struct direct *direct)
{
	const struct part *part;
	ssize_t bytes = 0;

	for (part = direct->parts; part; part = part->next) {
		if (part->error == -ESTALE)
			WRITE_ONCE(direct->mapping->gone, true);
		if (part->error)
			/* The page cache says EIO for the rest, too. */
			return bytes ?: part->error == -ESTALE ? -ESTALE : -EIO;
		bytes += part->io.length;
	}
	return bytes;
}

static void tell_caller(struct direct *direct, bool dirty)
{
	struct kiocb *iocb = direct->iocb;
	ssize_t ret = direct_result(direct);

	if (ret > 0)
		iocb->ki_pos += ret;
	direct_free(direct, dirty);
	/* It may close the file, after which nothing holds the mapping inode. */
	iocb->ki_complete(iocb, ret);
}

static void direct_work(struct work_struct *work)
{
	struct direct *direct = container_of(work, struct direct, work);
	struct bc_object *object = direct->object;

	if (direct->iocb) {
		tell_caller(direct, direct->user);
		return;
	}
	direct_free(direct, direct->user);
	bc_object_put(object);
}

/* Drop one of @pending. Any context. */
static void direct_put(struct direct *direct)
{
	if (!atomic_dec_and_test(&direct->pending))
		return;
	if (direct->iocb) {
		/* To make a page dirty again takes its lock; one cleaned later has the bytes. */
		if (direct->user && any_clean(direct))
			queue_work(direct_wq, &direct->work);
		else
			tell_caller(direct, false);
	} else if (xchg(&direct->state, ENDED) == ABANDONED) {
		queue_work(direct_wq, &direct->work);
	} else {
		complete(&direct->done);
	}
}

static void part_done(struct bc_io *io, int error)
{
	struct part *part = container_of(io, struct part, io);

	part->error = error;
	direct_put(part->direct);
}

static struct direct *direct_new(struct kiocb *iocb, const struct iov_iter *to, bool async)
{
	struct bc_file *bf = iocb->ki_filp->private_data;
	struct direct *direct = kzalloc(sizeof(*direct), GFP_KERNEL);

	if (!direct)
		return NULL;
	direct->iocb = async ? iocb : NULL;
	direct->mapping = BC_I(bf->mapping);
	direct->object = direct->mapping->object;
	atomic_set(&direct->pending, 1);
	direct->state = WAITING;
	direct->held = bc_iter_pages_held(to);
	direct->user = user_backed_iter(to);
	direct->sequential = bc_ahead_follows(iocb->ki_filp, iocb->ki_pos,
					      iocb->ki_pos + iov_iter_count(to));
	direct->tail = &direct->parts;
	init_completion(&direct->done);
	INIT_WORK(&direct->work, direct_work);
	return direct;
}

/* Add pages of the iterator until the part is @length long. */
static int part_fill(struct part *part, struct iov_iter *to, u32 length)
{
	struct page *pages[BATCH];
	size_t offset;
	ssize_t got;
	u32 i;

	while (part->io.length < length) {
		got = bc_iter_pages(to, pages, length - part->io.length, BATCH, &offset);
		if (got <= 0)
			return got ?: -EFAULT;
		part->io.length += got;
		for (i = 0; got; i++) {
			struct bio_vec *bvec = &part->bvecs[part->io.nr_bvecs++];

			bvec->bv_page = pages[i];
			bvec->bv_offset = offset;
			bvec->bv_len = min_t(size_t, got, PAGE_SIZE - offset);
			got -= bvec->bv_len;
			offset = 0;
			if (part->direct->user && is_clean(pages[i]))
				set_page_dirty_lock(pages[i]);
		}
	}
	return 0;
}

/* The next part, of @length bytes at @pos. Return: or ERR_PTR, and the iterator is where it was. */
static struct part *part_new(struct direct *direct, u64 pos, struct iov_iter *to, u32 length)
{
	u32 count = (length >> PAGE_SHIFT) + 1;	/* they need not begin with a page */
	struct part *part = kmalloc(struct_size(part, bvecs, count), GFP_KERNEL);
	int error;

	if (!part)
		return ERR_PTR(-ENOMEM);
	memset(part, 0, sizeof(*part));
	part->direct = direct;
	part->io.object = direct->object;
	part->io.pos = pos;
	part->io.bvecs = part->bvecs;
	part->io.priority = BC_PRIORITY_DEMAND;
	part->io.sequential = direct->sequential;
	part->io.foreign = true;
	part->io.done = part_done;
	error = part_fill(part, to, length);
	if (error) {
		iov_iter_revert(to, part->io.length);
		put_pages(direct, part, false);
		kfree(part);
		return ERR_PTR(error);
	}
	return part;
}

/* What a bio takes: pages that begin anywhere are one more than their bytes would fill. */
static size_t part_most(const struct iov_iter *to)
{
	return (size_t)(BIO_MAX_VECS - !!(iov_iter_alignment(to) & ~PAGE_MASK)) << PAGE_SHIFT;
}

/* Start up to WINDOW bytes at @pos. Return: how many, or errno if none. */
static ssize_t direct_start(struct direct *direct, u64 pos, struct iov_iter *to)
{
	ssize_t started = 0, error = 0;
	size_t most = part_most(to);
	struct blk_plug plug;

	blk_start_plug(&plug);
	while (iov_iter_count(to) && started < WINDOW) {
		size_t in_chunk = BC_CHUNK_SIZE - (pos & (BC_CHUNK_SIZE - 1));
		u32 length = min3(iov_iter_count(to), most, in_chunk);
		struct part *part = part_new(direct, pos, to, length);

		if (IS_ERR(part)) {
			error = PTR_ERR(part);
			break;
		}
		*direct->tail = part;
		direct->tail = &part->next;
		atomic_inc(&direct->pending);
		bc_read(&part->io);
		pos += length;
		started += length;
	}
	blk_finish_plug(&plug);
	return started ?: error;
}

/* Return: false if the caller was killed; then @direct is not his any more. */
static bool direct_wait(struct direct *direct)
{
	/* Memory that nothing holds but its owner's patience. */
	if (!direct->user) {
		wait_for_completion(&direct->done);
		return true;
	}
	if (!wait_for_completion_killable(&direct->done))
		return true;
	bc_object_get(direct->object);
	if (cmpxchg(&direct->state, WAITING, ABANDONED) == WAITING)
		return false;
	bc_object_put(direct->object);
	/* It ended just now. */
	wait_for_completion(&direct->done);
	return true;
}

static ssize_t read_async(struct kiocb *iocb, struct iov_iter *to)
{
	struct direct *direct = direct_new(iocb, to, true);
	u64 pos = iocb->ki_pos;
	ssize_t ret;

	if (!direct)
		return -ENOMEM;
	ret = direct_start(direct, pos, to);
	if (ret < 0) {
		direct_free(direct, false);
		return ret;
	}
	/* The request, and with it the file, is there until the last of @pending is dropped. */
	bc_ahead(iocb->ki_filp, pos, pos + ret);
	direct_put(direct);
	return -EIOCBQUEUED;
}

/* One window. */
static ssize_t read_sync(struct kiocb *iocb, struct iov_iter *to)
{
	struct direct *direct = direct_new(iocb, to, false);
	size_t count = iov_iter_count(to);
	u64 pos = iocb->ki_pos;
	ssize_t ret, started;

	if (!direct)
		return -ENOMEM;
	started = direct_start(direct, pos, to);
	if (started < 0) {
		direct_free(direct, false);
		return started;
	}
	bc_ahead(iocb->ki_filp, pos, pos + started);
	direct_put(direct);
	if (!direct_wait(direct))
		return -EINTR;
	ret = direct_result(direct);
	direct_free(direct, direct->user);
	if (ret > 0)
		iocb->ki_pos += ret;
	iov_iter_revert(to, count - iov_iter_count(to) - max(ret, 0L));
	return ret;
}

static ssize_t read_buffered(struct kiocb *iocb, struct iov_iter *to)
{
	iocb->ki_flags &= ~IOCB_DIRECT;
	return generic_file_read_iter(iocb, to);
}

/* Can the memory be cut into parts of whole pages? */
static bool memory_fits(const struct iov_iter *to)
{
	if (!user_backed_iter(to) && !iov_iter_is_bvec(to))
		return false;
	/* One piece may begin anywhere. */
	return !(iov_iter_alignment(to) & ~PAGE_MASK) || iter_is_ubuf(to) ||
	       (to->nr_segs == 1 && !iov_iter_is_bvec(to));
}

/*
 * What is in the page cache, and not on the tier, is there without asking the store, which may not
 * have it any more.
 */
static bool better_buffered(struct bc_inode *mapping, u64 pos, u64 end)
{
	u64 next;

	if (!READ_ONCE(mapping->vfs.i_mapping->nrpages))
		return false;
	for (; pos < end; pos = next) {
		next = min(round_up(pos + 1, BC_CHUNK_SIZE), end);
		if (!bc_resident_part(mapping->object, pos, next) &&
		    filemap_range_has_page(mapping->vfs.i_mapping, pos, next - 1))
			return true;
	}
	return false;
}

/* Whole pages; the iterator is no longer than what is there of them. */
static ssize_t read_pages(struct kiocb *iocb, struct iov_iter *to)
{
	ssize_t ret, bytes = 0;

	while (iov_iter_count(to)) {
		ret = read_sync(iocb, to);
		if (ret <= 0)
			return bytes ?: ret;
		bytes += ret;
		if (ret < WINDOW)
			break;
	}
	return bytes;
}

/**
 * bc_direct_read - read with O_DIRECT
 * @iocb: of our file, whose mapping inode is bound
 * @to: where to
 *
 * What is not aligned to BC_DIRECT_ALIGN comes from the page cache: the Blob mounts below take any
 * alignment, and so do programs that were written for them.
 * Return: as file_operations.read_iter.
 */
ssize_t bc_direct_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct bc_file *bf = iocb->ki_filp->private_data;
	struct bc_inode *mapping = BC_I(bf->mapping);
	u64 size = i_size_read(bf->mapping), pos = iocb->ki_pos, end;
	size_t count = iov_iter_count(to), beyond;
	ssize_t ret, more;

	if (!count || pos >= size)
		return 0;
	end = round_down(min(pos + count, size), PAGE_SIZE);
	if ((user_backed_iter(to) && iov_iter_alignment(to) & (BC_DIRECT_ALIGN - 1)) ||
	    (pos | count) & ~PAGE_MASK || end <= pos || !memory_fits(to) ||
	    !bc_cacheable(mapping->object) || better_buffered(mapping, pos, end))
		return read_buffered(iocb, to);
	if (iocb->ki_flags & IOCB_NOWAIT)
		return -EAGAIN;

	beyond = pos + count - end;
	iov_iter_truncate(to, end - pos);
	if (!is_sync_kiocb(iocb) && !beyond && count <= WINDOW)
		return read_async(iocb, to);
	ret = read_pages(iocb, to);
	iov_iter_reexpand(to, iov_iter_count(to) + beyond);
	/* The last page is not full. */
	if (ret == end - pos && end < size && beyond) {
		more = read_buffered(iocb, to);
		ret = more < 0 ? ret : ret + more;
	}
	return ret;
}

int bc_direct_init(void)
{
	direct_wq = alloc_workqueue("blobcache-direct", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return direct_wq ? 0 : -ENOMEM;
}

void bc_direct_exit(void)
{
	destroy_workqueue(direct_wq);
}
