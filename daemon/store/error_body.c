// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/error_body.h"

#include <ctype.h>
#include <expat.h>
#include <string.h>

struct body {
	XML_Parser xml;
	unsigned int depth;
	bool error;			/* inside <Error> */
	bool collecting;
	bool found;
	char *code;
	size_t size, length;
};

static void on_start(void *context, const char *tag, const char **attributes)
{
	struct body *body = context;

	(void)attributes;
	body->depth++;
	if (body->depth == 1)
		body->error = !strcmp(tag, "Error");
	body->collecting = body->depth == 2 && body->error && !body->found && !strcmp(tag, "Code");
}

static void on_text(void *context, const char *bytes, int length)
{
	struct body *body = context;
	int i;

	for (i = 0; body->collecting && i < length; i++) {
		/* A code is a word; anything else is not one. */
		if (!isalnum((unsigned char)bytes[i]) || body->length + 1 >= body->size) {
			XML_StopParser(body->xml, XML_FALSE);
			body->collecting = false;
			return;
		}
		body->code[body->length++] = bytes[i];
	}
}

static void on_end(void *context, const char *tag)
{
	struct body *body = context;

	(void)tag;
	body->depth--;
	if (!body->collecting)
		return;
	body->collecting = false;
	body->found = body->length;
	XML_StopParser(body->xml, XML_FALSE);
}

static void on_doctype(void *context, const char *name, const char *system,
		       const char *public, int internal)
{
	struct body *body = context;

	(void)name;
	(void)system;
	(void)public;
	(void)internal;
	XML_StopParser(body->xml, XML_FALSE);
}

/**
 * bc_error_body_code - which error it is
 * @bytes: the body, or as much of it as there is
 * @length: of @bytes
 * @code: "BlobNotFound"; emptied if there is none
 * @size: of @code, at least 1
 *
 * Returns whether the body tells one.
 */
bool bc_error_body_code(const void *bytes, size_t length, char *code, size_t size)
{
	struct body body = { .code = code, .size = size };

	body.xml = XML_ParserCreate(NULL);
	if (body.xml) {
		XML_SetUserData(body.xml, &body);
		XML_SetElementHandler(body.xml, on_start, on_end);
		XML_SetCharacterDataHandler(body.xml, on_text);
		XML_SetStartDoctypeDeclHandler(body.xml, on_doctype);
		XML_Parse(body.xml, bytes, (int)length, 1);
		XML_ParserFree(body.xml);
	}
	code[body.found ? body.length : 0] = 0;
	return body.found;
}
