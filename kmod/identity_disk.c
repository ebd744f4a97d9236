// SPDX-License-Identifier: GPL-2.0-only
/*
 * The form of an identity on a tier.
 */
#include "identity.h"

static void encode_lower(const struct bc_lower_attr *lower, struct bc_disk_identity *disk)
{
	disk->mode = cpu_to_le32(lower->mode);
	disk->uid = cpu_to_le32(lower->uid);
	disk->gid = cpu_to_le32(lower->gid);
	disk->lower_ino = cpu_to_le64(lower->ino);
	disk->lower_size = cpu_to_le64(lower->size);
	disk->mtime = cpu_to_le64(lower->mtime);
	disk->ctime = cpu_to_le64(lower->ctime);
	disk->mtime_nsec = cpu_to_le32(lower->mtime_nsec);
	disk->ctime_nsec = cpu_to_le32(lower->ctime_nsec);
}

/**
 * bc_identity_encode_time - of a time by the boot clock
 * @ns: boot clock
 * @now_ns: boot clock now
 * @now_seconds: seconds since the epoch, now
 *
 * Return: seconds since the epoch, as far as that can be.
 */
__le64 bc_identity_encode_time(s64 ns, s64 now_ns, s64 now_seconds)
{
	s64 age = now_ns > ns ? (s64)div_u64(now_ns - ns, NSEC_PER_SEC) : 0;

	return cpu_to_le64(now_seconds > age ? now_seconds - age : 0);
}

/**
 * bc_identity_decode_time - a time by the boot clock
 * @seconds: since the epoch, when it was
 * @now_ns: boot clock now
 * @now_seconds: since the epoch, now
 *
 * Return: boot clock, negative if it was before this boot; long ago if that is not certain.
 */
s64 bc_identity_decode_time(__le64 seconds, s64 now_ns, s64 now_seconds)
{
	u64 at = le64_to_cpu(seconds);
	s64 age = BC_IDENTITY_OLDEST_SECONDS;

	/* From the future: the clock was set, nobody knows how old it is. */
	if (now_seconds >= 0 && at <= (u64)now_seconds)
		age = min_t(s64, age, now_seconds - at);
	return now_ns - age * NSEC_PER_SEC;
}

/**
 * bc_identity_encode - into the form of a tier
 * @identity: to encode
 * @now_ns: boot clock
 * @now_seconds: seconds since the epoch
 * @disk: out
 */
void bc_identity_encode(const struct bc_identity *identity, s64 now_ns, s64 now_seconds,
			struct bc_disk_identity *disk)
{
	memset(disk, 0, sizeof(*disk));
	memcpy(disk->path_hash, identity->path.bytes, BC_KEY_SIZE);
	memcpy(disk->volume_id, identity->volume.bytes, BC_KEY_SIZE);
	memcpy(disk->key, identity->key.bytes, BC_KEY_SIZE);
	memcpy(disk->etag, identity->etag, identity->etag_length);
	disk->etag_length = identity->etag_length;
	disk->kind = identity->kind;
	/* Not that the lower was behind, either: it is not what it was. */
	disk->flags = cpu_to_le16(identity->flags & BC_IDENTITY_WRITTEN ? 0 : identity->flags);
	disk->size = cpu_to_le64(identity->size);
	disk->resolved_at = bc_identity_encode_time(identity->resolved_ns, now_ns, now_seconds);
	disk->last_modified = cpu_to_le64(identity->last_modified);
	encode_lower(&identity->lower, disk);
	/* What is saved of a file that was written is what was known before. */
	if (!identity->view ||
	    (identity->flags & BC_IDENTITY_WRITTEN && identity->kind != BC_IDENTITY_DIR))
		return;
	disk->view = cpu_to_le32(identity->view);
	disk->nonce = cpu_to_le32(identity->nonce);
	disk->seen_at = bc_identity_encode_time(identity->seen_ns, now_ns, now_seconds);
}

/* Of whose rights it is not known when they were shown, or of which incarnation, nothing is. */
static void decode_view(const struct bc_disk_identity *disk, s64 now_ns, s64 now_seconds,
			struct bc_identity *identity)
{
	if (!disk->seen_at || (disk->kind == BC_IDENTITY_DIR && !disk->nonce))
		return;
	identity->view = le32_to_cpu(disk->view);
	identity->nonce = le32_to_cpu(disk->nonce);
	identity->seen_ns = bc_identity_decode_time(disk->seen_at, now_ns, now_seconds);
}

static bool decode_lower(const struct bc_disk_identity *disk, struct bc_lower_attr *lower)
{
	lower->mode = le32_to_cpu(disk->mode);
	lower->uid = le32_to_cpu(disk->uid);
	lower->gid = le32_to_cpu(disk->gid);
	lower->ino = le64_to_cpu(disk->lower_ino);
	lower->size = le64_to_cpu(disk->lower_size);
	lower->mtime = le64_to_cpu(disk->mtime);
	lower->ctime = le64_to_cpu(disk->ctime);
	lower->mtime_nsec = le32_to_cpu(disk->mtime_nsec);
	lower->ctime_nsec = le32_to_cpu(disk->ctime_nsec);
	return lower->mtime_nsec < NSEC_PER_SEC && lower->ctime_nsec < NSEC_PER_SEC &&
	       lower->size <= S64_MAX;
}

/* An ETag of just its length, the rest zero. */
static bool decode_etag(const struct bc_disk_identity *disk, struct bc_identity *identity)
{
	u32 length = disk->etag_length;

	if (length > BC_ETAG_MAX || memchr_inv(disk->etag + length, 0, BC_ETAG_MAX - length))
		return false;
	memcpy(identity->etag, disk->etag, length);
	identity->etag_length = length;
	return strlen(identity->etag) == length;
}

/* Does the rest go with the kind? */
static bool kind_valid(const struct bc_identity *identity)
{
	u32 type = identity->lower.mode & S_IFMT;

	switch (identity->kind) {
	case BC_IDENTITY_FILE:
		return type == S_IFREG && identity->etag_length &&
		       memchr_inv(identity->key.bytes, 0, BC_KEY_SIZE);
	case BC_IDENTITY_DIR:
		return type == S_IFDIR && !identity->etag_length;
	default:
		return false;
	}
}

/**
 * bc_identity_decode - from the form of a tier
 * @disk: as read, its unit's checksum having been right
 * @now_ns: boot clock
 * @now_seconds: seconds since the epoch
 * @identity: out
 *
 * Return: false if it is free or makes no sense.
 */
bool bc_identity_decode(const struct bc_disk_identity *disk, s64 now_ns, s64 now_seconds,
			struct bc_identity *identity)
{
	memset(identity, 0, sizeof(*identity));
	memcpy(identity->path.bytes, disk->path_hash, BC_KEY_SIZE);
	memcpy(identity->volume.bytes, disk->volume_id, BC_KEY_SIZE);
	memcpy(identity->key.bytes, disk->key, BC_KEY_SIZE);
	identity->kind = disk->kind;
	identity->flags = le16_to_cpu(disk->flags);
	identity->size = le64_to_cpu(disk->size);
	identity->last_modified = le64_to_cpu(disk->last_modified);
	identity->resolved_ns = bc_identity_decode_time(disk->resolved_at, now_ns, now_seconds);
	decode_view(disk, now_ns, now_seconds, identity);
	return decode_lower(disk, &identity->lower) && decode_etag(disk, identity) &&
	       kind_valid(identity) && !(identity->flags & ~BC_IDENTITY_FLAGS) &&
	       identity->size <= S64_MAX &&
	       !memchr_inv(disk->reserved, 0, sizeof(disk->reserved));
}
