// SPDX-License-Identifier: GPL-2.0-or-later
#include "config.h"

#include <ctype.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_line.h"
#include "source.h"
#include "util.h"

/* Files that say that others are complete. */
static const char *const default_markers[] = {
	".metadata", "latest*", "_SUCCESS", "*.index.json",
};

struct parser {
	const char *path;		/* of the file */
	const char *json;
	char *text;
	size_t size;
	bool inline_secret;
};

static bool fail(struct parser *parser, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool fail(struct parser *parser, const char *key, const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	snprintf(parser->text, parser->size, "%s:%u: %s%s%s", parser->path,
		 bc_json_line(parser->json, key), key, *key ? ": " : "", reason);
	return false;
}

static void key_path(char *to, size_t size, const char *parent, const char *key)
{
	if (snprintf(to, size, "%s%s%s", parent, *parent ? "." : "", key) >= (int)size)
		strcpy(to + size - 4, "...");
}

/* @known is a NULL terminated list. */
static bool check_keys(struct parser *parser, json_t *object, const char *parent,
		       const char *const *known)
{
	char path[256];
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return fail(parser, parent, "must be an object { ... }");
	json_object_foreach(object, key, value) {
		size_t i = 0;

		while (known[i] && strcmp(known[i], key))
			i++;
		if (known[i])
			continue;
		key_path(path, sizeof(path), parent, key);
		return fail(parser, path, "unknown key; blobcached.json(5) lists the known ones");
	}
	return true;
}

static bool get_number(struct parser *parser, json_t *object, const char *parent,
		       const char *key, unsigned int min, unsigned int max, unsigned int *to)
{
	json_t *value = json_object_get(object, key);
	char path[256];

	if (!value)
		return true;
	key_path(path, sizeof(path), parent, key);
	if (!json_is_integer(value) || json_integer_value(value) < (json_int_t)min ||
	    json_integer_value(value) > (json_int_t)max)
		return fail(parser, path, "must be a whole number from %u to %u", min, max);
	*to = (unsigned int)json_integer_value(value);
	return true;
}

static bool get_bool(struct parser *parser, json_t *object, const char *parent,
		     const char *key, bool *to)
{
	json_t *value = json_object_get(object, key);
	char path[256];

	if (!value)
		return true;
	key_path(path, sizeof(path), parent, key);
	if (!json_is_boolean(value))
		return fail(parser, path, "must be true or false");
	*to = json_boolean_value(value);
	return true;
}

/* Leaves *to alone if the key is absent. */
static bool get_string(struct parser *parser, json_t *object, const char *parent,
		       const char *key, const char **to)
{
	json_t *value = json_object_get(object, key);
	const char *c;
	char path[256];

	if (!value)
		return true;
	key_path(path, sizeof(path), parent, key);
	if (!json_is_string(value) || !json_string_length(value))
		return fail(parser, path, "must be a string that is not empty");
	for (c = json_string_value(value); *c; c++)
		if (iscntrl((unsigned char)*c))
			return fail(parser, path, "must not contain control characters");
	*to = json_string_value(value);
	return true;
}

static bool need_string(struct parser *parser, json_t *object, const char *parent,
			const char *key, const char **to)
{
	char path[256];

	if (json_object_get(object, key))
		return get_string(parser, object, parent, key, to);
	key_path(path, sizeof(path), parent, key);
	return fail(parser, path, "is missing");
}

static bool duplicate(char **to, const char *from)
{
	if (!from)
		return true;
	free(*to);
	*to = strdup(from);
	return *to;
}

static bool parse_fetch(struct parser *parser, json_t *object, struct bc_fetch_config *fetch)
{
	static const char *const known[] = {
		"threads", "connections", "retries", "connect_timeout_ms",
		"stall_timeout_ms", NULL,
	};
	const char *parent = "fetch";

	if (!object)
		return true;
	return check_keys(parser, object, parent, known) &&
	       get_number(parser, object, parent, "threads", 1, 64, &fetch->threads) &&
	       get_number(parser, object, parent, "connections", 1, 1024, &fetch->connections) &&
	       get_number(parser, object, parent, "retries", 0, 20, &fetch->retries) &&
	       get_number(parser, object, parent, "connect_timeout_ms", 100, 60000,
			  &fetch->connect_timeout_ms) &&
	       get_number(parser, object, parent, "stall_timeout_ms", 1000, 60000,
			  &fetch->stall_timeout_ms);
}

static void free_markers(struct bc_flush_config *flush)
{
	size_t i;

	for (i = 0; i < flush->marker_count; i++)
		free(flush->markers[i]);
	free(flush->markers);
	flush->markers = NULL;
	flush->marker_count = 0;
}

static bool set_markers(struct bc_flush_config *flush, size_t count,
			const char *(*name)(const void *context, size_t index),
			const void *context)
{
	free_markers(flush);
	flush->markers = calloc(count + 1, sizeof(*flush->markers));
	if (!flush->markers)
		return false;
	for (; flush->marker_count < count; flush->marker_count++) {
		flush->markers[flush->marker_count] = strdup(name(context, flush->marker_count));
		if (!flush->markers[flush->marker_count])
			return false;
	}
	return true;
}

static const char *marker_of_list(const void *context, size_t index)
{
	return ((const char *const *)context)[index];
}

static const char *marker_of_json(const void *context, size_t index)
{
	return json_string_value(json_array_get(context, index));
}

static bool parse_markers(struct parser *parser, json_t *array, struct bc_flush_config *flush)
{
	const char *path = "flush.markers";
	size_t i;

	if (!array)
		return true;
	if (!json_is_array(array))
		return fail(parser, path, "must be a list of patterns [ ... ]");
	for (i = 0; i < json_array_size(array); i++) {
		const char *name = json_string_value(json_array_get(array, i));

		if (!name || !*name || strchr(name, '/'))
			return fail(parser, path,
				    "must be patterns of names, without '/'");
	}
	return set_markers(flush, json_array_size(array), marker_of_json, array) ||
	       fail(parser, path, "out of memory");
}

static bool parse_flush(struct parser *parser, json_t *object, struct bc_flush_config *flush)
{
	static const char *const known[] = {
		"paused", "uploads", "connections", "memory_mib", "bandwidth_mib", "delay_ms",
		"stage_mib", "stage_age_s", "markers", NULL,
	};
	unsigned int memory = (unsigned int)(flush->memory >> 20), bandwidth = 0;
	unsigned int stage = (unsigned int)(flush->stage_bytes >> 20);
	unsigned int age = flush->stage_age_ms / 1000;
	const char *parent = "flush";

	if (!object)
		return true;
	if (!check_keys(parser, object, parent, known) ||
	    !get_bool(parser, object, parent, "paused", &flush->paused) ||
	    !get_number(parser, object, parent, "uploads", 1, 32, &flush->uploads) ||
	    !get_number(parser, object, parent, "connections", 1, 64, &flush->blocks) ||
	    !get_number(parser, object, parent, "memory_mib", 16, 65536, &memory) ||
	    !get_number(parser, object, parent, "bandwidth_mib", 0, 100000, &bandwidth) ||
	    !get_number(parser, object, parent, "delay_ms", 0, 600000, &flush->delay_ms) ||
	    !get_number(parser, object, parent, "stage_mib", 8, 1048576, &stage) ||
	    !get_number(parser, object, parent, "stage_age_s", 1, 86400, &age) ||
	    !parse_markers(parser, json_object_get(object, "markers"), flush))
		return false;
	flush->memory = (uint64_t)memory << 20;
	flush->bytes_per_second = (uint64_t)bandwidth << 20;
	flush->stage_bytes = (uint64_t)stage << 20;
	flush->stage_age_ms = age * 1000;
	return true;
}

/**
 * bc_flush_config_copy - a configuration of the flush for another thread
 * @flush: of a configuration
 *
 * Returns NULL if there is no memory.
 */
struct bc_flush_config *bc_flush_config_copy(const struct bc_flush_config *flush)
{
	struct bc_flush_config *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *flush;
	copy->markers = NULL;
	copy->marker_count = 0;
	if (set_markers(copy, flush->marker_count, marker_of_list, flush->markers))
		return copy;
	bc_flush_config_free(copy);
	return NULL;
}

/**
 * bc_flush_config_free - free a copy
 * @flush: from bc_flush_config_copy(), or NULL
 */
void bc_flush_config_free(struct bc_flush_config *flush)
{
	if (!flush)
		return;
	free_markers(flush);
	free(flush);
}

/* A secret is either in a file of its own (@file_key) or inline (@key). */
static bool parse_secret(struct parser *parser, json_t *object, const char *parent,
			 const char *file_key, const char *key, struct bc_secret *secret)
{
	const char *file = NULL, *inline_ = NULL;
	char path[256], reason[384];

	key_path(path, sizeof(path), parent, file_key);
	if (!get_string(parser, object, parent, file_key, &file) ||
	    !get_string(parser, object, parent, key, &inline_))
		return false;
	if (!file == !inline_)
		return fail(parser, path, "give either this or '%s'", key);
	if (file && *file != '/')
		return fail(parser, path, "must be an absolute path");
	if (file && !bc_secret_read(secret, file, reason, sizeof(reason)))
		return fail(parser, path, "%s", reason);
	if (file)
		bc_secret_warn(file);
	parser->inline_secret |= !file;
	if (inline_ && !bc_secret_copy(secret, inline_, strlen(inline_)))
		return fail(parser, path, "out of memory");
	bc_secret_trim(secret);
	if (!secret->length)
		return fail(parser, path, "'%s' is empty", file);
	return true;
}

static bool parse_shared_key(struct parser *parser, json_t *object, const char *parent,
			     struct bc_auth *auth)
{
	static const char *const known[] = { "type", "account", "key_file", "key", NULL };
	const char *account = NULL;

	auth->type = BC_AUTH_SHARED_KEY;
	if (!check_keys(parser, object, parent, known) ||
	    !need_string(parser, object, parent, "account", &account) ||
	    !parse_secret(parser, object, parent, "key_file", "key", &auth->secret))
		return false;
	if (!duplicate(&auth->account, account))
		return fail(parser, parent, "out of memory");
	if (!bc_secret_decode(&auth->secret))
		return fail(parser, parent, "the key is not valid base64; copy the account key as it is");
	return true;
}

static bool parse_sas(struct parser *parser, json_t *object, const char *parent,
		      struct bc_auth *auth)
{
	static const char *const known[] = { "type", "token_file", "token", NULL };
	struct bc_secret *token = &auth->secret;
	size_t i;

	auth->type = BC_AUTH_SAS;
	if (!check_keys(parser, object, parent, known) ||
	    !parse_secret(parser, object, parent, "token_file", "token", token))
		return false;
	if (token->bytes[0] == '?')
		memmove(token->bytes, token->bytes + 1, token->length--);
	for (i = 0; i < token->length; i++)
		if (!isgraph((unsigned char)token->bytes[i]) || token->bytes[i] == '#')
			return fail(parser, parent, "the token must be one line without blanks: sv=...&sig=...");
	return true;
}

static bool parse_auth(struct parser *parser, json_t *object, const char *parent,
		       struct bc_auth *auth)
{
	static const char *const known[] = { "type", NULL };
	const char *type = NULL;
	char path[256];

	key_path(path, sizeof(path), parent, "type");
	if (!json_is_object(object))
		return fail(parser, parent, "must be an object { \"type\": ... }");
	if (!need_string(parser, object, parent, "type", &type))
		return false;
	if (!strcmp(type, "shared-key"))
		return parse_shared_key(parser, object, parent, auth);
	if (!strcmp(type, "sas"))
		return parse_sas(parser, object, parent, auth);
	if (!strcmp(type, "anonymous"))
		return check_keys(parser, object, parent, known);
	return fail(parser, path, "'%s' is not one of: shared-key, sas, anonymous", type);
}

static bool parse_transport(struct parser *parser, json_t *object, const char *parent,
			    struct bc_volume *volume)
{
	const char *scheme = "https", *version = BC_AZURE_API_VERSION;
	const char *ca_file = NULL, *proxy = NULL;
	char path[256];

	if (!get_string(parser, object, parent, "scheme", &scheme) ||
	    !get_string(parser, object, parent, "api_version", &version) ||
	    !get_string(parser, object, parent, "ca_file", &ca_file) ||
	    !get_string(parser, object, parent, "proxy", &proxy))
		return false;
	key_path(path, sizeof(path), parent, "scheme");
	if (strcmp(scheme, "https") && strcmp(scheme, "http"))
		return fail(parser, path, "'%s' is neither https nor http", scheme);
	volume->plain_http = !strcmp(scheme, "http");
	if (!duplicate(&volume->api_version, version) ||
	    !duplicate(&volume->ca_file, ca_file) || !duplicate(&volume->proxy, proxy))
		return fail(parser, parent, "out of memory");
	return true;
}

static bool parse_volume(struct parser *parser, json_t *object, const char *parent,
			 struct bc_volume *volume)
{
	static const char *const known[] = {
		"source", "scheme", "auth", "api_version", "ca_file", "proxy", NULL,
	};
	static const char *const known_file[] = { "source", NULL };
	const char *source = NULL;
	char path[256], reason[256];
	bool file;

	if (!json_is_object(object))
		return fail(parser, parent, "must be an object { \"source\": ... }");
	if (!need_string(parser, object, parent, "source", &source))
		return false;
	key_path(path, sizeof(path), parent, "source");
	volume->source = bc_source_canonical(source);
	if (!volume->source)
		return fail(parser, path, "out of memory");
	if (!bc_source_check(volume->source, reason, sizeof(reason)))
		return fail(parser, path, "'%s' %s", source, reason);
	file = bc_source_is(volume->source, "file");
	if (!check_keys(parser, object, parent, file ? known_file : known))
		return false;
	if (!parse_transport(parser, object, parent, volume))
		return false;
	key_path(path, sizeof(path), parent, "auth");
	if (file)
		return true;
	if (!json_object_get(object, "auth"))
		return fail(parser, path, "is missing; for a public container give { \"type\": \"anonymous\" }");
	return parse_auth(parser, json_object_get(object, "auth"), path, &volume->auth);
}

static bool parse_volumes(struct parser *parser, json_t *array, struct bc_config *config)
{
	size_t i, j, count = json_array_size(array);
	char path[64];

	if (!array)
		return true;
	if (!json_is_array(array))
		return fail(parser, "volumes", "must be a list [ ... ]");
	config->volumes = calloc(count + 1, sizeof(*config->volumes));
	if (!config->volumes)
		return fail(parser, "volumes", "out of memory");
	for (i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "volumes[%zu]", i);
		config->volume_count = i + 1;
		if (!parse_volume(parser, json_array_get(array, i), path, &config->volumes[i]))
			return false;
		for (j = 0; j < i; j++)
			if (!strcmp(config->volumes[i].source, config->volumes[j].source))
				return fail(parser, path, "has the same source as volumes[%zu]", j);
	}
	return true;
}

