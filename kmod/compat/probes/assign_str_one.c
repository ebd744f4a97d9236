// SPDX-License-Identifier: GPL-2.0-only
#include <linux/string.h>
#include <linux/trace_events.h>
#include <trace/stages/stage6_event_callback.h>

/* One argument where two are taken does not preprocess; what it expands to does not matter. */
#define DROP(...)
#define EXPAND(x) DROP(x)
EXPAND(__assign_str(name))
