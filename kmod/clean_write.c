// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clean table is written some time after it changed, unit by unit. What is on
 * the device of a unit is read, what waits is put into it, and all of it is written.
 *
 * A unit that cannot be read is not written either: it stays as it is, and dirty, and is tried
 * again ever later. If that goes on for some minutes what it said is given up, so that it can be
 * written, by which a device makes a bad place good.
 */
#include <linux/blkdev.h>
#include <linux/ktime.h>
#include <linux/vmalloc.h>

#include "stats.h"
#include "tier.h"
#include "tier_meta.h"
#include "trouble.h"

/* Of these all are read at once, and then all written; tiers keep that many bios in reserve. */
#define BATCH_UNITS	BC_TIER_BIOS

/*
 * A run gives up after so many bad places, or one other error, or if the tier was given up: each
 * may take as long as the device's timeout, and a detach waits for it. The next one goes on behind.
 */
#define MAX_FAILURES	32

/* Failed reads, see trouble.h: two minutes. At detach there is no time. */
#define GIVE_UP_AFTER	8

/* Units as they were at one moment, in memory of their own. */
struct bc_clean_batch {
	/* From run to run: */
	struct bc_pending_walk walk;
	struct bc_troubles troubles;
	/* Of the run: */
	u64 now;		/* ms */
	bool last;
	int error;		/* the last one */
	u32 failures, written, waiting;
	/* Of the batch: */
	u32 count;
	struct batched {
		struct bc_meta_request request;
		u64 unit;
		bool covered;	/* whatever the device says of it */
		bool kept;	/* what the device says was in memory */
		bool failed;	/* it could not be read */
		bool ready;	/* its bytes are to be written */
	} at[BATCH_UNITS];
	struct bc_meta_group group;
	struct bc_disk_clean_unit bytes[BATCH_UNITS] __aligned(PAGE_SIZE);
};

static bool too_many(const struct bc_tier *tier, const struct bc_clean_batch *batch)
{
	bool given_up = READ_ONCE(tier->failed) || READ_ONCE(tier->read_only);

	return batch->failures >= (given_up ? 1 : MAX_FAILURES);
}

/* Dirty units from the cursor on; more may come meanwhile. */
static void collect(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	const struct bc_pending *pending = &tier->pending;
	bool covered;
	u64 unit;

	batch->count = 0;
	while (batch->count < BATCH_UNITS) {
		unit = bc_pending_walk_next(pending, &batch->walk);
		if (unit == BC_PENDING_END)
			break;
		if (!batch->last && bc_trouble_waits(&batch->troubles, unit, batch->now)) {
			batch->waiting++;
			continue;
		}
		spin_lock(&tier->lock);
		covered = bc_pending_covers(pending, unit);
		spin_unlock(&tier->lock);
		batch->at[batch->count++] = (struct batched){ .unit = unit, .covered = covered };
	}
}

static void count_failure(struct bc_clean_batch *batch, int error)
{
	batch->error = error;
	batch->failures += bc_meta_bad_place(error) ? 1 : MAX_FAILURES;
}

/*
 * Is it this unit alone that cannot be read, after all that was tried? Only then may what it said
 * be given up: a path to the device that is down for a while costs nothing.
 */
static bool is_hopeless(struct bc_tier *tier, struct bc_clean_batch *batch, u32 i, u32 times)
{
	struct bc_disk_clean_unit *bytes = &batch->bytes[i];
	int *error = &batch->at[i].request.error;

	if (batch->last && bc_meta_bad_place(*error))
		*error = bc_units_read(tier, batch->at[i].unit, 1, bytes);
	else if (times < GIVE_UP_AFTER)
		return false;
	/* A superblock is always there to be read. */
	return bc_meta_bad_place(*error) && !READ_ONCE(tier->failed) &&
	       !bc_tier_meta_io(tier->bdev.bdev, REQ_OP_READ, 0, bytes, BC_UNIT_SIZE);
}

/*
 * It does not count when a tier is given up: that it is read again and again says nothing new of
 * the device.
 */
static void read_failed(struct bc_tier *tier, struct bc_clean_batch *batch, u32 i)
{
	u64 unit = batch->at[i].unit;
	u32 times = bc_trouble_failed(&batch->troubles, unit, batch->now);

	bc_stat_inc(BC_STAT_TIER_READ_ERRORS);
	if (is_hopeless(tier, batch, i, times)) {
		bc_units_lost(tier, unit, &batch->bytes[i], "cannot be read");
	} else if (!batch->at[i].request.error) {
		bc_units_check(tier, unit, &batch->bytes[i]);
	} else {
		count_failure(batch, batch->at[i].request.error);
		batch->at[i].failed = true;
	}
}

