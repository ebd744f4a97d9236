/* sources: daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The azure store against Azurite, the emulator. AZURITE_JS names its
 * dist/src/blob/main.js, as tests/lib/azurite prints it; without it the tests
 * are skipped.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "log.h"
#include "store/http.h"
#include "store/sharedkey.h"
#include "store/text.h"
#include "util.h"

#define ACCOUNT	"devstoreaccount1"
#define KEY	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define SIZE	(3U << 20)

static struct bc_secret key;
static struct bc_net *net;
static char source[128], public_source[128];
static unsigned char content[SIZE];
static pid_t azurite;
static int port;

struct one {
	struct bc_transfer transfer;
	unsigned char *bytes;
	size_t length;
	bool begun, ended;
};

static bool on_begin(struct bc_transfer *transfer)
{
	((struct one *)transfer)->begun = true;
	return true;
}

static bool on_data(struct bc_transfer *transfer, const void *bytes, size_t length)
{
	struct one *one = (struct one *)transfer;

	assert_true(one->begun);
	assert_true(one->length + length <= transfer->length);
	memcpy(one->bytes + one->length, bytes, length);
	one->length += length;
	return true;
}

static void on_end(struct bc_transfer *transfer)
{
	((struct one *)transfer)->ended = true;
}

static const struct bc_transfer_ops ops = { on_begin, on_data, on_end };

static void run(struct one *one)
{
	one->transfer.ops = &ops;
	one->transfer.connect_timeout_ms = 2000;
	one->transfer.stall_timeout_ms = 20000;
	one->bytes = malloc(one->transfer.length + 1);
	bc_store_start(&one->transfer, net);
	while (!one->ended) {
		bc_net_run(net);
		if (!one->ended)
			bc_net_wait(net, 100);
	}
}

static struct one get(struct bc_store *store, const char *path, uint64_t offset,
		      uint64_t length, const struct bc_object *want)
{
	struct one one = {
		.transfer = {
			.store = store,
			.verb = BC_VERB_GET,
			.path = path,
			.offset = offset,
			.length = length,
			.want = want,
		},
	};

	run(&one);
	if (one.transfer.result.status == BC_DONE_OK) {
		assert_int_equal(one.length, bc_min(length, one.transfer.object.size - offset));
		assert_memory_equal(one.bytes, content + offset, one.length);
	}
	free(one.bytes);
	return one;
}

static struct one head(struct bc_store *store, const char *path)
{
	struct one one = {
		.transfer = { .store = store, .verb = BC_VERB_HEAD, .path = path },
	};

	run(&one);
	free(one.bytes);
	return one;
}

static size_t drop(char *bytes, size_t one, size_t length, void *context)
{
	(void)bytes;
	(void)context;
	return one * length;
}

static struct curl_slist *put_headers(const char *path, const char *query, size_t length,
				      const char *extra)
{
	char date[64];
	time_t now = time(NULL);
	struct bc_sign_request sign = {
		.verb = "PUT",
		.content_length = length,
		.path = path,
		.query = query,
		.headers = { date, "x-ms-version:" BC_AZURE_API_VERSION, extra },
	};
	struct curl_slist *headers = NULL;
	char *line;

	strftime(date, sizeof(date), "x-ms-date:%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
	line = bc_sharedkey_authorization(&sign, ACCOUNT, &key);
	headers = curl_slist_append(headers, line);
	headers = curl_slist_append(headers, date);
	headers = curl_slist_append(headers, sign.headers[1]);
	if (extra)
		headers = curl_slist_append(headers, extra);
	headers = curl_slist_append(headers, "Content-Type:");
	headers = curl_slist_append(headers, "Expect:");
	free(line);
	return headers;
}

static long put(const char *name, const char *query, size_t length, const char *extra)
{
	struct bc_text path = { 0 };
	struct curl_slist *headers;
	CURL *easy = curl_easy_init();
	char *wire, url[512];
	long status = 0;

	bc_text_put(&path, "/" ACCOUNT "/");
	bc_text_encode(&path, name, "/");
	wire = bc_text_take(&path);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d%s%s%s", port, wire, query ? "?" : "",
		 query ? query : "");
	headers = put_headers(wire, query, length, extra);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "PUT");
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, content);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)length);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
	curl_easy_perform(easy);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	free(wire);
	return status;
}

static void put_blob(const char *name, size_t length)
{
	assert_int_equal(put(name, NULL, length, "x-ms-blob-type:BlockBlob"), 201);
}

static bool start_azurite(void)
{
	char number[16];
	int i;

	port = 20000 + getpid() % 20000;
	snprintf(number, sizeof(number), "%d", port);
	azurite = fork();
	if (!azurite) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (!freopen("/dev/null", "w", stdout))
			_exit(127);
		execlp("node", "node", getenv("AZURITE_JS"), "--blobHost", "127.0.0.1", "--blobPort", number,
		       "--silent", "--disableTelemetry", "--inMemoryPersistence", (char *)NULL);
		_exit(127);
	}
	for (i = 0; i < 600; i++) {
		if (put("probe-is-early", "restype=container", 0, NULL) == 201)
			return true;
		usleep(100000);
	}
	return false;
}

static int set_up(void **state)
{
	size_t i;

	(void)state;
	bc_log_open(true, BC_ERROR);
	assert_true(bc_http_init());
	bc_secret_copy(&key, KEY, strlen(KEY));
	bc_secret_decode(&key);
	for (i = 0; i < SIZE; i++)
		content[i] = (unsigned char)(i * 7 + i / 255);
	net = bc_net_create(4);
	assert_true(start_azurite());
	snprintf(source, sizeof(source), "azure://127.0.0.1:%d/" ACCOUNT "/private", port);
	snprintf(public_source, sizeof(public_source), "azure://127.0.0.1:%d/" ACCOUNT "/public", port);
	assert_int_equal(put("private", "restype=container", 0, NULL), 201);
	assert_int_equal(put("public", "restype=container", 0, "x-ms-blob-public-access:container"), 201);
	put_blob("private/large", SIZE);
	put_blob("private/empty", 0);
	put_blob("private/dir/a b+c%#?&\xc3\xbc~'\"<", 1000);
	put_blob("private/dir/in/ner", 1000);
	put_blob("public/blob", 1000);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	bc_net_destroy(net);
	bc_secret_free(&key);
	if (azurite > 0) {
		kill(azurite, SIGTERM);
		waitpid(azurite, NULL, 0);
	}
	curl_global_cleanup();
	return 0;
}

static struct bc_store *open_store(const char *where, enum bc_auth_type type,
				   const struct bc_secret *secret)
{
	char text[256];
	struct bc_volume volume = {
		.source = (char *)where,
		.plain_http = true,
		.api_version = (char *)BC_AZURE_API_VERSION,
		.auth = { .type = type, .account = (char *)ACCOUNT },
	};
	struct bc_store *store;

	if (secret)
		volume.auth.secret = *secret;
	store = bc_store_open(&volume, text, sizeof(text));
	assert_non_null(store);
	return store;
}

static void test_shared_key(void **state)
{
	struct bc_store *store = open_store(source, BC_AUTH_SHARED_KEY, &key);
	struct bc_object object;
	struct one one = head(store, "large");

	(void)state;
	assert_int_equal(one.transfer.result.status, BC_DONE_OK);
	object = one.transfer.object;
	assert_int_equal(object.size, SIZE);
	assert_in_range(object.last_modified, time(NULL) - 60, time(NULL) + 1);

	one = get(store, "large", 0, 1 << 20, NULL);
	assert_int_equal(one.transfer.result.status, BC_DONE_OK);
	assert_string_equal(one.transfer.object.etag, object.etag);
	assert_int_equal(one.transfer.object.size, SIZE);
	assert_int_equal(one.transfer.object.last_modified, object.last_modified);
	one = get(store, "large", 2 << 20, 5 << 20, &object);
	assert_int_equal(one.transfer.result.status, BC_DONE_OK);
	one = get(store, "large", 12345, 7, &object);
	assert_int_equal(one.transfer.result.status, BC_DONE_OK);

	one = get(store, "dir/a b+c%#?&\xc3\xbc~'\"<", 0, 4096, NULL);
	assert_int_equal(one.transfer.result.status, BC_DONE_OK);
	assert_int_equal(one.transfer.object.size, 1000);
	bc_store_put(store);
}

static void test_refusals(void **state)
{
	struct bc_store *store = open_store(source, BC_AUTH_SHARED_KEY, &key);
	struct bc_object object = head(store, "large").transfer.object;
	struct one one;

	(void)state;
	one = get(store, "none", 0, 10, NULL);
	assert_int_equal(one.transfer.result.status, BC_DONE_GONE);
	assert_non_null(strstr(one.transfer.result.text, "404 BlobNotFound"));
	one = head(store, "none");
	assert_int_equal(one.transfer.result.status, BC_DONE_GONE);

	one = get(store, "empty", 0, 4096, NULL);
	assert_true(one.transfer.result.no_range);
	one = get(store, "large", SIZE, 4096, &object);
	assert_true(one.transfer.result.no_range);
	assert_int_equal(head(store, "empty").transfer.object.size, 0);

	put_blob("private/large", SIZE - 1);
	one = get(store, "large", 0, 4096, &object);
	assert_int_equal(one.transfer.result.status, BC_DONE_CHANGED);
	assert_non_null(strstr(one.transfer.result.text, "412 ConditionNotMet"));
	put_blob("private/large", SIZE);
	bc_store_put(store);
}

static void test_denied(void **state)
{
	struct bc_secret wrong = { .bytes = (char *)"wrong", .length = 5 };
	struct bc_store *store = open_store(source, BC_AUTH_SHARED_KEY, &wrong);
	struct one one = get(store, "large", 0, 10, NULL);

	(void)state;
	assert_int_equal(one.transfer.result.status, BC_DONE_DENIED);
	assert_non_null(strstr(one.transfer.result.text, "403 AuthorizationFailure"));
	assert_int_equal(head(store, "large").transfer.result.status, BC_DONE_DENIED);
	bc_store_put(store);
	store = open_store(source, BC_AUTH_ANONYMOUS, NULL);
	one = get(store, "large", 0, 10, NULL);
	assert_int_not_equal(one.transfer.result.status, BC_DONE_OK);
	bc_store_put(store);
}

static void test_anonymous(void **state)
{
	struct bc_store *store = open_store(public_source, BC_AUTH_ANONYMOUS, NULL);

	(void)state;
	assert_int_equal(get(store, "blob", 0, 4096, NULL).transfer.result.status, BC_DONE_OK);
	assert_int_equal(head(store, "blob").transfer.result.status, BC_DONE_OK);
	bc_store_put(store);
}

/* A service SAS of the container. */
static void make_sas(char *to, size_t size, const char *permissions)
{
	unsigned char digest[32], base64[64];
	char text[512];
	struct bc_text encoded = { 0 };
	unsigned int length;
	char *signature;

	snprintf(text, sizeof(text), "%s\n\n2099-01-01T00:00:00Z\n/blob/" ACCOUNT "/private\n\n\n\n2020-12-06\nc\n\n\n\n\n\n\n", permissions);
	HMAC(EVP_sha256(), key.bytes, (int)key.length, (unsigned char *)text, strlen(text),
	     digest, &length);
	EVP_EncodeBlock(base64, digest, (int)length);
	bc_text_encode(&encoded, (char *)base64, "");
	signature = bc_text_take(&encoded);
	snprintf(to, size, "sp=%s&se=2099-01-01T00%%3A00%%3A00Z&sv=2020-12-06&sr=c&sig=%s",
		 permissions, signature);
	free(signature);
}

