// SPDX-License-Identifier: GPL-2.0-or-later
/* The module's own index, frames and eviction, in the order in which the module calls them. */
#include <err.h>

#include "cache.h"
#include "evict.h"
#include "frame.h"

struct scd {
	struct bc_index index;
	struct bc_frames frames;
	struct bc_evict evict;
};

#define INDEX_RATIO	2	/* the default of a format */

static const struct bc_evict_tuning tuning = BC_EVICT_TUNING_DEFAULT;
static const struct bc_key object = { { 0x1f, 0x8b, 0x5a, 0xc3, 0x77, 0x02, 0xe9, 0x46,
					0x90, 0xd1, 0x3e, 0x6c, 0xb8, 0x25, 0xfa, 0x54 } };

static void *create(uint32_t slots, uint32_t names)
{
	struct scd *scd = cache_alloc(1, sizeof(*scd));
	uint64_t entries = (uint64_t)slots * INDEX_RATIO;

	(void)names;
	if (bc_frames_init(&scd->frames, slots) ||
	    bc_index_init(&scd->index, entries, bc_evict_groups(entries)) ||
	    bc_evict_init(&scd->evict, &scd->index, slots, &tuning))
		errx(1, "no memory for the index");
	return scd;
}

static void destroy(void *cache)
{
	struct scd *scd = cache;

	bc_evict_free(&scd->evict);
	bc_index_free(&scd->index);
	bc_frames_free(&scd->frames);
	free(scd);
}

static bool find_room(struct scd *scd, uint32_t chunk, struct bc_place *place)
{
	return bc_evict_entry_free(&scd->evict, &object, chunk) &&
	       !bc_frames_alloc(&scd->frames, BC_FRAME_BLOCKS, place);
}

static bool make_room(struct scd *scd, uint32_t chunk, struct bc_place *place)
{
	struct bc_place victim;
	bool room = find_room(scd, chunk, place);

	if (!bc_evict_admit(&scd->evict, &object, chunk, room)) {
		if (room)
			bc_frames_release(&scd->frames, place);
		return false;
	}
	while (!room) {
		if (bc_evict_one(&scd->evict, &object, chunk, U32_MAX, &victim))
			errx(1, "nothing can be evicted");
		bc_frames_release(&scd->frames, &victim);
		room = find_room(scd, chunk, place);
	}
	return true;
}

static enum access access_chunk(void *cache, uint32_t chunk)
{
	struct scd *scd = cache;
	struct bc_place place;
	struct bc_hit hit;

	/* Each access is a use of its own. */
	scd->index.tick += 2;
	if (bc_index_lookup(&scd->index, &object, chunk, &hit)) {
		bc_index_unpin(&scd->index, hit.id);
		return HIT;
	}
	if (!make_room(scd, chunk, &place))
		return MISS_PASSED;
	if (bc_index_insert(&scd->index, &object, chunk, &place, BC_CHUNK_SIZE, 0,
			    bc_evict_role(&scd->evict, &object, chunk)))
		errx(1, "not inserted");
	return MISS_KEPT;
}

const struct cache_ops scd_cache = { "SCD", create, access_chunk, destroy };
