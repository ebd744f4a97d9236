/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Identities: what is known of a path in a volume, so that it can be opened
 * without asking the store. Keyed by (volume, path hash), bounded, and outliving
 * inodes and mounts. A tier keeps them over a restart.
 *
 * Times of day are kept as such; the age of what the store said is counted by
 * the boot clock, which no one sets.
 */
#ifndef BC_IDENTITY_H
#define BC_IDENTITY_H

#include "pure.h"

/* The version was resolved while the lower still showed an older one. */
#define BC_IDENTITY_LOWER_BEHIND	0x1U
/* Written through this node, or renamed to. Is not on a tier. */
#define BC_IDENTITY_WRITTEN		0x2U
/* With it: the version is that of the file that was renamed to the path. */
#define BC_IDENTITY_MOVED		0x4U
#define BC_IDENTITY_FLAGS		BC_IDENTITY_LOWER_BEHIND

/* What the lower said of a file or directory. */
struct bc_lower_attr {
	u64 ino;
	u64 size;
	s64 mtime, ctime;
	u32 mtime_nsec, ctime_nsec;
	u32 mode, uid, gid;
};

/**
 * struct bc_identity - what is known of one path
 * @volume: volume id
 * @path: path hash, keyed by the volume id
 * @key: of the version; zero for directories
 * @etag: strong ETag, zero terminated
 * @etag_length: 1..BC_ETAG_MAX; 0 for directories
 * @kind: BC_IDENTITY_FILE or BC_IDENTITY_DIR
 * @flags: of BC_IDENTITY_FLAGS
 * @size: of the version, as the store says
 * @last_modified: seconds since the epoch, as the store says
 * @resolved_ns: boot clock when the store was asked; may be negative, before this boot
 * @mark_ns: of BC_IDENTITY_WRITTEN: boot clock when it was marked last. What is stored in place
 *	of a mark tells by this which mark was judged; 0 = none.
 * @lower: what the lower showed when the version was recorded; mode, uid, gid and ino: last
 * @view: which lower showed mode, uid and gid, and below which incarnation of the directory, see
 *	known.c; 0 = they are not known, or not those of the version
 * @seen_ns: boot clock before the lower was asked for them; may be negative; 0 = not known,
 *	nor since when; S64_MIN = nothing is known of them, not even that
 * @nonce: of directories: a number of this incarnation, which those below are bound to; 0 = none
 * @moved: what the lower showed later, the version being the same; not kept on a tier
 * @moved_ns: boot clock when it first showed that; 0 = it did not move
 * @written_at: of BC_IDENTITY_WRITTEN: seconds since the epoch of the last write or rename;
 *	0 = none since it was opened for writing
 * @written_from: with @written_at, when that began: a rename takes a while in lowers that copy
 */
struct bc_identity {
	struct bc_key volume, path, key;
	char etag[BC_ETAG_MAX + 1];
	u8 etag_length;
	u8 kind;
	u16 flags;
	u64 size;
	s64 last_modified;
	s64 resolved_ns;
	s64 mark_ns;
	struct bc_lower_attr lower;
	u32 view;
	u32 nonce;
	s64 seen_ns;
	struct bc_lower_attr moved;
	s64 moved_ns;
	s64 written_at;
	s64 written_from;
};

/**
 * struct bc_shown - what a lower has shown at a path
 * @attr: what it showed
 * @view: which lower, as bc_identity.view; 0 = one that is not to be believed
 * @asked_ns: boot clock before it was asked
 */
struct bc_shown {
	struct bc_lower_attr attr;
	u32 view;
	s64 asked_ns;
};

int bc_identity_init(u32 max);
void bc_identity_exit(void);

bool bc_identity_find(const struct bc_key *volume, const struct bc_key *path,
		      struct bc_identity *out);
int bc_identity_store(const struct bc_identity *identity);
void bc_identity_seen_file(const struct bc_key *volume, const struct bc_key *path,
			   const struct bc_shown *shown);
u32 bc_identity_seen_dir(const struct bc_key *volume, const struct bc_key *path,
			 const struct bc_shown *shown, u32 nonce);
bool bc_identity_use(const struct bc_key *volume, const struct bc_key *path);
void bc_identity_drop(const struct bc_key *volume, const struct bc_key *path);
void bc_identity_forget_asked(const struct bc_key *volume, const struct bc_key *path, s64 asked_ns);
void bc_identity_forget(const struct bc_key *volume, const struct bc_key *path);
void bc_identity_forget_volume(const struct bc_key *volume);
int bc_identity_mark(const struct bc_identity *mark);
void bc_identity_unmark(const struct bc_identity *judged);
void bc_identity_lose_mark(const struct bc_identity *mark);

/* The latest of marks that the table had no room for. */
struct bc_lost {
	s64 written_at;		/* seconds since the epoch; 0 = none was lost */
	s64 written_from;
	s64 mark_ns;
};

struct bc_lost bc_identity_lost(enum bc_identity_kind kind);
void bc_identity_mounted(int mounts);
bool bc_identity_watched(void);
u32 bc_identity_count(void);
u32 bc_identity_changes(void);

/* The lower's bytes are another file, or another state of it. */
static inline bool bc_lower_attr_moved(const struct bc_lower_attr *a,
				       const struct bc_lower_attr *b)
{
	return a->size != b->size || a->mtime != b->mtime || a->mtime_nsec != b->mtime_nsec;
}

/* Older than anybody's patience: the product of seconds and nanoseconds must not wrap. */
#define BC_IDENTITY_OLDEST_SECONDS	(10LL * 365 * 86400)

void bc_identity_encode(const struct bc_identity *identity, s64 now_ns, s64 now_seconds,
			struct bc_disk_identity *disk);
bool bc_identity_decode(const struct bc_disk_identity *disk, s64 now_ns, s64 now_seconds,
			struct bc_identity *identity);
__le64 bc_identity_encode_time(s64 ns, s64 now_ns, s64 now_seconds);
s64 bc_identity_decode_time(__le64 seconds, s64 now_ns, s64 now_seconds);
bool bc_identity_loading(s64 saved_ns);
void bc_identity_saved(s64 saved_ns);
int bc_identity_insert_loaded(const struct bc_identity *identity);
int bc_identity_for_each(int (*fn)(const struct bc_identity *identity, void *arg), void *arg);

#endif /* BC_IDENTITY_H */
