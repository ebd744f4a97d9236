// SPDX-License-Identifier: GPL-2.0-or-later
#include "source.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/**
 * bc_source_canonical - one spelling per source
 * @source: "SCHEME://HOST/..."
 *
 * Scheme and host in lower case, no '/' at the end. Returns a malloced string.
 */
char *bc_source_canonical(const char *source)
{
	char *canonical = strdup(source), *at, *end;

	if (!canonical)
		return NULL;
	at = strstr(canonical, "://");
	end = at ? at + 3 + strcspn(at + 3, "/") : canonical;
	for (at = canonical; at < end; at++)
		*at = (char)tolower((unsigned char)*at);
	for (at = canonical + strlen(canonical); at > end + 1 && at[-1] == '/'; at--)
		at[-1] = 0;
	return canonical;
}

/**
 * bc_source_is - whether a source is of a scheme
 * @source: the source
 * @scheme: as "azure"
 */
bool bc_source_is(const char *source, const char *scheme)
{
	size_t length = strlen(scheme);

	return !strncmp(source, scheme, length) && !strncmp(source + length, "://", 3);
}

static bool valid_segment(const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) &&
		    text[i] != '-' && text[i] != '$')
			return false;
	return length > 0;
}

static bool valid_host(const char *text, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-.:[]", text[i]))
			return false;
	return length > 0;
}

/* What follows the host is one segment, or two. */
static bool valid_base(const char *base)
{
	const char *second;

	if (*base != '/')
		return false;
	second = strchr(base + 1, '/');
	if (!second)
		return valid_segment(base + 1, strlen(base + 1));
	return valid_segment(base + 1, (size_t)(second - base - 1)) &&
	       valid_segment(second + 1, strlen(second + 1));
}

static bool check_azure(const char *host)
{
	size_t length = strcspn(host, "/");

	return valid_host(host, length) && valid_base(host + length);
}

/**
 * bc_source_check - whether a source can be served
 * @source: canonical
 * @text: what it should be
 * @size: of @text
 */
bool bc_source_check(const char *source, char *text, size_t size)
{
	if (bc_source_is(source, "azure")) {
		snprintf(text, size, "must be azure://HOST/CONTAINER, or azure://HOST:PORT/ACCOUNT/CONTAINER for an emulator; a prefix below the container belongs to the mount");
		return check_azure(source + strlen("azure://"));
	}
	if (bc_source_is(source, "file")) {
		snprintf(text, size, "must be file:///DIRECTORY");
		return source[strlen("file://")] == '/';
	}
	snprintf(text, size, "is neither azure://HOST/CONTAINER nor file:///DIRECTORY");
	return false;
}
