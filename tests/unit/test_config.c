/* sources: daemon/config.c daemon/json_line.c daemon/secret.c daemon/source.c daemon/log.c daemon/util.c */
/* libs: jansson libcrypto */
// SPDX-License-Identifier: GPL-2.0-or-later
/* The configuration: what is taken, and that errors name file, line and key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "json_line.h"
#include "log.h"
#include "source.h"

static char directory[] = "/tmp/test_config.XXXXXX";

static void path_of(char *to, size_t size, const char *name)
{
	snprintf(to, size, "%s/%s", directory, name);
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	char path[256];
	FILE *file;

	path_of(path, sizeof(path), name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void expect_error(const char *json, const char *expected)
{
	char text[1024] = "";
	struct bc_config *config = bc_config_parse("t.json", json, text, sizeof(text));

	assert_null(config);
	if (strncmp(text, expected, strlen(expected)))
		fail_msg("got '%s', not '%s...'", text, expected);
}

static struct bc_config *expect_good(const char *json)
{
	char text[1024] = "";
	struct bc_config *config = bc_config_parse("t.json", json, text, sizeof(text));

	if (!config)
		fail_msg("%s", text);
	return config;
}

static void test_defaults(void **state)
{
	struct bc_config *config = expect_good("{}");

	(void)state;
	assert_int_equal(config->fetch.threads, 2);
	assert_int_equal(config->fetch.retries, 3);
	assert_int_equal(config->fetch.connect_timeout_ms, 2000);
	assert_int_equal(config->fetch.stall_timeout_ms, 5000);
	assert_false(config->allow_file);
	assert_int_equal(config->volume_count, 0);
	assert_false(config->flush.paused);
	assert_int_equal(config->flush.uploads, 4);
	assert_int_equal(config->flush.bytes_per_second, 0);
	assert_int_equal(config->flush.marker_count, 4);
	bc_config_free(config);
}

static void test_flush(void **state)
{
	struct bc_config *config = expect_good(
		"{ \"flush\": { \"paused\": true, \"uploads\": 3, \"connections\": 5, \"memory_mib\": 20,"
		" \"bandwidth_mib\": 7, \"delay_ms\": 9, \"stage_mib\": 10, \"stage_age_s\": 2,"
		" \"markers\": [ \"done\", \"*.x\" ] } }");
	struct bc_flush_config *copy = bc_flush_config_copy(&config->flush);

	(void)state;
	bc_config_free(config);
	assert_non_null(copy);
	assert_true(copy->paused && copy->uploads == 3 && copy->blocks == 5);
	assert_true(copy->memory == 20 << 20 && copy->bytes_per_second == 7 << 20);
	assert_true(copy->delay_ms == 9 && copy->stage_bytes == 10 << 20 && copy->stage_age_ms == 2000);
	assert_int_equal(copy->marker_count, 2);
	assert_string_equal(copy->markers[0], "done");
	assert_string_equal(copy->markers[1], "*.x");
	bc_flush_config_free(copy);
	config = expect_good("{ \"flush\": { \"markers\": [] } }");
	assert_int_equal(config->flush.marker_count, 0);
	bc_config_free(config);
}

static void test_whole(void **state)
{
	struct bc_config *config;
	char json[2048];

	(void)state;
	write_file("key", "Zm9vYmE=\n", 0600);
	write_file("sas", "?sv=2021&sig=a%2Bb\n", 0600);
	snprintf(json, sizeof(json),
		 "{ \"fetch\": { \"threads\": 3, \"connections\": 7, \"retries\": 0 },\n"
		 "  \"allow_file\": true,\n"
		 "  \"volumes\": [\n"
		 "    { \"source\": \"azure://ACC.blob.core.windows.net/data/\",\n"
		 "      \"auth\": { \"type\": \"shared-key\", \"account\": \"acc\", \"key_file\": \"%s/key\" } },\n"
		 "    { \"source\": \"azure://127.0.0.1:10000/acc/data\", \"scheme\": \"http\",\n"
		 "      \"api_version\": \"2023-11-03\", \"proxy\": \"http://p:1\", \"ca_file\": \"/ca\",\n"
		 "      \"auth\": { \"type\": \"sas\", \"token_file\": \"%s/sas\" } },\n"
		 "    { \"source\": \"azure://h/public\", \"auth\": { \"type\": \"anonymous\" } },\n"
		 "    { \"source\": \"file:///data\" } ] }", directory, directory);
	config = expect_good(json);
	assert_int_equal(config->fetch.threads, 3);
	assert_int_equal(config->fetch.connections, 7);
	assert_int_equal(config->fetch.retries, 0);
	assert_true(config->allow_file);
	assert_false(config->inline_secret);
	assert_int_equal(config->volume_count, 4);
	assert_string_equal(config->volumes[0].source, "azure://acc.blob.core.windows.net/data");
	assert_false(config->volumes[0].plain_http);
	assert_int_equal(config->volumes[0].auth.secret.length, 5);
	assert_memory_equal(config->volumes[0].auth.secret.bytes, "fooba", 5);
	assert_string_equal(config->volumes[0].api_version, BC_AZURE_API_VERSION);
	assert_true(config->volumes[1].plain_http);
	assert_string_equal(config->volumes[1].auth.secret.bytes, "sv=2021&sig=a%2Bb");
	assert_string_equal(config->volumes[1].api_version, "2023-11-03");
	assert_int_equal(config->volumes[2].auth.type, BC_AUTH_ANONYMOUS);
	assert_string_equal(config->volumes[3].source, "file:///data");
	bc_config_free(config);
}

#define VOLUME(auth)	"{ \"volumes\": [ { \"source\": \"azure://h/c\",\n\"auth\": " auth " } ] }"

static void test_errors(void **state)
{
	static const struct {
		const char *json;
		const char *error;
	} cases[] = {
		{ "{ \"a\": 1,\n }", "t.json:2: column" },
		{ "[]", "t.json:1: must be an object" },
		{ "{ \"fetch\": {},\n \"fetch\": {} }", "t.json:2: column" },
		{ "{\n\n \"volume\": [] }", "t.json:3: volume: unknown key" },
		{ "{\n \"fetch\": {\n \"threads\":\n 0 } }", "t.json:4: fetch.threads: must be a whole number from 1 to 64" },
		{ "{ \"fetch\": { \"retries\": 1.5 } }", "t.json:1: fetch.retries: must be" },
		{ "{ \"fetch\": { \"stall_timeout_ms\": \"5000\" } }", "t.json:1: fetch.stall_timeout_ms: must be" },
		{ "{ \"flush\": { \"paused\": 1 } }", "t.json:1: flush.paused: must be true or false" },
		{ "{ \"flush\": { \"uploads\": 0 } }", "t.json:1: flush.uploads: must be a whole number" },
		{ "{ \"flush\": { \"pause\": true } }", "t.json:1: flush.pause: unknown key" },
		{ "{ \"flush\": { \"markers\": \"x\" } }", "t.json:1: flush.markers: must be a list" },
		{ "{ \"flush\": { \"markers\": [ \"a/b\" ] } }", "t.json:1: flush.markers: must be patterns" },
		{ "{ \"allow_file\": 1 }", "t.json:1: allow_file: must be true or false" },
		{ "{ \"volumes\": {} }", "t.json:1: volumes: must be a list" },
		{ "{ \"volumes\": [ 5 ] }", "t.json:1: volumes[0]: must be an object" },
		{ "{ \"volumes\": [\n {\n } ] }", "t.json:2: volumes[0].source: is missing" },
		{ "{ \"volumes\": [ { \"source\": \"s3://h/c\" } ] }", "t.json:1: volumes[0].source: 's3://h/c' is neither" },
		{ "{ \"volumes\": [ { \"source\": \"azure://h/c/p/q\" } ] }", "t.json:1: volumes[0].source: 'azure://h/c/p/q' must be" },
		{ "{ \"volumes\": [ { \"source\": \"azure://h\" } ] }", "t.json:1: volumes[0].source: 'azure://h' must be" },
		{ "{ \"volumes\": [ { \"source\": \"azure://u@h/c\" } ] }", "t.json:1: volumes[0].source:" },
		{ "{ \"volumes\": [ { \"source\": \"file://data\" } ] }", "t.json:1: volumes[0].source: 'file://data' must be" },
		{ "{ \"volumes\": [ { \"source\": \"file:///d\", \"auth\": {} } ] }", "t.json:1: volumes[0].auth: unknown key" },
		{ "{ \"volumes\": [ { \"source\": \"file:///d\" },\n { \"source\": \"file:///d/\" } ] }", "t.json:2: volumes[1]: has the same source" },
		{ "{ \"volumes\": [ { \"source\": \"azure://h/c\" } ] }", "t.json:1: volumes[0].auth: is missing" },
		{ "{ \"volumes\": [ { \"source\": \"azure://h/c\", \"scheme\": \"ftp\" } ] }", "t.json:1: volumes[0].scheme: 'ftp'" },
		{ VOLUME("5"), "t.json:2: volumes[0].auth: must be an object" },
		{ VOLUME("{ \"type\": \"key\" }"), "t.json:2: volumes[0].auth.type: 'key' is not one of" },
		{ VOLUME("{ \"type\": \"shared-key\" }"), "t.json:2: volumes[0].auth.account: is missing" },
		{ VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\",\n\"keyfile\": \"k\" }"), "t.json:3: volumes[0].auth.keyfile: unknown key" },
		{ VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\" }"), "t.json:2: volumes[0].auth.key_file: give either this or 'key'" },
		{ VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\", \"key\": \"k\", \"key_file\": \"/k\" }"), "t.json:2: volumes[0].auth.key_file: give either" },
		{ VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\", \"key_file\": \"k\" }"), "t.json:2: volumes[0].auth.key_file: must be an absolute path" },
		{ VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\", \"key_file\": \"/none/k\" }"), "t.json:2: volumes[0].auth.key_file: cannot open '/none/k': No such file" },
		{ VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\", \"key_file\": \"/\" }"), "t.json:2: volumes[0].auth.key_file: '/' is not a regular file" },
		{ VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\", \"key\": \"secret!\" }"), "t.json:2: volumes[0].auth: the key is not valid base64" },
		{ VOLUME("{ \"type\": \"sas\", \"token\": \"sv=1\\nx\" }"), "t.json:2: volumes[0].auth.token: must not contain control" },
		{ VOLUME("{ \"type\": \"sas\", \"token\": \"sv=1 2\" }"), "t.json:2: volumes[0].auth: the token must be one line" },
		{ VOLUME("{ \"type\": \"anonymous\", \"account\": \"a\" }"), "t.json:2: volumes[0].auth.account: unknown key" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_error(cases[i].json, cases[i].error);
}

/* What follows a slip of the pen may be a key. */
static void test_no_secret_in_errors(void **state)
{
	static const char *const cases[] = {
		"{ \"volumes\": [ { \"auth\": { \"key\": SECRET } } ] }",
		"{ \"volumes\": [ { \"auth\": { \"key\": \"SECRET\"SECRET } } ] }",
		"{ \"volumes\": [ { \"auth\": { \"key\": \"SECRET } } ] }",
		VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\", \"key\": \"SECRET\" }"),
		VOLUME("{ \"type\": \"sas\", \"token\": \"SECRET SECRET\" }"),
	};
	char text[1024];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_null(bc_config_parse("t.json", cases[i], text, sizeof(text)));
		assert_null(strstr(text, "SECRET"));
	}
}

