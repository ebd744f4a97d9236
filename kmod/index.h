/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which chunks a tier holds and where: a hash table in arrays of fixed size,
 * allocated at attach. One entry is one contiguous extent of one chunk.
 *
 * Entries belong to groups, a chunk's hash says to which; a group has its own part
 * of the array, its own small hash table, free list and eviction (evict.h).
 *
 * An extent has room for its whole chunk, but may hold only some of its blocks yet.
 *
 * Locking: a group's lock, one of a striped array, covers its table and the state
 * and valid blocks of its entries; it is taken in process context only. Pins are
 * atomic; an entry is reused at zero pins only. A reader pins under that
 * lock and unpins from any context, without a lock. The free list has a lock of
 * its own, taken with interrupts off because bc_index_unpin_last() frees; it
 * never nests with another.
 *
 * An entry is free, live (hashed, owns its blocks), or dead: unhashed while
 * pinned. The last unpin leaves a dead entry with its blocks behind for whoever
 * claims it first: bc_index_unpin_last() at once, else the evictor.
 */
#ifndef BC_INDEX_H
#define BC_INDEX_H

#include "key.h"
#include "pure.h"

#define BC_INDEX_NONE	U32_MAX
#define BC_INDEX_STRIPES 1024

#define BC_PINS_DEAD		(1 << 30)	/* in bc_entry.pins, beside the count */

/* Entry state, changed under the group's lock. */
#define BC_ENTRY_LIVE		(1U << 0)
#define BC_ENTRY_PINNED		(1U << 1)	/* by the user: never evicted */
#define BC_ENTRY_MAIN		(1U << 2)	/* proved its worth; else on probation */
#define BC_ENTRY_DEMOTED	(1U << 3)	/* on probation, and first to go */
#define BC_ENTRY_USE		(1U << 4)	/* uses since the hand passed: 0..3 of these */
#define BC_ENTRY_USES		(3 * BC_ENTRY_USE)
#define BC_ENTRY_PARTIAL	(1U << 6)	/* some blocks are not valid: index->valid tells */
#define BC_ENTRY_OPEN		(1U << 7)	/* as recovered: its chunk may have more blocks */

struct bc_entry {
	struct bc_name name;
	u32 frame;		/* of a free entry: the next free one, or BC_INDEX_NONE */
	atomic_t pins;		/* bios in flight, and BC_PINS_DEAD */
	u16 verified;		/* bit per block of the extent: checksum seen good since attach */
	u16 tail;		/* valid bytes of the last block - 1 */
	u8 blocks;		/* first in the frame << 4 | number - 1; valid or not */
	u8 state;
	u8 tick;		/* when a use was counted last */
	u8 unused;
};

/* The first @count blocks of a chunk, as a mask. */
static inline u16 bc_blocks_mask(u32 count)
{
	return (1U << count) - 1;
}

/* All blocks of a chunk of so many bytes. */
static inline u16 bc_blocks_of(u32 bytes)
{
	return bc_blocks_mask(DIV_ROUND_UP(bytes, BC_BLOCK_SIZE));
}

/* Bytes of some blocks of a chunk of @bytes bytes. */
static inline u32 bc_blocks_bytes(u16 blocks, u32 bytes)
{
	u32 count = DIV_ROUND_UP(bytes, BC_BLOCK_SIZE);
	u32 sum = hweight16(blocks) * BC_BLOCK_SIZE;

	return count && blocks >> (count - 1) & 1 ? sum - (count * BC_BLOCK_SIZE - bytes) : sum;
}

/*
 * A line of a group's table: 15 slots of 16 bits, each with the number of an entry in
 * its group beneath a tag of the hash, or 0. What finds its line full goes to the next
 * one that is not; the line knows how many did.
 */
#define BC_INDEX_NUMBER_BITS	9
#define BC_INDEX_GROUP_MAX	(1U << BC_INDEX_NUMBER_BITS)
#define BC_INDEX_LINE_SLOTS	15
#define BC_INDEX_LINE_ENTRIES	9	/* on average, when all entries are in use */

/* Slot i in bits 16 * (i / 4) and up of word i % 4; what would be the last counts who passed. */
struct bc_index_line {
	u64 word[4];
};

/* An entry, its valid blocks and its part of a line, rounded up. */
#define BC_INDEX_ENTRY_BYTES	(sizeof(struct bc_entry) + sizeof(u16) + \
				 DIV_ROUND_UP(sizeof(struct bc_index_line), BC_INDEX_LINE_ENTRIES))

static_assert(sizeof(struct bc_entry) == 32, "two entries per cache line");
static_assert(sizeof(struct bc_index_line) == 32, "two lines per cache line");

/* Counts of blocks of live entries; they follow the entries' states. */
struct bc_index_group {
	u32 free_head;		/* under free_lock */
	atomic_t blocks;
	atomic_t probation;	/* part of blocks */
	atomic_t demoted;	/* part of probation */
};

struct bc_index {
	u32 entries;		/* capacity */
	u32 used;		/* not on a free list; under free_lock */
	u32 group_bits;
	u32 group_entries;	/* of each group */
	u32 group_lines;
	u8 tick;		/* coarse time: the owner's; see bc_index_lookup() */
	atomic64_t pinned_blocks; /* of entries with BC_ENTRY_PINNED */
	struct bc_entry *entry;
	u16 *valid;		/* per entry: bit per block; of those with BC_ENTRY_PARTIAL */
	struct bc_index_line *line;
	struct bc_index_group *group;
	spinlock_t free_lock;	/* free lists; interrupts off */
	spinlock_t *stripes;	/* group % BC_INDEX_STRIPES: its table, its entries' state */
};

