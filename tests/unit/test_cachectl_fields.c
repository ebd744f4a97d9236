/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: tools/cachectl/fields.c tools/cachectl/status.c tools/cachectl/stats.c tools/cachectl/mountlist.c tools/cachectl/disklist.c tools/cachectl/columns.c tools/cachectl/mountinfo.c tools/cachectl/netlink.c tools/cachectl/format.c tools/cachectl/output.c tools/cachectl/cli.c */
/* libs: jansson libnl-3.0 libnl-genl-3.0 smartcols mount */
/* From netlink attributes to JSON, and from that to the screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

#include "counters.h"
#include "fields.h"
#include "output.h"
#include "status.h"

/* A nest with whatever @fill puts into it, decoded. */
static json_t *decoded(enum bc_attr kind, void (*fill)(struct nl_msg *msg))
{
	struct nl_msg *msg = nlmsg_alloc();
	struct nlattr *nest;
	json_t *object;

	assert_non_null(nlmsg_put(msg, 0, 0, 0, 0, 0));
	nest = nla_nest_start(msg, kind);
	fill(msg);
	nla_nest_end(msg, nest);
	object = fields_decode(kind, nlmsg_attrdata(nlmsg_hdr(msg), 0));
	nlmsg_free(msg);
	return object;
}

static void fill_tier(struct nl_msg *msg)
{
	static const uint8_t uuid[16] = { 0xab };

	nla_put_string(msg, BC_TIER_A_DEVICE, "/dev/nvme1n1");
	nla_put(msg, BC_TIER_A_UUID, 16, uuid);
	nla_put_u32(msg, BC_TIER_A_STATE, BC_TIER_FAILED);
	nla_put_u64(msg, BC_TIER_A_USED_BYTES, 1ULL << 40);
	nla_put_u32(msg, BC_TIER_A_WAS_CLEAN, 0);
}

static void tier(void **state)
{
	json_t *object = decoded(BC_A_TIER, fill_tier);

	(void)state;
	assert_string_equal(out_str(object, "device"), "/dev/nvme1n1");
	assert_string_equal(out_str(object, "uuid"), "ab000000-0000-0000-0000-000000000000");
	assert_string_equal(out_str(object, "state"), "failed");
	assert_true(out_num(object, "used_bytes") == 1ULL << 40);
	assert_true(json_is_false(json_object_get(object, "was_clean")));
	assert_null(json_object_get(object, "label"));
	json_decref(object);
}

static void fill_hostile(struct nl_msg *msg)
{
	nla_put_u32(msg, BC_TIER_A_USED_BYTES, 7);
	nla_put_u64(msg, BC_TIER_A_STATE, 1);
	nla_put(msg, BC_TIER_A_UUID, 3, "abc");
	nla_put(msg, BC_TIER_A_DEVICE, 3, "abc");
	nla_put(msg, BC_TIER_A_LABEL, 4, "\xff\xfe" "a");
	nla_put_u32(msg, BC_TIER_A_MAX + 7, 1);
}

/* Wrong lengths are left out, a missing zero and bytes that are no UTF-8 do no harm. */
static void hostile(void **state)
{
	json_t *object = decoded(BC_A_TIER, fill_hostile);

	(void)state;
	assert_null(json_object_get(object, "used_bytes"));
	assert_null(json_object_get(object, "state"));
	assert_null(json_object_get(object, "uuid"));
	assert_string_equal(out_str(object, "device"), "abc");
	assert_string_equal(out_str(object, "label"), "\\xff\\xfea");
	json_decref(object);
}

static void fill_mount(struct nl_msg *msg)
{
	nla_put_u32(msg, BC_MOUNT_A_DEV, 8 << 20 | 300);
	nla_put_u32(msg, BC_MOUNT_A_CONSISTENCY, BC_CONSISTENCY_IMMUTABLE);
	nla_put_u32(msg, BC_MOUNT_A_ON_DAEMON_LOSS, 77);
	nla_put_u64(msg, BC_MOUNT_A_STALE_MS, UINT64_MAX);
}

static void mount(void **state)
{
	json_t *object = decoded(BC_A_MOUNT, fill_mount);

	(void)state;
	assert_string_equal(out_str(object, "dev"), "8:300");
	assert_string_equal(out_str(object, "consistency"), "immutable");
	assert_string_equal(out_str(object, "on_daemon_loss"), "unknown-77");
	assert_true(json_is_null(json_object_get(object, "stale_ms")));
	json_decref(object);
}

static void fill_stats(struct nl_msg *msg)
{
	int i;

	for (i = BC_STAT_PAD + 1; i <= BC_STAT_MAX; i++)
		nla_put_u64(msg, i, (uint64_t)i);
}

static void stats(void **state)
{
	json_t *object = decoded(BC_A_STATS, fill_stats);
	int i;

	(void)state;
	assert_int_equal(json_object_size(object), BC_STAT_MAX - BC_STAT_PAD);
	for (i = BC_STAT_PAD + 1; i <= BC_STAT_MAX; i++)
		assert_int_equal(out_num(object, stat_fields[i].name), i);
	assert_int_equal(out_num(object, "hit_reads"), BC_STAT_HIT_READS);
	json_decref(object);
}

static char *rendered_stats(const json_t *now, const json_t *before, uint64_t ms)
{
	size_t size;
	char *text;
	FILE *stream = open_memstream(&text, &size);

	stats_render(stream, now, before, ms);
	fclose(stream);
	return text;
}

