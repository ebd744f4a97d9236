// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl: entry and command tree. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cachectl.h"
#include "complete.h"

static const struct command *const root_sub[] = {
	&cmd_status, &cmd_stats, &cmd_device, &cmd_mount, &cmd_disk, &cmd_image,
	&cmd_prefetch, &cmd_pin, &cmd_evict, &cmd_flush, &cmd_residency, &cmd_requests, NULL,
};

const struct command cmd_root = {
	.name = "cachectl",
	.usage = "[--json] COMMAND ...",
	.sub = root_sub,
	.help =
"\n"
"The cache in five steps:\n"
"  cachectl device format /dev/nvme1n1           make a tier (once)\n"
"  cachectl device attach /dev/nvme1n1           after each boot\n"
"  cachectl mount attach /mnt/data --source azure://ACCOUNT.blob.core.windows.net/CONTAINER\n"
"                                                lay the cache over an existing mount\n"
"  cachectl prefetch -r --wait /mnt/data/train   fill it before the job starts\n"
"  cachectl status                               is it well, what does it hold\n"
"\n"
"'cachectl COMMAND --help' explains one command, with examples. Sizes are in KiB,\n"
"MiB, GiB; --json prints exact bytes. Exit codes: 0 ok, 1 failed, 2 wrong usage,\n"
"3 nothing there or module not loaded.\n",
};

static int run(const struct command *cmd, int argc, char **argv)
{
	const struct command *sub;

	optind = 0;
	/* One that has both is followed by a command's name, or it is meant itself. */
	if (cmd->run && !(cmd->sub && argc > 1 && ctl_find(cmd, argv[1])))
		return cmd->run(cmd, argc, argv);
	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	if (optind == argc) {
		ctl_help(stderr, cmd);
		return CTL_USAGE;
	}
	sub = ctl_find(cmd, argv[optind]);
	if (!sub)
		return ctl_unknown(cmd, argv[optind]);
	ctl_descend(sub);
	return run(sub, argc - optind, argv + optind);
}

/* "cachectl help device format" */
static int help_command(int argc, char **argv)
{
	const struct command *cmd = &cmd_root, *sub;
	int i;

	for (i = 0; i < argc; i++) {
		sub = cmd->sub ? ctl_find(cmd, argv[i]) : NULL;
		if (!sub)
			return cmd->sub ? ctl_unknown(cmd, argv[i]) :
				ctl_usage("'%s' has no commands of its own", ctl.path);
		cmd = sub;
		ctl_descend(cmd);
	}
	ctl_help(stdout, cmd);
	return CTL_OK;
}

int main(int argc, char **argv)
{
	int rc;

	if (argc > 1 && !strcmp(argv[1], "__complete"))
		return complete(argc - 2, argv + 2);
	if (argc > 1 && !strcmp(argv[1], "help"))
		return help_command(argc - 2, argv + 2);
	if (argc > 1 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version"))) {
		printf("cachectl %s\n", BLOBCACHE_VERSION);
		return CTL_OK;
	}
	rc = run(&cmd_root, argc, argv);
	if (fflush(stdout) && rc == CTL_OK)
		rc = ctl_fail("cannot write the output: %s", strerror(errno));
	return rc;
}
