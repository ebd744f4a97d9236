// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/block_list.h"

#include <errno.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX	256U		/* an id has at most BC_BLOCK_ID_MAX */
#define DEPTH_MAX	8U

enum field {
	FIELD_NONE,
	FIELD_NAME,
	FIELD_SIZE,
};

enum part {
	PART_NONE,
	PART_COMMITTED,
	PART_UNCOMMITTED,
};

struct bc_block_parser {
	XML_Parser xml;
	struct bc_block_list *list;
	unsigned int depth;
	bool root;			/* <BlockList> came */
	bool broken;
	enum part part;
	bool in_block;
	bool has_name, has_size;
	enum field field;		/* whose text is collected */
	size_t length;
	char text[TEXT_MAX + 1];
	char name[BC_BLOCK_ID_MAX + 1];
	uint64_t size;
};

static void stop(struct bc_block_parser *parser)
{
	parser->broken = true;
	XML_StopParser(parser->xml, XML_FALSE);
}

static enum part part_of(const char *tag)
{
	if (!strcmp(tag, "CommittedBlocks"))
		return PART_COMMITTED;
	return !strcmp(tag, "UncommittedBlocks") ? PART_UNCOMMITTED : PART_NONE;
}

static void on_start(void *context, const char *tag, const char **attributes)
{
	struct bc_block_parser *parser = context;

	(void)attributes;
	if (++parser->depth > DEPTH_MAX) {
		stop(parser);
		return;
	}
	parser->field = FIELD_NONE;
	parser->length = 0;
	if (parser->depth == 1) {
		parser->root = !strcmp(tag, "BlockList");
		if (!parser->root)
			stop(parser);
	} else if (parser->depth == 2) {
		parser->part = part_of(tag);
	} else if (parser->depth == 3) {
		parser->in_block = parser->part != PART_NONE && !strcmp(tag, "Block");
		parser->has_name = false;
		parser->has_size = false;
	} else if (parser->depth == 4 && parser->in_block) {
		if (!strcmp(tag, "Name"))
			parser->field = FIELD_NAME;
		else if (!strcmp(tag, "Size"))
			parser->field = FIELD_SIZE;
	}
}

static void on_text(void *context, const char *bytes, int length)
{
	struct bc_block_parser *parser = context;

	if (parser->field == FIELD_NONE)
		return;
	if (parser->length + (size_t)length > TEXT_MAX) {
		stop(parser);
		return;
	}
	memcpy(parser->text + parser->length, bytes, (size_t)length);
	parser->length += (size_t)length;
}

static void take_size(struct bc_block_parser *parser)
{
	char *end;

	errno = 0;
	parser->size = strtoull(parser->text, &end, 10);
	if (*parser->text < '0' || *parser->text > '9' || *end || errno)
		stop(parser);
	parser->has_size = true;
}

static void take_name(struct bc_block_parser *parser)
{
	if (!parser->length || parser->length > BC_BLOCK_ID_MAX) {
		stop(parser);
		return;
	}
	memcpy(parser->name, parser->text, parser->length + 1);
	parser->has_name = true;
}

static void end_block(struct bc_block_parser *parser)
{
	parser->in_block = false;
	if (!parser->has_name || !parser->has_size) {
		stop(parser);
		return;
	}
	if (!parser->broken)
		parser->list->block(parser->list, parser->name, parser->size,
				    parser->part == PART_COMMITTED);
}

static void on_end(void *context, const char *tag)
{
	struct bc_block_parser *parser = context;

	(void)tag;
	parser->text[parser->length] = 0;
	if (parser->field == FIELD_NAME)
		take_name(parser);
	else if (parser->field == FIELD_SIZE)
		take_size(parser);
	parser->field = FIELD_NONE;
	parser->length = 0;
	if (parser->depth == 3 && parser->in_block)
		end_block(parser);
	if (parser->depth == 2)
		parser->part = PART_NONE;
	parser->depth--;
}

/* No document type: a list has none, and entities can grow without bound. */
static void on_doctype(void *context, const char *name, const char *system,
		       const char *public, int internal)
{
	(void)name;
	(void)system;
	(void)public;
	(void)internal;
	stop(context);
}

/**
 * bc_block_parser_create - begin to parse a block list
 * @list: its block() is called for each
 */
struct bc_block_parser *bc_block_parser_create(struct bc_block_list *list)
{
	struct bc_block_parser *parser = calloc(1, sizeof(*parser));

	if (!parser)
		return NULL;
	parser->xml = XML_ParserCreate(NULL);
	if (!parser->xml) {
		free(parser);
		return NULL;
	}
	parser->list = list;
	XML_SetUserData(parser->xml, parser);
	XML_SetElementHandler(parser->xml, on_start, on_end);
	XML_SetCharacterDataHandler(parser->xml, on_text);
	XML_SetStartDoctypeDeclHandler(parser->xml, on_doctype);
	return parser;
}

/**
 * bc_block_parser_parse - take in a part of the list
 * @parser: the list
 * @bytes: the part
 * @length: of @bytes
 * @last: whether it is the last part
 *
 * Returns false if it is not a block list.
 */
bool bc_block_parser_parse(struct bc_block_parser *parser, const void *bytes, size_t length,
			   bool last)
{
	return !parser->broken &&
	       XML_Parse(parser->xml, bytes, (int)length, last) == XML_STATUS_OK &&
	       !parser->broken && (!last || parser->root);
}

/**
 * bc_block_parser_free - free
 * @parser: may be NULL
 */
void bc_block_parser_free(struct bc_block_parser *parser)
{
	if (!parser)
		return;
	XML_ParserFree(parser->xml);
	free(parser);
}

/**
 * bc_block_list_write - what Put Block List sends
 * @text: where to
 * @commit: the list
 *
 * "Latest" names the staged block if there is one, else the committed one: ids are
 * bound to content, so both are the same bytes.
 */
void bc_block_list_write(struct bc_text *text, struct bc_commit *commit)
{
	char id[BC_BLOCK_ID_MAX + 1];
	uint32_t i;

	bc_text_put(text, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>");
	for (i = 0; i < commit->count; i++) {
		bc_text_put(text, "<Latest>");
		bc_text_put(text, commit->id(commit, i, id));
		bc_text_put(text, "</Latest>");
	}
	bc_text_put(text, "</BlockList>");
}
