// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writing to a directory: blocks go to a hidden file beside the target, which takes
 * the target's name when they are committed. What a Blob keeps as metadata is an
 * extended attribute here; without such nobody could tell his own version from
 * another's, so file systems that have none are refused.
 *
 * A staged file is one upload's, by its name. It does not say which of its blocks are good:
 * whoever comes after a crash stages all of them again, in another. One that somebody has
 * removed, or that could not be written, is missed as blocks are in a Blob store.
 *
 * There is no rename on condition that the target is a certain version, only on
 * condition that there is none. So somebody else's version that takes the name
 * between the check and the rename is replaced.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "store/file.h"
#include "store/meta.h"
#include "util.h"

#define PIECE	(256U << 10)

/* Where a transfer's file lies. */
struct place {
	int directory;
	const char *name;
	char staged[sizeof(BC_FILE_STAGED) + 2 * BC_GENERATION_SIZE + 17];
};

static void fail(struct bc_transfer *transfer, const char *what, int error)
{
	bc_file_set_errno(&transfer->result, what, error);
	if (error == ENOTSUP) {
		bc_result_set(&transfer->result, BC_DONE_UNSUPPORTED, false,
			      "the file system keeps no user attributes, which tell whose version it is; use a directory on ext4, xfs or btrfs");
		transfer->result.answer = BC_ANSWER_REFUSED;
	}
	if (transfer->result.status == BC_DONE_GONE)
		transfer->result.answer = BC_ANSWER_GONE;
	if (transfer->result.status == BC_DONE_DENIED)
		transfer->result.answer = BC_ANSWER_DENIED;
	/* Room may be made; that it was asked for in vain has changed nothing. */
	if (error == ENOSPC || error == EDQUOT || error == EROFS)
		transfer->result.answer = BC_ANSWER_REFUSED;
}

static void answer(struct bc_transfer *transfer, enum bc_answer answer,
		   enum bc_done_status status, const char *text)
{
	bc_result_set(&transfer->result, status, false, "%s", text);
	transfer->result.answer = answer;
}

/* Directories are made as they are needed: a Blob store has none. */
static int open_parent(int directory, char *path, bool make)
{
	int fd = bc_file_open_beneath(directory, ".", O_RDONLY | O_DIRECTORY, 0);
	char *name = path, *slash;

	for (; fd >= 0 && (slash = strchr(name, '/')); name = slash + 1) {
		int inner, error;

		*slash = 0;
		inner = bc_file_open_beneath(fd, name, O_RDONLY | O_DIRECTORY, 0);
		if (inner < 0 && errno == ENOENT && make &&
		    (!mkdirat(fd, name, 0777) || errno == EEXIST)) {
			fsync(fd);
			inner = bc_file_open_beneath(fd, name, O_RDONLY | O_DIRECTORY, 0);
		}
		error = errno;
		close(fd);
		fd = inner;
		errno = error;
	}
	return fd;
}

static const uint8_t *generation_of(const struct bc_transfer *transfer)
{
	switch (transfer->verb) {
	case BC_VERB_STAGE:
		return ((const struct bc_stage *)transfer)->generation;
	case BC_VERB_COMMIT:
		return ((const struct bc_commit *)transfer)->meta->generation;
	case BC_VERB_DISCARD:
		return ((const struct bc_discard *)transfer)->generation;
	default:
		return NULL;
	}
}

static uint64_t run_of(const struct bc_transfer *transfer)
{
	switch (transfer->verb) {
	case BC_VERB_STAGE:
		return ((const struct bc_stage *)transfer)->run;
	case BC_VERB_COMMIT:
		return ((const struct bc_commit *)transfer)->run;
	case BC_VERB_DISCARD:
		return ((const struct bc_discard *)transfer)->run;
	default:
		return 0;
	}
}

static void name_staged(struct place *place, const uint8_t *generation, uint64_t run)
{
	size_t at = strlen(BC_FILE_STAGED), i;

	memcpy(place->staged, BC_FILE_STAGED, at);
	for (i = 0; generation && i < BC_GENERATION_SIZE; i++, at += 2)
		snprintf(place->staged + at, 3, "%02x", generation[i]);
	snprintf(place->staged + at, sizeof(place->staged) - at, "-%016llx",
		 (unsigned long long)run);
}

