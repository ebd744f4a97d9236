// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commits of dirty objects: what was written becomes durable. docs/disk-format.md has the order.
 *
 * All of it holds the store's mutex, since the image of the table must not say anything that is not
 * to be written now: objects share units. The image is changed only after the flush that makes data
 * and name durable; from then on an error leaves it open what the device says, and the
 * table is given up: nothing is freed, so that whatever it says stays true.
 */
#include <linux/blkdev.h>
#include <linux/slab.h>

#include "dirty.h"
#include "netlink.h"
#include "tier.h"

#define NO_UNIT		U64_MAX

static int give_up(struct bc_tier *tier, int error)
{
	if (!tier->dirty.failed)
		pr_err("%s: the dirty table cannot be written: error %d; nothing more becomes durable on this tier until it is attached anew\n",
		       tier->name, error);
	WRITE_ONCE(tier->dirty.failed, true);
	return -EIO;
}

/* Write some units, all at once. Return: number of the one to go on with, or table->units. */
static u64 submit_units(struct bc_tier *tier, u64 unit, u64 except, struct bc_meta_group *group,
			u64 batch[BC_DIRTY_BATCH], u32 *count)
{
	struct bc_dirty_store *store = &tier->dirty;
	struct bc_dtable *table = &store->table;
	u32 copy;

	*count = 0;
	for (unit = bc_dtable_next(table, unit); unit < table->units && *count < BC_DIRTY_BATCH;
	     unit = bc_dtable_next(table, unit + 1)) {
		if (unit == except)
			continue;
		copy = bc_dtable_seal(table, unit, &store->units[*count], tier->super.uuid);
		bc_meta_submit(group, &store->requests[*count], tier->bdev.bdev,
			       REQ_OP_WRITE | REQ_FUA,
			       tier->super.layout.dirty_offset +
			       ((BC_DIRTY_COPIES * unit + copy) << BC_UNIT_SHIFT),
			       &store->units[*count], BC_UNIT_SIZE);
		batch[(*count)++] = unit;
	}
	return unit;
}

/**
 * bc_dirty_write_units - write what changed of the dirty table, durably
 * @tier: tier; the store's mutex is held
 * @except: a unit that is left out, or U64_MAX
 *
 * What they describe is durable already. Return: 0, or -EIO: then the table is given up.
 */
int bc_dirty_write_units(struct bc_tier *tier, u64 except)
{
	struct bc_dirty_store *store = &tier->dirty;
	struct bc_meta_group group;
	u64 batch[BC_DIRTY_BATCH], unit = 0;
	u32 count, i;
	int ret = 0;

	if (store->failed)
		return -EIO;
	do {
		bc_meta_begin(&group);
		unit = submit_units(tier, unit, except, &group, batch, &count);
		bc_meta_wait(&group);
		for (i = 0; i < count; i++) {
			bc_tier_io_result(tier, WRITE, store->requests[i].error);
			ret = ret ?: store->requests[i].error;
		}
		if (ret)
			return give_up(tier, ret);
		for (i = 0; i < count; i++)
			bc_dtable_written(&store->table, batch[i]);
	} while (count == BC_DIRTY_BATCH);
	return 0;
}

/* --- data */

/* What was written since the last commit is to be described by this one. Return: is there any? */
static bool collect(struct bc_dirty *dirty)
{
	struct bc_dirty_block *b;
	unsigned long index;
	bool any = false;

	xa_for_each_marked(&dirty->blocks, index, b, BC_DIRTY_WRITTEN) {
		xa_lock_irq(&dirty->blocks);
		b->pending = b->cur;
		__xa_clear_mark(&dirty->blocks, index, BC_DIRTY_WRITTEN);
		__xa_set_mark(&dirty->blocks, index, BC_DIRTY_PENDING);
		xa_unlock_irq(&dirty->blocks);
		any = true;
		cond_resched();
	}
	return any;
}

