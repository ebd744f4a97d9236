/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which chunks a tier holds and where: a hash table in arrays of fixed size,
 * allocated at attach. One entry is one contiguous extent of one chunk.
 *
 * Locking: a striped spinlock per group of buckets covers chain links, flags and
 * the birth and death of entries; it is taken in process context only. Pins are
 * atomic; an entry is reused at zero pins only. A reader pins under the stripe
 * lock and unpins from any context, without a lock. The free list has a lock of
 * its own, taken with interrupts off because bc_index_unpin_last() frees; it
 * never nests with a stripe.
 *
 * An entry is free, live (hashed, owns its blocks), or dead: unhashed while
 * pinned. The last unpin leaves a dead entry with its blocks behind for whoever
 * claims it first: bc_index_unpin_last() at once, else the evictor.
 */
#ifndef BC_INDEX_H
#define BC_INDEX_H

#include "pure.h"

#define BC_INDEX_NONE	U32_MAX
#define BC_INDEX_STRIPES 1024

#define BC_PINS_DEAD		(1 << 30)	/* in bc_entry.pins, beside the count */

/* Entry flags, changed under the stripe lock. */
#define BC_ENTRY_LIVE		(1U << 0)
#define BC_ENTRY_PINNED		(1U << 2)	/* by the user: never evicted */

struct bc_entry {
	struct bc_key key;
	u32 chunk;
	u32 next;		/* bucket chain or free list, or BC_INDEX_NONE */
	u32 frame;
	atomic_t pins;		/* bios in flight, and BC_PINS_DEAD */
	u16 verified;		/* bit per block of the extent: checksum seen good since attach */
	u16 tail;		/* valid bytes of the last block - 1 */
	u8 slot;		/* first block in the frame */
	u8 count;		/* 1..BC_FRAME_BLOCKS; the extent begins at the chunk's block 0 */
	u8 flags;
	u8 referenced;		/* clock bit: a byte of its own, since it is changed without lock */
};

static_assert(sizeof(struct bc_entry) <= 40, "entry + bucket head fit 48 bytes");

struct bc_index {
	u32 entries;		/* capacity */
	u32 used;		/* not on the free list; under free_lock */
	u32 bucket_mask;
	u32 free_head;		/* under free_lock */
	u32 clock_hand;		/* the evictor's; under the tier's allocation lock */
	atomic_t pinned_blocks;	/* of entries with BC_ENTRY_PINNED */
	u32 *buckets;
	struct bc_entry *entry;
	spinlock_t free_lock;	/* free list; interrupts off */
	spinlock_t *stripes;	/* bucket % BC_INDEX_STRIPES: its chain, its entries' flags */
};

/* What a lookup tells about a pinned entry. */
struct bc_hit {
	u32 id;
	struct bc_place place;
	u32 bytes;		/* valid bytes of the chunk */
	u16 verified;
};

/**
 * bc_index_init - empty index
 * @index: to initialise
 * @entries: capacity, below BC_INDEX_NONE
 *
 * At most 48 bytes per entry, buckets included, and the stripes. May sleep.
 * Return: 0, -ENOMEM, -EINVAL.
 */
int bc_index_init(struct bc_index *index, u64 entries);
void bc_index_free(struct bc_index *index);

/**
 * bc_index_lookup - find a chunk, pin it, mark it referenced
 * @index: index
 * @key: object version
 * @chunk: number of the chunk in the object
 * @hit: out, valid until bc_index_unpin()
 *
 * Process context, as all that follow but the unpins and set_verified.
 * Return: true if found.
 */
bool bc_index_lookup(struct bc_index *index, const struct bc_key *key, u32 chunk,
		     struct bc_hit *hit);

/* Like lookup, without pin and without touching the clock bit. */
bool bc_index_contains(struct bc_index *index, const struct bc_key *key, u32 chunk, u32 *bytes);

/*
 * Drop a pin. Any context, lock-free. If it was the last of a dead entry, the
 * evictor will find the blocks.
 */
void bc_index_unpin(struct bc_index *index, u32 id);

/*
 * The blocks of @mask (bit per block of the extent) were seen good. The caller holds a pin. Any
 * context.
 */
void bc_index_set_verified(struct bc_index *index, u32 id, u16 mask);

/**
 * bc_index_insert - add a chunk
 * @index: index
 * @key: object version
 * @chunk: number of the chunk
 * @place: its blocks, owned by the entry from now on
 * @bytes: valid bytes: ((count - 1) * BC_BLOCK_SIZE, count * BC_BLOCK_SIZE]
 * @verified: blocks whose bytes were in memory when written
 * @flags: 0 or BC_ENTRY_PINNED
 *
 * Return: 0, -EEXIST if the chunk is there already, -ENOSPC if no entry is free (evict first),
 * -EINVAL for nonsense. On error the place stays the caller's.
 */
int bc_index_insert(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    const struct bc_place *place, u32 bytes, u16 verified, u8 flags);

/**
 * bc_index_remove - take a chunk out
 * @place: out: its blocks, owned by the caller from now on
 *
 * Return: 0, -ENOENT, or -EBUSY while pinned by readers or by the user.
 */
int bc_index_remove(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    struct bc_place *place);

/**
 * bc_index_remove_pinned - take out an entry that the caller holds a pin of
 * @id: of the hit
 * @place: out, if 0 is returned: its blocks, owned by the caller from now on
 *
 * For a block whose checksum failed; a user's pin does not keep it. Whatever is returned, nobody
 * finds the entry any more and the caller's pin is consumed.
 * Return: 0, or -EBUSY if others still read it: then its blocks come back through the last of
 * their bc_index_unpin_last(), or else through the evictor.
 */
int bc_index_remove_pinned(struct bc_index *index, u32 id, struct bc_place *place);

/**
 * bc_index_unpin_last - drop a pin and learn whether a dead entry became free
 * @place: out, if true: blocks of the dead entry, owned by the caller from now on
 *
 * Any context; who cannot give back blocks where it runs uses bc_index_unpin().
 * Return: true if this was the last pin of an entry that was removed meanwhile.
 */
bool bc_index_unpin_last(struct bc_index *index, u32 id, struct bc_place *place);

/**
 * bc_index_evict - take out an entry that nobody needs, for evict.c
 * @id: any below @index->entries
 * @place: out, if true: its blocks, owned by the caller from now on
 *
 * Return: true if it was dead with no pin left, or live, not pinned by anybody and not referenced.
 */
bool bc_index_evict(struct bc_index *index, u32 id, struct bc_place *place);

/* Set or clear BC_ENTRY_PINNED. Return: blocks affected (0 if not there or unchanged). */
u32 bc_index_pin_chunk(struct bc_index *index, const struct bc_key *key, u32 chunk, bool pin);

size_t bc_index_memory(const struct bc_index *index);

#endif /* BC_INDEX_H */
