// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a dirty object that Blob has: its name goes, and its blocks become clean where they
 * are, as chunks of the committed version.
 *
 * First all of it goes from the dirty table, durably, then what is kept is described as clean: a
 * place that can be evicted must not be named by the dirty table any more. A crash in between costs
 * what was cached. Kept is a chunk that lies in one frame as a clean one does; others are freed.
 */
#include <linux/slab.h>

#include "dirty.h"
#include "pin.h"
#include "room.h"
#include "stats.h"
#include "tier.h"

/* A chunk that is kept. */
struct kept {
	struct kept *next;
	u32 chunk, bytes;
	u16 blocks;			/* that are there */
	struct bc_place place;		/* of the whole chunk */
	u32 crc[BC_CHUNK_BLOCKS];
};

static u32 chunk_bytes(const struct bc_dirty *dirty, u32 chunk)
{
	return min_t(u64, dirty->acked_size - ((u64)chunk << BC_CHUNK_SHIFT), BC_CHUNK_SIZE);
}

/* Is a block where it belongs, behind the chunk's first one, with all its bytes? */
static bool fits(const struct bc_dirty_block *b, const struct kept *kept, u32 i)
{
	u32 length = min(kept->bytes - i * BC_BLOCK_SIZE, BC_BLOCK_SIZE);

	return b && b->durable.length == length && b->durable.place.frame == kept->place.frame &&
	       b->durable.place.slot == kept->place.slot + i;
}

/* Is the second block of the file not behind its first one? */
static bool is_elsewhere(struct bc_dirty *dirty, const struct bc_dirty_block *first)
{
	struct bc_dirty_block *b = xa_load(&dirty->blocks, 1);

	return b && bc_place_is(&b->durable.place) &&
	       (b->durable.place.frame != first->durable.place.frame ||
		b->durable.place.slot != first->durable.place.slot + 1);
}

/* Where the chunk would begin, by the first block of it that there is. */
static bool find_start(struct bc_dirty *dirty, struct kept *kept)
{
	struct bc_dirty_block *b = NULL;
	u32 i;

	for (i = 0; i < kept->place.count; i++) {
		b = xa_load(&dirty->blocks, (u64)kept->chunk * BC_CHUNK_BLOCKS + i);
		/* The first one of a file may be elsewhere: nobody knew that it would be large. */
		if (b && bc_place_is(&b->durable.place) &&
		    (i || kept->chunk || !is_elsewhere(dirty, b)))
			break;
	}
	if (!b || i == kept->place.count || b->durable.place.slot < i)
		return false;
	kept->place.frame = b->durable.place.frame;
	kept->place.slot = b->durable.place.slot - i;
	return kept->place.slot + kept->place.count <= BC_FRAME_BLOCKS;
}

/* Room for the blocks that are not there, or not in their place. Return: whether it is free. */
static bool take_rest(struct bc_tier *tier, const struct kept *kept)
{
	unsigned long rest = bc_blocks_mask(kept->place.count) & ~kept->blocks;
	struct bc_place place = { .frame = kept->place.frame, .count = 1 };
	u16 taken = 0;
	u32 i;

	spin_lock(&tier->lock);
	for_each_set_bit(i, &rest, BC_CHUNK_BLOCKS) {
		place.slot = kept->place.slot + i;
		if (bc_frames_take(&tier->frames, &place))
			break;
		taken |= BIT(i);
	}
	if (taken != rest) {
		rest = taken;
		for_each_set_bit(i, &rest, BC_CHUNK_BLOCKS) {
			place.slot = kept->place.slot + i;
			bc_frames_release(&tier->frames, &place);
		}
	}
	spin_unlock(&tier->lock);
	return taken == (bc_blocks_mask(kept->place.count) & (u16)~kept->blocks);
}

static bool is_worth_it(struct bc_dirty *dirty, struct kept *kept)
{
	u32 i;

	kept->bytes = chunk_bytes(dirty, kept->chunk);
	kept->place.count = DIV_ROUND_UP(kept->bytes, BC_BLOCK_SIZE);
	if (!find_start(dirty, kept))
		return false;
	for (i = 0; i < kept->place.count; i++) {
		struct bc_dirty_block *b = xa_load(&dirty->blocks,
						   (u64)kept->chunk * BC_CHUNK_BLOCKS + i);

		if (!fits(b, kept, i))
			continue;
		kept->blocks |= BIT(i);
		kept->crc[i] = b->durable.crc;
	}
	return kept->blocks && take_rest(dirty->tier, kept);
}

/* Return: a chunk that can be kept, or NULL. */
static struct kept *keep_chunk(struct bc_dirty *dirty, u32 chunk)
{
	struct kept *kept = kzalloc(sizeof(*kept), GFP_NOFS);

	if (!kept)
		return NULL;
	kept->chunk = chunk;
	if (is_worth_it(dirty, kept))
		return kept;
	kfree(kept);
	return NULL;
}

