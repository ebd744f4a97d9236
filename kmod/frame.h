/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Free space of a tier: which 64 KiB blocks of which frames are in use. A frame
 * serves whole chunks or, cut up, short ones; what it is follows from its use.
 * Not locked: the tier's allocation lock covers every call.
 */
#ifndef BC_FRAME_H
#define BC_FRAME_H

#include "pure.h"

/* 64 to the power of this reaches every frame number. */
#define BC_FRAME_LEVELS	6

struct bc_frames {
	u32 count;
	u64 free_blocks;
	u16 *used;		/* per frame: bit b = block b in use */
	/*
	 * By longest run of free blocks: the set of frames that have it. A set is
	 * an array of words: a bit per frame, then a bit per word of those that is
	 * not zero, and so on up to one word. Frames without a free block are in none.
	 */
	u64 *set[BC_FRAME_BLOCKS + 1];
	u32 levels;
	u32 level[BC_FRAME_LEVELS + 1];	/* where they begin in a set, and its end */
};

/* What a frame costs, rounded up: 16 bits of use, and 16 sets of 64 / 63 bits. */
#define BC_FRAMES_FRAME_BYTES	5

#define BC_FRAME_NONE U32_MAX

/**
 * bc_frames_init - all blocks free
 * @frames: to initialise
 * @count: number of frames, below BC_FRAME_NONE
 *
 * Allocates at most BC_FRAMES_FRAME_BYTES per frame, and a few words. May sleep.
 * Return: 0, -ENOMEM or -EINVAL.
 */
int bc_frames_init(struct bc_frames *frames, u64 count);
void bc_frames_free(struct bc_frames *frames);

/**
 * bc_frames_alloc - find contiguous blocks, the tightest fit first
 * @frames: free space
 * @blocks: 1..BC_FRAME_BLOCKS
 * @place: out
 *
 * Return: 0 or -ENOSPC (no frame has such a run). Does not sleep.
 */
int bc_frames_alloc(struct bc_frames *frames, u32 blocks, struct bc_place *place);

/* Give back blocks that were allocated or taken. A double free is a bug and is refused (WARN). */
void bc_frames_release(struct bc_frames *frames, const struct bc_place *place);

/**
 * bc_frames_take - mark given blocks used, as found at recovery
 * Return: 0, -EEXIST if one is used already, -ERANGE if outside.
 */
int bc_frames_take(struct bc_frames *frames, const struct bc_place *place);

/* Bytes of memory in use. */
/* Has this frame a run of so many free blocks? */
bool bc_frames_fit(const struct bc_frames *frames, u32 frame, u32 blocks);

size_t bc_frames_memory(const struct bc_frames *frames);

#endif /* BC_FRAME_H */
