/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pins: versions that a tier must not evict. In memory only: an unload of the
 * module forgets them; a detach does not, the next tier takes them up.
 *
 * An index entry carries the pin as a flag, so that eviction need not look here.
 * The table says which entries get it when they come.
 */
#ifndef BC_PIN_H
#define BC_PIN_H

#include <linux/list.h>

#include "key.h"

struct bc_fetched;
struct bc_place;
struct bc_tier;

/**
 * struct bc_pin - a pinned version; nothing but lists changes
 * @hash: by key
 * @node: in order of ids
 * @id: never used twice while loaded
 * @key: version
 * @volume: its volume
 * @size: its bytes
 * @source: volume, in words
 * @path: name in the source
 */
struct bc_pin {
	struct hlist_node hash;
	struct list_head node;
	unsigned long id;
	struct bc_key key;
	struct bc_key volume;
	u64 size;
	const char *source;
	const char *path;
};

/**
 * bc_pins_insert - bc_index_insert_part(), with the flags that this chunk of this version has
 * @tier: whose index
 * @fetched: the chunk, and its valid blocks
 * @place: room for all of its blocks
 *
 * Process context. Return: as bc_index_insert_part().
 */
int bc_pins_insert(struct bc_tier *tier, const struct bc_fetched *fetched,
		   const struct bc_place *place);

/* May so many more blocks of a tier be pinned? Tiers may be fewer than when the pins were made. */
bool bc_pins_room(struct bc_tier *tier, u32 blocks);

/* Is this version pinned? Process context. */
bool bc_pins_have(const struct bc_key *key);

/* A tier was attached: pin what is on it. May sleep. */
void bc_pins_apply(void);

/**
 * bc_pins_next - a copy of a pin, in order of ids
 * @after: id of the last one seen, 0 to begin
 *
 * Process context. Return: what the caller frees with kfree(), NULL behind the last, or -ENOMEM,
 * -EINTR.
 */
struct bc_pin *bc_pins_next(unsigned long after);

int bc_pins_init(void);
void bc_pins_exit(void);

#endif /* BC_PIN_H */
