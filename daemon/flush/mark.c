// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Marks: files in /run that say which names may have a version that the kernel does not know of,
 * because we were killed after a commit and before we told. If the object has lost that name
 * meanwhile nobody else would take the version back.
 *
 * A mark is there from before a commit until right before the kernel is told: what the kernel knows
 * of is not to be deleted because of a mark that was left. They do not outlive a reboot.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flush/mark.h"
#include "log.h"
#include "upload/crc.h"

#define NAME_SIZE	(2 * BC_GENERATION_SIZE + 10)

/* One object may have several, under names that it had one after the other. */
static void name_of(char to[NAME_SIZE], const uint8_t *generation, const char *path)
{
	size_t i;

	for (i = 0; i < BC_GENERATION_SIZE; i++)
		sprintf(to + 2 * i, "%02x", generation[i]);
	sprintf(to + 2 * i, "-%08x", bc_crc_bytes(0, path, strlen(path)));
}

static bool parse_name(uint8_t *generation, const char *name)
{
	unsigned int byte;
	size_t i;

	if (strlen(name) != NAME_SIZE - 1 || strspn(name, "0123456789abcdef-") != NAME_SIZE - 1)
		return false;
	for (i = 0; i < BC_GENERATION_SIZE; i++) {
		if (sscanf(name + 2 * i, "%2x", &byte) != 1)
			return false;
		generation[i] = (uint8_t)byte;
	}
	return true;
}

/**
 * bc_mark_set - a version may come to be under a name
 * @directory: of the marks, or -1
 * @mark: all of it
 *
 * Without one nothing is lost, but a file that is removed at the wrong moment may stay in the
 * store.
 */
void bc_mark_set(int directory, const struct bc_mark *mark)
{
	char name[NAME_SIZE];
	FILE *file;
	int fd;

	if (directory < 0)
		return;
	name_of(name, mark->generation, mark->path);
	fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	file = fd >= 0 ? fdopen(fd, "w") : NULL;
	/* The path may have newlines. */
	if (!file ||
	    fprintf(file, "%s\n%s\n%s", mark->source, mark->device, mark->path) < 0 ||
	    fflush(file))
		bc_warn_limited("cannot write the mark of a commit: %s", strerror(errno));
	if (file)
		fclose(file);
	else if (fd >= 0)
		close(fd);
}

/**
 * bc_mark_clear - the kernel knows, or there is nothing
 * @directory: of the marks, or -1
 * @generation: of the object
 * @path: the name
 */
void bc_mark_clear(int directory, const uint8_t *generation, const char *path)
{
	char name[NAME_SIZE];

	if (directory < 0)
		return;
	name_of(name, generation, path);
	unlinkat(directory, name, 0);
}

static bool read_mark(int directory, const char *name, struct bc_mark *mark, char *text,
		      size_t size)
{
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t length;
	char *rest = text;

	if (fd < 0)
		return false;
	length = read(fd, text, size - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = 0;
	mark->source = strsep(&rest, "\n");
	mark->device = strsep(&rest, "\n");
	mark->path = rest;
	return rest && *rest;
}

/**
 * bc_mark_each - go through all marks
 * @directory: of them, or -1
 * @fn: called with each, which may clear it
 * @context: for @fn
 */
void bc_mark_each(int directory, bc_mark_fn *fn, void *context)
{
	int fd = directory < 0 ? -1 : openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *marks = fd >= 0 ? fdopendir(fd) : NULL;
	char text[BC_NL_SOURCE_MAX + 2 * BC_NL_PATH_MAX + 3];
	struct bc_mark mark;
	struct dirent *entry;

	if (!marks) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(marks)))
		if (parse_name(mark.generation, entry->d_name) &&
		    read_mark(directory, entry->d_name, &mark, text, sizeof(text)))
			fn(&mark, context);
	closedir(marks);
}
