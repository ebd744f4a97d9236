/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BC_COMPAT_BDEV_H
#define BC_COMPAT_BDEV_H

#include <linux/blkdev.h>

/**
 * struct bc_bdev - a block device opened for a tier
 * @bdev: for bios
 * @handle: what the kernel wants back at close
 */
struct bc_bdev {
	struct block_device *bdev;
	void *handle;
};

int bc_bdev_open(const char *path, void *holder, struct bc_bdev *out);
void bc_bdev_close(struct bc_bdev *bdev);

#endif /* BC_COMPAT_BDEV_H */
