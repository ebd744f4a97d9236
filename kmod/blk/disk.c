// SPDX-License-Identifier: GPL-2.0-only
/*
 * The disks and their life: attached, refreshed, detached. See blk.h for lifetimes and locks.
 *
 * A name is taken from before its disk can be opened until its device is gone, since two
 * devices cannot have one name. Who attaches, refreshes or takes away sleeps without disks_mutex;
 * the state, or taken, says that the disk is in somebody's hands.
 */
#include <linux/atomic.h>
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "blk.h"
#include "disk.h"

/* For one answer of the store. */
#define RESOLVE_MS	10000

/* Who has a disk in his hands, and whose reads fail, lets it go. */
#define TAKE_MS		(RESOLVE_MS + 20000)

static DEFINE_MUTEX(disks_mutex);
static LIST_HEAD(disks);		/* in order of ids */
static atomic_t disks_count;		/* of those that are attached */
static atomic_t disks_given;		/* how often one left somebody's hands */
static DECLARE_WAIT_QUEUE_HEAD(disks_wait);

static const struct bc_object_ops object_ops = {};

void bc_disk_free(struct bc_disk *disk)
{
	if (disk->object)
		bc_object_put(disk->object);
	if (disk->client)
		bc_client_destroy(disk->client);
	kfree(disk->options.name);
	kfree(disk->options.source);
	kfree(disk->options.domain);
	kfree(disk->options.path);
	kfree(disk);
}

static struct bc_disk *disk_new(const struct bc_disk_options *options)
{
	struct bc_disk *disk = kzalloc(sizeof(*disk), GFP_KERNEL);

	if (!disk)
		return NULL;
	disk->options = *options;
	disk->options.name = kstrdup(options->name, GFP_KERNEL);
	disk->options.source = kstrdup(options->source, GFP_KERNEL);
	disk->options.domain = kstrdup(options->domain, GFP_KERNEL);
	disk->options.path = kstrdup(options->path, GFP_KERNEL);
	if (disk->options.name && disk->options.source && disk->options.path &&
	    (disk->options.domain || !options->domain))
		return disk;
	bc_disk_free(disk);
	return NULL;
}

static struct bc_disk *find(const char *name)
{
	struct bc_disk *disk;

	lockdep_assert_held(&disks_mutex);
	list_for_each_entry(disk, &disks, node) {
		if (!strcmp(disk->options.name, name))
			return disk;
	}
	return NULL;
}

/* Return: false if the name is taken. */
static bool table_add(struct bc_disk *disk)
{
	static u64 last;
	bool added;

	disk->state = BC_DISK_ATTACHING;
	mutex_lock(&disks_mutex);
	added = !find(disk->options.name);
	if (added) {
		disk->id = ++last;
		list_add_tail(&disk->node, &disks);
	}
	mutex_unlock(&disks_mutex);
	return added;
}

static void tell_waiters(void)
{
	atomic_inc(&disks_given);
	wake_up_all(&disks_wait);
}

static void table_del(struct bc_disk *disk)
{
	mutex_lock(&disks_mutex);
	list_del(&disk->node);
	mutex_unlock(&disks_mutex);
	tell_waiters();
}

static void set_state(struct bc_disk *disk, enum bc_disk_state state)
{
	mutex_lock(&disks_mutex);
	WRITE_ONCE(disk->state, state);
	mutex_unlock(&disks_mutex);
	tell_waiters();
}

static void explain_resolve(struct netlink_ext_ack *extack, int error)
{
	switch (error) {
	case -ENOENT:
		NL_SET_ERR_MSG(extack, "the store has no such object: check source and path");
		break;
	case -EACCES:
		NL_SET_ERR_MSG(extack, "the store denies access: check the daemon's credentials for this source (its log says more)");
		break;
	case -EOPNOTSUPP:
		NL_SET_ERR_MSG(extack, "the daemon does not serve this source (see its configuration), or the object has no strong ETag of up to 64 bytes");
		break;
	case -ENOTCONN:
		NL_SET_ERR_MSG(extack, "no daemon answers: start blobcached");
		break;
	case -ETIMEDOUT:
		NL_SET_ERR_MSG(extack, "the store did not answer in time: see the daemon's log");
		break;
	case -EIO:
		NL_SET_ERR_MSG(extack, "the daemon could not ask the store: see its log");
		break;
	}
}

