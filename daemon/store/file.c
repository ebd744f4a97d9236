// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A directory as a store: file:///DIRECTORY.
 *
 * A version is (inode, size, mtime). It is compared by fstat() after each
 * read, before the bytes are handed on, so that a file written to in between
 * is found out. All calls block; see BC_STORE_BLOCKS.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "log.h"
#include "store/file.h"
#include "util.h"

#define READ_SIZE	(256U << 10)
#define LIST_DEPTH	64
/*
 * Kernels stamp mtime with the time of the last timer tick. A file changed
 * later in the same tick keeps its version; one this old cannot.
 */
#define TICK_NS		20000000LL

struct file_store {
	char *directory;
	pthread_mutex_t lock;		/* protects fd while it is -1 */
	int fd;				/* O_PATH, opened at first use */
};

/**
 * bc_file_open_beneath - open what lies below a directory
 * @directory: file descriptor
 * @path: relative
 * @flags: of open(2)
 * @mode: with O_CREAT
 */
int bc_file_open_beneath(int directory, const char *path, uint64_t flags, unsigned int mode)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.mode = mode,
		/* No other mount either: below one may lie a blobcache that waits for us. */
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};

	return (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
}

static bool open_directory(struct file_store *files, char *text, size_t size)
{
	int fd = open(files->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0) {
		snprintf(text, size, "cannot open %s: %s", files->directory, strerror(errno));
		return false;
	}
	if (fstatfs(fd, &fs)) {
		snprintf(text, size, "cannot stat %s: %s", files->directory, strerror(errno));
		close(fd);
		return false;
	}
	if ((unsigned long)fs.f_type == BC_SUPER_MAGIC) {
		snprintf(text, size, "%s is a blobcache mount itself; name the directory below it, "
			 "or start blobcached before the mount is made", files->directory);
		close(fd);
		return false;
	}
	files->fd = fd;
	return true;
}

/* The directory may come and go with a mount, so a failure is not for ever. */
static int get_directory(struct file_store *files, char *text, size_t size)
{
	int fd;

	pthread_mutex_lock(&files->lock);
	if (files->fd < 0)
		open_directory(files, text, size);
	fd = files->fd;
	pthread_mutex_unlock(&files->lock);
	return fd;
}

static void file_close(struct bc_store *store)
{
	struct file_store *files = store->private;

	if (files->fd >= 0)
		close(files->fd);
	pthread_mutex_destroy(&files->lock);
	free(files->directory);
	free(files);
}

static bool file_open(struct bc_store *store, const struct bc_volume *volume,
		      char *text, size_t size)
{
	const char *directory = volume->source + strlen("file://");
	struct file_store *files;

	files = calloc(1, sizeof(*files));
	if (files)
		files->directory = strdup(directory);
	if (!files || !files->directory) {
		snprintf(text, size, "out of memory");
		free(files);
		return false;
	}
	files->fd = -1;
	pthread_mutex_init(&files->lock, NULL);
	store->private = files;
	/* At start, as an over-mount may hide the directory later; see also get_directory(). */
	if (!volume->on_demand && !open_directory(files, text, size))
		bc_warn("%s: %s; trying again when it is needed", store->source, text);
	return true;
}

/**
 * bc_file_set_errno - say that a call failed
 * @result: of the transfer
 * @what: the call
 * @error: its errno
 */
void bc_file_set_errno(struct bc_result *result, const char *what, int error)
{
	enum bc_done_status status = BC_DONE_FAILED;
	bool retry = false;

	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case ESTALE:
		status = BC_DONE_GONE;
		break;
	case EACCES:
	case EPERM:
		status = BC_DONE_DENIED;
		break;
	case ELOOP:
	case EXDEV:
	case EISDIR:
	case ENAMETOOLONG:
		status = BC_DONE_UNSUPPORTED;
		break;
	case EAGAIN:	/* openat2: a rename raced with the check of ".." */
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		retry = true;
		break;
	}
	bc_result_set(result, status, retry, "%s: %s", what, strerror(error));
}

/**
 * bc_file_set_object - which version a file is
 * @object: out
 * @st: of the file
 */
void bc_file_set_object(struct bc_object *object, const struct stat *st)
{
	object->size = (uint64_t)st->st_size;
	object->last_modified = st->st_mtim.tv_sec;
	snprintf(object->etag, sizeof(object->etag), "%llx-%llx-%llx.%09lx",
		 (unsigned long long)st->st_ino, (unsigned long long)st->st_size,
		 (unsigned long long)st->st_mtim.tv_sec, (unsigned long)st->st_mtim.tv_nsec);
}

static long long age_ns(const struct stat *st)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - st->st_mtim.tv_sec) * 1000000000LL +
	       now.tv_nsec - st->st_mtim.tv_nsec;
}

static bool stat_settled(int fd, struct stat *st)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };

	if (fstat(fd, st))
		return false;
	if (age_ns(st) < 0 || age_ns(st) >= TICK_NS)
		return true;
	nanosleep(&tick, NULL);
	return !fstat(fd, st);
}

/* Sets the transfer's object. */
static bool read_head(struct bc_transfer *transfer, int fd)
{
	struct bc_result *result = &transfer->result;
	struct stat st;

	if (!stat_settled(fd, &st)) {
		bc_file_set_errno(result, "stat", errno);
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		bc_result_set(result, BC_DONE_UNSUPPORTED, false, "not a regular file");
		return false;
	}
	bc_file_set_object(&transfer->object, &st);
	if (transfer->want && (strcmp(transfer->want->etag, transfer->object.etag) ||
			       transfer->want->size != transfer->object.size)) {
		bc_result_set(result, BC_DONE_CHANGED, false, "it has another version now");
		return false;
	}
	if (transfer->verb == BC_VERB_GET && transfer->offset >= transfer->object.size) {
		bc_result_set(result, BC_DONE_FAILED, false, "it ends before byte %llu",
			      (unsigned long long)transfer->offset);
		result->no_range = true;
		return false;
	}
	bc_result_set(result, BC_DONE_OK, false, "ok");
	return true;
}

