// SPDX-License-Identifier: GPL-2.0-only
/*
 * The generic netlink family. Operations check CAP_SYS_ADMIN in the initial
 * user namespace: this is storage power, not network power. They lock by
 * themselves (parallel_ops), since attaching a tier takes long.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <net/genetlink.h>

#include "blk/disk.h"
#include "blobcache_netlink.h"
#include "daemon.h"
#include "fill.h"
#include "flush.h"
#include "fs/fs.h"
#include "netlink.h"
#include "netlink_do.h"
#include "pin.h"
#include "resolve.h"
#include "stats.h"
#include "tier.h"

static struct genl_family bc_family;

static const struct nla_policy top_policy[BC_A_MAX + 1] = {
	[BC_A_DEVICE] = { .type = NLA_NUL_STRING, .len = BC_TIER_NAME_MAX },
	[BC_A_NODE_ID] = NLA_POLICY_EXACT_LEN(BC_UUID_SIZE),
	[BC_A_FD] = { .type = NLA_U32 },
	[BC_A_FD2] = { .type = NLA_U32 },
	[BC_A_OFFSET] = { .type = NLA_U64 },
	[BC_A_LENGTH] = { .type = NLA_U64 },
	[BC_A_REQUEST] = { .type = NLA_NESTED },
	[BC_A_DISK] = { .type = NLA_NESTED },
};

static const struct nla_policy request_policy[BC_REQUEST_A_MAX + 1] = {
	[BC_REQUEST_A_ID] = { .type = NLA_U64 },
	[BC_REQUEST_A_ETAG] = { .type = NLA_NUL_STRING, .len = BC_ETAG_MAX },
	[BC_REQUEST_A_SIZE] = { .type = NLA_U64 },
	[BC_REQUEST_A_LAST_MODIFIED] = { .type = NLA_S64 },
	[BC_REQUEST_A_STATUS] = NLA_POLICY_MAX(NLA_U32, BC_DONE_STATUS_COUNT - 1),
};

/* Begin a reply to a request. */
static struct sk_buff *reply_begin(struct genl_info *info, u8 cmd, void **head)
{
	struct sk_buff *msg = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);

	if (!msg)
		return NULL;
	*head = genlmsg_put_reply(msg, info, &bc_family, 0, cmd);
	if (*head)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static int reply_end(struct sk_buff *msg, void *head, struct genl_info *info, int error)
{
	if (error) {
		nlmsg_free(msg);
		return error;
	}
	genlmsg_end(msg, head);
	return genlmsg_reply(msg, info);
}

void *bc_netlink_dump_begin(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd)
{
	return genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &bc_family,
			   NLM_F_MULTI, cmd);
}

static int count_mount(const struct bc_mount_info *mount, void *arg)
{
	u32 *count = arg;

	(*count)++;
	return 0;
}

static int sum_tiers(u32 *count, u64 *memory)
{
	struct bc_tier_info *info = kmalloc(sizeof(*info), GFP_KERNEL);
	struct bc_tier *tier;
	u32 slot = 0;

	*count = 0;
	*memory = 0;
	if (!info)
		return -ENOMEM;
	while ((tier = bc_tier_next(&slot))) {
		bc_tier_info(tier, info);
		bc_tier_put(tier);
		*memory += info->memory;
		(*count)++;
	}
	kfree(info);
	return 0;
}

static int put_status(struct sk_buff *msg)
{
	struct bc_daemon_info daemon;
	struct nlattr *nest;
	u32 tiers, mounts = 0;
	u64 memory;
	int ret;

	bc_daemon_info(&daemon);
	bc_fs_mounts_for_each(count_mount, &mounts);
	ret = sum_tiers(&tiers, &memory);
	if (ret)
		return ret;
	nest = nla_nest_start(msg, BC_A_STATUS);
	if (!nest ||
	    nla_put_string(msg, BC_STATUS_A_MODULE_VERSION, BC_MODULE_VERSION) ||
	    nla_put_u32(msg, BC_STATUS_A_DAEMON_PID, daemon.pid) ||
	    nla_put_u32(msg, BC_STATUS_A_DAEMON_ANSWERS, daemon.answers) ||
	    put_u64(msg, BC_STATUS_A_DAEMON_EPOCH, daemon.epoch, BC_STATUS_A_PAD) ||
	    put_u64(msg, BC_STATUS_A_DAEMON_SINCE_MS, daemon.since_ms, BC_STATUS_A_PAD) ||
	    nla_put_u32(msg, BC_STATUS_A_TIERS, tiers) ||
	    nla_put_u32(msg, BC_STATUS_A_MOUNTS, mounts) ||
	    nla_put_u32(msg, BC_STATUS_A_REQUESTS, bc_fills_pending() + bc_resolves_pending()) ||
	    put_u64(msg, BC_STATUS_A_MEMORY, memory, BC_STATUS_A_PAD) ||
	    nla_put_u32(msg, BC_STATUS_A_DISKS, bc_disks_count()))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int status_get(struct sk_buff *skb, struct genl_info *info)
{
	struct sk_buff *msg;
	void *head;

	if (!allowed(skb))
		return -EPERM;
	msg = reply_begin(info, BC_CMD_STATUS_GET, &head);
	if (!msg)
		return -ENOMEM;
	return reply_end(msg, head, info, put_status(msg));
}

static int put_stats(struct sk_buff *msg)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_STATS);
	int stat;

	if (!nest)
		return -EMSGSIZE;
	for (stat = BC_STAT_PAD + 1; stat <= BC_STAT_MAX; stat++) {
		if (put_u64(msg, stat, bc_stat_read(stat), BC_STAT_PAD))
			return -EMSGSIZE;
	}
	nla_nest_end(msg, nest);
	return 0;
}

