// SPDX-License-Identifier: GPL-2.0-or-later
#include "upload/rate.h"

#include <limits.h>

#include "util.h"

/**
 * bc_rate_wait - how long to wait before something is sent
 * @rate: may be NULL: no limit
 * @now_ms: the time
 */
unsigned int bc_rate_wait(const struct bc_rate *rate, int64_t now_ms)
{
	if (!rate || !rate->bytes_per_second || rate->paid_ms <= now_ms)
		return 0;
	return (unsigned int)bc_min((uint64_t)(rate->paid_ms - now_ms), INT_MAX);
}

/**
 * bc_rate_take - something is sent
 * @rate: may be NULL
 * @bytes: how much
 * @now_ms: the time
 */
void bc_rate_take(struct bc_rate *rate, uint64_t bytes, int64_t now_ms)
{
	if (!rate || !rate->bytes_per_second)
		return;
	/* What was not used is not saved up. */
	if (rate->paid_ms < now_ms)
		rate->paid_ms = now_ms;
	rate->paid_ms += (int64_t)(bytes / rate->bytes_per_second * 1000 +
				   bytes % rate->bytes_per_second * 1000 / rate->bytes_per_second);
}
