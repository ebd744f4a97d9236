// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks of dirty files in the page cache. All folios of a block that is dirty are there and are
 * dirty, from its first to the last that was ever written, so that writing it back reads nothing.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/writeback.h>

#include "back.h"

/**
 * bc_back_pages - pages of a block that a file of @size bytes has
 * @block: number of the block
 * @size: of the file
 */
u32 bc_back_pages(u64 block, loff_t size)
{
	loff_t start = block << BC_BLOCK_SHIFT;

	if (size <= start)
		return 0;
	return min_t(u64, DIV_ROUND_UP_ULL(size - start, PAGE_SIZE), BC_BACK_PAGES);
}

/**
 * bc_back_unlock - unlock a block
 * @locked: its folios; their references go
 * @keep: this one stays locked, its reference goes; or NULL
 */
void bc_back_unlock(struct bc_back_block *locked, const struct folio *keep)
{
	while (locked->count) {
		struct folio *folio = locked->folio[--locked->count];

		if (folio != keep)
			folio_unlock(folio);
		folio_put(folio);
	}
}

static int lock_folios(struct address_space *mapping, u64 block, u32 count,
		       struct bc_back_block *locked)
{
	unsigned int nofs = memalloc_nofs_save();
	int ret = 0;

	for (locked->count = 0; locked->count < count; locked->count++) {
		struct folio *folio = __filemap_get_folio(mapping,
							  block * BC_BACK_PAGES + locked->count,
							  FGP_LOCK | FGP_CREAT,
							  mapping_gfp_mask(mapping));

		if (IS_ERR_OR_NULL(folio)) {
			bc_back_unlock(locked, NULL);
			ret = -ENOMEM;
			break;
		}
		/* Its bytes are being checksummed, or read by the device. */
		folio_wait_writeback(folio);
		locked->folio[locked->count] = folio;
	}
	memalloc_nofs_restore(nofs);
	return ret;
}

/* Will this page be overwritten as a whole? */
static bool is_covered(struct folio *folio, loff_t from, loff_t to)
{
	return from <= folio_pos(folio) && to >= folio_pos(folio) + folio_size(folio);
}

/*
 * What is stored nowhere is zeroes, but for what is going to be overwritten, which needs not be
 * valid before. Return: the index of a folio that must be read, or -1.
 */
static pgoff_t make_resident(const struct bc_back_block *locked, u64 block, u32 stored,
			     loff_t from, loff_t to)
{
	u32 i;

	for (i = 0; i < locked->count; i++) {
		struct folio *folio = locked->folio[i];

		if (folio_test_uptodate(folio))
			continue;
		if (i * PAGE_SIZE < stored)
			return folio->index;
		if (is_covered(folio, from, to))
			continue;
		folio_zero_range(folio, 0, folio_size(folio));
		folio_mark_uptodate(folio);
	}
	return -1UL;
}

/* Read one page; the others of its block come with the read-ahead, mostly. */
static int read_page(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = read_mapping_folio(mapping, index, NULL);

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	folio_put(folio);
	return 0;
}

/**
 * bc_back_lock - lock a block that is to become dirty
 * @mapping: of the mapping inode
 * @dirty: its object
 * @block: number of the block
 * @count: pages of it, from the first on
 * @from: the caller is going to overwrite bytes from here
 * @to: to here: whole pages among them may be not valid yet
 * @more: what is behind is going to be written, too
 * @locked: out
 *
 * Reserves what is needed to write it, so that bc_back_dirty() cannot fail. May sleep; killable
 * while it waits for room. Return: 0 or errno.
 */
int bc_back_lock(struct address_space *mapping, struct bc_dirty *dirty, u64 block, u32 count,
		 loff_t from, loff_t to, bool more, struct bc_back_block *locked)
{
	pgoff_t missing;
	int ret;

	more |= i_size_read(mapping->host) >= BC_BLOCK_SIZE;
	for (;;) {
		ret = bc_dirty_reserve(dirty, block, more);
		if (!ret)
			ret = lock_folios(mapping, block, count, locked);
		if (ret)
			return ret;
		missing = make_resident(locked, block, bc_dirty_stored(dirty, block), from, to);
		if (missing == -1UL && bc_dirty_reserved(dirty, block))
			return 0;
		bc_back_unlock(locked, NULL);
		/* Else somebody wrote it back, and took what was reserved. */
		if (missing != -1UL)
			ret = read_page(mapping, missing);
		if (ret)
			return ret;
	}
}

