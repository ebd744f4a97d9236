// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of identities, and their form on a tier.
 *
 * Buckets have a spinlock each, which is the only lock: entries are copied in
 * and out under it. Eviction is a clock whose hand walks the buckets; it takes
 * one bucket's lock at a time and none is held when it starts.
 */
#include "identity.h"
#include "key.h"

#define NSEC_PER_SECOND	1000000000LL

struct entry {
	struct entry *next;
	bool used;		/* since the hand last came by */
	bool loaded;		/* a tier knew it, and nobody has asked since */
	struct bc_identity identity;
};

struct bucket {
	spinlock_t lock;	/* for what follows, and the entries */
	struct entry *first;
	s64 forgot_ns;		/* when the last forgotten path, of all here, was asked for */
};

static struct {
	struct bucket *buckets;
	u32 mask;
	u32 max;
	atomic_t changes;
	atomic_t count;
	atomic_t marks;			/* entries with BC_IDENTITY_WRITTEN */
	spinlock_t lost_lock;		/* inside bucket->lock */
	struct bc_lost lost[2];		/* marks that are gone; [1]: of directories */
	atomic_t hand;
} table;

static struct bucket *bucket_of(const struct bc_key *path)
{
	/* The volume is the path hash's key already. */
	return &table.buckets[bc_key_hash(path, 0) & table.mask];
}

static bool matches(const struct entry *entry, const struct bc_key *volume,
		    const struct bc_key *path)
{
	return bc_key_equal(&entry->identity.path, path) &&
	       bc_key_equal(&entry->identity.volume, volume);
}

/* Return: the link that points to the entry, or to NULL. bucket->lock held. */
static struct entry **find_link(struct bucket *bucket, const struct bc_key *volume,
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
	entry = *find_link(bucket, volume, path);
	if (entry) {
		entry->used = true;
		*out = entry->identity;
	}
	spin_unlock(&bucket->lock);
	return entry;
}

static bool is_mark(const struct bc_identity *identity)
{
	return identity->flags & BC_IDENTITY_WRITTEN;
}

static void count_mark(const struct bc_identity *was, const struct bc_identity *is)
{
	int change = (is && is_mark(is)) - (was && is_mark(was));

	if (change)
		atomic_add_return(change, &table.marks);
}

static void remember_lost(const struct bc_identity *mark)
{
	struct bc_lost *lost = &table.lost[mark->kind == BC_IDENTITY_DIR];
	/* One that is open for writing has not been written, or not for the last time. */
	s64 written_at = mark->written_at ?: ktime_get_real_seconds();

	spin_lock(&table.lost_lock);
	lost->written_at = max(lost->written_at, written_at);
	lost->written_from = max(lost->written_from, mark->written_from ?: written_at);
	lost->mark_ns = max(lost->mark_ns, mark->mark_ns);
	spin_unlock(&table.lost_lock);
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
	if ((u32)atomic_read(&table.marks) <= table.max / 2)
		return false;
	remember_lost(&entry->identity);
	return true;
}

/* Take the entries of one bucket that were not used since the last time. */
static struct entry *sweep(struct bucket *bucket)
{
	struct entry **link = &bucket->first, *entry, *gone = NULL;

	spin_lock(&bucket->lock);
	while ((entry = *link)) {
		if (!may_evict(entry)) {
			entry->used = false;
			link = &entry->next;
			continue;
		}
		count_mark(&entry->identity, NULL);
		*link = entry->next;
		entry->next = gone;
		gone = entry;
	}
	spin_unlock(&bucket->lock);
	return gone;
}

static void evict(void)
{
	u32 left = 2 * (table.mask + 1);

	while (left-- && (u32)atomic_read(&table.count) >= table.max) {
		u32 hand = atomic_add_return(1, &table.hand) & table.mask;
		struct entry *entry = sweep(&table.buckets[hand]), *next;

		for (; entry; entry = next) {
			next = entry->next;
			kvfree(entry);
			atomic_dec_return(&table.count);
		}
	}
}

