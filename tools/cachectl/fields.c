// SPDX-License-Identifier: GPL-2.0-or-later
/* Attributes of the netlink family to JSON. */
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "format.h"
#include "output.h"

enum field_type {
	FIELD_NONE,
	FIELD_U32,
	FIELD_U64,
	FIELD_STRING,
	FIELD_ID,	/* 16 bytes */
	FIELD_ENUM,
	FIELD_BOOL,
	FIELD_DEV,
};

struct field {
	const char *name;
	enum field_type type;
	const char *const *names;	/* FIELD_ENUM: ended by NULL */
};

static const char *const tier_states[] = { "live", "failed", "detached", "read-only", NULL };
static const char *const consistencies[] = { "strict", "close-to-open", "immutable", NULL };
static const char *const losses[] = { "lower", "wait", "fail", NULL };
static const char *const request_kinds[] = { "fetch", "resolve", NULL };
static const char *const request_states[] = { "new", "claimed", NULL };
static const char *const disk_states[] = { "attaching", "live", "stale", "leaving", NULL };
static const char *const name_states[] = { "writing", "ready", "committed", NULL };
static const char *const name_bases[] = { "none", "etag", "unknown", NULL };
static const char *const priorities[] = { "demand", "readahead", "prefetch", NULL };

static const struct field status_fields[BC_STATUS_A_MAX + 1] = {
	[BC_STATUS_A_MODULE_VERSION]	= { "module_version", FIELD_STRING, NULL },
	[BC_STATUS_A_DAEMON_PID]	= { "daemon_pid", FIELD_U32, NULL },
	[BC_STATUS_A_DAEMON_ANSWERS]	= { "daemon_answers", FIELD_BOOL, NULL },
	[BC_STATUS_A_DAEMON_EPOCH]	= { "daemon_epoch", FIELD_U64, NULL },
	[BC_STATUS_A_DAEMON_SINCE_MS]	= { "daemon_since_ms", FIELD_U64, NULL },
	[BC_STATUS_A_TIERS]		= { "tier_count", FIELD_U32, NULL },
	[BC_STATUS_A_MOUNTS]		= { "mount_count", FIELD_U32, NULL },
	[BC_STATUS_A_REQUESTS]		= { "request_count", FIELD_U32, NULL },
	[BC_STATUS_A_MEMORY]		= { "memory_bytes", FIELD_U64, NULL },
	[BC_STATUS_A_DISKS]		= { "disk_count", FIELD_U32, NULL },
};

static const struct field tier_fields[BC_TIER_A_MAX + 1] = {
	[BC_TIER_A_DEVICE]		= { "device", FIELD_STRING, NULL },
	[BC_TIER_A_UUID]		= { "uuid", FIELD_ID, NULL },
	[BC_TIER_A_STATE]		= { "state", FIELD_ENUM, tier_states },
	[BC_TIER_A_LABEL]		= { "label", FIELD_STRING, NULL },
	[BC_TIER_A_DEVICE_BYTES]	= { "device_bytes", FIELD_U64, NULL },
	[BC_TIER_A_TABLE_BYTES]		= { "table_bytes", FIELD_U64, NULL },
	[BC_TIER_A_FRAME_BYTES]		= { "frame_bytes", FIELD_U64, NULL },
	[BC_TIER_A_USED_BYTES]		= { "used_bytes", FIELD_U64, NULL },
	[BC_TIER_A_FREE_BYTES]		= { "free_bytes", FIELD_U64, NULL },
	[BC_TIER_A_PINNED_BYTES]	= { "pinned_bytes", FIELD_U64, NULL },
	[BC_TIER_A_CHUNKS]		= { "chunks", FIELD_U64, NULL },
	[BC_TIER_A_CHUNKS_MAX]		= { "chunks_max", FIELD_U64, NULL },
	[BC_TIER_A_MEMORY]		= { "memory_bytes", FIELD_U64, NULL },
	[BC_TIER_A_WAS_CLEAN]		= { "was_clean", FIELD_BOOL, NULL },
};

