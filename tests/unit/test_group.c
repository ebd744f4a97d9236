/* sources: daemon/pool.c daemon/fetch.c daemon/resolve.c daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests that continue each other, against tests/vm/fault_store.py: how many GETs
 * they make, and that each has its own bytes and its own end whatever happens. The
 * kernel is played by this file.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "fetch.h"
#include "kernel.h"
#include "log.h"
#include "pool.h"
#include "store/http.h"
#include "util.h"

#define MIB		(1U << 20)
#define CHUNKS		20U
#define SIZE		(CHUNKS * MIB - 5)
#define REQUESTS	512U

struct entry {
	bool pending, withdrawn, ended;
	uint64_t next, end;
	enum bc_done_status status;
	unsigned int renewals;
};

struct bc_kernel {
	pthread_mutex_t lock;
	struct entry entries[REQUESTS];
	struct bc_object object;	/* as it was bound last */
	unsigned int pending, errors, coalesced;
	uint64_t withdraw_at;		/* three from this id on are, when it is filled */
	uint64_t gate;			/* the only thread waits in a fill of this request */
};

static struct bc_kernel kernel = { .lock = PTHREAD_MUTEX_INITIALIZER };
static struct bc_pool *pool;
static struct bc_store *store;
static char directory[] = "/tmp/test_group.XXXXXX";
static pid_t server;
static int port;
static uint64_t last_id;
static struct bc_object version;

static unsigned char pattern(uint64_t at)
{
	return (unsigned char)(at * 31 + at / 251 + (at >> 20));
}

unsigned int bc_kernel_lease_ms(const struct bc_kernel *k)
{
	(void)k;
	return 900;
}

static struct entry *find(struct bc_kernel *k, uint64_t id)
{
	struct entry *entry = &k->entries[id];

	return entry->pending && !entry->withdrawn ? entry : NULL;
}

int bc_kernel_renew(struct bc_kernel *k, uint64_t id)
{
	int error;

	pthread_mutex_lock(&k->lock);
	error = find(k, id) ? 0 : -ENOENT;
	k->entries[id].renewals++;
	pthread_mutex_unlock(&k->lock);
	return error;
}

int bc_kernel_bind(struct bc_kernel *k, uint64_t id, const struct bc_object *object)
{
	int error;

	pthread_mutex_lock(&k->lock);
	error = find(k, id) ? 0 : -ENOENT;
	k->object = *object;
	pthread_mutex_unlock(&k->lock);
	return error;
}

static bool right(uint64_t offset, const unsigned char *bytes, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if (bytes[i] != pattern(offset + i))
			return false;
	return true;
}

int bc_kernel_fill(struct bc_kernel *k, uint64_t id, uint64_t offset,
		   const void *bytes, size_t length)
{
	struct entry *entry;
	int error = -ENOENT;

	while (__atomic_load_n(&k->gate, __ATOMIC_ACQUIRE) == id)
		usleep(1000);
	pthread_mutex_lock(&k->lock);
	if (k->withdraw_at == id) {
		uint64_t i;

		for (i = id; i < id + 3; i++)
			k->entries[i].withdrawn = true;
		k->pending -= 3;
		k->withdraw_at = 0;
	}
	entry = find(k, id);
	if (entry) {
		error = 0;
		if (offset != entry->next || offset + length > entry->end ||
		    !right(offset, bytes, length))
			k->errors++;
		entry->next += length;
	}
	pthread_mutex_unlock(&k->lock);
	return error;
}

static int done(struct bc_kernel *k, uint64_t id, enum bc_done_status status)
{
	struct entry *entry;
	int error = -ENOENT;

	pthread_mutex_lock(&k->lock);
	entry = find(k, id);
	if (entry) {
		error = 0;
		k->errors += status == BC_DONE_OK && entry->next != entry->end;
		k->errors += entry->ended;
		entry->ended = true;
		entry->pending = false;
		entry->status = status;
		k->pending--;
	}
	pthread_mutex_unlock(&k->lock);
	return error;
}

int bc_kernel_done(struct bc_kernel *k, uint64_t id, enum bc_done_status status,
		   unsigned int retry_after_ms)
{
	(void)retry_after_ms;
	return done(k, id, status);
}

int bc_kernel_done_coalesced(struct bc_kernel *k, uint64_t id)
{
	pthread_mutex_lock(&k->lock);
	k->coalesced++;
	pthread_mutex_unlock(&k->lock);
	return done(k, id, BC_DONE_OK);
}

int bc_kernel_resolve_reply(struct bc_kernel *k, uint64_t id, enum bc_done_status status,
			    const struct bc_object *object)
{
	(void)object;
	return done(k, id, status);
}

