/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/index.c kmod/evict.c kmod/frame.c */
/* flags: -max_len=600 */
/*
 * Index, eviction and free space together, against a list of entries: each call does
 * what its contract says, no block has two owners, and none is lost.
 */
#include "evict.h"
#include "frame.h"
#include "fuzz.h"
#include "index.h"

#define ENTRIES_MAX	48U
#define FRAMES		6U
#define PINS_MAX	24U
#define NAMES		40U

static const struct bc_evict_tuning tuning = BC_EVICT_TUNING_DEFAULT;

enum is { FREE, LIVE, DEAD };

static struct model {
	enum is is;
	u32 name;
	struct bc_place place;
	u32 bytes, pins;
	u16 verified, valid;
	bool pinned, demoted, open;
} model[ENTRIES_MAX];

static struct bc_index bc_index;
static struct bc_frames frames;
static struct bc_evict evict;
static u32 pins[PINS_MAX], nr_pins;	/* entries that are read */

/* Names that share the first half of their key, and names of one key. */
static struct bc_key key_of(u32 name)
{
	struct bc_key key = { { name / 16 } };

	key.bytes[12] = name / 4;
	return key;
}

static u32 chunk_of(u32 name)
{
	return name % 4;
}

static struct model *live(u32 name)
{
	u32 id;

	for (id = 0; id < bc_index.entries; id++)
		if (model[id].is == LIVE && model[id].name == name)
			return &model[id];
	return NULL;
}

static u32 group_of(u32 name)
{
	struct bc_key key = key_of(name);

	return bc_index_group(&bc_index, bc_chunk_hash(&key, chunk_of(name)));
}

static bool group_full(u32 group)
{
	u32 id = bc_index_group_start(&bc_index, group);
	u32 end = bc_index_group_start(&bc_index, group + 1);

	for (; id < end; id++)
		if (model[id].is == FREE)
			return false;
	return true;
}

static bool may_go(const struct model *m)
{
	return !m->pins && (m->is == DEAD || (m->is == LIVE && !m->pinned));
}

static bool same_place(const struct bc_place *a, const struct bc_place *b)
{
	return a->frame == b->frame && a->slot == b->slot && a->count == b->count;
}

static void forget(struct model *m, const struct bc_place *place)
{
	need(same_place(&m->place, place) && !m->pins);
	bc_frames_release(&frames, place);
	memset(m, 0, sizeof(*m));
}

/* A whole extent, or some blocks of one, to which more may come. */
static int insert_at(const struct bc_key *key, u32 chunk, const struct bc_place *place,
		     const struct model *new, u8 flags)
{
	if (new->valid == bc_blocks_mask(place->count) && !new->open)
		return bc_index_insert(&bc_index, key, chunk, place, new->bytes, new->verified,
				       flags);
	return bc_index_insert_part(&bc_index, key, chunk, place, new->bytes, new->valid,
				    flags | (new->open ? BC_ENTRY_OPEN : 0));
}

/* What is to be inserted: a part if @part says which, whole else. */
static struct model newcomer(u32 name, u32 blocks, u16 part, struct input *input)
{
	struct model new = {
		.is = LIVE, .name = name, .valid = bc_blocks_mask(blocks),
		.bytes = blocks * BC_BLOCK_SIZE,
	};

	if (!(part & new.valid)) {
		new.verified = take8(input);
		new.bytes -= take16(input);
		return new;
	}
	new.valid &= part;
	new.open = part & BIT(15);
	if (!new.open)
		new.bytes -= take16(input);
	return new;
}

static void insert(u32 name, u16 part, struct input *input)
{
	u32 blocks = 1 + take8(input) % BC_FRAME_BLOCKS;
	u8 flags = take8(input) & (BC_ENTRY_PINNED | BC_ENTRY_MAIN);
	struct model new = newcomer(name, blocks, part, input);
	struct bc_key key = key_of(name);
	struct bc_place place;
	struct bc_hit hit;
	int want = 0, ret;

	if (bc_frames_alloc(&frames, blocks, &place))
		return;
	if (live(name))
		want = -EEXIST;
	else if (group_full(group_of(name)))
		want = -ENOSPC;
	need(bc_evict_entry_free(&evict, &key, chunk_of(name)) == !group_full(group_of(name)));
	ret = insert_at(&key, chunk_of(name), &place, &new, flags);
	need(ret == want);
	if (ret) {
		bc_frames_release(&frames, &place);
		return;
	}
	/* Which entry it is; at once is no use of it. */
	need(bc_index_lookup(&bc_index, &key, chunk_of(name), &hit));
	bc_index_unpin(&bc_index, hit.id);
	need(hit.id < bc_index.entries && model[hit.id].is == FREE);
	need(hit.id / bc_index.group_entries == group_of(name));
	new.place = place;
	new.pinned = flags & BC_ENTRY_PINNED;
	model[hit.id] = new;
}

