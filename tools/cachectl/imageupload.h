/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file becomes an object of a store, by the daemon's upload and its configuration. */
#ifndef CACHECTL_IMAGEUPLOAD_H
#define CACHECTL_IMAGEUPLOAD_H

#include "blobcache_dev.h"
#include "diskname.h"

/**
 * struct upload_request - what to upload
 * @file: regular file
 * @place: source and path of the object
 * @url: the object as it was typed, for messages
 * @config: of blobcached, which has the credentials; NULL = the usual
 */
struct upload_request {
	const char *file;
	struct disk_place place;
	const char *url;
	const char *config;
};

/* What came of it. */
struct upload_answer {
	char etag[BC_ETAG_MAX + 1];
	unsigned long long size, reused;	/* bytes; of them: not sent, the store had them */
};

/**
 * imageupload_check - can it be uploaded there, as far as is known without asking the store?
 * @request: which; @file may be NULL
 *
 * For who has hours of work before the upload. Return: CTL_OK or CTL_FAILED, which was told
 */
int imageupload_check(const struct upload_request *request);

/**
 * imageupload - make the file the object's next version, whatever is there
 * @request: which
 * @answer: out
 *
 * Nothing shows in the store until all of it is there. With progress on stderr; SIGINT and SIGTERM
 * end it in order, and who uploads the same again goes on with what the store has.
 * Return: CTL_OK or CTL_FAILED, which was told
 */
int imageupload(const struct upload_request *request, struct upload_answer *answer);

#endif /* CACHECTL_IMAGEUPLOAD_H */