static void stats_text(void **state)
{
	json_t *now = json_pack("{s:i,s:I}", "hit_reads", 3000, "fetch_bytes", (json_int_t)1 << 30);
	json_t *before = json_pack("{s:i,s:i}", "hit_reads", 1000, "fetch_bytes", 0);
	char *text = rendered_stats(now, NULL, 0);

	(void)state;
	assert_non_null(strstr(text, "3 000\n"));
	assert_non_null(strstr(text, "1.00 GiB\n"));
	assert_null(strstr(text, "miss_reads"));
	free(text);
	text = rendered_stats(now, before, 2000);
	assert_non_null(strstr(text, "1 000/s"));
	assert_non_null(strstr(text, "512 MiB/s"));
	free(text);
	json_decref(now);
	json_decref(before);
}

static json_t *healthy(void)
{
	return json_pack(
		"{s:s, s:{s:b,s:i,s:i,s:i,s:b}, s:i, s:i, s:i, s:[{s:s,s:s,s:I,s:I,s:I,s:i}],"
		" s:[{s:s,s:s,s:s,s:s,s:s,s:i,s:b,s:b,s:[s]}], s:{s:i,s:i,s:i,s:i}}",
		"module_version", "0.1.0",
		"daemon", "alive", 1, "pid", 812, "epoch", 3, "since_ms", 7380000, "answers", 1,
		"request_count", 2, "oldest_request_ms", 40, "memory_bytes", 1 << 20,
		"tiers", "device", "/dev/nvme1n1", "state", "live", "frame_bytes", (json_int_t)1000,
		"used_bytes", (json_int_t)500, "free_bytes", (json_int_t)500, "pinned_bytes", 0,
		"mounts", "source", "azure://h/c", "prefix", "p", "lower_type", "fuse.rclone",
		"consistency", "close-to-open", "on_daemon_loss", "lower", "ttl_ms", 3000,
		"read_only", 1, "lower_suspect", 0, "targets", "/mnt/data",
		"stats", "hit_reads", 9, "miss_reads", 1, "hit_bytes", 90, "miss_bytes", 10);
}

static char *rendered(json_t *status)
{
	size_t size;
	char *text;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(status);
	status_judge(status);
	assert_int_equal(status_render(stream, status), 0);
	fclose(stream);
	return text;
}

static void status_ok(void **state)
{
	json_t *status = healthy();
	char *text = rendered(status);

	(void)state;
	assert_string_equal(out_str(status, "state"), "ok");
	assert_non_null(strstr(text, "blobcache 0.1.0"));
	assert_non_null(strstr(text, "running for 2h03m, pid 812"));
	assert_non_null(strstr(text, "90.0 % of reads"));
	assert_non_null(strstr(text, "[########--------]"));
	assert_non_null(strstr(text, "/mnt/data"));
	assert_non_null(strstr(text, "azure://h/c/p"));
	assert_non_null(strstr(text, "close-to-open 3.0 s"));
	assert_null(strstr(text, "warning"));
	assert_null(strchr(text, '\033'));
	free(text);
	json_decref(status);
}

static void status_degraded(void **state)
{
	json_t *status = healthy();
	char *text;

	(void)state;
	json_object_set_new(json_object_get(status, "daemon"), "alive", json_false());
	json_object_set_new(json_array_get(json_object_get(status, "tiers"), 0), "state",
			    json_string("failed"));
	json_object_set_new(json_array_get(json_object_get(status, "mounts"), 0), "lower_suspect",
			    json_true());
	json_object_set_new(json_object_get(status, "stats"), "crc_errors", json_integer(1));
	text = rendered(status);
	assert_string_equal(out_str(status, "state"), "degraded");
	assert_int_equal(json_array_size(json_object_get(status, "warnings")), 4);
	assert_non_null(strstr(text, "down for 2h03m"));
	assert_non_null(strstr(text, "/dev/nvme1n1 is failed"));
	assert_non_null(strstr(text, "mount relower /mnt/data"));
	free(text);
	json_decref(status);
}

static void status_hung_daemon(void **state)
{
	json_t *status = healthy();
	char *text;

	(void)state;
	json_object_set_new(json_object_get(status, "daemon"), "answers", json_false());
	text = rendered(status);
	assert_string_equal(out_str(status, "state"), "degraded");
	assert_non_null(strstr(text, "does not answer, pid 812"));
	free(text);
	json_decref(status);
}

static void status_idle(void **state)
{
	json_t *status = json_pack("{s:{s:b},s:[],s:[],s:{}}", "daemon", "alive", 0, "tiers",
				   "mounts", "stats");
	char *text = rendered(status);

	(void)state;
	assert_string_equal(out_str(status, "state"), "idle");
	assert_non_null(strstr(text, "none since the module was loaded"));
	free(text);
	json_decref(status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tier), cmocka_unit_test(hostile), cmocka_unit_test(mount),
		cmocka_unit_test(stats), cmocka_unit_test(stats_text),
		cmocka_unit_test(status_ok), cmocka_unit_test(status_degraded),
		cmocka_unit_test(status_hung_daemon), cmocka_unit_test(status_idle),
	};

	return cmocka_run_group_tests_name("cachectl fields and status", tests, NULL, NULL);
}
