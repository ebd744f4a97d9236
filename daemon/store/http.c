// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/http.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "log.h"
#include "store/error_body.h"
#include "store/reply.h"
#include "util.h"

#define RECEIVE_BUFFER	(512L << 10)
#define SEND_BUFFER	(512L << 10)
#define SEND_BUFFER_MIN	(16L << 10)	/* curl takes no less */
#define SLOW_BYTES	1024L		/* per second; less for SLOW_SECONDS is too slow */
#define SLOW_SECONDS	10L
#define IDLE_SECONDS	50L
#define ERROR_BODY_MAX	(64U << 10)
#define LIST_BODY_MAX	(64U << 20)

/* One easy handle: running a transfer, or idle in its net's list. */
struct http {
	LIST_ENTRY(http) link;		/* in its net's running or idle list */
	CURL *easy;
	struct bc_transfer *transfer;	/* NULL = idle */
	struct bc_http_request request;
	struct bc_reply reply;
	bool checked;			/* reply was checked; good says how */
	bool good;
	bool stopped;			/* the caller's callback said so */
	uint64_t received;		/* body bytes */
	uint64_t sent;			/* of the request's body; goes back if it is sent again */
	size_t error_length;
	char error_body[BC_ERROR_BODY_MAX];
	int64_t heard_ms;		/* when something came last */
	char error[CURL_ERROR_SIZE];
};

LIST_HEAD(https, http);

struct bc_net {
	CURLM *multi;
	struct https running;
	struct https idle;
};

/**
 * bc_http_init - once per process, before any thread
 */
bool bc_http_init(void)
{
	return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

/**
 * bc_net_create - a thread's multi handle
 * @connections: how many transfers it will run at once
 */
struct bc_net *bc_net_create(unsigned int connections)
{
	struct bc_net *net = calloc(1, sizeof(*net));

	if (!net)
		return NULL;
	net->multi = curl_multi_init();
	if (!net->multi) {
		free(net);
		return NULL;
	}
	/* The default follows the number of handles and closes what is needed again soon. */
	curl_multi_setopt(net->multi, CURLMOPT_MAXCONNECTS, (long)connections + 4);
	curl_multi_setopt(net->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	return net;
}

/**
 * bc_net_destroy - free a multi handle
 * @net: with no transfer running
 */
void bc_net_destroy(struct bc_net *net)
{
	struct http *http;

	while ((http = LIST_FIRST(&net->idle))) {
		LIST_REMOVE(http, link);
		curl_easy_cleanup(http->easy);
		free(http);
	}
	curl_multi_cleanup(net->multi);
	free(net);
}

static struct http *take_idle(struct bc_net *net)
{
	struct http *http = LIST_FIRST(&net->idle);

	if (http) {
		LIST_REMOVE(http, link);
		return http;
	}
	http = calloc(1, sizeof(*http));
	if (!http)
		return NULL;
	http->easy = curl_easy_init();
	if (!http->easy) {
		free(http);
		return NULL;
	}
	return http;
}

static void free_request(struct bc_http_request *request)
{
	if (request->url)
		OPENSSL_cleanse(request->url, strlen(request->url));
	free(request->url);
	curl_slist_free_all(request->headers);
	*request = (struct bc_http_request){ 0 };
}

/* Keeps the handle's connection and its buffers for the next transfer. */
static void make_idle(struct bc_net *net, struct http *http)
{
	curl_easy_reset(http->easy);
	free_request(&http->request);
	http->transfer->running = NULL;
	http->transfer = NULL;
	LIST_REMOVE(http, link);
	LIST_INSERT_HEAD(&net->idle, http, link);
}

static size_t on_header(char *line, size_t one, size_t length, void *context)
{
	struct http *http = context;

	http->heard_ms = bc_now_ms();
	bc_reply_line(&http->reply, line, length * one);
	return length * one;
}

/* At the first byte of the body, or at the end if it has none or tells of an error. */
static bool check_reply(struct http *http)
{
	struct bc_transfer *transfer = http->transfer;

	if (http->checked)
		return http->good;
	http->checked = true;
	if (http->reply.status >= 300 && !*http->reply.code)
		bc_error_body_code(http->error_body, http->error_length, http->reply.code,
				   sizeof(http->reply.code));
	http->good = bc_reply_check(&http->reply, transfer);
	if (http->good && http->request.ops->begin && !http->request.ops->begin(transfer)) {
		http->stopped = true;
		http->good = false;
	}
	return http->good;
}

/* A short error text is read to its end, so that the connection lives on. */
static size_t take_error(struct http *http, const char *bytes, size_t length)
{
	size_t part = bc_min(length, sizeof(http->error_body) - http->error_length);

	memcpy(http->error_body + http->error_length, bytes, part);
	http->error_length += part;
	return http->received <= ERROR_BODY_MAX ? length : 0;
}

static uint64_t body_limit(const struct http *http)
{
	switch (http->transfer->verb) {
	case BC_VERB_GET:
		return bc_reply_body(&http->reply);
	case BC_VERB_LIST:
	case BC_VERB_BLOCKS:
		return LIST_BODY_MAX;
	default:
		return ERROR_BODY_MAX;
	}
}

static size_t on_body(char *bytes, size_t one, size_t length, void *context)
{
	struct http *http = context;
	struct bc_transfer *transfer = http->transfer;

	length *= one;
	http->heard_ms = bc_now_ms();
	http->received += length;
	if (http->reply.status >= 300)
		return take_error(http, bytes, length);
	if (!check_reply(http))
		return 0;
	if (http->received > body_limit(http)) {
		bc_result_set(&transfer->result, BC_DONE_FAILED, true, "more bytes than the reply's head said");
		http->good = false;
		return 0;
	}
	/* What comes with a success that has no body is nothing that we know. */
	if (bc_verb_writes(transfer->verb) || http->request.ops->data(transfer, bytes, length))
		return length;
	http->stopped = true;
	return 0;
}

static size_t on_send(char *to, size_t one, size_t length, void *context)
{
	struct http *http = context;
	uint64_t left = http->request.body.length - http->sent;

	length = bc_min(length * one, left);
	http->heard_ms = bc_now_ms();
	if (length && !http->request.body.read(http->transfer, http->sent, to, length)) {
		http->stopped = true;
		return CURL_READFUNC_ABORT;
	}
	http->sent += length;
	return length;
}

/* A connection that turned out to be dead has the body sent anew on another. */
static int on_seek(void *context, curl_off_t offset, int origin)
{
	struct http *http = context;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > http->request.body.length)
		return CURL_SEEKFUNC_CANTSEEK;
	http->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static void set_tls(struct http *http)
{
	curl_easy_setopt(http->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (http->request.ca_file)
		curl_easy_setopt(http->easy, CURLOPT_CAINFO, http->request.ca_file);
}

static void set_transport(struct http *http)
{
	const struct bc_transfer *transfer = http->transfer;
	CURL *easy = http->easy;

	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROXY, http->request.proxy ? http->request.proxy : "");
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_SECONDS);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)transfer->connect_timeout_ms);
	/* A store may think long about what was sent to it; end_stalled() says how long. */
	if (bc_verb_writes(transfer->verb))
		return;
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
	curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, SLOW_SECONDS);
}