static void check_read(struct bc_tier *tier, struct bc_clean_batch *batch, u32 i)
{
	if (batch->at[i].request.error)
		read_failed(tier, batch, i);
	else
		bc_units_check(tier, batch->at[i].unit, &batch->bytes[i]);
}

static bool is_read(const struct bc_clean_batch *batch, u32 i)
{
	return batch->at[i].covered || batch->at[i].kept;
}

static void read_batch(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	struct blk_plug plug;
	u32 i;

	bc_meta_begin(&batch->group);
	/* Those that follow each other become one request. */
	blk_start_plug(&plug);
	for (i = 0; i < batch->count; i++) {
		struct batched *at = &batch->at[i];

		at->kept = !at->covered && bc_units_copy(tier, at->unit, &batch->bytes[i]);
		if (!is_read(batch, i))
			bc_units_submit_read(tier, &batch->group, &at->request, at->unit,
					     &batch->bytes[i]);
	}
	blk_finish_plug(&plug);
	bc_meta_wait(&batch->group);
	for (i = 0; i < batch->count; i++) {
		if (batch->at[i].covered)
			memset(&batch->bytes[i], 0, BC_UNIT_SIZE);
		else if (!is_read(batch, i))
			check_read(tier, batch, i);
		batch->at[i].ready = !batch->at[i].failed;
	}
}

/* Make them what they shall be. Return: their number. */
static u32 change_batch(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	u32 i, ready = 0;

	for (i = 0; i < batch->count; i++) {
		if (!batch->at[i].ready)
			continue;
		spin_lock(&tier->lock);
		bc_pending_apply(&tier->pending, batch->at[i].unit, &batch->bytes[i]);
		spin_unlock(&tier->lock);
		ready++;
	}
	return ready;
}

static void submit_writes(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	struct blk_plug plug;
	u32 i;

	bc_meta_begin(&batch->group);
	blk_start_plug(&plug);
	for (i = 0; i < batch->count; i++) {
		if (batch->at[i].ready)
			bc_units_submit_write(tier, &batch->group, &batch->at[i].request,
					      batch->at[i].unit, &batch->bytes[i]);
	}
	blk_finish_plug(&plug);
	bc_meta_wait(&batch->group);
}

static bool write_failed_at(const struct bc_clean_batch *batch, u32 i)
{
	return batch->at[i].ready && batch->at[i].request.error;
}

/* A write that failed may have torn what was there, and here are all of its bytes: once more. */
static void write_again(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	u32 i;

	bc_meta_begin(&batch->group);
	for (i = 0; i < batch->count; i++) {
		if (write_failed_at(batch, i) && bc_meta_bad_place(batch->at[i].request.error))
			bc_units_submit_again(tier, &batch->group, &batch->at[i].request,
					      batch->at[i].unit, &batch->bytes[i]);
	}
	bc_meta_wait(&batch->group);
}

static void write_failed(struct bc_tier *tier, struct bc_clean_batch *batch, u32 i)
{
	int error = batch->at[i].request.error;
	u64 unit = batch->at[i].unit;

	/* As for reads; but the first time it does say something. */
	if (bc_trouble_failed(&batch->troubles, unit, batch->now) == 1)
		bc_tier_io_result(tier, WRITE, error);
	count_failure(batch, error);
	/* Still to be: a later success must not make the tier look complete. */
	spin_lock(&tier->lock);
	bc_pending_mark(&tier->pending, unit);
	spin_unlock(&tier->lock);
}

static void write_ended(struct bc_tier *tier, struct bc_clean_batch *batch, u32 i)
{
	const struct bc_meta_request *request = &batch->at[i].request;
	u64 unit = batch->at[i].unit;

	/* First what is kept: once nothing waits that is asked. */
	bc_units_written(tier, unit, &batch->bytes[i], request->error);
	if (request->error) {
		write_failed(tier, batch, i);
		return;
	}
	bc_tier_io_result(tier, WRITE, 0);
	bc_trouble_over(&batch->troubles, unit);
	spin_lock(&tier->lock);
	bc_pending_written(&tier->pending, unit, &batch->bytes[i]);
	spin_unlock(&tier->lock);
	batch->written++;
}

static void not_written(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	u32 i;

	spin_lock(&tier->lock);
	for (i = 0; i < batch->count; i++) {
		if (batch->at[i].ready)
			bc_pending_mark(&tier->pending, batch->at[i].unit);
	}
	spin_unlock(&tier->lock);
}

