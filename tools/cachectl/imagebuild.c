// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packing a directory into an image. mkfs.erofs puts the content of files where it comes to them:
 * in a directory by name, in an archive as they follow each other. So an order is given to it by
 * way of tar(1).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachectl.h"
#include "imagebuild.h"
#include "imageorder.h"

#define MKFS	"mkfs.erofs"
#define TAR	"tar"
#define WORDS	8

/* Run a program. @in: its standard input, or -1; @out: its standard output; -1: our stderr. */
static int start(const char *const *argv, int in, int out, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	int error;

	posix_spawn_file_actions_init(&files);
	if (in >= 0)
		posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, out >= 0 ? out : STDERR_FILENO, STDOUT_FILENO);
	error = posix_spawnp(pid, argv[0], &files, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&files);
	if (error == ENOENT)
		return ctl_fail("%s: there is no %s; install %s", ctl.path, argv[0],
				strcmp(argv[0], MKFS) ? argv[0] : "erofs-utils");
	return error ? ctl_fail("%s: cannot run %s: %s", ctl.path, argv[0], strerror(error)) :
		       CTL_OK;
}

static int finish(const char *program, pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		return ctl_fail("%s: %s: %s", ctl.path, program, strerror(errno));
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return CTL_OK;
	return ctl_fail("%s: %s failed (%s %d); what it said is above", ctl.path, program,
			WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* The words of mkfs.erofs up to its output. Return: how many. */
static size_t mkfs_words(const struct image_request *request, const char **argv, char *compress,
			 size_t size)
{
	size_t n = 0;

	argv[n++] = MKFS;
	argv[n++] = "--quiet";
	if (request->compress) {
		snprintf(compress, size, "-z%s", request->compress);
		argv[n++] = compress;
	}
	return n;
}

static int build_plain(const struct image_request *request, const char *output)
{
	const char *argv[WORDS] = { NULL };
	char compress[64];
	size_t n = mkfs_words(request, argv, compress, sizeof(compress));
	pid_t pid;
	int rc;

	argv[n++] = output;
	argv[n] = request->directory;
	rc = start(argv, -1, -1, &pid);
	return rc ? rc : finish(MKFS, pid);
}

/* Can this mkfs.erofs keep the order of an archive? Its help says so. */
static int check_tar_mode(void)
{
	char line[256];
	bool found = false;
	FILE *help = popen(MKFS " --help 2>&1", "r");

	if (!help)
		return ctl_fail("%s: cannot run %s: %s", ctl.path, MKFS, strerror(errno));
	while (fgets(line, sizeof(line), help))
		found |= !!strstr(line, "--sort");
	pclose(help);
	if (found)
		return CTL_OK;
	return ctl_fail("%s: this %s is too old to be given an order, or not there; install "
			"erofs-utils 1.8 or later, or leave out --order", ctl.path, MKFS);
}

/* All names in order, in a file that is gone when it is closed. */
static FILE *order(const struct image_request *request)
{
	FILE *list = fopen(request->order, "re"), *names;
	int rc;

	if (!list) {
		ctl_fail("%s: cannot open the list %s: %s", ctl.path, request->order,
			 strerror(errno));
		return NULL;
	}
	names = tmpfile();
	rc = names ? imageorder_write(request->directory, list, names) :
		     ctl_fail("%s: no temporary file: %s", ctl.path, strerror(errno));
	fclose(list);
	if (!rc && (fflush(names) || lseek(fileno(names), 0, SEEK_SET)))
		rc = ctl_fail("%s: temporary file: %s", ctl.path, strerror(errno));
	if (!rc)
		return names;
	if (names)
		fclose(names);
	return NULL;
}

static int pack(const struct image_request *request, const char *output, int names)
{
	/* What follows --files-from does not count for it. */
	const char *tar[] = { TAR, "--create", "--file=-", "--format=posix", "--no-recursion",
			      "--directory", request->directory, "--null", "--files-from=-", NULL };
	const char *mkfs[WORDS] = { NULL };
	char compress[64];
	size_t n = mkfs_words(request, mkfs, compress, sizeof(compress));
	pid_t packer, maker;
	int rc, made, ends[2];

	mkfs[n++] = "--tar=f";
	/* It keeps the order under these two conditions only, and without compression. */
	mkfs[n++] = "--sort=none";
	mkfs[n++] = "-E^inline_data";
	mkfs[n] = output;
	if (pipe2(ends, O_CLOEXEC))
		return ctl_fail("%s: %s", ctl.path, strerror(errno));
	rc = start(tar, names, ends[1], &packer);
	close(ends[1]);
	if (!rc) {
		made = start(mkfs, ends[0], -1, &maker);
		close(ends[0]);
		if (!made)
			made = finish(MKFS, maker);
		rc = finish(TAR, packer);
		return made ? made : rc;
	}
	close(ends[0]);
	return rc;
}

static int build_ordered(const struct image_request *request, const char *output)
{
	int rc = check_tar_mode();
	FILE *names;

	if (rc)
		return rc;
	names = order(request);
	if (!names)
		return CTL_FAILED;
	rc = pack(request, output, fileno(names));
	fclose(names);
	return rc;
}

static int keep(const char *part, const char *output)
{
	int fd = open(part, O_RDONLY | O_CLOEXEC), rc = CTL_OK;

	if (fd < 0 || fsync(fd) || rename(part, output))
		rc = ctl_fail("%s: cannot keep %s: %s", ctl.path, output, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

int imagebuild(const struct image_request *request)
{
	char part[PATH_MAX];
	int rc;

	if (snprintf(part, sizeof(part), "%s.part", request->output) >= (int)sizeof(part))
		return ctl_fail("%s: '%s' is too long", ctl.path, request->output);
	rc = request->order ? build_ordered(request, part) : build_plain(request, part);
	if (!rc)
		rc = keep(part, request->output);
	if (rc)
		unlink(part);
	return rc;
}
