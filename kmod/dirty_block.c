// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks of dirty objects: their descriptors and places, which are reserved before the block
 * becomes dirty, so that writing it back needs nothing any more.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "dirty.h"
#include "object.h"
#include "room.h"
#include "tier.h"

/* Nothing was freed for so long: there is no room. */
#define NO_PROGRESS	(30 * HZ)

void bc_dirty_freed(struct bc_tier *tier)
{
	atomic_inc(&tier->dirty.freed);
	if (wq_has_sleeper(&tier->dirty.wait))
		wake_up_all(&tier->dirty.wait);
}

/**
 * bc_dirty_take_slot - a descriptor of the dirty table, with memory
 * @tier: tier
 * @near: one whose unit it should share, or BC_DTABLE_NONE
 * @slot: out
 *
 * May sleep. Return: 0, -ENOSPC, -ENOMEM.
 */
int bc_dirty_take_slot(struct bc_tier *tier, u32 near, u32 *slot)
{
	struct bc_dirty_store *store = &tier->dirty;
	int ret;

	spin_lock(&store->slots_lock);
	*slot = bc_dtable_take(&store->table, near);
	spin_unlock(&store->slots_lock);
	if (*slot == BC_DTABLE_NONE)
		return -ENOSPC;
	ret = bc_dtable_grow(&store->table, *slot);
	if (ret) {
		bc_dirty_release_slot(tier, *slot);
		*slot = BC_DTABLE_NONE;
	}
	return ret;
}

/* It says nothing, neither on the device nor in memory. */
void bc_dirty_release_slot(struct bc_tier *tier, u32 slot)
{
	spin_lock(&tier->dirty.slots_lock);
	bc_dtable_release(&tier->dirty.table, slot);
	spin_unlock(&tier->dirty.slots_lock);
}

/* Blocks on the device, evicting if need be. Return: 0 or -ENOSPC. May sleep. */
int bc_dirty_take_place(struct bc_tier *tier, const struct bc_key *key, u64 block, u32 count,
			struct bc_place *place)
{
	int ret = bc_room_make(tier, key, block / BC_CHUNK_BLOCKS, count, true, place);

	return ret ? -ENOSPC : 0;
}

void bc_dirty_release_place(struct bc_tier *tier, struct bc_place *place)
{
	if (!bc_place_is(place))
		return;
	/* What the clean table said of it was erased when it was evicted. */
	spin_lock(&tier->lock);
	bc_frames_release(&tier->frames, place);
	spin_unlock(&tier->lock);
	memset(place, 0, sizeof(*place));
}

struct bc_dirty_block *bc_dirty_block_new(u64 block, u32 slot)
{
	struct bc_dirty_block *b = kzalloc(sizeof(*b), GFP_NOFS);

	if (b) {
		b->block = block;
		b->slot = slot;
	}
	return b;
}

/* The run's blocks that are still nobody's, one by one: those in use are not in one piece. */
static void release_run(struct bc_tier *tier, const struct bc_place *run, u16 left)
{
	unsigned long mask = left;
	u32 i;

	for_each_set_bit(i, &mask, BC_CHUNK_BLOCKS) {
		struct bc_place place = { .frame = run->frame, .slot = run->slot + i, .count = 1 };

		bc_dirty_release_place(tier, &place);
	}
}

/**
 * bc_dirty_drop_run - give back what was set aside for the chunk that is written now
 * @dirty: object
 *
 * Process context.
 */
void bc_dirty_drop_run(struct bc_dirty *dirty)
{
	struct bc_place run;
	unsigned long flags;
	u16 left;

	xa_lock_irqsave(&dirty->blocks, flags);
	run = dirty->run;
	left = dirty->run_left;
	dirty->run_left = 0;
	xa_unlock_irqrestore(&dirty->blocks, flags);
	release_run(dirty->tier, &run, left);
}

/* A block of the run, if it is of that chunk. */
static bool take_of_run(struct bc_dirty *dirty, u64 block, struct bc_place *place)
{
	u32 i = block % BC_CHUNK_BLOCKS;
	bool taken = false;
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	if (dirty->run_left & BIT(i) && dirty->run_chunk == block / BC_CHUNK_BLOCKS) {
		dirty->run_left &= ~BIT(i);
		place->frame = dirty->run.frame;
		place->slot = dirty->run.slot + i;
		place->count = 1;
		taken = true;
	}
	xa_unlock_irqrestore(&dirty->blocks, flags);
	return taken;
}

/*
 * Who writes a chunk from its beginning gets room for all of it in one piece, so that it is written
 * by few requests, and is where a clean chunk would be.
 */
static void begin_run(struct bc_dirty *dirty, u64 block)
{
	struct bc_place run;
	unsigned long flags;

	bc_dirty_drop_run(dirty);
	if (bc_dirty_take_place(dirty->tier, &dirty->generation, block, BC_CHUNK_BLOCKS, &run))
		return;
	xa_lock_irqsave(&dirty->blocks, flags);
	/* Unless another one began one meanwhile. */
	if (!dirty->run_left) {
		swap(dirty->run, run);
		dirty->run_left = bc_blocks_mask(BC_CHUNK_BLOCKS);
		dirty->run_chunk = block / BC_CHUNK_BLOCKS;
		run.count = 0;
	}
	xa_unlock_irqrestore(&dirty->blocks, flags);
	bc_dirty_release_place(dirty->tier, &run);
}

