/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The XML of Azure's List Blobs. Pure but for expat. */
#ifndef BC_LISTING_H
#define BC_LISTING_H

#include <stdbool.h>
#include <stddef.h>

#include "store/store.h"

struct bc_listing;

struct bc_listing *bc_listing_create(struct bc_list *list);
bool bc_listing_parse(struct bc_listing *listing, const void *bytes, size_t length, bool last);
char *bc_listing_marker(struct bc_listing *listing);
void bc_listing_free(struct bc_listing *listing);

#endif /* BC_LISTING_H */
