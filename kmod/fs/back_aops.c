// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page cache of dirty files, to and from the tier. Writing back takes bios from a reserve and
 * nothing else: places and descriptors were reserved when the blocks became dirty.
 */
#include <linux/blkdev.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/writeback.h>

#include "back.h"

struct read {
	struct bc_dirty_io io;
	struct bio_vec bvecs[BC_BACK_PAGES];
};

/* Any context. */
static void read_done(struct bc_dirty_io *io, int error)
{
	struct read *read = container_of(io, struct read, io);
	u32 i;

	for (i = 0; i < io->nr_bvecs; i++)
		folio_end_read(page_folio(io->bvecs[i].bv_page), !error);
	/* The inode may be gone from here on. */
	kfree(read);
}

static struct read *read_new(struct address_space *mapping, loff_t pos, gfp_t gfp)
{
	struct read *read = kmalloc(sizeof(*read), gfp);

	if (!read)
		return NULL;
	memset(&read->io, 0, sizeof(read->io));
	read->io.dirty = BC_I(mapping->host)->dirty;
	read->io.pos = pos;
	read->io.bvecs = read->bvecs;
	read->io.done = read_done;
	return read;
}

static void read_add(struct read *read, struct folio *folio)
{
	struct bio_vec *bvec = &read->bvecs[read->io.nr_bvecs++];

	bvec->bv_page = folio_page(folio, 0);
	bvec->bv_len = folio_size(folio);
	bvec->bv_offset = 0;
	read->io.length += folio_size(folio);
}

static int read_folio(struct file *file, struct folio *folio)
{
	struct read *read = read_new(folio->mapping, folio_pos(folio), GFP_NOFS);

	if (!read) {
		folio_unlock(folio);
		return -ENOMEM;
	}
	read_add(read, folio);
	bc_dirty_read(&read->io);
	return 0;
}

/* Block by block. */
static void readahead(struct readahead_control *rac)
{
	u64 pos = readahead_pos(rac), end = pos + readahead_length(rac), stop;
	struct folio *folio;
	struct read *read;

	while (pos < end) {
		stop = min(round_up(pos + 1, (u64)BC_BLOCK_SIZE), end);
		read = read_new(rac->mapping, pos, GFP_NOFS | __GFP_NORETRY | __GFP_NOWARN);
		if (!read)
			return;
		while (pos < stop && (folio = readahead_folio(rac))) {
			read_add(read, folio);
			pos += folio_size(folio);
		}
		if (!read->io.nr_bvecs) {
			kfree(read);
			return;
		}
		bc_dirty_read(&read->io);
	}
}

/*
 * Any context; process context after an error: then the folios are dirty again, as the block is.
 * In writeback they keep their mapping.
 */
static void write_done(struct bc_dirty_write *write, int error)
{
	u32 i;

	for (i = 0; i < write->count && error; i++) {
		mapping_set_error(write->folio[i]->mapping, error);
		filemap_dirty_folio(write->folio[i]->mapping, write->folio[i]);
	}
	for (i = 0; i < write->count; i++)
		folio_end_writeback(write->folio[i]);
}

/* Folios of a dirty block, as far as they are dirty, locked. Its first one is locked already. */
static void lock_rest(struct address_space *mapping, u64 block, u32 count,
		      struct bc_back_block *locked)
{
	for (; locked->count < count; locked->count++) {
		pgoff_t index = block * BC_BACK_PAGES + locked->count;
		struct folio *folio = filemap_lock_folio(mapping, index);

		if (IS_ERR_OR_NULL(folio))
			break;
		/* One that was read behind what was written: zeroes, as nothing is. */
		if (!folio_test_dirty(folio)) {
			folio_unlock(folio);
			folio_put(folio);
			break;
		}
		/* In writeback is the whole block or nothing. */
		locked->folio[locked->count] = folio;
	}
}

/*
 * May a device write to the folio, a single page, of which we have one reference and the page cache
 * another? Before 6.5 direct I/O takes plain references. Others are taken for such for a moment:
 * that costs a copy.
 */
