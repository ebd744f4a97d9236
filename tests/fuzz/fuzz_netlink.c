/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: */
/* libs: libnl-3.0 libnl-genl-3.0 */
/* flags: -max_len=600 */
/*
 * What the daemon takes from the kernel: messages of the netlink family. The kernel is
 * trusted, but may be of another release. The input is a list of attributes, or bytes.
 */
#include <netlink/attr.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>

#include "fuzz.h"

/* on_message() is its own business. */
#include "../../daemon/kernel.c"

void bc_log(enum bc_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

void bc_log_limited(struct bc_limit *limit, enum bc_level level, const char *format, ...)
{
	(void)limit;
	(void)level;
	(void)format;
}

static void on_request(struct bc_request *request, void *context)
{
	(*(unsigned int *)context)++;
	need(request->kind == BC_REQUEST_FETCH || request->kind == BC_REQUEST_RESOLVE);
	need(request->priority <= BC_PRIORITY_PREFETCH);
	need(*request->source && strlen(request->source) <= BC_NL_SOURCE_MAX);
	need(*request->path && strlen(request->path) <= BC_NL_PATH_MAX);
	if (request->bound)
		need(*request->want.etag && strlen(request->want.etag) <= BC_ETAG_MAX);
	if (request->kind != BC_REQUEST_FETCH)
		return;
	need(request->length && request->offset % BC_FILL_ALIGN == 0);
	need(request->offset <= INT64_MAX - request->length);
	need(!request->bound || request->offset < request->want.size);
}

static void on_dirty_file(struct bc_dirty_told *told, void *context)
{
	(*(unsigned int *)context)++;
	need(told->state <= BC_NAME_COMMITTED && told->base <= BC_BASE_UNKNOWN);
	need(told->base != BC_BASE_ETAG || *told->acked_etag);
	need(strlen(told->acked_etag) <= BC_ETAG_MAX);
	need(*told->source && strlen(told->source) <= BC_NL_SOURCE_MAX);
	need(*told->path && strlen(told->path) <= BC_NL_PATH_MAX);
	need(*told->device);
}

/* An attribute of a request, or of a dirty file, mostly with the length that it should have. */
static void put(struct nl_msg *message, struct input *input)
{
	static const char text[BC_NL_PATH_MAX + 2] = "azure://host/box";
	uint8_t what = take8(input), how = take8(input);
	uint64_t value = take16(input);
	int type = what % (BC_DIRTY_A_MAX + 2);

	if (how & 1)
		value = value << 12 | take64(input) << (how & 2 ? 40 : 0);
	switch (how >> 2 & 7) {
	case 0:
		nla_put(message, type, how >> 5, &value);
		break;
	case 1:
	case 2:
		nla_put_u32(message, type, (uint32_t)value);
		break;
	case 3:
	case 4:
	case 5:
		nla_put_u64(message, type, value);
		break;
	case 6:
		nla_put(message, type, value % 80, text);	/* not terminated, perhaps */
		break;
	default:
		nla_put_string(message, type, text);
		break;
	}
}

/* Some that a good request has, so that all but one need not be found at once. */
static void put_good(struct nl_msg *message, uint8_t which)
{
	nla_put_u64(message, BC_REQUEST_A_ID, 7);
	nla_put_string(message, BC_REQUEST_A_SOURCE, "azure://host/box");
	nla_put_string(message, BC_REQUEST_A_PATH, "a/b");
	if (which & 1)
		nla_put_string(message, BC_REQUEST_A_ETAG, "0x1");
	if (which & 2)
		nla_put_u64(message, BC_REQUEST_A_SIZE, 5 << 20);
	if (which & 4)
		nla_put_u64(message, BC_REQUEST_A_OFFSET, 1 << 20);
	if (which & 8)
		nla_put_u64(message, BC_REQUEST_A_LENGTH, 1 << 20);
}

static void put_good_file(struct nl_msg *message, uint8_t which)
{
	static const uint8_t generation[BC_GENERATION_SIZE] = "generation";

	nla_put(message, BC_DIRTY_A_GENERATION, sizeof(generation), generation);
	nla_put_string(message, BC_DIRTY_A_SOURCE, "azure://host/box");
	nla_put_string(message, BC_DIRTY_A_DEVICE, "/dev/nvme0n1");
	nla_put_string(message, BC_DIRTY_A_PATH, "a/b");
	nla_put_u32(message, BC_DIRTY_A_STATE, which & 3);
	nla_put_u32(message, BC_DIRTY_A_BASE, which >> 2 & 3);
	nla_put_u64(message, BC_DIRTY_A_STEP, 1);
	nla_put_u64(message, BC_DIRTY_A_SIZE, 1);
	nla_put_u32(message, BC_DIRTY_A_MODE, 0100644);
	nla_put_u64(message, BC_DIRTY_A_MTIME, 1);
	nla_put_u32(message, BC_DIRTY_A_MTIME_NSEC, 1);
	nla_put_u32(message, BC_DIRTY_A_WRITERS, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct nl_msg *message = nlmsg_alloc_size(4096);
	unsigned int requests = 0;
	struct bc_kernel kernel = { .on_dirty = on_dirty_file, .dirty_context = &requests };
	struct reader reader = { on_request, &requests, &kernel };
	uint8_t how = take8(&input);
	struct nlattr *nest;

	need(message);
	need(genlmsg_put(message, 0, 0, 30, 0, 0, take8(&input) % (BC_CMD_MAX + 2),
			 BC_GENL_VERSION));
	if (how & 1) {
		void *bytes = nlmsg_reserve(message, input.left, NLMSG_ALIGNTO);

		if (bytes && input.left)
			memcpy(bytes, input.at, input.left);
	} else {
		nest = nla_nest_start(message, (how & 4 ? BC_A_DIRTY : BC_A_REQUEST) | NLA_F_NESTED);
		if ((how & 6) == 2)
			put_good(message, how >> 4);
		else if (how & 2)
			put_good_file(message, how >> 4);
		while (nest && input.left)
			put(message, &input);
		if (nest)
			nla_nest_end(message, nest);
		if (!size)
			need(!requests);
	}
	on_message(message, &reader);
	need(requests <= 1);
	nlmsg_free(message);
	return 0;
}
