/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of one block on their way: read from the source, compared with its sums
 * before any of them leaves, and with their MD5 for the store.
 *
 * Up to 32 MiB are held in memory and read once. A longer block is read twice, through
 * a window: once for the MD5, which is sent first, and once as it is sent.
 */
#ifndef BC_UPLOAD_PIECE_H
#define BC_UPLOAD_PIECE_H

#include "upload/plan.h"
#include "upload/source.h"

#define BC_PIECE_WHOLE	(32U << 20)
#define BC_PIECE_WINDOW	(4U << 20)

struct bc_piece {
	struct bc_source *source;
	struct bc_extent extent;
	struct bc_sum *sums;
	unsigned char *window;
	uint32_t room;
	uint32_t at;			/* of the window in the block */
	uint32_t held;			/* bytes in the window */
	uint8_t md5[BC_MD5_SIZE];
	enum bc_source_status status;	/* if something failed, with text */
	char text[160];
};

uint32_t bc_piece_memory(uint32_t length);
bool bc_piece_open(struct bc_piece *piece, struct bc_source *source, struct bc_extent extent,
		   struct bc_sum *sums, const bool *stop);
bool bc_piece_bytes(struct bc_piece *piece, uint64_t offset, void *to, size_t length);
void bc_piece_close(struct bc_piece *piece);

#endif /* BC_UPLOAD_PIECE_H */