static bool unchanged(const struct bc_transfer *transfer, int fd)
{
	struct bc_object now;
	struct stat st;

	if (fstat(fd, &st))
		return false;
	bc_file_set_object(&now, &st);
	return !strcmp(now.etag, transfer->object.etag);
}

static ssize_t read_full(int fd, char *bytes, size_t length, uint64_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = pread(fd, bytes + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

static void read_range(struct bc_transfer *transfer, int fd, char *bytes)
{
	uint64_t at = transfer->offset;
	uint64_t end = bc_min(at + transfer->length, transfer->object.size);

	if (transfer->ops->begin && !transfer->ops->begin(transfer))
		return;
	while (at < end) {
		size_t length = bc_min(end - at, READ_SIZE);
		ssize_t got = read_full(fd, bytes, length, at);

		if (got < 0) {
			bc_file_set_errno(&transfer->result, "read", errno);
			return;
		}
		if ((size_t)got < length || !unchanged(transfer, fd)) {
			bc_result_set(&transfer->result, BC_DONE_CHANGED, false,
				      "it changed while it was read");
			return;
		}
		if (!transfer->ops->data(transfer, bytes, length))
			return;
		at += length;
	}
}

static void get_range(struct bc_transfer *transfer, int directory)
{
	char *bytes = malloc(READ_SIZE);
	int fd;

	if (!bytes) {
		bc_file_set_errno(&transfer->result, "read", ENOMEM);
		return;
	}
	fd = bc_file_open_beneath(directory, transfer->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0) {
		bc_file_set_errno(&transfer->result, "open", errno);
	} else {
		if (read_head(transfer, fd))
			read_range(transfer, fd, bytes);
		close(fd);
	}
	free(bytes);
}

/* Also says what a path is before it is opened: to open a device can do things. */
static bool get_head(struct bc_transfer *transfer, int directory)
{
	int fd = bc_file_open_beneath(directory, transfer->path, O_PATH, 0);
	bool good;

	if (fd < 0) {
		bc_file_set_errno(&transfer->result, "open", errno);
		return false;
	}
	good = read_head(transfer, fd);
	if (good && transfer->verb == BC_VERB_HEAD)
		bc_file_get_meta(&transfer->meta, fd);
	close(fd);
	return good && (!transfer->durable || bc_file_sync_name(transfer, directory));
}

static void list_directory(struct bc_list *list, int directory, const char *prefix,
			   unsigned int depth);

static void list_name(struct bc_list *list, int fd, const char *prefix, const char *name,
		      unsigned int depth)
{
	struct bc_list_entry entry = { 0 };
	struct stat st;
	char *path;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) ||
	    !strncmp(name, BC_FILE_STAGED, strlen(BC_FILE_STAGED)))
		return;
	entry.directory = S_ISDIR(st.st_mode);
	if (!entry.directory && !S_ISREG(st.st_mode))
		return;
	if (asprintf(&path, "%s%s%s", prefix, name, entry.directory ? "/" : "") < 0)
		return;
	entry.name = path;
	if (entry.directory && list->recursive) {
		int inner = bc_file_open_beneath(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

		if (inner >= 0)
			list_directory(list, inner, path, depth + 1);
	} else {
		if (!entry.directory)
			bc_file_set_object(&entry.object, &st);
		list->entry(list, &entry);
	}
	free(path);
}

/* Closes @fd. */
static void list_directory(struct bc_list *list, int fd, const char *prefix,
			   unsigned int depth)
{
	DIR *stream = depth < LIST_DEPTH ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (!stream) {
		close(fd);
		return;
	}
	while ((entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			list_name(list, dirfd(stream), prefix, entry->d_name, depth);
	closedir(stream);
}

static void get_list(struct bc_transfer *transfer, int directory)
{
	struct bc_list *list = (struct bc_list *)transfer;
	const char *path = *transfer->path ? transfer->path : ".";
	int fd = bc_file_open_beneath(directory, path, O_RDONLY | O_DIRECTORY, 0);

	free(list->marker);
	list->marker = NULL;
	if (fd < 0) {
		bc_file_set_errno(&transfer->result, "open", errno);
		return;
	}
	bc_result_set(&transfer->result, BC_DONE_OK, false, "ok");
	list_directory(list, fd, transfer->path, 0);
}

static void file_start(struct bc_transfer *transfer, struct bc_net *net)
{
	char text[sizeof(transfer->result.text)] = "";
	int fd = get_directory(transfer->store->private, text, sizeof(text));

	(void)net;
	if (fd < 0) {
		bc_result_set(&transfer->result, BC_DONE_FAILED, true, "%s", text);
	} else if (transfer->verb == BC_VERB_LIST) {
		get_list(transfer, fd);
	} else if (transfer->verb >= BC_VERB_BLOCKS) {
		bc_file_write(transfer, fd);
	} else if (get_head(transfer, fd)) {
		if (transfer->verb == BC_VERB_GET)
			get_range(transfer, fd);
		else if (transfer->ops->begin)
			transfer->ops->begin(transfer);
	}
	transfer->ops->end(transfer);
}

const struct bc_store_ops bc_file_ops = {
	.scheme = "file",
	.capabilities = BC_STORE_BLOCKS | BC_STORE_LISTS | BC_STORE_WRITES,
	.open = file_open,
	.close = file_close,
	.start = file_start,
};
