/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BC_FLUSH_MARK_H
#define BC_FLUSH_MARK_H

#include "kernel.h"

/* Under this name there may be a version of this object. */
struct bc_mark {
	uint8_t generation[BC_GENERATION_SIZE];
	const char *source;
	const char *device;		/* of its tier */
	const char *path;
};

typedef void bc_mark_fn(const struct bc_mark *mark, void *context);

void bc_mark_set(int directory, const struct bc_mark *mark);
void bc_mark_clear(int directory, const uint8_t *generation, const char *path);
void bc_mark_each(int directory, bc_mark_fn *fn, void *context);

#endif /* BC_FLUSH_MARK_H */
