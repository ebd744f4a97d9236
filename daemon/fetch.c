// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A claimed fetch request: one ranged GET, bind, fill, done.
 *
 * Bytes go to the kernel as soon as a block of the object is complete, so a
 * transfer needs one block of memory whatever its length, and a try that
 * breaks off is followed by one for the rest only.
 *
 * Requests that continue each other in one version of one object are answered by one
 * transfer, the first one's, which leads. Its bytes go to one after the other; each
 * is told its end as soon as it has all of its own. When the transfer fails,
 * those that are left are fetched each for itself.
 */
#include "fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "util.h"

#define GROUP_MAX	(16U << 20)	/* bytes of one transfer */
#define STALE_MS	50		/* queued for so long, a request may have been cancelled */

struct fetch {
	struct bc_job job;
	struct fetch *leader;		/* whose transfer it is; its own, if nobody leads it */
	struct fetch *after;		/* gets the bytes behind this one's */
	struct fetch *current;		/* of a leader: gets the next bytes; NULL = none left */
	uint64_t begin;
	bool alone;			/* neither leads nor follows: that went wrong before */
	bool told;			/* the kernel knows that it ended well */
	bool bound;
	bool head_tried;
	bool dead;			/* the kernel wants no more of it */
	struct bc_object object;	/* if bound */
	uint64_t next;			/* first byte that the kernel has not */
	uint64_t end;
	size_t held;			/* bytes from next on, in block */
	unsigned char *block;		/* BC_BLOCK_SIZE; NULL until needed */
};

static struct fetch *fetch_of(struct bc_transfer *transfer)
{
	return (struct fetch *)((char *)transfer - offsetof(struct fetch, job.transfer));
}

static struct bc_kernel *kernel_of(struct fetch *fetch)
{
	return bc_pool_kernel(fetch->job.pool);
}

/* The request ended meanwhile, or its lease ran out: not an error of anybody. */
static bool is_over(int error)
{
	return error == -ENOENT || error == -ESTALE;
}

static void touch(struct fetch *fetch)
{
	fetch->job.touched_ms = bc_now_ms();
}

static void tell_kernel_error(struct fetch *fetch, const char *what, int error)
{
	bc_warn_limited("request %llu: the kernel refused %s: %s",
			(unsigned long long)fetch->job.request.id, what, strerror(-error));
}

static void end_fetch(struct fetch *fetch, enum bc_done_status status, unsigned int retry_after_ms)
{
	int error;

	/* Before the end, after which the kernel may announce the same id again. */
	bc_job_forget(&fetch->job);
	error = bc_kernel_done(kernel_of(fetch), fetch->job.request.id, status, retry_after_ms);
	if (error == -ESTALE)
		bc_job_lost(&fetch->job);
	if (error && !is_over(error))
		tell_kernel_error(fetch, "the end of a request", error);
	bc_job_end(&fetch->job);
}

/* Does anybody want bytes that are still to come? */
static bool anybody(const struct fetch *leader)
{
	const struct fetch *fetch;

	for (fetch = leader->current; fetch; fetch = fetch->after)
		if (!fetch->dead)
			return true;
	return false;
}

static void start_transfer(struct fetch *fetch, enum bc_verb verb)
{
	struct bc_transfer *transfer = &fetch->job.transfer;
	const struct fetch *last = fetch;

	while (last->after)
		last = last->after;
	fetch->current = fetch;
	fetch->held = 0;
	transfer->verb = verb;
	transfer->offset = fetch->next;
	transfer->length = last->end - fetch->next;
	transfer->want = fetch->bound ? &fetch->object : NULL;
	bc_job_transfer(&fetch->job);
}

static bool bind(struct fetch *fetch, const struct bc_object *object)
{
	struct bc_transfer *transfer = &fetch->job.transfer;
	int error = bc_kernel_bind(kernel_of(fetch), fetch->job.request.id, object);

	touch(fetch);
	if (!error) {
		fetch->bound = true;
		fetch->object = *object;
		fetch->end = bc_min(fetch->end, object->size);
		return true;
	}
	if (error == -ENOENT) {
		fetch->dead = true;
	} else if (error == -ESTALE) {
		bc_result_set(&transfer->result, BC_DONE_CHANGED, false,
			      "it was bound to another version meanwhile");
	} else {
		tell_kernel_error(fetch, "a version", error);
		bc_result_set(&transfer->result, BC_DONE_FAILED, false, "bind failed");
	}
	return false;
}

