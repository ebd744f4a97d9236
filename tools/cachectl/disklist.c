// SPDX-License-Identifier: GPL-2.0-or-later
/* The disks as a table. */
#include <stdio.h>
#include <string.h>

#include "columns.h"
#include "disklist.h"
#include "diskname.h"
#include "format.h"

static void text_name(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s%s", DISKNAME_DIR, out_str(row, "name"));
}

static void text_resident(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	snprintf(buf, size, "%s%s", fmt_percent(text, out_num(row, "resident_bytes"),
						out_num(row, "size")),
		 out_bool(row, "pinned") ? " pinned" : "");
}

static void text_open(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_num(row, "openers") ? "yes" : "no");
}

static void text_state(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "state"));
}

static enum out_color color_state(const json_t *row)
{
	return strcmp(out_str(row, "state"), "live") ? OUT_WARN : OUT_GOOD;
}

const struct out_column disklist_columns[] = {
	{ "DISK", false, false, text_name, NULL },
	{ "OBJECT", false, true, column_object, NULL },
	{ "SIZE", true, false, column_size, NULL },
	{ "RESIDENT", true, false, text_resident, NULL },
	{ "OPEN", false, false, text_open, NULL },
	{ "STATE", false, false, text_state, color_state },
	{ 0 }
};
