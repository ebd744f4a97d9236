// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine's face to front ends: which source answers.
 */
#include <linux/jiffies.h>
#include <linux/sched/signal.h>

#include "engine.h"
#include "fill.h"
#include "object.h"
#include "split.h"
#include "stats.h"
#include "tier.h"
#include "trace.h"

void bc_read(struct bc_io *io)
{
	struct bc_object *object = io->object;
	u16 valid = 0;

	if (!io->deadline)
		io->deadline = bc_deadline(object->client);
	if (bc_object_bound(object) == BC_BOUND_STORE && bc_tier_read(io, &valid))
		return;
	if (valid & bc_io_blocks(io, BC_CHUNK_SIZE) && bc_split_read(io, valid))
		return;
	bc_stat_inc(BC_STAT_MISS_READS);
	bc_stat_add(BC_STAT_MISS_BYTES, io->length);
	trace_bc_miss(io->pos, io->length, io->priority);
	bc_fill_read(io);
}

/* The chunk's fill has bound the object, or ended without. */
static bool bind_settled(struct bc_object *object, struct bc_fill *fill)
{
	return bc_object_bound(object) != BC_UNBOUND || READ_ONCE(fill->state) == BC_FILL_ENDED;
}

/*
 * Who had the object open before gave up, or his time is over, and ours is not. (A fill that times
 * out before its own time was told so by the lower.)
 */
static bool is_of_another(const struct bc_fill *fill, int error, unsigned long deadline)
{
	if (error != -ETIMEDOUT)
		return error == -ECANCELED;
	return READ_ONCE(fill->expired) && time_before(jiffies, deadline);
}

int bc_object_bind(struct bc_object *object, u64 pos)
{
	/* A little more than the fill's own deadline, which ends the fill. */
	unsigned long deadline = bc_deadline(object->client), end = deadline + 2 * HZ;
	struct bc_fill *fill;
	long ret, left;

	while (bc_object_bound(object) == BC_UNBOUND) {
		left = end - jiffies;
		ret = bc_fill_start(object, pos >> BC_CHUNK_SHIFT, NULL, BC_PRIORITY_DEMAND,
				    false, &fill);
		if (ret)
			return ret;
		if (!fill)
			break;
		ret = wait_event_killable_timeout(object->bind_wait, bind_settled(object, fill),
						  max(left, 0L));
		if (!ret)
			ret = -ETIMEDOUT;
		else if (ret > 0 && bc_object_bound(object) == BC_UNBOUND)
			ret = fill->error ?: -EAGAIN;
		if (is_of_another(fill, ret, deadline))
			ret = -EAGAIN;
		bc_fill_put(fill);
		if (ret < 0 && ret != -EAGAIN)
			return ret == -ERESTARTSYS ? -EINTR : ret;
	}
	/* The binder tells the front end under this lock: wait until it has. */
	mutex_lock(&object->bind_mutex);
	mutex_unlock(&object->bind_mutex);
	return 0;
}

int bc_prefetch(struct bc_object *object, u64 pos, u64 length, enum bc_priority priority)
{
	u32 chunk = pos >> BC_CHUNK_SHIFT, last;
	int ret;

	if (bc_object_bound(object) == BC_UNBOUND)
		return bc_fill_start(object, chunk, NULL, priority, true, NULL) ? 1 : 0;
	if (bc_object_bound(object) == BC_BOUND_LOWER || pos >= object->version.size || !length)
		return 0;
	length = min(length, object->version.size - pos);
	last = (pos + length - 1) >> BC_CHUNK_SHIFT;
	for (; chunk <= last; chunk++) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		if (bc_tier_has(&object->key, chunk, bc_chunk_bytes(object, chunk)))
			continue;
		ret = bc_fill_start(object, chunk, NULL, priority, true, NULL);
		if (ret == -EBUSY)
			return min_t(u32, last - chunk + 1, INT_MAX);
		if (ret)
			return ret;
	}
	return 0;
}

bool bc_cacheable(const struct bc_object *object)
{
	return bc_object_bound(object) == BC_BOUND_STORE && bc_tier_serves();
}

bool bc_resident(struct bc_object *object, u64 pos)
{
	return bc_object_bound(object) == BC_BOUND_STORE &&
	       bc_tier_has(&object->key, pos >> BC_CHUNK_SHIFT,
			   bc_chunk_bytes(object, pos >> BC_CHUNK_SHIFT));
}

bool bc_resident_part(struct bc_object *object, u64 pos, u64 end)
{
	struct bc_io io = { .pos = pos, .length = end - pos };
	u32 chunk = pos >> BC_CHUNK_SHIFT, bytes;

	if (bc_object_bound(object) != BC_BOUND_STORE)
		return false;
	bytes = bc_chunk_bytes(object, chunk);
	return !(bc_io_blocks(&io, bytes) & ~bc_tier_blocks(&object->key, chunk, bytes));
}

u64 bc_residency(struct bc_object *object, u64 *pending)
{
	if (pending)
		*pending = 0;
	if (bc_object_bound(object) != BC_BOUND_STORE)
		return 0;
	if (pending)
		*pending = bc_fills_pending_bytes(&object->key);
	return bc_tier_resident(&object->key, object->version.size);
}

/* Over all chunks that there can be; a kill cuts it short. */
static u64 each_chunk(struct bc_object *object, u64 (*fn)(const struct bc_key *key, u32 chunk))
{
	u64 bytes = 0, chunk;

	if (bc_object_bound(object) != BC_BOUND_STORE)
		return 0;
	for (chunk = 0; chunk << BC_CHUNK_SHIFT < object->version.size; chunk++) {
		bytes += fn(&object->key, chunk);
		cond_resched();
		if (fatal_signal_pending(current))
			break;
	}
	return bytes;
}

u64 bc_evict(struct bc_object *object)
{
	return each_chunk(object, bc_tier_drop);
}

u64 bc_demote(struct bc_object *object)
{
	return each_chunk(object, bc_tier_demote);
}