static uint64_t post(const char *path, uint64_t offset, uint64_t length,
		     const struct bc_object *want)
{
	struct bc_request request = {
		.id = ++last_id,
		.offset = offset,
		.length = length,
		.priority = BC_PRIORITY_PREFETCH,
		.source = strdup("x"),
		.path = strdup(path),
	};
	struct bc_job *job;

	assert_true(last_id < REQUESTS);
	if (want) {
		request.bound = true;
		request.want = *want;
	}
	pthread_mutex_lock(&kernel.lock);
	kernel.entries[last_id] = (struct entry){
		.pending = true,
		.next = offset,
		.end = bc_min(offset + length, SIZE),
	};
	kernel.pending++;
	pthread_mutex_unlock(&kernel.lock);
	job = bc_fetch_create(pool, &request, bc_store_get(store));
	assert_non_null(job);
	bc_pool_add(pool, job);
	return last_id;
}

static uint64_t post_chunks(const char *path, unsigned int first, unsigned int count,
			    const struct bc_object *want)
{
	uint64_t id = last_id + 1;

	for (; count; count--, first++)
		post(path, (uint64_t)first * MIB, MIB, want);
	return id;
}

/* What is posted between the two is in the queue when the thread looks there: once, and all of it. */
static void hold(void)
{
	__atomic_store_n(&kernel.gate, last_id + 1, __ATOMIC_RELEASE);
	post("large", 0, BC_BLOCK_SIZE, &version);
}

static void release(void)
{
	usleep(60000);
	__atomic_store_n(&kernel.gate, 0, __ATOMIC_RELEASE);
}

static bool all_ended(void)
{
	bool ended;

	pthread_mutex_lock(&kernel.lock);
	ended = !kernel.pending;
	pthread_mutex_unlock(&kernel.lock);
	return ended;
}

static void wait_ended(void)
{
	int i;

	for (i = 0; i < 3000 && !all_ended(); i++)
		usleep(10000);
	assert_true(all_ended());
	assert_int_equal(kernel.errors, 0);
}

static void release_and_wait(void)
{
	release();
	wait_ended();
}

/* GETs since the last call. */
static unsigned int gets(void)
{
	static unsigned int before;
	unsigned int count = 0, now;
	char path[512], line[1024];
	FILE *log;

	snprintf(path, sizeof(path), "%s/log", directory);
	log = fopen(path, "r");
	assert_non_null(log);
	while (fgets(line, sizeof(line), log))
		count += !strncmp(line, "GET", 3);
	fclose(log);
	now = count - before - 1;	/* that of hold() */
	before = count;
	return now;
}

static void assert_statuses(uint64_t id, unsigned int count, enum bc_done_status status)
{
	for (; count; count--, id++) {
		assert_true(kernel.entries[id].ended);
		assert_int_equal(kernel.entries[id].status, status);
	}
}

/* Guards: contiguous chunks make GETs of 16 MiB, each request ends well with its own bytes. */
static void test_contiguous(void **state)
{
	uint64_t id;

	(void)state;
	hold();
	id = post_chunks("large", 0, CHUNKS, &version);
	release_and_wait();
	assert_statuses(id, CHUNKS, BC_DONE_OK);
	assert_int_equal(gets(), 2);
	assert_int_equal(kernel.coalesced, CHUNKS - 2);
}

/* Guards: the same out of order, and with parts of chunks; a gap ends a GET. */
static void test_parts(void **state)
{
	uint64_t id;

	(void)state;
	hold();
	id = post("large", 2 * MIB, MIB, &version);
	post("large", MIB + 3 * BC_BLOCK_SIZE, MIB - 3 * BC_BLOCK_SIZE, &version);
	post("large", 3 * MIB, BC_BLOCK_SIZE, &version);
	post("large", 3 * MIB + 2 * BC_BLOCK_SIZE, BC_BLOCK_SIZE, &version);
	release_and_wait();
	assert_statuses(id, 4, BC_DONE_OK);
	assert_int_equal(gets(), 3);
}

/* Guards: never another object's or version's bytes: what is not the same makes its own GET. */
static void test_others(void **state)
{
	struct bc_object other = version;
	uint64_t id;

	(void)state;
	strcpy(other.etag, "other");
	hold();
	id = post("large", 0, MIB, &version);
	post("large2", MIB, MIB, &version);
	post("large", MIB, MIB, &other);
	release_and_wait();
	assert_int_equal(gets(), 3);
	assert_int_equal(kernel.entries[id].status, BC_DONE_OK);
	assert_int_equal(kernel.entries[id + 2].status, BC_DONE_CHANGED);
}

/* Guards: the connection breaks in the middle: all get all their bytes in the end. */
static void test_broken_off(void **state)
{
	static const char *const paths[] = {
		"fault-short-once/large", "fault-reset-once/large", "fault-stall-once/large",
	};
	uint64_t id;
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(paths); i++) {
		hold();
		id = post_chunks(paths[i], 0, 8, &version);
		release_and_wait();
		assert_statuses(id, 8, BC_DONE_OK);
		assert_in_range(gets(), 2, 9);
	}
}