static void describe(struct bc_dirty *dirty)
{
	struct bc_dirty_desc desc = {
		.desc = { .key = dirty->generation, .kind = BC_KIND_DIRTY },
	};
	struct bc_dirty_block *b;
	unsigned long index;

	xa_for_each_marked(&dirty->blocks, index, b, BC_DIRTY_PENDING) {
		desc.desc.block = b->block;
		desc.desc.seq = b->pending.seq;
		desc.desc.length = b->pending.length;
		desc.desc.crc = b->pending.crc;
		desc.place = b->pending.place;
		bc_dtable_set(&dirty->tier->dirty.table, b->slot, &desc);
	}
}

/* One block of the commit is done with. Return: what is nobody's any more. */
static struct bc_place settle_block(struct bc_dirty *dirty, struct bc_dirty_block *b, bool durable)
{
	bool kept = durable && bc_flush_keep(dirty, b, false);
	struct bc_place left = {};

	xa_lock_irq(&dirty->blocks);
	if (durable) {
		if (!kept)
			left = b->durable.place;
		b->durable = b->pending;
	} else if (!bc_place_equal(&b->pending.place, &b->cur.place)) {
		left = b->pending.place;
	} else {
		__xa_set_mark(&dirty->blocks, b->block, BC_DIRTY_WRITTEN);
	}
	memset(&b->pending, 0, sizeof(b->pending));
	__xa_clear_mark(&dirty->blocks, b->block, BC_DIRTY_PENDING);
	xa_unlock_irq(&dirty->blocks);
	return left;
}

/* They are described, or, if not @durable, the next commit tries again. */
static void settle(struct bc_dirty *dirty, bool durable)
{
	struct bc_dirty_block *b;
	struct bc_place left;
	unsigned long index;

	xa_for_each_marked(&dirty->blocks, index, b, BC_DIRTY_PENDING) {
		left = settle_block(dirty, b, durable);
		bc_dirty_release_place(dirty->tier, &left);
		cond_resched();
	}
	bc_dirty_freed(dirty->tier);
}

/* --- names */

static void fill_name(struct bc_dirty *dirty, const struct bc_dirty_attr *attr, u64 size,
		      const char *path, struct bc_dirty_name *name)
{
	*name = (struct bc_dirty_name) {
		.kind = BC_KIND_NAME,
		.generation = dirty->generation,
		.volume = dirty->volume,
		.seq = atomic64_inc_return(&dirty->tier->seq),
		.step = dirty->step + 1,
		.size = size,
		.mtime = attr->mtime.tv_sec,
		.mtime_nsec = attr->mtime.tv_nsec,
		.ctime = attr->ctime.tv_sec,
		.ctime_nsec = attr->ctime.tv_nsec,
		.mode = attr->mode,
		.uid = attr->uid,
		.gid = attr->gid,
		.state = dirty->state,
		.base = dirty->base,
		.cut_size = dirty->cut.size,
		.cut_seq = dirty->cut.seq,
		.acked_seq = dirty->acked_seq,
		.acked_size = dirty->acked_size,
		.acked_last_modified = dirty->acked_last_modified,
		.replaces = dirty->replaces,
		.acked_etag_length = strlen(dirty->acked_etag),
		.source = dirty->source,
		.source_length = strlen(dirty->source),
		.domain = dirty->domain,
		.domain_length = strlen(dirty->domain),
		.path = path,
		.path_length = strlen(path),
	};
	strscpy(name->acked_etag, dirty->acked_etag, sizeof(name->acked_etag));
	/* What the store had is what it has from us. */
	if (dirty->base == BC_BASE_ETAG) {
		strscpy(name->base_etag, dirty->acked_etag, sizeof(name->base_etag));
		name->base_etag_length = name->acked_etag_length;
		name->base_size = dirty->acked_size;
	}
	memcpy(name->uuid, dirty->tier->super.uuid, BC_UUID_SIZE);
	memcpy(name->node_id, dirty->tier->super.node_id, BC_UUID_SIZE);
}

