// SPDX-License-Identifier: GPL-2.0-only
#include <linux/crc32c.h>
#include <linux/highmem.h>
#include <linux/minmax.h>
#include <linux/slab.h>

#include "segment.h"

void bc_pages_free(struct page **pages, u32 count)
{
	u32 i;

	if (!pages)
		return;
	for (i = 0; i < count; i++) {
		if (pages[i])
			__free_page(pages[i]);
	}
	kvfree(pages);
}

struct page **bc_pages_alloc(u32 count, gfp_t gfp)
{
	struct page **pages = kcalloc(count, sizeof(*pages), gfp);
	u32 i;

	if (!pages)
		return NULL;
	for (i = 0; i < count; i++) {
		pages[i] = alloc_page(gfp);
		if (!pages[i]) {
			bc_pages_free(pages, count);
			return NULL;
		}
	}
	return pages;
}

/* Call fn on each piece of [offset, offset + length) that lies in one page. */
static void pages_each(struct page **pages, u32 offset, u32 length,
		       void (*fn)(u8 *bytes, u32 length, void *arg), void *arg)
{
	while (length) {
		u32 in_page = offset & (PAGE_SIZE - 1);
		u32 part = min_t(u32, length, PAGE_SIZE - in_page);
		u8 *bytes = kmap_local_page(pages[offset >> PAGE_SHIFT]);

		fn(bytes + in_page, part, arg);
		kunmap_local(bytes);
		offset += part;
		length -= part;
	}
}

/* The same over segments, which may span several pages each. */
static void segments_each(const struct bio_vec *bvecs, u32 nr, u32 offset, u32 length,
			  void (*fn)(u8 *bytes, u32 length, void *arg), void *arg)
{
	u32 i;

	for (i = 0; i < nr && length; i++) {
		u32 at = min(offset, bvecs[i].bv_len);
		u32 part = min(length, bvecs[i].bv_len - at);

		offset -= at;
		length -= part;
		while (part) {
			u32 start = bvecs[i].bv_offset + at;
			struct page *page = bvecs[i].bv_page + (start >> PAGE_SHIFT);
			u32 in_page = start & (PAGE_SIZE - 1);
			u32 piece = min_t(u32, part, PAGE_SIZE - in_page);
			u8 *bytes = kmap_local_page(page);

			fn(bytes + in_page, piece, arg);
			kunmap_local(bytes);
			at += piece;
			part -= piece;
		}
	}
}

/* On disk the checksum is CRC-32C as usual: begins with ones, ends inverted. */
static void crc_piece(u8 *bytes, u32 length, void *arg)
{
	u32 *crc = arg;

	*crc = crc32c(*crc, bytes, length);
}

u32 bc_pages_crc(struct page **pages, u32 offset, u32 length)
{
	u32 crc = ~0U;

	pages_each(pages, offset, length, crc_piece, &crc);
	return ~crc;
}

u32 bc_segments_crc(const struct bio_vec *bvecs, u32 nr, u32 offset, u32 length)
{
	u32 crc = ~0U;

	segments_each(bvecs, nr, offset, length, crc_piece, &crc);
	return ~crc;
}

static void zero_piece(u8 *bytes, u32 length, void *unused)
{
	memset(bytes, 0, length);
}

void bc_segments_zero(const struct bio_vec *bvecs, u32 nr, u32 from)
{
	segments_each(bvecs, nr, from, U32_MAX, zero_piece, NULL);
}

struct copy_cursor {
	struct page **pages;
	u32 offset;
};

static void copy_out(u8 *from, u32 length, void *arg)
{
	u8 **to = arg;

	memcpy(*to, from, length);
	*to += length;
}

static void copy_piece(u8 *to, u32 length, void *arg)
{
	struct copy_cursor *cursor = arg;

	pages_each(cursor->pages, cursor->offset, length, copy_out, &to);
	cursor->offset += length;
}

void bc_segments_from_pages(const struct bio_vec *bvecs, u32 nr, struct page **pages, u32 offset,
			    u32 length)
{
	struct copy_cursor cursor = { .pages = pages, .offset = offset };

	segments_each(bvecs, nr, 0, length, copy_piece, &cursor);
}
