// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads of chunks on a tier. tier_store.c writes them.
 *
 * A read pins its index entry and holds a reference to the tier from lookup
 * until the bytes are in the caller's segments. Blocks not yet verified since
 * attach are read whole, and their checksums computed in a worker: in place if
 * the read covers them, else in pages of our own.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "fill.h"
#include "netlink.h"
#include "segment.h"
#include "stats.h"
#include "tier.h"
#include "trace.h"

struct bio_set bc_tier_bioset;
struct workqueue_struct *bc_table_wq;

/* This many I/O errors without a success between them: the device is gone. */
#define ERRORS_MAX	16

static void failed_work(struct work_struct *work)
{
	struct bc_tier *tier = container_of(work, struct bc_tier, failed_work);

	struct bc_tier *found = bc_tier_named(tier->name);

	/* Of one that is being detached more is told when it is. */
	if (!found)
		return;
	bc_netlink_announce_tier(tier->name);
	bc_tier_put(found);
}

int bc_tier_io_prepare(struct bc_tier *tier)
{
	INIT_WORK(&tier->failed_work, failed_work);
	tier->verify_wq = alloc_workqueue("blobcache-verify",
					  WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_HIGHPRI, 0);
	return tier->verify_wq ? 0 : -ENOMEM;
}

void bc_tier_io_finish(struct bc_tier *tier)
{
	/* Reads that go on elsewhere may be in it still. */
	destroy_workqueue(tier->verify_wq);
}

void bc_tier_io_result(struct bc_tier *tier, int rw, int error)
{
	/* A device that only reads still serves what it has, and is home to nothing. */
	bool *failed = rw == WRITE ? &tier->read_only : &tier->failed;
	atomic_t *errors = &tier->errors[rw];

	if (likely(!error)) {
		if (unlikely(atomic_read(errors)))
			atomic_set(errors, 0);
		return;
	}
	if (atomic_inc_return(errors) != ERRORS_MAX || xchg(failed, true))
		return;
	bc_tier_homes();
	pr_err("%s: %d %s errors in a row: tier %s; replace the device, then detach it\n",
	       tier->name, ERRORS_MAX, rw == WRITE ? "write" : "read",
	       rw == WRITE ? "keeps nothing more" : "serves no more");
	queue_work(bc_table_wq, &tier->failed_work);
}

static u32 valid_length(const struct bc_io *io)
{
	u32 offset = io->pos & (BC_CHUNK_SIZE - 1);

	return offset < io->bytes ? min(io->length, io->bytes - offset) : 0;
}

/* Bytes of one block of the extent. */
static u32 block_bytes(const struct bc_io *io, u32 block)
{
	return min(io->bytes - block * BC_BLOCK_SIZE, BC_BLOCK_SIZE);
}

static u32 bounce_first(const struct bc_io *io)
{
	return (io->pos & (BC_CHUNK_SIZE - 1)) >> BC_BLOCK_SHIFT;
}

/* Bytes from the start of the first needed block to the end of the last. */
static u32 bounce_length(const struct bc_io *io)
{
	u32 end = round_up((io->pos & (BC_CHUNK_SIZE - 1)) + valid_length(io), BC_BLOCK_SIZE);

	return min(end, io->bytes) - bounce_first(io) * BC_BLOCK_SIZE;
}

/* The entry of this read: unpin, free it if it died meanwhile, let the tier go. */
static void release_entry(struct bc_io *io)
{
	struct bc_tier *tier = io->tier;
	struct bc_place place;

	if (bc_index_unpin_last(&tier->index, io->entry, &place))
		bc_tier_free_place(tier, &place);
	bc_pages_free(io->bounce, DIV_ROUND_UP(bounce_length(io), PAGE_SIZE));
	io->bounce = NULL;
	bc_tier_put(tier);
}

/*
 * What could not be read is not used any more until the next attach: the same
 * chunk would come to the same place.
 */
static void retire_place(struct bc_tier *tier, const struct bc_place *place)
{
	spin_lock(&tier->lock);
	bc_clean_erase(tier, place);
	spin_unlock(&tier->lock);
}

/* @unreadable: not only is what is there no good, nothing else would be. */
static void drop_entry(struct bc_io *io, bool unreadable)
{
	struct bc_tier *tier = io->tier;
	struct bc_place place;

	if (!bc_index_remove_pinned(&tier->index, io->entry, &place)) {
		if (unreadable)
			retire_place(tier, &place);
		else
			bc_tier_free_place(tier, &place);
	}
	bc_pages_free(io->bounce, DIV_ROUND_UP(bounce_length(io), PAGE_SIZE));
	io->bounce = NULL;
	bc_tier_put(tier);
}

static bool block_good(const struct bc_io *io, u32 block, const struct bc_disk_desc *disk)
{
	u32 length = block_bytes(io, block);
	struct bc_desc desc;
	u32 crc;

	if (bc_desc_decode(disk, &desc) || desc.kind != BC_KIND_CLEAN || desc.length != length)
		return false;
	if (io->in_place)
		crc = bc_segments_crc(io->bvecs, io->nr_bvecs,
				      block * BC_BLOCK_SIZE - (io->pos & (BC_CHUNK_SIZE - 1)),
				      length);
	else
		crc = bc_pages_crc(io->bounce, (block - bounce_first(io)) * BC_BLOCK_SIZE, length);
	return crc == desc.crc;
}

