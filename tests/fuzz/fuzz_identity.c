/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/identity.c */
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

static void store(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = make(v, p, input);
	struct known *k = &known[v][p];
	struct bc_identity got;
	bool found;

	need(!bc_identity_store(&identity));
	found = bc_identity_find(&identity.volume, &identity.path, &got);
	if (k->is && identity.resolved_ns < k->identity.resolved_ns) {
		need(found && got.resolved_ns == k->identity.resolved_ns &&
		     got.size == k->identity.size);
		return;
	}
	/* A bucket remembers when something in it was forgotten, of all its paths. */
	need(found || !k->is);
	if (found)
		need(got.size == identity.size && got.resolved_ns == identity.resolved_ns &&
		     got.flags == identity.flags);
	k->is = found;
	k->identity = identity;
}

static void mark(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = make(v, p, input), got;
	struct known *k = &known[v][p];

	identity.flags = BC_IDENTITY_WRITTEN;
	identity.written_at = take8(input);
	need(!bc_identity_mark(&identity));
	need(bc_identity_find(&identity.volume, &identity.path, &got));
	need(got.flags & BC_IDENTITY_WRITTEN && got.written_at >= identity.written_at);
	need(got.resolved_ns >= identity.resolved_ns);
	if (k->is)
		need(got.size == k->identity.size &&
		     got.resolved_ns >= k->identity.resolved_ns);
	k->is = true;
	k->identity = got;
}

static void forget_asked(u32 v, u32 p, struct input *input)
{
	struct bc_key volume = volume_of(v), path = path_of(p);
	s64 asked = 1 + take8(input);
	struct known *k = &known[v][p];
	struct bc_identity got;

	bc_identity_forget_asked(&volume, &path, asked);
	if (k->is && k->identity.resolved_ns <= asked)
		k->is = false;
	need(bc_identity_find(&volume, &path, &got) == k->is);
}

static void load(u32 v, u32 p, struct input *input)
{
	struct bc_identity identity = make(v, p, input), got;
	struct known *k = &known[v][p];

	need(!bc_identity_insert_loaded(&identity));
	if (bc_identity_find(&identity.volume, &identity.path, &got)) {
		if (k->is)
			need(got.resolved_ns == k->identity.resolved_ns);
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
	need(!bc_identity_marks_lost());
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
		case 2:
			store(v, p, &input);
			break;
		case 3:
		case 4:
			mark(v, p, &input);
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
