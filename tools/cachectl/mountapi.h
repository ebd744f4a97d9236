/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount system calls; kept apart because <linux/mount.h> and <sys/mount.h> quarrel. */
#ifndef CACHECTL_MOUNTAPI_H
#define CACHECTL_MOUNTAPI_H

#include <stddef.h>

/**
 * mountapi_attribute - MOUNT_ATTR_... of a word of -o
 * @word: "ro", "nosuid", ...
 * Return: the bit, 0 if it is none
 */
unsigned int mountapi_attribute(const char *word);

/**
 * struct mount_option - one fsconfig(2) string; a flag if @value is NULL
 */
struct mount_option {
	const char *name, *value;
};

/**
 * mountapi_mount - mount a filesystem with the new mount API
 * @type: of the filesystem
 * @options: ended by one without name
 * @target: where
 * @attributes: MOUNT_ATTR_... of the mount point
 * @log: out: what the kernel said on failure, its own words, a line each; "" if nothing
 * @log_size: of @log
 * @step: out on failure: what was attempted
 * Return: 0 or a negative errno
 */
int mountapi_mount(const char *type, const struct mount_option *options, const char *target,
		   unsigned int attributes, char *log, size_t log_size, const char **step);

#endif /* CACHECTL_MOUNTAPI_H */
