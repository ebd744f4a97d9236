/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CACHECTL_STATUS_H
#define CACHECTL_STATUS_H

#include <jansson.h>
#include <stdio.h>

/**
 * status_judge - add "state" and "warnings" to what was collected
 * @status: object with "daemon", "tiers", "mounts", "requests", "stats"
 *
 * State is "ok", "degraded" or "idle" (neither tier nor mount). A warning says what
 * is wrong and what to do.
 */
void status_judge(json_t *status);

/**
 * status_render - the screen of "cachectl status"
 * @stream: where to
 * @status: judged
 * Return: CTL_OK or CTL_FAILED
 */
int status_render(FILE *stream, const json_t *status);

#endif /* CACHECTL_STATUS_H */
