/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that show all of something that the kernel has. */
#ifndef CACHECTL_DUMPCMD_H
#define CACHECTL_DUMPCMD_H

#include "cachectl.h"
#include "netlink.h"
#include "output.h"

struct dump {
	enum bc_cmd command;		/* to dump */
	enum bc_attr attribute;		/* of one of them */
	const char *key;		/* of the array in the JSON answer */
	const struct out_column *columns;
	const char *nothing;		/* said if there is none */
};

/**
 * dumpcmd_run - a command without arguments that shows a dump as a table or as JSON
 * @cmd: command
 * @argc: from run
 * @argv: likewise
 * @dump: of what
 * Return: exit code
 */
int dumpcmd_run(const struct command *cmd, int argc, char **argv, const struct dump *dump);

#endif /* CACHECTL_DUMPCMD_H */