static void test_files(void **state)
{
	char path[256], text[1024], json[1024];
	struct bc_config *config;

	(void)state;
	path_of(path, sizeof(path), "config");
	write_file("config", "{}", 0644);
	config = bc_config_load(path, text, sizeof(text));
	assert_non_null(config);
	bc_config_free(config);

	write_file("config", "{}", 0664);
	assert_null(bc_config_load(path, text, sizeof(text)));
	assert_non_null(strstr(text, "can be written by others; run: chmod 600"));

	write_file("key", "Zm9v", 0620);
	snprintf(json, sizeof(json), VOLUME("{ \"type\": \"shared-key\", \"account\": \"a\", \"key_file\": \"%s/key\" }"),
		 directory);
	assert_null(bc_config_parse("t.json", json, text, sizeof(text)));
	assert_non_null(strstr(text, "t.json:2: volumes[0].auth.key_file: "));
	assert_non_null(strstr(text, "can be written by others"));

	write_file("key", " \n", 0600);
	assert_null(bc_config_parse("t.json", json, text, sizeof(text)));
	assert_non_null(strstr(text, "is empty"));

	path_of(path, sizeof(path), "none");
	assert_null(bc_config_load(path, text, sizeof(text)));
	assert_non_null(strstr(text, "cannot open"));
}

