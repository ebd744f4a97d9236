// SPDX-License-Identifier: GPL-2.0-or-later
/* Is it safe to write to this block device? */
#include <blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "blkdev.h"
#include "cachectl.h"
#include "mountinfo.h"
#include "tierfmt.h"

/* A list "a, b, c" in a buffer; what does not fit is left out. */
struct list {
	char *text;
	size_t size, used;
};

static void __attribute__((format(printf, 2, 3)))
list_add(struct list *list, const char *format, ...)
{
	va_list args;
	int n;

	if (list->used && list->used + 3 < list->size) {
		strcpy(list->text + list->used, ", ");
		list->used += 2;
	}
	va_start(args, format);
	n = vsnprintf(list->text + list->used, list->size - list->used, format, args);
	va_end(args);
	list->used += (size_t)n;
	if (list->used >= list->size)
		list->used = list->size - 1;
}

const char *blkdev_canonical(const char *path, char *out)
{
	if (!realpath(path, out))
		snprintf(out, PATH_MAX, "%s", path);
	return out;
}

struct mount_search {
	dev_t dev;
	struct list *list;
};

static void mount_found(const struct mountinfo *mount, void *arg)
{
	const struct mount_search *search = arg;

	if (mount->dev == search->dev)
		list_add(search->list, "mounted on %s", mount->target);
}

static void swap_found(dev_t dev, struct list *list)
{
	FILE *swaps = fopen("/proc/swaps", "re");
	char line[PATH_MAX + 128], path[PATH_MAX];
	struct stat st;

	while (swaps && fgets(line, sizeof(line), swaps)) {
		if (sscanf(line, "%4095s", path) == 1 && path[0] == '/' && !stat(path, &st) &&
		    S_ISBLK(st.st_mode) && st.st_rdev == dev)
			list_add(list, "in use as swap");
	}
	if (swaps)
		fclose(swaps);
}

static void holders_found(const char *sysfs, struct list *list)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/holders", sysfs);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			list_add(list, "held by %s", entry->d_name);
	if (dir)
		closedir(dir);
}

/* One device, not its partitions. */
static void users_of(dev_t dev, struct list *list)
{
	struct mount_search search = { .dev = dev, .list = list };
	char sysfs[64];

	mountinfo_each(mount_found, &search);
	swap_found(dev, list);
	snprintf(sysfs, sizeof(sysfs), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	holders_found(sysfs, list);
}

static bool partition_number(const char *sysfs, const char *name, dev_t *dev)
{
	unsigned int major_number, minor_number;
	char path[PATH_MAX];
	FILE *file;
	int n;

	snprintf(path, sizeof(path), "%s/%s/partition", sysfs, name);
	if (access(path, F_OK))
		return false;
	snprintf(path, sizeof(path), "%s/%s/dev", sysfs, name);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fscanf(file, "%u:%u", &major_number, &minor_number);
	fclose(file);
	*dev = makedev(major_number, minor_number);
	return n == 2;
}

void blkdev_users(dev_t dev, char *text, size_t size)
{
	struct list list = { .text = text, .size = size };
	struct dirent *entry;
	char sysfs[64];
	dev_t part;
	DIR *dir;

	text[0] = '\0';
	users_of(dev, &list);
	snprintf(sysfs, sizeof(sysfs), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	dir = opendir(sysfs);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && partition_number(sysfs, entry->d_name, &part))
			users_of(part, &list);
	}
	if (dir)
		closedir(dir);
}

static int refuse_kind(const char *path, const struct stat *st)
{
	if (S_ISREG(st->st_mode))
		return ctl_fail("%s %s: is a regular file, not a block device; make it one with "
				"'losetup --find --show %s'", ctl.path, path, path);
	return ctl_fail("%s %s: is not a block device; 'lsblk' lists those there are", ctl.path,
			path);
}

static int refuse_busy(const struct blkdev *device)
{
	char users[1024];

	blkdev_users(device->dev, users, sizeof(users));
	if (*users)
		return ctl_fail("%s %s: device is busy (%s); release it or choose another device",
				ctl.path, device->path, users);
	return ctl_fail("%s %s: device is busy (held by the kernel or another program: perhaps an "
			"attached tier, see 'cachectl device list', or a mount in another "
			"namespace); release it or choose another device",
			ctl.path, device->path);
}