static void test_sas(void **state)
{
	char token[512];
	struct bc_secret sas = { .bytes = token };
	struct bc_store *store;

	(void)state;
	make_sas(token, sizeof(token), "rl");
	sas.length = strlen(token);
	store = open_store(source, BC_AUTH_SAS, &sas);
	assert_int_equal(get(store, "large", 0, 4096, NULL).transfer.result.status, BC_DONE_OK);
	assert_int_equal(head(store, "large").transfer.result.status, BC_DONE_OK);
	bc_store_put(store);

	token[sas.length - 8] ^= 1;
	store = open_store(source, BC_AUTH_SAS, &sas);
	assert_int_equal(get(store, "large", 0, 4096, NULL).transfer.result.status, BC_DONE_DENIED);
	bc_store_put(store);
}

static char names[1024];

static void on_entry(struct bc_list *list, const struct bc_list_entry *entry)
{
	(void)list;
	snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s %s%llu\n", entry->name,
		 *entry->object.etag ? "" : "? ", (unsigned long long)entry->object.size);
}

static void on_list_end(struct bc_transfer *transfer)
{
	*(bool *)((struct bc_list *)transfer)->transfer.want = true;
}

static const char *list(struct bc_store *store, const char *path, bool recursive)
{
	static const struct bc_transfer_ops list_ops = { .end = on_list_end };
	bool ended = false;
	struct bc_list page = {
		.transfer = {
			.store = store,
			.ops = &list_ops,
			.verb = BC_VERB_LIST,
			.path = path,
			.want = (void *)&ended,
			.connect_timeout_ms = 2000,
			.stall_timeout_ms = 20000,
		},
		.recursive = recursive,
		.entry = on_entry,
	};

	names[0] = 0;
	bc_store_start(&page.transfer, net);
	while (!ended) {
		bc_net_run(net);
		bc_net_wait(net, 10);
	}
	assert_int_equal(page.transfer.result.status, BC_DONE_OK);
	assert_null(page.marker);
	return names;
}

static void test_list(void **state)
{
	struct bc_store *store = open_store(source, BC_AUTH_SHARED_KEY, &key);

	(void)state;
	assert_string_equal(list(store, "", false), "dir/ ? 0\nempty 0\nlarge 3145728\n");
	assert_string_equal(list(store, "dir/", false),
			    "dir/in/ ? 0\ndir/a b+c%#?&\xc3\xbc~'\"< 1000\n");
	assert_string_equal(list(store, "dir/", true),
			    "dir/a b+c%#?&\xc3\xbc~'\"< 1000\ndir/in/ner 1000\n");
	assert_string_equal(list(store, "none/", true), "");
	bc_store_put(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_key),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_anonymous),
		cmocka_unit_test(test_sas),
		cmocka_unit_test(test_list),
	};

	if (!getenv("AZURITE_JS")) {
		puts("1..0 # SKIP AZURITE_JS is not set");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
