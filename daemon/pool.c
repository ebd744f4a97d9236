// SPDX-License-Identifier: GPL-2.0-or-later
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "store/http.h"
#include "util.h"

#define HASH_SIZE	4096U
#define BACKOFF_MS	200U
#define BACKOFF_MAX_MS	5000U
#define IDLE_MS		60000
#define TICK_MS		1000
#define GATHER_MS	5		/* nothing more came for so long */
#define GATHER_MAX_MS	50

enum queue {
	QUEUE_RESOLVE,			/* an open() waits, 1 s at most */
	QUEUE_DEMAND,
	QUEUE_READAHEAD,
	QUEUE_PREFETCH,
	QUEUE_COUNT
};

TAILQ_HEAD(jobs, bc_job);
LIST_HEAD(bucket, bc_job);

struct group {
	struct bc_worker *workers;
	unsigned int count;
	unsigned int connections;	/* per worker */
	struct jobs queues[QUEUE_COUNT];
	int64_t added_ms[QUEUE_COUNT];	/* when the last job came */
};

struct bc_worker {
	struct bc_pool *pool;
	struct group *group;
	struct bc_net *net;
	pthread_t thread;
	struct jobs jobs;		/* the thread's own */
	int64_t kept_ms;		/* when bc_job_keep_leases() was last */
	bool freed;			/* there is more room than when it took a job last */
	int64_t gathering_ms;		/* until then its next job waits for company, or 0 */
	unsigned int active;		/* atomic; written by the thread */
};

struct bc_pool {
	struct bc_kernel *kernel;
	unsigned int renew_ms;
	bool lost;			/* atomic; see bc_pool_lost() */
	pthread_mutex_t lock;		/* protects what follows */
	pthread_cond_t ended;
	unsigned int running;
	bool stopping;
	struct bc_fetch_config config;
	struct group network;
	struct group blocking;
	struct bucket table[HASH_SIZE];
};

static struct bucket *bucket_of(struct bc_pool *pool, uint64_t id)
{
	return &pool->table[id % HASH_SIZE];
}

static enum queue queue_of(const struct bc_request *request)
{
	if (request->kind == BC_REQUEST_RESOLVE)
		return QUEUE_RESOLVE;
	return QUEUE_DEMAND + (enum queue)request->priority;
}

static struct group *group_of(struct bc_pool *pool, const struct bc_job *job)
{
	bool blocks = job->transfer.store->ops->capabilities & BC_STORE_BLOCKS;

	return blocks ? &pool->blocking : &pool->network;
}

static unsigned int active_of(struct bc_worker *worker)
{
	return __atomic_load_n(&worker->active, __ATOMIC_RELAXED);
}

/* Some room is kept for those who wait now. */
static unsigned int room_for(const struct group *group, enum queue queue)
{
	switch (queue) {
	case QUEUE_RESOLVE:
		return group->connections > 1 ? group->connections * 2 : 1;
	case QUEUE_PREFETCH:
		return (group->connections + 1) / 2;
	default:
		return group->connections;
	}
}

/* The least busy one. Should it find nothing, another took the job: as well. */
static void wake_worker(struct group *group, enum queue queue, const struct bc_worker *except)
{
	struct bc_worker *best = NULL;
	unsigned int i;

	for (i = 0; i < group->count; i++) {
		struct bc_worker *worker = &group->workers[i];

		if (worker != except && (!best || active_of(worker) < active_of(best)))
			best = worker;
	}
	if (best && active_of(best) < room_for(group, queue))
		bc_net_wake(best->net);
}

/**
 * bc_pool_kernel - the kernel that a pool works for
 * @pool: the pool
 */
struct bc_kernel *bc_pool_kernel(struct bc_pool *pool)
{
	return pool->kernel;
}

