/* sources: daemon/pool.c daemon/fetch.c daemon/resolve.c daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Requests from their claim to their end against real stores: a directory, and
 * tests/vm/fault_store.py, a Blob store with faults. The kernel is played by
 * this file, with the rules of uapi/blobcache_dev.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "fetch.h"
#include "kernel.h"
#include "log.h"
#include "pool.h"
#include "../../daemon/resolve.h"	/* the module has one too */
#include "store/http.h"
#include "util.h"

#define ROOM		(4U << 20)
#define SMALL		100000U
#define LARGE		3000001U

/* The one request that is pending. */
struct bc_kernel {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	uint64_t id;
	bool pending;
	bool bound;
	bool refuse_fill;		/* as if it had ended */
	uint64_t offset, length;
	uint64_t next;			/* the daemon fills in order, so one number does */
	struct bc_object object;
	enum bc_done_status status;
	unsigned int retry_after_ms;
	unsigned int fills, binds, renewals, protocol_errors;
	unsigned char bytes[ROOM];
};

static struct bc_kernel kernel = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.ended = PTHREAD_COND_INITIALIZER,
};

static struct bc_pool *pool;
static struct bc_store *file_store, *blob_store;
static char directory[] = "/tmp/test_fetch.XXXXXX";
static pid_t server;
static int port;
static uint64_t last_id;

static unsigned char pattern(const char *name, uint64_t at)
{
	return (unsigned char)(at * 31 + at / 251 + strlen(name) * 7 + (unsigned char)name[0]);
}

unsigned int bc_kernel_lease_ms(const struct bc_kernel *k)
{
	(void)k;
	return 900;
}

/* Called with the lock held. */
static bool is_pending(uint64_t id)
{
	return kernel.pending && kernel.id == id;
}

int bc_kernel_renew(struct bc_kernel *k, uint64_t id)
{
	int error;

	pthread_mutex_lock(&k->lock);
	k->renewals++;
	error = is_pending(id) ? 0 : -ENOENT;
	pthread_mutex_unlock(&k->lock);
	return error;
}

int bc_kernel_claim(struct bc_kernel *k, uint64_t id)
{
	return bc_kernel_renew(k, id);
}

int bc_kernel_bind(struct bc_kernel *k, uint64_t id, const struct bc_object *object)
{
	int error = 0;

	pthread_mutex_lock(&k->lock);
	if (!is_pending(id))
		error = -ENOENT;
	else if (k->bound && strcmp(k->object.etag, object->etag))
		error = -ESTALE;
	k->binds++;
	if (!error) {
		k->bound = true;
		k->object = *object;
		if (k->offset >= object->size)
			k->length = 0;
		else
			k->length = bc_min(k->length, object->size - k->offset);
	}
	pthread_mutex_unlock(&k->lock);
	return error;
}

static int check_fill(const struct bc_kernel *k, uint64_t offset, size_t length)
{
	uint64_t end = k->offset + k->length;

	if (!k->bound)
		return -EPROTO;
	if (offset % BC_FILL_ALIGN || !length || length > BC_CHUNK_SIZE)
		return -EINVAL;
	if (offset < k->offset || offset + length > end)
		return -ERANGE;
	if (length % BC_FILL_ALIGN && offset + length != end)
		return -EINVAL;
	return offset == k->next ? 0 : -EINVAL;
}

int bc_kernel_fill(struct bc_kernel *k, uint64_t id, uint64_t offset,
		   const void *bytes, size_t length)
{
	int error = -ENOENT;

	pthread_mutex_lock(&k->lock);
	if (is_pending(id) && !k->refuse_fill) {
		error = check_fill(k, offset, length);
		k->protocol_errors += error != 0;
		k->fills++;
		if (!error) {
			memcpy(k->bytes + (offset - k->offset), bytes, length);
			k->next += length;
		}
	}
	pthread_mutex_unlock(&k->lock);
	return error;
}

