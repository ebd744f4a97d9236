// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes of chunks to a tier, whole or in part.
 *
 * A chunk has one extent with room for all its blocks from the first store on, so
 * that what comes later goes to its place, and the table describes it as one. Who
 * adds blocks holds a pin on the entry from lookup to the end: the extent is
 * nobody else's meanwhile, even if the entry is dropped.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>

#include "fill.h"
#include "pin.h"
#include "room.h"
#include "segment.h"
#include "stats.h"
#include "tier.h"

/* Of a chunk two fills may come at once, from mounts of different policy; one comes first. */
#define STORE_TRIES	4

/* Blocks [first, end) of the extent. */
static int write_run(struct bc_tier *tier, const struct bc_place *place,
		     const struct bc_fetched *fetched, u32 first, u32 end)
{
	u32 offset = first * BC_BLOCK_SIZE;
	u32 bytes = min(end * BC_BLOCK_SIZE, fetched->bytes) - offset;
	u32 left = round_up(bytes, tier->sector_mask + 1);
	u32 nr = DIV_ROUND_UP(bytes, PAGE_SIZE), i;
	struct bio *bio;
	int ret;

	bio = bio_alloc_bioset(tier->bdev.bdev, nr, REQ_OP_WRITE, GFP_NOIO, &bc_tier_bioset);
	bio->bi_iter.bi_sector = bc_tier_sector(tier, place->frame, place->slot, offset);
	for (i = 0; i < nr; i++) {
		u32 part = min_t(u32, left, PAGE_SIZE);

		__bio_add_page(bio, fetched->pages[(offset >> PAGE_SHIFT) + i], part, 0);
		left -= part;
	}
	ret = submit_bio_wait(bio);
	bio_put(bio);
	return ret;
}

static int write_blocks(struct bc_tier *tier, const struct bc_place *place,
			const struct bc_fetched *fetched, u16 blocks)
{
	unsigned long mask = blocks;
	u32 first = 0, end;
	int ret = 0;

	while (!ret && (first = find_next_bit(&mask, BC_CHUNK_BLOCKS, first)) < BC_CHUNK_BLOCKS) {
		end = find_next_zero_bit(&mask, BC_CHUNK_BLOCKS, first);
		ret = write_run(tier, place, fetched, first, end);
		first = end;
	}
	bc_tier_io_result(tier, WRITE, ret);
	if (ret) {
		bc_stat_inc(BC_STAT_TIER_WRITE_ERRORS);
		pr_warn_ratelimited("%s: write of frame %u failed: error %d; not kept\n",
				    tier->name, place->frame, ret);
	}
	return ret;
}

static void checksum(const struct bc_fetched *fetched, u16 blocks, u32 crc[BC_CHUNK_BLOCKS])
{
	unsigned long mask = blocks;
	u32 i;

	for_each_set_bit(i, &mask, BC_CHUNK_BLOCKS)
		crc[i] = bc_pages_crc(fetched->pages, i * BC_BLOCK_SIZE,
				      min(fetched->bytes - i * BC_BLOCK_SIZE, BC_BLOCK_SIZE));
}

/* What the index says of a chunk, if that is still the entry of @hit. */
static bool look_again(struct bc_tier *tier, const struct bc_key *key, u32 chunk,
		       const struct bc_hit *hit, struct bc_hit *now)
{
	return bc_index_peek(&tier->index, key, chunk, now) && now->id == hit->id;
}

/* A new extent's bytes are on the device: who finds it in the index asks for its descriptors. */
static void describe_new(struct bc_tier *tier, const struct bc_place *place,
			 const struct bc_fetched *fetched, struct bc_overlay **spare)
{
	u32 crc[BC_CHUNK_BLOCKS];

	checksum(fetched, fetched->blocks, crc);
	spin_lock(&tier->lock);
	/* The room that it has for blocks to come says nothing, whatever was there. */
	bc_clean_erase(tier, place);
	bc_clean_set(tier, place, fetched, fetched->blocks, crc, spare);
	spin_unlock(&tier->lock);
}

