/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts: SIGINT, SIGTERM and SIGHUP; and steps that one may end while what was done before is
 * undone. A step that waits in the kernel cannot look at signals, and one that ends the program
 * leaves behind what was done before. So signals are held, and the step runs in a child.
 */
#ifndef CACHECTL_INTERRUPT_H
#define CACHECTL_INTERRUPT_H

#include <signal.h>
#include <sys/types.h>

/* interrupt_run() was interrupted. */
#define INTERRUPT_HIT	(-1)

/* Handle each that is not ignored: who started this in the background has it so. */
void interrupt_catch(void (*handler)(int number));

/* They wait from now on. @old: for the others */
void interrupt_hold(sigset_t *old);

/**
 * interrupt_run - run a step in a child
 * @old: of interrupt_hold()
 * @step: returns an exit code; must not use what the parent has open
 * @arg: for @step
 * @child: is there still if interrupted: killed, and gone once what it waits for is; for waitpid()
 *
 * Return: the exit code, or INTERRUPT_HIT
 */
int interrupt_run(const sigset_t *old, int (*step)(void *arg), void *arg, pid_t *child);

/* All is done, or undone: what waited since interrupt_hold() ends the program now. */
void interrupt_release(const sigset_t *old);

#endif /* CACHECTL_INTERRUPT_H */
