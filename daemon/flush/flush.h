/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty files go to the store, whenever it takes them.
 *
 * The kernel tells of dirty objects, by events and dumps, and keeps what they are until it is told
 * that the store has it. So nothing here is remembered across a restart of the daemon, and nothing
 * is ever given up: what does not work is tried again for as long as the object is dirty.
 *
 * There are two lanes, each a thread: one for stores on the network, one for those that block. All
 * functions belong to the main thread.
 */
#ifndef BC_FLUSH_H
#define BC_FLUSH_H

#include <stdbool.h>

#include "config.h"
#include "kernel.h"
#include "store/store.h"

#define BC_FLUSH_STATE	"/run/blobcache/flush.json"

struct bc_flush;

/* The store of a source, with a reference; NULL if there is none, or the device is not attached. */
typedef struct bc_store *bc_flush_find_fn(const char *source, const char *device, void *context);

struct bc_flush *bc_flush_create(struct bc_kernel *kernel, const struct bc_flush_config *config,
				 const char *state);
void bc_flush_set_find(struct bc_flush *flush, bc_flush_find_fn *find, void *context);
void bc_flush_configure(struct bc_flush *flush, const struct bc_flush_config *config);
void bc_flush_tell(struct bc_flush *flush, struct bc_dirty_told *told, struct bc_store *store,
		   const char *why);
void bc_flush_round_begin(struct bc_flush *flush);
void bc_flush_round_end(struct bc_flush *flush, bool complete);
bool bc_flush_stop(struct bc_flush *flush, int timeout_ms);

#endif /* BC_FLUSH_H */