static int stats_get(struct sk_buff *skb, struct genl_info *info)
{
	struct sk_buff *msg;
	void *head;

	if (!allowed(skb))
		return -EPERM;
	msg = reply_begin(info, BC_CMD_STATS_GET, &head);
	if (!msg)
		return -ENOMEM;
	return reply_end(msg, head, info, put_stats(msg));
}

static int put_tier_info(struct sk_buff *msg, const struct bc_tier_info *tier)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_TIER);

	if (!nest ||
	    nla_put_string(msg, BC_TIER_A_DEVICE, tier->name) ||
	    nla_put(msg, BC_TIER_A_UUID, BC_UUID_SIZE, tier->uuid) ||
	    nla_put_u32(msg, BC_TIER_A_STATE, tier->state) ||
	    nla_put_string(msg, BC_TIER_A_LABEL, tier->label) ||
	    put_u64(msg, BC_TIER_A_DEVICE_BYTES, tier->device_bytes, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_TABLE_BYTES, tier->table_bytes, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_FRAME_BYTES, tier->frame_bytes, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_USED_BYTES, tier->used_bytes, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_FREE_BYTES, tier->free_bytes, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_PINNED_BYTES, tier->pinned_bytes, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_CHUNKS, tier->chunks, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_CHUNKS_MAX, tier->chunks_max, BC_TIER_A_PAD) ||
	    put_u64(msg, BC_TIER_A_MEMORY, tier->memory, BC_TIER_A_PAD) ||
	    nla_put_u32(msg, BC_TIER_A_WAS_CLEAN, tier->was_clean))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int put_tier(struct sk_buff *msg, struct bc_tier *tier)
{
	struct bc_tier_info *info = kmalloc(sizeof(*info), GFP_KERNEL);
	int ret;

	if (!info)
		return -ENOMEM;
	bc_tier_info(tier, info);
	ret = put_tier_info(msg, info);
	kfree(info);
	return ret;
}

static int dump_tier(struct sk_buff *skb, struct netlink_callback *cb, struct bc_tier *tier)
{
	void *head = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &bc_family,
				 NLM_F_MULTI, BC_CMD_TIER_GET);
	int ret;

	if (!head)
		return -EMSGSIZE;
	ret = put_tier(skb, tier);
	if (ret)
		genlmsg_cancel(skb, head);
	else
		genlmsg_end(skb, head);
	return ret;
}

static int tier_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	u32 slot = cb->args[0];
	struct bc_tier *tier;
	int ret = 0;

	if (!allowed(cb->skb))
		return -EPERM;
	while (!ret && (tier = bc_tier_next(&slot))) {
		ret = dump_tier(skb, cb, tier);
		bc_tier_put(tier);
		if (!ret)
			cb->args[0] = slot;
	}
	return skb->len ?: ret;
}

static int tier_attach(struct sk_buff *skb, struct genl_info *info)
{
	struct bc_tier *tier;
	struct sk_buff *msg;
	void *head;
	int ret;

	if (!allowed(skb))
		return -EPERM;
	if (missing(info, BC_A_DEVICE))
		return -EINVAL;
	ret = bc_tier_attach(nla_data(info->attrs[BC_A_DEVICE]), info->extack);
	if (ret)
		return ret;
	msg = reply_begin(info, BC_CMD_TIER_ATTACH, &head);
	if (!msg)
		return 0;
	tier = bc_tier_named(nla_data(info->attrs[BC_A_DEVICE]));
	if (tier) {
		ret = put_tier(msg, tier);
		bc_tier_put(tier);
	}
	/* It is attached, whether there is room to say so or not. */
	if (ret) {
		nlmsg_free(msg);
		return 0;
	}
	return reply_end(msg, head, info, 0);
}

