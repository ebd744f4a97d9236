/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: daemon/store/listing.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/util.c */
/* libs: libcurl expat */
/* flags: -max_len=900 -dict=tests/fuzz/listing.dict */
/*
 * The XML of a listing, in one piece and cut into pieces: the same entries come of it,
 * and each is a name, a size and a version that can be used.
 */
#include <stdarg.h>

#include "fuzz.h"
#include "store/listing.h"
#include "store/reply.h"

void bc_result_set(struct bc_result *result, enum bc_done_status status, bool retry,
		   const char *format, ...)
{
	(void)format;
	*result = (struct bc_result){ .status = status, .retry = retry };
}

struct page {
	struct bc_list list;		/* first */
	uint64_t hash;
	unsigned int entries;
};

static void mix(struct page *page, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (; length; length--)
		page->hash = (page->hash ^ *at++) * 0x100000001b3;
}

static void on_entry(struct bc_list *list, const struct bc_list_entry *entry)
{
	struct page *page = (struct page *)list;

	need(entry->name && *entry->name);
	need(strlen(entry->object.etag) <= BC_ETAG_MAX);
	mix(page, entry->name, strlen(entry->name) + 1);
	mix(page, entry->object.etag, strlen(entry->object.etag) + 1);
	mix(page, &entry->object.size, sizeof(entry->object.size));
	mix(page, &entry->object.last_modified, sizeof(entry->object.last_modified));
	page->entries++;
}

/* Return: whether it is a listing. */
static bool parse(struct page *page, const uint8_t *data, size_t size, size_t step)
{
	struct bc_listing *listing;
	bool good = true;

	*page = (struct page){ .list.entry = on_entry };
	listing = bc_listing_create(&page->list);
	need(listing);
	while (good && size > step) {
		good = bc_listing_parse(listing, data, step, false);
		data += step;
		size -= step;
	}
	good = good && bc_listing_parse(listing, data, size, true);
	page->list.marker = bc_listing_marker(listing);
	if (page->list.marker)
		mix(page, page->list.marker, strlen(page->list.marker));
	free(page->list.marker);
	bc_listing_free(listing);
	return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	size_t step = 1 + take8(&input) % 64;
	struct page whole, parts;
	bool good;

	good = parse(&whole, input.at, input.left, SIZE_MAX);
	need(parse(&parts, input.at, input.left, step) == good);
	if (good)
		need(whole.hash == parts.hash && whole.entries == parts.entries);
	return 0;
}
