// SPDX-License-Identifier: GPL-2.0-or-later
#include "secret.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "blobcache_dev.h"
#include "log.h"

/**
 * bc_secret_free - wipe and free
 * @secret: may be empty
 */
void bc_secret_free(struct bc_secret *secret)
{
	if (secret->bytes) {
		OPENSSL_cleanse(secret->bytes, secret->length);
		free(secret->bytes);
	}
	*secret = (struct bc_secret){ 0 };
}

/**
 * bc_secret_copy - make a secret of bytes
 * @secret: overwritten
 * @bytes: the bytes
 * @length: how many
 */
bool bc_secret_copy(struct bc_secret *secret, const char *bytes, size_t length)
{
	secret->bytes = malloc(length + 1);
	if (!secret->bytes)
		return false;
	memcpy(secret->bytes, bytes, length);
	secret->bytes[length] = 0;
	secret->length = length;
	return true;
}

/**
 * bc_secret_trim - drop white space from both ends
 * @secret: the secret
 */
void bc_secret_trim(struct bc_secret *secret)
{
	size_t begin = 0, end = secret->length;

	while (end && isspace((unsigned char)secret->bytes[end - 1]))
		end--;
	while (begin < end && isspace((unsigned char)secret->bytes[begin]))
		begin++;
	memmove(secret->bytes, secret->bytes + begin, end - begin);
	OPENSSL_cleanse(secret->bytes + (end - begin), secret->length - (end - begin));
	secret->length = end - begin;
	secret->bytes[secret->length] = 0;
}

/**
 * bc_secret_decode - replace base64 by what it encodes
 * @secret: the secret; unchanged if it is not base64
 */
bool bc_secret_decode(struct bc_secret *secret)
{
	size_t length = secret->length, padding = 0;
	unsigned char *bytes;
	int decoded;

	if (!length || length % 4 || length > BC_FILE_MAX)
		return false;
	while (padding < 2 && secret->bytes[length - 1 - padding] == '=')
		padding++;
	/* OpenSSL takes padding for zeros wherever it stands. */
	if (memchr(secret->bytes, '=', length - padding))
		return false;
	bytes = malloc(length + 1);
	if (!bytes)
		return false;
	decoded = EVP_DecodeBlock(bytes, (const unsigned char *)secret->bytes, (int)length);
	if (decoded < (int)padding) {
		free(bytes);
		return false;
	}
	bc_secret_free(secret);
	secret->bytes = (char *)bytes;
	secret->length = (size_t)decoded - padding;
	secret->bytes[secret->length] = 0;
	return true;
}

/**
 * bc_secret_warn - warn if everybody can read a file that holds a secret
 * @path: of the file
 */
void bc_secret_warn(const char *path)
{
	struct stat st;

	if (!stat(path, &st) && (st.st_mode & S_IROTH))
		bc_warn("'%s' holds a secret and everybody can read it; run: chmod 600 '%s'",
			path, path);
}

static bool check_file(int fd, const char *path, struct stat *st,
		       char *text, size_t size)
{
	struct statfs fs;

	if (fstat(fd, st) || fstatfs(fd, &fs)) {
		snprintf(text, size, "cannot stat '%s': %s", path, strerror(errno));
		return false;
	}
	/* Reading it would wait for requests that only this daemon serves. */
	if ((unsigned long)fs.f_type == BC_SUPER_MAGIC) {
		snprintf(text, size,
			 "'%s' lies on a blobcache mount; move it to another file system", path);
		return false;
	}
	if (!S_ISREG(st->st_mode)) {
		snprintf(text, size, "'%s' is not a regular file", path);
		return false;
	}
	if (st->st_size > BC_FILE_MAX) {
		snprintf(text, size, "'%s' is larger than %u bytes", path, BC_FILE_MAX);
		return false;
	}
	if (st->st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(text, size, "'%s' can be written by others; run: chmod 600 '%s'", path,
			 path);
		return false;
	}
	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		snprintf(text, size, "'%s' belongs to uid %u; run: chown root '%s'", path,
			 st->st_uid, path);
		return false;
	}
	return true;
}

static bool read_all(int fd, struct bc_secret *secret, size_t limit)
{
	while (secret->length < limit) {
		ssize_t got = read(fd, secret->bytes + secret->length, limit - secret->length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (!got)
			break;
		secret->length += (size_t)got;
	}
	secret->bytes[secret->length] = 0;
	return true;
}

/**
 * bc_secret_read - read a small file
 * @secret: overwritten
 * @path: of the file
 * @text: why it failed
 * @size: of @text
 *
 * Refuses a file that others can write: it decides whom the daemon trusts.
 */
bool bc_secret_read(struct bc_secret *secret, const char *path, char *text, size_t size)
{
	/* Not blocking: the path may name a fifo. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	*secret = (struct bc_secret){ 0 };
	if (fd < 0) {
		snprintf(text, size, "cannot open '%s': %s", path, strerror(errno));
		return false;
	}
	if (!check_file(fd, path, &st, text, size))
		goto err_close;
	secret->bytes = malloc((size_t)st.st_size + 1);
	if (!secret->bytes || !read_all(fd, secret, (size_t)st.st_size)) {
		snprintf(text, size, "cannot read '%s': %s", path, strerror(errno));
		goto err_free;
	}
	close(fd);
	return true;

err_free:
	bc_secret_free(secret);
err_close:
	close(fd);
	return false;
}