static int tier_detach(struct sk_buff *skb, struct genl_info *info)
{
	int ret;

	if (!allowed(skb))
		return -EPERM;
	if (missing(info, BC_A_DEVICE))
		return -EINVAL;
	ret = bc_tier_detach(nla_data(info->attrs[BC_A_DEVICE]), info->extack);
	if (ret != -ENOENT)
		bc_netlink_announce_tier(nla_data(info->attrs[BC_A_DEVICE]));
	return ret;
}

static int put_mount(struct sk_buff *msg, const struct bc_mount_info *mount)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_MOUNT);

	if (!nest ||
	    nla_put_u32(msg, BC_MOUNT_A_DEV, mount->dev) ||
	    nla_put_string(msg, BC_MOUNT_A_SOURCE, mount->source) ||
	    nla_put_string(msg, BC_MOUNT_A_PREFIX, mount->prefix) ||
	    nla_put_string(msg, BC_MOUNT_A_LOWER_TYPE, mount->lower_type) ||
	    nla_put(msg, BC_MOUNT_A_VOLUME_ID, BC_KEY_SIZE, mount->volume_id->bytes) ||
	    nla_put_u32(msg, BC_MOUNT_A_CONSISTENCY, mount->consistency) ||
	    nla_put_u32(msg, BC_MOUNT_A_ON_DAEMON_LOSS, mount->on_daemon_loss) ||
	    put_u64(msg, BC_MOUNT_A_TTL_MS, mount->ttl_ms, BC_MOUNT_A_PAD) ||
	    put_u64(msg, BC_MOUNT_A_STALE_MS, mount->stale_ms, BC_MOUNT_A_PAD) ||
	    nla_put_u32(msg, BC_MOUNT_A_LOWER_EXACT, mount->lower_exact) ||
	    nla_put_u32(msg, BC_MOUNT_A_READ_ONLY, mount->read_only) ||
	    nla_put_u32(msg, BC_MOUNT_A_LOWER_SUSPECT, mount->lower_suspect) ||
	    put_u64(msg, BC_MOUNT_A_STALE_OPENS, mount->stale_opens, BC_MOUNT_A_PAD) ||
	    put_u64(msg, BC_MOUNT_A_OPEN_FILES, mount->open_files, BC_MOUNT_A_PAD) ||
	    nla_put_u32(msg, BC_MOUNT_A_LOWER_STUCK, mount->lower_stuck))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

struct mount_dump {
	struct sk_buff *skb;
	struct netlink_callback *cb;
	long index;
};

/* Mounts are dumped by position: one that comes or goes meanwhile may be missed or doubled. */
static int dump_mount(const struct bc_mount_info *mount, void *arg)
{
	struct mount_dump *dump = arg;
	void *head;

	if (dump->index++ < dump->cb->args[0])
		return 0;
	head = genlmsg_put(dump->skb, NETLINK_CB(dump->cb->skb).portid, dump->cb->nlh->nlmsg_seq,
			   &bc_family, NLM_F_MULTI, BC_CMD_MOUNT_GET);
	if (!head)
		return -EMSGSIZE;
	if (put_mount(dump->skb, mount)) {
		genlmsg_cancel(dump->skb, head);
		return -EMSGSIZE;
	}
	genlmsg_end(dump->skb, head);
	dump->cb->args[0]++;
	return 0;
}

static int mount_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct mount_dump dump = { .skb = skb, .cb = cb };
	int ret;

	if (!allowed(cb->skb))
		return -EPERM;
	ret = bc_fs_mounts_for_each(dump_mount, &dump);
	return skb->len ?: ret;
}

