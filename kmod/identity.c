// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of identities. What lowers show of them is in identity_shown.c, what was written
 * here in identity_marks.c, what tiers knew in identity_loaded.c.
 *
 * Buckets have a spinlock each, which is the only lock: entries are copied in
 * and out under it. Eviction is a clock whose hand walks the buckets; it takes
 * one bucket's lock at a time and none is held when it starts.
 */
#include "identity_table.h"
#include "key.h"

struct bc_ids bc_ids;

static bool matches(const struct entry *entry, const struct bc_key *volume,
		    const struct bc_key *path)
{
	return bc_key_equal(&entry->identity.path, path) &&
	       bc_key_equal(&entry->identity.volume, volume);
}

struct entry **bc_identity_link(struct bucket *bucket, const struct bc_key *volume,
				const struct bc_key *path)
{
	struct entry **link = &bucket->first;

	while (*link && !matches(*link, volume, path))
		link = &(*link)->next;
	return link;
}

/**
 * bc_identity_find - look up a path
 * @volume: volume id
 * @path: path hash
 * @out: copy
 *
 * Process context, does not sleep. Return: false if nothing is known.
 */
bool bc_identity_find(const struct bc_key *volume, const struct bc_key *path,
		      struct bc_identity *out)
{
	struct bucket *bucket = bucket_of(path);
	struct entry *entry;

	spin_lock(&bucket->lock);
	entry = *bc_identity_link(bucket, volume, path);
	if (entry) {
		entry->used = true;
		*out = entry->identity;
	}
	spin_unlock(&bucket->lock);
	return entry;
}

void bc_identity_account(const struct bc_identity *was, const struct bc_identity *is)
{
	int marks = (is && is_mark(is)) - (was && is_mark(was));
	int dirs = (is && is_dir(is)) - (was && is_dir(was));

	if (marks)
		atomic_add_return(marks, &bc_ids.marks);
	if (dirs)
		atomic_add_return(dirs, &bc_ids.dirs);
}

/*
 * Marks say what must not be read from the store: they stay, for as long as they
 * are less than half of the table. Then they go too, which is remembered.
 */
static bool may_evict(const struct entry *entry)
{
	if (entry->used)
		return false;
	if (!is_mark(&entry->identity))
		return true;
	if ((u32)atomic_read(&bc_ids.marks) <= bc_ids.max / 2)
		return false;
	bc_identity_remember_lost(&entry->identity);
	return true;
}

/* Take the entries of one bucket, or its directories, that were not used since the last time. */
static struct entry *sweep(struct bucket *bucket, bool dirs)
{
	struct entry **link = &bucket->first, *entry, *gone = NULL;

	spin_lock(&bucket->lock);
	while ((entry = *link)) {
		if (dirs && !is_dir(&entry->identity)) {
			link = &entry->next;
			continue;
		}
		if (!may_evict(entry)) {
			entry->used = false;
			link = &entry->next;
			continue;
		}
		bc_identity_account(&entry->identity, NULL);
		if (dirs)
			bucket->dropped_dirs_ns = max(bucket->dropped_dirs_ns,
						      entry->identity.seen_ns);
		else
			drop_before(bucket, entry->identity.seen_ns);
		*link = entry->next;
		entry->next = gone;
		gone = entry;
	}
	spin_unlock(&bucket->lock);
	return gone;
}

static void free_all(struct entry *entry)
{
	struct entry *next;

	for (; entry; entry = next) {
		next = entry->next;
		kvfree(entry);
		atomic_dec_return(&bc_ids.count);
	}
}

/* A walk over many directories must not push out the files that are cached. */
#define DIRS_SHARE	4

static bool is_full(bool dirs)
{
	if (dirs)
		return (u32)atomic_read(&bc_ids.dirs) >= bc_ids.max / DIRS_SHARE;
	return (u32)atomic_read(&bc_ids.count) >= bc_ids.max;
}

/* Make room for one; @dirs: among the directories. */
static void evict(bool dirs)
{
	u32 left = 2 * (bc_ids.mask + 1);

	while (left-- && is_full(dirs)) {
		u32 hand = atomic_add_return(1, &bc_ids.hand) & bc_ids.mask;

		free_all(sweep(&bc_ids.buckets[hand], dirs));
	}
}

