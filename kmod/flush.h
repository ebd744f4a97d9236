/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Uploads of dirty objects, as the daemon makes them: as of a cut of the sequence, whose versions
 * stay until the end, whatever is written meanwhile. blobcache_dev.h describes the calls; those
 * here are after their arguments were checked. Process context.
 */
#ifndef BC_FLUSH_H
#define BC_FLUSH_H

#include "blobcache_dev.h"
#include "dirty.h"

/* @owner: epoch of the daemon. Return: 0 or errno. */
int bc_flush_begin(struct bc_ioc_flush_begin *begin, u64 owner);
int bc_flush_map(const struct bc_ioc_flush_map *map, u64 owner);
int bc_flush_read(const struct bc_ioc_read *read, u64 owner);
int bc_flush_end(const struct bc_ioc_flush_end *end, u64 owner);

/* The daemon is gone: all its flushes are given up. */
void bc_flush_owner_gone(u64 owner);

/* What is told of a dirty object. */
struct bc_dirty_info {
	struct bc_key generation;
	const char *source;
	const char *device;
	char path[BC_NAME_PATH_MAX + 1];
	u64 step, size, acked_seq, cut;
	bool flushing;
	u32 state, base, writers, mode;
	struct timespec64 mtime;
	char acked_etag[BC_ETAG_MAX + 1];
};

void bc_flush_info(struct bc_dirty *dirty, struct bc_dirty_info *info);

#endif /* BC_FLUSH_H */
