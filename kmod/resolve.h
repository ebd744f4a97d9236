/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Questions to the daemon: which version does the store have of this path?
 * Single flight per volume and path. See engine.h, bc_resolve().
 */
#ifndef BC_RESOLVE_H
#define BC_RESOLVE_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>

#include "object.h"

struct bc_resolve {
	struct kref ref;		/* table, each waiter, a dump in progress */
	struct list_head node;		/* in order of ids; resolves.lock */
	struct bc_client *client;	/* holds a reference */
	u64 id;
	unsigned long created;
	s64 asked_ns;			/* boot clock */
	u32 waiters;			/* resolves.lock */
	struct completion answered;
	int error;			/* valid once answered */
	struct bc_version version;
	u32 path_length;
	char path[];
};

void bc_resolve_put(struct bc_resolve *resolve);

/**
 * bc_resolve_reply - the daemon's answer
 * @id: request
 * @status: outcome
 * @version: with BC_DONE_OK
 *
 * Return: 0, -ENOENT if nobody waits for it any more.
 */
int bc_resolve_reply(u64 id, enum bc_done_status status, const struct bc_version *version);

/* All waiters go on without an answer. */
void bc_resolves_daemon_lost(void);

u32 bc_resolves_pending(void);

/* As bc_fills_next(). */
struct bc_resolve *bc_resolves_next(u64 after);

#endif /* BC_RESOLVE_H */
