// SPDX-License-Identifier: GPL-2.0-or-later
#include "util.h"

#include <sys/random.h>

/**
 * bc_random_below - a random number for jitter
 * @limit: the number is below it; 0 gives 0
 */
unsigned int bc_random_below(unsigned int limit)
{
	unsigned int value = 0;

	if (!limit)
		return 0;
	if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
		value = (unsigned int)bc_now_ms();
	return value % limit;
}
