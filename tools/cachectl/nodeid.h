/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CACHECTL_NODEID_H
#define CACHECTL_NODEID_H

#include <stdbool.h>
#include <stdint.h>

/**
 * node_id_from - ids of this node, derived from its machine id
 * @machine_id: text of /etc/machine-id
 * @node: out: HMAC-SHA256 with the machine id as key, as machine-id(5) asks for,
 *        so that the machine id itself cannot be read off the device
 * @set: out: likewise, for the node's set of tiers
 * Return: 0, or -EINVAL if @machine_id is none
 */
int node_id_from(const char *machine_id, uint8_t node[16], uint8_t set[16]);

/**
 * node_id_default - ids of this node
 * @node: out
 * @set: out
 * Return: true if they come from /etc/machine-id, false if they are random
 */
bool node_id_default(uint8_t node[16], uint8_t set[16]);

#endif /* CACHECTL_NODEID_H */
