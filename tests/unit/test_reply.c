/* sources: daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/store.c daemon/store/listing.c daemon/store/text.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/sharedkey.c daemon/source.c daemon/secret.c daemon/log.c daemon/util.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/* What comes from a store: heads of replies, ETags, names, listings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "store/listing.h"
#include "store/reply.h"
#include "store/store.h"

static void feed(struct bc_reply *reply, const char *text)
{
	*reply = (struct bc_reply){ 0 };
	while (*text) {
		size_t length = strcspn(text, "\n") + 1;

		bc_reply_line(reply, text, length);
		text += length;
	}
}

#define ETAG	"ETag: \"0x1\"\r\n"
#define PARTIAL	"HTTP/1.1 206 Partial Content\r\n" ETAG
#define WHOLE	"HTTP/1.1 200 OK\r\n" ETAG

struct reply_case {
	const char *text;
	enum bc_done_status status;
	bool retry;
	bool no_range;
};

static void check_get(const struct reply_case *c, uint64_t offset, uint64_t length,
		      const struct bc_object *want)
{
	struct bc_transfer transfer = {
		.verb = BC_VERB_GET,
		.offset = offset,
		.length = length,
		.want = want,
	};
	char text[2048];
	struct bc_reply reply;

	snprintf(text, sizeof(text), "%s\r\n", c->text);
	feed(&reply, text);
	assert_true(reply.complete);
	assert_true(bc_reply_check(&reply, &transfer) == (c->status == BC_DONE_OK));
	if (transfer.result.status != c->status || transfer.result.retry != c->retry ||
	    transfer.result.no_range != c->no_range)
		fail_msg("%s: %s, retry %d: %s", c->text, bc_done_name(transfer.result.status),
			 transfer.result.retry, transfer.result.text);
}

/* Bytes 4096-8191 of an object of 10000. */
static void test_bound(void **state)
{
	static const struct bc_object want = { .size = 10000, .etag = "0x1" };
	static const struct reply_case cases[] = {
		{ PARTIAL "Content-Range: bytes 4096-8191/10000\r\nContent-Length: 4096\r\n", BC_DONE_OK, false, false },
		{ PARTIAL "content-range:bytes 4096-8191/10000\r\n", BC_DONE_OK, false, false },
		{ "HTTP/1.1 100 Continue\r\n\r\n" PARTIAL "Content-Range: bytes 4096-8191/10000\r\n", BC_DONE_OK, false, false },
		{ PARTIAL "Content-Range: bytes 4096-8191/10000\r\nContent-Length: 4095\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 4096-8190/10000\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 4095-8191/10000\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 4096-8191/10001\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 4096-8191/*\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes */10000\r\nContent-Range: bytes 4096-8191/*\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 4096-8191/8000\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 8191-4096/10000\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes +4096-8191/10000\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 4096-99999999999999999999/10000\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: lines 4096-8191/10000\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL, BC_DONE_FAILED, true, false },
		{ WHOLE "Content-Length: 10000\r\n", BC_DONE_FAILED, false, false },
		{ "HTTP/1.1 206 OK\r\nContent-Range: bytes 4096-8191/10000\r\n", BC_DONE_UNSUPPORTED, false, false },
		{ "HTTP/1.1 206 OK\r\nETag: \"0x2\"\r\nContent-Range: bytes 4096-8191/10000\r\n", BC_DONE_CHANGED, true, false },
		{ "HTTP/1.1 206 OK\r\nETag: W/\"0x1\"\r\nContent-Range: bytes 4096-8191/10000\r\n", BC_DONE_UNSUPPORTED, false, false },
		{ "HTTP/1.1 204 No Content\r\n" ETAG, BC_DONE_FAILED, true, false },
		{ "HTTP/1.1 302 Found\r\nLocation: http://x/\r\n", BC_DONE_FAILED, false, false },
		{ "HTTP/1.1 400 Bad\r\n", BC_DONE_FAILED, false, false },
		{ "HTTP/1.1 401 No\r\n", BC_DONE_DENIED, false, false },
		{ "HTTP/1.1 403 No\r\n", BC_DONE_DENIED, false, false },
		{ "HTTP/1.1 404 No\r\n", BC_DONE_GONE, false, false },
		{ "HTTP/1.1 409 BlobArchived\r\n", BC_DONE_FAILED, false, false },
		{ "HTTP/1.1 412 No\r\n", BC_DONE_CHANGED, false, false },
		{ "HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\n", BC_DONE_FAILED, false, true },
		{ "HTTP/1.1 408 Slow\r\n", BC_DONE_FAILED, true, false },
		{ "HTTP/1.1 429 Busy\r\n", BC_DONE_RETRY_AFTER, false, false },
		{ "HTTP/1.1 500 Broken\r\n", BC_DONE_FAILED, true, false },
		{ "HTTP/1.1 502 Proxy\r\n", BC_DONE_FAILED, true, false },
		{ "HTTP/1.1 503 Busy\r\n", BC_DONE_RETRY_AFTER, false, false },
		{ "HTTP/1.1 504 Slow\r\n", BC_DONE_FAILED, true, false },
		{ "HTTP/1.1 nonsense\r\nHTTP/1.1 999 What\r\n", BC_DONE_FAILED, false, false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_get(&cases[i], 4096, 4096, &want);
}

/* The first MiB of who knows what. */
static void test_unbound(void **state)
{
	static const struct reply_case cases[] = {
		{ PARTIAL "Content-Range: bytes 0-99/100\r\n", BC_DONE_OK, false, false },
		{ PARTIAL "Content-Range: bytes 0-1048575/1048577\r\n", BC_DONE_OK, false, false },
		{ PARTIAL "Content-Range: bytes 0-99/101\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 0-1048576/1048577\r\n", BC_DONE_FAILED, true, false },
		{ WHOLE "Content-Length: 100\r\n", BC_DONE_OK, false, false },
		{ WHOLE "Content-Length: 0\r\n", BC_DONE_OK, false, false },
		{ WHOLE "Content-Length: 1048577\r\n", BC_DONE_FAILED, false, false },
		{ WHOLE "Transfer-Encoding: chunked\r\n", BC_DONE_FAILED, true, false },
		{ PARTIAL "Content-Range: bytes 0--1/0\r\n", BC_DONE_FAILED, true, false },
		{ WHOLE "Content-Length: 5\r\nx-ms-meta-hdi_isfolder: true\r\n", BC_DONE_UNSUPPORTED, false, false },
	};
	static const struct reply_case at_end = {
		PARTIAL "Content-Range: bytes 4096-4095/4096\r\n", BC_DONE_FAILED, false, true,
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_get(&cases[i], 0, 1 << 20, NULL);
	check_get(&at_end, 4096, 4096, NULL);
}

static unsigned int retry_after(const char *headers)
{
	struct bc_transfer transfer = { .verb = BC_VERB_GET, .length = 1 };
	struct bc_reply reply;
	char text[256];

	snprintf(text, sizeof(text), "HTTP/1.1 503 Busy\r\n%s\r\n", headers);
	feed(&reply, text);
	bc_reply_check(&reply, &transfer);
	return transfer.result.retry_after_ms;
}

static void test_retry_after(void **state)
{
	char date[128];
	time_t soon = time(NULL) + 20;

	(void)state;
	assert_in_range(retry_after(""), 1000, 2000);
	assert_in_range(retry_after("Retry-After: nonsense\r\n"), 1000, 2000);
	assert_int_equal(retry_after("Retry-After: 7\r\n"), 7000);
	assert_int_equal(retry_after("Retry-After: 7\r\nx-ms-retry-after-ms: 70\r\n"), 70);
	assert_int_equal(retry_after("retry-after-ms: 70\r\nRetry-After: 7\r\n"), 70);
	assert_int_equal(retry_after("Retry-After: 0\r\n"), 1);
	assert_int_equal(retry_after("Retry-After: 18446744073709551615\r\n"), 60000);
	strftime(date, sizeof(date), "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime(&soon));
	assert_in_range(retry_after(date), 18000, 20000);
}

static void test_etags(void **state)
{
	char etag[BC_ETAG_MAX + 1], text[BC_ETAG_MAX + 8];
	bool weak;

	(void)state;
	assert_true(bc_etag_parse(etag, "\"a\"", 3, &weak));
	assert_string_equal(etag, "a");
	assert_true(bc_etag_parse(etag, "0x8D", 4, &weak));
	assert_string_equal(etag, "0x8D");
	assert_false(bc_etag_parse(etag, "W/\"a\"", 5, &weak));
	assert_true(weak);
	assert_false(bc_etag_parse(etag, "\"\"", 2, &weak));
	assert_false(bc_etag_parse(etag, "", 0, &weak));
	assert_false(bc_etag_parse(etag, "\"", 1, &weak));
	assert_false(bc_etag_parse(etag, "\"a\"b\"", 5, &weak));
	assert_false(bc_etag_parse(etag, "\"a\nb\"", 5, &weak));
	memset(text, 'x', sizeof(text));
	assert_true(bc_etag_parse(etag, text, BC_ETAG_MAX, &weak));
	assert_int_equal(strlen(etag), BC_ETAG_MAX);
	assert_false(bc_etag_parse(etag, text, BC_ETAG_MAX + 1, &weak));
	assert_string_equal(etag, "");
}

static void test_error_text(void **state)
{
	struct bc_transfer transfer = { .verb = BC_VERB_HEAD };
	struct bc_reply reply;

	(void)state;
	feed(&reply, "HTTP/1.1 403 x\r\nx-ms-error-code: AuthorizationFailure\r\n"
		     "x-ms-request-id: 7-7\r\n\r\n");
	assert_false(bc_reply_check(&reply, &transfer));
	assert_string_equal(transfer.result.text, "HTTP 403 AuthorizationFailure, request id 7-7");
}

static void test_paths(void **state)
{
	static const char *const good[] = { "a", "a/b", "...", "a/..b", ".a/b." };
	static const char *const bad[] = { "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(bc_path_valid(good[i]));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(bc_path_valid(bad[i]));
}

static char names[1024];

static void on_entry(struct bc_list *list, const struct bc_list_entry *entry)
{
	(void)list;
	snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s|%d|%s|%llu|%lld\n",
		 entry->name, entry->directory, entry->object.etag,
		 (unsigned long long)entry->object.size, (long long)entry->object.last_modified);
}

/* In pieces of @step bytes, as the network may deliver it. */
static bool parse(const char *xml, size_t step, char **marker)
{
	struct bc_list list = { .entry = on_entry };
	struct bc_listing *listing = bc_listing_create(&list);
	size_t length = strlen(xml), at;
	bool good = true;

	names[0] = 0;
	for (at = 0; at < length && good; at += step)
		good = bc_listing_parse(listing, xml + at, step < length - at ? step : length - at, false);
	good = good && bc_listing_parse(listing, "", 0, true);
	*marker = bc_listing_marker(listing);
	bc_listing_free(listing);
	return good;
}

#define HEAD	"<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Prefix>p</Prefix>"
#define TAIL	"</EnumerationResults>"

static void test_listing(void **state)
{
	static const char xml[] = "\xef\xbb\xbf" HEAD
		"<Blobs><Blob><Name>a &amp; &lt;b&gt; &#252;</Name><Properties>"
		"<Last-Modified>Thu, 01 Jan 1970 00:01:00 GMT</Last-Modified><Etag>0x8D</Etag>"
		"<Content-Length>123</Content-Length><LeaseState>x</LeaseState></Properties>"
		"<Metadata><k>v</k></Metadata></Blob>"
		"<Blob><Name Encoded=\"true\">c%EF%BF%BE%01</Name><Properties>"
		"<Etag>W/\"1\"</Etag><Content-Length>1</Content-Length></Properties></Blob>"
		"<Blob><Name>dir</Name><Properties><ResourceType>directory</ResourceType></Properties></Blob>"
		"<BlobPrefix><Name>d/</Name></BlobPrefix>"
		"</Blobs><NextMarker>m&amp;1</NextMarker>" TAIL;
	size_t step;
	char *marker;

	(void)state;
	for (step = 1; step < sizeof(xml); step = step * 2 + 1) {
		assert_true(parse(xml, step, &marker));
		assert_string_equal(names, "a & <b> \xc3\xbc|0|0x8D|123|60\n"
					   "c\xef\xbf\xbe\x01|0||1|0\n"
					   "dir|1||0|0\n"
					   "d/|1||0|0\n");
		assert_string_equal(marker, "m&1");
		free(marker);
	}
}

static void test_empty_page(void **state)
{
	char *marker;

	(void)state;
	assert_true(parse(HEAD "<Blobs /><NextMarker>x</NextMarker>" TAIL, 100, &marker));
	assert_string_equal(names, "");
	assert_string_equal(marker, "x");
	free(marker);
	assert_true(parse(HEAD "<Blobs></Blobs><NextMarker/>" TAIL, 100, &marker));
	assert_null(marker);
}

static void test_bad_listings(void **state)
{
	static const char *const cases[] = {
		"", "x", HEAD "<Blobs>", HEAD "</Blobs>" TAIL,
		HEAD "<Blobs><Blob><Name>a</Name><Content-Length>-1</Content-Length></Blob></Blobs>" TAIL,
		HEAD "<Blobs><Blob><Name>a</Name><Content-Length>1x</Content-Length></Blob></Blobs>" TAIL,
		HEAD "<Blobs><Blob><Name>a</Name><Content-Length>18446744073709551616</Content-Length></Blob></Blobs>" TAIL,
		HEAD "<Blobs><Blob><Name Encoded=\"true\">a%00b</Name></Blob></Blobs>" TAIL,
		"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><EnumerationResults>&b;</EnumerationResults>",
		"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a></a>",
	};
	char *marker, *huge;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_false(parse(cases[i], 7, &marker));
		assert_null(marker);
	}
	huge = malloc(40000);
	strcpy(huge, HEAD "<Blobs><Blob><Name>");
	memset(huge + strlen(huge) + 1, 0, 1);
	i = strlen(huge);
	memset(huge + i, 'n', 20000);
	strcpy(huge + i + 20000, "</Name></Blob></Blobs>" TAIL);
	assert_false(parse(huge, 1000, &marker));
	free(huge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_unbound),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_etags),
		cmocka_unit_test(test_error_text),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_listing),
		cmocka_unit_test(test_empty_page),
		cmocka_unit_test(test_bad_listings),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
