// SPDX-License-Identifier: GPL-2.0-only
/* Mount options: parsing, checking, showing. */
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "blobcache_disk.h"
#include "fs.h"

enum {
	OPT_VOLUME,
	OPT_PREFIX,
	OPT_DOMAIN,
	OPT_CONSISTENCY,
	OPT_ON_DAEMON_LOSS,
	OPT_TTL,
	OPT_STALE,
	OPT_DEADLINE,
	OPT_LOWER_EXACT,
	OPT_WRITE,
	OPT_DURABILITY,
};

enum {
	WRITE_THROUGH,
	WRITE_BACK,
};

static const struct constant_table write_names[] = {
	{ "through",	WRITE_THROUGH },
	{ "back",	WRITE_BACK },
	{}
};

static const struct constant_table consistency_names[] = {
	{ "strict",		BC_CONSISTENCY_STRICT },
	{ "close-to-open",	BC_CONSISTENCY_CLOSE_TO_OPEN },
	{ "immutable",		BC_CONSISTENCY_IMMUTABLE },
	{}
};

static const struct constant_table loss_names[] = {
	{ "lower",	BC_LOSS_LOWER },
	{ "wait",	BC_LOSS_WAIT },
	{ "fail",	BC_LOSS_FAIL },
	{}
};

static const struct fs_parameter_spec parameters[] = {
	fsparam_string("volume",	OPT_VOLUME),
	fsparam_string("prefix",	OPT_PREFIX),
	fsparam_string("domain",	OPT_DOMAIN),
	fsparam_enum("consistency",	OPT_CONSISTENCY, consistency_names),
	fsparam_enum("on_daemon_loss",	OPT_ON_DAEMON_LOSS, loss_names),
	fsparam_string("ttl",		OPT_TTL),
	fsparam_string("stale",		OPT_STALE),
	fsparam_string("deadline",	OPT_DEADLINE),
	fsparam_bool("lower_exact",	OPT_LOWER_EXACT),
	fsparam_enum("write",		OPT_WRITE, write_names),
	fsparam_string("durability",	OPT_DURABILITY),
	{}
};

static const char *name_of(const struct constant_table *table, int value)
{
	for (; table->name; table++) {
		if (table->value == value)
			return table->name;
	}
	return "?";
}

static const struct {
	const char *suffix;
	u32 ms;
} units[] = {
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60 * 1000 },
	{ "h", 60 * 60 * 1000 },
	{ "", 1000 },
};

/* "500ms", "3s", "5m", "1h"; without a unit seconds. At most ten years. */
static int parse_duration(const char *text, u64 *ms)
{
	size_t digits = strspn(text, "0123456789");
	char number[16];
	unsigned int i;
	u64 value;

	if (!digits || digits >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (kstrtou64(number, 10, &value))
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(text + digits, units[i].suffix))
			continue;
		if (value > 10ULL * 365 * 86400 * 1000 / units[i].ms)
			return -EINVAL;
		*ms = value * units[i].ms;
		return 0;
	}
	return -EINVAL;
}

static int set_duration(struct fs_context *fc, struct fs_parameter *param, u64 *ms)
{
	if (parse_duration(param->string, ms))
		return invalfc(fc, "%s=%s is not a duration like 500ms, 3s, 5m or 1h", param->key,
			       param->string);
	return 0;
}

/* Takes the string from the parameter. */
static void set_string(char **to, struct fs_parameter *param)
{
	kfree(*to);
	*to = param->string;
	param->string = NULL;
}

static int set_stale(struct fs_context *fc, struct fs_parameter *param, u64 *ms)
{
	if (strcmp(param->string, "forever"))
		return set_duration(fc, param, ms);
	*ms = BC_STALE_FOREVER;
	return 0;
}

