/* sources: daemon/upload/upload.c daemon/upload/stage.c daemon/upload/prepare.c daemon/upload/publish.c daemon/upload/decide.c daemon/upload/plan.c daemon/upload/crc.c daemon/upload/piece.c daemon/upload/staged.c daemon/upload/rate.c daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An upload and where its bytes come from: bytes that are not what their sums say are
 * never sent, a source that fails now is asked again, one whose cut is gone ends the
 * upload; blocks of any length are right, in whatever pieces they are asked for. The store is
 * a directory; tests/unit/test_upload.py has the Blob.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include <cmocka.h>

#include "config.h"
#include "log.h"
#include "store/http.h"
#include "store/meta.h"
#include "upload/crc.h"
#include "upload/piece.h"
#include "upload/staged.h"
#include "upload/upload.h"
#include "util.h"

#define SIZE	((8U << 20) + 70000U)

static struct bc_net *net;
static struct bc_store *store;
static char directory[] = "/tmp/test_upload_source.XXXXXX";

/* What the source does next. */
static struct {
	bool damaged;			/* one bit of what is read is wrong */
	bool damaged_once;
	bool unknown;			/* one sum is not known */
	unsigned int failures;		/* reads that fail before one goes well */
	enum bc_source_status check;
	unsigned int threads;
	unsigned int closed, reads;
} play;

static unsigned char byte_at(uint64_t at)
{
	return (unsigned char)(at * 31 + at / 65521 + 7);
}

static void fill(unsigned char *to, uint64_t offset, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		to[i] = byte_at(offset + i);
}

static enum bc_source_status get_sums(struct bc_source *source, uint64_t first, size_t count,
				      struct bc_sum *sums, char *text, size_t size)
{
	unsigned char bytes[BC_SUM_SIZE];
	size_t i;

	(void)text;
	(void)size;
	for (i = 0; i < count; i++) {
		uint64_t offset = (first + i) * BC_SUM_SIZE;
		size_t length = bc_min(BC_SUM_SIZE, source->size - offset);

		fill(bytes, offset, length);
		sums[i] = (struct bc_sum){ first + i + 1, bc_crc_bytes(0, bytes, length), false };
		if (play.unknown && first + i == 3)
			sums[i] = (struct bc_sum){ 99, 0, true };
	}
	return BC_SOURCE_OK;
}

static enum bc_source_status read_bytes(struct bc_source *source, uint64_t offset, void *to,
					size_t length, char *text, size_t size)
{
	assert_true(offset + length <= source->size);
	__atomic_add_fetch(&play.reads, 1, __ATOMIC_RELAXED);
	if (play.failures) {
		play.failures--;
		snprintf(text, size, "read: Input/output error");
		return BC_SOURCE_FAILED;
	}
	fill(to, offset, length);
	if (play.damaged)
		((unsigned char *)to)[length / 2] ^= 1;
	if (play.damaged && play.damaged_once)
		play.damaged = false;
	return BC_SOURCE_OK;
}

static enum bc_source_status check(struct bc_source *source, char *text, size_t size)
{
	(void)source;
	if (play.check == BC_SOURCE_STALE)
		snprintf(text, size, "unlinked");
	return play.check;
}

static void closed(struct bc_source *source)
{
	(void)source;
	play.closed++;
}

static const struct bc_source_ops source_ops = { get_sums, read_bytes, check, closed };
static struct bc_source source;

/* What the upload told, and what is to be done about it. */
static enum bc_trouble troubles[16];
static unsigned int trouble_count, ends;

static void on_trouble(struct bc_upload *upload, void *context)
{
	enum bc_trouble trouble = bc_upload_progress(upload)->trouble;

	assert_ptr_equal(context, &play);
	if (trouble_count < BC_COUNT(troubles))
		troubles[trouble_count++] = trouble;
	/* Once it was told, it goes well. */
	if (trouble == BC_TROUBLE_SOURCE)
		play.damaged = false;
}

static void on_end(struct bc_upload *upload, void *context)
{
	(void)context;
	assert_int_not_equal(bc_upload_result(upload)->end, BC_UPLOAD_RUNNING);
	ends++;
}

static const struct bc_upload_ops ops = { .trouble = on_trouble, .end = on_end };

static struct bc_upload *begin(const char *path, uint64_t size)
{
	struct bc_upload_config config = BC_UPLOAD_CONFIG_DEFAULT;
	struct bc_upload_job job = {
		.config = &config, .store = store, .path = path, .source = &source, .node = "a/b c",
		.keep_aside = true, .ops = &ops, .context = &play,
	};
	struct bc_upload *upload;
	char text[256] = "";