static const struct field mount_fields[BC_MOUNT_A_MAX + 1] = {
	[BC_MOUNT_A_DEV]		= { "dev", FIELD_DEV, NULL },
	[BC_MOUNT_A_SOURCE]		= { "source", FIELD_STRING, NULL },
	[BC_MOUNT_A_PREFIX]		= { "prefix", FIELD_STRING, NULL },
	[BC_MOUNT_A_LOWER_TYPE]		= { "lower_type", FIELD_STRING, NULL },
	[BC_MOUNT_A_VOLUME_ID]		= { "volume_id", FIELD_ID, NULL },
	[BC_MOUNT_A_CONSISTENCY]	= { "consistency", FIELD_ENUM, consistencies },
	[BC_MOUNT_A_ON_DAEMON_LOSS]	= { "on_daemon_loss", FIELD_ENUM, losses },
	[BC_MOUNT_A_TTL_MS]		= { "ttl_ms", FIELD_U64, NULL },
	[BC_MOUNT_A_STALE_MS]		= { "stale_ms", FIELD_U64, NULL },
	[BC_MOUNT_A_LOWER_EXACT]	= { "lower_exact", FIELD_BOOL, NULL },
	[BC_MOUNT_A_READ_ONLY]		= { "read_only", FIELD_BOOL, NULL },
	[BC_MOUNT_A_LOWER_SUSPECT]	= { "lower_suspect", FIELD_BOOL, NULL },
	[BC_MOUNT_A_STALE_OPENS]	= { "stale_opens", FIELD_U64, NULL },
	[BC_MOUNT_A_OPEN_FILES]		= { "open_files", FIELD_U64, NULL },
	[BC_MOUNT_A_LOWER_STUCK]	= { "lower_stuck", FIELD_U32, NULL },
};

static const struct field request_fields[BC_REQUEST_A_MAX + 1] = {
	[BC_REQUEST_A_ID]		= { "id", FIELD_U64, NULL },
	[BC_REQUEST_A_KIND]		= { "kind", FIELD_ENUM, request_kinds },
	[BC_REQUEST_A_STATE]		= { "state", FIELD_ENUM, request_states },
	[BC_REQUEST_A_PRIORITY]		= { "priority", FIELD_ENUM, priorities },
	[BC_REQUEST_A_SOURCE]		= { "source", FIELD_STRING, NULL },
	[BC_REQUEST_A_PATH]		= { "path", FIELD_STRING, NULL },
	[BC_REQUEST_A_OFFSET]		= { "offset", FIELD_U64, NULL },
	[BC_REQUEST_A_LENGTH]		= { "length", FIELD_U64, NULL },
	[BC_REQUEST_A_ETAG]		= { "etag", FIELD_STRING, NULL },
	[BC_REQUEST_A_SIZE]		= { "size", FIELD_U64, NULL },
	[BC_REQUEST_A_LAST_MODIFIED]	= { "last_modified", FIELD_U64, NULL },
	[BC_REQUEST_A_STATUS]		= { "status", FIELD_U32, NULL },
	[BC_REQUEST_A_AGE_MS]		= { "age_ms", FIELD_U64, NULL },
};

static const struct field residency_fields[BC_RESIDENCY_A_MAX + 1] = {
	[BC_RESIDENCY_A_SIZE]		= { "size", FIELD_U64, NULL },
	[BC_RESIDENCY_A_RESIDENT]	= { "resident_bytes", FIELD_U64, NULL },
	[BC_RESIDENCY_A_PENDING]	= { "pending_bytes", FIELD_U64, NULL },
	[BC_RESIDENCY_A_ETAG]		= { "etag", FIELD_STRING, NULL },
	[BC_RESIDENCY_A_PINNED]		= { "pinned", FIELD_BOOL, NULL },
};

