// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/reply.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <curl/curl.h>

#include "store/meta.h"
#include "util.h"

/* Digits only, as strtoull() would also take signs and blanks. */
static bool parse_number(const char **at, const char *end, uint64_t *to)
{
	uint64_t value = 0;
	const char *begin = *at;

	for (; *at < end && isdigit((unsigned char)**at); (*at)++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(**at - '0'), &value))
			return false;
	*to = value;
	return *at > begin;
}

static bool skip_char(const char **at, const char *end, char c)
{
	if (*at == end || **at != c)
		return false;
	(*at)++;
	return true;
}

/* "bytes 0-9/10", "bytes 0-9/\*" or "bytes \*\/10" */
static bool parse_range(struct bc_reply *reply, const char *at, const char *end)
{
	/* Two of them: the range of one says nothing about the total of the other. */
	if (reply->has_range || reply->has_total)
		return false;
	if (end - at < 6 || strncasecmp(at, "bytes ", 6))
		return false;
	at += 6;
	reply->has_range = !skip_char(&at, end, '*');
	if (reply->has_range &&
	    (!parse_number(&at, end, &reply->first) || !skip_char(&at, end, '-') ||
	     !parse_number(&at, end, &reply->last)))
		return false;
	if (!skip_char(&at, end, '/'))
		return false;
	if (skip_char(&at, end, '*'))
		return at == end;
	if (!parse_number(&at, end, &reply->total) || at != end)
		return false;
	reply->has_total = true;
	return !reply->has_range || (reply->first <= reply->last && reply->last < reply->total);
}

/**
 * bc_etag_parse - take an ETag apart
 * @to: BC_ETAG_MAX + 1 bytes; without quotes; emptied on failure
 * @text: of the header or a listing; quotes may be missing
 * @length: of @text
 * @weak: whether it is weak
 *
 * Returns false if the cache cannot use it as a version.
 */
bool bc_etag_parse(char *to, const char *text, size_t length, bool *weak)
{
	size_t i;

	*to = 0;
	*weak = length >= 2 && !strncmp(text, "W/", 2);
	if (*weak)
		return false;
	if (length >= 2 && text[0] == '"' && text[length - 1] == '"') {
		text++;
		length -= 2;
	}
	if (!length || length > BC_ETAG_MAX)
		return false;
	for (i = 0; i < length; i++)
		if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f || text[i] == '"')
			return false;
	memcpy(to, text, length);
	to[length] = 0;
	return true;
}

static void parse_etag(struct bc_reply *reply, const char *value, size_t length)
{
	reply->etag_bad = !bc_etag_parse(reply->etag, value, length, &reply->etag_weak);
}

static int64_t parse_date(const char *value, size_t length)
{
	char text[64];
	time_t when;

	if (length >= sizeof(text))
		return 0;
	memcpy(text, value, length);
	text[length] = 0;
	when = curl_getdate(text, NULL);
	return when < 0 ? 0 : when;
}

static void set_retry_after(struct bc_reply *reply, uint64_t ms)
{
	reply->retry_after_ms = (unsigned int)bc_min(ms ? ms : 1, BC_RETRY_AFTER_MAX_MS);
}

/* Seconds or a date. The headers in milliseconds are more exact and win. */
static void parse_retry_after(struct bc_reply *reply, const char *value, size_t length)
{
	const char *at = value;
	uint64_t seconds;
	int64_t when;

	if (reply->retry_after_ms)
		return;
	if (parse_number(&at, value + length, &seconds)) {
		set_retry_after(reply, bc_min(seconds, BC_RETRY_AFTER_MAX_MS) * 1000);
		return;
	}
	when = parse_date(value, length) - (int64_t)time(NULL);
	if (when > 0)
		set_retry_after(reply, (uint64_t)when * 1000);
}

static void copy_word(char *to, size_t size, const char *value, size_t length)
{
	size_t i;

	for (i = 0; i < length && i + 1 < size; i++)
		to[i] = isgraph((unsigned char)value[i]) ? value[i] : '?';
	to[i] = 0;
}

static bool is_name(const char *name, size_t length, const char *text)
{
	return length == strlen(text) && !strncasecmp(name, text, length);
}

