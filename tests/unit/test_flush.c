/* sources: daemon/flush/cut.c daemon/flush/entry.c daemon/flush/flush.c daemon/flush/lane.c daemon/flush/mark.c daemon/flush/order.c daemon/flush/past.c daemon/flush/report.c daemon/flush/run.c daemon/flush/undo.c daemon/upload/crc.c daemon/upload/decide.c daemon/upload/piece.c daemon/upload/plan.c daemon/upload/prepare.c daemon/upload/publish.c daemon/upload/rate.c daemon/upload/stage.c daemon/upload/staged.c daemon/upload/upload.c daemon/config.c daemon/json_line.c daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat jansson */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The daemon's flush, with a kernel that is played here and a directory for a store: what is told of
 * comes to the store, as it was at the cut and in order; what has another name at the end, or none,
 * is taken back; somebody else's version stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "flush/lane.h"
#include "flush/mark.h"
#include "log.h"
#include "upload/crc.h"
#include "util.h"

#define OBJECTS		8
#define SIZE		200000U
#define WAIT_MS		20000

/* --- the kernel */

struct object {
	bool exists;
	uint64_t step, size, cut;
	bool flushing;
	unsigned int again;		/* begins that are refused */
	int end_error;			/* of the next end with a version */
	bool damaged;			/* what is read is not what the sums say; once */
	unsigned int begins, commits, gave_up;
	unsigned int when;		/* of the last commit, among all */
	char etag[BC_ETAG_MAX + 1];
};

static struct {
	pthread_mutex_t lock;
	struct object objects[OBJECTS];
	uint64_t seq;
	unsigned int commits;
} kernel = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Block 1 of each is a hole, and the last one is shorter than what the object has of it. */
static unsigned char byte_at(unsigned int number, uint64_t step, uint64_t at)
{
	uint64_t block = at / BC_SUM_SIZE;

	if (block == 1 || at % BC_SUM_SIZE >= BC_SUM_SIZE - 100)
		return 0;
	return (unsigned char)(at * 31 + at / 251 + number * 3 + step);
}

static struct object *object_of(const struct bc_kernel_cut *cut)
{
	return &kernel.objects[cut->generation[0]];
}

int bc_kernel_flush_begin(struct bc_kernel *unused, struct bc_kernel_cut *cut)
{
	struct object *object = object_of(cut);
	int error = 0;

	(void)unused;
	pthread_mutex_lock(&kernel.lock);
	if (!object->exists)
		error = -ENOENT;
	else if (object->flushing)
		error = -EBUSY;
	else if (object->again)
		error = -EAGAIN;
	object->again -= error == -EAGAIN;
	if (!error) {
		object->flushing = true;
		object->begins++;
		object->cut = ++kernel.seq;
	}
	cut->cut = object->cut;
	cut->size = object->size;
	cut->step = object->step;
	pthread_mutex_unlock(&kernel.lock);
	return error;
}

static int find_cut(const struct bc_kernel_cut *cut)
{
	const struct object *object = object_of(cut);

	if (!object->exists)
		return -ENOENT;
	return object->flushing && object->cut == cut->cut ? 0 : -ESTALE;
}

int bc_kernel_flush_map(struct bc_kernel *unused, const struct bc_kernel_cut *cut, uint64_t block,
			struct bc_flush_block *blocks, uint32_t count)
{
	unsigned char bytes[BC_SUM_SIZE];
	uint32_t i, at;
	int error;

	(void)unused;
	pthread_mutex_lock(&kernel.lock);
	error = find_cut(cut);
	pthread_mutex_unlock(&kernel.lock);
	for (i = 0; i < count && !error; i++, block++) {
		uint64_t begin = block * BC_SUM_SIZE;
		uint32_t length;

		blocks[i] = (struct bc_flush_block){ 0 };
		if (block == 1 || begin >= cut->size)
			continue;
		length = (uint32_t)bc_min(cut->size - begin, BC_SUM_SIZE - 100);
		for (at = 0; at < length; at++)
			bytes[at] = byte_at(cut->generation[0], cut->step, begin + at);
		blocks[i].seq = cut->step * 1000 + block + 1;
		blocks[i].crc = bc_crc_bytes(0, bytes, length);
		blocks[i].length = length;
	}
	return error;
}