static int make_client(struct bc_disk *disk)
{
	const struct bc_client_options options = {
		.source = disk->options.source,
		.domain = disk->options.domain,
		.on_daemon_loss = disk->options.on_daemon_loss,
		.deadline_ms = disk->options.deadline_ms,
		.lower_workers = 1,		/* there is no lower */
	};
	struct bc_client *client = bc_client_create(&options);

	if (IS_ERR(client))
		return PTR_ERR(client);
	disk->client = client;
	return 0;
}

/* Which version has the store now? */
static int resolve(const struct bc_disk *disk, struct bc_version *version,
		   struct netlink_ext_ack *extack)
{
	int error = bc_resolve(disk->client, disk->options.path, RESOLVE_MS, version);

	if (error) {
		explain_resolve(extack, error);
		return error;
	}
	if (version->size)
		return 0;
	NL_SET_ERR_MSG(extack, "the object is empty: it cannot be a disk");
	return -ENODATA;
}

/* The version is known: the object, which is open from now on, and the device. */
static int disk_start(struct bc_disk *disk, struct netlink_ext_ack *extack)
{
	struct bc_object *object = bc_object_create(disk->client, disk->options.path,
						    &disk->version, &object_ops, disk);
	int error;

	if (IS_ERR(object))
		return PTR_ERR(object);
	disk->object = object;
	bc_object_open(object);
	error = bc_disk_add(disk);
	if (!error)
		return 0;
	NL_SET_ERR_MSG(extack, "the block device could not be made");
	bc_object_close(disk->object);
	return error;
}

static bool name_valid(const char *name)
{
	const char *c;

	if (!*name || *name == '.' || !strcmp(name, BC_DEV_CONTROL))
		return false;
	for (c = name; *c; c++) {
		if (!isascii(*c) || !(isalnum(*c) || strchr("._-", *c)))
			return false;
	}
	return c - name <= BC_DISK_NAME_MAX;
}

/* Nodes must agree on the source: mounts leave out what it ends with. */
static bool ends_with_slash(const char *source)
{
	const char *name = strstr(source, "://") + 3;

	return name[1] && name[strlen(name) - 1] == '/';
}

static int check(const struct bc_disk_options *options, struct netlink_ext_ack *extack)
{
	if (!name_valid(options->name)) {
		NL_SET_ERR_MSG(extack, "not a name for a disk: letters, digits, '-', '_' and '.', the first not a '.'; 21 at most; not 'control'");
		return -EINVAL;
	}
	if (!bc_source_valid(options->source)) {
		NL_SET_ERR_MSG(extack, "source is not of the form azure://HOST/CONTAINER or file:///DIR");
		return -EINVAL;
	}
	if (ends_with_slash(options->source)) {
		NL_SET_ERR_MSG(extack, "source ends with '/': leave that out");
		return -EINVAL;
	}
	if (!*options->path || !bc_path_valid(options->path)) {
		NL_SET_ERR_MSG(extack, "not the path of an object in its source");
		return -EINVAL;
	}
	if (options->domain && !*options->domain) {
		NL_SET_ERR_MSG(extack, "the trust domain is empty: leave it out");
		return -EINVAL;
	}
	if (options->on_daemon_loss != BC_LOSS_WAIT && options->on_daemon_loss != BC_LOSS_FAIL) {
		NL_SET_ERR_MSG(extack, "a disk has no lower: without a daemon it waits or fails");
		return -EINVAL;
	}
	if (options->block_size != SECTOR_SIZE && options->block_size != BC_DISK_BLOCK_MAX) {
		NL_SET_ERR_MSG(extack, "the block size is 512 or 4096");
		return -EINVAL;
	}
	if (options->deadline_ms < BC_DEADLINE_MIN_MS ||
	    options->deadline_ms > BC_DEADLINE_MAX_MS) {
		NL_SET_ERR_MSG(extack, "the deadline is between 1 s and 90 s");
		return -EINVAL;
	}
	return 0;
}

int bc_disk_attach(const struct bc_disk_options *options, struct netlink_ext_ack *extack)
{
	struct bc_disk *disk;
	int error = check(options, extack);

	if (error)
		return error;
	disk = disk_new(options);
	if (!disk)
		return -ENOMEM;
	if (!table_add(disk)) {
		NL_SET_ERR_MSG(extack, "a disk has this name, or is just being attached by it: see cachectl disk list");
		bc_disk_free(disk);
		return -EEXIST;
	}
	error = make_client(disk);
	if (!error)
		error = resolve(disk, &disk->version, extack);
	if (!error)
		error = disk_start(disk, extack);
	if (error) {
		table_del(disk);
		bc_disk_free(disk);
		return error;
	}
	atomic_inc(&disks_count);
	set_state(disk, BC_DISK_LIVE);
	return 0;
}