/* The other place for names; after an attach of a full tier there may be none yet. */
static int take_name_place(struct bc_dirty *dirty)
{
	struct bc_place *place = &dirty->name_place[!dirty->name_now];

	return bc_place_is(place) ? 0 :
	       bc_dirty_take_place(dirty->tier, &dirty->generation, 0, 1, place);
}

/* Write a name block where the last one is not. @desc: out: what is to be said of it. */
static int write_name(struct bc_dirty *dirty, const struct bc_dirty_name *name,
		      struct bc_dirty_desc *desc)
{
	struct bc_tier *tier = dirty->tier;
	struct bc_place *place = &dirty->name_place[!dirty->name_now];
	u32 length = bc_dirty_name_encode(name, tier->dirty.name);
	int ret;

	memset(tier->dirty.name + length, 0, round_up(length, BC_UNIT_SIZE) - length);
	*desc = (struct bc_dirty_desc) {
		.desc = {
			.key = dirty->generation,
			.seq = name->seq,
			.length = length,
			.crc = bc_crc32c(tier->dirty.name, length),
			.kind = BC_KIND_NAME,
		},
		.place = *place,
	};
	ret = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_WRITE | REQ_SYNC,
			      bc_tier_sector(tier, place->frame, place->slot, 0) << SECTOR_SHIFT,
			      tier->dirty.name, round_up(length, BC_UNIT_SIZE));
	bc_tier_io_result(tier, WRITE, ret);
	return ret;
}

/* The device says so. */
static void name_durable(struct bc_dirty *dirty, const struct bc_dirty_name *name)
{
	dirty->name_now = !dirty->name_now;
	dirty->name_durable = true;
	dirty->durable_size = name->size;
	dirty->step = name->step;
}

/**
 * bc_dirty_flush_device - make durable what the device has been given
 * @tier: tier
 *
 * If that fails, what was written before may be lost, and would not be written again: it is clean.
 * Others' flushes tell no less of it. Return: 0 or errno: then the table is given up.
 */
int bc_dirty_flush_device(struct bc_tier *tier)
{
	int ret = blkdev_issue_flush(tier->bdev.bdev);

	if (ret && tier->dirty.used)
		give_up(tier, ret);
	return ret;
}

/*
 * A name that says only what was cut off, before one that says what was written since: in between,
 * neither bytes from before nor a size without its bytes may be seen.
 */
static int commit_cut(struct bc_dirty *dirty, const struct bc_dirty_attr *attr)
{
	struct bc_tier *tier = dirty->tier;
	struct bc_dirty_name name;
	struct bc_dirty_desc desc;
	int ret;

	fill_name(dirty, attr, min(dirty->durable_size, dirty->cut.size), dirty->path, &name);
	ret = write_name(dirty, &name, &desc);
	if (!ret)
		ret = bc_dirty_flush_device(tier);
	if (ret)
		return ret;
	bc_dtable_set(&tier->dirty.table, dirty->name_slot, &desc);
	ret = bc_dirty_write_units(tier, NO_UNIT);
	if (!ret)
		name_durable(dirty, &name);
	return ret;
}

/* --- what is dead */

/* Descriptors of what was cut off go, then the places and they themselves are free. */
static int clear_dead(struct bc_dirty *dirty)
{
	struct bc_tier *tier = dirty->tier;
	struct bc_dirty_block *b;
	int ret;

	if (!dirty->dead)
		return 0;
	for (b = dirty->dead; b; b = b->link)
		bc_dtable_clear(&tier->dirty.table, b->slot);
	ret = bc_dirty_write_units(tier, NO_UNIT);
	if (ret)
		return ret;
	while ((b = dirty->dead)) {
		dirty->dead = b->link;
		/* A flush may need it still, or it is to be a clean one. */
		if (!b->kept && !bc_flush_take_over(dirty, b))
			bc_dirty_release_place(tier, &b->durable.place);
		bc_dirty_release_slot(tier, b->slot);
		kfree_rcu(b, rcu);
	}
	bc_dirty_freed(tier);
	return 0;
}

