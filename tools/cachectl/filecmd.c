// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands that do one thing to each file. */
#include <stdio.h>
#include <string.h>

#include "filecmd.h"
#include "format.h"
#include "output.h"

const struct option filecmd_options[] = {
	{ "recursive", no_argument, NULL, 'r' },
	{ 0 }
};

int filecmd_parse(const struct command *cmd, int argc, char **argv, bool *recursive)
{
	*recursive = false;
	while (ctl_getopt(cmd, argc, argv) != -1)
		*recursive = true;
	if (optind == argc)
		return ctl_usage("%s: give at least one path", ctl.path);
	return CTL_OK;
}

int filecmd_send(struct bcnl *nl, enum bc_cmd command, const char *path, int fd,
		 json_t **answer)
{
	struct nl_msg *message = bcnl_message(nl, command);
	int rc;

	nla_put_u32(message, BC_A_FD, (uint32_t)fd);
	rc = bcnl_do(nl, message, answer ? BC_A_RESIDENCY : BC_A_UNSPEC, answer);
	if (rc && walk_quota())
		bcnl_failed(nl, path);
	return rc;
}

bool filecmd_bound(const json_t *residency)
{
	return out_num(residency, "size") || *out_str(residency, "etag");
}

json_t *filecmd_schema(void)
{
	char name[sizeof(ctl.path)], *space;

	snprintf(name, sizeof(name), "%s", ctl.path);
	while ((space = strchr(name, ' ')))
		*space = '.';
	return out_schema(name);
}

int filecmd_report(const struct walk *walk, const char *done)
{
	char files[FMT_SIZE], bytes[FMT_SIZE];
	json_t *answer;

	if (!ctl.json) {
		printf("%s %s file%s, %s\n", done, fmt_count(files, walk->files),
		       walk->files == 1 ? "" : "s", fmt_bytes(bytes, walk->bytes));
		return CTL_OK;
	}
	answer = filecmd_schema();
	json_object_set_new(answer, "files", json_integer((json_int_t)walk->files));
	json_object_set_new(answer, "bytes", json_integer((json_int_t)walk->bytes));
	json_object_set_new(answer, "failed", json_integer((json_int_t)walk->failed));
	return out_json(stdout, answer, 0);
}

struct job {
	struct bcnl *nl;
	enum bc_cmd command;
};

static int send_one(const char *path, int fd, uint64_t size, void *arg)
{
	const struct job *job = arg;

	(void)size;
	return filecmd_send(job->nl, job->command, path, fd, NULL);
}

int filecmd_run(const struct command *cmd, int argc, char **argv, enum bc_cmd command,
		const char *done)
{
	struct job job = { .command = command };
	struct walk walk;
	bool recursive;
	int rc, shown;

	rc = filecmd_parse(cmd, argc, argv, &recursive);
	if (!rc)
		rc = bcnl_open(&job.nl);
	if (rc)
		return rc;
	rc = walk_files(argv + optind, recursive, send_one, &job, &walk);
	bcnl_close(job.nl);
	if (rc && !walk.files)
		return rc;
	shown = filecmd_report(&walk, done);
	return rc ? rc : shown;
}