/*
 * The flush puts the blocks' bytes before their records, and so comes after these were
 * copied: what a record says is on the device. (If the device lies, the checksum finds out.)
 */
static void write_batch(struct bc_tier *tier, struct bc_clean_batch *batch)
{
	u32 i;
	int ret;

	read_batch(tier, batch);
	if (!change_batch(tier, batch))
		return;
	ret = bc_dirty_flush_device(tier);
	if (ret) {
		batch->error = ret;
		batch->failures = MAX_FAILURES;
		not_written(tier, batch);
		return;
	}
	submit_writes(tier, batch);
	/* Those that went well first: others wait for them. */
	for (i = 0; i < batch->count; i++) {
		if (batch->at[i].ready && !write_failed_at(batch, i)) {
			write_ended(tier, batch, i);
			batch->at[i].ready = false;
		}
	}
	write_again(tier, batch);
	for (i = 0; i < batch->count; i++) {
		if (batch->at[i].ready)
			write_ended(tier, batch, i);
	}
	wake_up_all(&tier->table_wait);
}

/* Not when it is needed: memory may be short because this is not written. */
int bc_clean_write_init(struct bc_tier *tier)
{
	tier->batch = vzalloc(sizeof(*tier->batch));
	return tier->batch ? 0 : -ENOMEM;
}

void bc_clean_write_exit(struct bc_tier *tier)
{
	vfree(tier->batch);
}

size_t bc_clean_write_memory(void)
{
	return sizeof(struct bc_clean_batch);
}

/* tier->table_mutex held. */
static void run(struct bc_tier *tier, struct bc_clean_batch *batch, bool last)
{
	bc_pending_walk(&tier->pending, &batch->walk);
	batch->now = ktime_to_ms(ktime_get_boottime());
	batch->last = last;
	batch->error = 0;
	batch->failures = 0;
	batch->written = 0;
	batch->waiting = 0;
	do {
		collect(tier, batch);
		write_batch(tier, batch);
	} while (batch->walk.left && !too_many(tier, batch));
}

/* Return: 0 or errno; and in @written how many units were. */
static int write_table(struct bc_tier *tier, bool last, u32 *written)
{
	int ret;

	mutex_lock(&tier->table_mutex);
	run(tier, tier->batch, last);
	ret = tier->batch->error;
	*written = tier->batch->written;
	WRITE_ONCE(tier->table_failing, ret || tier->batch->waiting);
	mutex_unlock(&tier->table_mutex);
	if (ret) {
		bc_stat_inc(BC_STAT_TIER_WRITE_ERRORS);
		pr_err_ratelimited("%s: clean table not written: error %d; chunks stored since are lost at the next attach\n",
				   tier->name, ret);
	}
	return ret;
}

int bc_clean_write(struct bc_tier *tier)
{
	u32 written;

	return write_table(tier, true, &written);
}

/* While nothing more can be noted of a tier chunks go to others, if there are any. */
static void set_stuck(struct bc_tier *tier, bool stuck)
{
	if (stuck == READ_ONCE(tier->table_stuck))
		return;
	WRITE_ONCE(tier->table_stuck, stuck);
	bc_tier_homes();
	wake_up_all(&tier->table_wait);
	/* As one that was given up: an event. */
	queue_work(bc_table_wq, &tier->failed_work);
	if (stuck)
		pr_err_ratelimited("%s: too much of the clean table could not be written: tier keeps nothing more until it can\n",
				   tier->name);
}

void bc_clean_work(struct work_struct *work)
{
	struct bc_tier *tier = container_of(to_delayed_work(work), struct bc_tier, table_work);
	bool dirty, crowded, full, light;
	u32 written;

	write_table(tier, false, &written);
	spin_lock(&tier->lock);
	dirty = tier->pending.units_dirty;
	crowded = bc_clean_crowded(&tier->pending);
	full = bc_clean_full(&tier->pending);
	light = bc_clean_light(&tier->pending);
	spin_unlock(&tier->lock);
	if (full && !written && READ_ONCE(tier->table_failing))
		set_stuck(tier, true);
	else if (written || light)
		set_stuck(tier, false);
	/* What could not be written, or changed meanwhile. */
	if (dirty && percpu_ref_tryget_live(&tier->ref)) {
		/* Who changed something meanwhile may have put it off. */
		if (crowded && written)
			mod_delayed_work(bc_table_wq, &tier->table_work, 0);
		else
			queue_delayed_work(bc_table_wq, &tier->table_work, BC_CLEAN_DELAY);
		percpu_ref_put(&tier->ref);
	}
}