/* Under a limit no more at once than a second's worth: silence would be taken for a stall. */
static long send_buffer(uint64_t bytes_per_second)
{
	if (!bytes_per_second || bytes_per_second >= SEND_BUFFER)
		return SEND_BUFFER;
	return bytes_per_second < SEND_BUFFER_MIN ? SEND_BUFFER_MIN : (long)bytes_per_second;
}

static void set_body(struct http *http)
{
	uint64_t limit = http->transfer->bytes_per_second;
	CURL *easy = http->easy;

	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)http->request.body.length);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_READDATA, http);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, http);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, send_buffer(limit));
	curl_easy_setopt(easy, CURLOPT_MAX_SEND_SPEED_LARGE, (curl_off_t)limit);
}

static void set_request(struct http *http)
{
	CURL *easy = http->easy;

	/* Names are what they are: "a/./b" would be signed as one thing and sent as another. */
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_URL, http->request.url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->request.headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "blobcached");
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->error);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, http);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, http);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, http);
	if (http->transfer->verb == BC_VERB_HEAD)
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	if (http->request.body.read)
		set_body(http);
	if (http->request.method)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, http->request.method);
}

static void fail_start(struct bc_transfer *transfer, struct bc_http_request *request)
{
	const struct bc_transfer_ops *ops = request->ops;

	free_request(request);
	bc_result_set(&transfer->result, BC_DONE_FAILED, true, "out of memory");
	ops->end(transfer);
}

/**
 * bc_http_start - start a transfer
 * @transfer: the transfer
 * @net: of the calling thread
 * @request: what to send; its memory is taken over
 */
