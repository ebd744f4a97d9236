// SPDX-License-Identifier: GPL-2.0-only
#include <linux/namei.h>

struct dentry *(*probe)(struct mnt_idmap *, struct dentry *, struct qstr *) = start_creating;
int (*probe_renaming)(struct renamedata *, int, struct qstr *, struct qstr *) = start_renaming;
