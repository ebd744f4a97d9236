// SPDX-License-Identifier: GPL-2.0-only
/*
 * From the dirty table to objects, see dirty_recover.h.
 */
#include "dirty_recover.h"
#include "key.h"

static int compare_u64(u64 a, u64 b)
{
	return a < b ? -1 : a > b;
}

static bool is_data(const struct bc_dirty_found *found)
{
	return found->at.desc.kind == BC_KIND_DIRTY;
}

/* Each generation's together: first what is not data, then data by blocks; newest first. */
static int by_object(const void *a, const void *b)
{
	const struct bc_dirty_found *x = a, *y = b;
	int order = memcmp(x->at.desc.key.bytes, y->at.desc.key.bytes, BC_KEY_SIZE);

	if (!order)
		order = is_data(x) - is_data(y);
	if (!order && is_data(x))
		order = compare_u64(x->at.desc.block, y->at.desc.block);
	if (!order)
		order = compare_u64(y->at.desc.seq, x->at.desc.seq);
	return order ?: compare_u64(x->number, y->number);
}

static int collect(struct bc_dirty_recovery *recovery)
{
	const struct bc_dtable *table = recovery->table;
	u32 number, names = 0, size = bc_dtable_size(table);

	recovery->found = bc_table_alloc(max(table->count, 1U), sizeof(*recovery->found));
	recovery->buffer = kvcalloc(1, ALIGN(BC_NAME_BYTES_MAX, (size_t)BC_UNIT_SIZE), GFP_KERNEL);
	if (!recovery->found || !recovery->buffer)
		return -ENOMEM;
	for (number = 0; number < size && recovery->count < table->count; number++) {
		struct bc_dirty_found *found = &recovery->found[recovery->count];

		if (!bc_dtable_get(table, number, &found->at))
			continue;
		found->number = number;
		recovery->count++;
		names += !is_data(found);
		cond_resched();
	}
	/* One each, at most. */
	recovery->object = bc_table_alloc(max(names, 1U), sizeof(*recovery->object));
	if (!recovery->object)
		return -ENOMEM;
	sort(recovery->found, recovery->count, sizeof(*recovery->found), by_object, NULL);
	return 0;
}

static void set_fate(struct bc_dirty_recovery *recovery, struct bc_dirty_object *object,
		     enum bc_fate fate, const char *why)
{
	u32 i;

	object->fate = fate;
	object->why = why;
	/* What was dead before may be what is right: nothing of one set aside goes. */
	for (i = object->first; i < object->end; i++)
		recovery->found[i].fate = fate;
}

u32 bc_dirty_valid(const struct bc_dirty_name *name, const struct bc_desc *desc)
{
	u64 start = desc->block << BC_BLOCK_SHIFT, end = name->size;

	if (desc->seq <= name->cut_seq)
		end = min(end, name->cut_size);
	return start < end ? min_t(u64, desc->length, end - start) : 0;
}

/* Of each block the newest, if it counts. */
static void judge_data(struct bc_dirty_recovery *recovery, struct bc_dirty_object *object)
{
	const struct bc_dirty_name *name = &object->name;
	const struct bc_dirty_found *last = NULL;
	u32 i;

	for (i = object->first + 1; i < object->end; i++) {
		struct bc_dirty_found *found = &recovery->found[i];

		found->fate = BC_FATE_DEAD;
		if (!is_data(found) || name->kind != BC_KIND_NAME ||
		    (last && last->at.desc.block == found->at.desc.block))
			continue;
		last = found;
		if (bc_dirty_valid(name, &found->at.desc))
			found->fate = BC_FATE_LIVE;
	}
}

