/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the pure logic (index, frames, records, eviction, keys) may use. These
 * files compile in the kernel and, unchanged, in userspace: for unit tests,
 * sanitizers, fuzzers and the offline tools. They see no other kernel header.
 */
#ifndef BC_PURE_H
#define BC_PURE_H

#ifdef __KERNEL__
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/bug.h>
#include <linux/crc32c.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/prefetch.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "compat/blake2s.h"
#else
#include "pure_user.h"
#endif

#include "blobcache_disk.h"

/* A place on a tier: blocks [slot, slot + count) of a frame. */
struct bc_place {
	u32 frame;
	u8 slot;
	u8 count;
};

/* The key of one version of one object; compared by memcmp, hashed by its first bytes. */
struct bc_key {
	u8 bytes[BC_KEY_SIZE];
};

/*
 * A zeroed array that may be larger than the 2 GiB that kvmalloc() agrees to;
 * kvfree() frees it.
 *
 * It is read at random, so that its mapping's size counts: kvmalloc() maps it by huge pages as far
 * as there are any, from 6.1 on and where the architecture can (HAVE_ARCH_HUGE_VMALLOC: x86-64,
 * arm64), as vmalloc_huge() does, and vmalloc() does not. In userspace MADV_HUGEPAGE does.
 */
static inline void *bc_table_alloc(size_t n, size_t size)
{
	if (array_size(n, size) > INT_MAX)
		return vmalloc_huge(array_size(n, size), GFP_KERNEL | __GFP_ZERO);
	return kvcalloc(n, size, GFP_KERNEL);
}

#endif /* BC_PURE_H */
