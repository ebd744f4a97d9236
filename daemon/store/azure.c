// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Azure Blob storage by its REST interface.
 *
 *	azure://HOST[:PORT]/CONTAINER		https://HOST/CONTAINER/BLOB
 *	azure://HOST:PORT/ACCOUNT/CONTAINER	https://HOST:PORT/ACCOUNT/CONTAINER/BLOB
 *
 * The second form is that of emulators. A store is constant once open, so its
 * transfers need no lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "store/azure.h"
#include "store/listing.h"
#include "store/sharedkey.h"
#include "store/store.h"
#include "store/text.h"
#include "util.h"

#define LIST_RESULTS	"5000"

static void azure_close(struct bc_store *store)
{
	struct azure *azure = store->private;

	free(azure->origin);
	free(azure->base);
	free(azure->version);
	free(azure->ca_file);
	free(azure->proxy);
	free(azure->auth.account);
	bc_secret_free(&azure->auth.secret);
	free(azure);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static bool copy_volume(struct azure *azure, const struct bc_volume *volume)
{
	const struct bc_secret *secret = &volume->auth.secret;

	azure->version = copy(volume->api_version);
	azure->ca_file = copy(volume->ca_file);
	azure->proxy = copy(volume->proxy);
	azure->auth.type = volume->auth.type;
	azure->auth.account = copy(volume->auth.account);
	return azure->version && !azure->ca_file == !volume->ca_file &&
	       !azure->proxy == !volume->proxy && !azure->auth.account == !volume->auth.account &&
	       (!secret->bytes || bc_secret_copy(&azure->auth.secret, secret->bytes,
						 secret->length));
}

/* "se=2026-11-20T12%3A00%3A00Z" in a SAS says until when it is good. */
static void warn_expiry(const struct azure *azure, const char *source)
{
	const char *at = azure->auth.secret.bytes;
	char stamp[64];
	struct tm tm = { 0 };
	double left;

	if (azure->auth.type != BC_AUTH_SAS)
		return;
	while (at && strncmp(at, "se=", 3)) {
		at = strchr(at, '&');
		if (at)
			at++;
	}
	if (!at)
		return;
	snprintf(stamp, sizeof(stamp), "%.*s", (int)strcspn(at + 3, "&"), at + 3);
	stamp[bc_percent_decode(stamp, strlen(stamp))] = 0;
	if (!strptime(stamp, "%Y-%m-%d", &tm))
		return;
	strptime(stamp, "%Y-%m-%dT%H:%M", &tm);
	left = difftime(timegm(&tm), time(NULL));
	if (left < 3600)
		bc_warn("the SAS of %s %s %s; renew its token file, then: systemctl reload blobcached",
			source, left < 0 ? "expired at" : "expires at", stamp);
}

static bool azure_open(struct bc_store *store, const struct bc_volume *volume,
		       char *text, size_t size)
{
	const char *host = volume->source + strlen("azure://");
	size_t length = strcspn(host, "/");
	struct azure *azure;

	azure = calloc(1, sizeof(*azure));
	if (!azure)
		goto err_memory;
	store->private = azure;
	azure->base = strdup(host + length);
	if (asprintf(&azure->origin, "http%s://%.*s", volume->plain_http ? "" : "s",
		     (int)length, host) < 0)
		azure->origin = NULL;
	if (!azure->origin || !azure->base || !copy_volume(azure, volume))
		goto err_close;
	warn_expiry(azure, store->source);
	return true;

err_close:
	azure_close(store);
err_memory:
	snprintf(text, size, "out of memory");
	return false;
}

static bool add_header(struct curl_slist **headers, const char *line)
{
	struct curl_slist *more = curl_slist_append(*headers, line);

	if (!more)
		return false;
	*headers = more;
	return true;
}

static bool add_value(struct curl_slist **headers, const char *name, const char *value)
{
	char line[256];

	if (!value || !*value)
		return true;
	snprintf(line, sizeof(line), "%s: %s", name, value);
	return add_header(headers, line);
}

static bool add_signature(const struct azure *azure, const struct bc_draft *draft,
			  const char *date, const char *version, struct curl_slist **headers)
{
	struct bc_sign_request sign = {
		.verb = draft->method,
		.content_length = draft->body.length,
		.content_md5 = draft->md5,
		.if_match = draft->if_match,
		.if_none_match = draft->if_none_match,
		.range = draft->range,
		.path = draft->path,
		.query = draft->query,
		.headers = { date, version },
	};
	unsigned int i;
	char *line;
	bool added;

	_Static_assert(2 + BC_META_LINES <= BC_SIGN_HEADERS, "all that is sent is signed");
	if (azure->auth.type != BC_AUTH_SHARED_KEY)
		return true;
	for (i = 0; i < draft->meta_count; i++)
		sign.headers[2 + i] = draft->meta[i];
	line = bc_sharedkey_authorization(&sign, azure->auth.account, &azure->auth.secret);
	added = line && add_header(headers, line);
	free(line);
	return added;
}

static bool add_meta(const struct bc_draft *draft, struct curl_slist **headers)
{
	unsigned int i;

	for (i = 0; i < draft->meta_count; i++)
		if (!add_header(headers, draft->meta[i]))
			return false;
	return true;
}

static bool make_headers(const struct azure *azure, const struct bc_draft *draft,
			 struct curl_slist **headers)
{
	char date[64], version[64];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "x-ms-date:%a, %d %b %Y %H:%M:%S GMT", &tm);
	snprintf(version, sizeof(version), "x-ms-version:%s", azure->version);
	return add_header(headers, date) && add_header(headers, version) &&
	       add_value(headers, "Range", draft->range) &&
	       add_value(headers, "If-Match", draft->if_match) &&
	       add_value(headers, "If-None-Match", draft->if_none_match) &&
	       add_value(headers, "Content-MD5", draft->md5) &&
	       add_meta(draft, headers) &&
	       /* curl's own; to wait for a 100 costs a round trip for each block */
	       add_header(headers, "Accept:") && add_header(headers, "Expect:") &&
	       add_signature(azure, draft, date, version, headers);
}

