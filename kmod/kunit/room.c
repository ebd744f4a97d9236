// SPDX-License-Identifier: GPL-2.0-only
/*
 * Index, free space and eviction under load, locked as a tier does it, with pins dropped in hard
 * interrupts, as bios may: what threads of userspace cannot show is that these locks are safe
 * there, and that nothing sleeps under them.
 */
#include <kunit/test.h>
#include <linux/irq_work.h>
#include <linux/random.h>

#include "evict.h"
#include "frame.h"
#include "index.h"
#include "threads.h"

#define FRAMES		24
#define ENTRIES		96
#define GROUPS		2
#define CHUNKS		192
#define PINNABLE	6
#define ROUNDS		2500

struct load {
	struct bc_index index;
	struct bc_evict evict;
	struct bc_frames frames;
	spinlock_t lock;			/* frames and evict, as tier->lock */
	u32 content[FRAMES][BC_FRAME_BLOCKS];	/* whose bytes a block has; 0 nobody's */
	u32 reading[64];			/* pins that the interrupt drops: id + 1, or 0 */
	struct irq_work bio_end;
	struct bc_kunit_threads threads;
	atomic_t wrong, hits, fills, deaths;
};

static const struct bc_evict_tuning tuning = BC_EVICT_TUNING_DEFAULT;

static struct bc_key key_of(u32 n)
{
	struct bc_key key = {};

	key.bytes[0] = n * 37;
	key.bytes[1] = n;
	return key;
}

/* load->lock held. */
static void release(struct load *load, const struct bc_place *place)
{
	lockdep_assert_held(&load->lock);
	memset32(&load->content[place->frame][place->slot], 0, place->count);
	bc_frames_release(&load->frames, place);
}

static void give_back(struct load *load, const struct bc_place *place)
{
	spin_lock(&load->lock);
	release(load, place);
	spin_unlock(&load->lock);
}

static void bio_end(struct irq_work *work)
{
	struct load *load = container_of(work, struct load, bio_end);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(load->reading); i++) {
		u32 id = xchg(&load->reading[i], 0);

		if (id)
			bc_index_unpin(&load->index, id - 1);
	}
}

/* Let the interrupt drop the pin. Return: false if it has enough to do. */
static bool leave_to_interrupt(struct load *load, u32 id)
{
	u32 i = get_random_u32_below(ARRAY_SIZE(load->reading));

	if (cmpxchg(&load->reading[i], 0, id + 1))
		return false;
	if (i % 4 == 0)
		irq_work_queue(&load->bio_end);
	return true;
}

static void hit(struct load *load, u32 n, const struct bc_hit *hit)
{
	struct bc_place place = hit->place;
	u32 i;

	atomic_inc(&load->hits);
	for (i = 0; i < place.count; i++) {
		if (load->content[place.frame][place.slot + i] != n + 1)
			atomic_inc(&load->wrong);
	}
	switch (get_random_u32_below(8)) {
	case 0:
		if (!bc_index_remove_pinned(&load->index, hit->id, &place))
			give_back(load, &place);
		else
			atomic_inc(&load->deaths);
		return;
	case 1:
		bc_index_set_verified(&load->index, hit->id, 1);
		break;
	case 2 ... 5:
		if (leave_to_interrupt(load, hit->id))
			return;
		break;
	}
	if (bc_index_unpin_last(&load->index, hit->id, &place))
		give_back(load, &place);
}

static bool find_room(struct load *load, const struct bc_key *key, u32 chunk, u32 blocks,
		      struct bc_place *place)
{
	struct bc_place victim;
	bool found = false;
	int i;

	spin_lock(&load->lock);
	for (i = 0; i < 16 && !found; i++) {
		found = bc_evict_entry_free(&load->evict, key, chunk) &&
			!bc_frames_alloc(&load->frames, blocks, place);
		if (!found && !bc_evict_one(&load->evict, key, chunk, 64, &victim))
			release(load, &victim);
	}
	spin_unlock(&load->lock);
	return found;
}

static void fill(struct load *load, u32 n, const struct bc_key *key)
{
	u32 blocks = 1 + n % BC_FRAME_BLOCKS;
	struct bc_place place;

	if (!find_room(load, key, n, blocks, &place))
		return;
	memset32(&load->content[place.frame][place.slot], n + 1, blocks);
	if (bc_index_insert(&load->index, key, n, &place, blocks * BC_BLOCK_SIZE, 0,
			    bc_evict_role(&load->evict, key, n)))
		give_back(load, &place);
	else
		atomic_inc(&load->fills);
}

