// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which directory the lower of a mount is, and whether it answers.
 *
 * A lower that does not answer in time is suspect: nothing waits for it any more, until a
 * probe of it, or anything else, comes back.
 */
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/slab.h>

#include "call.h"

/**
 * bc_lower_root - the lower directory of a mount
 * @mount: mount
 * @path: out, with references; empty if the superblock is gone
 * @generation: out, may be NULL
 */
void bc_lower_root(struct bc_mount *mount, struct path *path, u64 *generation)
{
	spin_lock(&mount->lower_lock);
	*path = mount->lower;
	path_get(path);
	if (generation)
		*generation = mount->lower_generation;
	spin_unlock(&mount->lower_lock);
}

/**
 * bc_lower_lost - may this error mean that the lower as a whole is not there?
 * @error: what a call of the lower returned
 */
bool bc_lower_lost(int error)
{
	switch (error) {
	case -ECONNABORTED:
	case -EHOSTDOWN:
	case -EIO:
	case -ENODEV:
	case -ENOTCONN:
	case -ESHUTDOWN:
	case -ESTALE:
	case -ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

/*
 * A lower that is in doubt has its root asked, once a second, by one worker,
 * until it answers. The probe belongs to one lower root: after a change of the
 * lower, the old one may still be stuck in the old lower, and no longer matters.
 */
struct bc_lower_probe {
	refcount_t refs;		/* of each work, while it is pending or running */
	struct delayed_work ask;
	struct delayed_work late;	/* there is no answer within patience_ms */
	struct bc_mount *mount;		/* holds a reference */
	struct path path;
};

static void probe_put(struct bc_lower_probe *probe)
{
	if (!refcount_dec_and_test(&probe->refs))
		return;
	path_put(&probe->path);
	bc_mount_put(probe->mount);
	kfree(probe);
}

/* Return: how the lower as a whole failed, or 0: any other error is an answer, too. */
static int probe_ask(struct bc_lower_probe *probe)
{
	const struct cred *old = override_creds(probe->mount->creds);
	struct kstat stat;
	int error;

	/* Not from a cache: it is the server of the lower that must answer. */
	error = vfs_getattr(&probe->path, &stat, STATX_BASIC_STATS, AT_STATX_FORCE_SYNC);
	revert_creds(old);
	return bc_lower_lost(error) ? error : 0;
}

/* lower_lock held. Return: true if that is new. */
static bool set_suspect(struct bc_mount *mount)
{
	if (test_and_set_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags))
		return false;
	bc_calls_give_up(mount);
	return true;
}

static void say_suspect(const struct bc_mount *mount)
{
	pr_warn_ratelimited("%s: lower does not answer\n", mount->options.volume);
}

static void probe_late(struct work_struct *work)
{
	struct bc_lower_probe *probe = container_of(to_delayed_work(work), struct bc_lower_probe,
						    late);
	struct bc_mount *mount = probe->mount;
	bool suspect;

	spin_lock(&mount->lower_lock);
	suspect = mount->lower_probe == probe && set_suspect(mount);
	spin_unlock(&mount->lower_lock);
	if (suspect)
		say_suspect(mount);
	probe_put(probe);
}

static void probe_work(struct work_struct *work)
{
	struct bc_lower_probe *probe = container_of(to_delayed_work(work), struct bc_lower_probe,
						    ask);
	bool lost, again, suspect = false, trusted = false, cancelled = false;
	struct bc_mount *mount = probe->mount;

	lost = !test_bit(BC_MOUNT_DEAD, &mount->flags) && probe_ask(probe);
	spin_lock(&mount->lower_lock);
	again = lost && mount->lower_probe == probe;
	if (again) {
		suspect = set_suspect(mount);
		queue_delayed_work(bc_calls_wq, &probe->ask, msecs_to_jiffies(BC_PROBE_EVERY_MS));
	} else if (mount->lower_probe == probe) {
		mount->lower_probe = NULL;
		trusted = test_and_clear_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
		cancelled = cancel_delayed_work(&probe->late);
	}
	spin_unlock(&mount->lower_lock);
	if (suspect)
		say_suspect(mount);
	if (trusted)
		pr_info_ratelimited("%s: lower answers again\n", mount->options.volume);
	if (cancelled)
		probe_put(probe);
	if (!again)
		probe_put(probe);
}

/* lower_lock held; takes over @probe, which has the reference of @ask. */
static void probe_start(struct bc_mount *mount, struct bc_lower_probe *probe)
{
	probe->path = mount->lower;
	path_get(&probe->path);
	mount->lower_probe = probe;
	/* At once: a lower that was only slow must not be suspected for long. */
	queue_delayed_work(bc_calls_wq, &probe->ask, 0);
	refcount_inc(&probe->refs);
	queue_delayed_work(bc_calls_wq, &probe->late, msecs_to_jiffies(bc_patience_ms()));
}

void bc_lower_doubt(struct bc_mount *mount, u64 generation, bool sure)
{
	struct bc_lower_probe *probe;
	bool suspect = false;

	if (bc_lower_is_suspect(mount) || (!sure && READ_ONCE(mount->lower_probe)))
		return;
	probe = kzalloc(sizeof(*probe), GFP_NOFS);
	if (!probe)
		return;
	refcount_set(&probe->refs, 1);
	INIT_DELAYED_WORK(&probe->ask, probe_work);
	INIT_DELAYED_WORK(&probe->late, probe_late);
	bc_mount_get(mount);
	probe->mount = mount;

	spin_lock(&mount->lower_lock);
	/* What happens in a lower of before says nothing of this one. */
	if (mount->lower_generation == generation && !test_bit(BC_MOUNT_DEAD, &mount->flags)) {
		suspect = sure && set_suspect(mount);
		if (!mount->lower_probe) {
			probe_start(mount, probe);
			probe = NULL;
		}
	}
	spin_unlock(&mount->lower_lock);
	if (probe)
		probe_put(probe);
	if (suspect)
		say_suspect(mount);
}

/**
 * bc_lower_failed - a call of the lower came back with an error: is it the lower that failed?
 * @mount: mount
 * @generation: of the lower that was called
 * @error: what it answered
 *
 * EIO or ESTALE may be of one file: then the lower's root is asked. If its server is gone nobody
 * waits for it from now on. May sleep for memory.
 */
void bc_lower_failed(struct bc_mount *mount, u64 generation, int error)
{
	switch (error) {
	case -ECONNABORTED:
	case -EHOSTDOWN:
	case -ENOTCONN:
	case -ESHUTDOWN:
		bc_lower_doubt(mount, generation, true);
		break;
	default:
		if (bc_lower_lost(error))
			bc_lower_doubt(mount, generation, false);
	}
}

/* lower_lock held. Return: the probe of before, for probe_drop(). */
static struct bc_lower_probe *trust(struct bc_mount *mount)
{
	struct bc_lower_probe *probe = mount->lower_probe;

	mount->lower_probe = NULL;
	clear_bit(BC_MOUNT_LOWER_SUSPECT, &mount->flags);
	/* For probe_drop(), since the works drop theirs any time. */
	if (probe)
		refcount_inc(&probe->refs);
	return probe;
}

/* Those that are running find that theirs is no longer the current one. */
static void probe_drop(struct bc_lower_probe *probe)
{
	if (!probe)
		return;
	if (cancel_delayed_work(&probe->ask))
		probe_put(probe);
	if (cancel_delayed_work(&probe->late))
		probe_put(probe);
	probe_put(probe);
}

/**
 * bc_lower_trusted - stop suspecting the lower: the mount goes
 * @mount: mount
 *
 * May sleep.
 */
void bc_lower_trusted(struct bc_mount *mount)
{
	struct bc_lower_probe *probe;

	spin_lock(&mount->lower_lock);
	probe = trust(mount);
	spin_unlock(&mount->lower_lock);
	probe_drop(probe);
}

/**
 * bc_lower_type - name of the filesystem of a lower
 * @sb: its superblock
 * @type: out
 * @size: bytes of @type
 */
void bc_lower_type(const struct super_block *sb, char *type, size_t size)
{
	snprintf(type, size, "%s%s%s", sb->s_type->name, sb->s_subtype ? "." : "",
		 sb->s_subtype ?: "");
}

/**
 * bc_lower_set_type - set lower_type from the lower
 * @mount: mount; with lower_lock, unless nobody else knows it yet
 */
void bc_lower_set_type(struct bc_mount *mount)
{
	bc_lower_type(mount->lower.dentry->d_sb, mount->lower_type, sizeof(mount->lower_type));
}

/**
 * bc_lower_replace - from now on the lower is another one
 * @mount: mount
 * @lower: in: the new root; out: the old one; with their references
 *
 * May sleep.
 */
void bc_lower_replace(struct bc_mount *mount, struct path *lower)
{
	struct bc_lower_probe *probe;

	spin_lock(&mount->lower_lock);
	swap(mount->lower, *lower);
	WRITE_ONCE(mount->lower_generation, mount->lower_generation + 1);
	WRITE_ONCE(mount->in_vain_until, 0);
	bc_lower_set_type(mount);
	probe = trust(mount);
	bc_calls_miss(mount);
	spin_unlock(&mount->lower_lock);
	probe_drop(probe);
}

