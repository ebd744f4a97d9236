/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CACHECTL_COMPLETE_H
#define CACHECTL_COMPLETE_H

/**
 * complete - what can follow on the command line; for tools/completions/
 * @argc: number of words
 * @argv: the words after "cachectl", the last one being typed
 *
 * Prints one candidate per line. A line that begins with ':' tells the shell to
 * add names of its own: ":path", ":dir" or ":device".
 * Return: CTL_OK
 */
int complete(int argc, char **argv);

#endif /* CACHECTL_COMPLETE_H */
