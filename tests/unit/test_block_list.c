/* sources: daemon/store/block_list.c daemon/store/error_body.c daemon/store/text.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/util.c */
/* libs: libcurl expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a store says of blocks, and of changes: nothing but what is well-formed is
 * believed, and each error code is told apart, since what is done about it differs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/block_list.h"
#include "store/error_body.h"
#include "store/meta.h"
#include "store/reply.h"
#include "util.h"

/* The one of store.c needs all stores. */
void bc_result_set(struct bc_result *result, enum bc_done_status status, bool retry,
		   const char *format, ...)
{
	(void)format;
	*result = (struct bc_result){ .status = status, .retry = retry };
}

struct seen {
	struct bc_block_list list;
	char text[512];
};

static void on_block(struct bc_block_list *list, const char *id, uint64_t size, bool committed)
{
	struct seen *seen = (struct seen *)list;
	size_t at = strlen(seen->text);

	snprintf(seen->text + at, sizeof(seen->text) - at, "%s%s:%llu ", committed ? "+" : "-", id,
		 (unsigned long long)size);
}

static bool parse(struct seen *seen, const char *xml, size_t step)
{
	struct bc_block_parser *parser;
	size_t left = strlen(xml);
	bool good = true;

	*seen = (struct seen){ .list.block = on_block };
	parser = bc_block_parser_create(&seen->list);
	assert_non_null(parser);
	for (; good && left > step; left -= step, xml += step)
		good = bc_block_parser_parse(parser, xml, step, false);
	good = good && bc_block_parser_parse(parser, xml, left, true);
	bc_block_parser_free(parser);
	return good;
}

#define BLOCK(name, size)	"<Block><Name>" name "</Name><Size>" size "</Size></Block>"
#define LIST(text)		"<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>" text "</BlockList>"

static void test_list(void **state)
{
	static const char xml[] =
		LIST("<CommittedBlocks>" BLOCK("QQ==", "7") BLOCK("Qg==", "8388608") "</CommittedBlocks>\n"
		     "<UncommittedBlocks><Block><Size>0</Size><Name>Qw==</Name><X>1</X></Block></UncommittedBlocks>");
	struct seen seen;
	size_t step;

	(void)state;
	for (step = 1; step < sizeof(xml); step++) {
		assert_true(parse(&seen, xml, step));
		assert_string_equal(seen.text, "+QQ==:7 +Qg==:8388608 -Qw==:0 ");
	}
	assert_true(parse(&seen, LIST(""), 1000));
	assert_string_equal(seen.text, "");
	/* Where no block belongs there is none. */
	assert_true(parse(&seen, LIST("<Other>" BLOCK("QQ==", "1") "</Other>" BLOCK("QQ==", "1")), 1000));
	assert_string_equal(seen.text, "");
}

static void test_bad_lists(void **state)
{
	static const char *const bad[] = {
		"", "<BlockList>", "<Error><Code>X</Code></Error>",
		LIST("<CommittedBlocks>" BLOCK("", "7") "</CommittedBlocks>"),
		LIST("<CommittedBlocks>" BLOCK("QQ==", "") "</CommittedBlocks>"),
		LIST("<CommittedBlocks>" BLOCK("QQ==", "-7") "</CommittedBlocks>"),
		LIST("<CommittedBlocks>" BLOCK("QQ==", "7x") "</CommittedBlocks>"),
		LIST("<CommittedBlocks>" BLOCK("QQ==", "18446744073709551616") "</CommittedBlocks>"),
		LIST("<CommittedBlocks><Block><Name>QQ==</Name></Block></CommittedBlocks>"),
		LIST("<CommittedBlocks><Block><Size>1</Size></Block></CommittedBlocks>"),
		LIST("<A><B><C><D><E><F><G><H></H></G></F></E></D></C></B></A>"),
		"<!DOCTYPE x [<!ENTITY a \"b\">]>" "<BlockList></BlockList>",
	};
	char name[400], xml[600];
	struct seen seen;
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(bad); i++)
		if (parse(&seen, bad[i], 1000))
			fail_msg("taken: %s", bad[i]);
	/* An id longer than any may be. */
	memset(name, 'A', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	snprintf(xml, sizeof(xml), LIST("<CommittedBlocks>" BLOCK("%s", "1") "</CommittedBlocks>"), name);
	assert_false(parse(&seen, xml, 1000));
	name[BC_BLOCK_ID_MAX + 1] = 0;
	snprintf(xml, sizeof(xml), LIST("<CommittedBlocks>" BLOCK("%s", "1") "</CommittedBlocks>"), name);
	assert_false(parse(&seen, xml, 1000));
	name[BC_BLOCK_ID_MAX] = 0;
	snprintf(xml, sizeof(xml), LIST("<CommittedBlocks>" BLOCK("%s", "1") "</CommittedBlocks>"), name);
	assert_true(parse(&seen, xml, 1000));
}