static bool may_change(struct folio *folio)
{
	if (!READ_ONCE(BC_I(folio->mapping->host)->mapped))
		return false;
	return folio_maybe_dma_pinned(folio) ||
	       folio_ref_count(folio) > atomic_read(&folio->_mapcount) + 1 + 2;
}

static void write_folios(struct bc_back_block *locked, struct bc_dirty_write *write)
{
	struct folio *folio;
	u32 i;

	for (i = 0; i < locked->count; i++) {
		folio = locked->folio[i];
		folio_clear_dirty_for_io(folio);
		folio_start_writeback(folio);
		write->folio[write->count++] = folio;
	}
	/* Who comes from here on has to ask for the page, and waits: no page table is writable. */
	smp_mb();
	for (i = 0; i < locked->count; i++)
		write->copy |= may_change(locked->folio[i]);
	folio = locked->folio[locked->count - 1];
	/* What is behind the end, a mapping may have written. */
	i = write->length & (PAGE_SIZE - 1);
	if (i)
		folio_zero_segment(folio, i, folio_size(folio));
}

/* Return: the head of the block, locked and not in writeback, or NULL. */
static struct folio *lock_head(struct address_space *mapping, u64 block,
			       struct writeback_control *wbc)
{
	struct folio *head = filemap_lock_folio(mapping, block * BC_BACK_PAGES);

	if (IS_ERR_OR_NULL(head))
		return NULL;
	if (folio_test_writeback(head)) {
		if (wbc->sync_mode == WB_SYNC_NONE)
			goto skip;
		folio_wait_writeback(head);
	}
	if (folio_test_dirty(head))
		return head;
skip:
	folio_unlock(head);
	folio_put(head);
	return NULL;
}

static void write_block(struct address_space *mapping, struct bc_dirty *dirty, u64 block,
			struct writeback_control *wbc)
{
	loff_t start = block << BC_BLOCK_SHIFT, size;
	struct bc_back_block locked = {};
	struct bc_dirty_write *write = NULL;

	locked.folio[0] = lock_head(mapping, block, wbc);
	if (!locked.folio[0])
		return;
	locked.count = 1;
	size = i_size_read(mapping->host);
	if (size > start) {
		lock_rest(mapping, block, bc_back_pages(block, size), &locked);
		write = bc_dirty_write_begin(dirty, block,
					     min_t(u64, size - start, locked.count * PAGE_SIZE));
	}
	if (write) {
		wbc->nr_to_write -= locked.count;
		write->done = write_done;
		write->flags = wbc_to_write_flags(wbc);
		write_folios(&locked, write);
	}
	bc_back_unlock(&locked, NULL);
	if (write)
		bc_dirty_write_submit(write);
}

/*
 * Not by our own ways: somebody who had pinned the page wrote into it. Without a dirty block it
 * would not be written; what is needed for one is got by who can wait, see bc_back_adopt().
 */
static bool dirty_folio(struct address_space *mapping, struct folio *folio)
{
	if (!filemap_dirty_folio(mapping, folio))
		return false;
	WRITE_ONCE(BC_I(mapping->host)->stray, true);
	return true;
}

static int writepages(struct address_space *mapping, struct writeback_control *wbc)
{
	struct bc_dirty *dirty = BC_I(mapping->host)->dirty;
	u64 block = 0, last = ULONG_MAX;
	struct blk_plug plug;

	if (!wbc->range_cyclic) {
		block = wbc->range_start >> BC_BLOCK_SHIFT;
		last = wbc->range_end >> BC_BLOCK_SHIFT;
	}
	blk_start_plug(&plug);
	for (; bc_dirty_next_dirty(dirty, &block, last); block++) {
		write_block(mapping, dirty, block, wbc);
		if (wbc->sync_mode == WB_SYNC_NONE && wbc->nr_to_write <= 0)
			break;
		cond_resched();
	}
	blk_finish_plug(&plug);
	return 0;
}

const struct address_space_operations bc_back_aops = {
	.read_folio = read_folio,
	.readahead = readahead,
	.writepages = writepages,
	.dirty_folio = dirty_folio,
	.migrate_folio = filemap_migrate_folio,
};