int bc_kernel_done(struct bc_kernel *k, uint64_t id, enum bc_done_status status,
		   unsigned int retry_after_ms)
{
	int error = -ENOENT;

	pthread_mutex_lock(&k->lock);
	if (is_pending(id)) {
		error = 0;
		if (status == BC_DONE_OK && (!k->bound || k->next != k->offset + k->length)) {
			k->protocol_errors++;
			error = -ENODATA;
		}
		k->pending = false;
		k->status = status;
		k->retry_after_ms = retry_after_ms;
		pthread_cond_signal(&k->ended);
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
	pthread_mutex_lock(&k->lock);
	if (is_pending(id)) {
		k->pending = false;
		k->status = status;
		k->object = *object;
		pthread_cond_signal(&k->ended);
	}
	pthread_mutex_unlock(&k->lock);
	return 0;
}

static void make_pending(const struct bc_request *request)
{
	pthread_mutex_lock(&kernel.lock);
	kernel.id = request->id;
	kernel.pending = true;
	kernel.bound = request->bound;
	kernel.object = request->want;
	kernel.offset = request->offset;
	kernel.length = request->length;
	kernel.next = request->offset;
	kernel.fills = kernel.binds = kernel.renewals = kernel.protocol_errors = 0;
	kernel.retry_after_ms = 0;
	kernel.status = BC_DONE_STATUS_COUNT;
	memset(kernel.bytes, 0xee, sizeof(kernel.bytes));
	pthread_mutex_unlock(&kernel.lock);
}

static enum bc_done_status wait_end(unsigned int seconds)
{
	struct timespec until;
	enum bc_done_status status;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&kernel.lock);
	while (kernel.pending && !pthread_cond_timedwait(&kernel.ended, &kernel.lock, &until))
		;
	status = kernel.pending ? BC_DONE_STATUS_COUNT : kernel.status;
	kernel.pending = false;
	pthread_mutex_unlock(&kernel.lock);
	assert_int_equal(kernel.protocol_errors, 0);
	return status;
}

static void post(struct bc_store *store, struct bc_request *request)
{
	struct bc_job *job;

	make_pending(request);
	if (request->kind == BC_REQUEST_RESOLVE)
		job = bc_resolve_create(pool, request, bc_store_get(store));
	else
		job = bc_fetch_create(pool, request, bc_store_get(store));
	assert_non_null(job);
	bc_pool_add(pool, job);
}

static void make_request(struct bc_request *request, const char *path, uint64_t offset,
			 uint64_t length, const struct bc_object *want)
{
	*request = (struct bc_request){
		.id = ++last_id,
		.offset = offset,
		.length = length,
		.source = strdup("x"),
		.path = strdup(path),
	};
	if (want) {
		request->bound = true;
		request->want = *want;
	}
}

static enum bc_done_status fetch(struct bc_store *store, const char *path, uint64_t offset,
				 uint64_t length, const struct bc_object *want)
{
	struct bc_request request;

	make_request(&request, path, offset, length, want);
	post(store, &request);
	return wait_end(20);
}

static enum bc_done_status resolve(struct bc_store *store, const char *path)
{
	struct bc_request request;

	make_request(&request, path, 0, 0, NULL);
	request.kind = BC_REQUEST_RESOLVE;
	post(store, &request);
	return wait_end(20);
}

static void assert_bytes(const char *name, uint64_t offset, uint64_t length)
{
	uint64_t i;

	assert_int_equal(kernel.next - kernel.offset, length);
	for (i = 0; i < length; i++)
		if (kernel.bytes[i] != pattern(name, offset + i))
			fail_msg("byte %llu of %s is wrong", (unsigned long long)(offset + i), name);
	if (length < ROOM)
		assert_int_equal(kernel.bytes[length], 0xee);
}

static void path_of(char *to, size_t size, const char *name)
{
	snprintf(to, size, "%s/data/%s", directory, name);
}

static void write_file(const char *name, uint64_t size)
{
	char path[512];
	uint64_t i;
	FILE *file;

	path_of(path, sizeof(path), name);
	file = fopen(path, "w");
	assert_non_null(file);
	for (i = 0; i < size; i++)
		putc(pattern(name, i), file);
	assert_int_equal(fclose(file), 0);
}

