/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a writer of ours leaves in an object's metadata, as text. Names are of
 * [a-z0-9] only: metadata names may not have more, and for these the order in which
 * SharedKey sorts headers is that of the bytes. Pure.
 */
#ifndef BC_META_H
#define BC_META_H

#include <stdbool.h>
#include <stddef.h>

#include "store/store.h"

#define BC_META_PREFIX	"x-ms-meta-"
#define BC_META_LINES	6
#define BC_META_LINE	128

typedef char bc_meta_line[BC_META_LINE];

unsigned int bc_meta_lines(const struct bc_meta *meta, bc_meta_line lines[BC_META_LINES]);
void bc_meta_value(struct bc_meta *meta, const char *name, size_t name_length,
		   const char *value, size_t length);

/* Whether it tells a writer of ours and how far he got. */
static inline bool bc_meta_ours(const struct bc_meta *meta)
{
	return meta->has_generation && meta->has_cut && !meta->bad;
}

#endif /* BC_META_H */