static int refuse_open(const struct blkdev *device, int error)
{
	switch (error) {
	case EBUSY:
		return refuse_busy(device);
	case EROFS:
		return ctl_fail("%s %s: device is read-only", ctl.path, device->path);
	case EACCES:
	case EPERM:
		return ctl_fail("%s %s: permission denied; this needs root", ctl.path,
				device->path);
	default:
		return ctl_fail("%s %s: cannot open: %s", ctl.path, device->path, strerror(error));
	}
}

/* O_EXCL does not see a mount of another superblock's device, nor a holder that shares. */
static int refuse_users(const struct blkdev *device)
{
	char users[1024];

	blkdev_users(device->dev, users, sizeof(users));
	return *users ? refuse_busy(device) : CTL_OK;
}

/* Such a device can be opened for writing nevertheless. */
static int refuse_read_only(const struct blkdev *device)
{
	int read_only = 0;

	if (!ioctl(device->fd, BLKROGET, &read_only) && read_only)
		return refuse_open(device, EROFS);
	return CTL_OK;
}

int blkdev_open(const char *path, bool write, struct blkdev *device)
{
	struct stat st;
	int rc = CTL_OK;

	memset(device, 0, sizeof(*device));
	device->fd = -1;
	blkdev_canonical(path, device->path);
	if (stat(device->path, &st)) {
		rc = errno == ENOENT ? CTL_NOTHING : CTL_FAILED;
		ctl_fail("%s %s: %s; 'lsblk' lists the block devices there are", ctl.path, path,
			 strerror(errno));
		return rc;
	}
	if (!S_ISBLK(st.st_mode))
		return refuse_kind(path, &st);
	device->dev = st.st_rdev;
	device->fd = open(device->path, O_CLOEXEC | (write ? O_RDWR | O_EXCL : O_RDONLY));
	if (device->fd < 0)
		return refuse_open(device, errno);
	if (write)
		rc = refuse_read_only(device);
	if (!rc && write)
		rc = refuse_users(device);
	if (!rc && ioctl(device->fd, BLKGETSIZE64, &device->bytes))
		rc = ctl_fail("%s %s: cannot tell its size: %s", ctl.path, path, strerror(errno));
	/* Keeps udev from probing a device that is being written. */
	if (!rc && write)
		flock(device->fd, LOCK_EX | LOCK_NB);
	if (rc)
		blkdev_close(device);
	return rc;
}

void blkdev_close(struct blkdev *device)
{
	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
}

static void describe(blkid_probe probe, struct list *list)
{
	const char *type = NULL, *label = NULL;

	if (!blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL) &&
	    blkid_probe_lookup_value(probe, "TYPE", NULL, NULL)) {
		list_add(list, "%s partition table", type);
		return;
	}
	if (blkid_probe_lookup_value(probe, "TYPE", &type, NULL))
		return;
	if (!blkid_probe_lookup_value(probe, "LABEL", &label, NULL) && *label)
		list_add(list, "%s \"%s\"", type, label);
	else
		list_add(list, "%s", type);
}

static blkid_probe new_probe(const struct blkdev *device)
{
	blkid_probe probe = blkid_new_probe();

	if (!probe || blkid_probe_set_device(probe, device->fd, 0, 0)) {
		blkid_free_probe(probe);
		return NULL;
	}
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL |
					  BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
	blkid_probe_enable_partitions(probe, 1);
	blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC);
	return probe;
}

/* libblkid does not know this format. */
static void describe_tier(const struct blkdev *device, struct list *list)
{
	struct tier_info info;
	const char *why;
	int rc = tier_read(device->fd, device->bytes, &info, &why);

	if (!rc && info.label[0])
		list_add(list, "a blobcache tier \"%s\"", info.label);
	else if (!rc)
		list_add(list, "a blobcache tier");
	else if (rc != -ENODATA)
		list_add(list, "a damaged blobcache tier (%s)", *why ? why : strerror(-rc));
}

int blkdev_signatures(const struct blkdev *device, bool wipe, char *text, size_t size)
{
	struct list list = { .text = text, .size = size };
	blkid_probe probe = new_probe(device);
	int rc;

	text[0] = '\0';
	if (!probe)
		return -EIO;
	describe_tier(device, &list);
	errno = 0;
	while ((rc = blkid_do_probe(probe)) == 0) {
		describe(probe, &list);
		if (wipe && blkid_do_wipe(probe, 0)) {
			rc = -1;
			break;
		}
	}
	blkid_free_probe(probe);
	if (rc < 0)
		return errno ? -errno : -EIO;
	return 0;
}
