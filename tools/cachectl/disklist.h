/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks as a table. */
#ifndef CACHECTL_DISKLIST_H
#define CACHECTL_DISKLIST_H

#include "output.h"

/* For out_table(), of what BC_CMD_DISK_GET tells. */
extern const struct out_column disklist_columns[];

#endif /* CACHECTL_DISKLIST_H */