int bc_kernel_flush_read(struct bc_kernel *unused, const struct bc_kernel_cut *cut,
			 uint64_t offset, void *to, uint32_t length)
{
	struct object *object = object_of(cut);
	unsigned char *bytes = to;
	uint32_t i;
	int error;

	(void)unused;
	assert_int_equal(offset % BC_SUM_SIZE, 0);
	assert_true(offset + length == cut->size || (offset + length) % BC_SUM_SIZE == 0);
	for (i = 0; i < length; i++)
		bytes[i] = byte_at(cut->generation[0], cut->step, offset + i);
	pthread_mutex_lock(&kernel.lock);
	error = find_cut(cut);
	if (object->damaged)
		bytes[0] ^= 1;
	object->damaged = false;
	pthread_mutex_unlock(&kernel.lock);
	return error;
}

int bc_kernel_flush_end(struct bc_kernel *unused, const struct bc_kernel_cut *cut,
			const struct bc_object *version)
{
	struct object *object = object_of(cut);
	int error;

	(void)unused;
	pthread_mutex_lock(&kernel.lock);
	error = find_cut(cut);
	object->flushing = false;
	object->gave_up += !version;
	if (!error && version) {
		error = object->end_error;
		object->end_error = 0;
		object->step += error == -ESTALE;
		object->exists = error != -ENOENT;
	}
	if (!error && version) {
		object->commits++;
		object->when = ++kernel.commits;
		memcpy(object->etag, version->etag, sizeof(object->etag));
		object->step++;
	}
	pthread_mutex_unlock(&kernel.lock);
	return error;
}

/* --- the main thread */

static char directory[] = "/tmp/test_flush.XXXXXX";
static char source[64], state_file[64];
static struct bc_flush *flush;
static struct bc_store *store;
static struct bc_flush_config config = {
	.uploads = 2, .blocks = 2, .memory = 64 << 20, .stage_bytes = 1 << 20, .stage_age_ms = 1000,
	.markers = (char *[]){ (char *)"latest*" }, .marker_count = 1,
};

static void tell_of(unsigned int number, const char *path, uint64_t step, unsigned int writers,
		    bool has_store)
{
	struct bc_dirty_told told = {
		.generation = { (uint8_t)number }, .step = step, .size = SIZE, .mode = 0100640,
		.writers = writers, .mtime = 1000 + number, .state = BC_NAME_READY,
		.source = strdup(source), .path = strdup(path), .device = strdup("dev"),
	};

	told.state = writers ? BC_NAME_WRITING : BC_NAME_READY;
	bc_flush_tell(flush, &told, has_store ? bc_store_get(store) : NULL, "add an entry");
	assert_null(told.path);
}

/* It is, or becomes, as of a step, which is told of. */
static void set(unsigned int number, const char *path, uint64_t step, unsigned int writers)
{
	pthread_mutex_lock(&kernel.lock);
	kernel.objects[number].exists = true;
	kernel.objects[number].step = step;
	kernel.objects[number].size = SIZE;
	pthread_mutex_unlock(&kernel.lock);
	tell_of(number, path, step, writers, true);
}

static struct object look(unsigned int number)
{
	struct object object;

	pthread_mutex_lock(&kernel.lock);
	object = kernel.objects[number];
	pthread_mutex_unlock(&kernel.lock);
	return object;
}

#define wait_for(condition) do {						\
	int64_t until_ = bc_now_ms() + WAIT_MS;					\
										\
	while (!(condition) && bc_now_ms() < until_)				\
		usleep(2000);							\
	assert_true(condition);							\
} while (0)

static bool is_there(const char *name, unsigned int number, uint64_t step)
{
	unsigned char *bytes = malloc(SIZE + 1);
	char path[256];
	size_t got = 0, i;
	bool good;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "r");
	if (file) {
		got = fread(bytes, 1, SIZE + 1, file);
		fclose(file);
	}
	good = file && got == SIZE;
	for (i = 0; i < got && good; i++)
		good = bytes[i] == byte_at(number, step, i);
	free(bytes);
	return good;
}

static bool exists(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return !access(path, F_OK);
}