/* Who asked the store looked at the lower before: what it has shown since then stays. */
static void keep_rights(struct bc_identity *identity, const struct bc_identity *was)
{
	identity->view = was->kind == identity->kind ? was->view : 0;
	identity->seen_ns = was->seen_ns;
	if (identity->view)
		take_rights(&identity->lower, &was->lower);
}

/* @is meets an entry. bucket->lock held. Return: whether it took its place, or changed it. */
static bool meet(struct bc_identity *was, const struct bc_identity *is, enum reason reason)
{
	struct bc_identity old = *was;

	switch (reason) {
	case LOADED:	/* bc_identity_meet_loaded() */
		return false;
	case SEEN:
		if (is->seen_ns < was->seen_ns)
			return false;
		fallthrough;
	case ANSWER:
		if (is_mark(was) && is->mark_ns != was->mark_ns)
			return false;
		if (is->resolved_ns < was->resolved_ns)
			return false;
		break;
	case MARK:
		bc_identity_merge_mark(was, is);
		return true;
	case RENAMED:
		break;
	}
	bc_identity_account(was, is);
	*was = *is;
	if (!is_mark(is))
		was->mark_ns = 0;
	if (reason == ANSWER)
		keep_rights(was, &old);
	return true;
}

/* bucket->lock held. Return: false if the path is not what it was then. */
static bool in_time(struct bucket *bucket, const struct bc_identity *identity, enum reason reason)
{
	if (reason == RENAMED)
		drop_now(bucket);
	return reason != SEEN || identity->seen_ns > dirs_dropped(bucket);
}

/* Nothing is known. bucket->lock held. */
static bool comes(struct bucket *bucket, struct bc_identity *identity, enum reason reason)
{
	if (identity->resolved_ns <= bucket->forgot_ns && !is_mark(identity))
		return false;
	return reason != LOADED || bc_identity_loads(bucket, identity);
}

