/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine: reads of versions of objects, answered by a tier, by a fill in
 * flight, by the daemon, or by the front end's lower source. This header is all
 * that front ends (fs, blk) know of it. The engine knows no inode, no request
 * and no netlink attribute.
 *
 * Lifetimes: a client outlives its objects' use; objects are counted, and each
 * read and each fill holds one reference. A front end's private data of an
 * object lives until ops->release(), which the last reference calls.
 */
#ifndef BC_ENGINE_H
#define BC_ENGINE_H

#include <linux/bvec.h>
#include <linux/list.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "blobcache_dev.h"
#include "blobcache_netlink.h"
#include "key.h"

/* Smallest and largest deadline of a read; khungtaskd fires at 120 s. */
#define BC_DEADLINE_MIN_MS	1000
#define BC_DEADLINE_MAX_MS	90000
#define BC_DEADLINE_DEFAULT_MS	30000

struct bc_client;
struct bc_object;

/**
 * struct bc_version - one version of an object
 * @size: bytes
 * @last_modified: seconds since the epoch
 * @asked_ns: boot clock before the store was asked for it; 0 if it was not
 * @etag_length: 1..BC_ETAG_MAX
 * @etag: strong ETag without quotes; for a lower version what the front end
 *	made of size, mtime and ctime; zero terminated
 */
struct bc_version {
	u64 size;
	s64 last_modified;
	s64 asked_ns;
	u32 etag_length;
	char etag[BC_ETAG_MAX + 1];
};

enum bc_binding {
	BC_UNBOUND,		/* no byte was delivered yet; the first fill decides */
	BC_BOUND_STORE,		/* an ETag of the store */
	BC_BOUND_LOWER,		/* lower bytes only; never enters a tier */
};

/* What a mount or disk wants of the engine. */
struct bc_client_options {
	const char *source;		/* volume, for example "azure://host/container" */
	const char *domain;		/* trust domain or NULL */
	enum bc_daemon_loss on_daemon_loss;
	u32 deadline_ms;		/* of each read: BC_DEADLINE_MIN_MS..BC_DEADLINE_MAX_MS */
	bool lower_exact;		/* objects bound to an ETag may take lower bytes */
	u32 lower_workers;		/* most ops->read_lower() calls at once; 1..64 */
};

/**
 * struct bc_object_ops - what the engine asks of a front end
 * @bound: the object was bound to a version (bc_object_version()); called once,
 *	before the first byte is delivered, in process context, without engine
 *	locks. Must not sleep for I/O.
 * @read_lower: read @length bytes at @pos into @pages (their first byte is
 *	@pos; GFP_NOFS pages of the engine) from the lower source. Called in a
 *	worker, may block for as long as the lower does. Tells in @version which
 *	version it read, the same before and after the bytes (else -ESTALE).
 *	Returns bytes read, short only at the end of the file, or an errno. NULL
 *	if there is no lower.
 * @release: last reference of the object is gone; process context.
 */
struct bc_object_ops {
	void (*bound)(void *private, struct bc_object *object);
	int (*read_lower)(void *private, u64 pos, u32 length, struct page **pages,
			  struct bc_version *version);
	void (*release)(void *private);
};

/* SCHEME://NAME: the form that a source has, whether or not the daemon knows it. */
bool bc_source_valid(const char *source);

/* Names separated by '/', none of them empty, "." or ".."; or none at all. */
bool bc_path_valid(const char *path);

/**
 * bc_client_create - register a mount or a disk
 * @options: copied
 *
 * May sleep. Return: client, or ERR_PTR of -ENOMEM, -EINVAL.
 */
struct bc_client *bc_client_create(const struct bc_client_options *options);

/* Fail everything pending of this client with -EIO, now. For umount -f. Any process context. */
void bc_client_abort(struct bc_client *client);

/* Fail that, and what comes to wait later. What is on a tier is still read. Any process context. */
void bc_client_kill(struct bc_client *client);

/*
 * Kill, then drop the front end's reference. Its objects may still be in the
 * hands of stuck workers and are released when these return. May sleep.
 */
void bc_client_destroy(struct bc_client *client);

const struct bc_key *bc_client_volume_id(const struct bc_client *client);

/* ops->read_lower() calls running now, those of lower sources of before included. */
u32 bc_client_lower_busy(const struct bc_client *client);

/**
 * bc_client_lower_renewed - the lower source is another one
 * @client: client
 *
 * ops->read_lower() calls that are stuck in the old one no longer count against lower_workers, and
 * are not waited for: what they were to bring is read from the new one. The caller bounds how many
 * they may become, by bc_client_lower_busy(). Any process context.
 */