static bool on_begin(struct bc_transfer *transfer)
{
	struct fetch *fetch = fetch_of(transfer);

	return fetch->bound || bind(fetch, &transfer->object);
}

/* The kernel wants no more of it: its part of the transfer is passed over. */
static void die(struct fetch *fetch)
{
	fetch->dead = true;
	fetch->job.leased = false;
	/* If the kernel asks again, then for another job. */
	bc_job_forget(&fetch->job);
}

static bool fill(struct fetch *fetch, const unsigned char *bytes, size_t length)
{
	int error = bc_kernel_fill(kernel_of(fetch), fetch->job.request.id, fetch->next,
				   bytes, length);

	touch(fetch);
	if (!error) {
		fetch->next += length;
		return true;
	}
	if (is_over(error))
		die(fetch);
	if (error == -ESTALE)
		bc_job_lost(&fetch->job);
	if (fetch->dead) {
		/* Others may follow: what is this one's is passed over. */
		fetch->next += length;
		return anybody(fetch->leader);
	}
	tell_kernel_error(fetch, "bytes", error);
	bc_result_set(&fetch->leader->job.transfer.result, BC_DONE_FAILED, false, "fill failed");
	return false;
}

/* How many of @length bytes from next on are whole blocks, or reach the end. */
static size_t whole_blocks(const struct fetch *fetch, size_t length)
{
	uint64_t to = fetch->next + length;

	to = bc_min(bc_min(to, fetch->end), fetch->next + BC_CHUNK_SIZE);
	if (to < fetch->end)
		to -= to % BC_BLOCK_SIZE;
	return to > fetch->next ? to - fetch->next : 0;
}

/* Up to the end of the block that next lies in. */
static size_t block_rest(const struct fetch *fetch)
{
	uint64_t to = fetch->next - fetch->next % BC_BLOCK_SIZE + BC_BLOCK_SIZE;

	return bc_min(to, fetch->end) - fetch->next;
}

/* Returns how many bytes were taken; 0 on failure. */
static size_t collect(struct fetch *fetch, const unsigned char *bytes, size_t length)
{
	size_t whole = block_rest(fetch);
	size_t take = bc_min(length, whole - fetch->held);

	if (!fetch->block)
		fetch->block = malloc(BC_BLOCK_SIZE);
	if (!fetch->block) {
		bc_result_set(&fetch->leader->job.transfer.result, BC_DONE_FAILED, true,
			      "out of memory");
		return 0;
	}
	memcpy(fetch->block + fetch->held, bytes, take);
	fetch->held += take;
	if (fetch->held == whole) {
		fetch->held = 0;
		if (!fill(fetch, fetch->block, whole))
			return 0;
	}
	return take;
}

/* Returns how many bytes were taken; 0 on failure. */
static size_t take(struct fetch *fetch, const unsigned char *bytes, size_t length)
{
	size_t whole;

	if (fetch->dead) {
		/* What waits for the rest of its block has been taken from the stream. */
		fetch->next += fetch->held;
		fetch->held = 0;
		whole = bc_min(length, fetch->end - fetch->next);
		fetch->next += whole;
		return anybody(fetch->leader) ? whole : 0;
	}
	whole = fetch->held ? 0 : whole_blocks(fetch, length);
	if (!whole)
		return collect(fetch, bytes, length);
	return fill(fetch, bytes, whole) ? whole : 0;
}

/* One of several has all its bytes; a leader stays until its transfer ends. */
static void end_part(struct fetch *fetch)
{
	int error = 0;

	bc_job_forget(&fetch->job);
	if (!fetch->dead && fetch->leader == fetch)
		error = bc_kernel_done(kernel_of(fetch), fetch->job.request.id, BC_DONE_OK, 0);
	else if (!fetch->dead)
		error = bc_kernel_done_coalesced(kernel_of(fetch), fetch->job.request.id);
	if (error == -ESTALE)
		bc_job_lost(&fetch->job);
	if (error && !is_over(error))
		tell_kernel_error(fetch, "the end of a request", error);
	fetch->told = true;
	fetch->job.leased = false;
	if (fetch->leader != fetch)
		bc_job_end(&fetch->job);
}

