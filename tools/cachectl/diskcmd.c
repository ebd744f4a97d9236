// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl disk: an object as a block device. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachectl.h"
#include "disk.h"
#include "disklist.h"
#include "dumpcmd.h"
#include "filecmd.h"
#include "format.h"
#include "interrupt.h"
#include "output.h"
#include "prefetch.h"

enum {
	OPT_NAME = CTL_OPT_OWN,
	OPT_VOLUME,
	OPT_DOMAIN,
	OPT_LOSS,
	OPT_DEADLINE,
	OPT_BLOCK,
	OPT_PIN,
	OPT_PREFETCH,
	OPT_FORCE,
};

/* --- attach --- */

struct attach_request {
	struct disk_wish wish;
	const char *name, *volume;
	bool pin, prefetch;
};

static const struct option attach_options[] = {
	{ "name", required_argument, NULL, OPT_NAME },
	{ "volume", required_argument, NULL, OPT_VOLUME },
	{ "domain", required_argument, NULL, OPT_DOMAIN },
	{ "on-daemon-loss", required_argument, NULL, OPT_LOSS },
	{ "deadline", required_argument, NULL, OPT_DEADLINE },
	{ "block-size", required_argument, NULL, OPT_BLOCK },
	{ "pin", no_argument, NULL, OPT_PIN },
	{ "prefetch", no_argument, NULL, OPT_PREFETCH },
	{ 0 }
};

static int set_loss(struct attach_request *request, const char *value)
{
	if (strcmp(value, "wait") && strcmp(value, "fail"))
		return ctl_usage("%s: --on-daemon-loss is 'wait' or 'fail', not '%s'", ctl.path,
				 value);
	request->wish.on_daemon_loss = *value == 'w' ? BC_LOSS_WAIT : BC_LOSS_FAIL;
	return CTL_OK;
}

static int attach_option(struct attach_request *request, int opt)
{
	switch (opt) {
	case OPT_NAME:
		request->name = optarg;
		break;
	case OPT_VOLUME:
		request->volume = optarg;
		break;
	case OPT_DOMAIN:
		request->wish.domain = optarg;
		break;
	case OPT_LOSS:
		return set_loss(request, optarg);
	case OPT_DEADLINE:
		if (parse_ms(optarg, &request->wish.deadline_ms))
			return ctl_usage("%s: '%s' is no time", ctl.path, optarg);
		break;
	case OPT_BLOCK:
		if (parse_u32(optarg, 1, UINT32_MAX, &request->wish.block_size))
			return ctl_usage("%s: '%s' is no block size", ctl.path, optarg);
		break;
	case OPT_PIN:
		request->pin = true;
		break;
	case OPT_PREFETCH:
		request->prefetch = true;
		break;
	}
	return CTL_OK;
}

/* In a child: with a connection of its own. */
static int pin_step(void *arg)
{
	const char *path = arg;
	int rc, fd = open(path, O_RDONLY | O_CLOEXEC);
	struct bcnl *nl;

	if (fd < 0)
		return ctl_fail("%s: cannot open %s to pin it: %s", ctl.path, path,
				strerror(errno));
	rc = bcnl_open(&nl);
	if (!rc) {
		rc = filecmd_send(nl, BC_CMD_PIN_ADD, path, fd, NULL) ? CTL_FAILED : CTL_OK;
		bcnl_close(nl);
	}
	close(fd);
	return rc;
}

static int attach_pinned(struct bcnl *nl, const struct disk_wish *wish, char *path)
{
	pid_t child = 0;
	sigset_t old;
	int rc;

	interrupt_hold(&old);
	rc = disk_attach(nl, wish);
	if (!rc) {
		rc = interrupt_run(&old, pin_step, path, &child);
		/* Nobody was told of it; who looks at it all the same, as udev does, may fail. */
		if (rc)
			disk_detach(nl, wish->name, true);
		if (rc == INTERRUPT_HIT)
			waitpid(child, NULL, 0);
	}
	interrupt_release(&old);
	return rc == INTERRUPT_HIT ? CTL_FAILED : rc;
}

