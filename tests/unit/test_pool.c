/* sources: daemon/pool.c daemon/fetch.c daemon/resolve.c daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many requests at once: order, leases of what is queued, withdrawal, and that
 * each request ends exactly once. The kernel is played by this file.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../daemon/resolve.h"	/* the module has one too */
#include "config.h"
#include "fetch.h"
#include "kernel.h"
#include "log.h"
#include "pool.h"
#include "store/http.h"
#include "util.h"

#define REQUESTS	2000U
#define FILE_SIZE	200000U
#define LEASE_MS	300U

struct bc_kernel {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t gate;			/* a fill of this request waits until it is another */
	bool at_gate;
	unsigned int ended;
	uint64_t order[REQUESTS];	/* ids in the order of their end */
	struct {
		bool claimed;
		bool withdrawn;
		unsigned int ends;
		uint64_t bytes;
		int64_t touched_ms;
		int64_t longest_ms;	/* between two calls */
	} requests[REQUESTS];
};

static struct bc_kernel kernel = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static char directory[] = "/tmp/test_pool.XXXXXX";
static struct bc_store *store;

unsigned int bc_kernel_lease_ms(const struct bc_kernel *k)
{
	(void)k;
	return LEASE_MS;
}

/* Called with the lock held. */
static int touch(struct bc_kernel *k, uint64_t id)
{
	int64_t now = bc_now_ms(), rest = now - k->requests[id].touched_ms;

	if (!k->requests[id].claimed)
		return -ENOENT;
	if (rest > k->requests[id].longest_ms)
		k->requests[id].longest_ms = rest;
	k->requests[id].touched_ms = now;
	return 0;
}

int bc_kernel_renew(struct bc_kernel *k, uint64_t id)
{
	int error;

	pthread_mutex_lock(&k->lock);
	error = touch(k, id);
	pthread_mutex_unlock(&k->lock);
	return error;
}

int bc_kernel_bind(struct bc_kernel *k, uint64_t id, const struct bc_object *object)
{
	(void)object;
	return bc_kernel_renew(k, id);
}

int bc_kernel_fill(struct bc_kernel *k, uint64_t id, uint64_t offset,
		   const void *bytes, size_t length)
{
	int error;

	(void)offset;
	(void)bytes;
	pthread_mutex_lock(&k->lock);
	error = touch(k, id);
	if (!error)
		k->requests[id].bytes += length;
	while (k->gate == id) {
		k->at_gate = true;
		pthread_cond_broadcast(&k->changed);
		pthread_cond_wait(&k->changed, &k->lock);
	}
	pthread_mutex_unlock(&k->lock);
	return error;
}

int bc_kernel_done(struct bc_kernel *k, uint64_t id, enum bc_done_status status,
		   unsigned int retry_after_ms)
{
	int error;

	(void)status;
	(void)retry_after_ms;
	pthread_mutex_lock(&k->lock);
	error = touch(k, id);
	if (!error) {
		k->requests[id].claimed = false;
		k->requests[id].ends++;
		k->order[k->ended++] = id;
		pthread_cond_broadcast(&k->changed);
	}
	pthread_mutex_unlock(&k->lock);
	return error;
}

int bc_kernel_done_coalesced(struct bc_kernel *k, uint64_t id)
{
	return bc_kernel_done(k, id, BC_DONE_OK, 0);
}

int bc_kernel_resolve_reply(struct bc_kernel *k, uint64_t id, enum bc_done_status status,
			    const struct bc_object *object)
{
	(void)object;
	return bc_kernel_done(k, id, status, 0);
}

static void reset(void)
{
	kernel.gate = 0;
	kernel.at_gate = false;
	kernel.ended = 0;
	memset(kernel.requests, 0, sizeof(kernel.requests));
}

static struct bc_request request_of(uint64_t id, enum bc_priority priority)
{
	return (struct bc_request){
		.id = id,
		.priority = priority,
		.length = BC_CHUNK_SIZE,
		.source = strdup("x"),
		.path = strdup("file"),
	};
}

static void post(struct bc_pool *pool, struct bc_request request)
{
	bool fetch = request.kind == BC_REQUEST_FETCH;

	assert_false(bc_pool_has(pool, &request));
	pthread_mutex_lock(&kernel.lock);
	kernel.requests[request.id].claimed = true;
	kernel.requests[request.id].touched_ms = bc_now_ms();
	pthread_mutex_unlock(&kernel.lock);
	bc_pool_add(pool, fetch ? bc_fetch_create(pool, &request, bc_store_get(store)) :
				  bc_resolve_create(pool, &request, bc_store_get(store)));
}

static void wait_gate(void)
{
	pthread_mutex_lock(&kernel.lock);
	while (!kernel.at_gate)
		pthread_cond_wait(&kernel.changed, &kernel.lock);
	pthread_mutex_unlock(&kernel.lock);
}

static void open_gate(void)
{
	pthread_mutex_lock(&kernel.lock);
	kernel.gate = 0;
	pthread_cond_broadcast(&kernel.changed);
	pthread_mutex_unlock(&kernel.lock);
}

static void wait_ended(unsigned int count)
{
	struct timespec until;
	int error = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&kernel.lock);
	while (kernel.ended < count && !error)
		error = pthread_cond_timedwait(&kernel.changed, &kernel.lock, &until);
	pthread_mutex_unlock(&kernel.lock);
	assert_int_equal(error, 0);
}

