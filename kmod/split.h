/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BC_SPLIT_H
#define BC_SPLIT_H

#include <linux/types.h>

struct bc_io;

/**
 * bc_split_read - read runs of blocks each for itself
 * @io: the read; it needs blocks of both kinds
 * @valid: blocks of its chunk that a tier has
 *
 * Process context, may sleep for memory (GFP_NOFS). Return: false if there is none.
 */
bool bc_split_read(struct bc_io *io, u16 valid);

#endif /* BC_SPLIT_H */
