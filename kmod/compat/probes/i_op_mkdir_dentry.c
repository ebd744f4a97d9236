// SPDX-License-Identifier: GPL-2.0-only
#include <linux/fs.h>

static struct dentry *mkdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
			    umode_t mode)
{
	return NULL;
}

const struct inode_operations probe = { .mkdir = mkdir };
