// SPDX-License-Identifier: GPL-2.0-only
#include <linux/namei.h>

struct dentry *(*probe)(struct mnt_idmap *, struct qstr *, struct dentry *) = lookup_one_unlocked;
