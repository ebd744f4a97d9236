/* SPDX-License-Identifier: GPL-2.0-only */
/* Generic netlink: the family of blobcache_netlink.h. Process context throughout. */
#ifndef BC_NETLINK_H
#define BC_NETLINK_H

#define BC_MODULE_VERSION "0.1.0"

struct bc_dirty;
struct bc_fill;
struct bc_resolve;

/* Tell listeners of a new request. A hint: may be lost, for want of memory too. */
void bc_netlink_announce_fetch(struct bc_fill *fill);
void bc_netlink_announce_resolve(struct bc_resolve *resolve);

/* ... that a dirty object was made durable. */
void bc_netlink_announce_dirty(struct bc_dirty *dirty);

/* Tell listeners that a tier came or went: the one of this device path. */
void bc_netlink_announce_tier(const char *device);

int bc_netlink_init(void);
void bc_netlink_exit(void);

#endif /* BC_NETLINK_H */