void bc_client_lower_renewed(struct bc_client *client);

/**
 * bc_object_create - one version of one object, or "whichever the store has"
 * @client: of it; a reference is kept
 * @path: name in the source, '/'-separated, no leading slash
 * @version: NULL = unbound
 * @ops: front end
 * @private: for @ops; released also when this fails
 *
 * May sleep (GFP_NOFS). Return: object with one reference, or ERR_PTR.
 */
struct bc_object *bc_object_create(struct bc_client *client, const char *path,
				   const struct bc_version *version,
				   const struct bc_object_ops *ops, void *private);

/**
 * bc_object_create_lower - the same for an object that is read past the cache
 * @client: of it; a reference is kept
 * @path: name in the source
 * @ops: front end; must have read_lower()
 * @private: for @ops; released also when this fails
 *
 * Unbound; its first read binds it to the version that the lower has then. The store is never
 * asked and nothing of it enters a tier.
 */
struct bc_object *bc_object_create_lower(struct bc_client *client, const char *path,
					 const struct bc_object_ops *ops, void *private);

void bc_object_get(struct bc_object *object);
/* Process context. */
void bc_object_put(struct bc_object *object);

/*
 * Somebody may wait for reads of the object from now on, or not any more: each open file counts
 * once. When the last one is closed, reads that still wait fail with -ECANCELED and fills
 * that were for them are dropped. Process context.
 */
void bc_object_open(struct bc_object *object);
void bc_object_close(struct bc_object *object);

void *bc_object_private(const struct bc_object *object);
enum bc_binding bc_object_binding(const struct bc_object *object);
/* Return: false while unbound. */
bool bc_object_version(const struct bc_object *object, struct bc_version *version);
/* The key of a BC_BOUND_STORE object; NULL otherwise. */
const struct bc_key *bc_object_key(const struct bc_object *object);

/**
 * bc_object_bind - wait until an unbound object is bound
 * @object: object
 * @pos: where the caller is going to read: that chunk is fetched, and binds; also beyond the end,
 *	where there is nothing but the version to be had
 *
 * Killable, bounded by the client's deadline, however many fills it takes.
 * Return: 0, -EINTR, or why it could not be bound (-ENOENT gone, -EACCES denied, -EIO, -ETIMEDOUT
 * ...).
 */
int bc_object_bind(struct bc_object *object, u64 pos);

/**
 * struct bc_io - one read inside one chunk
 * @object: the caller's reference must last until @done
 * @pos: first byte; a multiple of PAGE_SIZE, or of SECTOR_SIZE if @foreign
 * @length: bytes; @pos + @length stays inside the chunk. May reach past the end
 *	of the object: what lies beyond is zeroed.
 * @nr_bvecs: number of entries of @bvecs, at most BIO_MAX_VECS
 * @bvecs: where the bytes go; stable until @done
 * @priority: BC_PRIORITY_DEMAND if somebody waits
 * @foreign: others may write @bvecs meanwhile: what is there proves nothing; the device may not be
 *	able to write there
 * @sequential: what is behind it is likely to be read next: a miss fetches the whole chunk
 * @done: called exactly once, from any context, possibly before bc_read()
 *	returns. Must not sleep. @error is 0 or an errno: -ESTALE if the
 *	store no longer has this version, -EIO, -ETIMEDOUT, -ECANCELED: nobody has
 *	the object open any more.
 * @deadline: in jiffies: when it fails with -ETIMEDOUT, however many fills it waited in; 0 = by the
 *	client's deadline, from bc_read() on
 *
 * The rest belongs to the engine.
 */
struct bc_io {
	struct bc_object *object;
	u64 pos;
	u32 length;
	u32 nr_bvecs;
	struct bio_vec *bvecs;
	enum bc_priority priority;
	bool foreign;
	bool sequential;
	void (*done)(struct bc_io *io, int error);
	unsigned long deadline;

	struct list_head node;
	struct work_struct work;
	struct bc_tier *tier;
	struct page **bounce;
	u32 entry;
	u32 frame;
	u32 bytes;		/* valid bytes of the chunk, as the tier has it */
	u16 blocks;		/* to verify, bit per block of the extent */
	u8 slot;
	u8 count;		/* of blocks to free */
	bool in_place;		/* verify in @bvecs, not in @bounce */
	int error;
};

/**
 * bc_read - queue a read and return
 * @io: filled in by the caller down to @done
 *
 * Never waits for the daemon or the lower. May sleep for memory (GFP_NOFS).
 */
