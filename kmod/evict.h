/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which chunks are worth keeping: SCD, that is S3-FIFO on clocks, and set-dueled
 * bypass.
 *
 * A new chunk is on probation, and goes at the hand's next pass unless it was
 * used; then it becomes a main one, which goes when its uses are used up. Those on
 * probation go first as long as they have a tenth of the group's blocks. A chunk
 * that went from probation leaves a fingerprint, and is a main one when it
 * comes back while that lasts.
 *
 * A tier smaller than what is read again and again gains from keeping what it has,
 * whatever it is: bypass admits one miss in 64. Whether that is better is found
 * out by two kinds of leader groups, one of which always bypasses and one never:
 * their misses pull at a counter, which the other groups follow.
 *
 * Not locked: the tier's allocation lock covers every call but bc_evict_role().
 */
#ifndef BC_EVICT_H
#define BC_EVICT_H

#include "frame.h"
#include "index.h"

/**
 * struct bc_evict_tuning - constants of the policy; may change at any time
 * @probation_percent: those on probation go first while they have this part of their group
 * @admit_one_in: misses admitted under bypass; 0 or 1: all
 * @duel_fraction: the duel ends at this fraction of the tier's frames; half as much flips it
 * @spares: used chunks passed over for one victim, before any is taken
 */
struct bc_evict_tuning {
	unsigned int probation_percent;
	unsigned int admit_one_in;
	unsigned int duel_fraction;
	unsigned int spares;
};

#define BC_EVICT_TUNING_DEFAULT	{			\
	.probation_percent = 10,			\
	.admit_one_in = 64,				\
	.duel_fraction = 256,				\
	.spares = 64,					\
}

/* Of so many groups one always admits, and one always bypasses. With fewer there is no duel. */
#define BC_EVICT_LEADERS	64

enum bc_hand {
	BC_HAND_DEMOTED,
	BC_HAND_PROBATION,
	BC_HAND_MAIN,
	BC_HANDS,
};

struct bc_evict_group {
	u32 hand[BC_HANDS];	/* entry of the group that is next */
};

struct bc_evict {
	struct bc_index *index;
	const struct bc_evict_tuning *tuning;
	struct bc_evict_group *group;
	u16 *ghost;		/* fingerprints, placed by hash: overwriting is how they age */
	u32 slots;		/* number of ghosts, and what the duel is measured by */
	u32 other;		/* group to turn to when a chunk's own has no victim */
	s32 duel;		/* misses of those that admit, less those of the bypassing */
	bool bypass;		/* what the followers do */
	u64 random;
};

/* What each slot costs. */
#define BC_EVICT_SLOT_BYTES	sizeof(u16)

/* Into how many groups an index of so many entries shall be divided. */
u32 bc_evict_groups(u64 entries);

/**
 * bc_evict_init - policy over an index
 * @evict: to initialise
 * @index: must outlive it
 * @slots: whole chunks the tier takes, below U32_MAX
 * @tuning: must outlive it
 *
 * May sleep. Return: 0, -ENOMEM, -EINVAL.
 */
int bc_evict_init(struct bc_evict *evict, struct bc_index *index, u64 slots,
		  const struct bc_evict_tuning *tuning);
void bc_evict_free(struct bc_evict *evict);

/**
 * bc_evict_admit - a chunk was missed and fetched: is it to be kept?
 * @evict: policy
 * @key: version
 * @chunk: number of the chunk
 * @room: it can be without anything being evicted
 *
 * Each miss counts in the duel, so this is called once for each.
 */
bool bc_evict_admit(struct bc_evict *evict, const struct bc_key *key, u32 chunk, bool room);

/**
 * bc_evict_role - the flags with which a chunk enters the index
 *
 * Return: BC_ENTRY_MAIN if it went not long ago and is back, else 0. Any locks.
 */
u8 bc_evict_role(const struct bc_evict *evict, const struct bc_key *key, u32 chunk);

/* Can this chunk enter the index without an eviction in its group? */
bool bc_evict_entry_free(const struct bc_evict *evict, const struct bc_key *key, u32 chunk);

/**
 * bc_evict_one - remove one victim from the index
 * @evict: policy
 * @key: version for which there shall be room
 * @chunk: number of its chunk
 * @budget: most entries to look at
 * @place: out: blocks of the victim, owned by the caller from now on
 *
 * Out of the group of the chunk, unless that has much less than others, or nothing that may go.
 * Passes over pinned entries and those readers hold. Does not sleep.
 * Return: 0, or -ENOSPC if everything is pinned, or -EAGAIN if the budget ran out.
 */
int bc_evict_one(struct bc_evict *evict, const struct bc_key *key, u32 chunk, u32 budget,
		 struct bc_place *place);

/* A chunk went from the index without having been bc_evict_one()'s victim. */
void bc_evict_remember(struct bc_evict *evict, const struct bc_key *key, u32 chunk);

size_t bc_evict_memory(const struct bc_evict *evict);

#endif /* BC_EVICT_H */
