// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the clean table on the device does not say yet, see pending.h.
 */
#include "pending.h"

#define ALL_BLOCKS	((u16)GENMASK(BC_FRAME_BLOCKS - 1, 0))

int bc_pending_init(struct bc_pending *pending, u64 frames, u32 max)
{
	BUILD_BUG_ON(BC_FRAME_BLOCKS > 16);
	memset(pending, 0, sizeof(*pending));
	pending->frames = frames;
	pending->units = div_u64(frames + BC_CLEAN_FRAMES - 1, BC_CLEAN_FRAMES);
	pending->max = max;
	pending->erased = bc_table_alloc(frames, sizeof(*pending->erased));
	pending->dirty = bc_table_alloc(BITS_TO_LONGS(pending->units), sizeof(*pending->dirty));
	pending->bucket = bc_table_alloc(BC_PENDING_BUCKETS, sizeof(struct bc_overlay *));
	if (pending->erased && pending->dirty && pending->bucket)
		return 0;
	bc_pending_free(pending);
	return -ENOMEM;
}

/* Where the pointer to a frame's overlay is, or would be. */
static struct bc_overlay **link_of(const struct bc_pending *pending, u32 frame)
{
	struct bc_overlay **link = &pending->bucket[frame % BC_PENDING_BUCKETS];

	while (*link && (*link)->frame != frame)
		link = &(*link)->next;
	return link;
}

/* Some of an overlay need not wait any more; nor need it, if that was all. */
static void forget(struct bc_pending *pending, struct bc_overlay **link, u16 blocks)
{
	struct bc_overlay *overlay = *link;

	overlay->set &= ~blocks;
	if (overlay->set)
		return;
	*link = overlay->next;
	pending->overlays--;
	kfree(overlay);
}

void bc_pending_free(struct bc_pending *pending)
{
	u32 i;

	for (i = 0; pending->bucket && i < BC_PENDING_BUCKETS; i++) {
		while (pending->bucket[i])
			forget(pending, &pending->bucket[i], ALL_BLOCKS);
	}
	kvfree(pending->bucket);
	kvfree(pending->dirty);
	kvfree(pending->erased);
	memset(pending, 0, sizeof(*pending));
}

bool bc_pending_reserve(struct bc_pending *pending)
{
	if (pending->overlays >= pending->max)
		return false;
	pending->overlays++;
	return true;
}

void bc_pending_unreserve(struct bc_pending *pending)
{
	pending->overlays--;
}

struct bc_overlay *bc_pending_overlay(struct bc_pending *pending, u32 frame,
				      struct bc_overlay **spare)
{
	struct bc_overlay **link = link_of(pending, frame);

	if (!*link) {
		*link = *spare;
		(*link)->next = NULL;
		(*link)->frame = frame;
		(*link)->set = 0;
		*spare = NULL;
	}
	return *link;
}

void bc_pending_mark(struct bc_pending *pending, u64 unit)
{
	if (!__test_and_set_bit(unit, pending->dirty))
		pending->units_dirty++;
}

void bc_pending_set(struct bc_pending *pending, struct bc_overlay *overlay, u16 blocks)
{
	overlay->set |= blocks;
	pending->erased[overlay->frame] &= ~blocks;
	bc_pending_mark(pending, bc_clean_unit_of(overlay->frame));
}

void bc_pending_erase(struct bc_pending *pending, u32 frame, u16 blocks)
{
	struct bc_overlay **link = link_of(pending, frame);

	if (*link)
		forget(pending, link, blocks);
	pending->erased[frame] |= blocks;
	bc_pending_mark(pending, bc_clean_unit_of(frame));
}

static u16 waiting(const struct bc_pending *pending, u32 frame)
{
	const struct bc_overlay *overlay = *link_of(pending, frame);

	return overlay ? overlay->set : 0;
}

/* The frames of a unit; the last one may have fewer. */
static u64 first_frame(u64 unit)
{
	return unit * BC_CLEAN_FRAMES;
}

static u64 end_frame(const struct bc_pending *pending, u64 unit)
{
	return min_t(u64, pending->frames, first_frame(unit) + BC_CLEAN_FRAMES);
}

