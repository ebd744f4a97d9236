/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Generic netlink family of blobcache. blobcache.yaml describes the same in the
 * kernel's YNL form; a unit test holds the two together.
 *
 * Every operation needs CAP_SYS_ADMIN in the initial user namespace. Errors
 * carry an extack message that says what, why and what to do.
 *
 * Events are hints and may be lost. What they announce can be dumped with
 * BC_CMD_REQUEST_GET and BC_CMD_TIER_GET.
 */
#ifndef _UAPI_BLOBCACHE_NETLINK_H
#define _UAPI_BLOBCACHE_NETLINK_H

#define BC_GENL_NAME		"blobcache"
#define BC_GENL_VERSION		1
#define BC_GENL_MCGRP_EVENTS	"events"

/* Longest strings, without the terminating zero. */
#define BC_NL_SOURCE_MAX	1023
#define BC_NL_PATH_MAX		4095
#define BC_NL_NAME_MAX		255
#define BC_DISK_NAME_MAX	21

/* Of a disk; the smallest is 512. */
#define BC_DISK_BLOCK_MAX	4096

enum bc_cmd {
	BC_CMD_UNSPEC,
	BC_CMD_STATUS_GET,	/* do: BC_A_STATUS nest */
	BC_CMD_TIER_ATTACH,	/* do: BC_A_DEVICE [BC_A_NODE_ID] -> BC_A_TIER nest */
	BC_CMD_TIER_DETACH,	/* do: BC_A_DEVICE */
	BC_CMD_TIER_GET,	/* dump: BC_A_TIER nest each */
	BC_CMD_MOUNT_GET,	/* dump: BC_A_MOUNT nest each */
	BC_CMD_MOUNT_RELOWER,	/* do: BC_A_FD (target), BC_A_FD2 (new lower directory) */
	BC_CMD_STATS_GET,	/* do: BC_A_STATS nest */
	BC_CMD_REQUEST_GET,	/* dump: BC_A_REQUEST nest each, oldest first */
	BC_CMD_RESOLVE_REPLY,	/* do: BC_A_REQUEST nest (id, status, etag, ...) */
	BC_CMD_RESIDENCY,	/* do: BC_A_FD of an open file or disk -> BC_A_RESIDENCY nest */
	BC_CMD_PREFETCH,	/* do: BC_A_FD, [BC_A_OFFSET, BC_A_LENGTH] -> BC_A_RESIDENCY */
	BC_CMD_EVICT,		/* do: BC_A_FD, or BC_A_DEVICE: all clean chunks of a tier */
	BC_CMD_PIN_ADD,		/* do: BC_A_FD */
	BC_CMD_PIN_REMOVE,	/* do: BC_A_FD */
	BC_CMD_PIN_GET,		/* dump: BC_A_PIN nest each */
	BC_CMD_EVENT_FETCH,	/* event: BC_A_REQUEST nest */
	BC_CMD_EVENT_RESOLVE,	/* event: BC_A_REQUEST nest */
	BC_CMD_EVENT_TIER,	/* event: BC_A_TIER nest: attached, failed, detached */
	BC_CMD_DEMOTE,		/* do: BC_A_FD -> BC_A_RESIDENCY nest */
	BC_CMD_DISK_ATTACH,	/* do: BC_A_DISK nest (name, source, path, ...) */
	BC_CMD_DISK_DETACH,	/* do: BC_A_DISK nest (name, force) */
	BC_CMD_DISK_GET,	/* dump: BC_A_DISK nest each */
	BC_CMD_DISK_REFRESH,	/* do: BC_A_DISK nest (name) */
	BC_CMD_DIRTY_GET,	/* dump: BC_A_DIRTY nest each, oldest first */
	BC_CMD_EVENT_DIRTY,	/* event: BC_A_DIRTY nest: something of it was made durable */
	__BC_CMD_MAX
};
#define BC_CMD_MAX (__BC_CMD_MAX - 1)

/* Top level attributes. */
enum bc_attr {
	BC_A_UNSPEC,
	BC_A_PAD,
	BC_A_DEVICE,		/* string: path of a block device */
	BC_A_NODE_ID,		/* binary, 16 bytes */
	BC_A_FD,		/* u32: open file of the caller */
	BC_A_FD2,		/* u32 */
	BC_A_OFFSET,		/* u64 */
	BC_A_LENGTH,		/* u64 */
	BC_A_STATUS,		/* nest of enum bc_status_attr */
	BC_A_TIER,		/* nest of enum bc_tier_attr */
	BC_A_MOUNT,		/* nest of enum bc_mount_attr */
	BC_A_STATS,		/* nest of enum bc_stat: every member a u64 */
	BC_A_REQUEST,		/* nest of enum bc_request_attr */
	BC_A_RESIDENCY,		/* nest of enum bc_residency_attr */
	BC_A_PIN,		/* nest of enum bc_pin_attr */
	BC_A_DISK,		/* nest of enum bc_disk_attr */
	BC_A_DIRTY,		/* nest of enum bc_dirty_attribute */
	__BC_A_MAX
};
#define BC_A_MAX (__BC_A_MAX - 1)

