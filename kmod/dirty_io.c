// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty blocks to and from the device.
 *
 * A write takes nothing but a bio from a reserve. Where it ends, the version that it wrote becomes
 * the current one; the one before is free, unless the dirty table names it.
 *
 * A read needs no pin: while it runs a page of the block is locked and not valid, so the block
 * cannot become dirty or be written; it is cut off only when its pages are gone, and none can come
 * (see shrink() of the front end).
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/highmem.h>
#include <linux/mempool.h>
#include <linux/mm.h>

#include "dirty.h"
#include "segment.h"
#include "stats.h"
#include "tier.h"

/* Blocks on their way that need no memory. */
#define RESERVE		64

/* Copies of blocks on their way that need no memory. */
#define BOUNCES		4

static struct bio_set write_bioset;
static mempool_t *bounces;

/* What is nobody's after a block got another current version; its lock is held. */
static void retire_current(struct bc_dirty_block *b)
{
	const struct bc_place *place = &b->cur.place;

	if (!bc_place_is(place) || bc_place_equal(place, &b->durable.place) ||
	    bc_place_equal(place, &b->pending.place))
		return;
	/* It was emptied when the write began, and there is one write of a block at a time. */
	WARN_ON_ONCE(bc_place_is(&b->spare));
	b->spare = *place;
}

