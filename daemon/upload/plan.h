/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a file is cut into blocks, and what these are called.
 *
 * The length of a block follows from its offset alone, so that a file that grows keeps
 * the blocks that it has. Its id says which file it belongs to, where, and what is in
 * it, so that a block that is in the store already can be told from one that is not,
 * after a crash and when a file is written to in place: ids that are equal mean equal bytes.
 *
 * An id in raw bytes, numbers little-endian:
 *
 *	0	4	"bcB1"
 *	4	16	generation
 *	20	8	offset
 *	28	4	length
 *	32	16	first half of BLAKE2s-256 over, for each 64 KiB, sequence (8 bytes)
 *			and crc32c (4 bytes; 0 if not known)
 *
 * and in base64 as it is sent, 64 characters. Pure but for OpenSSL's hash.
 */
#ifndef BC_UPLOAD_PLAN_H
#define BC_UPLOAD_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "upload/source.h"

#define BC_BLOCKS_MAX		49999U	/* the service takes 50,000 */
#define BC_ID_SIZE		48U
#define BC_ID_TEXT		64U	/* without the zero at the end */
#define BC_UPLOAD_MAX		(((uint64_t)2 << 40) + 15183 * ((uint64_t)1 << 30))

struct bc_block_id {
	uint8_t bytes[BC_ID_SIZE];
};

struct bc_extent {
	uint64_t offset;
	uint32_t length;
};

uint32_t bc_plan_count(uint64_t size);
struct bc_extent bc_plan_block(uint32_t index, uint64_t size);
bool bc_plan_id(struct bc_block_id *id, const uint8_t *generation, struct bc_extent extent,
		const struct bc_sum *sums, size_t count);
void bc_plan_print(const struct bc_block_id *id, char *text);
bool bc_plan_parse(struct bc_block_id *id, const char *text);
bool bc_plan_ours(const struct bc_block_id *id, const uint8_t *generation);

static inline size_t bc_plan_sums(uint32_t length)
{
	return ((size_t)length + BC_SUM_SIZE - 1) / BC_SUM_SIZE;
}

#endif /* BC_UPLOAD_PLAN_H */
