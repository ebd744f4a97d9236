// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which blocks of a chunk a fill fetches, and in which order.
 *
 * A reader that goes through a file in order, and whoever wants the whole chunk,
 * gets what is missing in one request. A read at random gets its blocks in one
 * request, and the reader is served. The rest of the chunk follows as read-ahead,
 * if the chunk was touched before or the store has little to do; else what came
 * is stored as it is, and the next touch fetches the rest.
 */
#include <linux/jiffies.h>
#include <linux/module.h>

#include "fill.h"
#include "tier.h"

static unsigned int max_rest = 16;
module_param(max_rest, uint, 0644);
MODULE_PARM_DESC(max_rest,
		 "fills in flight above which the rest of a chunk read at random is fetched only when it is read again");

/* A chunk of so few blocks is not worth two requests. */
#define SMALL_BLOCKS	4

void bc_fill_aim(const struct bc_object *object, u32 chunk, const struct bc_io *io,
		 struct bc_aim *aim)
{
	bool bound = object->binding == BC_BOUND_STORE;
	u32 bytes = bound ? bc_chunk_bytes(object, chunk) : BC_CHUNK_SIZE;
	u16 all = bc_blocks_of(bytes);

	lockdep_assert_held(&bc_fills.lock);
	aim->need = io && bound ? bc_io_blocks(io, bytes) : 0;
	aim->stream = !aim->need || io->sequential || io->priority != BC_PRIORITY_DEMAND ||
		      hweight16(all) <= SMALL_BLOCKS;
	aim->want = aim->stream ? all : aim->need;
}

u16 bc_fill_all(const struct bc_fill *fill)
{
	return bc_blocks_of(fill->object->binding == BC_BOUND_STORE ? fill->length :
								      BC_CHUNK_SIZE);
}

#define BLOCK_PAGES	(BC_BLOCK_SIZE >> PAGE_SHIFT)

/* fill->lock held. */
static u16 valid_blocks(const struct bc_fill *fill)
{
	u32 pages = DIV_ROUND_UP(fill->length, PAGE_SIZE), first, end;
	u16 blocks = 0;

	lockdep_assert_held(&fill->lock);
	for (first = 0; first < pages; first = end) {
		end = min_t(u32, first + BLOCK_PAGES, pages);
		if (find_next_zero_bit(fill->valid, end, first) >= end)
			blocks |= BIT(first / BLOCK_PAGES);
	}
	return blocks;
}

u16 bc_fill_complete(struct bc_fill *fill)
{
	u16 blocks;

	spin_lock(&fill->lock);
	blocks = valid_blocks(fill);
	spin_unlock(&fill->lock);
	return blocks;
}

/* Blocks that somebody waits for. */
static u16 waited_for(struct bc_fill *fill)
{
	struct bc_io *io;
	u16 blocks = 0;

	spin_lock(&fill->lock);
	list_for_each_entry(io, &fill->waiters, node)
		blocks |= bc_io_blocks(io, fill->length);
	spin_unlock(&fill->lock);
	return blocks;
}

/* The bits of a mask that follow bit @first without a gap. */
static u16 run_after(u16 mask, u32 first)
{
	u32 end = first;

	while (end < BC_CHUNK_BLOCKS && mask & BIT(end))
		end++;
	return bc_blocks_mask(end) & ~bc_blocks_mask(first);
}

/* All of them around a bit. */
static u16 run_around(u16 mask, u32 bit)
{
	while (bit && mask & BIT(bit - 1))
		bit--;
	return run_after(mask, bit);
}

/* What the next request is for. @urgent is a part of @missing, which is not 0. */
static u16 choose(const struct bc_fill *fill, u16 missing, u16 urgent)
{
	u16 behind;

	if (urgent && fill->stream)
		return run_around(missing, __ffs(urgent));
	/* Two readers at once in one chunk: what lies between them is likely to be read too. */
	if (urgent)
		return run_after(missing & bc_blocks_mask(__fls(urgent) + 1), __ffs(urgent));
	behind = fill->asked ? missing & ~bc_blocks_mask(__fls(fill->asked)) : 0;
	return run_after(missing, __ffs(behind ?: missing));
}