/* What fsync waits for. */
static int check_durability(struct fs_context *fc, const char *text)
{
	if (!strcmp(text, "local"))
		return 0;
	if (!strcmp(text, "blob"))
		return invalfc(fc, "durability=blob is not built yet: use durability=local");
	if (!strncmp(text, "peers=", 6))
		return invalfc(fc, "durability=%s needs peers, which are not built yet: use durability=local",
			       text);
	return invalfc(fc, "durability=%s is none of local, peers=K, blob", text);
}

/**
 * bc_options_parse - one option
 * @fc: its fs_private is the struct bc_options
 * @param: option
 */
int bc_options_parse(struct fs_context *fc, struct fs_parameter *param)
{
	struct bc_options *options = fc->fs_private;
	struct fs_parse_result result;
	int opt = fs_parse(fc, parameters, param, &result);

	if (opt < 0)
		return opt;
	switch (opt) {
	case OPT_VOLUME:
		set_string(&options->volume, param);
		break;
	case OPT_PREFIX:
		set_string(&options->prefix, param);
		break;
	case OPT_DOMAIN:
		set_string(&options->domain, param);
		break;
	case OPT_CONSISTENCY:
		options->consistency = result.uint_32;
		break;
	case OPT_ON_DAEMON_LOSS:
		options->on_daemon_loss = result.uint_32;
		break;
	case OPT_TTL:
		return set_duration(fc, param, &options->ttl_ms);
	case OPT_STALE:
		return set_stale(fc, param, &options->stale_ms);
	case OPT_DEADLINE:
		return set_duration(fc, param, &options->deadline_ms);
	case OPT_LOWER_EXACT:
		options->lower_exact = result.boolean;
		break;
	case OPT_WRITE:
		options->write_back = result.uint_32 == WRITE_BACK;
		break;
	case OPT_DURABILITY:
		return check_durability(fc, param->string);
	}
	return 0;
}

static void strip_slashes(char *text)
{
	size_t length = strlen(text), lead = strspn(text, "/");

	while (length > lead && text[length - 1] == '/')
		length--;
	memmove(text, text + lead, length - lead);
	text[length - lead] = '\0';
}

static int check_volume(struct fs_context *fc, char *volume)
{
	char *name;

	if (!volume || !*volume)
		return invalfc(fc, "volume= is missing: say which store LOWER shows, for example volume=azure://ACCOUNT.blob.core.windows.net/CONTAINER");
	if (!strncmp(volume, "lower:", 6))
		return invalfc(fc, "volume=%s: volumes without a store are not built yet", volume);
	if (!bc_source_valid(volume))
		return invalfc(fc, "volume=%s is not of the form azure://HOST/CONTAINER or file:///DIR",
			       volume);
	if (strlen(volume) > BC_NL_SOURCE_MAX)
		return invalfc(fc, "volume= is longer than %u bytes", BC_NL_SOURCE_MAX);
	/* Nodes must agree on the name, whether or not somebody ended it with a slash. */
	name = strstr(volume, "://") + 3;
	while (name[1] && name[strlen(name) - 1] == '/')
		name[strlen(name) - 1] = '\0';
	return 0;
}

/**
 * bc_options_check - do the options make sense together?
 * @fc: for messages
 * @options: options; put into canonical form
 */
int bc_options_check(struct fs_context *fc, struct bc_options *options)
{
	int error = check_volume(fc, options->volume);

	if (error)
		return error;
	strip_slashes(options->prefix);
	if (!bc_path_valid(options->prefix))
		return invalfc(fc, "prefix=%s is not a path", options->prefix);
	if (options->domain && !*options->domain)
		return invalfc(fc, "domain= is empty: leave it out");
	if (options->domain && options->write_back && strlen(options->domain) > BC_NAME_DOMAIN_MAX)
		return invalfc(fc, "domain= is longer than %u bytes", BC_NAME_DOMAIN_MAX);
	if (options->deadline_ms < BC_DEADLINE_MIN_MS || options->deadline_ms > BC_DEADLINE_MAX_MS)
		return invalfc(fc, "deadline= must be between %us and %us",
			       BC_DEADLINE_MIN_MS / 1000, BC_DEADLINE_MAX_MS / 1000);
	if (options->consistency == BC_CONSISTENCY_IMMUTABLE)
		options->stale_ms = BC_STALE_FOREVER;
	return 0;
}

