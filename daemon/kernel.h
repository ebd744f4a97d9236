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

/* A dirty object as the kernel tells of it; checked, and bounded by uapi/. */
struct bc_dirty_told {
	uint8_t generation[BC_GENERATION_SIZE];
	enum bc_name_state state;
	enum bc_name_base base;
	uint64_t step;			/* 0 = nothing of it is durable */
	uint64_t size;
	uint32_t mode;
	uint32_t writers;
	int64_t mtime;
	uint32_t mtime_ns;
	char acked_etag[BC_ETAG_MAX + 1];	/* "" = the store has nothing of it */
	char *source;			/* malloced */
	char *path;			/* malloced */
	char *device;			/* of its tier; malloced */
};

/* Takes the strings over by setting them to NULL, or leaves them. */
typedef void bc_dirty_fn(struct bc_dirty_told *told, void *context);

struct bc_kernel *bc_kernel_open(int *error, char *text, size_t size);
void bc_kernel_close(struct bc_kernel *kernel);
unsigned int bc_kernel_lease_ms(const struct bc_kernel *kernel);

int bc_kernel_event_fd(const struct bc_kernel *kernel);
bool bc_kernel_read_events(struct bc_kernel *kernel, bc_request_fn *fn, void *context);
bool bc_kernel_dump(struct bc_kernel *kernel, bc_request_fn *fn, void *context);
void bc_kernel_set_dirty(struct bc_kernel *kernel, bc_dirty_fn *fn, void *context);
bool bc_kernel_dump_dirty(struct bc_kernel *kernel);
bool bc_kernel_has_tier(struct bc_kernel *kernel, const char *device);

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

/* Likewise. An upload as of a cut; bc_flush_block is of uapi/. */
struct bc_kernel_cut {
	uint8_t generation[BC_GENERATION_SIZE];
	uint64_t cut;
	uint64_t size;			/* of the object then */
	uint64_t step;
};

int bc_kernel_flush_begin(struct bc_kernel *kernel, struct bc_kernel_cut *cut);
int bc_kernel_flush_map(struct bc_kernel *kernel, const struct bc_kernel_cut *cut,
			uint64_t block, struct bc_flush_block *blocks, uint32_t count);
int bc_kernel_flush_read(struct bc_kernel *kernel, const struct bc_kernel_cut *cut,
			 uint64_t offset, void *to, uint32_t length);
int bc_kernel_flush_end(struct bc_kernel *kernel, const struct bc_kernel_cut *cut,
			const struct bc_object *object);

#endif /* BC_KERNEL_H */