/* What a lookup tells about a pinned entry. */
struct bc_hit {
	u32 id;
	struct bc_place place;
	u32 bytes;		/* of the chunk, up to the end of the extent */
	u16 valid;		/* bit per block: it holds the chunk's bytes */
	u16 verified;
	bool open;		/* the chunk may have more blocks than the extent */
};

/**
 * bc_index_init - empty index
 * @index: to initialise
 * @entries: capacity, below BC_INDEX_NONE; rounded down to a multiple of @groups
 * @groups: a power of two; at most @entries, at least @entries / BC_INDEX_GROUP_MAX
 *
 * BC_INDEX_ENTRY_BYTES per entry, and the groups and stripes. May sleep.
 * Return: 0, -ENOMEM, -EINVAL.
 */
int bc_index_init(struct bc_index *index, u64 entries, u32 groups);
void bc_index_free(struct bc_index *index);

/**
 * bc_index_lookup - find a chunk, pin it, count its use
 * @index: index
 * @key: object version
 * @chunk: number of the chunk in the object
 * @hit: out, valid until bc_index_unpin()
 *
 * One pass over a chunk may be many reads: those that come before @index->tick has moved on by two
 * count as one use. Nothing is written for a use that is not counted.
 *
 * Process context, as all that follow but the unpins and set_verified.
 * Return: true if found.
 */
bool bc_index_lookup(struct bc_index *index, const struct bc_key *key, u32 chunk,
		     struct bc_hit *hit);

/* Like lookup, without pin, and no use of the chunk: @hit may be outdated on return. */
bool bc_index_peek(struct bc_index *index, const struct bc_key *key, u32 chunk,
		   struct bc_hit *hit);

/* Is there an entry of the chunk? In @bytes (may be NULL): up to the end of its extent. */
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
 * @flags: of BC_ENTRY_PINNED, BC_ENTRY_MAIN
 *
 * Return: 0, -EEXIST if the chunk is there already, -ENOSPC if its group has no free entry (evict
 * first), -EINVAL for nonsense. On error the place stays the caller's.
 */
int bc_index_insert(struct bc_index *index, const struct bc_key *key, u32 chunk,
		    const struct bc_place *place, u32 bytes, u16 verified, u8 flags);

/**
 * bc_index_insert_part - bc_index_insert() of a chunk of which some blocks are not there yet
 * @valid: blocks that are; not 0
 * @flags: of BC_ENTRY_PINNED, BC_ENTRY_MAIN, BC_ENTRY_OPEN; the last only if the last block of the
 *	extent is a whole one
 *
 * The extent has room for all blocks of the chunk, or, with BC_ENTRY_OPEN, for those up to the
 * last valid one.
 */
int bc_index_insert_part(struct bc_index *index, const struct bc_key *key, u32 chunk,
			 const struct bc_place *place, u32 bytes, u16 valid, u8 flags);

/**
 * bc_index_add_blocks - more blocks of an extent are valid now
 * @id: of an entry that the caller holds a pin of
 * @blocks: their bytes and descriptors are there
 *
 * Return: false if nobody finds the entry any more.
 */
bool bc_index_add_blocks(struct bc_index *index, u32 id, u16 blocks);

/**
 * bc_index_extend - an extent that was recovered without its end gets it
 * @id: of an entry with BC_ENTRY_OPEN that the caller holds a pin of
 * @count: blocks of the chunk; those that are new belong to the entry from now on
 * @bytes: of the chunk
 *
 * Return: false if nobody finds the entry any more, or it was extended already.
 */
bool bc_index_extend(struct bc_index *index, u32 id, u32 count, u32 bytes);

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

/* Group of a chunk, by the hash of its name. */
static inline u32 bc_index_group(const struct bc_index *index, u64 hash)
{
	return index->group_bits ? hash >> (64 - index->group_bits) : 0;
}

static inline u32 bc_index_group_start(const struct bc_index *index, u32 group)
{
	return group * index->group_entries;
}

/* Has the group a free entry? Maybe not any more on return. */
static inline bool bc_index_group_full(const struct bc_index *index, u32 group)
{
	return READ_ONCE(index->group[group].free_head) == BC_INDEX_NONE;
}

enum bc_visit {
	BC_VISIT_NONE,		/* free, held by a reader, or pinned by the user */
	BC_VISIT_SPARED,	/* it was used: that is remembered one time less from now on */
	BC_VISIT_EVICTED,
};

/* Whose blocks an evicted entry leaves behind. */
struct bc_victim {
	struct bc_place place;	/* owned by the caller from now on */
	u64 hash;
	bool known;		/* live until now: else it was dead, and nobody's */
	bool main;
	bool demoted;
};

/**
 * bc_index_visit - the hand of the evictor passes an entry
 * @id: any below @index->entries
 * @force: evict it even if it was used
 * @victim: out, if evicted
 *
 * An entry on probation that was used becomes a main one; a main one that was used loses one use.
 */
enum bc_visit bc_index_visit(struct bc_index *index, u32 id, bool force, struct bc_victim *victim);

/*
 * Let a chunk be among the first to go, until it is used again. Return: blocks affected. What the
 * user pinned is not affected.
 */
u32 bc_index_demote(struct bc_index *index, const struct bc_key *key, u32 chunk);

/* Set or clear BC_ENTRY_PINNED. Return: blocks affected (0 if not there or unchanged). */
u32 bc_index_pin_chunk(struct bc_index *index, const struct bc_key *key, u32 chunk, bool pin);

size_t bc_index_memory(const struct bc_index *index);

#endif /* BC_INDEX_H */
