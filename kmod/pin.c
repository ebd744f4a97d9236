// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of pins, see pin.h.
 *
 * pins_mutex makes changes one after the other, each with its walk over the
 * index. pins_lock covers the table for who stores a chunk: looking up and
 * inserting are one step, so that a chunk that comes while its version is being
 * pinned or unpinned is seen either by the table or by the walk.
 */
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "object.h"
#include "pin.h"
#include "tier.h"

static unsigned int max_pins = 65536;
module_param(max_pins, uint, 0644);
MODULE_PARM_DESC(max_pins, "most versions that are pinned at once");

static unsigned int max_pinned_percent = 90;
module_param(max_pinned_percent, uint, 0644);
MODULE_PARM_DESC(max_pinned_percent, "most of the tiers that pins may take, in percent");

#define PIN_BITS	10

static DEFINE_MUTEX(pins_mutex);
static DEFINE_SPINLOCK(pins_lock);	/* writers hold pins_mutex too */
static DEFINE_HASHTABLE(pins_table, PIN_BITS);
static LIST_HEAD(pins);			/* pins_mutex */
static unsigned int pins_count;		/* pins_mutex */
static u64 pins_blocks;			/* once all of them is there; pins_mutex */
static unsigned long pins_last_id;	/* pins_mutex */

static struct bc_pin *find(const struct bc_key *key)
{
	struct bc_pin *pin;

	lockdep_assert_held(&pins_lock);
	hash_for_each_possible(pins_table, pin, hash, bc_key_hash(key, 0)) {
		if (bc_key_equal(&pin->key, key))
			return pin;
	}
	return NULL;
}

bool bc_pins_have(const struct bc_key *key)
{
	bool pinned;

	spin_lock(&pins_lock);
	pinned = find(key);
	spin_unlock(&pins_lock);
	return pinned;
}

static u64 blocks_of(u64 size)
{
	return (size + BC_BLOCK_SIZE - 1) >> BC_BLOCK_SHIFT;
}

static u64 max_blocks(const struct bc_tier *tier)
{
	u64 blocks = tier->super.layout.frame_count * BC_FRAME_BLOCKS;

	return div_u64(blocks * min(READ_ONCE(max_pinned_percent), 100U), 100);
}

/* Of all tiers that serve. */
static u64 max_blocks_of_all(void)
{
	struct bc_tier *tier;
	u64 blocks = 0;
	u32 slot = 0;

	while ((tier = bc_tier_next(&slot))) {
		if (bc_tier_is_home(tier))
			blocks += max_blocks(tier);
		bc_tier_put(tier);
	}
	return blocks;
}

bool bc_pins_room(struct bc_tier *tier, u32 blocks)
{
	return (u64)atomic64_read(&tier->index.pinned_blocks) + blocks <= max_blocks(tier);
}

int bc_pins_insert(struct bc_tier *tier, const struct bc_fetched *fetched,
		   const struct bc_place *place)
{
	u8 flags = bc_evict_role(&tier->evict, fetched->key, fetched->chunk);
	int ret;

	spin_lock(&pins_lock);
	if (find(fetched->key) && bc_pins_room(tier, place->count))
		flags |= BC_ENTRY_PINNED;
	ret = bc_index_insert_part(&tier->index, fetched->key, fetched->chunk, place,
				   fetched->bytes, fetched->blocks, flags);
	spin_unlock(&pins_lock);
	return ret;
}

/*
 * Pin one chunk where it is used, or nowhere: of what is in another tier, too, nobody reads. Under
 * the lock under which bc_pins_insert() adds chunks, else one that comes between the look and the
 * loop would lose its flag again.
 */
static void pin_chunk(const struct bc_key *key, u32 chunk, u32 bytes, bool on)
{
	u32 blocks = DIV_ROUND_UP(bytes, BC_BLOCK_SIZE), slot = 0;
	struct bc_tier *used = NULL, *tier;
	struct bc_hit hit;

	spin_lock(&pins_lock);
	if (on)
		used = bc_tier_find(key, chunk, bytes, &hit);
	while ((tier = bc_tier_next(&slot))) {
		if (tier != used)
			bc_index_pin_chunk(&tier->index, key, chunk, false);
		else if (bc_pins_room(tier, blocks))
			bc_index_pin_chunk(&tier->index, key, chunk, true);
		bc_tier_put(tier);
	}
	spin_unlock(&pins_lock);
	if (used)
		bc_tier_put(used);
}

/* Set or clear the flag of what is on tiers. */
static void walk(const struct bc_pin *pin, bool on)
{
	u64 left = pin->size;
	u32 chunk, bytes;

	lockdep_assert_held(&pins_mutex);
	for (chunk = 0; left; chunk++, left -= bytes) {
		bytes = min_t(u64, left, BC_CHUNK_SIZE);
		pin_chunk(&pin->key, chunk, bytes, on);
		cond_resched();
	}
}

