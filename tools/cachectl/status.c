// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl status: one screen. */
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>

#include "cachectl.h"
#include "disklist.h"
#include "format.h"
#include "mountlist.h"
#include "netlink.h"
#include "output.h"
#include "status.h"

#define BAR_WIDTH 16

/* A pending request older than this is worth a word. */
#define OLD_REQUEST_MS 10000

/* --- collect --- */

static uint64_t oldest(const json_t *requests)
{
	uint64_t age, most = 0;
	size_t i;

	for (i = 0; i < json_array_size(requests); i++) {
		age = out_num(json_array_get(requests, i), "age_ms");
		if (age > most)
			most = age;
	}
	return most;
}

static void move(json_t *to, const char *name, json_t *from, const char *key)
{
	json_t *value = json_object_get(from, key);

	if (value)
		json_object_set(to, name, value);
	json_object_del(from, key);
}

/* The kernel's flat answer, sorted: what belongs to the daemon under "daemon". */
static json_t *sort_status(json_t *flat)
{
	json_t *status = out_schema("status"), *daemon = json_object();

	move(status, "module_version", flat, "module_version");
	json_object_set_new(daemon, "alive", json_boolean(out_num(flat, "daemon_pid")));
	move(daemon, "pid", flat, "daemon_pid");
	move(daemon, "answers", flat, "daemon_answers");
	move(daemon, "epoch", flat, "daemon_epoch");
	move(daemon, "since_ms", flat, "daemon_since_ms");
	json_object_set_new(status, "daemon", daemon);
	json_object_update_missing_new(status, flat);
	return status;
}

static int collect(struct bcnl *nl, json_t **status)
{
	json_t *flat = NULL, *tiers = NULL, *mounts = NULL, *requests = NULL, *stats = NULL;
	json_t *disks = NULL;
	int rc = bcnl_get(nl, BC_CMD_STATUS_GET, BC_A_STATUS, &flat);

	if (!rc)
		rc = bcnl_dump(nl, BC_CMD_TIER_GET, BC_A_TIER, &tiers);
	if (!rc)
		rc = mountlist_get(nl, &mounts);
	if (!rc)
		rc = bcnl_dump(nl, BC_CMD_DISK_GET, BC_A_DISK, &disks);
	if (!rc)
		rc = bcnl_dump(nl, BC_CMD_REQUEST_GET, BC_A_REQUEST, &requests);
	if (!rc)
		rc = bcnl_get(nl, BC_CMD_STATS_GET, BC_A_STATS, &stats);
	if (!rc) {
		*status = sort_status(json_incref(flat));
		json_object_set_new(*status, "oldest_request_ms",
				    json_integer((json_int_t)oldest(requests)));
		json_object_set(*status, "tiers", tiers);
		json_object_set(*status, "mounts", mounts);
		json_object_set(*status, "disks", disks);
		json_object_set(*status, "stats", stats);
		status_judge(*status);
	}
	json_decref(flat);
	json_decref(tiers);
	json_decref(mounts);
	json_decref(disks);
	json_decref(requests);
	json_decref(stats);
	return rc;
}

/* --- judge --- */

static void __attribute__((format(printf, 2, 3))) warn(json_t *warnings, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	json_array_append_new(warnings, json_vsprintf(format, args));
	va_end(args);
}

/* It holds the device open, but stopped working. */
static bool hangs(const json_t *daemon)
{
	return out_bool(daemon, "alive") && json_is_false(json_object_get(daemon, "answers"));
}

/* Does anybody read through the cache? */
static bool has_readers(const json_t *status)
{
	return json_array_size(json_object_get(status, "mounts")) ||
	       json_array_size(json_object_get(status, "disks"));
}