/* What is kept is not freed with the rest. */
static void disown(struct bc_dirty *dirty, const struct kept *kept)
{
	u32 i;

	for (i = 0; i < kept->place.count; i++) {
		struct bc_dirty_block *b = xa_load(&dirty->blocks,
						   (u64)kept->chunk * BC_CHUNK_BLOCKS + i);

		if (kept->blocks & BIT(i))
			b->kept = true;
	}
}

/* By the blocks that there are: a sparse file has few of many. */
static struct kept *keep_chunks(struct bc_dirty *dirty)
{
	struct kept *first = NULL, *kept;
	struct bc_dirty_block *b;
	unsigned long index = 0;

	while ((b = xa_find(&dirty->blocks, &index, ULONG_MAX, XA_PRESENT))) {
		u64 chunk = b->block / BC_CHUNK_BLOCKS;

		index = (chunk + 1) * BC_CHUNK_BLOCKS;
		cond_resched();
		if (chunk << BC_CHUNK_SHIFT >= dirty->acked_size || chunk > U32_MAX)
			break;
		kept = keep_chunk(dirty, chunk);
		if (!kept)
			continue;
		disown(dirty, kept);
		kept->next = first;
		first = kept;
	}
	return first;
}

/* Into the index, evicting for the entry if need be. */
static int insert(struct bc_tier *tier, const struct bc_fetched *fetched,
		  const struct bc_place *place)
{
	int ret = bc_pins_insert(tier, fetched, place);

	if (ret != -ENOSPC || bc_room_entry(tier, fetched->key, fetched->chunk))
		return ret;
	return bc_pins_insert(tier, fetched, place);
}

static void make_clean(struct bc_tier *tier, const struct bc_key *key, const struct kept *kept)
{
	struct bc_fetched fetched = {
		.key = key,
		.chunk = kept->chunk,
		.bytes = kept->bytes,
		.blocks = kept->blocks,
		.wanted = true,
	};
	struct bc_overlay *spare = bc_clean_reserve(tier, true);
	struct bc_place place = kept->place;

	if (!spare) {
		bc_dirty_release_place(tier, &place);
		return;
	}
	spin_lock(&tier->lock);
	bc_clean_erase(tier, &place);
	bc_clean_set(tier, &place, &fetched, kept->blocks, kept->crc, &spare);
	spin_unlock(&tier->lock);
	if (insert(tier, &fetched, &place))
		bc_tier_free_place(tier, &place);
	bc_clean_unreserve(tier, spare);
}

static bool is_committed(struct bc_dirty *dirty)
{
	return dirty->state == BC_NAME_COMMITTED && dirty->acked_etag[0] &&
	       dirty->name_durable && !dirty->unlinked &&
	       !dirty->writers && !dirty->flush.active && !dirty->cut.seq &&
	       !bc_dirty_uncommitted(dirty);
}

bool bc_dirty_committed(struct bc_dirty *dirty, struct bc_version *version)
{
	bool committed;

	mutex_lock(&dirty->tier->dirty.mutex);
	committed = is_committed(dirty);
	if (committed) {
		memset(version, 0, sizeof(*version));
		version->size = dirty->acked_size;
		version->last_modified = dirty->acked_last_modified;
		version->asked_ns = dirty->acked_ns;
		version->etag_length = strlen(dirty->acked_etag);
		strscpy(version->etag, dirty->acked_etag, sizeof(version->etag));
	}
	mutex_unlock(&dirty->tier->dirty.mutex);
	return committed;
}

void bc_dirty_set_retiring(struct bc_dirty *dirty, bool retiring)
{
	WRITE_ONCE(dirty->retiring, retiring);
}

bool bc_dirty_unused(const struct bc_dirty *dirty)
{
	return READ_ONCE(dirty->unlinked) || READ_ONCE(dirty->retiring);
}

bool bc_dirty_is_unlinked(const struct bc_dirty *dirty)
{
	return READ_ONCE(dirty->unlinked);
}

static int retire(struct bc_dirty *dirty, struct bc_key *key, struct kept **kept)
{
	*kept = NULL;
	if (!is_committed(dirty) || dirty->tier->dirty.failed)
		return -EBUSY;
	/* Who comes from here on finds nothing; who came before is seen by his reference. */
	if (!bc_dirty_unpublish_unused(dirty))
		return -EBUSY;
	bc_key_version(&dirty->volume, dirty->path, strlen(dirty->path), dirty->acked_etag,
		       strlen(dirty->acked_etag), key);
	*kept = keep_chunks(dirty);
	return bc_dirty_clear(dirty);
}

int bc_dirty_retire(struct bc_dirty *dirty)
{
	struct bc_tier *tier = dirty->tier;
	struct bc_key key;
	struct kept *kept, *next;
	int ret;

	mutex_lock(&tier->dirty.mutex);
	ret = retire(dirty, &key, &kept);
	mutex_unlock(&tier->dirty.mutex);
	if (ret == -EBUSY)
		return ret;
	for (; kept; kept = next) {
		next = kept->next;
		/* Of a table that failed nobody knows what it names: the places stay taken. */
		if (!ret)
			make_clean(tier, &key, kept);
		kfree(kept);
	}
	/* That of the names. */
	bc_dirty_put(dirty);
	bc_dirty_freed(tier);
	return ret;
}
