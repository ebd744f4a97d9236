// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clean table of a tier. Advisory: losing a record loses a cache entry. The
 * whole table is kept in memory as it is on the device, since a unit is written
 * as a whole and first use of a block needs its checksum.
 */
#include <linux/blkdev.h>
#include <linux/netlink.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "recover.h"
#include "stats.h"
#include "tier.h"

/* Records are written this long after the first of them changed. */
#define TABLE_DELAY	HZ

static void mark_dirty(struct bc_tier *tier, u32 frame)
{
	u64 unit = bc_clean_unit_of(frame);

	lockdep_assert_held(&tier->lock);
	if (__test_and_set_bit(unit, tier->unit_dirty))
		return;
	if (!tier->units_dirty++)
		queue_delayed_work(bc_table_wq, &tier->table_work, TABLE_DELAY);
}

struct bc_disk_desc *bc_clean_descs(struct bc_tier *tier, u32 frame, u32 slot)
{
	return &tier->units[bc_clean_unit_of(frame)].desc[bc_clean_desc_of(frame, slot)];
}

void bc_clean_set(struct bc_tier *tier, const struct bc_place *place, const struct bc_key *key,
		  u32 chunk, u32 bytes, u16 blocks, const u32 crc[BC_CHUNK_BLOCKS])
{
	struct bc_disk_desc *disk = bc_clean_descs(tier, place->frame, place->slot);
	struct bc_desc desc = {
		.key = *key,
		.seq = atomic64_inc_return(&tier->seq),
		.kind = BC_KIND_CLEAN,
	};
	unsigned long mask = blocks;
	u32 i;

	lockdep_assert_held(&tier->lock);
	for_each_set_bit(i, &mask, place->count) {
		desc.block = (u64)chunk * BC_CHUNK_BLOCKS + i;
		desc.length = min(bytes - i * BC_BLOCK_SIZE, BC_BLOCK_SIZE);
		desc.crc = crc[i];
		bc_desc_encode(&desc, &disk[i]);
	}
	mark_dirty(tier, place->frame);
}

void bc_clean_erase(struct bc_tier *tier, const struct bc_place *place)
{
	lockdep_assert_held(&tier->lock);
	memset(bc_clean_descs(tier, place->frame, place->slot), 0,
	       place->count * sizeof(struct bc_disk_desc));
	mark_dirty(tier, place->frame);
}

/* Units as they were at one moment, in memory of their own. */
#define BATCH_UNITS	64

struct bc_clean_batch {
	u32 count;
	u64 unit[BATCH_UNITS];
	u8 bytes[BATCH_UNITS][BC_UNIT_SIZE] __aligned(PAGE_SIZE);
};

static_assert(PAGE_SIZE % BC_UNIT_SIZE == 0 || BC_UNIT_SIZE % PAGE_SIZE == 0,
	      "a unit in a batch lies in whole pages");

/* Take dirty units from @unit on. Return: where to go on. */
static u64 take_units(struct bc_tier *tier, struct bc_clean_batch *batch, u64 unit)
{
	u64 units = tier->super.layout.clean_units;

	batch->count = 0;
	while (batch->count < BATCH_UNITS &&
	       (unit = find_next_bit(tier->unit_dirty, units, unit)) < units) {
		spin_lock(&tier->lock);
		__clear_bit(unit, tier->unit_dirty);
		tier->units_dirty--;
		memcpy(batch->bytes[batch->count], &tier->units[unit], BC_UNIT_SIZE);
		spin_unlock(&tier->lock);
		batch->unit[batch->count++] = unit++;
	}
	return unit;
}

/* Still to be written: a later success must not make the tier look complete. */
static void give_units_back(struct bc_tier *tier, const struct bc_clean_batch *batch, u32 i)
{
	spin_lock(&tier->lock);
	for (; i < batch->count; i++) {
		if (!__test_and_set_bit(batch->unit[i], tier->unit_dirty))
			tier->units_dirty++;
	}
	spin_unlock(&tier->lock);
}

static int write_unit(struct bc_tier *tier, u64 unit, void *bytes)
{
	u64 offset = tier->super.layout.clean_offset + (unit << BC_UNIT_SHIFT);
	int ret;

	bc_unit_seal(bytes, BC_UNIT_MAGIC_CLEAN, unit, tier->super.attach_count,
		     tier->super.uuid);
	ret = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_WRITE, offset, bytes, BC_UNIT_SIZE);
	bc_tier_io_result(tier, WRITE, ret);
	return ret;
}