int bc_identity_insert(const struct bc_identity *identity, enum reason reason)
{
	struct bucket *bucket = bucket_of(&identity->path);
	struct entry *new, **link;
	bool differs = false;

	evict(false);
	new = kvmalloc_array(1, sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	new->identity = *identity;
	if (!is_mark(identity))
		new->identity.mark_ns = 0;
	new->loaded = reason == LOADED;
	new->loaded_rights = reason == LOADED;
	/* What was known when it was asked for is known no more. */
	if (reason == ANSWER) {
		new->identity.view = 0;
		new->identity.seen_ns = 0;
	}
	/* Of a walk over many directories the first to go are those that nobody came back to. */
	new->used = reason != LOADED && reason != SEEN;
	new->next = NULL;

	spin_lock(&bucket->lock);
	link = bc_identity_link(bucket, &identity->volume, &identity->path);
	if (!in_time(bucket, identity, reason)) {
		/* Nothing. */
	} else if (!*link && comes(bucket, &new->identity, reason)) {
		*link = new;
		new = NULL;
		atomic_add_return(1, &bc_ids.count);
		bc_identity_account(NULL, identity);
	} else if (*link && reason == LOADED) {
		differs = bc_identity_meet_loaded(*link, identity);
	} else if (*link && meet(&(*link)->identity, identity, reason)) {
		(*link)->used = true;
		(*link)->loaded = false;
		if (reason == SEEN || reason == RENAMED)
			(*link)->loaded_rights = false;
	}
	spin_unlock(&bucket->lock);
	kvfree(new);
	if (differs)
		changed();
	return 0;
}

int bc_identity_insert_dir(const struct bc_identity *identity)
{
	evict(true);
	return is_full(true) ? 0 : bc_identity_insert(identity, SEEN);
}

/**
 * bc_identity_store - record what the store said of a path, or that it is another file
 * @identity: copied; replaces what was known. With BC_IDENTITY_WRITTEN: the path was renamed to.
 *
 * No answer replaces a mark, whenever the store was asked: it may have had the older version still.
 * Only who has judged that very mark may, and shows so by its mark_ns.
 *
 * Answers may arrive in another order than the questions were asked: what was asked later stays,
 * and what was asked before the path was forgotten is not recorded. (Nor, now and then, is that of
 * another path: forgetting is remembered per bucket. It is asked again then.)
 *
 * Process context, may sleep for memory.
 * Return: 0, also if something newer is known; or -ENOMEM.
 */
int bc_identity_store(const struct bc_identity *identity)
{
	changed();
	return bc_identity_insert(identity, is_mark(identity) ? RENAMED : ANSWER);
}

/**
 * bc_identity_insert_loaded - record what a tier knew
 * @identity: of bc_identity_decode(); what is known already is newer and stays
 *
 * Return: 0 or -ENOMEM.
 */
int bc_identity_insert_loaded(const struct bc_identity *identity)
{
	return bc_identity_insert(identity, LOADED);
}

struct entry *bc_identity_unlink(struct bucket *bucket, struct entry **link)
{
	struct entry *entry = *link;

	*link = entry->next;
	bc_identity_account(&entry->identity, NULL);
	drop_before(bucket, entry->identity.seen_ns);
	return entry;
}

void bc_identity_dispose(struct entry *entry)
{
	if (!entry)
		return;
	kvfree(entry);
	atomic_dec_return(&bc_ids.count);
	changed();
}

/**
 * bc_identity_use - something below a directory was used
 * @volume: volume id
 * @path: path hash of the directory
 *
 * It is kept as long as what is below. Process context, does not sleep.
 * Return: whether that is news: what is above it is to be kept, too.
 */
bool bc_identity_use(const struct bc_key *volume, const struct bc_key *path)
{
	struct bucket *bucket = bucket_of(path);
	struct entry *entry;
	bool is_new;

	spin_lock(&bucket->lock);
	entry = *bc_identity_link(bucket, volume, path);
	/* If it had to go, it comes back when it is looked up. */
	is_new = !entry || !entry->used;
	if (entry)
		entry->used = true;
	spin_unlock(&bucket->lock);
	return is_new;
}

/**
 * bc_identity_forget_asked - the store said that it has no such path
 * @volume: volume id
 * @path: path hash
 * @asked_ns: boot clock when it was asked; what was asked later stays, and marks do
 */
void bc_identity_forget_asked(const struct bc_key *volume, const struct bc_key *path, s64 asked_ns)
{
	struct bucket *bucket = bucket_of(path);
	struct entry **link, *gone = NULL;

	spin_lock(&bucket->lock);
	bucket->forgot_ns = max(bucket->forgot_ns, asked_ns);
	link = bc_identity_link(bucket, volume, path);
	if (*link && !is_mark(&(*link)->identity) && (*link)->identity.resolved_ns <= asked_ns)
		gone = bc_identity_unlink(bucket, link);
	spin_unlock(&bucket->lock);
	bc_identity_dispose(gone);
}

/**
 * bc_identity_forget - a path is no longer what was known, nor what the store was asked before now
 * @volume: volume id
 * @path: path hash
 */
void bc_identity_forget(const struct bc_key *volume, const struct bc_key *path)
{
	struct bucket *bucket = bucket_of(path);
	struct entry **link, *gone = NULL;

	spin_lock(&bucket->lock);
	bucket->forgot_ns = max_t(s64, bucket->forgot_ns, ktime_get_boottime_ns());
	drop_now(bucket);
	link = bc_identity_link(bucket, volume, path);
	if (*link)
		gone = bc_identity_unlink(bucket, link);
	spin_unlock(&bucket->lock);
	bc_identity_dispose(gone);
}

/* Take the entries of one bucket that are of a volume and were not written here. */
static struct entry *take_volume(struct bucket *bucket, const struct bc_key *volume)
{
	struct entry **link = &bucket->first, *entry, *gone = NULL;

	spin_lock(&bucket->lock);
	bucket->forgot_ns = max_t(s64, bucket->forgot_ns, ktime_get_boottime_ns());
	drop_now(bucket);
	while ((entry = *link)) {
		bool ours = bc_key_equal(&entry->identity.volume, volume);

		if (!ours || is_mark(&entry->identity)) {
			if (ours)
				bc_identity_take_view(entry);
			link = &entry->next;
			continue;
		}
		bc_identity_account(&entry->identity, NULL);
		*link = entry->next;
		entry->next = gone;
		gone = entry;
	}
	spin_unlock(&bucket->lock);
	return gone;
}

/**
 * bc_identity_forget_volume - paths of a volume are no longer what was known
 * @volume: volume id
 *
 * What was written here stays. Process context.
 */
void bc_identity_forget_volume(const struct bc_key *volume)
{
	u32 b;

	for (b = 0; b <= bc_ids.mask; b++) {
		free_all(take_volume(&bc_ids.buckets[b], volume));
		cond_resched();
	}
	changed();
}

/* A number that differs from an earlier one if something was stored or forgotten since. */
u32 bc_identity_changes(void)
{
	return atomic_read(&bc_ids.changes);
}

/**
 * bc_identity_mounted - mounts come or go
 * @mounts: how many more there are
 */
void bc_identity_mounted(int mounts)
{
	atomic_add_return(mounts, &bc_ids.mounts);
}

/* Is there a mount? Its lower may show other rights any time. */
bool bc_identity_watched(void)
{
	return atomic_read(&bc_ids.mounts);
}

/* How many identities there are. */
u32 bc_identity_count(void)
{
	return atomic_read(&bc_ids.count);
}

/* Copy the @index-th entry of a bucket. Return: false beyond the last. */
static bool copy_nth(struct bucket *bucket, u32 index, struct bc_identity *out)
{
	struct entry *entry;

	spin_lock(&bucket->lock);
	for (entry = bucket->first; entry && index; index--)
		entry = entry->next;
	if (entry)
		*out = entry->identity;
	spin_unlock(&bucket->lock);
	return entry;
}

/**
 * bc_identity_for_each - visit all identities
 * @fn: called with a copy, without locks, may sleep; anything but 0 ends the visit
 * @arg: for @fn
 *
 * What is stored or forgotten meanwhile may be visited or not. Return: what @fn returned last,
 * or -ENOMEM.
 */
int bc_identity_for_each(int (*fn)(const struct bc_identity *identity, void *arg), void *arg)
{
	struct bc_identity *copy = kvmalloc_array(1, sizeof(*copy), GFP_KERNEL);
	int ret = 0;
	u32 b, i;

	if (!copy)
		return -ENOMEM;
	for (b = 0; b <= bc_ids.mask && !ret; b++) {
		for (i = 0; !ret && copy_nth(&bc_ids.buckets[b], i, copy); i++)
			ret = fn(copy, arg);
		cond_resched();
	}
	kvfree(copy);
	return ret;
}

/**
 * bc_identity_init - make the table
 * @max: most identities
 *
 * Return: 0 or -ENOMEM.
 */
int bc_identity_init(u32 max)
{
	u32 i, count;

	bc_ids.max = max_t(u32, max, 64);
	count = roundup_pow_of_two(max_t(u32, bc_ids.max / 4, 64));
	bc_ids.buckets = kvmalloc_array(count, sizeof(*bc_ids.buckets), GFP_KERNEL);
	if (!bc_ids.buckets)
		return -ENOMEM;
	bc_ids.mask = count - 1;
	for (i = 0; i < count; i++) {
		spin_lock_init(&bc_ids.buckets[i].lock);
		bc_ids.buckets[i].first = NULL;
		bc_ids.buckets[i].forgot_ns = S64_MIN;
		bc_ids.buckets[i].dropped_ns = S64_MIN;
		bc_ids.buckets[i].dropped_dirs_ns = S64_MIN;
	}
	atomic_set(&bc_ids.count, 0);
	atomic_set(&bc_ids.marks, 0);
	atomic_set(&bc_ids.dirs, 0);
	atomic_set(&bc_ids.mounts, 0);
	bc_ids.shown = false;
	bc_ids.saved_ns = S64_MIN;
	atomic_set(&bc_ids.hand, 0);
	spin_lock_init(&bc_ids.lost_lock);
	memset(bc_ids.lost, 0, sizeof(bc_ids.lost));
	return 0;
}

/* Nobody uses the table any more. */
void bc_identity_exit(void)
{
	struct entry *entry, *next;
	u32 i;

	if (!bc_ids.buckets)
		return;
	for (i = 0; i <= bc_ids.mask; i++) {
		for (entry = bc_ids.buckets[i].first; entry; entry = next) {
			next = entry->next;
			kvfree(entry);
		}
	}
	kvfree(bc_ids.buckets);
	bc_ids.buckets = NULL;
}