static void lookup(u32 name)
{
	struct model *m = live(name);
	struct bc_key key = key_of(name);
	struct bc_hit hit;
	u32 bytes;

	need(bc_index_contains(&bc_index, &key, chunk_of(name), &bytes) == !!m);
	if (nr_pins == PINS_MAX)
		return;
	need(bc_index_lookup(&bc_index, &key, chunk_of(name), &hit) == !!m);
	if (!m)
		return;
	need(hit.id == m - model && same_place(&hit.place, &m->place));
	need(hit.bytes == m->bytes && bytes == m->bytes && hit.verified == m->verified);
	need(hit.valid == m->valid && hit.open == m->open);
	m->pins++;
	pins[nr_pins++] = hit.id;
}

/* One pin goes, in one of the ways there are. */
static void unpin(u32 which, u8 how)
{
	u32 id = pins[which];
	struct model *m = &model[id];
	struct bc_place place;

	pins[which] = pins[--nr_pins];
	m->pins--;
	if (how % 3 == 0) {
		bc_index_unpin(&bc_index, id);	/* what it leaves is the evictor's */
	} else if (how % 3 == 1) {
		bool last = bc_index_unpin_last(&bc_index, id, &place);

		need(last == (m->is == DEAD && !m->pins));
		if (last)
			forget(m, &place);
	} else {
		int ret = bc_index_remove_pinned(&bc_index, id, &place);

		need(ret == (m->pins ? -EBUSY : 0));
		m->is = DEAD;
		m->pinned = m->demoted = false;
		if (!ret)
			forget(m, &place);
	}
}

static void remove_name(u32 name)
{
	struct model *m = live(name);
	struct bc_key key = key_of(name);
	struct bc_place place;
	int ret = bc_index_remove(&bc_index, &key, chunk_of(name), &place);

	need(ret == (!m ? -ENOENT : may_go(m) ? 0 : -EBUSY));
	if (!ret)
		forget(m, &place);
}

/* Who was used since may be spared, which is no business of the model. */
static void visit(u32 id, bool force)
{
	struct model *m = &model[id];
	struct bc_victim victim;
	enum bc_visit was = bc_index_visit(&bc_index, id, force, &victim);

	if (was == BC_VISIT_SPARED) {
		need(may_go(m) && m->is == LIVE && !force);
		m->demoted = m->demoted && !(bc_index.entry[id].state & BC_ENTRY_MAIN);
		return;
	}
	need(was == BC_VISIT_EVICTED || !may_go(m));
	if (was != BC_VISIT_EVICTED)
		return;
	need(may_go(m) && victim.known == (m->is == LIVE));
	forget(m, &victim.place);
}

static void evict_one(u32 name)
{
	struct bc_key key = key_of(name);
	struct bc_place place;
	bool any = false, own = false;
	int ret = bc_evict_one(&evict, &key, chunk_of(name), 100000, &place);
	u32 id;

	for (id = 0; id < bc_index.entries; id++) {
		if (!may_go(&model[id]))
			continue;
		any = true;
		own |= id / bc_index.group_entries == group_of(name);
	}
	if (ret) {
		need(ret == -ENOSPC && !(group_full(group_of(name)) ? own : any));
		return;
	}
	for (id = 0; id < bc_index.entries; id++)
		if (model[id].is != FREE && same_place(&model[id].place, &place))
			break;
	need(id < bc_index.entries && may_go(&model[id]));
	forget(&model[id], &place);
}

static void pin_name(u32 name, bool pin)
{
	struct model *m = live(name);
	struct bc_key key = key_of(name);
	u32 blocks = bc_index_pin_chunk(&bc_index, &key, chunk_of(name), pin);

	need(blocks == (m && m->pinned != pin ? m->place.count : 0));
	if (m)
		m->pinned = pin;
}

static void demote(u32 name)
{
	struct model *m = live(name);
	struct bc_key key = key_of(name);
	u32 blocks = bc_index_demote(&bc_index, &key, chunk_of(name));

	need(!blocks || (m && !m->pinned && blocks == m->place.count));
}

static void verify(u32 which, u16 mask)
{
	struct model *m = &model[pins[which]];

	bc_index_set_verified(&bc_index, pins[which], mask);
	m->verified |= mask;
}

/* Blocks came to an extent that is there in part; of one that is there as a whole nothing changes. */
static void add_blocks(u32 which, u16 blocks)
{
	struct model *m = &model[pins[which]];

	need(bc_index_add_blocks(&bc_index, pins[which], blocks) == (m->is == LIVE));
	if (m->is == LIVE)
		m->valid |= blocks & bc_blocks_mask(m->place.count);
}

