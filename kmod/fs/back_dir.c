// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories that have dirty files: listed from a snapshot of the lower's names and ours, made
 * when reading begins. Positions are numbers of entries in it.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "back.h"

/* Of an entry that is not shown: a dirty file has its name. */
#define HIDDEN	(-1LL)

struct chunk {
	struct chunk *next;
	u32 used;
	u8 *entries;			/* struct bc_dirent, each aligned to 8 bytes */
};

struct bc_back_listing {
	struct chunk *first;
};

static u32 entry_bytes(const struct bc_dirent *entry)
{
	return ALIGN(sizeof(*entry) + entry->length, 8);
}

void bc_back_listing_free(struct bc_back_listing *listing)
{
	struct chunk *chunk;

	if (!listing)
		return;
	while ((chunk = listing->first)) {
		listing->first = chunk->next;
		kvfree(chunk->entries);
		kfree(chunk);
	}
	kfree(listing);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_dirty(struct bc_client *client, const char *dir, const struct bc_dirent *entry)
{
	char *path = kasprintf(GFP_KERNEL, *dir ? "%s/%.*s" : "%s%.*s", dir, entry->length,
			       entry->name);
	struct bc_dirty *dirty = path ? bc_dirty_find(client, path) : NULL;

	kfree(path);
	if (dirty)
		bc_dirty_put(dirty);
	return dirty;
}

/* Takes over what was read. */
static int add_chunk(struct chunk ***tail, u8 *entries, u32 used)
{
	struct chunk *chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);

	if (!chunk) {
		kvfree(entries);
		return -ENOMEM;
	}
	chunk->entries = entries;
	chunk->used = used;
	**tail = chunk;
	*tail = &chunk->next;
	return 0;
}

static void hide_dirty(struct bc_client *client, const char *dir, const struct chunk *chunk)
{
	struct bc_dirent *entry;
	u32 at;

	for (at = 0; at < chunk->used; at += entry_bytes(entry)) {
		entry = (struct bc_dirent *)(chunk->entries + at);
		if (is_dirty(client, dir, entry))
			entry->pos = HIDDEN;
	}
}

static int add_lower(struct bc_mount *mount, struct file *lower, const char *dir,
		     struct chunk ***tail)
{
	struct bc_dirents dirents = { .pos = 0 };
	int error;

	do {
		struct chunk **last = *tail;

		error = bc_lower_readdir(mount, lower, &dirents);
		if (!error)
			error = add_chunk(tail, dirents.entries, dirents.used);
		if (error)
			return error;
		hide_dirty(mount->client, dir, *last);
	} while (!dirents.end);
	return 0;
}

static int add_name(struct chunk ***tail, const char *name, u64 ino)
{
	u32 length = strlen(name), bytes = ALIGN(sizeof(struct bc_dirent) + length, 8);
	struct bc_dirent *entry = kvzalloc(bytes, GFP_KERNEL);

	if (!entry)
		return -ENOMEM;
	entry->ino = ino;
	entry->type = DT_REG;
	entry->length = length;
	memcpy(entry->name, name, length);
	return add_chunk(tail, (u8 *)entry, bytes);
}

static int add_dirty(struct bc_client *client, const char *dir, struct chunk ***tail)
{
	struct bc_dirty *dirty;
	u64 serial = 0;
	int error = 0;

	while (!error && (dirty = bc_dirty_next_in(client, dir, &serial))) {
		char *path = bc_dirty_path(dirty);

		error = PTR_ERR_OR_ZERO(path);
		if (!error) {
			error = add_name(tail, last_part(path), bc_back_number(dirty));
			kfree(path);
		}
		bc_dirty_put(dirty);
	}
	return error;
}

/**
 * bc_back_list - a snapshot of a directory, if it has dirty files
 * @file: open directory of a mount that writes back
 * @lower: the lower's
 *
 * Return: for bc_back_listing_free(); NULL if it has none; or ERR_PTR.
 */
struct bc_back_listing *bc_back_list(struct file *file, struct file *lower)
{
	struct bc_mount *mount = BC_M(file_inode(file)->i_sb);
	char *dir = bc_dentry_volume_path(file_dentry(file));
	struct bc_back_listing *listing = NULL;
	struct bc_dirty *dirty;
	struct chunk **tail;
	u64 serial = 0;
	int error = 0;

	if (IS_ERR(dir))
		return ERR_CAST(dir);
	dirty = bc_dirty_next_in(mount->client, dir, &serial);
	if (!dirty)
		goto out;
	bc_dirty_put(dirty);
	listing = kzalloc(sizeof(*listing), GFP_KERNEL);
	if (!listing) {
		listing = ERR_PTR(-ENOMEM);
		goto out;
	}
	tail = &listing->first;
	error = add_lower(mount, lower, dir, &tail);
	if (!error)
		error = add_dirty(mount->client, dir, &tail);
	if (error) {
		bc_back_listing_free(listing);
		listing = ERR_PTR(error);
	}
out:
	kfree(dir);
	return listing;
}

/**
 * bc_back_emit - entries of a snapshot to a reader
 * @listing: snapshot
 * @ctx: reader
 */
void bc_back_emit(struct bc_back_listing *listing, struct dir_context *ctx)
{
	const struct bc_dirent *entry;
	const struct chunk *chunk;
	loff_t number = 0;
	u32 at;

	for (chunk = listing->first; chunk; chunk = chunk->next) {
		for (at = 0; at < chunk->used; at += entry_bytes(entry), number++) {
			entry = (const struct bc_dirent *)(chunk->entries + at);
			if (number < ctx->pos)
				continue;
			if (entry->pos != HIDDEN &&
			    !dir_emit(ctx, entry->name, entry->length, entry->ino, entry->type))
				return;
			ctx->pos = number + 1;
		}
	}
}
