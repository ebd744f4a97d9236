// SPDX-License-Identifier: GPL-2.0-or-later
/* In which order the files of a directory come in an image. */
#include <errno.h>
#include <fts.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cachectl.h"
#include "imageorder.h"

struct name {
	char *text;
	bool taken;
};

struct names {
	struct name *names;
	size_t count, room;
};

static int add(struct names *names, const char *text)
{
	struct name *grown;

	if (names->count == names->room) {
		names->room = names->room ? names->room * 2 : 1024;
		grown = realloc(names->names, names->room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		names->names = grown;
	}
	names->names[names->count] = (struct name){ .text = strdup(text) };
	return names->names[names->count++].text ? 0 : -ENOMEM;
}

static void forget(struct names *names)
{
	while (names->count)
		free(names->names[--names->count].text);
	free(names->names);
}

static int put(const char *name, FILE *out)
{
	return fwrite(name, strlen(name) + 1, 1, out) == 1 ? 0 : -EIO;
}

/* Directories are written as they come: what is in them needs them. */
static int visit(const FTSENT *entry, size_t root, struct names *files, FILE *out)
{
	const char *name = entry->fts_path + root;

	switch (entry->fts_info) {
	case FTS_D:
		return put(entry->fts_level == FTS_ROOTLEVEL ? "." : name + 1, out);
	case FTS_DP:
		return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return -entry->fts_errno;
	default:
		return add(files, name + 1);
	}
}

static int walk(const char *directory, struct names *files, FILE *out)
{
	char *const paths[] = { (char *)directory, NULL };
	size_t root = strlen(directory);
	FTSENT *entry;
	FTS *fts;
	int rc = 0;

	fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	if (!fts)
		return -errno;
	while (!rc && (entry = fts_read(fts)))
		rc = visit(entry, root, files, out);
	fts_close(fts);
	return rc;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

static int take(struct names *files, char *text, FILE *out)
{
	struct name key = { .text = text }, *found;

	found = files->count ? bsearch(&key, files->names, files->count, sizeof(key), compare) :
			       NULL;
	if (!found)
		return ctl_fail("%s: '%s' is in the list, but no file of the directory; names are "
				"relative to it, as 'find . -type f -printf \"%%P\\n\"' prints them",
				ctl.path, text);
	if (found->taken)
		return ctl_fail("%s: '%s' is twice in the list", ctl.path, text);
	found->taken = true;
	return put(text, out) ? ctl_fail("%s: %s", ctl.path, strerror(errno)) : CTL_OK;
}

static int take_list(struct names *files, FILE *list, FILE *out)
{
	char *line = NULL;
	size_t size = 0;
	int rc = CTL_OK;

	while (!rc && getline(&line, &size, list) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (*line)
			rc = take(files, strncmp(line, "./", 2) ? line : line + 2, out);
	}
	free(line);
	return rc;
}

int imageorder_write(const char *directory, FILE *list, FILE *out)
{
	struct names files = { 0 };
	int rc = walk(directory, &files, out);
	size_t i;

	if (rc) {
		rc = ctl_fail("%s %s: cannot read it: %s", ctl.path, directory, strerror(-rc));
		goto out;
	}
	if (files.count)
		qsort(files.names, files.count, sizeof(*files.names), compare);
	rc = take_list(&files, list, out);
	for (i = 0; !rc && i < files.count; i++)
		if (!files.names[i].taken && put(files.names[i].text, out))
			rc = ctl_fail("%s: %s", ctl.path, strerror(errno));
out:
	forget(&files);
	return rc;
}