static void parse_header(struct bc_reply *reply, const char *name, size_t name_length,
			 const char *value, size_t length)
{
	const char *at = value, *end = value + length;
	uint64_t number;

	if (is_name(name, name_length, "content-range"))
		reply->bad_range |= !parse_range(reply, value, end);
	else if (is_name(name, name_length, "content-length"))
		reply->has_length = parse_number(&at, end, &reply->length) && at == end;
	else if (is_name(name, name_length, "etag"))
		parse_etag(reply, value, length);
	else if (is_name(name, name_length, "last-modified"))
		reply->last_modified = parse_date(value, length);
	else if (is_name(name, name_length, "retry-after"))
		parse_retry_after(reply, value, length);
	else if ((is_name(name, name_length, "retry-after-ms") ||
		  is_name(name, name_length, "x-ms-retry-after-ms")) &&
		 parse_number(&at, end, &number))
		set_retry_after(reply, number);
	else if (is_name(name, name_length, "x-ms-error-code"))
		copy_word(reply->code, sizeof(reply->code), value, length);
	else if (is_name(name, name_length, "x-ms-request-id"))
		copy_word(reply->request_id, sizeof(reply->request_id), value, length);
	else if (is_name(name, name_length, "x-ms-meta-hdi_isfolder"))
		reply->directory = length == 4 && !strncasecmp(value, "true", 4);
	else if (name_length > strlen(BC_META_PREFIX) &&
		 !strncasecmp(name, BC_META_PREFIX, strlen(BC_META_PREFIX)))
		bc_meta_value(&reply->meta, name + strlen(BC_META_PREFIX),
			      name_length - strlen(BC_META_PREFIX), value, length);
}

static void parse_status(struct bc_reply *reply, const char *line, size_t length)
{
	const char *at = memchr(line, ' ', length), *end = line + length;
	uint64_t status;

	*reply = (struct bc_reply){ 0 };
	if (!at)
		return;
	at++;
	if (!parse_number(&at, end, &status) || status > 999)
		return;
	reply->status = (unsigned int)status;
}

/**
 * bc_reply_line - take in one line of the head
 * @reply: zeroed at first
 * @line: as it came; not terminated
 * @length: of @line
 *
 * A status line begins anew, as after "100 Continue".
 */
void bc_reply_line(struct bc_reply *reply, const char *line, size_t length)
{
	const char *colon;
	size_t name_length;

	while (length && isspace((unsigned char)line[length - 1]))
		length--;
	if (length >= 5 && !strncmp(line, "HTTP/", 5)) {
		parse_status(reply, line, length);
		return;
	}
	if (!length) {
		reply->complete = reply->status >= 200;
		return;
	}
	colon = memchr(line, ':', length);
	if (!colon)
		return;
	name_length = (size_t)(colon - line);
	for (colon++; colon < line + length && isspace((unsigned char)*colon); colon++)
		;
	parse_header(reply, line, name_length, colon, (size_t)(line + length - colon));
}

/**
 * bc_reply_body - how many body bytes a reply that passed the check must have
 * @reply: to a GET
 */
uint64_t bc_reply_body(const struct bc_reply *reply)
{
	return reply->status == 206 ? reply->last - reply->first + 1 : reply->length;
}

static bool check_etag(const struct bc_reply *reply, struct bc_transfer *transfer)
{
	struct bc_result *result = &transfer->result;

	if (reply->etag_weak) {
		bc_result_set(result, BC_DONE_UNSUPPORTED, false,
			      "the store gives a weak ETag, which does not name a version");
		return false;
	}
	if (reply->etag_bad || !reply->etag[0]) {
		bc_result_set(result, BC_DONE_UNSUPPORTED, false,
			      "the store gives no ETag, or one that is malformed or longer than %u bytes",
			      BC_ETAG_MAX);
		return false;
	}
	/*
	 * The store should have said 412. Perhaps a front end of it lags; if it
	 * stays like this, the version is not to be had any more.
	 */
	if (transfer->want && strcmp(transfer->want->etag, reply->etag)) {
		bc_result_set(result, BC_DONE_CHANGED, true,
			      "asked for version %s, got %s", transfer->want->etag, reply->etag);
		return false;
	}
	return true;
}

static bool check_partial(const struct bc_reply *reply, struct bc_transfer *transfer)
{
	struct bc_result *result = &transfer->result;
	uint64_t first = transfer->offset, last;

	/* Azurite says 206 rather than 416 if the range begins just at the end. */
	if (reply->has_total && reply->total <= first) {
		bc_result_set(result, BC_DONE_FAILED, false, "206 for a range beyond the end");
		result->no_range = true;
		return false;
	}
	if (!reply->has_range || !reply->has_total || reply->bad_range) {
		bc_result_set(result, BC_DONE_FAILED, true,
			      "206 without a usable Content-Range");
		return false;
	}
	last = bc_min(first + transfer->length, reply->total) - 1;
	if (reply->first != first || reply->last != last) {
		bc_result_set(result, BC_DONE_FAILED, true,
			      "asked for bytes %llu-%llu, got %llu-%llu/%llu",
			      (unsigned long long)first, (unsigned long long)last,
			      (unsigned long long)reply->first, (unsigned long long)reply->last,
			      (unsigned long long)reply->total);
		return false;
	}
	if (reply->has_length && reply->length != last - first + 1) {
		bc_result_set(result, BC_DONE_FAILED, true,
			      "Content-Length %llu does not fit the range",
			      (unsigned long long)reply->length);
		return false;
	}
	transfer->object.size = reply->total;
	return true;
}

