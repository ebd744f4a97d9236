/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that do one thing to each file. */
#ifndef CACHECTL_FILECMD_H
#define CACHECTL_FILECMD_H

#include <stdbool.h>

#include "cachectl.h"
#include "netlink.h"
#include "walk.h"

/* The options of PATH ... [-r]. */
extern const struct option filecmd_options[];

/**
 * filecmd_parse - options and paths
 * @cmd: command with filecmd_options
 * @argc: from run
 * @argv: likewise
 * @recursive: out
 * Return: CTL_OK (paths begin at optind) or CTL_USAGE
 */
int filecmd_parse(const struct command *cmd, int argc, char **argv, bool *recursive);

/**
 * filecmd_send - one command about one open file
 * @nl: connection
 * @command: a command that takes BC_A_FD
 * @path: for the message
 * @fd: open file
 * @answer: out: what BC_A_RESIDENCY brought, or NULL; may be NULL
 * Return: 0 or a negative errno, which was told
 */
int filecmd_send(struct bcnl *nl, enum bc_cmd command, const char *path, int fd,
		 json_t **answer);

/**
 * filecmd_run - send a command for each file and say how many
 * @cmd: command with filecmd_options
 * @argc: from run
 * @argv: likewise
 * @command: what to send
 * @done: "pinned", for "pinned 12 files, 3.4 GiB"
 * Return: exit code
 */
int filecmd_run(const struct command *cmd, int argc, char **argv, enum bc_cmd command,
		const char *done);

/* filecmd_report - "DONE 12 files, 3.4 GiB", or as JSON */
int filecmd_report(const struct walk *walk, const char *done);

/* filecmd_bound - does a BC_A_RESIDENCY answer tell of a known version? */
bool filecmd_bound(const json_t *residency);

/* filecmd_schema - begin a JSON answer named after the command as typed, "pin.add" */
json_t *filecmd_schema(void);

#endif /* CACHECTL_FILECMD_H */