/* Does what the device says of the block reach behind @size? */
static bool reaches(const struct bc_dirty_block *b, u64 size)
{
	u64 start = b->block << BC_BLOCK_SHIFT;

	return bc_place_is(&b->durable.place) && start + b->durable.length > size;
}

/* Has the block that a cut goes through no durable bytes from before it? */
static bool cut_is_over(struct bc_dirty *dirty)
{
	struct bc_dirty_block *b;

	if (!(dirty->cut.size & (BC_BLOCK_SIZE - 1)))
		return true;
	b = xa_load(&dirty->blocks, dirty->cut.size >> BC_BLOCK_SHIFT);
	return !b || !reaches(b, dirty->cut.size) || b->durable.seq > dirty->cut.seq;
}

/* --- commits */

/* The first dirty data on this tier: older modules must refuse it from now on. */
static int mark_used(struct bc_tier *tier)
{
	int ret;

	if (tier->dirty.used)
		return 0;
	ret = bc_tier_mark_dirty(tier);
	if (!ret)
		tier->dirty.used = true;
	return ret;
}

static int commit_data(struct bc_dirty *dirty, const struct bc_dirty_attr *attr, u64 size,
		       const char *path)
{
	struct bc_tier *tier = dirty->tier;
	struct bc_dirty_name name;
	struct bc_dirty_desc desc;
	int ret;

	fill_name(dirty, attr, size, path, &name);
	ret = write_name(dirty, &name, &desc);
	if (!ret)
		ret = bc_dirty_flush_device(tier);
	if (ret)
		return ret;
	describe(dirty);
	/* The name last: its size is that of bytes that are there. */
	ret = bc_dirty_write_units(tier, bc_dtable_unit_of(dirty->name_slot));
	if (!ret) {
		bc_dtable_set(&tier->dirty.table, dirty->name_slot, &desc);
		ret = bc_dirty_write_units(tier, NO_UNIT);
	}
	if (ret)
		return ret;
	name_durable(dirty, &name);
	settle(dirty, true);
	ret = clear_dead(dirty);
	if (!ret && cut_is_over(dirty))
		dirty->cut.seq = 0;
	return ret;
}

/* Is there nothing but what this commit makes durable? With the lock of blocks. */
static bool is_all(struct bc_dirty *dirty, u64 size)
{
	return size >= dirty->attr.size && !dirty->under_way &&
	       !xa_marked(&dirty->blocks, BC_DIRTY_CACHED) &&
	       !xa_marked(&dirty->blocks, BC_DIRTY_WRITTEN);
}

/*
 * What is to be said now, of which the next commit need not say it again. A file that was closed
 * after @size was looked at is ready with the next one: half of it must not go to the store.
 */
static void take_attr(struct bc_dirty *dirty, u64 size, bool committed,
		      struct bc_dirty_attr *attr)
{
	xa_lock_irq(&dirty->blocks);
	*attr = dirty->attr;
	dirty->attr_changed = !is_all(dirty, size);
	if (dirty->writers || dirty->attr_changed)
		dirty->state = BC_NAME_WRITING;
	else
		dirty->state = committed ? BC_NAME_COMMITTED : BC_NAME_READY;
	xa_unlock_irq(&dirty->blocks);
}

static int commit(struct bc_dirty *dirty, u64 size, const char *path, bool committed)
{
	struct bc_dirty_attr attr;
	int ret;

	if (dirty->tier->dirty.failed)
		return -EIO;
	ret = mark_used(dirty->tier);
	if (!ret)
		ret = take_name_place(dirty);
	if (ret)
		return ret;
	/* In this order: a block that is cut off in between goes by the new size. */
	if (collect(dirty))
		/* What was written since the store's cut is not what the store has. */
		committed = false;
	take_attr(dirty, size, committed, &attr);
	if (dirty->cut.seq && dirty->name_durable)
		ret = commit_cut(dirty, &attr);
	if (!ret)
		ret = commit_data(dirty, &attr, min(size, attr.size), path);
	/* Of a table that failed it is not known what it says. */
	if (ret && !dirty->tier->dirty.failed)
		settle(dirty, false);
	/* Appended to since @size was looked at: the rest is for the next one, written or not. */
	if (ret || size < attr.size)
		WRITE_ONCE(dirty->attr_changed, true);
	return ret;
}

