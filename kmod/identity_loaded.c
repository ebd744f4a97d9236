// SPDX-License-Identifier: GPL-2.0-only
/*
 * What comes into the table of identities from tiers.
 */
#include "identity_table.h"
#include "key.h"

/* Who may do what is the same, as far as both know it. */
static bool agree(const struct bc_identity *a, const struct bc_identity *b)
{
	return a->kind == b->kind && a->nonce == b->nonce && a->lower.mode == b->lower.mode &&
	       a->lower.uid == b->lower.uid && a->lower.gid == b->lower.gid;
}

static bool says_same(const struct bc_identity *a, const struct bc_identity *b)
{
	return agree(a, b) && a->view == b->view;
}

/* Times of day are saved in seconds, and clocks are set: what is not farther apart has no order. */
#define LOADED_SLACK	(10LL * NSEC_PER_SEC)

/*
 * Two tiers knew it. Return: whose rights count, that is those that the lower showed last; or NULL
 * if that is not certain, or if one knew that they are not known, but not since when.
 */
static const struct bc_identity *later_rights(const struct bc_identity *a,
					      const struct bc_identity *b)
{
	s64 apart, now_ns = ktime_get_boottime_ns();

	if (a->seen_ns == S64_MIN)
		return b;
	if (b->seen_ns == S64_MIN)
		return a;
	if (!a->seen_ns || !b->seen_ns)
		return NULL;
	apart = a->seen_ns - b->seen_ns;
	if (says_same(a, b))
		return apart > 0 ? a : b;
	/* Nobody knows when that was, see bc_identity_decode_time(). */
	if (min(a->seen_ns, b->seen_ns) <= now_ns - BC_IDENTITY_OLDEST_SECONDS * NSEC_PER_SEC)
		return NULL;
	if (apart > LOADED_SLACK || apart < -LOADED_SLACK)
		return apart > 0 ? a : b;
	/* One was detached, and does not know what the lower showed after that; the other does. */
	if (agree(a, b) && (!a->view || !b->view))
		return a->view ? a : b;
	return NULL;
}

/* @rights are of the version, or the directory, that @identity is. */
static bool belong(const struct bc_identity *rights, const struct bc_identity *identity)
{
	return rights->kind == identity->kind &&
	       (is_dir(identity) || !bc_lower_attr_moved(&rights->lower, &identity->lower));
}

static void give_rights(struct bc_identity *identity, const struct bc_identity *rights)
{
	if (is_dir(identity))
		identity->lower = rights->lower;
	else
		take_rights(&identity->lower, &rights->lower);
	identity->view = rights->view;
	identity->nonce = rights->nonce;
	identity->seen_ns = rights->seen_ns;
}

/*
 * A tier knew what is here. bucket->lock held. Return: whether other tiers should know that.
 *
 * Another tier may have known it, too. Then the version that was asked for last counts, and the
 * rights that were shown last, if they belong to it. (What was asked for or shown since then is
 * newer, though the clocks may not say so.) If a lower has shown something since, no rights are
 * taken; but those of another tier that are older go.
 */
bool bc_identity_meet_loaded(struct entry *entry, const struct bc_identity *is)
{
	struct bc_identity *was = &entry->identity, old = *was;
	bool shown = READ_ONCE(bc_ids.shown);
	bool takes = entry->loaded && is->resolved_ns > was->resolved_ns && !(shown && is_dir(is));
	const struct bc_identity *rights = entry->loaded_rights ? later_rights(&old, is) : &old;

	if (!takes && rights == &old)
		return false;
	if (takes) {
		bc_identity_account(was, is);
		*was = *is;
		was->mark_ns = 0;
		entry->used = false;
	}
	if (rights == is && !says_same(&old, is) && (shown || is_mark(was)))
		rights = NULL;
	if (rights && belong(rights, was)) {
		give_rights(was, rights);
	} else {
		was->view = 0;
		was->nonce = 0;
		/* A third tier does not know since when they are not known, either. */
		was->seen_ns = entry->loaded_rights ? 0 : old.seen_ns;
	}
	return !says_same(&old, was) || !bc_key_equal(&old.key, &was->key);
}

/*
 * A lower that has shown something since may have shown other rights, of what was not in the
 * table then; another tier may have known later ones, for which there was no room. bucket->lock
 * held: what is shown from now on finds the entry.
 */
bool bc_identity_loads(const struct bucket *bucket, struct bc_identity *identity)
{
	if (!READ_ONCE(bc_ids.shown) && identity->seen_ns > dirs_dropped(bucket) + LOADED_SLACK)
		return true;
	identity->view = 0;
	return !is_dir(identity);
}

/* bucket->lock held. */
static void forget_rights(struct bucket *bucket)
{
	struct entry *entry;

	for (entry = bucket->first; entry; entry = entry->next) {
		if (entry->loaded_rights) {
			entry->identity.view = 0;
			entry->identity.seen_ns = S64_MIN;
		}
	}
}

/* What the tiers knew that were loaded so far is old. */
static void forget_loaded_rights(void)
{
	u32 b;

	for (b = 0; b <= bc_ids.mask; b++) {
		spin_lock(&bc_ids.buckets[b].lock);
		forget_rights(&bc_ids.buckets[b]);
		spin_unlock(&bc_ids.buckets[b].lock);
		cond_resched();
	}
	changed();
}

/* Tiers are told within a minute of each other, and of what is shown meanwhile. */
#define SAVED_SLACK	(150LL * NSEC_PER_SEC)

/**
 * bc_identity_loading - what a tier knew is to be loaded
 * @saved_ns: boot clock when it was told last; may be negative
 *
 * A tier that was away does not know that something was removed, or shown with other rights,
 * meanwhile: if another was told later, who may do what is known by that one alone. Callers
 * exclude each other, also until what the tier knew is in. Process context.
 * Return: whether the rights that it knew may be taken; else their view is to be 0, and seen_ns
 * S64_MIN.
 */
bool bc_identity_loading(s64 saved_ns)
{
	s64 before_ns = READ_ONCE(bc_ids.saved_ns);

	WRITE_ONCE(bc_ids.saved_ns, max(before_ns, saved_ns));
	/* S64_MIN: it is the first. */
	if (before_ns != S64_MIN && saved_ns - before_ns > SAVED_SLACK)
		forget_loaded_rights();
	return before_ns == S64_MIN || before_ns - saved_ns <= SAVED_SLACK;
}

/**
 * bc_identity_saved - what is here was told a tier
 * @saved_ns: boot clock when it was
 *
 * What comes from a tier later, and is of that time, is no news.
 */
void bc_identity_saved(s64 saved_ns)
{
	/* Of what no lower has shown yet other tiers may know more. */
	if (READ_ONCE(bc_ids.shown))
		WRITE_ONCE(bc_ids.saved_ns, max(READ_ONCE(bc_ids.saved_ns), saved_ns));
}
