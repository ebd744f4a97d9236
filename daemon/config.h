/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BC_CONFIG_H
#define BC_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret.h"

#define BC_CONFIG_PATH		"/etc/blobcache/blobcached.json"
#define BC_AZURE_API_VERSION	"2021-12-02"

enum bc_auth_type {
	BC_AUTH_ANONYMOUS,
	BC_AUTH_SHARED_KEY,
	BC_AUTH_SAS,
};

struct bc_auth {
	enum bc_auth_type type;
	char *account;			/* shared key */
	struct bc_secret secret;	/* shared key: decoded key; SAS: query string */
};

struct bc_volume {
	char *source;			/* canonical, see bc_source_canonical() */
	bool on_demand;			/* not in the file: came with a request */
	bool plain_http;
	char *api_version;
	char *ca_file;			/* NULL = the system's */
	char *proxy;			/* NULL = none, whatever the environment says */
	struct bc_auth auth;
};

struct bc_fetch_config {
	unsigned int threads;
	unsigned int connections;	/* per thread */
	unsigned int retries;
	unsigned int connect_timeout_ms;
	unsigned int stall_timeout_ms;
};

struct bc_flush_config {
	bool paused;			/* nothing new is begun */
	unsigned int uploads;		/* at once */
	unsigned int blocks;		/* of one, at once */
	uint64_t memory;		/* for all of them */
	uint64_t bytes_per_second;	/* of all of them; 0 = no limit */
	unsigned int delay_ms;		/* after the last change, before it begins */
	uint64_t stage_bytes;		/* what is open for writing is staged from here on, */
	unsigned int stage_age_ms;	/* and when so much was added, or so much time went by */
	char **markers;			/* patterns of names */
	size_t marker_count;
};

struct bc_config {
	struct bc_fetch_config fetch;
	struct bc_flush_config flush;
	bool allow_file;
	bool inline_secret;		/* a secret stands in the file itself */
	struct bc_volume *volumes;
	size_t volume_count;
};

struct bc_config *bc_config_load(const char *path, char *text, size_t size);
struct bc_config *bc_config_parse(const char *path, const char *json,
				  char *text, size_t size);
void bc_config_free(struct bc_config *config);

struct bc_flush_config *bc_flush_config_copy(const struct bc_flush_config *flush);
void bc_flush_config_free(struct bc_flush_config *flush);

#endif /* BC_CONFIG_H */
