/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty files: what the kernel tells of them, and what the daemon does about them. */
#ifndef CACHECTL_DIRTYLIST_H
#define CACHECTL_DIRTYLIST_H

#include <jansson.h>
#include <stdbool.h>

#include "netlink.h"

/**
 * struct dirtylist - all of them
 * @rows: array of objects, as the kernel tells, with the daemon's "flush", "age_ms", "reason" ...
 * @counts: what the daemon counted, or NULL
 * @has_daemon: one is there, and tells
 */
struct dirtylist {
	json_t *rows;
	json_t *counts;
	bool has_daemon;
};

/**
 * struct dirtyplace - what a path is called in its source
 * @source: of the mount; "" = all
 * @path: without '/' at either end; "" = all of it
 */
struct dirtyplace {
	char source[1100];
	char path[4200];
};

/**
 * dirtylist_get - all dirty files that a place has, and do not only wait for the lower
 * @nl: connection
 * @place: below which
 * @list: out
 * Return: 0 or a negative errno
 */
int dirtylist_get(struct bcnl *nl, const struct dirtyplace *place, struct dirtylist *list);

/* dirtylist_free - also of one that is empty */
void dirtylist_free(struct dirtylist *list);

/**
 * dirtyplace_find - which place a path is
 * @nl: connection
 * @path: file or directory of a mount of ours
 * @place: out
 * Return: CTL_OK, or an exit code, which was told
 */
int dirtyplace_find(struct bcnl *nl, const char *path, struct dirtyplace *place);

#endif /* CACHECTL_DIRTYLIST_H */
