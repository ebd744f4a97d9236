// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attach: from the dirty table to objects, and what of it is dead. dirty_recover.c decides.
 */
#include <linux/gfp.h>
#include <linux/netlink.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "dirty.h"
#include "tier.h"

#define NAME_ORDER	get_order(ALIGN(BC_NAME_BYTES_MAX, PAGE_SIZE))

/* Units that are read at once. */
#define WINDOW		128U

static int init_store(struct bc_tier *tier)
{
	struct bc_dirty_store *store = &tier->dirty;

	mutex_init(&store->mutex);
	spin_lock_init(&store->slots_lock);
	INIT_LIST_HEAD(&store->objects);
	init_waitqueue_head(&store->wait);
	store->name = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, NAME_ORDER);
	store->units = vmalloc(BC_DIRTY_BATCH * BC_UNIT_SIZE);
	if (!store->name || !store->units)
		return -ENOMEM;
	return bc_dtable_init(&store->table, tier->super.layout.dirty_units);
}

/* The older copy counts; both are good again after the attach. */
static int torn(struct bc_tier *tier, u64 unit)
{
	pr_warn("%s: a copy of unit %llu of the dirty table is damaged: the other one counts\n",
		tier->name, unit);
	tier->dirty.torn = true;
	return bc_dtable_rewrite(&tier->dirty.table, unit);
}

/* One bad sector is a damaged copy. Return: 0 or errno. */
static int read_singly(struct bc_tier *tier, struct bc_disk_dirty_unit *window, u64 offset,
		       u32 copies)
{
	int ret;
	u32 i;

	for (i = 0; i < copies; i++) {
		ret = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ, offset + (i << BC_UNIT_SHIFT),
				      &window[i], BC_UNIT_SIZE);
		if (!ret)
			continue;
		if (!bc_meta_bad_place(ret))
			return ret;
		/* Damaged, not void: what it says is not known, but it may have been ours. */
		memset(&window[i], 0, sizeof(window[i]));
		memcpy(window[i].head.uuid, tier->super.uuid, BC_UUID_SIZE);
	}
	return 0;
}

static int read_window(struct bc_tier *tier, struct bc_disk_dirty_unit *window, u64 first,
		       u32 count)
{
	u64 offset = tier->super.layout.dirty_offset +
		     ((BC_DIRTY_COPIES * first) << BC_UNIT_SHIFT);
	u32 copies = BC_DIRTY_COPIES * count;
	int ret;

	ret = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ, offset, window,
			      copies << BC_UNIT_SHIFT);
	return bc_meta_bad_place(ret) ? read_singly(tier, window, offset, copies) : ret;
}

static int load_window(struct bc_tier *tier, struct bc_disk_dirty_unit *window, u64 first,
		       u32 count)
{
	const struct bc_layout *layout = &tier->super.layout;
	u32 i;
	int ret;

	ret = read_window(tier, window, first, count);
	for (i = 0; i < count && ret >= 0; i++) {
		ret = bc_dtable_load(&tier->dirty.table, first + i, &window[BC_DIRTY_COPIES * i],
				     layout, tier->super.seq_reserved, tier->super.uuid);
		if (ret == BC_DTABLE_DAMAGED)
			ret = -EUCLEAN;
		else if (ret == BC_DTABLE_TORN)
			ret = torn(tier, first + i);
	}
	return min(ret, 0);
}

/*
 * At an orderly detach it was written down which generations the units have. If they are others,
 * what is damaged are newer copies: what the older ones say is not true any more.
 */
static int check_table(struct bc_tier *tier)
{
	if (!(tier->super.state & BC_SUPER_CLEAN))
		return 0;
	if (bc_dtable_check(&tier->dirty.table) != tier->super.dirty_check) {
		pr_err("%s: units of the dirty table are older than at the last detach: newer copies are damaged\n",
		       tier->name);
		return -EUCLEAN;
	}
	/* Of those that are damaged the older copy is. */
	tier->dirty.torn = false;
	return 0;
}

static int load_table(struct bc_tier *tier)
{
	u64 units = tier->super.layout.dirty_units, first;
	struct bc_disk_dirty_unit *window;
	int ret = 0;
	u32 count;

	window = vmalloc(BC_DIRTY_COPIES * WINDOW * BC_UNIT_SIZE);
	if (!window)
		return -ENOMEM;
	for (first = 0; first < units && !ret; first += count) {
		count = min_t(u64, units - first, WINDOW);
		ret = load_window(tier, window, first, count);
	}
	vfree(window);
	return ret ?: check_table(tier);
}