/* Counts what a tier has not seen yet. */
static void changed(void)
{
	atomic_add_return(1, &table.changes);
}

/* @was is marked: what is known of it stays, the later of the two times counts. */
static void merge_mark(struct bc_identity *was, const struct bc_identity *mark)
{
	count_mark(was, mark);
	if (was->kind != mark->kind) {
		*was = *mark;
		return;
	}
	if (!is_mark(was) || mark->written_at > was->written_at)
		was->written_from = mark->written_from;
	else if (mark->written_at == was->written_at)
		was->written_from = max(was->written_from, mark->written_from);
	was->written_at = is_mark(was) ? max(was->written_at, mark->written_at) : mark->written_at;
	was->flags |= BC_IDENTITY_WRITTEN;
	if (mark->written_at)
		was->flags &= ~BC_IDENTITY_MOVED;
	was->moved = mark->moved;
	was->moved_ns = max(was->moved_ns, mark->moved_ns);
	/* No two marks are the same to who judges them. */
	was->mark_ns = max(was->mark_ns + 1, mark->mark_ns);
}

/* Why an identity is put in. */
enum reason {
	LOADED,		/* a tier knew it: what is here is newer, but for what another tier knew */
	ANSWER,		/* the store said so: it knows nothing of what was written here since */
	MARK,		/* it was written here */
	RENAMED,	/* it is another file, by a rename here */
};

/* @is meets an entry. bucket->lock held. Return: whether it took its place, or changed it. */
static bool meet(struct bc_identity *was, const struct bc_identity *is, enum reason reason)
{
	switch (reason) {
	case LOADED:
		break;
	case ANSWER:
		if (is_mark(was) && is->mark_ns != was->mark_ns)
			return false;
		if (is->resolved_ns < was->resolved_ns)
			return false;
		break;
	case MARK:
		merge_mark(was, is);
		return true;
	case RENAMED:
		break;
	}
	count_mark(was, is);
	*was = *is;
	if (!is_mark(is))
		was->mark_ns = 0;
	return true;
}

/* Two tiers knew it. (What was asked for since then is newer, though the clocks may not say so.) */
static bool loads_over(const struct entry *was, const struct bc_identity *is)
{
	return was->loaded && is->resolved_ns > was->identity.resolved_ns;
}