enum bc_status_attr {
	BC_STATUS_A_UNSPEC,
	BC_STATUS_A_PAD,
	BC_STATUS_A_MODULE_VERSION,	/* string */
	BC_STATUS_A_DAEMON_PID,		/* u32: 0 = no daemon */
	BC_STATUS_A_DAEMON_ANSWERS,	/* u32: 0 = it let a request rest longer than its lease */
	BC_STATUS_A_DAEMON_EPOCH,	/* u64 */
	BC_STATUS_A_DAEMON_SINCE_MS,	/* u64: since it came, or since the last one went */
	BC_STATUS_A_TIERS,		/* u32 */
	BC_STATUS_A_MOUNTS,		/* u32 */
	BC_STATUS_A_REQUESTS,		/* u32: pending */
	BC_STATUS_A_MEMORY,		/* u64: bytes of engine memory */
	BC_STATUS_A_DISKS,		/* u32 */
	__BC_STATUS_A_MAX
};
#define BC_STATUS_A_MAX (__BC_STATUS_A_MAX - 1)

enum bc_tier_state {
	BC_TIER_LIVE,
	BC_TIER_FAILED,
	BC_TIER_DETACHED,
	BC_TIER_READ_ONLY,	/* serves what it has, keeps nothing more */
};

enum bc_tier_attr {
	BC_TIER_A_UNSPEC,
	BC_TIER_A_PAD,
	BC_TIER_A_DEVICE,	/* string */
	BC_TIER_A_UUID,		/* binary 16 */
	BC_TIER_A_STATE,	/* u32: enum bc_tier_state */
	BC_TIER_A_LABEL,	/* string */
	BC_TIER_A_DEVICE_BYTES,	/* u64 */
	BC_TIER_A_TABLE_BYTES,	/* u64: everything that is not frames */
	BC_TIER_A_FRAME_BYTES,	/* u64: capacity for chunks */
	BC_TIER_A_USED_BYTES,	/* u64: blocks of live descriptors */
	BC_TIER_A_FREE_BYTES,	/* u64: used + free = frame bytes */
	BC_TIER_A_PINNED_BYTES,	/* u64: part of used */
	BC_TIER_A_CHUNKS,	/* u64: index entries in use */
	BC_TIER_A_CHUNKS_MAX,	/* u64 */
	BC_TIER_A_MEMORY,	/* u64: bytes of memory for its tables */
	BC_TIER_A_WAS_CLEAN,	/* u32: 1 = last detach was orderly */
	__BC_TIER_A_MAX
};
#define BC_TIER_A_MAX (__BC_TIER_A_MAX - 1)

enum bc_consistency {
	BC_CONSISTENCY_STRICT,
	BC_CONSISTENCY_CLOSE_TO_OPEN,
	BC_CONSISTENCY_IMMUTABLE,
};

enum bc_daemon_loss {
	BC_LOSS_LOWER,
	BC_LOSS_WAIT,
	BC_LOSS_FAIL,
};

enum bc_mount_attr {
	BC_MOUNT_A_UNSPEC,
	BC_MOUNT_A_PAD,
	BC_MOUNT_A_DEV,			/* u32 major << 20 | minor, as in stat's st_dev */
	BC_MOUNT_A_SOURCE,		/* string */
	BC_MOUNT_A_PREFIX,		/* string: path below the source, "" = all */
	BC_MOUNT_A_LOWER_TYPE,		/* string: filesystem type of the lower */
	BC_MOUNT_A_VOLUME_ID,		/* binary 16 */
	BC_MOUNT_A_CONSISTENCY,		/* u32: enum bc_consistency */
	BC_MOUNT_A_ON_DAEMON_LOSS,	/* u32: enum bc_daemon_loss */
	BC_MOUNT_A_TTL_MS,		/* u64 */
	BC_MOUNT_A_STALE_MS,		/* u64 */
	BC_MOUNT_A_LOWER_EXACT,		/* u32: 0 or 1 */
	BC_MOUNT_A_READ_ONLY,		/* u32: 0 or 1 */
	BC_MOUNT_A_LOWER_SUSPECT,	/* u32: 0 or 1 */
	BC_MOUNT_A_STALE_OPENS,		/* u64: opens by an identity that could not be renewed */
	BC_MOUNT_A_OPEN_FILES,		/* u64 */
	BC_MOUNT_A_LOWER_STUCK,		/* u32: workers inside the lower, or earlier ones */
	__BC_MOUNT_A_MAX
};
#define BC_MOUNT_A_MAX (__BC_MOUNT_A_MAX - 1)

