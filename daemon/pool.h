/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that work off the kernel's requests.
 *
 * A request becomes a job. It waits in a queue, by priority, until a thread has
 * room for it; then it belongs to that thread, which alone touches it, until
 * bc_job_end(). There are two groups of threads: one serves stores on the
 * network, many transfers per thread; the other serves stores that block, one
 * transfer per thread, so that a file system that hangs holds up nothing else.
 *
 * Requests that read ahead or prefetch often come many at a time, and make one
 * transfer then: they wait a moment for each other. A job that is part of another's
 * transfer belongs to that one's thread and is passive.
 *
 * Ids of all jobs are in one table, because the kernel announces a request
 * until it ends: by event, and again by each dump.
 */
#ifndef BC_POOL_H
#define BC_POOL_H

#include <sys/queue.h>

#include "config.h"
#include "kernel.h"
#include "store/store.h"

struct bc_pool;
struct bc_worker;
struct bc_job;

struct bc_job_ops {
	void (*start)(struct bc_job *job);	/* taken by a thread */
	void (*again)(struct bc_job *job);	/* bc_job_retry()'s time came */
	/*
	 * The kernel wants no more of it, while it is the thread's; may end it, and no
	 * other. NULL = bc_job_cancel().
	 */
	void (*dropped)(struct bc_job *job);
	void (*free)(struct bc_job *job);
};

struct bc_job {
	TAILQ_ENTRY(bc_job) link;	/* in a queue, or in the worker's jobs */
	LIST_ENTRY(bc_job) same_hash;	/* under the pool's lock */
	const struct bc_job_ops *ops;
	struct bc_pool *pool;
	struct bc_worker *worker;	/* NULL = queued */
	struct bc_request request;
	struct bc_transfer transfer;	/* holds a reference to its store */
	int64_t added_ms;
	unsigned int tries;
	int64_t due_ms;			/* when again() comes; 0 = not waiting */
	int64_t touched_ms;		/* last call that renewed the lease */
	bool leased;
	bool passive;			/* its bytes come by another job's transfer */
	bool forgotten;			/* under the pool's lock */
};

struct bc_pool *bc_pool_create(struct bc_kernel *kernel, const struct bc_fetch_config *config);
void bc_pool_configure(struct bc_pool *pool, const struct bc_fetch_config *config);
bool bc_pool_stop(struct bc_pool *pool, int timeout_ms);
bool bc_pool_has(struct bc_pool *pool, const struct bc_request *request);
bool bc_pool_lost(struct bc_pool *pool);
void bc_pool_renew(struct bc_pool *pool);
void bc_pool_add(struct bc_pool *pool, struct bc_job *job);
struct bc_kernel *bc_pool_kernel(struct bc_pool *pool);

void bc_job_init(struct bc_job *job, const struct bc_job_ops *ops, struct bc_pool *pool,
		 struct bc_request *request, struct bc_store *store);
void bc_job_transfer(struct bc_job *job);
bool bc_job_retry(struct bc_job *job, unsigned int most);
struct bc_job *bc_job_follower(struct bc_job *job,
			       bool (*follows)(const struct bc_job *job,
					       const struct bc_job *next));
void bc_job_keep_leases(struct bc_job *job);
void bc_job_requeue(struct bc_job *job);
void bc_job_cancel(struct bc_job *job);
void bc_job_log(const struct bc_job *job);
void bc_job_lost(struct bc_job *job);
void bc_job_forget(struct bc_job *job);
void bc_job_end(struct bc_job *job);

#endif /* BC_POOL_H */
