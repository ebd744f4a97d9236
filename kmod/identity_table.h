/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the table of identities (identity.c), and what comes into it from tiers
 * (identity_loaded.c), from lowers (identity_shown.c) and by writing (identity_marks.c), have in
 * common.
 */
#ifndef BC_IDENTITY_TABLE_H
#define BC_IDENTITY_TABLE_H

#include "identity.h"
#include "key.h"

struct entry {
	struct entry *next;
	bool used;		/* since the hand last came by */
	bool loaded;		/* a tier knew it, and nobody has asked since */
	bool loaded_rights;	/* a tier knew who may do what, and no lower said anything since */
	struct bc_identity identity;
};

struct bucket {
	spinlock_t lock;	/* for what follows, and the entries */
	struct entry *first;
	s64 forgot_ns;		/* when the last forgotten path, of all here, was asked for */
	s64 dropped_ns;		/* what a lower was asked before says nothing of who may do what */
	s64 dropped_dirs_ns;	/* nor of directories */
};

struct bc_ids {
	struct bucket *buckets;
	u32 mask;
	u32 max;
	atomic_t changes;
	atomic_t count;
	atomic_t marks;			/* entries with BC_IDENTITY_WRITTEN */
	atomic_t dirs;			/* directories that have none */
	atomic_t mounts;		/* whose lowers show what is here */
	bool shown;			/* a lower has shown something since the module is there */
	s64 saved_ns;			/* boot clock when a tier was told last, of those loaded */
	spinlock_t lost_lock;		/* inside bucket->lock */
	struct bc_lost lost[2];		/* marks that are gone; [1]: of directories */
	atomic_t hand;
};

extern struct bc_ids bc_ids;

static inline bool is_mark(const struct bc_identity *identity)
{
	return identity->flags & BC_IDENTITY_WRITTEN;
}

static inline bool is_dir(const struct bc_identity *identity)
{
	return identity->kind == BC_IDENTITY_DIR && !is_mark(identity);
}

/* All but size and mtime, which are those of the version. */
static inline void take_rights(struct bc_lower_attr *lower, const struct bc_lower_attr *from)
{
	lower->mode = from->mode;
	lower->uid = from->uid;
	lower->gid = from->gid;
	lower->ino = from->ino;
	lower->ctime = from->ctime;
	lower->ctime_nsec = from->ctime_nsec;
}

/* Directories also go to make room among them, which concerns no file. */
static inline s64 dirs_dropped(const struct bucket *bucket)
{
	return max(bucket->dropped_ns, bucket->dropped_dirs_ns);
}

/* Counts what a tier has not seen yet. */
static inline void changed(void)
{
	atomic_add_return(1, &bc_ids.changes);
}

/* Why an identity is put in. */
enum reason {
	LOADED,		/* a tier knew it: what is here is newer, but for what another tier knew */
	ANSWER,		/* the store said so: it knows nothing of what was written here since */
	MARK,		/* it was written here */
	RENAMED,	/* it is another file, by a rename here */
	SEEN,		/* the lower has shown a directory */
};

static inline struct bucket *bucket_of(const struct bc_key *path)
{
	/* The volume is the path hash's key already. */
	return &bc_ids.buckets[bc_key_hash(path, 0) & bc_ids.mask];
}

/* What was shown before is older than what is not known any more. bucket->lock held. */
static inline void drop_before(struct bucket *bucket, s64 ns)
{
	bucket->dropped_ns = max(bucket->dropped_ns, ns);
}

static inline void drop_now(struct bucket *bucket)
{
	drop_before(bucket, ktime_get_boottime_ns());
}

/* bucket->lock held, unless it says otherwise. */

/* The link that points to the entry, or to NULL. */
struct entry **bc_identity_link(struct bucket *bucket, const struct bc_key *volume,
				const struct bc_key *path);
/* What is returned goes to bc_identity_dispose(). */
struct entry *bc_identity_unlink(struct bucket *bucket, struct entry **link);
/* No locks held; @entry may be NULL. */
void bc_identity_dispose(struct entry *entry);
/* No locks held; may sleep for memory. Return: 0 or -ENOMEM. */
int bc_identity_insert(const struct bc_identity *identity, enum reason reason);
/* The same of a directory, for which others go, if any may. */
int bc_identity_insert_dir(const struct bc_identity *identity);

/* @was is replaced by @is; NULL = none. */
void bc_identity_account(const struct bc_identity *was, const struct bc_identity *is);

/* identity_marks.c */
void bc_identity_merge_mark(struct bc_identity *was, const struct bc_identity *mark);
void bc_identity_remember_lost(const struct bc_identity *mark);

/* identity_shown.c: nobody knows who may do what. Return: whether tiers should know. */
bool bc_identity_take_view(struct entry *entry);

/* identity_loaded.c */
bool bc_identity_meet_loaded(struct entry *entry, const struct bc_identity *is);
bool bc_identity_loads(const struct bucket *bucket, struct bc_identity *identity);

#endif /* BC_IDENTITY_TABLE_H */
