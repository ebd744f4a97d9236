// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which chunks a tier holds and where, see index.h for the rules.
 */
#include "index.h"
#include "key.h"

static u32 bucket_of(const struct bc_index *index, const struct bc_key *key, u32 chunk)
{
	return bc_key_hash(key, chunk) & index->bucket_mask;
}

static spinlock_t *stripe_of(const struct bc_index *index, u32 bucket)
{
	return &index->stripes[bucket % BC_INDEX_STRIPES];
}

static void entry_place(const struct bc_entry *entry, struct bc_place *place)
{
	place->frame = entry->frame;
	place->slot = entry->slot;
	place->count = entry->count;
}

static u32 entry_bytes(const struct bc_entry *entry)
{
	return (entry->count - 1) * BC_BLOCK_SIZE + entry->tail + 1;
}

/* The evictor reads what it hashes without a lock, see racy_bucket_of(). */
static void entry_name(struct bc_entry *entry, const struct bc_key *key, u32 chunk)
{
	u32 word;

	memcpy(&word, key->bytes, sizeof(word));
	WRITE_ONCE(*(u32 *)entry->key.bytes, word);
	memcpy(entry->key.bytes + sizeof(word), key->bytes + sizeof(word),
	       BC_KEY_SIZE - sizeof(word));
	WRITE_ONCE(entry->chunk, chunk);
}

static u32 racy_bucket_of(const struct bc_index *index, const struct bc_entry *entry)
{
	struct bc_key key = {};
	u32 word = READ_ONCE(*(const u32 *)entry->key.bytes);

	memcpy(key.bytes, &word, sizeof(word));
	return bucket_of(index, &key, READ_ONCE(entry->chunk));
}

static u32 entry_alloc(struct bc_index *index)
{
	unsigned long flags;
	u32 id;

	spin_lock_irqsave(&index->free_lock, flags);
	id = index->free_head;
	if (id != BC_INDEX_NONE) {
		index->free_head = index->entry[id].next;
		WRITE_ONCE(index->used, index->used + 1);
	}
	spin_unlock_irqrestore(&index->free_lock, flags);
	return id;
}

static void entry_release(struct bc_index *index, u32 id)
{
	unsigned long flags;

	spin_lock_irqsave(&index->free_lock, flags);
	index->entry[id].next = index->free_head;
	index->free_head = id;
	WRITE_ONCE(index->used, index->used - 1);
	spin_unlock_irqrestore(&index->free_lock, flags);
}

