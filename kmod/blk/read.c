// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bios of a disk: each is one read of the engine.
 *
 * The queue's limits have bios split where chunks end, so that nothing is cut here. A bio belongs
 * to the engine from bc_read() until done(), which ends it, in any context. Whoever sent it has
 * the device open until then, and that keeps the disk and its object.
 *
 * The disk takes bios, not requests. A hit is a bio to the device of a tier, and the block layer
 * has an order for bios that are sent while one is being sent; from a driver's queue_rq() they
 * would go to the plug that is being flushed just then, or wait for a place in a queue whose
 * places that very plug holds. A worker between the two would cost each hit a switch. Nothing here
 * waits for the daemon or the store: fills end by a deadline of the engine's.
 */
#include <linux/bio.h>
#include <linux/sched/mm.h>

#include "blk.h"
#include "disk.h"

/* Reads that go on when there is no memory for more. */
#define READS_MIN	64

/* One bio on its way. */
struct read {
	struct bc_io io;
	struct bio *bio;		/* the sender's */
	unsigned long start_time;	/* for statistics */
	struct bio own;			/* never sent: may have the table of segments */
};

static struct bio_set reads;

/*
 * A page cache asks for a page a second time when what it read ahead did not come, and once more
 * for each reader who waits for the page, one after the other. Each of them would wait for the
 * disk's deadline anew. So who comes for a chunk soon after a read of it has waited in vain gets a
 * moment only: that is for who has luck, and for what has come to a tier meanwhile.
 */
#define OVERDUE_SOON	(2 * HZ)
#define OVERDUE_TIME	HZ

static u64 *overdue_of(struct bc_disk *disk, u64 pos)
{
	return &disk->overdue[(pos >> BC_CHUNK_SHIFT) % BC_DISK_OVERDUE];
}

static void note_overdue(struct bc_disk *disk, u64 pos)
{
	WRITE_ONCE(*overdue_of(disk, pos), pos >> BC_CHUNK_SHIFT << 32 | (u32)jiffies);
}

/* Return: until when a read that begins now waits; 0 = as the disk has it. */
static unsigned long wait_until(struct bc_disk *disk, u64 pos)
{
	u64 overdue = READ_ONCE(*overdue_of(disk, pos));

	if (likely(!overdue) || overdue >> 32 != pos >> BC_CHUNK_SHIFT ||
	    (u32)jiffies - (u32)overdue > OVERDUE_SOON)
		return 0;
	return (jiffies + OVERDUE_TIME) ?: 1;
}

static void note_stale(struct bc_disk *disk)
{
	if (xchg(&disk->stale, true))
		return;
	pr_err("disk %s: the store has version %s of %s no longer: what of it is not cached cannot be read; refresh the disk when nobody has it open (cachectl disk refresh)\n",
	       disk->options.name, disk->version.etag, disk->options.path);
}

/* Any context. */
static void read_done(struct bc_io *io, int error)
{
	struct read *read = container_of(io, struct read, io);
	struct bio *bio = read->bio;

	if (error == -ESTALE)
		note_stale(bio->bi_bdev->bd_disk->private_data);
	else if (error == -ETIMEDOUT)
		note_overdue(bio->bi_bdev->bd_disk->private_data, io->pos);
	/* A part that was split off may have failed before: that stays. */
	if (error)
		bio->bi_status = errno_to_blk_status(error);
	bio_end_io_acct(bio, read->start_time);
	bio_put(&read->own);
	/* The device may be closed from here on. */
	bio_endio(bio);
}

static u32 count_segments(const struct bio *bio)
{
	struct bvec_iter iter;
	struct bio_vec bvec;
	u32 count = 0;

	bio_for_each_bvec(bvec, bio, iter)
		count++;
	return count;
}