/* Called with the lock held. */
static void enqueue(struct group *group, struct bc_job *job)
{
	enum queue queue = queue_of(&job->request);

	job->added_ms = bc_now_ms();
	group->added_ms[queue] = job->added_ms;
	TAILQ_INSERT_TAIL(&group->queues[queue], job, link);
	wake_worker(group, queue, NULL);
}

/* A reader may have come to wait for what was read ahead. */
static void raise(struct bc_pool *pool, struct bc_job *job, enum bc_priority priority)
{
	struct group *group = group_of(pool, job);

	if (job->worker || priority >= job->request.priority ||
	    job->request.kind != BC_REQUEST_FETCH)
		return;
	TAILQ_REMOVE(&group->queues[queue_of(&job->request)], job, link);
	job->request.priority = priority;
	enqueue(group, job);
}

/**
 * bc_pool_has - whether a request is a job already
 * @pool: the pool
 * @request: as the kernel announced it again
 */
bool bc_pool_has(struct bc_pool *pool, const struct bc_request *request)
{
	bool found = false;
	struct bc_job *job;

	pthread_mutex_lock(&pool->lock);
	for (job = LIST_FIRST(bucket_of(pool, request->id)); job; job = LIST_NEXT(job, same_hash)) {
		if (job->request.id != request->id)
			continue;
		raise(pool, job, request->priority);
		found = true;
		break;
	}
	pthread_mutex_unlock(&pool->lock);
	return found;
}

/**
 * bc_pool_add - hand over a job
 * @pool: the pool
 * @job: initialised, of an id that bc_pool_has() not
 */
void bc_pool_add(struct bc_pool *pool, struct bc_job *job)
{
	pthread_mutex_lock(&pool->lock);
	LIST_INSERT_HEAD(bucket_of(pool, job->request.id), job, same_hash);
	enqueue(group_of(pool, job), job);
	pthread_mutex_unlock(&pool->lock);
}

/**
 * bc_job_init - make a request a job
 * @job: zeroed
 * @ops: what it does
 * @pool: whose it will be
 * @request: its strings are taken over
 * @store: a reference, taken over
 */
void bc_job_init(struct bc_job *job, const struct bc_job_ops *ops, struct bc_pool *pool,
		 struct bc_request *request, struct bc_store *store)
{
	job->ops = ops;
	job->pool = pool;
	job->request = *request;
	request->source = NULL;
	request->path = NULL;
	job->transfer.store = store;
	job->transfer.path = job->request.path;
}

/**
 * bc_job_transfer - start the job's transfer
 * @job: its transfer says what
 */
void bc_job_transfer(struct bc_job *job)
{
	struct bc_pool *pool = job->pool;

	pthread_mutex_lock(&pool->lock);
	job->transfer.connect_timeout_ms = pool->config.connect_timeout_ms;
	job->transfer.stall_timeout_ms = pool->config.stall_timeout_ms;
	pthread_mutex_unlock(&pool->lock);
	bc_store_start(&job->transfer, job->worker->net);
}

static void set_active(struct bc_worker *worker, int by)
{
	__atomic_add_fetch(&worker->active, (unsigned int)by, __ATOMIC_RELAXED);
	if (by < 0)
		worker->freed = true;
}

/* Full jitter, as many nodes begin at once. */
static unsigned int backoff_ms(unsigned int tries)
{
	unsigned int most = tries < 8 ? BACKOFF_MS << tries : BACKOFF_MAX_MS;

	return 20 + bc_random_below(most < BACKOFF_MAX_MS ? most : BACKOFF_MAX_MS);
}

/**
 * bc_job_retry - try again later
 * @job: whose transfer has ended
 * @most: at most so often, and at most as often as configured
 *
 * Returns false if that was often enough.
 */
bool bc_job_retry(struct bc_job *job, unsigned int most)
{
	struct bc_pool *pool = job->pool;
	unsigned int retries;

	pthread_mutex_lock(&pool->lock);
	retries = pool->config.retries;
	pthread_mutex_unlock(&pool->lock);
	if (job->tries >= bc_min(retries, most))
		return false;
	job->due_ms = bc_now_ms() + backoff_ms(job->tries++);
	set_active(job->worker, -1);
	return true;
}

