/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: daemon/store/block_list.c daemon/store/error_body.c daemon/store/text.c */
/* libs: expat */
/* flags: -max_len=900 -dict=tests/fuzz/blocks.dict */
/*
 * The XML of a block list, in one piece and cut into pieces: the same blocks come of
 * it, each with an id that fits and a size. And of an error: a code is one word.
 */
#include <ctype.h>

#include "fuzz.h"
#include "store/block_list.h"
#include "store/error_body.h"

struct seen {
	struct bc_block_list list;	/* first */
	uint64_t hash;
	unsigned int blocks;
};

static void mix(struct seen *seen, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (; length; length--)
		seen->hash = (seen->hash ^ *at++) * 0x100000001b3;
}

static void on_block(struct bc_block_list *list, const char *id, uint64_t size, bool committed)
{
	struct seen *seen = (struct seen *)list;

	need(*id && strlen(id) <= BC_BLOCK_ID_MAX);
	mix(seen, id, strlen(id) + 1);
	mix(seen, &size, sizeof(size));
	mix(seen, &committed, sizeof(committed));
	seen->blocks++;
}

/* Return: whether it is a block list. */
static bool parse(struct seen *seen, const uint8_t *data, size_t size, size_t step)
{
	struct bc_block_parser *parser;
	bool good = true;

	*seen = (struct seen){ .list.block = on_block };
	parser = bc_block_parser_create(&seen->list);
	need(parser);
	while (good && size > step) {
		good = bc_block_parser_parse(parser, data, step, false);
		data += step;
		size -= step;
	}
	good = good && bc_block_parser_parse(parser, data, size, true);
	bc_block_parser_free(parser);
	return good;
}

static void check_error(const uint8_t *data, size_t size, size_t room)
{
	char *code = malloc(room);	/* with a border that the sanitizer sees */
	size_t i;

	need(code);
	need(bc_error_body_code(data, size, code, room) == !!*code);
	need(strlen(code) < room);
	for (i = 0; code[i]; i++)
		need(isalnum((unsigned char)code[i]));
	free(code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	size_t step = 1 + take8(&input) % 64;
	struct seen whole, parts;
	bool good;

	good = parse(&whole, input.at, input.left, SIZE_MAX);
	need(parse(&parts, input.at, input.left, step) == good);
	if (good)
		need(whole.hash == parts.hash && whole.blocks == parts.blocks);
	check_error(input.at, input.left, step);
	return 0;
}
