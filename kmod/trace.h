/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM blobcache

#if !defined(BC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BC_TRACE_H

#include <linux/tracepoint.h>

/* A read answered by a tier. */
TRACE_EVENT(bc_read,
	TP_PROTO(u64 pos, u32 length, u32 frame),
	TP_ARGS(pos, length, frame),
	TP_STRUCT__entry(
		__field(u64, pos)
		__field(u32, length)
		__field(u32, frame)
	),
	TP_fast_assign(
		__entry->pos = pos;
		__entry->length = length;
		__entry->frame = frame;
	),
	TP_printk("pos=%llu length=%u frame=%u", __entry->pos, __entry->length, __entry->frame)
);

TRACE_EVENT(bc_miss,
	TP_PROTO(u64 pos, u32 length, u32 priority),
	TP_ARGS(pos, length, priority),
	TP_STRUCT__entry(
		__field(u64, pos)
		__field(u32, length)
		__field(u32, priority)
	),
	TP_fast_assign(
		__entry->pos = pos;
		__entry->length = length;
		__entry->priority = priority;
	),
	TP_printk("pos=%llu length=%u priority=%u", __entry->pos, __entry->length,
		  __entry->priority)
);

TRACE_EVENT(bc_fill_start,
	TP_PROTO(u64 id, u32 chunk, u32 priority),
	TP_ARGS(id, chunk, priority),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, chunk)
		__field(u32, priority)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->chunk = chunk;
		__entry->priority = priority;
	),
	TP_printk("id=%llu chunk=%u priority=%u", __entry->id, __entry->chunk, __entry->priority)
);

TRACE_EVENT(bc_fill_end,
	TP_PROTO(u64 id, u32 chunk, int error),
	TP_ARGS(id, chunk, error),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, chunk)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->chunk = chunk;
		__entry->error = error;
	),
	TP_printk("id=%llu chunk=%u error=%d", __entry->id, __entry->chunk, __entry->error)
);

TRACE_EVENT(bc_evict,
	TP_PROTO(u32 frame, u32 slot, u32 count),
	TP_ARGS(frame, slot, count),
	TP_STRUCT__entry(
		__field(u32, frame)
		__field(u32, slot)
		__field(u32, count)
	),
	TP_fast_assign(
		__entry->frame = frame;
		__entry->slot = slot;
		__entry->count = count;
	),
	TP_printk("frame=%u slot=%u blocks=%u", __entry->frame, __entry->slot, __entry->count)
);

#endif /* BC_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
