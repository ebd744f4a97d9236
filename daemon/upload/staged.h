/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which blocks a store has already, of one file of ours. Pure. */
#ifndef BC_UPLOAD_STAGED_H
#define BC_UPLOAD_STAGED_H

#include "upload/plan.h"

struct bc_staged_block {
	struct bc_block_id id;
	uint64_t size;
};

/* Zeroed at first. */
struct bc_staged {
	struct bc_staged_block *blocks;
	size_t count, room;
	bool failed;			/* out of memory: some are missing */
	bool foreign;			/* somebody staged blocks whose ids have another length */
};

void bc_staged_add(struct bc_staged *staged, const uint8_t *generation, const char *id,
		   uint64_t size, bool committed);
void bc_staged_sort(struct bc_staged *staged);
bool bc_staged_has(const struct bc_staged *staged, const struct bc_block_id *id, uint64_t size);
void bc_staged_clear(struct bc_staged *staged);

#endif /* BC_UPLOAD_STAGED_H */
