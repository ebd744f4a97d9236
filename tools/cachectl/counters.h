/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CACHECTL_COUNTERS_H
#define CACHECTL_COUNTERS_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/**
 * stats_render - counters by group
 * @stream: where to
 * @now: flat object of counters
 * @before: earlier counters for rates, or NULL
 * @ms: milliseconds between both
 */
void stats_render(FILE *stream, const json_t *now, const json_t *before, uint64_t ms);

#endif /* CACHECTL_COUNTERS_H */
