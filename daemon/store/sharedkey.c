// SPDX-License-Identifier: GPL-2.0-or-later
#include "store/sharedkey.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "store/text.h"

#define QUERY_MAX	16

struct parameter {
	char *name;
	char *value;
};

static int compare_headers(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/*
 * The service sorts by a culture's collation, in which hyphens weigh little.
 * For the headers that we send the order of the bytes is the same.
 */
static void put_headers(struct bc_text *text, const struct bc_sign_request *request)
{
	const char *headers[BC_SIGN_HEADERS] = { NULL };
	size_t i, count = 0;

	for (i = 0; i < BC_SIGN_HEADERS && request->headers[i]; i++)
		headers[count++] = request->headers[i];
	qsort(headers, count, sizeof(*headers), compare_headers);
	for (i = 0; i < count; i++) {
		bc_text_put(text, headers[i]);
		bc_text_put(text, "\n");
	}
}

static int compare_parameters(const void *a, const void *b)
{
	const struct parameter *one = a, *other = b;
	int order = strcasecmp(one->name, other->name);

	return order ? order : strcmp(one->value, other->value);
}

static void decode(char *text)
{
	size_t length = strlen(text);

	text[bc_percent_decode(text, length)] = 0;
}

/* @query is cut up in place. */
static bool put_query(struct bc_text *text, char *query)
{
	struct parameter parameters[QUERY_MAX] = { { NULL, NULL } };
	size_t i, count = 0;
	char *part;

	while ((part = strsep(&query, "&"))) {
		char *name = strsep(&part, "=");

		if (!*name)
			continue;
		if (count == QUERY_MAX)
			return false;
		parameters[count].name = name;
		parameters[count].value = part ? part : name + strlen(name);
		decode(parameters[count].name);
		decode(parameters[count++].value);
	}
	qsort(parameters, count, sizeof(*parameters), compare_parameters);
	for (i = 0; i < count; i++) {
		bool same = i && !strcasecmp(parameters[i - 1].name, parameters[i].name);

		if (!same) {
			bc_text_put(text, "\n");
			bc_text_put(text, parameters[i].name);
		}
		bc_text_put(text, same ? "," : ":");
		bc_text_put(text, parameters[i].value);
	}
	return true;
}

static void put_line(struct bc_text *text, const char *value)
{
	bc_text_put(text, value ? value : "");
	bc_text_put(text, "\n");
}

/**
 * bc_sharedkey_string - what is signed
 * @request: the request
 * @account: the account
 *
 * Returns a malloced string, or NULL.
 */
char *bc_sharedkey_string(const struct bc_sign_request *request, const char *account)
{
	struct bc_text text = { 0 };
	char length[24] = "";
	char *query = NULL;

	if (request->content_length)
		snprintf(length, sizeof(length), "%llu",
			 (unsigned long long)request->content_length);
	put_line(&text, request->verb);
	put_line(&text, NULL);			/* Content-Encoding */
	put_line(&text, NULL);			/* Content-Language */
	put_line(&text, length);
	put_line(&text, request->content_md5);
	put_line(&text, request->content_type);
	put_line(&text, NULL);			/* Date: x-ms-date is sent */
	put_line(&text, NULL);			/* If-Modified-Since */
	put_line(&text, request->if_match);
	put_line(&text, request->if_none_match);
	put_line(&text, NULL);			/* If-Unmodified-Since */
	put_line(&text, request->range);
	put_headers(&text, request);
	bc_text_put(&text, "/");
	bc_text_put(&text, account);
	bc_text_put(&text, request->path);
	if (request->query) {
		query = strdup(request->query);
		if (!query || !put_query(&text, query))
			text.failed = true;
		free(query);
	}
	return bc_text_take(&text);
}

/**
 * bc_sharedkey_authorization - the header that signs a request
 * @request: the request
 * @account: the account
 * @key: its decoded key
 *
 * Returns a malloced "Authorization: SharedKey ...", or NULL.
 */
char *bc_sharedkey_authorization(const struct bc_sign_request *request,
				 const char *account, const struct bc_secret *key)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned char signature[EVP_MAX_MD_SIZE * 2];
	unsigned int length = 0;
	char *text = bc_sharedkey_string(request, account);
	char *header = NULL;

	if (!text)
		return NULL;
	if (HMAC(EVP_sha256(), key->bytes, (int)key->length, (const unsigned char *)text,
		 strlen(text), digest, &length)) {
		EVP_EncodeBlock(signature, digest, (int)length);
		if (asprintf(&header, "Authorization: SharedKey %s:%s", account, signature) < 0)
			header = NULL;
	}
	free(text);
	return header;
}