static int put_fill(struct sk_buff *msg, struct bc_fill *fill)
{
	struct bc_object *object = fill->object;
	struct nlattr *nest = nla_nest_start(msg, BC_A_REQUEST);
	enum bc_binding binding = bc_object_bound(object);
	struct bc_fetch_request request;

	bc_fill_request(fill, &request);
	if (!nest ||
	    put_u64(msg, BC_REQUEST_A_ID, request.id, BC_REQUEST_A_PAD) ||
	    nla_put_u32(msg, BC_REQUEST_A_KIND, BC_REQUEST_FETCH) ||
	    nla_put_u32(msg, BC_REQUEST_A_STATE,
			request.claimed ? BC_REQUEST_CLAIMED : BC_REQUEST_NEW) ||
	    nla_put_u32(msg, BC_REQUEST_A_PRIORITY, request.priority) ||
	    nla_put_string(msg, BC_REQUEST_A_SOURCE, object->client->source) ||
	    nla_put_string(msg, BC_REQUEST_A_PATH, object->path) ||
	    put_u64(msg, BC_REQUEST_A_OFFSET, request.offset, BC_REQUEST_A_PAD) ||
	    put_u64(msg, BC_REQUEST_A_LENGTH, request.length, BC_REQUEST_A_PAD) ||
	    put_u64(msg, BC_REQUEST_A_AGE_MS, jiffies_to_msecs(jiffies - fill->created),
		    BC_REQUEST_A_PAD))
		return -EMSGSIZE;
	if (binding == BC_BOUND_STORE &&
	    (nla_put_string(msg, BC_REQUEST_A_ETAG, object->version.etag) ||
	     put_u64(msg, BC_REQUEST_A_SIZE, object->version.size, BC_REQUEST_A_PAD)))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int put_resolve(struct sk_buff *msg, struct bc_resolve *resolve)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_REQUEST);

	if (!nest ||
	    put_u64(msg, BC_REQUEST_A_ID, resolve->id, BC_REQUEST_A_PAD) ||
	    nla_put_u32(msg, BC_REQUEST_A_KIND, BC_REQUEST_RESOLVE) ||
	    nla_put_u32(msg, BC_REQUEST_A_STATE, BC_REQUEST_NEW) ||
	    nla_put_u32(msg, BC_REQUEST_A_PRIORITY, BC_PRIORITY_DEMAND) ||
	    nla_put_string(msg, BC_REQUEST_A_SOURCE, resolve->client->source) ||
	    nla_put_string(msg, BC_REQUEST_A_PATH, resolve->path) ||
	    put_u64(msg, BC_REQUEST_A_AGE_MS, jiffies_to_msecs(jiffies - resolve->created),
		    BC_REQUEST_A_PAD))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int dump_one(struct sk_buff *skb, struct netlink_callback *cb, struct bc_resolve *resolve,
		    struct bc_fill *fill)
{
	void *head = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &bc_family,
				 NLM_F_MULTI, BC_CMD_REQUEST_GET);
	int ret;

	if (!head)
		return -EMSGSIZE;
	ret = resolve ? put_resolve(skb, resolve) : put_fill(skb, fill);
	if (ret) {
		genlmsg_cancel(skb, head);
		return ret;
	}
	genlmsg_end(skb, head);
	return 0;
}

/* args[0]: id of the last resolve told; args[1]: of the last fill. Resolves go first. */
static int request_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct bc_resolve *resolve;
	struct bc_fill *fill;
	int ret = 0;
	u64 id;

	if (!allowed(cb->skb))
		return -EPERM;
	if (bc_daemon_is_current())
		bc_daemon_seen();
	while (!ret && (resolve = bc_resolves_next(cb->args[0]))) {
		ret = dump_one(skb, cb, resolve, NULL);
		if (!ret)
			cb->args[0] = resolve->id;
		bc_resolve_put(resolve);
	}
	id = cb->args[1];
	while (!ret && (fill = bc_fills_next(&id))) {
		ret = dump_one(skb, cb, NULL, fill);
		if (!ret)
			cb->args[1] = id;
		bc_fill_put(fill);
	}
	/* One that does not fit an empty message must not look like the end. */
	return skb->len ?: ret;
}

static int parse_version(struct nlattr **attrs, struct bc_version *version)
{
	struct nlattr *etag = attrs[BC_REQUEST_A_ETAG];

	if (!etag || !attrs[BC_REQUEST_A_SIZE])
		return -EINVAL;
	version->etag_length = strlen(nla_data(etag));
	if (!version->etag_length)
		return -EINVAL;
	memcpy(version->etag, nla_data(etag), version->etag_length);
	version->size = nla_get_u64(attrs[BC_REQUEST_A_SIZE]);
	if (attrs[BC_REQUEST_A_LAST_MODIFIED])
		version->last_modified = nla_get_s64(attrs[BC_REQUEST_A_LAST_MODIFIED]);
	return bc_version_valid(version) ? 0 : -EINVAL;
}

