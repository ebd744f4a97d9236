// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl requests: what the kernel waits for. */
#include <stdio.h>

#include "cachectl.h"
#include "columns.h"
#include "dumpcmd.h"
#include "format.h"
#include "output.h"

static void text_id(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%llu", (unsigned long long)out_num(row, "id"));
}

static void text_kind(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "kind"));
}

static void text_state(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "state"));
}

static void text_priority(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "priority"));
}

static void text_age(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	snprintf(buf, size, "%s", fmt_ms(text, out_num(row, "age_ms")));
}

static void text_range(char *buf, size_t size, const json_t *row)
{
	char offset[FMT_SIZE], length[FMT_SIZE];

	if (json_object_get(row, "length"))
		snprintf(buf, size, "%s + %s", fmt_bytes(offset, out_num(row, "offset")),
			 fmt_bytes(length, out_num(row, "length")));
	else
		snprintf(buf, size, "-");
}

static const struct out_column columns[] = {
	{ "ID", true, false, text_id, NULL },
	{ "KIND", false, false, text_kind, NULL },
	{ "STATE", false, false, text_state, NULL },
	{ "PRIORITY", false, false, text_priority, NULL },
	{ "AGE", true, false, text_age, NULL },
	{ "RANGE", false, false, text_range, NULL },
	{ "OBJECT", false, false, column_object, NULL },
	{ 0 }
};

static int run_requests(const struct command *cmd, int argc, char **argv)
{
	static const struct dump dump = {
		.command = BC_CMD_REQUEST_GET,
		.attribute = BC_A_REQUEST,
		.key = "requests",
		.columns = columns,
		.nothing = "nothing is pending",
	};

	return dumpcmd_run(cmd, argc, argv, &dump);
}

const struct command cmd_requests = {
	.name = "requests",
	.summary = "what the kernel waits for from the daemon, oldest first",
	.usage = "",
	.run = run_requests,
	.help =
"\n"
"State \"new\": no daemon has taken it; \"claimed\": one works on it.\n"
"\n"
"Example\n"
"  cachectl requests --json | jq '[.requests[].age_ms] | max'\n",
};
