// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>

struct bdev_handle *(*probe)(const char *, blk_mode_t, void *, const struct blk_holder_ops *) =
	bdev_open_by_path;
