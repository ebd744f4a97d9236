// SPDX-License-Identifier: GPL-2.0-only
/*
 * Codec of name blocks, see name.h. Nothing of what is decoded is trusted: a checksum tells damage
 * from data, and not who wrote it.
 */
#include "key.h"
#include "name.h"

#define NO_CHAIN	U64_MAX

bool bc_dirty_name_path_valid(const char *path, u32 length)
{
	u32 i, start = 0;

	if (!length || length > BC_NAME_PATH_MAX)
		return false;
	for (i = 0; i <= length; i++) {
		if (i < length && !path[i])
			return false;
		if (i < length && path[i] != '/')
			continue;
		if (i == start || (i - start <= 2 && !memcmp(path + start, "..", i - start)))
			return false;
		start = i + 1;
	}
	return true;
}

static u8 *put_string(u8 *at, const char *string, u32 length)
{
	if (length)
		memcpy(at, string, length);
	return at + length;
}

static void encode_strings(const struct bc_dirty_name *name, struct bc_disk_name *disk)
{
	u8 *at = (u8 *)(disk + 1);

	disk->source_length = cpu_to_le16(name->source_length);
	disk->domain_length = cpu_to_le16(name->domain_length);
	disk->path_length = cpu_to_le16(name->path_length);
	disk->other_length = cpu_to_le16(name->other_length);
	at = put_string(at, name->source, name->source_length);
	at = put_string(at, name->domain, name->domain_length);
	at = put_string(at, name->path, name->path_length);
	at = put_string(at, name->other, name->other_length);
	disk->length = cpu_to_le32(at - (u8 *)disk);
}

static void encode_store(const struct bc_dirty_name *name, struct bc_disk_name *disk)
{
	disk->base = name->base;
	disk->base_etag_length = name->base_etag_length;
	disk->acked_etag_length = name->acked_etag_length;
	memcpy(disk->base_etag, name->base_etag, name->base_etag_length);
	memcpy(disk->acked_etag, name->acked_etag, name->acked_etag_length);
	memcpy(disk->base_key, name->base_key.bytes, BC_KEY_SIZE);
	disk->base_size = cpu_to_le64(name->base_size);
	disk->acked_seq = cpu_to_le64(name->acked_seq);
	disk->acked_size = cpu_to_le64(name->acked_size);
	disk->acked_last_modified = cpu_to_le64(name->acked_last_modified);
}

u32 bc_dirty_name_encode(const struct bc_dirty_name *name, void *buffer)
{
	struct bc_disk_name *disk = buffer;

	memset(buffer, 0, BC_NAME_BYTES_MAX);
	disk->magic = cpu_to_le32(BC_NAME_MAGIC);
	memcpy(disk->uuid, name->uuid, BC_UUID_SIZE);
	memcpy(disk->generation, name->generation.bytes, BC_KEY_SIZE);
	memcpy(disk->volume_id, name->volume.bytes, BC_KEY_SIZE);
	memcpy(disk->node_id, name->node_id, BC_UUID_SIZE);
	disk->seq = cpu_to_le64(name->seq);
	disk->step = cpu_to_le64(name->step);
	disk->size = cpu_to_le64(name->size);
	disk->mtime = cpu_to_le64(name->mtime);
	disk->ctime = cpu_to_le64(name->ctime);
	disk->mtime_nsec = cpu_to_le32(name->mtime_nsec);
	disk->ctime_nsec = cpu_to_le32(name->ctime_nsec);
	disk->mode = cpu_to_le32(name->mode);
	disk->uid = cpu_to_le32(name->uid);
	disk->gid = cpu_to_le32(name->gid);
	disk->state = name->state;
	disk->cut_size = cpu_to_le64(name->cut_size);
	disk->cut_seq = cpu_to_le64(name->cut_seq);
	disk->chain_frame = cpu_to_le64(NO_CHAIN);
	memcpy(disk->replaces, name->replaces.bytes, BC_KEY_SIZE);
	encode_store(name, disk);
	encode_strings(name, disk);
	return le32_to_cpu(disk->length);
}

static void decode_strings(const struct bc_disk_name *disk, struct bc_dirty_name *name)
{
	const char *at = (const char *)(disk + 1);

	name->source_length = le16_to_cpu(disk->source_length);
	name->domain_length = le16_to_cpu(disk->domain_length);
	name->path_length = le16_to_cpu(disk->path_length);
	name->other_length = le16_to_cpu(disk->other_length);
	name->source = at;
	name->domain = at + name->source_length;
	name->path = name->domain + name->domain_length;
	name->other = name->path + name->path_length;
}

static bool strings_fit(const struct bc_dirty_name *name, u32 length)
{
	return name->source_length <= BC_NAME_SOURCE_MAX &&
	       name->domain_length <= BC_NAME_DOMAIN_MAX &&
	       name->path_length <= BC_NAME_PATH_MAX && name->other_length <= BC_NAME_PATH_MAX &&
	       sizeof(struct bc_disk_name) + name->source_length + name->domain_length +
	       name->path_length + name->other_length == length;
}