static void judge_daemon(const json_t *status, json_t *warnings)
{
	const json_t *daemon = json_object_get(status, "daemon");
	char since[FMT_SIZE];

	if (!has_readers(status))
		return;
	if (hangs(daemon))
		warn(warnings, "the daemon does not answer: it let a request rest longer than its "
		     "lease; 'journalctl -u blobcached' tells why, 'systemctl restart blobcached' "
		     "loses nothing");
	else if (out_bool(daemon, "alive"))
		return;
	else if (!out_num(daemon, "epoch"))
		warn(warnings, "the daemon never came: misses go to the lower mount or fail; "
		     "'systemctl start blobcached'");
	else
		warn(warnings, "the daemon went %s ago: cached data is served, misses fare as each "
		     "mount's on_daemon_loss says; 'systemctl status blobcached'",
		     fmt_ms(since, out_num(daemon, "since_ms")));
}

static void judge_tier(const json_t *tier, json_t *warnings)
{
	const char *device = out_str(tier, "device"), *state = out_str(tier, "state");

	if (!strcmp(state, "read-only"))
		warn(warnings, "tier %s is read-only, since writes to it fail: it serves what it has and "
		     "keeps nothing more; 'dmesg' tells why; if that lasts replace it, "
		     "'cachectl device detach %s' lets it go", device, device);
	else if (strcmp(state, "live"))
		warn(warnings, "tier %s is %s: reads go past it; 'dmesg' tells why, "
		     "'cachectl device detach %s' lets it go", device, state, device);
}

static void judge_tiers(const json_t *status, json_t *warnings)
{
	const json_t *tiers = json_object_get(status, "tiers");
	size_t i;

	for (i = 0; i < json_array_size(tiers); i++)
		judge_tier(json_array_get(tiers, i), warnings);
	if (!json_array_size(tiers) && has_readers(status))
		warn(warnings, "no tier is attached: only the page cache holds data; "
		     "'cachectl device attach DEVICE'");
}

static const char *target_of(const json_t *mount)
{
	const json_t *targets = json_object_get(mount, "targets");
	const char *target = json_string_value(json_array_get(targets, 0));

	return target ? target : "(a mount of another namespace)";
}

static void judge_mounts(const json_t *status, json_t *warnings)
{
	const json_t *mounts = json_object_get(status, "mounts"), *row;
	size_t i;

	for (i = 0; i < json_array_size(mounts); i++) {
		row = json_array_get(mounts, i);
		if (out_bool(row, "lower_suspect"))
			warn(warnings, "the lower mount (%s) of %s does not answer: cached files "
			     "are served, the rest fails at once; bring it back, or 'cachectl "
			     "mount relower %s NEWLOWER'", out_str(row, "lower_type"),
			     target_of(row), target_of(row));
	}
}

static void judge_disks(const json_t *status, json_t *warnings)
{
	const json_t *disks = json_object_get(status, "disks"), *row;
	size_t i;

	for (i = 0; i < json_array_size(disks); i++) {
		row = json_array_get(disks, i);
		if (!strcmp(out_str(row, "state"), "stale"))
			warn(warnings, "the store has the version of disk %s no longer: what of it is "
			     "not cached cannot be read; unmount it, then 'cachectl disk refresh %s'",
			     out_str(row, "name"), out_str(row, "name"));
	}
}

static void judge_requests(const json_t *status, json_t *warnings)
{
	uint64_t age = out_num(status, "oldest_request_ms");
	char text[FMT_SIZE];

	if (age > OLD_REQUEST_MS && out_bool(json_object_get(status, "daemon"), "alive"))
		warn(warnings, "the oldest request waits for %s: is the store slow? 'cachectl "
		     "requests' lists them, 'journalctl -u blobcached' tells the daemon's side",
		     fmt_ms(text, age));
}

static void judge_errors(const json_t *status, json_t *warnings)
{
	uint64_t errors = out_num(json_object_get(status, "stats"), "crc_errors");
	char count[FMT_SIZE];

	if (errors)
		warn(warnings, "%s blocks failed their checksum and were dropped, none was returned "
		     "to a reader: look at the device's health ('smartctl -a')",
		     fmt_count(count, errors));
}

void status_judge(json_t *status)
{
	json_t *warnings = json_array();
	const char *state = "ok";

	judge_daemon(status, warnings);
	judge_tiers(status, warnings);
	judge_mounts(status, warnings);
	judge_disks(status, warnings);
	judge_requests(status, warnings);
	judge_errors(status, warnings);
	if (json_array_size(warnings))
		state = "degraded";
	else if (!json_array_size(json_object_get(status, "tiers")) &&
		 !has_readers(status))
		state = "idle";
	json_object_set_new(status, "state", json_string(state));
	json_object_set_new(status, "warnings", warnings);
}

