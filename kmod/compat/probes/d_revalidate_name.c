// SPDX-License-Identifier: GPL-2.0-only
#include <linux/dcache.h>

static int revalidate(struct inode *dir, const struct qstr *name, struct dentry *dentry,
		      unsigned int flags)
{
	return 0;
}

const struct dentry_operations probe = { .d_revalidate = revalidate };
