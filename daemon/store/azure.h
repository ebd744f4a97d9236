/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the azure store share. */
#ifndef BC_AZURE_H
#define BC_AZURE_H

#include <stdbool.h>

#include "config.h"
#include "store/http.h"
#include "store/meta.h"
#include "store/store.h"

struct azure {
	char *origin;			/* "https://HOST:PORT" */
	char *base;			/* "/CONTAINER" or "/ACCOUNT/CONTAINER" */
	char *version;			/* x-ms-version */
	char *ca_file;
	char *proxy;
	struct bc_auth auth;
};

/* What one request says, beside what all say. */
struct bc_draft {
	const char *method;
	char *path;			/* on the wire */
	char *query;			/* on the wire, or NULL */
	char range[64];			/* "bytes=0-9", or "" */
	char if_match[BC_ETAG_MAX + 3];	/* quoted, or "" */
	const char *if_none_match;	/* "*", or "" */
	char md5[32];			/* of the body, in base64, or "" */
	bc_meta_line meta[BC_META_LINES];
	unsigned int meta_count;
	struct bc_http_body body;
	const struct bc_transfer_ops *ops;
};

bool bc_azure_draft_write(struct bc_transfer *transfer, struct bc_draft *draft);
void bc_azure_forget_write(struct bc_transfer *transfer);

#endif /* BC_AZURE_H */
