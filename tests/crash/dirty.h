/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty objects in crash images: what a recorded run did, as its marks tell, and whether an image
 * has what it must.
 *
 * The run marks each operation before ("B n OP ...") and after it ("E n"), one after the other, with
 * colons for spaces; when the second mark is made what was done is durable. n is a number of its own.
 *
 *	w NAME SIZE		write anew
 *	o NAME OFFSET LENGTH	overwrite, or write behind the end
 *	t NAME SIZE		cut off, or make longer by zeroes
 *	r NAME OTHER		rename
 *	u NAME			remove
 *
 * Offsets are of whole pages. Each page written by operation n begins with n and the page's number.
 */
#ifndef CRASH_DIRTY_H
#define CRASH_DIRTY_H

#include "record.h"

/* A mark, which is record number @record of the log. */
void dirty_mark(const char *text, u32 record);

/* Are there any? */
bool dirty_marked(void);

/*
 * What is wrong with an image made of the first @until records; NULL = nothing. @list: print its
 * files, with size and the sum of their words of 64 bits.
 */
const char *dirty_check(const u8 *image, const struct bc_super *super, u32 until, bool list);

#endif /* CRASH_DIRTY_H */
