// SPDX-License-Identifier: GPL-2.0-or-later
/* A tier on a device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "record.h"

#include "format.h"
#include "output.h"
#include "tierfmt.h"

/* As kmod/index.h, and frame.h, evict.h, pending.h, promise them; units that kmod/units.h keeps. */
#define INDEX_ENTRY_BYTES	38
#define FRAME_BYTES		10
#define KEPT_UNITS		256

const uint32_t tier_index_ratio_max = BC_LAYOUT_MAX_INDEX_RATIO;
const uint32_t tier_identities_max = BC_LAYOUT_MAX_IDENTITIES;

static int layout_of(uint64_t device_bytes, const struct tier_options *options,
		     struct bc_layout *layout)
{
	struct bc_layout_options choice = {
		.index_ratio = options->index_ratio,
		.dirty_percent = options->dirty_percent,
		.identities_per_frame = options->identities_per_frame,
	};

	return bc_layout_compute(device_bytes, &choice, layout);
}

static void info_layout(struct tier_info *info, const struct bc_layout *layout)
{
	info->device_bytes = layout->device_bytes;
	info->table_bytes = layout->frames_offset;
	info->frame_bytes = layout->frame_count * BC_FRAME_SIZE;
	info->chunks_max = layout->frame_count * layout->index_ratio;
	info->memory_bytes = info->chunks_max * INDEX_ENTRY_BYTES +
		layout->frame_count * FRAME_BYTES +
		min_t(u64, layout->clean_units, KEPT_UNITS) * BC_UNIT_SIZE;
}

static void info_super(struct tier_info *info, const struct bc_super *super)
{
	memset(info, 0, sizeof(*info));
	info_layout(info, &super->layout);
	info->attach_count = super->attach_count;
	info->formatted_at = super->formatted_at;
	info->incompat = super->incompat;
	info->clean = super->state & BC_SUPER_CLEAN;
	memcpy(info->uuid, super->uuid, BC_UUID_SIZE);
	memcpy(info->node_id, super->node_id, BC_UUID_SIZE);
	memcpy(info->set_id, super->set_id, BC_UUID_SIZE);
	memcpy(info->label, super->label, TIER_LABEL_MAX);
}

int tier_plan(uint64_t device_bytes, const struct tier_options *options, struct tier_info *info)
{
	struct bc_layout layout;
	int rc = layout_of(device_bytes, options, &layout);

	if (rc)
		return rc;
	memset(info, 0, sizeof(*info));
	info_layout(info, &layout);
	return 0;
}

uint64_t tier_minimum(const struct tier_options *options)
{
	uint64_t low = 0, high = 1ULL << 40, middle;
	struct bc_layout layout;

	if (layout_of(high, options, &layout))
		return 0;
	while (high - low > BC_UNIT_SIZE) {
		middle = low + (high - low) / 2 / BC_UNIT_SIZE * BC_UNIT_SIZE;
		if (layout_of(middle, options, &layout))
			low = middle;
		else
			high = middle;
	}
	return high;
}

static int write_all(int fd, const void *data, size_t length, uint64_t offset)
{
	const char *at = data;
	ssize_t n;

	while (length) {
		n = pwrite(fd, at, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		at += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int read_all(int fd, void *data, size_t length, uint64_t offset)
{
	char *at = data;
	ssize_t n;

	while (length) {
		n = pread(fd, at, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EFBIG;
		at += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int flush(int fd)
{
	return fsync(fd) ? -errno : 0;
}

/*
 * The units of an older tier are void anyway, by its uuid. Zeroing the first of
 * each table is for the eyes of whoever looks at the device.
 */
static int void_tables(int fd, const struct bc_layout *layout)
{
	static const uint8_t zero[BC_DISK_SUPER_COPIES * BC_UNIT_SIZE];
	const uint64_t at[] = { 0, layout->dirty_offset, layout->clean_offset,
				layout->identity_offset };
	size_t i;
	int rc;

	_Static_assert(BC_DIRTY_COPIES == BC_DISK_SUPER_COPIES, "one buffer for both");
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		rc = write_all(fd, zero, i < 2 ? sizeof(zero) : BC_UNIT_SIZE, at[i]);
		if (rc)
			return rc;
	}
	return flush(fd);
}

static int write_super(int fd, struct bc_super *super, uint64_t generation)
{
	struct bc_disk_super *disk = calloc(1, sizeof(*disk));
	int rc;

	if (!disk)
		return -ENOMEM;
	super->generation = generation;
	bc_super_encode(super, disk);
	rc = write_all(fd, disk, sizeof(*disk), (generation & 1) * BC_UNIT_SIZE);
	free(disk);
	return rc;
}

static int random_uuid(uint8_t uuid[BC_UUID_SIZE])
{
	if (getrandom(uuid, BC_UUID_SIZE, 0) != BC_UUID_SIZE)
		return -EIO;
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	return 0;
}

int tier_write(int fd, uint64_t device_bytes, const struct tier_options *options,
	       struct tier_info *info)
{
	struct bc_super super = { .state = BC_SUPER_CLEAN, .formatted_at = (uint64_t)time(NULL) };
	uint64_t generation;
	int rc;

	rc = layout_of(device_bytes, options, &super.layout);
	if (!rc)
		rc = random_uuid(super.uuid);
	if (rc)
		return rc;
	memcpy(super.node_id, options->node_id, BC_UUID_SIZE);
	memcpy(super.set_id, options->set_id, BC_UUID_SIZE);
	memcpy(super.label, options->label, TIER_LABEL_MAX);
	rc = void_tables(fd, &super.layout);
	for (generation = 1; !rc && generation <= BC_DISK_SUPER_COPIES; generation++)
		rc = write_super(fd, &super, generation);
	if (!rc)
		rc = flush(fd);
	if (!rc)
		info_super(info, &super);
	return rc;
}

int tier_read(int fd, uint64_t device_bytes, struct tier_info *info, const char **why)
{
	struct bc_disk_super *copies = calloc(BC_DISK_SUPER_COPIES, sizeof(*copies));
	struct bc_super super;
	int rc;

	*why = "";
	if (!copies)
		return -ENOMEM;
	if (device_bytes < BC_DISK_SUPER_COPIES * sizeof(*copies))
		rc = -ENODATA;
	else
		rc = read_all(fd, copies, BC_DISK_SUPER_COPIES * sizeof(*copies), 0);
	if (!rc)
		rc = bc_super_choose(copies, device_bytes, &super, why);
	free(copies);
	if (!*why)
		*why = "";
	if (rc < 0)
		return rc;
	info_super(info, &super);
	return 0;
}

static void set_id(json_t *object, const char *key, const uint8_t id[16])
{
	char text[FMT_UUID_SIZE];

	json_object_set_new(object, key, json_string(fmt_uuid(text, id)));
}

static void set_num(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

json_t *tier_json(const struct tier_info *info)
{
	json_t *object = json_object();

	json_object_set_new(object, "label", out_text(info->label, strlen(info->label)));
	set_id(object, "uuid", info->uuid);
	set_id(object, "node_id", info->node_id);
	set_id(object, "set_id", info->set_id);
	set_num(object, "device_bytes", info->device_bytes);
	set_num(object, "table_bytes", info->table_bytes);
	set_num(object, "frame_bytes", info->frame_bytes);
	set_num(object, "chunks_max", info->chunks_max);
	set_num(object, "memory_bytes", info->memory_bytes);
	set_num(object, "attach_count", info->attach_count);
	set_num(object, "formatted_at", info->formatted_at);
	json_object_set_new(object, "was_clean", json_boolean(info->clean));
	return object;
}
