// SPDX-License-Identifier: GPL-2.0-only
#include <linux/timer.h>

#ifndef timer_container_of
#error
#endif