	config.threads = play.threads;
	config.backoff_ms = 1;
	config.backoff_max_ms = 2;
	source = (struct bc_source){ .ops = &source_ops, .cut = 5, .size = size };
	memset(source.generation, 'g', BC_GENERATION_SIZE);
	trouble_count = 0;
	ends = 0;
	upload = bc_upload_create(&job, net, text, sizeof(text));
	if (!upload)
		assert_true(*text);
	return upload;
}

static struct bc_upload_result run(const char *path, uint64_t size)
{
	struct bc_upload *upload = begin(path, size);
	struct bc_upload_result result;

	assert_non_null(upload);
	result = *bc_upload_run(upload);
	assert_int_equal(bc_upload_step(upload), -1);
	bc_upload_free(upload);
	assert_int_equal(ends, 1);
	assert_int_equal(play.closed, 1);
	return result;
}

static bool is_there(const char *path, uint64_t size)
{
	unsigned char *bytes = malloc(size + 1), *expected = malloc(size + 1);
	char name[256];
	size_t got = 0;
	FILE *file;
	bool same;

	snprintf(name, sizeof(name), "%s/%s", directory, path);
	file = fopen(name, "r");
	if (file) {
		got = fread(bytes, 1, size + 1, file);
		fclose(file);
	}
	fill(expected, 0, size);
	same = file && got == size && !memcmp(bytes, expected, size);
	free(bytes);
	free(expected);
	return same;
}

static void on_head(struct bc_transfer *transfer)
{
	(void)transfer;
}

static struct bc_meta meta_of(const char *path)
{
	static const struct bc_transfer_ops head_ops = { .end = on_head };
	struct bc_transfer head = {
		.store = store, .ops = &head_ops, .verb = BC_VERB_HEAD, .path = path,
	};

	bc_store_start(&head, net);
	assert_int_equal(head.result.status, BC_DONE_OK);
	return head.meta;
}

static int reset(void **state)
{
	(void)state;
	memset(&play, 0, sizeof(play));
	return 0;
}

static void test_good(void **state)
{
	struct bc_upload_result result = run("good", SIZE);
	struct bc_meta meta = meta_of("good");

	(void)state;
	assert_int_equal(result.end, BC_UPLOAD_COMMITTED);
	assert_true(is_there("good", SIZE));
	assert_true(meta.has_checksum && bc_meta_ours(&meta) && meta.cut == 5);
	/* It is to be part of names. */
	assert_string_equal(meta.node, "a-b-c");
	assert_int_equal(trouble_count, 0);
}

/* With threads of its own that read; also if it is freed while they do. */
static void test_threads(void **state)
{
	int rounds;

	(void)state;
	for (rounds = 0; rounds < 20; rounds++) {
		struct bc_upload *upload;
		int i;

		reset(NULL);
		play.threads = 1 + (unsigned int)rounds % 3;
		upload = begin("threads", 2 * SIZE);
		for (i = 0; i < rounds; i++)
			bc_upload_step(upload);
		if (rounds % 2)
			bc_upload_cancel(upload);
		bc_upload_free(upload);
	}
	reset(NULL);
	play.threads = 3;
	assert_int_equal(run("threads", 2 * SIZE).end, BC_UPLOAD_COMMITTED);
	assert_true(is_there("threads", 2 * SIZE));
}

static void test_damaged(void **state)
{
	(void)state;
	play.damaged = true;
	assert_int_equal(run("damaged", SIZE).end, BC_UPLOAD_COMMITTED);
	assert_true(is_there("damaged", SIZE));
	assert_int_equal(troubles[0], BC_TROUBLE_SOURCE);
	assert_int_equal(troubles[trouble_count - 1], BC_TROUBLE_NONE);
}

/* It may go better the next time. */
static void test_read_fails(void **state)
{
	(void)state;
	play.failures = 3;
	assert_int_equal(run("fails", SIZE).end, BC_UPLOAD_COMMITTED);
	assert_true(is_there("fails", SIZE));
	assert_int_equal(troubles[0], BC_TROUBLE_SOURCE);
	assert_int_equal(trouble_count, 2);
}

static void test_stale(void **state)
{
	(void)state;
	play.check = BC_SOURCE_STALE;
	assert_int_equal(run("stale", SIZE).end, BC_UPLOAD_STALE);
	assert_false(is_there("stale", SIZE));
	/* Bytes that differ since the file was written to are no damage. */
	reset(NULL);
	play.check = BC_SOURCE_STALE;
	play.damaged = true;
	assert_int_equal(run("stale", SIZE).end, BC_UPLOAD_STALE);
	assert_int_equal(trouble_count, 0);
}

/* What is not known is not told. */
static void test_unknown(void **state)
{
	(void)state;
	play.unknown = true;
	assert_int_equal(run("unknown", SIZE).end, BC_UPLOAD_COMMITTED);
	assert_true(is_there("unknown", SIZE));
	assert_false(meta_of("unknown").has_checksum);
}

