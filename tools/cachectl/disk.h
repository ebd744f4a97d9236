/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks: what "disk" and "image" both do. */
#ifndef CACHECTL_DISK_H
#define CACHECTL_DISK_H

#include <jansson.h>
#include <stdbool.h>

#include "diskname.h"
#include "netlink.h"

/**
 * struct disk_wish - what is asked of a new disk
 * @place: of its content
 * @name: its name
 * @domain: trust domain, or NULL
 * @on_daemon_loss: BC_LOSS_WAIT or BC_LOSS_FAIL
 * @deadline_ms: of each read; 0 = the kernel's default
 * @block_size: 0 = the kernel's default
 */
struct disk_wish {
	struct disk_place place;
	char name[BC_DISK_NAME_MAX + 1];
	const char *domain;
	enum bc_daemon_loss on_daemon_loss;
	uint64_t deadline_ms;
	uint32_t block_size;
};

/**
 * disk_wish_place - say of which object the disk is
 * @wish: its place, and its name if @name is NULL, are set
 * @url: of the object
 * @volume: the part of it that is the source, or NULL
 * @name: or NULL: made of the object's
 * Return: CTL_OK, or CTL_USAGE, which was told
 */
int disk_wish_place(struct disk_wish *wish, const char *url, const char *volume,
		    const char *name);

/**
 * disk_attach - make it
 * @nl: connection
 * @wish: what
 * Return: CTL_OK, or CTL_FAILED, which was told
 */
int disk_attach(struct bcnl *nl, const struct disk_wish *wish);

/**
 * disk_detach - take it away
 * @nl: connection
 * @name: which
 * @force: also if it is open; else it is tried for some seconds, since udev opens what is new
 * Return: CTL_OK, CTL_NOTHING or CTL_FAILED, which was told
 */
int disk_detach(struct bcnl *nl, const char *name, bool force);

/**
 * disk_refresh - let it be of the version that the store has now
 * @nl: connection
 * @name: which; nobody may have it open, but for a few seconds
 * Return: CTL_OK, CTL_NOTHING or CTL_FAILED, which was told
 */
int disk_refresh(struct bcnl *nl, const char *name);

/* disk_find - what the kernel says of a disk; NULL if there is none, or it cannot be asked */
json_t *disk_find(struct bcnl *nl, const char *name);

#endif /* CACHECTL_DISK_H */
