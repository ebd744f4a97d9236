/* sources: daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a store promises to who writes: nothing shows before the commit, a commit is
 * done only on its condition, and the version that it names is what is there then, with
 * the metadata of its writer. The same for a directory and for Azurite (AZURITE_JS, as
 * in test_azure.c), where they agree.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"
#include "log.h"
#include "store/http.h"
#include "store/meta.h"
#include "util.h"

#define ACCOUNT	"devstoreaccount1"
#define KEY	"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
#define PART	300000U

static struct bc_net *net;
static struct bc_store *store;		/* the one of the tests that run */
static struct bc_store *files, *azure;
static char directory[] = "/tmp/test_store_write.XXXXXX";
static unsigned char content[3 * PART];
static const uint8_t generation[BC_GENERATION_SIZE] = "0123456789abcdef";
static pid_t azurite;
static int port;
static bool ended;

static void on_end(struct bc_transfer *transfer)
{
	(void)transfer;
	ended = true;
}

static size_t got;
static unsigned char back[sizeof(content)];

static bool on_data(struct bc_transfer *transfer, const void *bytes, size_t length)
{
	(void)transfer;
	assert_true(got + length <= sizeof(back));
	memcpy(back + got, bytes, length);
	got += length;
	return true;
}

static const struct bc_transfer_ops ops = { .data = on_data, .end = on_end };

static void run(struct bc_transfer *transfer)
{
	transfer->store = store;
	transfer->ops = &ops;
	transfer->connect_timeout_ms = 5000;
	transfer->stall_timeout_ms = 30000;
	ended = false;
	bc_store_start(transfer, net);
	while (!ended) {
		bc_net_run(net);
		if (!ended)
			bc_net_wait(net, 100);
	}
}

static struct bc_transfer head(const char *path)
{
	struct bc_transfer transfer = { .verb = BC_VERB_HEAD, .path = path };

	run(&transfer);
	return transfer;
}

static void check_content(const char *path, size_t size)
{
	struct bc_transfer transfer = { .verb = BC_VERB_GET, .path = path, .length = sizeof(back) };

	got = 0;
	run(&transfer);
	assert_int_equal(transfer.result.status, BC_DONE_OK);
	assert_int_equal(got, size);
	assert_memory_equal(back, content, size);
}

static const char *id_of(struct bc_commit *commit, uint32_t index, char *to)
{
	unsigned char raw[12];

	(void)commit;
	snprintf((char *)raw, sizeof(raw), "block-%05u", index);
	EVP_EncodeBlock((unsigned char *)to, raw, 12);
	return to;
}

static bool from_content(struct bc_stage *stage, uint64_t offset, void *to, size_t length)
{
	memcpy(to, content + stage->transfer.offset + offset, length);
	return true;
}

/* Whose blocks they are. */
static struct { uint64_t run; bool later; } writer = { .run = 1 };

static struct bc_result stage_with(const char *path, uint32_t index, const char *id, bool spoil)
{
	unsigned char md5[EVP_MAX_MD_SIZE];
	struct bc_stage stage = {
		.transfer = { .verb = BC_VERB_STAGE, .path = path, .offset = index * (uint64_t)PART, .length = PART },
		.id = id, .generation = generation, .run = writer.run, .first = !writer.later,
		.md5 = md5, .bytes = from_content,
	};

	assert_true(EVP_Digest(content + index * PART, PART, md5, NULL, EVP_md5(), NULL));
	md5[0] ^= spoil;
	run(&stage.transfer);
	return stage.transfer.result;
}

static void stage(const char *path, uint32_t index)
{
	char id[BC_BLOCK_ID_MAX + 1];
	struct bc_result result = stage_with(path, index, id_of(NULL, index, id), false);

	if (result.answer != BC_ANSWER_DONE)
		fail_msg("stage %s: %s", path, result.text);
}

static const struct bc_meta meta = {
	.has_generation = true, .has_cut = true, .has_checksum = true, .has_mode = true,
	.generation = "0123456789abcdef", .cut = 77, .checksum = 0x1234, .mode = 0640, .node = "n1",
};

static struct bc_commit commit(const char *path, uint32_t count, const char *etag)
{
	struct bc_commit commit = {
		.transfer = { .verb = BC_VERB_COMMIT, .path = path },
		.condition = etag ? BC_IF_MATCH : BC_IF_NONE, .etag = etag,
		.id = id_of, .count = count, .size = count * (uint64_t)PART, .run = writer.run, .meta = &meta,
	};

	run(&commit.transfer);
	assert_null(commit.body);
	return commit;
}