/* The store's mutex, of an object that nobody is about to replace. */
void bc_dirty_lock(struct bc_dirty *dirty)
{
	struct bc_dirty_store *store = &dirty->tier->dirty;

	mutex_lock(&store->mutex);
	while (dirty->superseded) {
		mutex_unlock(&store->mutex);
		wait_var_event(&dirty->superseded, !READ_ONCE(dirty->superseded));
		mutex_lock(&store->mutex);
	}
}

/* The name of an object that is being committed stays: the mutex is held. */
static int commit_locked(struct bc_dirty *dirty, const struct bc_dirty_point *point, bool *done)
{
	/* If it has none, there is no name by which anybody could find it. */
	if (dirty->unlinked || (!bc_dirty_uncommitted(dirty) && !dirty->cut.seq))
		return 0;
	if (READ_ONCE(dirty->shrunk) != point->shrunk)
		return -EAGAIN;
	*done = true;
	return commit(dirty, point->size, dirty->path, false);
}

/* @path: taken over, if it returns 0. */
static int rename_locked(struct bc_dirty *dirty, const struct bc_dirty_point *point,
			 const struct bc_dirty_rename *rename, char *path)
{
	struct bc_key replaces = dirty->replaces;
	enum bc_name_base base = dirty->base;
	int ret;

	if (dirty->unlinked)
		return -ENOENT;
	if (READ_ONCE(dirty->shrunk) != point->shrunk)
		return -EAGAIN;
	dirty->base = rename->base;
	if (rename->victim)
		dirty->replaces = rename->victim->generation;
	ret = commit(dirty, point->size, path, false);
	if (!ret) {
		bc_dirty_renamed(dirty, path);
		return 0;
	}
	dirty->base = base;
	dirty->replaces = replaces;
	return ret;
}

int bc_dirty_commit(struct bc_dirty *dirty, const struct bc_dirty_point *point,
		    const struct bc_dirty_rename *rename)
{
	char *path = rename ? kstrdup(rename->path, GFP_NOFS) : NULL;
	bool done = rename;
	int ret;

	if (rename && !path)
		return -ENOMEM;
	bc_dirty_lock(dirty);
	if (rename)
		ret = rename_locked(dirty, point, rename, path);
	else
		ret = commit_locked(dirty, point, &done);
	mutex_unlock(&dirty->tier->dirty.mutex);
	if (ret)
		kfree(path);
	else if (done)
		bc_netlink_announce_dirty(dirty);
	return ret;
}

/**
 * bc_dirty_commit_acked - write down what the store has
 * @dirty: object; the store's mutex is held, and what is acknowledged was set
 * @committed: it has all of it
 *
 * Return: 0 or errno.
 */
int bc_dirty_commit_acked(struct bc_dirty *dirty, bool committed)
{
	/* What was written behind a cut may be not there yet, up to the size of before. */
	u64 size = dirty->cut.seq ? min(dirty->durable_size, dirty->cut.size) :
				    dirty->durable_size;

	return commit(dirty, size, dirty->path, committed);
}

/*
 * What the store has is about to go: a crash must not leave a name that says it is there. Without
 * room for another name block it may if it is @removed: who has no room wants to remove files.
 */