/* The volume is that of source and domain: one who names another would reach another's objects. */
static bool strings_valid(const struct bc_dirty_name *name)
{
	struct bc_key volume;

	if (!name->source_length || memchr(name->source, 0, name->source_length) ||
	    (name->domain_length && memchr(name->domain, 0, name->domain_length)))
		return false;
	bc_key_volume_of(name->source, name->source_length, name->domain, name->domain_length,
			 &volume);
	return bc_key_equal(&volume, &name->volume) &&
	       bc_dirty_name_path_valid(name->path, name->path_length) &&
	       (!name->other_length || bc_dirty_name_path_valid(name->other, name->other_length)) &&
	       (name->kind != BC_KIND_RENAME || name->other_length);
}

static bool etag_valid(const u8 etag[BC_ETAG_MAX], u32 length)
{
	return length <= BC_ETAG_MAX && !memchr(etag, 0, length) &&
	       (length == BC_ETAG_MAX || !memchr_inv(etag + length, 0, BC_ETAG_MAX - length));
}

static bool head_valid(const struct bc_disk_name *disk, u32 length)
{
	if (le32_to_cpu(disk->magic) != BC_NAME_MAGIC || le32_to_cpu(disk->length) != length ||
	    disk->flags || memchr_inv(disk->reserved, 0, sizeof(disk->reserved)) ||
	    memchr_inv(disk->reserved_chain, 0, sizeof(disk->reserved_chain)))
		return false;
	/* What goes on elsewhere is not written by this version. */
	if (le64_to_cpu(disk->chain_frame) != NO_CHAIN || disk->chain_slot)
		return false;
	if (disk->state > BC_NAME_COMMITTED || disk->base > BC_BASE_UNKNOWN ||
	    !etag_valid(disk->base_etag, disk->base_etag_length) ||
	    !etag_valid(disk->acked_etag, disk->acked_etag_length))
		return false;
	return (disk->base == BC_BASE_ETAG) == !!disk->base_etag_length &&
	       (disk->state != BC_NAME_COMMITTED || disk->acked_etag_length);
}

static bool numbers_valid(const struct bc_dirty_name *name)
{
	return name->size <= BC_NAME_SIZE_MAX && name->cut_size <= BC_NAME_SIZE_MAX &&
	       name->base_size <= BC_NAME_SIZE_MAX && name->acked_size <= BC_NAME_SIZE_MAX &&
	       name->mtime_nsec < NSEC_PER_SEC && name->ctime_nsec < NSEC_PER_SEC &&
	       name->cut_seq <= name->seq && name->acked_seq <= name->seq && name->seq &&
	       (name->kind != BC_KIND_NAME || S_ISREG(name->mode));
}

static void decode_store(const struct bc_disk_name *disk, struct bc_dirty_name *name)
{
	name->base = disk->base;
	name->base_etag_length = disk->base_etag_length;
	name->acked_etag_length = disk->acked_etag_length;
	memcpy(name->base_etag, disk->base_etag, BC_ETAG_MAX);
	memcpy(name->acked_etag, disk->acked_etag, BC_ETAG_MAX);
	memcpy(name->base_key.bytes, disk->base_key, BC_KEY_SIZE);
	name->base_size = le64_to_cpu(disk->base_size);
	name->acked_seq = le64_to_cpu(disk->acked_seq);
	name->acked_size = le64_to_cpu(disk->acked_size);
	name->acked_last_modified = le64_to_cpu(disk->acked_last_modified);
}

int bc_dirty_name_decode(const void *buffer, u32 length, u8 kind, struct bc_dirty_name *name)
{
	const struct bc_disk_name *disk = buffer;

	if (length < sizeof(*disk) || length > BC_NAME_BYTES_MAX || !head_valid(disk, length))
		return -EINVAL;
	memset(name, 0, sizeof(*name));
	name->kind = kind;
	memcpy(name->uuid, disk->uuid, BC_UUID_SIZE);
	memcpy(name->generation.bytes, disk->generation, BC_KEY_SIZE);
	memcpy(name->volume.bytes, disk->volume_id, BC_KEY_SIZE);
	memcpy(name->node_id, disk->node_id, BC_UUID_SIZE);
	name->seq = le64_to_cpu(disk->seq);
	name->step = le64_to_cpu(disk->step);
	name->size = le64_to_cpu(disk->size);
	name->mtime = le64_to_cpu(disk->mtime);
	name->ctime = le64_to_cpu(disk->ctime);
	name->mtime_nsec = le32_to_cpu(disk->mtime_nsec);
	name->ctime_nsec = le32_to_cpu(disk->ctime_nsec);
	name->mode = le32_to_cpu(disk->mode);
	name->uid = le32_to_cpu(disk->uid);
	name->gid = le32_to_cpu(disk->gid);
	name->state = disk->state;
	name->cut_size = le64_to_cpu(disk->cut_size);
	name->cut_seq = le64_to_cpu(disk->cut_seq);
	memcpy(name->replaces.bytes, disk->replaces, BC_KEY_SIZE);
	decode_store(disk, name);
	decode_strings(disk, name);
	if (!strings_fit(name, length) || !numbers_valid(name) || !strings_valid(name))
		return -EINVAL;
	return 0;
}