static int resolve_reply(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *attrs[BC_REQUEST_A_MAX + 1];
	struct bc_version version = {};
	u32 status;
	int ret;

	if (!allowed(skb))
		return -EPERM;
	if (missing(info, BC_A_REQUEST))
		return -EINVAL;
	ret = nla_parse_nested(attrs, BC_REQUEST_A_MAX, info->attrs[BC_A_REQUEST],
			       request_policy, info->extack);
	if (ret)
		return ret;
	if (!attrs[BC_REQUEST_A_ID] || !attrs[BC_REQUEST_A_STATUS]) {
		NL_SET_ERR_MSG(info->extack, "the reply needs the request's id and a status");
		return -EINVAL;
	}
	status = nla_get_u32(attrs[BC_REQUEST_A_STATUS]);
	if (status == BC_DONE_OK && parse_version(attrs, &version)) {
		NL_SET_ERR_MSG(info->extack, "a positive reply needs an ETag of 1 to 64 bytes and a size below 4 PiB");
		return -EINVAL;
	}
	bc_daemon_seen();
	return bc_resolve_reply(nla_get_u64(attrs[BC_REQUEST_A_ID]), status, &version);
}

/* The object of the file, or of the disk, that BC_A_FD names, with a reference. */
static int object_of_fd(struct genl_info *info, struct bc_object **object)
{
	struct file *file;
	int ret;

	if (missing(info, BC_A_FD))
		return -EINVAL;
	file = fget(nla_get_u32(info->attrs[BC_A_FD]));
	if (!file)
		return -EBADF;
	ret = bc_disk_file_object(file, object);
	if (ret)
		ret = bc_fs_file_object(file, object);
	fput(file);
	if (ret == -EOPNOTSUPP)
		NL_SET_ERR_MSG(info->extack, "read past the cache now: none of it is cached");
	else if (ret)
		NL_SET_ERR_MSG(info->extack, "not a regular file in a blobcache mount, and not a disk of blobcache");
	return ret;
}