static int forget_store(struct bc_dirty *dirty, bool removed)
{
	char etag[sizeof(dirty->acked_etag)];
	u64 seq = dirty->acked_seq, size = dirty->acked_size;
	int ret;

	if (dirty->base != BC_BASE_ETAG)
		return 0;
	memcpy(etag, dirty->acked_etag, sizeof(etag));
	memset(dirty->acked_etag, 0, sizeof(etag));
	dirty->acked_seq = 0;
	dirty->acked_size = 0;
	dirty->base = BC_BASE_UNKNOWN;
	ret = bc_dirty_commit_acked(dirty, false);
	if (!ret)
		return 0;
	if (ret == -ENOSPC && removed) {
		/* If it stays after all, the store is to get it again. */
		dirty->state = BC_NAME_READY;
		WRITE_ONCE(dirty->attr_changed, true);
		return 0;
	}
	memcpy(dirty->acked_etag, etag, sizeof(etag));
	dirty->acked_seq = seq;
	dirty->acked_size = size;
	dirty->base = BC_BASE_ETAG;
	return ret;
}

int bc_dirty_hold(struct bc_dirty *dirty, bool removed)
{
	int ret;

	mutex_lock(&dirty->tier->dirty.mutex);
	ret = forget_store(dirty, removed);
	dirty->held = !ret;
	if (!ret)
		dirty->flush.renamed = true;
	mutex_unlock(&dirty->tier->dirty.mutex);
	return ret;
}

void bc_dirty_unhold(struct bc_dirty *dirty)
{
	bool named;

	mutex_lock(&dirty->tier->dirty.mutex);
	dirty->held = false;
	named = !dirty->unlinked && dirty->name_durable;
	mutex_unlock(&dirty->tier->dirty.mutex);
	/* What the store had of it may be gone. */
	if (named)
		bc_netlink_announce_dirty(dirty);
}

void bc_dirty_survived(struct bc_dirty *dirty, const struct bc_dirty *other)
{
	/* One table says which of two of its own is newer, and nothing if it was not written. */
	if (dirty->tier == other->tier || !READ_ONCE(other->tier->dirty.failed))
		return;
	mutex_lock(&dirty->tier->dirty.mutex);
	dirty->replaces = other->generation;
	WRITE_ONCE(dirty->attr_changed, true);
	mutex_unlock(&dirty->tier->dirty.mutex);
}

void bc_dirty_supersede(struct bc_dirty *dirty, bool superseded)
{
	mutex_lock(&dirty->tier->dirty.mutex);
	WRITE_ONCE(dirty->superseded, superseded);
	mutex_unlock(&dirty->tier->dirty.mutex);
	if (superseded)
		return;
	/* Who waits looks at it after he is in the queue. */
	smp_mb();
	wake_up_var(&dirty->superseded);
}

/* --- truncation */

static bool needs_cut(struct bc_dirty *dirty, u64 size)
{
	unsigned long index = size >> BC_BLOCK_SHIFT;
	struct bc_dirty_block *b;

	xa_for_each_start(&dirty->blocks, index, b, size >> BC_BLOCK_SHIFT) {
		if (reaches(b, size))
			return true;
	}
	return false;
}

/* A block that is behind the end now. */
static void drop_block(struct bc_dirty *dirty, struct bc_dirty_block *b)
{
	bool described = bc_place_is(&b->durable.place);
	struct bc_tier *tier = dirty->tier;
	struct bc_place unnamed = {};

	/* Before it is not found any more. */
	bc_flush_keep(dirty, b, true);
	xa_lock_irq(&dirty->blocks);
	__xa_erase(&dirty->blocks, b->block);
	/* A commit that failed leaves it open whether the device describes what was pending. */
	if (!bc_place_equal(&b->cur.place, &b->durable.place) &&
	    !bc_place_equal(&b->cur.place, &b->pending.place))
		unnamed = b->cur.place;
	xa_unlock_irq(&dirty->blocks);
	bc_dirty_release_place(tier, &unnamed);
	bc_dirty_release_place(tier, &b->next);
	bc_dirty_release_place(tier, &b->spare);
	if (described) {
		b->link = dirty->dead;
		dirty->dead = b;
	} else {
		bc_dirty_release_slot(tier, b->slot);
		kfree_rcu(b, rcu);
	}
}

