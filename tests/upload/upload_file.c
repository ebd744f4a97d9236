/* sources: daemon/upload/upload.c daemon/upload/stage.c daemon/upload/prepare.c daemon/upload/publish.c daemon/upload/decide.c daemon/upload/plan.c daemon/upload/crc.c daemon/upload/piece.c daemon/upload/staged.c daemon/upload/rate.c daemon/upload/source_file.c daemon/log.c daemon/util.c daemon/secret.c daemon/source.c daemon/store/store.c daemon/store/azure.c daemon/store/azure_write.c daemon/store/block_list.c daemon/store/file.c daemon/store/file_write.c daemon/store/http.c daemon/store/error_body.c daemon/store/reply.c daemon/store/answer.c daemon/store/meta.c daemon/store/text.c daemon/store/sharedkey.c daemon/store/listing.c */
/* libs: libcurl libcrypto expat */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Uploads one file with the daemon's upload, for tests/unit/test_upload.py; not
 * installed. One line per event on standard output:
 *
 *	trouble NAME			another trouble than before
 *	progress DONE/SIZE
 *	end NAME path=P etag=E done=N reused=N retries=N crc=X text=T
 *
 * It reads commands from standard input, a line each: pause, resume, cancel, and
 * "key TEXT", which gives it other credentials; "ok" answers. The exit status is the end's.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "log.h"
#include "store/http.h"
#include "upload/upload.h"

static struct bc_upload_config config;
static struct bc_rate rate;
static struct bc_volume volume = {
	.plain_http = true, .api_version = (char *)BC_AZURE_API_VERSION,
};
static char text[256];

static void die(const char *what)
{
	fprintf(stderr, "upload_file: %s: %s\n", what, text);
	exit(70);
}

static void on_progress(struct bc_upload *upload, void *context)
{
	const struct bc_upload_progress *progress = bc_upload_progress(upload);

	(void)context;
	printf("progress %llu/%llu\n", (unsigned long long)progress->done,
	       (unsigned long long)progress->size);
	fflush(stdout);
}

static void on_trouble(struct bc_upload *upload, void *context)
{
	const struct bc_upload_progress *progress = bc_upload_progress(upload);

	(void)context;
	printf("trouble %s %s\n", bc_trouble_name(progress->trouble), progress->text);
	fflush(stdout);
}

static void on_end(struct bc_upload *upload, void *context)
{
	const struct bc_upload_result *result = bc_upload_result(upload);
	const struct bc_upload_progress *progress = bc_upload_progress(upload);

	(void)context;
	printf("end %s path=%s etag=%s done=%llu reused=%llu retries=%u text=%s\n",
	       bc_upload_end_name(result->end), result->path ? result->path : "-",
	       result->object.etag, (unsigned long long)progress->done,
	       (unsigned long long)progress->reused, progress->retries, result->text);
	fflush(stdout);
}

static const struct bc_upload_ops ops = { on_progress, on_trouble, on_end };

static void parse_hex(uint8_t *to, const char *from)
{
	unsigned int i, byte;

	for (i = 0; i < BC_GENERATION_SIZE && sscanf(from + 2 * i, "%2x", &byte) == 1; i++)
		to[i] = (uint8_t)byte;
}

static struct bc_store *open_store(char *key)
{
	struct bc_store *store;

	volume.auth.type = BC_AUTH_ANONYMOUS;
	if (key && !strncmp(key, "sv=", 3)) {
		volume.auth.type = BC_AUTH_SAS;
		bc_secret_copy(&volume.auth.secret, key, strlen(key));
	} else if (key) {
		volume.auth.type = BC_AUTH_SHARED_KEY;
		volume.auth.account = (char *)"devstoreaccount1";
		bc_secret_copy(&volume.auth.secret, key, strlen(key));
		bc_secret_decode(&volume.auth.secret);
	}
	store = bc_store_open(&volume, text, sizeof(text));
	bc_secret_free(&volume.auth.secret);
	if (!store)
		die("store");
	return store;
}

static void command(struct bc_upload *upload, char *line)
{
	line[strcspn(line, "\n")] = 0;
	if (!strcmp(line, "pause") || !strcmp(line, "resume")) {
		bc_upload_pause(upload, *line == 'p');
	} else if (!strcmp(line, "cancel")) {
		bc_upload_cancel(upload);
	} else if (!strncmp(line, "key ", 4)) {
		struct bc_store *store = open_store(line + 4);

		bc_upload_set_store(upload, store);
		bc_store_put(store);
	}
	printf("ok\n");
	fflush(stdout);
}

