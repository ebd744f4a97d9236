// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata of a tier, see tier_meta.h.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/vmalloc.h>

#include "tier.h"
#include "tier_meta.h"

#define WAIT_STEP	(15 * HZ)

static struct page *buffer_page(void *buffer)
{
	return is_vmalloc_addr(buffer) ? vmalloc_to_page(buffer) : virt_to_page(buffer);
}

static struct bio *meta_bio(struct block_device *bdev, blk_opf_t op, u64 offset, void *buffer,
			    size_t length)
{
	u32 nr = length >> PAGE_SHIFT, i;
	struct bio *bio = bio_alloc_bioset(bdev, nr, op, GFP_NOIO, &bc_tier_bioset);

	bio->bi_iter.bi_sector = offset >> SECTOR_SHIFT;
	for (i = 0; i < nr; i++)
		__bio_add_page(bio, buffer_page(buffer + i * PAGE_SIZE), PAGE_SIZE, 0);
	return bio;
}

int bc_tier_meta_io(struct block_device *bdev, blk_opf_t op, u64 offset, void *buffer,
		    size_t length)
{
	struct bio *bio = meta_bio(bdev, op, offset, buffer, length);
	int ret = submit_bio_wait(bio);

	bio_put(bio);
	return ret;
}

void bc_meta_begin(struct bc_meta_group *group)
{
	/* One is the waiter's. */
	atomic_set(&group->left, 1);
	init_completion(&group->done);
}

static void request_ended(struct bio *bio)
{
	struct bc_meta_request *request = bio->bi_private;
	struct bc_meta_group *group = request->group;

	request->error = blk_status_to_errno(bio->bi_status);
	bio_put(bio);
	/* After this the request may be gone, and after complete() the group. */
	if (atomic_dec_and_test(&group->left))
		complete(&group->done);
}

void bc_meta_submit(struct bc_meta_group *group, struct bc_meta_request *request,
		    struct block_device *bdev, blk_opf_t op, u64 offset, void *buffer,
		    size_t length)
{
	/* Others wait for it, as by submit_bio_wait(). */
	struct bio *bio = meta_bio(bdev, op | REQ_SYNC, offset, buffer, length);

	request->group = group;
	request->error = 0;
	atomic_inc(&group->left);
	bio->bi_private = request;
	bio->bi_end_io = request_ended;
	submit_bio(bio);
}

void bc_meta_wait(struct bc_meta_group *group)
{
	if (atomic_dec_and_test(&group->left))
		return;
	/* By halves of what khungtaskd may be set to: a device that is slow is no hung task. */
	while (!wait_for_completion_io_timeout(&group->done, WAIT_STEP))
		;
}
