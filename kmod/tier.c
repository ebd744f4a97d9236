// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attach and detach of tiers. docs/disk-format.md has the order of writes.
 */
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netlink.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "netlink.h"
#include "pin.h"
#include "room.h"
#include "stats.h"
#include "tier.h"
#include "tier_meta.h"

/* What this module knows. */
#define KNOWN_RO_COMPAT	0U
#define KNOWN_INCOMPAT	BC_INCOMPAT_DIRTY

static DEFINE_MUTEX(tier_mutex);	/* attach against detach */

static void tier_idle(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct bc_tier, ref)->idle);
}

void bc_tier_free_place(struct bc_tier *tier, const struct bc_place *place)
{
	spin_lock(&tier->lock);
	bc_clean_erase(tier, place);
	bc_frames_release(&tier->frames, place);
	spin_unlock(&tier->lock);
}

static int write_super(struct bc_tier *tier)
{
	struct bc_disk_super *disk = (void *)get_zeroed_page(GFP_KERNEL);
	u64 copy;
	int ret;

	if (!disk)
		return -ENOMEM;
	tier->super.generation++;
	copy = tier->super.generation & 1;
	bc_super_encode(&tier->super, disk);
	ret = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_WRITE | REQ_PREFLUSH | REQ_FUA,
			      copy << BC_UNIT_SHIFT, disk, BC_UNIT_SIZE);
	free_page((unsigned long)disk);
	/* To the same copy the next time: the other one is the only good one now. */
	if (ret)
		tier->super.generation--;
	return ret;
}

/* What dirty data relies on must not be in one copy only. */
static int write_supers(struct bc_tier *tier)
{
	int ret = write_super(tier);

	return ret ?: write_super(tier);
}

int bc_tier_mark_dirty(struct bc_tier *tier)
{
	int ret;

	mutex_lock(&tier->super_mutex);
	tier->super.incompat |= BC_INCOMPAT_DIRTY;
	ret = write_supers(tier);
	mutex_unlock(&tier->super_mutex);
	return ret;
}

static int super_error(struct netlink_ext_ack *extack, const char *name, int ret,
		       const char *why)
{
	pr_err("%s: not attached: %s\n", name, why);
	if (ret == -ENODATA)
		NL_SET_ERR_MSG(extack, "no blobcache tier on this device: format it first (cachectl device format)");
	else if (ret == -EFBIG)
		NL_SET_ERR_MSG(extack, "device is shorter than its tier: was it shrunk? Format it again");
	else if (ret == -EPROTONOSUPPORT)
		NL_SET_ERR_MSG(extack, "tier has a format version this module does not know: use a newer module");
	else
		NL_SET_ERR_MSG(extack, "both superblocks are damaged: see the kernel log; format the device again");
	return ret;
}