static const struct field pin_fields[BC_PIN_A_MAX + 1] = {
	[BC_PIN_A_KEY]			= { "key", FIELD_ID, NULL },
	[BC_PIN_A_SOURCE]		= { "source", FIELD_STRING, NULL },
	[BC_PIN_A_PATH]			= { "path", FIELD_STRING, NULL },
	[BC_PIN_A_SIZE]			= { "size", FIELD_U64, NULL },
	[BC_PIN_A_RESIDENT]		= { "resident_bytes", FIELD_U64, NULL },
};

static const struct field disk_fields[BC_DISK_A_MAX + 1] = {
	[BC_DISK_A_NAME]		= { "name", FIELD_STRING, NULL },
	[BC_DISK_A_SOURCE]		= { "source", FIELD_STRING, NULL },
	[BC_DISK_A_DOMAIN]		= { "domain", FIELD_STRING, NULL },
	[BC_DISK_A_PATH]		= { "path", FIELD_STRING, NULL },
	[BC_DISK_A_ON_DAEMON_LOSS]	= { "on_daemon_loss", FIELD_ENUM, losses },
	[BC_DISK_A_DEADLINE_MS]		= { "deadline_ms", FIELD_U64, NULL },
	[BC_DISK_A_BLOCK_SIZE]		= { "block_size", FIELD_U32, NULL },
	[BC_DISK_A_STATE]		= { "state", FIELD_ENUM, disk_states },
	[BC_DISK_A_DEV]			= { "dev", FIELD_DEV, NULL },
	[BC_DISK_A_ETAG]		= { "etag", FIELD_STRING, NULL },
	[BC_DISK_A_SIZE]		= { "size", FIELD_U64, NULL },
	[BC_DISK_A_OPENERS]		= { "openers", FIELD_U32, NULL },
	[BC_DISK_A_RESIDENT]		= { "resident_bytes", FIELD_U64, NULL },
	[BC_DISK_A_PINNED]		= { "pinned", FIELD_BOOL, NULL },
};

static const struct field dirty_fields[BC_DIRTY_A_MAX + 1] = {
	[BC_DIRTY_A_GENERATION]		= { "generation", FIELD_ID, NULL },
	[BC_DIRTY_A_SOURCE]		= { "source", FIELD_STRING, NULL },
	[BC_DIRTY_A_PATH]		= { "path", FIELD_STRING, NULL },
	[BC_DIRTY_A_DEVICE]		= { "device", FIELD_STRING, NULL },
	[BC_DIRTY_A_STATE]		= { "state", FIELD_ENUM, name_states },
	[BC_DIRTY_A_STEP]		= { "step", FIELD_U64, NULL },
	[BC_DIRTY_A_SIZE]		= { "size", FIELD_U64, NULL },
	[BC_DIRTY_A_MODE]		= { "mode", FIELD_U32, NULL },
	[BC_DIRTY_A_MTIME]		= { "mtime", FIELD_U64, NULL },
	[BC_DIRTY_A_MTIME_NSEC]		= { "mtime_nsec", FIELD_U32, NULL },
	[BC_DIRTY_A_BASE]		= { "base", FIELD_ENUM, name_bases },
	[BC_DIRTY_A_WRITERS]		= { "writers", FIELD_U32, NULL },
	[BC_DIRTY_A_CUT]		= { "cut", FIELD_U64, NULL },
	[BC_DIRTY_A_ACKED_SEQ]		= { "acked_cut", FIELD_U64, NULL },
	[BC_DIRTY_A_ACKED_ETAG]		= { "acked_etag", FIELD_STRING, NULL },
};

#define READS	"reads"
#define STORE	"store (through the daemon)"
#define LOWER	"lower mounts"
#define TIERS	"tiers"
#define FAULTS	"integrity"