static void clamp_block(struct bc_dirty *dirty, u64 size)
{
	struct bc_dirty_block *b;

	xa_lock_irq(&dirty->blocks);
	b = xa_load(&dirty->blocks, size >> BC_BLOCK_SHIFT);
	if (b)
		b->valid = min_t(u32, b->valid, size & (BC_BLOCK_SIZE - 1));
	xa_unlock_irq(&dirty->blocks);
}

/* What was written between the two must not go by the first one. */
static bool can_truncate(const struct bc_dirty *dirty, u64 size)
{
	return !dirty->cut.seq || size <= dirty->cut.size;
}

bool bc_dirty_can_truncate(struct bc_dirty *dirty, u64 size)
{
	bool can;

	mutex_lock(&dirty->tier->dirty.mutex);
	can = can_truncate(dirty, size);
	mutex_unlock(&dirty->tier->dirty.mutex);
	return can;
}

static void truncate(struct bc_dirty *dirty, u64 size)
{
	struct bc_dirty_block *b;
	unsigned long index;

	WARN_ON_ONCE(!can_truncate(dirty, size));
	if (needs_cut(dirty, size)) {
		dirty->cut.size = size;
		dirty->cut.seq = atomic64_inc_return(&dirty->tier->seq);
	}
	xa_for_each_start(&dirty->blocks, index, b, DIV_ROUND_UP_ULL(size, BC_BLOCK_SIZE))
		drop_block(dirty, b);
	if (size & (BC_BLOCK_SIZE - 1))
		clamp_block(dirty, size);
	bc_dirty_freed(dirty->tier);
}

void bc_dirty_truncate(struct bc_dirty *dirty, u64 size)
{
	mutex_lock(&dirty->tier->dirty.mutex);
	truncate(dirty, size);
	mutex_unlock(&dirty->tier->dirty.mutex);
	/* By its path: nobody is going to write the rest, or to close it. */
	if (!READ_ONCE(dirty->writers))
		bc_dirty_drop_run(dirty);
}

/* --- the end */

static void set_unlinked(struct bc_dirty *dirty)
{
	dirty->name_durable = false;
	WRITE_ONCE(dirty->unlinked, true);
	/* Whoever finds it until now has a reference, and finds it so. */
	if (bc_dirty_unpublish(dirty))
		bc_dirty_put(dirty);
}

int bc_dirty_unlink(struct bc_dirty *dirty)
{
	struct bc_dirty_store *store = &dirty->tier->dirty;
	int ret = 0;

	mutex_lock(&store->mutex);
	if (dirty->unlinked)
		goto out;
	/* Nobody knows then whether the device has a name of it. */
	if (store->failed)
		ret = -EIO;
	if (!ret && dirty->name_durable) {
		bc_dtable_clear(&store->table, dirty->name_slot);
		ret = bc_dirty_write_units(dirty->tier, NO_UNIT);
	}
	if (!ret)
		set_unlinked(dirty);
out:
	mutex_unlock(&store->mutex);
	return ret;
}

void bc_dirty_replaced(struct bc_dirty *dirty)
{
	struct bc_dirty_store *store = &dirty->tier->dirty;

	if (!bc_dirty_unlink(dirty))
		return;
	/* The table is given up: what it says of this one stays. */
	mutex_lock(&store->mutex);
	set_unlinked(dirty);
	mutex_unlock(&store->mutex);
}

