/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/dirty_table.c kmod/dirty_recover.c kmod/name.c kmod/key.c kmod/record.c */
/* flags: -max_len=2000 */
/*
 * The dirty table and name blocks as an attach finds them. The input is a list of descriptors and
 * names, mostly sensible, and of changes to the bytes; checksums are right unless a change says
 * otherwise. Whatever comes: of the live ones no two are of one block of an object or in one place
 * of the device, each has a name, no two have one path; and when what is dead was cleared, the
 * next attach finds the same, and nothing dead.
 */
#include "dirty_recover.h"
#include "fuzz.h"
#include "key.h"

#define UNITS		3U
#define FRAMES		8U
#define SEQ_END		200U
#define NAME_ROOM	4096U

static const u8 uuid[BC_UUID_SIZE] = { 7 };
static const struct bc_layout layout = { .frame_count = FRAMES };
static struct bc_disk_dirty_unit device[UNITS][BC_DIRTY_COPIES];
static u8 blocks[FRAMES][BC_FRAME_BLOCKS][NAME_ROOM];

static void set_crc(struct bc_disk_dirty_unit *unit)
{
	unit->head.crc = 0;
	unit->head.crc = cpu_to_le32(bc_crc32c(unit, sizeof(*unit)));
}

static struct bc_disk_dirty_desc *some_desc(struct input *input)
{
	u8 n = take8(input);

	return &device[n % UNITS][n >> 4 & 1].desc[take8(input) % BC_DIRTY_DESCS];
}

static void some_place(struct input *input, struct bc_place *place)
{
	u8 n = take8(input);

	place->frame = n % FRAMES;
	place->slot = n >> 4;
	place->count = 1;
}

static void put_data(struct input *input)
{
	struct bc_dirty_desc desc = { .desc = { .kind = BC_KIND_DIRTY } };
	struct bc_disk_dirty_desc *at = some_desc(input);

	some_place(input, &desc.place);
	desc.desc.key.bytes[0] = take8(input) % 5;
	desc.desc.block = take8(input) % 4;
	desc.desc.seq = take8(input);
	desc.desc.length = 1 + take16(input);
	bc_dirty_desc_encode(&desc, at);
}

static void put_name(struct input *input)
{
	static const char *const paths[] = { "a", "a/b", "b", "a/bc" };
	struct bc_dirty_desc desc = {};
	struct bc_dirty_name name = { .mode = 0100644, .source = "s", .source_length = 1 };
	struct bc_disk_dirty_desc *at = some_desc(input);
	static u8 bytes[BC_NAME_BYTES_MAX];
	u8 n = take8(input);

	some_place(input, &desc.place);
	name.kind = BC_KIND_NAME + n % 3;
	name.path = paths[n >> 2 & 3];
	name.path_length = strlen(name.path);
	name.other = "x";
	name.other_length = n >> 4 & 1;
	memcpy(name.uuid, uuid, sizeof(uuid));
	name.generation.bytes[0] = take8(input) % 5;
	name.seq = take8(input);
	name.size = take32(input) % (5 * BC_BLOCK_SIZE);
	name.cut_size = take32(input) % (5 * BC_BLOCK_SIZE);
	name.cut_seq = take8(input);
	name.state = n >> 5 & 1;
	bc_key_volume("s", NULL, &name.volume);
	desc.desc.kind = name.kind;
	desc.desc.key = name.generation;
	desc.desc.seq = name.seq;
	desc.desc.length = bc_dirty_name_encode(&name, bytes);
	desc.desc.crc = bc_crc32c(bytes, desc.desc.length);
	memcpy(blocks[desc.place.frame][desc.place.slot], bytes, desc.desc.length);
	bc_dirty_desc_encode(&desc, at);
}

/* A byte of a name; its checksum is made right again, if the descriptor is one of a name. */
static void poke_name(struct input *input)
{
	struct bc_disk_dirty_desc *at = some_desc(input);
	u64 frame = le64_to_cpu(at->frame);
	u32 length = le32_to_cpu(at->desc.length);
	u16 where = take16(input);
	u8 value = take8(input), *bytes;

	if (frame >= FRAMES || at->slot >= BC_FRAME_BLOCKS || !length || length > NAME_ROOM)
		return;
	bytes = blocks[frame][at->slot];
	bytes[where % length] = value;
	at->desc.crc = cpu_to_le32(bc_crc32c(bytes, length));
}

static void poke_unit(struct input *input)
{
	u8 n = take8(input);
	u8 *bytes = (u8 *)&device[n % UNITS][n >> 4 & 1];
	u32 where = take16(input) % BC_UNIT_SIZE;

	bytes[where] = take8(input);
}

static int read_block(void *arg, const struct bc_dirty_desc *desc, void *buffer)
{
	(void)arg;
	need(desc->place.frame < FRAMES && desc->place.slot < BC_FRAME_BLOCKS);
	need(desc->desc.length <= BC_NAME_BYTES_MAX);
	if (desc->desc.length > NAME_ROOM)
		return -EIO;
	memcpy(buffer, blocks[desc->place.frame][desc->place.slot], desc->desc.length);
	return 0;
}

