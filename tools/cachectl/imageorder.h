/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In which order the files of a directory come in an image. */
#ifndef CACHECTL_IMAGEORDER_H
#define CACHECTL_IMAGEORDER_H

#include <stdio.h>

/**
 * imageorder_write - all names below a directory, in order
 * @directory: which
 * @list: names relative to it, one a line, in the order that is wanted
 * @out: names relative to it, each ended by a zero byte: directories, then the files of @list,
 *	then the others
 *
 * Says on stderr what is wrong: a name in @list that is no file below @directory, or that is there
 * twice.
 * Return: CTL_OK or CTL_FAILED
 */
int imageorder_write(const char *directory, FILE *list, FILE *out);

#endif /* CACHECTL_IMAGEORDER_H */