static int put_residency(struct sk_buff *msg, struct bc_object *object)
{
	struct bc_version version = {};
	struct nlattr *nest;
	u64 resident, pending;

	bc_object_version(object, &version);
	resident = bc_residency(object, &pending);
	nest = nla_nest_start(msg, BC_A_RESIDENCY);
	if (!nest ||
	    put_u64(msg, BC_RESIDENCY_A_SIZE, version.size, BC_RESIDENCY_A_PAD) ||
	    put_u64(msg, BC_RESIDENCY_A_RESIDENT, resident, BC_RESIDENCY_A_PAD) ||
	    put_u64(msg, BC_RESIDENCY_A_PENDING, pending, BC_RESIDENCY_A_PAD) ||
	    (bc_object_binding(object) == BC_BOUND_STORE &&
	     nla_put_string(msg, BC_RESIDENCY_A_ETAG, version.etag)) ||
	    nla_put_u32(msg, BC_RESIDENCY_A_PINNED, bc_pinned(object)))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int reply_residency(struct genl_info *info, struct bc_object *object, u8 cmd)
{
	struct sk_buff *msg;
	void *head;

	msg = reply_begin(info, cmd, &head);
	if (!msg)
		return -ENOMEM;
	return reply_end(msg, head, info, put_residency(msg, object));
}

static int residency(struct sk_buff *skb, struct genl_info *info)
{
	struct bc_object *object;
	int ret;

	if (!allowed(skb))
		return -EPERM;
	ret = object_of_fd(info, &object);
	if (ret)
		return ret;
	ret = reply_residency(info, object, BC_CMD_RESIDENCY);
	bc_object_put(object);
	return ret;
}

static u64 optional_u64(struct genl_info *info, enum bc_attr attr, u64 value)
{
	return info->attrs[attr] ? nla_get_u64(info->attrs[attr]) : value;
}

static int prefetch_file(struct sk_buff *skb, struct genl_info *info)
{
	struct bc_object *object;
	int ret;

	if (!allowed(skb))
		return -EPERM;
	ret = object_of_fd(info, &object);
	if (ret)
		return ret;
	ret = bc_prefetch(object, optional_u64(info, BC_A_OFFSET, 0),
			  optional_u64(info, BC_A_LENGTH, U64_MAX), BC_PRIORITY_PREFETCH);
	if (ret >= 0)
		ret = reply_residency(info, object, BC_CMD_PREFETCH);
	bc_object_put(object);
	return ret;
}

/* Evict or demote the file that BC_A_FD names. */
static int free_file(struct genl_info *info, u8 cmd, u64 (*fn)(struct bc_object *object))
{
	struct bc_object *object;
	int ret;

	ret = object_of_fd(info, &object);
	if (ret)
		return ret;
	if (bc_pinned(object)) {
		NL_SET_ERR_MSG(info->extack, "pinned: remove the pin first (cachectl pin remove)");
		ret = -EBUSY;
	} else {
		fn(object);
		ret = reply_residency(info, object, cmd);
	}
	bc_object_put(object);
	return ret;
}

static int evict_file(struct sk_buff *skb, struct genl_info *info)
{
	int ret;

	if (!allowed(skb))
		return -EPERM;
	if (!info->attrs[BC_A_DEVICE])
		return free_file(info, BC_CMD_EVICT, bc_evict);
	ret = bc_tier_drop_all(nla_data(info->attrs[BC_A_DEVICE]));
	if (ret)
		NL_SET_ERR_MSG(info->extack, "no such tier: see cachectl device list");
	return ret;
}

static int demote_file(struct sk_buff *skb, struct genl_info *info)
{
	if (!allowed(skb))
		return -EPERM;
	return free_file(info, BC_CMD_DEMOTE, bc_demote);
}

static int mount_relower(struct sk_buff *skb, struct genl_info *info)
{
	struct file *target, *lower;
	int ret = -EBADF;

	if (!allowed(skb))
		return -EPERM;
	if (missing(info, BC_A_FD) || missing(info, BC_A_FD2))
		return -EINVAL;
	/* O_PATH files do: only their paths are used. */
	target = fget_raw(nla_get_u32(info->attrs[BC_A_FD]));
	lower = fget_raw(nla_get_u32(info->attrs[BC_A_FD2]));
	if (target && lower)
		ret = bc_fs_relower(target, lower);
	if (ret == -EXDEV)
		NL_SET_ERR_MSG(info->extack, "target is not in a blobcache mount");
	if (ret == -EBUSY)
		NL_SET_ERR_MSG(info->extack, "too many workers are stuck in earlier lowers: end the processes that serve those");
	if (target)
		fput(target);
	if (lower)
		fput(lower);
	return ret;
}

static void explain_pin(struct netlink_ext_ack *extack, int error)
{
	switch (error) {
	case -ENODEV:
		NL_SET_ERR_MSG(extack, "no tier is attached: there is nothing to pin on");
		break;
	case -ENOSPC:
		NL_SET_ERR_MSG(extack, "too much of the tiers would be pinned: remove other pins (cachectl pin list), or attach another tier (module parameter max_pinned_percent)");
		break;
	case -EDQUOT:
		NL_SET_ERR_MSG(extack, "too many pins: remove others (cachectl pin list), or raise the module parameter max_pins");
		break;
	case -EOPNOTSUPP:
		NL_SET_ERR_MSG(extack, "file is read past the cache now, so there is no version to pin");
		break;
	case -ENOENT:
		NL_SET_ERR_MSG(extack, "not pinned: see cachectl pin list");
		break;
	}
}

static int pin_file(struct sk_buff *skb, struct genl_info *info, bool on)
{
	struct bc_object *object;
	int ret;

	if (!allowed(skb))
		return -EPERM;
	ret = object_of_fd(info, &object);
	if (ret)
		return ret;
	ret = bc_pin(object, on);
	explain_pin(info->extack, ret);
	bc_object_put(object);
	return ret;
}

static int pin_add(struct sk_buff *skb, struct genl_info *info)
{
	return pin_file(skb, info, true);
}

static int pin_remove(struct sk_buff *skb, struct genl_info *info)
{
	return pin_file(skb, info, false);
}

static int put_pin(struct sk_buff *msg, const struct bc_pin *pin)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_PIN);

	if (!nest ||
	    nla_put(msg, BC_PIN_A_KEY, BC_KEY_SIZE, pin->key.bytes) ||
	    nla_put_string(msg, BC_PIN_A_SOURCE, pin->source) ||
	    nla_put_string(msg, BC_PIN_A_PATH, pin->path) ||
	    put_u64(msg, BC_PIN_A_SIZE, pin->size, BC_PIN_A_PAD) ||
	    put_u64(msg, BC_PIN_A_RESIDENT, bc_tier_resident(&pin->key, pin->size),
		    BC_PIN_A_PAD))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int dump_pin(const struct bc_pin *pin, struct sk_buff *skb, struct netlink_callback *cb)
{
	void *head = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &bc_family,
				 NLM_F_MULTI, BC_CMD_PIN_GET);

	if (!head)
		return -EMSGSIZE;
	if (put_pin(skb, pin)) {
		genlmsg_cancel(skb, head);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, head);
	cb->args[0] = pin->id;
	return 0;
}

