// SPDX-License-Identifier: GPL-2.0-or-later
/* The files that PATH ... [-r] means. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachectl.h"
#include "walk.h"

#define TELL_MAX 10

static unsigned int told;

bool walk_quota(void)
{
	return ++told <= TELL_MAX;
}

static void refuse(struct walk *walk, const char *path, const char *why)
{
	walk->failed++;
	if (walk_quota())
		ctl_fail("%s %s: %s", ctl.path, path, why);
}

/* A block device says 0 as a file does that is empty. */
static int size_of(int fd, const struct stat *st, uint64_t *size)
{
	*size = (uint64_t)st->st_size;
	return S_ISBLK(st->st_mode) ? ioctl(fd, BLKGETSIZE64, size) : 0;
}

static void visit_file(const char *path, walk_fn fn, void *arg, struct walk *walk)
{
	uint64_t size = 0;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		refuse(walk, path, strerror(errno));
		return;
	}
	if (fstat(fd, &st) || size_of(fd, &st, &size)) {
		refuse(walk, path, strerror(errno));
	} else if (fn(path, fd, size, arg)) {
		walk->failed++;
	} else {
		walk->files++;
		walk->bytes += size;
	}
	close(fd);
}

static void visit(FTS *fts, FTSENT *entry, bool recursive, walk_fn fn, void *arg,
		  struct walk *walk)
{
	bool top = entry->fts_level == FTS_ROOTLEVEL;

	switch (entry->fts_info) {
	case FTS_F:
		visit_file(entry->fts_path, fn, arg, walk);
		break;
	case FTS_D:
		if (!recursive) {
			refuse(walk, entry->fts_path, "is a directory; -r takes all files in it");
			fts_set(fts, entry, FTS_SKIP);
		}
		break;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		refuse(walk, entry->fts_path, strerror(entry->fts_errno));
		break;
	case FTS_SLNONE:
		if (top)
			refuse(walk, entry->fts_path, strerror(ENOENT));
		break;
	case FTS_DEFAULT:
		if (top && S_ISBLK(entry->fts_statp->st_mode))
			visit_file(entry->fts_path, fn, arg, walk);
		else if (top)
			refuse(walk, entry->fts_path, "is no regular file, and no disk");
		break;
	default:
		break;
	}
}

int walk_files(char *const *paths, bool recursive, walk_fn fn, void *arg, struct walk *walk)
{
	FTSENT *entry;
	FTS *fts;

	memset(walk, 0, sizeof(*walk));
	fts = fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR | FTS_XDEV, NULL);
	if (!fts)
		return ctl_fail("%s: %s", ctl.path, strerror(errno));
	while ((entry = fts_read(fts)))
		visit(fts, entry, recursive, fn, arg, walk);
	fts_close(fts);
	if (told > TELL_MAX)
		ctl_fail("%s: %u more failed", ctl.path, told - TELL_MAX);
	return walk->failed ? CTL_FAILED : CTL_OK;
}
