/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * ioctls of /dev/blobcache/control: how the daemon takes requests and hands over bytes.
 *
 * The open file is the ownership. One file at a time may be the daemon
 * (BC_IOC_HELLO); its release, for whatever reason, returns all requests it had
 * claimed to the state "new". Requests are announced over generic netlink
 * (blobcache_netlink.h) and can be dumped there at any time.
 *
 * A request's life: new -> BC_IOC_CLAIM -> [BC_IOC_BIND] -> BC_IOC_FILL ... ->
 * BC_IOC_DONE. A request is for a run of blocks of one chunk; what else is wanted of
 * the chunk is another request, with another id, once this one is done. Each call
 * of these renews the request's lease; an expired lease
 * returns it to "new". Every structure begins with its own size; flags and
 * reserved fields must be zero (EINVAL otherwise).
 */
#ifndef _UAPI_BLOBCACHE_DEV_H
#define _UAPI_BLOBCACHE_DEV_H

#include <linux/ioctl.h>
#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/build_bug.h>
#else
#include <assert.h>
#endif
#include "blobcache_disk.h"

#define BC_DEV_NAME		"blobcache"
#define BC_DEV_DIR		"blobcache"		/* below /dev; disks are in it, by name */
#define BC_DEV_CONTROL		"control"		/* no disk is called so */
#define BC_DEV_NODE		BC_DEV_DIR "/" BC_DEV_CONTROL
#define BC_DEV_PATH		"/dev/" BC_DEV_NODE
#define BC_DEV_VERSION		1

/* f_type of statfs(2) on a blobcache mount: "bcac". */
#define BC_SUPER_MAGIC		0x62636163

/* How a request ended. */
enum bc_done_status {
	BC_DONE_OK		= 0,	/* all bytes of the range were filled */
	BC_DONE_CHANGED		= 1,	/* the store has another version (412) */
	BC_DONE_GONE		= 2,	/* no such object (404) */
	BC_DONE_DENIED		= 3,	/* credentials refused (401, 403) */
	BC_DONE_RETRY_AFTER	= 4,	/* store is busy: retry after retry_after_ms */
	BC_DONE_FAILED		= 5,	/* anything else */
	BC_DONE_UNSUPPORTED	= 6,	/* weak or overlong ETag, unknown volume: bypass */
	BC_DONE_STATUS_COUNT
};

/**
 * struct bc_ioc_hello - become the daemon
 * @size: sizeof(struct bc_ioc_hello)
 * @flags: zero
 * @version: BC_DEV_VERSION
 * @lease_ms: out: how long a claimed request may rest without a call
 * @epoch: out: number of this ownership; never used twice while loaded
 *
 * Fails with EBUSY while another open file is the daemon, with EPERM unless the
 * calling thread has PR_SET_IO_FLUSHER set (set it before starting threads) and
 * with EPROTONOSUPPORT on an unknown version.
 */
struct bc_ioc_hello {
	__u32 size;
	__u32 flags;
	__u32 version;
	__u32 lease_ms;
	__u64 epoch;
	__u64 reserved[2];
};

/**
 * struct bc_ioc_claim - take a new request, or renew the lease of a claimed one
 * @size: sizeof(struct bc_ioc_claim)
 * @flags: zero
 * @id: the request
 *
 * Fails with ENOENT if the request ended, EBUSY if it is claimed by this owner
 * already and @flags lacks BC_CLAIM_RENEW.
 */
#define BC_CLAIM_RENEW		(1U << 0)

struct bc_ioc_claim {
	__u32 size;
	__u32 flags;
	__u64 id;
	__u64 reserved[2];
};

/**
 * struct bc_ioc_bind - tell which version the coming bytes are of
 * @size: sizeof(struct bc_ioc_bind)
 * @flags: zero
 * @id: the request
 * @object_size: size of the whole object in bytes
 * @last_modified: seconds since the epoch, as the store says
 * @etag_length: 1..BC_ETAG_MAX
 * @etag: strong ETag without quotes
 *
 * Must precede the first fill of an unbound request. On a bound request the
 * ETag and size must equal the request's, else ESTALE.
 */
