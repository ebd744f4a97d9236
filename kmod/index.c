// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which chunks a tier holds and where, see index.h for the rules.
 */
#include "index.h"

static u32 bucket_of(const struct bc_index *index, u64 hash)
{
	return (hash >> 32) * index->entries >> 32;
}

static spinlock_t *stripe_of(const struct bc_index *index, u32 bucket)
{
	return &index->stripes[bucket % BC_INDEX_STRIPES];
}

static u32 entry_slot(const struct bc_entry *entry)
{
	return entry->blocks >> 4;
}

static u32 entry_count(const struct bc_entry *entry)
{
	return (entry->blocks & 15) + 1;
}

static void entry_place(const struct bc_entry *entry, struct bc_place *place)
{
	place->frame = entry->frame;
	place->slot = entry_slot(entry);
	place->count = entry_count(entry);
}

static u32 entry_bytes(const struct bc_entry *entry)
{
	return (entry_count(entry) - 1) * BC_BLOCK_SIZE + entry->tail + 1;
}

/* The evictor reads what it hashes without a lock, see racy_hash(). */
static void entry_name(struct bc_entry *entry, const struct bc_name *name)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(name->word); i++)
		WRITE_ONCE(entry->name.word[i], name->word[i]);
}

static u64 racy_hash(const struct bc_entry *entry)
{
	struct bc_name name;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(name.word); i++)
		name.word[i] = READ_ONCE(entry->name.word[i]);
	return bc_name_hash(&name);
}

/* Of an entry that nobody gives another name now: live, dead, or the caller's. */
static struct bc_index_group *group_of(const struct bc_index *index, const struct bc_entry *entry)
{
	return &index->group[bc_index_group(index, bc_name_hash(&entry->name))];
}

/*
 * Under the stripe lock: the entry's state is new or gone, and its group's
 * counts follow.
 */
static void count_blocks(const struct bc_index *index, const struct bc_entry *entry, u8 state,
			 int sign)
{
	struct bc_index_group *group = group_of(index, entry);
	int blocks = sign * (int)entry_count(entry);

	if (!(state & BC_ENTRY_LIVE))
		return;
	atomic_add(blocks, &group->blocks);
	if (!(state & BC_ENTRY_MAIN))
		atomic_add(blocks, &group->probation);
	if (state & BC_ENTRY_DEMOTED)
		atomic_add(blocks, &group->demoted);
}

/* Under the stripe lock. */
static void set_state(struct bc_index *index, struct bc_entry *entry, u8 state)
{
	u8 changed = entry->state ^ state;

	if (changed & (BC_ENTRY_LIVE | BC_ENTRY_MAIN | BC_ENTRY_DEMOTED)) {
		count_blocks(index, entry, entry->state, -1);
		count_blocks(index, entry, state, 1);
	}
	if (changed & BC_ENTRY_PINNED)
		atomic_add(state & BC_ENTRY_PINNED ? (int)entry_count(entry) :
						     -(int)entry_count(entry),
			   &index->pinned_blocks);
	WRITE_ONCE(entry->state, state);
}

static u32 entry_alloc(struct bc_index *index, struct bc_index_group *group)
{
	unsigned long flags;
	u32 id;

	spin_lock_irqsave(&index->free_lock, flags);
	id = group->free_head;
	if (id != BC_INDEX_NONE) {
		WRITE_ONCE(group->free_head, index->entry[id].next);
		WRITE_ONCE(index->used, index->used + 1);
	}
	spin_unlock_irqrestore(&index->free_lock, flags);
	return id;
}

/* What was freed last is taken first: a new entry lies where the hand has just passed. */
static void entry_release(struct bc_index *index, u32 id)
{
	struct bc_index_group *group = group_of(index, &index->entry[id]);
	unsigned long flags;

	spin_lock_irqsave(&index->free_lock, flags);
	index->entry[id].next = group->free_head;
	WRITE_ONCE(group->free_head, id);
	WRITE_ONCE(index->used, index->used - 1);
	spin_unlock_irqrestore(&index->free_lock, flags);
}

