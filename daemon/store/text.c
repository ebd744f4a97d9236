// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/**
 * bc_text_add - append bytes
 * @text: the text
 * @bytes: the bytes
 * @length: how many
 */
void bc_text_add(struct bc_text *text, const char *bytes, size_t length)
{
	if (text->failed)
		return;
	if (text->room - text->length <= length) {
		size_t room = (text->room + length + 1) * 2;
		char *more = realloc(text->bytes, room);

		if (!more) {
			text->failed = true;
			return;
		}
		text->bytes = more;
		text->room = room;
	}
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
	text->bytes[text->length] = 0;
}

/**
 * bc_text_put - append a string
 * @text: the text
 * @string: the string
 */
void bc_text_put(struct bc_text *text, const char *string)
{
	bc_text_add(text, string, strlen(string));
}

/**
 * bc_text_encode - append a string percent-encoded
 * @text: the text
 * @string: any bytes
 * @keep: bytes that stay beside the unreserved ones
 */
void bc_text_encode(struct bc_text *text, const char *string, const char *keep)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *string; string++) {
		unsigned char c = (unsigned char)*string;
		char code[3] = { '%', digits[c >> 4], digits[c & 15] };
		bool plain = (c < 0x80 && isalnum(c)) || strchr("-._~", c) || strchr(keep, c);

		bc_text_add(text, plain ? string : code, plain ? 1 : 3);
	}
}

/**
 * bc_text_take - get the string
 * @text: empty afterwards
 *
 * Returns a malloced string, or NULL if memory was lacking on the way.
 */
char *bc_text_take(struct bc_text *text)
{
	char *bytes = text->bytes;

	if (!bytes && !text->failed)
		bytes = calloc(1, 1);
	if (text->failed) {
		free(bytes);
		bytes = NULL;
	}
	*text = (struct bc_text){ 0 };
	return bytes;
}

static int digit(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	return isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/**
 * bc_percent_decode - decode in place
 * @text: the text; terminated if there is room, which any code leaves
 * @length: of @text
 *
 * Returns the new length. What is no valid code stays as it is.
 */
size_t bc_percent_decode(char *text, size_t length)
{
	size_t from, to = 0;

	for (from = 0; from < length; from++) {
		int high = -1, low = -1;

		if (text[from] == '%' && length - from > 2) {
			high = digit(text[from + 1]);
			low = digit(text[from + 2]);
		}
		if (high >= 0 && low >= 0) {
			text[to++] = (char)(high << 4 | low);
			from += 2;
		} else {
			text[to++] = text[from];
		}
	}
	if (to < length)
		text[to] = 0;
	return to;
}
