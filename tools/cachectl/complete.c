// SPDX-License-Identifier: GPL-2.0-or-later
/* Completion: the command tree tells it, so that it cannot fall behind. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "cachectl.h"
#include "complete.h"
#include "diskname.h"
#include "mountinfo.h"

static void print_options(const struct command *cmd)
{
	struct option all[CTL_OPTIONS_MAX];
	const struct option *o;

	ctl_options(cmd, all);
	for (o = all; o->name; o++)
		printf("--%s\n", o->name);
}

static void print_mount(const struct mountinfo *mount, void *arg)
{
	(void)arg;
	if (!strcmp(mount->type, "blobcache"))
		printf("%s\n", mount->target);
}

/* By their nodes: who completes need not be allowed to ask the kernel. */
static void print_disks(void)
{
	DIR *nodes = opendir(DISKNAME_DIR);
	struct dirent *entry;

	if (!nodes)
		return;
	while ((entry = readdir(nodes)))
		if (*entry->d_name != '.' && strcmp(entry->d_name, BC_DEV_CONTROL))
			printf("%s\n", entry->d_name);
	closedir(nodes);
}

static void print_arguments(enum ctl_arg arg)
{
	switch (arg) {
	case CTL_ARG_PATH:
		puts(":path");
		break;
	case CTL_ARG_DIR:
		puts(":dir");
		break;
	case CTL_ARG_DEVICE:
	case CTL_ARG_TIER:
		puts(":device");
		break;
	case CTL_ARG_MOUNT:
		mountinfo_each(print_mount, NULL);
		break;
	case CTL_ARG_DISK:
		print_disks();
		break;
	case CTL_ARG_NONE:
		break;
	}
}

/* Does the word before the one being typed want a value? */
static bool wants_value(const struct command *cmd, const char *word)
{
	const struct option *o;

	for (o = cmd->options; o && o->name; o++) {
		if (o->has_arg != required_argument)
			continue;
		if (!strncmp(word, "--", 2) && !strcmp(word + 2, o->name))
			return true;
		if (word[0] == '-' && word[1] == o->val && !word[2])
			return true;
	}
	return false;
}

int complete(int argc, char **argv)
{
	const struct command *cmd = &cmd_root, *next;
	const struct command *const *sub;
	int i;

	for (i = 0; i + 1 < argc; i++) {
		next = cmd->sub ? ctl_find(cmd, argv[i]) : NULL;
		if (next)
			cmd = next;
	}
	if (argc > 1 && wants_value(cmd, argv[argc - 2])) {
		puts(":path");
		return CTL_OK;
	}
	if (argc && argv[argc - 1][0] == '-') {
		print_options(cmd);
		return CTL_OK;
	}
	for (sub = cmd->sub; sub && *sub; sub++)
		puts((*sub)->name);
	print_arguments(cmd->arg);
	return CTL_OK;
}
