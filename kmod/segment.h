/* SPDX-License-Identifier: GPL-2.0-only */
/* Byte work on runs of pages and segments. No locks; nothing here sleeps but the allocation. */
#ifndef BC_SEGMENT_H
#define BC_SEGMENT_H

#include <linux/bvec.h>
#include <linux/gfp.h>
#include <linux/types.h>

#include "blobcache_disk.h"

/* Valid bits, fills and table units count in pages: other sizes need work, not luck. */
static_assert(PAGE_SIZE == BC_UNIT_SIZE, "blobcache needs pages of 4 KiB");

/* Array of @count single pages, or NULL. Contents are undefined. */
struct page **bc_pages_alloc(u32 count, gfp_t gfp);
/* @pages may be NULL, and so may each of them. */
void bc_pages_free(struct page **pages, u32 count);

/* crc32c of @length bytes that begin @offset bytes into the pages. */
u32 bc_pages_crc(struct page **pages, u32 offset, u32 length);

/* Copy @length bytes that begin @offset bytes into the pages to the start of the segments. */
void bc_segments_from_pages(const struct bio_vec *bvecs, u32 nr, struct page **pages, u32 offset,
			    u32 length);

/* Zero the segments from byte @from to their end. */
void bc_segments_zero(const struct bio_vec *bvecs, u32 nr, u32 from);

/* crc32c of @length bytes that begin @offset bytes into the segments. */
u32 bc_segments_crc(const struct bio_vec *bvecs, u32 nr, u32 offset, u32 length);

#endif /* BC_SEGMENT_H */
