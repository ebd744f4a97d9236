// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names to keys, see key.h. What the hashes cover is part of the disk format
 * and of the wire protocol: tests/unit/test_key.c has it frozen.
 */
#include "key.h"

static const char volume_key[] = "blobcache-volume";

static void hash_start(struct blake2s_ctx *ctx, const void *key, size_t length)
{
	blake2s_init_key(ctx, BC_KEY_SIZE, key, length);
}

static void hash_bytes(struct blake2s_ctx *ctx, const char *bytes, size_t length)
{
	blake2s_update(ctx, (const u8 *)bytes, length);
}

/* A length before a string keeps ("ab", "c") and ("a", "bc") apart. */
static void hash_string(struct blake2s_ctx *ctx, const char *string, u32 length)
{
	__le32 prefix = cpu_to_le32(length);

	blake2s_update(ctx, (const u8 *)&prefix, sizeof(prefix));
	hash_bytes(ctx, string, length);
}

void bc_key_volume_of(const char *source, u32 source_length, const char *domain,
		      u32 domain_length, struct bc_key *id)
{
	struct blake2s_ctx ctx;

	hash_start(&ctx, volume_key, sizeof(volume_key) - 1);
	hash_string(&ctx, domain, domain_length);
	hash_bytes(&ctx, source, source_length);
	blake2s_final(&ctx, id->bytes);
}

void bc_key_volume(const char *source, const char *domain, struct bc_key *id)
{
	bc_key_volume_of(source, strlen(source), domain ?: "", domain ? strlen(domain) : 0, id);
}

void bc_key_path(const struct bc_key *volume, const char *path, u32 length, struct bc_key *hash)
{
	struct blake2s_ctx ctx;

	hash_start(&ctx, volume->bytes, BC_KEY_SIZE);
	hash_bytes(&ctx, path, length);
	blake2s_final(&ctx, hash->bytes);
}

void bc_key_version(const struct bc_key *volume, const char *path, u32 path_length,
		    const char *version, u32 version_length, struct bc_key *key)
{
	struct blake2s_ctx ctx;

	hash_start(&ctx, volume->bytes, BC_KEY_SIZE);
	hash_string(&ctx, path, path_length);
	hash_bytes(&ctx, version, version_length);
	blake2s_final(&ctx, key->bytes);
}