/* Not before the commit; then with that version and those metadata. */
static void test_write(void **state)
{
	struct bc_transfer is;
	struct bc_commit done;

	(void)state;
	stage("dir/in/new file", 1);
	stage("dir/in/new file", 0);
	assert_int_equal(head("dir/in/new file").result.status, BC_DONE_GONE);
	done = commit("dir/in/new file", 2, NULL);
	assert_int_equal(done.transfer.result.answer, BC_ANSWER_DONE);
	check_content("dir/in/new file", 2 * PART);
	is = head("dir/in/new file");
	assert_string_equal(is.object.etag, done.transfer.object.etag);
	assert_int_equal(is.object.size, 2 * PART);
	assert_true(bc_meta_ours(&is.meta));
	assert_memory_equal(is.meta.generation, generation, BC_GENERATION_SIZE);
	assert_true(is.meta.cut == 77 && is.meta.checksum == 0x1234 && is.meta.mode == 0640);
	assert_string_equal(is.meta.node, "n1");
}

static void test_empty(void **state)
{
	(void)state;
	assert_int_equal(commit("empty", 0, NULL).transfer.result.answer, BC_ANSWER_DONE);
	assert_int_equal(head("empty").object.size, 0);
}

/* Neither a version that came in between nor one that went is written over. */
static void test_conditions(void **state)
{
	struct bc_commit first, second;

	(void)state;
	stage("c", 0);
	first = commit("c", 1, NULL);
	assert_int_equal(first.transfer.result.answer, BC_ANSWER_DONE);
	stage("c", 0);
	stage("c", 1);
	assert_int_equal(commit("c", 2, NULL).transfer.result.answer, BC_ANSWER_CONDITION);
	second = commit("c", 2, first.transfer.object.etag);
	assert_int_equal(second.transfer.result.answer, BC_ANSWER_DONE);
	assert_string_not_equal(second.transfer.object.etag, first.transfer.object.etag);
	check_content("c", 2 * PART);
	stage("c", 0);
	assert_int_equal(commit("c", 1, first.transfer.object.etag).transfer.result.answer,
			 BC_ANSWER_CONDITION);
	check_content("c", 2 * PART);
	stage("d", 0);
	assert_int_equal(commit("d", 1, first.transfer.object.etag).transfer.result.answer,
			 BC_ANSWER_CONDITION);
	assert_int_equal(head("d").result.status, BC_DONE_GONE);
}

static struct bc_transfer delete(const char *path, const struct bc_object *want)
{
	struct bc_transfer transfer = { .verb = BC_VERB_DELETE, .path = path, .want = want };

	run(&transfer);
	return transfer;
}

static void test_delete(void **state)
{
	struct bc_object other = { .etag = "0x1" }, is;

	(void)state;
	stage("e", 0);
	is = commit("e", 1, NULL).transfer.object;
	assert_int_equal(delete("e", &other).result.answer, BC_ANSWER_CONDITION);
	assert_int_equal(head("e").result.status, BC_DONE_OK);
	assert_int_equal(delete("e", &is).result.answer, BC_ANSWER_DONE);
	assert_int_equal(head("e").result.status, BC_DONE_GONE);
	assert_int_equal(delete("e", NULL).result.answer, BC_ANSWER_GONE);
	assert_int_equal(delete("no/such/e", NULL).result.answer, BC_ANSWER_GONE);
}

static bool refuse(struct bc_stage *stage, uint64_t offset, void *to, size_t length)
{
	if (!offset)
		return from_content(stage, offset, to, length);
	bc_result_set(&stage->transfer.result, BC_DONE_FAILED, false, "no more");
	return false;
}

/* Who cannot read on says why, and the block is not there. */
static void test_abort(void **state)
{
	char id[BC_BLOCK_ID_MAX + 1];
	uint8_t md5[BC_MD5_SIZE] = { 0 };
	struct bc_stage stage = {
		.transfer = { .verb = BC_VERB_STAGE, .path = "f", .length = 2 * PART },
		.id = id_of(NULL, 0, id), .generation = generation, .first = true, .md5 = md5, .bytes = refuse,
	};

	(void)state;
	run(&stage.transfer);
	assert_string_equal(stage.transfer.result.text, "no more");
	assert_int_equal(stage.transfer.result.answer, BC_ANSWER_NONE);
}

struct blocks {
	struct bc_block_list list;
	char text[256];
};

static void on_block(struct bc_block_list *list, const char *id, uint64_t size, bool committed)
{
	struct blocks *blocks = (struct blocks *)list;
	size_t at = strlen(blocks->text);

	snprintf(blocks->text + at, sizeof(blocks->text) - at, "%s%s:%llu ", committed ? "+" : "-",
		 id, (unsigned long long)size);
}

static struct blocks list_blocks(const char *path)
{
	struct blocks blocks = {
		.list = { .transfer = { .verb = BC_VERB_BLOCKS, .path = path }, .block = on_block },
	};

	run(&blocks.list.transfer);
	assert_null(blocks.list.parser);
	return blocks;
}

