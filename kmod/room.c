// SPDX-License-Identifier: GPL-2.0-only
/*
 * Room on a tier, see room.h. The policy is in evict.c, which knows no frames.
 */
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/sched/signal.h>

#include "room.h"
#include "stats.h"
#include "tier.h"
#include "trace.h"

struct bc_evict_tuning bc_room_tuning = BC_EVICT_TUNING_DEFAULT;

module_param_named(evict_probation_percent, bc_room_tuning.probation_percent, uint, 0644);
MODULE_PARM_DESC(evict_probation_percent,
		 "chunks on probation are evicted first while they have this much of the tier, in percent");
module_param_named(evict_admit_one_in, bc_room_tuning.admit_one_in, uint, 0644);
MODULE_PARM_DESC(evict_admit_one_in,
		 "one of so many missed chunks is kept while keeping all would do harm; 1 = keep all");
module_param_named(evict_duel_fraction, bc_room_tuning.duel_fraction, uint, 0644);
MODULE_PARM_DESC(evict_duel_fraction,
		 "whether it does is decided by misses as many as the tier's frames over this");
module_param_named(evict_spares, bc_room_tuning.spares, uint, 0644);
MODULE_PARM_DESC(evict_spares, "chunks in use that are passed over for one victim");

static unsigned int evict_window_ms = 2000;
module_param(evict_window_ms, uint, 0644);
MODULE_PARM_DESC(evict_window_ms,
		 "reads of one chunk within one to two times this are one use of it");

u8 bc_room_tick(void)
{
	unsigned long window = msecs_to_jiffies(READ_ONCE(evict_window_ms));

	return jiffies / max(window, 1UL);
}

static void free_victim(struct bc_tier *tier, const struct bc_place *victim)
{
	lockdep_assert_held(&tier->lock);
	bc_stat_inc(BC_STAT_EVICTED_CHUNKS);
	bc_stat_add(BC_STAT_EVICTED_BYTES, (u64)victim->count << BC_BLOCK_SHIFT);
	trace_bc_evict(victim->frame, victim->slot, victim->count);
	bc_clean_erase(tier, victim);
	bc_frames_release(&tier->frames, victim);
}

/* Entries looked at, and victims taken, per hold of the tier's lock; holds per chunk. */
#define EVICT_BUDGET	4096
#define EVICT_VICTIMS	16
#define EVICT_HOLDS	256

/*
 * Pinned blocks may be spread so that no frame has as many others in one run. So
 * many victims that give no room are proof enough, for so long: going on would
 * empty the tier for nothing.
 */
#define EVICT_FUTILE	32
#define TIGHT_TIME	(10 * HZ)

struct want {
	const struct bc_key *key;
	u32 chunk;
	u32 blocks;
	struct bc_place victim;	/* the last one */
	u32 futile;
};

static bool find_room(struct bc_tier *tier, const struct want *want, struct bc_place *place)
{
	lockdep_assert_held(&tier->lock);
	return bc_evict_entry_free(&tier->evict, want->key, want->chunk) &&
	       !bc_frames_alloc(&tier->frames, want->blocks, place);
}

static bool tight(const struct bc_tier *tier, u32 blocks)
{
	lockdep_assert_held(&tier->lock);
	return tier->tight_blocks && blocks >= tier->tight_blocks &&
	       time_before(jiffies, tier->tight_until);
}

/* Return: 0 there is room, -EAGAIN some is to be made, -ECANCELED not for this one, -ENOSPC. */
static int admit(struct bc_tier *tier, const struct want *want, bool wanted,
		 struct bc_place *place)
{
	bool room, admitted, full;

	spin_lock(&tier->lock);
	room = find_room(tier, want, place);
	full = !room && tight(tier, want->blocks);
	admitted = wanted || bc_evict_admit(&tier->evict, want->key, want->chunk, room);
	spin_unlock(&tier->lock);
	if (room)
		return 0;
	if (full)
		return -ENOSPC;
	return admitted ? -EAGAIN : -ECANCELED;
}

/* Was it of use to evict from a frame? Return: -EAGAIN go on, -ENOSPC there is none to be made. */
static int judge(struct bc_tier *tier, struct want *want)
{
	lockdep_assert_held(&tier->lock);
	if (bc_frames_fit(&tier->frames, want->victim.frame, want->blocks) ||
	    ++want->futile < EVICT_FUTILE)
		return -EAGAIN;
	tier->tight_blocks = want->blocks;
	tier->tight_until = jiffies + TIGHT_TIME;
	return -ENOSPC;
}

