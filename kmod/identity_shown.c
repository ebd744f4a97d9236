// SPDX-License-Identifier: GPL-2.0-only
/*
 * What lowers show of identities: directories, and who may do what with files. It is taken in the
 * order in which the lower was asked, which answers need not come in.
 */
#include "identity_table.h"

/* Lowers have shown something: what a tier knows may be older. */
static void set_shown(void)
{
	if (!READ_ONCE(bc_ids.shown))
		WRITE_ONCE(bc_ids.shown, true);
}

bool bc_identity_take_view(struct entry *entry)
{
	bool had = entry->identity.view;

	entry->identity.view = 0;
	entry->identity.nonce = 0;
	entry->loaded_rights = false;
	return had;
}

static bool same_rights(const struct bc_identity *was, const struct bc_shown *shown, u32 view)
{
	return was->view == view && was->lower.mode == shown->attr.mode &&
	       was->lower.uid == shown->attr.uid && was->lower.gid == shown->attr.gid;
}

/*
 * Every 2^39 ns, which are nine minutes, a tier gets to know that rights and times are as they
 * were.
 */
#define SEEN_SHIFT	39

static bool same_time(const struct bc_identity *was, const struct bc_shown *shown)
{
	return was->seen_ns >> SEEN_SHIFT == shown->asked_ns >> SEEN_SHIFT;
}

/* It is here already: what was dropped since were others in its bucket. */
static bool is_known_answer(const struct bc_identity *was, const struct bc_shown *shown)
{
	return shown->asked_ns == was->seen_ns && shown->view &&
	       same_rights(was, shown, shown->view);
}

/*
 * The lower has shown a file again. bucket->lock held. Return: whether tiers should know.
 *
 * If it moved since the store was asked, rights and version do not belong together.
 */
static bool update_file(struct bucket *bucket, struct entry *entry, const struct bc_shown *shown)
{
	struct bc_identity *was = &entry->identity;
	bool moved = bc_lower_attr_moved(&was->lower, &shown->attr), differs;
	u32 view = shown->view;

	if (shown->asked_ns < was->seen_ns || (!moved && is_known_answer(was, shown)))
		return false;
	if (shown->asked_ns <= bucket->dropped_ns || moved)
		view = 0;
	differs = !same_rights(was, shown, view) || (view && !same_time(was, shown));
	take_rights(&was->lower, &shown->attr);
	was->view = view;
	was->seen_ns = shown->asked_ns;
	entry->loaded_rights = false;
	return differs;
}

/**
 * bc_identity_seen_file - the lower has shown a file
 * @volume: volume id
 * @path: path hash
 * @shown: what it showed; may be from before what is known
 *
 * Only who may do what with it is taken, and nothing of one that the store was not asked about:
 * size and mtime are compared with what the lower shows later. If it was asked before something
 * was dropped, it is not known from now on who may do what. Process context, does not sleep.
 */
void bc_identity_seen_file(const struct bc_key *volume, const struct bc_key *path,
			   const struct bc_shown *shown)
{
	struct bucket *bucket = bucket_of(path);
	struct entry **link, *gone = NULL;
	struct bc_identity *was;
	bool differs = false;

	set_shown();
	spin_lock(&bucket->lock);
	link = bc_identity_link(bucket, volume, path);
	was = *link ? &(*link)->identity : NULL;
	if (was && was->kind == BC_IDENTITY_FILE) {
		differs = update_file(bucket, *link, shown);
	} else if (was && shown->asked_ns >= was->seen_ns) {
		/* No directory that was there before comes back. */
		drop_before(bucket, shown->asked_ns - 1);
		if (is_mark(was))
			differs = bc_identity_take_view(*link);
		else
			gone = bc_identity_unlink(bucket, link);
	}
	spin_unlock(&bucket->lock);
	bc_identity_dispose(gone);
	if (differs)
		changed();
}

/* Is it the incarnation that is known? Else that of @nonce, which the caller knows, or new. */
static u32 choose_nonce(const struct bc_identity *was, const struct bc_shown *shown, u32 nonce)
{
	if (was && was->nonce && was->view == shown->view && was->lower.ino == shown->attr.ino)
		return was->nonce;
	/* 0 is nobody's. */
	return nonce ?: get_random_u32() ?: 1;
}