static bool parse_root(struct parser *parser, json_t *root, struct bc_config *config)
{
	static const char *const known[] = {
		"fetch", "flush", "allow_file", "volumes", NULL,
	};

	return check_keys(parser, root, "", known) &&
	       parse_fetch(parser, json_object_get(root, "fetch"), &config->fetch) &&
	       parse_flush(parser, json_object_get(root, "flush"), &config->flush) &&
	       get_bool(parser, root, "", "allow_file", &config->allow_file) &&
	       parse_volumes(parser, json_object_get(root, "volumes"), config);
}

/**
 * bc_config_parse - read a configuration from memory
 * @path: to name in errors
 * @json: the text
 * @text: "PATH:LINE: KEY: what is wrong"
 * @size: of @text
 *
 * Returns NULL on any error.
 */
struct bc_config *bc_config_parse(const char *path, const char *json,
				  char *text, size_t size)
{
	struct parser parser = { path, json, text, size, false };
	struct bc_config *config = calloc(1, sizeof(*config));
	json_error_t error;
	json_t *root;

	if (!config) {
		snprintf(text, size, "out of memory");
		return NULL;
	}
	config->fetch = (struct bc_fetch_config){
		.threads = 2,
		.connections = 16,
		.retries = 3,
		.connect_timeout_ms = 2000,
		.stall_timeout_ms = 5000,
	};
	config->flush = (struct bc_flush_config){
		.uploads = 4,
		.blocks = 8,
		.memory = (uint64_t)256 << 20,
		.delay_ms = 200,
		.stage_bytes = (uint64_t)64 << 20,
		.stage_age_ms = 60000,
	};
	if (!set_markers(&config->flush, BC_COUNT(default_markers), marker_of_list,
			 default_markers)) {
		snprintf(text, size, "out of memory");
		goto err_free;
	}
	root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		/* jansson quotes what it saw; that may be part of a key. */
		char *near = strstr(error.text, " near ");

		if (near)
			*near = 0;
		snprintf(text, size, "%s:%d: column %d: %s", path, error.line,
			 error.column, error.text);
		goto err_free;
	}
	if (!parse_root(&parser, root, config))
		goto err_root;
	config->inline_secret = parser.inline_secret;
	json_decref(root);
	return config;

err_root:
	json_decref(root);
err_free:
	bc_config_free(config);
	return NULL;
}

/**
 * bc_config_load - read the configuration file
 * @path: of the file
 * @text: what is wrong
 * @size: of @text
 *
 * Returns NULL on any error.
 */
struct bc_config *bc_config_load(const char *path, char *text, size_t size)
{
	struct bc_config *config;
	struct bc_secret file;

	if (!bc_secret_read(&file, path, text, size))
		return NULL;
	config = bc_config_parse(path, file.bytes, text, size);
	bc_secret_free(&file);
	if (config && config->inline_secret)
		bc_secret_warn(path);
	return config;
}

/**
 * bc_config_free - free a configuration and wipe its secrets
 * @config: may be NULL
 */
void bc_config_free(struct bc_config *config)
{
	size_t i;

	if (!config)
		return;
	for (i = 0; i < config->volume_count; i++) {
		struct bc_volume *volume = &config->volumes[i];

		free(volume->source);
		free(volume->api_version);
		free(volume->ca_file);
		free(volume->proxy);
		free(volume->auth.account);
		bc_secret_free(&volume->auth.secret);
	}
	free_markers(&config->flush);
	free(config->volumes);
	free(config);
}
