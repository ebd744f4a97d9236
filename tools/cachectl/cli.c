// SPDX-License-Identifier: GPL-2.0-or-later
/* The frame of cachectl: messages, options, help. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cachectl.h"
#include "format.h"
#include "output.h"

struct ctl ctl;

static void message(const char *format, va_list args)
{
	fflush(stdout);
	fprintf(stderr, "cachectl: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

int ctl_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message(format, args);
	va_end(args);
	return CTL_FAILED;
}

void ctl_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message(format, args);
	va_end(args);
}

int ctl_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message(format, args);
	va_end(args);
	fprintf(stderr, "  'cachectl %s%s--help' shows how to call it\n", ctl.path,
		*ctl.path ? " " : "");
	return CTL_USAGE;
}

bool ctl_confirm(const char *format, ...)
{
	char answer[16];
	va_list args;

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return true;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " [y/N] ");
	if (!fgets(answer, sizeof(answer), stdin))
		return false;
	return answer[0] == 'y' || answer[0] == 'Y';
}

static void list_commands(FILE *stream, const struct command *cmd)
{
	const struct command *const *sub;

	fprintf(stream, "\n%sCommands%s\n", out_paint(stream, OUT_BOLD),
		out_paint(stream, OUT_PLAIN));
	for (sub = cmd->sub; *sub; sub++)
		fprintf(stream, "  %-10s  %s\n", (*sub)->name, (*sub)->summary);
}

void ctl_help(FILE *stream, const struct command *cmd)
{
	fprintf(stream, "%sUsage%s  cachectl%s%s %s\n", out_paint(stream, OUT_BOLD),
		out_paint(stream, OUT_PLAIN), *ctl.path ? " " : "", ctl.path, cmd->usage);
	if (cmd->summary)
		fprintf(stream, "  %s\n", cmd->summary);
	if (cmd->sub)
		list_commands(stream, cmd);
	if (cmd->help)
		fputs(cmd->help, stream);
}

void ctl_options(const struct command *cmd, struct option *all)
{
	static const struct option common[] = {
		{ "json", no_argument, NULL, CTL_OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	const struct option *own = cmd->options;
	size_t n = 0;

	while (own && own->name && n < CTL_OPTIONS_MAX - 3)
		all[n++] = *own++;
	memcpy(all + n, common, sizeof(common));
}

/* "+": options end at the first argument only where commands follow. */
static void short_options(const struct command *cmd, const struct option *o, char *text,
			  size_t size)
{
	size_t n = 0;

	if (cmd->sub && !cmd->run)
		text[n++] = '+';
	text[n++] = ':';
	for (; o->name && n + 3 < size; o++) {
		if (o->val >= CTL_OPT_JSON)
			continue;
		text[n++] = (char)o->val;
		if (o->has_arg == required_argument)
			text[n++] = ':';
	}
	text[n] = '\0';
}

/* The option getopt stumbled over: a long one as typed, else its letter. */
static const char *bad_option(char **argv)
{
	static char letter[3] = "-?";

	if (optind > 0 && !strncmp(argv[optind - 1], "--", 2))
		return argv[optind - 1];
	letter[1] = (char)(optopt > 0 && optopt < CTL_OPT_JSON ? optopt : '?');
	return letter;
}

int ctl_getopt(const struct command *cmd, int argc, char **argv)
{
	struct option all[CTL_OPTIONS_MAX];
	char shorts[64];
	int opt;

	opterr = 0;
	ctl_options(cmd, all);
	short_options(cmd, all, shorts, sizeof(shorts));
	for (;;) {
		opt = getopt_long(argc, argv, shorts, all, NULL);
		switch (opt) {
		case CTL_OPT_JSON:
			ctl.json = true;
			break;
		case 'h':
			ctl_help(stdout, cmd);
			exit(CTL_OK);
		case ':':
			exit(ctl_usage("option '%s' needs a value", bad_option(argv)));
		case '?':
			exit(ctl_usage("unknown option '%s'", bad_option(argv)));
		default:
			return opt;
		}
	}
}

int ctl_no_arguments(const struct command *cmd, int argc, char **argv)
{
	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	return optind == argc ? CTL_OK : ctl_usage("%s: takes no arguments", ctl.path);
}

const struct command *ctl_find(const struct command *cmd, const char *name)
{
	const struct command *const *sub;

	for (sub = cmd->sub; *sub; sub++)
		if (!strcmp((*sub)->name, name))
			return *sub;
	return NULL;
}

static const struct command *nearest(const struct command *cmd, const char *name)
{
	const struct command *const *sub, *best = NULL;
	unsigned int distance, least = 3;

	for (sub = cmd->sub; *sub; sub++) {
		distance = text_distance((*sub)->name, name);
		if (distance < least) {
			least = distance;
			best = *sub;
		}
	}
	return best;
}

int ctl_unknown(const struct command *cmd, const char *name)
{
	const struct command *near = nearest(cmd, name);

	if (near)
		return ctl_usage("unknown command '%s%s%s'; did you mean '%s'?", ctl.path,
				 *ctl.path ? " " : "", name, near->name);
	return ctl_usage("unknown command '%s%s%s'", ctl.path, *ctl.path ? " " : "", name);
}

void ctl_descend(const struct command *cmd)
{
	size_t n = strlen(ctl.path);

	snprintf(ctl.path + n, sizeof(ctl.path) - n, "%s%s", n ? " " : "", cmd->name);
}
