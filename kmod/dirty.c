// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty objects and their names. See back.h and dirty.h.
 */
#include <linux/err.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "dirty.h"
#include "object.h"
#include "tier.h"

#define NAME_BITS	12

DEFINE_SPINLOCK(bc_dirty_names_lock);
struct workqueue_struct *bc_dirty_wq;

static DEFINE_HASHTABLE(by_path, NAME_BITS);
static DEFINE_HASHTABLE(by_generation, NAME_BITS);
static struct rb_root by_dir, by_serial;
static u64 last_serial;			/* dirty_names_lock */

/* A mount that writes back. */
struct claim {
	struct list_head node;
	struct bc_client *client;
};

static LIST_HEAD(claims);		/* dirty_names_lock */

/* A volume is not claimed while what an attach found of it is being published. */
DEFINE_MUTEX(bc_dirty_claim_mutex);

/* --- claims */

static bool volume_claimed(const struct bc_key *volume)
{
	struct claim *claim;

	lockdep_assert_held(&bc_dirty_names_lock);
	list_for_each_entry(claim, &claims, node) {
		if (bc_key_equal(&claim->client->volume, volume))
			return true;
	}
	return false;
}

bool bc_dirty_volume_claimed(const struct bc_key *volume)
{
	bool claimed;

	spin_lock(&bc_dirty_names_lock);
	claimed = volume_claimed(volume);
	spin_unlock(&bc_dirty_names_lock);
	return claimed;
}

static bool keeps_dirty(const struct bc_tier *tier)
{
	return bc_tier_is_home(tier) && !READ_ONCE(tier->dirty.failed) &&
	       !READ_ONCE(tier->dirty.leaving);
}

/* The tier for a new object: the one with most room for them. With a reference, or NULL. */
static struct bc_tier *tier_for_new(void)
{
	struct bc_tier *best = NULL, *tier;
	u32 slot = 0, most = 0, room;

	while ((tier = bc_tier_next(&slot))) {
		room = bc_dtable_size(&tier->dirty.table) - READ_ONCE(tier->dirty.table.count);
		if (keeps_dirty(tier) && room > most) {
			swap(best, tier);
			most = room;
		}
		if (tier)
			bc_tier_put(tier);
	}
	return best;
}

/* Is there a tier for dirty objects? One that is full has some, too. */
static bool any_tier(void)
{
	struct bc_tier *tier;
	bool any = false;
	u32 slot = 0;

	while ((tier = bc_tier_next(&slot))) {
		any |= keeps_dirty(tier);
		bc_tier_put(tier);
	}
	return any;
}

int bc_dirty_claim(struct bc_client *client)
{
	struct claim *claim = kzalloc(sizeof(*claim), GFP_KERNEL);
	int ret = 0;

	mutex_lock(&bc_dirty_claim_mutex);
	if (!claim || !any_tier())
		ret = claim ? -ENODEV : -ENOMEM;
	spin_lock(&bc_dirty_names_lock);
	if (!ret && volume_claimed(&client->volume))
		ret = -EBUSY;
	if (!ret) {
		claim->client = client;
		list_add_tail(&claim->node, &claims);
	}
	spin_unlock(&bc_dirty_names_lock);
	mutex_unlock(&bc_dirty_claim_mutex);
	if (ret)
		kfree(claim);
	return ret;
}

void bc_dirty_unclaim(struct bc_client *client)
{
	struct claim *claim, *next;

	spin_lock(&bc_dirty_names_lock);
	list_for_each_entry_safe(claim, next, &claims, node) {
		if (claim->client != client)
			continue;
		list_del(&claim->node);
		kfree(claim);
	}
	spin_unlock(&bc_dirty_names_lock);
}

/* --- names */

static u32 dir_length(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash - path : 0;
}

static u32 bucket_of(const struct bc_key *key)
{
	return bc_key_hash(key, 0);
}

static void set_path(struct bc_dirty *dirty, char *path)
{
	dirty->path = path;
	bc_key_path(&dirty->volume, path, strlen(path), &dirty->path_key);
	bc_key_path(&dirty->volume, path, dir_length(path), &dirty->dir_key);
}

static struct bc_dirty *find(const struct bc_key *path_key)
{
	struct bc_dirty *dirty;

	lockdep_assert_held(&bc_dirty_names_lock);
	hash_for_each_possible(by_path, dirty, by_path, bucket_of(path_key)) {
		if (bc_key_equal(&dirty->path_key, path_key))
			return dirty;
	}
	return NULL;
}