const struct stat_field stat_fields[BC_STAT_MAX + 1] = {
	[BC_STAT_HIT_READS]	= { "hit_reads", READS, "hits", STAT_COUNT },
	[BC_STAT_HIT_BYTES]	= { "hit_bytes", READS, "bytes hit", STAT_BYTES },
	[BC_STAT_MISS_READS]	= { "miss_reads", READS, "misses", STAT_COUNT },
	[BC_STAT_MISS_BYTES]	= { "miss_bytes", READS, "bytes missed", STAT_BYTES },
	[BC_STAT_JOINED_READS]	= { "joined_reads", READS, "joined a fill in flight", STAT_COUNT },
	[BC_STAT_STALE_READS]	= { "stale_reads", READS, "failed: version gone (ESTALE)",
				    STAT_COUNT },
	[BC_STAT_READ_ERRORS]	= { "read_errors", READS, "failed otherwise", STAT_COUNT },
	[BC_STAT_FETCH_REQUESTS] = { "fetch_requests", STORE, "fetches", STAT_COUNT },
	[BC_STAT_FETCH_BYTES]	= { "fetch_bytes", STORE, "bytes fetched", STAT_BYTES },
	[BC_STAT_FETCH_FAILED]	= { "fetch_failed", STORE, "fetches failed", STAT_COUNT },
	[BC_STAT_FETCH_TIMEOUT]	= { "fetch_timeout", STORE, "fetches timed out", STAT_COUNT },
	[BC_STAT_FETCH_REQUEUED] = { "fetch_requeued", STORE, "requeued: lease or daemon lost",
				     STAT_COUNT },
	[BC_STAT_PREFETCH_REQUESTS] = { "prefetch_requests", STORE, "prefetches", STAT_COUNT },
	[BC_STAT_PREFETCH_DROPPED] = { "prefetch_dropped", STORE, "prefetches dropped",
				       STAT_COUNT },
	[BC_STAT_FETCH_COALESCED] = { "fetch_coalesced", STORE, "came with the one before",
				      STAT_COUNT },
	[BC_STAT_FETCH_CANCELLED] = { "fetch_cancelled", STORE, "cancelled: nobody waited",
				      STAT_COUNT },
	[BC_STAT_PARTIAL_FILLS]	= { "partial_fills", STORE, "chunks fetched in part", STAT_COUNT },
	[BC_STAT_RESOLVES]	= { "resolves", STORE, "versions asked for", STAT_COUNT },
	[BC_STAT_RESOLVE_TIMEOUT] = { "resolve_timeout", STORE, "of these timed out",
				      STAT_COUNT },
	[BC_STAT_LOWER_READS]	= { "lower_reads", LOWER, "fills", STAT_COUNT },
	[BC_STAT_LOWER_BYTES]	= { "lower_bytes", LOWER, "bytes filled", STAT_BYTES },
	[BC_STAT_LOWER_FAILED]	= { "lower_failed", LOWER, "fills failed", STAT_COUNT },
	[BC_STAT_TIER_WRITES]	= { "tier_writes", TIERS, "chunks written", STAT_COUNT },
	[BC_STAT_TIER_WRITE_BYTES] = { "tier_write_bytes", TIERS, "bytes written", STAT_BYTES },
	[BC_STAT_EVICTED_CHUNKS] = { "evicted_chunks", TIERS, "chunks evicted", STAT_COUNT },
	[BC_STAT_EVICTED_BYTES]	= { "evicted_bytes", TIERS, "bytes evicted", STAT_BYTES },
	[BC_STAT_NO_SPACE]	= { "no_space", TIERS, "fills not kept: full", STAT_COUNT },
	[BC_STAT_NOT_ADMITTED]	= { "not_admitted", TIERS, "fills not kept: others worth more",
				    STAT_COUNT },
	[BC_STAT_TIER_READ_ERRORS] = { "tier_read_errors", TIERS, "read errors", STAT_COUNT },
	[BC_STAT_TIER_WRITE_ERRORS] = { "tier_write_errors", TIERS, "write errors", STAT_COUNT },
	[BC_STAT_BLOCKS_VERIFIED] = { "blocks_verified", FAULTS, "blocks verified", STAT_COUNT },
	[BC_STAT_CRC_ERRORS]	= { "crc_errors", FAULTS, "blocks dropped: bad checksum",
				    STAT_COUNT },
	[BC_STAT_UNIT_ERRORS]	= { "unit_errors", FAULTS, "table units dropped: bad checksum",
				    STAT_COUNT },
};