void bc_http_start(struct bc_transfer *transfer, struct bc_net *net,
		   struct bc_http_request *request)
{
	struct http *http = take_idle(net);

	if (!http) {
		fail_start(transfer, request);
		return;
	}
	http->transfer = transfer;
	http->request = *request;
	http->reply = (struct bc_reply){ 0 };
	http->checked = false;
	http->good = false;
	http->stopped = false;
	http->received = 0;
	http->sent = 0;
	http->error_length = 0;
	http->heard_ms = bc_now_ms();
	http->error[0] = 0;
	LIST_INSERT_HEAD(&net->running, http, link);
	transfer->running = http;
	set_transport(http);
	set_tls(http);
	set_request(http);
	if (curl_multi_add_handle(net->multi, http->easy) == CURLM_OK)
		return;
	*request = http->request;
	http->request = (struct bc_http_request){ 0 };
	make_idle(net, http);
	fail_start(transfer, request);
}

/**
 * bc_http_cancel - end a transfer without its end()
 * @transfer: a running transfer
 * @net: the one it was started with
 */
void bc_http_cancel(struct bc_transfer *transfer, struct bc_net *net)
{
	struct http *http = transfer->running;

	curl_multi_remove_handle(net->multi, http->easy);
	make_idle(net, http);
}

static void set_result(struct http *http, CURLcode code)
{
	struct bc_transfer *transfer = http->transfer;
	struct bc_result *result = &transfer->result;
	bool answered = http->reply.complete &&
			(code == CURLE_OK || http->checked || http->reply.status >= 300);

	/* The caller stopped it, and said why. */
	if (http->stopped)
		return;
	if (answered)
		check_reply(http);
	if (http->stopped || (http->checked && !http->good))
		return;
	if (http->good && http->sent < http->request.body.length) {
		bc_result_set(result, BC_DONE_FAILED, true, "answered before all was sent");
		return;
	}
	if (code == CURLE_OK && http->good &&
	    (transfer->verb != BC_VERB_GET || http->received == bc_reply_body(&http->reply)))
		return;
	if (http->good)
		bc_result_set(result, BC_DONE_FAILED, true, "the body broke off after %llu bytes: %s",
			      (unsigned long long)http->received,
			      *http->error ? http->error : curl_easy_strerror(code));
	else
		bc_result_set(result, BC_DONE_FAILED, true, "%s",
			      *http->error ? http->error : curl_easy_strerror(code));
}

static void finish(struct bc_net *net, CURL *easy, CURLcode code)
{
	const struct bc_transfer_ops *ops;
	struct bc_transfer *transfer;
	struct http *http;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&http);
	transfer = http->transfer;
	ops = http->request.ops;
	set_result(http, code);
	curl_multi_remove_handle(net->multi, easy);
	make_idle(net, http);
	ops->end(transfer);
}

/*
 * curl's own limit on low speed takes an average of seconds, so that silence
 * after a burst would go unseen for long.
 */
static void end_stalled(struct bc_net *net)
{
	int64_t now = bc_now_ms();
	struct http *http, *next;

	for (http = LIST_FIRST(&net->running); http; http = next) {
		next = LIST_NEXT(http, link);
		if (now - http->heard_ms < http->transfer->stall_timeout_ms)
			continue;
		snprintf(http->error, sizeof(http->error), "nothing came for %u ms",
			 http->transfer->stall_timeout_ms);
		finish(net, http->easy, CURLE_OPERATION_TIMEDOUT);
		/* What it led to may have changed the list. */
		next = LIST_FIRST(&net->running);
	}
}

/**
 * bc_net_run - move all transfers on as far as they go now
 * @net: of the calling thread
 */
void bc_net_run(struct bc_net *net)
{
	CURLMsg *message;
	int count;

	curl_multi_perform(net->multi, &count);
	while ((message = curl_multi_info_read(net->multi, &count)))
		if (message->msg == CURLMSG_DONE)
			finish(net, message->easy_handle, message->data.result);
	end_stalled(net);
}

/**
 * bc_net_wait - sleep until a transfer can move on or bc_net_wake()
 * @net: of the calling thread
 * @timeout_ms: at most this long
 */
void bc_net_wait(struct bc_net *net, int timeout_ms)
{
	curl_multi_poll(net->multi, NULL, 0, timeout_ms, NULL);
}

/**
 * bc_net_wake - end bc_net_wait() of another thread, or its next one
 * @net: of any thread
 */
void bc_net_wake(struct bc_net *net)
{
	curl_multi_wakeup(net->multi);
}
