// SPDX-License-Identifier: GPL-2.0-or-later
/* Dirty files: what the kernel tells of them, and what the daemon does about them. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cachectl.h"
#include "dirtylist.h"
#include "mountinfo.h"
#include "output.h"

#define STATE_FILE	"/run/blobcache/flush.json"

/* --- the daemon's part */

/* What a daemon left that is gone says nothing any more. */
static json_t *load_state(struct bcnl *nl)
{
	json_t *status = NULL, *state = json_load_file(STATE_FILE, 0, NULL);

	if (!state || bcnl_get(nl, BC_CMD_STATUS_GET, BC_A_STATUS, &status) ||
	    !out_num(status, "daemon_pid") ||
	    out_num(status, "daemon_pid") != out_num(state, "pid")) {
		json_decref(state);
		state = NULL;
	}
	json_decref(status);
	return state;
}

static json_t *find_object(const json_t *state, const char *generation)
{
	const json_t *lanes = json_object_get(state, "lanes"), *objects;
	json_t *object;
	size_t i, j;

	for (i = 0; i < json_array_size(lanes); i++) {
		objects = json_object_get(json_array_get(lanes, i), "objects");
		for (j = 0; j < json_array_size(objects); j++) {
			object = json_array_get(objects, j);
			if (!strcmp(out_str(object, "generation"), generation))
				return object;
		}
	}
	return NULL;
}

/* The sum of what the lanes counted, failures by their kind. */
static void add_counts(json_t *to, const json_t *from)
{
	const char *key;
	json_t *value, *inner;

	json_object_foreach((json_t *)from, key, value) {
		if (json_is_object(value)) {
			inner = json_object_get(to, key);
			if (!inner) {
				inner = json_object();
				json_object_set_new(to, key, inner);
			}
			add_counts(inner, value);
		} else if (json_is_integer(value) && !strcmp(key, "oldest_ms")) {
			if (out_num(from, key) >= out_num(to, key))
				json_object_set(to, key, value);
		} else if (json_is_integer(value)) {
			json_object_set_new(to, key,
					    json_integer((json_int_t)(out_num(to, key) +
								      out_num(from, key))));
		} else if (json_is_boolean(value)) {
			json_object_set(to, key, value);
		}
	}
}

static json_t *sum_counts(const json_t *state)
{
	const json_t *lanes = json_object_get(state, "lanes");
	json_t *counts = json_object();
	size_t i;

	for (i = 0; i < json_array_size(lanes); i++)
		add_counts(counts, json_array_get(lanes, i));
	return counts;
}

/* What is known of a file by the kernel alone. */
static const char *guess(const json_t *row, bool has_daemon)
{
	if (!strcmp(out_str(row, "state"), "committed"))
		return "committed";
	if (!has_daemon)
		return "no-daemon";
	return out_num(row, "writers") ? "writing" : "waiting";
}

static void merge(json_t *row, const json_t *state)
{
	json_t *object = state ? find_object(state, out_str(row, "generation")) : NULL;

	if (object)
		json_object_update(row, object);
	/* What the daemon told may be older. */
	if (!object || !strcmp(out_str(row, "state"), "committed") ||
	    !strcmp(out_str(row, "flush"), "committed"))
		json_object_set_new(row, "flush", json_string(guess(row, state)));
	if (!strcmp(out_str(row, "flush"), "no-store"))
		json_object_set_new(row, "reason",
				    json_sprintf("not flushed: source has no credentials: %s",
						 out_str(object, "reason")));
}

/* --- the kernel's */

static bool is_below(const json_t *row, const struct dirtyplace *place)
{
	const char *path = out_str(row, "path");
	size_t length = strlen(place->path);

	if (*place->source && strcmp(out_str(row, "source"), place->source))
		return false;
	return !length || (!strncmp(path, place->path, length) &&
			   (!path[length] || path[length] == '/'));
}

int dirtylist_get(struct bcnl *nl, const struct dirtyplace *place, struct dirtylist *list)
{
	json_t *state;
	size_t i;
	int rc;

	*list = (struct dirtylist){ 0 };
	rc = bcnl_dump(nl, BC_CMD_DIRTY_GET, BC_A_DIRTY, &list->rows);
	if (rc)
		return rc;
	state = load_state(nl);
	list->has_daemon = state;
	list->counts = state ? sum_counts(state) : NULL;
	for (i = json_array_size(list->rows); i--;) {
		json_t *row = json_array_get(list->rows, i);

		if (is_below(row, place))
			merge(row, state);
		else
			json_array_remove(list->rows, i);
	}
	json_decref(state);
	return 0;
}

void dirtylist_free(struct dirtylist *list)
{
	json_decref(list->rows);
	json_decref(list->counts);
	*list = (struct dirtylist){ 0 };
}

/* --- places */

struct search {
	const char *path;		/* without links */
	dev_t dev;
	char rest[PATH_MAX];		/* in the mounted filesystem */
	size_t length;			/* of the target that fits best */
	bool found;
};

static void look(const struct mountinfo *mount, void *arg)
{
	struct search *search = arg;
	size_t length = strcmp(mount->target, "/") ? strlen(mount->target) : 0;
	const char *root = strcmp(mount->root, "/") ? mount->root : "";

	if (strcmp(mount->type, "blobcache") || mount->dev != search->dev ||
	    strncmp(search->path, mount->target, length) ||
	    (search->path[length] && search->path[length] != '/') ||
	    (search->found && length < search->length))
		return;
	search->found = true;
	search->length = length;
	snprintf(search->rest, sizeof(search->rest), "%s%s", root, search->path + length);
}

static int place_of(struct bcnl *nl, struct search *search, struct dirtyplace *place)
{
	const char *rest = search->rest + strspn(search->rest, "/"), *prefix;
	json_t *mounts, *row = NULL;
	char dev[32];
	size_t i, end;

	if (bcnl_dump(nl, BC_CMD_MOUNT_GET, BC_A_MOUNT, &mounts))
		return bcnl_failed(nl, "");
	snprintf(dev, sizeof(dev), "%u:%u", major(search->dev), minor(search->dev));
	for (i = 0; i < json_array_size(mounts) && !row; i++)
		if (!strcmp(out_str(json_array_get(mounts, i), "dev"), dev))
			row = json_array_get(mounts, i);
	prefix = out_str(row, "prefix");
	snprintf(place->source, sizeof(place->source), "%s", out_str(row, "source"));
	snprintf(place->path, sizeof(place->path), "%s%s%s", prefix, *prefix && *rest ? "/" : "",
		 rest);
	for (end = strlen(place->path); end && place->path[end - 1] == '/'; end--)
		place->path[end - 1] = '\0';
	json_decref(mounts);
	return CTL_OK;
}

int dirtyplace_find(struct bcnl *nl, const char *path, struct dirtyplace *place)
{
	struct search search = { 0 };
	char *real = realpath(path, NULL);
	struct stat st;
	int rc;

	*place = (struct dirtyplace){ 0 };
	if (!real || stat(real, &st)) {
		rc = ctl_fail("%s %s: %s", ctl.path, path, strerror(errno));
		free(real);
		return rc;
	}
	search.path = real;
	search.dev = st.st_dev;
	mountinfo_each(look, &search);
	if (search.found)
		rc = place_of(nl, &search, place);
	else
		rc = (ctl_fail("%s %s: is not on a mount of blobcache; 'cachectl mount list' shows them",
			       ctl.path, path), CTL_NOTHING);
	free(real);
	return rc;
}
