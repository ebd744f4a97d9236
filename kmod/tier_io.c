// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and writes of chunks on a tier.
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
#include "pin.h"
#include "room.h"
#include "segment.h"
#include "stats.h"
#include "tier.h"
#include "trace.h"

static struct bio_set bioset;
static struct workqueue_struct *verify_wq;
struct workqueue_struct *bc_table_wq;

/* This many I/O errors without a success between them: the device is gone. */
#define ERRORS_MAX	16

void bc_tier_io_result(struct bc_tier *tier, int error)
{
	if (likely(!error)) {
		if (unlikely(atomic_read(&tier->errors)))
			atomic_set(&tier->errors, 0);
		return;
	}
	if (atomic_inc_return(&tier->errors) != ERRORS_MAX)
		return;
	WRITE_ONCE(tier->failed, true);
	pr_err("%s: %d I/O errors in a row: tier serves no more; replace the device, then detach it\n",
	       tier->name, ERRORS_MAX);
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

static void drop_entry(struct bc_io *io)
{
	struct bc_tier *tier = io->tier;
	struct bc_place place;

	if (!bc_index_remove_pinned(&tier->index, io->entry, &place)) {
		if (io->error)
			retire_place(tier, &place);
		else
			bc_tier_free_place(tier, &place);
	}
	bc_pages_free(io->bounce, DIV_ROUND_UP(bounce_length(io), PAGE_SIZE));
	io->bounce = NULL;
	bc_tier_put(tier);
}

static bool block_good(struct bc_io *io, u32 block)
{
	const struct bc_disk_desc *disk = bc_clean_descs(io->tier, io->frame, io->slot + block);
	u32 length = block_bytes(io, block);
	struct bc_desc desc;
	u32 crc;

	/* The entry is pinned: its descriptors stay. */
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

static bool verify_blocks(struct bc_io *io)
{
	unsigned long blocks = io->blocks;
	u32 block;

	for_each_set_bit(block, &blocks, BC_CHUNK_BLOCKS) {
		if (!block_good(io, block)) {
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

	if (io->error) {
		bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
		pr_warn_ratelimited("%s: read of frame %u failed (error %d): dropped, fetched anew\n",
				    io->tier->name, io->frame, io->error);
	} else if (!io->blocks || verify_blocks(io)) {
		if (io->blocks && !io->in_place)
			bc_segments_from_pages(io->bvecs, io->nr_bvecs, io->bounce,
					       (io->pos & (BC_CHUNK_SIZE - 1)) -
					       bounce_first(io) * BC_BLOCK_SIZE, bytes);
		bc_segments_zero(io->bvecs, io->nr_bvecs, bytes);
		release_entry(io);
		io->done(io, 0);
		return;
	}
	drop_entry(io);
	bc_fill_read(io);
}

/* Blocks of a dead entry, which this read held last: their lock is not for where bios end. */
static void free_dead_work(struct work_struct *work)
{
	struct bc_io *io = container_of(work, struct bc_io, work);
	struct bc_place place = {
		.frame = io->frame,
		.slot = io->slot,
		.count = DIV_ROUND_UP(io->bytes, BC_BLOCK_SIZE),
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
	bc_tier_io_result(tier, io->error);
	if (io->error || io->blocks) {
		queue_work(verify_wq, &io->work);
		return;
	}
	bc_segments_zero(io->bvecs, io->nr_bvecs, valid_length(io));
	if (unlikely(bc_index_unpin_last(&tier->index, io->entry, &place))) {
		/* Another reader found a bad block in it. */
		INIT_WORK(&io->work, free_dead_work);
		queue_work(verify_wq, &io->work);
		return;
	}
	io->done(io, 0);
	bc_tier_put(tier);
}

static struct bio *chunk_bio(struct bc_tier *tier, blk_opf_t op, const struct bc_io *io,
			     u32 offset, u32 nr_vecs)
{
	struct bio *bio = bio_alloc_bioset(tier->bdev.bdev, nr_vecs, op, GFP_NOFS, &bioset);

	bio->bi_iter.bi_sector = bc_tier_sector(tier, io->frame, io->slot, offset);
	return bio;
}

/* Straight into the caller's segments. The device reads whole sectors; the rest is zeroed after. */
static void read_direct(struct bc_io *io)
{
	u32 left = round_up(valid_length(io), io->tier->sector_mask + 1), i;
	struct bio *bio = chunk_bio(io->tier, REQ_OP_READ, io, io->pos & (BC_CHUNK_SIZE - 1),
				    io->nr_bvecs);

	for (i = 0; i < io->nr_bvecs && left; i++) {
		u32 part = min(left, io->bvecs[i].bv_len);

		__bio_add_page(bio, io->bvecs[i].bv_page, part, io->bvecs[i].bv_offset);
		left -= part;
	}
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

/* Blocks this read touches that were not verified yet. */
static u16 blocks_to_verify(const struct bc_io *io, u16 verified)
{
	u32 offset = io->pos & (BC_CHUNK_SIZE - 1);
	u32 first = offset >> BC_BLOCK_SHIFT;
	u32 last = (offset + valid_length(io) - 1) >> BC_BLOCK_SHIFT;

	return GENMASK(last, first) & ~verified;
}

/* Can the device write to the segments? The page cache's are whole pages. */
static bool device_reaches(const struct bc_io *io)
{
	u32 mask = bdev_dma_alignment(io->tier->bdev.bdev) | io->tier->sector_mask, i;

	if (likely(!io->foreign))
		return true;
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

/* Readers keep the index's clock: it needs to move only while somebody reads. */
static void move_tick(struct bc_index *index)
{
	u8 tick = bc_room_tick();

	if (READ_ONCE(index->tick) != tick)
		WRITE_ONCE(index->tick, tick);
}

bool bc_tier_read(struct bc_io *io)
{
	u32 chunk = io->pos >> BC_CHUNK_SHIFT;
	struct bc_tier *tier = bc_tier_get();
	struct bc_hit hit;

	if (!tier)
		return false;
	move_tick(&tier->index);
	if (READ_ONCE(tier->failed) ||
	    !bc_index_lookup(&tier->index, &io->object->key, chunk, &hit)) {
		bc_tier_put(tier);
		return false;
	}
	INIT_WORK(&io->work, finish_work);
	io->tier = tier;
	io->entry = hit.id;
	io->frame = hit.place.frame;
	io->slot = hit.place.slot;
	io->bytes = hit.bytes;
	io->bounce = NULL;
	io->error = 0;
	io->blocks = 0;
	if (hit.bytes != bc_chunk_bytes(io->object, chunk)) {
		/* Recovered in part, or a store that gave one ETag to two sizes. */
		bc_stat_inc(BC_STAT_CRC_ERRORS);
		drop_entry(io);
		return false;
	}
	bc_stat_inc(BC_STAT_HIT_READS);
	bc_stat_add(BC_STAT_HIT_BYTES, valid_length(io));
	trace_bc_read(io->pos, io->length, hit.place.frame);
	if (!valid_length(io)) {
		bc_segments_zero(io->bvecs, io->nr_bvecs, 0);
		release_entry(io);
		io->done(io, 0);
		return true;
	}
	/* What the device cannot write to is read, and verified, by way of pages of our own. */
	io->blocks = blocks_to_verify(io, device_reaches(io) ? hit.verified : 0);
	io->in_place = !io->foreign && covers_blocks(io);
	if (io->blocks && !io->in_place)
		read_bounced(io);
	else
		read_direct(io);
	return true;
}

bool bc_tier_serves(void)
{
	struct bc_tier *tier = bc_tier_get();
	bool serves;

	if (!tier)
		return false;
	serves = !READ_ONCE(tier->failed);
	bc_tier_put(tier);
	return serves;
}

static int write_chunk(struct bc_tier *tier, const struct bc_place *place, struct page **pages,
		       u32 bytes)
{
	u32 left = round_up(bytes, tier->sector_mask + 1);
	u32 nr = DIV_ROUND_UP(bytes, PAGE_SIZE), i;
	struct bio *bio;
	int ret;

	bio = bio_alloc_bioset(tier->bdev.bdev, nr, REQ_OP_WRITE, GFP_NOIO, &bioset);
	bio->bi_iter.bi_sector = bc_tier_sector(tier, place->frame, place->slot, 0);
	for (i = 0; i < nr; i++) {
		u32 part = min_t(u32, left, PAGE_SIZE);

		__bio_add_page(bio, pages[i], part, 0);
		left -= part;
	}
	ret = submit_bio_wait(bio);
	bio_put(bio);
	return ret;
}

static void checksums(struct page **pages, u32 bytes, u32 crc[BC_CHUNK_BLOCKS])
{
	u32 blocks = DIV_ROUND_UP(bytes, BC_BLOCK_SIZE), i;

	for (i = 0; i < blocks; i++)
		crc[i] = bc_pages_crc(pages, i * BC_BLOCK_SIZE,
				      min(bytes - i * BC_BLOCK_SIZE, BC_BLOCK_SIZE));
}

static int find_place(struct bc_tier *tier, const struct bc_key *key, u32 chunk, u32 bytes,
		      bool wanted, struct bc_place *place)
{
	int ret = bc_room_make(tier, key, chunk, DIV_ROUND_UP(bytes, BC_BLOCK_SIZE),
			       wanted || bc_pins_have(key), place);

	if (ret == -ECANCELED)
		bc_stat_inc(BC_STAT_NOT_ADMITTED);
	else if (ret)
		bc_stat_inc(BC_STAT_NO_SPACE);
	return ret;
}

/*
 * What was recovered in part is dropped by its first reader; a fill by read-ahead
 * may come before that, and must not leave the chunk without either.
 * Return: whether the chunk may be inserted now.
 */
static bool drop_other_length(struct bc_tier *tier, const struct bc_key *key, u32 chunk, u32 bytes)
{
	struct bc_place place;
	struct bc_hit hit;

	if (!bc_index_lookup(&tier->index, key, chunk, &hit))
		return true;
	if (hit.bytes == bytes) {
		if (bc_index_unpin_last(&tier->index, hit.id, &place))
			bc_tier_free_place(tier, &place);
		return false;
	}
	bc_stat_inc(BC_STAT_CRC_ERRORS);
	if (!bc_index_remove_pinned(&tier->index, hit.id, &place))
		bc_tier_free_place(tier, &place);
	return true;
}

/* Others may take the entries that were free when room was made. */
#define INSERT_TRIES	4

static int insert(struct bc_tier *tier, const struct bc_key *key, u32 chunk,
		  const struct bc_place *place, u32 bytes)
{
	int tries, ret = 0;

	for (tries = 0; tries < INSERT_TRIES; tries++) {
		ret = bc_pins_insert(tier, key, chunk, place, bytes);
		if (ret == -EEXIST) {
			if (!drop_other_length(tier, key, chunk, bytes))
				break;
		} else if (ret != -ENOSPC || bc_room_entry(tier, key, chunk)) {
			break;
		}
	}
	if (ret == -ENOSPC)
		bc_stat_inc(BC_STAT_NO_SPACE);
	return ret;
}

static int store(struct bc_tier *tier, const struct bc_key *key, u32 chunk, struct page **pages,
		 u32 bytes, bool wanted)
{
	u32 crc[BC_CHUNK_BLOCKS];
	struct bc_place place;
	int ret;

	ret = find_place(tier, key, chunk, bytes, wanted, &place);
	if (ret)
		return ret;
	checksums(pages, bytes, crc);
	ret = write_chunk(tier, &place, pages, bytes);
	bc_tier_io_result(tier, ret);
	if (ret) {
		/* The place stays in use until the next attach: nobody must try it too. */
		bc_stat_inc(BC_STAT_TIER_WRITE_ERRORS);
		pr_warn_ratelimited("%s: write of frame %u failed: error %d; frame not used any more\n",
				    tier->name, place.frame, ret);
		return ret;
	}
	/* The descriptors come first: who finds the entry may ask for its checksums. */
	spin_lock(&tier->lock);
	bc_clean_set(tier, &place, key, chunk, bytes, crc, atomic64_inc_return(&tier->seq));
	spin_unlock(&tier->lock);
	ret = insert(tier, key, chunk, &place, bytes);
	if (ret)
		bc_tier_free_place(tier, &place);
	return ret;
}

bool bc_tier_store(const struct bc_key *key, u32 chunk, struct page **pages, u32 bytes,
		   bool wanted)
{
	struct bc_tier *tier = bc_tier_get();
	int ret = -EIO;

	if (!tier)
		return false;
	if (!READ_ONCE(tier->failed))
		ret = store(tier, key, chunk, pages, bytes, wanted);
	if (!ret) {
		bc_stat_inc(BC_STAT_TIER_WRITES);
		bc_stat_add(BC_STAT_TIER_WRITE_BYTES, bytes);
	}
	bc_tier_put(tier);
	return !ret || ret == -EEXIST;
}

static struct page *buffer_page(void *buffer)
{
	return is_vmalloc_addr(buffer) ? vmalloc_to_page(buffer) : virt_to_page(buffer);
}

int bc_tier_meta_io(struct block_device *bdev, blk_opf_t op, u64 offset, void *buffer,
		    size_t length)
{
	u32 nr = length >> PAGE_SHIFT, i;
	struct bio *bio = bio_alloc_bioset(bdev, nr, op, GFP_NOIO, &bioset);
	int ret;

	bio->bi_iter.bi_sector = offset >> SECTOR_SHIFT;
	for (i = 0; i < nr; i++)
		__bio_add_page(bio, buffer_page(buffer + i * PAGE_SIZE), PAGE_SIZE, 0);
	ret = submit_bio_wait(bio);
	bio_put(bio);
	return ret;
}

int bc_tier_io_init(void)
{
	int ret = bioset_init(&bioset, 64, 0, BIOSET_NEED_BVECS);

	if (ret)
		return ret;
	verify_wq = alloc_workqueue("blobcache-verify", WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_HIGHPRI,
				    0);
	bc_table_wq = alloc_workqueue("blobcache-table", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (verify_wq && bc_table_wq)
		return 0;
	if (verify_wq)
		destroy_workqueue(verify_wq);
	if (bc_table_wq)
		destroy_workqueue(bc_table_wq);
	bioset_exit(&bioset);
	return -ENOMEM;
}

void bc_tier_io_exit(void)
{
	destroy_workqueue(bc_table_wq);
	destroy_workqueue(verify_wq);
	bioset_exit(&bioset);
}