static char *make_url(const struct azure *azure, const struct bc_draft *draft)
{
	struct bc_text text = { 0 };
	const char *glue = "?";

	bc_text_put(&text, azure->origin);
	bc_text_put(&text, draft->path);
	if (draft->query) {
		bc_text_put(&text, glue);
		bc_text_put(&text, draft->query);
		glue = "&";
	}
	if (azure->auth.type == BC_AUTH_SAS) {
		bc_text_put(&text, glue);
		bc_text_put(&text, azure->auth.secret.bytes);
	}
	return bc_text_take(&text);
}

static bool draft_object(const struct azure *azure, const struct bc_transfer *transfer,
			 struct bc_draft *draft)
{
	struct bc_text path = { 0 };

	bc_text_put(&path, azure->base);
	bc_text_put(&path, "/");
	bc_text_encode(&path, transfer->path, "/");
	draft->path = bc_text_take(&path);
	draft->method = transfer->verb == BC_VERB_HEAD ? "HEAD" : "GET";
	if (transfer->verb == BC_VERB_GET) {
		snprintf(draft->range, sizeof(draft->range), "bytes=%llu-%llu",
			 (unsigned long long)transfer->offset,
			 (unsigned long long)(transfer->offset + transfer->length - 1));
		if (transfer->want)
			snprintf(draft->if_match, sizeof(draft->if_match), "\"%s\"",
				 transfer->want->etag);
	}
	return draft->path;
}

static bool draft_list(const struct azure *azure, const struct bc_list *list,
		       struct bc_draft *draft)
{
	struct bc_text query = { 0 };

	bc_text_put(&query, "restype=container&comp=list&maxresults=" LIST_RESULTS);
	if (!list->recursive)
		bc_text_put(&query, "&delimiter=%2F");
	if (*list->transfer.path) {
		bc_text_put(&query, "&prefix=");
		bc_text_encode(&query, list->transfer.path, "");
	}
	if (list->marker) {
		bc_text_put(&query, "&marker=");
		bc_text_encode(&query, list->marker, "");
	}
	draft->method = "GET";
	draft->path = strdup(azure->base);
	draft->query = bc_text_take(&query);
	return draft->path && draft->query;
}

