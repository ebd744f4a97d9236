// SPDX-License-Identifier: GPL-2.0-only
#include <linux/fs.h>

struct timespec64 (*probe)(struct inode *, struct timespec64) = inode_set_mtime_to_ts;
struct timespec64 (*probe2)(const struct inode *) = inode_get_mtime;