static bool on_data(struct bc_transfer *transfer, const void *data, size_t length)
{
	struct fetch *leader = fetch_of(transfer), *fetch;
	const unsigned char *bytes = data;

	bc_job_keep_leases(&leader->job);
	while (length) {
		size_t taken;

		fetch = leader->current;
		taken = fetch ? take(fetch, bytes, length) : 0;
		if (!taken)
			return false;
		bytes += taken;
		length -= taken;
		if (fetch->next < fetch->end)
			continue;
		leader->current = fetch->after;
		if (fetch != leader || fetch->after)
			end_part(fetch);
	}
	return true;
}

static const char *advice(const struct bc_result *result)
{
	switch (result->status) {
	case BC_DONE_DENIED:
		return "; check the volume's \"auth\" and the clock";
	case BC_DONE_UNSUPPORTED:
		return "; it is read around the cache";
	case BC_DONE_RETRY_AFTER:
		return "; asking again later";
	default:
		return "";
	}
}

/* That objects change and vanish is life, not an error; that a container does is one. */
static void tell_failure(const struct fetch *fetch)
{
	const struct bc_transfer *transfer = &fetch->job.transfer;
	const struct bc_result *result = &transfer->result;
	char path[512];

	if (result->status == BC_DONE_CHANGED ||
	    (result->status == BC_DONE_GONE && !strstr(result->text, "Container")))
		return;
	bc_warn_limited("cannot fetch %s/%s bytes %llu-%llu: %s%s", transfer->store->source,
			bc_escape(path, sizeof(path), transfer->path),
			(unsigned long long)fetch->next, (unsigned long long)fetch->end - 1,
			result->text, advice(result));
}

static void on_failure(struct fetch *fetch)
{
	const struct bc_result *result = &fetch->job.transfer.result;

	/* An empty object has no range; its head tells that it is one. */
	if (result->no_range && !fetch->bound && !fetch->head_tried) {
		fetch->head_tried = true;
		start_transfer(fetch, BC_VERB_HEAD);
		return;
	}
	if (result->retry && bc_job_retry(&fetch->job, 100))
		return;
	tell_failure(fetch);
	end_fetch(fetch, result->status, result->retry_after_ms);
}

/* Is it the same for all blocks of this version, or of this store? */
static bool concerns_all(enum bc_done_status status)
{
	return status != BC_DONE_OK && status != BC_DONE_FAILED;
}

/* The transfer ended, and not all of these have their bytes. */
static void release_followers(struct fetch *leader)
{
	const struct bc_result *result = &leader->job.transfer.result;
	struct fetch *fetch = leader->current, *next;

	if (fetch == leader)
		fetch = leader->after;
	leader->after = NULL;
	if (fetch)
		leader->alone = true;
	for (; fetch; fetch = next) {
		next = fetch->after;
		fetch->after = NULL;
		fetch->leader = fetch;
		fetch->alone = true;
		if (fetch->dead)
			bc_job_end(&fetch->job);
		else if (concerns_all(result->status))
			end_fetch(fetch, result->status, result->retry_after_ms);
		else
			bc_job_requeue(&fetch->job);
	}
}

static void on_end(struct bc_transfer *transfer)
{
	struct fetch *fetch = fetch_of(transfer);

	bc_job_log(&fetch->job);
	release_followers(fetch);
	if (fetch->dead || fetch->told) {
		bc_job_end(&fetch->job);
		return;
	}
	if (fetch->bound && fetch->next >= fetch->end) {
		end_fetch(fetch, BC_DONE_OK, 0);
		return;
	}
	if (transfer->result.status != BC_DONE_OK) {
		on_failure(fetch);
		return;
	}
	if (transfer->verb == BC_VERB_HEAD) {
		start_transfer(fetch, BC_VERB_GET);	/* it grew since the GET */
		return;
	}
	bc_result_set(&transfer->result, BC_DONE_FAILED, true, "bytes are missing");
	on_failure(fetch);
}

