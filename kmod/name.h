/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Codec of name blocks (uapi/blobcache_disk.h): what a tier says of a dirty object, so that it
 * describes its own data. Pure: callers bring the bytes, and what they say is checked here.
 */
#ifndef BC_NAME_H
#define BC_NAME_H

#include "pure.h"

/**
 * struct bc_dirty_name - a name block in CPU byte order
 * @kind: BC_KIND_NAME, BC_KIND_TOMBSTONE or BC_KIND_RENAME, as the descriptor says
 * @source: not terminated, as all strings here; when decoded they are in the block's bytes
 * @domain: trust domain; may be empty
 * @path: in the volume, no slash at either end
 * @other: of the base, or of a rename from where; may be empty
 *
 * The rest is as in struct bc_disk_name.
 */
struct bc_dirty_name {
	u8 kind;
	u8 uuid[BC_UUID_SIZE];
	u8 node_id[BC_UUID_SIZE];
	struct bc_key generation;
	struct bc_key volume;
	u64 seq, step, size;
	s64 mtime, ctime;
	u32 mtime_nsec, ctime_nsec;
	u32 mode, uid, gid;
	enum bc_name_state state;
	enum bc_name_base base;
	u64 cut_size, cut_seq;
	u64 acked_seq, acked_size;
	s64 acked_last_modified;
	struct bc_key base_key, replaces;
	u64 base_size;
	u8 base_etag_length, acked_etag_length;
	char base_etag[BC_ETAG_MAX + 1], acked_etag[BC_ETAG_MAX + 1];
	u32 source_length, domain_length, path_length, other_length;
	const char *source, *domain, *path, *other;
};

/* Largest size of an object: block numbers have 36 bits. */
#define BC_NAME_SIZE_MAX	(1ULL << (36 + BC_BLOCK_SHIFT))

/* '/'-separated names, none of them empty, "." or ".."; @length 0 is none. */
bool bc_dirty_name_path_valid(const char *path, u32 length);

/**
 * bc_dirty_name_encode - write a name block
 * @name: what it says; strings within their limits
 * @buffer: at least BC_NAME_BYTES_MAX bytes
 *
 * Return: bytes used, which are the descriptor's length.
 */
u32 bc_dirty_name_encode(const struct bc_dirty_name *name, void *buffer);

/**
 * bc_dirty_name_decode - check and read one
 * @buffer: bytes, whose checksum is right
 * @length: of them, as the descriptor says
 * @kind: likewise
 * @name: out; its strings point into @buffer
 *
 * Return: 0, or -EINVAL for nonsense.
 */
int bc_dirty_name_decode(const void *buffer, u32 length, u8 kind, struct bc_dirty_name *name);

#endif /* BC_NAME_H */
