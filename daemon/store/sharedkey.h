/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Azure Storage's SharedKey authorization, Blob flavour of 2009-09-19 and
 * later. Pure.
 */
#ifndef BC_SHAREDKEY_H
#define BC_SHAREDKEY_H

#include <stddef.h>
#include <stdint.h>

#include "secret.h"

#define BC_SIGN_HEADERS	16

struct bc_sign_request {
	const char *verb;
	uint64_t content_length;	/* 0 = no body */
	const char *content_md5;	/* these: NULL = not sent */
	const char *content_type;
	const char *if_match;
	const char *if_none_match;
	const char *range;
	const char *path;		/* as on the wire: percent-encoded, begins with '/' */
	const char *query;		/* as on the wire, without '?'; NULL = none */
	const char *headers[BC_SIGN_HEADERS];	/* "x-ms-name:value"; NULL ends them */
};

char *bc_sharedkey_string(const struct bc_sign_request *request, const char *account);
char *bc_sharedkey_authorization(const struct bc_sign_request *request,
				 const char *account, const struct bc_secret *key);

#endif /* BC_SHAREDKEY_H */
