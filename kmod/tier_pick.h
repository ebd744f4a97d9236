/* SPDX-License-Identifier: GPL-2.0-only */
/* Which tier is a chunk's home. */
#ifndef BC_TIER_PICK_H
#define BC_TIER_PICK_H

#include "pure.h"

/* Most tiers of a node. */
#define BC_TIERS_MAX	8

/**
 * bc_tier_pick - spread chunks by capacity
 * @hash: bc_chunk_hash()
 * @weights: of each slot; 0 = nothing there. They may change meanwhile: no lock is needed
 *
 * Return: a slot, each as often as its weight is of all of them; any if there is none.
 */
static inline u32 bc_tier_pick(u64 hash, const u32 weights[BC_TIERS_MAX])
{
	u64 total = 0, at;
	u32 slot, weight;

	for (slot = 0; slot < BC_TIERS_MAX; slot++)
		total += READ_ONCE(weights[slot]);
	/* The index takes the hash's bits as they are: a tier must have those of all kinds. */
	at = mul_u64_u32_shr(total, (hash * 0x9e3779b97f4a7c15ULL) >> 32, 32);
	for (slot = 0; slot < BC_TIERS_MAX - 1; slot++) {
		weight = READ_ONCE(weights[slot]);
		if (at < weight)
			break;
		at -= weight;
	}
	return slot;
}

#endif /* BC_TIER_PICK_H */