/**
 * bc_job_log - tell how a transfer ended, in the line that tests count
 * @job: its transfer has ended
 */
void bc_job_log(const struct bc_job *job)
{
	const struct bc_transfer *transfer = &job->transfer;
	bool get = transfer->verb == BC_VERB_GET;
	char path[1024];

	if (!bc_log_enabled(BC_DEBUG))
		return;
	bc_debug("fetch %s %s %s %llu+%llu %s (%s)", get ? "GET" : "HEAD", transfer->store->source,
		 bc_escape(path, sizeof(path), transfer->path),
		 get ? (unsigned long long)transfer->offset : 0ULL,
		 get ? (unsigned long long)transfer->length : 0ULL,
		 bc_done_name(transfer->result.status), transfer->result.text);
}

static void free_job(struct bc_job *job)
{
	bc_store_put(job->transfer.store);
	free(job->request.source);
	free(job->request.path);
	job->ops->free(job);
}

/**
 * bc_job_forget - let the job's id come again as another job
 * @job: not running a transfer
 */
void bc_job_forget(struct bc_job *job)
{
	pthread_mutex_lock(&job->pool->lock);
	if (!job->forgotten)
		LIST_REMOVE(job, same_hash);
	job->forgotten = true;
	pthread_mutex_unlock(&job->pool->lock);
}

/**
 * bc_job_end - end a job
 * @job: not running a transfer; freed
 */
void bc_job_end(struct bc_job *job)
{
	struct bc_worker *worker = job->worker;

	TAILQ_REMOVE(&worker->jobs, job, link);
	if (!job->due_ms && !job->passive)
		set_active(worker, -1);
	bc_job_forget(job);
	free_job(job);
}

/**
 * bc_job_cancel - end a job, whose transfer may be running
 * @job: of the calling thread; freed
 */
void bc_job_cancel(struct bc_job *job)
{
	if (!job->passive)
		bc_store_cancel(&job->transfer, job->worker->net);
	bc_job_end(job);
}

/**
 * bc_job_follower - take a queued job along
 * @job: of the calling thread
 * @follows: whether the first's transfer can bring the second, of the same store and priority
 *
 * Returns a job that is passive and belongs to the thread now, or NULL.
 */
struct bc_job *bc_job_follower(struct bc_job *job,
			       bool (*follows)(const struct bc_job *job,
					       const struct bc_job *next))
{
	struct jobs *queue = &job->worker->group->queues[queue_of(&job->request)];
	struct bc_pool *pool = job->pool;
	struct bc_job *next;

	pthread_mutex_lock(&pool->lock);
	for (next = TAILQ_FIRST(queue); next; next = TAILQ_NEXT(next, link))
		if (next->transfer.store == job->transfer.store && follows(job, next))
			break;
	if (next) {
		TAILQ_REMOVE(queue, next, link);
		next->worker = job->worker;
		next->passive = true;
		TAILQ_INSERT_TAIL(&next->worker->jobs, next, link);
	}
	pthread_mutex_unlock(&pool->lock);
	return next;
}

/**
 * bc_job_requeue - let a passive job be one of its own
 * @job: of the calling thread, which has it no more
 */
void bc_job_requeue(struct bc_job *job)
{
	struct bc_pool *pool = job->pool;

	TAILQ_REMOVE(&job->worker->jobs, job, link);
	pthread_mutex_lock(&pool->lock);
	job->worker = NULL;
	job->passive = false;
	enqueue(group_of(pool, job), job);
	pthread_mutex_unlock(&pool->lock);
}

