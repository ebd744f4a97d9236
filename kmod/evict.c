// SPDX-License-Identifier: GPL-2.0-only
/*
 * Admission and eviction, see evict.h.
 */
#include "evict.h"

/* Few enough for an index, and for a whole round of a hand; enough for a policy. */
#define GROUP_ENTRIES	(BC_INDEX_GROUP_MAX / 2)

u32 bc_evict_groups(u64 entries)
{
	return entries < GROUP_ENTRIES ? 1 : rounddown_pow_of_two(entries / GROUP_ENTRIES);
}

int bc_evict_init(struct bc_evict *evict, struct bc_index *index, u64 slots,
		  const struct bc_evict_tuning *tuning)
{
	memset(evict, 0, sizeof(*evict));
	if (!slots || slots >= U32_MAX)
		return -EINVAL;
	evict->ghost = bc_table_alloc(slots, sizeof(*evict->ghost));
	evict->group = bc_table_alloc(1UL << index->group_bits, sizeof(*evict->group));
	if (!evict->ghost || !evict->group) {
		bc_evict_free(evict);
		return -ENOMEM;
	}
	evict->index = index;
	evict->tuning = tuning;
	evict->slots = slots;
	evict->random = 0x9e3779b97f4a7c15ULL;
	return 0;
}

void bc_evict_free(struct bc_evict *evict)
{
	kvfree(evict->ghost);
	kvfree(evict->group);
	memset(evict, 0, sizeof(*evict));
}

static u32 random_below(struct bc_evict *evict, u32 below)
{
	evict->random ^= evict->random << 13;
	evict->random ^= evict->random >> 7;
	evict->random ^= evict->random << 17;
	return (evict->random >> 32) * below >> 32;
}

static u16 *ghost_of(const struct bc_evict *evict, u64 hash)
{
	return &evict->ghost[(hash >> 32) * evict->slots >> 32];
}

/* Of bits that do not choose the ghost's place; 0 is nobody's. */
static u16 fingerprint(u64 hash)
{
	return (u16)hash ?: 1;
}

u8 bc_evict_role(const struct bc_evict *evict, const struct bc_key *key, u32 chunk)
{
	u64 hash = bc_chunk_hash(key, chunk);

	return READ_ONCE(*ghost_of(evict, hash)) == fingerprint(hash) ? BC_ENTRY_MAIN : 0;
}

static u32 groups(const struct bc_evict *evict)
{
	return 1U << evict->index->group_bits;
}

static u32 group_blocks(const struct bc_evict *evict, u32 group)
{
	return atomic_read(&evict->index->group[group].blocks);
}

enum leader { FOLLOWER, ADMITS, BYPASSES };

static enum leader leader_of(const struct bc_evict *evict, u32 group)
{
	if (groups(evict) < BC_EVICT_LEADERS)
		return ADMITS;
	switch (group % BC_EVICT_LEADERS) {
	case 0:
		return ADMITS;
	case 1:
		return BYPASSES;
	default:
		return FOLLOWER;
	}
}

/* A miss in a leader group speaks against what that group does. */
static void duel(struct bc_evict *evict, enum leader leader)
{
	u32 fraction = max(READ_ONCE(evict->tuning->duel_fraction), 1U);
	s32 limit = max_t(u32, evict->slots / fraction, 2);

	if (leader == ADMITS && evict->duel < limit)
		evict->duel++;
	else if (leader == BYPASSES && evict->duel > -limit)
		evict->duel--;
	if (evict->duel >= limit / 2)
		evict->bypass = true;
	else if (evict->duel <= -limit / 2)
		evict->bypass = false;
}

bool bc_evict_admit(struct bc_evict *evict, const struct bc_key *key, u32 chunk, bool room)
{
	u32 group = bc_index_group(evict->index, bc_chunk_hash(key, chunk));
	u32 one_in = READ_ONCE(evict->tuning->admit_one_in);
	enum leader leader = leader_of(evict, group);

	duel(evict, leader);
	if (room || atomic_read(&evict->index->group[group].demoted) > 0)
		return true;
	if (leader == ADMITS || (leader == FOLLOWER && !evict->bypass))
		return true;
	return one_in < 2 || !random_below(evict, one_in);
}

bool bc_evict_entry_free(const struct bc_evict *evict, const struct bc_key *key, u32 chunk)
{
	return !bc_index_group_full(evict->index, bc_index_group(evict->index,
								 bc_chunk_hash(key, chunk)));
}

/*
 * One search in one group. A hand is dry when it went round once without meeting
 * anything that it could evict or spare.
 */
struct search {
	struct bc_evict *evict;
	u32 group, start, size;
	u32 spared;
	u32 idle[BC_HANDS];	/* entries since the hand met something */
	u32 *budget;
	struct bc_victim victim;
};

static bool dry(const struct search *search, enum bc_hand hand)
{
	return search->idle[hand] >= search->size;
}

/* Return: the hand whose turn it is, or BC_HANDS if all are dry. */
static enum bc_hand choose_hand(const struct search *search)
{
	const struct bc_index_group *group = &search->evict->index->group[search->group];
	u64 percent = READ_ONCE(search->evict->tuning->probation_percent);
	s64 blocks = atomic_read(&group->blocks), probation = atomic_read(&group->probation);

