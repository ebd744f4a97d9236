// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands that show all of something that the kernel has. */
#include <stdio.h>

#include "dumpcmd.h"
#include "filecmd.h"

static int show(const struct dump *dump, json_t *rows)
{
	json_t *answer;
	int rc = CTL_OK;

	if (ctl.json) {
		answer = filecmd_schema();
		json_object_set_new(answer, dump->key, rows);
		return out_json(stdout, answer, 0);
	}
	if (json_array_size(rows))
		rc = out_table(stdout, dump->columns, rows);
	else
		printf("%s\n", dump->nothing);
	json_decref(rows);
	return rc;
}

int dumpcmd_run(const struct command *cmd, int argc, char **argv, const struct dump *dump)
{
	struct bcnl *nl;
	json_t *rows;
	int rc;

	rc = ctl_no_arguments(cmd, argc, argv);
	if (rc)
		return rc;
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	if (bcnl_dump(nl, dump->command, dump->attribute, &rows))
		rc = bcnl_failed(nl, "");
	else
		rc = show(dump, rows);
	bcnl_close(nl);
	return rc;
}