/* Bytes of a block, in pages that the device can write to. */
static int read_bytes(struct bc_tier *tier, const struct bc_dirty_desc *desc, void *buffer)
{
	return bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ,
			       bc_tier_sector(tier, desc->place.frame, desc->place.slot, 0) <<
			       SECTOR_SHIFT, buffer, round_up(desc->desc.length, BC_UNIT_SIZE));
}

static int read_name(void *arg, const struct bc_dirty_desc *desc, void *buffer)
{
	struct bc_tier *tier = arg;
	int ret = read_bytes(tier, desc, tier->dirty.name);

	if (!ret)
		memcpy(buffer, tier->dirty.name, desc->desc.length);
	return ret;
}

static void set_version(struct bc_dirty_version *version, const struct bc_dirty_desc *at)
{
	version->place = at->place;
	version->length = at->desc.length;
	version->crc = at->desc.crc;
	version->seq = at->desc.seq;
}

/*
 * Bytes behind what counts would be back when the object grows: let the descriptor describe only
 * those before. If they cannot be verified it stays as it is, and reads of it fail.
 */
static int shorten(struct bc_tier *tier, struct bc_dirty_found *found, u32 valid, void *buffer)
{
	struct bc_desc *desc = &found->at.desc;
	int ret;

	if (desc->length == valid)
		return 0;
	ret = read_bytes(tier, &found->at, buffer);
	if (ret)
		return ret;
	if (bc_crc32c(buffer, desc->length) != desc->crc)
		return 0;
	desc->length = valid;
	desc->crc = bc_crc32c(buffer, valid);
	bc_dtable_set(&tier->dirty.table, found->number, &found->at);
	return 0;
}

static int add_block(struct bc_dirty *dirty, const struct bc_dirty_found *found, u32 valid)
{
	struct bc_dirty_block *b = bc_dirty_block_new(found->at.desc.block, found->number);
	int ret;

	if (!b)
		return -ENOMEM;
	set_version(&b->durable, &found->at);
	b->cur = b->durable;
	b->valid = valid;
	ret = xa_insert_irq(&dirty->blocks, b->block, b, GFP_KERNEL);
	if (ret)
		kfree(b);
	return ret;
}

static int add_blocks(struct bc_tier *tier, struct bc_dirty *dirty,
		      const struct bc_dirty_recovery *recovery,
		      const struct bc_dirty_object *object, void *buffer)
{
	u32 i, valid;
	int ret = 0;

	for (i = object->first + 1; i < object->end && !ret; i++) {
		struct bc_dirty_found *found = &recovery->found[i];

		if (found->fate != BC_FATE_LIVE)
			continue;
		valid = bc_dirty_valid(&object->name, &found->at.desc);
		ret = shorten(tier, found, valid, buffer);
		if (!ret)
			ret = add_block(dirty, found, valid);
	}
	return ret;
}

static void set_name(struct bc_dirty *dirty, const struct bc_dirty_found *found,
		     const struct bc_dirty_name *name)
{
	dirty->attr = (struct bc_dirty_attr) {
		.size = name->size,
		.mtime = { .tv_sec = name->mtime, .tv_nsec = name->mtime_nsec },
		.ctime = { .tv_sec = name->ctime, .tv_nsec = name->ctime_nsec },
		.mode = name->mode,
		.uid = name->uid,
		.gid = name->gid,
	};
	dirty->name_slot = found->number;
	dirty->last_slot = found->number;
	dirty->name_place[0] = found->at.place;
	dirty->name_durable = true;
	dirty->durable_size = name->size;
	dirty->step = name->step;
	dirty->replaces = name->replaces;
	dirty->state = name->state;
	dirty->base = name->base;
	dirty->acked_seq = name->acked_seq;
	dirty->acked_size = name->acked_size;
	dirty->acked_last_modified = name->acked_last_modified;
	strscpy(dirty->acked_etag, name->acked_etag, sizeof(dirty->acked_etag));
}

