/* SPDX-License-Identifier: GPL-2.0-only */
/* Disks, as netlink.c sees them. Process context throughout; all may sleep. */
#ifndef BC_BLK_DISK_H
#define BC_BLK_DISK_H

#include <linux/netlink.h>

#include "blk.h"

/* The state of a disk; good as long as the reference to the disk. */
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
 * -ENODEV the module is being unloaded, or as bc_resolve() (-EINTR included).
 */
int bc_disk_attach(const struct bc_disk_options *options, struct netlink_ext_ack *extack);

/**
 * bc_disk_detach - take a disk away
 * @name: its name
 * @force: also if it is open: its reads fail from now on
 * @extack: why not
 *
 * Killable. Without @force whoever closes it just now may wait for reads. With it reads that wait
 * fail, and so do those to come; who has the disk in his hands is waited for, who may wait for an
 * answer of the store for 10 s. Interrupted meanwhile the disk may stay, and reads what is cached.
 * Return: 0, -ENOENT, -EBUSY, -EINTR.
 */
int bc_disk_detach(const char *name, bool force, struct netlink_ext_ack *extack);

/**
 * bc_disk_refresh - swap a disk for one of the version that the store has now
 * @name: its name; nobody may have it open, if it must be replaced
 * @extack: why not
 *
 * If that is the version it has, and it is not stale, nothing happens. A pinned disk is pinned
 * again. Killable.
 * Return: 0, -ENOENT, -EBUSY, or as bc_disk_attach() or bc_pin().
 */
int bc_disk_refresh(const char *name, struct netlink_ext_ack *extack);

/**
 * bc_disks_next - the next disk, for a dump
 * @after: 0 to begin; then as it was left
 *
 * Return: with a reference, for bc_disk_put(); or NULL.
 */
struct bc_disk *bc_disks_next(u64 *after);

void bc_disk_put(struct bc_disk *disk);

/* Takes its time with a large object; a kill cuts it short. */
void bc_disk_tell(struct bc_disk *disk, struct bc_disk_info *info);

/* Does not wait. */
u32 bc_disks_count(void);

/* The object of an open device file of ours, with a reference. Return: 0 or -EINVAL. */
int bc_disk_file_object(struct file *file, struct bc_object **object);

int bc_blk_init(void);
void bc_blk_exit(void);

#endif /* BC_BLK_DISK_H */
