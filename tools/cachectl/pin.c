// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl pin: what must not be evicted. */
#include <stdio.h>

#include "cachectl.h"
#include "columns.h"
#include "dumpcmd.h"
#include "filecmd.h"
#include "format.h"
#include "output.h"

static int run_add(const struct command *cmd, int argc, char **argv)
{
	return filecmd_run(cmd, argc, argv, BC_CMD_PIN_ADD, "pinned");
}

static int run_remove(const struct command *cmd, int argc, char **argv)
{
	return filecmd_run(cmd, argc, argv, BC_CMD_PIN_REMOVE, "unpinned");
}

static void text_resident(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	snprintf(buf, size, "%s", fmt_percent(text, out_num(row, "resident_bytes"),
					      out_num(row, "size")));
}

static const struct out_column columns[] = {
	{ "OBJECT", false, false, column_object, NULL },
	{ "SIZE", true, false, column_size, NULL },
	{ "RESIDENT", true, false, text_resident, NULL },
	{ 0 }
};

static int run_list(const struct command *cmd, int argc, char **argv)
{
	static const struct dump dump = {
		.command = BC_CMD_PIN_GET,
		.attribute = BC_A_PIN,
		.key = "pins",
		.columns = columns,
		.nothing = "nothing is pinned",
	};

	return dumpcmd_run(cmd, argc, argv, &dump);
}

static const struct command pin_add = {
	.name = "add",
	.summary = "keep files on the tier, whatever else comes",
	.usage = "[-r] PATH ...",
	.options = filecmd_options,
	.run = run_add,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"A pin holds the version that is current now; what is not yet cached of it is kept as\n"
"it arrives ('prefetch' fetches it). Later versions of the file are not pinned by it.\n"
"Pins are kept in memory: they are gone when the module is unloaded.\n"
"\n"
"Options\n"
"  -r, --recursive  all files below directories\n"
"\n"
"Example\n"
"  cachectl pin add -r /mnt/weights/llama && cachectl prefetch -r --wait /mnt/weights/llama\n",
};

static const struct command pin_remove = {
	.name = "remove",
	.summary = "let files be evicted again",
	.usage = "[-r] PATH ...",
	.options = filecmd_options,
	.run = run_remove,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"Removes the pins of all versions of a file, also of those that are not current any more.\n"
"\n"
"Options\n"
"  -r, --recursive  all files below directories\n"
"\n"
"Example\n"
"  cachectl pin remove -r /mnt/weights/llama\n",
};

static const struct command pin_list = {
	.name = "list",
	.summary = "what is pinned and how much of it is here",
	.usage = "",
	.run = run_list,
	.help =
"\n"
"Example\n"
"  cachectl pin list --json | jq '[.pins[].resident_bytes] | add'\n",
};

static const struct command *const pin_sub[] = { &pin_add, &pin_remove, &pin_list, NULL };

const struct command cmd_pin = {
	.name = "pin",
	.summary = "keep files on the tier: add, remove, list",
	.usage = "COMMAND ...",
	.sub = pin_sub,
	.help =
"\n"
"Example\n"
"  cachectl pin add -r /mnt/weights/llama\n",
};
