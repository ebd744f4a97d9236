// SPDX-License-Identifier: GPL-2.0-only
/*
 * Folios from the engine. Reads are queued, nothing here waits for a store, a
 * daemon or the lower; who needs the bytes sleeps on the folio, killably.
 *
 * A run of locked folios inside one chunk is one read. The folios keep the
 * mapping inode, and it the object, until the read's end unlocks them.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "fs.h"

struct run {
	struct bc_io io;
	struct bc_inode *mapping;
	struct bio_vec bvecs[];
};

/* Any context: of a bio that ended in a hard interrupt, too. */
static void run_done(struct bc_io *io, int error)
{
	struct run *run = container_of(io, struct run, io);
	u32 i;

	if (error == -ESTALE)
		WRITE_ONCE(run->mapping->gone, true);
	if (error)
		bc_failed(run->mapping, io->pos >> BC_CHUNK_SHIFT, error);
	for (i = 0; i < io->nr_bvecs; i++)
		folio_end_read(page_folio(io->bvecs[i].bv_page), !error);
	/* The inode may be gone from here on. */
	kfree(run);
}

static struct run *run_new(struct address_space *mapping, u32 nr, gfp_t gfp)
{
	struct run *run = kmalloc(struct_size(run, bvecs, nr), gfp);

	if (!run)
		return NULL;
	memset(&run->io, 0, sizeof(run->io));
	run->mapping = BC_I(mapping->host);
	run->io.object = run->mapping->object;
	run->io.bvecs = run->bvecs;
	run->io.done = run_done;
	return run;
}

static void run_add(struct run *run, struct folio *folio)
{
	struct bio_vec *bvec = &run->bvecs[run->io.nr_bvecs++];

	bvec->bv_page = folio_page(folio, 0);
	bvec->bv_len = folio_size(folio);
	bvec->bv_offset = 0;
	run->io.length += folio_size(folio);
}

static int read_folio(struct file *file, struct folio *folio)
{
	struct run *run;

	if (bc_failed_since(file, folio)) {
		folio_unlock(folio);
		return -EIO;
	}
	run = run_new(folio->mapping, 1, GFP_NOFS);
	if (!run) {
		folio_unlock(folio);
		return -ENOMEM;
	}
	run->io.pos = folio_pos(folio);
	run->io.priority = BC_PRIORITY_DEMAND;
	run_add(run, folio);
	bc_read(&run->io);
	return 0;
}

/*
 * Queue the folios of [pos, end) up to the end of their chunk. Return: where the
 * next chunk begins, or @pos if there was no memory. rac tells where its last
 * folio begins, not where it ends, hence our own count.
 */
static u64 read_chunk(struct readahead_control *rac, u64 pos, u64 end, enum bc_priority priority,
		      bool sequential)
{
	struct run *run;
	struct folio *folio;

	end = min(round_up(pos + 1, BC_CHUNK_SIZE), end);
	run = run_new(rac->mapping, (end - pos) >> PAGE_SHIFT,
		      GFP_NOFS | __GFP_NORETRY | __GFP_NOWARN);
	if (!run)
		return pos;
	run->io.pos = pos;
	run->io.priority = priority;
	run->io.sequential = sequential;
	while (pos < end && (folio = readahead_folio(rac))) {
		run_add(run, folio);
		pos += folio_size(folio);
	}
	bc_read(&run->io);
	return pos;
}

static void readahead(struct readahead_control *rac)
{
	struct bc_inode *mapping = BC_I(rac->mapping->host);
	enum bc_binding binding = bc_object_binding(mapping->object);
	struct bc_object *object = mapping->object;
	u64 pos = readahead_pos(rac), end = pos + readahead_length(rac), next, at;

	/* Its size is not known for sure yet; who reads it binds it first. */
	if (binding == BC_UNBOUND)
		return;
	next = read_chunk(rac, pos, end, BC_PRIORITY_DEMAND,
			  rac->file && bc_ahead_follows(rac->file, pos, end));
	if (next == pos)
		return;
	/*
	 * Further chunks are for later: one that is missing is fetched without
	 * folios being locked meanwhile. Those left over are taken back.
	 */
	while (next < end) {
		if (binding == BC_BOUND_STORE && !bc_resident(object, next)) {
			bc_prefetch(object, next, end - next, BC_PRIORITY_READAHEAD);
			break;
		}
		at = next;
		next = read_chunk(rac, at, end, BC_PRIORITY_READAHEAD, true);
		if (next == at)
			break;
	}
	if (rac->file)
		bc_ahead(rac->file, pos, next);
}

const struct address_space_operations bc_address_space_operations = {
	.read_folio = read_folio,
	.readahead = readahead,
	.dirty_folio = noop_dirty_folio,
	.migrate_folio = filemap_migrate_folio,
};
