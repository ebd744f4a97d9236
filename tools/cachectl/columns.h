/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Columns that several tables have. */
#ifndef CACHECTL_COLUMNS_H
#define CACHECTL_COLUMNS_H

#include "output.h"

/* "source" and "path": the object's URL. */
void column_object(char *buf, size_t size, const json_t *row);

/* "size", in bytes, KiB ... */
void column_size(char *buf, size_t size, const json_t *row);

#endif /* CACHECTL_COLUMNS_H */
