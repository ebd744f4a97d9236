// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which chunks a tier holds and where, see index.h for the rules.
 */
#include "index.h"

static spinlock_t *stripe_of(const struct bc_index *index, u32 group)
{
	return &index->stripes[group % BC_INDEX_STRIPES];
}

static u32 group_number(const struct bc_index *index, u32 id)
{
	return id / index->group_entries;
}

static u32 entry_slot(const struct bc_entry *entry)
{
	return entry->blocks >> 4;
}

static u32 entry_count(const struct bc_entry *entry)
{
	return (entry->blocks & 15) + 1;
}

static u16 entry_all(const struct bc_entry *entry)
{
	return bc_blocks_mask(entry_count(entry));
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

/*
 * Under the group's lock: the entry's state is new or gone, and the counts
 * follow.
 */
static void count_blocks(const struct bc_index *index, const struct bc_entry *entry, u8 state,
			 int sign)
{
	struct bc_index_group *group = &index->group[group_number(index, entry - index->entry)];
	int blocks = sign * (int)entry_count(entry);

	if (!(state & BC_ENTRY_LIVE))
		return;
	atomic_add(blocks, &group->blocks);
	if (!(state & BC_ENTRY_MAIN))
		atomic_add(blocks, &group->probation);
	if (state & BC_ENTRY_DEMOTED)
		atomic_add(blocks, &group->demoted);
}

/* Under the group's lock. */
static void set_state(struct bc_index *index, struct bc_entry *entry, u8 state)
{
	u8 changed = entry->state ^ state;

	if (changed & (BC_ENTRY_LIVE | BC_ENTRY_MAIN | BC_ENTRY_DEMOTED)) {
		count_blocks(index, entry, entry->state, -1);
		count_blocks(index, entry, state, 1);
	}
	if (changed & BC_ENTRY_PINNED)
		atomic64_add(state & BC_ENTRY_PINNED ? (int)entry_count(entry) :
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
		WRITE_ONCE(group->free_head, index->entry[id].frame);
		WRITE_ONCE(index->used, index->used + 1);
	}
	spin_unlock_irqrestore(&index->free_lock, flags);
	return id;
}

/* What was freed last is taken first: a new entry lies where the hand has just passed. */
static void entry_release(struct bc_index *index, u32 id)
{
	struct bc_index_group *group = &index->group[group_number(index, id)];
	unsigned long flags;

	spin_lock_irqsave(&index->free_lock, flags);
	index->entry[id].frame = group->free_head;
	WRITE_ONCE(group->free_head, id);
	WRITE_ONCE(index->used, index->used - 1);
	spin_unlock_irqrestore(&index->free_lock, flags);
}

/* Where a chunk belongs: group and tag take other bits of the hash than the line. */
struct home {
	u32 group, line;
	u16 tag;		/* in its place in a slot; not 0 */
};

static void home_of(const struct bc_index *index, u64 hash, struct home *home)
{
	u16 tag = (u16)(hash >> 32) << BC_INDEX_NUMBER_BITS;

	home->group = bc_index_group(index, hash);
	home->line = (u64)(u32)hash * index->group_lines >> 32;
	home->tag = tag ?: 1U << BC_INDEX_NUMBER_BITS;
}

/* The lines where a chunk may be: its own, and those behind it as long as they were passed. */
static struct bc_index_line *line_at(const struct bc_index *index, const struct home *home, u32 nr)
{
	u32 at = home->line + nr;

	if (at >= index->group_lines)
		at -= index->group_lines;
	return &index->line[home->group * index->group_lines + at];
}

#define EACH_LANE	0x0001000100010001ULL

static u32 lane(u32 slot)
{
	return 16 * (slot / 4);
}

static u16 get_slot(const struct bc_index_line *line, u32 slot)
{
	return line->word[slot % 4] >> lane(slot);
}

static void set_slot(struct bc_index_line *line, u32 slot, u16 value)
{
	line->word[slot % 4] &= ~(0xffffULL << lane(slot));
	line->word[slot % 4] |= (u64)value << lane(slot);
}

static u32 passed(const struct bc_index_line *line)
{
	return get_slot(line, BC_INDEX_LINE_SLOTS);
}

static void add_passed(struct bc_index_line *line, int n)
{
	set_slot(line, BC_INDEX_LINE_SLOTS, passed(line) + n);
}

/* The lowest bit of each lane that is 0 but for its number. */
static u64 zero_lanes(u64 word)
{
	u64 tags = word & EACH_LANE * (U16_MAX & ~(BC_INDEX_GROUP_MAX - 1));

	/* No carry leaves a lane. */
	tags |= (tags & EACH_LANE * S16_MAX) + EACH_LANE * S16_MAX;
	return ~tags >> 15 & EACH_LANE;
}

/*
 * Slots with the tag: bit 16 * (slot / 4) + slot % 4 each. All at once, without a branch
 * that nobody could predict.
 */
static u64 match_tag(const struct bc_index_line *line, u16 tag)
{
	u64 tags = EACH_LANE * tag, match = 0;
	u32 i;

	for (i = 0; i < 4; i++)
		match |= zero_lanes(line->word[i] ^ tags) << i;
	return match & ~(1ULL << (48 + 3));
}

static u32 matched_slot(u64 match)
{
	u32 bit = __ffs64(match);

	return bit / 16 * 4 + bit % 16;
}

static bool name_equal(const struct bc_name *a, const struct bc_name *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

/* The live entry of a chunk, or NULL. Under the group's lock. */
static struct bc_entry *find(const struct bc_index *index, const struct home *home,
			     const struct bc_name *name)
{
	u32 start = bc_index_group_start(index, home->group), nr;
	u64 match;

	for (nr = 0; nr < index->group_lines; nr++) {
		const struct bc_index_line *line = line_at(index, home, nr);

		for (match = match_tag(line, home->tag); match; match &= match - 1) {
			u16 slot = get_slot(line, matched_slot(match));
			struct bc_entry *entry = &index->entry[start + slot % BC_INDEX_GROUP_MAX];

			if (name_equal(&entry->name, name))
				return entry;
		}
		if (!passed(line))
			break;
	}
	return NULL;
}

/* There are more slots than entries: one is free. Under the group's lock. */
static void table_add(struct bc_index *index, const struct home *home, u16 slot)
{
	u32 nr, i;

	for (nr = 0; nr < index->group_lines; nr++) {
		struct bc_index_line *line = line_at(index, home, nr);

		for (i = 0; i < BC_INDEX_LINE_SLOTS; i++) {
			if (!get_slot(line, i)) {
				set_slot(line, i, slot);
				return;
			}
		}
		add_passed(line, 1);
	}
	WARN_ON_ONCE(true);
}

/* Under the group's lock. */
static void table_del(struct bc_index *index, const struct home *home, u16 slot)
{
	u32 nr, i;

	for (nr = 0; nr < index->group_lines; nr++) {
		struct bc_index_line *line = line_at(index, home, nr);

		for (i = 0; i < BC_INDEX_LINE_SLOTS; i++) {
			if (get_slot(line, i) == slot) {
				set_slot(line, i, 0);
				return;
			}
		}
		add_passed(line, -1);
	}
	WARN_ON_ONCE(true);
}

static u16 slot_of(const struct bc_index *index, const struct home *home, u32 id)
{
	return home->tag | (id - bc_index_group_start(index, home->group));
}

/* What find() needs. The line is on its way while the caller takes the group's lock. */
static void locate(const struct bc_index *index, const struct bc_key *key, u32 chunk,
		   struct bc_name *name, struct home *home)
{
	bc_name_chunk(key, chunk, name);
	home_of(index, bc_name_hash(name), home);
	prefetch(line_at(index, home, 0));
}

/* The entry, too: else the lock would be held while memory is waited for. */
static void prefetch_entry(const struct bc_index *index, const struct home *home)
{
	const struct bc_index_line *line = line_at(index, home, 0);
	u16 slot;
	u64 match;

	/* Without the lock the line may change meanwhile: what it says is only a hint. */
	match = data_race(match_tag(line, home->tag));
	if (!match)
		return;
	/* As above. */
	slot = data_race(get_slot(line, matched_slot(match)));
	slot %= BC_INDEX_GROUP_MAX;
	prefetchw(&index->entry[bc_index_group_start(index, home->group) + slot]);
}

/* Under the group's lock. The entry belongs to the caller if it has no pins. */
static void unhash(struct bc_index *index, struct bc_entry *entry)
{
	struct home home;

	home_of(index, bc_name_hash(&entry->name), &home);
	table_del(index, &home, slot_of(index, &home, entry - index->entry));
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
		index->entry[id].frame = id + 1 < end ? id + 1 : BC_INDEX_NONE;
}

int bc_index_init(struct bc_index *index, u64 entries, u32 groups)
{
	u32 i;

	memset(index, 0, sizeof(*index));
	BUILD_BUG_ON(BC_INDEX_LINE_ENTRIES > BC_INDEX_LINE_SLOTS);
	if (!is_power_of_2(groups) || entries < groups || entries >= BC_INDEX_NONE ||
	    entries >> ilog2(groups) > BC_INDEX_GROUP_MAX)
		return -EINVAL;
	index->group_bits = ilog2(groups);
	index->group_entries = entries >> index->group_bits;
	index->group_lines = DIV_ROUND_UP(index->group_entries, BC_INDEX_LINE_ENTRIES);
	index->entries = index->group_entries * groups;
	index->entry = bc_table_alloc(index->entries, sizeof(*index->entry));
	index->valid = bc_table_alloc(index->entries, sizeof(*index->valid));
	index->line = bc_table_alloc((size_t)groups * index->group_lines, sizeof(*index->line));
	index->group = bc_table_alloc(groups, sizeof(*index->group));
	index->stripes = bc_table_alloc(BC_INDEX_STRIPES, sizeof(*index->stripes));
	if (!index->entry || !index->valid || !index->line || !index->group || !index->stripes) {
		bc_index_free(index);
		return -ENOMEM;
	}
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
	kvfree(index->valid);
	kvfree(index->line);
	kvfree(index->group);
	kvfree(index->stripes);
	memset(index, 0, sizeof(*index));
}

/* Under the group's lock. A use of what was on its way out takes that back. */
static void count_use(struct bc_index *index, struct bc_entry *entry)
{
	u8 tick = READ_ONCE(index->tick);

	if ((u8)(tick - entry->tick) < 2 || (entry->state & BC_ENTRY_USES) == BC_ENTRY_USES)
		return;
	entry->tick = tick;
	set_state(index, entry, (entry->state & ~BC_ENTRY_DEMOTED) + BC_ENTRY_USE);
}

/* Under the group's lock. */
static void describe(const struct bc_index *index, const struct bc_entry *entry,
		     struct bc_hit *hit)
{
	hit->id = entry - index->entry;
	entry_place(entry, &hit->place);
	hit->bytes = entry_bytes(entry);
	hit->valid = entry->state & BC_ENTRY_PARTIAL ? index->valid[hit->id] : entry_all(entry);
	hit->verified = READ_ONCE(entry->verified);
	hit->open = entry->state & BC_ENTRY_OPEN;
}

bool bc_index_lookup(struct bc_index *index, const struct bc_key *key, u32 chunk,
		     struct bc_hit *hit)
{
	struct bc_entry *entry;
	struct bc_name name;
	struct home home;

	locate(index, key, chunk, &name, &home);
	prefetch_entry(index, &home);
	spin_lock(stripe_of(index, home.group));
	entry = find(index, &home, &name);
	if (entry) {
		atomic_inc(&entry->pins);
		count_use(index, entry);
		describe(index, entry, hit);
	}
	spin_unlock(stripe_of(index, home.group));
	return entry;
}

bool bc_index_peek(struct bc_index *index, const struct bc_key *key, u32 chunk,
		   struct bc_hit *hit)
{
	struct bc_entry *entry;
	struct bc_name name;
	struct home home;

	locate(index, key, chunk, &name, &home);
	prefetch_entry(index, &home);
	spin_lock(stripe_of(index, home.group));
	entry = find(index, &home, &name);
	if (entry)
		describe(index, entry, hit);
	spin_unlock(stripe_of(index, home.group));
	return entry;
}

bool bc_index_contains(struct bc_index *index, const struct bc_key *key, u32 chunk, u32 *bytes)
{
	struct bc_hit hit;
	bool found = bc_index_peek(index, key, chunk, &hit);

	if (found && bytes)
		*bytes = hit.bytes;
	return found;
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
	       !(flags & ~(BC_ENTRY_PINNED | BC_ENTRY_MAIN | BC_ENTRY_OPEN)) &&
	       !(flags & BC_ENTRY_OPEN && bytes % BC_BLOCK_SIZE);
}

/* Return: whether the entry went in; else the chunk was there already. */
static bool hash_entry(struct bc_index *index, u32 id, const struct home *home, u8 flags)
{
	struct bc_entry *entry = &index->entry[id];
	bool fresh;

	spin_lock(stripe_of(index, home->group));
	fresh = !find(index, home, &entry->name);
	if (fresh) {
		set_state(index, entry, BC_ENTRY_LIVE | flags);
		table_add(index, home, slot_of(index, home, id));
	}
	spin_unlock(stripe_of(index, home->group));
	return fresh;
}

static void set_extent(struct bc_entry *entry, u32 slot, u32 count, u32 bytes)
{
	entry->blocks = slot << 4 | (count - 1);
	entry->tail = bytes - (count - 1) * BC_BLOCK_SIZE - 1;
}

/* What an insert brings. */
struct newcomer {
	const struct bc_place *place;
	u32 bytes;
	u16 valid, verified;
	u8 flags;
};

static void entry_fill(struct bc_index *index, u32 id, const struct newcomer *new)
{
	struct bc_entry *entry = &index->entry[id];

	entry->frame = new->place->frame;
	set_extent(entry, new->place->slot, new->place->count, new->bytes);
	entry->tick = READ_ONCE(index->tick);
	WRITE_ONCE(entry->verified, new->verified);
	index->valid[id] = new->valid;
}

static int insert(struct bc_index *index, const struct bc_key *key, u32 chunk,
		  const struct newcomer *new)
{
	struct bc_name name;
	struct home home;
	u8 flags = new->flags;
	u32 id;

	BUILD_BUG_ON(BC_FRAME_BLOCKS > 16);
	if (WARN_ON_ONCE(!extent_valid(new->place, new->bytes, flags)))
		return -EINVAL;
	if (WARN_ON_ONCE(!new->valid || new->valid & ~bc_blocks_mask(new->place->count)))
		return -EINVAL;
	locate(index, key, chunk, &name, &home);
	id = entry_alloc(index, &index->group[home.group]);
	if (id == BC_INDEX_NONE)
		return bc_index_contains(index, key, chunk, NULL) ? -EEXIST : -ENOSPC;
	index->entry[id].name = name;
	entry_fill(index, id, new);
	if (new->valid != bc_blocks_mask(new->place->count))
		flags |= BC_ENTRY_PARTIAL;
	if (hash_entry(index, id, &home, flags))
		return 0;
	entry_release(index, id);
	return -EEXIST;
}

int bc_index_insert(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    const struct bc_place *place, u32 bytes, u16 verified, u8 flags)
{
	struct newcomer new = {
		.place = place,
		.bytes = bytes,
		.valid = bc_blocks_mask(place->count),
		.verified = verified,
		.flags = flags,
	};

	return insert(index, key, chunk, &new);
}

int bc_index_insert_part(struct bc_index *index, const struct bc_key *key, u32 chunk,
			 const struct bc_place *place, u32 bytes, u16 valid, u8 flags)
{
	struct newcomer new = {
		.place = place,
		.bytes = bytes,
		.valid = valid,
		.flags = flags,
	};

	return insert(index, key, chunk, &new);
}

/* Under the group's lock, of a live entry. */
static void set_valid(struct bc_index *index, struct bc_entry *entry, u16 valid)
{
	u8 state = entry->state & ~BC_ENTRY_PARTIAL;

	index->valid[entry - index->entry] = valid;
	set_state(index, entry, valid == entry_all(entry) ? state : state | BC_ENTRY_PARTIAL);
}

bool bc_index_add_blocks(struct bc_index *index, u32 id, u16 blocks)
{
	struct bc_entry *entry = &index->entry[id];
	u32 group = group_number(index, id);
	bool live;

	spin_lock(stripe_of(index, group));
	live = entry->state & BC_ENTRY_LIVE;
	if (live && entry->state & BC_ENTRY_PARTIAL)
		set_valid(index, entry, index->valid[id] | (blocks & entry_all(entry)));
	spin_unlock(stripe_of(index, group));
	return live;
}

bool bc_index_extend(struct bc_index *index, u32 id, u32 count, u32 bytes)
{
	struct bc_entry *entry = &index->entry[id];
	u32 group = group_number(index, id);
	bool can;
	u16 valid;
	u8 state;

	spin_lock(stripe_of(index, group));
	state = entry->state;
	can = state & BC_ENTRY_LIVE && state & BC_ENTRY_OPEN && count > entry_count(entry) &&
	      entry_slot(entry) + count <= BC_FRAME_BLOCKS;
	if (can) {
		valid = state & BC_ENTRY_PARTIAL ? index->valid[id] : entry_all(entry);
		/* The counts follow the state: out with the old number of blocks. */
		set_state(index, entry, 0);
		set_extent(entry, entry_slot(entry), count, bytes);
		set_state(index, entry, state & ~BC_ENTRY_OPEN);
		set_valid(index, entry, valid);
	}
	spin_unlock(stripe_of(index, group));
	return can;
}

/*
 * Under the group's lock, under which alone pins appear: none now is none until
 * the lock goes. Acquire pairs with the unpin: what its reader did is over.
 */
static bool unread(const struct bc_entry *entry)
{
	return !atomic_read_acquire(&entry->pins);
}

int bc_index_remove(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    struct bc_place *place)
{
	struct bc_entry *entry;
	struct bc_name name;
	struct home home;
	int err = -ENOENT;

	locate(index, key, chunk, &name, &home);
	spin_lock(stripe_of(index, home.group));
	entry = find(index, &home, &name);
	if (entry) {
		err = -EBUSY;
		if (!(entry->state & BC_ENTRY_PINNED) && unread(entry)) {
			unhash(index, entry);
			err = 0;
		}
	}
	spin_unlock(stripe_of(index, home.group));
	if (!err) {
		entry_place(entry, place);
		entry_release(index, entry - index->entry);
	}
	return err;
}

int bc_index_remove_pinned(struct bc_index *index, u32 id, struct bc_place *place)
{
	struct bc_entry *entry = &index->entry[id];
	u32 group = group_number(index, id);
	bool last;

	spin_lock(stripe_of(index, group));
	if (entry->state & BC_ENTRY_LIVE) {
		unhash(index, entry);
		last = atomic_add_return(BC_PINS_DEAD - 1, &entry->pins) == BC_PINS_DEAD;
	} else {
		/* Another reader saw the same and was first. */
		last = unpin(index, id);
	}
	spin_unlock(stripe_of(index, group));
	return last && claim_dead(index, id, place) ? 0 : -EBUSY;
}

/* Under the group's lock, of a live entry that may be evicted. Return: it stays this time. */
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

static enum bc_visit visit_live(struct bc_index *index, struct bc_entry *entry, bool force,
				struct bc_victim *victim)
{
	if (!(entry->state & BC_ENTRY_LIVE) || entry->state & BC_ENTRY_PINNED || !unread(entry))
		return BC_VISIT_NONE;
	if (!force && spare(index, entry))
		return BC_VISIT_SPARED;
	victim->known = true;
	victim->main = entry->state & BC_ENTRY_MAIN;
	victim->demoted = entry->state & BC_ENTRY_DEMOTED;
	victim->hash = bc_name_hash(&entry->name);
	unhash(index, entry);
	return BC_VISIT_EVICTED;
}

enum bc_visit bc_index_visit(struct bc_index *index, u32 id, bool force, struct bc_victim *victim)
{
	struct bc_entry *entry = &index->entry[id];
	u32 group = group_number(index, id);
	enum bc_visit visit;

	if (atomic_read(&entry->pins) == BC_PINS_DEAD) {
		victim->known = false;
		return claim_dead(index, id, &victim->place) ? BC_VISIT_EVICTED : BC_VISIT_NONE;
	}
	spin_lock(stripe_of(index, group));
	visit = visit_live(index, entry, force, victim);
	spin_unlock(stripe_of(index, group));
	if (visit == BC_VISIT_EVICTED) {
		entry_place(entry, &victim->place);
		entry_release(index, id);
	}
	return visit;
}

u32 bc_index_demote(struct bc_index *index, const struct bc_key *key, u32 chunk)
{
	struct bc_entry *entry;
	struct bc_name name;
	struct home home;
	u32 blocks = 0;

	locate(index, key, chunk, &name, &home);
	spin_lock(stripe_of(index, home.group));
	entry = find(index, &home, &name);
	if (entry && !(entry->state & (BC_ENTRY_PINNED | BC_ENTRY_DEMOTED))) {
		set_state(index, entry, (entry->state & (BC_ENTRY_PARTIAL | BC_ENTRY_OPEN)) |
					BC_ENTRY_LIVE | BC_ENTRY_DEMOTED);
		blocks = entry_count(entry);
	}
	spin_unlock(stripe_of(index, home.group));
	return blocks;
}

u32 bc_index_pin_chunk(struct bc_index *index, const struct bc_key *key, u32 chunk, bool pin)
{
	struct bc_entry *entry;
	struct bc_name name;
	struct home home;
	u32 blocks = 0;

	locate(index, key, chunk, &name, &home);
	spin_lock(stripe_of(index, home.group));
	entry = find(index, &home, &name);
	if (entry && !(entry->state & BC_ENTRY_PINNED) == pin) {
		set_state(index, entry, (entry->state & ~BC_ENTRY_DEMOTED) ^ BC_ENTRY_PINNED);
		blocks = entry_count(entry);
	}
	spin_unlock(stripe_of(index, home.group));
	return blocks;
}

size_t bc_index_memory(const struct bc_index *index)
{
	size_t groups = (size_t)1 << index->group_bits;

	if (!index->entry)
		return 0;
	return index->entries * (sizeof(*index->entry) + sizeof(*index->valid)) +
	       groups * index->group_lines * sizeof(*index->line) +
	       groups * sizeof(*index->group) + BC_INDEX_STRIPES * sizeof(*index->stripes);
}
