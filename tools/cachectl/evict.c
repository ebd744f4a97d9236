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
};

static const struct option options[] = {
	{ "recursive", no_argument, NULL, 'r' },
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

static int evict_one(const char *path, int fd, uint64_t size, void *arg)
{
	(void)size;
	return filecmd_send(arg, BC_CMD_EVICT, path, fd, NULL);
}

static int evict_paths(char *const *paths, bool recursive)
{
	struct walk walk;
	struct bcnl *nl;
	int shown, rc = bcnl_open(&nl);

	if (rc)
		return rc;
	rc = walk_files(paths, recursive, evict_one, nl, &walk);
	bcnl_close(nl);
	if (rc && !walk.files)
		return rc;
	shown = filecmd_report(&walk, "evicted");
	return rc ? rc : shown;
}

static int run_evict(const struct command *cmd, int argc, char **argv)
{
	const char *device = NULL;
	bool recursive = false;
	int opt;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1) {
		if (opt == OPT_DEVICE)
			device = optarg;
		else
			recursive = true;
	}
	if (!device == !argv[optind])
		return ctl_usage("%s: give either paths or --device", ctl.path);
	return device ? evict_device(device) : evict_paths(argv + optind, recursive);
}

const struct command cmd_evict = {
	.name = "evict",
	.summary = "free cached data of files, or of a whole tier",
	.usage = "[-r] PATH ... | --device DEVICE",
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
"      --device DEVICE  everything on this tier\n"
"\n"
"Examples\n"
"  cachectl evict -r /mnt/data/epoch-old\n"
"  cachectl evict --device /dev/nvme1n1\n",
};
