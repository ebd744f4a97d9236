// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads through the page cache that failed, and who waited for them.
 *
 * The kernel asks for the same folio a second time, by ->read_folio(), when what ->readahead()
 * asked for did not come, and once more for each reader that waits for it. Each of these would
 * wait for the mount's deadline anew. So who began before a read of the chunk failed, and has
 * waited for half of the deadline, or whose mount was unmounted by force, is told so; all others
 * ask again.
 *
 * An open file remembers when its last call began: of threads that share one, those that began
 * earlier may wait once more. Without a lock: the folio's lock is what orders all of this.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "fs.h"

/**
 * bc_failed_begin - a call begins that may read folios of a file
 * @file: ours, not read past the cache
 */
void bc_failed_begin(struct file *file)
{
	struct bc_file *bf = file->private_data;
	u32 failures = atomic_read(&BC_I(bf->mapping)->failures);
	u32 aborts = atomic_read(&BC_M(file_inode(file)->i_sb)->aborts);
	unsigned long now = jiffies;

	/* Threads that share it share the cache line, too. */
	if (READ_ONCE(bf->began) != now)
		WRITE_ONCE(bf->began, now);
	if (READ_ONCE(bf->failures) != failures)
		WRITE_ONCE(bf->failures, failures);
	if (READ_ONCE(bf->aborts) != aborts)
		WRITE_ONCE(bf->aborts, aborts);
}

/* Who came late to a fill that failed has a deadline of his own, and may have luck. */
static bool has_waited(const struct file *file, const struct bc_file *bf)
{
	const struct bc_mount *mount = BC_M(file_inode(file)->i_sb);
	unsigned long half = msecs_to_jiffies(mount->options.deadline_ms) / 2;

	return (u32)atomic_read(&mount->aborts) != READ_ONCE(bf->aborts) ||
	       time_after_eq(jiffies, READ_ONCE(bf->began) + half);
}

/**
 * bc_failed - a read of folios failed; they are locked still
 * @mapping: mapping inode
 * @chunk: in which they are
 * @error: how
 *
 * Any context.
 */
void bc_failed(struct bc_inode *mapping, u32 chunk, int error)
{
	/* There may be memory now, and those who were killed are not those who wait. */
	if (error == -ENOMEM || error == -ECANCELED)
		return;
	WRITE_ONCE(mapping->failed[chunk % BC_FAILED],
		   (u64)chunk << 32 | (u32)atomic_inc_return(&mapping->failures));
}

/**
 * bc_failed_since - did a read of a folio's chunk fail since the file's last call began?
 * @file: ours, or NULL
 * @folio: locked, of its mapping
 */
bool bc_failed_since(struct file *file, struct folio *folio)
{
	struct bc_inode *mapping = BC_I(folio->mapping->host);
	u32 chunk = folio_pos(folio) >> BC_CHUNK_SHIFT;
	const struct bc_file *bf;
	u64 failed;

	bf = file ? file->private_data : NULL;
	if (!bf || bf->mapping != &mapping->vfs)
		return false;
	failed = READ_ONCE(mapping->failed[chunk % BC_FAILED]);
	return failed >> 32 == chunk && (s32)((u32)failed - READ_ONCE(bf->failures)) > 0 &&
	       has_waited(file, bf);
}
