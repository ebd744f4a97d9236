// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl residency: how much of which file is cached. */
#include <stdio.h>
#include <string.h>

#include "cachectl.h"
#include "columns.h"
#include "filecmd.h"
#include "format.h"
#include "netlink.h"
#include "output.h"

struct survey {
	struct bcnl *nl;
	json_t *files;
	uint64_t size, resident, pending;
};

static int survey_one(const char *path, int fd, uint64_t size, void *arg)
{
	struct survey *survey = arg;
	json_t *file = NULL;

	if (filecmd_send(survey->nl, BC_CMD_RESIDENCY, path, fd, &file))
		return -1;
	if (!file)
		file = json_object();
	if (!filecmd_bound(file))
		json_object_set_new(file, "size", json_integer((json_int_t)size));
	json_object_set_new(file, "path", out_text(path, strlen(path)));
	survey->size += out_num(file, "size");
	survey->resident += out_num(file, "resident_bytes");
	survey->pending += out_num(file, "pending_bytes");
	json_array_append_new(survey->files, file);
	return 0;
}

static void text_path(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "path"));
}

static void text_resident(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	snprintf(buf, size, "%s", fmt_percent(text, out_num(row, "resident_bytes"),
					      out_num(row, "size")));
}

static void text_pending(char *buf, size_t size, const json_t *row)
{
	char text[FMT_SIZE];

	snprintf(buf, size, "%s", out_num(row, "pending_bytes") ?
		 fmt_bytes(text, out_num(row, "pending_bytes")) : "-");
}

static void text_pinned(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_bool(row, "pinned") ? "yes" : "-");
}

static void text_etag(char *buf, size_t size, const json_t *row)
{
	const char *etag = out_str(row, "etag");

	snprintf(buf, size, "%s", *etag ? etag : "(not resolved)");
}

static const struct out_column columns[] = {
	{ "FILE", false, false, text_path, NULL },
	{ "SIZE", true, false, column_size, NULL },
	{ "RESIDENT", true, false, text_resident, NULL },
	{ "PENDING", true, false, text_pending, NULL },
	{ "PINNED", false, false, text_pinned, NULL },
	{ "VERSION", false, true, text_etag, NULL },
	{ 0 }
};

static int show_json(struct survey *survey)
{
	json_t *answer = filecmd_schema();

	json_object_set_new(answer, "size", json_integer((json_int_t)survey->size));
	json_object_set_new(answer, "resident_bytes", json_integer((json_int_t)survey->resident));
	json_object_set_new(answer, "pending_bytes", json_integer((json_int_t)survey->pending));
	json_object_set(answer, "files", survey->files);
	return out_json(stdout, answer, 0);
}

static int show(struct survey *survey)
{
	char size[FMT_SIZE], resident[FMT_SIZE], percent[FMT_SIZE], files[FMT_SIZE];
	size_t count = json_array_size(survey->files);
	int rc;

	if (ctl.json)
		return show_json(survey);
	if (!count)
		return CTL_OK;
	rc = out_table(stdout, columns, survey->files);
	if (count > 1)
		printf("%s files: %s of %s resident (%s)\n", fmt_count(files, count),
		       fmt_bytes(resident, survey->resident), fmt_bytes(size, survey->size),
		       fmt_percent(percent, survey->resident, survey->size));
	return rc;
}

static int run_residency(const struct command *cmd, int argc, char **argv)
{
	struct survey survey = { 0 };
	struct walk walk;
	bool recursive;
	int rc, shown;

	rc = filecmd_parse(cmd, argc, argv, &recursive);
	if (!rc)
		rc = bcnl_open(&survey.nl);
	if (rc)
		return rc;
	survey.files = json_array();
	rc = walk_files(argv + optind, recursive, survey_one, &survey, &walk);
	shown = show(&survey);
	json_decref(survey.files);
	bcnl_close(survey.nl);
	return rc ? rc : shown;
}

const struct command cmd_residency = {
	.name = "residency",
	.summary = "how much of which file is on a tier",
	.usage = "[-r] PATH ...",
	.options = filecmd_options,
	.run = run_residency,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"Options\n"
"  -r, --recursive  all files below directories\n"
"\n"
"Examples\n"
"  cachectl residency /mnt/data/shard-000.tar\n"
"  cachectl residency -r /mnt/data --json | jq '.resident_bytes / .size'\n",
};
