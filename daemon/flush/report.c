// SPDX-License-Identifier: GPL-2.0-or-later
/* How the flush goes, for "cachectl flush" and whoever counts. */
#include <stdio.h>

#include "flush/lane.h"
#include "util.h"

#define OBJECTS_MAX	1000U		/* the oldest ones are told of one by one */

static const char *state_of(const struct bc_lane *lane, const struct bc_entry *entry)
{
	if (!entry->store)
		return "no-store";
	if (entry->told.state == BC_NAME_COMMITTED)
		return "committed";
	if (entry->aside)
		return "conflict";
	if (entry->upload && bc_upload_waits(entry->upload))
		return "in-order";
	if (entry->upload && bc_upload_progress(entry->upload)->trouble)
		return "trouble";
	if (lane->config->paused)
		return "paused";
	if (entry->upload)
		return entry->staging ? "staging" : "uploading";
	return bc_entry_pending(entry) ? "waiting" : "writing";
}

static void print_id(char *to, const uint8_t *generation)
{
	int i;

	for (i = 0; i < BC_GENERATION_SIZE; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		to += sprintf(to, "%02x", generation[i]);
	}
}

static json_t *tell_entry(const struct bc_lane *lane, const struct bc_entry *entry, int64_t now)
{
	const struct bc_upload_progress *progress;
	char id[2 * BC_GENERATION_SIZE + 5];
	json_t *object;

	print_id(id, entry->told.generation);
	object = json_pack("{s:s, s:s, s:I}", "generation", id, "flush", state_of(lane, entry),
			   "age_ms", (json_int_t)(now - entry->since_ms));
	if (!object)
		return NULL;
	if (entry->why)
		json_object_set_new(object, "reason", json_string(entry->why));
	/* Names need not be UTF-8: then it is left out. */
	if (entry->aside && *entry->aside)
		json_object_set_new(object, "aside", json_string(entry->aside));
	if (!entry->upload)
		return object;
	progress = bc_upload_progress(entry->upload);
	json_object_set_new(object, "uploaded_bytes", json_integer((json_int_t)progress->done));
	if (progress->trouble) {
		json_object_set_new(object, "trouble",
				    json_string(bc_trouble_name(progress->trouble)));
		json_object_set_new(object, "reason", json_string(progress->text));
	}
	return object;
}

static json_t *tell_counts(const struct bc_flush_counts *counts)
{
	json_t *failures = json_object();
	int i;

	for (i = BC_TROUBLE_NONE + 1; i < BC_TROUBLE_COUNT; i++)
		json_object_set_new(failures, bc_trouble_name((enum bc_trouble)i),
				    json_integer((json_int_t)counts->failures[i]));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}",
			 "bytes_uploaded", (json_int_t)counts->bytes,
			 "bytes_reused", (json_int_t)counts->reused,
			 "commits", (json_int_t)counts->commits,
			 "conflicts", (json_int_t)counts->conflicts,
			 "taken_back", (json_int_t)counts->undone, "failures", failures);
}

/**
 * bc_report_lane - how a lane goes
 * @lane: which
 *
 * Returns NULL if there is no memory.
 */
json_t *bc_report_lane(struct bc_lane *lane)
{
	json_t *objects = json_array(), *report;
	json_int_t dirty = 0, bytes = 0, oldest = 0;
	int64_t now = bc_now_ms();
	const struct bc_entry *entry;

	for (entry = TAILQ_FIRST(&lane->entries); entry; entry = TAILQ_NEXT(entry, link)) {
		if (json_array_size(objects) < OBJECTS_MAX)
			json_array_append_new(objects, tell_entry(lane, entry, now));
		if (entry->told.state == BC_NAME_COMMITTED)
			continue;
		dirty++;
		bytes += (json_int_t)entry->told.size;
		if (now - entry->since_ms > oldest)
			oldest = now - entry->since_ms;
	}
	report = tell_counts(&lane->counts);
	if (!report) {
		json_decref(objects);
		return NULL;
	}
	json_object_set_new(report, "paused", json_boolean(lane->config->paused));
	json_object_set_new(report, "dirty_objects", json_integer(dirty));
	json_object_set_new(report, "dirty_bytes", json_integer(bytes));
	json_object_set_new(report, "oldest_ms", json_integer(oldest));
	json_object_set_new(report, "objects", objects);
	return report;
}
