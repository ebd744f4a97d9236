// SPDX-License-Identifier: GPL-2.0-only
#include <linux/fs.h>
#include <linux/posix_acl.h>

struct posix_acl *(*probe)(struct inode *, int) = get_inode_acl;
