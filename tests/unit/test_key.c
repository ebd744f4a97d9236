/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/key.c */
/*
 * Names to keys. The expected values come from another implementation of
 * BLAKE2s (Python's hashlib), following the formulas of kmod/key.h:
 *
 *   keyed(k, m) = hashlib.blake2s(m, digest_size=16, key=k)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "key.h"

static const char source[] = "azure://example.blob.core.windows.net/datasets";
static const char path[] = "imagenet/train-00001.tar";
static const char etag[] = "0x8DCAFE0123456789";

static void assert_key(const struct bc_key *key, const char *hex)
{
	char text[2 * BC_KEY_SIZE + 1];
	int i;

	for (i = 0; i < BC_KEY_SIZE; i++)
		snprintf(text + 2 * i, 3, "%02x", key->bytes[i]);
	assert_string_equal(text, hex);
}

/* Guards: all nodes and versions of this software compute the same volume id, forever. */
static void volume_is_frozen(void **state)
{
	struct bc_key id;

	(void)state;
	bc_key_volume(source, NULL, &id);
	assert_key(&id, "3b85c4d45f8c8b0dcfc9dcc4a7d345fb");
	bc_key_volume(source, "", &id);
	assert_key(&id, "3b85c4d45f8c8b0dcfc9dcc4a7d345fb");
	bc_key_volume(source, "team-a", &id);
	assert_key(&id, "3f1e59e05c4801943dffe8578bc8dfe7");
	bc_key_volume("", NULL, &id);
	assert_key(&id, "a51f991c4131717b9dca31cbed6db15e");
}

/* Guards: path hashes are frozen, at lengths around the hash's block size too. */
static void path_is_frozen(void **state)
{
	static const struct {
		u32 length;
		const char *hex;
	} cases[] = {
		{ 0, "4108c3161636967567720473dad1664a" },
		{ 63, "d02b3186dd732257ec9f5a037d92c470" },
		{ 64, "1a76857c8b99a31721677ae47d76e99e" },
		{ 65, "23a5113c9c5053c07ef22e0179bff089" },
		{ 1000, "67f611e249f019740ceb08e8ee845591" },
	};
	struct bc_key volume, hash;
	char bytes[1000];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(u8)(i * 7 + 1);
	bc_key_volume(source, NULL, &volume);
	bc_key_path(&volume, path, strlen(path), &hash);
	assert_key(&hash, "b442aaff8ad93e9c82f6cf5e08911402");
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		bc_key_path(&volume, bytes, cases[i].length, &hash);
		assert_key(&hash, cases[i].hex);
	}
}

/* Guards: object keys are frozen; cached data is found again by the next release. */
static void version_is_frozen(void **state)
{
	struct bc_key volume, key;
	char name[203] = "\xc3\xa4/";
	char version[BC_ETAG_MAX];

	(void)state;
	bc_key_volume(source, NULL, &volume);
	bc_key_version(&volume, path, strlen(path), etag, strlen(etag), &key);
	assert_key(&key, "a3091e0cfd5375441bb3b81c0e564ed9");

	memset(name + 3, 'x', 200);
	memset(version, 'e', sizeof(version));
	bc_key_version(&volume, name, sizeof(name), version, sizeof(version), &key);
	assert_key(&key, "57c8401b36c97bfef89bd985fde25169");

	bc_key_volume(source, "team-a", &volume);
	bc_key_version(&volume, path, strlen(path), etag, strlen(etag), &key);
	assert_key(&key, "4dd379ec09bf519695080be792607b6f");
}

/* Guards: never another object's bytes. Moving a byte from path to version changes the key. */
static void boundaries_matter(void **state)
{
	struct bc_key volume, one, two;

	(void)state;
	bc_key_volume(source, NULL, &volume);
	bc_key_version(&volume, "ab", 2, "c", 1, &one);
	bc_key_version(&volume, "a", 1, "bc", 2, &two);
	assert_key(&one, "df25fd35c8415d69b6f884ee896af143");
	assert_key(&two, "b67ff6078408990b3532d0934279d691");
	assert_false(bc_key_equal(&one, &two));

	bc_key_volume("bc", "a", &one);
	bc_key_volume("c", "ab", &two);
	assert_false(bc_key_equal(&one, &two));
	assert_true(bc_key_equal(&one, &one));
}

