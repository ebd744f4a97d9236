// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "source.h"
#include "util.h"

static const struct bc_store_ops *const kinds[] = {
	&bc_azure_ops,
	&bc_file_ops,
};

static const struct bc_store_ops *find_ops(const char *source)
{
	size_t i;

	for (i = 0; i < BC_COUNT(kinds); i++)
		if (bc_source_is(source, kinds[i]->scheme))
			return kinds[i];
	return NULL;
}

/**
 * bc_store_open - make the store of a volume
 * @volume: its configuration; not used after the return
 * @text: why it failed
 * @size: of @text
 *
 * Returns a store with one reference, or NULL.
 */
struct bc_store *bc_store_open(const struct bc_volume *volume, char *text, size_t size)
{
	struct bc_store *store = calloc(1, sizeof(*store));

	if (store)
		store->source = strdup(volume->source);
	if (!store || !store->source) {
		snprintf(text, size, "out of memory");
		goto err_free;
	}
	store->references = 1;
	store->ops = find_ops(volume->source);
	if (!store->ops) {
		snprintf(text, size, "no store serves this kind of source");
		goto err_free;
	}
	if (!store->ops->open(store, volume, text, size))
		goto err_free;
	return store;

err_free:
	if (store)
		free(store->source);
	free(store);
	return NULL;
}

/**
 * bc_store_get - take a reference
 * @store: the store
 */
struct bc_store *bc_store_get(struct bc_store *store)
{
	__atomic_add_fetch(&store->references, 1, __ATOMIC_RELAXED);
	return store;
}

/**
 * bc_store_put - drop a reference; the last one closes the store
 * @store: the store, or NULL
 */
void bc_store_put(struct bc_store *store)
{
	if (!store || __atomic_sub_fetch(&store->references, 1, __ATOMIC_ACQ_REL))
		return;
	store->ops->close(store);
	free(store->source);
	free(store);
}

/**
 * bc_store_start - start a transfer
 * @transfer: all fields that the caller sets are set
 * @net: of the calling thread
 */
void bc_store_start(struct bc_transfer *transfer, struct bc_net *net)
{
	memset(&transfer->object, 0, sizeof(transfer->object));
	memset(&transfer->meta, 0, sizeof(transfer->meta));
	memset(&transfer->result, 0, sizeof(transfer->result));
	if (transfer->verb >= BC_VERB_BLOCKS &&
	    !(transfer->store->ops->capabilities & BC_STORE_WRITES)) {
		bc_result_set(&transfer->result, BC_DONE_UNSUPPORTED, false,
			      "sources of this kind (%s) are read-only; write to an azure or a file source",
			      transfer->store->ops->scheme);
		transfer->result.answer = BC_ANSWER_REFUSED;
		transfer->ops->end(transfer);
		return;
	}
	transfer->store->ops->start(transfer, net);
}

/**
 * bc_store_cancel - end a running transfer without its end()
 * @transfer: a transfer, running or not
 * @net: the one it was started with
 */
void bc_store_cancel(struct bc_transfer *transfer, struct bc_net *net)
{
	if (transfer->running && transfer->store->ops->cancel)
		transfer->store->ops->cancel(transfer, net);
}

/**
 * bc_result_set - say how a transfer ended
 * @result: of the transfer
 * @status: what the kernel is told
 * @retry: whether the same again may go better
 * @format: why, for people; printf format
 */
void bc_result_set(struct bc_result *result, enum bc_done_status status, bool retry,
		   const char *format, ...)
{
	va_list args;

	result->status = status;
	result->retry = retry;
	result->answer = BC_ANSWER_NONE;
	result->no_range = false;
	result->retry_after_ms = 0;
	va_start(args, format);
	vsnprintf(result->text, sizeof(result->text), format, args);
	va_end(args);
}

/**
 * bc_done_name - a status as a word
 * @status: the status
 */
const char *bc_done_name(enum bc_done_status status)
{
	static const char *const names[BC_DONE_STATUS_COUNT] = {
		[BC_DONE_OK]		= "ok",
		[BC_DONE_CHANGED]	= "changed",
		[BC_DONE_GONE]		= "gone",
		[BC_DONE_DENIED]	= "denied",
		[BC_DONE_RETRY_AFTER]	= "retry-after",
		[BC_DONE_FAILED]	= "failed",
		[BC_DONE_UNSUPPORTED]	= "unsupported",
	};

	return (unsigned int)status < BC_COUNT(names) ? names[status] : "?";
}

/**
 * bc_path_valid - whether a path can name an object in any store
 * @path: '/'-separated
 *
 * Empty, "." and ".." segments cannot come from a mount, and would mean
 * something else to a store or to a proxy before it.
 */
bool bc_path_valid(const char *path)
{
	for (;;) {
		size_t length = strcspn(path, "/");

		if (!length || (length <= 2 && !strncmp(path, "..", length)))
			return false;
		if (!path[length])
			return true;
		path += length + 1;
	}
}