/* Where it is in the trees. */
struct position {
	const struct bc_key *dir;
	u64 serial;
};

static int compare_dirs(const struct position *at, const struct bc_dirty *dirty)
{
	int order = memcmp(at->dir->bytes, dirty->dir_key.bytes, BC_KEY_SIZE);

	if (order)
		return order;
	return at->serial < dirty->serial ? -1 : at->serial > dirty->serial;
}

static bool dir_less(struct rb_node *a, const struct rb_node *b)
{
	const struct bc_dirty *x = rb_entry(a, struct bc_dirty, by_dir);
	const struct position at = { &x->dir_key, x->serial };

	return compare_dirs(&at, rb_entry(b, struct bc_dirty, by_dir)) < 0;
}

static bool serial_less(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct bc_dirty, by_serial)->serial <
	       rb_entry(b, struct bc_dirty, by_serial)->serial;
}

static void hash_names(struct bc_dirty *dirty)
{
	hash_add(by_path, &dirty->by_path, bucket_of(&dirty->path_key));
	rb_add(&dirty->by_dir, &by_dir, dir_less);
}

static void unhash_names(struct bc_dirty *dirty)
{
	hash_del(&dirty->by_path);
	rb_erase(&dirty->by_dir, &by_dir);
}

/* All but the tier's list; its path, directory and serial are set. */
static void enter(struct bc_dirty *dirty)
{
	lockdep_assert_held(&bc_dirty_names_lock);
	dirty->named = true;
	hash_names(dirty);
	rb_add(&dirty->by_serial, &by_serial, serial_less);
	hash_add(by_generation, &dirty->by_generation, bucket_of(&dirty->generation));
}

static void leave(struct bc_dirty *dirty)
{
	lockdep_assert_held(&bc_dirty_names_lock);
	dirty->named = false;
	unhash_names(dirty);
	rb_erase(&dirty->by_serial, &by_serial);
	hash_del(&dirty->by_generation);
}

/**
 * bc_dirty_publish - let an object be found by its name
 * @dirty: new; the names get a reference of their own
 *
 * Return: 0, -EEXIST, or -ENODEV if its tier is being detached.
 */
int bc_dirty_publish(struct bc_dirty *dirty)
{
	int ret = 0;

	spin_lock(&bc_dirty_names_lock);
	if (find(&dirty->path_key)) {
		ret = -EEXIST;
	} else if (dirty->tier->dirty.leaving) {
		ret = -ENODEV;
	} else {
		refcount_inc(&dirty->refs);
		dirty->serial = ++last_serial;
		enter(dirty);
		list_add_tail(&dirty->on_tier, &dirty->tier->dirty.objects);
	}
	spin_unlock(&bc_dirty_names_lock);
	return ret;
}

/**
 * bc_dirty_unpublish - let it be found no more
 * @dirty: object
 *
 * Return: whether it was; then the reference of the names is the caller's to drop.
 */
bool bc_dirty_unpublish(struct bc_dirty *dirty)
{
	bool named;

	spin_lock(&bc_dirty_names_lock);
	named = dirty->named;
	if (named) {
		leave(dirty);
		list_del_init(&dirty->on_tier);
	}
	spin_unlock(&bc_dirty_names_lock);
	return named;
}

/* The same if the names and the caller alone have a reference. Return: whether it was so. */
bool bc_dirty_unpublish_unused(struct bc_dirty *dirty)
{
	bool unused;

	spin_lock(&bc_dirty_names_lock);
	unused = dirty->named && refcount_read(&dirty->refs) == 2;
	if (unused) {
		leave(dirty);
		list_del_init(&dirty->on_tier);
	}
	spin_unlock(&bc_dirty_names_lock);
	return unused;
}

int bc_dirty_leave(struct bc_tier *tier)
{
	struct bc_dirty *dirty;
	int ret = 0;

	spin_lock(&bc_dirty_names_lock);
	if (!list_empty(&claims)) {
		ret = -EBUSY;
		goto out;
	}
	WRITE_ONCE(tier->dirty.leaving, true);
	list_for_each_entry(dirty, &tier->dirty.objects, on_tier)
		leave(dirty);
out:
	spin_unlock(&bc_dirty_names_lock);
	return ret;
}

/**
 * bc_dirty_renamed - it has another name from now on
 * @dirty: object
 * @path: taken over; who had it before goes from the names right after
 */
