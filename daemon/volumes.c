// SPDX-License-Identifier: GPL-2.0-or-later
#include "volumes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"

#define ON_DEMAND_MAX	64

struct bc_volumes {
	bool allow_file;
	size_t count;
	size_t room;
	struct bc_store **stores;
};

/**
 * bc_volumes_create - open the stores of a configuration
 * @config: not used after the return
 * @text: why it failed
 * @size: of @text
 */
struct bc_volumes *bc_volumes_create(const struct bc_config *config, char *text, size_t size)
{
	struct bc_volumes *volumes = calloc(1, sizeof(*volumes));
	char reason[512];
	size_t i;

	snprintf(text, size, "out of memory");
	if (!volumes)
		return NULL;
	volumes->allow_file = config->allow_file;
	volumes->room = config->volume_count + ON_DEMAND_MAX;
	volumes->stores = calloc(volumes->room, sizeof(*volumes->stores));
	if (!volumes->stores)
		goto err_free;
	for (i = 0; i < config->volume_count; i++) {
		volumes->stores[i] = bc_store_open(&config->volumes[i], reason, sizeof(reason));
		if (!volumes->stores[i]) {
			snprintf(text, size, "volumes[%zu].source: '%s': %s", i,
				 config->volumes[i].source, reason);
			goto err_free;
		}
		volumes->count++;
	}
	return volumes;

err_free:
	bc_volumes_free(volumes);
	return NULL;
}

/**
 * bc_volumes_free - drop all stores
 * @volumes: may be NULL
 *
 * Those in use go when their last transfer ends.
 */
void bc_volumes_free(struct bc_volumes *volumes)
{
	size_t i;

	if (!volumes)
		return;
	for (i = 0; i < volumes->count; i++)
		bc_store_put(volumes->stores[i]);
	free(volumes->stores);
	free(volumes);
}

static struct bc_store *find(const struct bc_volumes *volumes, const char *source)
{
	size_t i;

	for (i = 0; i < volumes->count; i++)
		if (!strcmp(volumes->stores[i]->source, source))
			return volumes->stores[i];
	return NULL;
}

static struct bc_store *open_on_demand(struct bc_volumes *volumes, char *source,
				       char *text, size_t size)
{
	struct bc_volume volume = { .source = source, .on_demand = true };
	struct bc_store *store;

	if (!bc_source_is(source, "file") || !bc_source_check(source, text, size)) {
		snprintf(text, size, "add an entry with this \"source\" to \"volumes\"");
		return NULL;
	}
	if (!volumes->allow_file) {
		snprintf(text, size, "add an entry with this \"source\" to \"volumes\", or set \"allow_file\": true");
		return NULL;
	}
	if (volumes->count == volumes->room) {
		snprintf(text, size, "\"allow_file\" covers %d directories; "
			 "add an entry with this \"source\" to \"volumes\"", ON_DEMAND_MAX);
		return NULL;
	}
	store = bc_store_open(&volume, text, size);
	if (store)
		volumes->stores[volumes->count++] = store;
	return store;
}

/**
 * bc_volumes_find - the store of a source
 * @volumes: all of them
 * @source: as the mount says
 * @text: what to change in the configuration if there is none
 * @size: of @text
 *
 * Returns a new reference, or NULL.
 */
struct bc_store *bc_volumes_find(struct bc_volumes *volumes, const char *source,
				 char *text, size_t size)
{
	char *canonical = bc_source_canonical(source);
	struct bc_store *store;

	if (!canonical) {
		snprintf(text, size, "out of memory");
		return NULL;
	}
	store = find(volumes, canonical);
	if (!store)
		store = open_on_demand(volumes, canonical, text, size);
	free(canonical);
	return store ? bc_store_get(store) : NULL;
}
