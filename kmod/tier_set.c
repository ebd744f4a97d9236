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

#include "pin.h"
#include "room.h"
#include "tier.h"

/* Readers are under RCU. */
static struct bc_tier __rcu *tiers[BC_TIERS_MAX] __read_mostly;

/*
 * Homes, in order of UUIDs, so that they do not depend on who was attached first. Readers have no
 * lock: what they see while this changes is a home as good as any other.
 */
static struct {
	u32 weights[BC_TIERS_MAX];
	u8 slots[BC_TIERS_MAX];
	u32 count;
	u32 serving;	/* tiers that are read from, homes or not */
} homes __read_mostly;

static DEFINE_SPINLOCK(set_lock);	/* for writers of both; interrupts off */

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

static struct bc_tier *tier_at(u32 slot)
{
	return rcu_dereference_protected(tiers[slot], lockdep_is_held(&set_lock));
}

/* Put a tier that serves in its place among the homes. */
static void add_home(u32 slot)
{
	const struct bc_tier *tier = tier_at(slot);
	u32 at = homes.count;

	for (; at; at--) {
		const struct bc_tier *before = tier_at(homes.slots[at - 1]);

		if (memcmp(before->super.uuid, tier->super.uuid, BC_UUID_SIZE) < 0)
			break;
		WRITE_ONCE(homes.slots[at], homes.slots[at - 1]);
		WRITE_ONCE(homes.weights[at], homes.weights[at - 1]);
	}
	WRITE_ONCE(homes.slots[at], slot);
	WRITE_ONCE(homes.weights[at], min_t(u64, tier->super.layout.frame_count, U32_MAX));
	WRITE_ONCE(homes.count, homes.count + 1);
}

static void give_homes(void)
{
	u32 slot, serving = 0;

	lockdep_assert_held(&set_lock);
	WRITE_ONCE(homes.count, 0);
	for (slot = 0; slot < BC_TIERS_MAX; slot++)
		WRITE_ONCE(homes.weights[slot], 0);
	for (slot = 0; slot < BC_TIERS_MAX; slot++) {
		if (!tier_at(slot))
			continue;
		serving += !READ_ONCE(tier_at(slot)->failed);
		if (bc_tier_is_home(tier_at(slot)))
			add_home(slot);
	}
	WRITE_ONCE(homes.serving, serving);
}

void bc_tier_homes(void)
{
	unsigned long flags;

	spin_lock_irqsave(&set_lock, flags);
	give_homes();
	spin_unlock_irqrestore(&set_lock, flags);
}

/* Put @to where @from is. Return: false if that is nowhere. */
static bool replace(struct bc_tier *from, struct bc_tier *to)
{
	unsigned long flags;
	u32 slot;

	spin_lock_irqsave(&set_lock, flags);
	for (slot = 0; slot < BC_TIERS_MAX && tier_at(slot) != from; slot++)
		;
	if (slot < BC_TIERS_MAX) {
		rcu_assign_pointer(tiers[slot], to);
		give_homes();
	}
	spin_unlock_irqrestore(&set_lock, flags);
	return slot < BC_TIERS_MAX;
}

int bc_tier_publish(struct bc_tier *tier)
{
	return replace(NULL, tier) ? 0 : -EUSERS;
}

void bc_tier_unpublish(struct bc_tier *tier)
{
	replace(tier, NULL);
	synchronize_rcu();
}