/* What was written and never became durable is nobody's. */
static void revert_block(struct bc_dirty *dirty, struct bc_dirty_block *b)
{
	struct bc_place left = {};
	u64 start = b->block << BC_BLOCK_SHIFT;

	xa_lock_irq(&dirty->blocks);
	if (!bc_place_equal(&b->cur.place, &b->durable.place))
		left = b->cur.place;
	b->cur = b->durable;
	b->valid = b->durable.length;
	b->verified = false;
	if (dirty->cut.seq >= b->durable.seq && dirty->cut.size < start + b->valid)
		b->valid = dirty->cut.size > start ? dirty->cut.size - start : 0;
	__xa_clear_mark(&dirty->blocks, b->block, BC_DIRTY_WRITTEN);
	__xa_clear_mark(&dirty->blocks, b->block, BC_DIRTY_CACHED);
	xa_unlock_irq(&dirty->blocks);
	bc_dirty_release_place(dirty->tier, &left);
}

/* There are no pages, so nobody can make a block dirty, or cut one off. */
static void revert(struct bc_dirty *dirty)
{
	u64 size = min(dirty->durable_size, dirty->attr.size);
	struct bc_dirty_block *b;
	unsigned long index;

	xa_for_each_marked(&dirty->blocks, index, b, BC_DIRTY_WRITTEN)
		revert_block(dirty, b);
	xa_for_each_marked(&dirty->blocks, index, b, BC_DIRTY_CACHED)
		revert_block(dirty, b);
	if (dirty->cut.seq)
		size = min(size, dirty->cut.size);
	if (size < dirty->attr.size)
		bc_dirty_set_size(dirty, size);
	truncate(dirty, size);
}

bool bc_dirty_lost(struct bc_dirty *dirty)
{
	bool lost;

	if (!xa_marked(&dirty->blocks, BC_DIRTY_CACHED) || READ_ONCE(dirty->unlinked))
		return false;
	mutex_lock(&dirty->tier->dirty.mutex);
	lost = !dirty->unlinked;
	/* Of a table that failed nobody knows what is durable. */
	if (lost && !dirty->tier->dirty.failed)
		revert(dirty);
	mutex_unlock(&dirty->tier->dirty.mutex);
	bc_dirty_freed(dirty->tier);
	return lost;
}

/* Take all blocks' descriptors from the table. */
static int clear_blocks(struct bc_dirty *dirty)
{
	struct bc_dirty_block *b;
	unsigned long index;

	xa_for_each(&dirty->blocks, index, b)
		drop_block(dirty, b);
	return clear_dead(dirty);
}

static void release_name(struct bc_dirty *dirty)
{
	bc_dirty_release_place(dirty->tier, &dirty->name_place[0]);
	bc_dirty_release_place(dirty->tier, &dirty->name_place[1]);
	if (dirty->name_slot != BC_DTABLE_NONE)
		bc_dirty_release_slot(dirty->tier, dirty->name_slot);
}

/**
 * bc_dirty_clear - take a whole object from the dirty table, its name first
 * @dirty: object that nobody finds any more; the store's mutex is held
 *
 * Return: 0 or -EIO: then what it has stays taken.
 */
int bc_dirty_clear(struct bc_dirty *dirty)
{
	int ret;

	bc_dirty_drop_run(dirty);
	bc_dtable_clear(&dirty->tier->dirty.table, dirty->name_slot);
	ret = bc_dirty_write_units(dirty->tier, NO_UNIT);
	if (!ret)
		ret = clear_blocks(dirty);
	if (!ret)
		release_name(dirty);
	return ret;
}

/**
 * bc_dirty_release_work - nobody has the object any more
 * @work: of bc_dirty
 *
 * One that was unlinked gives back what it had, but for what a failed table may still name. Others
 * are only forgotten.
 */
void bc_dirty_release_work(struct work_struct *work)
{
	struct bc_dirty *dirty = container_of(work, struct bc_dirty, release);
	struct bc_tier *tier = dirty->tier;

	if (dirty->unlinked) {
		bc_dirty_drop_run(dirty);
		mutex_lock(&tier->dirty.mutex);
		bc_flush_drop(dirty);
		if (!tier->dirty.failed && !clear_blocks(dirty))
			release_name(dirty);
		mutex_unlock(&tier->dirty.mutex);
		bc_dirty_freed(tier);
	}
	bc_dirty_free(dirty);
}
