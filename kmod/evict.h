/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which chunk goes when space is needed: a clock over the index, second chance
 * by the reference bit. Behind this interface SCD comes later.
 */
#ifndef BC_EVICT_H
#define BC_EVICT_H

#include "index.h"

/**
 * bc_evict_one - remove one victim from the index
 * @index: index
 * @place: out: blocks of the victim, owned by the caller from now on
 *
 * Passes over pinned entries and those readers hold. The caller holds the
 * tier's allocation lock (it covers the clock hand). Does not sleep; visits at
 * most two rounds of the clock, at most @budget entries.
 * Return: 0, or -ENOSPC if everything is pinned, or -EAGAIN if the budget ran out.
 */
int bc_evict_one(struct bc_index *index, u32 budget, struct bc_place *place);

#endif /* BC_EVICT_H */
