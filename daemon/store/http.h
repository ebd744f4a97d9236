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

struct bc_http_request {
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