static void test_empty(void **state)
{
	(void)state;
	assert_int_equal(run("empty", 0).end, BC_UPLOAD_COMMITTED);
	assert_true(is_there("empty", 0));
	assert_int_equal(play.reads, 0);
}

static void test_refused(void **state)
{
	(void)state;
	assert_null(begin("large", BC_UPLOAD_MAX + 1));
	assert_int_equal(play.closed, 1);
	assert_null(begin("a//b", 1));
	assert_null(begin("../b", 1));
	assert_null(begin("", 1));
}

/* Who frees an upload in the middle leaves nothing behind but what is staged. */
static void test_freed(void **state)
{
	struct bc_upload *upload;
	int steps;

	(void)state;
	for (steps = 0; steps < 6; steps++) {
		int i;

		play.closed = 0;
		upload = begin("freed", SIZE);
		assert_non_null(upload);
		for (i = 0; i < steps; i++)
			bc_upload_step(upload);
		bc_upload_free(upload);
		assert_int_equal(play.closed, 1);
	}
	bc_upload_free(NULL);
}

static void count_staged(unsigned int *count)
{
	char command[128];
	FILE *pipe;

	snprintf(command, sizeof(command), "find %s -name '.blobcache-*' | wc -l", directory);
	pipe = popen(command, "r");
	assert_int_equal(fscanf(pipe, "%u", count), 1);
	pclose(pipe);
}

static void test_cancel(void **state)
{
	struct bc_upload *upload = begin("cancelled", SIZE);
	unsigned int before, after, i;

	(void)state;
	for (i = 0; i < 50 && !bc_upload_progress(upload)->done; i++)
		bc_upload_step(upload);
	count_staged(&before);
	assert_int_equal(before, 1);
	bc_upload_cancel(upload);
	bc_upload_cancel(upload);
	assert_int_equal(bc_upload_run(upload)->end, BC_UPLOAD_CANCELLED);
	bc_upload_free(upload);
	count_staged(&after);
	assert_int_equal(after, 0);
	assert_int_equal(ends, 1);
}