static const char *number(struct bc_commit *commit, uint32_t index, char *to)
{
	(void)commit;
	snprintf(to, BC_BLOCK_ID_MAX + 1, "id%u", index);
	return to;
}

static void test_write(void **state)
{
	struct bc_commit commit = { .count = 2, .id = number };
	struct bc_text text = { 0 };
	char *xml;

	(void)state;
	bc_block_list_write(&text, &commit);
	xml = bc_text_take(&text);
	assert_string_equal(xml, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
			    "<BlockList><Latest>id0</Latest><Latest>id1</Latest></BlockList>");
	free(xml);
}

static void test_error_body(void **state)
{
	static const struct {
		const char *xml;
		const char *code;
	} cases[] = {
		{ "<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code><Message>no</Message></Error>", "BlobNotFound" },
		{ "<Error><Message>a</Message><Code>X</Code>", "X" },
		{ "<Error><Code>Cut", "" },
		{ "<Error><Code></Code></Error>", "" },
		{ "<Error><Code>two words</Code></Error>", "" },
		{ "<Error><Inner><Code>X</Code></Inner></Error>", "" },
		{ "<html><Code>X</Code></html>", "" },
		{ "<!DOCTYPE Error><Error><Code>X</Code></Error>", "" },
		{ "<Error><Code>ThisCodeIsLongerThanTheBufferIs</Code></Error>", "" },
		{ "503 busy", "" },
		{ "", "" },
	};
	char code[20];
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(cases); i++) {
		bool found = bc_error_body_code(cases[i].xml, strlen(cases[i].xml), code, sizeof(code));

		if (strcmp(code, cases[i].code) || found != !!*code)
			fail_msg("%s: '%s'", cases[i].xml, code);
	}
}

static void test_answers(void **state)
{
	static const struct {
		unsigned int status;
		const char *code;
		enum bc_verb verb;
		enum bc_answer answer;
	} cases[] = {
		{ 201, "", BC_VERB_STAGE, BC_ANSWER_DONE },
		{ 201, "", BC_VERB_COMMIT, BC_ANSWER_DONE },
		{ 200, "", BC_VERB_COMMIT, BC_ANSWER_NONE },
		{ 202, "", BC_VERB_STAGE, BC_ANSWER_NONE },
		{ 202, "", BC_VERB_DELETE, BC_ANSWER_DONE },
		{ 200, "", BC_VERB_BLOCKS, BC_ANSWER_DONE },
		{ 409, "BlobAlreadyExists", BC_VERB_COMMIT, BC_ANSWER_CONDITION },
		{ 412, "ConditionNotMet", BC_VERB_COMMIT, BC_ANSWER_CONDITION },
		{ 412, "", BC_VERB_COMMIT, BC_ANSWER_CONDITION },
		{ 412, "LeaseIdMissing", BC_VERB_COMMIT, BC_ANSWER_LEASED },
		{ 409, "LeaseAlreadyPresent", BC_VERB_DELETE, BC_ANSWER_LEASED },
		{ 409, "InvalidBlobType", BC_VERB_STAGE, BC_ANSWER_REFUSED },
		{ 409, "BlobImmutableDueToPolicy", BC_VERB_COMMIT, BC_ANSWER_REFUSED },
		{ 400, "InvalidBlockList", BC_VERB_COMMIT, BC_ANSWER_BLOCK_LIST },
		{ 400, "InvalidBlobOrBlock", BC_VERB_STAGE, BC_ANSWER_BLOCK_ID },
		{ 400, "Md5Mismatch", BC_VERB_STAGE, BC_ANSWER_CHECKSUM },
		{ 400, "InvalidHeaderValue", BC_VERB_STAGE, BC_ANSWER_REFUSED },
		{ 400, "", BC_VERB_STAGE, BC_ANSWER_REFUSED },
		{ 401, "", BC_VERB_STAGE, BC_ANSWER_DENIED },
		{ 403, "AuthenticationFailed", BC_VERB_COMMIT, BC_ANSWER_DENIED },
		{ 404, "ContainerNotFound", BC_VERB_STAGE, BC_ANSWER_NO_CONTAINER },
		{ 404, "ContainerNotFound", BC_VERB_HEAD, BC_ANSWER_NO_CONTAINER },
		{ 404, "", BC_VERB_HEAD, BC_ANSWER_GONE },
		{ 404, "BlobNotFound", BC_VERB_BLOCKS, BC_ANSWER_GONE },
		{ 413, "RequestBodyTooLarge", BC_VERB_STAGE, BC_ANSWER_REFUSED },
		{ 429, "", BC_VERB_STAGE, BC_ANSWER_BUSY },
		{ 503, "ServerBusy", BC_VERB_STAGE, BC_ANSWER_BUSY },
		{ 500, "OperationTimedOut", BC_VERB_COMMIT, BC_ANSWER_NONE },
		{ 502, "", BC_VERB_COMMIT, BC_ANSWER_NONE },
		{ 504, "", BC_VERB_COMMIT, BC_ANSWER_NONE },
		{ 408, "", BC_VERB_COMMIT, BC_ANSWER_NONE },
		{ 302, "", BC_VERB_COMMIT, BC_ANSWER_REFUSED },
	};
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(cases); i++) {
		struct bc_reply reply = { .status = cases[i].status };

		snprintf(reply.code, sizeof(reply.code), "%s", cases[i].code);
		if (bc_reply_answer(&reply, cases[i].verb) != cases[i].answer)
			fail_msg("%u %s", cases[i].status, cases[i].code);
	}
}

