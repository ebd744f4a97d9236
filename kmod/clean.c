// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the clean table says, and how an attach learns it. See clean.h; clean_write.c
 * writes it.
 */
#include <linux/module.h>
#include <linux/netlink.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "recover.h"
#include "stats.h"
#include "tier.h"
#include "tier_meta.h"

/* Units that are read at once to be recovered. */
#define WINDOW_UNITS	(BC_CHUNK_SIZE >> BC_UNIT_SHIFT)

/*
 * An attach does without so many that cannot be read. More are no bad places, but a bad device. So
 * many that are damaged are read once more: a device that has more of these would take too long.
 */
#define BAD_UNITS_MAX	64

/* Who stores waits so long for the table to be written, at most; and so many, if nobody asked. */
#define RESERVE_WAIT	HZ
#define RESERVE_WAITERS	4

static unsigned int max_unwritten = BC_PENDING_MAX;
module_param(max_unwritten, uint, 0644);
MODULE_PARM_DESC(max_unwritten,
		 "frames per tier, attached from now on, of which the clean table on the device may lag behind");

/* With one entry per frame; most tiers have two, which share what a frame costs. */
static_assert(BC_INDEX_ENTRY_BYTES + BC_EVICT_SLOT_BYTES + BC_FRAMES_FRAME_BYTES +
	      BC_PENDING_FRAME_BYTES <= 48, "memory of a chunk");

static void changed(struct bc_tier *tier)
{
	lockdep_assert_held(&tier->lock);
	/* Others wait, or will soon. Where writing fails it would not help to try more often. */
	if (bc_clean_crowded(&tier->pending) && !READ_ONCE(tier->table_failing))
		mod_delayed_work(bc_table_wq, &tier->table_work, 0);
	else
		queue_delayed_work(bc_table_wq, &tier->table_work, BC_CLEAN_DELAY);
}

int bc_clean_get(struct bc_tier *tier, u32 frame, u16 blocks,
		 struct bc_disk_desc descs[BC_FRAME_BLOCKS])
{
	spin_lock(&tier->lock);
	blocks &= ~bc_pending_get(&tier->pending, frame, descs);
	spin_unlock(&tier->lock);
	/* What waits is forgotten only when the device says the same; what does not is there. */
	return blocks ? bc_units_get(tier, frame, blocks, descs) : 0;
}

void bc_clean_ahead(struct bc_tier *tier, u32 frame, u16 blocks)
{
	spin_lock(&tier->lock);
	blocks &= ~bc_pending_known(&tier->pending, frame);
	spin_unlock(&tier->lock);
	if (blocks)
		bc_units_ahead(tier, frame);
}

static bool reserve(struct bc_tier *tier)
{
	bool room;

	spin_lock(&tier->lock);
	room = bc_pending_reserve(&tier->pending);
	spin_unlock(&tier->lock);
	return room;
}

/*
 * What is fetched faster than the table is written waits here, not for ever. Workers that store are
 * few, and other tiers' too.
 */
static bool reserve_patiently(struct bc_tier *tier, bool wanted)
{
	bool room = reserve(tier);

	if (room)
		return true;
	if (atomic_inc_return(&tier->table_waiters) <= RESERVE_WAITERS || wanted)
		wait_event_idle_timeout(tier->table_wait,
					(room = reserve(tier)) || READ_ONCE(tier->table_stuck),
					RESERVE_WAIT);
	atomic_dec(&tier->table_waiters);
	return room;
}

/* Fewer wait to be written, or to be stored. */
static void fewer(struct bc_tier *tier)
{
	if (wq_has_sleeper(&tier->table_wait))
		wake_up_all(&tier->table_wait);
}

struct bc_overlay *bc_clean_reserve(struct bc_tier *tier, bool wanted)
{
	struct bc_overlay *spare;

	if (!reserve_patiently(tier, wanted))
		return NULL;
	spare = kmalloc(sizeof(*spare), GFP_NOIO | __GFP_NOWARN);
	if (spare)
		return spare;
	spin_lock(&tier->lock);
	bc_pending_unreserve(&tier->pending);
	spin_unlock(&tier->lock);
	fewer(tier);
	return NULL;
}

void bc_clean_unreserve(struct bc_tier *tier, struct bc_overlay *spare)
{
	if (!spare)
		return;
	spin_lock(&tier->lock);
	bc_pending_unreserve(&tier->pending);
	spin_unlock(&tier->lock);
	fewer(tier);
	kfree(spare);
}

void bc_clean_set(struct bc_tier *tier, const struct bc_place *place,
		  const struct bc_fetched *fetched, u16 blocks,
		  const u32 crc[BC_CHUNK_BLOCKS], struct bc_overlay **spare)
{
	struct bc_overlay *overlay = bc_pending_overlay(&tier->pending, place->frame, spare);
	struct bc_desc desc = {
		.key = *fetched->key,
		.seq = atomic64_inc_return(&tier->seq),
		.kind = BC_KIND_CLEAN,
	};
	unsigned long mask = blocks;
	u32 i;

	lockdep_assert_held(&tier->lock);
	for_each_set_bit(i, &mask, place->count) {
		desc.block = (u64)fetched->chunk * BC_CHUNK_BLOCKS + i;
		desc.length = min(fetched->bytes - i * BC_BLOCK_SIZE, BC_BLOCK_SIZE);
		desc.crc = crc[i];
		bc_desc_encode(&desc, &overlay->desc[place->slot + i]);
	}
	bc_pending_set(&tier->pending, overlay, blocks << place->slot);
	changed(tier);
}

