/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the attributes of blobcache_netlink.h are called in JSON and how their
 * values are written. The only place where cachectl knows them by number.
 */
#ifndef CACHECTL_FIELDS_H
#define CACHECTL_FIELDS_H

#include <jansson.h>
#include <netlink/attr.h>

#include "blobcache_netlink.h"

/**
 * fields_decode - a nest as a JSON object
 * @kind: BC_A_STATUS, BC_A_TIER, ... : which nest it is
 * @nest: the attribute
 *
 * Unknown attributes and such of a wrong length are left out.
 * Return: a new object, empty if the nest is broken
 */
json_t *fields_decode(enum bc_attr kind, struct nlattr *nest);

/* How a counter is shown. */
enum stat_unit {
	STAT_COUNT,
	STAT_BYTES,
};

/**
 * struct stat_field - one counter
 * @name: in JSON
 * @group: heading it is shown below
 * @label: for people
 * @unit: how it is shown
 */
struct stat_field {
	const char *name, *group, *label;
	enum stat_unit unit;
};

/* By enum bc_stat; those without name are no counters. */
extern const struct stat_field stat_fields[BC_STAT_MAX + 1];

#endif /* CACHECTL_FIELDS_H */
