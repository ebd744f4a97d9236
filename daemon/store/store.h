/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a store is to the rest of the daemon.
 *
 * A store serves one source. A transfer is one request to it: a range of an
 * object, an object's head, one page of a listing, or a step of writing an object:
 * its blocks are staged, in any order, then a list of them is committed, which
 * makes them the object's next version at once. start() returns at once
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
#define BC_STORE_WRITES	(1U << 2)

#define BC_GENERATION_SIZE	16
#define BC_BLOCK_ID_MAX		88	/* 64 bytes as base64 */
#define BC_MD5_SIZE		16
#define BC_NODE_MAX		64

/* A version of an object, as its store tells it. */
struct bc_object {
	uint64_t size;
	int64_t last_modified;		/* seconds since the epoch */
	char etag[BC_ETAG_MAX + 1];	/* strong, without quotes */
};

/*
 * What a writer of ours left in the metadata of an object beside its bytes: who it
 * is (a random id that its dirty file keeps) and up to where its writes are in.
 */
struct bc_meta {
	bool has_generation;
	bool has_cut;
	bool has_checksum;
	bool has_mode;
	bool has_mtime;
	uint8_t generation[BC_GENERATION_SIZE];
	uint64_t cut;
	uint32_t checksum;		/* crc32c of all bytes */
	uint32_t mode;
	int64_t mtime;
	uint32_t mtime_ns;
	bool bad;			/* something is malformed, or there twice */
	char node[BC_NODE_MAX];		/* "" = not told */
};

/* How a store answered what is to change something: finer than the status. */
enum bc_answer {
	BC_ANSWER_NONE,			/* no whole answer: it was done, or not, or will be */
	BC_ANSWER_DONE,
	BC_ANSWER_CONDITION,		/* another version is there, or one at all */
	BC_ANSWER_BLOCK_LIST,		/* a block of the list is not there */
	BC_ANSWER_BLOCK_ID,		/* other blocks have ids of another length */
	BC_ANSWER_CHECKSUM,		/* the bytes arrived damaged */
	BC_ANSWER_LEASED,		/* somebody has a lease on it */
	BC_ANSWER_GONE,			/* no such object */
	BC_ANSWER_NO_CONTAINER,		/* nor one of what it would be in */
	BC_ANSWER_DENIED,
	BC_ANSWER_BUSY,			/* retry_after_ms says for how long */
	BC_ANSWER_REFUSED,		/* for a reason that does not pass by itself */
	BC_ANSWER_COUNT
};

struct bc_result {
	enum bc_done_status status;
	enum bc_answer answer;		/* of verbs from BC_VERB_STAGE on */
	bool retry;			/* the same again may go better */
	bool no_range;			/* the object ends before the range begins */
	unsigned int retry_after_ms;	/* with BC_DONE_RETRY_AFTER */
	char text[192];			/* for people; never holds a secret */
};

enum bc_verb {
	BC_VERB_GET,
	BC_VERB_HEAD,
	BC_VERB_LIST,
	BC_VERB_BLOCKS,			/* struct bc_block_list */
	BC_VERB_STAGE,			/* struct bc_stage */
	BC_VERB_COMMIT,			/* struct bc_commit */
	BC_VERB_DISCARD,		/* struct bc_discard */
	BC_VERB_DELETE,
};

/* Which of a transfer's verbs change something. */
static inline bool bc_verb_writes(enum bc_verb verb)
{
	return verb >= BC_VERB_STAGE;
}

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
	const struct bc_object *want;	/* GET, DELETE: the version; NULL = whatever there is */
	unsigned int connect_timeout_ms;
	unsigned int stall_timeout_ms;
	uint64_t bytes_per_second;	/* STAGE: no faster; 0 = as fast as it goes */
	bool durable;			/* HEAD: what it tells survives a crash of the store */

	/* Set by the store. */
	struct bc_object object;
	struct bc_meta meta;		/* HEAD */
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

/*
 * Which blocks an object is made of, and which are staged. None is not an error;
 * BC_DONE_GONE says that there is neither object nor block.
 */
struct bc_block_list {
	struct bc_transfer transfer;
	void (*block)(struct bc_block_list *list, const char *id, uint64_t size, bool committed);
	void *parser;			/* the store's, while it runs */
};

/*
 * One block, of @transfer.length bytes at @transfer.offset of the object to be. The
 * ids of all blocks of an object have one length. bytes() may be called for the
 * same bytes again; false aborts, and it has set the result then.
 */
struct bc_stage {
	struct bc_transfer transfer;
	const char *id;			/* base64 */
	const uint8_t *generation;
	uint64_t run;			/* of the upload: nobody else's, ever */
	bool first;			/* none of this run was staged that is still wanted */
	const uint8_t *md5;		/* of its bytes */
	bool (*bytes)(struct bc_stage *stage, uint64_t offset, void *to, size_t length);
};

/* What must be there for a commit to be done. */
enum bc_condition {
	BC_IF_NONE,			/* no object of that name */
	BC_IF_MATCH,			/* version @etag */
};

/* The object becomes these blocks, in this order; transfer.object is its version then. */
struct bc_commit {
	struct bc_transfer transfer;
	enum bc_condition condition;
	const char *etag;
	/* @to has BC_BLOCK_ID_MAX + 1 bytes */
	const char *(*id)(struct bc_commit *commit, uint32_t index, char *to);
	uint32_t count;
	uint64_t size;
	uint64_t run;			/* that staged them */
	const struct bc_meta *meta;
	void *body;			/* the store's, while it runs */
	size_t body_length;
};

/*
 * What is staged by one run will not be committed. A store whose staged
 * blocks go by themselves does nothing: they may be somebody else's, too.
 */
struct bc_discard {
	struct bc_transfer transfer;
	const uint8_t *generation;
	uint64_t run;
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
