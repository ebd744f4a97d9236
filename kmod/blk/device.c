// SPDX-License-Identifier: GPL-2.0-only
/* The block device of a disk. */
#include <linux/module.h>

#include "blk.h"

/* gendisk->open_mutex held. */
static int disk_open(struct gendisk *gendisk, bool writes)
{
	struct bc_disk *disk = gendisk->private_data;

	if (disk->closed)
		return -ENXIO;
	return writes ? -EROFS : 0;
}

BC_DISK_OPEN_OP(disk_open)

/*
 * The last reference to the device is gone. The module's goes last; what is left of this function
 * then is its return, and an unload has much more to do before it frees the text.
 */
static void disk_free(struct gendisk *gendisk)
{
	bc_disk_free(gendisk->private_data);
	module_put(THIS_MODULE);
}

static const struct block_device_operations disk_ops = {
	.owner = THIS_MODULE,
	.open = disk_open_op,
	.submit_bio = bc_disk_submit,
	.free_disk = disk_free,
};

struct bc_disk *bc_disk_of_file(struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	struct gendisk *gendisk;

	if (!S_ISBLK(inode->i_mode))
		return NULL;
	gendisk = I_BDEV(inode)->bd_disk;
	return gendisk->fops == &disk_ops ? gendisk->private_data : NULL;
}

static struct gendisk *make_gendisk(struct bc_disk *disk)
{
	u64 size = round_up(disk->version.size, BC_DISK_BLOCK_MAX);
	const struct bc_disk_limits limits = {
		.logical = disk->options.block_size,
		.physical = BC_DISK_BLOCK_MAX,
		.boundary = BC_CHUNK_SIZE,
		.segments = BIO_MAX_VECS,
	};
	struct gendisk *gendisk = bc_disk_alloc(&limits);

	if (IS_ERR(gendisk))
		return gendisk;
	/* '!' is a '/' in the name of the device's node. */
	BUILD_BUG_ON(sizeof(BC_DEV_DIR "!") + BC_DISK_NAME_MAX > DISK_NAME_LEN);
	snprintf(gendisk->disk_name, sizeof(gendisk->disk_name), BC_DEV_DIR "!%s",
		 disk->options.name);
	gendisk->fops = &disk_ops;
	gendisk->private_data = disk;
	gendisk->flags |= GENHD_FL_NO_PART;
	/* Filesystems read whole blocks of theirs: what is behind the object's end is zeroes. */
	set_capacity(gendisk, size >> SECTOR_SHIFT);
	set_disk_ro(gendisk, true);
	return gendisk;
}

int bc_disk_add(struct bc_disk *disk)
{
	struct gendisk *gendisk = make_gendisk(disk);
	int error = PTR_ERR_OR_ZERO(gendisk);

	if (error)
		return error;
	error = -ENODEV;
	if (!try_module_get(THIS_MODULE))
		goto err_disk;
	disk->gendisk = gendisk;
	error = device_add_disk(NULL, gendisk, NULL);
	if (!error)
		return 0;
	disk->gendisk = NULL;
	module_put(THIS_MODULE);
err_disk:
	/* It was never added: its end does not free the disk. */
	put_disk(gendisk);
	return error;
}

int bc_disk_close(struct bc_disk *disk)
{
	int ret = mutex_lock_killable(&disk->gendisk->open_mutex);

	if (ret)
		return ret;
	if (disk_openers(disk->gendisk))
		ret = -EBUSY;
	else
		disk->closed = true;
	mutex_unlock(&disk->gendisk->open_mutex);
	return ret;
}

/*
 * A filesystem that is being mounted is told when that has ended, one that is mounted when its
 * pages are not locked any more: both by reads that fail before.
 */
static void mark_dead(struct bc_disk *disk)
{
	mutex_lock(&disk->gendisk->open_mutex);
	disk->closed = true;
	mutex_unlock(&disk->gendisk->open_mutex);
	blk_mark_disk_dead(disk->gendisk);
}

void bc_disk_remove(struct bc_disk *disk, bool dead)
{
	/* What waits for a fill fails, and what comes to that before the device is gone. */
	bc_client_kill(disk->client);
	if (dead)
		mark_dead(disk);
	del_gendisk(disk->gendisk);
	bc_object_close(disk->object);
}
