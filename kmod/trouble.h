/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Units of the clean table that could not be read or written: each is left alone for a while, which
 * doubles with each failure, so that it does not keep others from being written.
 *
 * More than there is place for are not remembered: they are tried each time. Not locked.
 */
#ifndef BC_TROUBLE_H
#define BC_TROUBLE_H

#include "pure.h"

#define BC_TROUBLES		64

/* After the first failure, and at most. */
#define BC_TROUBLE_MS		1000
#define BC_TROUBLE_MAX_MS	64000

struct bc_troubles {
	u32 count;
	struct bc_trouble {
		u64 unit;
		u64 due;		/* it is left alone until then: ms of any clock */
		u32 failures;
	} at[BC_TROUBLES];
};

/* Is the unit to be left alone still? */
bool bc_trouble_waits(const struct bc_troubles *troubles, u64 unit, u64 now);

/* It failed. Return: how often, since it was last written; 1 if that is not remembered. */
u32 bc_trouble_failed(struct bc_troubles *troubles, u64 unit, u64 now);

/* It was written. */
void bc_trouble_over(struct bc_troubles *troubles, u64 unit);

#endif /* BC_TROUBLE_H */