/* A commit whose ETag is not told is none that is known to have been done. */
static void test_commit_reply(void **state)
{
	struct bc_transfer transfer = { .verb = BC_VERB_COMMIT };
	struct bc_reply reply = { .status = 201, .etag = "0x1", .last_modified = 9 };

	(void)state;
	assert_true(bc_reply_check(&reply, &transfer));
	assert_int_equal(transfer.result.answer, BC_ANSWER_DONE);
	assert_string_equal(transfer.object.etag, "0x1");
	*reply.etag = 0;
	assert_false(bc_reply_check(&reply, &transfer));
	assert_int_equal(transfer.result.answer, BC_ANSWER_NONE);
	snprintf(reply.etag, sizeof(reply.etag), "0x1");
	reply.etag_weak = true;
	assert_false(bc_reply_check(&reply, &transfer));
	assert_int_equal(transfer.result.answer, BC_ANSWER_NONE);
}

static struct bc_meta read_meta(const char *text)
{
	struct bc_meta meta = { 0 };

	while (*text) {
		size_t length = strcspn(text, "\n"), name = strcspn(text, ":");

		bc_meta_value(&meta, text, name, text + name + 1, length - name - 1);
		text += length + (text[length] == '\n');
	}
	return meta;
}

#define GENERATION	"bcgeneration:000102030405060708090a0b0c0d0eff\n"

static void test_meta(void **state)
{
	const struct bc_meta meta = {
		.has_generation = true, .has_cut = true, .has_checksum = true, .has_mode = true,
		.has_mtime = true, .generation = { 1, 2, 3, [15] = 0xff }, .cut = UINT64_MAX,
		.checksum = 0xbeef, .mode = 0100640, .mtime = -5, .mtime_ns = 7, .node = "n-1",
	};
	bc_meta_line lines[BC_META_LINES];
	struct bc_meta again = { 0 };
	unsigned int count = bc_meta_lines(&meta, lines), i;

	(void)state;
	assert_int_equal(count, BC_META_LINES);
	for (i = 0; i < count; i++) {
		const char *name = lines[i] + strlen(BC_META_PREFIX), *colon = strchr(name, ':');

		bc_meta_value(&again, name, (size_t)(colon - name), colon + 1, strlen(colon + 1));
	}
	assert_true(bc_meta_ours(&again));
	assert_memory_equal(again.generation, meta.generation, BC_GENERATION_SIZE);
	assert_true(again.cut == meta.cut && again.checksum == meta.checksum);
	assert_int_equal(again.mode, 0640);
	assert_true(again.mtime == -5 && again.mtime_ns == 7);
	assert_string_equal(again.node, "n-1");
	/* Nothing that is not known is told. */
	assert_int_equal(bc_meta_lines(&(struct bc_meta){ 0 }, lines), 0);
}

/* Metadata that somebody else wrote, or changed, do not make a blob ours. */
static void test_bad_meta(void **state)
{
	static const char *const bad[] = {
		"", GENERATION, "bccut:1\n", GENERATION "bccut:\n", GENERATION "bccut:-1\n",
		GENERATION "bccut:18446744073709551616\n", GENERATION "bccut:1 \n",
		GENERATION "bccut:1\nbccut:1\n", GENERATION GENERATION "bccut:1\n",
		"bcgeneration:00\nbccut:1\n", GENERATION "bccut:1,1\n",
		"bcgeneration:000102030405060708090A0B0C0D0EFF\nbccut:1\n",
		GENERATION "bccut:1\nbccrc32c:1\n", GENERATION "bccut:1\nbcmode:9999\n",
		GENERATION "bccut:1\nbcmtime:1.5\n", GENERATION "bccut:1\nbcmtime:9223372036854775808.000000000\n",
		GENERATION "bccut:1\nbcnode:a b\n",
	};
	struct bc_meta meta;
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(bad); i++) {
		meta = read_meta(bad[i]);
		if (bc_meta_ours(&meta))
			fail_msg("taken: %s", bad[i]);
	}
	meta = read_meta(GENERATION "bccut:1\nother:x\nbccuts:2\nBcNode:n\n");
	assert_true(bc_meta_ours(&meta));
	assert_true(meta.cut == 1);
	assert_string_equal(meta.node, "n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_bad_lists),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_error_body),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_commit_reply),
		cmocka_unit_test(test_meta),
		cmocka_unit_test(test_bad_meta),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
