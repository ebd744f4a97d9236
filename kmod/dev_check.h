/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the arguments of the daemon's ioctls must be, before anything is looked up.
 */
#ifndef BC_DEV_CHECK_H
#define BC_DEV_CHECK_H

#include "blobcache_dev.h"
#include "pure.h"
#include "record.h"

static inline int bc_check_hello(const struct bc_ioc_hello *hello)
{
	if (hello->size != sizeof(*hello) || hello->flags || hello->reserved[0] ||
	    hello->reserved[1])
		return -EINVAL;
	return hello->version == BC_DEV_VERSION ? 0 : -EPROTONOSUPPORT;
}

static inline int bc_check_claim(const struct bc_ioc_claim *claim)
{
	return claim->size != sizeof(*claim) || claim->flags & ~BC_CLAIM_RENEW ||
	       claim->reserved[0] || claim->reserved[1] ? -EINVAL : 0;
}

static inline int bc_check_bind(const struct bc_ioc_bind *bind)
{
	return bind->size != sizeof(*bind) || bind->flags || bind->reserved32 ||
	       bind->reserved[0] || bind->reserved[1] || !bind->etag_length ||
	       bind->etag_length > BC_ETAG_MAX ? -EINVAL : 0;
}

static inline int bc_check_fill(const struct bc_ioc_fill *fill)
{
	return fill->size != sizeof(*fill) || fill->flags || fill->reserved32 ||
	       fill->reserved[0] || fill->reserved[1] ? -EINVAL : 0;
}

static inline int bc_check_done(const struct bc_ioc_done *done)
{
	return done->size != sizeof(*done) || done->flags & ~BC_DONE_COALESCED ||
	       done->reserved[0] || done->reserved[1] ||
	       done->status >= BC_DONE_STATUS_COUNT ? -EINVAL : 0;
}

static inline int bc_check_flush_begin(const struct bc_ioc_flush_begin *begin)
{
	return begin->size != sizeof(*begin) || begin->flags || begin->reserved[0] ||
	       begin->reserved[1] ? -EINVAL : 0;
}

static inline int bc_check_flush_map(const struct bc_ioc_flush_map *map)
{
	return map->size != sizeof(*map) || map->flags || map->reserved32 || map->reserved[0] ||
	       map->reserved[1] || !map->count || map->count > BC_FLUSH_MAP_MAX ||
	       map->block > BC_DESC_MAX_BLOCK ? -EINVAL : 0;
}

static inline int bc_check_read(const struct bc_ioc_read *read)
{
	return read->size != sizeof(*read) || read->flags || read->reserved32 ||
	       read->reserved[0] || read->reserved[1] || !read->length ||
	       read->length > BC_READ_MAX || read->offset % BC_BLOCK_SIZE ||
	       read->offset >> BC_BLOCK_SHIFT > BC_DESC_MAX_BLOCK ? -EINVAL : 0;
}

static inline int bc_check_flush_end(const struct bc_ioc_flush_end *end)
{
	bool committed = end->flags & BC_FLUSH_COMMITTED;

	if (end->size != sizeof(*end) || end->flags & ~BC_FLUSH_COMMITTED || end->reserved32 ||
	    end->reserved[0] || end->reserved[1] || end->etag_length > BC_ETAG_MAX)
		return -EINVAL;
	if (committed != !!end->etag_length || memchr(end->etag, 0, end->etag_length))
		return -EINVAL;
	return 0;
}

/* Bytes [@offset, @offset + @length) of an object for a fill of the first @bytes of @chunk. */
static inline int bc_check_range(u32 chunk, u32 bytes, u64 offset, u32 length)
{
	u64 start = (u64)chunk << BC_CHUNK_SHIFT, end = start + bytes;

	if (!length || length > BC_CHUNK_SIZE || offset % BC_FILL_ALIGN)
		return -EINVAL;
	if (offset < start || offset >= end || length > end - offset)
		return -ERANGE;
	if (length % BC_FILL_ALIGN && offset + length != end)
		return -EINVAL;
	return 0;
}

#endif /* BC_DEV_CHECK_H */
