// SPDX-License-Identifier: GPL-2.0-only
#include <linux/pagemap.h>

void (*probe)(struct address_space *, unsigned int, unsigned int) = mapping_set_folio_order_range;
