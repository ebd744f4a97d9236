// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/meta.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum name {
	NAME_GENERATION,
	NAME_CUT,
	NAME_CHECKSUM,
	NAME_MODE,
	NAME_MTIME,
	NAME_NODE,
	NAME_COUNT
};

static const char *const names[NAME_COUNT] = {
	[NAME_GENERATION]	= "bcgeneration",
	[NAME_CUT]		= "bccut",
	[NAME_CHECKSUM]		= "bccrc32c",
	[NAME_MODE]		= "bcmode",
	[NAME_MTIME]		= "bcmtime",
	[NAME_NODE]		= "bcnode",
};

static void print(bc_meta_line line, enum name name, const char *value)
{
	snprintf(line, BC_META_LINE, BC_META_PREFIX "%s:%s", names[name], value);
}

/**
 * bc_meta_lines - what to send
 * @meta: what to tell; what it has not is left out
 * @lines: "x-ms-meta-NAME:VALUE", sorted by nothing
 *
 * Returns how many.
 */
unsigned int bc_meta_lines(const struct bc_meta *meta, bc_meta_line lines[BC_META_LINES])
{
	unsigned int count = 0, i;
	char value[2 * BC_GENERATION_SIZE + 1];

	if (meta->has_generation) {
		for (i = 0; i < BC_GENERATION_SIZE; i++)
			snprintf(value + 2 * i, 3, "%02x", meta->generation[i]);
		print(lines[count++], NAME_GENERATION, value);
	}
	if (meta->has_cut) {
		snprintf(value, sizeof(value), "%llu", (unsigned long long)meta->cut);
		print(lines[count++], NAME_CUT, value);
	}
	if (meta->has_checksum) {
		snprintf(value, sizeof(value), "%08x", meta->checksum);
		print(lines[count++], NAME_CHECKSUM, value);
	}
	if (meta->has_mode) {
		snprintf(value, sizeof(value), "%04o", meta->mode & 07777);
		print(lines[count++], NAME_MODE, value);
	}
	if (meta->has_mtime) {
		snprintf(value, sizeof(value), "%lld.%09u", (long long)meta->mtime, meta->mtime_ns);
		print(lines[count++], NAME_MTIME, value);
	}
	if (*meta->node)
		print(lines[count++], NAME_NODE, meta->node);
	return count;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* All of the text, which is not terminated; no signs, no blanks. */
static bool parse_number(const char *text, size_t length, unsigned int base, uint64_t *to)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < length; i++) {
		int d = digit(text[i]);

		if (d < 0 || (unsigned int)d >= base ||
		    __builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, (uint64_t)d, &value))
			return false;
	}
	*to = value;
	return length;
}

static bool parse_generation(struct bc_meta *meta, const char *text, size_t length)
{
	size_t i;

	if (meta->has_generation || length != 2 * BC_GENERATION_SIZE)
		return false;
	for (i = 0; i < BC_GENERATION_SIZE; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		meta->generation[i] = (uint8_t)(high << 4 | low);
	}
	meta->has_generation = true;
	return true;
}

static bool parse_cut(struct bc_meta *meta, const char *text, size_t length)
{
	if (meta->has_cut || !parse_number(text, length, 10, &meta->cut))
		return false;
	meta->has_cut = true;
	return true;
}

static bool parse_checksum(struct bc_meta *meta, const char *text, size_t length)
{
	uint64_t value;

	if (meta->has_checksum || length != 8 || !parse_number(text, length, 16, &value))
		return false;
	meta->checksum = (uint32_t)value;
	meta->has_checksum = true;
	return true;
}

static bool parse_mode(struct bc_meta *meta, const char *text, size_t length)
{
	uint64_t value;

	if (meta->has_mode || length != 4 || !parse_number(text, length, 8, &value))
		return false;
	meta->mode = (uint32_t)value;
	meta->has_mode = true;
	return true;
}

static bool parse_mtime(struct bc_meta *meta, const char *text, size_t length)
{
	const char *dot = memchr(text, '.', length);
	bool negative = length && *text == '-';
	uint64_t seconds, ns;

	if (meta->has_mtime || !dot || text + length - dot != 10)
		return false;
	text += negative;
	if (!parse_number(text, (size_t)(dot - text), 10, &seconds) || seconds > INT64_MAX ||
	    !parse_number(dot + 1, 9, 10, &ns))
		return false;
	meta->mtime = negative ? -(int64_t)seconds : (int64_t)seconds;
	meta->mtime_ns = (uint32_t)ns;
	meta->has_mtime = true;
	return true;
}

static bool parse_node(struct bc_meta *meta, const char *text, size_t length)
{
	size_t i;

	if (*meta->node || !length || length >= sizeof(meta->node))
		return false;
	for (i = 0; i < length; i++)
		if (text[i] <= 0x20 || text[i] == 0x7f)
			return false;
	memcpy(meta->node, text, length);
	meta->node[length] = 0;
	return true;
}

static bool parse(struct bc_meta *meta, enum name name, const char *value, size_t length)
{
	switch (name) {
	case NAME_GENERATION:
		return parse_generation(meta, value, length);
	case NAME_CUT:
		return parse_cut(meta, value, length);
	case NAME_CHECKSUM:
		return parse_checksum(meta, value, length);
	case NAME_MODE:
		return parse_mode(meta, value, length);
	case NAME_MTIME:
		return parse_mtime(meta, value, length);
	case NAME_NODE:
		return parse_node(meta, value, length);
	default:
		return true;
	}
}

/**
 * bc_meta_value - take in one datum
 * @meta: zeroed at first
 * @name: without the prefix; others than ours are passed over
 * @name_length: of @name
 * @value: as it came; not terminated
 * @length: of @value
 */
void bc_meta_value(struct bc_meta *meta, const char *name, size_t name_length,
		   const char *value, size_t length)
{
	enum name i;

	for (i = 0; i < NAME_COUNT; i++)
		if (strlen(names[i]) == name_length && !strncasecmp(name, names[i], name_length))
			meta->bad |= !parse(meta, i, value, length);
}