/**
 * bc_back_dirty - a locked block is dirty now
 * @mapping: of the mapping inode
 * @dirty: its object
 * @block: number of the block
 * @locked: by bc_back_lock(), all of them valid by now
 */
void bc_back_dirty(struct address_space *mapping, struct bc_dirty *dirty, u64 block,
		   struct bc_back_block *locked)
{
	u32 i;

	WARN_ON_ONCE(!bc_dirty_mark(dirty, block));
	for (i = 0; i < locked->count; i++)
		filemap_dirty_folio(mapping, locked->folio[i]);
}

/* Have a block written again, as it is. With the invalidate lock: it is not cut off meanwhile. */
static int dirty_block(struct address_space *mapping, struct bc_dirty *dirty, u64 block)
{
	struct bc_back_block locked;
	u32 count;
	int ret;

	for (;;) {
		count = bc_back_pages(block, i_size_read(mapping->host));
		if (!count)
			return 0;
		ret = bc_back_lock(mapping, dirty, block, count, 0, 0, false, &locked);
		if (ret)
			return ret;
		/* Who writes behind them locks them first: if it is so now, it stays. */
		if (count == bc_back_pages(block, i_size_read(mapping->host)))
			break;
		bc_back_unlock(&locked, NULL);
	}
	bc_back_dirty(mapping, dirty, block, &locked);
	bc_back_unlock(&locked, NULL);
	return 0;
}

static bool next_dirty_page(struct address_space *mapping, pgoff_t *index)
{
	XA_STATE(xas, &mapping->i_pages, *index);
	void *entry;

	rcu_read_lock();
	do {
		entry = xas_find_marked(&xas, ULONG_MAX, PAGECACHE_TAG_DIRTY);
	} while (xas_retry(&xas, entry));
	rcu_read_unlock();
	*index = xas.xa_index;
	return entry;
}

/**
 * bc_back_adopt - blocks become dirty of which pages were, by whoever had pinned them
 * @mapping: of the mapping inode
 * @dirty: its object
 *
 * May sleep. Return: 0 or errno.
 */
int bc_back_adopt(struct address_space *mapping, struct bc_dirty *dirty)
{
	struct bc_inode *bi = BC_I(mapping->host);
	pgoff_t index = 0;
	u64 block;
	int ret = 0;

	if (likely(!READ_ONCE(bi->stray)))
		return 0;
	/* First: what comes while we look is found the next time. */
	WRITE_ONCE(bi->stray, false);
	/* Pairs with the page cache's lock, in which a page is tagged before that is set. */
	smp_mb();
	while (!ret && next_dirty_page(mapping, &index)) {
		block = index / BC_BACK_PAGES;
		/* One that is dirty, too: it may be that it is being written, as it was. */
		filemap_invalidate_lock_shared(mapping);
		ret = dirty_block(mapping, dirty, block);
		filemap_invalidate_unlock_shared(mapping);
		index = (block + 1) * BC_BACK_PAGES;
	}
	if (ret)
		WRITE_ONCE(bi->stray, true);
	return ret;
}

/* What is behind the end of the file in its last page, a mapping may have written. */
static void zero_behind(struct folio *folio, loff_t size)
{
	if (size > folio_pos(folio) && size < folio_pos(folio) + folio_size(folio))
		folio_zero_segment(folio, size - folio_pos(folio), folio_size(folio));
}

/**
 * bc_back_zero_behind - a locked block is about to be the last of the file
 * @locked: its folios, up to the one that the end lies in
 * @size: of the file
 */
void bc_back_zero_behind(const struct bc_back_block *locked, loff_t size)
{
	zero_behind(locked->folio[locked->count - 1], size);
}

/**
 * bc_back_zero_tail - the file is about to grow: what was behind its end is zeroes
 * @mapping: of the mapping inode
 * @size: the file's until now
 */
void bc_back_zero_tail(struct address_space *mapping, loff_t size)
{
	struct folio *folio;

	if (!offset_in_page(size))
		return;
	folio = filemap_lock_folio(mapping, size >> PAGE_SHIFT);
	if (IS_ERR_OR_NULL(folio))
		return;
	folio_wait_writeback(folio);
	if (folio_test_uptodate(folio))
		zero_behind(folio, size);
	folio_unlock(folio);
	folio_put(folio);
}