/* Is the bio's table just what is read? Then it has as many bytes: what is left of one has less. */
static bool is_whole(struct bio *bio)
{
	u32 bytes = 0, i;

	/* Of a clone's table others may say how long it is. */
	if (bio_flagged(bio, BIO_CLONED))
		return false;
	for (i = 0; i < bio->bi_vcnt; i++)
		bytes += bio->bi_io_vec[i].bv_len;
	return bytes == bio->bi_iter.bi_size;
}

/* Of small reads nothing is written down: those of many processors would share the line. */
static bool is_long(u32 length)
{
	return length >= BC_BLOCK_SIZE;
}

static bool goes_on(struct bc_disk *disk, u64 pos, u32 length)
{
	return is_long(length) && bc_streams_follow(&disk->streams, pos, pos + length);
}

static void read_ahead(struct bc_disk *disk, u64 pos, u32 length)
{
	if (is_long(length))
		bc_streams_read(&disk->streams, disk->object, pos, pos + length,
				bc_streams_window());
}

static void copy_segments(struct bc_io *io, const struct bio *bio, struct bio_vec *to)
{
	struct bvec_iter iter;
	struct bio_vec bvec;

	io->bvecs = to;
	bio_for_each_bvec(bvec, bio, iter)
		io->bvecs[io->nr_bvecs++] = bvec;
}

static struct read *read_new(struct bc_disk *disk, struct bio *bio)
{
	bool whole = is_whole(bio);
	struct bio *own = bio_alloc_bioset(NULL, whole ? 0 : count_segments(bio), REQ_OP_READ,
					   GFP_NOIO, &reads);
	struct read *read = container_of(own, struct read, own);
	struct bc_io *io = &read->io;

	read->bio = bio;
	memset(io, 0, sizeof(*io));
	if (whole) {
		io->bvecs = bio->bi_io_vec;
		io->nr_bvecs = bio->bi_vcnt;
	} else {
		copy_segments(io, bio, own->bi_io_vec);
	}
	io->object = disk->object;
	io->pos = bio->bi_iter.bi_sector << SECTOR_SHIFT;
	io->length = bio->bi_iter.bi_size;
	/* Read-ahead of the page cache's, too: the page that somebody waits for is among it. */
	io->priority = BC_PRIORITY_DEMAND;
	/* It may be memory of a process, or a part of a page. */
	io->foreign = true;
	io->sequential = goes_on(disk, io->pos, io->length);
	io->deadline = wait_until(disk, io->pos);
	io->done = read_done;
	return read;
}

static bool in_one_chunk(const struct bc_io *io)
{
	return io->pos >> BC_CHUNK_SHIFT == (io->pos + io->length - 1) >> BC_CHUNK_SHIFT;
}

void bc_disk_submit(struct bio *bio)
{
	struct bc_disk *disk = bio->bi_bdev->bd_disk->private_data;
	unsigned int noio;
	struct read *read;
	u64 pos;
	u32 length;

	/* A read-only disk gets writes, too: some kernels only warn of them. */
	if (bio_op(bio) != REQ_OP_READ) {
		bio->bi_status = BLK_STS_NOTSUPP;
		bio_endio(bio);
		return;
	}
	bio = bio_split_to_limits(bio);
	if (!bio)
		return;
	if (!bio->bi_iter.bi_size) {
		bio_endio(bio);
		return;
	}
	/* Memory must not come from what waits for this disk. */
	noio = memalloc_noio_save();
	read = read_new(disk, bio);
	pos = read->io.pos;
	length = read->io.length;
	read->start_time = bio_start_io_acct(bio);
	if (WARN_ON_ONCE(!in_one_chunk(&read->io)))
		read_done(&read->io, -EIO);
	else
		bc_read(&read->io);
	/* The bio may be gone, and the device closed: the disk is there until this returns. */
	read_ahead(disk, pos, length);
	memalloc_noio_restore(noio);
}

int bc_blk_init(void)
{
	return bioset_init(&reads, READS_MIN, offsetof(struct read, own), BIOSET_NEED_BVECS);
}

void bc_blk_exit(void)
{
	bioset_exit(&reads);
}
