// SPDX-License-Identifier: GPL-2.0-or-later
/* The files that PATH ... [-r] means. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
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

static void visit_file(const char *path, walk_fn fn, void *arg, struct walk *walk)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		refuse(walk, path, strerror(errno));
		return;
	}
	if (fstat(fd, &st)) {
		refuse(walk, path, strerror(errno));
	} else if (fn(path, fd, (uint64_t)st.st_size, arg)) {
		walk->failed++;
	} else {
		walk->files++;
		walk->bytes += (uint64_t)st.st_size;
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
		if (top)
			refuse(walk, entry->fts_path, "is no regular file");
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
