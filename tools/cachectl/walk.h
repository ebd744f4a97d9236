/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that PATH ... [-r] means. */
#ifndef CACHECTL_WALK_H
#define CACHECTL_WALK_H

#include <stdbool.h>
#include <stdint.h>

/* Return: 0 to go on; another value counts the file as failed (the callee told why). */
typedef int (*walk_fn)(const char *path, int fd, uint64_t size, void *arg);

/**
 * struct walk - how a walk went
 * @files: regular files that were opened and handled
 * @bytes: their sizes added up
 * @failed: paths that could not be opened or handled
 */
struct walk {
	uint64_t files, bytes, failed;
};

/**
 * walk_files - open each file and hand it to a function
 * @paths: ended by NULL; symbolic links among them are followed, those found below are not
 * @recursive: go into directories (staying on their filesystem), else refuse them
 * @fn: called with each regular file, open for reading
 * @arg: for @fn
 * @walk: out
 * Return: CTL_OK if no file failed, else CTL_FAILED
 */
int walk_files(char *const *paths, bool recursive, walk_fn fn, void *arg, struct walk *walk);

/**
 * walk_quota - may one more failure be told?
 *
 * The first ten are; the others are only counted.
 */
bool walk_quota(void);

#endif /* CACHECTL_WALK_H */