/* Whether a word stands in what the flush tells. */
static bool tells(const char *word)
{
	char text[8192] = "";
	FILE *file = fopen(state_file, "r");
	size_t got = 0;

	if (file) {
		got = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
	}
	text[got] = 0;
	return strstr(text, word);
}

static void someone_else_writes(const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("theirs", file);
	fclose(file);
}

static int begin(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "find '%s' -mindepth 1 -delete; rm -rf '%s.state'", directory,
		 directory);
	assert_int_equal(system(command), 0);
	memset(kernel.objects, 0, sizeof(kernel.objects));
	kernel.commits = 0;
	config.paused = false;
	flush = bc_flush_create(NULL, &config, state_file);
	assert_non_null(flush);
	return 0;
}

static int end(void **state)
{
	(void)state;
	assert_true(bc_flush_stop(flush, WAIT_MS));
	assert_int_not_equal(access(state_file, F_OK), 0);
	return 0;
}

/* --- tests */

static void test_upload(void **state)
{
	(void)state;
	set(1, "a/b", 1, 0);
	wait_for(look(1).commits == 1);
	assert_true(is_there("a/b", 1, 1));
	assert_true(*look(1).etag);
	wait_for(tells("\"commits\":1") && tells("\"dirty_objects\":0"));
	/* Said twice, or said late, it is one. */
	tell_of(1, "a/b", 1, 0, true);
	set(1, "a/b", 3, 0);
	tell_of(1, "a/b", 2, 0, true);
	wait_for(look(1).commits == 2);
	assert_true(is_there("a/b", 1, 3));
	usleep(100000);
	assert_int_equal(look(1).begins, 2);
}

static void test_not_ready(void **state)
{
	(void)state;
	set(1, "w", 1, 1);
	set(2, "empty", 0, 0);
	kernel.objects[3].again = 2;
	set(3, "later", 1, 0);
	wait_for(look(3).commits == 1);
	assert_int_equal(look(1).begins, 0);
	assert_int_equal(look(2).begins, 0);
	/* A rename into place is as good as a close. */
	set(1, "place", 2, 1);
	wait_for(look(1).commits == 1);
	assert_true(is_there("place", 1, 2) && !exists("w"));
	/* Of what is not told of yet nobody knows whether it is closed. */
	pthread_mutex_lock(&kernel.lock);
	kernel.objects[2].exists = true;
	kernel.objects[2].size = SIZE;
	kernel.objects[2].step = 5;
	pthread_mutex_unlock(&kernel.lock);
	tell_of(2, "two", 4, 0, true);
	wait_for(look(2).gave_up);
	assert_int_equal(look(2).commits, 0);
	tell_of(2, "two", 5, 0, true);
	wait_for(look(2).commits == 1);
	assert_true(is_there("two", 2, 5));
}

static void test_taken_back(void **state)
{
	(void)state;
	kernel.objects[1].end_error = -ESTALE;
	kernel.objects[2].end_error = -ENOENT;
	set(1, "old", 1, 0);
	set(2, "r/removed", 1, 0);
	wait_for(tells("\"taken_back\":2"));
	assert_true(!exists("r/removed"));
	set(1, "new", 2, 0);
	wait_for(look(1).commits == 1);
	assert_true(is_there("new", 1, 2) && !exists("old"));
	/* Also one that was there for long. */
	set(1, "newer", 4, 0);
	wait_for(look(1).commits == 2 && !exists("new"));
	assert_true(is_there("newer", 1, 4));
	/* The kernel could not write it down: it is the same version that is there. */
	kernel.objects[3].end_error = -EIO;
	set(3, "again", 1, 0);
	wait_for(look(3).commits == 1);
	assert_true(is_there("again", 3, 1));
}

static void test_order(void **state)
{
	(void)state;
	kernel.objects[1].again = 2;
	set(1, "d/1", 1, 0);
	set(2, "d/2", 1, 0);
	set(3, "d/deep/3", 1, 1);
	set(4, "other/4", 1, 0);
	set(5, "e/latest", 1, 0);
	set(6, "f/6", 1, 0);
	wait_for(look(1).commits && look(2).commits && look(4).commits && look(5).commits &&
		 look(6).commits);
	assert_true(look(1).when < look(2).when);
	/* Neither what is open nor another directory is waited for, but by a marker. */
	assert_true(look(4).when < look(1).when);
	assert_true(look(6).when < look(1).when);
	assert_true(look(5).when > look(1).when && look(5).when > look(2).when);
	assert_int_equal(look(3).begins, 0);
}

