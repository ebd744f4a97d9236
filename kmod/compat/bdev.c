// SPDX-License-Identifier: GPL-2.0-only
/* Exclusive opens of block devices: four interfaces in as many years. */
#include <linux/err.h>
#include <linux/file.h>

#if defined(HAVE_BDEV_FILE_OPEN_BY_PATH)

static int bdev_open(const char *path, void *holder, struct bc_bdev *out)
{
	struct file *file;

	file = bdev_file_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE, holder, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	out->bdev = file_bdev(file);
	out->handle = file;
	return 0;
}

static void bdev_close(struct bc_bdev *bdev)
{
	/* fput() would release it when the task returns to userspace: after detach was reported. */
	__fput_sync(bdev->handle);
}

#elif defined(HAVE_BDEV_OPEN_BY_PATH)

static int bdev_open(const char *path, void *holder, struct bc_bdev *out)
{
	struct bdev_handle *handle;

	handle = bdev_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE, holder, NULL);
	if (IS_ERR(handle))
		return PTR_ERR(handle);
	out->bdev = handle->bdev;
	out->handle = handle;
	return 0;
}

static void bdev_close(struct bc_bdev *bdev)
{
	bdev_release(bdev->handle);
}

#elif defined(HAVE_BLKDEV_PUT_HOLDER)

static int bdev_open(const char *path, void *holder, struct bc_bdev *out)
{
	struct block_device *bdev;

	bdev = blkdev_get_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE, holder, NULL);
	if (IS_ERR(bdev))
		return PTR_ERR(bdev);
	out->bdev = bdev;
	out->handle = holder;
	return 0;
}

static void bdev_close(struct bc_bdev *bdev)
{
	blkdev_put(bdev->bdev, bdev->handle);
}

#else

#define BC_BDEV_MODE (FMODE_READ | FMODE_WRITE | FMODE_EXCL)

static int bdev_open(const char *path, void *holder, struct bc_bdev *out)
{
	struct block_device *bdev;

	bdev = blkdev_get_by_path(path, BC_BDEV_MODE, holder);
	if (IS_ERR(bdev))
		return PTR_ERR(bdev);
	out->bdev = bdev;
	out->handle = NULL;
	return 0;
}

static void bdev_close(struct bc_bdev *bdev)
{
	blkdev_put(bdev->bdev, BC_BDEV_MODE);
}

#endif

/**
 * bc_bdev_open - open a block device for reading and writing, exclusively
 * @path: of its node, in the caller's mount namespace
 * @holder: who holds it; any address of the caller's
 * @out: filled in
 *
 * Cached pages of the device are written back and dropped: from now on it is
 * accessed by bios only. May sleep.
 *
 * Return: 0, -EBUSY if it is mounted or held, -ENOTBLK, -ENOENT, ...
 */
int bc_bdev_open(const char *path, void *holder, struct bc_bdev *out)
{
	int error = bdev_open(path, holder, out);

	if (error)
		return error;
	error = sync_blockdev(out->bdev);
	if (error) {
		bc_bdev_close(out);
		return error;
	}
	invalidate_bdev(out->bdev);
	return 0;
}

/**
 * bc_bdev_close - release a device of bc_bdev_open()
 * @bdev: all bios to it have ended
 *
 * The device is free for others when this returns. May sleep.
 */
void bc_bdev_close(struct bc_bdev *bdev)
{
	bdev_close(bdev);
	bdev->bdev = NULL;
	bdev->handle = NULL;
}
