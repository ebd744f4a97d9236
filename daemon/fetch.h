/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BC_FETCH_H
#define BC_FETCH_H

#include "pool.h"

struct bc_job *bc_fetch_create(struct bc_pool *pool, struct bc_request *request,
			       struct bc_store *store);

#endif /* BC_FETCH_H */
