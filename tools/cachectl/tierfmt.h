/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tier on a device: planning, writing, reading its superblock. Layout and
 * encoding are those of kmod/record.c, compiled in unchanged.
 */
#ifndef CACHECTL_TIERFMT_H
#define CACHECTL_TIERFMT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define TIER_LABEL_MAX	64

/* Most that the options may be; the least is 1. */
extern const uint32_t tier_index_ratio_max, tier_identities_max;

/**
 * struct tier_options - what the user may choose
 * @index_ratio: index entries per frame, 0 = default
 * @dirty_percent: of the frames, 0 = default
 * @identities_per_frame: 0 = default
 * @node_id: of this node
 * @set_id: shared by the tiers of this node
 * @label: for people
 */
struct tier_options {
	uint32_t index_ratio, dirty_percent, identities_per_frame;
	uint8_t node_id[16], set_id[16];
	char label[TIER_LABEL_MAX + 1];
};

/**
 * struct tier_info - a tier as planned or found
 * @device_bytes: size it was made for
 * @table_bytes: everything before the frames
 * @frame_bytes: room for chunks
 * @chunks_max: index entries
 * @memory_bytes: what the kernel will need for it, about
 * @attach_count: how often it was attached
 * @formatted_at: seconds since the epoch
 * @incompat: feature word
 * @clean: the last detach was orderly
 * @uuid: of the tier
 * @node_id: of the node that owns it
 * @set_id: of its set
 * @label: for people
 */
struct tier_info {
	uint64_t device_bytes, table_bytes, frame_bytes, chunks_max, memory_bytes;
	uint64_t attach_count, formatted_at;
	uint32_t incompat;
	bool clean;
	uint8_t uuid[16], node_id[16], set_id[16];
	char label[TIER_LABEL_MAX + 1];
};

/**
 * tier_plan - what formatting a device would make
 * @device_bytes: its size
 * @options: choices
 * @info: out
 * Return: 0, -ENOSPC if the device is too small, -EINVAL for bad options
 */
int tier_plan(uint64_t device_bytes, const struct tier_options *options, struct tier_info *info);

/**
 * tier_minimum - the smallest device these options fit on
 * @options: choices
 * Return: bytes, 0 if there is none
 */
uint64_t tier_minimum(const struct tier_options *options);

/**
 * tier_write - make a device a tier
 * @fd: open for writing
 * @device_bytes: its size
 * @options: choices
 * @info: out: what was made
 *
 * Voids the tables and both superblock copies, flushes, then writes the copies and flushes
 * again: a crash in between leaves either no tier or a whole one.
 * Return: 0 or a negative errno
 */
int tier_write(int fd, uint64_t device_bytes, const struct tier_options *options,
	       struct tier_info *info);

/**
 * tier_read - read a tier's superblock
 * @fd: open for reading
 * @device_bytes: size of the device
 * @info: out
 * @why: out on error: what is wrong, a static string
 * Return: 0, -ENODATA if this is no tier, another negative errno if it is a damaged one
 */
int tier_read(int fd, uint64_t device_bytes, struct tier_info *info, const char **why);

/* tier_json - a tier as a JSON object, with the names that attached tiers have */
json_t *tier_json(const struct tier_info *info);

#endif /* CACHECTL_TIERFMT_H */