static int check_features(const struct bc_super *super, struct netlink_ext_ack *extack)
{
	if (super->incompat & ~KNOWN_INCOMPAT || super->ro_compat & ~KNOWN_RO_COMPAT) {
		NL_SET_ERR_MSG(extack, "tier uses features this module does not know: use a newer module");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int read_super(struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	u64 bytes = bdev_nr_bytes(tier->bdev.bdev);
	const char *why = "unreadable";
	struct bc_disk_super *copies;
	int ret;

	if (bytes < BC_DISK_SUPER_COPIES * BC_UNIT_SIZE)
		return super_error(extack, tier->name, -ENODATA, "device too small");
	copies = kzalloc(BC_DISK_SUPER_COPIES * BC_UNIT_SIZE, GFP_KERNEL);
	if (!copies)
		return -ENOMEM;
	ret = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ, 0, copies,
			      BC_DISK_SUPER_COPIES * BC_UNIT_SIZE);
	if (ret) {
		NL_SET_ERR_MSG(extack, "superblocks unreadable: I/O error, check the device");
	} else {
		ret = bc_super_choose(copies, bytes, &tier->super, &why);
		if (ret < 0)
			ret = super_error(extack, tier->name, ret, why);
		else
			ret = check_features(&tier->super, extack);
	}
	kfree(copies);
	return ret;
}

static int open_device(struct bc_tier *tier, const char *path, struct netlink_ext_ack *extack)
{
	u32 sector;
	int ret;

	/* Each tier holds its own: a device cannot be two of them. */
	ret = bc_bdev_open(path, tier, &tier->bdev);
	if (ret == -EBUSY) {
		NL_SET_ERR_MSG(extack, "device is in use: mounted, attached, or held by another driver");
		return ret;
	}
	if (ret == -ENOTBLK) {
		NL_SET_ERR_MSG(extack, "not a block device: use losetup to make a file one");
		return ret;
	}
	if (ret) {
		NL_SET_ERR_MSG(extack, "device cannot be opened for reading and writing");
		return ret;
	}
	sector = bdev_logical_block_size(tier->bdev.bdev);
	if (sector > BC_UNIT_SIZE) {
		NL_SET_ERR_MSG(extack, "logical blocks above 4096 bytes are not supported");
		bc_bdev_close(&tier->bdev);
		return -EINVAL;
	}
	tier->sector_mask = sector - 1;
	/* What others wrote through the device's page cache must be seen by our bios. */
	sync_blockdev(tier->bdev.bdev);
	invalidate_bdev(tier->bdev.bdev);
	return 0;
}

static int init_memory(struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	const struct bc_layout *layout = &tier->super.layout;
	u64 entries = layout->frame_count * layout->index_ratio;
	int ret;

	ret = bc_frames_init(&tier->frames, layout->frame_count);
	if (!ret)
		ret = bc_index_init(&tier->index, entries,
				    bc_evict_groups(entries));
	if (!ret)
		ret = bc_evict_init(&tier->evict, &tier->index, layout->frame_count,
				    &bc_room_tuning);
	if (ret)
		NL_SET_ERR_MSG(extack, "not enough memory for the index: use a smaller tier or a smaller --index-ratio");
	return ret;
}

/* Everything but the device; also for what init left half done. */
static void free_memory(struct bc_tier *tier)
{
	bc_dirty_unload(tier);
	bc_clean_free(tier);
	bc_evict_free(&tier->evict);
	bc_index_free(&tier->index);
	bc_frames_free(&tier->frames);
}

/* From here on sequences are new, and a crash leaves an unclean tier. */
static int mark_attached(struct bc_tier *tier)
{
	tier->was_clean = tier->super.state & BC_SUPER_CLEAN;
	tier->super.state &= ~BC_SUPER_CLEAN;
	tier->super.attach_count++;
	tier->super.seq_reserved = atomic64_read(&tier->seq) + BC_SEQ_STEP;
	tier->super.dirty_check = 0;
	return write_supers(tier);
}

/* A copy of one that is attached has what that had, and would go other ways. */
static int check_others(const struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	struct bc_tier *other;
	u32 slot = 0, count = 0;
	bool same = false, named = false;

	while ((other = bc_tier_next(&slot))) {
		same |= !memcmp(other->super.uuid, tier->super.uuid, BC_UUID_SIZE);
		named |= !strcmp(other->name, tier->name);
		count++;
		bc_tier_put(other);
	}
	if (same) {
		NL_SET_ERR_MSG(extack, "this tier, or a copy of it, is attached by another name: detach that first (cachectl device list)");
		return -EEXIST;
	}
	if (named) {
		NL_SET_ERR_MSG(extack, "a tier that had this name is attached still: detach that first");
		return -EEXIST;
	}
	if (count == BC_TIERS_MAX) {
		NL_SET_ERR_MSG(extack, "too many tiers are attached");
		return -EUSERS;
	}
	return 0;
}

static int attach(struct bc_tier *tier, const char *path, struct netlink_ext_ack *extack)
{
	int ret;

	ret = open_device(tier, path, extack);
	if (ret)
		return ret;
	ret = read_super(tier, extack);
	if (!ret)
		ret = check_others(tier, extack);
	if (ret)
		goto err_close;
	ret = init_memory(tier, extack);
	if (ret)
		goto err_free;
	ret = bc_dirty_load(tier, extack);
	if (!ret)
		ret = bc_clean_load(tier, extack);
	if (ret)
		goto err_free;
	bc_identities_load(tier);
	/* Before anything is written; it is asked again when it counts. */
	ret = bc_dirty_late(tier, extack);
	if (ret)
		goto err_free;
	ret = mark_attached(tier);
	if (ret) {
		NL_SET_ERR_MSG(extack, "superblock cannot be written: is the device read-only or failing?");
		goto err_free;
	}
	ret = percpu_ref_init(&tier->ref, tier_idle, 0, GFP_KERNEL);
	if (ret)
		goto err_free;
	ret = bc_dirty_load_finish(tier, extack);
	if (ret)
		goto err_ref;
	return 0;

err_ref:
	/* To make room may have changed the clean table. */
	cancel_delayed_work_sync(&tier->table_work);
	percpu_ref_exit(&tier->ref);
err_free:
	free_memory(tier);
err_close:
	bc_bdev_close(&tier->bdev);
	return ret;
}

int bc_tier_attach(const char *path, struct netlink_ext_ack *extack)
{
	struct bc_tier *tier;
	int ret = -ENOMEM;

	mutex_lock(&tier_mutex);
	tier = kvzalloc(sizeof(*tier), GFP_KERNEL);
	if (!tier)
		goto out;
	strscpy(tier->name, path, sizeof(tier->name));
	init_completion(&tier->idle);
	spin_lock_init(&tier->lock);
	mutex_init(&tier->super_mutex);
	ret = bc_tier_io_prepare(tier);
	if (ret) {
		kvfree(tier);
		goto out;
	}
	ret = attach(tier, path, extack);
	if (ret) {
		bc_tier_io_finish(tier);
		kvfree(tier);
		goto out;
	}
	/* An attached tier keeps the module; its owner is here by the open netlink call. */
	__module_get(THIS_MODULE);
	/* There is room: check_others(). */
	bc_tier_publish(tier);
	bc_clean_start(tier);
	bc_identities_start(tier);
	pr_info("%s: attached: %llu frames, %u chunks found, last detach was %s\n", tier->name,
		tier->super.layout.frame_count, tier->index.used,
		tier->was_clean ? "orderly" : "not orderly");
out:
	mutex_unlock(&tier_mutex);
	if (ret)
		return ret;
	bc_pins_apply();
	bc_netlink_announce_tier(path);
	return 0;
}

/* Nobody finds the tier any more; wait for those who did. */
static void unpublish(struct bc_tier *tier)
{
	bc_tier_unpublish(tier);
	percpu_ref_kill(&tier->ref);
	wait_for_completion(&tier->idle);
	cancel_delayed_work_sync(&tier->table_work);
	bc_identities_stop(tier);
}

static int close_tables(struct bc_tier *tier)
{
	int ret = bc_clean_write(tier), then;
	u32 check;

	/* A few bad places of the one are none of the other. */
	if (ret && !bc_meta_bad_place(ret))
		return ret;
	then = bc_identities_save(tier, true);
	if (!then)
		then = bc_dirty_flush_device(tier);
	if (ret || then)
		return ret ?: then;
	/* What the device says is not what we know: the next attach recovers what it finds. */
	if (!bc_dirty_close(tier, &check))
		return 0;
	tier->super.dirty_check = check;
	tier->super.state |= BC_SUPER_CLEAN;
	return write_super(tier);
}

int bc_tier_detach(const char *path, struct netlink_ext_ack *extack)
{
	struct bc_tier *tier;
	int ret = -ENOENT;

	mutex_lock(&tier_mutex);
	tier = bc_tier_named(path);
	if (!tier) {
		NL_SET_ERR_MSG(extack, "no such tier: see cachectl device list");
		goto out;
	}
	ret = bc_dirty_leave(tier);
	/* Nobody else lets go of it. */
	bc_tier_put(tier);
	if (ret) {
		NL_SET_ERR_MSG(extack, "a mount with write=back is there: unmount it first");
		goto out;
	}
	unpublish(tier);
	bc_dirty_settle();
	ret = close_tables(tier);
	if (ret)
		NL_SET_ERR_MSG(extack, "detached, but its tables could not be written: chunks stored last are lost");
	pr_info("%s: detached\n", tier->name);
	/* Nothing is read or written any more. */
	bc_tier_io_finish(tier);
	cancel_work_sync(&tier->failed_work);
	percpu_ref_exit(&tier->ref);
	free_memory(tier);
	bc_bdev_close(&tier->bdev);
	kvfree(tier);
	module_put(THIS_MODULE);
out:
	mutex_unlock(&tier_mutex);
	return ret;
}

void bc_tier_info(struct bc_tier *tier, struct bc_tier_info *info)
{
	const struct bc_layout *layout = &tier->super.layout;

	strscpy(info->name, tier->name, sizeof(info->name));
	memcpy(info->uuid, tier->super.uuid, BC_UUID_SIZE);
	strscpy(info->label, tier->super.label, sizeof(info->label));
	info->state = BC_TIER_LIVE;
	if (READ_ONCE(tier->read_only) || READ_ONCE(tier->table_stuck))
		info->state = BC_TIER_READ_ONLY;
	if (READ_ONCE(tier->failed))
		info->state = BC_TIER_FAILED;
	info->device_bytes = layout->device_bytes;
	info->table_bytes = layout->frames_offset;
	info->frame_bytes = layout->frame_count << BC_CHUNK_SHIFT;
	spin_lock(&tier->lock);
	info->free_bytes = tier->frames.free_blocks << BC_BLOCK_SHIFT;
	info->memory = bc_pending_memory(&tier->pending);
	spin_unlock(&tier->lock);
	info->used_bytes = info->frame_bytes - info->free_bytes;
	info->pinned_bytes = (u64)atomic64_read(&tier->index.pinned_blocks) << BC_BLOCK_SHIFT;
	info->chunks = READ_ONCE(tier->index.used);
	info->chunks_max = tier->index.entries;
	info->memory += bc_index_memory(&tier->index) + bc_frames_memory(&tier->frames) +
			bc_evict_memory(&tier->evict) + bc_units_memory(&tier->units) +
			bc_clean_write_memory();
	info->was_clean = tier->was_clean;
}
