// SPDX-License-Identifier: GPL-2.0-only
/* The limits of a disk's queue: set one by one after the disk was made, or given along with it. */
#include <linux/err.h>
#include <linux/numa.h>

#ifdef HAVE_DISK_QUEUE_LIMITS

static struct gendisk *alloc_disk(const struct bc_disk_limits *limits)
{
	struct queue_limits lim = {
		.logical_block_size = limits->logical,
		.physical_block_size = limits->physical,
		.io_min = limits->physical,
		.io_opt = limits->boundary,
		.chunk_sectors = limits->boundary >> SECTOR_SHIFT,
		.max_hw_sectors = limits->boundary >> SECTOR_SHIFT,
		.max_segments = limits->segments,
		.max_segment_size = limits->boundary,
	};

	return blk_alloc_disk(&lim, NUMA_NO_NODE);
}

#else

static struct gendisk *alloc_disk(const struct bc_disk_limits *limits)
{
	struct gendisk *disk = blk_alloc_disk(NUMA_NO_NODE);
	struct request_queue *q;

	if (!disk)
		return ERR_PTR(-ENOMEM);
	q = disk->queue;
	blk_queue_logical_block_size(q, limits->logical);
	blk_queue_physical_block_size(q, limits->physical);
	blk_queue_io_min(q, limits->physical);
	blk_queue_io_opt(q, limits->boundary);
	blk_queue_chunk_sectors(q, limits->boundary >> SECTOR_SHIFT);
	blk_queue_max_hw_sectors(q, limits->boundary >> SECTOR_SHIFT);
	blk_queue_max_segments(q, limits->segments);
	blk_queue_max_segment_size(q, limits->boundary);
	return disk;
}

#endif

/**
 * bc_disk_alloc - a disk that is given bios, and is not added yet
 * @limits: of its queue
 *
 * It has no rotating parts, and no cache that would want a flush. May sleep.
 * Return: disk, or ERR_PTR.
 */
struct gendisk *bc_disk_alloc(const struct bc_disk_limits *limits)
{
	struct gendisk *disk = alloc_disk(limits);

	/* Older kernels have a flag, which is off; newer ones a feature that says the opposite. */
#ifdef QUEUE_FLAG_NONROT
	if (!IS_ERR(disk))
		blk_queue_flag_set(QUEUE_FLAG_NONROT, disk->queue);
#endif
	return disk;
}