/* Until when its first job waits for others; 0 = it does not. Called with the lock held. */
static int64_t gathers_until(const struct group *group, enum queue queue)
{
	const struct bc_job *job = TAILQ_FIRST(&group->queues[queue]);
	int64_t until;

	if (!job || (queue != QUEUE_READAHEAD && queue != QUEUE_PREFETCH) ||
	    job->transfer.store->ops->capabilities & BC_STORE_BLOCKS)
		return 0;
	until = bc_min((uint64_t)(group->added_ms[queue] + GATHER_MS),
		       (uint64_t)(job->added_ms + GATHER_MAX_MS));
	return until > bc_now_ms() ? until : 0;
}

/* Called with the lock held. */
static struct bc_job *first_job(struct bc_worker *worker)
{
	struct group *group = worker->group;
	enum queue queue;

	worker->gathering_ms = 0;
	for (queue = 0; queue < QUEUE_COUNT; queue++) {
		struct bc_job *job = TAILQ_FIRST(&group->queues[queue]);
		int64_t until;

		if (!job || active_of(worker) >= room_for(group, queue))
			continue;
		until = gathers_until(group, queue);
		if (!until) {
			TAILQ_REMOVE(&group->queues[queue], job, link);
			return job;
		}
		if (!worker->gathering_ms || until < worker->gathering_ms)
			worker->gathering_ms = until;
	}
	return NULL;
}

static struct bc_job *take_job(struct bc_worker *worker)
{
	struct bc_pool *pool = worker->pool;
	struct group *group = worker->group;
	struct bc_job *job = NULL;
	enum queue queue;

	pthread_mutex_lock(&pool->lock);
	if (!pool->stopping)
		job = first_job(worker);
	if (job) {
		job->worker = worker;
		TAILQ_INSERT_TAIL(&worker->jobs, job, link);
		set_active(worker, 1);
		for (queue = 0; queue < QUEUE_COUNT; queue++)
			if (!TAILQ_EMPTY(&group->queues[queue]))
				break;
		if (queue < QUEUE_COUNT)
			wake_worker(group, queue, worker);
	}
	pthread_mutex_unlock(&pool->lock);
	return job;
}

/**
 * bc_job_lost - a lease ran out, as after SIGSTOP
 * @job: the kernel said ESTALE about it
 */
void bc_job_lost(struct bc_job *job)
{
	__atomic_store_n(&job->pool->lost, true, __ATOMIC_RELAXED);
}

/**
 * bc_pool_lost - whether leases ran out since the last call
 * @pool: the pool
 *
 * The kernel announced those requests when their ids were still in the table:
 * a dump brings them again.
 */
bool bc_pool_lost(struct bc_pool *pool)
{
	return __atomic_exchange_n(&pool->lost, false, __ATOMIC_RELAXED);
}

/* An error if the request ended or is another's: nobody here waits for it. */
static int renew(struct bc_job *job, int64_t now)
{
	struct bc_pool *pool = job->pool;
	int error;

	if (!job->leased || now - job->touched_ms < pool->renew_ms)
		return 0;
	error = bc_kernel_renew(pool->kernel, job->request.id);
	if (!error)
		job->touched_ms = now;
	return error;
}

/* Its job is gone, or forgotten: only now may a dump bring the request again. */
static void dropped(struct bc_pool *pool, uint64_t id, int error)
{
	bc_debug("request %llu: dropped: %s", (unsigned long long)id, strerror(-error));
	if (error == -ESTALE)
		__atomic_store_n(&pool->lost, true, __ATOMIC_RELAXED);
}

/**
 * bc_job_keep_leases - renew what is due of all of the thread's jobs
 * @job: of the calling thread
 *
 * For a transfer that brings much without a pause. What the kernel wants no more of is found
 * out again when the thread looks after its jobs.
 */
void bc_job_keep_leases(struct bc_job *job)
{
	struct bc_worker *worker = job->worker;
	int64_t now = bc_now_ms();

	if (now - worker->kept_ms < worker->pool->renew_ms)
		return;
	worker->kept_ms = now;
	for (job = TAILQ_FIRST(&worker->jobs); job; job = TAILQ_NEXT(job, link))
		renew(job, now);
}