/* args[0]: id of the last pin told */
static int pin_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct bc_pin *pin;
	int ret = 0;

	if (!allowed(cb->skb))
		return -EPERM;
	while (!ret && (pin = bc_pins_next(cb->args[0]))) {
		if (IS_ERR(pin)) {
			ret = PTR_ERR(pin);
			break;
		}
		ret = dump_pin(pin, skb, cb);
		kfree(pin);
	}
	return skb->len ?: ret;
}

static int put_dirty_info(struct sk_buff *msg, const struct bc_dirty_info *info)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_DIRTY);

	if (!nest ||
	    nla_put(msg, BC_DIRTY_A_GENERATION, BC_KEY_SIZE, info->generation.bytes) ||
	    nla_put_string(msg, BC_DIRTY_A_SOURCE, info->source) ||
	    nla_put_string(msg, BC_DIRTY_A_PATH, info->path) ||
	    nla_put_string(msg, BC_DIRTY_A_DEVICE, info->device) ||
	    nla_put_u32(msg, BC_DIRTY_A_STATE, info->state) ||
	    put_u64(msg, BC_DIRTY_A_STEP, info->step, BC_DIRTY_A_PAD) ||
	    put_u64(msg, BC_DIRTY_A_SIZE, info->size, BC_DIRTY_A_PAD) ||
	    nla_put_u32(msg, BC_DIRTY_A_MODE, info->mode) ||
	    put_u64(msg, BC_DIRTY_A_MTIME, info->mtime.tv_sec, BC_DIRTY_A_PAD) ||
	    nla_put_u32(msg, BC_DIRTY_A_MTIME_NSEC, info->mtime.tv_nsec) ||
	    nla_put_u32(msg, BC_DIRTY_A_BASE, info->base) ||
	    nla_put_u32(msg, BC_DIRTY_A_WRITERS, info->writers))
		return -EMSGSIZE;
	if (info->flushing && put_u64(msg, BC_DIRTY_A_CUT, info->cut, BC_DIRTY_A_PAD))
		return -EMSGSIZE;
	if (info->acked_seq &&
	    (put_u64(msg, BC_DIRTY_A_ACKED_SEQ, info->acked_seq, BC_DIRTY_A_PAD) ||
	     nla_put_string(msg, BC_DIRTY_A_ACKED_ETAG, info->acked_etag)))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int put_dirty(struct sk_buff *msg, struct bc_dirty *dirty)
{
	struct bc_dirty_info *info = kmalloc(sizeof(*info), GFP_NOFS);
	int ret;

	if (!info)
		return -ENOMEM;
	bc_flush_info(dirty, info);
	ret = put_dirty_info(msg, info);
	kfree(info);
	return ret;
}

static int dump_dirty(struct bc_dirty *dirty, struct sk_buff *skb, struct netlink_callback *cb)
{
	void *head = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &bc_family,
				 NLM_F_MULTI, BC_CMD_DIRTY_GET);
	int ret;

	if (!head)
		return -EMSGSIZE;
	ret = put_dirty(skb, dirty);
	if (ret)
		genlmsg_cancel(skb, head);
	else
		genlmsg_end(skb, head);
	return ret;
}

/* args[0]: serial of the last object told */
static int dirty_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	u64 serial = cb->args[0];
	struct bc_dirty *dirty;
	int ret = 0;

	if (!allowed(cb->skb))
		return -EPERM;
	while (!ret && (dirty = bc_dirty_next_any(&serial))) {
		ret = dump_dirty(dirty, skb, cb);
		bc_dirty_put_any(dirty);
		if (!ret)
			cb->args[0] = serial;
	}
	return skb->len ?: ret;
}

/* One with the longest names must fit the first answer, which is made before anybody reads. */
static int dirty_start(struct netlink_callback *cb)
{
	cb->min_dump_alloc = 2 * (BC_NL_PATH_MAX + BC_NAME_SOURCE_MAX) + PAGE_SIZE;
	return 0;
}

#define BC_DO(_cmd, _fn)	{ .cmd = (_cmd), .doit = (_fn) }
#define BC_DUMP(_cmd, _fn)	{ .cmd = (_cmd), .dumpit = (_fn) }

