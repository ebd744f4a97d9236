// SPDX-License-Identifier: GPL-2.0-or-later
/* Interrupts, and steps that one may end while what was done before is undone. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachectl.h"
#include "interrupt.h"

static const int interrupts[] = { SIGINT, SIGTERM, SIGHUP };
#define INTERRUPTS	(sizeof(interrupts) / sizeof(*interrupts))

static bool is_ignored(int number)
{
	struct sigaction action;

	return !sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN;
}

void interrupt_catch(void (*handler)(int number))
{
	size_t i;

	for (i = 0; i < INTERRUPTS; i++)
		if (!is_ignored(interrupts[i]))
			signal(interrupts[i], handler);
}

static void held(sigset_t *set)
{
	size_t i;

	sigemptyset(set);
	for (i = 0; i < INTERRUPTS; i++)
		sigaddset(set, interrupts[i]);
	sigaddset(set, SIGCHLD);
}

void interrupt_hold(sigset_t *old)
{
	sigset_t set;

	held(&set);
	sigprocmask(SIG_BLOCK, &set, old);
}

/* Return: the exit code of a child that has ended, or INTERRUPT_HIT if it has not. */
static int result(pid_t child)
{
	int status;
	pid_t ended = waitpid(child, &status, WNOHANG);

	if (!ended)
		return INTERRUPT_HIT;
	if (ended < 0)
		return ctl_fail("%s: %s", ctl.path, strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : CTL_FAILED;
}

int interrupt_run(const sigset_t *old, int (*step)(void *arg), void *arg, pid_t *child)
{
	sigset_t set;
	int number, rc;

	fflush(NULL);
	*child = fork();
	if (*child < 0)
		return ctl_fail("%s: %s", ctl.path, strerror(errno));
	if (!*child) {
		sigprocmask(SIG_SETMASK, old, NULL);
		rc = step(arg);
		fflush(NULL);
		_exit(rc);
	}
	held(&set);
	while ((rc = result(*child)) == INTERRUPT_HIT) {
		number = sigwaitinfo(&set, NULL);
		if (number < 0 || number == SIGCHLD || is_ignored(number))
			continue;
		kill(*child, SIGKILL);
		/* It was taken out of what waits: interrupt_release() ends the program by it. */
		raise(number);
		return INTERRUPT_HIT;
	}
	return rc;
}

void interrupt_release(const sigset_t *old)
{
	sigprocmask(SIG_SETMASK, old, NULL);
}
