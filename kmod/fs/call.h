/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of the lower filesystem, each in a worker with the mounter's
 * credentials. A lower that is served by a process may keep a call for as long
 * as it likes, uninterruptibly: the worker sleeps there, not the caller.
 *
 * A call is referenced by its caller and by its worker. The caller that gives
 * up drops its reference; the worker, back from the lower after all, then frees
 * what the call holds, results included. At most BC_LOWER_CALLS of a mount are
 * inside the lower; others wait in a queue that a caller can leave.
 *
 * When the lower is replaced, calls that are inside the old one no longer count
 * as inside the lower, those in the queue do not begin, and lookups, whether
 * queued or inside, begin anew in the new one.
 */
#ifndef BC_CALL_H
#define BC_CALL_H

#include <linux/completion.h>
#include <linux/path.h>
#include <linux/refcount.h>
#include <linux/statfs.h>
#include <linux/workqueue.h>

#include "fs.h"

struct bc_call {
	refcount_t refs;
	struct list_head node;		/* mount->calls or calls_inside; lower_lock */
	bool begun;			/* lower_lock */
	bool missed;			/* its lower was replaced: its results do not count */
	u64 epoch;			/* generation of its lower; 0 = one of before it began */
	struct work_struct work;
	struct completion done;		/* or missed */
	struct bc_mount *mount;
	int (*run)(struct bc_call *call);
	int error;
	struct path path;		/* what it is about */
	struct path found;		/* what it found */
	u64 generation;			/* of both */
	struct file *file;
	int flags;			/* to open with */
	bool anew;			/* it may begin anew, in another lower */
	bool slow;			/* that it takes long says nothing of the lower */
	bool (*known)(struct dentry *dentry);	/* is there another answer if it is not there? */
	struct dentry *dentry;		/* ours, for @known; the caller's, not for the worker */
	bool unsure;			/* there is: nobody waits for a suspect; lower_lock */
	bool given_up;			/* it became suspect: as missed */
	struct kstat stat;
	struct kstatfs statfs;
	struct bc_dirents dirents;
	char *text;
	bool by_path;
	struct qstr name;
	char name_text[];
};

extern struct workqueue_struct *bc_calls_wq;

/**
 * bc_call_new - a call that is not started
 * @mount: mount
 * @run: what it does, in a worker with the mounter's credentials; returns 0 or errno
 * @name: copied to call->name; NULL if it needs none
 * @length: of @name, in bytes
 *
 * Process context, may sleep for memory.
 * Return: with the caller's reference, or NULL without memory.
 */
struct bc_call *bc_call_new(struct bc_mount *mount, int (*run)(struct bc_call *call),
			    const char *name, size_t length);
void bc_call_put(struct bc_call *call);

/**
 * bc_call_wait - run a call and wait for it, killably
 * @call: new one, with the caller's reference, which stays the caller's
 * @timeout: jiffies
 *
 * Return: what the call did, and then its results may be used; -EINTR and -ETIMEDOUT of this
 * function mean that it is still running, so the results must be left alone; -ESTALE that its
 * lower was replaced before it began; -EIO that the lower is suspect.
 *
 * If it takes longer than patience_ms, and call->known() says that there is another answer, the
 * lower is asked whether it is there: @timeout is waited for only as long as it may be.
 */
int bc_call_wait(struct bc_call *call, unsigned long timeout);

/* The lower was replaced. lower_lock held. */
void bc_calls_miss(struct bc_mount *mount);

/* The lower became suspect. lower_lock held. */
void bc_calls_give_up(struct bc_mount *mount);

/*
 * lower.c: something speaks against a lower: it is asked, and if there is no more to be
 * @sure of, nobody waits for it until it answers. May sleep for memory.
 */
void bc_lower_doubt(struct bc_mount *mount, u64 generation, bool sure);

#endif /* BC_CALL_H */