static void renew_queue(struct jobs *queue, int64_t now)
{
	struct bc_job *job, *next;
	int error;

	for (job = TAILQ_FIRST(queue); job; job = next) {
		next = TAILQ_NEXT(job, link);
		error = renew(job, now);
		if (!error)
			continue;
		TAILQ_REMOVE(queue, job, link);
		LIST_REMOVE(job, same_hash);
		dropped(job->pool, job->request.id, error);
		free_job(job);
	}
}

/**
 * bc_pool_renew - renew the leases of what is queued
 * @pool: the pool
 *
 * To be called every second. The threads do the same for what they have taken.
 */
void bc_pool_renew(struct bc_pool *pool)
{
	int64_t now = bc_now_ms();
	enum queue queue;

	pthread_mutex_lock(&pool->lock);
	for (queue = 0; queue < QUEUE_COUNT; queue++) {
		renew_queue(&pool->network.queues[queue], now);
		renew_queue(&pool->blocking.queues[queue], now);
	}
	pthread_mutex_unlock(&pool->lock);
}

static bool has_room(struct bc_worker *worker)
{
	return active_of(worker) < worker->group->connections;
}

/* Either call may end its job, never another. */
static void look_after_jobs(struct bc_worker *worker)
{
	int64_t now = bc_now_ms();
	struct bc_job *job, *next;
	uint64_t id;
	int error;

	for (job = TAILQ_FIRST(&worker->jobs); job; job = next) {
		next = TAILQ_NEXT(job, link);
		if (job->due_ms && job->due_ms <= now && has_room(worker)) {
			job->due_ms = 0;
			set_active(worker, 1);
			job->ops->again(job);
			continue;
		}
		error = renew(job, now);
		if (!error)
			continue;
		id = job->request.id;
		if (job->ops->dropped)
			job->ops->dropped(job);
		else
			bc_job_cancel(job);
		dropped(worker->pool, id, error);
	}
}

/* A job that is due but finds no room waits for the end of a transfer. */
static int wait_ms(struct bc_worker *worker)
{
	int64_t now = bc_now_ms(), wait = IDLE_MS;
	bool room = has_room(worker);
	const struct bc_job *job;

	if (worker->gathering_ms)
		wait = bc_min((uint64_t)wait, (uint64_t)(worker->gathering_ms > now ?
							 worker->gathering_ms - now : 0));
	for (job = TAILQ_FIRST(&worker->jobs); job; job = TAILQ_NEXT(job, link)) {
		wait = bc_min((uint64_t)wait, TICK_MS);
		if (room && job->due_ms && job->due_ms - now < wait)
			wait = job->due_ms > now ? job->due_ms - now : 0;
		if (job->leased && worker->pool->renew_ms < wait)
			wait = worker->pool->renew_ms;
	}
	return (int)wait;
}

static bool stopping(struct bc_pool *pool)
{
	bool stop;

	pthread_mutex_lock(&pool->lock);
	stop = pool->stopping;
	pthread_mutex_unlock(&pool->lock);
	return stop;
}

static void drop_jobs(struct bc_worker *worker)
{
	struct bc_job *job;

	while ((job = TAILQ_FIRST(&worker->jobs)))
		bc_job_cancel(job);
}

