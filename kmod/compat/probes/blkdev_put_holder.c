// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>

void (*probe)(struct block_device *, void *) = blkdev_put;
