// SPDX-License-Identifier: GPL-2.0-or-later
#include "upload/staged.h"

#include <stdlib.h>
#include <string.h>

static bool grow(struct bc_staged *staged)
{
	size_t room = staged->room ? staged->room * 2 : 256;
	struct bc_staged_block *blocks;

	if (staged->count < staged->room)
		return true;
	blocks = reallocarray(staged->blocks, room, sizeof(*blocks));
	if (!blocks)
		return false;
	staged->blocks = blocks;
	staged->room = room;
	return true;
}

/**
 * bc_staged_add - take in a block that the store has
 * @staged: the set
 * @generation: whose blocks are of use
 * @id: as the store tells it
 * @size: as the store tells it
 * @committed: part of the blob, not only staged
 */
void bc_staged_add(struct bc_staged *staged, const uint8_t *generation, const char *id,
		   uint64_t size, bool committed)
{
	struct bc_staged_block block = { .size = size };

	/* The service refuses ours then; those of a blob that is replaced are no hindrance. */
	if (!committed && strlen(id) != BC_ID_TEXT)
		staged->foreign = true;
	if (!bc_plan_parse(&block.id, id) || !bc_plan_ours(&block.id, generation))
		return;
	if (!grow(staged)) {
		staged->failed = true;
		return;
	}
	staged->blocks[staged->count++] = block;
}

static int compare(const void *a, const void *b)
{
	const struct bc_staged_block *one = a, *other = b;

	return memcmp(&one->id, &other->id, sizeof(one->id));
}

static bool same(const struct bc_staged_block *block, const struct bc_block_id *id)
{
	return !memcmp(&block->id, id, sizeof(*id));
}

/**
 * bc_staged_sort - all were added
 * @staged: the set; threads may look into it from now on
 */
void bc_staged_sort(struct bc_staged *staged)
{
	if (staged->count)
		qsort(staged->blocks, staged->count, sizeof(*staged->blocks), compare);
}

/**
 * bc_staged_has - whether a block need not be sent
 * @staged: the set, sorted
 * @id: what it is called now
 * @size: how long it has to be
 *
 * A block may be committed and staged anew, in which case the staged one counts. If
 * one of them has another length neither is trusted.
 */
bool bc_staged_has(const struct bc_staged *staged, const struct bc_block_id *id, uint64_t size)
{
	const struct bc_staged_block key = { .id = *id };
	const struct bc_staged_block *found, *end = staged->blocks + staged->count;

	if (!staged->count)
		return false;
	found = bsearch(&key, staged->blocks, staged->count, sizeof(key), compare);
	if (!found)
		return false;
	while (found > staged->blocks && same(found - 1, id))
		found--;
	for (; found < end && same(found, id); found++)
		if (found->size != size)
			return false;
	return true;
}

/**
 * bc_staged_clear - forget all
 * @staged: may be empty
 */
void bc_staged_clear(struct bc_staged *staged)
{
	free(staged->blocks);
	*staged = (struct bc_staged){ 0 };
}