void bc_read(struct bc_io *io);

/**
 * bc_prefetch - start fills of missing chunks
 * @object: object
 * @pos: first byte
 * @length: bytes; clipped to the object
 * @priority: BC_PRIORITY_READAHEAD or BC_PRIORITY_PREFETCH
 *
 * Does not wait; drops what exceeds the engine's limit on fills in flight.
 * Return: chunks still missing whose fill could not be started now (call again later), or errno.
 */
int bc_prefetch(struct bc_object *object, u64 pos, u64 length, enum bc_priority priority);

/* Sequential readers that are followed at once. */
#define BC_STREAMS	4

/**
 * struct bc_stream - a sequential reader
 * @next: where it goes on
 * @ahead: up to where chunks were asked for
 * @window: how far ahead of it, in bytes; 0 = it missed nothing yet
 */
struct bc_stream {
	u64 next;
	u64 ahead;
	u64 window;
};

/**
 * struct bc_streams - the sequential readers of an open file or of a disk
 * @stream: see stream.c
 * @turn: which is replaced next
 *
 * Hints, without a lock; all zero to begin.
 */
struct bc_streams {
	struct bc_stream stream[BC_STREAMS];
	u32 turn;
};

/* How far ahead of a sequential reader chunks are fetched, in bytes, if nobody wants more. */
u64 bc_streams_window(void);

/**
 * bc_streams_follow - does a read go on with a stream, so that what is behind it is read next?
 * @streams: readers
 * @pos: what is about to be read; bc_streams_read() was not told of it yet
 * @end: its end; greater than @pos
 */
bool bc_streams_follow(struct bc_streams *streams, u64 pos, u64 end);

/**
 * bc_streams_read - tell of a read, and fetch ahead of a reader who reads on and on
 * @streams: readers
 * @object: bound to a version of the store
 * @pos: what is read now
 * @end: its end; greater than @pos
 * @max: how far ahead, in bytes; 0 = fetch nothing
 *
 * Starts fills, waits for nothing. May sleep for memory (GFP_NOFS).
 */
void bc_streams_read(struct bc_streams *streams, struct bc_object *object, u64 pos, u64 end,
		     u64 max);

/* May bytes of the object be on a tier, now or once they were fetched? */
bool bc_cacheable(const struct bc_object *object);

/* Is the whole chunk at @pos on a tier? No side effects; may be outdated on return. */
bool bc_resident(struct bc_object *object, u64 pos);

/* The same of bytes of one chunk, [@pos, @end); what of them is behind the object's end counts. */
bool bc_resident_part(struct bc_object *object, u64 pos, u64 end);

/* Bytes of the object on a tier, and in @pending (may be NULL) bytes on their way. */
u64 bc_residency(struct bc_object *object, u64 *pending);

/**
 * bc_resolve - ask the daemon which version the store has now
 * @client: client
 * @path: as for bc_object_create()
 * @timeout_ms: at most this long; 0 = only if the answer is here at once
 * @version: out; of -ENOENT only asked_ns
 *
 * Single flight per path: somebody else may have asked, earlier. Killable.
 * Return: 0; -ENOENT the store has no such object; -EACCES; -EOPNOTSUPP bypass the cache; -ENOTCONN
 * no daemon; -ETIMEDOUT; -EINTR; -EIO.
 */
int bc_resolve(struct bc_client *client, const char *path, u32 timeout_ms,
	       struct bc_version *version);

/**
 * bc_pin - keep a version on the tier, or let it go again
 * @object: object; one that is unbound is bound first, see bc_object_bind()
 * @on: true: what is there of this version now stays, and what comes later; false: no version of
 *	this path stays any more, one that @object superseded included
 *
 * Pins are in memory only. Killable.
 * Return: 0; -ENODEV no tier is attached; -ENOSPC too much of the tier would be pinned; -EDQUOT too
 * many pins; -EOPNOTSUPP the object is read past the cache; -ENOENT not pinned; -ENOMEM, -EINTR, or
 * as bc_object_bind().
 */
int bc_pin(struct bc_object *object, bool on);

/* Is this version pinned? */
bool bc_pinned(const struct bc_object *object);

/* Drop all clean chunks of the object that nobody reads and no pin holds. Return: bytes dropped. */
u64 bc_evict(struct bc_object *object);

/*
 * Let all clean chunks of the object be evicted before others, until they are read again. Return:
 * their bytes; those that a pin holds stay as they are.
 */
u64 bc_demote(struct bc_object *object);

/* Is a daemon there that answers? */
bool bc_daemon_alive(void);

#endif /* BC_ENGINE_H */