/* An open extent gets more blocks, behind it, if they are free. */
static void extend(u32 which, u32 count, u16 tail)
{
	struct model *m = &model[pins[which]];
	struct bc_place more = m->place;
	bool can = m->is == LIVE && m->open && count > m->place.count &&
		   m->place.slot + count <= BC_FRAME_BLOCKS;
	u32 bytes = count * BC_BLOCK_SIZE - tail;

	more.slot += m->place.count;
	more.count = count - m->place.count;
	if (count <= m->place.count || more.slot + more.count > BC_FRAME_BLOCKS ||
	    bc_frames_take(&frames, &more)) {
		return;
	}
	need(bc_index_extend(&bc_index, pins[which], count, bytes) == can);
	if (!can) {
		bc_frames_release(&frames, &more);
		return;
	}
	m->place.count = count;
	m->bytes = bytes;
	m->open = false;
}

static void admit(u32 name, bool room)
{
	struct bc_key key = key_of(name);

	bc_evict_admit(&evict, &key, chunk_of(name), room);
	need(!(bc_evict_role(&evict, &key, chunk_of(name)) & ~BC_ENTRY_MAIN));
}

static void step(struct input *input)
{
	u8 what = take8(input), arg = take8(input);

	switch (what % 17) {
	case 0:
	case 1:
	case 2:
		insert(arg % NAMES, 0, input);
		break;
	case 3:
	case 4:
		lookup(arg % NAMES);
		break;
	case 5:
	case 6:
		if (nr_pins)
			unpin(arg % nr_pins, what / 17);
		break;
	case 7:
		remove_name(arg % NAMES);
		break;
	case 8:
		visit(arg % bc_index.entries, what & 16);
		break;
	case 9:
		evict_one(arg % NAMES);
		break;
	case 10:
		pin_name(arg % NAMES, what & 16);
		break;
	case 11:
		demote(arg % NAMES);
		break;
	case 12:
		bc_index.tick += arg;
		break;
	case 14:
		insert(arg % NAMES, take16(input), input);
		break;
	case 15:
		if (nr_pins)
			add_blocks(arg % nr_pins, take16(input));
		break;
	case 16:
		if (nr_pins)
			extend(arg % nr_pins, 1 + take8(input) % BC_FRAME_BLOCKS, take16(input));
		break;
	case 13:
		if (nr_pins && what & 16)
			verify(arg % nr_pins, 1U << what / 17);
		else
			admit(arg % NAMES, what & 32);
		break;
	}
}

/* The counts of blocks follow the entries. */
static void check_counts(void)
{
	u32 id, used = 0, pinned = 0, blocks = 0;

	for (id = 0; id < bc_index.entries; id++) {
		used += model[id].is != FREE;
		blocks += model[id].is != FREE ? model[id].place.count : 0;
		pinned += model[id].pinned ? model[id].place.count : 0;
	}
	need(bc_index.used == used);
	need(atomic64_read(&bc_index.pinned_blocks) == pinned);
	need(frames.free_blocks == FRAMES * BC_FRAME_BLOCKS - blocks);
}

static void check_groups(void)
{
	u32 group, id = 0;

	for (group = 0; group < 1U << bc_index.group_bits; group++) {
		int blocks = 0, probation = 0, demoted = 0;

		for (; id < bc_index_group_start(&bc_index, group + 1); id++) {
			u8 state = bc_index.entry[id].state;

			need(!!(state & BC_ENTRY_LIVE) == (model[id].is == LIVE));
			if (model[id].is != LIVE)
				continue;
			blocks += model[id].place.count;
			probation += state & BC_ENTRY_MAIN ? 0 : model[id].place.count;
			demoted += state & BC_ENTRY_DEMOTED ? model[id].place.count : 0;
			need(!(state & BC_ENTRY_MAIN && state & BC_ENTRY_DEMOTED));
		}
		need(atomic_read(&bc_index.group[group].blocks) == blocks);
		need(atomic_read(&bc_index.group[group].probation) == probation);
		need(atomic_read(&bc_index.group[group].demoted) == demoted);
	}
}

/* Nobody reads any more, nothing is pinned: all can go, and leaves nothing behind. */
static void drain(void)
{
	u32 id, name;

	while (nr_pins)
		unpin(0, nr_pins);
	for (name = 0; name < NAMES; name++)
		pin_name(name, false);
	for (id = 0; id < bc_index.entries; id++)
		visit(id, true);
	check_counts();
	check_groups();
	need(!bc_index.used && frames.free_blocks == FRAMES * BC_FRAME_BLOCKS);
	for (name = 0; name < NAMES; name++)
		lookup(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	u32 groups = 1U << take8(&input) % 4, steps;
	u32 entries = groups + take8(&input) % (ENTRIES_MAX - groups);

	memset(model, 0, sizeof(model));
	nr_pins = 0;
	need(!bc_index_init(&bc_index, entries, groups));
	need(!bc_frames_init(&frames, FRAMES));
	need(!bc_evict_init(&evict, &bc_index, FRAMES, &tuning));
	for (steps = 0; input.left && steps < 250; steps++) {
		step(&input);
		if (steps % 16 == 0)
			check_counts();
	}
	check_counts();
	check_groups();
	drain();
	need(!bc_warnings);
	bc_evict_free(&evict);
	bc_frames_free(&frames);
	bc_index_free(&bc_index);
	return 0;
}
