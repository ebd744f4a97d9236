/* sources: daemon/store/sharedkey.c daemon/store/text.c daemon/secret.c daemon/log.c daemon/util.c */
/* libs: libcrypto */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * SharedKey signatures. The three vectors were accepted by Azurite; account and
 * key are the emulator's, which are public.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/sharedkey.h"
#include "store/text.h"

#define ACCOUNT	"devstoreaccount1"
#define KEY	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define DATE	"x-ms-date:Fri, 20 Nov 2026 12:00:00 GMT"
#define VERSION	"x-ms-version:2021-12-02"

static void check(const struct bc_sign_request *request, const char *expected,
		  const char *signature)
{
	char header[256];
	struct bc_secret key;
	char *text = bc_sharedkey_string(request, ACCOUNT);

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
	assert_true(bc_secret_copy(&key, KEY, strlen(KEY)));
	assert_true(bc_secret_decode(&key));
	assert_int_equal(key.length, 64);
	text = bc_sharedkey_authorization(request, ACCOUNT, &key);
	snprintf(header, sizeof(header), "Authorization: SharedKey %s:%s", ACCOUNT, signature);
	assert_string_equal(text, header);
	free(text);
	bc_secret_free(&key);
}

static void test_range(void **state)
{
	const struct bc_sign_request request = {
		.verb = "GET",
		.if_match = "\"0x1\"",
		.path = "/devstoreaccount1/ctr2/ck",
		.headers = { "x-ms-range:bytes=0-99", VERSION, "x-ms-client-request-id:t-1", DATE },
	};

	(void)state;
	check(&request,
	      "GET\n\n\n\n\n\n\n\n\"0x1\"\n\n\n\nx-ms-client-request-id:t-1\n" DATE
	      "\nx-ms-range:bytes=0-99\n" VERSION "\n/devstoreaccount1/devstoreaccount1/ctr2/ck",
	      "Lu2f9568NoxNZJ67SUZpIUb66lcFjnIE2wPRNjDybM4=");
}

static void test_block(void **state)
{
	const struct bc_sign_request request = {
		.verb = "PUT",
		.content_length = 3,
		.content_md5 = "kAFQmDzST7DWlj99KOF/cg==",
		.path = "/devstoreaccount1/ctr2/v2",
		.query = "blockid=MDAwMDAwMDA%3D&comp=block",
		.headers = { DATE, VERSION },
	};

	(void)state;
	check(&request,
	      "PUT\n\n\n3\nkAFQmDzST7DWlj99KOF/cg==\n\n\n\n\n\n\n\n" DATE "\n" VERSION
	      "\n/devstoreaccount1/devstoreaccount1/ctr2/v2\nblockid:MDAwMDAwMDA=\ncomp:block",
	      "NwPbl/L4nHHuoK4RXJxTnL6m9PBl/RICgNXxQt17aUU=");
}

/* A commit as Azurite took it (tests/unit/test_store_write.c); the text by Azure's rules. */
static void test_commit(void **state)
{
	const struct bc_sign_request request = {
		.verb = "PUT",
		.content_length = 3,
		.content_md5 = "kAFQmDzST7DWlj99KOF/cg==",
		.if_none_match = "*",
		.path = "/devstoreaccount1/ctr2/v2",
		.query = "comp=blocklist",
		.headers = { DATE, VERSION, "x-ms-meta-bcgeneration:00", "x-ms-meta-bccut:7",
			     "x-ms-meta-bccrc32c:0", "x-ms-meta-bcmode:0644", "x-ms-meta-bcmtime:1.0",
			     "x-ms-meta-bcnode:n" },
	};
	char *text = bc_sharedkey_string(&request, ACCOUNT);

	(void)state;
	assert_string_equal(text,
			    "PUT\n\n\n3\nkAFQmDzST7DWlj99KOF/cg==\n\n\n\n\n*\n\n\n" DATE
			    "\nx-ms-meta-bccrc32c:0\nx-ms-meta-bccut:7\nx-ms-meta-bcgeneration:00"
			    "\nx-ms-meta-bcmode:0644\nx-ms-meta-bcmtime:1.0\nx-ms-meta-bcnode:n\n"
			    VERSION "\n/devstoreaccount1/devstoreaccount1/ctr2/v2\ncomp:blocklist");
	free(text);
}

static void test_list(void **state)
{
	const struct bc_sign_request request = {
		.verb = "GET",
		.path = "/devstoreaccount1/ctr2",
		.query = "restype=container&comp=list&prefix=a%20b&delimiter=%2F",
		.headers = { DATE, VERSION },
	};

	(void)state;
	check(&request,
	      "GET\n\n\n\n\n\n\n\n\n\n\n\n" DATE "\n" VERSION
	      "\n/devstoreaccount1/devstoreaccount1/ctr2\ncomp:list\ndelimiter:/\nprefix:a b\nrestype:container",
	      "X0gTUMio8olY9cRAuBuRe4PTHNhLvOhJM1yQIxXYlmc=");
}

/* Several values of one name are sorted and joined; names compare without case. */
static void test_query(void **state)
{
	const struct bc_sign_request request = {
		.verb = "GET",
		.path = "/c",
		.query = "b=2&A=x%2Cy&B=1&empty&&c=",
	};
	char *text = bc_sharedkey_string(&request, "a");

	(void)state;
	assert_string_equal(strstr(text, "/a/c"), "/a/c\nA:x,y\nB:1,2\nc:\nempty:");
	free(text);
}

static void test_many_parameters(void **state)
{
	const struct bc_sign_request request = {
		.verb = "GET",
		.path = "/c",
		.query = "a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1&j=1&k=1&l=1&m=1&n=1&o=1&p=1&q=1",
	};

	(void)state;
	assert_null(bc_sharedkey_string(&request, "a"));
}

static void test_bad_keys(void **state)
{
	static const char *const keys[] = { "", "abc", "ab=c", "a$cd", "====" };
	struct bc_secret key;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		assert_true(bc_secret_copy(&key, keys[i], strlen(keys[i])));
		assert_false(bc_secret_decode(&key));
		assert_string_equal(key.bytes, keys[i]);
		bc_secret_free(&key);
	}
}

static void test_percent(void **state)
{
	struct bc_text text = { 0 };
	char *encoded, bytes[] = "a%20b%2%zz%";

	(void)state;
	bc_text_encode(&text, "a b+c%/\xc3\xbc~", "/");
	encoded = bc_text_take(&text);
	assert_string_equal(encoded, "a%20b%2Bc%25/%C3%BC~");
	assert_int_equal(bc_percent_decode(encoded, strlen(encoded)), 10);
	assert_string_equal(encoded, "a b+c%/\xc3\xbc~");
	free(encoded);
	assert_int_equal(bc_percent_decode(bytes, strlen(bytes)), 9);
	assert_string_equal(bytes, "a b%2%zz%");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_block),
		cmocka_unit_test(test_commit),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_many_parameters),
		cmocka_unit_test(test_bad_keys),
		cmocka_unit_test(test_percent),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
