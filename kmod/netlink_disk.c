// SPDX-License-Identifier: GPL-2.0-only
/* Operations of the family about disks. */
#include <linux/sched/signal.h>

#include "blk/disk.h"
#include "netlink_do.h"

static const struct nla_policy disk_policy[BC_DISK_A_MAX + 1] = {
	[BC_DISK_A_NAME] = { .type = NLA_NUL_STRING, .len = BC_DISK_NAME_MAX },
	[BC_DISK_A_SOURCE] = { .type = NLA_NUL_STRING, .len = BC_NL_SOURCE_MAX },
	[BC_DISK_A_DOMAIN] = { .type = NLA_NUL_STRING, .len = BC_NL_NAME_MAX },
	[BC_DISK_A_PATH] = { .type = NLA_NUL_STRING, .len = BC_NL_PATH_MAX },
	[BC_DISK_A_ON_DAEMON_LOSS] = NLA_POLICY_MAX(NLA_U32, BC_LOSS_FAIL),
	[BC_DISK_A_DEADLINE_MS] = { .type = NLA_U64 },
	[BC_DISK_A_BLOCK_SIZE] = { .type = NLA_U32 },
	[BC_DISK_A_FORCE] = NLA_POLICY_MAX(NLA_U32, 1),
};

/* The request's nest. Return: 0 if it has a name at least. */
static int parse(struct sk_buff *skb, struct genl_info *info, struct nlattr **attrs)
{
	int ret;

	if (!allowed(skb))
		return -EPERM;
	if (missing(info, BC_A_DISK))
		return -EINVAL;
	ret = nla_parse_nested(attrs, BC_DISK_A_MAX, info->attrs[BC_A_DISK], disk_policy,
			       info->extack);
	if (ret)
		return ret;
	if (attrs[BC_DISK_A_NAME])
		return 0;
	NL_SET_ERR_MSG(info->extack, "the request lacks the name of the disk");
	return -EINVAL;
}

static u32 optional_u32(struct nlattr *attr, u32 value)
{
	return attr ? nla_get_u32(attr) : value;
}

int bc_netlink_disk_attach(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *attrs[BC_DISK_A_MAX + 1], *deadline;
	struct bc_disk_options options = {};
	int ret = parse(skb, info, attrs);

	if (ret)
		return ret;
	if (!attrs[BC_DISK_A_SOURCE] || !attrs[BC_DISK_A_PATH]) {
		NL_SET_ERR_MSG(info->extack, "a disk needs a source and a path in it");
		return -EINVAL;
	}
	deadline = attrs[BC_DISK_A_DEADLINE_MS];
	options.name = nla_data(attrs[BC_DISK_A_NAME]);
	options.source = nla_data(attrs[BC_DISK_A_SOURCE]);
	options.path = nla_data(attrs[BC_DISK_A_PATH]);
	options.domain = attrs[BC_DISK_A_DOMAIN] ? nla_data(attrs[BC_DISK_A_DOMAIN]) : NULL;
	options.on_daemon_loss = optional_u32(attrs[BC_DISK_A_ON_DAEMON_LOSS], BC_LOSS_WAIT);
	options.block_size = optional_u32(attrs[BC_DISK_A_BLOCK_SIZE], SECTOR_SIZE);
	/* Too long is too long, also beyond 32 bits. */
	options.deadline_ms = deadline ? min_t(u64, nla_get_u64(deadline), U32_MAX) :
					 BC_DEADLINE_DEFAULT_MS;
	return bc_disk_attach(&options, info->extack);
}

int bc_netlink_disk_detach(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *attrs[BC_DISK_A_MAX + 1];
	int ret = parse(skb, info, attrs);

	if (ret)
		return ret;
	return bc_disk_detach(nla_data(attrs[BC_DISK_A_NAME]),
			      optional_u32(attrs[BC_DISK_A_FORCE], 0), info->extack);
}

int bc_netlink_disk_refresh(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *attrs[BC_DISK_A_MAX + 1];
	int ret = parse(skb, info, attrs);

	return ret ?: bc_disk_refresh(nla_data(attrs[BC_DISK_A_NAME]), info->extack);
}

static int put_disk_info(struct sk_buff *msg, const struct bc_disk_info *disk)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_DISK);

	if (!nest ||
	    nla_put_string(msg, BC_DISK_A_NAME, disk->name) ||
	    nla_put_string(msg, BC_DISK_A_SOURCE, disk->source) ||
	    (disk->domain && nla_put_string(msg, BC_DISK_A_DOMAIN, disk->domain)) ||
	    nla_put_string(msg, BC_DISK_A_PATH, disk->path) ||
	    nla_put_u32(msg, BC_DISK_A_ON_DAEMON_LOSS, disk->on_daemon_loss) ||
	    put_u64(msg, BC_DISK_A_DEADLINE_MS, disk->deadline_ms, BC_DISK_A_PAD) ||
	    nla_put_u32(msg, BC_DISK_A_BLOCK_SIZE, disk->block_size) ||
	    nla_put_u32(msg, BC_DISK_A_STATE, disk->state) ||
	    nla_put_u32(msg, BC_DISK_A_DEV, disk->dev) ||
	    nla_put_string(msg, BC_DISK_A_ETAG, disk->version->etag) ||
	    put_u64(msg, BC_DISK_A_SIZE, disk->version->size, BC_DISK_A_PAD) ||
	    nla_put_u32(msg, BC_DISK_A_OPENERS, disk->openers) ||
	    put_u64(msg, BC_DISK_A_RESIDENT, disk->resident, BC_DISK_A_PAD) ||
	    nla_put_u32(msg, BC_DISK_A_PINNED, disk->pinned))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int dump_disk(struct bc_disk *disk, struct sk_buff *skb, struct netlink_callback *cb)
{
	struct bc_disk_info info;
	void *head;

	bc_disk_tell(disk, &info);
	if (fatal_signal_pending(current))
		return -EINTR;
	head = bc_netlink_dump_begin(skb, cb, BC_CMD_DISK_GET);
	if (!head)
		return -EMSGSIZE;
	if (put_disk_info(skb, &info)) {
		genlmsg_cancel(skb, head);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, head);
	return 0;
}

/* args[0]: the id of the last disk that was told of. */
int bc_netlink_disk_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct bc_disk *disk;
	u64 id = cb->args[0];
	int ret = 0;

	if (!allowed(cb->skb))
		return -EPERM;
	while (!ret && (disk = bc_disks_next(&id))) {
		ret = dump_disk(disk, skb, cb);
		if (!ret)
			cb->args[0] = id;
		bc_disk_put(disk);
	}
	return skb->len ?: ret;
}
