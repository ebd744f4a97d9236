/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Metadata of a tier, read and written: one request that is waited for, or several at once.
 *
 * All of it allocates nothing but bios, from the reserve of the tiers (GFP_NOIO), and sleeps.
 */
#ifndef BC_TIER_META_H
#define BC_TIER_META_H

#include <linux/atomic.h>
#include <linux/blk_types.h>
#include <linux/completion.h>

/**
 * bc_tier_meta_io - read or write metadata and wait
 * @bdev: device of the tier
 * @op: REQ_OP_READ or REQ_OP_WRITE, with flags
 * @offset: on the device, multiple of BC_UNIT_SIZE
 * @buffer: kmalloc or vmalloc memory, page aligned
 * @length: multiple of BC_UNIT_SIZE
 *
 * Return: 0 or errno.
 */
int bc_tier_meta_io(struct block_device *bdev, blk_opf_t op, u64 offset, void *buffer,
		    size_t length);

/* Requests that are waited for together. */
struct bc_meta_group {
	atomic_t left;
	struct completion done;
};

/* One of them; the caller's until bc_meta_wait() returns, as is its buffer. */
struct bc_meta_request {
	struct bc_meta_group *group;
	int error;		/* then: 0 or errno */
};

void bc_meta_begin(struct bc_meta_group *group);

/* As bc_tier_meta_io(), but returns at once. */
void bc_meta_submit(struct bc_meta_group *group, struct bc_meta_request *request,
		    struct block_device *bdev, blk_opf_t op, u64 offset, void *buffer,
		    size_t length);

/* Until all that was submitted since bc_meta_begin() has ended. */
void bc_meta_wait(struct bc_meta_group *group);

/* Is it an error of this place of the device? Others may be good then, this one bad for long. */
static inline bool bc_meta_bad_place(int error)
{
	return error == -EIO || error == -ENODATA || error == -EILSEQ;
}

#endif /* BC_TIER_META_H */