static bool pump(struct bc_stage *stage, int fd, char *bytes)
{
	uint64_t at = 0;

	while (at < stage->transfer.length) {
		size_t length = bc_min(stage->transfer.length - at, PIECE), done = 0;

		if (!stage->bytes(stage, at, bytes, length))
			return false;
		while (done < length) {
			ssize_t put = pwrite(fd, bytes + done, length - done,
					     (off_t)(stage->transfer.offset + at + done));

			if (put < 0 && errno == EINTR)
				continue;
			if (put < 0) {
				fail(&stage->transfer, "write", errno);
				return false;
			}
			done += (size_t)put;
		}
		at += length;
	}
	return true;
}

/* What was staged is not there, or nobody knows what it is: all of it is to be staged again. */
static void lost(struct bc_transfer *transfer, const struct place *place, const char *what,
		 int error)
{
	char text[160];

	snprintf(text, sizeof(text), "%s of the staged file: %s", what, strerror(error));
	unlinkat(place->directory, place->staged, 0);
	answer(transfer, BC_ANSWER_BLOCK_LIST, BC_DONE_FAILED, text);
}

static int open_staged(struct bc_transfer *transfer, const struct place *place, bool make)
{
	int fd = bc_file_open_beneath(place->directory, place->staged,
				      O_RDWR | O_NOFOLLOW | (make ? O_CREAT : 0),
				      make ? 0600 : 0);

	if (fd < 0 && errno == ENOENT && !make)
		lost(transfer, place, "open", ENOENT);
	else if (fd < 0)
		fail(transfer, "open", errno);
	if (fd < 0 || !make)
		return fd;
	/* At once, so that a file system that cannot do it gets no byte. */
	if (fsetxattr(fd, BC_FILE_ATTRIBUTE, "", 0, 0)) {
		fail(transfer, "setxattr", errno);
		unlinkat(place->directory, place->staged, 0);
		close(fd);
		return -1;
	}
	return fd;
}

static void stage(struct bc_stage *stage, const struct place *place)
{
	char *bytes = malloc(PIECE);
	int fd;

	if (!bytes) {
		fail(&stage->transfer, "write", ENOMEM);
		return;
	}
	fd = open_staged(&stage->transfer, place, stage->first);
	if (fd >= 0) {
		bool good = pump(stage, fd, bytes);

		/* Some file systems tell of a write only then. */
		if (close(fd) && good)
			lost(&stage->transfer, place, "close", errno);
		else if (good)
			answer(&stage->transfer, BC_ANSWER_DONE, BC_DONE_OK, "ok");
	}
	free(bytes);
}

