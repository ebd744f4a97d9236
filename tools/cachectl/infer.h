/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which store is behind a mount? Pure; unit tested. */
#ifndef CACHECTL_INFER_H
#define CACHECTL_INFER_H

#include <stddef.h>

#define INFER_SIZE 1024

/**
 * infer_source - the store behind a lower mount, from its line in mountinfo
 * @type: filesystem type
 * @source: what is mounted
 * @out: of INFER_SIZE bytes: on success the source, else what to do, for people
 * Return: 0 or -ENOENT
 */
int infer_source(const char *type, const char *source, char *out);

/**
 * source_check - does a source have a known form?
 * @source: "azure://HOST/CONTAINER", "lower:", ...
 * Return: 0 or -EINVAL
 */
int source_check(const char *source);

#endif /* CACHECTL_INFER_H */
