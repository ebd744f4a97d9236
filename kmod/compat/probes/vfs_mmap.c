// SPDX-License-Identifier: GPL-2.0-only
#include <linux/fs.h>

int (*probe)(struct file *, struct vm_area_struct *) = vfs_mmap;