static bool set_attributes(const struct bc_commit *commit, int fd)
{
	const struct bc_meta *meta = commit->meta;
	bc_meta_line lines[BC_META_LINES];
	char text[BC_META_LINES * BC_META_LINE];
	unsigned int count = bc_meta_lines(meta, lines), i;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	size_t length = 0;

	for (i = 0; i < count; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s\n", lines[i]);
	times[1].tv_sec = meta->mtime;
	times[1].tv_nsec = meta->mtime_ns;
	return !ftruncate(fd, (off_t)commit->size) &&
	       !fchmod(fd, meta->has_mode ? meta->mode & 07777 : 0644) &&
	       !fsetxattr(fd, BC_FILE_ATTRIBUTE, text, length, 0) &&
	       (!meta->has_mtime || !futimens(fd, times));
}

/* Whether the target is the version that must be there. */
static bool matches(const struct place *place, const char *etag)
{
	struct bc_object object;
	struct stat st;

	if (fstatat(place->directory, place->name, &st, AT_SYMLINK_NOFOLLOW))
		return false;
	bc_file_set_object(&object, &st);
	return !strcmp(object.etag, etag);
}

static bool publish(struct bc_commit *commit, const struct place *place)
{
	struct bc_transfer *transfer = &commit->transfer;
	unsigned int flags = commit->condition == BC_IF_NONE ? RENAME_NOREPLACE : 0;

	if (commit->condition == BC_IF_MATCH && !matches(place, commit->etag)) {
		answer(transfer, BC_ANSWER_CONDITION, BC_DONE_CHANGED,
		       "it has another version now");
		return false;
	}
	if (!renameat2(place->directory, place->staged, place->directory, place->name, flags))
		return true;
	if (errno == EEXIST)
		answer(transfer, BC_ANSWER_CONDITION, BC_DONE_CHANGED, "it is there already");
	else
		fail(transfer, "rename", errno);
	return false;
}

static void commit(struct bc_commit *commit, const struct place *place)
{
	/* Nothing was staged of an empty one. */
	int fd = open_staged(&commit->transfer, place, !commit->count);
	struct stat st;

	if (fd < 0)
		return;
	if (!set_attributes(commit, fd) || fstat(fd, &st)) {
		fail(&commit->transfer, "setting attributes", errno);
	} else if (fsync(fd)) {
		/* The next one would say that all is well, whatever was lost. */
		lost(&commit->transfer, place, "fsync", errno);
	} else if (publish(commit, place)) {
		bc_file_set_object(&commit->transfer.object, &st);
		if (fsync(place->directory))
			fail(&commit->transfer, "fsync of the directory", errno);
		else
			answer(&commit->transfer, BC_ANSWER_DONE, BC_DONE_OK, "ok");
	}
	close(fd);
}

static void unlink_name(struct bc_transfer *transfer, const struct place *place, const char *name)
{
	if (!unlinkat(place->directory, name, 0))
		answer(transfer, BC_ANSWER_DONE, BC_DONE_OK, "ok");
	else if (errno == ENOENT)
		answer(transfer, BC_ANSWER_GONE, BC_DONE_GONE, "it is not there");
	else
		fail(transfer, "unlink", errno);
}

static void run(struct bc_transfer *transfer, const struct place *place)
{
	switch (transfer->verb) {
	case BC_VERB_BLOCKS:
		/* See above: none that could be relied on. */
		answer(transfer, BC_ANSWER_DONE, BC_DONE_OK, "ok");
		break;
	case BC_VERB_STAGE:
		stage((struct bc_stage *)transfer, place);
		break;
	case BC_VERB_COMMIT:
		commit((struct bc_commit *)transfer, place);
		break;
	case BC_VERB_DISCARD:
		unlink_name(transfer, place, place->staged);
		break;
	default:
		if (transfer->want && !matches(place, transfer->want->etag))
			answer(transfer, BC_ANSWER_CONDITION, BC_DONE_CHANGED,
			       "it has another version now");
		else
			unlink_name(transfer, place, place->name);
	}
}

/**
 * bc_file_write - do a transfer from BC_VERB_BLOCKS on
 * @transfer: its result is set
 * @directory: file descriptor of the store's
 */
void bc_file_write(struct bc_transfer *transfer, int directory)
{
	char *path = strdup(transfer->path);
	struct place place = { .directory = -1 };
	bool makes;

	if (!path) {
		fail(transfer, "open", ENOMEM);
		return;
	}
	name_staged(&place, generation_of(transfer), run_of(transfer));
	makes = transfer->verb == BC_VERB_STAGE || transfer->verb == BC_VERB_COMMIT;
	place.directory = open_parent(directory, path, makes);
	place.name = strrchr(transfer->path, '/');
	place.name = place.name ? place.name + 1 : transfer->path;
	if (place.directory < 0) {
		fail(transfer, "open", errno);
	} else {
		run(transfer, &place);
		close(place.directory);
	}
	free(path);
}

/**
 * bc_file_sync_name - make a name durable that somebody gave
 * @transfer: a HEAD; its result is set on failure
 * @directory: file descriptor of the store's
 *
 * Who was killed between a rename and its fsync finds his version there; it may go
 * with a power cut all the same.
 */
bool bc_file_sync_name(struct bc_transfer *transfer, int directory)
{
	char *path = strdup(transfer->path);
	int fd = path ? open_parent(directory, path, false) : -1;
	bool good = fd >= 0 && !fsync(fd);

	if (!good) {
		fail(transfer, "fsync of the directory", path ? errno : ENOMEM);
		transfer->result.retry = true;
		transfer->result.status = BC_DONE_FAILED;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	return good;
}

/**
 * bc_file_get_meta - what a writer of ours left
 * @meta: out; nothing if nobody did
 * @fd: of the file, may be O_PATH
 */
void bc_file_get_meta(struct bc_meta *meta, int fd)
{
	char path[64], text[BC_META_LINES * BC_META_LINE];
	const char *at = text, *end, *newline, *colon;
	ssize_t length;

	*meta = (struct bc_meta){ 0 };
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = getxattr(path, BC_FILE_ATTRIBUTE, text, sizeof(text));
	end = text + (length > 0 ? length : 0);
	for (; (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
		colon = memchr(at, ':', (size_t)(newline - at));
		if (!colon || colon - at <= (ssize_t)strlen(BC_META_PREFIX))
			continue;
		at += strlen(BC_META_PREFIX);
		bc_meta_value(meta, at, (size_t)(colon - at), colon + 1,
			      (size_t)(newline - colon - 1));
	}
}
