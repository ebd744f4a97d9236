// SPDX-License-Identifier: GPL-2.0-or-later
/* Time of a lookup, see lookup.h. */
#include <err.h>
#include <time.h>

#include "evict.h"
#include "frame.h"
#include "load.h"
#include "lookup.h"

#define LOOKUPS		4000000U
#define ROUNDS		5
#define OBJECT_CHUNKS	1000U
#define GOAL_NS		150
#define GOAL_BYTES	48

static struct bc_key key_of(uint32_t object)
{
	uint64_t state = object * 0x9e3779b97f4a7c15ULL + 1;
	struct bc_key key;
	uint32_t i;

	for (i = 0; i < BC_KEY_SIZE; i++)
		key.bytes[i] = load_random(&state, 256);
	return key;
}

static void fill(struct bc_index *index, uint32_t entries)
{
	struct bc_place place = { .count = BC_FRAME_BLOCKS };
	uint32_t left = entries, object, chunk;

	/* Groups fill unevenly: what does not fit is left out, as a tier would evict it. */
	for (object = 0; left; object++) {
		struct bc_key key = key_of(object);

		for (chunk = 0; chunk < OBJECT_CHUNKS && left; chunk++, left--) {
			place.frame = entries - left;
			bc_index_insert(index, &key, chunk, &place, BC_CHUNK_SIZE, 0, 0);
		}
	}
}

/* Of this thread on a processor: others may be using the machine. */
static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Nanoseconds of a lookup with its unpin; the numbers to look up are made before. */
static double time_lookups(struct bc_index *index, uint32_t objects, uint64_t *state, double *hits)
{
	static struct { struct bc_key key; uint32_t chunk; } name[LOOKUPS];
	uint32_t i, found = 0;
	struct bc_hit hit;
	double start;

	for (i = 0; i < LOOKUPS; i++) {
		name[i].key = key_of(load_random(state, objects));
		name[i].chunk = load_random(state, OBJECT_CHUNKS);
	}
	start = seconds();
	for (i = 0; i < LOOKUPS; i++) {
		if (!bc_index_lookup(index, &name[i].key, name[i].chunk, &hit))
			continue;
		bc_index_unpin(index, hit.id);
		found++;
	}
	*hits = 100.0 * found / LOOKUPS;
	return (seconds() - start) / LOOKUPS * 1e9;
}

/* Memory of which lines of 64 bytes are loaded at random. */
struct memory {
	uint64_t *words, lines;
};

static struct memory memory_of(uint64_t bytes)
{
	struct memory memory = { bc_table_alloc(bytes / 64 + 1, 64), bytes / 64 + 1 };

	if (!memory.words)
		errx(1, "no memory");
	return memory;
}

/* @seen: what was loaded before, without which the processor does not know the address. */
static uint64_t load_line(const struct memory *memory, uint64_t *state, uint64_t seen)
{
	volatile uint64_t *at = memory->words + 8 * load_random(state, memory->lines) + (seen & 7);

	return *at;
}

/*
 * What this machine asks for a load that waits for the one before, from memory as large as the
 * entries; and for two, the first as from the lines: no lookup by itself is faster than that.
 */
static void time_loads(uint64_t entries, double *one, double *two)
{
	struct memory lines = memory_of(entries / BC_INDEX_LINE_ENTRIES * sizeof(struct bc_index_line));
	struct memory entry = memory_of(entries * sizeof(struct bc_entry));
	uint64_t state = 0x5eed0005, seen = 0;
	double start = seconds();
	uint32_t i;

	for (i = 0; i < LOOKUPS; i++)
		seen = load_line(&entry, &state, seen);
	*one = (seconds() - start) / LOOKUPS * 1e9;
	start = seconds();
	for (i = 0; i < LOOKUPS; i++) {
		seen = load_line(&lines, &state, seen);
		seen = load_line(&entry, &state, seen);
	}
	*two = (seconds() - start) / LOOKUPS * 1e9;
	kvfree(lines.words);
	kvfree(entry.words);
}

static double bytes_of(uint32_t entries, uint32_t frames_count)
{
	struct bc_evict_tuning tuning = BC_EVICT_TUNING_DEFAULT;
	struct bc_frames frames;
	struct bc_index index;
	struct bc_evict evict;
	double bytes;

	if (bc_index_init(&index, entries, bc_evict_groups(entries)) ||
	    bc_evict_init(&evict, &index, frames_count, &tuning) ||
	    bc_frames_init(&frames, frames_count))
		errx(1, "no memory for %u entries", entries);
	bytes = (double)(bc_index_memory(&index) + bc_evict_memory(&evict) +
			 bc_frames_memory(&frames)) / entries;
	bc_evict_free(&evict);
	bc_frames_free(&frames);
	bc_index_free(&index);
	return bytes;
}

int lookup_run(uint32_t entries, FILE *lines)
{
	double best = 1e9, worst = 0, hits = 0, ns, one, two, load, loads;
	uint64_t state = 0x5eed0003;
	struct bc_index index;
	uint32_t i;

	one = bytes_of(entries, entries);
	two = bytes_of(entries, entries / 2);
	if (bc_index_init(&index, entries, bc_evict_groups(entries)))
		errx(1, "no memory for %u entries", entries);
	fill(&index, entries);
	for (i = 0; i < ROUNDS; i++) {
		ns = time_lookups(&index, entries / OBJECT_CHUNKS, &state, &hits);
		best = ns < best ? ns : best;
		worst = ns > worst ? ns : worst;
	}
	bc_index_free(&index);
	time_loads(entries, &load, &loads);
	printf("\nLookup, pin and unpin of a random chunk among %u: %.0f ns (best of %d; worst %.0f;\n",
	       entries, best, ROUNDS, worst);
	printf("%.1f %% were there). Goal %d: %s. A lookup is two loads, line and entry, one\n"
	       "after the other. From as much memory, by themselves: %.0f ns; one: %.0f ns.\n",
	       hits, GOAL_NS, best <= GOAL_NS ? "yes" : "NO", loads, load);
	printf("Memory of index, eviction and free space: %.2f bytes per entry with one entry per\n"
	       "frame, %.2f with two. Goal %d: %s\n", one, two, GOAL_BYTES,
	       one <= GOAL_BYTES ? "yes" : "NO");
	if (lines) {
		fprintf(lines, "{\"bench\": \"replay\", \"metric\": \"lookup\", \"entries\": %u, ",
			entries);
		fprintf(lines, "\"ns\": %.1f, \"ns_worst\": %.1f, \"goal_ns\": %d, \"load_ns\": %.1f, \"loads_ns\": %.1f, ",
			best, worst, GOAL_NS, load, loads);
		fprintf(lines, "\"bytes_per_entry\": %.2f, \"goal_bytes\": %d}\n", one, GOAL_BYTES);
	}
	return one <= GOAL_BYTES;
}