void bc_clean_erase(struct bc_tier *tier, const struct bc_place *place)
{
	bc_pending_erase(&tier->pending, place->frame,
			 bc_blocks_mask(place->count) << place->slot);
	changed(tier);
	fewer(tier);
}

static void recover(struct bc_tier *tier, const struct bc_recovery *recovery)
{
	u64 unit, frame;

	spin_lock(&tier->lock);
	for (unit = recovery->first; unit < recovery->first + recovery->count; unit++) {
		if (bc_recover_unit(recovery, unit) == -EBADMSG)
			bc_stat_inc(BC_STAT_UNIT_ERRORS);
		cond_resched_lock(&tier->lock);
	}
	for (frame = bc_recover_first(recovery); frame < bc_recover_end(recovery); frame++) {
		bc_recover_frame(recovery, frame);
		cond_resched_lock(&tier->lock);
	}
	spin_unlock(&tier->lock);
}

/* One by one, as far as they can be read. @bad: counts those that cannot. */
static int read_each(struct bc_tier *tier, struct bc_recovery *recovery, u32 *bad)
{
	u64 i;
	int ret;

	for (i = 0; i < recovery->count; i++) {
		ret = bc_units_read(tier, recovery->first + i, 1, &recovery->units[i]);
		if (bc_meta_bad_place(ret))
			ret = bc_units_read(tier, recovery->first + i, 1, &recovery->units[i]);
		if (!ret)
			continue;
		if (!bc_meta_bad_place(ret) || ++*bad > BAD_UNITS_MAX)
			return ret;
		bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
		bc_stat_inc(BC_STAT_UNIT_ERRORS);
		pr_warn_ratelimited("%s: unit %llu of the clean table cannot be read: error %d; what it said is lost\n",
				    tier->name, recovery->first + i, ret);
		/* As one that was never written. */
		memset(&recovery->units[i], 0, BC_UNIT_SIZE);
	}
	return 0;
}

static int check_unit(const struct bc_tier *tier, u64 unit, const struct bc_disk_clean_unit *bytes)
{
	return bc_unit_check(bytes, BC_UNIT_MAGIC_CLEAN, unit, tier->super.uuid);
}

/*
 * What is damaged may have been so on its way, and is as good as lost once it is taken for empty:
 * it is overwritten soon. @spare: of one unit; @left: how many may be read once more
 */
static void read_damaged(struct bc_tier *tier, struct bc_recovery *recovery,
			 struct bc_disk_clean_unit *spare, u32 *left)
{
	u64 i, unit;

	for (i = 0; i < recovery->count && *left; i++) {
		unit = recovery->first + i;
		if (check_unit(tier, unit, &recovery->units[i]) != -EBADMSG)
			continue;
		--*left;
		if (!bc_units_read(tier, unit, 1, spare) && !check_unit(tier, unit, spare))
			recovery->units[i] = *spare;
	}
}

/* One sequential read of the table, of which nothing stays. @window has room for one unit more. */
static int read_table(struct bc_tier *tier, struct bc_disk_clean_unit *window)
{
	struct bc_recovery recovery = {
		.super = &tier->super,
		.units = window,
		.pending = &tier->pending,
		.frames = &tier->frames,
		.index = &tier->index,
	};
	u64 units = tier->super.layout.clean_units;
	u32 bad = 0, left = BAD_UNITS_MAX;
	int ret;

	for (; recovery.first < units; recovery.first += recovery.count) {
		recovery.count = min_t(u64, units - recovery.first, WINDOW_UNITS);
		ret = bc_units_read(tier, recovery.first, recovery.count, window);
		if (ret)
			ret = read_each(tier, &recovery, &bad);
		if (ret)
			return ret;
		read_damaged(tier, &recovery, &window[WINDOW_UNITS], &left);
		recover(tier, &recovery);
	}
	return 0;
}

int bc_clean_load(struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	const struct bc_layout *layout = &tier->super.layout;
	struct bc_disk_clean_unit *window = vmalloc((WINDOW_UNITS + 1) << BC_UNIT_SHIFT);
	int ret;

	mutex_init(&tier->table_mutex);
	init_waitqueue_head(&tier->table_wait);
	INIT_DELAYED_WORK(&tier->table_work, bc_clean_work);
	if (!window || bc_clean_write_init(tier) ||
	    bc_pending_init(&tier->pending, layout->frame_count,
			    clamp(READ_ONCE(max_unwritten), 2U, BC_PENDING_LIMIT)) ||
	    bc_units_init(tier, layout->clean_units)) {
		NL_SET_ERR_MSG(extack, "not enough memory for the clean table: use a smaller tier");
		ret = -ENOMEM;
		goto out;
	}
	ret = read_table(tier, window);
	if (ret)
		NL_SET_ERR_MSG(extack, "clean table unreadable: check the device, or format it again");
	/* All that was handed out before is below. */
	atomic64_set(&tier->seq, tier->super.seq_reserved);
out:
	vfree(window);
	return ret;
}

void bc_clean_start(struct bc_tier *tier)
{
	spin_lock(&tier->lock);
	if (tier->pending.units_dirty)
		changed(tier);
	spin_unlock(&tier->lock);
}

void bc_clean_free(struct bc_tier *tier)
{
	bc_clean_write_exit(tier);
	bc_units_free(&tier->units);
	bc_pending_free(&tier->pending);
}
