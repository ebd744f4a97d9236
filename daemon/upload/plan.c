// SPDX-License-Identifier: GPL-2.0-or-later
#include "upload/plan.h"

#include <openssl/evp.h>
#include <string.h>

#include "util.h"

#define MIB		((uint64_t)1 << 20)
#define GIB		((uint64_t)1 << 30)
#define MAGIC		"bcB1"
#define AT_GENERATION	4
#define AT_OFFSET	20
#define AT_LENGTH	28
#define AT_HASH		32

/* Up to where blocks have which length. */
static const struct {
	uint64_t end;
	uint64_t length;
} zones[] = {
	{ 64 * GIB,	8 * MIB },
	{ 512 * GIB,	32 * MIB },
	{ 2048 * GIB,	128 * MIB },
	{ UINT64_MAX,	GIB },
};

/**
 * bc_plan_count - how many blocks a file has
 * @size: of the file
 *
 * Returns more than BC_BLOCKS_MAX if that is too many for a blob.
 */
uint32_t bc_plan_count(uint64_t size)
{
	uint64_t count = 0, begin = 0;
	size_t i;

	if (size > BC_UPLOAD_MAX)
		return BC_BLOCKS_MAX + 1;
	for (i = 0; i < BC_COUNT(zones) && begin < size; begin = zones[i++].end)
		count += (bc_min(size, zones[i].end) - begin + zones[i].length - 1) /
			 zones[i].length;
	return (uint32_t)count;
}

/**
 * bc_plan_block - where a block lies
 * @index: below bc_plan_count()
 * @size: of the file
 */
struct bc_extent bc_plan_block(uint32_t index, uint64_t size)
{
	struct bc_extent extent;
	uint64_t begin = 0;
	size_t i = 0;

	while (index >= (zones[i].end - begin) / zones[i].length) {
		index -= (uint32_t)((zones[i].end - begin) / zones[i].length);
		begin = zones[i++].end;
	}
	extent.offset = begin + index * zones[i].length;
	extent.length = (uint32_t)bc_min(zones[i].length, size - extent.offset);
	return extent;
}

static void put_number(uint8_t *to, uint64_t value, unsigned int size)
{
	for (; size; size--, value >>= 8)
		*to++ = (uint8_t)value;
}

static bool hash_sums(uint8_t *to, const struct bc_sum *sums, size_t count)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = context && EVP_DigestInit_ex(context, EVP_blake2s256(), NULL);
	uint8_t entry[12];
	size_t i;

	for (i = 0; good && i < count; i++) {
		put_number(entry, sums[i].sequence, 8);
		put_number(entry + 8, sums[i].unknown ? 0 : sums[i].crc32c, 4);
		good = EVP_DigestUpdate(context, entry, sizeof(entry));
	}
	good = good && EVP_DigestFinal_ex(context, digest, NULL);
	EVP_MD_CTX_free(context);
	if (good)
		memcpy(to, digest, BC_ID_SIZE - AT_HASH);
	return good;
}

/**
 * bc_plan_id - what a block is called
 * @id: out
 * @generation: of the file
 * @extent: of the block
 * @sums: of all its bytes
 * @count: of @sums
 *
 * Returns false if OpenSSL does not give us its hash.
 */
bool bc_plan_id(struct bc_block_id *id, const uint8_t *generation, struct bc_extent extent,
		const struct bc_sum *sums, size_t count)
{
	memcpy(id->bytes, MAGIC, AT_GENERATION);
	memcpy(id->bytes + AT_GENERATION, generation, BC_GENERATION_SIZE);
	put_number(id->bytes + AT_OFFSET, extent.offset, 8);
	put_number(id->bytes + AT_LENGTH, extent.length, 4);
	return hash_sums(id->bytes + AT_HASH, sums, count);
}

/**
 * bc_plan_print - an id as it is sent
 * @id: the id
 * @text: BC_ID_TEXT + 1 bytes
 */
void bc_plan_print(const struct bc_block_id *id, char *text)
{
	EVP_EncodeBlock((unsigned char *)text, id->bytes, BC_ID_SIZE);
}

/**
 * bc_plan_parse - take an id as it came
 * @id: out
 * @text: of whatever length
 *
 * Returns false if it cannot be one of ours.
 */
bool bc_plan_parse(struct bc_block_id *id, const char *text)
{
	if (strlen(text) != BC_ID_TEXT || strchr(text, '=') ||
	    EVP_DecodeBlock(id->bytes, (const unsigned char *)text, BC_ID_TEXT) != BC_ID_SIZE)
		return false;
	return !memcmp(id->bytes, MAGIC, AT_GENERATION);
}

/**
 * bc_plan_ours - whether a block belongs to a file
 * @id: the block
 * @generation: of the file
 */
bool bc_plan_ours(const struct bc_block_id *id, const uint8_t *generation)
{
	return !memcmp(id->bytes + AT_GENERATION, generation, BC_GENERATION_SIZE);
}
