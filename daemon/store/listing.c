// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/listing.h"

#include <curl/curl.h>
#include <errno.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "store/reply.h"
#include "store/text.h"

#define TEXT_MAX	(16U << 10)	/* a name has at most 1024 characters */
#define DEPTH_MAX	16U

enum field {
	FIELD_NONE,
	FIELD_NAME,
	FIELD_ETAG,
	FIELD_LENGTH,
	FIELD_LAST_MODIFIED,
	FIELD_TYPE,
	FIELD_MARKER,
};

struct bc_listing {
	XML_Parser parser;
	struct bc_list *list;
	unsigned int depth;
	bool in_entry;			/* <Blob> or <BlobPrefix> */
	bool encoded;			/* the name is percent-encoded */
	bool broken;
	enum field field;		/* whose text is collected */
	struct bc_text text;
	char *name;
	struct bc_list_entry entry;
	char *marker;
};

static const struct {
	const char *tag;
	enum field field;
	bool in_entry;
} fields[] = {
	{ "Name",		FIELD_NAME,		true },
	{ "Etag",		FIELD_ETAG,		true },
	{ "Content-Length",	FIELD_LENGTH,		true },
	{ "Last-Modified",	FIELD_LAST_MODIFIED,	true },
	{ "ResourceType",	FIELD_TYPE,		true },
	{ "NextMarker",		FIELD_MARKER,		false },
};

static void stop(struct bc_listing *listing)
{
	listing->broken = true;
	XML_StopParser(listing->parser, XML_FALSE);
}

static bool is_entry(const char *tag)
{
	return !strcmp(tag, "Blob") || !strcmp(tag, "BlobPrefix");
}

static void begin_entry(struct bc_listing *listing, const char *tag)
{
	listing->in_entry = true;
	listing->entry = (struct bc_list_entry){ .directory = !strcmp(tag, "BlobPrefix") };
	free(listing->name);
	listing->name = NULL;
}

static bool is_encoded(const char **attributes)
{
	for (; attributes[0]; attributes += 2)
		if (!strcmp(attributes[0], "Encoded"))
			return !strcmp(attributes[1], "true");
	return false;
}

static void on_start(void *context, const char *tag, const char **attributes)
{
	struct bc_listing *listing = context;
	size_t i;

	if (++listing->depth > DEPTH_MAX) {
		stop(listing);
		return;
	}
	listing->field = FIELD_NONE;
	if (is_entry(tag)) {
		begin_entry(listing, tag);
		return;
	}
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (!strcmp(tag, fields[i].tag) && listing->in_entry == fields[i].in_entry)
			listing->field = fields[i].field;
	if (listing->field == FIELD_NAME)
		listing->encoded = is_encoded(attributes);
	listing->text.length = 0;
}

static void on_text(void *context, const char *bytes, int length)
{
	struct bc_listing *listing = context;

	if (listing->field == FIELD_NONE)
		return;
	bc_text_add(&listing->text, bytes, (size_t)length);
	if (listing->text.failed || listing->text.length > TEXT_MAX)
		stop(listing);
}

static uint64_t parse_length(struct bc_listing *listing, const char *text)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno)
		stop(listing);
	return value;
}

static void take_name(struct bc_listing *listing)
{
	size_t length = listing->text.length;

	if (listing->encoded) {
		length = bc_percent_decode(listing->text.bytes, length);
		listing->text.bytes[length] = 0;
		/* What is before an encoded zero would be another object's name. */
		if (strlen(listing->text.bytes) != length)
			stop(listing);
	}
	free(listing->name);
	listing->name = strdup(listing->text.bytes);
	if (!listing->name)
		stop(listing);
}

static void take_field(struct bc_listing *listing)
{
	struct bc_object *object = &listing->entry.object;
	const char *text;
	bool weak;

	bc_text_put(&listing->text, "");
	if (listing->text.failed) {
		stop(listing);
		return;
	}
	text = listing->text.bytes;
	switch (listing->field) {
	case FIELD_NAME:
		take_name(listing);
		break;
	case FIELD_ETAG:
		bc_etag_parse(object->etag, text, strlen(text), &weak);
		break;
	case FIELD_LENGTH:
		object->size = parse_length(listing, text);
		break;
	case FIELD_LAST_MODIFIED:
		object->last_modified = curl_getdate(text, NULL);
		break;
	case FIELD_TYPE:
		listing->entry.directory |= !strcmp(text, "directory");
		break;
	case FIELD_MARKER:
		free(listing->marker);
		listing->marker = *text ? strdup(text) : NULL;
		break;
	case FIELD_NONE:
		break;
	}
}

static void on_end(void *context, const char *tag)
{
	struct bc_listing *listing = context;

	listing->depth--;
	if (listing->field != FIELD_NONE)
		take_field(listing);
	listing->field = FIELD_NONE;
	listing->text.length = 0;
	if (!listing->in_entry || !is_entry(tag))
		return;
	listing->in_entry = false;
	listing->entry.name = listing->name;
	if (listing->name && *listing->name && !listing->broken)
		listing->list->entry(listing->list, &listing->entry);
}

/* No document type: a listing has none, and entities can grow without bound. */
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
 * bc_listing_create - begin to parse a page
 * @list: its entry() is called for each object and directory
 */
struct bc_listing *bc_listing_create(struct bc_list *list)
{
	struct bc_listing *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return NULL;
	listing->parser = XML_ParserCreate(NULL);
	if (!listing->parser) {
		free(listing);
		return NULL;
	}
	listing->list = list;
	XML_SetUserData(listing->parser, listing);
	XML_SetElementHandler(listing->parser, on_start, on_end);
	XML_SetCharacterDataHandler(listing->parser, on_text);
	XML_SetStartDoctypeDeclHandler(listing->parser, on_doctype);
	return listing;
}

/**
 * bc_listing_parse - take in a part of the page
 * @listing: the page
 * @bytes: the part
 * @length: of @bytes
 * @last: whether it is the last part
 *
 * Returns false if it is not a listing.
 */
bool bc_listing_parse(struct bc_listing *listing, const void *bytes, size_t length, bool last)
{
	return !listing->broken &&
	       XML_Parse(listing->parser, bytes, (int)length, last) == XML_STATUS_OK &&
	       !listing->broken;
}

/**
 * bc_listing_marker - where the next page begins
 * @listing: wholly parsed
 *
 * Returns a malloced string that the caller frees, or NULL after the last page.
 */
char *bc_listing_marker(struct bc_listing *listing)
{
	char *marker = listing->marker;

	listing->marker = NULL;
	return marker;
}

/**
 * bc_listing_free - free
 * @listing: may be NULL
 */
void bc_listing_free(struct bc_listing *listing)
{
	if (!listing)
		return;
	XML_ParserFree(listing->parser);
	free(listing->text.bytes);
	free(listing->name);
	free(listing->marker);
	free(listing);
}