/* --- render --- */

static void render_head(FILE *stream, const json_t *status)
{
	const char *state = out_str(status, "state");
	enum out_color color = !strcmp(state, "degraded") ? OUT_WARN : OUT_GOOD;
	struct utsname name;

	if (uname(&name))
		strcpy(name.release, "?");
	fprintf(stream, "%sblobcache %s%s (kernel %s)   state: %s%s%s\n",
		out_paint(stream, OUT_BOLD), out_str(status, "module_version"),
		out_paint(stream, OUT_PLAIN), name.release, out_paint(stream, color), state,
		out_paint(stream, OUT_PLAIN));
}

static void render_daemon(FILE *stream, const json_t *status)
{
	const json_t *daemon = json_object_get(status, "daemon");
	char since[FMT_SIZE];

	fmt_ms(since, out_num(daemon, "since_ms"));
	if (hangs(daemon))
		fprintf(stream, " daemon    %sdoes not answer%s, pid %llu\n",
			out_paint(stream, OUT_BAD), out_paint(stream, OUT_PLAIN),
			(unsigned long long)out_num(daemon, "pid"));
	else if (out_bool(daemon, "alive"))
		fprintf(stream, " daemon    running for %s, pid %llu\n", since,
			(unsigned long long)out_num(daemon, "pid"));
	else if (out_num(daemon, "epoch"))
		fprintf(stream, " daemon    %sdown%s for %s\n", out_paint(stream, OUT_BAD),
			out_paint(stream, OUT_PLAIN), since);
	else
		fprintf(stream, " daemon    %sdown%s (none since the module was loaded)\n",
			out_paint(stream, OUT_BAD), out_paint(stream, OUT_PLAIN));
}

static void render_hits(FILE *stream, const json_t *stats)
{
	uint64_t hits = out_num(stats, "hit_reads"), hit_bytes = out_num(stats, "hit_bytes");
	uint64_t reads = hits + out_num(stats, "miss_reads");
	uint64_t bytes = hit_bytes + out_num(stats, "miss_bytes");
	char a[FMT_SIZE], b[FMT_SIZE], c[FMT_SIZE], d[FMT_SIZE], e[FMT_SIZE];

	fprintf(stream, " hits      %s of reads, %s of bytes (%s from tiers, %s from the store, "
		"%s from the lower)\n", fmt_percent(a, hits, reads),
		fmt_percent(b, hit_bytes, bytes), fmt_bytes(c, hit_bytes),
		fmt_bytes(d, out_num(stats, "fetch_bytes")),
		fmt_bytes(e, out_num(stats, "lower_bytes")));
}

static void render_pending(FILE *stream, const json_t *status)
{
	char memory[FMT_SIZE], age[FMT_SIZE], count[FMT_SIZE];
	uint64_t pending = out_num(status, "request_count");

	fprintf(stream, " pending   %s requests", fmt_count(count, pending));
	if (pending)
		fprintf(stream, " (oldest %s)", fmt_ms(age, out_num(status, "oldest_request_ms")));
	fprintf(stream, "\n memory    %s of the kernel's\n",
		fmt_bytes(memory, out_num(status, "memory_bytes")));
}

static void text_device(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "device"));
}

static void text_usage(char *buf, size_t size, const json_t *row)
{
	uint64_t used = out_num(row, "used_bytes"), all = out_num(row, "frame_bytes");
	char bar[BAR_WIDTH + 3], percent[FMT_SIZE];

	snprintf(buf, size, "%s %6s", fmt_bar(bar, BAR_WIDTH, used, all),
		 fmt_percent(percent, used, all));
}

static void text_bytes(char *buf, size_t size, const json_t *row, const char *key)
{
	char text[FMT_SIZE];

	snprintf(buf, size, "%s", fmt_bytes(text, out_num(row, key)));
}