/* The slot of a chunk's home. */
static u32 home_of(const struct bc_key *key, u32 chunk)
{
	u32 home = 0;

	if (READ_ONCE(homes.count) > 1)
		home = bc_tier_pick(bc_chunk_hash(key, chunk), homes.weights);
	return READ_ONCE(homes.slots[home]);
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

static bool is_whole(const struct bc_hit *hit, u32 bytes)
{
	return hit->bytes == bytes && hit->valid == bc_blocks_of(bytes);
}

/* A part that nothing can be added to is less than what another tier will have. */
static bool is_of_use(const struct bc_tier *tier, const struct bc_hit *hit, u32 bytes)
{
	return is_whole(hit, bytes) || !READ_ONCE(tier->read_only);
}

/* Of a chunk that is in two tiers: is this the one to use? */
static bool better(const struct bc_hit *a, const struct bc_hit *b, u32 bytes)
{
	if (bc_tier_fits(a, bytes) != bc_tier_fits(b, bytes))
		return bc_tier_fits(a, bytes);
	return hweight16(a->valid) > hweight16(b->valid);
}

struct bc_tier *bc_tier_find(const struct bc_key *key, u32 chunk, u32 bytes, struct bc_hit *hit)
{
	struct bc_tier *best = NULL, *tier;
	struct bc_hit now;
	struct walk walk;

	walk_begin(&walk, key, chunk);
	while ((tier = walk_next(&walk))) {
		if (bc_index_peek(&tier->index, key, chunk, &now) &&
		    is_of_use(tier, &now, bytes) && (!best || better(&now, hit, bytes))) {
			swap(best, tier);
			*hit = now;
		}
		if (tier)
			bc_tier_put(tier);
		if (best && is_whole(hit, bytes))
			break;
	}
	return best;
}

/* Readers keep the index's clock: it needs to move only while somebody reads. */
static void move_tick(struct bc_index *index)
{
	u8 tick = bc_room_tick();

	if (READ_ONCE(index->tick) != tick)
		WRITE_ONCE(index->tick, tick);
}

/* A part on a tier that takes no more: better than nothing, for who reads. */
static struct bc_tier *find_part(const struct bc_key *key, u32 chunk)
{
	struct bc_tier *tier;
	struct bc_hit now;
	struct walk walk;

	walk_begin(&walk, key, chunk);
	while ((tier = walk_next(&walk))) {
		if (bc_index_peek(&tier->index, key, chunk, &now))
			break;
		bc_tier_put(tier);
	}
	return tier;
}

/*
 * As bc_tier_find(), and the entry is pinned, and was used. Who fetches what is missing goes by
 * that function alone: what it finds must be found here, else the reader comes back for ever.
 */
static struct bc_tier *lookup_best(const struct bc_key *key, u32 chunk, u32 bytes,
				   struct bc_hit *hit)
{
	struct bc_tier *tier = bc_tier_find(key, chunk, bytes, hit);

	if (!tier)
		tier = find_part(key, chunk);
	if (!tier || bc_index_lookup(&tier->index, key, chunk, hit))
		return tier;
	bc_tier_put(tier);
	return NULL;
}

struct bc_tier *bc_tier_lookup(const struct bc_key *key, u32 chunk, u32 bytes, struct bc_hit *hit)
{
	struct bc_tier *tier;
	struct walk walk;

	walk_begin(&walk, key, chunk);
	while ((tier = walk_next(&walk))) {
		move_tick(&tier->index);
		if (bc_index_lookup(&tier->index, key, chunk, hit)) {
			if (is_whole(hit, bytes) || READ_ONCE(homes.serving) < 2)
				return tier;
			/* Another may have more of it: who fetches the rest asks for that one. */
			bc_tier_unpin(tier, hit->id);
			bc_tier_put(tier);
			return lookup_best(key, chunk, bytes, hit);
		}
		bc_tier_put(tier);
	}
	return NULL;
}

/* Its home; if it is pinned, and may not be there, another where it may. */
static struct bc_tier *place_for(const struct bc_key *key, u32 chunk, u32 bytes)
{
	u32 blocks = DIV_ROUND_UP(bytes, BC_BLOCK_SIZE);
	bool pinned = bc_pins_have(key);
	struct bc_tier *first = NULL, *tier;
	struct walk walk;

	walk_begin(&walk, key, chunk);
	while ((tier = walk_next(&walk))) {
		if (READ_ONCE(tier->read_only) || READ_ONCE(tier->table_stuck)) {
			bc_tier_put(tier);
			continue;
		}
		if (!pinned || bc_pins_room(tier, blocks)) {
			if (first)
				bc_tier_put(first);
			return tier;
		}
		if (first)
			bc_tier_put(tier);
		else
			first = tier;
	}
	return first;
}

struct bc_tier *bc_tier_for(const struct bc_key *key, u32 chunk, u32 bytes)
{
	struct bc_hit hit;

	struct bc_tier *tier = bc_tier_find(key, chunk, bytes, &hit);

	if (tier && READ_ONCE(tier->read_only)) {
		bc_tier_put(tier);
		tier = NULL;
	}
	return tier ?: place_for(key, chunk, bytes);
}

u16 bc_tier_blocks(const struct bc_key *key, u32 chunk, u32 bytes)
{
	struct bc_hit hit;
	struct bc_tier *tier = bc_tier_find(key, chunk, bytes, &hit);

	if (!tier)
		return 0;
	bc_tier_put(tier);
	return bc_tier_fits(&hit, bytes) ? hit.valid : 0;
}

bool bc_tier_serves(void)
{
	return READ_ONCE(homes.serving);
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
