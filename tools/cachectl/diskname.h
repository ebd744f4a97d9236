/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How disks and what they are made of are called. Pure; unit tested. */
#ifndef CACHECTL_DISKNAME_H
#define CACHECTL_DISKNAME_H

#include "blobcache_dev.h"
#include "blobcache_netlink.h"

#define DISKNAME_DIR	"/dev/" BC_DEV_DIR "/"
#define DISKNAME_PATH	(sizeof(DISKNAME_DIR) + BC_DISK_NAME_MAX)	/* of a node's path */

/**
 * struct disk_place - where the content of a disk is
 * @source: volume, "azure://HOST/CONTAINER"
 * @path: of the object in it
 */
struct disk_place {
	char source[BC_NL_SOURCE_MAX + 1];
	char path[BC_NL_PATH_MAX + 1];
};

/**
 * diskname_split - take the URL of an object apart
 * @url: azure://HOST/CONTAINER/PATH, file:///DIR/NAME, ...
 * @volume: the part of @url that is the source; NULL = as the scheme has it: HOST/CONTAINER, or
 *	all but the last name
 * @place: out
 * Return: NULL, or what is wrong with it
 */
const char *diskname_split(const char *url, const char *volume, struct disk_place *place);

/**
 * diskname_default - a name for the disk of an object
 * @path: of the object
 * @name: out, of BC_DISK_NAME_MAX + 1 bytes: its last part without the ending, what cannot be in
 *	a name replaced; "" if nothing is left
 * Return: @name
 */
const char *diskname_default(const char *path, char *name);

/* diskname_of - the name in "NAME" or "/dev/blobcache/NAME" */
const char *diskname_of(const char *argument);

/* diskname_path - the node of a disk, into DISKNAME_PATH bytes */
const char *diskname_path(const char *name, char *path);

#endif /* CACHECTL_DISKNAME_H */
