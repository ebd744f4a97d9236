/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The head of an HTTP reply, and whether it answers what was asked. Pure: no
 * curl, no sockets.
 */
#ifndef BC_REPLY_H
#define BC_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

struct bc_reply {
	unsigned int status;		/* 0 = none yet */
	bool complete;			/* the empty line came */
	bool has_range;			/* Content-Range: bytes first-last/total */
	bool has_total;
	bool has_length;
	bool bad_range;			/* a Content-Range that makes no sense */
	bool etag_weak;
	bool etag_bad;			/* too long, empty or with odd bytes */
	bool directory;			/* a directory of a hierarchical account */
	uint64_t first;
	uint64_t last;
	uint64_t total;
	uint64_t length;		/* Content-Length */
	int64_t last_modified;
	unsigned int retry_after_ms;
	char etag[BC_ETAG_MAX + 1];
	char code[64];			/* x-ms-error-code, or from the body */
	char request_id[64];		/* x-ms-request-id */
	struct bc_meta meta;
};

#define BC_RETRY_AFTER_MS	1000U
#define BC_RETRY_AFTER_MAX_MS	60000U

void bc_reply_line(struct bc_reply *reply, const char *line, size_t length);
bool bc_reply_check(const struct bc_reply *reply, struct bc_transfer *transfer);
enum bc_answer bc_reply_answer(const struct bc_reply *reply, enum bc_verb verb);
uint64_t bc_reply_body(const struct bc_reply *reply);
bool bc_etag_parse(char *to, const char *text, size_t length, bool *weak);

#endif /* BC_REPLY_H */