static void written(struct bc_dirty_write *write)
{
	struct bc_dirty *dirty = write->dirty;
	struct bc_dirty_block *b = write->block;
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	retire_current(b);
	b->cur.place = write->place;
	b->cur.length = write->length;
	b->cur.crc = write->crc;
	b->cur.seq = write->seq;
	b->valid = write->length;
	b->verified = true;
	__xa_set_mark(&dirty->blocks, b->block, BC_DIRTY_WRITTEN);
	dirty->under_way--;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

/* It is dirty as before, and the next fsync tries again. Its folios are still in writeback. */
static void not_written(struct bc_dirty_write *write)
{
	struct bc_dirty *dirty = write->dirty;
	struct bc_dirty_block *b = write->block;
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	/* Else somebody has reserved another one meanwhile. */
	if (!bc_place_is(&b->next))
		swap(b->next, write->place);
	__xa_set_mark(&dirty->blocks, b->block, BC_DIRTY_CACHED);
	dirty->under_way--;
	xa_unlock_irqrestore(&dirty->blocks, flags);
	bc_dirty_release_place(dirty->tier, &write->place);
}

static void write_failed_work(struct work_struct *work)
{
	struct bc_dirty_write *write = container_of(work, struct bc_dirty_write, work);

	not_written(write);
	/* By this the object may go. */
	write->done(write, write->error);
	bio_put(&write->bio);
}

static void write_endio(struct bio *bio)
{
	struct bc_dirty_write *write = container_of(bio, struct bc_dirty_write, bio);

	write->error = blk_status_to_errno(bio->bi_status);
	if (write->bounce)
		mempool_free(write->bounce, bounces);
	bc_tier_io_result(write->dirty->tier, WRITE, write->error);
	if (write->error) {
		bc_stat_inc(BC_STAT_TIER_WRITE_ERRORS);
		INIT_WORK(&write->work, write_failed_work);
		queue_work(bc_dirty_wq, &write->work);
		return;
	}
	written(write);
	/* By this the object may go. */
	write->done(write, 0);
	bio_put(bio);
}

struct bc_dirty_write *bc_dirty_write_begin(struct bc_dirty *dirty, u64 block, u32 length)
{
	struct bc_dirty_write *write;
	struct bc_place spare = {};
	struct bc_dirty_block *b;
	unsigned long flags;
	struct bio *bio;

	if (!bc_dirty_is(dirty, block))
		return NULL;
	bio = bio_alloc_bioset(dirty->tier->bdev.bdev, BC_DIRTY_PAGES, REQ_OP_WRITE, GFP_NOFS,
			       &write_bioset);
	write = container_of(bio, struct bc_dirty_write, bio);
	xa_lock_irqsave(&dirty->blocks, flags);
	b = xa_load(&dirty->blocks, block);
	write->place = b->next;
	memset(&b->next, 0, sizeof(b->next));
	swap(spare, b->spare);
	write->seq = atomic64_inc_return(&dirty->tier->seq);
	xa_unlock_irqrestore(&dirty->blocks, flags);
	bc_dirty_release_place(dirty->tier, &spare);
	write->dirty = dirty;
	write->block = b;
	write->length = length;
	write->count = 0;
	write->copy = false;
	write->flags = 0;
	write->bounce = NULL;
	return write;
}

/* Not dirty any more, but under way. */
static void clear_mark(struct bc_dirty_write *write)
{
	struct bc_dirty *dirty = write->dirty;
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	__xa_clear_mark(&dirty->blocks, write->block->block, BC_DIRTY_CACHED);
	dirty->under_way++;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

/* A copy that has what its checksum says, whatever a device writes meanwhile. */
static void add_copies(struct bc_dirty_write *write)
{
	struct page *pages = mempool_alloc(bounces, GFP_NOFS);
	u32 i;

	write->bounce = pages;
	for (i = 0; i < write->count; i++) {
		copy_highpage(pages + i, folio_page(write->folio[i], 0));
		__bio_add_page(&write->bio, pages + i, PAGE_SIZE, 0);
	}
}

static void add_folios(struct bc_dirty_write *write)
{
	u32 i;

	for (i = 0; i < write->count; i++)
		__bio_add_page(&write->bio, folio_page(write->folio[i], 0), PAGE_SIZE, 0);
}

void bc_dirty_write_submit(struct bc_dirty_write *write)
{
	struct bio *bio = &write->bio;

	clear_mark(write);
	if (write->copy)
		add_copies(write);
	else
		add_folios(write);
	bio->bi_opf |= write->flags;
	write->crc = bc_segments_crc(bio->bi_io_vec, bio->bi_vcnt, 0, write->length);
	bio->bi_iter.bi_sector = bc_tier_sector(write->dirty->tier, write->place.frame,
						write->place.slot, 0);
	bio->bi_end_io = write_endio;
	submit_bio(bio);
}

/* --- reads */

static void read_done(struct bc_dirty_io *io, int error)
{
	bc_pages_free(io->bounce, DIV_ROUND_UP(io->stored, PAGE_SIZE));
	io->done(io, error);
}

static u32 in_block(const struct bc_dirty_io *io)
{
	return io->pos & (BC_BLOCK_SIZE - 1);
}

/* Bytes of the read that count; the rest are zeroes. */
static u32 valid_part(const struct bc_dirty_io *io)
{
	return in_block(io) < io->valid ? min(io->length, io->valid - in_block(io)) : 0;
}

static void set_verified(const struct bc_dirty_io *io)
{
	struct bc_dirty *dirty = io->dirty;
	struct bc_dirty_block *b;
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	b = xa_load(&dirty->blocks, io->pos >> BC_BLOCK_SHIFT);
	if (b && b->cur.seq == io->seq)
		b->verified = true;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

static void verify_work(struct work_struct *work)
{
	struct bc_dirty_io *io = container_of(work, struct bc_dirty_io, work);

	if (!io->error && bc_pages_crc(io->bounce, 0, io->stored) != io->crc) {
		bc_stat_inc(BC_STAT_CRC_ERRORS);
		pr_err_ratelimited("%s: checksum of a dirty block is wrong: it is nowhere else (generation %16phN, block %llu)\n",
				   io->dirty->tier->name, &io->dirty->generation,
				   io->pos >> BC_BLOCK_SHIFT);
		io->error = -EIO;
	}
	if (io->error) {
		read_done(io, io->error);
		return;
	}
	set_verified(io);
	bc_segments_from_pages(io->bvecs, io->nr_bvecs, io->bounce, in_block(io), valid_part(io));
	bc_segments_zero(io->bvecs, io->nr_bvecs, valid_part(io));
	read_done(io, 0);
}

static void read_endio(struct bio *bio)
{
	struct bc_dirty_io *io = bio->bi_private;
	struct bc_tier *tier = io->dirty->tier;

	io->error = blk_status_to_errno(bio->bi_status);
	bio_put(bio);
	bc_tier_io_result(tier, READ, io->error);
	if (io->error)
		bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
	if (io->bounce) {
		queue_work(tier->verify_wq, &io->work);
		return;
	}
	bc_segments_zero(io->bvecs, io->nr_bvecs, valid_part(io));
	read_done(io, io->error);
}

static struct bio *read_bio(struct bc_dirty_io *io, const struct bc_place *place, u32 offset,
			    u32 nr)
{
	struct bc_tier *tier = io->dirty->tier;
	struct bio *bio = bio_alloc_bioset(tier->bdev.bdev, nr, REQ_OP_READ, GFP_NOFS,
					   &bc_tier_bioset);

	bio->bi_iter.bi_sector = bc_tier_sector(tier, place->frame, place->slot, offset);
	bio->bi_end_io = read_endio;
	bio->bi_private = io;
	return bio;
}

/* It was verified, or written, since the attach: straight into the caller's pages. */
static void read_direct(struct bc_dirty_io *io, const struct bc_place *place)
{
	u32 left = round_up(valid_part(io), io->dirty->tier->sector_mask + 1), i;
	struct bio *bio = read_bio(io, place, in_block(io), io->nr_bvecs);

	for (i = 0; i < io->nr_bvecs && left; i++) {
		u32 part = min(left, io->bvecs[i].bv_len);

		__bio_add_page(bio, io->bvecs[i].bv_page, part, io->bvecs[i].bv_offset);
		left -= part;
	}
	submit_bio(bio);
}

static void read_bounced(struct bc_dirty_io *io, const struct bc_place *place)
{
	u32 nr = DIV_ROUND_UP(io->stored, PAGE_SIZE), i;
	u32 left = round_up(io->stored, io->dirty->tier->sector_mask + 1);
	struct bio *bio;

	io->bounce = bc_pages_alloc(nr, GFP_NOFS);
	if (!io->bounce) {
		io->done(io, -ENOMEM);
		return;
	}
	bio = read_bio(io, place, 0, nr);
	for (i = 0; i < nr; i++) {
		u32 part = min_t(u32, left, PAGE_SIZE);

		__bio_add_page(bio, io->bounce[i], part, 0);
		left -= part;
	}
	submit_bio(bio);
}

/* Return: false if nothing is stored there. */
static bool find_version(struct bc_dirty_io *io, struct bc_place *place, bool *verified)
{
	struct bc_dirty *dirty = io->dirty;
	struct bc_dirty_block *b;
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	b = xa_load(&dirty->blocks, io->pos >> BC_BLOCK_SHIFT);
	memset(place, 0, sizeof(*place));
	if (b) {
		*place = b->cur.place;
		*verified = b->verified;
		io->stored = b->cur.length;
		io->crc = b->cur.crc;
		io->seq = b->cur.seq;
		io->valid = b->valid;
	}
	xa_unlock_irqrestore(&dirty->blocks, flags);
	return bc_place_is(place);
}

void bc_dirty_read(struct bc_dirty_io *io)
{
	struct bc_place place;
	bool verified = false;

	INIT_WORK(&io->work, verify_work);
	io->bounce = NULL;
	io->error = 0;
	io->valid = 0;
	io->stored = 0;
	if (!find_version(io, &place, &verified) || !valid_part(io)) {
		bc_segments_zero(io->bvecs, io->nr_bvecs, 0);
		io->done(io, 0);
		return;
	}
	bc_stat_inc(BC_STAT_HIT_READS);
	bc_stat_add(BC_STAT_HIT_BYTES, valid_part(io));
	if (verified)
		read_direct(io, &place);
	else
		read_bounced(io, &place);
}

int bc_dirty_io_init(void)
{
	int ret;

	bounces = mempool_create_page_pool(BOUNCES, BC_BLOCK_SHIFT - PAGE_SHIFT);
	if (!bounces)
		return -ENOMEM;
	ret = bioset_init(&write_bioset, RESERVE, offsetof(struct bc_dirty_write, bio),
			  BIOSET_NEED_BVECS);
	if (ret)
		mempool_destroy(bounces);
	return ret;
}

void bc_dirty_io_exit(void)
{
	bioset_exit(&write_bioset);
	mempool_destroy(bounces);
}