	if (atomic_read(&group->demoted) > 0 && !dry(search, BC_HAND_DEMOTED))
		return BC_HAND_DEMOTED;
	if (!dry(search, BC_HAND_PROBATION) && (u64)probation * 100 >= blocks * percent)
		return BC_HAND_PROBATION;
	if (!dry(search, BC_HAND_MAIN))
		return BC_HAND_MAIN;
	return dry(search, BC_HAND_PROBATION) ? BC_HANDS : BC_HAND_PROBATION;
}

/* Without a lock, so that most entries cost none. A dead one may go whatever the hand. */
static bool of_hand(const struct bc_entry *entry, enum bc_hand hand)
{
	static const u8 state[BC_HANDS] = {
		[BC_HAND_DEMOTED] = BC_ENTRY_LIVE | BC_ENTRY_DEMOTED,
		[BC_HAND_PROBATION] = BC_ENTRY_LIVE,
		[BC_HAND_MAIN] = BC_ENTRY_LIVE | BC_ENTRY_MAIN,
	};
	int pins = atomic_read(&entry->pins);
	u8 is = READ_ONCE(entry->state) & ~(BC_ENTRY_USES | BC_ENTRY_PARTIAL | BC_ENTRY_OPEN);

	if (hand == BC_HAND_PROBATION)
		is &= ~BC_ENTRY_DEMOTED;
	return pins == BC_PINS_DEAD || (!pins && is == state[hand]);
}

/* The hand goes to the next entry that is its own, and passes it. */
static enum bc_visit move_hand(struct search *search, enum bc_hand hand)
{
	u32 *at = &search->evict->group[search->group].hand[hand], id;
	bool force = search->spared >= READ_ONCE(search->evict->tuning->spares);
	struct bc_index *index = search->evict->index;
	enum bc_visit visit = BC_VISIT_NONE;

	while (visit == BC_VISIT_NONE && !dry(search, hand) && *search->budget) {
		id = search->start + *at;
		*at = *at + 1 < search->size ? *at + 1 : 0;
		--*search->budget;
		search->idle[hand]++;
		if (of_hand(&index->entry[id], hand))
			visit = bc_index_visit(index, id, force, &search->victim);
	}
	if (visit != BC_VISIT_NONE)
		memset(search->idle, 0, sizeof(search->idle));
	if (visit == BC_VISIT_SPARED)
		search->spared++;
	return visit;
}

static void remember(struct bc_evict *evict, const struct bc_victim *victim)
{
	if (victim->known && !victim->main && !victim->demoted)
		WRITE_ONCE(*ghost_of(evict, victim->hash), fingerprint(victim->hash));
}

void bc_evict_remember(struct bc_evict *evict, const struct bc_key *key, u32 chunk)
{
	u64 hash = bc_chunk_hash(key, chunk);

	WRITE_ONCE(*ghost_of(evict, hash), fingerprint(hash));
}

static int evict_in_group(struct bc_evict *evict, u32 group, u32 *budget, struct bc_place *place)
{
	u32 start = bc_index_group_start(evict->index, group);
	struct search search = {
		.evict = evict,
		.group = group,
		.start = start,
		.size = evict->index->group_entries,
		.budget = budget,
	};
	enum bc_hand hand;

	while ((hand = choose_hand(&search)) != BC_HANDS) {
		if (!*budget)
			return -EAGAIN;
		if (move_hand(&search, hand) != BC_VISIT_EVICTED)
			continue;
		remember(evict, &search.victim);
		*place = search.victim.place;
		return 0;
	}
	return -ENOSPC;
}

/*
 * Groups share the tier's space by what was there when it filled up. Where a
 * random other has far more, it gives some up, so that none starves.
 */
static u32 victim_group(struct bc_evict *evict, u32 own)
{
	u32 other = random_below(evict, groups(evict));

	return group_blocks(evict, other) / 3 > group_blocks(evict, own) / 2 ? other : own;
}

int bc_evict_one(struct bc_evict *evict, const struct bc_key *key, u32 chunk, u32 budget,
		 struct bc_place *place)
{
	u32 own = bc_index_group(evict->index, bc_chunk_hash(key, chunk)), tries;
	int ret;

	if (!READ_ONCE(evict->index->used))
		return -ENOSPC;
	/* Where entries lack, others' do not help. */
	if (bc_index_group_full(evict->index, own))
		return evict_in_group(evict, own, &budget, place);
	ret = evict_in_group(evict, victim_group(evict, own), &budget, place);
	/* All of them, since the first one may come again and another not. */
	for (tries = 0; ret == -ENOSPC && tries < groups(evict); tries++) {
		evict->other = (evict->other + 1) % groups(evict);
		ret = evict_in_group(evict, evict->other, &budget, place);
	}
	return ret;
}

size_t bc_evict_memory(const struct bc_evict *evict)
{
	if (!evict->ghost)
		return 0;
	return (size_t)evict->slots * BC_EVICT_SLOT_BYTES +
	       (size_t)groups(evict) * sizeof(*evict->group);
}