/*
 * The flush puts the blocks' bytes before their records, and so comes after these were
 * copied: what a record says is on the device. (If the device lies, the checksum finds out.)
 */
static int write_batch(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	int ret = blkdev_issue_flush(tier->bdev.bdev);
	u32 i;

	for (i = 0; i < batch->count && !ret; i++)
		ret = write_unit(tier, batch->unit[i], batch->bytes[i]);
	if (ret)
		give_units_back(tier, batch, i ? i - 1 : 0);
	return ret;
}

int bc_clean_write(struct bc_tier *tier)
{
	struct bc_clean_batch *batch = tier->batch;
	u64 unit = 0;
	int ret = 0;

	mutex_lock(&tier->table_mutex);
	do {
		unit = take_units(tier, batch, unit);
		if (batch->count)
			ret = write_batch(tier, batch);
	} while (!ret && batch->count == BATCH_UNITS);
	if (ret) {
		bc_stat_inc(BC_STAT_TIER_WRITE_ERRORS);
		pr_err_ratelimited("%s: clean table not written: error %d; chunks stored since are lost at the next attach\n",
				   tier->name, ret);
	}
	mutex_unlock(&tier->table_mutex);
	return ret;
}

static void table_work(struct work_struct *work)
{
	struct bc_tier *tier = container_of(to_delayed_work(work), struct bc_tier, table_work);

	bc_clean_write(tier);
	/* What changed while we wrote found units_dirty above zero and queued nothing. */
	if (READ_ONCE(tier->units_dirty) && percpu_ref_tryget_live(&tier->ref)) {
		queue_delayed_work(bc_table_wq, &tier->table_work, TABLE_DELAY);
		percpu_ref_put(&tier->ref);
	}
}

static int read_units(struct bc_tier *tier)
{
	u64 bytes = tier->super.layout.clean_units << BC_UNIT_SHIFT, done = 0;
	int ret = 0;

	while (!ret && done < bytes) {
		size_t part = min_t(u64, bytes - done, BC_CHUNK_SIZE);

		ret = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ,
				      tier->super.layout.clean_offset + done,
				      (u8 *)tier->units + done, part);
		done += part;
		cond_resched();
	}
	return ret;
}

static void recover(struct bc_tier *tier)
{
	const struct bc_layout *layout = &tier->super.layout;
	struct bc_recovery recovery = {
		.super = &tier->super,
		.units = tier->units,
		.frames = &tier->frames,
		.index = &tier->index,
	};
	u64 unit;
	u32 frame;

	for (unit = 0; unit < layout->clean_units; unit++) {
		if (bc_recover_unit(&recovery, unit) == -EBADMSG)
			bc_stat_inc(BC_STAT_UNIT_ERRORS);
		cond_resched();
	}
	spin_lock(&tier->lock);
	for (frame = 0; frame < layout->frame_count; frame++) {
		bc_recover_frame(&recovery, frame);
		cond_resched_lock(&tier->lock);
	}
	spin_unlock(&tier->lock);
}

int bc_clean_load(struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	const struct bc_layout *layout = &tier->super.layout;
	int ret;

	mutex_init(&tier->table_mutex);
	INIT_DELAYED_WORK(&tier->table_work, table_work);
	tier->units = vmalloc(layout->clean_units << BC_UNIT_SHIFT);
	tier->unit_dirty = kvcalloc(BITS_TO_LONGS(layout->clean_units), sizeof(long), GFP_KERNEL);
	/* Not when it is needed: memory may be short because this is not written. */
	tier->batch = vmalloc(sizeof(*tier->batch));
	if (!tier->units || !tier->unit_dirty || !tier->batch) {
		NL_SET_ERR_MSG(extack, "not enough memory for the clean table: use a smaller tier");
		return -ENOMEM;
	}
	ret = read_units(tier);
	if (ret) {
		NL_SET_ERR_MSG(extack, "clean table unreadable: check the device, or format it again");
		return ret;
	}
	recover(tier);
	/* All that was handed out before is below. */
	atomic64_set(&tier->seq, tier->super.seq_reserved);
	return 0;
}

size_t bc_clean_memory(const struct bc_tier *tier)
{
	u64 units = tier->super.layout.clean_units;

	return (units << BC_UNIT_SHIFT) + units / BITS_PER_BYTE + sizeof(*tier->batch);
}

void bc_clean_free(struct bc_tier *tier)
{
	kvfree(tier->unit_dirty);
	vfree(tier->batch);
	vfree(tier->units);
}
