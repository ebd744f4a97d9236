// SPDX-License-Identifier: GPL-2.0-or-later
/* The mounts of blobcache. */
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "format.h"
#include "mountinfo.h"
#include "mountlist.h"
#include "output.h"

static void add_target(const struct mountinfo *mount, void *arg)
{
	json_t *mounts = arg, *row;
	char dev[32];
	size_t i;

	if (strcmp(mount->type, "blobcache"))
		return;
	snprintf(dev, sizeof(dev), "%u:%u", major(mount->dev), minor(mount->dev));
	for (i = 0; i < json_array_size(mounts); i++) {
		row = json_array_get(mounts, i);
		if (!strcmp(out_str(row, "dev"), dev))
			json_array_append_new(json_object_get(row, "targets"),
					      out_text(mount->target, strlen(mount->target)));
	}
}

int mountlist_get(struct bcnl *nl, json_t **mounts)
{
	size_t i;
	int rc = bcnl_dump(nl, BC_CMD_MOUNT_GET, BC_A_MOUNT, mounts);

	if (rc)
		return rc;
	for (i = 0; i < json_array_size(*mounts); i++)
		json_object_set_new(json_array_get(*mounts, i), "targets", json_array());
	return mountinfo_each(add_target, *mounts);
}

static void text_target(char *buf, size_t size, const json_t *row)
{
	const json_t *targets = json_object_get(row, "targets");
	const char *first = json_string_value(json_array_get(targets, 0));

	if (json_array_size(targets) > 1)
		snprintf(buf, size, "%s (+%zu)", first, json_array_size(targets) - 1);
	else
		snprintf(buf, size, "%s", first ? first : "(elsewhere)");
}

static void text_source(char *buf, size_t size, const json_t *row)
{
	const char *prefix = out_str(row, "prefix");

	snprintf(buf, size, "%s%s%s", out_str(row, "source"), *prefix ? "/" : "", prefix);
}

static void text_lower(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "lower_type"));
}

static void text_mode(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_bool(row, "read_only") ? "ro" : "rw");
}

static void text_consistency(char *buf, size_t size, const json_t *row)
{
	char ttl[FMT_SIZE];

	if (strcmp(out_str(row, "consistency"), "close-to-open"))
		snprintf(buf, size, "%s", out_str(row, "consistency"));
	else
		snprintf(buf, size, "close-to-open %s", fmt_ms(ttl, out_num(row, "ttl_ms")));
}

static void text_loss(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "on_daemon_loss"));
}

static void text_open(char *buf, size_t size, const json_t *row)
{
	char count[FMT_SIZE];

	snprintf(buf, size, "%s", fmt_count(count, out_num(row, "open_files")));
}

static void text_state(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_bool(row, "lower_suspect") ? "lower suspect" : "ok");
}

static enum out_color color_state(const json_t *row)
{
	return out_bool(row, "lower_suspect") ? OUT_BAD : OUT_GOOD;
}

static const struct out_column status_columns[] = {
	{ "MOUNT", false, false, text_target, NULL },
	{ "SOURCE", false, true, text_source, NULL },
	{ "LOWER", false, false, text_lower, NULL },
	{ "CONSISTENCY", false, false, text_consistency, NULL },
	{ "STATE", false, false, text_state, color_state },
	{ 0 }
};

static const struct out_column columns[] = {
	{ "MOUNT", false, false, text_target, NULL },
	{ "SOURCE", false, true, text_source, NULL },
	{ "LOWER", false, false, text_lower, NULL },
	{ "MODE", false, false, text_mode, NULL },
	{ "CONSISTENCY", false, false, text_consistency, NULL },
	{ "ON LOSS", false, false, text_loss, NULL },
	{ "OPEN", true, false, text_open, NULL },
	{ "STATE", false, false, text_state, color_state },
	{ 0 }
};

int mountlist_table(FILE *stream, const json_t *mounts, bool wide)
{
	return out_table(stream, wide ? columns : status_columns, mounts);
}