void bc_pending_lost(struct bc_pending *pending, u64 unit)
{
	u64 frame;

	for (frame = first_frame(unit); frame < end_frame(pending, unit); frame++)
		pending->erased[frame] = ~waiting(pending, frame);
}

u16 bc_pending_get(const struct bc_pending *pending, u32 frame,
		   struct bc_disk_desc descs[BC_FRAME_BLOCKS])
{
	const struct bc_overlay *overlay = *link_of(pending, frame);
	u16 erased = pending->erased[frame], set = overlay ? overlay->set : 0;
	u32 slot;

	for (slot = 0; slot < BC_FRAME_BLOCKS; slot++) {
		if (set & BIT(slot))
			descs[slot] = overlay->desc[slot];
		else if (erased & BIT(slot))
			memset(&descs[slot], 0, sizeof(descs[slot]));
	}
	return set | erased;
}

u16 bc_pending_known(const struct bc_pending *pending, u32 frame)
{
	return waiting(pending, frame) | pending->erased[frame];
}

u64 bc_pending_next(const struct bc_pending *pending, u64 unit)
{
	return find_next_bit(pending->dirty, pending->units, unit);
}

void bc_pending_walk(const struct bc_pending *pending, struct bc_pending_walk *walk)
{
	walk->left = pending->units;
}

u64 bc_pending_walk_next(const struct bc_pending *pending, struct bc_pending_walk *walk)
{
	u64 skipped;

	while (walk->left) {
		skipped = bc_pending_next(pending, walk->cursor) - walk->cursor;
		if (skipped >= walk->left)
			break;
		walk->left -= skipped;
		walk->cursor += skipped;
		if (walk->cursor < pending->units) {
			walk->left--;
			return walk->cursor++;
		}
		walk->cursor = 0;
	}
	walk->left = 0;
	return BC_PENDING_END;
}

bool bc_pending_covers(const struct bc_pending *pending, u64 unit)
{
	u64 frame;

	for (frame = first_frame(unit); frame < end_frame(pending, unit); frame++) {
		if (bc_pending_known(pending, frame) != ALL_BLOCKS)
			return false;
	}
	return true;
}

void bc_pending_apply(struct bc_pending *pending, u64 unit, struct bc_disk_clean_unit *bytes)
{
	u64 frame;

	for (frame = first_frame(unit); frame < end_frame(pending, unit); frame++)
		bc_pending_get(pending, frame, &bytes->desc[bc_clean_desc_of(frame, 0)]);
	if (__test_and_clear_bit(unit, pending->dirty))
		pending->units_dirty--;
}

/* Forget what of a frame is as the device says. */
static void settle(struct bc_pending *pending, u32 frame, const struct bc_disk_desc *descs)
{
	struct bc_overlay **link = link_of(pending, frame);
	u16 set = waiting(pending, frame), done = 0;
	u32 slot;

	for (slot = 0; slot < BC_FRAME_BLOCKS; slot++) {
		if (set & BIT(slot) && !memcmp(&(*link)->desc[slot], &descs[slot], sizeof(*descs)))
			done |= BIT(slot);
		else if (pending->erased[frame] & BIT(slot) &&
			 !memchr_inv(&descs[slot], 0, sizeof(*descs)))
			pending->erased[frame] &= ~BIT(slot);
	}
	if (done)
		forget(pending, link, done);
}

void bc_pending_written(struct bc_pending *pending, u64 unit,
			const struct bc_disk_clean_unit *bytes)
{
	u64 frame;

	for (frame = first_frame(unit); frame < end_frame(pending, unit); frame++)
		settle(pending, frame, &bytes->desc[bc_clean_desc_of(frame, 0)]);
}

size_t bc_pending_memory(const struct bc_pending *pending)
{
	return pending->frames * sizeof(*pending->erased) +
	       BITS_TO_LONGS(pending->units) * sizeof(*pending->dirty) +
	       BC_PENDING_BUCKETS * sizeof(*pending->bucket) +
	       (size_t)pending->overlays * sizeof(struct bc_overlay);
}