static int find_place(struct bc_dirty *dirty, u64 block, bool more, struct bc_place *place)
{
	if (take_of_run(dirty, block, place))
		return 0;
	/* Of a file's first chunk that is known when its second block is written. */
	if (more && (!(block % BC_CHUNK_BLOCKS) || block == 1)) {
		begin_run(dirty, block);
		if (take_of_run(dirty, block, place))
			return 0;
	}
	return bc_dirty_take_place(dirty->tier, &dirty->generation, block, 1, place);
}

/* The block's entry, made if need be. */
static struct bc_dirty_block *get_block(struct bc_dirty *dirty, u64 block)
{
	struct bc_dirty_block *b = xa_load(&dirty->blocks, block);
	u32 slot;
	int ret;

	if (b)
		return b;
	ret = bc_dirty_take_slot(dirty->tier, READ_ONCE(dirty->last_slot), &slot);
	if (ret)
		return ERR_PTR(ret);
	WRITE_ONCE(dirty->last_slot, slot);
	b = bc_dirty_block_new(block, slot);
	ret = b ? xa_insert_irq(&dirty->blocks, block, b, GFP_NOFS) : -ENOMEM;
	if (!ret)
		return b;
	kfree(b);
	bc_dirty_release_slot(dirty->tier, slot);
	/* Somebody else was faster. */
	return ret == -EBUSY ? xa_load(&dirty->blocks, block) : ERR_PTR(ret);
}

static bool has_next(struct bc_dirty *dirty, struct bc_dirty_block *b)
{
	unsigned long flags;
	bool has;

	xa_lock_irqsave(&dirty->blocks, flags);
	if (!bc_place_is(&b->next))
		swap(b->next, b->spare);
	has = bc_place_is(&b->next);
	xa_unlock_irqrestore(&dirty->blocks, flags);
	return has;
}

static void give_next(struct bc_dirty *dirty, struct bc_dirty_block *b, struct bc_place *place)
{
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	if (!bc_place_is(&b->next))
		swap(b->next, *place);
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

static int try_reserve(struct bc_dirty *dirty, u64 block, bool more)
{
	struct bc_dirty_block *b = get_block(dirty, block);
	struct bc_place place = {};
	int ret;

	if (IS_ERR(b))
		return PTR_ERR(b);
	if (has_next(dirty, b))
		return 0;
	ret = find_place(dirty, block, more, &place);
	if (ret)
		return ret;
	give_next(dirty, b, &place);
	bc_dirty_release_place(dirty->tier, &place);
	return 0;
}

/* Return: 0 something was freed; -EINTR; -ENOSPC nothing was, for long. */
static int wait_for_room(struct bc_tier *tier, int before)
{
	struct bc_dirty_store *store = &tier->dirty;
	long left;

	left = wait_event_killable_timeout(store->wait, atomic_read(&store->freed) != before,
					   NO_PROGRESS);
	if (left < 0)
		return -EINTR;
	return left ? 0 : -ENOSPC;
}

int bc_dirty_reserve(struct bc_dirty *dirty, u64 block, bool more)
{
	struct bc_tier *tier = dirty->tier;
	unsigned int nofs = memalloc_nofs_save();
	int before, ret;

	do {
		before = atomic_read(&tier->dirty.freed);
		ret = READ_ONCE(tier->dirty.failed) || READ_ONCE(tier->read_only) ||
		      READ_ONCE(tier->failed) ? -EIO : try_reserve(dirty, block, more);
		if (ret != -ENOSPC)
			break;
		ret = wait_for_room(tier, before);
	} while (!ret);
	memalloc_nofs_restore(nofs);
	return ret;
}

bool bc_dirty_reserved(struct bc_dirty *dirty, u64 block)
{
	struct bc_dirty_block *b = xa_load(&dirty->blocks, block);

	return b && has_next(dirty, b);
}

bool bc_dirty_is(struct bc_dirty *dirty, u64 block)
{
	return xa_get_mark(&dirty->blocks, block, BC_DIRTY_CACHED);
}

u32 bc_dirty_stored(struct bc_dirty *dirty, u64 block)
{
	struct bc_dirty_block *b;
	unsigned long flags;
	u32 valid = 0;

	xa_lock_irqsave(&dirty->blocks, flags);
	b = xa_load(&dirty->blocks, block);
	if (b && bc_place_is(&b->cur.place))
		valid = b->valid;
	xa_unlock_irqrestore(&dirty->blocks, flags);
	return valid;
}

bool bc_dirty_mark(struct bc_dirty *dirty, u64 block)
{
	struct bc_dirty_block *b;
	unsigned long flags;
	bool marked;

	xa_lock_irqsave(&dirty->blocks, flags);
	b = xa_load(&dirty->blocks, block);
	marked = b && bc_place_is(&b->next);
	if (marked)
		__xa_set_mark(&dirty->blocks, block, BC_DIRTY_CACHED);
	xa_unlock_irqrestore(&dirty->blocks, flags);
	return marked;
}

bool bc_dirty_next_dirty(struct bc_dirty *dirty, u64 *block, u64 last)
{
	unsigned long index = *block;

	if (!xa_find(&dirty->blocks, &index, last, BC_DIRTY_CACHED))
		return false;
	*block = index;
	return true;
}