/* The link that leads to the chunk's entry, or NULL. Under the stripe lock. */
static u32 *find_link(struct bc_index *index, u32 bucket, const struct bc_key *key, u32 chunk)
{
	u32 *link = &index->buckets[bucket];

	for (; *link != BC_INDEX_NONE; link = &index->entry[*link].next) {
		const struct bc_entry *entry = &index->entry[*link];

		if (entry->chunk == chunk && bc_key_equal(&entry->key, key))
			return link;
	}
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

/* Under the stripe lock. */
static struct bc_entry *find_entry(struct bc_index *index, u32 bucket, const struct bc_key *key,
				   u32 chunk)
{
	u32 *link = find_link(index, bucket, key, chunk);

	return link ? &index->entry[*link] : NULL;
}

/* Under the stripe lock. The entry belongs to the caller if it has no pins. */
static void unhash(struct bc_index *index, u32 *link)
{
	struct bc_entry *entry = &index->entry[*link];

	*link = entry->next;
	entry->next = BC_INDEX_NONE;
	if (entry->flags & BC_ENTRY_PINNED)
		atomic_add_return(-entry->count, &index->pinned_blocks);
	WRITE_ONCE(entry->flags, 0);
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

int bc_index_init(struct bc_index *index, u64 entries)
{
	u64 buckets;
	u32 i;

	memset(index, 0, sizeof(*index));
	if (!entries || entries >= BC_INDEX_NONE)
		return -EINVAL;
	buckets = 1ULL << fls64(entries - 1);
	index->entry = bc_table_alloc(entries, sizeof(*index->entry));
	index->buckets = bc_table_alloc(buckets, sizeof(*index->buckets));
	index->stripes = bc_table_alloc(BC_INDEX_STRIPES, sizeof(*index->stripes));
	if (!index->entry || !index->buckets || !index->stripes) {
		bc_index_free(index);
		return -ENOMEM;
	}
	index->entries = entries;
	index->bucket_mask = buckets - 1;
	BUILD_BUG_ON(BC_INDEX_NONE != U32_MAX);
	memset(index->buckets, 0xff, buckets * sizeof(*index->buckets));
	for (i = 0; i < index->entries; i++) {
		index->entry[i].next = i + 1 < index->entries ? i + 1 : BC_INDEX_NONE;
		if (!(i & U16_MAX))
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
	kvfree(index->stripes);
	memset(index, 0, sizeof(*index));
}

bool bc_index_lookup(struct bc_index *index, const struct bc_key *key, u32 chunk,
		     struct bc_hit *hit)
{
	u32 bucket = bucket_of(index, key, chunk);
	struct bc_entry *entry;

	spin_lock(stripe_of(index, bucket));
	entry = find_entry(index, bucket, key, chunk);
	if (entry) {
		atomic_inc(&entry->pins);
		if (!READ_ONCE(entry->referenced))
			WRITE_ONCE(entry->referenced, 1);
		hit->id = entry - index->entry;
		entry_place(entry, &hit->place);
		hit->bytes = entry_bytes(entry);
		hit->verified = READ_ONCE(entry->verified);
	}
	spin_unlock(stripe_of(index, bucket));
	return entry;
}

bool bc_index_contains(struct bc_index *index, const struct bc_key *key, u32 chunk, u32 *bytes)
{
	u32 bucket = bucket_of(index, key, chunk);
	struct bc_entry *entry;

	spin_lock(stripe_of(index, bucket));
	entry = find_entry(index, bucket, key, chunk);
	if (entry && bytes)
		*bytes = entry_bytes(entry);
	spin_unlock(stripe_of(index, bucket));
	return entry;
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
	       bytes <= place->count * BC_BLOCK_SIZE && !(flags & ~BC_ENTRY_PINNED);
}

/* Return: whether the entry went in; else the chunk was there already. */
static bool hash_entry(struct bc_index *index, u32 id, u8 flags)
{
	struct bc_entry *entry = &index->entry[id];
	u32 bucket = bucket_of(index, &entry->key, entry->chunk);
	bool fresh;

	spin_lock(stripe_of(index, bucket));
	fresh = !find_link(index, bucket, &entry->key, entry->chunk);
	if (fresh) {
		WRITE_ONCE(entry->flags, BC_ENTRY_LIVE | flags);
		if (flags & BC_ENTRY_PINNED)
			atomic_add_return(entry->count, &index->pinned_blocks);
		entry->next = index->buckets[bucket];
		index->buckets[bucket] = id;
	}
	spin_unlock(stripe_of(index, bucket));
	return fresh;
}

int bc_index_insert(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    const struct bc_place *place, u32 bytes, u16 verified, u8 flags)
{
	struct bc_entry *entry;
	u32 id;

	if (WARN_ON_ONCE(!extent_valid(place, bytes, flags)))
		return -EINVAL;
	id = entry_alloc(index);
	if (id == BC_INDEX_NONE)
		return bc_index_contains(index, key, chunk, NULL) ? -EEXIST : -ENOSPC;
	entry = &index->entry[id];
	entry_name(entry, key, chunk);
	entry->frame = place->frame;
	entry->slot = place->slot;
	entry->count = place->count;
	entry->tail = bytes - (place->count - 1) * BC_BLOCK_SIZE - 1;
	WRITE_ONCE(entry->verified, verified);
	WRITE_ONCE(entry->referenced, 0);
	if (hash_entry(index, id, flags))
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
	u32 bucket = bucket_of(index, key, chunk);
	u32 *link, id = BC_INDEX_NONE;
	int err = -ENOENT;

	spin_lock(stripe_of(index, bucket));
	link = find_link(index, bucket, key, chunk);
	if (link) {
		err = -EBUSY;
		if (!(index->entry[*link].flags & BC_ENTRY_PINNED) &&
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
	u32 bucket = bucket_of(index, &entry->key, entry->chunk);
	bool last;

	spin_lock(stripe_of(index, bucket));
	if (entry->flags & BC_ENTRY_LIVE) {
		unhash(index, find_link_of(index, bucket, id));
		last = atomic_add_return(BC_PINS_DEAD - 1, &entry->pins) == BC_PINS_DEAD;
	} else {
		/* Another reader saw the same and was first. */
		last = unpin(index, id);
	}
	spin_unlock(stripe_of(index, bucket));
	return last && claim_dead(index, id, place) ? 0 : -EBUSY;
}

bool bc_index_evict(struct bc_index *index, u32 id, struct bc_place *place)
{
	struct bc_entry *entry = &index->entry[id];
	bool victim = false;
	u32 bucket, *link;

	if (atomic_read(&entry->pins) == BC_PINS_DEAD)
		return claim_dead(index, id, place);
	/*
	 * The entry may die and be born again under another name at any time. If
	 * it is in the chain that this lock covers, it is live and stays so.
	 */
	bucket = racy_bucket_of(index, entry);
	spin_lock(stripe_of(index, bucket));
	link = find_link_of(index, bucket, id);
	if (link && !(entry->flags & BC_ENTRY_PINNED) && !READ_ONCE(entry->referenced) &&
	    unread(entry)) {
		unhash(index, link);
		victim = true;
	}
	spin_unlock(stripe_of(index, bucket));
	if (victim) {
		entry_place(entry, place);
		entry_release(index, id);
	}
	return victim;
}

u32 bc_index_pin_chunk(struct bc_index *index, const struct bc_key *key, u32 chunk, bool pin)
{
	u32 bucket = bucket_of(index, key, chunk), blocks = 0;
	u8 flags = BC_ENTRY_LIVE | (pin ? BC_ENTRY_PINNED : 0);
	struct bc_entry *entry;

	spin_lock(stripe_of(index, bucket));
	entry = find_entry(index, bucket, key, chunk);
	if (entry && entry->flags != flags) {
		WRITE_ONCE(entry->flags, flags);
		blocks = entry->count;
		atomic_add_return(pin ? (int)blocks : -(int)blocks, &index->pinned_blocks);
	}
	spin_unlock(stripe_of(index, bucket));
	return blocks;
}

size_t bc_index_memory(const struct bc_index *index)
{
	if (!index->entry)
		return 0;
	return (size_t)index->entries * sizeof(*index->entry) +
	       ((size_t)index->bucket_mask + 1) * sizeof(*index->buckets) +
	       BC_INDEX_STRIPES * sizeof(*index->stripes);
}
