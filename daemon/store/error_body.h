/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The XML that Azure sends with an error, for replies whose head does not tell the
 * code. Pure but for expat.
 */
#ifndef BC_ERROR_BODY_H
#define BC_ERROR_BODY_H

#include <stdbool.h>
#include <stddef.h>

#define BC_ERROR_BODY_MAX	4096U	/* what comes later is not looked at */

bool bc_error_body_code(const void *bytes, size_t length, char *code, size_t size);

#endif /* BC_ERROR_BODY_H */