/* Return: whether all blocks are good; if not, @io->error tells if that could not be found out. */
static bool verify_blocks(struct bc_io *io)
{
	struct bc_disk_desc descs[BC_FRAME_BLOCKS];
	unsigned long blocks = io->blocks;
	u32 block;

	/* The entry is pinned: its descriptors stay. */
	io->error = bc_clean_get(io->tier, io->frame, io->blocks << io->slot, descs);
	if (io->error)
		return false;
	for_each_set_bit(block, &blocks, BC_CHUNK_BLOCKS) {
		if (!block_good(io, block, &descs[io->slot + block])) {
			bc_stat_inc(BC_STAT_CRC_ERRORS);
			pr_warn_ratelimited("%s: checksum of a block in frame %u is wrong: dropped, fetched anew\n",
					    io->tier->name, io->frame);
			return false;
		}
		bc_stat_inc(BC_STAT_BLOCKS_VERIFIED);
	}
	bc_index_set_verified(&io->tier->index, io->entry, io->blocks);
	return true;
}

/* The read's second half in process context: verify, or go on after an error. */
static void finish_work(struct work_struct *work)
{
	struct bc_io *io = container_of(work, struct bc_io, work);
	u32 bytes = valid_length(io);
	bool unreadable = io->error;

	if (!io->error && (!io->blocks || verify_blocks(io))) {
		if (io->blocks && !io->in_place)
			bc_segments_from_pages(io->bvecs, io->nr_bvecs, io->bounce,
					       (io->pos & (BC_CHUNK_SIZE - 1)) -
					       bounce_first(io) * BC_BLOCK_SIZE, bytes);
		bc_segments_zero(io->bvecs, io->nr_bvecs, bytes);
		release_entry(io);
		io->done(io, 0);
		return;
	}
	if (unreadable)
		bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
	if (io->error)
		pr_warn_ratelimited("%s: read of %sframe %u failed (error %d): dropped, fetched anew\n",
				    io->tier->name, unreadable ? "" : "the descriptors of ",
				    io->frame, io->error);
	drop_entry(io, unreadable);
	bc_fill_read(io);
}

/* Blocks of a dead entry, which this read held last: their lock is not for where bios end. */
static void free_dead_work(struct work_struct *work)
{
	struct bc_io *io = container_of(work, struct bc_io, work);
	struct bc_place place = {
		.frame = io->frame,
		.slot = io->slot,
		.count = io->count,
	};
	struct bc_tier *tier = io->tier;

	bc_tier_free_place(tier, &place);
	io->done(io, 0);
	bc_tier_put(tier);
}

static void read_endio(struct bio *bio)
{
	struct bc_io *io = bio->bi_private;
	struct bc_tier *tier = io->tier;
	struct bc_place place;

	io->error = blk_status_to_errno(bio->bi_status);
	bio_put(bio);
	bc_tier_io_result(tier, READ, io->error);
	if (io->error || io->blocks) {
		queue_work(tier->verify_wq, &io->work);
		return;
	}
	bc_segments_zero(io->bvecs, io->nr_bvecs, valid_length(io));
	if (unlikely(bc_index_unpin_last(&tier->index, io->entry, &place))) {
		/* Another reader found a bad block in it. */
		io->count = place.count;
		INIT_WORK(&io->work, free_dead_work);
		queue_work(tier->verify_wq, &io->work);
		return;
	}
	io->done(io, 0);
	bc_tier_put(tier);
}

static struct bio *chunk_bio(struct bc_tier *tier, blk_opf_t op, const struct bc_io *io,
			     u32 offset, u32 nr_vecs)
{
	struct bio *bio = bio_alloc_bioset(tier->bdev.bdev, nr_vecs, op, GFP_NOFS, &bc_tier_bioset);

	bio->bi_iter.bi_sector = bc_tier_sector(tier, io->frame, io->slot, offset);
	return bio;
}

/*
 * Straight into the caller's segments. The device reads whole sectors; the rest is zeroed after.
 * The bio has no table of its own, as a clone has none: the caller's stays until done().
 */
static void read_direct(struct bc_io *io)
{
	struct bio *bio = chunk_bio(io->tier, REQ_OP_READ, io, io->pos & (BC_CHUNK_SIZE - 1), 0);

	bio_set_flag(bio, BIO_CLONED);
	bio->bi_io_vec = io->bvecs;
	bio->bi_vcnt = io->nr_bvecs;
	bio->bi_iter.bi_size = round_up(valid_length(io), io->tier->sector_mask + 1);
	bio->bi_end_io = read_endio;
	bio->bi_private = io;
	submit_bio(bio);
}

