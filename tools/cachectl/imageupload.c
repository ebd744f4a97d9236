// SPDX-License-Identifier: GPL-2.0-or-later
/* A file becomes an object of a store, by the daemon's upload and its configuration. */
#include <curl/curl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cachectl.h"
#include "config.h"
#include "imageupload.h"
#include "interrupt.h"
#include "log.h"
#include "progress.h"
#include "store/http.h"
#include "upload/upload.h"
#include "volumes.h"

/* So long without a byte, in ms: somebody sits before it. */
#define GIVE_UP_MS	120000

static atomic_int interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

static struct bc_store *open_store(const struct upload_request *request)
{
	const char *path = request->config ? request->config : BC_CONFIG_PATH;
	struct bc_store *store = NULL;
	struct bc_volumes *volumes;
	struct bc_config *config;
	char text[256];

	config = bc_config_load(path, text, sizeof(text));
	if (!config) {
		ctl_fail("%s: the daemon's configuration %s: %s", ctl.path, path, text);
		return NULL;
	}
	volumes = bc_volumes_create(config, text, sizeof(text));
	if (volumes) {
		store = bc_volumes_find(volumes, request->place.source, text, sizeof(text));
		if (!store)
			ctl_fail("%s: %s has no credentials for %s: %s", ctl.path, path,
				 request->place.source, text);
		bc_volumes_free(volumes);
	} else {
		ctl_fail("%s: the daemon's configuration %s: %s", ctl.path, path, text);
	}
	bc_config_free(config);
	return store;
}

/*
 * Who uploads to the same place once more, from the same node, goes on with what is staged: its
 * blocks have one lineage. But each upload is a writer of its own: nobody is taken for it.
 */
static struct bc_source *open_source(const struct upload_request *request, const char *node)
{
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	struct bc_source *source;
	char name[PATH_MAX + BC_NODE_MAX], text[256];
	int length;

	length = snprintf(name, sizeof(name), "%s %s", node, request->url);
	if (!EVP_Digest(name, (size_t)length < sizeof(name) ? (size_t)length : sizeof(name) - 1,
			digest, NULL, EVP_sha256(), NULL)) {
		ctl_fail("%s: SHA-256 is not to be had of OpenSSL", ctl.path);
		return NULL;
	}
	source = bc_source_file(request->file, NULL, 1, text, sizeof(text));
	if (source)
		memcpy(source->lineage, digest, sizeof(source->lineage));
	else
		ctl_fail("%s %s: %s", ctl.path, request->file, text);
	return source;
}

static void on_trouble(struct bc_upload *upload, void *context)
{
	const struct bc_upload_progress *progress = bc_upload_progress(upload);

	(void)context;
	if (progress->trouble)
		ctl_warn("%s: %s; it is tried again", ctl.path, progress->text);
}

static const struct bc_upload_ops upload_ops = { .trouble = on_trouble };

static void run(struct bc_upload *upload, struct bc_net *net)
{
	const struct bc_upload_progress *done = bc_upload_progress(upload);
	struct progress bar;
	int wait_ms;

	progress_begin(&bar, done->size, 0);
	while ((wait_ms = bc_upload_step(upload)) >= 0) {
		/* A signal wakes nobody in there. */
		bc_net_wait(net, wait_ms < 200 ? wait_ms : 200);
		bc_net_run(net);
		progress_update(&bar, bc_upload_progress(upload)->done);
		if (interrupted)
			bc_upload_cancel(upload);
	}
	progress_end(&bar);
}

static int told(const struct upload_request *request, struct bc_upload *upload,
		struct upload_answer *answer)
{
	const struct bc_upload_result *result = bc_upload_result(upload);
	const struct bc_upload_progress *progress = bc_upload_progress(upload);

	if (result->end == BC_UPLOAD_COMMITTED) {
		snprintf(answer->etag, sizeof(answer->etag), "%s", result->object.etag);
		answer->size = progress->size;
		answer->reused = progress->reused;
		return CTL_OK;
	}
	if (result->end == BC_UPLOAD_CANCELLED)
		return ctl_fail("%s: interrupted; %s is as it was, unless its very last request was on its way; the same upload again goes on with what the store has",
				ctl.path, request->url);
	return ctl_fail("%s: %s was not uploaded to %s: %s", ctl.path, request->file, request->url,
			result->text);
}

static int upload(const struct upload_request *request, struct bc_store *store,
		  struct bc_net *net, struct upload_answer *answer)
{
	struct bc_upload_config config = BC_UPLOAD_CONFIG_DEFAULT;
	char node[BC_NODE_MAX] = "", text[256];
	struct bc_upload_job job = {
		.config = &config, .store = store, .path = request->place.path,
		.replace = true, .node = node, .ops = &upload_ops,
	};
	struct bc_upload *started;
	int rc;

	config.give_up_ms = GIVE_UP_MS;
	gethostname(node, sizeof(node) - 1);
	job.source = open_source(request, node);
	if (!job.source)
		return CTL_FAILED;
	started = bc_upload_create(&job, net, text, sizeof(text));
	if (!started)
		return ctl_fail("%s %s: %s", ctl.path, request->file, text);
	run(started, net);
	rc = told(request, started, answer);
	bc_upload_free(started);
	return rc;
}

int imageupload_check(const struct upload_request *request)
{
	struct bc_store *store;

	/* Its way of writing is for what one writer at a time changes. */
	if (!strncmp(request->place.source, "file:", 5))
		return ctl_fail("%s: %s is a file: copy it there", ctl.path, request->url);
	store = open_store(request);
	if (!store)
		return CTL_FAILED;
	bc_store_put(store);
	return CTL_OK;
}

int imageupload(const struct upload_request *request, struct upload_answer *answer)
{
	struct bc_store *store;
	struct bc_net *net;
	int rc = CTL_FAILED;

	interrupt_catch(on_signal);
	signal(SIGPIPE, SIG_IGN);
	bc_log_open(true, BC_ERROR);
	if (!bc_http_init())
		return ctl_fail("%s: libcurl cannot be used", ctl.path);
	store = open_store(request);
	if (store) {
		net = bc_net_create(BC_UPLOAD_CONFIG_DEFAULT.blocks);
		rc = net ? upload(request, store, net, answer) :
			   ctl_fail("%s: out of memory", ctl.path);
		if (net)
			bc_net_destroy(net);
		bc_store_put(store);
	}
	curl_global_cleanup();
	return rc;
}
