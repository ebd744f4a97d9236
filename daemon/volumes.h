/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stores of one configuration, found by source. Belongs to the main
 * thread; others hold references to single stores only.
 */
#ifndef BC_VOLUMES_H
#define BC_VOLUMES_H

#include "config.h"
#include "store/store.h"

struct bc_volumes;

struct bc_volumes *bc_volumes_create(const struct bc_config *config, char *text, size_t size);
void bc_volumes_free(struct bc_volumes *volumes);
struct bc_store *bc_volumes_find(struct bc_volumes *volumes, const char *source,
				 char *text, size_t size);

#endif /* BC_VOLUMES_H */
