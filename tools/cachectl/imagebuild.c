// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packing a directory into an image. mkfs.erofs puts the content of files where it comes to them:
 * in a directory by name, in an archive as they follow each other. So an order is given to it by
 * way of tar(1).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachectl.h"
#include "imagebuild.h"
#include "imageorder.h"
#include "interrupt.h"

#define MKFS	"mkfs.erofs"
#define TAR	"tar"
#define WORDS	8
#define COMPRESS_MAX	200		/* of the name of an algorithm, with its options */

/* Programs that run, tar and mkfs.erofs at most; for the handler of signals, too. */
#define RUNNING	2
static _Atomic pid_t running[RUNNING];

static void note_running(pid_t old, pid_t new)
{
	size_t i;

	for (i = 0; i < RUNNING; i++) {
		if (running[i] == old) {
			running[i] = new;
			return;
		}
	}
}

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
	if (!error)
		note_running(0, *pid);
	if (error == ENOENT)
		return ctl_fail("%s: there is no %s; install %s", ctl.path, argv[0],
				strcmp(argv[0], MKFS) ? argv[0] : "erofs-utils");
	return error ? ctl_fail("%s: cannot run %s: %s", ctl.path, argv[0], strerror(error)) :
		       CTL_OK;
}

static int finish(const char *program, pid_t pid)
{
	pid_t ended;
	int status;

	ended = waitpid(pid, &status, 0);
	note_running(pid, 0);
	if (ended < 0)
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
	char compress[COMPRESS_MAX + sizeof("-z")];
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
	/*
	 * What follows --files-from does not count for it. ACLs and labels are attributes like
	 * others: that is how mkfs.erofs takes them out of an archive.
	 */
	const char *tar[] = { TAR, "--create", "--file=-", "--format=posix", "--no-recursion",
			      "--xattrs", "--xattrs-include=*", "--directory", request->directory,
			      "--null", "--files-from=-", NULL };
	const char *mkfs[WORDS] = { NULL };
	char compress[COMPRESS_MAX + sizeof("-z")];
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

/* The image while it is not complete; "" = there is none. For the handler of signals, too. */
static char part[PATH_MAX];
static const char *own_directory;

static void on_signal(int number)
{
	size_t i;

	/* They would go on to write what is gone, or make it anew. */
	for (i = 0; i < RUNNING; i++)
		if (running[i] > 0)
			kill(running[i], SIGKILL);
	for (i = 0; i < RUNNING; i++)
		if (running[i] > 0)
			waitpid(running[i], NULL, 0);
	if (*part)
		unlink(part);
	if (own_directory)
		rmdir(own_directory);
	/* By default it ends the process, once the handler returns. */
	signal(number, SIG_DFL);
	raise(number);
}

static bool is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return !strcmp(directory, "/") ||
	       (!strncmp(path, directory, length) && (!path[length] || path[length] == '/'));
}

/* The directory that the image comes to, absolute: no option of mkfs.erofs looks like that. */
static int find_directory(const struct image_request *request, char *directory)
{
	const char *slash = strrchr(request->output, '/');
	const char *name = slash ? slash + 1 : request->output;
	char *parent = slash ? strndup(request->output, slash == request->output ? 1 :
				       (size_t)(slash - request->output)) : strdup(".");
	int rc = CTL_OK;

	if (!*name)
		rc = ctl_fail("%s: '%s' is no name of a file", ctl.path, request->output);
	else if (!parent || !realpath(parent, directory))
		rc = ctl_fail("%s %s: %s", ctl.path, request->output, strerror(errno));
	else if (is_below(directory, request->directory))
		rc = ctl_fail("%s: %s is in %s: the image would be packed into itself", ctl.path,
			      request->output, request->directory);
	free(parent);
	return rc;
}

/* Beside the output, so that it can be renamed to that; of nobody else. */
static int make_part(const struct image_request *request)
{
	char directory[PATH_MAX];
	int fd, rc = find_directory(request, directory);
	mode_t mask;

	if (rc)
		return rc;
	if (snprintf(part, sizeof(part), "%s/.cachectl-image-XXXXXX", directory) >=
	    (int)sizeof(part)) {
		*part = '\0';
		return ctl_fail("%s: '%s' is too long", ctl.path, request->output);
	}
	fd = mkostemp(part, O_CLOEXEC);
	if (fd < 0) {
		*part = '\0';
		return ctl_fail("%s: cannot make a file in %s: %s", ctl.path, directory,
				strerror(errno));
	}
	mask = umask(0);
	umask(mask);
	if (fchmod(fd, 0666 & ~mask))
		rc = ctl_fail("%s %s: %s", ctl.path, part, strerror(errno));
	close(fd);
	return rc;
}

static int keep(const char *output)
{
	int fd = open(part, O_RDONLY | O_CLOEXEC), rc = CTL_OK;

	if (fd < 0 || fsync(fd) || rename(part, output))
		rc = ctl_fail("%s: cannot keep %s: %s", ctl.path, output, strerror(errno));
	else
		*part = '\0';
	if (fd >= 0)
		close(fd);
	return rc;
}

int imagebuild(const struct image_request *request, const char *own)
{
	int rc;

	own_directory = own;

	if (request->compress && strlen(request->compress) > COMPRESS_MAX)
		return ctl_fail("%s: '%s' is too long", ctl.path, request->compress);
	interrupt_catch(on_signal);
	rc = make_part(request);
	if (!rc)
		rc = request->order ? build_ordered(request, part) : build_plain(request, part);
	if (!rc)
		rc = keep(request->output);
	if (*part)
		unlink(part);
	own_directory = NULL;
	return rc;
}