static void test_below(void **state)
{
	(void)state;
	assert_true(bc_order_below("a/b", "a/c", false));
	assert_true(bc_order_below("a/b/c", "a/d", false));
	assert_true(bc_order_below("a/b", "c", false));
	assert_false(bc_order_below("a/b", "a/b/c", false));
	assert_false(bc_order_below("ab/c", "a/d", false));
	assert_true(bc_order_below("x/y", "a/latest", true));
	assert_true(bc_order_is_marker(&config, "a/latest-1"));
	assert_false(bc_order_is_marker(&config, "latest/a"));
}

static void test_conflict(void **state)
{
	(void)state;
	someone_else_writes("both");
	set(1, "both", 1, 0);
	wait_for(tells("\"conflict\""));
	assert_true(tells("both.conflict-"));
	assert_int_equal(look(1).commits, 0);
	assert_true(exists("both") && !is_there("both", 1, 1));
	usleep(100000);
	assert_int_equal(look(1).begins, 1);
	/* By another name there is none. */
	set(1, "mine", 2, 0);
	wait_for(look(1).commits == 1);
	assert_true(is_there("mine", 1, 2));
}

/* What one of ours has left, that was removed, is not somebody else's. */
static void test_again(void **state)
{
	(void)state;
	set(1, "x", 1, 0);
	wait_for(look(1).commits == 1);
	pthread_mutex_lock(&kernel.lock);
	kernel.objects[1].exists = false;
	pthread_mutex_unlock(&kernel.lock);
	set(2, "x", 1, 0);
	wait_for(look(2).commits == 1);
	assert_true(is_there("x", 2, 1));
	pthread_mutex_lock(&kernel.lock);
	kernel.objects[2].exists = false;
	pthread_mutex_unlock(&kernel.lock);
	bc_flush_round_begin(flush);
	bc_flush_round_end(flush, true);
	set(3, "x", 1, 0);
	wait_for(look(3).commits == 1);
	assert_true(is_there("x", 3, 1));
	assert_false(tells("conflict\""));
}

static void test_damaged(void **state)
{
	(void)state;
	kernel.objects[1].damaged = true;
	set(1, "x", 1, 0);
	wait_for(look(1).commits == 1);
	assert_true(is_there("x", 1, 1));
	wait_for(tells("\"source\":1"));
}

static void test_paused(void **state)
{
	(void)state;
	config.paused = true;
	bc_flush_configure(flush, &config);
	wait_for(tells("\"paused\":true"));
	set(1, "x", 1, 0);
	wait_for(tells("\"flush\":\"paused\""));
	assert_int_equal(look(1).begins, 0);
	config.paused = false;
	bc_flush_configure(flush, &config);
	wait_for(look(1).commits == 1);
}

static void test_no_store(void **state)
{
	(void)state;
	tell_of(1, "x", 1, 0, false);
	wait_for(tells("no-store") && tells("add an entry"));
	/* It is there now: another lane has it. */
	bc_flush_round_begin(flush);
	set(1, "x", 1, 0);
	bc_flush_round_end(flush, true);
	wait_for(look(1).commits == 1);
	wait_for(!tells("no-store"));
}

static void test_sweep(void **state)
{
	(void)state;
	set(1, "open", 1, 1);
	wait_for(tells("\"writing\""));
	bc_flush_round_begin(flush);
	bc_flush_round_end(flush, false);
	usleep(600000);
	assert_true(tells("\"writing\""));
	bc_flush_round_begin(flush);
	bc_flush_round_end(flush, true);
	wait_for(!tells("\"writing\""));
}

static struct bc_store *find_store(const char *wanted, const char *device, void *context)
{
	(void)context;
	return strcmp(wanted, source) || strcmp(device, "dev") ? NULL : bc_store_get(store);
}

static void count_mark(const struct bc_mark *mark, void *context)
{
	assert_string_equal(mark->source, source);
	*(unsigned int *)context += 1;
}

