/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The syntax of sources. Pure. */
#ifndef BC_SOURCE_H
#define BC_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

char *bc_source_canonical(const char *source);
bool bc_source_check(const char *source, char *text, size_t size);
bool bc_source_is(const char *source, const char *scheme);

#endif /* BC_SOURCE_H */
