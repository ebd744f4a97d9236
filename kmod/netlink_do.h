/* SPDX-License-Identifier: GPL-2.0-only */
/* What operations of the family have in common, and those that are not in netlink.c. */
#ifndef BC_NETLINK_DO_H
#define BC_NETLINK_DO_H

#include <linux/capability.h>
#include <net/genetlink.h>

#include "blobcache_netlink.h"

static inline bool allowed(struct sk_buff *skb)
{
	return netlink_capable(skb, CAP_SYS_ADMIN);
}

static inline bool missing(struct genl_info *info, enum bc_attr attr)
{
	if (info->attrs[attr])
		return false;
	NL_SET_ERR_MSG(info->extack, "the request lacks an attribute it needs");
	return true;
}

static inline int put_u64(struct sk_buff *msg, int attr, u64 value, int pad)
{
	return nla_put_u64_64bit(msg, attr, value, pad);
}

/* Begin one message of a dump. Return: its head, or NULL if there is no room. */
void *bc_netlink_dump_begin(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd);

/* netlink_disk.c */
int bc_netlink_disk_attach(struct sk_buff *skb, struct genl_info *info);
int bc_netlink_disk_detach(struct sk_buff *skb, struct genl_info *info);
int bc_netlink_disk_refresh(struct sk_buff *skb, struct genl_info *info);
int bc_netlink_disk_get(struct sk_buff *skb, struct netlink_callback *cb);

#endif /* BC_NETLINK_DO_H */
