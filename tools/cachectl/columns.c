// SPDX-License-Identifier: GPL-2.0-or-later
/* Columns that several tables have. */
#include <stdio.h>

#include "columns.h"
#include "format.h"

void column_object(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s/%s", out_str(row, "source"), out_str(row, "path"));
}

void column_size(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	snprintf(buf, size, "%s", fmt_bytes(text, out_num(row, "size")));
}