/* Take a disk into the caller's hands: nobody else takes it. Or ERR_PTR. */
static struct bc_disk *take(const char *name, struct netlink_ext_ack *extack)
{
	struct bc_disk *disk;
	int error = 0;

	mutex_lock(&disks_mutex);
	disk = find(name);
	if (!disk) {
		NL_SET_ERR_MSG(extack, "no such disk: see cachectl disk list");
		error = -ENOENT;
	} else if (disk->state != BC_DISK_LIVE || disk->taken) {
		NL_SET_ERR_MSG(extack, "somebody is attaching, refreshing or detaching it just now");
		error = -EBUSY;
	} else {
		disk->taken = true;
	}
	mutex_unlock(&disks_mutex);
	return error ? ERR_PTR(error) : disk;
}

static void give_back(struct bc_disk *disk)
{
	mutex_lock(&disks_mutex);
	disk->taken = false;
	mutex_unlock(&disks_mutex);
	tell_waiters();
}

/* What is waited for by whoever has the disk in his hands fails: reads that keep it open. */
static void kill_taken(const char *name)
{
	struct gendisk *gendisk = NULL;
	struct bc_disk *disk;

	mutex_lock(&disks_mutex);
	disk = find(name);
	if (disk && disk->state == BC_DISK_LIVE && disk->taken) {
		gendisk = disk->gendisk;
		get_device(disk_to_dev(gendisk));
	}
	mutex_unlock(&disks_mutex);
	if (!gendisk)
		return;
	bc_client_kill(disk->client);
	put_disk(gendisk);
}

/* Who takes it by force does not stand behind others who wait for what he is about to end. */
static struct bc_disk *take_by_force(const char *name, struct netlink_ext_ack *extack)
{
	unsigned long end = jiffies + msecs_to_jiffies(TAKE_MS);
	struct bc_disk *disk;
	long left;
	int given;

	for (;;) {
		given = atomic_read(&disks_given);
		disk = take(name, extack);
		if (disk != ERR_PTR(-EBUSY))
			return disk;
		kill_taken(name);
		left = max_t(long, end - jiffies, 0);
		left = wait_event_killable_timeout(disks_wait,
						   atomic_read(&disks_given) != given, left);
		if (left <= 0)
			return ERR_PTR(left ? -EINTR : -EBUSY);
	}
}

/* Of a disk that was taken: from now on nobody opens it. */
static int close_taken(struct bc_disk *disk, struct netlink_ext_ack *extack)
{
	int error = bc_disk_close(disk);

	if (error == -EBUSY)
		NL_SET_ERR_MSG(extack, "it is open: unmount what is mounted from it, and end who reads it (--force of detach fails their reads)");
	return error;
}

int bc_disk_detach(const char *name, bool force, struct netlink_ext_ack *extack)
{
	struct bc_disk *disk = force ? take_by_force(name, extack) : take(name, extack);
	struct gendisk *gendisk;
	int error;

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	error = force ? 0 : close_taken(disk, extack);
	if (error) {
		give_back(disk);
		return error;
	}
	set_state(disk, BC_DISK_LEAVING);
	gendisk = disk->gendisk;
	bc_disk_remove(disk, force);
	table_del(disk);
	atomic_dec(&disks_count);
	/* Frees the disk, or whoever closes the device as the last does. */
	put_disk(gendisk);
	return 0;
}

static bool same_version(const struct bc_version *a, const struct bc_version *b)
{
	return a->size == b->size && !strcmp(a->etag, b->etag);
}

/* A pin is of a version: the old one's was given up. */
static int pin_again(struct bc_disk *disk, struct netlink_ext_ack *extack)
{
	int error = bc_pin(disk->object, true);

	if (error)
		NL_SET_ERR_MSG(extack, "the disk is of the new version, but that could not be pinned: see cachectl pin list, and cachectl device list for room");
	return error;
}

static void table_replace(struct bc_disk *old, struct bc_disk *new)
{
	new->state = BC_DISK_ATTACHING;
	new->id = old->id;
	mutex_lock(&disks_mutex);
	list_replace(&old->node, &new->node);
	mutex_unlock(&disks_mutex);
}

