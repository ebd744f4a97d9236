// SPDX-License-Identifier: GPL-2.0-only
/*
 * Marks of paths that were written through this node: what the store says of them may be older,
 * until somebody has judged the very mark.
 */
#include "identity_table.h"

void bc_identity_remember_lost(const struct bc_identity *mark)
{
	struct bc_lost *lost = &bc_ids.lost[mark->kind == BC_IDENTITY_DIR];
	/* One that is open for writing has not been written, or not for the last time. */
	s64 written_at = mark->written_at ?: ktime_get_real_seconds();

	spin_lock(&bc_ids.lost_lock);
	lost->written_at = max(lost->written_at, written_at);
	lost->written_from = max(lost->written_from, mark->written_from ?: written_at);
	lost->mark_ns = max(lost->mark_ns, mark->mark_ns);
	spin_unlock(&bc_ids.lost_lock);
}

/* @was is marked: what is known of it stays, the later of the two times counts. */
void bc_identity_merge_mark(struct bc_identity *was, const struct bc_identity *mark)
{
	bc_identity_account(was, mark);
	if (was->kind != mark->kind) {
		*was = *mark;
		return;
	}
	if (!is_mark(was) || mark->written_at > was->written_at)
		was->written_from = mark->written_from;
	else if (mark->written_at == was->written_at)
		was->written_from = max(was->written_from, mark->written_from);
	was->written_at = is_mark(was) ? max(was->written_at, mark->written_at) : mark->written_at;
	was->flags |= BC_IDENTITY_WRITTEN;
	if (mark->written_at)
		was->flags &= ~BC_IDENTITY_MOVED;
	was->moved = mark->moved;
	was->moved_ns = max(was->moved_ns, mark->moved_ns);
	/* No two marks are the same to who judges them. */
	was->mark_ns = max(was->mark_ns + 1, mark->mark_ns);
}

/**
 * bc_identity_mark - a path was written here, or a writer came or went
 * @mark: volume, path, kind, moved, moved_ns, resolved_ns, mark_ns, written_at,
 *	written_from; and BC_IDENTITY_WRITTEN in flags
 *
 * In one step with what is known of the path, since there may be several writers.
 * Process context, may sleep for memory.
 * Return: 0 or -ENOMEM.
 */
int bc_identity_mark(const struct bc_identity *mark)
{
	struct bucket *bucket = bucket_of(&mark->path);
	struct entry *entry;

	changed();
	spin_lock(&bucket->lock);
	entry = *bc_identity_link(bucket, &mark->volume, &mark->path);
	if (entry) {
		bc_identity_merge_mark(&entry->identity, mark);
		entry->used = true;
		entry->loaded = false;
	}
	spin_unlock(&bucket->lock);
	return entry ? 0 : bc_identity_insert(mark, MARK);
}

/**
 * bc_identity_unmark - those who had a path open for writing wrote nothing
 * @judged: copy of the mark; one that came later stays
 *
 * What the store said before is what is known again, and as old as it is.
 */
void bc_identity_unmark(const struct bc_identity *judged)
{
	struct bucket *bucket = bucket_of(&judged->path);
	struct bc_identity *identity;
	struct entry **link, *gone = NULL;

	spin_lock(&bucket->lock);
	link = bc_identity_link(bucket, &judged->volume, &judged->path);
	identity = *link ? &(*link)->identity : NULL;
	if (identity && is_mark(identity) && identity->mark_ns == judged->mark_ns) {
		if (identity->etag_length) {
			bc_identity_account(identity, NULL);
			identity->flags &= ~BC_IDENTITY_WRITTEN;
			identity->moved_ns = 0;
			identity->mark_ns = 0;
		} else {
			gone = bc_identity_unlink(bucket, link);
		}
	}
	spin_unlock(&bucket->lock);
	bc_identity_dispose(gone);
}

/**
 * bc_identity_lose_mark - a path is to be marked, for which there is no memory
 * @mark: the mark
 *
 * Nothing is known of it from now on; and who knows nothing of a path takes it for written.
 */
void bc_identity_lose_mark(const struct bc_identity *mark)
{
	bc_identity_remember_lost(mark);
	bc_identity_forget(&mark->volume, &mark->path);
}

/**
 * bc_identity_lost - were there so many marks that some had to go?
 * @kind: of what
 *
 * Process context, does not sleep. Return: the latest of those that went; zeroes = none did.
 */
struct bc_lost bc_identity_lost(enum bc_identity_kind kind)
{
	struct bc_lost lost;

	spin_lock(&bc_ids.lost_lock);
	lost = bc_ids.lost[kind == BC_IDENTITY_DIR];
	spin_unlock(&bc_ids.lost_lock);
	return lost;
}
