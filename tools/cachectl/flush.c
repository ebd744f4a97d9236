// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl flush: files that are not in the store yet. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cachectl.h"
#include "columns.h"
#include "dirtylist.h"
#include "filecmd.h"
#include "format.h"
#include "mountlist.h"
#include "output.h"
#include "progress.h"

#define POLL_MS		250
#define HOPELESS_POLLS	8		/* what the daemon tells may be that much older */

enum {
	OPT_WAIT = CTL_OPT_OWN,
	OPT_TIMEOUT,
};

/* --- list --- */

static void text_state(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "flush"));
}

static enum out_color color_state(const json_t *row)
{
	const char *state = out_str(row, "flush");

	if (!strcmp(state, "conflict") || !strcmp(state, "no-store") ||
	    !strcmp(state, "trouble") || !strcmp(state, "no-daemon"))
		return OUT_BAD;
	return strcmp(state, "committed") ? OUT_PLAIN : OUT_GOOD;
}

static void text_done(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	if (json_object_get(row, "uploaded_bytes"))
		snprintf(buf, size, "%s", fmt_percent(text, out_num(row, "uploaded_bytes"),
						      out_num(row, "size")));
	else
		snprintf(buf, size, "-");
}

static void text_age(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	if (json_object_get(row, "age_ms"))
		snprintf(buf, size, "%s", fmt_ms(text, out_num(row, "age_ms")));
	else
		snprintf(buf, size, "-");
}

static void text_why(char *buf, size_t size, const json_t *row)
{
	if (json_object_get(row, "aside"))
		snprintf(buf, size, "kept aside as %s", out_str(row, "aside"));
	else if (!strcmp(out_str(row, "flush"), "conflict"))
		snprintf(buf, size, "somebody else's version is there");
	else
		snprintf(buf, size, "%s", out_str(row, "reason"));
}

static const struct out_column columns[] = {
	{ "STATE", false, false, text_state, color_state },
	{ "SIZE", true, false, column_size, NULL },
	{ "DONE", true, false, text_done, NULL },
	{ "AGE", true, false, text_age, NULL },
	{ "OBJECT", false, false, column_object, NULL },
	{ "WHY", false, true, text_why, NULL },
	{ 0 }
};

static int show_list(struct dirtylist *list)
{
	json_t *answer;

	if (ctl.json) {
		answer = filecmd_schema();
		json_object_set(answer, "files", list->rows);
		if (list->counts)
			json_object_set(answer, "counts", list->counts);
		return out_json(stdout, answer, 0);
	}
	if (json_array_size(list->rows))
		return out_table(stdout, columns, list->rows);
	printf("nothing is dirty\n");
	return CTL_OK;
}

static int with_list(const char *path, int (*show)(struct dirtylist *list))
{
	struct dirtyplace place = { 0 };
	struct dirtylist list;
	struct bcnl *nl;
	int rc = bcnl_open(&nl);

	if (rc)
		return rc;
	if (path)
		rc = dirtyplace_find(nl, path, &place);
	if (!rc) {
		rc = dirtylist_get(nl, &place, &list);
		rc = rc ? bcnl_failed(nl, "") : show(&list);
		dirtylist_free(&list);
	}
	bcnl_close(nl);
	return rc;
}

static int run_list(const struct command *cmd, int argc, char **argv)
{
	int rc = ctl_no_arguments(cmd, argc, argv);

	return rc ? rc : with_list(NULL, show_list);
}

/* --- show --- */

static void line(const char *name, const char *text)
{
	if (*text)
		printf("%-12s  %s\n", name, text);
}

static void show_file(const json_t *row)
{
	char text[5000];
	time_t mtime = (time_t)out_num(row, "mtime");
	struct tm tm;

	column_object(text, sizeof(text), row);
	line("object", text);
	line("state", out_str(row, "flush"));
	text_why(text, sizeof(text), row);
	line("why", text);
	column_size(text, sizeof(text), row);
	line("size", text);
	if (localtime_r(&mtime, &tm) && strftime(text, sizeof(text), "%F %T", &tm))
		line("modified", text);
	text_done(text, sizeof(text), row);
	line("uploaded", text);
	text_age(text, sizeof(text), row);
	line("waiting for", text);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)out_num(row, "writers"));
	line("writers", text);
	line("device", out_str(row, "device"));
	line("generation", out_str(row, "generation"));
	line("in the store", out_str(row, "acked_etag"));
}