static unsigned int marks(int at)
{
	unsigned int count = 0;

	bc_mark_each(at, count_mark, &count);
	return count;
}

/* What was committed right before the daemon was killed, and has lost its name before the next. */
static void test_marks(void **state)
{
	struct bc_mark of[] = {
		{ { 1 }, source, "dev", "old" }, { { 2 }, source, "dev", "gone" },
		{ { 3 }, source, "dev", "theirs" }, { { 4 }, source, "dev", "same" },
		{ { 5 }, source, "dev", "none" }, { { 6 }, source, "away", "a\nb" },
	};
	char path[128];
	size_t i;
	int at;

	(void)state;
	set(1, "old", 1, 0);
	set(2, "gone", 1, 0);
	set(4, "same", 1, 0);
	wait_for(look(1).commits && look(2).commits && look(4).commits);
	snprintf(path, sizeof(path), "%s.state/commits", directory);
	at = open(path, O_PATH | O_DIRECTORY);
	assert_true(at >= 0);
	assert_int_equal(marks(at), 0);
	assert_true(bc_flush_stop(flush, WAIT_MS));
	someone_else_writes("theirs");
	for (i = 0; i < BC_COUNT(of); i++)
		bc_mark_set(at, &of[i]);
	assert_int_equal(marks(at), BC_COUNT(of));
	flush = bc_flush_create(NULL, &config, state_file);
	assert_non_null(flush);
	bc_flush_set_find(flush, find_store, NULL);
	pthread_mutex_lock(&kernel.lock);
	kernel.objects[2].exists = false;
	pthread_mutex_unlock(&kernel.lock);
	bc_flush_round_begin(flush);
	set(1, "new", 3, 0);
	set(4, "same", 3, 0);
	bc_flush_round_end(flush, true);
	/* That of a tier that is not there stays, and what it is about. */
	wait_for(look(1).commits == 2 && marks(at) == 1);
	assert_true(is_there("new", 1, 3) && !exists("old") && !exists("gone"));
	assert_true(exists("theirs"));
	/* Its base is not told, so that the one before counts as ours. */
	wait_for(look(4).commits == 2);
	assert_true(is_there("same", 4, 3));
	close(at);
}

/* Removed when nobody knows whether it was committed. */
static void test_removed(void **state)
{
	(void)state;
	kernel.objects[1].end_error = -ENOENT;
	set(1, "x", 1, 0);
	wait_for(look(1).begins && !look(1).exists);
	wait_for(tells("\"taken_back\":1"));
	assert_true(!exists("x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_upload, begin, end),
		cmocka_unit_test_setup_teardown(test_not_ready, begin, end),
		cmocka_unit_test_setup_teardown(test_taken_back, begin, end),
		cmocka_unit_test_setup_teardown(test_order, begin, end),
		cmocka_unit_test(test_below),
		cmocka_unit_test_setup_teardown(test_conflict, begin, end),
		cmocka_unit_test_setup_teardown(test_again, begin, end),
		cmocka_unit_test_setup_teardown(test_damaged, begin, end),
		cmocka_unit_test_setup_teardown(test_paused, begin, end),
		cmocka_unit_test_setup_teardown(test_no_store, begin, end),
		cmocka_unit_test_setup_teardown(test_sweep, begin, end),
		cmocka_unit_test_setup_teardown(test_marks, begin, end),
		cmocka_unit_test_setup_teardown(test_removed, begin, end),
	};
	struct bc_volume volume = { .source = source };
	char text[256], command[128];
	int result;

	signal(SIGPIPE, SIG_IGN);
	bc_log_open(true, getenv("VERBOSE") ? BC_DEBUG : BC_ERROR);
	if (!mkdtemp(directory) || !bc_http_init())
		return 1;
	snprintf(source, sizeof(source), "file://%s", directory);
	snprintf(state_file, sizeof(state_file), "%s.state/flush.json", directory);
	store = bc_store_open(&volume, text, sizeof(text));
	if (!store)
		return 1;
	result = cmocka_run_group_tests(tests, NULL, NULL);
	bc_store_put(store);
	snprintf(command, sizeof(command), "rm -rf '%s' '%s.state'", directory, directory);
	return system(command) || result;
}
