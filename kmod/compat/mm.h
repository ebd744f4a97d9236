/* SPDX-License-Identifier: GPL-2.0-only */
/* Folios and bios. */
#ifndef BC_COMPAT_MM_H
#define BC_COMPAT_MM_H

#include <linux/bio.h>
#include <linux/pagemap.h>

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

#endif /* BC_COMPAT_MM_H */
