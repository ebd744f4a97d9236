// SPDX-License-Identifier: GPL-2.0-only
/*
 * Units of the clean table, see units.h.
 */
#include <linux/blkdev.h>
#include <linux/hash.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "stats.h"
#include "tier.h"
#include "tier_meta.h"
#include "units.h"

static_assert(BC_UNIT_SIZE % PAGE_SIZE == 0, "requests for units are of whole pages");

static struct bc_unit_slot *slot_of(const struct bc_units *units, u64 unit)
{
	/* Streams through a tier are often some power of two apart. */
	return &units->slot[hash_64(unit, 32) % units->slots];
}

static struct bc_disk_clean_unit *bytes_of(const struct bc_units *units,
					   const struct bc_unit_slot *slot)
{
	return &units->bytes[slot - units->slot];
}

static u64 offset_of(const struct bc_tier *tier, u64 unit)
{
	return tier->super.layout.clean_offset + (unit << BC_UNIT_SHIFT);
}

int bc_units_read(struct bc_tier *tier, u64 unit, u32 count, struct bc_disk_clean_unit *bytes)
{
	return bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ, offset_of(tier, unit), bytes,
			       (size_t)count << BC_UNIT_SHIFT);
}

static bool is_good(const struct bc_tier *tier, u64 unit, const struct bc_disk_clean_unit *bytes)
{
	return !bc_unit_check(bytes, BC_UNIT_MAGIC_CLEAN, unit, tier->super.uuid);
}

void bc_units_lost(struct bc_tier *tier, u64 unit, struct bc_disk_clean_unit *bytes,
		   const char *why)
{
	bc_stat_inc(BC_STAT_UNIT_ERRORS);
	pr_warn_ratelimited("%s: unit %llu of the clean table %s: what it said is lost, those chunks are fetched anew\n",
			    tier->name, unit, why);
	memset(bytes, 0, sizeof(*bytes));
	spin_lock(&tier->lock);
	bc_pending_lost(&tier->pending, unit);
	spin_unlock(&tier->lock);
}

void bc_units_check(struct bc_tier *tier, u64 unit, struct bc_disk_clean_unit *bytes)
{
	if (is_good(tier, unit, bytes))
		return;
	/* On its way, perhaps: what is lost here is going to be overwritten. */
	if (!bc_units_read(tier, unit, 1, bytes) && is_good(tier, unit, bytes))
		return;
	bc_units_lost(tier, unit, bytes, "is damaged");
}

enum turn {
	TURN_WAIT,
	TURN_KEPT,	/* it is there */
	TURN_BAD,	/* it could not be read a short time ago */
	TURN_READ,	/* the slot is the caller's, to read it */
};

static enum turn take_turn(struct bc_unit_slot *slot, u64 unit)
{
	enum turn turn;

	spin_lock(&slot->lock);
	if (slot->unit == unit) {
		turn = TURN_KEPT;
	} else if (slot->bad == unit && time_before(jiffies, slot->bad_until)) {
		turn = TURN_BAD;
	} else if (slot->reading || slot->writing) {
		turn = TURN_WAIT;
	} else {
		slot->reading = true;
		slot->unit = BC_UNIT_NONE;
		turn = TURN_READ;
	}
	spin_unlock(&slot->lock);
	return turn;
}

static void end_turn(struct bc_units *units, struct bc_unit_slot *slot, u64 unit, int error)
{
	spin_lock(&slot->lock);
	slot->reading = false;
	slot->used = false;
	if (error) {
		slot->bad = unit;
		slot->error = error;
		slot->bad_until = jiffies + (bc_meta_bad_place(error) ? BC_UNIT_BAD_TIME :
					     BC_UNIT_ERROR_TIME);
	} else {
		slot->unit = unit;
		if (slot->bad == unit)
			slot->bad = BC_UNIT_NONE;
	}
	spin_unlock(&slot->lock);
	wake_up_all(&units->wait);
}

/*
 * Have a unit in its slot, for a moment at least. That it cannot be read does not count when a
 * tier is given up: all that wait for one bad place would be a row of errors.
 */
static int keep(struct bc_tier *tier, u64 unit, struct bc_unit_slot *slot)
{
	struct bc_disk_clean_unit *bytes = bytes_of(&tier->units, slot);
	enum turn turn;
	int ret;

	/* Not for ever: who reads or writes waits for the device alone. */
	wait_event_idle(tier->units.wait, (turn = take_turn(slot, unit)) != TURN_WAIT);
	if (turn == TURN_KEPT)
		return 0;
	if (turn == TURN_BAD)
		return READ_ONCE(slot->error);
	ret = bc_units_read(tier, unit, 1, bytes);
	if (ret)
		bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
	else
		bc_units_check(tier, unit, bytes);
	end_turn(&tier->units, slot, unit, ret);
	return ret;
}

static bool copy_kept(struct bc_units *units, struct bc_unit_slot *slot, u64 unit, u32 frame,
		      u16 blocks, struct bc_disk_desc descs[BC_FRAME_BLOCKS])
{
	const struct bc_disk_desc *kept = bytes_of(units, slot)->desc + bc_clean_desc_of(frame, 0);
	unsigned long mask = blocks;
	bool found;
	u32 i;

	spin_lock(&slot->lock);
	found = slot->unit == unit;
	if (found) {
		slot->used = true;
		for_each_set_bit(i, &mask, BC_FRAME_BLOCKS)
			descs[i] = kept[i];
	}
	spin_unlock(&slot->lock);
	return found;
}

int bc_units_get(struct bc_tier *tier, u32 frame, u16 blocks,
		 struct bc_disk_desc descs[BC_FRAME_BLOCKS])
{
	u64 unit = bc_clean_unit_of(frame);
	struct bc_unit_slot *slot = slot_of(&tier->units, unit);
	int ret = 0;

