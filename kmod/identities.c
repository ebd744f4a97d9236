// SPDX-License-Identifier: GPL-2.0-only
/*
 * Identities on a tier: read at attach, written at detach and now and then
 * between. Advisory: what is lost is asked of the store again.
 *
 * A save writes as many units as are needed, from the first on, all with the
 * same generation. Units behind them are of older saves: their generation
 * differs from the first unit's, so they are void.
 */
#include <linux/blkdev.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "identity.h"
#include "stats.h"
#include "tier.h"
#include "tier_meta.h"

/* Identities that changed are written this long after the last time. */
#define SAVE_INTERVAL	(60 * HZ)

struct save {
	struct bc_tier *tier;
	struct bc_disk_identity_unit *unit;
	u64 generation;
	u64 index;		/* of unit */
	u32 used;		/* records of unit */
	s64 now_ns, now_seconds;
	enum bc_identity_kind kind;	/* what is written now, */
	u64 skip, most;		/* but for the first of them, and no more than so many */
	bool blind;		/* lowers may show other rights later, which the tier is not told */
	int error;
};

static int write_unit(struct save *save)
{
	struct bc_tier *tier = save->tier;
	u64 offset = tier->super.layout.identity_offset + (save->index << BC_UNIT_SHIFT);

	save->unit->saved_at = cpu_to_le64(save->blind ? 0 : save->now_seconds);
	bc_unit_seal(save->unit, BC_UNIT_MAGIC_IDENTITY, save->index, save->generation,
		     tier->super.uuid);
	save->error = bc_tier_meta_io(tier->bdev.bdev, REQ_OP_WRITE, offset, save->unit,
				      BC_UNIT_SIZE);
	bc_tier_io_result(tier, WRITE, save->error);
	memset(save->unit, 0, BC_UNIT_SIZE);
	save->index++;
	save->used = 0;
	return save->error;
}

/* A mark, of what is recorded as a whole: a version, or a directory that the lower has shown. */
static bool was_known(const struct bc_identity *mark)
{
	if (mark->kind == BC_IDENTITY_DIR)
		return mark->view;
	return mark->etag_length && mark->lower.mode &&
	       memchr_inv(mark->key.bytes, 0, BC_KEY_SIZE);
}

/* Return: not 0 when there is no more room, or it could not be written. */
static int save_one(const struct bc_identity *identity, void *arg)
{
	struct bc_disk_identity *record;
	struct save *save = arg;

	/*
	 * What was written is not known after a restart; what was known before is, if it
	 * is of this path: that the lower moved since then will be seen.
	 */
	if (identity->kind != save->kind || identity->flags & BC_IDENTITY_MOVED)
		return 0;
	if (identity->flags & BC_IDENTITY_WRITTEN && !was_known(identity))
		return 0;
	if (save->skip) {
		save->skip--;
		return 0;
	}
	if (!save->most || save->index >= save->tier->super.layout.identity_units)
		return 1;
	save->most--;
	record = &save->unit->record[save->used++];
	bc_identity_encode(identity, save->now_ns, save->now_seconds, record);
	if (save->blind)
		record->view = 0;
	return save->used == BC_IDENTITY_RECORDS ? write_unit(save) : 0;
}

static int save_kind(struct save *save, enum bc_identity_kind kind, u64 skip, u64 most)
{
	save->kind = kind;
	save->skip = skip;
	save->most = most;
	return bc_identity_for_each(save_one, save);
}

/* In tables smaller than that in memory directories have so much of it, if files want the rest. */
#define DIRS_SHARE	4

/*
 * Directories first, as many as have a share: without them nothing below is known. Then files, then
 * the other directories. Return: as bc_identity_for_each().
 */
static int save_all(struct save *save)
{
	u64 share = save->tier->super.layout.identity_units * BC_IDENTITY_RECORDS / DIRS_SHARE;
	int ret;

	ret = save_kind(save, BC_IDENTITY_DIR, 0, share);
	if (ret >= 0)
		ret = save_kind(save, BC_IDENTITY_FILE, 0, U64_MAX);
	if (ret >= 0)
		ret = save_kind(save, BC_IDENTITY_DIR, share, U64_MAX);
	return ret;
}

