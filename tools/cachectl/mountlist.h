/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mounts of blobcache, with the places where the caller sees them. */
#ifndef CACHECTL_MOUNTLIST_H
#define CACHECTL_MOUNTLIST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "netlink.h"

/**
 * mountlist_get - all mounts
 * @nl: connection
 * @mounts: out: array of objects, each with "targets", an array of paths
 * Return: 0 or a negative errno
 */
int mountlist_get(struct bcnl *nl, json_t **mounts);

/**
 * mountlist_table - print mounts as a table
 * @stream: where to
 * @mounts: from mountlist_get()
 * @wide: all columns, else those "status" has room for
 * Return: CTL_OK or CTL_FAILED
 */
int mountlist_table(FILE *stream, const json_t *mounts, bool wide);

#endif /* CACHECTL_MOUNTLIST_H */
