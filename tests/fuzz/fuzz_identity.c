/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/identity.c kmod/identity_loaded.c kmod/identity_marks.c kmod/identity_shown.c kmod/identity_disk.c */
/* flags: -max_len=500 */
/*
 * The table of identities against a list: what was asked for last is what is known,
 * nothing is known that was forgotten since, and what was written here is not lost.
 */
#include "fuzz.h"
#include "identity.h"
#include "key.h"

#define PATHS		12U
#define MAX		64U		/* of the table: more than there are, none is evicted */

static struct known {
	bool is;
	struct bc_identity identity;
	bool loaded;		/* by a tier, and nobody has asked since */
} known[2][PATHS];

static struct bc_key volume_of(u32 v)
{
	return (struct bc_key){ { 0x10 + v } };
}

static struct bc_key path_of(u32 p)
{
	return (struct bc_key){ { p % 4, 1, p } };	/* some share a bucket */
}

static struct bc_identity make(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = {
		.volume = volume_of(v), .path = path_of(p), .kind = BC_IDENTITY_FILE,
		.etag = "0x1", .etag_length = 3, .lower.mode = 0100644,
		.size = take8(input), .resolved_ns = 1 + take8(input),
	};

	return identity;
}

static bool marked(const struct known *k)
{
	return k->is && k->identity.flags & BC_IDENTITY_WRITTEN;
}

/* What is found is what the model says; of a new path perhaps nothing. */
static void check_one(const struct bc_identity *key, struct known *k, bool fresh)
{
	struct bc_identity got;
	bool found = bc_identity_find(&key->volume, &key->path, &got);

	/* A bucket remembers when something in it was forgotten, of all its paths. */
	if (fresh && !found)
		k->is = false;
	need(found == k->is);
	if (found)
		need(got.size == k->identity.size && got.resolved_ns == k->identity.resolved_ns &&
		     got.flags == k->identity.flags && got.mark_ns == k->identity.mark_ns &&
		     got.written_at == k->identity.written_at);
}

/* An answer of the store; some have seen the mark that is there. */
static void store(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = make(v, p, input);
	struct known *k = &known[v][p];
	bool fresh = !k->is;

	identity.mark_ns = take8(input) & 1 ? k->identity.mark_ns : 0;
	need(!bc_identity_store(&identity));
	if (fresh || (identity.resolved_ns >= k->identity.resolved_ns &&
		      (!marked(k) || identity.mark_ns == k->identity.mark_ns))) {
		k->is = true;
		k->loaded = false;
		k->identity = identity;
		k->identity.mark_ns = 0;
	}
	check_one(&identity, k, fresh);
}

static void rename_to(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = make(v, p, input);
	struct known *k = &known[v][p];

	identity.flags = BC_IDENTITY_WRITTEN | BC_IDENTITY_MOVED;
	identity.written_at = 1 + take8(input);
	identity.mark_ns = 1 + take8(input);
	need(!bc_identity_store(&identity));
	k->is = true;
	k->loaded = false;
	k->identity = identity;
	check_one(&identity, k, false);
}

static void mark(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = make(v, p, input);
	struct known *k = &known[v][p];
	struct bc_identity *was = &k->identity;

	identity.flags = BC_IDENTITY_WRITTEN;
	identity.written_at = take8(input);
	identity.mark_ns = 1 + take8(input);
	need(!bc_identity_mark(&identity));
	if (k->is) {
		was->written_at = marked(k) ? max(was->written_at, identity.written_at) :
					      identity.written_at;
		was->flags |= BC_IDENTITY_WRITTEN;
		if (identity.written_at)
			was->flags &= ~BC_IDENTITY_MOVED;
		was->mark_ns = max(was->mark_ns + 1, identity.mark_ns);
	} else {
		*was = identity;
	}
	k->is = true;
	k->loaded = false;
	check_one(&identity, k, false);
}

/* Its writers wrote nothing, says who may have looked at an older mark. */
static void unmark(u32 v, u32 p, struct input *input)
{
	struct known *k = &known[v][p];
	struct bc_identity judged = k->identity;

	judged.volume = volume_of(v);
	judged.path = path_of(p);
	judged.mark_ns -= take8(input) & 1;
	bc_identity_unmark(&judged);
	if (marked(k) && judged.mark_ns == k->identity.mark_ns) {
		k->identity.flags &= ~BC_IDENTITY_WRITTEN;
		k->identity.mark_ns = 0;
	}
	check_one(&judged, k, false);
}

static void forget_asked(u32 v, u32 p, struct input *input)
{
	struct bc_identity key = { .volume = volume_of(v), .path = path_of(p) };
	struct known *k = &known[v][p];
	s64 asked = 1 + take8(input);

	bc_identity_forget_asked(&key.volume, &key.path, asked);
	if (!marked(k) && k->identity.resolved_ns <= asked)
		k->is = false;
	check_one(&key, k, false);
}

static void load(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = make(v, p, input), got;
	struct known *k = &known[v][p];

	need(!bc_identity_insert_loaded(&identity));
	if (bc_identity_find(&identity.volume, &identity.path, &got)) {
		/* Of what two tiers knew the later counts; whatever came since counts more. */
		if (k->is && k->loaded)
			need(got.resolved_ns == max(k->identity.resolved_ns, identity.resolved_ns));
		else if (k->is)
			need(got.resolved_ns == k->identity.resolved_ns);
		else
			k->loaded = true;
		k->identity = got;
		k->is = true;
	} else {
		need(!k->is);
	}
}

static void forget_volume(u32 v)
{
	struct bc_key volume = volume_of(v);
	u32 p;

	bc_identity_forget_volume(&volume);
	for (p = 0; p < PATHS; p++)
		if (known[v][p].is && !(known[v][p].identity.flags & BC_IDENTITY_WRITTEN))
			known[v][p].is = false;
}

static int count_one(const struct bc_identity *identity, void *arg)
{
	u32 v = identity->volume.bytes[0] - 0x10, p = identity->path.bytes[2];

	need(v < 2 && p < PATHS && known[v][p].is);
	need(identity->size == known[v][p].identity.size);
	(*(u32 *)arg)++;
	return 0;
}

static void check_all(void)
{
	struct bc_identity got;
	u32 v, p, total = 0, visited = 0;

	for (v = 0; v < 2; v++) {
		for (p = 0; p < PATHS; p++) {
			struct bc_key volume = volume_of(v), path = path_of(p);

			need(bc_identity_find(&volume, &path, &got) == known[v][p].is);
			total += known[v][p].is;
		}
	}
	need(bc_identity_count() == total);
	need(!bc_identity_for_each(count_one, &visited) && visited == total);
	need(!bc_identity_lost(BC_IDENTITY_FILE).written_at && !bc_identity_lost(BC_IDENTITY_DIR).written_at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	u32 steps;

	need(!bc_identity_init(MAX));
	memset(known, 0, sizeof(known));
	for (steps = 0; input.left && steps < 200; steps++) {
		u8 what = take8(&input), v = what >> 3 & 1, p = (what >> 4) % PATHS;

		switch (what & 7) {
		case 0:
		case 1:
			store(v, p, &input);
			break;
		case 2:
			rename_to(v, p, &input);
			break;
		case 3:
			mark(v, p, &input);
			break;
		case 4:
			unmark(v, p, &input);
			break;
		case 5:
			forget_asked(v, p, &input);
			break;
		case 6:
			load(v, p, &input);
			break;
		case 7:
			if (p == 7)
				forget_volume(v);
			break;
		}
	}
	check_all();
	bc_identity_exit();
	need(!bc_warnings);
	return 0;
}