/* A live object. Its second place for names is taken when all that is in use is known. */
static int add_object(struct bc_tier *tier, const struct bc_dirty_recovery *recovery,
		      const struct bc_dirty_object *object, void *buffer)
{
	struct bc_dirty *dirty = bc_dirty_alloc(tier, &object->name);
	int ret;

	if (!dirty)
		return -ENOMEM;
	set_name(dirty, &recovery->found[object->first], &object->name);
	ret = add_blocks(tier, dirty, recovery, object, buffer);
	if (ret) {
		bc_dirty_free(dirty);
		return ret;
	}
	/* Found by nobody before bc_dirty_load_finish(). */
	list_add_tail(&dirty->on_tier, &tier->dirty.objects);
	return 0;
}

static void set_aside(struct bc_tier *tier, const struct bc_dirty_recovery *recovery,
		      const struct bc_dirty_object *object)
{
	const struct bc_dirty_found *name = &recovery->found[object->first];

	tier->dirty.aside++;
	if (object->fate == BC_FATE_ASIDE)
		pr_err("%s: a dirty object is set aside, %u blocks: %s (generation %16phN)\n",
		       tier->name, object->end - object->first - 1, object->why,
		       &name->at.desc.key);
}

static void clear_dead(struct bc_tier *tier, const struct bc_dirty_recovery *recovery)
{
	u32 i;

	for (i = 0; i < recovery->count; i++) {
		if (recovery->found[i].fate != BC_FATE_DEAD)
			continue;
		bc_dtable_clear(&tier->dirty.table, recovery->found[i].number);
		bc_dirty_release_slot(tier, recovery->found[i].number);
	}
}

static int take_places(struct bc_tier *tier, const struct bc_dirty_recovery *recovery,
		       enum bc_fate fate)
{
	u32 i;

	for (i = 0; i < recovery->count; i++) {
		const struct bc_dirty_found *found = &recovery->found[i];

		/* Two that are set aside may claim one place: the first has it. */
		if (found->fate == fate && bc_frames_take(&tier->frames, &found->at.place) &&
		    WARN_ON_ONCE(fate == BC_FATE_LIVE))
			return -EUCLEAN;
	}
	return 0;
}

static int take_all(struct bc_tier *tier, const struct bc_dirty_recovery *recovery)
{
	int ret;

	clear_dead(tier, recovery);
	ret = take_places(tier, recovery, BC_FATE_LIVE);
	if (!ret)
		ret = take_places(tier, recovery, BC_FATE_ASIDE);
	if (recovery->nameless)
		pr_err("%s: %u blocks without a name are set aside until the next attach: a copy of the dirty table was damaged\n",
		       tier->name, recovery->nameless);
	return ret;
}

static int add_all(struct bc_tier *tier, const struct bc_dirty_recovery *recovery)
{
	void *buffer = vmalloc(BC_BLOCK_SIZE);
	int ret = buffer ? 0 : -ENOMEM;
	u32 i;

	for (i = 0; i < recovery->objects && !ret; i++) {
		const struct bc_dirty_object *object = &recovery->object[i];

		if (object->fate == BC_FATE_LIVE && object->name.kind == BC_KIND_NAME)
			ret = add_object(tier, recovery, object, buffer);
		else if (object->fate != BC_FATE_DEAD)
			set_aside(tier, recovery, object);
	}
	vfree(buffer);
	return ret;
}

static int recover(struct bc_tier *tier)
{
	struct bc_dirty_recovery recovery = {
		.table = &tier->dirty.table,
		.uuid = tier->super.uuid,
		.read = read_name,
		.arg = tier,
		.torn = tier->dirty.torn,
	};
	int ret = bc_dirty_recover(&recovery);

	if (!ret)
		ret = take_all(tier, &recovery);
	if (!ret)
		ret = add_all(tier, &recovery);
	bc_dirty_recovered(&recovery);
	return ret;
}

int bc_dirty_load(struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	int ret = init_store(tier);

	if (ret) {
		NL_SET_ERR_MSG(extack, "not enough memory for the dirty table");
		return ret;
	}
	if (!(tier->super.incompat & BC_INCOMPAT_DIRTY))
		return 0;
	tier->dirty.used = true;
	ret = load_table(tier);
	if (!ret)
		ret = recover(tier);
	if (ret == -EUCLEAN)
		NL_SET_ERR_MSG(extack, "the dirty table is damaged, and it has data that is not in Blob yet: see the kernel log, do not format");
	else if (ret)
		NL_SET_ERR_MSG(extack, "the dirty table cannot be read: check the device, do not format");
	return ret;
}