	/* Another unit may take the slot in between; each round is somebody's progress. */
	while (!ret && !copy_kept(&tier->units, slot, unit, frame, blocks, descs))
		ret = keep(tier, unit, slot);
	return ret;
}

static void ahead_work(struct work_struct *work)
{
	struct bc_unit_slot *slot = container_of(work, struct bc_unit_slot, ahead);
	struct bc_tier *tier = slot->tier;

	/* Whoever needs it is told what is wrong. */
	keep(tier, READ_ONCE(slot->ahead_unit), slot);
	bc_tier_put(tier);
}

void bc_units_ahead(struct bc_tier *tier, u32 frame)
{
	u64 unit = bc_clean_unit_of(frame);
	struct bc_unit_slot *slot = slot_of(&tier->units, unit);
	bool start;

	spin_lock(&slot->lock);
	start = slot->unit != unit && slot->bad != unit && !slot->reading && !slot->writing &&
		!work_pending(&slot->ahead);
	if (start)
		WRITE_ONCE(slot->ahead_unit, unit);
	spin_unlock(&slot->lock);
	if (!start)
		return;
	percpu_ref_get(&tier->ref);
	if (!queue_work(tier->verify_wq, &slot->ahead))
		bc_tier_put(tier);
}

void bc_units_submit_read(struct bc_tier *tier, struct bc_meta_group *group,
			  struct bc_meta_request *request, u64 unit,
			  struct bc_disk_clean_unit *bytes)
{
	bc_meta_submit(group, request, tier->bdev.bdev, REQ_OP_READ, offset_of(tier, unit), bytes,
		       BC_UNIT_SIZE);
}

bool bc_units_copy(struct bc_tier *tier, u64 unit, struct bc_disk_clean_unit *bytes)
{
	struct bc_unit_slot *slot = slot_of(&tier->units, unit);
	bool found;

	spin_lock(&slot->lock);
	found = slot->unit == unit;
	if (found)
		memcpy(bytes, bytes_of(&tier->units, slot), BC_UNIT_SIZE);
	spin_unlock(&slot->lock);
	return found;
}

static bool begin_write(struct bc_unit_slot *slot)
{
	bool begun;

	spin_lock(&slot->lock);
	begun = !slot->reading;
	slot->writing += begun;
	spin_unlock(&slot->lock);
	return begun;
}

void bc_units_submit_write(struct bc_tier *tier, struct bc_meta_group *group,
			   struct bc_meta_request *request, u64 unit,
			   struct bc_disk_clean_unit *bytes)
{
	struct bc_unit_slot *slot = slot_of(&tier->units, unit);

	bc_unit_seal(bytes, BC_UNIT_MAGIC_CLEAN, unit, tier->super.attach_count,
		     tier->super.uuid);
	/* Who reads waits for nothing that the writer has. */
	wait_event_idle(tier->units.wait, begin_write(slot));
	bc_units_submit_again(tier, group, request, unit, bytes);
}

void bc_units_submit_again(struct bc_tier *tier, struct bc_meta_group *group,
			   struct bc_meta_request *request, u64 unit,
			   struct bc_disk_clean_unit *bytes)
{
	bc_meta_submit(group, request, tier->bdev.bdev, REQ_OP_WRITE, offset_of(tier, unit), bytes,
		       BC_UNIT_SIZE);
}

/* Is what was written worth its slot? It is going to be read, but others are being read. */
static bool takes_slot(struct bc_unit_slot *slot, u64 unit)
{
	if (slot->unit == unit || slot->unit == BC_UNIT_NONE || !slot->used)
		return true;
	slot->used = false;
	return false;
}

void bc_units_written(struct bc_tier *tier, u64 unit, const struct bc_disk_clean_unit *bytes,
		      int error)
{
	struct bc_unit_slot *slot = slot_of(&tier->units, unit);

	spin_lock(&slot->lock);
	slot->writing--;
	if (error) {
		/* Nobody knows what the device has. */
		if (slot->unit == unit)
			slot->unit = BC_UNIT_NONE;
	} else {
		if (slot->bad == unit)
			slot->bad = BC_UNIT_NONE;
		if (takes_slot(slot, unit)) {
			memcpy(bytes_of(&tier->units, slot), bytes, BC_UNIT_SIZE);
			slot->unit = unit;
		}
	}
	spin_unlock(&slot->lock);
	wake_up_all(&tier->units.wait);
}

int bc_units_init(struct bc_tier *tier, u64 count)
{
	struct bc_units *units = &tier->units;
	u32 i;

	units->slots = min_t(u64, count, BC_UNITS_KEPT);
	units->slot = kvcalloc(units->slots, sizeof(*units->slot), GFP_KERNEL);
	units->bytes = vmalloc(array_size(units->slots, sizeof(*units->bytes)));
	if (!units->slot || !units->bytes)
		return -ENOMEM;
	init_waitqueue_head(&units->wait);
	for (i = 0; i < units->slots; i++) {
		spin_lock_init(&units->slot[i].lock);
		INIT_WORK(&units->slot[i].ahead, ahead_work);
		units->slot[i].tier = tier;
		units->slot[i].unit = BC_UNIT_NONE;
		units->slot[i].bad = BC_UNIT_NONE;
	}
	return 0;
}

void bc_units_free(struct bc_units *units)
{
	vfree(units->bytes);
	kvfree(units->slot);
	memset(units, 0, sizeof(*units));
}

size_t bc_units_memory(const struct bc_units *units)
{
	return units->slots * (sizeof(*units->slot) + sizeof(*units->bytes));
}