static void *run_worker(void *context)
{
	struct bc_worker *worker = context;
	struct bc_pool *pool = worker->pool;

	while (!stopping(pool)) {
		struct bc_job *job;

		worker->freed = false;
		job = take_job(worker);
		if (job)
			job->ops->start(job);
		bc_net_run(worker->net);
		look_after_jobs(worker);
		if (!job && !worker->freed)
			bc_net_wait(worker->net, wait_ms(worker));
	}
	drop_jobs(worker);
	pthread_mutex_lock(&pool->lock);
	pool->running--;
	pthread_cond_signal(&pool->ended);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static bool start_group(struct bc_pool *pool, struct group *group,
			unsigned int count, unsigned int connections)
{
	enum queue queue;

	for (queue = 0; queue < QUEUE_COUNT; queue++)
		TAILQ_INIT(&group->queues[queue]);
	group->connections = connections;
	group->workers = calloc(count, sizeof(*group->workers));
	if (!group->workers)
		return false;
	/* Nobody wakes a worker before all are there: the caller adds no job yet. */
	for (; group->count < count; group->count++) {
		struct bc_worker *worker = &group->workers[group->count];

		worker->pool = pool;
		worker->group = group;
		TAILQ_INIT(&worker->jobs);
		worker->net = bc_net_create(connections);
		if (!worker->net)
			return false;
		if (pthread_create(&worker->thread, NULL, run_worker, worker)) {
			bc_net_destroy(worker->net);
			return false;
		}
		pool->running++;
	}
	return true;
}

/**
 * bc_pool_create - start the threads
 * @kernel: outlives the pool
 * @config: how many threads, and so on
 */
struct bc_pool *bc_pool_create(struct bc_kernel *kernel, const struct bc_fetch_config *config)
{
	struct bc_pool *pool = calloc(1, sizeof(*pool));
	pthread_condattr_t attributes;
	bool started;

	if (!pool)
		return NULL;
	pool->kernel = kernel;
	pool->renew_ms = bc_kernel_lease_ms(kernel) / 3;
	pool->config = *config;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_lock(&pool->lock);
	started = start_group(pool, &pool->network, config->threads, config->connections) &&
		  start_group(pool, &pool->blocking, config->threads, 1);
	pthread_mutex_unlock(&pool->lock);
	if (started)
		return pool;
	bc_pool_stop(pool, 1000);
	return NULL;
}

/**
 * bc_pool_configure - take over what can change while threads run
 * @pool: the pool
 * @config: the new configuration
 */
void bc_pool_configure(struct bc_pool *pool, const struct bc_fetch_config *config)
{
	pthread_mutex_lock(&pool->lock);
	if (config->threads != pool->config.threads ||
	    config->connections != pool->config.connections)
		bc_note("fetch.threads and fetch.connections change with the next start only");
	pool->config = *config;
	pthread_mutex_unlock(&pool->lock);
}

static void free_group(struct group *group)
{
	struct bc_job *job;
	enum queue queue;
	unsigned int i;

	for (i = 0; i < group->count; i++) {
		pthread_join(group->workers[i].thread, NULL);
		bc_net_destroy(group->workers[i].net);
	}
	for (queue = 0; queue < QUEUE_COUNT && group->workers; queue++) {
		while ((job = TAILQ_FIRST(&group->queues[queue]))) {
			TAILQ_REMOVE(&group->queues[queue], job, link);
			free_job(job);
		}
	}
	free(group->workers);
}

static void wake_all(struct group *group)
{
	unsigned int i;

	for (i = 0; i < group->count; i++)
		bc_net_wake(group->workers[i].net);
}

static bool wait_ended(struct bc_pool *pool, int timeout_ms)
{
	struct timespec until;
	int error = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	while (pool->running && !error)
		error = pthread_cond_timedwait(&pool->ended, &pool->lock, &until);
	return !pool->running;
}

/**
 * bc_pool_stop - drop all jobs, end the threads
 * @pool: freed
 * @timeout_ms: how long to wait for them
 *
 * Returns false if a thread hangs in a file system. The pool lives on then, and
 * nothing is left but to exit.
 */
bool bc_pool_stop(struct bc_pool *pool, int timeout_ms)
{
	bool ended;

	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	wake_all(&pool->network);
	wake_all(&pool->blocking);
	ended = wait_ended(pool, timeout_ms);
	pthread_mutex_unlock(&pool->lock);
	if (!ended)
		return false;
	free_group(&pool->network);
	free_group(&pool->blocking);
	pthread_cond_destroy(&pool->ended);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
	return true;
}
