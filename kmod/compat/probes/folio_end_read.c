// SPDX-License-Identifier: GPL-2.0-only
#include <linux/pagemap.h>

void (*probe)(struct folio *, bool) = folio_end_read;
