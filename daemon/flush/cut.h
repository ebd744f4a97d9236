/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dirty object of the kernel, as of a cut, as the source of an upload. The kernel keeps what
 * belongs to the cut until the flush is ended, which is not the source's to do.
 */
#ifndef BC_FLUSH_CUT_H
#define BC_FLUSH_CUT_H

#include "kernel.h"
#include "upload/source.h"

struct bc_source *bc_cut_open(struct bc_kernel *kernel, const struct bc_kernel_cut *cut);

#endif /* BC_FLUSH_CUT_H */
