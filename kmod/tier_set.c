// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tiers of the node, and which of them has a chunk.
 *
 * A chunk has a home: by its hash, and by the capacity of the tiers that serve. It is looked for
 * there first, and kept there if it is nowhere yet. When a tier comes or goes homes change, and
 * chunks stay where they are: so what is not at home is looked for in the other tiers, too. That
 * costs a lookup in memory, and comes before a fetch.
 */
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>

#include "room.h"
#include "tier.h"

/* Slots change under the caller's mutex (tier.c); readers are under RCU. */
static struct bc_tier __rcu *tiers[BC_TIERS_MAX];

struct bc_tier *bc_tier_slot(u32 slot)
{
	struct bc_tier *tier;

	rcu_read_lock();
	tier = rcu_dereference(tiers[slot]);
	if (tier && !percpu_ref_tryget_live(&tier->ref))
		tier = NULL;
	rcu_read_unlock();
	return tier;
}

struct bc_tier *bc_tier_next(u32 *slot)
{
	struct bc_tier *tier = NULL;

	while (!tier && *slot < BC_TIERS_MAX)
		tier = bc_tier_slot((*slot)++);
	return tier;
}

struct bc_tier *bc_tier_named(const char *name)
{
	struct bc_tier *tier;
	u32 slot = 0;

	while ((tier = bc_tier_next(&slot))) {
		if (!strcmp(tier->name, name))
			return tier;
		bc_tier_put(tier);
	}
	return NULL;
}

int bc_tier_publish(struct bc_tier *tier)
{
	u32 slot;

	for (slot = 0; slot < BC_TIERS_MAX; slot++) {
		if (!rcu_access_pointer(tiers[slot])) {
			rcu_assign_pointer(tiers[slot], tier);
			return 0;
		}
	}
	return -EUSERS;
}

void bc_tier_unpublish(struct bc_tier *tier)
{
	u32 slot;

	for (slot = 0; slot < BC_TIERS_MAX; slot++) {
		if (rcu_access_pointer(tiers[slot]) == tier)
			RCU_INIT_POINTER(tiers[slot], NULL);
	}
	synchronize_rcu();
}

/* What a tier counts for when homes are given. */
static u32 weight(const struct bc_tier *tier)
{
	if (!tier || READ_ONCE(tier->failed))
		return 0;
	return min_t(u64, tier->super.layout.frame_count, U32_MAX);
}

/* The slot of a chunk's home. May be outdated on return, and then is as good as any other. */
static u32 home_of(const struct bc_key *key, u32 chunk)
{
	u32 weights[BC_TIERS_MAX], slot;

	rcu_read_lock();
	for (slot = 0; slot < BC_TIERS_MAX; slot++)
		weights[slot] = weight(rcu_dereference(tiers[slot]));
	rcu_read_unlock();
	return bc_tier_pick(bc_chunk_hash(key, chunk), weights);
}

/* A way through the tiers that serve, beginning with a chunk's home. */
struct walk {
	u32 slot, left;
};

static void walk_begin(struct walk *walk, const struct bc_key *key, u32 chunk)
{
	walk->slot = home_of(key, chunk);
	walk->left = BC_TIERS_MAX;
}

/* The next one, with a reference; NULL at the end. */
static struct bc_tier *walk_next(struct walk *walk)
{
	struct bc_tier *tier;

	for (; walk->left; walk->left--) {
		tier = bc_tier_slot(walk->slot);
		walk->slot = (walk->slot + 1) % BC_TIERS_MAX;
		if (!tier)
			continue;
		if (!READ_ONCE(tier->failed)) {
			walk->left--;
			return tier;
		}
		bc_tier_put(tier);
	}
	return NULL;
}

struct bc_tier *bc_tier_find(const struct bc_key *key, u32 chunk, struct bc_hit *hit)
{
	struct bc_tier *tier;
	struct walk walk;

	walk_begin(&walk, key, chunk);
	while ((tier = walk_next(&walk))) {
		if (bc_index_peek(&tier->index, key, chunk, hit))
			return tier;
		bc_tier_put(tier);
	}
	return NULL;
}

/* Readers keep the index's clock: it needs to move only while somebody reads. */
static void move_tick(struct bc_index *index)
{
	u8 tick = bc_room_tick();

	if (READ_ONCE(index->tick) != tick)
		WRITE_ONCE(index->tick, tick);
}

struct bc_tier *bc_tier_lookup(const struct bc_key *key, u32 chunk, struct bc_hit *hit)
{
	struct bc_tier *tier;
	struct walk walk;

	walk_begin(&walk, key, chunk);
	while ((tier = walk_next(&walk))) {
		move_tick(&tier->index);
		if (bc_index_lookup(&tier->index, key, chunk, hit))
			return tier;
		bc_tier_put(tier);
	}
	return NULL;
}

struct bc_tier *bc_tier_for(const struct bc_key *key, u32 chunk)
{
	struct bc_hit hit;
	struct bc_tier *tier = bc_tier_find(key, chunk, &hit);
	struct walk walk;

	if (tier)
		return tier;
	walk_begin(&walk, key, chunk);
	return walk_next(&walk);
}

u16 bc_tier_blocks(const struct bc_key *key, u32 chunk, u32 bytes)
{
	struct bc_hit hit;
	struct bc_tier *tier = bc_tier_find(key, chunk, &hit);

	if (!tier)
		return 0;
	bc_tier_put(tier);
	return bc_tier_fits(&hit, bytes) ? hit.valid : 0;
}

bool bc_tier_serves(void)
{
	u32 slot;
	bool serves = false;

	rcu_read_lock();
	for (slot = 0; slot < BC_TIERS_MAX && !serves; slot++)
		serves = weight(rcu_dereference(tiers[slot]));
	rcu_read_unlock();
	return serves;
}

u64 bc_tier_resident(const struct bc_key *key, u64 size)
{
	u64 sum = 0, chunk;
	u32 bytes;

	for (chunk = 0; chunk << BC_CHUNK_SHIFT < size; chunk++) {
		bytes = min_t(u64, size - (chunk << BC_CHUNK_SHIFT), BC_CHUNK_SIZE);
		sum += bc_blocks_bytes(bc_tier_blocks(key, chunk, bytes), bytes);
		cond_resched();
		if (fatal_signal_pending(current))
			break;
	}
	return sum;
}

u64 bc_tier_drop(const struct bc_key *key, u32 chunk)
{
	struct bc_place place;
	struct bc_tier *tier;
	u64 bytes = 0;
	u32 slot = 0;

	/* Of all: one that was detached for a while may have what another got meanwhile. */
	while ((tier = bc_tier_next(&slot))) {
		if (!bc_index_remove(&tier->index, key, chunk, &place)) {
			bytes += (u64)place.count << BC_BLOCK_SHIFT;
			bc_tier_free_place(tier, &place);
		}
		bc_tier_put(tier);
	}
	return bytes;
}

u64 bc_tier_demote(const struct bc_key *key, u32 chunk)
{
	struct bc_tier *tier;
	u64 blocks = 0;
	u32 slot = 0;

	while ((tier = bc_tier_next(&slot))) {
		blocks += bc_index_demote(&tier->index, key, chunk);
		bc_tier_put(tier);
	}
	return blocks << BC_BLOCK_SHIFT;
}

int bc_tier_drop_all(const char *path)
{
	struct bc_tier *tier = bc_tier_named(path);

	if (!tier)
		return -ENOENT;
	bc_room_clear(tier);
	bc_tier_put(tier);
	return 0;
}
