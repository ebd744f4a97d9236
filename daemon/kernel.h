/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon's side of uapi/: /dev/blobcache/control and the netlink family.
 *
 * The functions on requests may be called from any thread. Those that read
 * events and dumps belong to the main thread.
 */
#ifndef BC_KERNEL_H
#define BC_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blobcache_netlink.h"
#include "store/store.h"

struct bc_kernel;

/* A request as the kernel announced it; checked, and bounded by uapi/. */
struct bc_request {
	uint64_t id;
	enum bc_request_kind kind;
	enum bc_request_state state;
	enum bc_priority priority;
	uint64_t offset;
	uint64_t length;
	bool bound;
	struct bc_object want;		/* if bound: etag and size */
	char *source;			/* malloced */
	char *path;			/* malloced */
};

/* Takes the request's strings over by setting them to NULL, or leaves them. */
typedef void bc_request_fn(struct bc_request *request, void *context);

struct bc_kernel *bc_kernel_open(int *error, char *text, size_t size);
void bc_kernel_close(struct bc_kernel *kernel);
unsigned int bc_kernel_lease_ms(const struct bc_kernel *kernel);

int bc_kernel_event_fd(const struct bc_kernel *kernel);
bool bc_kernel_read_events(struct bc_kernel *kernel, bc_request_fn *fn, void *context);
bool bc_kernel_dump(struct bc_kernel *kernel, bc_request_fn *fn, void *context);

/* These return 0 or a negative errno, as uapi/blobcache_dev.h says. */
int bc_kernel_claim(struct bc_kernel *kernel, uint64_t id);
int bc_kernel_renew(struct bc_kernel *kernel, uint64_t id);
int bc_kernel_bind(struct bc_kernel *kernel, uint64_t id, const struct bc_object *object);
int bc_kernel_fill(struct bc_kernel *kernel, uint64_t id, uint64_t offset,
		   const void *bytes, size_t length);
int bc_kernel_done(struct bc_kernel *kernel, uint64_t id, enum bc_done_status status,
		   unsigned int retry_after_ms);
int bc_kernel_done_coalesced(struct bc_kernel *kernel, uint64_t id);
int bc_kernel_resolve_reply(struct bc_kernel *kernel, uint64_t id,
			    enum bc_done_status status, const struct bc_object *object);

#endif /* BC_KERNEL_H */