static void read_bounced(struct bc_io *io)
{
	u32 first = bounce_first(io), length = bounce_length(io);
	u32 nr = DIV_ROUND_UP(length, PAGE_SIZE), i;
	u32 left = round_up(length, io->tier->sector_mask + 1);
	struct bio *bio;

	io->bounce = bc_pages_alloc(nr, GFP_NOFS);
	if (!io->bounce) {
		release_entry(io);
		io->done(io, -ENOMEM);
		return;
	}
	bio = chunk_bio(io->tier, REQ_OP_READ, io, first * BC_BLOCK_SIZE, nr);
	for (i = 0; i < nr; i++) {
		u32 part = min_t(u32, left, PAGE_SIZE);

		__bio_add_page(bio, io->bounce[i], part, 0);
		left -= part;
	}
	bio->bi_end_io = read_endio;
	bio->bi_private = io;
	submit_bio(bio);
}

u16 bc_io_blocks(const struct bc_io *io, u32 bytes)
{
	u32 offset = io->pos & (BC_CHUNK_SIZE - 1);
	u32 end = min(offset + io->length, bytes);

	return offset < end ? GENMASK((end - 1) >> BC_BLOCK_SHIFT, offset >> BC_BLOCK_SHIFT) : 0;
}

/* Can the device write just this to the segments? The page cache's are whole pages. */
static bool device_reaches(const struct bc_io *io)
{
	u32 mask = bdev_dma_alignment(io->tier->bdev.bdev) | io->tier->sector_mask, i;

	if (likely(!io->foreign))
		return true;
	if (io->pos & io->tier->sector_mask)
		return false;
	for (i = 0; i < io->nr_bvecs; i++) {
		if ((io->bvecs[i].bv_offset | io->bvecs[i].bv_len) & mask)
			return false;
	}
	return true;
}

static bool covers_blocks(const struct bc_io *io)
{
	u32 offset = io->pos & (BC_CHUNK_SIZE - 1);
	u32 end = offset + io->length;

	return !(offset & (BC_BLOCK_SIZE - 1)) &&
	       (!(end & (BC_BLOCK_SIZE - 1)) || end >= io->bytes);
}

static void begin_read(struct bc_io *io, struct bc_tier *tier, const struct bc_hit *hit,
		       u32 bytes)
{
	INIT_WORK(&io->work, finish_work);
	io->tier = tier;
	io->entry = hit->id;
	io->frame = hit->place.frame;
	io->slot = hit->place.slot;
	io->bytes = bytes;
	io->bounce = NULL;
	io->error = 0;
	io->blocks = 0;
}

/* All its blocks are there. */
static void read_blocks(struct bc_io *io, u16 needed, u16 verified)
{
	bc_stat_inc(BC_STAT_HIT_READS);
	bc_stat_add(BC_STAT_HIT_BYTES, valid_length(io));
	trace_bc_read(io->pos, io->length, io->frame);
	/* What the device cannot write to is read, and verified, by way of pages of our own. */
	io->blocks = needed & ~(device_reaches(io) ? verified : 0);
	io->in_place = !io->foreign && covers_blocks(io);
	if (io->blocks)
		bc_clean_ahead(io->tier, io->frame, io->blocks << io->slot);
	if (!valid_length(io)) {
		bc_segments_zero(io->bvecs, io->nr_bvecs, 0);
		release_entry(io);
		io->done(io, 0);
	} else if (io->blocks && !io->in_place) {
		read_bounced(io);
	} else {
		read_direct(io);
	}
}

bool bc_tier_read(struct bc_io *io, u16 *valid)
{
	u32 chunk = io->pos >> BC_CHUNK_SHIFT, bytes = bc_chunk_bytes(io->object, chunk);
	struct bc_tier *tier;
	struct bc_hit hit;
	u16 needed;

	*valid = 0;
	tier = bc_tier_lookup(&io->object->key, chunk, bytes, &hit);
	if (!tier)
		return false;
	begin_read(io, tier, &hit, bytes);
	if (!bc_tier_fits(&hit, io->bytes)) {
		/* A store that gave one ETag to two sizes, or a damaged table. */
		bc_stat_inc(BC_STAT_CRC_ERRORS);
		drop_entry(io, false);
		return false;
	}
	needed = bc_io_blocks(io, io->bytes);
	if (needed & ~hit.valid) {
		*valid = hit.valid;
		release_entry(io);
		return false;
	}
	read_blocks(io, needed, hit.verified);
	return true;
}

int bc_tier_io_init(void)
{
	/*
	 * What a disk reads is sent from within submit_bio(), that is, when that returns; and one
	 * read may want several bios. Who waits for memory must not wait for those of his own.
	 */
	int ret = bioset_init(&bc_tier_bioset, BC_TIER_BIOS, 0,
			      BIOSET_NEED_BVECS | BIOSET_NEED_RESCUER);

	if (ret)
		return ret;
	bc_table_wq = alloc_workqueue("blobcache-table", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (bc_table_wq)
		return 0;
	bioset_exit(&bc_tier_bioset);
	return -ENOMEM;
}

void bc_tier_io_exit(void)
{
	destroy_workqueue(bc_table_wq);
	bioset_exit(&bc_tier_bioset);
}
