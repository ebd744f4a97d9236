// SPDX-License-Identifier: GPL-2.0-only
/*
 * Uploads of dirty objects, see flush.h.
 *
 * A version that belongs to the cut is the durable one of its block, until a commit replaces it:
 * then it is kept beside, and its place with it. So a reader who has found a place may read
 * it for as long as the flush lasts, which he keeps from ending by flush_sem.
 */
#include <linux/blkdev.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "flush.h"
#include "object.h"
#include "stats.h"
#include "tier.h"

#define READ_BLOCKS	(BC_READ_MAX >> BC_BLOCK_SHIFT)

/**
 * bc_flush_keep - a block's durable version is about to be replaced, or to go
 * @dirty: object; the store's mutex is held
 * @b: block
 * @described: the device describes it until bc_flush_take_over()
 *
 * Return: whether its place is the flush's now, or will be then.
 */
bool bc_flush_keep(struct bc_dirty *dirty, const struct bc_dirty_block *b, bool described)
{
	struct bc_dirty_flush *flush = &dirty->flush;
	struct bc_dirty_kept *kept;

	/*
	 * The first time only: what comes later is not of the cut, whatever its sequence is, which
	 * a write gets when it begins.
	 */
	if (!flush->active || flush->broken || b->block << BC_BLOCK_SHIFT >= flush->size ||
	    xa_load(&flush->kept, b->block))
		return false;
	kept = kzalloc(sizeof(*kept), GFP_NOFS);
	if (kept) {
		kept->version = b->durable;
		kept->described = described;
	}
	/* Before the block has another one: see find_version(). That there was none counts, too. */
	if (kept && !xa_insert_irq(&flush->kept, b->block, kept, GFP_NOFS))
		return bc_place_is(&kept->version.place);
	kfree(kept);
	WRITE_ONCE(flush->broken, true);
	return false;
}

/**
 * bc_flush_take_over - the device describes a block's durable version no more
 * @dirty: object; the store's mutex is held
 * @b: block
 *
 * Return: whether its place is a flush's, and not to be freed.
 */
bool bc_flush_take_over(struct bc_dirty *dirty, const struct bc_dirty_block *b)
{
	struct bc_dirty_kept *kept = xa_load(&dirty->flush.kept, b->block);

	if (!kept || !kept->described ||
	    !bc_place_equal(&kept->version.place, &b->durable.place))
		return false;
	kept->described = false;
	return true;
}

/**
 * bc_flush_drop - the flush is over: what was kept for it is free
 * @dirty: object; the store's mutex is held, or nobody else has it
 */
void bc_flush_drop(struct bc_dirty *dirty)
{
	struct bc_dirty_kept *kept;
	unsigned long index;

	xa_for_each(&dirty->flush.kept, index, kept) {
		xa_erase_irq(&dirty->flush.kept, index);
		if (!kept->described)
			bc_dirty_release_place(dirty->tier, &kept->version.place);
		kfree(kept);
	}
	dirty->flush.active = false;
	bc_dirty_freed(dirty->tier);
}

static struct bc_dirty *find(const u8 generation[BC_KEY_SIZE])
{
	struct bc_key key;

	memcpy(key.bytes, generation, BC_KEY_SIZE);
	return bc_dirty_by_generation(&key);
}

static int begin_locked(struct bc_dirty *dirty, u64 owner)
{
	struct bc_dirty_flush *flush = &dirty->flush;

	if (dirty->unlinked || !dirty->name_durable)
		return -ENOENT;
	if (flush->active)
		return -EBUSY;
	if (dirty->held || dirty->superseded)
		return -EAGAIN;
	/* What was cut off and is not durably gone would count as the cut's. */
	if (dirty->cut.seq)
		return -EAGAIN;
	flush->active = true;
	flush->broken = false;
	flush->renamed = false;
	flush->owner = owner;
	flush->cut = atomic64_read(&dirty->tier->seq);
	flush->size = dirty->durable_size;
	flush->step = dirty->step;
	return 0;
}

int bc_flush_begin(struct bc_ioc_flush_begin *begin, u64 owner)
{
	struct bc_dirty *dirty = find(begin->generation);
	int ret;

	if (!dirty)
		return -ENOENT;
	down_write(&dirty->flush_sem);
	mutex_lock(&dirty->tier->dirty.mutex);
	ret = begin_locked(dirty, owner);
	begin->cut = dirty->flush.cut;
	begin->object_size = dirty->flush.size;
	begin->step = dirty->flush.step;
	mutex_unlock(&dirty->tier->dirty.mutex);
	up_write(&dirty->flush_sem);
	bc_dirty_put_any(dirty);
	return ret;
}

/* The object of a flush, with flush_sem held for reading, which put_flush() drops. */
static struct bc_dirty *get_flush(const u8 generation[BC_KEY_SIZE], u64 cut, u64 owner)
{
	struct bc_dirty *dirty = find(generation);