_Static_assert(BC_STAT_MAX == BC_STAT_FETCH_COALESCED, "a new counter wants a line in stat_fields");

/* The widest nest. */
#define FIELDS_MAX 64

_Static_assert(BC_STAT_MAX < FIELDS_MAX, "FIELDS_MAX");

static const struct field *fields_of(enum bc_attr kind, int *max)
{
#define TABLE(table) (*max = (int)(sizeof(table) / sizeof((table)[0])) - 1, (table))
	switch (kind) {
	case BC_A_STATUS:
		return TABLE(status_fields);
	case BC_A_TIER:
		return TABLE(tier_fields);
	case BC_A_MOUNT:
		return TABLE(mount_fields);
	case BC_A_REQUEST:
		return TABLE(request_fields);
	case BC_A_RESIDENCY:
		return TABLE(residency_fields);
	case BC_A_PIN:
		return TABLE(pin_fields);
	case BC_A_DISK:
		return TABLE(disk_fields);
	case BC_A_DIRTY:
		return TABLE(dirty_fields);
	default:
		return NULL;
	}
#undef TABLE
}

static json_t *decode_enum(uint32_t value, const char *const *names)
{
	uint32_t i;

	for (i = 0; names[i]; i++)
		if (i == value)
			return json_string(names[i]);
	return json_sprintf("unknown-%u", value);
}

static json_t *decode_u32(const struct field *field, const struct nlattr *attr)
{
	uint32_t value;

	if (nla_len(attr) != sizeof(value))
		return NULL;
	memcpy(&value, nla_data(attr), sizeof(value));
	switch (field->type) {
	case FIELD_ENUM:
		return decode_enum(value, field->names);
	case FIELD_BOOL:
		return json_boolean(value);
	case FIELD_DEV:
		return json_sprintf("%u:%u", value >> 20, value & 0xfffff);
	default:
		return json_integer(value);
	}
}

static json_t *decode_u64(const struct nlattr *attr)
{
	uint64_t value;

	if (nla_len(attr) != sizeof(value))
		return NULL;
	memcpy(&value, nla_data(attr), sizeof(value));
	/* Beyond what JSON readers take; the kernel means "for ever". */
	return value > INT64_MAX ? json_null() : json_integer((json_int_t)value);
}

static json_t *decode_id(const struct nlattr *attr)
{
	char text[FMT_UUID_SIZE];

	if (nla_len(attr) != 16)
		return NULL;
	return json_string(fmt_uuid(text, nla_data(attr)));
}

static json_t *decode(const struct field *field, const struct nlattr *attr)
{
	switch (field->type) {
	case FIELD_U64:
		return decode_u64(attr);
	case FIELD_STRING:
		return out_text(nla_data(attr), strnlen(nla_data(attr), (size_t)nla_len(attr)));
	case FIELD_ID:
		return decode_id(attr);
	case FIELD_NONE:
		return NULL;
	default:
		return decode_u32(field, attr);
	}
}

static json_t *decode_stats(struct nlattr *nest)
{
	struct nlattr *tb[BC_STAT_MAX + 1];
	json_t *object = json_object();
	int i;

	if (nla_parse_nested(tb, BC_STAT_MAX, nest, NULL))
		return object;
	for (i = 0; i <= BC_STAT_MAX; i++)
		if (tb[i] && stat_fields[i].name)
			json_object_set_new(object, stat_fields[i].name, decode_u64(tb[i]));
	return object;
}

json_t *fields_decode(enum bc_attr kind, struct nlattr *nest)
{
	struct nlattr *tb[FIELDS_MAX];
	const struct field *fields;
	json_t *object;
	int max, i;

	if (kind == BC_A_STATS)
		return decode_stats(nest);
	object = json_object();
	fields = fields_of(kind, &max);
	if (!fields || nla_parse_nested(tb, max, nest, NULL))
		return object;
	for (i = 0; i <= max; i++)
		if (tb[i] && fields[i].name)
			json_object_set_new(object, fields[i].name, decode(&fields[i], tb[i]));
	return object;
}
