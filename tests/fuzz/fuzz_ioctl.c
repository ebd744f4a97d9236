/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flags: -max_len=320 */
/*
 * The arguments of the daemon's ioctls. What passes must be in bounds: that is
 * all that stands between it and the pages of a fill.
 */
#include "dev_check.h"
#include "fuzz.h"

static bool zero(const void *bytes, size_t length)
{
	return !memchr_inv(bytes, 0, length);
}

static void check_range(struct input *input)
{
	/* Near the borders of the fill, or anywhere. */
	bool near = take8(input) & 1;
	u32 chunk = take32(input), bytes = 1 + take32(input) % BC_CHUNK_SIZE;
	u64 start = (u64)chunk << BC_CHUNK_SHIFT, offset = take64(input);
	u32 length = take32(input);

	if (near) {
		offset = start + (s16)offset * (s64)BC_FILL_ALIGN;
		length = length % 3 ? length % (BC_CHUNK_SIZE + 3) : start + bytes - offset;
	}
	if (bc_check_range(chunk, bytes, offset, length)) {
		/* Nothing that is right is refused. */
		need(!length || offset % BC_FILL_ALIGN || offset < start ||
		     (unsigned __int128)offset + length > start + bytes ||
		     (length % BC_FILL_ALIGN && offset + length != start + bytes));
		return;
	}
	need(length && length <= BC_CHUNK_SIZE && offset % BC_FILL_ALIGN == 0);
	need(offset >= start && offset - start < bytes && length <= bytes - (offset - start));
	/* In pages of the fill, of which a partial one is the last. */
	need((offset - start + length + BC_FILL_ALIGN - 1) / BC_FILL_ALIGN <=
	     DIV_ROUND_UP(bytes, BC_FILL_ALIGN));
	need(length % BC_FILL_ALIGN == 0 || offset - start + length == bytes);
}

static void check_structures(struct input *input)
{
	struct bc_ioc_hello hello;
	struct bc_ioc_claim claim;
	struct bc_ioc_bind bind;
	struct bc_ioc_fill fill;
	struct bc_ioc_done done;

	take(input, &hello, sizeof(hello));
	if (!bc_check_hello(&hello))
		need(hello.size == 40 && !hello.flags && hello.version == 1 &&
		     zero(hello.reserved, sizeof(hello.reserved)));
	take(input, &claim, sizeof(claim));
	if (!bc_check_claim(&claim))
		need(claim.size == 32 && claim.flags <= 1 &&
		     zero(claim.reserved, sizeof(claim.reserved)));
	take(input, &bind, sizeof(bind));
	if (!bc_check_bind(&bind))
		need(bind.size == 120 && !bind.flags && !bind.reserved32 && bind.etag_length &&
		     bind.etag_length <= sizeof(bind.etag) &&
		     zero(bind.reserved, sizeof(bind.reserved)));
	take(input, &fill, sizeof(fill));
	if (!bc_check_fill(&fill))
		need(fill.size == 56 && !fill.flags && !fill.reserved32 &&
		     zero(fill.reserved, sizeof(fill.reserved)));
	take(input, &done, sizeof(done));
	if (!bc_check_done(&done))
		need(done.size == 40 && done.flags <= 1 && done.status <= BC_DONE_UNSUPPORTED &&
		     zero(done.reserved, sizeof(done.reserved)));
}

static void check_flushes(struct input *input)
{
	struct bc_ioc_flush_begin begin;
	struct bc_ioc_flush_map map;
	struct bc_ioc_read read;
	struct bc_ioc_flush_end end;

	take(input, &begin, sizeof(begin));
	if (!bc_check_flush_begin(&begin))
		need(begin.size == 64 && !begin.flags && zero(begin.reserved, sizeof(begin.reserved)));
	take(input, &map, sizeof(map));
	if (!bc_check_flush_map(&map))
		need(map.size == 72 && !map.flags && !map.reserved32 && map.count && map.count <= 4096 &&
		     map.block < 1ULL << 36 && zero(map.reserved, sizeof(map.reserved)));
	take(input, &read, sizeof(read));
	if (!bc_check_read(&read))
		need(read.size == 72 && !read.flags && !read.reserved32 && read.length &&
		     read.length <= 1 << 20 && !(read.offset & 65535) && read.offset < 1ULL << 52 &&
		     zero(read.reserved, sizeof(read.reserved)));
	take(input, &end, sizeof(end));
	if (!bc_check_flush_end(&end))
		need(end.size == 128 && end.flags <= 1 && end.flags == !!end.etag_length &&
		     end.etag_length <= sizeof(end.etag) && !memchr(end.etag, 0, end.etag_length) &&
		     zero(end.reserved, sizeof(end.reserved)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	check_range(&input);
	check_structures(&input);
	check_flushes(&input);
	return 0;
}