static void change(struct load *load, u32 n, const struct bc_key *key)
{
	struct bc_place place;

	switch (get_random_u32_below(4)) {
	case 0:
		if (!bc_index_remove(&load->index, key, n, &place))
			give_back(load, &place);
		break;
	case 1:
		bc_index_demote(&load->index, key, n);
		break;
	case 2:
		if (n < PINNABLE)
			bc_index_pin_chunk(&load->index, key, n, get_random_u32_below(2));
		break;
	default:
		WRITE_ONCE(load->index.tick, load->index.tick + 1);
	}
}

static void work(void *arg)
{
	struct load *load = arg;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		u32 n = get_random_u32_below(get_random_u32_below(2) ? CHUNKS : CHUNKS / 8);
		struct bc_key key = key_of(n);
		struct bc_hit found;

		if (get_random_u32_below(16) == 0)
			change(load, n, &key);
		else if (bc_index_lookup(&load->index, &key, n, &found))
			hit(load, n, &found);
		else
			fill(load, n, &key);
		cond_resched();
	}
}

static void empty(struct load *load)
{
	struct bc_key key = {};
	struct bc_place place;
	u32 n;
	int ret;

	for (n = 0; n < PINNABLE; n++) {
		struct bc_key pinned = key_of(n);

		bc_index_pin_chunk(&load->index, &pinned, n, false);
	}
	do {
		spin_lock(&load->lock);
		ret = bc_evict_one(&load->evict, &key, 0, U32_MAX, &place);
		if (!ret)
			release(load, &place);
		spin_unlock(&load->lock);
	} while (!ret);
}

static void room_free(void *data)
{
	struct load *load = data;

	bc_evict_free(&load->evict);
	bc_frames_free(&load->frames);
	bc_index_free(&load->index);
}

static void room_load(struct kunit *test)
{
	struct load *load = kunit_kzalloc(test, sizeof(*load), GFP_KERNEL);
	u32 i;

	KUNIT_ASSERT_NOT_NULL(test, load);
	spin_lock_init(&load->lock);
	init_irq_work(&load->bio_end, bio_end);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, room_free, load), 0);
	KUNIT_ASSERT_EQ(test, bc_index_init(&load->index, ENTRIES, GROUPS), 0);
	KUNIT_ASSERT_EQ(test, bc_frames_init(&load->frames, FRAMES), 0);
	KUNIT_ASSERT_EQ(test, bc_evict_init(&load->evict, &load->index, FRAMES, &tuning), 0);

	bc_kunit_start(test, &load->threads, work, load);
	bc_kunit_wait(&load->threads);
	irq_work_queue(&load->bio_end);
	irq_work_sync(&load->bio_end);
	empty(load);

	kunit_info(test, "%d hits, %d fills, %d removed while read\n", atomic_read(&load->hits),
		   atomic_read(&load->fills), atomic_read(&load->deaths));
	KUNIT_EXPECT_EQ(test, atomic_read(&load->wrong), 0);
	KUNIT_EXPECT_EQ(test, load->index.used, 0);
	KUNIT_EXPECT_EQ(test, load->frames.free_blocks, FRAMES * BC_FRAME_BLOCKS);
	for (i = 0; i < GROUPS; i++) {
		KUNIT_EXPECT_EQ(test, atomic_read(&load->index.group[i].blocks), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&load->index.group[i].probation), 0);
		KUNIT_EXPECT_EQ(test, atomic_read(&load->index.group[i].demoted), 0);
	}
	/* Else it did not meet what it is for. */
	KUNIT_EXPECT_GT(test, atomic_read(&load->hits), ROUNDS / 4);
	KUNIT_EXPECT_GT(test, atomic_read(&load->fills), ROUNDS / 4);
	KUNIT_EXPECT_GT(test, atomic_read(&load->deaths), 0);
}

static struct kunit_case room_cases[] = {
	KUNIT_CASE_SLOW(room_load),
	{}
};

static struct kunit_suite room_suite = {
	.name = "blobcache_room",
	.test_cases = room_cases,
};

kunit_test_suite(room_suite);
