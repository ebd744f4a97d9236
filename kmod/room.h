/* SPDX-License-Identifier: GPL-2.0-only */
/* Room on a tier: who gets in, and who goes for it. */
#ifndef BC_ROOM_H
#define BC_ROOM_H

#include "evict.h"

struct bc_tier;

/* The module's parameters. */
extern struct bc_evict_tuning bc_room_tuning;

/* Of index->tick, from the clock. */
u8 bc_room_tick(void);

/**
 * bc_room_make - find blocks for a chunk that was fetched, evicting others
 * @tier: where
 * @key: version
 * @chunk: number of the chunk
 * @blocks: 1..BC_FRAME_BLOCKS
 * @wanted: somebody asked for it to be there: no question of admission
 * @place: out
 *
 * Process context, may sleep. Return: 0, -ENOSPC everything is pinned, -EAGAIN too much to look at,
 * -ECANCELED not admitted.
 */
int bc_room_make(struct bc_tier *tier, const struct bc_key *key, u32 chunk, u32 blocks,
		 bool wanted, struct bc_place *place);

/*
 * The blocks that bc_room_make() found are there, but another chunk took the last entry: evict for
 * one more. Return: 0 try again, or as bc_room_make().
 */
int bc_room_entry(struct bc_tier *tier, const struct bc_key *key, u32 chunk);

/* Evict everything that is not pinned and not being read. A kill cuts it short. */
void bc_room_clear(struct bc_tier *tier);

#endif /* BC_ROOM_H */
