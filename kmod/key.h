/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names to keys. All are BLAKE2s (RFC 7693) with 16 bytes of output:
 *
 *   volume id = keyed("blobcache-volume", domain length le32, domain, source)
 *   path hash = keyed(volume id, path)
 *   key       = keyed(volume id, path length le32, path, version)
 *
 * so that all nodes agree and userspace can compute them with any BLAKE2s.
 */
#ifndef BC_KEY_H
#define BC_KEY_H

#include "pure.h"

/**
 * bc_key_volume - volume id of a source
 * @source: canonical source, as in DESIGN: "azure://HOST/CONTAINER"
 * @domain: trust domain or NULL
 * @id: out
 */
void bc_key_volume(const char *source, const char *domain, struct bc_key *id);

/* The same of strings that are not terminated; a domain of length 0 is none. */
void bc_key_volume_of(const char *source, u32 source_length, const char *domain,
		      u32 domain_length, struct bc_key *id);

/**
 * bc_key_path - path hash of a name in a volume
 * @volume: volume id
 * @path: '/'-separated bytes, no leading slash
 * @length: of @path in bytes
 * @hash: out
 */
void bc_key_path(const struct bc_key *volume, const char *path, u32 length, struct bc_key *hash);

/**
 * bc_key_version - key of one version of an object
 * @volume: volume id
 * @path: '/'-separated bytes, no leading slash
 * @path_length: of @path in bytes
 * @version: strong ETag without quotes
 * @version_length: of @version in bytes
 * @key: out
 */
void bc_key_version(const struct bc_key *volume, const char *path, u32 path_length,
		    const char *version, u32 version_length, struct bc_key *key);

static inline bool bc_key_equal(const struct bc_key *a, const struct bc_key *b)
{
	return !memcmp(a->bytes, b->bytes, BC_KEY_SIZE);
}

/*
 * The name of one chunk: its object's key, to whose second half a multiple of the
 * chunk's number is added. Chunks of one object never share a name; those of two
 * share one no more often than once in 2^95 pairs of objects, since the first
 * halves are equal once in 2^64 and the sums are of at most 2^33 kinds.
 */
struct bc_name {
	u64 half[2];
};

static inline void bc_name_chunk(const struct bc_key *key, u32 chunk, struct bc_name *name)
{
	BUILD_BUG_ON(sizeof(*name) != BC_KEY_SIZE);
	memcpy(name, key->bytes, BC_KEY_SIZE);
	name->half[1] += chunk * 0x9e3779b97f4a7c15ULL;
}

/* Each bit depends on each bit of the name: lines, groups and fingerprints take their own. */
static inline u64 bc_name_hash(const struct bc_name *name)
{
	u64 h = name->half[0] ^ name->half[1];

	h = (h ^ h >> 33) * 0xff51afd7ed558ccdULL;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 33;
}

static inline u64 bc_chunk_hash(const struct bc_key *key, u32 chunk)
{
	struct bc_name name;

	bc_name_chunk(key, chunk, &name);
	return bc_name_hash(&name);
}

static inline u32 bc_key_hash(const struct bc_key *key, u32 chunk)
{
	u32 h;

	/* The key is a cryptographic hash: any of its bytes are random already. */
	memcpy(&h, key->bytes, sizeof(h));
	return h ^ (chunk * 0x9e3779b1U);
}

#endif /* BC_KEY_H */
