// SPDX-License-Identifier: GPL-2.0-only
#include <linux/jiffies.h>

#ifndef secs_to_jiffies
#error
#endif