	if (!dirty)
		return ERR_PTR(-ENOENT);
	down_read(&dirty->flush_sem);
	if (dirty->flush.active && dirty->flush.owner == owner && dirty->flush.cut == cut &&
	    !READ_ONCE(dirty->flush.broken))
		return dirty;
	up_read(&dirty->flush_sem);
	bc_dirty_put_any(dirty);
	return ERR_PTR(-ESTALE);
}

static void put_flush(struct bc_dirty *dirty)
{
	up_read(&dirty->flush_sem);
	bc_dirty_put_any(dirty);
}

/* The version of a block that belongs to the cut. Return: false if it is zeroes. */
static bool find_version(struct bc_dirty *dirty, u64 block, struct bc_dirty_version *version)
{
	struct bc_dirty_kept *kept;
	struct bc_dirty_block *b;
	unsigned long flags;

	memset(version, 0, sizeof(*version));
	xa_lock_irqsave(&dirty->blocks, flags);
	b = xa_load(&dirty->blocks, block);
	if (b)
		*version = b->durable;
	xa_unlock_irqrestore(&dirty->blocks, flags);
	/* Then: it was put there before the block got a newer one. */
	kept = xa_load(&dirty->flush.kept, block);
	if (kept)
		*version = kept->version;
	return bc_place_is(&version->place);
}

/*
 * After versions were found: a version that could not be kept made the flush broken before the
 * block had a newer one, so whoever has found that one sees it here. Return: 0 or -ESTALE.
 */
static int still_whole(struct bc_dirty *dirty)
{
	return READ_ONCE(dirty->flush.broken) ? -ESTALE : 0;
}

/* Bytes of a block that the object has as of the cut. */
static u32 block_bytes(const struct bc_dirty *dirty, u64 block)
{
	u64 start = block << BC_BLOCK_SHIFT;

	return start < dirty->flush.size ?
	       min_t(u64, dirty->flush.size - start, BC_BLOCK_SIZE) : 0;
}

int bc_flush_map(const struct bc_ioc_flush_map *map, u64 owner)
{
	struct bc_flush_block __user *out = u64_to_user_ptr(map->address);
	struct bc_dirty *dirty = get_flush(map->generation, map->cut, owner);
	struct bc_dirty_version version;
	int ret = 0;
	u32 i;

	if (IS_ERR(dirty))
		return PTR_ERR(dirty);
	for (i = 0; i < map->count && !ret; i++) {
		struct bc_flush_block block = {};

		if (block_bytes(dirty, map->block + i) &&
		    find_version(dirty, map->block + i, &version)) {
			block.seq = version.seq;
			block.crc = version.crc;
			block.length = version.length;
		}
		if (copy_to_user(&out[i], &block, sizeof(block)))
			ret = -EFAULT;
		cond_resched();
	}
	if (!ret)
		ret = still_whole(dirty);
	put_flush(dirty);
	return ret;
}

/* Blocks on their way to a buffer. */
struct batch {
	struct bc_meta_group group;
	struct bc_meta_request requests[READ_BLOCKS];
	struct bc_dirty_version versions[READ_BLOCKS];
	u32 count;
	u8 *buffer;
};

static void submit_reads(struct bc_dirty *dirty, struct batch *batch, u64 block)
{
	struct bc_tier *tier = dirty->tier;
	struct blk_plug plug;
	u32 i;

	bc_meta_begin(&batch->group);
	blk_start_plug(&plug);
	for (i = 0; i < batch->count; i++) {
		struct bc_dirty_version *version = &batch->versions[i];
		const struct bc_place *place = &version->place;

		if (!find_version(dirty, block + i, version))
			continue;
		bc_meta_submit(&batch->group, &batch->requests[i], tier->bdev.bdev, REQ_OP_READ,
			       bc_tier_sector(tier, place->frame, place->slot, 0) << SECTOR_SHIFT,
			       batch->buffer + i * BC_BLOCK_SIZE,
			       round_up(version->length, BC_UNIT_SIZE));
	}
	blk_finish_plug(&plug);
	bc_meta_wait(&batch->group);
}

/* Return: 0, or -EIO if one could not be read, or is damaged. */
static int check_reads(struct bc_dirty *dirty, struct batch *batch)
{
	u32 i;

	for (i = 0; i < batch->count; i++) {
		const struct bc_dirty_version *version = &batch->versions[i];
		u8 *bytes = batch->buffer + i * BC_BLOCK_SIZE;

		if (!bc_place_is(&version->place))
			continue;
		bc_tier_io_result(dirty->tier, READ, batch->requests[i].error);
		if (batch->requests[i].error) {
			bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
			return -EIO;
		}
		if (bc_crc32c(bytes, version->length) != version->crc) {
			bc_stat_inc(BC_STAT_CRC_ERRORS);
			return -EIO;
		}
		memset(bytes + version->length, 0, BC_BLOCK_SIZE - version->length);
	}
	return 0;
}

static int read_range(struct bc_dirty *dirty, const struct bc_ioc_read *read,
		      struct batch *batch)
{
	u64 end = read->offset + read->length;
	int ret;

