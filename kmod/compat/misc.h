/* SPDX-License-Identifier: GPL-2.0-only */
/* Workqueues and timers. */
#ifndef BC_COMPAT_MISC_H
#define BC_COMPAT_MISC_H

#include <linux/jiffies.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

/* Without it, every queue that is not WQ_UNBOUND is per CPU. */
#ifndef HAVE_WQ_PERCPU
#define WQ_PERCPU 0
#endif

#ifndef HAVE_TIMER_CONTAINER_OF
#define timer_container_of(var, callback_timer, timer_fieldname) \
	container_of(callback_timer, typeof(*(var)), timer_fieldname)
#endif

#ifndef HAVE_SECS_TO_JIFFIES
#define secs_to_jiffies(secs) ((unsigned long)(secs) * HZ)
#endif

#endif /* BC_COMPAT_MISC_H */
