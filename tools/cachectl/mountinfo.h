/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The caller's mounts, from /proc/self/mountinfo: never touches the mounts themselves. */
#ifndef CACHECTL_MOUNTINFO_H
#define CACHECTL_MOUNTINFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct mountinfo - one line
 * @id: of the mount
 * @dev: st_dev of its files
 * @root: directory of the filesystem that is mounted
 * @target: where
 * @type: of the filesystem
 * @source: as given to mount
 * @options: of the filesystem
 */
struct mountinfo {
	int id;
	dev_t dev;
	const char *root, *target, *type, *source, *options;
};

typedef void (*mountinfo_fn)(const struct mountinfo *mount, void *arg);

/**
 * mountinfo_each - go through all mounts, in the order they were made
 * @fn: called for each; its strings are valid during the call only
 * @arg: for @fn
 * Return: 0 or a negative errno
 */
int mountinfo_each(mountinfo_fn fn, void *arg);

#endif /* CACHECTL_MOUNTINFO_H */