static int insert(const struct bc_identity *identity, enum reason reason)
{
	struct bucket *bucket = bucket_of(&identity->path);
	struct entry *new, **link;

	if ((u32)atomic_read(&table.count) >= table.max)
		evict();
	new = kvmalloc_array(1, sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	new->identity = *identity;
	if (!is_mark(identity))
		new->identity.mark_ns = 0;
	new->used = reason != LOADED;
	new->loaded = reason == LOADED;
	new->next = NULL;

	spin_lock(&bucket->lock);
	link = find_link(bucket, &identity->volume, &identity->path);
	if (!*link && (identity->resolved_ns > bucket->forgot_ns || is_mark(identity))) {
		*link = new;
		new = NULL;
		atomic_add_return(1, &table.count);
		count_mark(NULL, identity);
	} else if (*link && (reason != LOADED || loads_over(*link, identity)) &&
		   meet(&(*link)->identity, identity, reason)) {
		(*link)->used = reason != LOADED;
		(*link)->loaded = reason == LOADED;
	}
	spin_unlock(&bucket->lock);
	kvfree(new);
	return 0;
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
	return insert(identity, is_mark(identity) ? RENAMED : ANSWER);
}

/**
 * bc_identity_insert_loaded - record what a tier knew
 * @identity: of bc_identity_decode(); what is known already is newer and stays
 *
 * Return: 0 or -ENOMEM.
 */
int bc_identity_insert_loaded(const struct bc_identity *identity)
{
	return insert(identity, LOADED);
}

/* bucket->lock held; the caller frees what is returned, by dispose(). */
static struct entry *unlink_entry(struct entry **link)
{
	struct entry *entry = *link;

	*link = entry->next;
	count_mark(&entry->identity, NULL);
	return entry;
}

static void dispose(struct entry *entry)
{
	if (!entry)
		return;
	kvfree(entry);
	atomic_dec_return(&table.count);
	changed();
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
	link = find_link(bucket, volume, path);
	if (*link && !is_mark(&(*link)->identity) && (*link)->identity.resolved_ns <= asked_ns)
		gone = unlink_entry(link);
	spin_unlock(&bucket->lock);
	dispose(gone);
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
	link = find_link(bucket, volume, path);
	if (*link)
		gone = unlink_entry(link);
	spin_unlock(&bucket->lock);
	dispose(gone);
}

/**
 * bc_identity_unmark - those who had a path open for writing wrote nothing
 * @judged: copy of the mark; one that came later stays
 *
 * What the store said before is what is known again, and as old as it is.
 */
void bc_identity_unmark(const struct bc_identity *judged)
{
	struct bucket *bucket = bucket_of(&judged->path);
	struct bc_identity *identity;
	struct entry **link, *gone = NULL;

	spin_lock(&bucket->lock);
	link = find_link(bucket, &judged->volume, &judged->path);
	identity = *link ? &(*link)->identity : NULL;
	if (identity && is_mark(identity) && identity->mark_ns == judged->mark_ns) {
		if (identity->etag_length) {
			count_mark(identity, NULL);
			identity->flags &= ~BC_IDENTITY_WRITTEN;
			identity->moved_ns = 0;
			identity->mark_ns = 0;
		} else {
			gone = unlink_entry(link);
		}
	}
	spin_unlock(&bucket->lock);
	dispose(gone);
}

/**
 * bc_identity_mark - a path was written here, or a writer came or went
 * @mark: volume, path, kind, moved, moved_ns, resolved_ns, mark_ns, written_at,
 *	written_from; and BC_IDENTITY_WRITTEN in flags
 *
 * In one step with what is known of the path, since there may be several writers.
 * Process context, may sleep for memory.
 * Return: 0 or -ENOMEM.
 */
int bc_identity_mark(const struct bc_identity *mark)
{
	struct bucket *bucket = bucket_of(&mark->path);
	struct entry *entry;

	changed();
	spin_lock(&bucket->lock);
	entry = *find_link(bucket, &mark->volume, &mark->path);
	if (entry) {
		merge_mark(&entry->identity, mark);
		entry->used = true;
		entry->loaded = false;
	}
	spin_unlock(&bucket->lock);
	return entry ? 0 : insert(mark, MARK);
}

/**
 * bc_identity_lose_mark - a path is to be marked, for which there is no memory
 * @mark: the mark
 *
 * Nothing is known of it from now on; and who knows nothing of a path takes it for written.
 */
void bc_identity_lose_mark(const struct bc_identity *mark)
{
	remember_lost(mark);
	bc_identity_forget(&mark->volume, &mark->path);
}

/**
 * bc_identity_lost - were there so many marks that some had to go?
 * @kind: of what
 *
 * Process context, does not sleep. Return: the latest of those that went; zeroes = none did.
 */
struct bc_lost bc_identity_lost(enum bc_identity_kind kind)
{
	struct bc_lost lost;

	spin_lock(&table.lost_lock);
	lost = table.lost[kind == BC_IDENTITY_DIR];
	spin_unlock(&table.lost_lock);
	return lost;
}

/* Take the entries of one bucket that are of a volume and were not written here. */
static struct entry *take_volume(struct bucket *bucket, const struct bc_key *volume)
{
	struct entry **link = &bucket->first, *entry, *gone = NULL;

	spin_lock(&bucket->lock);
	bucket->forgot_ns = max_t(s64, bucket->forgot_ns, ktime_get_boottime_ns());
	while ((entry = *link)) {
		if (is_mark(&entry->identity) ||
		    !bc_key_equal(&entry->identity.volume, volume)) {
			link = &entry->next;
			continue;
		}
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
	struct entry *entry, *next;
	u32 b;

	for (b = 0; b <= table.mask; b++) {
		for (entry = take_volume(&table.buckets[b], volume); entry; entry = next) {
			next = entry->next;
			kvfree(entry);
			atomic_dec_return(&table.count);
		}
		cond_resched();
	}
	changed();
}

/* A number that differs from an earlier one if something was stored or forgotten since. */
u32 bc_identity_changes(void)
{
	return atomic_read(&table.changes);
}

/* How many identities there are. */
u32 bc_identity_count(void)
{
	return atomic_read(&table.count);
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
	for (b = 0; b <= table.mask && !ret; b++) {
		for (i = 0; !ret && copy_nth(&table.buckets[b], i, copy); i++)
			ret = fn(copy, arg);
		cond_resched();
	}
	kvfree(copy);
	return ret;
}

static void encode_lower(const struct bc_lower_attr *lower, struct bc_disk_identity *disk)
{
	disk->mode = cpu_to_le32(lower->mode);
	disk->uid = cpu_to_le32(lower->uid);
	disk->gid = cpu_to_le32(lower->gid);
	disk->lower_ino = cpu_to_le64(lower->ino);
	disk->lower_size = cpu_to_le64(lower->size);
	disk->mtime = cpu_to_le64(lower->mtime);
	disk->ctime = cpu_to_le64(lower->ctime);
	disk->mtime_nsec = cpu_to_le32(lower->mtime_nsec);
	disk->ctime_nsec = cpu_to_le32(lower->ctime_nsec);
}

/**
 * bc_identity_encode - into the form of a tier
 * @identity: to encode
 * @now_ns: boot clock
 * @now_seconds: seconds since the epoch
 * @disk: out
 */
void bc_identity_encode(const struct bc_identity *identity, s64 now_ns, s64 now_seconds,
			struct bc_disk_identity *disk)
{
	s64 age = now_ns > identity->resolved_ns ?
		  (s64)div_u64(now_ns - identity->resolved_ns, NSEC_PER_SECOND) : 0;

	memset(disk, 0, sizeof(*disk));
	memcpy(disk->path_hash, identity->path.bytes, BC_KEY_SIZE);
	memcpy(disk->volume_id, identity->volume.bytes, BC_KEY_SIZE);
	memcpy(disk->key, identity->key.bytes, BC_KEY_SIZE);
	memcpy(disk->etag, identity->etag, identity->etag_length);
	disk->etag_length = identity->etag_length;
	disk->kind = identity->kind;
	/* Not that the lower was behind, either: it is not what it was. */
	disk->flags = cpu_to_le16(is_mark(identity) ? 0 : identity->flags);
	disk->size = cpu_to_le64(identity->size);
	disk->resolved_at = cpu_to_le64(now_seconds > age ? now_seconds - age : 0);
	disk->last_modified = cpu_to_le64(identity->last_modified);
	encode_lower(&identity->lower, disk);
}

static bool decode_lower(const struct bc_disk_identity *disk, struct bc_lower_attr *lower)
{
	lower->mode = le32_to_cpu(disk->mode);
	lower->uid = le32_to_cpu(disk->uid);
	lower->gid = le32_to_cpu(disk->gid);
	lower->ino = le64_to_cpu(disk->lower_ino);
	lower->size = le64_to_cpu(disk->lower_size);
	lower->mtime = le64_to_cpu(disk->mtime);
	lower->ctime = le64_to_cpu(disk->ctime);
	lower->mtime_nsec = le32_to_cpu(disk->mtime_nsec);
	lower->ctime_nsec = le32_to_cpu(disk->ctime_nsec);
	return lower->mtime_nsec < NSEC_PER_SECOND && lower->ctime_nsec < NSEC_PER_SECOND &&
	       lower->size <= S64_MAX;
}

/* An ETag of just its length, the rest zero. */
static bool decode_etag(const struct bc_disk_identity *disk, struct bc_identity *identity)
{
	u32 length = disk->etag_length;

	if (length > BC_ETAG_MAX || memchr_inv(disk->etag + length, 0, BC_ETAG_MAX - length))
		return false;
	memcpy(identity->etag, disk->etag, length);
	identity->etag_length = length;
	return strlen(identity->etag) == length;
}

/* Does the rest go with the kind? */
static bool kind_valid(const struct bc_identity *identity)
{
	u32 type = identity->lower.mode & 0170000;

	switch (identity->kind) {
	case BC_IDENTITY_FILE:
		return type == 0100000 && identity->etag_length;
	case BC_IDENTITY_DIR:
		return type == 0040000 && !identity->etag_length;
	default:
		return false;
	}
}

/**
 * bc_identity_decode - from the form of a tier
 * @disk: as read, its unit's checksum having been right
 * @now_ns: boot clock
 * @now_seconds: seconds since the epoch
 * @identity: out
 *
 * Return: false if it is free or makes no sense.
 */
bool bc_identity_decode(const struct bc_disk_identity *disk, s64 now_ns, s64 now_seconds,
			struct bc_identity *identity)
{
	u64 resolved = le64_to_cpu(disk->resolved_at);
	/* Older than anybody's patience: the product of seconds and nanoseconds must not wrap. */
	s64 age = 10LL * 365 * 86400;

	memset(identity, 0, sizeof(*identity));
	memcpy(identity->path.bytes, disk->path_hash, BC_KEY_SIZE);
	memcpy(identity->volume.bytes, disk->volume_id, BC_KEY_SIZE);
	memcpy(identity->key.bytes, disk->key, BC_KEY_SIZE);
	identity->kind = disk->kind;
	identity->flags = le16_to_cpu(disk->flags);
	identity->size = le64_to_cpu(disk->size);
	identity->last_modified = le64_to_cpu(disk->last_modified);
	/* From the future: the clock was set, nobody knows how old it is. */
	if (now_seconds >= 0 && resolved <= (u64)now_seconds)
		age = min_t(s64, age, now_seconds - resolved);
	identity->resolved_ns = now_ns - age * NSEC_PER_SECOND;
	return decode_lower(disk, &identity->lower) && decode_etag(disk, identity) &&
	       kind_valid(identity) && !(identity->flags & ~BC_IDENTITY_FLAGS) &&
	       identity->size <= S64_MAX &&
	       !memchr_inv(disk->reserved, 0, sizeof(disk->reserved));
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

	table.max = max_t(u32, max, 64);
	count = roundup_pow_of_two(max_t(u32, table.max / 4, 64));
	table.buckets = kvmalloc_array(count, sizeof(*table.buckets), GFP_KERNEL);
	if (!table.buckets)
		return -ENOMEM;
	table.mask = count - 1;
	for (i = 0; i < count; i++) {
		spin_lock_init(&table.buckets[i].lock);
		table.buckets[i].first = NULL;
		table.buckets[i].forgot_ns = S64_MIN;
	}
	atomic_set(&table.count, 0);
	atomic_set(&table.marks, 0);
	atomic_set(&table.hand, 0);
	spin_lock_init(&table.lost_lock);
	memset(table.lost, 0, sizeof(table.lost));
	return 0;
}

/* Nobody uses the table any more. */
void bc_identity_exit(void)
{
	struct entry *entry, *next;
	u32 i;

	if (!table.buckets)
		return;
	for (i = 0; i <= table.mask; i++) {
		for (entry = table.buckets[i].first; entry; entry = next) {
			next = entry->next;
			kvfree(entry);
		}
	}
	kvfree(table.buckets);
	table.buckets = NULL;
}
