/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What cachectl prints on stdout. Every command first makes a JSON value, which
 * is either printed as it is or turned into text: so both always tell the same.
 */
#ifndef CACHECTL_OUTPUT_H
#define CACHECTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Colours carry nothing that the text does not say. */
enum out_color {
	OUT_PLAIN,
	OUT_BOLD,
	OUT_DIM,
	OUT_GOOD,
	OUT_WARN,
	OUT_BAD,
};

/* out_color_on - is @stream a terminal that wants colours? Heeds NO_COLOR and TERM=dumb. */
bool out_color_on(FILE *stream);

/* out_paint - the escape sequence of a colour, "" if @stream wants none; OUT_PLAIN ends it */
const char *out_paint(FILE *stream, enum out_color color);

/**
 * out_json - print a JSON value and a newline
 * @stream: where to
 * @value: what; the reference is dropped
 * @flags: JSON_COMPACT for one line, else 0
 * Return: CTL_OK, or CTL_FAILED if the stream took it not
 */
int out_json(FILE *stream, json_t *value, size_t flags);

/**
 * out_schema - begin a JSON answer: { "schema": "cachectl.NAME/1" }
 * @name: of the command, "device.list"
 * Return: a new object
 */
json_t *out_schema(const char *name);

/**
 * struct out_column - one column of a table
 * @title: heading, in capitals
 * @right: numbers
 * @cut: may be cut on a narrow terminal
 * @text: the cell: prints at most @size bytes of @row into @buf
 * @color: NULL or the colour of the cell
 */
struct out_column {
	const char *title;
	bool right;
	bool cut;
	void (*text)(char *buf, size_t size, const json_t *row);
	enum out_color (*color)(const json_t *row);
};

/**
 * out_table - print an array of objects as a table
 * @stream: where to
 * @columns: ended by one without title
 * @rows: JSON array
 * Return: CTL_OK or CTL_FAILED
 */
int out_table(FILE *stream, const struct out_column *columns, const json_t *rows);

/* out_num - a member's integer, 0 if it is absent */
uint64_t out_num(const json_t *object, const char *key);

/* out_str - a member's string, "" if it is absent */
const char *out_str(const json_t *object, const char *key);

/* out_bool - a member's truth, false if it is absent */
bool out_bool(const json_t *object, const char *key);

/**
 * out_text - bytes that need not be UTF-8 as a JSON string
 * @text: the bytes
 * @length: how many
 * Return: a new string; if they are no UTF-8, each byte above 0x7f becomes "\xNN"
 */
json_t *out_text(const char *text, size_t length);

#endif /* CACHECTL_OUTPUT_H */