/* One victim. Return: 0 there is room, -EBUSY empty_frame() comes next, or as judge(). */
static int evict_for(struct bc_tier *tier, struct want *want, struct bc_place *place)
{
	int ret;

	lockdep_assert_held(&tier->lock);
	ret = bc_evict_one(&tier->evict, want->key, want->chunk, EVICT_BUDGET, &want->victim);
	if (ret)
		return ret;
	free_victim(tier, &want->victim);
	if (find_room(tier, want, place))
		return 0;
	if (want->blocks <= want->victim.count)
		return judge(tier, want);
	/* Nobody else is to have it meanwhile. */
	bc_frames_take(&tier->frames, &want->victim);
	return -EBUSY;
}

/* Evict the chunk that a descriptor of a frame is of, if it is there still. */
static void evict_described(struct bc_tier *tier, u32 frame, const struct bc_disk_desc *disk)
{
	struct bc_place place;
	struct bc_desc desc;
	struct bc_hit hit;
	u32 chunk;

	lockdep_assert_held(&tier->lock);
	if (bc_desc_decode(disk, &desc) || desc.kind != BC_KIND_CLEAN)
		return;
	chunk = desc.block / BC_CHUNK_BLOCKS;
	if (!bc_index_peek(&tier->index, &desc.key, chunk, &hit) || hit.place.frame != frame)
		return;
	if (bc_index_remove(&tier->index, &desc.key, chunk, &place))
		return;
	bc_evict_remember(&tier->evict, &desc.key, chunk);
	free_victim(tier, &place);
}

/*
 * Evict what else is in the frame of a victim: a tier full of short chunks gives
 * room for a whole one by emptying one frame, not by thinning out all of them. Only
 * the table knows what that is, and it may have to be read: so without the lock.
 */
static int empty_frame(struct bc_tier *tier, struct want *want, struct bc_place *place)
{
	struct bc_disk_desc descs[BC_FRAME_BLOCKS];
	u32 frame = want->victim.frame, slot;
	int ret;

	ret = bc_clean_get(tier, frame, bc_blocks_mask(BC_FRAME_BLOCKS), descs);
	if (ret)
		bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
	spin_lock(&tier->lock);
	for (slot = 0; slot < BC_FRAME_BLOCKS && !ret; slot++)
		evict_described(tier, frame, &descs[slot]);
	bc_frames_release(&tier->frames, &want->victim);
	ret = find_room(tier, want, place) ? 0 : judge(tier, want);
	spin_unlock(&tier->lock);
	return ret;
}

/*
 * One hold of the lock. Return: 0 found, -EAGAIN go on, -ENOSPC everything is pinned, -EBUSY
 * empty_frame() comes next.
 */
static int try_room(struct bc_tier *tier, struct want *want, struct bc_place *place)
{
	int ret = -EAGAIN, i;

	spin_lock(&tier->lock);
	for (i = 0; i < EVICT_VICTIMS && ret == -EAGAIN; i++) {
		if (find_room(tier, want, place))
			ret = 0;
		else
			ret = evict_for(tier, want, place);
	}
	spin_unlock(&tier->lock);
	return ret;
}

int bc_room_make(struct bc_tier *tier, const struct bc_key *key, u32 chunk, u32 blocks,
		 bool wanted, struct bc_place *place)
{
	struct want want = { .key = key, .chunk = chunk, .blocks = blocks };
	int ret = admit(tier, &want, wanted, place), i;

	for (i = 0; i < EVICT_HOLDS && ret == -EAGAIN; i++) {
		ret = try_room(tier, &want, place);
		if (ret == -EBUSY)
			ret = empty_frame(tier, &want, place);
		cond_resched();
	}
	return ret;
}

int bc_room_entry(struct bc_tier *tier, const struct bc_key *key, u32 chunk)
{
	struct bc_place victim;
	int ret = 0;

	spin_lock(&tier->lock);
	if (!bc_evict_entry_free(&tier->evict, key, chunk)) {
		ret = bc_evict_one(&tier->evict, key, chunk, EVICT_BUDGET, &victim);
		if (!ret)
			free_victim(tier, &victim);
	}
	spin_unlock(&tier->lock);
	return ret;
}

void bc_room_clear(struct bc_tier *tier)
{
	struct bc_victim victim;
	u32 id;

	for (id = 0; id < tier->index.entries; id++) {
		spin_lock(&tier->lock);
		if (bc_index_visit(&tier->index, id, true, &victim) == BC_VISIT_EVICTED) {
			bc_clean_erase(tier, &victim.place);
			bc_frames_release(&tier->frames, &victim.place);
		}
		spin_unlock(&tier->lock);
		cond_resched();
		if (fatal_signal_pending(current))
			break;
	}
}
