// SPDX-License-Identifier: GPL-2.0-or-later
#include "json_line.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * jansson forgets where a value stood. This walks a text that jansson has
 * accepted already, so that it need not judge it; on anything odd it stops.
 */
struct walk {
	const char *at;
	unsigned int line;
};

static void skip_space(struct walk *walk)
{
	for (; *walk->at && strchr(" \t\r\n", *walk->at); walk->at++)
		if (*walk->at == '\n')
			walk->line++;
}

static void skip_string(struct walk *walk)
{
	for (walk->at++; *walk->at && *walk->at != '"'; walk->at++)
		if (*walk->at == '\\' && walk->at[1])
			walk->at++;
	if (*walk->at)
		walk->at++;
}

static void skip_value(struct walk *walk)
{
	unsigned int depth = 0;

	do {
		skip_space(walk);
		if (!*walk->at)
			return;
		if (*walk->at == '"') {
			skip_string(walk);
			continue;
		}
		if (*walk->at == '{' || *walk->at == '[')
			depth++;
		else if (*walk->at == '}' || *walk->at == ']')
			depth--;
		else if (!strchr(",:", *walk->at))
			walk->at += strcspn(walk->at + 1, ",:]} \t\r\n");
		walk->at++;
	} while (depth);
}

/* Moves to the value of a key; only keys without escapes are ever looked for. */
static bool enter_key(struct walk *walk, const char *key, size_t length)
{
	for (walk->at++;;) {
		const char *name;
		bool found;

		skip_space(walk);
		if (*walk->at == ',') {
			walk->at++;
			continue;
		}
		if (*walk->at != '"')
			return false;
		name = walk->at + 1;
		skip_string(walk);
		found = (size_t)(walk->at - name) == length + 1 && !memcmp(name, key, length);
		skip_space(walk);
		if (*walk->at != ':')
			return false;
		walk->at++;
		skip_space(walk);
		if (found)
			return true;
		skip_value(walk);
	}
}

static bool enter_index(struct walk *walk, unsigned long index)
{
	for (walk->at++;;) {
		skip_space(walk);
		if (*walk->at == ',') {
			walk->at++;
			continue;
		}
		if (!*walk->at || *walk->at == ']')
			return false;
		if (!index--)
			return true;
		skip_value(walk);
	}
}

/**
 * bc_json_line - the line on which a value stands
 * @json: valid JSON
 * @path: as "volumes[1].auth.key"
 *
 * Returns the line of the value, or of its closest parent that exists.
 */
unsigned int bc_json_line(const char *json, const char *path)
{
	struct walk walk = { .at = json, .line = 1 };
	unsigned int line;
	bool found = true;

	skip_space(&walk);
	for (line = walk.line; found && *path; ) {
		if (*path == '[' && *walk.at == '[') {
			char *end;

			found = enter_index(&walk, strtoul(path + 1, &end, 10));
			path = *end ? end + 1 : end;
		} else if (*walk.at == '{') {
			size_t length;

			path += *path == '.';
			length = strcspn(path, ".[");
			found = enter_key(&walk, path, length);
			path += length;
		} else {
			break;
		}
		if (found)
			line = walk.line;
	}
	return line;
}