static int show_attached(struct bcnl *nl, const char *name, const char *path)
{
	json_t *answer, *disk = disk_find(nl, name);
	char size[FMT_SIZE];

	if (ctl.json) {
		answer = filecmd_schema();
		json_object_set_new(answer, "path", json_string(path));
		if (disk)
			json_object_set_new(answer, "disk", disk);
		return out_json(stdout, answer, 0);
	}
	printf("attached %s, %s, version %s\n", path, fmt_bytes(size, out_num(disk, "size")),
	       out_str(disk, "etag"));
	json_decref(disk);
	return CTL_OK;
}

static int attach(struct bcnl *nl, const struct attach_request *request)
{
	const char *name = request->wish.name;
	char path[DISKNAME_PATH];
	int rc;

	diskname_path(name, path);
	rc = request->pin ? attach_pinned(nl, &request->wish, path) :
			    disk_attach(nl, &request->wish);
	if (rc)
		return rc;
	rc = show_attached(nl, name, path);
	if (!rc && request->prefetch)
		rc = prefetch_path(nl, path);
	return rc;
}

static int run_attach(const struct command *cmd, int argc, char **argv)
{
	struct attach_request request = { .wish.on_daemon_loss = BC_LOSS_WAIT };
	int opt, rc = CTL_OK;
	struct bcnl *nl;

	while (!rc && (opt = ctl_getopt(cmd, argc, argv)) != -1)
		rc = attach_option(&request, opt);
	if (rc)
		return rc;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one object", ctl.path);
	rc = disk_wish_place(&request.wish, argv[optind], request.volume, request.name);
	if (!rc)
		rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = attach(nl, &request);
	bcnl_close(nl);
	return rc;
}

/* --- detach --- */

static const struct option detach_options[] = {
	{ "force", no_argument, NULL, OPT_FORCE },
	{ 0 }
};

static int show_detached(const char *name)
{
	json_t *answer;

	if (!ctl.json) {
		printf("detached %s\n", name);
		return CTL_OK;
	}
	answer = filecmd_schema();
	json_object_set_new(answer, "name", json_string(name));
	return out_json(stdout, answer, 0);
}

static int run_detach(const struct command *cmd, int argc, char **argv)
{
	bool force = false;
	const char *name;
	struct bcnl *nl;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		force = true;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one disk", ctl.path);
	name = diskname_of(argv[optind]);
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = disk_detach(nl, name, force);
	bcnl_close(nl);
	return rc ? rc : show_detached(name);
}

/* --- refresh --- */

static int show_refreshed(const char *name, const json_t *before, const json_t *after)
{
	bool changed = strcmp(out_str(before, "etag"), out_str(after, "etag"));
	json_t *answer;

	if (ctl.json) {
		answer = filecmd_schema();
		json_object_set_new(answer, "name", json_string(name));
		json_object_set_new(answer, "changed", json_boolean(changed));
		json_object_set_new(answer, "etag", json_string(out_str(after, "etag")));
		return out_json(stdout, answer, 0);
	}
	if (changed)
		printf("%s is of version %s now, was %s\n", name, out_str(after, "etag"),
		       out_str(before, "etag"));
	else
		printf("%s is of the version that the store has: %s\n", name,
		       out_str(after, "etag"));
	return CTL_OK;
}

static int run_refresh(const struct command *cmd, int argc, char **argv)
{
	json_t *before, *after;
	const char *name;
	struct bcnl *nl;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one disk", ctl.path);
	name = diskname_of(argv[optind]);
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	before = disk_find(nl, name);
	rc = disk_refresh(nl, name);
	after = rc ? NULL : disk_find(nl, name);
	bcnl_close(nl);
	if (!rc)
		rc = show_refreshed(name, before, after);
	json_decref(before);
	json_decref(after);
	return rc;
}

/* --- list --- */