static void test_azure_blocks(void **state)
{
	char zero[BC_BLOCK_ID_MAX + 1], one[BC_BLOCK_ID_MAX + 1], expected[256];
	struct blocks blocks;

	(void)state;
	id_of(NULL, 0, zero);
	id_of(NULL, 1, one);
	assert_int_equal(list_blocks("g").list.transfer.result.status, BC_DONE_GONE);
	stage("g", 0);
	blocks = list_blocks("g");
	snprintf(expected, sizeof(expected), "-%s:%u ", zero, PART);
	assert_string_equal(blocks.text, expected);
	assert_int_equal(commit("g", 1, NULL).transfer.result.answer, BC_ANSWER_DONE);
	stage("g", 1);
	blocks = list_blocks("g");
	snprintf(expected, sizeof(expected), "+%s:%u -%s:%u ", zero, PART, one, PART);
	assert_string_equal(blocks.text, expected);
}

/* A block that is damaged on its way is refused; so is a list with one that is not there. */
static void test_azure_refusals(void **state)
{
	char id[BC_BLOCK_ID_MAX + 1];

	(void)state;
	assert_int_equal(stage_with("h", 0, id_of(NULL, 0, id), true).answer, BC_ANSWER_CHECKSUM);
	stage("h", 0);
	assert_int_equal(commit("h", 2, NULL).transfer.result.answer, BC_ANSWER_BLOCK_LIST);
	assert_int_equal(head("h").result.status, BC_DONE_GONE);
	assert_int_equal(stage_with("h", 1, "QUJD", false).answer, BC_ANSWER_BLOCK_ID);
}

static void test_anonymous(void **state)
{
	struct bc_store *known = store;
	char text[200], *source = strdup(azure->source);
	struct bc_volume volume = {
		.source = source, .plain_http = true, .api_version = (char *)BC_AZURE_API_VERSION,
	};

	(void)state;
	store = bc_store_open(&volume, text, sizeof(text));
	assert_non_null(store);
	assert_int_equal(commit("i", 0, NULL).transfer.result.answer, BC_ANSWER_DENIED);
	bc_store_put(store);
	store = known;
	free(source);
}

/* What is staged shows in no listing, and goes when it is not wanted any more. */
static void count_entry(struct bc_list *list, const struct bc_list_entry *entry)
{
	(void)entry;
	*(int *)list->parser += 1;
}

static void test_file_staged(void **state)
{
	struct bc_discard discard = {
		.transfer = { .verb = BC_VERB_DISCARD, .path = "j/k" }, .generation = generation, .run = writer.run,
	};
	int entries = 0;
	struct bc_list list = {
		.transfer = { .verb = BC_VERB_LIST, .path = "j/" }, .entry = count_entry, .parser = &entries,
	};

	(void)state;
	stage("j/k", 0);
	run(&list.transfer);
	assert_int_equal(list.transfer.result.status, BC_DONE_OK);
	assert_int_equal(entries, 0);
	run(&discard.transfer);
	assert_int_equal(discard.transfer.result.answer, BC_ANSWER_DONE);
	run(&discard.transfer);
	assert_int_equal(discard.transfer.result.answer, BC_ANSWER_GONE);
}

/* Two that write one file, with one generation, do not mix. */
static void test_file_two(void **state)
{
	struct bc_transfer is;

	(void)state;
	stage("two", 0);
	stage("two", 1);
	writer.run = 2;
	stage("two", 0);
	writer.run = 1;
	is.object = commit("two", 2, NULL).transfer.object;
	check_content("two", 2 * PART);
	writer.run = 2;
	writer.later = true;
	stage("two", 1);
	check_content("two", 2 * PART);
	assert_string_equal(head("two").object.etag, is.object.etag);
	assert_int_equal(commit("two", 2, is.object.etag).transfer.result.answer, BC_ANSWER_DONE);
	writer.run = 1;
	writer.later = false;
}

static void remove_staged(const char *in)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -f '%s/%s'/.blobcache-*", directory, in);
	assert_int_equal(system(command), 0);
}

/* A staged file that went does not come again empty. */
static void test_file_lost(void **state)
{
	char id[BC_BLOCK_ID_MAX + 1];

	(void)state;
	stage("l/lost", 0);
	remove_staged("l");
	writer.later = true;
	assert_int_equal(stage_with("l/lost", 1, id_of(NULL, 1, id), false).answer, BC_ANSWER_BLOCK_LIST);
	assert_int_equal(commit("l/lost", 2, NULL).transfer.result.answer, BC_ANSWER_BLOCK_LIST);
	assert_int_equal(head("l/lost").result.status, BC_DONE_GONE);
	writer.later = false;
	stage("l/lost", 1);
	stage("l/lost", 0);
	assert_int_equal(commit("l/lost", 2, NULL).transfer.result.answer, BC_ANSWER_DONE);
	check_content("l/lost", 2 * PART);
	assert_int_equal(commit("l/lost", 2, NULL).transfer.result.answer, BC_ANSWER_BLOCK_LIST);
}

