// SPDX-License-Identifier: GPL-2.0-only
#include <linux/uio.h>

ssize_t (*probe)(struct iov_iter *, struct page ***, size_t, unsigned int, iov_iter_extraction_t,
		 size_t *) = iov_iter_extract_pages;