static int show_files(struct dirtylist *list)
{
	size_t i;

	if (ctl.json)
		return show_list(list);
	for (i = 0; i < json_array_size(list->rows); i++) {
		if (i)
			printf("\n");
		show_file(json_array_get(list->rows, i));
	}
	if (!i)
		printf("nothing is dirty\n");
	return CTL_OK;
}

static int run_show(const struct command *cmd, int argc, char **argv)
{
	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	if (optind + 1 != argc)
		return ctl_usage("%s: give one path", ctl.path);
	return with_list(argv[optind], show_files);
}

/* --- flush --- */

/**
 * struct wait - until the store has it
 * @files: that are not there
 * @bytes: of them
 * @sent: of these
 * @hopeless: files that nobody will upload as things are
 * @why: of one of them
 */
struct wait {
	size_t files, hopeless;
	uint64_t bytes, sent;
	char why[5200];
};

static void count(const struct dirtylist *list, struct wait *wait)
{
	size_t i;

	*wait = (struct wait){ 0 };
	for (i = 0; i < json_array_size(list->rows); i++) {
		const json_t *row = json_array_get(list->rows, i);
		const char *state = out_str(row, "flush");

		if (!strcmp(out_str(row, "state"), "committed"))
			continue;
		wait->files++;
		wait->bytes += out_num(row, "size");
		wait->sent += out_num(row, "uploaded_bytes");
		if (strcmp(state, "conflict") && strcmp(state, "no-store"))
			continue;
		wait->hopeless++;
		snprintf(wait->why, sizeof(wait->why), "%s/%s: %s%s%s", out_str(row, "source"),
			 out_str(row, "path"), state,
			 *out_str(row, "reason") ? ": " : "", out_str(row, "reason"));
	}
}

static int told(const struct wait *first)
{
	json_t *answer;
	char bytes[FMT_SIZE];

	if (!ctl.json) {
		printf("flushed %zu files, %s\n", first->files, fmt_bytes(bytes, first->bytes));
		return CTL_OK;
	}
	answer = filecmd_schema();
	json_object_set_new(answer, "files", json_integer((json_int_t)first->files));
	json_object_set_new(answer, "bytes", json_integer((json_int_t)first->bytes));
	return out_json(stdout, answer, 0);
}

static int poll_once(struct bcnl *nl, const struct dirtyplace *place, struct wait *wait,
		     bool *has_daemon)
{
	struct dirtylist list;

	if (dirtylist_get(nl, place, &list))
		return bcnl_failed(nl, "");
	count(&list, wait);
	*has_daemon = list.has_daemon;
	dirtylist_free(&list);
	return CTL_OK;
}

static int wait_for(struct bcnl *nl, const struct dirtyplace *place, uint64_t timeout_ms)
{
	unsigned int hopeless = 0;
	struct wait first, now;
	struct progress bar;
	bool has_daemon, warned = false;
	int rc = poll_once(nl, place, &first, &has_daemon);

	if (rc)
		return rc;
	now = first;
	progress_begin(&bar, first.bytes, 0);
	while (now.files && hopeless < HOPELESS_POLLS &&
	       (!timeout_ms || progress_clock() < bar.begun + timeout_ms) && !rc) {
		if (!has_daemon && !warned)
			ctl_warn("%s: no daemon uploads; start blobcached", ctl.path);
		warned = !has_daemon;
		usleep(POLL_MS * 1000);
		rc = poll_once(nl, place, &now, &has_daemon);
		hopeless = now.hopeless && now.hopeless == now.files ? hopeless + 1 : 0;
		progress_update(&bar, first.bytes > now.bytes ?
				first.bytes - now.bytes + now.sent : now.sent);
	}
	progress_end(&bar);
	if (rc)
		return rc;
	if (!now.files)
		return told(&first);
	if (now.hopeless == now.files)
		return ctl_fail("%s: %zu files cannot be uploaded as things are; %s", ctl.path,
				now.files, now.why);
	return ctl_fail("%s: %zu files are not uploaded yet; 'cachectl flush list' shows them",
			ctl.path, now.files);
}