static int fsync_error;

/* In place of libc's. */
int fsync(int fd)
{
	if (!fsync_error)
		return (int)syscall(SYS_fsync, fd);
	errno = fsync_error;
	fsync_error = 0;
	return -1;
}

/* What could not be made durable is not believed the second time. */
static void test_file_fsync(void **state)
{
	static const int errors[] = { EIO, ENOSPC };
	char path[16];
	size_t i;

	(void)state;
	for (i = 0; i < BC_COUNT(errors); i++) {
		snprintf(path, sizeof(path), "s/%zu", i);
		stage(path, 0);
		fsync_error = errors[i];
		assert_int_equal(commit(path, 1, NULL).transfer.result.answer, BC_ANSWER_BLOCK_LIST);
		assert_int_equal(commit(path, 1, NULL).transfer.result.answer, BC_ANSWER_BLOCK_LIST);
		assert_int_equal(head(path).result.status, BC_DONE_GONE);
		stage(path, 0);
		assert_int_equal(commit(path, 1, NULL).transfer.result.answer, BC_ANSWER_DONE);
	}
}

/* Nothing outside of the directory is written, whatever the name. */
static void test_file_beneath(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/link", directory);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_not_equal(commit("link/outside", 0, NULL).transfer.result.answer, BC_ANSWER_DONE);
	assert_int_not_equal(commit("../outside", 0, NULL).transfer.result.answer, BC_ANSWER_DONE);
	assert_int_not_equal(access("/tmp/outside", F_OK), 0);
}

static bool make_container(void)
{
	/* The store makes none; its own signature is good for this, too. */
	char command[700];

	snprintf(command, sizeof(command), "exec python3 tests/lib/blob.py --port %d create data", port);
	return !system(command);
}

/* One that nobody has. */
static int free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void start_azurite(void)
{
	char number[16], source[128], text[200];
	struct bc_volume volume = {
		.source = source, .plain_http = true, .api_version = (char *)BC_AZURE_API_VERSION,
		.auth = { .type = BC_AUTH_SHARED_KEY, .account = (char *)ACCOUNT },
	};

	port = free_port();
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
	assert_true(make_container());
	snprintf(source, sizeof(source), "azure://127.0.0.1:%d/" ACCOUNT "/data", port);
	bc_secret_copy(&volume.auth.secret, KEY, strlen(KEY));
	bc_secret_decode(&volume.auth.secret);
	azure = bc_store_open(&volume, text, sizeof(text));
	bc_secret_free(&volume.auth.secret);
	assert_non_null(azure);
}

static int set_up(void **state)
{
	struct bc_volume volume = { 0 };
	char source[128], text[200];
	size_t i;

	(void)state;
	bc_log_open(true, BC_ERROR);
	assert_true(bc_http_init());
	net = bc_net_create(2);
	for (i = 0; i < sizeof(content); i++)
		content[i] = (unsigned char)(i * 13 + i / 257);
	assert_non_null(mkdtemp(directory));
	snprintf(source, sizeof(source), "file://%s", directory);
	volume.source = source;
	files = bc_store_open(&volume, text, sizeof(text));
	assert_non_null(files);
	if (getenv("AZURITE_JS"))
		start_azurite();
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	bc_store_put(files);
	bc_store_put(azure);
	bc_net_destroy(net);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	if (azurite > 0) {
		kill(azurite, SIGTERM);
		waitpid(azurite, NULL, 0);
	}
	curl_global_cleanup();
	return system(command);
}

static int on_files(void **state)
{
	(void)state;
	store = files;
	return 0;
}

static int on_azure(void **state)
{
	(void)state;
	store = azure;
	return 0;
}

#define FILES(name)	{ "file: " #name, name, on_files, NULL, NULL }
#define AZURE(name)	{ "azure: " #name, name, on_azure, NULL, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		FILES(test_write), FILES(test_empty), FILES(test_conditions), FILES(test_delete),
		FILES(test_abort), FILES(test_file_staged), FILES(test_file_two),
		FILES(test_file_lost), FILES(test_file_fsync), FILES(test_file_beneath),
		AZURE(test_write), AZURE(test_empty), AZURE(test_conditions), AZURE(test_delete),
		AZURE(test_abort), AZURE(test_azure_blocks), AZURE(test_azure_refusals),
		AZURE(test_anonymous),
	};
	size_t count = BC_COUNT(tests);

	if (!getenv("AZURITE_JS")) {
		printf("# no AZURITE_JS: not against Azurite\n");
		count = 10;
	}
	return _cmocka_run_group_tests("store_write", tests, count, set_up, tear_down);
}
