// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A resolve request: which version does a path have now? One HEAD. An open()
 * waits for it, for a second at most, hence the one retry.
 */
#include "resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define RETRIES	1

static struct bc_job *job_of(struct bc_transfer *transfer)
{
	return (struct bc_job *)((char *)transfer - offsetof(struct bc_job, transfer));
}

static void tell_failure(const struct bc_transfer *transfer)
{
	char path[512];

	if (transfer->result.status == BC_DONE_OK || transfer->result.status == BC_DONE_GONE)
		return;
	bc_warn_limited("cannot resolve %s/%s: %s%s", transfer->store->source,
			bc_escape(path, sizeof(path), transfer->path), transfer->result.text,
			transfer->result.status == BC_DONE_DENIED ?
				"; check the volume's \"auth\" and the clock" : "");
}

static void reply(struct bc_job *job)
{
	struct bc_transfer *transfer = &job->transfer;
	int error;

	tell_failure(transfer);
	error = bc_kernel_resolve_reply(bc_pool_kernel(job->pool), job->request.id,
					transfer->result.status, &transfer->object);
	if (error && error != -ENOENT)
		bc_warn_limited("request %llu: the kernel refused the reply: %s",
				(unsigned long long)job->request.id, strerror(-error));
	bc_job_end(job);
}

static void on_end(struct bc_transfer *transfer)
{
	struct bc_job *job = job_of(transfer);

	bc_job_log(job);
	if (transfer->result.status == BC_DONE_OK || !transfer->result.retry ||
	    !bc_job_retry(job, RETRIES))
		reply(job);
}

static const struct bc_transfer_ops transfer_ops = {
	.end = on_end,
};

static void resolve_start(struct bc_job *job)
{
	if (!bc_path_valid(job->request.path)) {
		bc_result_set(&job->transfer.result, BC_DONE_UNSUPPORTED, false,
			      "the name has an empty segment, '.' or '..'");
		reply(job);
		return;
	}
	job->transfer.verb = BC_VERB_HEAD;
	bc_job_transfer(job);
}

static void resolve_free(struct bc_job *job)
{
	free(job);
}

static const struct bc_job_ops job_ops = {
	.start = resolve_start,
	.again = resolve_start,
	.free = resolve_free,
};

/**
 * bc_resolve_create - make a resolve request a job
 * @pool: whose it will be
 * @request: its strings are taken over
 * @store: a reference, taken over
 *
 * Returns NULL, with nothing taken over, if memory is lacking.
 */
struct bc_job *bc_resolve_create(struct bc_pool *pool, struct bc_request *request,
				 struct bc_store *store)
{
	struct bc_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	bc_job_init(job, &job_ops, pool, request, store);
	job->transfer.ops = &transfer_ops;
	return job;
}