static void check_piece(uint32_t length, uint64_t offset)
{
	static unsigned char bytes[300001], expected[300001];
	struct bc_extent extent = { offset, length };
	unsigned char md5[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	struct bc_sum *sums;
	struct bc_piece piece;
	uint32_t at, part;

	source = (struct bc_source){ .ops = &source_ops, .size = offset + length };
	sums = calloc(bc_plan_sums(length), sizeof(*sums));
	get_sums(&source, offset / BC_SUM_SIZE, bc_plan_sums(length), sums, NULL, 0);
	assert_true(bc_piece_open(&piece, &source, extent, sums, NULL));
	assert_true(EVP_DigestInit_ex(context, EVP_md5(), NULL));
	for (at = 0; at < length; at += part) {
		part = (uint32_t)bc_min(sizeof(bytes), length - at);
		assert_true(bc_piece_bytes(&piece, at, bytes, part));
		fill(expected, offset + at, part);
		assert_memory_equal(bytes, expected, part);
		EVP_DigestUpdate(context, bytes, part);
	}
	EVP_DigestFinal_ex(context, md5, NULL);
	EVP_MD_CTX_free(context);
	assert_memory_equal(md5, piece.md5, BC_MD5_SIZE);
	/* A connection broke, and all of it is sent again. */
	part = (uint32_t)bc_min(100, length);
	assert_true(bc_piece_bytes(&piece, 0, bytes, part));
	fill(expected, offset, part);
	assert_memory_equal(bytes, expected, part);
	bc_piece_close(&piece);
}

static void test_pieces(void **state)
{
	(void)state;
	check_piece(1, 0);
	check_piece(65537, 8 << 20);
	check_piece(BC_PIECE_WHOLE, 0);
	check_piece(BC_PIECE_WHOLE + 65536 + 1, (uint64_t)600 << 30);
	assert_int_equal(bc_piece_memory(1U << 30), BC_PIECE_WINDOW);
}

/* What was good when its MD5 was made and is not when it is sent is not sent. */
static void test_piece_changes(void **state)
{
	struct bc_extent extent = { 0, BC_PIECE_WHOLE + BC_SUM_SIZE };
	struct bc_sum *sums = calloc(bc_plan_sums(extent.length), sizeof(*sums));
	struct bc_piece piece;
	unsigned char byte;

	(void)state;
	source = (struct bc_source){ .ops = &source_ops, .size = extent.length };
	get_sums(&source, 0, bc_plan_sums(extent.length), sums, NULL, 0);
	assert_true(bc_piece_open(&piece, &source, extent, sums, NULL));
	play.damaged = true;
	play.damaged_once = true;
	assert_false(bc_piece_bytes(&piece, 0, &byte, 1));
	assert_int_equal(piece.status, BC_SOURCE_FAILED);
	assert_true(bc_piece_bytes(&piece, 0, &byte, 1));
	assert_int_equal(byte, byte_at(0));
	bc_piece_close(&piece);
}

static void test_staged(void **state)
{
	uint8_t generation[BC_GENERATION_SIZE] = "0123456789abcde", other[BC_GENERATION_SIZE] = "x";
	struct bc_sum sum = { 1, 2, false };
	struct bc_staged staged = { 0 };
	struct bc_block_id id, last;
	char text[BC_ID_TEXT + 1];
	uint32_t i;

	(void)state;
	assert_true(bc_plan_id(&id, generation, (struct bc_extent){ 0, 100 }, &sum, 1));
	assert_false(bc_staged_has(&staged, &id, 100));
	/* Backwards, so that they are not in order. */
	for (i = 3000; i; i--) {
		sum.sequence = i;
		assert_true(bc_plan_id(&last, generation, (struct bc_extent){ 0, 100 }, &sum, 1));
		bc_plan_print(&last, text);
		bc_staged_add(&staged, generation, text, 100, i % 2);
		assert_true(bc_plan_id(&last, other, (struct bc_extent){ 0, 100 }, &sum, 1));
		bc_plan_print(&last, text);
		bc_staged_add(&staged, generation, text, 100, false);
	}
	assert_int_equal(staged.count, 3000);
	bc_staged_sort(&staged);
	assert_true(bc_staged_has(&staged, &id, 100));
	assert_false(bc_staged_has(&staged, &id, 101));
	assert_false(bc_staged_has(&staged, &last, 100));
	/* Committed as it should be, but what would be taken is another. */
	bc_plan_print(&id, text);
	bc_staged_add(&staged, generation, text, 99, false);
	bc_staged_sort(&staged);
	assert_false(bc_staged_has(&staged, &id, 100));
	assert_false(bc_staged_has(&staged, &id, 99));
	assert_false(staged.foreign);
	bc_staged_add(&staged, generation, "QUJD", 99, true);
	assert_false(staged.foreign);
	bc_staged_add(&staged, generation, "QUJD", 99, false);
	assert_true(staged.foreign);
	bc_staged_clear(&staged);
}

static void test_rate(void **state)
{
	struct bc_rate rate = { .bytes_per_second = 1000 };

	(void)state;
	assert_int_equal(bc_rate_wait(NULL, 5), 0);
	assert_int_equal(bc_rate_wait(&rate, 5), 0);
	/* One is sent at once, however long; the next waits for it. */
	bc_rate_take(&rate, 10000, 5);
	assert_int_equal(bc_rate_wait(&rate, 5), 10000);
	assert_int_equal(bc_rate_wait(&rate, 10004), 1);
	assert_int_equal(bc_rate_wait(&rate, 10005), 0);
	bc_rate_take(&rate, 500, 20000);
	bc_rate_take(&rate, 1, 20000);
	assert_int_equal(bc_rate_wait(&rate, 20000), 501);
	rate.bytes_per_second = 0;
	assert_int_equal(bc_rate_wait(&rate, 20000), 0);
	bc_rate_take(&rate, 1, 20000);
	/* Nothing overflows. */
	rate = (struct bc_rate){ .bytes_per_second = 1 };
	bc_rate_take(&rate, UINT64_MAX / 4000, 0);
	assert_int_equal(bc_rate_wait(&rate, 0), INT32_MAX);
}

static int set_up(void **state)
{
	struct bc_volume volume = { 0 };
	char name[128], text[200];

	(void)state;
	bc_log_open(true, BC_ERROR);
	assert_true(bc_http_init());
	net = bc_net_create(2);
	assert_non_null(mkdtemp(directory));
	snprintf(name, sizeof(name), "file://%s", directory);
	volume.source = name;
	store = bc_store_open(&volume, text, sizeof(text));
	assert_non_null(store);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	/* Each upload gave back what it had of it. */
	assert_int_equal(store->references, 1);
	bc_store_put(store);
	bc_net_destroy(net);
	curl_global_cleanup();
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_good, reset),
		cmocka_unit_test_setup(test_threads, reset),
		cmocka_unit_test_setup(test_damaged, reset),
		cmocka_unit_test_setup(test_read_fails, reset),
		cmocka_unit_test_setup(test_stale, reset),
		cmocka_unit_test_setup(test_unknown, reset),
		cmocka_unit_test_setup(test_empty, reset),
		cmocka_unit_test_setup(test_refused, reset),
		cmocka_unit_test_setup(test_freed, reset),
		cmocka_unit_test_setup(test_cancel, reset),
		cmocka_unit_test_setup(test_pieces, reset),
		cmocka_unit_test_setup(test_piece_changes, reset),
		cmocka_unit_test_setup(test_staged, reset),
		cmocka_unit_test_setup(test_rate, reset),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