void bc_dirty_renamed(struct bc_dirty *dirty, char *path)
{
	char *old;

	spin_lock(&bc_dirty_names_lock);
	old = dirty->path;
	if (dirty->named)
		unhash_names(dirty);
	set_path(dirty, path);
	if (dirty->named)
		hash_names(dirty);
	spin_unlock(&bc_dirty_names_lock);
	kfree(old);
}

struct bc_dirty *bc_dirty_find(struct bc_client *client, const char *path)
{
	struct bc_dirty *dirty;
	struct bc_key key;

	bc_key_path(&client->volume, path, strlen(path), &key);
	spin_lock(&bc_dirty_names_lock);
	dirty = find(&key);
	if (dirty)
		refcount_inc(&dirty->refs);
	spin_unlock(&bc_dirty_names_lock);
	return dirty;
}

static bool is_below(const char *path, const char *dir, size_t length)
{
	return !length || (!strncmp(path, dir, length) && path[length] == '/');
}

bool bc_dirty_below(struct bc_client *client, const char *dir)
{
	size_t length = strlen(dir);
	struct bc_dirty *dirty;
	bool below = false;
	u32 bucket;

	spin_lock(&bc_dirty_names_lock);
	hash_for_each(by_path, bucket, dirty, by_path) {
		if (bc_key_equal(&dirty->volume, &client->volume))
			below |= is_below(dirty->path, dir, length);
	}
	spin_unlock(&bc_dirty_names_lock);
	return below;
}

/* The first in the directory behind a serial, or NULL. */
static struct bc_dirty *after_in(const struct bc_key *dir, u64 serial)
{
	const struct position at = { dir, serial };
	struct rb_node *node = by_dir.rb_node;
	struct bc_dirty *next = NULL, *dirty;