static void test_lines(void **state)
{
	static const char json[] =
		"{ \"a\": [ 1, { \"b\\\"]\": \"\\\\\" },\n"
		"  {\n \"b\": [ [ ], [\n 7 ] ] } ],\n"
		"  \"c\": true }";

	(void)state;
	assert_int_equal(bc_json_line(json, ""), 1);
	assert_int_equal(bc_json_line(json, "a[1]"), 1);
	assert_int_equal(bc_json_line(json, "a[2]"), 2);
	assert_int_equal(bc_json_line(json, "a[2].b"), 3);
	assert_int_equal(bc_json_line(json, "a[2].b[1][0]"), 4);
	assert_int_equal(bc_json_line(json, "a[2].b[1][9].x"), 3);
	assert_int_equal(bc_json_line(json, "c"), 5);
	assert_int_equal(bc_json_line(json, "c.d"), 5);
	assert_int_equal(bc_json_line(json, "none.d"), 1);
	assert_int_equal(bc_json_line("", "a"), 1);
	assert_int_equal(bc_json_line("{ \"a\": ", "a[3]"), 1);
}

static void test_sources(void **state)
{
	static const struct {
		const char *from;
		const char *to;
	} cases[] = {
		{ "Azure://Host.NET:1/Cont/", "azure://host.net:1/Cont" },
		{ "file:///", "file:///" },
		{ "file:///A/b//", "file:///A/b" },
		{ "nonsense/", "nonsense" },
		{ "", "" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *canonical = bc_source_canonical(cases[i].from);

		assert_string_equal(canonical, cases[i].to);
		free(canonical);
	}
}

static int set_up(void **state)
{
	(void)state;
	bc_log_open(true, BC_ERROR);
	return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const names[] = { "key", "sas", "config" };
	char path[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		path_of(path, sizeof(path), names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_no_secret_in_errors),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_sources),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
