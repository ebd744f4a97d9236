/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/util.c */
/* libs: libcurl */
/* flags: -max_len=700 -dict=tests/fuzz/reply.dict */
/*
 * The head of a store's reply. What passes the check answers just what was asked: that
 * range, that version, of that size; whatever else is refused with a reason.
 */
#include <stdarg.h>

#include "fuzz.h"
#include "store/reply.h"

/* The one of store.c needs all stores. */
void bc_result_set(struct bc_result *result, enum bc_done_status status, bool retry,
		   const char *format, ...)
{
	va_list args;

	*result = (struct bc_result){ .status = status, .retry = retry };
	va_start(args, format);
	vsnprintf(result->text, sizeof(result->text), format, args);
	va_end(args);
}

static void feed(struct bc_reply *reply, const char *text, size_t size)
{
	while (size) {
		const char *newline = memchr(text, '\n', size);
		size_t length = newline ? (size_t)(newline - text) + 1 : size;
		char *line = malloc(length);	/* with a border that the sanitizer sees */

		need(line);
		memcpy(line, text, length);
		bc_reply_line(reply, line, length);
		free(line);
		text += length;
		size -= length;
	}
}

static bool printable(const char *text, size_t size)
{
	size_t i;

	for (i = 0; i < size && text[i]; i++)
		if (text[i] <= 0x20 || text[i] == 0x7f)
			return false;
	return i < size;
}

static void check_accepted(const struct bc_reply *reply, const struct bc_transfer *transfer)
{
	const struct bc_object *object = &transfer->object;

	need(transfer->result.status == BC_DONE_OK);
	need(reply->status == 200 || reply->status == 206);
	need(!strcmp(object->etag, reply->etag) && *object->etag);
	need(strlen(object->etag) <= BC_ETAG_MAX && !strchr(object->etag, '"'));
	if (transfer->want)
		need(!strcmp(object->etag, transfer->want->etag) &&
		     object->size == transfer->want->size);
	if (transfer->verb != BC_VERB_GET)
		return;
	if (!object->size) {
		need(!transfer->offset && !bc_reply_body(reply));
		return;
	}
	need(transfer->offset < object->size);
	need(bc_reply_body(reply) == (object->size - transfer->offset < transfer->length ?
				      object->size - transfer->offset : transfer->length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct bc_object want = { .etag = "0x1" };
	struct bc_transfer transfer = { 0 };
	struct bc_reply reply = { 0 };
	uint8_t how = take8(&input);

	transfer.verb = how & 1 ? BC_VERB_HEAD : BC_VERB_GET;
	transfer.offset = how & 2 ? 0 : (uint64_t)take16(&input) << (how >> 6) * 12;
	transfer.length = 1 + take16(&input);
	want.size = transfer.offset + take16(&input);
	if (how & 4)
		transfer.want = &want;
	feed(&reply, (const char *)input.at, input.left);

	need(printable(reply.code, sizeof(reply.code)));
	need(printable(reply.request_id, sizeof(reply.request_id)));
	need(reply.status <= 999 && reply.retry_after_ms <= BC_RETRY_AFTER_MAX_MS);
	need(!reply.has_range || reply.bad_range ||
	     (reply.has_total ? reply.first <= reply.last && reply.last < reply.total : true));
	if (bc_reply_check(&reply, &transfer))
		check_accepted(&reply, &transfer);
	else
		need(transfer.result.status != BC_DONE_OK && *transfer.result.text);
	return 0;
}