	while (node) {
		dirty = rb_entry(node, struct bc_dirty, by_dir);
		if (compare_dirs(&at, dirty) < 0) {
			next = dirty;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return next && bc_key_equal(&next->dir_key, dir) ? next : NULL;
}

/* The first of all behind a serial, or NULL. */
static struct bc_dirty *after(u64 serial)
{
	struct rb_node *node = by_serial.rb_node;
	struct bc_dirty *next = NULL, *dirty;

	while (node) {
		dirty = rb_entry(node, struct bc_dirty, by_serial);
		if (dirty->serial > serial) {
			next = dirty;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return next;
}

static struct bc_dirty *take_next(struct bc_dirty *next, u64 *serial)
{
	if (next) {
		refcount_inc(&next->refs);
		*serial = next->serial;
	}
	return next;
}

struct bc_dirty *bc_dirty_next_in(struct bc_client *client, const char *dir, u64 *serial)
{
	struct bc_dirty *next;
	struct bc_key key;

	bc_key_path(&client->volume, dir, strlen(dir), &key);
	spin_lock(&bc_dirty_names_lock);
	next = take_next(after_in(&key, *serial), serial);
	spin_unlock(&bc_dirty_names_lock);
	return next;
}

struct bc_dirty *bc_dirty_next(struct bc_client *client, u64 *serial)
{
	struct bc_dirty *next;

	spin_lock(&bc_dirty_names_lock);
	next = after(*serial);
	while (next && !bc_key_equal(&next->volume, &client->volume))
		next = rb_entry_safe(rb_next(&next->by_serial), struct bc_dirty, by_serial);
	next = take_next(next, serial);
	spin_unlock(&bc_dirty_names_lock);
	return next;
}

/* It stays attached. Return: false if it is going: then the reference is gone, too. */
static bool hold_tier(struct bc_dirty *dirty)
{
	lockdep_assert_held(&bc_dirty_names_lock);
	if (percpu_ref_tryget_live(&dirty->tier->ref))
		return true;
	/* Not the last one: it is in the tables. */
	refcount_dec(&dirty->refs);
	return false;
}

/**
 * bc_dirty_next_any - the next one of all
 * @serial: in: of the one before, 0 = none; out: of this one
 *
 * For who has no claim: its tier stays meanwhile. Return: for bc_dirty_put_any(), or NULL.
 */
struct bc_dirty *bc_dirty_next_any(u64 *serial)
{
	struct bc_dirty *next;

	spin_lock(&bc_dirty_names_lock);
	do {
		next = take_next(after(*serial), serial);
	} while (next && !hold_tier(next));
	spin_unlock(&bc_dirty_names_lock);
	return next;
}

/* What those who have no claim have got. Process context. */
void bc_dirty_put_any(struct bc_dirty *dirty)
{
	struct bc_tier *tier = dirty->tier;

	bc_dirty_put(dirty);
	bc_tier_put(tier);
}

/* What has the name of one that is not published, for bc_dirty_put_any(), or NULL. */
struct bc_dirty *bc_dirty_same_path(struct bc_dirty *dirty)
{
	struct bc_dirty *other;

	spin_lock(&bc_dirty_names_lock);
	other = find(&dirty->path_key);
	if (other) {
		refcount_inc(&other->refs);
		if (!hold_tier(other))
			other = NULL;
	}
	spin_unlock(&bc_dirty_names_lock);
	return other;
}

/* By its generation id, for bc_dirty_put_any(), or NULL. */
struct bc_dirty *bc_dirty_by_generation(const struct bc_key *generation)
{
	struct bc_dirty *dirty;

	spin_lock(&bc_dirty_names_lock);
	hash_for_each_possible(by_generation, dirty, by_generation, bucket_of(generation)) {
		if (bc_key_equal(&dirty->generation, generation)) {
			refcount_inc(&dirty->refs);
			if (!hold_tier(dirty))
				dirty = NULL;
			break;
		}
	}
	spin_unlock(&bc_dirty_names_lock);
	return dirty;
}

/* --- objects */

/**
 * bc_dirty_alloc - an object that nobody finds
 * @tier: where it is
 * @name: generation, volume, source, domain, path are copied
 *
 * Return: with one reference, or NULL.
 */
struct bc_dirty *bc_dirty_alloc(struct bc_tier *tier, const struct bc_dirty_name *name)
{
	struct bc_dirty *dirty = kzalloc(sizeof(*dirty), GFP_KERNEL);
	char *path = kmemdup_nul(name->path, name->path_length, GFP_KERNEL);

	if (!dirty || !path) {
		kfree(path);
		kfree(dirty);
		return NULL;
	}
	refcount_set(&dirty->refs, 1);
	xa_init_flags(&dirty->blocks, XA_FLAGS_LOCK_IRQ);
	/* Not for interrupts, but lockdep takes the two for one. */
	xa_init_flags(&dirty->flush.kept, XA_FLAGS_LOCK_IRQ);
	init_rwsem(&dirty->flush_sem);
	INIT_LIST_HEAD(&dirty->on_tier);
	INIT_WORK(&dirty->release, bc_dirty_release_work);
	dirty->tier = tier;
	dirty->generation = name->generation;
	dirty->volume = name->volume;
	dirty->name_slot = BC_DTABLE_NONE;
	dirty->last_slot = BC_DTABLE_NONE;
	set_path(dirty, path);
	dirty->source = kmemdup_nul(name->source, name->source_length, GFP_KERNEL);
	dirty->domain = kmemdup_nul(name->domain ?: "", name->domain_length, GFP_KERNEL);
	if (dirty->source && dirty->domain)
		return dirty;
	bc_dirty_free(dirty);
	return NULL;
}

/* Its memory only; nobody has it any more. */
void bc_dirty_free(struct bc_dirty *dirty)
{
	struct bc_dirty_block *block;
	unsigned long index;

	xa_for_each(&dirty->blocks, index, block)
		kfree(block);
	xa_destroy(&dirty->blocks);
	bc_flush_drop(dirty);
	while ((block = dirty->dead)) {
		dirty->dead = block->link;
		kfree(block);
	}
	kfree(dirty->source);
	kfree(dirty->domain);
	kfree(dirty->path);
	kfree(dirty);
}

/* What a new object needs of its tier: a descriptor for the name, and two places. */
static int reserve_name(struct bc_dirty *dirty)
{
	struct bc_tier *tier = dirty->tier;
	u32 i;
	int ret;

	ret = bc_dirty_take_slot(tier, BC_DTABLE_NONE, &dirty->name_slot);
	for (i = 0; i < 2 && !ret; i++)
		ret = bc_dirty_take_place(tier, &dirty->generation, 0, 1, &dirty->name_place[i]);
	dirty->last_slot = dirty->name_slot;
	return ret;
}

struct bc_dirty *bc_dirty_create(struct bc_client *client, const char *path,
				 const struct bc_dirty_attr *attr, enum bc_name_base base)
{
	struct bc_dirty_name name = {
		.volume = client->volume,
		.source = client->source,
		.source_length = strlen(client->source),
		.domain = client->domain ?: "",
		.domain_length = client->domain ? strlen(client->domain) : 0,
		.path = path,
		.path_length = strlen(path),
	};
	struct bc_tier *tier;
	struct bc_dirty *dirty;
	int ret;

	if (!bc_dirty_name_path_valid(path, name.path_length))
		return ERR_PTR(-ENAMETOOLONG);
	tier = tier_for_new();
	if (!tier)
		return ERR_PTR(-ENODEV);
	get_random_bytes(&name.generation, sizeof(name.generation));
	dirty = bc_dirty_alloc(tier, &name);
	/* It stays: the mount has a claim. */
	bc_tier_put(tier);
	if (!dirty)
		return ERR_PTR(-ENOMEM);
	dirty->attr = *attr;
	dirty->attr_changed = true;
	dirty->base = base;
	ret = reserve_name(dirty);
	if (!ret)
		ret = bc_dirty_publish(dirty);
	if (!ret)
		return dirty;
	/* Nothing of it is on the device. */
	dirty->unlinked = true;
	bc_dirty_put(dirty);
	return ERR_PTR(ret);
}

void bc_dirty_get(struct bc_dirty *dirty)
{
	refcount_inc(&dirty->refs);
}

void bc_dirty_put(struct bc_dirty *dirty)
{
	if (refcount_dec_and_test(&dirty->refs))
		queue_work(bc_dirty_wq, &dirty->release);
}

const struct bc_key *bc_dirty_generation(const struct bc_dirty *dirty)
{
	return &dirty->generation;
}

char *bc_dirty_path(struct bc_dirty *dirty)
{
	char *path = kmalloc(BC_NAME_PATH_MAX + 1, GFP_KERNEL);

	if (!path)
		return ERR_PTR(-ENOMEM);
	spin_lock(&bc_dirty_names_lock);
	strscpy(path, dirty->path, BC_NAME_PATH_MAX + 1);
	spin_unlock(&bc_dirty_names_lock);
	return path;
}

void bc_dirty_attr(struct bc_dirty *dirty, struct bc_dirty_attr *attr)
{
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	*attr = dirty->attr;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

void bc_dirty_set_attr(struct bc_dirty *dirty, const struct bc_dirty_attr *attr)
{
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	dirty->attr = *attr;
	dirty->attr_changed = true;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

void bc_dirty_point(struct bc_dirty *dirty, struct bc_dirty_point *point)
{
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	point->size = dirty->attr.size;
	point->shrunk = dirty->shrunk;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

void bc_dirty_set_size(struct bc_dirty *dirty, u64 size)
{
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	if (size < dirty->attr.size)
		dirty->shrunk++;
	dirty->attr.size = size;
	dirty->attr_changed = true;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

void bc_dirty_touch(struct bc_dirty *dirty, struct timespec64 now)
{
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	dirty->attr.mtime = now;
	dirty->attr.ctime = now;
	dirty->attr_changed = true;
	xa_unlock_irqrestore(&dirty->blocks, flags);
}

bool bc_dirty_has_counterpart(const struct bc_dirty *dirty)
{
	/* An upload that is not acknowledged the daemon takes back: it may be another's. */
	return READ_ONCE(dirty->base) != BC_BASE_NONE;
}

void bc_dirty_writer(struct bc_dirty *dirty, int count)
{
	unsigned long flags;

	xa_lock_irqsave(&dirty->blocks, flags);
	dirty->writers += count;
	/* The next name block says so. */
	if (!dirty->writers)
		dirty->attr_changed = true;
	xa_unlock_irqrestore(&dirty->blocks, flags);
	if (!dirty->writers)
		bc_dirty_drop_run(dirty);
}

bool bc_dirty_uncommitted(struct bc_dirty *dirty)
{
	unsigned long flags;
	bool any;

	xa_lock_irqsave(&dirty->blocks, flags);
	any = dirty->attr_changed || dirty->under_way ||
	      xa_marked(&dirty->blocks, BC_DIRTY_WRITTEN) ||
	      xa_marked(&dirty->blocks, BC_DIRTY_CACHED);
	xa_unlock_irqrestore(&dirty->blocks, flags);
	return any;
}

bool bc_dirty_closed_late(struct bc_dirty *dirty)
{
	return !READ_ONCE(dirty->writers) && bc_dirty_uncommitted(dirty);
}

int bc_dirty_init(void)
{
	bc_dirty_wq = alloc_workqueue("blobcache-dirty", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	return bc_dirty_wq ? bc_dirty_io_init() : -ENOMEM;
}

void bc_dirty_exit(void)
{
	bc_dirty_io_exit();
	destroy_workqueue(bc_dirty_wq);
}
