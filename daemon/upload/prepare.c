// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Blocks are made ready to be sent by threads of the upload's own: to read, compare and
 * hash one takes as long as to send it, and the thread of the net has others to serve.
 *
 * A slot belongs to a thread from bc_prepare() until its ready is set. Meanwhile
 * nobody changes the set of staged blocks or the source.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "store/http.h"
#include "upload/crc.h"
#include "upload/internal.h"
#include "util.h"

STAILQ_HEAD(slots, bc_slot);

struct bc_preparer {
	pthread_mutex_t lock;		/* protects what follows, but stop */
	pthread_cond_t work;
	pthread_cond_t idle;
	struct slots queue;
	unsigned int active;
	bool ending;
	bool stop;			/* atomic: what is under way is not wanted any more */
	unsigned int count;
	pthread_t threads[BC_PREPARE_THREADS_MAX];
};

static struct bc_sum *get_sums(struct bc_upload *upload, struct bc_slot *slot)
{
	struct bc_source *source = upload->job.source;
	struct bc_extent extent = slot->piece.extent;
	size_t count = bc_plan_sums(extent.length);
	struct bc_sum *sums = calloc(count, sizeof(*sums));

	if (!sums) {
		slot->piece.status = BC_SOURCE_FAILED;
		snprintf(slot->piece.text, sizeof(slot->piece.text), "out of memory");
		return NULL;
	}
	slot->piece.status = source->ops->sums(source, extent.offset / BC_SUM_SIZE, count, sums,
					       slot->piece.text, sizeof(slot->piece.text));
	if (slot->piece.status == BC_SOURCE_OK)
		return sums;
	free(sums);
	return NULL;
}

static void add_sums(struct bc_slot *slot, const struct bc_sum *sums)
{
	uint64_t left = slot->piece.extent.length;

	slot->checksum = 0;
	slot->checksum_known = true;
	for (; left; sums++) {
		uint64_t length = bc_min(left, BC_SUM_SIZE);

		slot->checksum_known &= !sums->unknown;
		slot->checksum = bc_crc_join(slot->checksum, sums->crc32c, length);
		left -= length;
	}
}

/* Sets the slot's id, and its piece unless the store has the block. */
static void prepare(struct bc_upload *upload, struct bc_slot *slot, const bool *stop)
{
	struct bc_extent extent = slot->piece.extent;
	struct bc_sum *sums = get_sums(upload, slot);

	if (!sums)
		return;
	add_sums(slot, sums);
	if (!bc_plan_id(&slot->block, upload->job.source->lineage, extent, sums,
			bc_plan_sums(extent.length))) {
		slot->piece.status = BC_SOURCE_FAILED;
		snprintf(slot->piece.text, sizeof(slot->piece.text), "OpenSSL has no BLAKE2s");
		free(sums);
		return;
	}
	slot->reused = bc_staged_has(&upload->staged, &slot->block, extent.length);
	if (slot->reused)
		free(sums);
	else
		bc_piece_open(&slot->piece, upload->job.source, extent, sums, stop);
}

static void *run(void *context)
{
	struct bc_upload *upload = context;
	struct bc_preparer *preparer = upload->preparer;
	struct bc_slot *slot;

	pthread_mutex_lock(&preparer->lock);
	while (!preparer->ending) {
		slot = STAILQ_FIRST(&preparer->queue);
		if (!slot) {
			pthread_cond_wait(&preparer->work, &preparer->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&preparer->queue, link);
		preparer->active++;
		pthread_mutex_unlock(&preparer->lock);
		prepare(upload, slot, &preparer->stop);
		__atomic_store_n(&slot->ready, true, __ATOMIC_RELEASE);
		bc_net_wake(upload->net);
		pthread_mutex_lock(&preparer->lock);
		preparer->active--;
		pthread_cond_broadcast(&preparer->idle);
	}
	pthread_mutex_unlock(&preparer->lock);
	return NULL;
}

/* With fewer threads than wanted, or none, it goes slower. */
static void start(struct bc_upload *upload)
{
	unsigned int wanted = (unsigned int)bc_min(upload->config.threads, BC_PREPARE_THREADS_MAX);
	struct bc_preparer *preparer = calloc(1, sizeof(*preparer));

	if (!preparer)
		return;
	pthread_mutex_init(&preparer->lock, NULL);
	pthread_cond_init(&preparer->work, NULL);
	pthread_cond_init(&preparer->idle, NULL);
	STAILQ_INIT(&preparer->queue);
	upload->preparer = preparer;
	while (preparer->count < wanted &&
	       !pthread_create(&preparer->threads[preparer->count], NULL, run, upload))
		preparer->count++;
}

/**
 * bc_prepare - have a block made ready
 * @upload: the upload
 * @slot: with its extent; ready is set when it is done
 */
void bc_prepare(struct bc_upload *upload, struct bc_slot *slot)
{
	struct bc_preparer *preparer;

	/* One block is ready as soon here. */
	if (!upload->preparer && upload->count > 1 && upload->config.threads)
		start(upload);
	preparer = upload->preparer;
	if (!preparer || !preparer->count) {
		prepare(upload, slot, NULL);
		slot->ready = true;
		return;
	}
	pthread_mutex_lock(&preparer->lock);
	STAILQ_INSERT_TAIL(&preparer->queue, slot, link);
	pthread_cond_signal(&preparer->work);
	pthread_mutex_unlock(&preparer->lock);
}

/**
 * bc_prepare_stop - nothing that is being made ready is wanted any more
 * @upload: the upload
 *
 * No thread has a slot when it returns, which takes as long as reading a few MiB.
 */
void bc_prepare_stop(struct bc_upload *upload)
{
	struct bc_preparer *preparer = upload->preparer;

	if (!preparer)
		return;
	__atomic_store_n(&preparer->stop, true, __ATOMIC_RELAXED);
	pthread_mutex_lock(&preparer->lock);
	STAILQ_INIT(&preparer->queue);
	while (preparer->active)
		pthread_cond_wait(&preparer->idle, &preparer->lock);
	pthread_mutex_unlock(&preparer->lock);
	__atomic_store_n(&preparer->stop, false, __ATOMIC_RELAXED);
}

/**
 * bc_prepare_end - end the threads
 * @upload: the upload, stopped
 */
void bc_prepare_end(struct bc_upload *upload)
{
	struct bc_preparer *preparer = upload->preparer;
	unsigned int i;

	if (!preparer)
		return;
	pthread_mutex_lock(&preparer->lock);
	preparer->ending = true;
	pthread_cond_broadcast(&preparer->work);
	pthread_mutex_unlock(&preparer->lock);
	for (i = 0; i < preparer->count; i++)
		pthread_join(preparer->threads[i], NULL);
	pthread_cond_destroy(&preparer->work);
	pthread_cond_destroy(&preparer->idle);
	pthread_mutex_destroy(&preparer->lock);
	free(preparer);
	upload->preparer = NULL;
}