static int run_list(const struct command *cmd, int argc, char **argv)
{
	static const struct dump dump = {
		.command = BC_CMD_DISK_GET,
		.attribute = BC_A_DISK,
		.key = "disks",
		.columns = disklist_columns,
		.nothing = "no disk is attached; 'cachectl disk attach --help' shows how",
	};

	return dumpcmd_run(cmd, argc, argv, &dump);
}

static const struct command disk_attach_command = {
	.name = "attach",
	.summary = "make a read-only disk of an object",
	.usage = "[OPTION ...] OBJECT",
	.options = attach_options,
	.run = run_attach,
	.help =
"\n"
"The disk is " DISKNAME_DIR "NAME. It is the version that the store has now, for good. What is read of it\n"
"is kept on the tiers as files are, and shared with files: the same object in a mount and as a disk\n"
"is there once. Without a daemon what is cached can be read.\n"
"\n"
"Options\n"
"      --name NAME       default: the object's name without its ending; 21 bytes at most\n"
"      --volume VOLUME   which part of OBJECT is the source that the daemon knows (default:\n"
"                        azure://HOST/CONTAINER; the directory of a file)\n"
"      --domain TEXT     nodes share cached data of one source and domain only\n"
"      --on-daemon-loss wait|fail   misses while the daemon is away (default wait)\n"
"      --deadline TIME   how long a read waits before it fails (default 30s)\n"
"      --block-size N    512 (default) or 4096; filesystems with blocks of 1 KiB need 512\n"
"      --pin             keep on the tiers what comes of it\n"
"      --prefetch        fetch all of it now, and wait for that\n"
"\n"
"Examples\n"
"  cachectl disk attach azure://acct.blob.core.windows.net/train/imagenet.erofs --pin --prefetch\n"
"  mount -t erofs -o ro " DISKNAME_DIR "imagenet /mnt/imagenet\n",
};

static const struct command disk_detach_command = {
	.name = "detach",
	.summary = "take a disk away",
	.usage = "[--force] NAME",
	.options = detach_options,
	.run = run_detach,
	.arg = CTL_ARG_DISK,
	.help =
"\n"
"What is cached of it stays on the tiers. One that is open, mounted for example, is not detached;\n"
"it is tried for some seconds.\n"
"\n"
"Options\n"
"      --force  detach it even so: what waits fails, a filesystem on it gets errors; who reads the\n"
"               device itself finds its end there, and a copy of it that was under way is short\n"
"\n"
"Example\n"
"  umount /mnt/imagenet && cachectl disk detach imagenet\n",
};

static const struct command disk_list_command = {
	.name = "list",
	.summary = "the disks: object, size, how much of it is here, state",
	.usage = "",
	.run = run_list,
	.help =
"\n"
"State: live; stale: the store has another version, or none: what is not cached cannot be read;\n"
"leaving: it is being detached.\n"
"\n"
"Example\n"
"  cachectl disk list --json | jq -r '.disks[] | select(.state == \"stale\") | .name'\n",
};

static const struct command disk_refresh_command = {
	.name = "refresh",
	.summary = "let a disk be of the version that the store has now",
	.usage = "NAME",
	.run = run_refresh,
	.arg = CTL_ARG_DISK,
	.help =
"\n"
"If the version is another one, nobody may have the disk open. One that is pinned stays so, with\n"
"the new version.\n"
"\n"
"Example\n"
"  umount /mnt/imagenet && cachectl disk refresh imagenet\n",
};

static const struct command *const disk_sub[] = {
	&disk_attach_command, &disk_detach_command, &disk_refresh_command, &disk_list_command,
	NULL,
};

const struct command cmd_disk = {
	.name = "disk",
	.summary = "an object as a read-only disk: attach, detach, refresh, list",
	.usage = "COMMAND ...",
	.sub = disk_sub,
	.help =
"\n"
"'cachectl prefetch', 'pin', 'residency' and 'evict' take a disk's path, too.\n"
"\n"
"Examples\n"
"  cachectl disk attach azure://acct.blob.core.windows.net/train/imagenet.erofs\n"
"  cachectl prefetch --wait " DISKNAME_DIR "imagenet\n"
"  cachectl disk list\n",
};