/* A store that ignores Range is fine only where that makes no difference. */
static bool check_whole(const struct bc_reply *reply, struct bc_transfer *transfer)
{
	bool whole = transfer->verb == BC_VERB_HEAD ||
		     (transfer->offset == 0 && reply->length <= transfer->length);

	if (!reply->has_length) {
		bc_result_set(&transfer->result, BC_DONE_FAILED, true, "200 without Content-Length");
		return false;
	}
	if (!whole) {
		bc_result_set(&transfer->result, BC_DONE_FAILED, false,
			      "the store ignored the range and sent the whole object");
		return false;
	}
	transfer->object.size = reply->length;
	return true;
}

static bool check_success(const struct bc_reply *reply, struct bc_transfer *transfer)
{
	if (reply->directory) {
		bc_result_set(&transfer->result, BC_DONE_UNSUPPORTED, false, "it is a directory");
		return false;
	}
	if (transfer->verb == BC_VERB_HEAD ? reply->status != 200 :
					     reply->status != 200 && reply->status != 206) {
		bc_result_set(&transfer->result, BC_DONE_FAILED, true,
			      "HTTP %u makes no sense here", reply->status);
		return false;
	}
	if (!check_etag(reply, transfer) ||
	    !(reply->status == 206 ? check_partial(reply, transfer) : check_whole(reply, transfer)))
		return false;
	if (transfer->want && transfer->want->size != transfer->object.size) {
		bc_result_set(&transfer->result, BC_DONE_FAILED, true,
			      "version %s had %llu bytes and now has %llu", reply->etag,
			      (unsigned long long)transfer->want->size,
			      (unsigned long long)transfer->object.size);
		return false;
	}
	memcpy(transfer->object.etag, reply->etag, sizeof(reply->etag));
	transfer->object.last_modified = reply->last_modified;
	transfer->meta = reply->meta;
	bc_result_set(&transfer->result, BC_DONE_OK, false, "HTTP %u", reply->status);
	return true;
}

/* The next version's ETag comes with a commit. */
static bool check_write(const struct bc_reply *reply, struct bc_transfer *transfer,
			enum bc_answer answer)
{
	struct bc_result *result = &transfer->result;
	bool commit = transfer->verb == BC_VERB_COMMIT;

	if (answer != BC_ANSWER_DONE) {
		bc_result_set(result, BC_DONE_FAILED, true, "HTTP %u makes no sense here",
			      reply->status);
		return false;
	}
	if (commit && (reply->etag_weak || reply->etag_bad || !*reply->etag)) {
		bc_result_set(result, BC_DONE_FAILED, true,
			      "the store did not tell a usable ETag of what it committed");
		return false;
	}
	if (commit) {
		memcpy(transfer->object.etag, reply->etag, sizeof(reply->etag));
		transfer->object.last_modified = reply->last_modified;
	}
	bc_result_set(result, BC_DONE_OK, false, "HTTP %u", reply->status);
	result->answer = answer;
	return true;
}

static void set_failure(const struct bc_reply *reply, struct bc_result *result)
{
	const char *code = reply->code, *blank = *code ? " " : "";
	enum bc_done_status status = BC_DONE_FAILED;
	bool retry = false;

	switch (reply->status) {
	case 401:
	case 403:
		status = BC_DONE_DENIED;
		break;
	case 404:
	case 410:
		status = BC_DONE_GONE;
		break;
	case 412:
		status = BC_DONE_CHANGED;
		break;
	case 429:
	case 503:
		status = BC_DONE_RETRY_AFTER;
		break;
	case 408:
	case 500:
	case 502:
	case 504:
		retry = true;
		break;
	}
	bc_result_set(result, status, retry, "HTTP %u%s%s%s%s", reply->status, blank, code,
		      *reply->request_id ? ", request id " : "", reply->request_id);
	if (status == BC_DONE_RETRY_AFTER)
		result->retry_after_ms = reply->retry_after_ms ? reply->retry_after_ms :
			BC_RETRY_AFTER_MS + bc_random_below(BC_RETRY_AFTER_MS);
	result->no_range = reply->status == 416;
}

/**
 * bc_reply_check - whether a reply answers its transfer
 * @reply: complete
 * @transfer: its object and result are set
 *
 * Returns true if the body may be taken.
 */
bool bc_reply_check(const struct bc_reply *reply, struct bc_transfer *transfer)
{
	enum bc_answer answer = bc_reply_answer(reply, transfer->verb);

	if (reply->status < 200 || reply->status > 299) {
		set_failure(reply, &transfer->result);
		transfer->result.answer = answer;
		return false;
	}
	if (bc_verb_writes(transfer->verb))
		return check_write(reply, transfer, answer);
	if (transfer->verb != BC_VERB_LIST && transfer->verb != BC_VERB_BLOCKS)
		return check_success(reply, transfer);
	bc_result_set(&transfer->result, BC_DONE_OK, false, "HTTP %u", reply->status);
	return true;
}
