/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon as the kernel sees it: the open file of /dev/blobcache/control that said
 * hello, and whether it answers. See dev.c.
 */
#ifndef BC_DAEMON_H
#define BC_DAEMON_H

#include <linux/types.h>

struct bc_daemon_info {
	u32 pid;		/* 0 = none; in the initial pid namespace */
	u64 epoch;		/* of the daemon, or of the last one */
	u64 since_ms;
	bool answers;
};

/* How long a claimed request may rest, in jiffies. */
unsigned long bc_daemon_lease(void);

/* A daemon has said hello and is not gone; it may not answer, though. */
bool bc_daemon_present(void);

/* Is the caller a task of the daemon? */
bool bc_daemon_is_current(void);

/*
 * A request rested longer than its lease: unless it made
 * another call meanwhile, nobody waits for the daemon until it calls again.
 */
void bc_daemon_suspect(void);

/* The daemon made a call. */
void bc_daemon_seen(void);

void bc_daemon_info(struct bc_daemon_info *info);

int bc_dev_init(void);
void bc_dev_exit(void);

#endif /* BC_DAEMON_H */
