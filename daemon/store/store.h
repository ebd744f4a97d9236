/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a store is to the rest of the daemon.
 *
 * A store serves one source. A transfer is one request to it: a range of an
 * object, an object's head, or one page of a listing. start() returns at once
 * for stores that live on the network, whose callbacks then come from
 * bc_net_run() of the same thread; a store with BC_STORE_BLOCKS makes all
 * callbacks before start() returns. Either way each started transfer sees:
 *
 *	begin? data* end	end() exactly once, unless cancelled
 *
 * begin() comes only after the reply was checked against the request; bytes
 * come in order and are those of the range, never more. A transfer may be
 * freed or started again from within end(). Callbacks never run concurrently
 * for one transfer.
 */
#ifndef BC_STORE_H
#define BC_STORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blobcache_dev.h"

struct bc_net;
struct bc_volume;
struct bc_transfer;

#define BC_STORE_BLOCKS	(1U << 0)	/* start() blocks: not for threads of the network */
#define BC_STORE_LISTS	(1U << 1)

/* A version of an object, as its store tells it. */
struct bc_object {
	uint64_t size;
	int64_t last_modified;		/* seconds since the epoch */
	char etag[BC_ETAG_MAX + 1];	/* strong, without quotes */
};

struct bc_result {
	enum bc_done_status status;
	bool retry;			/* the same again may go better */
	bool no_range;			/* the object ends before the range begins */
	unsigned int retry_after_ms;	/* with BC_DONE_RETRY_AFTER */
	char text[192];			/* for people; never holds a secret */
};

enum bc_verb {
	BC_VERB_GET,
	BC_VERB_HEAD,
	BC_VERB_LIST,
};

struct bc_transfer_ops {
	/* object is valid, no byte came yet; false aborts */
	bool (*begin)(struct bc_transfer *transfer);
	/* false aborts */
	bool (*data)(struct bc_transfer *transfer, const void *bytes, size_t length);
	/* result is valid */
	void (*end)(struct bc_transfer *transfer);
};

struct bc_transfer {
	/* Set by the caller; strings live as long as the transfer. */
	struct bc_store *store;
	const struct bc_transfer_ops *ops;
	enum bc_verb verb;
	const char *path;
	uint64_t offset;		/* GET */
	uint64_t length;		/* GET: at least 1; clipped at the object's end */
	const struct bc_object *want;	/* GET: the version; NULL = whatever there is */
	unsigned int connect_timeout_ms;
	unsigned int stall_timeout_ms;

	/* Set by the store. */
	struct bc_object object;
	struct bc_result result;
	void *running;			/* the store's, while it runs */
};

struct bc_list_entry {
	const char *name;		/* from the source's root; a directory ends with '/' */
	bool directory;
	struct bc_object object;	/* of a file; etag empty if not usable */
};

/*
 * One page of a listing: of all objects whose name begins with the transfer's
 * path if recursive, else of that directory ("" or "a/b/"). A page may be empty
 * and still have a next one: go on until marker is NULL.
 */
struct bc_list {
	struct bc_transfer transfer;
	bool recursive;
	char *marker;			/* NULL = first page; in end(): of the next, malloced */
	void (*entry)(struct bc_list *list, const struct bc_list_entry *entry);
	void *parser;			/* the store's, while it runs */
};

struct bc_store_ops {
	const char *scheme;		/* "azure" */
	unsigned int capabilities;
	/* Fills store->private; text says why it failed. */
	bool (*open)(struct bc_store *store, const struct bc_volume *volume,
		     char *text, size_t size);
	void (*close)(struct bc_store *store);
	void (*start)(struct bc_transfer *transfer, struct bc_net *net);
	/* Ends a running transfer without end(). NULL if start() blocks. */
	void (*cancel)(struct bc_transfer *transfer, struct bc_net *net);
};

/* Reference counted: a reload of the configuration drops stores in use. */
struct bc_store {
	const struct bc_store_ops *ops;
	unsigned int references;	/* atomic */
	char *source;
	void *private;
};

extern const struct bc_store_ops bc_azure_ops;
extern const struct bc_store_ops bc_file_ops;

struct bc_store *bc_store_open(const struct bc_volume *volume, char *text, size_t size);
struct bc_store *bc_store_get(struct bc_store *store);
void bc_store_put(struct bc_store *store);
void bc_store_start(struct bc_transfer *transfer, struct bc_net *net);
void bc_store_cancel(struct bc_transfer *transfer, struct bc_net *net);

void bc_result_set(struct bc_result *result, enum bc_done_status status, bool retry,
		   const char *format, ...) __attribute__((format(printf, 4, 5)));
const char *bc_done_name(enum bc_done_status status);
bool bc_path_valid(const char *path);

#endif /* BC_STORE_H */