/* Of a volume that a mount writes back its names would come from nowhere. */
static bool is_late(struct bc_tier *tier)
{
	struct bc_dirty *dirty;

	list_for_each_entry(dirty, &tier->dirty.objects, on_tier) {
		if (bc_dirty_volume_claimed(&dirty->volume))
			return true;
	}
	return false;
}

/*
 * Another tier has one by that name. If one of the two took its name from the other, the other is
 * gone: that was to be cleared when the power failed. Return: 0 if it was so.
 */
static int publish_replaced(struct bc_dirty *dirty)
{
	struct bc_dirty *other = bc_dirty_same_path(dirty);
	bool replaced, replaces;
	int ret = -EEXIST;

	if (!other)
		return bc_dirty_publish(dirty);
	replaced = bc_key_equal(&other->replaces, &dirty->generation);
	replaces = bc_key_equal(&dirty->replaces, &other->generation);
	if (replaced && !replaces) {
		ret = bc_dirty_unlink(dirty);
	} else if (replaces && !replaced) {
		ret = bc_dirty_unlink(other);
		ret = ret ?: bc_dirty_publish(dirty);
	}
	bc_dirty_put_any(other);
	return ret;
}

static void publish_all(struct bc_tier *tier)
{
	struct bc_dirty *dirty, *next;
	LIST_HEAD(found);

	list_splice_init(&tier->dirty.objects, &found);
	list_for_each_entry_safe(dirty, next, &found, on_tier) {
		list_del_init(&dirty->on_tier);
		/* For its next name; if there is no room now, there may be when it is needed. */
		bc_dirty_take_place(tier, &dirty->generation, 0, 1, &dirty->name_place[1]);
		if (bc_dirty_publish(dirty) && publish_replaced(dirty)) {
			/* Another tier has one by that name: which is right nobody knows. */
			pr_err("%s: a dirty object is set aside: another tier has one of its name (generation %16phN)\n",
			       tier->name, &dirty->generation);
			tier->dirty.aside++;
		}
		/* The names have it now, or nobody. */
		bc_dirty_put(dirty);
	}
}

int bc_dirty_late(struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	if (!is_late(tier))
		return 0;
	NL_SET_ERR_MSG(extack, "tier has data not in Blob yet, of a volume that is mounted with write=back: unmount that first");
	return -EBUSY;
}

void bc_dirty_settle(void)
{
	flush_workqueue(bc_dirty_wq);
}

bool bc_dirty_close(struct bc_tier *tier, u32 *check)
{
	bool good;

	mutex_lock(&tier->dirty.mutex);
	good = !tier->dirty.failed;
	*check = bc_dtable_check(&tier->dirty.table);
	mutex_unlock(&tier->dirty.mutex);
	return good;
}

int bc_dirty_load_finish(struct bc_tier *tier, struct netlink_ext_ack *extack)
{
	int ret;

	mutex_lock(&bc_dirty_claim_mutex);
	ret = bc_dirty_late(tier, extack);
	if (ret)
		goto out;
	mutex_lock(&tier->dirty.mutex);
	ret = bc_dirty_write_units(tier, U64_MAX);
	mutex_unlock(&tier->dirty.mutex);
	if (ret)
		NL_SET_ERR_MSG(extack, "the dirty table cannot be written: check the device, do not format");
	else
		publish_all(tier);
out:
	mutex_unlock(&bc_dirty_claim_mutex);
	return ret;
}

void bc_dirty_unload(struct bc_tier *tier)
{
	struct bc_dirty_store *store = &tier->dirty;
	struct bc_dirty *dirty;

	if (!store->objects.next)
		return;
	/* Those that nobody has go first: they give back what they had. */
	flush_workqueue(bc_dirty_wq);
	while (!list_empty(&store->objects)) {
		dirty = list_first_entry(&store->objects, struct bc_dirty, on_tier);
		if (!bc_dirty_unpublish(dirty))
			list_del_init(&dirty->on_tier);
		bc_dirty_put(dirty);
	}
	flush_workqueue(bc_dirty_wq);
	bc_dtable_free(&store->table);
	free_pages((unsigned long)store->name, NAME_ORDER);
	vfree(store->units);
}