/**
 * bc_options_init - begin with the defaults
 * @fc: gets them as fs_private
 *
 * Return: 0 or -ENOMEM.
 */
int bc_options_init(struct fs_context *fc)
{
	struct bc_options *options = kzalloc(sizeof(*options), GFP_KERNEL);

	if (!options)
		return -ENOMEM;
	options->prefix = kstrdup("", GFP_KERNEL);
	options->consistency = BC_CONSISTENCY_CLOSE_TO_OPEN;
	options->on_daemon_loss = BC_LOSS_LOWER;
	options->ttl_ms = 3000;
	options->stale_ms = 60 * 60 * 1000;
	options->deadline_ms = BC_DEADLINE_DEFAULT_MS;
	if (!options->prefix) {
		kfree(options);
		return -ENOMEM;
	}
	fc->fs_private = options;
	return 0;
}

/* Free the strings. */
void bc_options_free(struct bc_options *options)
{
	kfree(options->volume);
	kfree(options->prefix);
	kfree(options->domain);
	options->volume = NULL;
	options->prefix = NULL;
	options->domain = NULL;
}

/**
 * bc_options_copy - copy options with their strings
 * @to: overwritten
 * @from: checked options
 *
 * Return: 0 or -ENOMEM; then nothing is left to be freed.
 */
int bc_options_copy(struct bc_options *to, const struct bc_options *from)
{
	*to = *from;
	to->volume = kstrdup(from->volume, GFP_KERNEL);
	to->prefix = kstrdup(from->prefix, GFP_KERNEL);
	to->domain = kstrdup(from->domain, GFP_KERNEL);
	if (to->volume && to->prefix && (to->domain || !from->domain))
		return 0;
	bc_options_free(to);
	return -ENOMEM;
}

/* Do both say the same? */
bool bc_options_equal(const struct bc_options *a, const struct bc_options *b)
{
	return !strcmp(a->volume, b->volume) && !strcmp(a->prefix, b->prefix) &&
	       !strcmp(a->domain ?: "", b->domain ?: "") &&
	       a->consistency == b->consistency && a->on_daemon_loss == b->on_daemon_loss &&
	       a->ttl_ms == b->ttl_ms && a->stale_ms == b->stale_ms &&
	       a->deadline_ms == b->deadline_ms && a->lower_exact == b->lower_exact &&
	       a->write_back == b->write_back;
}

static void show_duration(struct seq_file *m, const char *name, u64 ms)
{
	if (ms % 1000)
		seq_printf(m, ",%s=%llums", name, ms);
	else
		seq_printf(m, ",%s=%llus", name, ms / 1000);
}

/**
 * bc_options_show - in the form that mount takes
 * @m: to
 * @options: options
 */
void bc_options_show(struct seq_file *m, const struct bc_options *options)
{
	seq_show_option(m, "volume", options->volume);
	if (*options->prefix)
		seq_show_option(m, "prefix", options->prefix);
	if (options->domain)
		seq_show_option(m, "domain", options->domain);
	seq_show_option(m, "consistency", name_of(consistency_names, options->consistency));
	seq_show_option(m, "on_daemon_loss", name_of(loss_names, options->on_daemon_loss));
	show_duration(m, "ttl", options->ttl_ms);
	if (options->stale_ms == BC_STALE_FOREVER)
		seq_puts(m, ",stale=forever");
	else
		show_duration(m, "stale", options->stale_ms);
	show_duration(m, "deadline", options->deadline_ms);
	seq_printf(m, ",lower_exact=%d", options->lower_exact);
	if (options->write_back)
		seq_puts(m, ",write=back,durability=local");
}
