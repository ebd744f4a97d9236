// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "blobcache_dev.h"
#include "log.h"
#include "util.h"

#define RECEIVE_BUFFER	(8 << 20)
#define MESSAGE_BUFFER	(64 << 10)
#define ANSWER_MS	2000
#define EVENTS_AT_ONCE	1000	/* then signals and timers have their turn */

struct bc_kernel {
	int device;			/* its release is what tells the kernel that we died */
	unsigned int lease_ms;
	int family;
	struct nl_sock *events;		/* main thread */
	struct nl_sock *dumps;		/* main thread */
	struct nl_sock *replies;	/* under replies_lock */
	pthread_mutex_t replies_lock;
	bc_dirty_fn *on_dirty;		/* NULL = nobody wants to know */
	void *dirty_context;
};

static int connect_socket(struct nl_sock *sock)
{
	struct timeval timeout = { .tv_sec = ANSWER_MS / 1000 };
	int error = genl_connect(sock);

	if (error < 0)
		return error;
	setsockopt(nl_socket_get_fd(sock), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return 0;
}

static struct nl_sock *open_socket(void)
{
	struct nl_sock *sock = nl_socket_alloc();

	if (!sock)
		return NULL;
	if (connect_socket(sock) || nl_socket_set_msg_buf_size(sock, MESSAGE_BUFFER)) {
		nl_socket_free(sock);
		return NULL;
	}
	return sock;
}

/* After an answer that did not come: it must not be taken for a later one's. */
static void reconnect_socket(struct nl_sock *sock)
{
	nl_close(sock);
	connect_socket(sock);
}

struct reader {
	bc_request_fn *fn;
	void *context;
	struct bc_kernel *kernel;
};

static int device_ioctl(struct bc_kernel *kernel, unsigned long command, void *argument)
{
	int result;

	do {
		result = ioctl(kernel->device, command, argument);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

static int claim(struct bc_kernel *kernel, uint64_t id, uint32_t flags)
{
	struct bc_ioc_claim claim = {
		.size = sizeof(claim),
		.flags = flags,
		.id = id,
	};

	return device_ioctl(kernel, BC_IOC_CLAIM, &claim);
}

/**
 * bc_kernel_claim - take a new request
 * @kernel: the kernel
 * @id: of the request
 */
int bc_kernel_claim(struct bc_kernel *kernel, uint64_t id)
{
	return claim(kernel, id, 0);
}

/**
 * bc_kernel_renew - renew the lease of a claimed request
 * @kernel: the kernel
 * @id: of the request
 */
int bc_kernel_renew(struct bc_kernel *kernel, uint64_t id)
{
	return claim(kernel, id, BC_CLAIM_RENEW);
}

/**
 * bc_kernel_bind - tell which version the coming bytes are of
 * @kernel: the kernel
 * @id: of the request
 * @object: the version
 */
int bc_kernel_bind(struct bc_kernel *kernel, uint64_t id, const struct bc_object *object)
{
	struct bc_ioc_bind bind = {
		.size = sizeof(bind),
		.id = id,
		.object_size = object->size,
		.last_modified = object->last_modified,
		.etag_length = (uint32_t)strlen(object->etag),
	};

	memcpy(bind.etag, object->etag, bind.etag_length);
	return device_ioctl(kernel, BC_IOC_BIND, &bind);
}

/**
 * bc_kernel_fill - hand over bytes
 * @kernel: the kernel
 * @id: of the request
 * @offset: in the object
 * @bytes: the bytes; copied before the return
 * @length: how many
 */
int bc_kernel_fill(struct bc_kernel *kernel, uint64_t id, uint64_t offset,
		   const void *bytes, size_t length)
{
	struct bc_ioc_fill fill = {
		.size = sizeof(fill),
		.id = id,
		.offset = offset,
		.length = (uint32_t)length,
		.address = (uint64_t)(uintptr_t)bytes,
	};

	return device_ioctl(kernel, BC_IOC_FILL, &fill);
}

static int done(struct bc_kernel *kernel, uint64_t id, enum bc_done_status status,
		unsigned int retry_after_ms, uint32_t flags)
{
	struct bc_ioc_done done = {
		.size = sizeof(done),
		.flags = flags,
		.id = id,
		.status = status,
		.retry_after_ms = status == BC_DONE_RETRY_AFTER ? retry_after_ms : 0,
	};

	return device_ioctl(kernel, BC_IOC_DONE, &done);
}

/**
 * bc_kernel_done - end a request
 * @kernel: the kernel
 * @id: of the request
 * @status: how it ended
 * @retry_after_ms: with BC_DONE_RETRY_AFTER
 */
int bc_kernel_done(struct bc_kernel *kernel, uint64_t id, enum bc_done_status status,
		   unsigned int retry_after_ms)
{
	return done(kernel, id, status, retry_after_ms, 0);
}

/**
 * bc_kernel_done_coalesced - end a request well, which another's transfer has answered
 * @kernel: the kernel
 * @id: of the request
 */
int bc_kernel_done_coalesced(struct bc_kernel *kernel, uint64_t id)
{
	return done(kernel, id, BC_DONE_OK, 0, BC_DONE_COALESCED);
}

/**
 * bc_kernel_flush_begin - begin to upload a dirty object
 * @kernel: the kernel
 * @cut: its generation is set; the rest is told
 */
int bc_kernel_flush_begin(struct bc_kernel *kernel, struct bc_kernel_cut *cut)
{
	struct bc_ioc_flush_begin begin = { .size = sizeof(begin) };
	int error;

	memcpy(begin.generation, cut->generation, sizeof(begin.generation));
	error = device_ioctl(kernel, BC_IOC_FLUSH_BEGIN, &begin);
	cut->cut = begin.cut;
	cut->size = begin.object_size;
	cut->step = begin.step;
	return error;
}

/**
 * bc_kernel_flush_map - which versions of blocks of 64 KiB belong to a cut
 * @kernel: the kernel
 * @cut: begun
 * @block: number of the first one
 * @blocks: out
 * @count: how many; 1..BC_FLUSH_MAP_MAX
 */
int bc_kernel_flush_map(struct bc_kernel *kernel, const struct bc_kernel_cut *cut,
			uint64_t block, struct bc_flush_block *blocks, uint32_t count)
{
	struct bc_ioc_flush_map map = {
		.size = sizeof(map),
		.cut = cut->cut,
		.block = block,
		.count = count,
		.address = (uint64_t)(uintptr_t)blocks,
	};

	memcpy(map.generation, cut->generation, sizeof(map.generation));
	return device_ioctl(kernel, BC_IOC_FLUSH_MAP, &map);
}

/**
 * bc_kernel_flush_read - bytes of an object as of a cut
 * @kernel: the kernel
 * @cut: begun
 * @offset: a multiple of 64 KiB
 * @to: where to
 * @length: 1..BC_READ_MAX; ends at a multiple of 64 KiB, or with the object
 */
int bc_kernel_flush_read(struct bc_kernel *kernel, const struct bc_kernel_cut *cut,
			 uint64_t offset, void *to, uint32_t length)
{
	struct bc_ioc_read read = {
		.size = sizeof(read),
		.cut = cut->cut,
		.offset = offset,
		.length = length,
		.address = (uint64_t)(uintptr_t)to,
	};

	memcpy(read.generation, cut->generation, sizeof(read.generation));
	return device_ioctl(kernel, BC_IOC_READ, &read);
}

/**
 * bc_kernel_flush_end - a flush is over
 * @kernel: the kernel
 * @cut: begun
 * @object: what the store has of it now; NULL = nothing, as far as is known
 *
 * With an object 0 says that the kernel will remember it; -ENOENT or -ESTALE that it lies in the
 * store under a name that the file does not have any more.
 */
int bc_kernel_flush_end(struct bc_kernel *kernel, const struct bc_kernel_cut *cut,
			const struct bc_object *object)
{
	struct bc_ioc_flush_end end = {
		.size = sizeof(end),
		.cut = cut->cut,
	};

	memcpy(end.generation, cut->generation, sizeof(end.generation));
	if (object) {
		end.flags = BC_FLUSH_COMMITTED;
		end.last_modified = object->last_modified;
		end.etag_length = (uint32_t)strlen(object->etag);
		memcpy(end.etag, object->etag, end.etag_length);
	}
	return device_ioctl(kernel, BC_IOC_FLUSH_END, &end);
}

/* libnl's errors lose the errno; these are the ones that a reply can meet. */
static int errno_of(int error)
{
	switch (-error) {
	case 0:
		return 0;
	case NLE_OBJ_NOTFOUND:
		return -ENOENT;
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_PERM:
		return -EPERM;
	case NLE_INVAL:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static bool put_reply(struct nl_msg *message, uint64_t id, enum bc_done_status status,
		      const struct bc_object *object)
{
	struct nlattr *nest = nla_nest_start(message, BC_A_REQUEST | NLA_F_NESTED);

	if (!nest || nla_put_u64(message, BC_REQUEST_A_ID, id) ||
	    nla_put_u32(message, BC_REQUEST_A_STATUS, status))
		return false;
	if (status == BC_DONE_OK &&
	    (nla_put_string(message, BC_REQUEST_A_ETAG, object->etag) ||
	     nla_put_u64(message, BC_REQUEST_A_SIZE, object->size) ||
	     nla_put_s64(message, BC_REQUEST_A_LAST_MODIFIED, object->last_modified)))
		return false;
	nla_nest_end(message, nest);
	return true;
}

/**
 * bc_kernel_resolve_reply - answer a resolve request
 * @kernel: the kernel
 * @id: of the request
 * @status: BC_DONE_OK if @object is valid
 * @object: the version
 */
int bc_kernel_resolve_reply(struct bc_kernel *kernel, uint64_t id,
			    enum bc_done_status status, const struct bc_object *object)
{
	struct nl_msg *message = nlmsg_alloc();
	int result = -ENOMEM;

	if (!message)
		return result;
	if (!genlmsg_put(message, NL_AUTO_PORT, NL_AUTO_SEQ, kernel->family, 0,
			 0, BC_CMD_RESOLVE_REPLY, BC_GENL_VERSION) ||
	    !put_reply(message, id, status, object)) {
		nlmsg_free(message);
		return result;
	}
	pthread_mutex_lock(&kernel->replies_lock);
	result = errno_of(nl_send_sync(kernel->replies, message));
	if (result == -EAGAIN || result == -EIO)
		reconnect_socket(kernel->replies);
	pthread_mutex_unlock(&kernel->replies_lock);
	return result;
}

static char *copy_string(const struct nlattr *attr, size_t max)
{
	size_t length = strnlen(nla_data(attr), (size_t)nla_len(attr));

	if (!length || length > max)
		return NULL;
	return strndup(nla_data(attr), length);
}

static bool parse_want(struct nlattr **attrs, struct bc_request *request)
{
	const struct nlattr *attr = attrs[BC_REQUEST_A_ETAG];
	size_t length;

	if (!attr || !attrs[BC_REQUEST_A_SIZE])
		return !attr && !attrs[BC_REQUEST_A_SIZE];
	length = strnlen(nla_data(attr), (size_t)nla_len(attr));
	if (!length || length > BC_ETAG_MAX)
		return false;
	memcpy(request->want.etag, nla_data(attr), length);
	request->want.size = nla_get_u64(attrs[BC_REQUEST_A_SIZE]);
	request->bound = true;
	return true;
}

static bool parse_range(struct nlattr **attrs, struct bc_request *request)
{
	if (!attrs[BC_REQUEST_A_OFFSET] || !attrs[BC_REQUEST_A_LENGTH])
		return false;
	request->offset = nla_get_u64(attrs[BC_REQUEST_A_OFFSET]);
	request->length = nla_get_u64(attrs[BC_REQUEST_A_LENGTH]);
	return request->length && request->offset % BC_FILL_ALIGN == 0 &&
	       request->offset + request->length > request->offset &&
	       request->offset + request->length <= INT64_MAX &&
	       (!request->bound || request->offset < request->want.size);
}

static bool parse_request(struct nlattr **attrs, struct bc_request *request)
{
	if (!attrs[BC_REQUEST_A_ID] || !attrs[BC_REQUEST_A_SOURCE] || !attrs[BC_REQUEST_A_PATH])
		return false;
	request->id = nla_get_u64(attrs[BC_REQUEST_A_ID]);
	if (attrs[BC_REQUEST_A_KIND])
		request->kind = nla_get_u32(attrs[BC_REQUEST_A_KIND]);
	if (attrs[BC_REQUEST_A_STATE])
		request->state = nla_get_u32(attrs[BC_REQUEST_A_STATE]);
	if (attrs[BC_REQUEST_A_PRIORITY])
		request->priority = nla_get_u32(attrs[BC_REQUEST_A_PRIORITY]);
	if (request->priority > BC_PRIORITY_PREFETCH)
		request->priority = BC_PRIORITY_PREFETCH;
	if (request->kind != BC_REQUEST_FETCH && request->kind != BC_REQUEST_RESOLVE)
		return false;
	if (!parse_want(attrs, request))
		return false;
	if (request->kind == BC_REQUEST_FETCH && !parse_range(attrs, request))
		return false;
	request->source = copy_string(attrs[BC_REQUEST_A_SOURCE], BC_NL_SOURCE_MAX);
	request->path = copy_string(attrs[BC_REQUEST_A_PATH], BC_NL_PATH_MAX);
	return request->source && request->path;
}

static struct nla_policy request_policy[BC_REQUEST_A_MAX + 1] = {
	[BC_REQUEST_A_ID]	= { .type = NLA_U64 },
	[BC_REQUEST_A_KIND]	= { .type = NLA_U32 },
	[BC_REQUEST_A_STATE]	= { .type = NLA_U32 },
	[BC_REQUEST_A_PRIORITY]	= { .type = NLA_U32 },
	[BC_REQUEST_A_OFFSET]	= { .type = NLA_U64 },
	[BC_REQUEST_A_LENGTH]	= { .type = NLA_U64 },
	[BC_REQUEST_A_SIZE]	= { .type = NLA_U64 },
};

static struct nla_policy dirty_policy[BC_DIRTY_A_MAX + 1] = {
	[BC_DIRTY_A_STATE]	= { .type = NLA_U32 },
	[BC_DIRTY_A_STEP]	= { .type = NLA_U64 },
	[BC_DIRTY_A_SIZE]	= { .type = NLA_U64 },
	[BC_DIRTY_A_MODE]	= { .type = NLA_U32 },
	[BC_DIRTY_A_MTIME]	= { .type = NLA_U64 },
	[BC_DIRTY_A_MTIME_NSEC]	= { .type = NLA_U32 },
	[BC_DIRTY_A_BASE]	= { .type = NLA_U32 },
	[BC_DIRTY_A_WRITERS]	= { .type = NLA_U32 },
};

static bool parse_dirty(struct nlattr **attrs, struct bc_dirty_told *told)
{
	static const int needed[] = {
		BC_DIRTY_A_GENERATION, BC_DIRTY_A_SOURCE, BC_DIRTY_A_PATH, BC_DIRTY_A_STATE,
		BC_DIRTY_A_DEVICE,
		BC_DIRTY_A_STEP, BC_DIRTY_A_SIZE, BC_DIRTY_A_MODE, BC_DIRTY_A_MTIME,
		BC_DIRTY_A_MTIME_NSEC, BC_DIRTY_A_BASE, BC_DIRTY_A_WRITERS,
	};
	const struct nlattr *etag = attrs[BC_DIRTY_A_ACKED_ETAG];
	size_t i;

	for (i = 0; i < BC_COUNT(needed); i++)
		if (!attrs[needed[i]])
			return false;
	if (nla_len(attrs[BC_DIRTY_A_GENERATION]) != BC_GENERATION_SIZE)
		return false;
	memcpy(told->generation, nla_data(attrs[BC_DIRTY_A_GENERATION]), BC_GENERATION_SIZE);
	told->state = nla_get_u32(attrs[BC_DIRTY_A_STATE]);
	told->base = nla_get_u32(attrs[BC_DIRTY_A_BASE]);
	told->step = nla_get_u64(attrs[BC_DIRTY_A_STEP]);
	told->size = nla_get_u64(attrs[BC_DIRTY_A_SIZE]);
	told->mode = nla_get_u32(attrs[BC_DIRTY_A_MODE]);
	told->writers = nla_get_u32(attrs[BC_DIRTY_A_WRITERS]);
	told->mtime = nla_get_s64(attrs[BC_DIRTY_A_MTIME]);
	told->mtime_ns = nla_get_u32(attrs[BC_DIRTY_A_MTIME_NSEC]);
	if (etag) {
		size_t length = strnlen(nla_data(etag), (size_t)nla_len(etag));

		if (!length || length > BC_ETAG_MAX)
			return false;
		memcpy(told->acked_etag, nla_data(etag), length);
	}
	if (told->state > BC_NAME_COMMITTED || told->base > BC_BASE_UNKNOWN ||
	    (told->base == BC_BASE_ETAG && !etag))
		return false;
	told->source = copy_string(attrs[BC_DIRTY_A_SOURCE], BC_NL_SOURCE_MAX);
	told->path = copy_string(attrs[BC_DIRTY_A_PATH], BC_NL_PATH_MAX);
	told->device = copy_string(attrs[BC_DIRTY_A_DEVICE], BC_NL_PATH_MAX);
	return told->source && told->path && told->device;
}

static int on_dirty(struct bc_kernel *kernel, struct nlattr *attr)
{
	struct nlattr *nest[BC_DIRTY_A_MAX + 1];
	struct bc_dirty_told told = { 0 };

	if (!kernel || !kernel->on_dirty)
		return NL_SKIP;
	if (nla_parse_nested(nest, BC_DIRTY_A_MAX, attr, dirty_policy) ||
	    !parse_dirty(nest, &told))
		bc_warn_limited("ignored a dirty file of the kernel that makes no sense; "
				"module and daemon may be of different releases");
	else
		kernel->on_dirty(&told, kernel->dirty_context);
	free(told.source);
	free(told.path);
	free(told.device);
	return NL_OK;
}

static int on_message(struct nl_msg *message, void *context)
{
	struct nlmsghdr *header = nlmsg_hdr(message);
	struct nlattr *attrs[BC_A_MAX + 1], *nest[BC_REQUEST_A_MAX + 1];
	struct genlmsghdr *genl = nlmsg_data(header);
	struct bc_request request = { 0 };
	struct reader *reader = context;

	if (!genlmsg_valid_hdr(header, 0) || genlmsg_parse(header, 0, attrs, BC_A_MAX, NULL))
		return NL_SKIP;
	if (attrs[BC_A_DIRTY])
		return on_dirty(reader->kernel, attrs[BC_A_DIRTY]);
	if (!attrs[BC_A_REQUEST])
		return NL_SKIP;		/* a tier event */
	if (genl->cmd == BC_CMD_EVENT_RESOLVE)
		request.kind = BC_REQUEST_RESOLVE;
	if (nla_parse_nested(nest, BC_REQUEST_A_MAX, attrs[BC_A_REQUEST], request_policy) ||
	    !parse_request(nest, &request))
		bc_warn_limited("ignored a request of the kernel that makes no sense; "
				"module and daemon may be of different releases");
	else
		reader->fn(&request, reader->context);
	free(request.source);
	free(request.path);
	return NL_OK;
}

static void set_reader(struct nl_sock *sock, struct reader *reader)
{
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, on_message, reader);
}

/**
 * bc_kernel_read_events - handle the events that arrived
 * @kernel: the kernel
 * @fn: called for each request, also for those that are claimed already
 * @context: for @fn
 *
 * Returns false if events were lost: dump then.
 */
bool bc_kernel_read_events(struct bc_kernel *kernel, bc_request_fn *fn, void *context)
{
	struct reader reader = { fn, context, kernel };
	int error = 0, i;

	set_reader(kernel->events, &reader);
	for (i = 0; i < EVENTS_AT_ONCE && error >= 0; i++)
		error = nl_recvmsgs_default(kernel->events);
	return error >= 0 || error == -NLE_AGAIN;
}

static bool dump(struct bc_kernel *kernel, enum bc_cmd command, const char *what)
{
	int error = genl_send_simple(kernel->dumps, kernel->family, command, BC_GENL_VERSION,
				     NLM_F_DUMP);

	if (error >= 0)
		error = nl_recvmsgs_default(kernel->dumps);
	if (error < 0 && error != -NLE_DUMP_INTR) {
		bc_warn_limited("cannot list the kernel's %s: %s; trying again", what,
				nl_geterror(error));
		reconnect_socket(kernel->dumps);
	}
	return error >= 0;
}

/**
 * bc_kernel_dump - go through all pending requests
 * @kernel: the kernel
 * @fn: called for each request, also for those that are claimed already
 * @context: for @fn
 *
 * Returns false if the dump was not complete: dump again.
 */
bool bc_kernel_dump(struct bc_kernel *kernel, bc_request_fn *fn, void *context)
{
	struct reader reader = { fn, context, kernel };

	set_reader(kernel->dumps, &reader);
	return dump(kernel, BC_CMD_REQUEST_GET, "requests");
}

/**
 * bc_kernel_set_dirty - who wants to know of dirty objects
 * @kernel: the kernel
 * @fn: called from bc_kernel_read_events() and bc_kernel_dump_dirty()
 * @context: for @fn
 */
void bc_kernel_set_dirty(struct bc_kernel *kernel, bc_dirty_fn *fn, void *context)
{
	kernel->on_dirty = fn;
	kernel->dirty_context = context;
}

/**
 * bc_kernel_dump_dirty - go through all dirty objects
 * @kernel: the kernel
 *
 * Returns false if the dump was not complete: dump again.
 */
bool bc_kernel_dump_dirty(struct bc_kernel *kernel)
{
	struct reader reader = { .kernel = kernel };

	set_reader(kernel->dumps, &reader);
	return dump(kernel, BC_CMD_DIRTY_GET, "dirty files");
}

struct tier_search {
	const char *device;
	bool found;
};

static int on_tier(struct nl_msg *message, void *context)
{
	struct nlattr *attrs[BC_A_MAX + 1], *nest[BC_TIER_A_MAX + 1];
	struct nlmsghdr *header = nlmsg_hdr(message);
	struct tier_search *search = context;
	const struct nlattr *device;

	if (!genlmsg_valid_hdr(header, 0) || genlmsg_parse(header, 0, attrs, BC_A_MAX, NULL) ||
	    !attrs[BC_A_TIER] ||
	    nla_parse_nested(nest, BC_TIER_A_MAX, attrs[BC_A_TIER], NULL))
		return NL_SKIP;
	device = nest[BC_TIER_A_DEVICE];
	if (device && strnlen(nla_data(device), (size_t)nla_len(device)) < (size_t)nla_len(device))
		search->found |= !strcmp(nla_data(device), search->device);
	return NL_OK;
}

/**
 * bc_kernel_has_tier - whether a tier is attached
 * @kernel: the kernel
 * @device: of it
 *
 * Only if that is known.
 */
bool bc_kernel_has_tier(struct bc_kernel *kernel, const char *device)
{
	struct tier_search search = { .device = device };

	nl_socket_modify_cb(kernel->dumps, NL_CB_VALID, NL_CB_CUSTOM, on_tier, &search);
	return dump(kernel, BC_CMD_TIER_GET, "tiers") && search.found;
}

/**
 * bc_kernel_event_fd - poll it for input, then call bc_kernel_read_events()
 * @kernel: the kernel
 */
int bc_kernel_event_fd(const struct bc_kernel *kernel)
{
	return nl_socket_get_fd(kernel->events);
}

/**
 * bc_kernel_lease_ms - how long a claimed request may rest without a call
 * @kernel: the kernel
 */
unsigned int bc_kernel_lease_ms(const struct bc_kernel *kernel)
{
	return kernel->lease_ms;
}

static int join_events(struct bc_kernel *kernel)
{
	int group = genl_ctrl_resolve_grp(kernel->events, BC_GENL_NAME, BC_GENL_MCGRP_EVENTS);
	int size = RECEIVE_BUFFER, fd = nl_socket_get_fd(kernel->events);

	if (group < 0)
		return group;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		nl_socket_set_buffer_size(kernel->events, size, 0);
	nl_socket_disable_seq_check(kernel->events);
	nl_socket_set_nonblocking(kernel->events);
	return nl_socket_add_membership(kernel->events, group);
}

static bool open_netlink(struct bc_kernel *kernel, int *error, char *text, size_t size)
{
	int result;

	kernel->events = open_socket();
	kernel->dumps = open_socket();
	kernel->replies = open_socket();
	if (!kernel->events || !kernel->dumps || !kernel->replies) {
		*error = -EIO;
		snprintf(text, size, "cannot open a generic netlink socket");
		return false;
	}
	kernel->family = genl_ctrl_resolve(kernel->dumps, BC_GENL_NAME);
	if (kernel->family < 0) {
		*error = -ENODEV;
		snprintf(text, size, "the kernel has no netlink family '%s'; run: modprobe blobcache "
			 "(and start in the initial network namespace)", BC_GENL_NAME);
		return false;
	}
	result = join_events(kernel);
	if (result < 0) {
		*error = result == -NLE_PERM ? -EPERM : -EIO;
		snprintf(text, size, "cannot listen to the kernel's events: %s%s",
			 nl_geterror(result),
			 result == -NLE_PERM ? "; run as root" : "");
		return false;
	}
	return true;
}

static void explain_hello(int error, char *text, size_t size)
{
	switch (-error) {
	case EBUSY:
		snprintf(text, size, "another blobcached is running; stop it first "
			 "(systemctl stop blobcached, or: fuser %s)", BC_DEV_PATH);
		break;
	case EPERM:
		snprintf(text, size, "the kernel refused: CAP_SYS_ADMIN and CAP_SYS_RESOURCE are needed; run as root");
		break;
	case EPROTONOSUPPORT:
	case ENOTTY:
		snprintf(text, size, "the loaded module does not speak version %d; install module and "
			 "daemon of one release, then: modprobe -r blobcache && modprobe blobcache",
			 BC_DEV_VERSION);
		break;
	default:
		snprintf(text, size, "%s: %s", BC_DEV_PATH, strerror(-error));
	}
}

static bool open_device(struct bc_kernel *kernel, int *error, char *text, size_t size)
{
	struct bc_ioc_hello hello = {
		.size = sizeof(hello),
		.version = BC_DEV_VERSION,
	};

	kernel->device = open(BC_DEV_PATH, O_RDWR | O_CLOEXEC);
	if (kernel->device < 0) {
		*error = errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
		snprintf(text, size, "cannot open %s: %s; %s", BC_DEV_PATH, strerror(errno),
			 *error == -ENODEV ? "the module is not loaded, run: modprobe blobcache" :
					     "run as root");
		return false;
	}
	*error = device_ioctl(kernel, BC_IOC_HELLO, &hello);
	if (*error) {
		explain_hello(*error, text, size);
		return false;
	}
	kernel->lease_ms = hello.lease_ms;
	bc_debug("epoch %llu, lease %u ms", (unsigned long long)hello.epoch, hello.lease_ms);
	return true;
}

/**
 * bc_kernel_open - become the daemon
 * @error: why it failed: -ENODEV no module, -EBUSY another daemon, or else
 * @text: the same for people
 * @size: of @text
 *
 * Events arrive from before the return on, so that a dump after it misses none.
 */
struct bc_kernel *bc_kernel_open(int *error, char *text, size_t size)
{
	struct bc_kernel *kernel = calloc(1, sizeof(*kernel));

	if (!kernel) {
		*error = -ENOMEM;
		snprintf(text, size, "out of memory");
		return NULL;
	}
	kernel->device = -1;
	pthread_mutex_init(&kernel->replies_lock, NULL);
	if (!open_device(kernel, error, text, size) ||
	    !open_netlink(kernel, error, text, size)) {
		bc_kernel_close(kernel);
		return NULL;
	}
	return kernel;
}

/**
 * bc_kernel_close - stop being the daemon
 * @kernel: no thread uses it any more
 *
 * What was claimed becomes new again.
 */
void bc_kernel_close(struct bc_kernel *kernel)
{
	nl_socket_free(kernel->events);
	nl_socket_free(kernel->dumps);
	nl_socket_free(kernel->replies);
	if (kernel->device >= 0)
		close(kernel->device);
	pthread_mutex_destroy(&kernel->replies_lock);
	free(kernel);
}