static bool start_server(void)
{
	static const char script[] = "tests/vm/fault_store.py";
	char data[512], log[512], line[128] = "";
	int fds[2];
	FILE *out;

	if (access(script, R_OK) || pipe(fds))
		return false;
	snprintf(data, sizeof(data), "%s/data", directory);
	snprintf(log, sizeof(log), "%s/log", directory);
	server = fork();
	if (!server) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(fds[1], STDOUT_FILENO);
		execlp("python3", "python3", script, "--port", "0", "--page", "2", "--log", log,
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

static struct bc_store *open_store(struct bc_volume *volume)
{
	char text[256] = "";
	struct bc_store *store = bc_store_open(volume, text, sizeof(text));

	if (!store)
		fail_msg("%s", text);
	return store;
}

static void open_stores(void)
{
	char source[600];
	struct bc_volume files = { .source = source };
	struct bc_volume blobs = { .source = source, .plain_http = true, .api_version = BC_AZURE_API_VERSION };

	snprintf(source, sizeof(source), "file://%s/data", directory);
	file_store = open_store(&files);
	assert_true(start_server());
	snprintf(source, sizeof(source), "azure://127.0.0.1:%d/account/container", port);
	blob_store = open_store(&blobs);
}

static int set_up(void **state)
{
	struct bc_fetch_config config = {
		.threads = 2,
		.connections = 4,
		.retries = 2,
		.connect_timeout_ms = 1000,
		.stall_timeout_ms = 1000,
	};
	char path[512];

	(void)state;
	bc_log_open(true, getenv("BC_TEST_VERBOSE") ? BC_DEBUG : BC_ERROR);
	assert_true(bc_http_init());
	assert_non_null(mkdtemp(directory));
	path_of(path, sizeof(path), "");
	assert_int_equal(mkdir(path, 0755), 0);
	path_of(path, sizeof(path), "sub");
	assert_int_equal(mkdir(path, 0755), 0);
	write_file("small", SMALL);
	write_file("large", LARGE);
	write_file("empty", 0);
	write_file("sub/a b+c%#?\xc3\xbc", SMALL);
	path_of(path, sizeof(path), "link");
	assert_int_equal(symlink("/etc/passwd", path), 0);
	path_of(path, sizeof(path), "fifo");
	assert_int_equal(mkfifo(path, 0644), 0);
	open_stores();
	pool = bc_pool_create(&kernel, &config);
	assert_non_null(pool);
	return 0;
}

static int tear_down(void **state)
{
	char command[600];

	(void)state;
	assert_true(bc_pool_stop(pool, 2000));
	bc_store_put(file_store);
	bc_store_put(blob_store);
	if (server > 0) {
		kill(server, SIGTERM);
		waitpid(server, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

/* What any store must do. */
static void check_store(struct bc_store *store)
{
	struct bc_object object;

	assert_int_equal(fetch(store, "small", 0, BC_CHUNK_SIZE, NULL), BC_DONE_OK);
	assert_bytes("small", 0, SMALL);
	assert_int_equal(kernel.binds, 1);
	assert_int_equal(kernel.object.size, SMALL);
	assert_in_range(kernel.object.last_modified, time(NULL) - 100, time(NULL));

	assert_int_equal(resolve(store, "large"), BC_DONE_OK);
	object = kernel.object;
	assert_int_equal(object.size, LARGE);
	assert_int_equal(fetch(store, "large", BC_CHUNK_SIZE, BC_CHUNK_SIZE, &object), BC_DONE_OK);
	assert_bytes("large", BC_CHUNK_SIZE, BC_CHUNK_SIZE);
	assert_int_equal(kernel.binds, 0);
	assert_int_equal(fetch(store, "large", 2 * BC_CHUNK_SIZE, LARGE - 2 * BC_CHUNK_SIZE, &object),
			 BC_DONE_OK);
	assert_bytes("large", 2 * BC_CHUNK_SIZE, LARGE - 2 * BC_CHUNK_SIZE);
	assert_int_equal(fetch(store, "large", 4096, 3 * BC_BLOCK_SIZE, NULL), BC_DONE_OK);
	assert_bytes("large", 4096, 3 * BC_BLOCK_SIZE);

	strcpy(object.etag, "other");
	assert_int_equal(fetch(store, "large", 0, BC_CHUNK_SIZE, &object), BC_DONE_CHANGED);
	assert_int_equal(kernel.fills, 0);

	assert_int_equal(fetch(store, "sub/a b+c%#?\xc3\xbc", 0, BC_CHUNK_SIZE, NULL), BC_DONE_OK);
	assert_bytes("sub/a b+c%#?\xc3\xbc", 0, SMALL);

	assert_int_equal(fetch(store, "empty", 0, BC_CHUNK_SIZE, NULL), BC_DONE_OK);
	assert_int_equal(kernel.binds, 1);
	assert_int_equal(kernel.object.size, 0);
	assert_int_equal(fetch(store, "small", BC_CHUNK_SIZE, BC_CHUNK_SIZE, NULL), BC_DONE_OK);
	assert_int_equal(kernel.object.size, SMALL);
	assert_int_equal(kernel.fills, 0);

	assert_int_equal(fetch(store, "none", 0, BC_CHUNK_SIZE, NULL), BC_DONE_GONE);
	assert_int_equal(resolve(store, "none"), BC_DONE_GONE);
	assert_int_equal(fetch(store, "../data/small", 0, BC_CHUNK_SIZE, NULL), BC_DONE_UNSUPPORTED);
	assert_int_equal(resolve(store, "sub//small"), BC_DONE_UNSUPPORTED);
}

static void test_file(void **state)
{
	(void)state;
	check_store(file_store);
	assert_int_equal(fetch(file_store, "link", 0, BC_CHUNK_SIZE, NULL), BC_DONE_UNSUPPORTED);
	assert_int_equal(fetch(file_store, "fifo", 0, BC_CHUNK_SIZE, NULL), BC_DONE_UNSUPPORTED);
	assert_int_equal(fetch(file_store, "sub", 0, BC_CHUNK_SIZE, NULL), BC_DONE_UNSUPPORTED);
}

static void test_file_changes(void **state)
{
	struct bc_object object;

	(void)state;
	write_file("moving", SMALL);
	assert_int_equal(resolve(file_store, "moving"), BC_DONE_OK);
	object = kernel.object;
	write_file("moving", SMALL);
	assert_int_equal(fetch(file_store, "moving", 0, SMALL, &object), BC_DONE_CHANGED);
	assert_int_equal(kernel.fills, 0);
}

static void test_blob(void **state)
{
	(void)state;
	check_store(blob_store);
}

static enum bc_done_status fault(const char *kind, const struct bc_object *want)
{
	char path[64];

	snprintf(path, sizeof(path), "fault-%s/large", kind);
	return fetch(blob_store, path, 0, BC_CHUNK_SIZE, want);
}

static void test_faults(void **state)
{
	static const struct {
		const char *kind;
		enum bc_done_status status;
	} faults[] = {
		{ "401",	BC_DONE_DENIED },
		{ "403",	BC_DONE_DENIED },
		{ "404",	BC_DONE_GONE },
		{ "412",	BC_DONE_CHANGED },
		{ "416",	BC_DONE_FAILED },
		{ "429",	BC_DONE_RETRY_AFTER },
		{ "500",	BC_DONE_FAILED },
		{ "503",	BC_DONE_RETRY_AFTER },
		{ "range",	BC_DONE_FAILED },
		{ "whole",	BC_DONE_FAILED },
		{ "weak",	BC_DONE_UNSUPPORTED },
		{ "long",	BC_DONE_UNSUPPORTED },
		{ "noetag",	BC_DONE_UNSUPPORTED },
		{ "hang",	BC_DONE_FAILED },
	};
	struct bc_object object;
	size_t i;

	(void)state;
	assert_int_equal(resolve(blob_store, "large"), BC_DONE_OK);
	object = kernel.object;
	for (i = 0; i < BC_COUNT(faults); i++) {
		assert_int_equal(fault(faults[i].kind, &object), faults[i].status);
		assert_int_equal(kernel.fills, 0);
		if (faults[i].status == BC_DONE_RETRY_AFTER)
			assert_int_equal(kernel.retry_after_ms, 1000);
	}
	assert_int_equal(fault("etag", &object), BC_DONE_CHANGED);
	assert_int_equal(kernel.fills, 0);
}

/* Bytes that did come are right ones, and are not asked for again. */
static void test_broken_off(void **state)
{
	(void)state;
	assert_int_equal(fault("short", NULL), BC_DONE_FAILED);
	assert_true(kernel.fills > 0);
	assert_int_equal(kernel.next % BC_BLOCK_SIZE, 0);
	assert_bytes("large", 0, kernel.next);
	assert_int_equal(fault("stall", NULL), BC_DONE_FAILED);
	assert_bytes("large", 0, kernel.next);
	assert_true(kernel.renewals > 0);
}

static void test_recovery(void **state)
{
	static const char *const kinds[] = {
		"500-once", "short-once", "reset-first2", "range-once", "stall-once",
		"hang-once", "etag-once",
	};
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(kinds); i++) {
		struct bc_object object;

		assert_int_equal(resolve(blob_store, "large"), BC_DONE_OK);
		object = kernel.object;
		assert_int_equal(fault(kinds[i], &object), BC_DONE_OK);
		assert_bytes("large", 0, BC_CHUNK_SIZE);
	}
}

static void test_no_server(void **state)
{
	struct bc_volume volume = {
		.source = (char *)"azure://127.0.0.1:1/account/container",
		.plain_http = true,
		.api_version = (char *)BC_AZURE_API_VERSION,
	};
	struct bc_store *store = open_store(&volume);

	(void)state;
	assert_int_equal(fetch(store, "small", 0, SMALL, NULL), BC_DONE_FAILED);
	bc_store_put(store);
}

/* The kernel withdrew the request: no end is told, the transfer stops. */
static void test_withdrawn(void **state)
{
	struct bc_request request, again;
	int i;

	(void)state;
	kernel.refuse_fill = true;
	make_request(&request, "large", 0, BC_CHUNK_SIZE, NULL);
	again = request;
	post(blob_store, &request);
	for (i = 0; i < 500 && bc_pool_has(pool, &again); i++)
		usleep(10000);
	assert_false(bc_pool_has(pool, &again));
	assert_true(kernel.pending);
	kernel.refuse_fill = false;

	make_request(&request, "fault-hang/large", 0, BC_CHUNK_SIZE, NULL);
	again = request;
	post(blob_store, &request);
	assert_true(bc_pool_has(pool, &again));
	pthread_mutex_lock(&kernel.lock);
	kernel.pending = false;
	pthread_mutex_unlock(&kernel.lock);
	for (i = 0; i < 200 && bc_pool_has(pool, &again); i++)
		usleep(10000);
	assert_false(bc_pool_has(pool, &again));
}

struct listing {
	struct bc_list list;
	char names[1024];
	unsigned int pages;
	bool ended;
};

static void on_entry(struct bc_list *list, const struct bc_list_entry *entry)
{
	struct listing *listing = (struct listing *)list;

	assert_true(entry->directory == (entry->name[strlen(entry->name) - 1] == '/'));
	if (!entry->directory)
		assert_true(*entry->object.etag);
	strcat(listing->names, entry->name);
	strcat(listing->names, "\n");
}

static void on_list_end(struct bc_transfer *transfer)
{
	((struct listing *)transfer)->ended = true;
}

/* On a net of its own: the pool's threads have theirs. */
static void check_list(struct bc_store *store, bool recursive, const char *prefix,
		       const char *expected, unsigned int pages)
{
	static const struct bc_transfer_ops ops = { .end = on_list_end };
	struct bc_net *net = bc_net_create(1);
	struct listing listing = {
		.list = {
			.transfer = {
				.store = store,
				.ops = &ops,
				.verb = BC_VERB_LIST,
				.path = prefix,
				.connect_timeout_ms = 1000,
				.stall_timeout_ms = 2000,
			},
			.recursive = recursive,
			.entry = on_entry,
		},
	};

	do {
		listing.ended = false;
		listing.pages++;
		bc_store_start(&listing.list.transfer, net);
		while (!listing.ended) {
			bc_net_run(net);
			if (!listing.ended)
				bc_net_wait(net, 100);
		}
		assert_int_equal(listing.list.transfer.result.status, BC_DONE_OK);
	} while (listing.list.marker);
	if (expected)
		assert_string_equal(listing.names, expected);
	if (pages)
		assert_int_equal(listing.pages, pages);
	bc_net_destroy(net);
}

static void test_list(void **state)
{
	(void)state;
	check_list(file_store, false, "sub/", "sub/a b+c%#?\xc3\xbc\n", 1);
	check_list(file_store, true, "", NULL, 1);
	check_list(blob_store, false, "sub/", "sub/a b+c%#?\xc3\xbc\n", 1);
	check_list(blob_store, false, "s", "small\nsub/\n", 1);
	check_list(blob_store, true, "", NULL, 0);
	check_list(blob_store, true, "none", "", 1);
}

/* A thread in the middle of a transfer does not hold up the end. */
static void test_stop(void **state)
{
	struct bc_fetch_config config = {
		.threads = 1,
		.connections = 1,
		.connect_timeout_ms = 60000,
		.stall_timeout_ms = 60000,
	};
	struct bc_pool *whole = pool;
	struct bc_request request;
	int64_t begin;

	(void)state;
	pool = bc_pool_create(&kernel, &config);
	make_request(&request, "fault-hang/large", 0, BC_CHUNK_SIZE, NULL);
	post(blob_store, &request);
	make_request(&request, "large", 0, BC_CHUNK_SIZE, NULL);
	post(blob_store, &request);		/* stays in the queue */
	usleep(200000);
	begin = bc_now_ms();
	/* A transfer that is not broken off takes a minute. */
	assert_true(bc_pool_stop(pool, 20000));
	assert_in_range(bc_now_ms() - begin, 0, 10000);
	pool = whole;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_changes),
		cmocka_unit_test(test_blob),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_broken_off),
		cmocka_unit_test(test_recovery),
		cmocka_unit_test(test_no_server),
		cmocka_unit_test(test_withdrawn),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_stop),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