static void read_commands(struct bc_upload *upload)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	static bool closed;
	char line[512];

	while (!closed && poll(&input, 1, 0) > 0) {
		if (fgets(line, sizeof(line), stdin))
			command(upload, line);
		else
			closed = true;
	}
}

static int run(struct bc_upload *upload, struct bc_net *net)
{
	int wait;

	while ((wait = bc_upload_step(upload)) >= 0) {
		bc_net_run(net);
		/* Standard input wakes nobody. */
		bc_net_wait(net, wait < 20 ? wait : 20);
		read_commands(upload);
	}
	return (int)bc_upload_result(upload)->end;
}

static const struct option options[] = {
	{ "source", required_argument, NULL, 's' },	{ "key", required_argument, NULL, 'k' },
	{ "generation", required_argument, NULL, 'g' },	{ "cut", required_argument, NULL, 'c' },
	{ "base", required_argument, NULL, 'b' },	{ "over", required_argument, NULL, 'o' },
	{ "node", required_argument, NULL, 'n' },	{ "blocks", required_argument, NULL, 'B' },
	{ "memory", required_argument, NULL, 'm' },	{ "threads", required_argument, NULL, 't' },
	{ "rate", required_argument, NULL, 'r' },
	{ "give-up", required_argument, NULL, 'G' },	{ "stall", required_argument, NULL, 'S' },
	{ "replace", no_argument, NULL, 'R' },		{ "stage-only", no_argument, NULL, 'O' },
	{ "fresh", no_argument, NULL, 'F' },		{ "no-aside", no_argument, NULL, 'A' },
	{ "attributes", no_argument, NULL, 'M' },	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct bc_upload_job job = { .config = &config, .keep_aside = true, .ops = &ops, .node = "n1" };
	uint8_t generation[BC_GENERATION_SIZE] = "0123456789abcde";
	unsigned long long cut = 1;
	bool attributes = false;
	struct bc_upload *upload;
	struct bc_net *net;
	char *key = NULL;
	int c;

	config = BC_UPLOAD_CONFIG_DEFAULT;
	config.backoff_ms = 20;
	config.backoff_max_ms = 200;
	config.rate = &rate;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 's': volume.source = optarg; break;
		case 'k': key = optarg; break;
		case 'g': parse_hex(generation, optarg); break;
		case 'c': cut = strtoull(optarg, NULL, 0); break;
		case 'b':
			job.base.condition = BC_IF_MATCH;
			snprintf(job.base.etag, sizeof(job.base.etag), "%s", optarg);
			break;
		case 'o':
			job.base.has_generation = true;
			parse_hex(job.base.generation, optarg);
			break;
		case 'n': job.node = optarg; break;
		case 'B': config.blocks = (unsigned int)atoi(optarg); break;
		case 'm': config.memory = strtoull(optarg, NULL, 0); break;
		case 't': config.threads = (unsigned int)atoi(optarg); break;
		case 'r': rate.bytes_per_second = strtoull(optarg, NULL, 0); break;
		case 'G': config.give_up_ms = (unsigned int)atoi(optarg); break;
		case 'S': config.stall_timeout_ms = (unsigned int)atoi(optarg); break;
		case 'R': job.replace = true; break;
		case 'O': job.stage_only = true; break;
		case 'F': job.fresh = true; break;
		case 'A': job.keep_aside = false; break;
		case 'M': attributes = true; break;
		default: return 64;
		}
	}
	if (argc - optind != 2)
		return 64;
	signal(SIGPIPE, SIG_IGN);
	bc_log_open(true, BC_WARN);
	if (!bc_http_init())
		die("curl");
	net = bc_net_create(config.blocks);
	job.store = open_store(key);
	job.path = argv[optind + 1];
	job.source = bc_source_file(argv[optind], generation, cut, text, sizeof(text));
	if (!job.source)
		die("source");
	job.source->has_mode = attributes;
	job.source->has_mtime = attributes;
	upload = bc_upload_create(&job, net, text, sizeof(text));
	if (!upload)
		die("create");
	c = run(upload, net);
	bc_upload_free(upload);
	bc_store_put(job.store);
	bc_net_destroy(net);
	curl_global_cleanup();
	return c;
}