struct bc_ioc_bind {
	__u32 size;
	__u32 flags;
	__u64 id;
	__u64 object_size;
	__s64 last_modified;
	__u32 etag_length;
	__u32 reserved32;
	__u8  etag[BC_ETAG_MAX];
	__u64 reserved[2];
};

/**
 * struct bc_ioc_fill - hand over bytes of the request's range, in any order
 * @size: sizeof(struct bc_ioc_fill)
 * @flags: zero
 * @id: the request
 * @offset: in the object; a multiple of BC_FILL_ALIGN
 * @length: a multiple of BC_FILL_ALIGN, unless it ends the range or the object
 * @reserved32: zero
 * @address: of the bytes in the caller's memory
 *
 * Fails with ENOENT if the request ended or was cancelled (abort the transfer:
 * nobody waits for it), ESTALE if it belongs to another owner, ERANGE if the
 * bytes do not lie in the chunk of the range, EPROTO if the request is unbound.
 * Bytes of the chunk outside of the range are taken, too.
 */
#define BC_FILL_ALIGN		4096U

struct bc_ioc_fill {
	__u32 size;
	__u32 flags;
	__u64 id;
	__u64 offset;
	__u32 length;
	__u32 reserved32;
	__u64 address;
	__u64 reserved[2];
};

/**
 * struct bc_ioc_done - end a request
 * @size: sizeof(struct bc_ioc_done)
 * @flags: BC_DONE_COALESCED
 * @id: the request
 * @status: enum bc_done_status
 * @retry_after_ms: with BC_DONE_RETRY_AFTER: when to announce it again
 *
 * BC_DONE_OK with bytes missing fails with ENODATA and ends it as failed.
 */
#define BC_DONE_COALESCED	(1U << 0)	/* came with the request before, by one transfer */

struct bc_ioc_done {
	__u32 size;
	__u32 flags;
	__u64 id;
	__u32 status;
	__u32 retry_after_ms;
	__u64 reserved[2];
};

/*
 * Dirty objects (BC_CMD_DIRTY_GET lists them) are uploaded as of a *cut*, a sequence: what is
 * durable when the flush begins. BC_IOC_FLUSH_BEGIN -> BC_IOC_FLUSH_MAP, BC_IOC_READ ... ->
 * BC_IOC_FLUSH_END. Until the end, or the owner's release of the device, the versions of the cut
 * stay, whatever is written meanwhile. All of these fail with ENOENT if there is no such object
 * (any more: it was removed), with ESTALE if there is no flush of this owner and this cut.
 */

/**
 * struct bc_ioc_flush_begin - begin to upload a dirty object
 * @size: sizeof(struct bc_ioc_flush_begin)
 * @flags: zero
 * @generation: of the object
 * @cut: out: the cut
 * @object_size: out: bytes of the object as of the cut
 * @step: out: commit step that the cut is of; grows with each change of the object
 *
 * Fails with EBUSY if there is a flush of it already, with EAGAIN if it is being cut off, renamed
 * or removed just now: again later.
 */
struct bc_ioc_flush_begin {
	__u32 size;
	__u32 flags;
	__u8  generation[BC_KEY_SIZE];
	__u64 cut;
	__u64 object_size;
	__u64 step;
	__u64 reserved[2];
};

/* A block of 64 KiB as of a cut; seq 0: it is zeroes. */
struct bc_flush_block {
	__u64 seq;
	__u32 crc;			/* crc32c of the first @length bytes; then zeroes */
	__u32 length;
};

/**
 * struct bc_ioc_flush_map - which versions of the blocks belong to the cut
 * @size: sizeof(struct bc_ioc_flush_map)
 * @flags: zero
 * @generation: of the object
 * @cut: as BC_IOC_FLUSH_BEGIN said
 * @block: number of the first block: offset >> 16
 * @count: of blocks; 1..BC_FLUSH_MAP_MAX
 * @address: of an array of @count struct bc_flush_block in the caller's memory
 *
 * Two versions with one sequence are one: what was uploaded of it needs not be again.
 */
#define BC_FLUSH_MAP_MAX	4096U

struct bc_ioc_flush_map {
	__u32 size;
	__u32 flags;
	__u8  generation[BC_KEY_SIZE];
	__u64 cut;
	__u64 block;
	__u32 count;
	__u32 reserved32;
	__u64 address;
	__u64 reserved[2];
};