static const struct genl_small_ops bc_ops[] = {
	BC_DO(BC_CMD_STATUS_GET, status_get),
	BC_DO(BC_CMD_TIER_ATTACH, tier_attach),
	BC_DO(BC_CMD_TIER_DETACH, tier_detach),
	BC_DUMP(BC_CMD_TIER_GET, tier_get),
	BC_DUMP(BC_CMD_MOUNT_GET, mount_get),
	BC_DO(BC_CMD_MOUNT_RELOWER, mount_relower),
	BC_DO(BC_CMD_STATS_GET, stats_get),
	BC_DUMP(BC_CMD_REQUEST_GET, request_get),
	BC_DO(BC_CMD_RESOLVE_REPLY, resolve_reply),
	BC_DO(BC_CMD_RESIDENCY, residency),
	BC_DO(BC_CMD_PREFETCH, prefetch_file),
	BC_DO(BC_CMD_EVICT, evict_file),
	BC_DO(BC_CMD_DEMOTE, demote_file),
	BC_DO(BC_CMD_PIN_ADD, pin_add),
	BC_DO(BC_CMD_PIN_REMOVE, pin_remove),
	BC_DUMP(BC_CMD_PIN_GET, pin_get),
	BC_DO(BC_CMD_DISK_ATTACH, bc_netlink_disk_attach),
	BC_DO(BC_CMD_DISK_DETACH, bc_netlink_disk_detach),
	BC_DO(BC_CMD_DISK_REFRESH, bc_netlink_disk_refresh),
	BC_DUMP(BC_CMD_DISK_GET, bc_netlink_disk_get),
};

static const struct genl_ops bc_long_ops[] = {
	{ .cmd = BC_CMD_DIRTY_GET, .start = dirty_start, .dumpit = dirty_get },
};

static const struct genl_multicast_group bc_groups[] = {
	{ .name = BC_GENL_MCGRP_EVENTS, .flags = GENL_MCAST_CAP_SYS_ADMIN },
};

static struct genl_family bc_family __ro_after_init = {
	.name = BC_GENL_NAME,
	.version = BC_GENL_VERSION,
	.maxattr = BC_A_MAX,
	.policy = top_policy,
	.parallel_ops = true,
	.module = THIS_MODULE,
	.small_ops = bc_ops,
	.n_small_ops = ARRAY_SIZE(bc_ops),
	.ops = bc_long_ops,
	.n_ops = ARRAY_SIZE(bc_long_ops),
	.resv_start_op = BC_CMD_MAX + 1,
	.mcgrps = bc_groups,
	.n_mcgrps = ARRAY_SIZE(bc_groups),
};

/* The daemon lives in the initial network namespace. */
static void announce(u8 cmd, int (*put)(struct sk_buff *msg, void *arg), void *arg)
{
	struct sk_buff *msg = genlmsg_new(GENLMSG_DEFAULT_SIZE + BC_NL_PATH_MAX,
					  GFP_NOFS | __GFP_NOWARN);
	void *head;

	if (!msg)
		return;
	head = genlmsg_put(msg, 0, 0, &bc_family, 0, cmd);
	if (!head || put(msg, arg)) {
		nlmsg_free(msg);
		return;
	}
	genlmsg_end(msg, head);
	genlmsg_multicast(&bc_family, msg, 0, 0, GFP_NOFS);
}

static int put_fill_event(struct sk_buff *msg, void *fill)
{
	return put_fill(msg, fill);
}

void bc_netlink_announce_fetch(struct bc_fill *fill)
{
	announce(BC_CMD_EVENT_FETCH, put_fill_event, fill);
}

static int put_resolve_event(struct sk_buff *msg, void *resolve)
{
	return put_resolve(msg, resolve);
}

void bc_netlink_announce_resolve(struct bc_resolve *resolve)
{
	announce(BC_CMD_EVENT_RESOLVE, put_resolve_event, resolve);
}

static int put_dirty_event(struct sk_buff *msg, void *dirty)
{
	return put_dirty(msg, dirty);
}

void bc_netlink_announce_dirty(struct bc_dirty *dirty)
{
	announce(BC_CMD_EVENT_DIRTY, put_dirty_event, dirty);
}

static int put_detached(struct sk_buff *msg, const char *device)
{
	struct nlattr *nest = nla_nest_start(msg, BC_A_TIER);

	if (!nest || nla_put_string(msg, BC_TIER_A_DEVICE, device) ||
	    nla_put_u32(msg, BC_TIER_A_STATE, BC_TIER_DETACHED))
		return -EMSGSIZE;
	nla_nest_end(msg, nest);
	return 0;
}

static int put_tier_event(struct sk_buff *msg, void *device)
{
	struct bc_tier *tier = bc_tier_named(device);
	int ret;

	if (!tier)
		return put_detached(msg, device);
	ret = put_tier(msg, tier);
	bc_tier_put(tier);
	return ret;
}

void bc_netlink_announce_tier(const char *device)
{
	announce(BC_CMD_EVENT_TIER, put_tier_event, (void *)device);
}

int bc_netlink_init(void)
{
	return genl_register_family(&bc_family);
}

void bc_netlink_exit(void)
{
	genl_unregister_family(&bc_family);
}
