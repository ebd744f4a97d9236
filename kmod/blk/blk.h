/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The block front end: read-only disks, each of which is one version of one object. disk.c has
 * their life, device.c their block devices, read.c what is read of those.
 *
 * Lifetimes: a disk is in the table from before its object exists until its gendisk is gone; it
 * holds a reference to the module. Who has the device open keeps struct bc_disk and its object: the
 * last one that lets the gendisk go frees them (free_disk()).
 *
 * Locks: disks_mutex is held for a moment only; never while something is waited for, so that disks
 * can be listed, and taken away, whatever hangs. gendisk->open_mutex is the block layer's, whose
 * last close waits under it for read-ahead, until its deadline. Neither is taken under the other.
 */
#ifndef BC_BLK_H
#define BC_BLK_H

#include <linux/blkdev.h>
#include <linux/list.h>

#include "engine.h"

/* What is asked of a disk. */
struct bc_disk_options {
	const char *name;
	const char *source;
	const char *domain;		/* or NULL */
	const char *path;
	enum bc_daemon_loss on_daemon_loss;
	u32 deadline_ms;
	u32 block_size;			/* SECTOR_SIZE or BC_DISK_BLOCK_MAX */
};

/* Chunks of which it is known that a read of them has waited in vain just now. */
#define BC_DISK_OVERDUE	8

struct bc_disk {
	struct list_head node;		/* disks; disks_mutex */
	u64 id;				/* never used again, but by a disk that replaces it */
	enum bc_disk_state state;	/* disks_mutex */
	bool taken;			/* in somebody's hands; disks_mutex */
	bool closed;			/* for opens; gendisk->open_mutex */
	bool stale;			/* the store has this version no longer; any context */
	struct gendisk *gendisk;	/* NULL until it is added */
	struct bc_client *client;	/* until the disk is freed, as the object */
	struct bc_object *object;
	struct bc_version version;
	struct bc_streams streams;	/* of all who read it */
	u64 overdue[BC_DISK_OVERDUE];	/* see read.c; hints, without a lock */
	struct bc_disk_options options;	/* with strings of its own */
};

/**
 * bc_disk_add - make the device and let it be found
 * @disk: of which all but the device is there
 *
 * From now on it is read. Its free_disk() frees @disk, once nobody holds the gendisk. May sleep.
 * Return: 0, or errno: then there is no device.
 */
int bc_disk_add(struct bc_disk *disk);

/**
 * bc_disk_close - let nobody open the device from now on
 * @disk: in the caller's hands
 *
 * May wait, killable, for whoever closes it now. Return: 0, -EBUSY somebody has it open, -EINTR.
 */
int bc_disk_close(struct bc_disk *disk);

/**
 * bc_disk_remove - take the device away
 * @disk: in the caller's hands, whose reference to the gendisk stays his, and with it the disk
 * @dead: somebody may have it open: close it, tell the filesystem on it, and fail what is sent from
 *	now on; else it is closed
 *
 * What waits for the store fails, before anything that may wait for that in turn. What a tier's
 * device is reading goes on: nobody frees what it reads into. May sleep.
 */
void bc_disk_remove(struct bc_disk *disk, bool dead);

/* What is left of a disk without a device. */
void bc_disk_free(struct bc_disk *disk);

/* block_device_operations.submit_bio */
void bc_disk_submit(struct bio *bio);

/* The disk that an open file is of, or NULL; good while the file is open. */
struct bc_disk *bc_disk_of_file(struct file *file);

#endif /* BC_BLK_H */
