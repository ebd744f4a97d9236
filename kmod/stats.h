/* SPDX-License-Identifier: GPL-2.0-only */
/* Counters of enum bc_stat: per CPU, summed when asked. Any context. */
#ifndef BC_STATS_H
#define BC_STATS_H

#include <linux/percpu.h>

#include "blobcache_netlink.h"

struct bc_stats {
	u64 count[__BC_STAT_MAX];
};

DECLARE_PER_CPU(struct bc_stats, bc_stats);

static inline void bc_stat_add(enum bc_stat stat, u64 value)
{
	this_cpu_add(bc_stats.count[stat], value);
}

static inline void bc_stat_inc(enum bc_stat stat)
{
	this_cpu_inc(bc_stats.count[stat]);
}

/* Sum over all CPUs; a snapshot, not a cut. */
u64 bc_stat_read(enum bc_stat stat);

#endif /* BC_STATS_H */
