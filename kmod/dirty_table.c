// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty table of a tier in memory, see dirty_table.h.
 */
#include "dirty_table.h"

#define ALL_USED	((1ULL << BC_DIRTY_DESCS) - 1)

static_assert(BC_DIRTY_DESCS < 64, "a word has a bit for each descriptor of a unit");

int bc_dtable_init(struct bc_dtable *table, u64 units)
{
	memset(table, 0, sizeof(*table));
	if (!units || units > (U32_MAX - 1) / BC_DIRTY_DESCS)
		return -EINVAL;
	table->units = units;
	table->used = bc_table_alloc(units, sizeof(*table->used));
	table->generation = bc_table_alloc(units, sizeof(*table->generation));
	table->image = bc_table_alloc(units, sizeof(*table->image));
	table->changed = bc_table_alloc(BITS_TO_LONGS(units), sizeof(long));
	if (table->used && table->generation && table->image && table->changed)
		return 0;
	bc_dtable_free(table);
	return -ENOMEM;
}

void bc_dtable_free(struct bc_dtable *table)
{
	u64 unit;

	for (unit = 0; table->image && unit < table->units; unit++)
		kvfree(table->image[unit]);
	kvfree(table->used);
	kvfree(table->generation);
	kvfree(table->image);
	kvfree(table->changed);
	memset(table, 0, sizeof(*table));
}

void bc_dirty_desc_encode(const struct bc_dirty_desc *desc, struct bc_disk_dirty_desc *disk)
{
	memset(disk, 0, sizeof(*disk));
	bc_desc_encode(&desc->desc, &disk->desc);
	disk->frame = cpu_to_le64(desc->place.frame);
	disk->slot = desc->place.slot;
}

int bc_dirty_desc_decode(const struct bc_disk_dirty_desc *disk, u64 frames,
			 struct bc_dirty_desc *desc)
{
	u64 frame = le64_to_cpu(disk->frame);

	if (bc_desc_decode(&disk->desc, &desc->desc))
		return -EINVAL;
	memset(&desc->place, 0, sizeof(desc->place));
	if (desc->desc.kind == BC_KIND_FREE)
		return 0;
	if (desc->desc.kind == BC_KIND_CLEAN || frame >= frames ||
	    disk->slot >= BC_FRAME_BLOCKS || memchr_inv(disk->reserved, 0, sizeof(disk->reserved)))
		return -EINVAL;
	desc->place.frame = frame;
	desc->place.slot = disk->slot;
	desc->place.count = 1;
	return 0;
}

