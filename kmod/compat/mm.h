/* SPDX-License-Identifier: GPL-2.0-only */
/* Folios and bios. */
#ifndef BC_COMPAT_MM_H
#define BC_COMPAT_MM_H

#include <linux/bio.h>
#include <linux/pagemap.h>
#include <linux/uio.h>

#ifndef HAVE_FOLIO_END_READ
static inline void folio_end_read(struct folio *folio, bool success)
{
	if (success)
		folio_mark_uptodate(folio);
	folio_unlock(folio);
}
#endif

#ifndef HAVE_EXPORT_BIO_ADD_FOLIO
/* Declared but not exported on old kernels. Pages that follow each other merge into one bvec. */
static inline bool bc_bio_add_folio(struct bio *bio, struct folio *folio, size_t length,
				    size_t offset)
{
	while (length) {
		size_t part = min_t(size_t, length, PAGE_SIZE - offset_in_page(offset));

		if (bio_add_page(bio, folio_page(folio, offset >> PAGE_SHIFT), part,
				 offset_in_page(offset)) != part)
			return false;
		offset += part;
		length -= part;
	}
	return true;
}

#define bio_add_folio bc_bio_add_folio
#endif

/*
 * Without a limit a large folio may be larger than a chunk. The kernels without
 * one are also those where few filesystems had tried large folios.
 */
#ifndef HAVE_MAPPING_SET_FOLIO_ORDER_RANGE
static inline void mapping_set_folio_order_range(struct address_space *mapping, unsigned int min,
						 unsigned int max)
{
}
#endif

/*
 * Pages of an iterator for a device to write to; the iterator moves on. Of a user's memory they
 * are pinned where the kernel can, else referenced; then so are those of other iterators.
 */
#ifdef HAVE_IOV_ITER_EXTRACT_PAGES
static inline ssize_t bc_iter_pages(struct iov_iter *iter, struct page **pages, size_t length,
				    unsigned int count, size_t *offset)
{
	return iov_iter_extract_pages(iter, &pages, length, count, 0, offset);
}

#define bc_iter_pages_held iov_iter_extract_will_pin
#define bc_iter_page_put unpin_user_page
#else
#define bc_iter_pages iov_iter_get_pages2
#define bc_iter_page_put put_page

static inline bool bc_iter_pages_held(const struct iov_iter *iter)
{
	return true;
}
#endif

#ifndef HAVE_COPY_FOLIO_FROM_ITER_ATOMIC
static inline size_t copy_folio_from_iter_atomic(struct folio *folio, size_t offset, size_t bytes,
						 struct iov_iter *iter)
{
	return copy_page_from_iter_atomic(folio_page(folio, offset >> PAGE_SHIFT),
					  offset_in_page(offset), bytes, iter);
}
#endif

#endif /* BC_COMPAT_MM_H */
