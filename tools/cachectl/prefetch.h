/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CACHECTL_PREFETCH_H
#define CACHECTL_PREFETCH_H

#include "netlink.h"

/**
 * prefetch_path - fetch one file or disk, and wait until it is here
 * @nl: connection
 * @path: of it
 *
 * With progress on stderr; an interrupt ends the waiting. In JSON nothing is said on stdout.
 * Return: exit code
 */
int prefetch_path(struct bcnl *nl, const char *path);

#endif /* CACHECTL_PREFETCH_H */
