/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: daemon/config.c daemon/json_line.c daemon/secret.c daemon/source.c daemon/util.c */
/* libs: jansson libcrypto */
/* flags: -max_len=800 -dict=tests/fuzz/config.dict */
/*
 * The configuration, which root writes, and the line numbers of its errors. What is
 * accepted is within the limits of blobcached.json(5).
 */
#include <stdarg.h>

#include "config.h"
#include "fuzz.h"
#include "json_line.h"
#include "log.h"
#include "source.h"
#include "store/store.h"
#include "util.h"

/* A file that everybody can read is warned of; there is nobody to read that. */
void bc_log(enum bc_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

static bool one_line(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static void check_volume(const struct bc_volume *volume)
{
	char text[256];
	char *again = bc_source_canonical(volume->source);

	need(again && !strcmp(again, volume->source));
	free(again);
	need(bc_source_check(volume->source, text, sizeof(text)));
	need(one_line(volume->source) && one_line(volume->api_version));
	need(volume->auth.type <= BC_AUTH_SAS);
	if (volume->auth.type != BC_AUTH_ANONYMOUS)
		need(volume->auth.secret.bytes &&
		     !volume->auth.secret.bytes[volume->auth.secret.length]);
	if (volume->auth.type == BC_AUTH_SAS)
		need(one_line(volume->auth.secret.bytes) && volume->auth.secret.length);
	if (volume->auth.type == BC_AUTH_SHARED_KEY)
		need(volume->auth.account && *volume->auth.account);
}

static void check_config(const struct bc_config *config)
{
	size_t i;

	need(config->fetch.threads >= 1 && config->fetch.threads <= 64);
	need(config->fetch.connections >= 1 && config->fetch.connections <= 1024);
	need(config->fetch.retries <= 20);
	for (i = 0; i < config->volume_count; i++)
		check_volume(&config->volumes[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bc_config *config;
	char text[512] = "";
	char *json = malloc(size + 1);

	need(json);
	memcpy(json, data, size);
	json[size] = 0;
	config = bc_config_parse("x.json", json, text, sizeof(text));
	if (config)
		check_config(config);
	else
		need(!strncmp(text, "x.json:", 7));
	bc_config_free(config);
	/* It is called on what jansson took, but must not trust that. */
	need(bc_json_line(json, "volumes[1].auth.key") >= 1);
	free(json);
	return 0;
}