static void check_object(const struct bc_dirty_recovery *recovery, u32 o, u16 taken[FRAMES])
{
	const struct bc_dirty_object *object = &recovery->object[o];
	const struct bc_dirty_found *last = NULL;
	u32 i;

	need(object->first < object->end && object->end <= recovery->count);
	need(object->fate != BC_FATE_ASIDE || object->why);
	for (i = object->first; i < object->end; i++) {
		const struct bc_dirty_found *found = &recovery->found[i];
		const struct bc_place *place = &found->at.place;

		need(bc_key_equal(&found->at.desc.key, &recovery->found[object->first].at.desc.key));
		need(found->at.desc.seq < SEQ_END);
		need(found->fate == object->fate || found->fate == BC_FATE_DEAD);
		if (found->fate != BC_FATE_LIVE)
			continue;
		need(!(taken[place->frame] & BIT(place->slot)));
		taken[place->frame] |= BIT(place->slot);
		if (found->at.desc.kind != BC_KIND_DIRTY) {
			need(i == object->first);
			continue;
		}
		need(object->name.kind == BC_KIND_NAME);
		need(bc_dirty_valid(&object->name, &found->at.desc));
		need(!last || last->at.desc.block < found->at.desc.block);
		last = found;
	}
}

static void check(const struct bc_dirty_recovery *recovery)
{
	u16 taken[FRAMES] = {};
	u32 o, other, covered = 0;

	for (o = 0; o < recovery->objects; o++) {
		const struct bc_dirty_object *object = &recovery->object[o];

		check_object(recovery, o, taken);
		covered += object->end - object->first;
		if (object->fate != BC_FATE_LIVE || object->name.kind != BC_KIND_NAME)
			continue;
		need(bc_dirty_name_path_valid(object->name.path, object->name.path_length));
		for (other = 0; other < o; other++) {
			const struct bc_dirty_object *second = &recovery->object[other];

			if (second->fate != BC_FATE_LIVE || second->name.kind != BC_KIND_NAME)
				continue;
			need(second->name.path_length != object->name.path_length ||
			     memcmp(second->name.path, object->name.path, object->name.path_length));
		}
	}
	need(covered <= recovery->count);
}

static void load(struct bc_dtable *table)
{
	u32 unit;

	need(!bc_dtable_init(table, UNITS));
	for (unit = 0; unit < UNITS; unit++)
		need(bc_dtable_load(table, unit, device[unit], &layout, SEQ_END, uuid) >= 0);
}

/* An attach is refused if one is damaged: let it be as if it never was written. */
static void void_damaged(void)
{
	struct bc_dtable table;
	u32 unit;

	need(!bc_dtable_init(&table, UNITS));
	for (unit = 0; unit < UNITS; unit++) {
		int ret = bc_dtable_load(&table, unit, device[unit], &layout, SEQ_END, uuid);

		need(ret >= 0);
		if (ret == BC_DTABLE_DAMAGED)
			memset(device[unit], 0, sizeof(device[unit]));
	}
	bc_dtable_free(&table);
}

static u32 count(const struct bc_dirty_recovery *recovery, enum bc_fate fate)
{
	u32 i, sum = 0;

	for (i = 0; i < recovery->count; i++)
		sum += recovery->found[i].fate == fate;
	return sum;
}

/* What an attach writes. */
static void clear_dead(struct bc_dtable *table, const struct bc_dirty_recovery *recovery)
{
	u32 i;
	u64 unit;

	for (i = 0; i < recovery->count; i++) {
		if (recovery->found[i].fate != BC_FATE_DEAD)
			continue;
		bc_dtable_clear(table, recovery->found[i].number);
		bc_dtable_release(table, recovery->found[i].number);
	}
	for (unit = bc_dtable_next(table, 0); unit < UNITS; unit = bc_dtable_next(table, unit + 1)) {
		struct bc_disk_dirty_unit bytes;
		u32 copy = bc_dtable_seal(table, unit, &bytes, uuid);

		device[unit][copy] = bytes;
		bc_dtable_written(table, unit);
	}
}

static void format(struct input *input)
{
	u8 fresh = take8(input);
	u32 unit, copy;

	memset(device, 0, sizeof(device));
	memset(blocks, 0, sizeof(blocks));
	for (unit = 0; unit < UNITS; unit++) {
		for (copy = 0; copy < BC_DIRTY_COPIES; copy++) {
			if (fresh >> (2 * unit + copy) & 1)
				continue;
			bc_unit_seal(&device[unit][copy], BC_UNIT_MAGIC_DIRTY, unit, 2 + copy, uuid);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_dirty_recovery recovery = { .uuid = uuid, .read = read_block }, again;
	struct input input = { data, size };
	struct bc_dtable table;
	u32 changes, unit, live;
	u8 spoiled;

	format(&input);
	spoiled = take8(&input);
	for (changes = 0; input.left && changes < 200; changes++) {
		switch (take8(&input) % 8) {
		case 0 ... 3:
			put_data(&input);
			break;
		case 4:
		case 5:
			put_name(&input);
			break;
		case 6:
			poke_name(&input);
			break;
		default:
			poke_unit(&input);
		}
	}
	for (unit = 0; unit < 2 * UNITS; unit++)
		if (!(spoiled >> unit & 1))
			set_crc(&device[unit / 2][unit % 2]);
	void_damaged();
	load(&table);
	recovery.table = &table;
	recovery.torn = spoiled >> 7;
	again = recovery;
	need(!bc_dirty_recover(&recovery));
	check(&recovery);
	live = count(&recovery, BC_FATE_LIVE);
	clear_dead(&table, &recovery);
	bc_dtable_free(&table);
	load(&table);
	need(bc_dtable_next(&table, 0) == UNITS);
	need(!bc_dirty_recover(&again));
	check(&again);
	need(!count(&again, BC_FATE_DEAD) && count(&again, BC_FATE_LIVE) == live);
	bc_dirty_recovered(&recovery);
	bc_dirty_recovered(&again);
	bc_dtable_free(&table);
	need(!bc_warnings);
	return 0;
}