/* Counters since the module was loaded; also the attribute numbers of BC_A_STATS. */
enum bc_stat {
	BC_STAT_UNSPEC,
	BC_STAT_PAD,
	BC_STAT_HIT_READS,		/* engine reads answered by a tier */
	BC_STAT_HIT_BYTES,
	BC_STAT_MISS_READS,		/* engine reads that needed a fill */
	BC_STAT_MISS_BYTES,
	BC_STAT_JOINED_READS,		/* misses that joined a fill in flight */
	BC_STAT_FETCH_REQUESTS,		/* requests made to the daemon */
	BC_STAT_FETCH_BYTES,		/* bytes the daemon filled */
	BC_STAT_FETCH_FAILED,
	BC_STAT_FETCH_TIMEOUT,
	BC_STAT_FETCH_REQUEUED,		/* returned to "new": lease expired or daemon gone */
	BC_STAT_PREFETCH_REQUESTS,
	BC_STAT_PREFETCH_DROPPED,
	BC_STAT_LOWER_READS,		/* fills answered by the lower mount */
	BC_STAT_LOWER_BYTES,
	BC_STAT_LOWER_FAILED,
	BC_STAT_RESOLVES,
	BC_STAT_RESOLVE_TIMEOUT,
	BC_STAT_TIER_WRITES,		/* chunks written to a tier */
	BC_STAT_TIER_WRITE_BYTES,
	BC_STAT_TIER_READ_ERRORS,
	BC_STAT_TIER_WRITE_ERRORS,
	BC_STAT_CRC_ERRORS,		/* blocks dropped because their checksum failed */
	BC_STAT_BLOCKS_VERIFIED,
	BC_STAT_EVICTED_CHUNKS,
	BC_STAT_EVICTED_BYTES,
	BC_STAT_NO_SPACE,		/* fills not kept: tier full, or behind */
	BC_STAT_STALE_READS,		/* reads failed with ESTALE */
	BC_STAT_READ_ERRORS,		/* engine reads that failed otherwise */
	BC_STAT_UNIT_ERRORS,		/* table units dropped: bad checksum */
	BC_STAT_NOT_ADMITTED,		/* fills not kept: others were worth more */
	BC_STAT_PARTIAL_FILLS,		/* fills that ended with a part of their chunk */
	BC_STAT_FETCH_CANCELLED,	/* fills dropped: nobody waited any more */
	BC_STAT_FETCH_COALESCED,	/* requests answered by the transfer of the one before */
	__BC_STAT_MAX
};
#define BC_STAT_MAX (__BC_STAT_MAX - 1)

enum bc_request_kind {
	BC_REQUEST_FETCH,
	BC_REQUEST_RESOLVE,
};

enum bc_request_state {
	BC_REQUEST_NEW,
	BC_REQUEST_CLAIMED,
};

enum bc_priority {
	BC_PRIORITY_DEMAND,
	BC_PRIORITY_READAHEAD,
	BC_PRIORITY_PREFETCH,
};

enum bc_request_attr {
	BC_REQUEST_A_UNSPEC,
	BC_REQUEST_A_PAD,
	BC_REQUEST_A_ID,		/* u64, never used twice while loaded */
	BC_REQUEST_A_KIND,		/* u32: enum bc_request_kind */
	BC_REQUEST_A_STATE,		/* u32: enum bc_request_state */
	BC_REQUEST_A_PRIORITY,		/* u32: enum bc_priority */
	BC_REQUEST_A_SOURCE,		/* string */
	BC_REQUEST_A_PATH,		/* string: name in the source, no leading '/' */
	BC_REQUEST_A_OFFSET,		/* u64: fetch; blocks of a chunk, the most urgent ones */
	BC_REQUEST_A_LENGTH,		/* u64: fetch; may reach past the end if unbound */
	BC_REQUEST_A_ETAG,		/* string: absent = unbound */
	BC_REQUEST_A_SIZE,		/* u64: of the object; absent = unbound */
	BC_REQUEST_A_LAST_MODIFIED,	/* s64, in the reply to resolve */
	BC_REQUEST_A_STATUS,		/* u32: enum bc_done_status, in the reply to resolve */
	BC_REQUEST_A_AGE_MS,		/* u64: how long it has been pending */
	__BC_REQUEST_A_MAX
};
#define BC_REQUEST_A_MAX (__BC_REQUEST_A_MAX - 1)

