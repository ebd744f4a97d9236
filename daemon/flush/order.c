// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In which order files become visible in the store: one that was closed, or renamed, last not
 * before those of its directory, and below, that were before. A marker, by its name, waits for all
 * of its source: who finds it relies on everything else.
 *
 * Files that are open for writing are not waited for: a log may be for ever.
 */
#include <fnmatch.h>
#include <string.h>

#include "flush/lane.h"

static const char *last_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/**
 * bc_order_is_marker - whether a file tells that others are complete
 * @config: has the patterns
 * @path: of the file
 */
bool bc_order_is_marker(const struct bc_flush_config *config, const char *path)
{
	size_t i;

	for (i = 0; i < config->marker_count; i++)
		if (!fnmatch(config->markers[i], last_of(path), 0))
			return true;
	return false;
}

/**
 * bc_order_below - whether a file has to be there before another
 * @path: of the one
 * @other: of the other
 * @is_marker: the other is a marker
 */
bool bc_order_below(const char *path, const char *other, bool is_marker)
{
	return is_marker || !strncmp(path, other, (size_t)(last_of(other) - other));
}

/**
 * bc_order_may_commit - whether nothing has to be in the store before a file
 * @entries: by their last change, the oldest first
 * @entry: one of them
 * @config: has the markers' patterns
 */
bool bc_order_may_commit(const struct bc_entries *entries, const struct bc_entry *entry,
			 const struct bc_flush_config *config)
{
	bool is_marker = bc_order_is_marker(config, entry->told.path);
	const struct bc_entry *other;

	for (other = TAILQ_FIRST(entries); other && other != entry;
	     other = TAILQ_NEXT(other, link))
		if (bc_entry_pending(other) &&
		    !strcmp(other->store->source, entry->store->source) &&
		    bc_order_below(other->told.path, entry->told.path, is_marker))
			return false;
	return true;
}
