/* SPDX-License-Identifier: GPL-2.0-only */
/* Disks of our own. */
#ifndef BC_COMPAT_DISK_H
#define BC_COMPAT_DISK_H

#include <linux/blkdev.h>

/**
 * struct bc_disk_limits - how a disk wants to be asked, in bytes
 * @logical: smallest unit
 * @physical: what is read well
 * @boundary: bios are split at multiples of it; a power of two
 * @segments: most pieces of memory of a bio
 */
struct bc_disk_limits {
	unsigned int logical;
	unsigned int physical;
	unsigned int boundary;
	unsigned int segments;
};

struct gendisk *bc_disk_alloc(const struct bc_disk_limits *limits);

/* Defines name_op() for block_device_operations.open, which calls name(disk, for_writing). */
#ifdef HAVE_DISK_OPEN_GENDISK
#define BC_DISK_OPEN_OP(name)							\
static int name##_op(struct gendisk *disk, blk_mode_t mode)			\
{										\
	return name(disk, mode & BLK_OPEN_WRITE);				\
}
#else
#define BC_DISK_OPEN_OP(name)							\
static int name##_op(struct block_device *bdev, fmode_t mode)			\
{										\
	return name(bdev->bd_disk, mode & FMODE_WRITE);				\
}
#endif

#endif /* BC_COMPAT_DISK_H */