/* The new disk takes the place of the old one, which is in the caller's hands, closed. */
static int replace(struct bc_disk *old, struct bc_disk *new, struct netlink_ext_ack *extack)
{
	struct gendisk *gendisk = old->gendisk;
	bool pinned = bc_pinned(old->object);
	int error;

	set_state(old, BC_DISK_LEAVING);
	if (pinned)
		bc_pin(old->object, false);
	bc_disk_remove(old, false);
	table_replace(old, new);
	put_disk(gendisk);
	error = disk_start(new, extack);
	if (error) {
		NL_SET_ERR_MSG(extack, "the disk of the old version is gone, and the one of the new could not be made: attach it anew");
		table_del(new);
		atomic_dec(&disks_count);
		bc_disk_free(new);
		return error;
	}
	if (pinned)
		error = pin_again(new, extack);
	set_state(new, BC_DISK_LIVE);
	return error;
}

/* One of the same place, of this version, without a device. Or ERR_PTR. */
static struct bc_disk *disk_of_version(const struct bc_disk *disk,
				       const struct bc_version *version)
{
	struct bc_disk *new = disk_new(&disk->options);
	int error;

	if (!new)
		return ERR_PTR(-ENOMEM);
	new->version = *version;
	error = make_client(new);
	if (!error)
		return new;
	bc_disk_free(new);
	return ERR_PTR(error);
}

/* The disk was taken, and can be opened until it is known that it must be replaced. */
static int refresh(struct bc_disk *disk, struct netlink_ext_ack *extack, bool *replaced)
{
	struct bc_version version = {};
	struct bc_disk *new;
	int error = resolve(disk, &version, extack);

	if (error)
		return error;
	/* One that is stale stays so, also if the store had lost its version for a while only. */
	if (same_version(&version, &disk->version) && !READ_ONCE(disk->stale))
		return 0;
	new = disk_of_version(disk, &version);
	if (IS_ERR(new))
		return PTR_ERR(new);
	error = close_taken(disk, extack);
	if (error) {
		bc_disk_free(new);
		return error;
	}
	*replaced = true;
	return replace(disk, new, extack);
}

int bc_disk_refresh(const char *name, struct netlink_ext_ack *extack)
{
	struct bc_disk *disk = take(name, extack);
	bool replaced = false;
	int error;

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	error = refresh(disk, extack, &replaced);
	if (!replaced)
		give_back(disk);
	return error;
}

/* Outside of disks_mutex: what is resident takes a look at each chunk of each tier. */
void bc_disk_tell(struct bc_disk *disk, struct bc_disk_info *info)
{
	enum bc_disk_state state = READ_ONCE(disk->state);

	info->name = disk->options.name;
	info->source = disk->options.source;
	info->domain = disk->options.domain;
	info->path = disk->options.path;
	info->version = &disk->version;
	info->state = READ_ONCE(disk->stale) && state == BC_DISK_LIVE ? BC_DISK_STALE : state;
	info->dev = disk_devt(disk->gendisk);
	info->block_size = disk->options.block_size;
	info->on_daemon_loss = disk->options.on_daemon_loss;
	info->deadline_ms = disk->options.deadline_ms;
	info->openers = disk_openers(disk->gendisk);
	info->resident = bc_residency(disk->object, NULL);
	info->pinned = bc_pinned(disk->object);
}

struct bc_disk *bc_disks_next(u64 *after)
{
	struct bc_disk *disk, *found = NULL;

	mutex_lock(&disks_mutex);
	list_for_each_entry(disk, &disks, node) {
		/* Of one that is being attached there is nothing to tell yet. */
		if (disk->id <= *after || disk->state == BC_DISK_ATTACHING)
			continue;
		/* The table's reference is there as long as the disk is in it. */
		get_device(disk_to_dev(disk->gendisk));
		*after = disk->id;
		found = disk;
		break;
	}
	mutex_unlock(&disks_mutex);
	return found;
}

void bc_disk_put(struct bc_disk *disk)
{
	put_disk(disk->gendisk);
}

int bc_disk_file_object(struct file *file, struct bc_object **object)
{
	struct bc_disk *disk = bc_disk_of_file(file);

	if (!disk)
		return -EINVAL;
	bc_object_get(disk->object);
	*object = disk->object;
	return 0;
}

u32 bc_disks_count(void)
{
	return atomic_read(&disks_count);
}