/* What was written and is in memory only the daemon never hears of. */
static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int rc = CTL_OK;

	if (fd < 0 || syncfs(fd))
		rc = ctl_fail("%s %s: %s", ctl.path, path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

static int sync_all(struct bcnl *nl)
{
	json_t *mounts, *row, *target;
	int rc = CTL_OK;
	size_t i;

	if (mountlist_get(nl, &mounts))
		return bcnl_failed(nl, "");
	for (i = 0; i < json_array_size(mounts) && !rc; i++) {
		row = json_array_get(mounts, i);
		target = json_array_get(json_object_get(row, "targets"), 0);
		if (target && !out_bool(row, "read_only"))
			rc = sync_path(json_string_value(target));
	}
	json_decref(mounts);
	return rc;
}

static int flush(const char *path, bool wait, uint64_t timeout_ms)
{
	struct dirtyplace place = { 0 };
	struct bcnl *nl;
	int rc = bcnl_open(&nl);

	if (rc)
		return rc;
	if (path)
		rc = dirtyplace_find(nl, path, &place);
	if (!rc)
		rc = path ? sync_path(path) : sync_all(nl);
	if (!rc && wait)
		rc = wait_for(nl, &place, timeout_ms);
	bcnl_close(nl);
	return rc;
}

static int run_flush(const struct command *cmd, int argc, char **argv)
{
	uint64_t timeout_ms = 0;
	bool wait = false;
	int opt;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1) {
		if (opt == OPT_WAIT)
			wait = true;
		else if (parse_ms(optarg, &timeout_ms) || !timeout_ms)
			return ctl_usage("%s: --timeout wants a time like 30s or 10m, not '%s'",
					 ctl.path, optarg);
	}
	if (argc > optind + 1)
		return ctl_usage("%s: give one path, or none", ctl.path);
	return flush(argv[optind], wait, timeout_ms);
}

static const struct command flush_list = {
	.name = "list",
	.summary = "files that are not in the store, or that the mount below does not show yet",
	.usage = "",
	.run = run_list,
	.help =
"\n"
"States: writing (open), waiting, staging (open, and large), uploading, in-order (uploaded,\n"
"others have to be seen before), paused, trouble (tried again; see WHY), conflict (somebody\n"
"else's version is there, ours is kept beside it), no-store (source has no credentials),\n"
"no-daemon, committed.\n"
"\n"
"Example\n"
"  cachectl flush list --json | jq '[.files[] | select(.state != \"committed\").size] | add'\n",
};

static const struct command flush_show = {
	.name = "show",
	.summary = "all that is known of a file, or of those below a directory",
	.usage = "PATH",
	.run = run_show,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"Example\n"
"  cachectl flush show /mnt/out/step-1000/model.safetensors\n",
};

static const struct command *const flush_sub[] = { &flush_list, &flush_show, NULL };

static const struct option options[] = {
	{ "wait", no_argument, NULL, OPT_WAIT },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ 0 }
};

const struct command cmd_flush = {
	.name = "flush",
	.summary = "what was written goes to the store: now, and until it is there",
	.usage = "[--wait [--timeout TIME]] [PATH] | COMMAND ...",
	.options = options,
	.run = run_flush,
	.sub = flush_sub,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"Makes durable what was written below PATH, or on all mounts, which the daemon then uploads.\n"
"A file that is called as a command is './list'.\n"
"\n"
"Options\n"
"      --wait          until the store has all of it; what is open for writing is waited for\n"
"      --timeout TIME  not longer than that; then it fails\n"
"\n"
"Example\n"
"  cachectl flush --wait /mnt/out/step-1000\n",
};
