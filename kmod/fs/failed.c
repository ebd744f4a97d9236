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
 * A mark is set before the read's folios are unlocked. So who waited for one of them, and has its
 * lock now, sees the mark; nothing else is promised. Not all who come here with a file have
 * waited, or even said that they begin (uprobes): what failed a while ago fails nobody.
 *
 * An open file remembers when its last call began. Threads that share it write that without a
 * lock, but never back to an earlier one: who is called younger than he is may wait once more,
 * and nobody is failed by what was before his call.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "fs.h"

/* Who waited for a folio is woken when its read failed, if not at once on a machine under load. */
#define MARK_AGE	(10 * HZ)

/* A counter that wraps, towards @value. Threads that share it share the cache line, too. */
static void forward(u32 *at, u32 value)
{
	u32 old = READ_ONCE(*at), seen;

	while ((s32)(value - old) > 0) {
		seen = cmpxchg(at, old, value);
		if (seen == old)
			break;
		old = seen;
	}
}

/**
 * bc_failed_begin - a call begins that may read folios of a file
 * @file: ours, not read past the cache
 */
void bc_failed_begin(struct file *file)
{
	struct bc_file *bf = file->private_data;
	u32 failures = atomic_read(&BC_I(bf->mapping)->failures);
	u32 aborts = atomic_read(&BC_M(file_inode(file)->i_sb)->aborts);
	unsigned long now = jiffies, began = READ_ONCE(bf->began);

	/* Who was faster wrote as good a time. */
	if (time_after(now, began))
		cmpxchg(&bf->began, began, now);
	forward(&bf->failures, failures);
	forward(&bf->aborts, aborts);
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
	WRITE_ONCE(mapping->failed_at[chunk % BC_FAILED], (u32)jiffies);
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
	       (u32)jiffies - READ_ONCE(mapping->failed_at[chunk % BC_FAILED]) < MARK_AGE &&
	       has_waited(file, bf);
}
