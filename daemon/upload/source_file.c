// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plain file as the source of an upload. Its blocks are named by a hash of their
 * bytes, so that an upload that broke off goes on where it was, whatever ran meanwhile,
 * and a file that changed a little is sent in part.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "upload/crc.h"
#include "upload/source.h"
#include "util.h"

struct file {
	struct bc_source source;	/* first */
	int fd;
	struct stat st;			/* when it was opened */
};

static enum bc_source_status read_all(struct file *file, uint64_t offset, unsigned char *to,
				      size_t length, char *text, size_t size)
{
	while (length) {
		ssize_t got = pread(file->fd, to, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			snprintf(text, size, "read at byte %llu: %s", (unsigned long long)offset,
				 strerror(errno));
			return BC_SOURCE_FAILED;
		}
		if (!got) {
			snprintf(text, size, "the file was cut off during the upload");
			return BC_SOURCE_STALE;
		}
		to += got;
		offset += (size_t)got;
		length -= (size_t)got;
	}
	return BC_SOURCE_OK;
}

static enum bc_source_status file_read(struct bc_source *source, uint64_t offset, void *to,
				       size_t length, char *text, size_t size)
{
	return read_all((struct file *)source, offset, to, length, text, size);
}

/* 64 bits of it, and 32 of the CRC, tell contents apart that nobody makes collide. */
static bool hash(uint64_t *to, const unsigned char *bytes, size_t length)
{
	unsigned char digest[EVP_MAX_MD_SIZE];

	if (!EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL))
		return false;
	memcpy(to, digest, sizeof(*to));
	return true;
}

static enum bc_source_status make_sum(struct file *file, uint64_t offset, unsigned char *piece,
				      struct bc_sum *sum, char *text, size_t size)
{
	size_t length = bc_min(BC_SUM_SIZE, file->source.size - offset);
	enum bc_source_status status = read_all(file, offset, piece, length, text, size);

	if (status != BC_SOURCE_OK)
		return status;
	*sum = (struct bc_sum){ .crc32c = bc_crc_bytes(0, piece, length) };
	if (hash(&sum->sequence, piece, length))
		return BC_SOURCE_OK;
	snprintf(text, size, "OpenSSL has no SHA-256");
	return BC_SOURCE_FAILED;
}

static enum bc_source_status file_sums(struct bc_source *source, uint64_t first, size_t count,
				       struct bc_sum *sums, char *text, size_t size)
{
	unsigned char *piece = malloc(BC_SUM_SIZE);
	enum bc_source_status status = BC_SOURCE_OK;
	size_t i;

	if (!piece) {
		snprintf(text, size, "out of memory");
		return BC_SOURCE_FAILED;
	}
	for (i = 0; i < count && status == BC_SOURCE_OK; i++)
		status = make_sum((struct file *)source, (first + i) * BC_SUM_SIZE, piece,
				  &sums[i], text, size);
	free(piece);
	return status;
}

static enum bc_source_status file_check(struct bc_source *source, char *text, size_t size)
{
	struct file *file = (struct file *)source;
	const struct stat *was = &file->st;
	struct stat now;

	if (fstat(file->fd, &now)) {
		snprintf(text, size, "stat: %s", strerror(errno));
		return BC_SOURCE_FAILED;
	}
	if (now.st_size == was->st_size && now.st_mtim.tv_sec == was->st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == was->st_mtim.tv_nsec &&
	    now.st_ctim.tv_sec == was->st_ctim.tv_sec &&
	    now.st_ctim.tv_nsec == was->st_ctim.tv_nsec)
		return BC_SOURCE_OK;
	snprintf(text, size, "the file was written to during the upload");
	return BC_SOURCE_STALE;
}

static void file_close(struct bc_source *source)
{
	struct file *file = (struct file *)source;

	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

static const struct bc_source_ops file_ops = {
	.sums = file_sums,
	.read = file_read,
	.check = file_check,
	.close = file_close,
};

static bool open_file(struct file *file, const char *path, char *text, size_t size)
{
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file->fd < 0 || fstat(file->fd, &file->st)) {
		snprintf(text, size, "cannot open '%s': %s", path, strerror(errno));
		return false;
	}
	if (!S_ISREG(file->st.st_mode)) {
		snprintf(text, size, "'%s' is not a regular file", path);
		return false;
	}
	return true;
}

/**
 * bc_source_file - a plain file as a source
 * @path: of the file; nobody may write to it until the upload ended
 * @generation: which upload goes on here; NULL = a new one, which nothing can go on
 * @cut: which state of the file it is, if @generation had earlier ones
 * @text: why it failed
 * @size: of @text
 *
 * Mode and mtime of the file are those of the source; has_mode and has_mtime say whether
 * they are told to the store, and are not set. bc_upload_free() closes it. Returns NULL
 * on failure.
 */
struct bc_source *bc_source_file(const char *path, const uint8_t *generation, uint64_t cut,
				 char *text, size_t size)
{
	struct file *file = calloc(1, sizeof(*file));
	struct bc_source *source = &file->source;

	if (!file) {
		snprintf(text, size, "out of memory");
		return NULL;
	}
	file->fd = -1;
	if (!generation &&
	    getrandom(source->generation, BC_GENERATION_SIZE, 0) != BC_GENERATION_SIZE) {
		snprintf(text, size, "no random numbers: %s", strerror(errno));
		goto err_close;
	}
	if (!open_file(file, path, text, size))
		goto err_close;
	if (generation)
		memcpy(source->generation, generation, BC_GENERATION_SIZE);
	memcpy(source->lineage, source->generation, BC_GENERATION_SIZE);
	source->ops = &file_ops;
	source->cut = cut;
	source->size = (uint64_t)file->st.st_size;
	source->mode = file->st.st_mode & 07777;
	source->mtime = file->st.st_mtim.tv_sec;
	source->mtime_ns = (uint32_t)file->st.st_mtim.tv_nsec;
	return source;

err_close:
	file_close(source);
	return NULL;
}