static bool name_equal(const struct bc_name *a, const struct bc_name *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* The link that leads to the chunk's entry, or NULL. Under the stripe lock. */
static u32 *find_link(struct bc_index *index, u32 bucket, const struct bc_name *name)
{
	u32 *link = &index->buckets[bucket];

	for (; *link != BC_INDEX_NONE; link = &index->entry[*link].next)
		if (name_equal(&index->entry[*link].name, name))
			return link;
	return NULL;
}

/* The link that leads to an entry by number, or NULL. Under the stripe lock. */
static u32 *find_link_of(struct bc_index *index, u32 bucket, u32 id)
{
	u32 *link = &index->buckets[bucket];

	for (; *link != BC_INDEX_NONE; link = &index->entry[*link].next)
		if (*link == id)
			return link;
	return NULL;
}

/* Find a chunk and take the lock of its bucket's stripe, found or not. */
static u32 *lock_chunk(struct bc_index *index, const struct bc_key *key, u32 chunk,
		       u32 *bucket)
{
	struct bc_name name;

	bc_name_chunk(key, chunk, &name);
	*bucket = bucket_of(index, bc_name_hash(&name));
	spin_lock(stripe_of(index, *bucket));
	return find_link(index, *bucket, &name);
}

/* Under the stripe lock. The entry belongs to the caller if it has no pins. */
static void unhash(struct bc_index *index, u32 *link)
{
	struct bc_entry *entry = &index->entry[*link];

	*link = entry->next;
	entry->next = BC_INDEX_NONE;
	set_state(index, entry, 0);
}

/*
 * Several may see that a dead entry has lost its last pin; who resets the mark
 * owns the entry and its blocks.
 */
static bool claim_dead(struct bc_index *index, u32 id, struct bc_place *place)
{
	struct bc_entry *entry = &index->entry[id];

	if (atomic_cmpxchg(&entry->pins, BC_PINS_DEAD, 0) != BC_PINS_DEAD)
		return false;
	entry_place(entry, place);
	entry_release(index, id);
	return true;
}

/* Return: whether it was the last pin of a dead entry. */
static bool unpin(struct bc_index *index, u32 id)
{
	int pins = atomic_dec_return(&index->entry[id].pins);

	WARN_ON_ONCE(pins < 0 || pins == BC_PINS_DEAD - 1);
	return pins == BC_PINS_DEAD;
}

static void init_group(struct bc_index *index, u32 group)
{
	u32 id = bc_index_group_start(index, group), end = bc_index_group_start(index, group + 1);

	index->group[group].free_head = id;
	for (; id < end; id++)
		index->entry[id].next = id + 1 < end ? id + 1 : BC_INDEX_NONE;
}

int bc_index_init(struct bc_index *index, u64 entries, u32 groups)
{
	u32 i;

	memset(index, 0, sizeof(*index));
	if (!entries || entries >= BC_INDEX_NONE || !is_power_of_2(groups) || groups > entries)
		return -EINVAL;
	index->entry = bc_table_alloc(entries, sizeof(*index->entry));
	index->buckets = bc_table_alloc(entries, sizeof(*index->buckets));
	index->group = bc_table_alloc(groups, sizeof(*index->group));
	index->stripes = bc_table_alloc(BC_INDEX_STRIPES, sizeof(*index->stripes));
	if (!index->entry || !index->buckets || !index->group || !index->stripes) {
		bc_index_free(index);
		return -ENOMEM;
	}
	index->entries = entries;
	index->group_bits = ilog2(groups);
	BUILD_BUG_ON(BC_INDEX_NONE != U32_MAX);
	memset(index->buckets, 0xff, entries * sizeof(*index->buckets));
	for (i = 0; i < groups; i++) {
		init_group(index, i);
		cond_resched();
	}
	spin_lock_init(&index->free_lock);
	for (i = 0; i < BC_INDEX_STRIPES; i++)
		spin_lock_init(&index->stripes[i]);
	return 0;
}

void bc_index_free(struct bc_index *index)
{
	kvfree(index->entry);
	kvfree(index->buckets);
	kvfree(index->group);
	kvfree(index->stripes);
	memset(index, 0, sizeof(*index));
}

/* Under the stripe lock. A use of what was on its way out takes that back. */
static void count_use(struct bc_index *index, struct bc_entry *entry)
{
	u8 tick = READ_ONCE(index->tick);

	if ((u8)(tick - entry->tick) < 2 || (entry->state & BC_ENTRY_USES) == BC_ENTRY_USES)
		return;
	entry->tick = tick;
	set_state(index, entry, (entry->state & ~BC_ENTRY_DEMOTED) + BC_ENTRY_USE);
}

bool bc_index_lookup(struct bc_index *index, const struct bc_key *key, u32 chunk,
		     struct bc_hit *hit)
{
	u32 bucket, *link = lock_chunk(index, key, chunk, &bucket);

	if (link) {
		struct bc_entry *entry = &index->entry[*link];

		atomic_inc(&entry->pins);
		count_use(index, entry);
		hit->id = *link;
		entry_place(entry, &hit->place);
		hit->bytes = entry_bytes(entry);
		hit->verified = READ_ONCE(entry->verified);
	}
	spin_unlock(stripe_of(index, bucket));
	return link;
}

bool bc_index_contains(struct bc_index *index, const struct bc_key *key, u32 chunk, u32 *bytes)
{
	u32 bucket, *link = lock_chunk(index, key, chunk, &bucket);

	if (link && bytes)
		*bytes = entry_bytes(&index->entry[*link]);
	spin_unlock(stripe_of(index, bucket));
	return link;
}

void bc_index_unpin(struct bc_index *index, u32 id)
{
	unpin(index, id);
}

bool bc_index_unpin_last(struct bc_index *index, u32 id, struct bc_place *place)
{
	return unpin(index, id) && claim_dead(index, id, place);
}

void bc_index_set_verified(struct bc_index *index, u32 id, u16 mask)
{
	u16 *verified = &index->entry[id].verified;
	u16 old = READ_ONCE(*verified), seen;

	/* Readers of the same extent verify different blocks at once. */
	while ((old & mask) != mask) {
		seen = cmpxchg(verified, old, (u16)(old | mask));
		if (seen == old)
			break;
		old = seen;
	}
}

static bool extent_valid(const struct bc_place *place, u32 bytes, u8 flags)
{
	return place->count && place->slot + place->count <= BC_FRAME_BLOCKS &&
	       bytes > (place->count - 1) * BC_BLOCK_SIZE &&
	       bytes <= place->count * BC_BLOCK_SIZE &&
	       !(flags & ~(BC_ENTRY_PINNED | BC_ENTRY_MAIN));
}

/* Return: whether the entry went in; else the chunk was there already. */
static bool hash_entry(struct bc_index *index, u32 id, u64 hash, u8 flags)
{
	struct bc_entry *entry = &index->entry[id];
	u32 bucket = bucket_of(index, hash);
	bool fresh;

	spin_lock(stripe_of(index, bucket));
	fresh = !find_link(index, bucket, &entry->name);
	if (fresh) {
		set_state(index, entry, BC_ENTRY_LIVE | flags);
		entry->next = index->buckets[bucket];
		index->buckets[bucket] = id;
	}
	spin_unlock(stripe_of(index, bucket));
	return fresh;
}

static void entry_fill(struct bc_entry *entry, const struct bc_place *place, u32 bytes,
		       u16 verified)
{
	entry->frame = place->frame;
	entry->blocks = place->slot << 4 | (place->count - 1);
	entry->tail = bytes - (place->count - 1) * BC_BLOCK_SIZE - 1;
	WRITE_ONCE(entry->verified, verified);
}

int bc_index_insert(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    const struct bc_place *place, u32 bytes, u16 verified, u8 flags)
{
	u64 hash = bc_chunk_hash(key, chunk);
	struct bc_name name;
	u32 id;

	BUILD_BUG_ON(BC_FRAME_BLOCKS > 16);
	if (WARN_ON_ONCE(!extent_valid(place, bytes, flags)))
		return -EINVAL;
	id = entry_alloc(index, &index->group[bc_index_group(index, hash)]);
	if (id == BC_INDEX_NONE)
		return bc_index_contains(index, key, chunk, NULL) ? -EEXIST : -ENOSPC;
	bc_name_chunk(key, chunk, &name);
	entry_name(&index->entry[id], &name);
	entry_fill(&index->entry[id], place, bytes, verified);
	index->entry[id].tick = READ_ONCE(index->tick);
	if (hash_entry(index, id, hash, flags))
		return 0;
	entry_release(index, id);
	return -EEXIST;
}

/*
 * Under the stripe lock, under which alone pins appear: none now is none until
 * the lock goes. Acquire pairs with the unpin: what its reader did is over.
 */
static bool unread(const struct bc_entry *entry)
{
	return !atomic_read_acquire(&entry->pins);
}

int bc_index_remove(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    struct bc_place *place)
{
	u32 bucket, *link = lock_chunk(index, key, chunk, &bucket), id = BC_INDEX_NONE;
	int err = -ENOENT;

	if (link) {
		err = -EBUSY;
		if (!(index->entry[*link].state & BC_ENTRY_PINNED) &&
		    unread(&index->entry[*link])) {
			id = *link;
			unhash(index, link);
			err = 0;
		}
	}
	spin_unlock(stripe_of(index, bucket));
	if (!err) {
		entry_place(&index->entry[id], place);
		entry_release(index, id);
	}
	return err;
}

int bc_index_remove_pinned(struct bc_index *index, u32 id, struct bc_place *place)
{
	struct bc_entry *entry = &index->entry[id];
	u32 bucket = bucket_of(index, bc_name_hash(&entry->name));
	bool last;

	spin_lock(stripe_of(index, bucket));
	if (entry->state & BC_ENTRY_LIVE) {
		unhash(index, find_link_of(index, bucket, id));
		last = atomic_add_return(BC_PINS_DEAD - 1, &entry->pins) == BC_PINS_DEAD;
	} else {
		/* Another reader saw the same and was first. */
		last = unpin(index, id);
	}
	spin_unlock(stripe_of(index, bucket));
	return last && claim_dead(index, id, place) ? 0 : -EBUSY;
}

/* Under the stripe lock, of a live entry that may be evicted. Return: it stays this time. */
static bool spare(struct bc_index *index, struct bc_entry *entry)
{
	u8 state = entry->state;

	if (!(state & BC_ENTRY_USES))
		return false;
	if (state & BC_ENTRY_MAIN)
		state -= BC_ENTRY_USE;
	else
		state = (state & ~(BC_ENTRY_USES | BC_ENTRY_DEMOTED)) | BC_ENTRY_MAIN;
	set_state(index, entry, state);
	return true;
}

static enum bc_visit visit_live(struct bc_index *index, u32 *link, bool force,
				struct bc_victim *victim)
{
	struct bc_entry *entry = &index->entry[*link];

	if (entry->state & BC_ENTRY_PINNED || !unread(entry))
		return BC_VISIT_NONE;
	if (!force && spare(index, entry))
		return BC_VISIT_SPARED;
	victim->known = true;
	victim->main = entry->state & BC_ENTRY_MAIN;
	victim->hash = bc_name_hash(&entry->name);
	unhash(index, link);
	return BC_VISIT_EVICTED;
}

enum bc_visit bc_index_visit(struct bc_index *index, u32 id, bool force, struct bc_victim *victim)
{
	struct bc_entry *entry = &index->entry[id];
	enum bc_visit visit = BC_VISIT_NONE;
	u32 bucket, *link;

	if (atomic_read(&entry->pins) == BC_PINS_DEAD) {
		victim->known = false;
		return claim_dead(index, id, &victim->place) ? BC_VISIT_EVICTED : BC_VISIT_NONE;
	}
	/*
	 * The entry may die and be born again under another name at any time. If
	 * it is in the chain that this lock covers, it is live and stays so.
	 */
	bucket = bucket_of(index, racy_hash(entry));
	spin_lock(stripe_of(index, bucket));
	link = find_link_of(index, bucket, id);
	if (link)
		visit = visit_live(index, link, force, victim);
	spin_unlock(stripe_of(index, bucket));
	if (visit == BC_VISIT_EVICTED) {
		entry_place(entry, &victim->place);
		entry_release(index, id);
	}
	return visit;
}

u32 bc_index_demote(struct bc_index *index, const struct bc_key *key, u32 chunk)
{
	u32 bucket, *link = lock_chunk(index, key, chunk, &bucket), blocks = 0;

	if (link && !(index->entry[*link].state & (BC_ENTRY_PINNED | BC_ENTRY_DEMOTED))) {
		struct bc_entry *entry = &index->entry[*link];

		set_state(index, entry, BC_ENTRY_LIVE | BC_ENTRY_DEMOTED);
		blocks = entry_count(entry);
	}
	spin_unlock(stripe_of(index, bucket));
	return blocks;
}

u32 bc_index_pin_chunk(struct bc_index *index, const struct bc_key *key, u32 chunk, bool pin)
{
	u32 bucket, *link = lock_chunk(index, key, chunk, &bucket), blocks = 0;

	if (link && !(index->entry[*link].state & BC_ENTRY_PINNED) == pin) {
		struct bc_entry *entry = &index->entry[*link];

		set_state(index, entry,
			  (entry->state & ~BC_ENTRY_DEMOTED) ^ BC_ENTRY_PINNED);
		blocks = entry_count(entry);
	}
	spin_unlock(stripe_of(index, bucket));
	return blocks;
}

size_t bc_index_memory(const struct bc_index *index)
{
	if (!index->entry)
		return 0;
	return (size_t)index->entries * BC_INDEX_ENTRY_BYTES +
	       ((size_t)1 << index->group_bits) * sizeof(*index->group) +
	       BC_INDEX_STRIPES * sizeof(*index->stripes);
}