/* bucket->lock held. Return: whether tiers should know; times and size alone are not worth it. */
static bool update_dir(struct bc_identity *was, const struct bc_shown *shown, u32 nonce)
{
	bool differs = !same_rights(was, shown, shown->view) || was->nonce != nonce ||
		       !same_time(was, shown);

	was->lower = shown->attr;
	was->view = shown->view;
	was->nonce = nonce;
	was->seen_ns = shown->asked_ns;
	was->resolved_ns = shown->asked_ns;
	return differs;
}

/*
 * The lower has shown a directory where something is known, not later than that. bucket->lock
 * held. Return: whether tiers should know.
 */
static bool meet_dir(struct bucket *bucket, struct entry *entry, const struct bc_shown *shown,
		     u32 *nonce)
{
	struct bc_identity *was = &entry->identity;

	if (was->kind == BC_IDENTITY_DIR && is_known_answer(was, shown) &&
	    was->lower.ino == shown->attr.ino && was->nonce) {
		entry->used = true;
		*nonce = was->nonce;
		return false;
	}
	if (shown->asked_ns <= dirs_dropped(bucket) || was->kind != BC_IDENTITY_DIR)
		return bc_identity_take_view(entry);
	*nonce = choose_nonce(was, shown, *nonce);
	entry->used = true;
	entry->loaded = false;
	entry->loaded_rights = false;
	return update_dir(was, shown, *nonce);
}

static int insert_dir(const struct bc_key *volume, const struct bc_key *path,
		      const struct bc_shown *shown, u32 nonce)
{
	struct bc_identity id = {
		.volume = *volume,
		.path = *path,
		.kind = BC_IDENTITY_DIR,
		.lower = shown->attr,
		.view = shown->view,
		.nonce = nonce,
		.seen_ns = shown->asked_ns,
		.resolved_ns = shown->asked_ns,
	};

	return bc_identity_insert_dir(&id);
}

/**
 * bc_identity_seen_dir - the lower has shown a directory
 * @volume: volume id
 * @path: path hash
 * @shown: what it showed; may be from before what is known
 * @nonce: by which the caller knows it, or 0
 *
 * It is another incarnation if its inode number is another, or if nothing was known of it, neither
 * here nor to the caller. A mark of a file that was here stays; without memory it is not known.
 * Process context, may sleep for memory.
 * Return: the nonce of this incarnation; @nonce if what was shown came too late.
 */
u32 bc_identity_seen_dir(const struct bc_key *volume, const struct bc_key *path,
			 const struct bc_shown *shown, u32 nonce)
{
	struct bucket *bucket = bucket_of(path);
	bool differs = false, is_new = false, late;
	struct entry *entry;

	set_shown();
	spin_lock(&bucket->lock);
	entry = *bc_identity_link(bucket, volume, path);
	late = shown->asked_ns <= dirs_dropped(bucket);
	if (entry && shown->asked_ns < entry->identity.seen_ns)
		late = true;
	else if (entry)
		differs = meet_dir(bucket, entry, shown, &nonce);
	if (!late && (!entry || (entry->identity.kind == BC_IDENTITY_FILE &&
				 !is_mark(&entry->identity)))) {
		nonce = choose_nonce(NULL, shown, nonce);
		is_new = true;
	}
	spin_unlock(&bucket->lock);
	if (is_new)
		insert_dir(volume, path, shown, nonce);
	if (is_new || differs)
		changed();
	return nonce;
}

/**
 * bc_identity_drop - the lower shows no file or directory there, or another
 * @volume: volume id
 * @path: path hash
 *
 * What is known of the store stays, and marks do: but who may do what is not known, nor is it taken
 * from what a lower was asked before now. (Nor, now and then, from what was shown of another path:
 * that is remembered per bucket.) What the store is asked meanwhile counts. Process context, does
 * not sleep.
 */
void bc_identity_drop(const struct bc_key *volume, const struct bc_key *path)
{
	struct bucket *bucket = bucket_of(path);
	struct entry **link, *gone = NULL;
	bool differs = false;

	set_shown();
	spin_lock(&bucket->lock);
	drop_now(bucket);
	link = bc_identity_link(bucket, volume, path);
	if (*link && ((*link)->identity.kind == BC_IDENTITY_FILE || is_mark(&(*link)->identity)))
		differs = bc_identity_take_view(*link);
	else if (*link)
		gone = bc_identity_unlink(bucket, link);
	spin_unlock(&bucket->lock);
	bc_identity_dispose(gone);
	if (differs)
		changed();
}