static struct bc_pool *create(unsigned int threads)
{
	struct bc_fetch_config config = {
		.threads = threads,
		.connections = 4,
		.connect_timeout_ms = 1000,
		.stall_timeout_ms = 1000,
	};
	struct bc_pool *pool = bc_pool_create(&kernel, &config);

	assert_non_null(pool);
	return pool;
}

/* One thread, busy with request 1 while the others queue up. */
static void test_order(void **state)
{
	static const uint64_t order[] = { 1, 7, 5, 3, 4, 2, 6 };
	struct bc_request again = { .id = 3, .priority = BC_PRIORITY_DEMAND };
	struct bc_request resolve = request_of(7, BC_PRIORITY_PREFETCH);
	struct bc_pool *pool;

	(void)state;
	reset();
	pool = create(1);
	kernel.gate = 1;
	post(pool, request_of(1, BC_PRIORITY_PREFETCH));
	wait_gate();
	post(pool, request_of(2, BC_PRIORITY_PREFETCH));
	post(pool, request_of(3, BC_PRIORITY_PREFETCH));
	post(pool, request_of(4, BC_PRIORITY_READAHEAD));
	post(pool, request_of(5, BC_PRIORITY_DEMAND));
	post(pool, request_of(6, BC_PRIORITY_PREFETCH));
	resolve.kind = BC_REQUEST_RESOLVE;
	post(pool, resolve);
	assert_true(bc_pool_has(pool, &again));		/* now somebody waits for it */
	open_gate();
	wait_ended(7);
	assert_memory_equal(kernel.order, order, sizeof(order));
	assert_true(bc_pool_stop(pool, 1000));
}

static void test_queue_leases(void **state)
{
	struct bc_request withdrawn = { .id = 3 };
	struct bc_pool *pool;
	int64_t gap = 0;
	int i;

	(void)state;
	reset();
	pool = create(1);
	kernel.gate = 1;
	post(pool, request_of(1, BC_PRIORITY_DEMAND));
	wait_gate();
	post(pool, request_of(2, BC_PRIORITY_DEMAND));
	post(pool, request_of(3, BC_PRIORITY_DEMAND));
	pthread_mutex_lock(&kernel.lock);
	kernel.requests[3].claimed = false;
	pthread_mutex_unlock(&kernel.lock);
	for (i = 0; i < 40; i++) {
		int64_t before = bc_now_ms();

		usleep(25000);
		bc_pool_renew(pool);
		/* This process may have stood still. */
		if (bc_now_ms() - before > gap)
			gap = bc_now_ms() - before;
	}
	assert_false(bc_pool_has(pool, &withdrawn));
	open_gate();
	wait_ended(2);
	assert_in_range(kernel.requests[2].longest_ms, 1, LEASE_MS / 3 + 2 * gap + 50);
	assert_int_equal(kernel.requests[3].bytes, 0);
	assert_true(bc_pool_stop(pool, 1000));
}

static void check_ends(void)
{
	unsigned int i;

	for (i = 1; i < REQUESTS; i++) {
		assert_int_equal(kernel.requests[i].ends, !kernel.requests[i].withdrawn);
		if (i % 10 && !kernel.requests[i].withdrawn)
			assert_int_equal(kernel.requests[i].bytes, FILE_SIZE);
	}
}

static void test_many(void **state)
{
	struct bc_pool *pool;
	unsigned int i, withdrawn = 0;

	(void)state;
	reset();
	pool = create(4);
	for (i = 1; i < REQUESTS; i++) {
		struct bc_request request = request_of(i, i % 3);
		struct bc_request again = { .id = 1 + bc_random_below(i) };

		if (i % 10 == 0)
			request.kind = BC_REQUEST_RESOLVE;
		post(pool, request);
		bc_pool_has(pool, &again);
		bc_pool_renew(pool);
		if (i % 7)
			continue;
		pthread_mutex_lock(&kernel.lock);
		if (kernel.requests[i].claimed) {
			kernel.requests[i].claimed = false;
			kernel.requests[i].withdrawn = true;
			withdrawn++;
		}
		pthread_mutex_unlock(&kernel.lock);
	}
	wait_ended(REQUESTS - 1 - withdrawn);
	assert_true(bc_pool_stop(pool, 5000));
	check_ends();
}

/* Stopped in the middle: what is queued is dropped, nothing leaks. */
static void test_stop(void **state)
{
	struct bc_pool *pool;
	unsigned int i;

	(void)state;
	reset();
	pool = create(1);
	for (i = 1; i < 500; i++)
		post(pool, request_of(i, BC_PRIORITY_DEMAND));
	assert_true(bc_pool_stop(pool, 1000));
	assert_true(kernel.ended < 499);
}

static int set_up(void **state)
{
	struct bc_volume volume = { .on_demand = true };
	char path[128], source[128], text[128];
	FILE *file;
	unsigned int i;

	(void)state;
	bc_log_open(true, BC_ERROR);
	assert_true(bc_http_init());
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/file", directory);
	file = fopen(path, "w");
	for (i = 0; i < FILE_SIZE; i++)
		putc((int)i, file);
	fclose(file);
	snprintf(source, sizeof(source), "file://%s", directory);
	volume.source = source;
	store = bc_store_open(&volume, text, sizeof(text));
	assert_non_null(store);
	return 0;
}

static int tear_down(void **state)
{
	char path[128];

	(void)state;
	bc_store_put(store);
	snprintf(path, sizeof(path), "%s/file", directory);
	unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_queue_leases),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_stop),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