static void text_used(char *buf, size_t size, const json_t *row)
{
	text_bytes(buf, size, row, "used_bytes");
}

static void text_free(char *buf, size_t size, const json_t *row)
{
	text_bytes(buf, size, row, "free_bytes");
}

static void text_pinned(char *buf, size_t size, const json_t *row)
{
	text_bytes(buf, size, row, "pinned_bytes");
}

static void text_state(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "state"));
}

static enum out_color color_state(const json_t *row)
{
	return strcmp(out_str(row, "state"), "live") ? OUT_BAD : OUT_GOOD;
}

static const struct out_column tier_columns[] = {
	{ "TIER", false, false, text_device, NULL },
	{ "IN USE", false, false, text_usage, NULL },
	{ "USED", true, false, text_used, NULL },
	{ "FREE", true, false, text_free, NULL },
	{ "PINNED", true, false, text_pinned, NULL },
	{ "STATE", false, false, text_state, color_state },
	{ 0 }
};

static int render_tables(FILE *stream, const json_t *status)
{
	const json_t *tiers = json_object_get(status, "tiers");
	const json_t *mounts = json_object_get(status, "mounts");
	const json_t *disks = json_object_get(status, "disks");
	int rc = CTL_OK;

	if (json_array_size(tiers)) {
		fputc('\n', stream);
		rc = out_table(stream, tier_columns, tiers);
	}
	if (!rc && json_array_size(mounts)) {
		fputc('\n', stream);
		rc = mountlist_table(stream, mounts, false);
	}
	if (!rc && json_array_size(disks)) {
		fputc('\n', stream);
		rc = out_table(stream, disklist_columns, disks);
	}
	return rc;
}

static void render_warnings(FILE *stream, const json_t *status)
{
	const json_t *warnings = json_object_get(status, "warnings");
	size_t i;

	if (json_array_size(warnings))
		fputc('\n', stream);
	for (i = 0; i < json_array_size(warnings); i++)
		fprintf(stream, "%swarning%s: %s\n", out_paint(stream, OUT_WARN),
			out_paint(stream, OUT_PLAIN),
			json_string_value(json_array_get(warnings, i)));
}

int status_render(FILE *stream, const json_t *status)
{
	int rc;

	render_head(stream, status);
	render_daemon(stream, status);
	render_hits(stream, json_object_get(status, "stats"));
	render_pending(stream, status);
	rc = render_tables(stream, status);
	if (!strcmp(out_str(status, "state"), "idle"))
		fprintf(stream, "\nneither tier nor mount nor disk; "
			"'cachectl --help' shows the five steps\n");
	render_warnings(stream, status);
	return rc;
}

/* --- command --- */

static int not_loaded(int rc)
{
	json_t *answer;

	if (rc != CTL_NOTHING || !ctl.json)
		return rc;
	answer = out_schema("status");
	json_object_set_new(answer, "state", json_string("not loaded"));
	out_json(stdout, answer, 0);
	return rc;
}

static int run_status(const struct command *cmd, int argc, char **argv)
{
	json_t *status = NULL;
	struct bcnl *nl;
	int rc;

	rc = ctl_no_arguments(cmd, argc, argv);
	if (rc)
		return rc;
	rc = bcnl_open(&nl);
	if (rc)
		return not_loaded(rc);
	if (collect(nl, &status))
		rc = bcnl_failed(nl, "");
	else if (ctl.json)
		rc = out_json(stdout, json_incref(status), 0);
	else
		rc = status_render(stdout, status);
	json_decref(status);
	bcnl_close(nl);
	return rc;
}

const struct command cmd_status = {
	.name = "status",
	.summary = "one screen: is it well, what does it hold, what is wrong",
	.usage = "",
	.run = run_status,
	.help =
"\n"
"Asks the kernel only: it answers while the daemon is down or the store is away.\n"
"State is ok, degraded (warnings say why and what to do) or idle. Exit code 3 if the\n"
"module is not loaded.\n"
"\n"
"Examples\n"
"  cachectl status\n"
"  watch -c cachectl status\n"
"  cachectl status --json | jq -e '.state == \"ok\"'      as a probe\n",
};
