// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl evict: free cached data. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "blkdev.h"
#include "cachectl.h"
#include "filecmd.h"
#include "netlink.h"
#include "output.h"

enum {
	OPT_DEVICE = CTL_OPT_OWN,
	OPT_DEMOTE,
};

static const struct option options[] = {
	{ "recursive", no_argument, NULL, 'r' },
	{ "demote", no_argument, NULL, OPT_DEMOTE },
	{ "device", required_argument, NULL, OPT_DEVICE },
	{ 0 }
};

static int show_device(const char *path)
{
	json_t *answer;

	if (!ctl.json) {
		printf("evicted all clean, unpinned chunks of %s\n", path);
		return CTL_OK;
	}
	answer = filecmd_schema();
	json_object_set_new(answer, "device", out_text(path, strlen(path)));
	return out_json(stdout, answer, 0);
}

static int evict_device(const char *device)
{
	char path[4096];
	struct nl_msg *message;
	struct bcnl *nl;
	int rc = bcnl_open(&nl);

	if (rc)
		return rc;
	message = bcnl_message(nl, BC_CMD_EVICT);
	nla_put_string(message, BC_A_DEVICE, blkdev_canonical(device, path));
	rc = bcnl_do(nl, message, BC_A_UNSPEC, NULL);
	if (rc == -ENOENT || rc == -ENODEV)
		rc = (bcnl_failed(nl, path), CTL_NOTHING);
	else if (rc)
		rc = bcnl_failed(nl, path);
	else
		rc = show_device(path);
	bcnl_close(nl);
	return rc;
}

struct each {
	struct bcnl *nl;
	enum bc_cmd command;
};

static int each_file(const char *path, int fd, uint64_t size, void *arg)
{
	const struct each *each = arg;

	(void)size;
	return filecmd_send(each->nl, each->command, path, fd, NULL);
}

static int for_paths(char *const *paths, bool recursive, enum bc_cmd command, const char *done)
{
	struct each each = { .command = command };
	struct walk walk;
	int shown, rc = bcnl_open(&each.nl);

	if (rc)
		return rc;
	rc = walk_files(paths, recursive, each_file, &each, &walk);
	bcnl_close(each.nl);
	if (rc && !walk.files)
		return rc;
	shown = filecmd_report(&walk, done);
	return rc ? rc : shown;
}

static int run_evict(const struct command *cmd, int argc, char **argv)
{
	bool recursive = false, demote = false;
	const char *device = NULL;
	int opt;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1) {
		if (opt == OPT_DEVICE)
			device = optarg;
		else if (opt == OPT_DEMOTE)
			demote = true;
		else
			recursive = true;
	}
	if (!device == !argv[optind])
		return ctl_usage("%s: give either paths or --device", ctl.path);
	if (demote && device)
		return ctl_usage("%s: --demote is for paths", ctl.path);
	if (device)
		return evict_device(device);
	return for_paths(argv + optind, recursive, demote ? BC_CMD_DEMOTE : BC_CMD_EVICT,
			 demote ? "demoted" : "evicted");
}

const struct command cmd_evict = {
	.name = "evict",
	.summary = "free cached data of files, or of a whole tier",
	.usage = "[-r] [--demote] PATH ... | --device DEVICE",
	.options = options,
	.run = run_evict,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"Only clean data goes: the next read fetches it again. Pinned files stay; naming one is an\n"
"error.\n"
"\n"
"Options\n"
"  -r, --recursive      all files below directories\n"
"      --demote         free nothing yet, but let these go before all others, until they are\n"
"                       read again: for a dataset that is done\n"
"      --device DEVICE  everything on this tier\n"
"\n"
"Examples\n"
"  cachectl evict -r /mnt/data/epoch-old\n"
"  cachectl evict -r --demote /mnt/data/imagenet\n"
"  cachectl evict --device /dev/nvme1n1\n",
};
