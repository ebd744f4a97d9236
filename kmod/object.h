/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Clients and objects from the engine's inside. Front ends see engine.h only.
 */
#ifndef BC_OBJECT_H
#define BC_OBJECT_H

#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "engine.h"

struct bc_client {
	struct kref ref;	/* front end, and each object */
	char *source;
	char *domain;		/* or NULL */
	struct bc_key volume;
	enum bc_daemon_loss on_daemon_loss;
	u32 deadline_ms;
	bool lower_exact;
	bool dead;		/* destroyed: nothing is started any more */
	u32 lower_workers;
	/* Lower reads wait here while lower_busy is at its limit. */
	spinlock_t lower_lock;
	u32 lower_epoch;	/* counts lower sources */
	u32 lower_busy;		/* of this one */
	u32 lower_left;		/* of those of before */
	unsigned long lower_purged;	/* jiffies */
	struct list_head lower_queue;
};

struct bc_object {
	struct kref ref;
	struct bc_client *client;
	const struct bc_object_ops *ops;
	void *private;
	/*
	 * Written once by the binder under bind_mutex, then published by a
	 * release store to binding. Until a store version is bound, key is a
	 * number nobody else has, so that fills can be found by it.
	 */
	enum bc_binding binding;
	struct bc_version version;
	struct bc_key key;
	atomic_t users;			/* open files; see bc_object_open() */
	struct mutex bind_mutex;	/* one binder at a time */
	wait_queue_head_t bind_wait;	/* bound, or a fill of it ended */
	bool lower_only;		/* read past the cache; never changes */
	bool gone;			/* the store has this version no longer */
	u32 path_length;
	char path[];
};

void bc_client_put(struct bc_client *client);

/* Of what begins now, in jiffies; not 0. */
static inline unsigned long bc_deadline(const struct bc_client *client)
{
	return (jiffies + msecs_to_jiffies(client->deadline_ms)) ?: 1;
}

/* Can there be such a version? Whoever tells us of one may be wrong. */
bool bc_version_valid(const struct bc_version *version);

/**
 * bc_object_set_version - bind an unbound object
 * @object: object
 * @binding: BC_BOUND_STORE or BC_BOUND_LOWER
 * @version: which
 *
 * Process context, no engine lock held. Return: 0 if bound to just this version now (by this call
 * or before), -ESTALE if bound to another one.
 */
int bc_object_set_version(struct bc_object *object, enum bc_binding binding,
			  const struct bc_version *version);

static inline enum bc_binding bc_object_bound(const struct bc_object *object)
{
	/* Pairs with the release store in bc_object_set_version(). */
	return smp_load_acquire(&object->binding);
}

#endif /* BC_OBJECT_H */
