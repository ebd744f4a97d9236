// SPDX-License-Identifier: GPL-2.0-or-later
/* Disks: asking the kernel for them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cachectl.h"
#include "disk.h"
#include "output.h"

/* How long a disk that is open is asked for again, and how often. */
#define BUSY_MS		3000
#define BUSY_PAUSE_MS	100

static int check_name(const char *name)
{
	if (!*name)
		return ctl_usage("%s: the object's name gives none for the disk: choose one with --name",
				 ctl.path);
	if (strlen(name) > BC_DISK_NAME_MAX)
		return ctl_usage("%s: '%s' is longer than the %d bytes that the name of a disk may have",
				 ctl.path, name, BC_DISK_NAME_MAX);
	return CTL_OK;
}

int disk_wish_place(struct disk_wish *wish, const char *url, const char *volume,
		    const char *name)
{
	const char *wrong = diskname_split(url, volume, &wish->place);
	int rc;

	if (wrong)
		return ctl_usage("%s: '%s' is no object: %s", ctl.path, url, wrong);
	if (!name)
		return check_name(diskname_default(wish->place.path, wish->name));
	rc = check_name(name);
	if (!rc)
		snprintf(wish->name, sizeof(wish->name), "%s", name);
	return rc;
}

int disk_attach(struct bcnl *nl, const struct disk_wish *wish)
{
	struct nl_msg *message = bcnl_message(nl, BC_CMD_DISK_ATTACH);
	struct nlattr *nest = nla_nest_start(message, BC_A_DISK);

	nla_put_string(message, BC_DISK_A_NAME, wish->name);
	nla_put_string(message, BC_DISK_A_SOURCE, wish->place.source);
	nla_put_string(message, BC_DISK_A_PATH, wish->place.path);
	if (wish->domain)
		nla_put_string(message, BC_DISK_A_DOMAIN, wish->domain);
	nla_put_u32(message, BC_DISK_A_ON_DAEMON_LOSS, wish->on_daemon_loss);
	if (wish->deadline_ms)
		nla_put_u64(message, BC_DISK_A_DEADLINE_MS, wish->deadline_ms);
	if (wish->block_size)
		nla_put_u32(message, BC_DISK_A_BLOCK_SIZE, wish->block_size);
	nla_nest_end(message, nest);
	return bcnl_do(nl, message, BC_A_UNSPEC, NULL) ? bcnl_failed(nl, wish->name) : CTL_OK;
}

static int failed(const struct bcnl *nl, const char *name, int error)
{
	bcnl_failed(nl, name);
	return error == -ENOENT ? CTL_NOTHING : CTL_FAILED;
}

static int ask_once(struct bcnl *nl, enum bc_cmd command, const char *name, bool force)
{
	struct nl_msg *message = bcnl_message(nl, command);
	struct nlattr *nest = nla_nest_start(message, BC_A_DISK);

	nla_put_string(message, BC_DISK_A_NAME, name);
	if (force)
		nla_put_u32(message, BC_DISK_A_FORCE, 1);
	nla_nest_end(message, nest);
	return bcnl_do(nl, message, BC_A_UNSPEC, NULL);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* udev opens what is new to look at it: who is there for a moment only is waited for. */
static int ask(struct bcnl *nl, enum bc_cmd command, const char *name, bool force)
{
	const struct timespec pause = { .tv_nsec = BUSY_PAUSE_MS * 1000000L };
	int64_t end = now_ms() + BUSY_MS;
	int rc;

	/* A refresh asks the store each time: that may take longer than all pauses. */
	while ((rc = ask_once(nl, command, name, force)) == -EBUSY && now_ms() < end)
		nanosleep(&pause, NULL);
	return rc ? failed(nl, name, rc) : CTL_OK;
}

int disk_detach(struct bcnl *nl, const char *name, bool force)
{
	return ask(nl, BC_CMD_DISK_DETACH, name, force);
}

int disk_refresh(struct bcnl *nl, const char *name)
{
	return ask(nl, BC_CMD_DISK_REFRESH, name, false);
}

json_t *disk_find(struct bcnl *nl, const char *name)
{
	json_t *disks, *disk, *found = NULL;
	size_t i;

	if (bcnl_dump(nl, BC_CMD_DISK_GET, BC_A_DISK, &disks))
		return NULL;
	json_array_foreach(disks, i, disk)
		if (!strcmp(out_str(disk, "name"), name))
			found = json_incref(disk);
	json_decref(disks);
	return found;
}
