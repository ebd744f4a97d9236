// SPDX-License-Identifier: GPL-2.0-only
#include <linux/cpumask.h>

#include "stats.h"

DEFINE_PER_CPU(struct bc_stats, bc_stats);

u64 bc_stat_read(enum bc_stat stat)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu(bc_stats, cpu).count[stat]);
	return sum;
}