static const char *read_name(struct bc_dirty_recovery *recovery, struct bc_dirty_object *object)
{
	const struct bc_dirty_desc *at = &recovery->found[object->first].at;
	u32 length = at->desc.length;

	if (length > BC_NAME_BYTES_MAX || at->desc.block)
		return "its name block makes no sense";
	if (recovery->read(recovery->arg, at, recovery->buffer))
		return "its name block cannot be read";
	if (bc_crc32c(recovery->buffer, length) != at->desc.crc)
		return "the checksum of its name block is wrong";
	memcpy(object->bytes, recovery->buffer, length);
	if (bc_dirty_name_decode(object->bytes, length, at->desc.kind, &object->name))
		return "its name block makes no sense";
	if (!bc_key_equal(&object->name.generation, &at->desc.key) ||
	    object->name.seq != at->desc.seq ||
	    memcmp(object->name.uuid, recovery->uuid, BC_UUID_SIZE))
		return "its name block is another's";
	return NULL;
}

/* One generation. Return: 0 or -ENOMEM. */
static int judge(struct bc_dirty_recovery *recovery, u32 first, u32 end)
{
	struct bc_dirty_object *object = &recovery->object[recovery->objects];
	const char *why;
	u32 i;

	if (is_data(&recovery->found[first])) {
		/* Its name may be in the copy of a unit that cannot be read. */
		for (i = first; i < end; i++)
			recovery->found[i].fate = recovery->torn ? BC_FATE_ASIDE : BC_FATE_DEAD;
		recovery->nameless += recovery->torn ? end - first : 0;
		return 0;
	}
	object->first = first;
	object->end = end;
	/* As long as it is: there may be millions. */
	object->bytes = kvcalloc(1, min_t(size_t, recovery->found[first].at.desc.length,
					  BC_NAME_BYTES_MAX), GFP_KERNEL);
	if (!object->bytes)
		return -ENOMEM;
	recovery->objects++;
	why = read_name(recovery, object);
	if (!why && object->name.kind == BC_KIND_RENAME)
		why = "renames of directories are not known to this module";
	if (why)
		set_fate(recovery, object, BC_FATE_ASIDE, why);
	else
		judge_data(recovery, object);
	return 0;
}

static int judge_all(struct bc_dirty_recovery *recovery)
{
	u32 first, end;
	int ret = 0;

	for (first = 0; first < recovery->count && !ret; first = end) {
		const struct bc_key *key = &recovery->found[first].at.desc.key;

		for (end = first + 1; end < recovery->count; end++) {
			if (!bc_key_equal(&recovery->found[end].at.desc.key, key))
				break;
		}
		ret = judge(recovery, first, end);
		cond_resched();
	}
	return ret;
}

static bool has_path(const struct bc_dirty_object *object)
{
	return object->fate == BC_FATE_LIVE && object->name.kind == BC_KIND_NAME;
}

static int compare_paths(const struct bc_dirty_name *a, const struct bc_dirty_name *b)
{
	int order = memcmp(a->volume.bytes, b->volume.bytes, BC_KEY_SIZE);

	if (!order)
		order = memcmp(a->path, b->path, min(a->path_length, b->path_length));
	return order ?: compare_u64(a->path_length, b->path_length);
}

/* Those that have a path first, by path, newest first. */
static int by_path(const void *a, const void *b)
{
	const struct bc_dirty_object *x = *(struct bc_dirty_object * const *)a;
	const struct bc_dirty_object *y = *(struct bc_dirty_object * const *)b;
	int order = has_path(y) - has_path(x);

	if (!order && has_path(x))
		order = compare_paths(&x->name, &y->name);
	if (!order)
		order = compare_u64(y->name.seq, x->name.seq);
	return order ?: compare_u64(x->first, y->first);
}

/* Does one of them say that it has the other's name? By sequence it is the same, if all is well. */
static bool replaces(const struct bc_dirty_name *winner, const struct bc_dirty_name *loser)
{
	static const struct bc_key none;

	return bc_key_equal(&winner->replaces, &loser->generation) &&
	       !bc_key_equal(&winner->replaces, &none);
}

