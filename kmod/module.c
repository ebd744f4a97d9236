// SPDX-License-Identifier: GPL-2.0-only
/*
 * blobcache: a cache between GPU nodes and Blob storage.
 */
#include <linux/module.h>

#include "blk/disk.h"
#include "daemon.h"
#include "dirty.h"
#include "fill.h"
#include "fs/fs.h"
#include "netlink.h"
#include "pin.h"
#include "tier.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

struct part {
	int (*init)(void);
	void (*exit)(void);
};

/* In order of dependence; undone backwards. Front ends come last, so that nothing uses half. */
static const struct part parts[] = {
	{ bc_tier_io_init, bc_tier_io_exit },
	{ bc_dirty_init, bc_dirty_exit },
	{ bc_pins_init, bc_pins_exit },
	{ bc_lower_init, bc_lower_exit },
	{ bc_fills_init, bc_fills_exit },
	{ bc_fs_identity_init, bc_identity_exit },
	{ bc_blk_init, bc_blk_exit },
	{ bc_netlink_init, bc_netlink_exit },
	{ bc_dev_init, bc_dev_exit },
	{ bc_fs_init, bc_fs_exit },
};

static void undo(unsigned int count)
{
	while (count--)
		parts[count].exit();
}

static int __init blobcache_init(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		ret = parts[i].init();
		if (ret) {
			undo(i);
			return ret;
		}
	}
	pr_info("version %s loaded\n", BC_MODULE_VERSION);
	return 0;
}

static void __exit blobcache_exit(void)
{
	undo(ARRAY_SIZE(parts));
}

module_init(blobcache_init);
module_exit(blobcache_exit);

MODULE_DESCRIPTION("Cache over Blob storage mounts: page cache, local NVMe, Blob");
MODULE_AUTHOR("blobcache developers");
MODULE_LICENSE("GPL");
MODULE_VERSION(BC_MODULE_VERSION);
MODULE_SOFTDEP("pre: libcrc32c");