static const struct bc_transfer_ops transfer_ops = {
	.begin = on_begin,
	.data = on_data,
	.end = on_end,
};

static const struct bc_job_ops job_ops;

static bool follows(const struct bc_job *job, const struct bc_job *next)
{
	const struct fetch *a = (const struct fetch *)job, *b = (const struct fetch *)next;

	return next->ops == &job_ops && b->bound && !b->alone &&
	       b->begin == a->end && b->next == b->begin &&
	       b->end <= a->leader->begin + GROUP_MAX && a->object.size == b->object.size &&
	       !strcmp(a->object.etag, b->object.etag) &&
	       !strcmp(job->request.path, next->request.path);
}

/* Those that the transfer can bring too. */
static void gather(struct fetch *leader)
{
	struct fetch *last = leader;
	struct bc_job *next;

	if (!leader->bound || leader->alone ||
	    leader->job.transfer.store->ops->capabilities & BC_STORE_BLOCKS)
		return;
	while ((next = bc_job_follower(&last->job, follows))) {
		last->after = (struct fetch *)next;
		last = last->after;
		last->leader = leader;
	}
}

/* Was it cancelled while it was queued? */
static bool is_stale(struct fetch *fetch)
{
	int64_t now = bc_now_ms();
	int error;

	if (now - fetch->job.touched_ms < STALE_MS)
		return false;
	error = bc_kernel_renew(kernel_of(fetch), fetch->job.request.id);
	if (error)
		bc_job_forget(&fetch->job);
	if (error == -ESTALE)
		bc_job_lost(&fetch->job);
	fetch->job.touched_ms = now;
	return error;
}

static void fetch_start(struct bc_job *job)
{
	struct fetch *fetch = (struct fetch *)job;

	if (is_stale(fetch)) {
		bc_job_end(job);
		return;
	}
	if (!bc_path_valid(job->request.path)) {
		bc_result_set(&job->transfer.result, BC_DONE_UNSUPPORTED, false,
			      "the name has an empty segment, '.' or '..'");
		tell_failure(fetch);
		end_fetch(fetch, BC_DONE_UNSUPPORTED, 0);
		return;
	}
	gather(fetch);
	start_transfer(fetch, BC_VERB_GET);
}

/* Others may depend on its transfer, or it on theirs: then it is passed over. */
static void fetch_dropped(struct bc_job *job)
{
	struct fetch *fetch = (struct fetch *)job;

	die(fetch);
	if (!job->passive && !fetch->after)
		bc_job_cancel(job);
}

static void fetch_again(struct bc_job *job)
{
	struct fetch *fetch = (struct fetch *)job;

	start_transfer(fetch, fetch->head_tried && !fetch->bound ? BC_VERB_HEAD : BC_VERB_GET);
}

static void fetch_free(struct bc_job *job)
{
	struct fetch *fetch = (struct fetch *)job;

	free(fetch->block);
	free(fetch);
}

static const struct bc_job_ops job_ops = {
	.start = fetch_start,
	.again = fetch_again,
	.dropped = fetch_dropped,
	.free = fetch_free,
};

/**
 * bc_fetch_create - make a fetch request a job
 * @pool: whose it will be
 * @request: claimed just now; its strings are taken over
 * @store: a reference, taken over
 *
 * Returns NULL, with nothing taken over, if memory is lacking.
 */
struct bc_job *bc_fetch_create(struct bc_pool *pool, struct bc_request *request,
			       struct bc_store *store)
{
	struct fetch *fetch = calloc(1, sizeof(*fetch));

	if (!fetch)
		return NULL;
	fetch->leader = fetch;
	fetch->bound = request->bound;
	fetch->object = request->want;
	fetch->begin = request->offset;
	fetch->next = request->offset;
	fetch->end = request->offset + request->length;
	if (fetch->bound)
		fetch->end = bc_min(fetch->end, fetch->object.size);
	bc_job_init(&fetch->job, &job_ops, pool, request, store);
	fetch->job.transfer.ops = &transfer_ops;
	fetch->job.leased = true;
	touch(fetch);
	return &fetch->job;
}