static int judge_paths(struct bc_dirty_recovery *recovery)
{
	struct bc_dirty_object **sorted = bc_table_alloc(max(recovery->objects, 1U),
							 sizeof(*sorted));
	u32 i, last = 0;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < recovery->objects; i++)
		sorted[i] = &recovery->object[i];
	sort(sorted, recovery->objects, sizeof(*sorted), by_path, NULL);
	for (i = 1; i < recovery->objects && has_path(sorted[i]); i++) {
		if (compare_paths(&sorted[last]->name, &sorted[i]->name)) {
			last = i;
		} else if (replaces(&sorted[i]->name, &sorted[last]->name)) {
			set_fate(recovery, sorted[last], BC_FATE_DEAD, NULL);
			last = i;
		} else {
			set_fate(recovery, sorted[i], BC_FATE_DEAD, NULL);
		}
	}
	kvfree(sorted);
	return 0;
}

struct by_place {
	u32 frame;
	u8 slot;
	struct bc_dirty_object *object;
};

static int compare_places(const void *a, const void *b)
{
	const struct by_place *x = a, *y = b;

	return compare_u64(x->frame, y->frame) ?: compare_u64(x->slot, y->slot);
}

/* Of looking for descriptors that claim one block. */
#define ROUNDS_MAX	16

static u32 collect_places(struct bc_dirty_recovery *recovery, struct by_place *sorted)
{
	u32 i, o, count = 0;

	for (o = 0; o < recovery->objects; o++) {
		struct bc_dirty_object *object = &recovery->object[o];

		for (i = object->first; i < object->end; i++) {
			if (recovery->found[i].fate == BC_FATE_DEAD)
				continue;
			sorted[count].frame = recovery->found[i].at.place.frame;
			sorted[count].slot = recovery->found[i].at.place.slot;
			sorted[count++].object = object;
		}
	}
	sort(sorted, count, sizeof(*sorted), compare_places, NULL);
	return count;
}

static bool set_aside(struct bc_dirty_recovery *recovery, struct bc_dirty_object *object)
{
	if (object->fate == BC_FATE_ASIDE)
		return false;
	set_fate(recovery, object, BC_FATE_ASIDE, "another descriptor claims the same block");
	return true;
}

/*
 * Two that claim one block: who knows which is right? What was dead of one that is set aside is
 * not any more, and may claim others.
 */
static int judge_places(struct bc_dirty_recovery *recovery)
{
	struct by_place *sorted = bc_table_alloc(max(recovery->count, 1U), sizeof(*sorted));
	bool changed = true;
	u32 i, count, round;

	if (!sorted)
		return -ENOMEM;
	for (round = 0; changed; round++) {
		/* Each round takes time, and somebody may have made a table of many. */
		for (i = 0; round == ROUNDS_MAX && i < recovery->objects; i++)
			set_aside(recovery, &recovery->object[i]);
		changed = false;
		count = collect_places(recovery, sorted);
		for (i = 1; i < count; i++) {
			if (compare_places(&sorted[i - 1], &sorted[i]))
				continue;
			changed |= set_aside(recovery, sorted[i - 1].object);
			changed |= set_aside(recovery, sorted[i].object);
		}
		cond_resched();
	}
	kvfree(sorted);
	return 0;
}

int bc_dirty_recover(struct bc_dirty_recovery *recovery)
{
	int ret = collect(recovery);

	if (!ret)
		ret = judge_all(recovery);
	if (!ret)
		ret = judge_paths(recovery);
	if (!ret)
		ret = judge_places(recovery);
	return ret;
}

void bc_dirty_recovered(struct bc_dirty_recovery *recovery)
{
	u32 i;

	for (i = 0; i < recovery->objects; i++)
		kvfree(recovery->object[i].bytes);
	kvfree(recovery->object);
	kvfree(recovery->found);
	kvfree(recovery->buffer);
	recovery->buffer = NULL;
	recovery->object = NULL;
	recovery->found = NULL;
	recovery->objects = 0;
	recovery->count = 0;
}