int bc_identities_save(struct bc_tier *tier, bool last)
{
	struct save save = {
		.tier = tier,
		.now_ns = ktime_get_boottime_ns(),
		.now_seconds = ktime_get_real_seconds(),
		.blind = last && bc_identity_watched(),
	};
	u64 changes = bc_identity_changes();

	/* The last one also tells that all was known until then. */
	if (changes == tier->identity_changes && !last)
		return 0;
	save.unit = (void *)get_zeroed_page(GFP_KERNEL);
	if (!save.unit)
		return -ENOMEM;
	save.generation = ++tier->identity_generation;
	if (save_all(&save) < 0)
		save.error = -ENOMEM;	/* an empty first unit would void the older save */
	/* Also an empty one, if it is the first: it voids the older save. */
	if (!save.error && (save.used || !save.index) &&
	    save.index < tier->super.layout.identity_units)
		write_unit(&save);
	free_page((unsigned long)save.unit);
	if (save.error) {
		bc_stat_inc(BC_STAT_TIER_WRITE_ERRORS);
		return save.error;
	}
	tier->identity_changes = changes;
	bc_identity_saved(save.now_ns);
	return 0;
}

static void save_work(struct work_struct *work)
{
	struct bc_tier *tier = container_of(to_delayed_work(work), struct bc_tier, identity_work);

	bc_identities_save(tier, false);
	queue_delayed_work(bc_table_wq, &tier->identity_work, SAVE_INTERVAL);
}

/* Return: whether the rights that the tier knew may be taken. */
static bool begin_load(const struct bc_disk_identity_unit *first)
{
	return bc_identity_loading(bc_identity_decode_time(first->saved_at,
							   ktime_get_boottime_ns(),
							   ktime_get_real_seconds()));
}

static void load_unit(const struct bc_disk_identity_unit *unit, bool with_rights)
{
	s64 now_ns = ktime_get_boottime_ns(), now_seconds = ktime_get_real_seconds();
	struct bc_identity identity;
	u32 i;

	for (i = 0; i < BC_IDENTITY_RECORDS; i++) {
		if (!bc_identity_decode(&unit->record[i], now_ns, now_seconds, &identity))
			continue;
		if (!with_rights) {
			identity.view = 0;
			identity.seen_ns = S64_MIN;
		}
		bc_identity_insert_loaded(&identity);
	}
}

/* Return: 0 go on, 1 no more. */
static int read_unit(struct bc_tier *tier, u64 index, struct bc_disk_identity_unit *unit,
		     bool *with_rights)
{
	u64 offset = tier->super.layout.identity_offset + (index << BC_UNIT_SHIFT);
	u64 generation;
	int ret;

	if (bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ, offset, unit, BC_UNIT_SIZE))
		return 1;
	ret = bc_unit_check(unit, BC_UNIT_MAGIC_IDENTITY, index, tier->super.uuid);
	if (ret == -EBADMSG)
		bc_stat_inc(BC_STAT_UNIT_ERRORS);
	if (ret)
		/* Damaged: go on behind it, unless it is the first, which tells the generation. */
		return ret != -EBADMSG || !index;
	generation = le64_to_cpu(unit->head.generation);
	if (!index) {
		tier->identity_generation = generation;
		*with_rights = begin_load(unit);
	}
	if (generation != tier->identity_generation)
		return 1;
	load_unit(unit, *with_rights);
	return 0;
}

void bc_identities_load(struct bc_tier *tier)
{
	struct bc_disk_identity_unit *unit = (void *)__get_free_page(GFP_KERNEL);
	bool with_rights = false;
	u64 index;

	INIT_DELAYED_WORK(&tier->identity_work, save_work);
	/* What another tier, or none, was told of is new to this one. */
	tier->identity_changes = bc_identity_changes() - !!bc_identity_count();
	if (!unit)
		return;
	for (index = 0; index < tier->super.layout.identity_units; index++) {
		if (read_unit(tier, index, unit, &with_rights))
			break;
		cond_resched();
	}
	free_page((unsigned long)unit);
	/* At least the first unit of a new table must be newer than what a damaged one may say. */
	tier->identity_generation = max(tier->identity_generation, tier->super.attach_count << 32);
}

void bc_identities_start(struct bc_tier *tier)
{
	queue_delayed_work(bc_table_wq, &tier->identity_work, SAVE_INTERVAL);
}

void bc_identities_stop(struct bc_tier *tier)
{
	cancel_delayed_work_sync(&tier->identity_work);
}