bool bc_fill_ask(struct bc_fill *fill, u16 urgent)
{
	u16 missing = bc_fill_all(fill) & ~bc_fill_complete(fill);

	lockdep_assert_held(&bc_fills.lock);
	urgent &= missing;
	missing &= (fill->want & ~fill->have) | urgent;
	if (!missing)
		return false;
	fill->asked = choose(fill, missing, urgent);
	return true;
}

void bc_fill_next_request(struct bc_fill *fill)
{
	lockdep_assert_held(&bc_fills.lock);
	/* What the daemon still hears of the last one must not be taken for this one. */
	fill->id = bc_request_id();
	list_move_tail(&fill->node, &bc_fills.all);
	fill->announced = jiffies;
	WRITE_ONCE(fill->state, BC_FILL_NEW);
}

void bc_fill_same_request(struct bc_fill *fill)
{
	u16 asked = fill->asked & bc_fill_all(fill), left = asked & ~bc_fill_complete(fill);

	lockdep_assert_held(&bc_fills.lock);
	/* All came, but nobody said so: whoever takes it up has a little to do. */
	if (!left)
		left = BIT(__fls(asked | 1));
	fill->asked = run_after(left, __ffs(left));
	WRITE_ONCE(fill->state, BC_FILL_NEW);
}

static bool rest_wanted(const struct bc_fill *fill)
{
	return fill->again || bc_fills.count <= READ_ONCE(max_rest);
}

static bool answered(struct bc_fill *fill, u64 epoch)
{
	lockdep_assert_held(&bc_fills.lock);
	return fill->state == BC_FILL_CLAIMED && fill->epoch == epoch &&
	       fill->object->binding == BC_BOUND_STORE &&
	       !(fill->asked & bc_fill_all(fill) & ~bc_fill_complete(fill));
}

/* What is left is less urgent, unless somebody waits for it. */
static void reprioritise(struct bc_fill *fill, bool urgent)
{
	lockdep_assert_held(&bc_fills.lock);
	if (urgent)
		fill->priority = BC_PRIORITY_DEMAND;
	else
		fill->priority = fill->wanted ? BC_PRIORITY_PREFETCH : BC_PRIORITY_READAHEAD;
	/* The store answers: what is left has as long as the first. Readers have not: see due. */
	fill->deadline = bc_deadline(fill->object->client);
}

enum bc_advance bc_fill_advance(struct bc_fill *fill, u64 epoch)
{
	enum bc_advance advance = BC_ADVANCE_NOT;
	u16 urgent;

	spin_lock(&bc_fills.lock);
	if (!answered(fill, epoch))
		goto out;
	urgent = waited_for(fill) & ~bc_fill_complete(fill);
	/* The tier may have lost some: dropped for a bad checksum, or evicted. */
	fill->have &= bc_tier_blocks(&fill->object->key, fill->chunk, fill->length);
	if (rest_wanted(fill))
		fill->want = bc_fill_all(fill);
	if (bc_fill_ask(fill, urgent)) {
		reprioritise(fill, urgent);
		bc_fill_next_request(fill);
		advance = BC_ADVANCE_MORE;
	} else {
		WRITE_ONCE(fill->state, BC_FILL_STORING);
		bc_fill_get(fill);
		advance = BC_ADVANCE_STORE;
	}
out:
	spin_unlock(&bc_fills.lock);
	return advance;
}

void bc_fill_request(struct bc_fill *fill, struct bc_fetch_request *request)
{
	bool bound;
	u32 first, end;

	spin_lock(&bc_fills.lock);
	bound = fill->object->binding == BC_BOUND_STORE;
	first = __ffs(fill->asked ?: 1) * BC_BLOCK_SIZE;
	end = (__fls(fill->asked | 1) + 1) * BC_BLOCK_SIZE;
	if (bound)
		end = min(end, fill->length);
	request->id = fill->id;
	request->offset = ((u64)fill->chunk << BC_CHUNK_SHIFT) + first;
	request->length = end > first ? end - first : 0;
	request->priority = fill->priority;
	request->claimed = fill->state != BC_FILL_NEW;
	spin_unlock(&bc_fills.lock);
}
