/* SPDX-License-Identifier: GPL-2.0-only */
/* Disks, as netlink.c sees them. Process context throughout; all may sleep. */
#ifndef BC_BLK_DISK_H
#define BC_BLK_DISK_H

#include <linux/netlink.h>

#include "blk.h"

/* The state of a disk; good as long as the call that told it. */
struct bc_disk_info {
	const char *name;
	const char *source;
	const char *domain;		/* or NULL */
	const char *path;
	const struct bc_version *version;
	enum bc_disk_state state;
	dev_t dev;
	u32 block_size;
	enum bc_daemon_loss on_daemon_loss;
	u32 deadline_ms;
	u32 openers;
	u64 resident;
	bool pinned;
};

/**
 * bc_disk_attach - make a disk of the version that the store has now
 * @options: which
 * @extack: why not
 *
 * Killable. Return: 0, -EINVAL, -EEXIST the name is taken, -ENODATA the object is empty, -ENOMEM,
 * or as bc_resolve().
 */
int bc_disk_attach(const struct bc_disk_options *options, struct netlink_ext_ack *extack);

/**
 * bc_disk_detach - take a disk away
 * @name: its name
 * @force: also if it is open: its reads fail from now on
 * @extack: why not
 *
 * Return: 0, -ENOENT, -EBUSY.
 */
int bc_disk_detach(const char *name, bool force, struct netlink_ext_ack *extack);

/**
 * bc_disk_refresh - swap a disk for one of the version that the store has now
 * @name: its name; nobody may have it open
 * @extack: why not
 *
 * If that is the version it has, nothing happens. A pinned disk is pinned again. Killable.
 * Return: 0, -ENOENT, -EBUSY, or as bc_disk_attach() or bc_pin().
 */
int bc_disk_refresh(const char *name, struct netlink_ext_ack *extack);

/* Tell of each disk, until @fn returns something else than 0, which is returned then. */
int bc_disks_for_each(int (*fn)(const struct bc_disk_info *info, void *arg), void *arg);

u32 bc_disks_count(void);

/* The object of an open device file of ours, with a reference. Return: 0 or -EINVAL. */
int bc_disk_file_object(struct file *file, struct bc_object **object);

int bc_blk_init(void);
void bc_blk_exit(void);

#endif /* BC_BLK_DISK_H */