/* Guards: what is so for all is told to all, and asked once. */
static void test_refused(void **state)
{
	struct bc_object other = version;
	uint64_t id;

	(void)state;
	strcpy(other.etag, "other");
	hold();
	id = post_chunks("large", 0, 8, &other);
	release_and_wait();
	assert_statuses(id, 8, BC_DONE_CHANGED);
	assert_int_equal(gets(), 1);
	hold();
	id = post_chunks("fault-403/large", 0, 8, &version);
	release_and_wait();
	assert_statuses(id, 8, BC_DONE_DENIED);
	assert_int_equal(gets(), 1);
	hold();
	id = post_chunks("fault-range/large", 0, 4, &version);
	release_and_wait();
	assert_statuses(id, 4, BC_DONE_FAILED);
	gets();
}

/* Guards: some are cancelled in the middle: the others have their bytes all the same. */
static void test_withdrawn(void **state)
{
	uint64_t id;

	(void)state;
	hold();
	kernel.withdraw_at = last_id + 3;
	id = post_chunks("large", 0, 8, &version);
	release_and_wait();
	assert_statuses(id, 2, BC_DONE_OK);
	assert_statuses(id + 5, 3, BC_DONE_OK);
	assert_int_equal(gets(), 1);

	/* All that are left: the transfer ends. */
	hold();
	kernel.withdraw_at = last_id + 2;
	id = post_chunks("large", 0, 4, &version);
	release_and_wait();
	assert_statuses(id, 1, BC_DONE_OK);
	gets();
}

/*
 * Guards: one is cancelled while the beginning of a block waits for its end, and the thread
 * finds out by itself: what follows has its own bytes, not those from some kilobytes on.
 */
static void test_withdrawn_in_block(void **state)
{
	bool there = false;
	uint64_t id;
	int i;

	(void)state;
	hold();
	id = post_chunks("fault-pause/large", 0, 8, &version);
	release();
	/* The body stops in the fifth. */
	for (i = 0; i < 10000 && !there; i++) {
		usleep(1000);
		pthread_mutex_lock(&kernel.lock);
		there = kernel.entries[id + 3].ended;
		if (there && !kernel.entries[id + 4].ended) {
			kernel.entries[id + 4].withdrawn = true;
			kernel.pending--;
		}
		pthread_mutex_unlock(&kernel.lock);
	}
	assert_true(there);
	wait_ended();
	assert_statuses(id, 4, BC_DONE_OK);
	assert_statuses(id + 5, 3, BC_DONE_OK);
	gets();
}

static void write_file(const char *name)
{
	char path[512];
	uint64_t i;
	FILE *file;

	snprintf(path, sizeof(path), "%s/data/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	for (i = 0; i < SIZE; i++)
		putc(pattern(i), file);
	assert_int_equal(fclose(file), 0);
}

static bool start_server(void)
{
	char data[512], log[512], line[128] = "";
	int fds[2];
	FILE *out;

	if (pipe(fds))
		return false;
	snprintf(data, sizeof(data), "%s/data", directory);
	snprintf(log, sizeof(log), "%s/log", directory);
	server = fork();
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(fds[1], STDOUT_FILENO);
		execlp("python3", "python3", "tests/vm/fault_store.py", "--port", "0", "--log", log,
		       data, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	out = fdopen(fds[0], "r");
	if (!fgets(line, sizeof(line), out))
		line[0] = 0;
	fclose(out);
	return sscanf(line, "listening on 127.0.0.1:%d", &port) == 1;
}

static void open_store(void)
{
	char source[128], text[256] = "";
	struct bc_volume volume = {
		.source = source,
		.plain_http = true,
		.api_version = (char *)BC_AZURE_API_VERSION,
	};

	snprintf(source, sizeof(source), "azure://127.0.0.1:%d/account/container", port);
	store = bc_store_open(&volume, text, sizeof(text));
	if (!store)
		fail_msg("%s", text);
}

static int set_up(void **state)
{
	struct bc_fetch_config config = {
		.threads = 1,
		.connections = 1,
		.retries = 2,
		.connect_timeout_ms = 1000,
		.stall_timeout_ms = 3000,
	};
	char path[512];

	(void)state;
	bc_log_open(true, getenv("BC_TEST_VERBOSE") ? BC_DEBUG : BC_ERROR);
	assert_true(bc_http_init());
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/data", directory);
	assert_int_equal(mkdir(path, 0755), 0);
	write_file("large");
	write_file("large2");
	assert_true(start_server());
	open_store();
	pool = bc_pool_create(&kernel, &config);
	assert_non_null(pool);
	post("large", 0, MIB, NULL);
	wait_ended();
	version = kernel.object;
	assert_int_equal(version.size, SIZE);
	gets();
	return 0;
}

static int tear_down(void **state)
{
	char command[600];

	(void)state;
	assert_true(bc_pool_stop(pool, 2000));
	bc_store_put(store);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contiguous),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_broken_off),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_withdrawn),
		cmocka_unit_test(test_withdrawn_in_block),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
