/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers over HTTP, shared by the stores that speak it.
 *
 * A bc_net is one thread's curl multi handle with its idle easy handles. All
 * functions but bc_net_wake() belong to that thread.
 */
#ifndef BC_HTTP_H
#define BC_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>

#include "store/store.h"

struct bc_net;

/* What is sent; the same bytes may be asked for again. */
struct bc_http_body {
	uint64_t length;
	/* false aborts, and the transfer's result is set then */
	bool (*read)(struct bc_transfer *transfer, uint64_t offset, void *to, size_t length);
};

struct bc_http_request {
	const char *method;		/* NULL = GET or HEAD, as the verb says */
	struct bc_http_body body;	/* without read(): none */
	char *url;			/* may hold a SAS: never told; taken over */
	struct curl_slist *headers;	/* taken over */
	const char *ca_file;		/* NULL = the system's */
	const char *proxy;		/* NULL = none */
	const struct bc_transfer_ops *ops;
};

bool bc_http_init(void);
struct bc_net *bc_net_create(unsigned int connections);
void bc_net_destroy(struct bc_net *net);
void bc_net_run(struct bc_net *net);
void bc_net_wait(struct bc_net *net, int timeout_ms);
void bc_net_wake(struct bc_net *net);

void bc_http_start(struct bc_transfer *transfer, struct bc_net *net,
		   struct bc_http_request *request);
void bc_http_cancel(struct bc_transfer *transfer, struct bc_net *net);

#endif /* BC_HTTP_H */