	if (end > dirty->flush.size ||
	    (end & (BC_BLOCK_SIZE - 1) && end != dirty->flush.size))
		return -ERANGE;
	batch->count = DIV_ROUND_UP(read->length, BC_BLOCK_SIZE);
	submit_reads(dirty, batch, read->offset >> BC_BLOCK_SHIFT);
	ret = still_whole(dirty);
	if (!ret)
		ret = check_reads(dirty, batch);
	if (!ret && copy_to_user(u64_to_user_ptr(read->address), batch->buffer, read->length))
		ret = -EFAULT;
	return ret;
}

int bc_flush_read(const struct bc_ioc_read *read, u64 owner)
{
	struct batch *batch = kzalloc(sizeof(*batch), GFP_KERNEL);
	struct bc_dirty *dirty;
	int ret = -ENOMEM;

	if (!batch)
		return -ENOMEM;
	/* Zeroed: what is stored nowhere is zeroes, and nothing else of ours may be seen. */
	batch->buffer = kvzalloc(round_up(read->length, BC_BLOCK_SIZE), GFP_KERNEL);
	if (!batch->buffer)
		goto out;
	dirty = get_flush(read->generation, read->cut, owner);
	ret = PTR_ERR_OR_ZERO(dirty);
	if (ret)
		goto out;
	ret = read_range(dirty, read, batch);
	put_flush(dirty);
out:
	kvfree(batch->buffer);
	kfree(batch);
	return ret;
}

/* The store has the cut. Return: 0 or errno. */
static int take_ack(struct bc_dirty *dirty, const struct bc_ioc_flush_end *end)
{
	const struct bc_dirty_flush *flush = &dirty->flush;
	bool all = dirty->step == flush->step && !bc_dirty_uncommitted(dirty) && !dirty->writers;

	if (dirty->unlinked)
		return -ENOENT;
	if (flush->renamed || flush->broken)
		return -ESTALE;
	dirty->acked_seq = flush->cut;
	dirty->acked_size = flush->size;
	dirty->acked_last_modified = end->last_modified;
	memset(dirty->acked_etag, 0, sizeof(dirty->acked_etag));
	memcpy(dirty->acked_etag, end->etag, end->etag_length);
	dirty->acked_ns = ktime_get_boottime_ns();
	dirty->base = BC_BASE_ETAG;
	return bc_dirty_commit_acked(dirty, all);
}

static int end_locked(struct bc_dirty *dirty, const struct bc_ioc_flush_end *end, u64 owner)
{
	const struct bc_dirty_flush *flush = &dirty->flush;
	int ret = 0;

	if (!flush->active || flush->owner != owner || flush->cut != end->cut)
		return -ESTALE;
	if (end->flags & BC_FLUSH_COMMITTED)
		ret = take_ack(dirty, end);
	bc_flush_drop(dirty);
	return ret;
}

int bc_flush_end(const struct bc_ioc_flush_end *end, u64 owner)
{
	struct bc_dirty *dirty = find(end->generation);
	int ret;

	if (!dirty)
		return -ENOENT;
	down_write(&dirty->flush_sem);
	/* Only who replaces it knows whether the store's is the one of this name still. */
	bc_dirty_lock(dirty);
	ret = end_locked(dirty, end, owner);
	mutex_unlock(&dirty->tier->dirty.mutex);
	up_write(&dirty->flush_sem);
	bc_dirty_put_any(dirty);
	return ret;
}

static void give_up(struct bc_dirty *dirty, u64 owner)
{
	down_write(&dirty->flush_sem);
	mutex_lock(&dirty->tier->dirty.mutex);
	if (dirty->flush.active && dirty->flush.owner == owner)
		bc_flush_drop(dirty);
	mutex_unlock(&dirty->tier->dirty.mutex);
	up_write(&dirty->flush_sem);
}

void bc_flush_owner_gone(u64 owner)
{
	struct bc_dirty *dirty;
	u64 serial = 0;

	while ((dirty = bc_dirty_next_any(&serial))) {
		give_up(dirty, owner);
		bc_dirty_put_any(dirty);
	}
}

void bc_flush_info(struct bc_dirty *dirty, struct bc_dirty_info *info)
{
	info->generation = dirty->generation;
	info->source = dirty->source;
	info->device = dirty->tier->name;
	mutex_lock(&dirty->tier->dirty.mutex);
	/* The name of that step. */
	spin_lock(&bc_dirty_names_lock);
	strscpy(info->path, dirty->path, sizeof(info->path));
	spin_unlock(&bc_dirty_names_lock);
	info->step = dirty->name_durable ? dirty->step : 0;
	info->size = dirty->durable_size;
	info->state = dirty->state;
	info->base = dirty->base;
	info->writers = dirty->writers;
	info->mode = dirty->attr.mode;
	info->mtime = dirty->attr.mtime;
	info->acked_seq = dirty->acked_seq;
	memcpy(info->acked_etag, dirty->acked_etag, sizeof(info->acked_etag));
	info->flushing = dirty->flush.active;
	info->cut = dirty->flush.cut;
	mutex_unlock(&dirty->tier->dirty.mutex);
}
