/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is it safe to write to this block device? */
#ifndef CACHECTL_BLKDEV_H
#define CACHECTL_BLKDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct blkdev - an open block device
 * @fd: file
 * @dev: its number
 * @bytes: its size
 * @path: as opened, symbolic links resolved
 */
struct blkdev {
	int fd;
	dev_t dev;
	uint64_t bytes;
	char path[4096];
};

/**
 * blkdev_open - open a block device
 * @path: as the user gave it
 * @write: for writing, and alone (O_EXCL); else for reading
 * @device: out
 *
 * Says on stderr what is wrong: no such file, a regular file, busy and by whom, read-only.
 * Return: CTL_OK, CTL_FAILED, or CTL_NOTHING if there is no such device
 */
int blkdev_open(const char *path, bool write, struct blkdev *device);

void blkdev_close(struct blkdev *device);

/**
 * blkdev_users - who uses a device or one of its partitions
 * @dev: its number
 * @text: out: "mounted on /mnt, held by md0", "" if nobody is known
 * @size: of @text
 */
void blkdev_users(dev_t dev, char *text, size_t size);

/**
 * blkdev_signatures - what is on the device
 * @device: open device
 * @wipe: erase every signature found
 * @text: out: "ext4 filesystem, gpt partition table", "" if it is blank
 * @size: of @text
 * Return: 0 or a negative errno (the device cannot be read)
 */
int blkdev_signatures(const struct blkdev *device, bool wipe, char *text, size_t size);

/**
 * blkdev_canonical - the path the kernel is told
 * @path: as given; links such as /dev/disk/by-id/... are resolved
 * @out: of 4096 bytes; @path itself if it does not exist
 * Return: @out
 */
const char *blkdev_canonical(const char *path, char *out);

#endif /* CACHECTL_BLKDEV_H */
