// SPDX-License-Identifier: GPL-2.0-or-later
/* The caller's mounts. */
#include <errno.h>
#include <libmount.h>

#include "mountinfo.h"

static const char *text(const char *s)
{
	return s ? s : "";
}

static void tell(struct libmnt_fs *fs, mountinfo_fn fn, void *arg)
{
	struct mountinfo mount = {
		.id = mnt_fs_get_id(fs),
		.dev = mnt_fs_get_devno(fs),
		.root = text(mnt_fs_get_root(fs)),
		.target = text(mnt_fs_get_target(fs)),
		.type = text(mnt_fs_get_fstype(fs)),
		.source = text(mnt_fs_get_source(fs)),
		.options = text(mnt_fs_get_fs_options(fs)),
	};

	fn(&mount, arg);
}

int mountinfo_each(mountinfo_fn fn, void *arg)
{
	struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	int rc = -ENOMEM;

	if (table && iter) {
		rc = 0;
		while (mnt_table_next_fs(table, iter, &fs) == 0)
			tell(fs, fn, arg);
	}
	mnt_free_iter(iter);
	mnt_unref_table(table);
	return rc;
}
