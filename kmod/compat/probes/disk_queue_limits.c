// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>

struct gendisk *(*probe)(struct queue_limits *, int, struct lock_class_key *) = __blk_alloc_disk;