static struct bc_pin *pin_new(const struct bc_object *object)
{
	size_t source = strlen(object->client->source) + 1, path = object->path_length + 1;
	struct bc_pin *pin = kzalloc(sizeof(*pin) + source + path, GFP_KERNEL_ACCOUNT);
	char *text = (char *)(pin + 1);

	if (!pin)
		return NULL;
	pin->key = object->key;
	pin->volume = object->client->volume;
	pin->size = object->version.size;
	pin->source = memcpy(text, object->client->source, source);
	pin->path = memcpy(text + source, object->path, path);
	return pin;
}

static int add(const struct bc_object *object)
{
	struct bc_pin *pin;

	lockdep_assert_held(&pins_mutex);
	if (!bc_tier_serves())
		return -ENODEV;
	if (bc_pins_have(&object->key))
		return 0;
	if (pins_count >= READ_ONCE(max_pins))
		return -EDQUOT;
	if (pins_blocks + blocks_of(object->version.size) > max_blocks_of_all())
		return -ENOSPC;
	pin = pin_new(object);
	if (!pin)
		return -ENOMEM;
	pin->id = ++pins_last_id;
	list_add_tail(&pin->node, &pins);
	pins_count++;
	pins_blocks += blocks_of(pin->size);
	spin_lock(&pins_lock);
	hash_add(pins_table, &pin->hash, bc_key_hash(&pin->key, 0));
	spin_unlock(&pins_lock);
	walk(pin, true);
	return 0;
}

static void remove(struct bc_pin *pin)
{
	lockdep_assert_held(&pins_mutex);
	spin_lock(&pins_lock);
	hash_del(&pin->hash);
	spin_unlock(&pins_lock);
	list_del(&pin->node);
	pins_count--;
	pins_blocks -= blocks_of(pin->size);
	walk(pin, false);
	kfree(pin);
}

static int pin_version(struct bc_object *object)
{
	int ret;

	ret = bc_object_bind(object, 0);
	if (ret)
		return ret == -ENOENT ? -ESTALE : ret;
	if (bc_object_bound(object) != BC_BOUND_STORE)
		return -EOPNOTSUPP;
	ret = mutex_lock_killable(&pins_mutex);
	if (ret)
		return ret;
	ret = add(object);
	mutex_unlock(&pins_mutex);
	return ret;
}

static int unpin_path(struct bc_object *object)
{
	struct bc_pin *pin, *next;
	int ret;

	ret = mutex_lock_killable(&pins_mutex);
	if (ret)
		return ret;
	ret = -ENOENT;
	list_for_each_entry_safe(pin, next, &pins, node) {
		if (!bc_key_equal(&pin->volume, &object->client->volume) ||
		    strcmp(pin->path, object->path))
			continue;
		remove(pin);
		ret = 0;
	}
	mutex_unlock(&pins_mutex);
	return ret;
}

int bc_pin(struct bc_object *object, bool on)
{
	return on ? pin_version(object) : unpin_path(object);
}

bool bc_pinned(const struct bc_object *object)
{
	return bc_object_bound(object) == BC_BOUND_STORE && bc_pins_have(&object->key);
}

void bc_pins_apply(void)
{
	struct bc_pin *pin;

	mutex_lock(&pins_mutex);
	list_for_each_entry(pin, &pins, node)
		walk(pin, true);
	mutex_unlock(&pins_mutex);
}

static struct bc_pin *pin_copy(const struct bc_pin *pin)
{
	size_t source = strlen(pin->source) + 1, path = strlen(pin->path) + 1;
	struct bc_pin *copy = kmemdup(pin, sizeof(*pin) + source + path, GFP_KERNEL);

	if (!copy)
		return ERR_PTR(-ENOMEM);
	copy->source = (const char *)(copy + 1);
	copy->path = copy->source + source;
	return copy;
}

struct bc_pin *bc_pins_next(unsigned long after)
{
	struct bc_pin *pin, *copy = NULL;

	if (mutex_lock_killable(&pins_mutex))
		return ERR_PTR(-EINTR);
	list_for_each_entry(pin, &pins, node) {
		if (pin->id > after) {
			copy = pin_copy(pin);
			break;
		}
	}
	mutex_unlock(&pins_mutex);
	return copy;
}

int bc_pins_init(void)
{
	hash_init(pins_table);
	return 0;
}

void bc_pins_exit(void)
{
	struct bc_pin *pin, *next;

	list_for_each_entry_safe(pin, next, &pins, node)
		kfree(pin);
}
