/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's side over generic netlink; answers come as JSON values (fields.h). */
#ifndef CACHECTL_NETLINK_H
#define CACHECTL_NETLINK_H

#include <jansson.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include "blobcache_netlink.h"

struct bcnl;

/**
 * bcnl_open - connect to the family "blobcache"
 * @nl: out; NULL on error
 *
 * Says on stderr why not, and what to do.
 * Return: CTL_OK, CTL_NOTHING if the module is not loaded, CTL_FAILED
 */
int bcnl_open(struct bcnl **nl);

/* bcnl_open_if_loaded - the same, but silent if the module is not loaded */
int bcnl_open_if_loaded(struct bcnl **nl);

/* bcnl_close - NULL is allowed */
void bcnl_close(struct bcnl *nl);

/**
 * bcnl_message - begin a request
 * @nl: connection
 * @command: enum bc_cmd
 * Return: a message to add attributes to, then for bcnl_do()
 */
struct nl_msg *bcnl_message(struct bcnl *nl, enum bc_cmd command);

/**
 * bcnl_do - send a request and wait for its end
 * @nl: connection
 * @message: from bcnl_message(); freed
 * @want: attribute whose nest is the answer, BC_A_UNSPEC if there is none
 * @answer: out: a JSON object, NULL if none came; may be NULL
 * Return: 0 or a negative errno; bcnl_reason() then tells why
 */
int bcnl_do(struct bcnl *nl, struct nl_msg *message, enum bc_attr want, json_t **answer);

/**
 * bcnl_dump - all there is of a kind
 * @nl: connection
 * @command: a command that can be dumped
 * @want: attribute whose nests are the answers
 * @answer: out: a JSON array; NULL on error
 * Return: 0 or a negative errno
 */
int bcnl_dump(struct bcnl *nl, enum bc_cmd command, enum bc_attr want, json_t **answer);

/**
 * bcnl_get - the answer to a request without attributes
 * @nl: connection
 * @command: what is asked for
 * @want: attribute whose nest is the answer
 * @answer: out: a JSON object, never NULL on success
 * Return: 0 or a negative errno
 */
int bcnl_get(struct bcnl *nl, enum bc_cmd command, enum bc_attr want, json_t **answer);

/**
 * bcnl_reason - why the last call failed
 * @nl: connection
 * Return: the kernel's own message if it gave one, else the errno's text
 */
const char *bcnl_reason(const struct bcnl *nl);

/* bcnl_failed - ctl_fail() with the command, an object or "", and bcnl_reason() */
int bcnl_failed(const struct bcnl *nl, const char *object);

#endif /* CACHECTL_NETLINK_H */