/*
 * More bytes of an extent are on the device. In one step with the index: two may have stored the
 * same blocks, and a descriptor that is read must not be written again.
 */
static void describe_more(struct bc_tier *tier, const struct bc_fetched *fetched,
			  const struct bc_hit *hit, u16 blocks, struct bc_overlay **spare)
{
	u32 crc[BC_CHUNK_BLOCKS];
	struct bc_hit now;

	checksum(fetched, blocks, crc);
	spin_lock(&tier->lock);
	if (look_again(tier, fetched->key, fetched->chunk, hit, &now) &&
	    blocks & ~now.valid) {
		blocks &= ~now.valid;
		bc_clean_set(tier, &hit->place, fetched, blocks, crc, spare);
		bc_index_add_blocks(&tier->index, hit->id, blocks);
	}
	spin_unlock(&tier->lock);
}

static void drop(struct bc_tier *tier, u32 id)
{
	struct bc_place place;

	if (!bc_index_remove_pinned(&tier->index, id, &place))
		bc_tier_free_place(tier, &place);
}

void bc_tier_unpin(struct bc_tier *tier, u32 id)
{
	struct bc_place place;

	if (bc_index_unpin_last(&tier->index, id, &place))
		bc_tier_free_place(tier, &place);
}

/*
 * An extent that was recovered without its end gets it, if nobody else has those blocks; unless
 * somebody else was faster, who wanted the same.
 */
static bool extend(struct bc_tier *tier, const struct bc_key *key, u32 chunk, struct bc_hit *hit,
		   u32 bytes)
{
	u32 count = DIV_ROUND_UP(bytes, BC_BLOCK_SIZE);
	struct bc_place more = {
		.frame = hit->place.frame,
		.slot = hit->place.slot + hit->place.count,
		.count = count - hit->place.count,
	};
	struct bc_hit now;
	bool extended;

	spin_lock(&tier->lock);
	extended = look_again(tier, key, chunk, hit, &now) && now.bytes == bytes;
	if (!extended && !bc_frames_take(&tier->frames, &more)) {
		extended = bc_index_extend(&tier->index, hit->id, count, bytes);
		if (!extended)
			bc_frames_release(&tier->frames, &more);
	}
	spin_unlock(&tier->lock);
	if (extended)
		hit->place.count = count;
	return extended;
}

u16 bc_tier_prepare(const struct bc_key *key, u32 chunk, u32 bytes)
{
	struct bc_hit hit;
	struct bc_tier *tier = bc_tier_find(key, chunk, bytes, &hit);
	u16 blocks = 0;

	if (!tier)
		return 0;
	if (!bc_tier_fits(&hit, bytes))
		goto out;
	blocks = hit.valid;
	if (hit.bytes == bytes)
		goto out;
	blocks = 0;
	if (!bc_index_lookup(&tier->index, key, chunk, &hit))
		goto out;
	if (hit.bytes < bytes && !extend(tier, key, chunk, &hit, bytes)) {
		drop(tier, hit.id);
		goto out;
	}
	blocks = hit.valid;
	bc_tier_unpin(tier, hit.id);
out:
	bc_tier_put(tier);
	return blocks;
}

/* To an extent that is there. Return: 0, -ENOENT there is none, or it had to go, or errno. */
static int store_more(struct bc_tier *tier, const struct bc_fetched *fetched,
		      struct bc_overlay **spare)
{
	struct bc_hit hit;
	u16 missing;
	int ret = 0;