/**
 * struct bc_ioc_read - bytes of a dirty object as of a cut
 * @size: sizeof(struct bc_ioc_read)
 * @flags: zero
 * @generation: of the object
 * @cut: as BC_IOC_FLUSH_BEGIN said
 * @offset: a multiple of 65536, below the object's size as of the cut
 * @length: 1..BC_READ_MAX; ends at a multiple of 65536, or at the object's end
 * @address: where to, in the caller's memory
 *
 * What is stored is checked against its checksum: EIO if it is damaged.
 */
#define BC_READ_MAX		(1U << 20)

struct bc_ioc_read {
	__u32 size;
	__u32 flags;
	__u8  generation[BC_KEY_SIZE];
	__u64 cut;
	__u64 offset;
	__u32 length;
	__u32 reserved32;
	__u64 address;
	__u64 reserved[2];
};

/**
 * struct bc_ioc_flush_end - a flush is over
 * @size: sizeof(struct bc_ioc_flush_end)
 * @flags: BC_FLUSH_COMMITTED, or zero: it was given up, and nothing is known to be in the store
 * @generation: of the object
 * @cut: as BC_IOC_FLUSH_BEGIN said
 * @last_modified: seconds since the epoch, as the store says
 * @etag_length: 1..BC_ETAG_MAX with BC_FLUSH_COMMITTED, else 0
 * @etag: strong ETag of what was committed, without quotes
 *
 * With BC_FLUSH_COMMITTED it is durable when this returns that the store has this cut. ENOENT or
 * ESTALE then: the object was removed, or renamed (then it is under its old name in the store,
 * which is for the caller to undo). The flush is over in any case.
 */
#define BC_FLUSH_COMMITTED	(1U << 0)

struct bc_ioc_flush_end {
	__u32 size;
	__u32 flags;
	__u8  generation[BC_KEY_SIZE];
	__u64 cut;
	__s64 last_modified;
	__u32 etag_length;
	__u32 reserved32;
	__u8  etag[BC_ETAG_MAX];
	__u64 reserved[2];
};

#define BC_IOC_MAGIC	0xbc
#define BC_IOC_HELLO	_IOWR(BC_IOC_MAGIC, 1, struct bc_ioc_hello)
#define BC_IOC_CLAIM	_IOW(BC_IOC_MAGIC, 2, struct bc_ioc_claim)
#define BC_IOC_BIND	_IOW(BC_IOC_MAGIC, 3, struct bc_ioc_bind)
#define BC_IOC_FILL	_IOW(BC_IOC_MAGIC, 4, struct bc_ioc_fill)
#define BC_IOC_DONE	_IOW(BC_IOC_MAGIC, 5, struct bc_ioc_done)
#define BC_IOC_FLUSH_BEGIN _IOWR(BC_IOC_MAGIC, 6, struct bc_ioc_flush_begin)
#define BC_IOC_FLUSH_MAP _IOW(BC_IOC_MAGIC, 7, struct bc_ioc_flush_map)
#define BC_IOC_READ	_IOW(BC_IOC_MAGIC, 8, struct bc_ioc_read)
#define BC_IOC_FLUSH_END _IOW(BC_IOC_MAGIC, 9, struct bc_ioc_flush_end)

static_assert(sizeof(struct bc_ioc_hello) == 40, "bc_ioc_hello");
static_assert(sizeof(struct bc_ioc_claim) == 32, "bc_ioc_claim");
static_assert(sizeof(struct bc_ioc_bind) == 120, "bc_ioc_bind");
static_assert(sizeof(struct bc_ioc_fill) == 56, "bc_ioc_fill");
static_assert(sizeof(struct bc_ioc_done) == 40, "bc_ioc_done");
static_assert(sizeof(struct bc_ioc_flush_begin) == 64, "bc_ioc_flush_begin");
static_assert(sizeof(struct bc_flush_block) == 16, "bc_flush_block");
static_assert(sizeof(struct bc_ioc_flush_map) == 72, "bc_ioc_flush_map");
static_assert(sizeof(struct bc_ioc_read) == 72, "bc_ioc_read");
static_assert(sizeof(struct bc_ioc_flush_end) == 128, "bc_ioc_flush_end");

#endif /* _UAPI_BLOBCACHE_DEV_H */