/* Guards: chunks of one object spread over the buckets of the index without gaps. */
static void hash_spreads(void **state)
{
	u8 seen[4096] = {};
	struct bc_key key;
	u32 chunk;

	(void)state;
	bc_key_volume(source, NULL, &key);
	for (chunk = 0; chunk < ARRAY_SIZE(seen); chunk++)
		seen[bc_key_hash(&key, chunk) % ARRAY_SIZE(seen)]++;
	for (chunk = 0; chunk < ARRAY_SIZE(seen); chunk++)
		assert_int_equal(seen[chunk], 1);
}

/* Guards: the BLAKE2s of the userspace build is the kernel's: the vector of RFC 7693, B. */
static void blake2s_of_the_rfc(void **state)
{
	static const u8 expected[32] = {
		0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2, 0xe1, 0xa7, 0x2b, 0xa3, 0x4e,
		0xeb, 0x45, 0x2f, 0x37, 0x45, 0x8b, 0x20, 0x9e, 0xd6, 0x3a, 0x29, 0x4d, 0x99,
		0x9b, 0x4c, 0x86, 0x67, 0x59, 0x82,
	};
	struct blake2s_ctx ctx;
	u8 out[32];

	(void)state;
	blake2s_init_key(&ctx, sizeof(out), NULL, 0);
	blake2s_update(&ctx, (const u8 *)"abc", 3);
	blake2s_final(&ctx, out);
	assert_memory_equal(out, expected, sizeof(out));
}

static void blake2s(const u8 *key, size_t keylen, const u8 *in, size_t inlen, u8 *out,
		    size_t outlen)
{
	struct blake2s_ctx ctx;

	blake2s_init_key(&ctx, outlen, key, keylen);
	/* In two pieces, to cross the buffer in every way. */
	blake2s_update(&ctx, in, inlen / 3);
	blake2s_update(&ctx, in + inlen / 3, inlen - inlen / 3);
	blake2s_final(&ctx, out);
}

/* Guards: as above, for 2,000 combinations of key, input and output length against hashlib. */
static void blake2s_of_all_lengths(void **state)
{
	static const size_t key_lengths[] = { 0, 1, 16, 31, 32 };
	static const u8 expected[32] = {
		0x49, 0xa3, 0x62, 0xef, 0x19, 0xf5, 0x41, 0xb4, 0x04, 0x67, 0xbe, 0x4a, 0x62,
		0x8e, 0x9d, 0x17, 0x95, 0xe8, 0xd5, 0xc6, 0xd2, 0xd3, 0x43, 0x9b, 0x4b, 0xba,
		0x81, 0x16, 0x8c, 0x2e, 0x81, 0xf0,
	};
	u8 key[32], in[200], out[32];
	struct blake2s_ctx all;
	size_t i, length;

	(void)state;
	for (i = 0; i < sizeof(key); i++)
		key[i] = i;
	for (i = 0; i < sizeof(in); i++)
		in[i] = i * 3;
	blake2s_init_key(&all, sizeof(out), NULL, 0);
	for (i = 0; i < ARRAY_SIZE(key_lengths); i++) {
		for (length = 0; length < sizeof(in); length++) {
			blake2s(key, key_lengths[i], in, length, out, 16);
			blake2s_update(&all, out, 16);
			blake2s(key, key_lengths[i], in, length, out, 32);
			blake2s_update(&all, out, 32);
		}
	}
	blake2s_final(&all, out);
	assert_memory_equal(out, expected, sizeof(out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(volume_is_frozen),
		cmocka_unit_test(path_is_frozen),
		cmocka_unit_test(version_is_frozen),
		cmocka_unit_test(boundaries_matter),
		cmocka_unit_test(hash_spreads),
		cmocka_unit_test(blake2s_of_the_rfc),
		cmocka_unit_test(blake2s_of_all_lengths),
	};

	return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
