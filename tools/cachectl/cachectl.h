/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame of cachectl: the command tree, option parsing, how errors look.
 * Every noun is one file that exports one struct command.
 */
#ifndef CACHECTL_H
#define CACHECTL_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifndef BLOBCACHE_VERSION
#define BLOBCACHE_VERSION "(unknown)"
#endif

/* Exit codes; cachectl(8) promises them. */
enum ctl_exit {
	CTL_OK		= 0,
	CTL_FAILED	= 1,
	CTL_USAGE	= 2,
	CTL_NOTHING	= 3,	/* module not loaded, or no such tier, mount, pin */
};

/* What a command's arguments are; for completion. */
enum ctl_arg {
	CTL_ARG_NONE,
	CTL_ARG_PATH,
	CTL_ARG_DIR,
	CTL_ARG_DEVICE,		/* any block device */
	CTL_ARG_TIER,		/* an attached tier */
	CTL_ARG_MOUNT,		/* a blobcache mount */
	CTL_ARG_DISK,		/* a disk of ours, by its name */
};

/**
 * struct command - a node of the command tree
 * @name: as typed
 * @summary: one line for the list of commands
 * @usage: what follows the command's name in the usage line
 * @help: options and examples
 * @options: getopt_long table of its own options, ended by a zero entry, or NULL
 * @run: of a leaf: options and arguments to an exit code; of an inner node: without a command
 * @sub: of an inner node: its commands, ended by NULL
 * @arg: what the arguments are
 */
struct command {
	const char *name;
	const char *summary;
	const char *usage;
	const char *help;
	const struct option *options;
	int (*run)(const struct command *cmd, int argc, char **argv);
	const struct command *const *sub;
	enum ctl_arg arg;
};

/* Values of options that have no letter. */
enum {
	CTL_OPT_JSON = 0x100,
	CTL_OPT_OWN,		/* first free one for a command */
};

/* Most options a command has, with the common ones and the end. */
#define CTL_OPTIONS_MAX 20

/**
 * struct ctl - what holds for the whole run
 * @json: print JSON instead of text
 * @path: the command as typed, "device format"; for messages
 */
struct ctl {
	bool json;
	char path[64];
};

extern struct ctl ctl;
extern const struct command cmd_root;

/**
 * ctl_options - a command's options and those that all have: --json, --help
 * @cmd: the command
 * @all: out: of CTL_OPTIONS_MAX entries, ended by a zero entry
 */
void ctl_options(const struct command *cmd, struct option *all);

/**
 * ctl_getopt - next option of a command
 * @cmd: the command
 * @argc: from its run function
 * @argv: likewise
 *
 * Handles --json and --help itself; exits with CTL_USAGE on a wrong option.
 * Return: the option's value, or -1 when only arguments are left (at optind).
 */
int ctl_getopt(const struct command *cmd, int argc, char **argv);

/**
 * ctl_no_arguments - parse a command that has no options of its own and no arguments
 * @cmd: the command
 * @argc: from its run function
 * @argv: likewise
 * Return: CTL_OK, or CTL_USAGE, which was told
 */
int ctl_no_arguments(const struct command *cmd, int argc, char **argv);

/**
 * ctl_usage - complain about how a command was called
 * @format: what is wrong, printf style
 * Return: CTL_USAGE
 */
int ctl_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/**
 * ctl_fail - print "cachectl: ..." on stderr
 * @format: verb, object, cause and next step, printf style
 * Return: CTL_FAILED
 */
int ctl_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ctl_warn - as ctl_fail(), for what does not stop the command */
void ctl_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/**
 * ctl_confirm - ask on a terminal
 * @format: the question without "[y/N]"
 * Return: true if the answer was yes, or nobody is there to be asked
 */
bool ctl_confirm(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ctl_help - what --help prints */
void ctl_help(FILE *stream, const struct command *cmd);

/* ctl_find - a command below @cmd by its name, or NULL */
const struct command *ctl_find(const struct command *cmd, const char *name);

/* ctl_unknown - complain of a name that is no command below @cmd; returns CTL_USAGE */
int ctl_unknown(const struct command *cmd, const char *name);

/* ctl_descend - add a command's name to ctl.path */
void ctl_descend(const struct command *cmd);

/* The nouns. */
extern const struct command cmd_device, cmd_mount, cmd_status, cmd_stats, cmd_pin, cmd_prefetch,
	cmd_evict, cmd_residency, cmd_requests, cmd_disk,
	cmd_image, cmd_flush;

#endif /* CACHECTL_H */
