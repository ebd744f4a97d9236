// SPDX-License-Identifier: GPL-2.0-or-later
/* JSON and tables on stdout. */
#include <errno.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cachectl.h"
#include "output.h"

bool out_color_on(FILE *stream)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	if (no && *no)
		return false;
	if (!term || !strcmp(term, "dumb"))
		return false;
	return fileno(stream) >= 0 && isatty(fileno(stream));
}

static const char *color_sequence(enum out_color color)
{
	switch (color) {
	case OUT_BOLD:
		return "\033[1m";
	case OUT_DIM:
		return "\033[2m";
	case OUT_GOOD:
		return "\033[32m";
	case OUT_WARN:
		return "\033[33m";
	case OUT_BAD:
		return "\033[31m";
	case OUT_PLAIN:
		break;
	}
	return "\033[0m";
}

const char *out_paint(FILE *stream, enum out_color color)
{
	return out_color_on(stream) ? color_sequence(color) : "";
}

int out_json(FILE *stream, json_t *value, size_t flags)
{
	int rc;

	if (!(flags & JSON_COMPACT))
		flags |= JSON_INDENT(2);
	rc = json_dumpf(value, stream, flags | JSON_PRESERVE_ORDER);
	json_decref(value);
	if (rc || fputc('\n', stream) == EOF || fflush(stream))
		return ctl_fail("%s: cannot write the output: %s", ctl.path, strerror(errno));
	return CTL_OK;
}

json_t *out_schema(const char *name)
{
	json_t *object = json_object();

	json_object_set_new(object, "schema", json_sprintf("cachectl.%s/1", name));
	return object;
}

static int table_columns(struct libscols_table *table, const struct out_column *columns)
{
	struct libscols_column *column;
	int flags;

	for (; columns->title; columns++) {
		flags = (columns->right ? SCOLS_FL_RIGHT : 0) | (columns->cut ? SCOLS_FL_TRUNC : 0);
		column = scols_table_new_column(table, columns->title, 0, flags);
		if (!column)
			return -ENOMEM;
	}
	return 0;
}

static int table_row(struct libscols_table *table, const struct out_column *columns,
		     const json_t *row, bool color)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	enum out_color paint;
	char text[4400];
	size_t i;

	if (!line)
		return -ENOMEM;
	for (i = 0; columns[i].title; i++) {
		text[0] = '\0';
		columns[i].text(text, sizeof(text), row);
		if (scols_line_set_data(line, i, text))
			return -ENOMEM;
		paint = color && columns[i].color ? columns[i].color(row) : OUT_PLAIN;
		if (paint != OUT_PLAIN)
			scols_cell_set_color(scols_line_get_cell(line, i), color_sequence(paint));
	}
	return 0;
}

int out_table(FILE *stream, const struct out_column *columns, const json_t *rows)
{
	struct libscols_table *table = scols_new_table();
	bool color = out_color_on(stream);
	size_t i;
	int rc = -ENOMEM;

	if (!table)
		goto out;
	scols_table_set_stream(table, stream);
	scols_table_enable_colors(table, color);
	rc = table_columns(table, columns);
	for (i = 0; !rc && i < json_array_size(rows); i++)
		rc = table_row(table, columns, json_array_get(rows, i), color);
	if (!rc)
		rc = scols_print_table(table);
	scols_unref_table(table);
out:
	if (rc)
		return ctl_fail("%s: cannot print the table: %s", ctl.path, strerror(-rc));
	return CTL_OK;
}

uint64_t out_num(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

const char *out_str(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

bool out_bool(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

json_t *out_text(const char *text, size_t length)
{
	json_t *value = json_stringn(text, length);
	char *escaped;
	size_t i, n = 0;

	if (value)
		return value;
	escaped = malloc(length * 4 + 1);
	if (!escaped)
		return NULL;
	for (i = 0; i < length; i++) {
		if ((unsigned char)text[i] < 0x80)
			escaped[n++] = text[i];
		else
			n += (size_t)sprintf(escaped + n, "\\x%02x", (unsigned char)text[i]);
	}
	value = json_stringn(escaped, n);
	free(escaped);
	return value;
}