static bool list_data(struct bc_transfer *transfer, const void *bytes, size_t length)
{
	struct bc_list *list = (struct bc_list *)transfer;

	if (bc_listing_parse(list->parser, bytes, length, false))
		return true;
	bc_result_set(&transfer->result, BC_DONE_FAILED, true, "the listing is not well-formed");
	return false;
}

static void list_end(struct bc_transfer *transfer)
{
	struct bc_list *list = (struct bc_list *)transfer;

	if (transfer->result.status == BC_DONE_OK) {
		free(list->marker);
		list->marker = NULL;
		if (bc_listing_parse(list->parser, "", 0, true))
			list->marker = bc_listing_marker(list->parser);
		else
			bc_result_set(&transfer->result, BC_DONE_FAILED, true, "the listing is cut off");
	}
	bc_listing_free(list->parser);
	list->parser = NULL;
	transfer->ops->end(transfer);
}

static const struct bc_transfer_ops list_ops = {
	.data = list_data,
	.end = list_end,
};

static bool make_draft(const struct azure *azure, struct bc_transfer *transfer,
		       struct bc_draft *draft)
{
	struct bc_list *list = (struct bc_list *)transfer;

	draft->ops = transfer->ops;
	if (transfer->verb != BC_VERB_LIST)
		return draft_object(azure, transfer, draft) &&
		       (transfer->verb < BC_VERB_BLOCKS ||
			bc_azure_draft_write(transfer, draft));
	draft->ops = &list_ops;
	list->parser = bc_listing_create(list);
	return list->parser && draft_list(azure, list, draft);
}

/* What needs no request, or must not make one. */
static bool answer_here(const struct azure *azure, struct bc_transfer *transfer)
{
	struct bc_result *result = &transfer->result;

	if (transfer->verb == BC_VERB_DISCARD) {
		bc_result_set(result, BC_DONE_OK, false, "staged blocks go by themselves");
		result->answer = BC_ANSWER_DONE;
		return true;
	}
	if (transfer->verb >= BC_VERB_BLOCKS && azure->auth.type == BC_AUTH_ANONYMOUS) {
		bc_result_set(result, BC_DONE_DENIED, false,
			      "anonymous access cannot write; give the volume a key or a SAS");
		result->answer = BC_ANSWER_DENIED;
		return true;
	}
	return false;
}

static void azure_start(struct bc_transfer *transfer, struct bc_net *net)
{
	const struct azure *azure = transfer->store->private;
	struct bc_http_request request = { .ca_file = azure->ca_file, .proxy = azure->proxy };
	struct bc_draft draft = { .method = "GET", .ops = transfer->ops };
	bool good;

	if (answer_here(azure, transfer)) {
		transfer->ops->end(transfer);
		return;
	}
	good = make_draft(azure, transfer, &draft) &&
	       make_headers(azure, &draft, &request.headers) &&
	       (request.url = make_url(azure, &draft));
	free(draft.path);
	free(draft.query);
	request.ops = draft.ops;
	request.body = draft.body;
	if (strcmp(draft.method, "GET") && strcmp(draft.method, "HEAD"))
		request.method = draft.method;
	if (good) {
		bc_http_start(transfer, net, &request);
		return;
	}
	curl_slist_free_all(request.headers);
	bc_result_set(&transfer->result, BC_DONE_FAILED, true, "out of memory");
	request.ops->end(transfer);
}

static void azure_cancel(struct bc_transfer *transfer, struct bc_net *net)
{
	bc_http_cancel(transfer, net);
	bc_azure_forget_write(transfer);
	if (transfer->verb == BC_VERB_LIST) {
		struct bc_list *list = (struct bc_list *)transfer;

		bc_listing_free(list->parser);
		list->parser = NULL;
	}
}

const struct bc_store_ops bc_azure_ops = {
	.scheme = "azure",
	.capabilities = BC_STORE_LISTS | BC_STORE_WRITES,
	.open = azure_open,
	.close = azure_close,
	.start = azure_start,
	.cancel = azure_cancel,
};
