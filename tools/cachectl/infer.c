// SPDX-License-Identifier: GPL-2.0-or-later
/* Which store is behind a mount? */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "infer.h"

#define GIVE "give --source azure://ACCOUNT.blob.core.windows.net/"

/* NFS 3 of Azure Blob: ACCOUNT.blob.core.windows.net:/ACCOUNT/CONTAINER */
static bool infer_nfs(const char *source, char *out)
{
	const char *colon = strstr(source, ":/"), *container;
	size_t host;

	if (!colon)
		return false;
	host = (size_t)(colon - source);
	if (!memmem(source, host, ".blob.core.", 11))
		return false;
	container = strchr(colon + 2, '/');
	if (!container || !container[1] || strchr(container + 1, '/'))
		return false;
	snprintf(out, INFER_SIZE, "azure://%.*s/%s", (int)host, source, container + 1);
	return true;
}

/* rclone shows "remote:container/path" or "remote{hash}:container/path". */
static void advise_rclone(const char *source, char *out)
{
	const char *path = strchr(source, ':');
	size_t container;

	if (!path || !path[1]) {
		snprintf(out, INFER_SIZE, "rclone does not show which account '%s' is; " GIVE
			 "CONTAINER", source);
		return;
	}
	container = strcspn(path + 1, "/");
	snprintf(out, INFER_SIZE, "rclone does not show which account '%s' is; " GIVE "%.*s%s%s",
		 source, (int)container, path + 1, path[1 + container] ? " --prefix " : "",
		 path[1 + container] ? path + 1 + container + 1 : "");
}

int infer_source(const char *type, const char *source, char *out)
{
	bool fuse = !strcmp(type, "fuse") || !strncmp(type, "fuse.", 5);

	if (!strncmp(type, "nfs", 3) && infer_nfs(source, out))
		return 0;
	if (!strcmp(type, "fuse.rclone"))
		advise_rclone(source, out);
	else if (fuse && strstr(source, "blobfuse"))
		snprintf(out, INFER_SIZE, "blobfuse2 does not show its account; " GIVE
			 "CONTAINER (they are in its configuration, 'azstorage')");
	else
		snprintf(out, INFER_SIZE, "nothing tells which store is behind a lower mount "
			 "of type '%s'; " GIVE "CONTAINER, or --source file:///DIR for a "
			 "directory that the daemon can read", type);
	return -ENOENT;
}

int source_check(const char *source)
{
	static const char *const schemes[] = {
		"azure://", "s3://", "http://", "https://", "file:///",
	};
	size_t i, length;

	if (!strcmp(source, "lower:"))
		return 0;
	for (i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		length = strlen(schemes[i]);
		if (!strncmp(source, schemes[i], length) && source[length])
			return 0;
	}
	return -EINVAL;
}