static int grow_unit(struct bc_dtable *table, u64 unit)
{
	struct bc_disk_dirty_unit *fresh;

	if (READ_ONCE(table->image[unit]))
		return 0;
	fresh = bc_table_alloc(1, sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	if (cmpxchg(&table->image[unit], NULL, fresh))
		kvfree(fresh);
	return 0;
}

/* Which copy counts? Return: 0 or 1, or -1 for none. */
static int choose(const struct bc_disk_dirty_unit copies[2], u64 unit,
		  const u8 uuid[BC_UUID_SIZE], int found[2])
{
	u64 generation[2] = {};
	u32 i;

	for (i = 0; i < 2; i++) {
		found[i] = bc_unit_check(&copies[i], BC_UNIT_MAGIC_DIRTY, unit, uuid);
		if (found[i])
			continue;
		generation[i] = le64_to_cpu(copies[i].head.generation);
		/* One at the other's place was never written there. */
		if (!generation[i] || generation[i] == U64_MAX || (generation[i] & 1) != i)
			found[i] = -EBADMSG;
	}
	if (found[0] && found[1])
		return -1;
	if (found[0] || found[1])
		return found[0] ? 1 : 0;
	return generation[1] > generation[0];
}

/* Return: false if one makes no sense: it may be of bytes that are nowhere else. */
static bool load_descs(struct bc_dtable *table, u64 unit, const struct bc_layout *layout,
		       u64 seq_end)
{
	struct bc_disk_dirty_unit *image = table->image[unit];
	struct bc_dirty_desc desc;
	u32 i;

	for (i = 0; i < BC_DIRTY_DESCS; i++) {
		if (bc_dirty_desc_decode(&image->desc[i], layout->frame_count, &desc))
			return false;
		if (desc.desc.kind == BC_KIND_FREE) {
			bc_dtable_clear(table, unit * BC_DIRTY_DESCS + i);
			continue;
		}
		if (desc.desc.seq >= seq_end)
			return false;
		table->used[unit] |= 1ULL << i;
		table->count++;
	}
	return true;
}

int bc_dtable_load(struct bc_dtable *table, u64 unit, const struct bc_disk_dirty_unit copies[2],
		   const struct bc_layout *layout, u64 seq_end, const u8 uuid[BC_UUID_SIZE])
{
	int found[2], copy = choose(copies, unit, uuid, found);

	if (copy < 0 && found[0] == -ENODATA)
		/* Generation 1 goes to copy 1: torn, there was nothing before it. */
		return found[1] == -ENODATA ? BC_DTABLE_VOID : BC_DTABLE_TORN;
	if (copy < 0)
		return BC_DTABLE_DAMAGED;
	if (grow_unit(table, unit))
		return -ENOMEM;
	memcpy(table->image[unit], &copies[copy], sizeof(copies[copy]));
	table->generation[unit] = le64_to_cpu(copies[copy].head.generation);
	if (!load_descs(table, unit, layout, seq_end))
		return BC_DTABLE_DAMAGED;
	/* From the second write on there is an older copy, or was. */
	return found[!copy] && (found[!copy] == -EBADMSG || table->generation[unit] > 1) ?
	       BC_DTABLE_TORN : BC_DTABLE_VALID;
}

static u32 take_of(struct bc_dtable *table, u64 unit)
{
	u64 free = ~table->used[unit] & ALL_USED;
	u32 i;

	if (!free)
		return BC_DTABLE_NONE;
	i = __ffs64(free);
	table->used[unit] |= 1ULL << i;
	table->count++;
	return unit * BC_DIRTY_DESCS + i;
}

u32 bc_dtable_take(struct bc_dtable *table, u32 near)
{
	u32 number = BC_DTABLE_NONE;
	u64 i;

	if (table->count == bc_dtable_size(table))
		return BC_DTABLE_NONE;
	if (near != BC_DTABLE_NONE)
		number = take_of(table, bc_dtable_unit_of(near));
	for (i = 0; i < table->units && number == BC_DTABLE_NONE; i++) {
		number = take_of(table, table->cursor);
		if (number == BC_DTABLE_NONE)
			table->cursor = table->cursor + 1 < table->units ? table->cursor + 1 : 0;
	}
	return number;
}

void bc_dtable_release(struct bc_dtable *table, u32 number)
{
	u64 bit = 1ULL << (number % BC_DIRTY_DESCS), unit = bc_dtable_unit_of(number);

	if (WARN_ON_ONCE(unit >= table->units || !(table->used[unit] & bit)))
		return;
	table->used[unit] &= ~bit;
	table->count--;
}

int bc_dtable_grow(struct bc_dtable *table, u32 number)
{
	return grow_unit(table, bc_dtable_unit_of(number));
}

static struct bc_disk_dirty_desc *desc_at(const struct bc_dtable *table, u32 number)
{
	return &table->image[bc_dtable_unit_of(number)]->desc[number % BC_DIRTY_DESCS];
}

void bc_dtable_set(struct bc_dtable *table, u32 number, const struct bc_dirty_desc *desc)
{
	bc_dirty_desc_encode(desc, desc_at(table, number));
	__set_bit(bc_dtable_unit_of(number), table->changed);
}

void bc_dtable_clear(struct bc_dtable *table, u32 number)
{
	struct bc_disk_dirty_desc *disk = desc_at(table, number);

	if (!memchr_inv(disk, 0, sizeof(*disk)))
		return;
	memset(disk, 0, sizeof(*disk));
	__set_bit(bc_dtable_unit_of(number), table->changed);
}

bool bc_dtable_get(const struct bc_dtable *table, u32 number, struct bc_dirty_desc *desc)
{
	if (!table->image[bc_dtable_unit_of(number)])
		return false;
	return !bc_dirty_desc_decode(desc_at(table, number), U32_MAX, desc) &&
	       desc->desc.kind != BC_KIND_FREE;
}

u64 bc_dtable_next(const struct bc_dtable *table, u64 unit)
{
	return find_next_bit(table->changed, table->units, unit);
}

u32 bc_dtable_seal(const struct bc_dtable *table, u64 unit, struct bc_disk_dirty_unit *bytes,
		   const u8 uuid[BC_UUID_SIZE])
{
	u64 generation = table->generation[unit] + 1;

	memcpy(bytes, table->image[unit], sizeof(*bytes));
	bc_unit_seal(bytes, BC_UNIT_MAGIC_DIRTY, unit, generation, uuid);
	return generation & 1;
}

void bc_dtable_written(struct bc_dtable *table, u64 unit)
{
	table->generation[unit]++;
	__clear_bit(unit, table->changed);
}

int bc_dtable_rewrite(struct bc_dtable *table, u64 unit)
{
	if (grow_unit(table, unit))
		return -ENOMEM;
	__set_bit(unit, table->changed);
	return 0;
}

u32 bc_dtable_check(const struct bc_dtable *table)
{
	__le64 generation;
	u32 crc = 0;
	u64 unit;

	for (unit = 0; unit < table->units; unit++) {
		generation = cpu_to_le64(table->generation[unit]);
		crc = bc_crc32c_more(crc, &generation, sizeof(generation));
	}
	return crc;
}

size_t bc_dtable_memory(const struct bc_dtable *table)
{
	size_t bytes = table->units * (sizeof(*table->used) + sizeof(*table->generation) +
				       sizeof(*table->image)) + table->units / 8;
	u64 unit;

	for (unit = 0; unit < table->units; unit++)
		bytes += READ_ONCE(table->image[unit]) ? BC_UNIT_SIZE : 0;
	return bytes;
}
