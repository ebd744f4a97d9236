// SPDX-License-Identifier: GPL-2.0-only
/*
 * Units of the clean table that are left alone for a while, see trouble.h.
 */
#include "trouble.h"

static u32 find(const struct bc_troubles *troubles, u64 unit)
{
	u32 i;

	for (i = 0; i < troubles->count && troubles->at[i].unit != unit; i++)
		;
	return i;
}

bool bc_trouble_waits(const struct bc_troubles *troubles, u64 unit, u64 now)
{
	u32 i = find(troubles, unit);

	return i < troubles->count && now < troubles->at[i].due;
}

u32 bc_trouble_failed(struct bc_troubles *troubles, u64 unit, u64 now)
{
	u32 i = find(troubles, unit);
	struct bc_trouble *trouble = &troubles->at[i];
	u64 pause = BC_TROUBLE_MS;

	if (i == troubles->count) {
		if (i == BC_TROUBLES)
			return 1;
		*trouble = (struct bc_trouble){ .unit = unit };
		troubles->count++;
	}
	pause <<= min_t(u32, trouble->failures, 32);
	trouble->due = now + min_t(u64, pause, BC_TROUBLE_MAX_MS);
	return ++trouble->failures;
}

void bc_trouble_over(struct bc_troubles *troubles, u64 unit)
{
	u32 i = find(troubles, unit);

	if (i < troubles->count)
		troubles->at[i] = troubles->at[--troubles->count];
}