enum bc_residency_attr {
	BC_RESIDENCY_A_UNSPEC,
	BC_RESIDENCY_A_PAD,
	BC_RESIDENCY_A_SIZE,		/* u64: of the version the file has open */
	BC_RESIDENCY_A_RESIDENT,	/* u64: bytes of it on a tier */
	BC_RESIDENCY_A_PENDING,		/* u64: bytes being fetched */
	BC_RESIDENCY_A_ETAG,		/* string: absent = unbound */
	BC_RESIDENCY_A_PINNED,		/* u32: 0 or 1 */
	__BC_RESIDENCY_A_MAX
};
#define BC_RESIDENCY_A_MAX (__BC_RESIDENCY_A_MAX - 1)

enum bc_pin_attr {
	BC_PIN_A_UNSPEC,
	BC_PIN_A_PAD,
	BC_PIN_A_KEY,			/* binary 16 */
	BC_PIN_A_SOURCE,		/* string */
	BC_PIN_A_PATH,			/* string */
	BC_PIN_A_SIZE,			/* u64 */
	BC_PIN_A_RESIDENT,		/* u64 */
	__BC_PIN_A_MAX
};
#define BC_PIN_A_MAX (__BC_PIN_A_MAX - 1)

enum bc_disk_state {
	BC_DISK_ATTACHING,
	BC_DISK_LIVE,
	BC_DISK_STALE,		/* the store has its version no longer */
	BC_DISK_LEAVING,	/* is being detached */
};

enum bc_disk_attr {
	BC_DISK_A_UNSPEC,
	BC_DISK_A_PAD,
	BC_DISK_A_NAME,			/* string: of its node in /dev/blobcache */
	BC_DISK_A_SOURCE,		/* string */
	BC_DISK_A_DOMAIN,		/* string: trust domain; absent = none */
	BC_DISK_A_PATH,			/* string: of the object in the source */
	BC_DISK_A_ON_DAEMON_LOSS,	/* u32: enum bc_daemon_loss, without lower */
	BC_DISK_A_DEADLINE_MS,		/* u64: of each read */
	BC_DISK_A_BLOCK_SIZE,		/* u32: smallest unit of reads, 512 or 4096 */
	BC_DISK_A_FORCE,		/* u32: 1 = detach it though it is open; its reads fail */
	BC_DISK_A_STATE,		/* u32: enum bc_disk_state */
	BC_DISK_A_DEV,			/* u32 major << 20 | minor, as in stat's st_rdev */
	BC_DISK_A_ETAG,			/* string */
	BC_DISK_A_SIZE,			/* u64: of the object, in bytes */
	BC_DISK_A_OPENERS,		/* u32 */
	BC_DISK_A_RESIDENT,		/* u64: bytes of it on a tier */
	BC_DISK_A_PINNED,		/* u32: 0 or 1 */
	__BC_DISK_A_MAX
};
#define BC_DISK_A_MAX (__BC_DISK_A_MAX - 1)

/* A dirty object, as far as it is durable. */
enum bc_dirty_attribute {
	BC_DIRTY_A_UNSPEC,
	BC_DIRTY_A_PAD,
	BC_DIRTY_A_GENERATION,		/* binary 16 */
	BC_DIRTY_A_SOURCE,		/* string */
	BC_DIRTY_A_PATH,		/* string: name in the source, no leading '/' */
	BC_DIRTY_A_DEVICE,		/* string: of its tier */
	BC_DIRTY_A_STATE,		/* u32: enum bc_name_state */
	BC_DIRTY_A_STEP,		/* u64: of commits; 0 = nothing of it is durable yet */
	BC_DIRTY_A_SIZE,		/* u64: bytes */
	BC_DIRTY_A_MODE,		/* u32 */
	BC_DIRTY_A_MTIME,		/* s64: seconds since the epoch */
	BC_DIRTY_A_MTIME_NSEC,		/* u32 */
	BC_DIRTY_A_BASE,		/* u32: enum bc_name_base: what the store had */
	BC_DIRTY_A_WRITERS,		/* u32: open files that may write */
	BC_DIRTY_A_CUT,			/* u64: of the flush under way; absent = none is */
	BC_DIRTY_A_ACKED_SEQ,		/* u64: the last cut that the store has; absent = none */
	BC_DIRTY_A_ACKED_ETAG,		/* string: as what; absent = none */
	__BC_DIRTY_A_MAX
};
#define BC_DIRTY_A_MAX (__BC_DIRTY_A_MAX - 1)

#endif /* _UAPI_BLOBCACHE_NETLINK_H */
