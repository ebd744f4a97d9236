/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a hit in the index costs. */
#ifndef LOOKUP_H
#define LOOKUP_H

#include <stdint.h>
#include <stdio.h>

/*
 * Fill an index of so many entries, look chunks up at random. Return: was the goal on memory
 * reached? That on time is only shown: it is the machine's, and what else runs there.
 */
int lookup_run(uint32_t entries, FILE *lines);

#endif /* LOOKUP_H */