	if (!bc_index_lookup(&tier->index, fetched->key, fetched->chunk, &hit))
		return -ENOENT;
	if (!bc_tier_fits(&hit, fetched->bytes)) {
		bc_stat_inc(BC_STAT_CRC_ERRORS);
		drop(tier, hit.id);
		return -ENOENT;
	}
	if (hit.bytes < fetched->bytes &&
	    !extend(tier, fetched->key, fetched->chunk, &hit, fetched->bytes)) {
		drop(tier, hit.id);
		return -ENOENT;
	}
	missing = fetched->blocks & ~hit.valid;
	if (missing)
		ret = write_blocks(tier, &hit.place, fetched, missing);
	if (missing && !ret)
		describe_more(tier, fetched, &hit, missing, spare);
	bc_tier_unpin(tier, hit.id);
	return ret;
}

static int find_place(struct bc_tier *tier, const struct bc_fetched *fetched,
		      struct bc_place *place)
{
	int ret = bc_room_make(tier, fetched->key, fetched->chunk,
			       DIV_ROUND_UP(fetched->bytes, BC_BLOCK_SIZE),
			       fetched->wanted || bc_pins_have(fetched->key), place);

	if (ret == -ECANCELED)
		bc_stat_inc(BC_STAT_NOT_ADMITTED);
	else if (ret)
		bc_stat_inc(BC_STAT_NO_SPACE);
	return ret;
}

/* Others may take the entries that were free when room was made. */
static int insert(struct bc_tier *tier, const struct bc_fetched *fetched,
		  const struct bc_place *place)
{
	int tries, ret = -ENOSPC;

	for (tries = 0; tries < STORE_TRIES && ret == -ENOSPC; tries++) {
		ret = bc_pins_insert(tier, fetched, place);
		if (ret == -ENOSPC && bc_room_entry(tier, fetched->key, fetched->chunk))
			break;
	}
	if (ret == -ENOSPC)
		bc_stat_inc(BC_STAT_NO_SPACE);
	return ret;
}

/* To a new extent. Return: 0, -EEXIST there is one meanwhile, or errno. */
static int store_new(struct bc_tier *tier, const struct bc_fetched *fetched,
		     struct bc_overlay **spare)
{
	struct bc_place place;
	int ret;

	ret = find_place(tier, fetched, &place);
	if (ret)
		return ret;
	ret = write_blocks(tier, &place, fetched, fetched->blocks);
	/* If it failed the place stays in use until the next attach: nobody must try it too. */
	if (ret)
		return ret;
	describe_new(tier, &place, fetched, spare);
	ret = insert(tier, fetched, &place);
	if (ret)
		bc_tier_free_place(tier, &place);
	return ret;
}

/* Descriptors get their memory first: without, nobody is evicted and nothing is written. */
static int try_store(struct bc_tier *tier, const struct bc_fetched *fetched)
{
	struct bc_overlay *spare = bc_clean_reserve(tier, fetched->wanted);
	int ret;

	if (!spare) {
		bc_stat_inc(BC_STAT_NO_SPACE);
		return -ENOBUFS;
	}
	ret = store_more(tier, fetched, &spare);
	if (ret == -ENOENT)
		ret = store_new(tier, fetched, &spare);
	bc_clean_unreserve(tier, spare);
	return ret;
}

static int store(struct bc_tier *tier, const struct bc_fetched *fetched)
{
	int ret = -EEXIST, i;

	for (i = 0; i < STORE_TRIES && ret == -EEXIST; i++)
		ret = try_store(tier, fetched);
	return ret;
}

bool bc_tier_store(const struct bc_fetched *fetched)
{
	struct bc_tier *tier = bc_tier_for(fetched->key, fetched->chunk, fetched->bytes);
	int ret;

	if (!tier)
		return false;
	ret = store(tier, fetched);
	if (!ret) {
		bc_stat_inc(BC_STAT_TIER_WRITES);
		bc_stat_add(BC_STAT_TIER_WRITE_BYTES,
			    bc_blocks_bytes(fetched->blocks, fetched->bytes));
	}
	bc_tier_put(tier);
	return !ret;
}
