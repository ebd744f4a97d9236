// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl mount: lay the cache over a mount, take it off, list. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachectl.h"
#include "format.h"
#include "infer.h"
#include "mountapi.h"
#include "mountinfo.h"
#include "mountlist.h"
#include "netlink.h"
#include "output.h"

#define OPTIONS_MAX 32

enum {
	OPT_SOURCE = CTL_OPT_OWN,
	OPT_LOWER,
	OPT_PREFIX,
	OPT_FORCE,
};

/* --- what is mounted where --- */

/* The topmost mount at a path. */
struct place {
	const char *path;
	bool found;
	char type[64], source[INFER_SIZE], target[PATH_MAX];
	dev_t dev;
};

static void keep(struct place *place, const struct mountinfo *mount)
{
	place->found = true;
	place->dev = mount->dev;
	snprintf(place->type, sizeof(place->type), "%s", mount->type);
	snprintf(place->source, sizeof(place->source), "%s", mount->source);
	snprintf(place->target, sizeof(place->target), "%s", mount->target);
}

static void match_exactly(const struct mountinfo *mount, void *arg)
{
	struct place *place = arg;

	if (!strcmp(mount->target, place->path))
		keep(place, mount);
}

/* The longest target that is @path or above it; of equal ones the last. */
static void match_above(const struct mountinfo *mount, void *arg)
{
	struct place *place = arg;
	size_t length = strlen(mount->target);

	if (length > 1 && (strncmp(mount->target, place->path, length) ||
			   (place->path[length] && place->path[length] != '/')))
		return;
	if (!place->found || length >= strlen(place->target))
		keep(place, mount);
}

static struct place place_at(const char *path, mountinfo_fn match)
{
	struct place place = { .path = path };

	mountinfo_each(match, &place);
	return place;
}

static const char *canonical(const char *path, char *out)
{
	if (!realpath(path, out))
		snprintf(out, PATH_MAX, "%s", path);
	return out;
}

/* The blobcache mount at TARGET, or a complaint. */
static int find_mount(const char *target, char *path, struct place *place)
{
	*place = place_at(canonical(target, path), match_exactly);
	if (place->found && !strcmp(place->type, "blobcache"))
		return CTL_OK;
	if (place->found)
		ctl_fail("%s %s: a mount of type '%s' is there, not one of blobcache; "
			 "'cachectl mount list' shows those", ctl.path, path, place->type);
	else
		ctl_fail("%s %s: nothing is mounted there; 'cachectl mount list' shows the "
			 "mounts of blobcache", ctl.path, path);
	return CTL_NOTHING;
}

/* --- attach --- */

struct attach_request {
	const char *source, *lower, *prefix;
	char target[PATH_MAX], lower_path[PATH_MAX], inferred[INFER_SIZE];
	struct mount_option options[OPTIONS_MAX + 1];
	size_t count;
	unsigned int attributes;
};

static const struct option attach_options[] = {
	{ "source", required_argument, NULL, OPT_SOURCE },
	{ "lower", required_argument, NULL, OPT_LOWER },
	{ "prefix", required_argument, NULL, OPT_PREFIX },
	{ "options", required_argument, NULL, 'o' },
	{ "read-only", no_argument, NULL, 'r' },
	{ 0 }
};

static int add_option(struct attach_request *request, const char *name, const char *value)
{
	if (request->count == OPTIONS_MAX)
		return ctl_usage("%s: more than %d options", ctl.path, OPTIONS_MAX);
	request->options[request->count++] = (struct mount_option){ name, value };
	return CTL_OK;
}

/* One of "ro", "name=value", "name". */
static int add_word(struct attach_request *request, char *word)
{
	unsigned int bit = mountapi_attribute(word);
	char *value = strchr(word, '=');

	if (!*word || !strcmp(word, "rw"))
		return CTL_OK;
	request->attributes |= bit;
	if (bit && strcmp(word, "ro"))
		return CTL_OK;
	if (value)
		*value++ = '\0';
	if (!strcmp(word, "volume"))
		request->source = value ? value : "";
	else if (!strcmp(word, "prefix"))
		request->prefix = value ? value : "";
	else
		return add_option(request, word, value);
	return CTL_OK;
}

static int add_words(struct attach_request *request, char *words)
{
	char *word;
	int rc = CTL_OK;

	while (!rc && (word = strsep(&words, ",")))
		rc = add_word(request, word);
	return rc;
}

static int attach_option(struct attach_request *request, int opt)
{
	static char read_only[] = "ro";

	switch (opt) {
	case OPT_SOURCE:
		request->source = optarg;
		return CTL_OK;
	case OPT_LOWER:
		request->lower = optarg;
		return CTL_OK;
	case OPT_PREFIX:
		request->prefix = optarg;
		return CTL_OK;
	case 'o':
		return add_words(request, optarg);
	default:
		return add_word(request, read_only);
	}
}

static int attach_parse(const struct command *cmd, int argc, char **argv,
			struct attach_request *request)
{
	int opt, rc = CTL_OK;

	while (!rc && (opt = ctl_getopt(cmd, argc, argv)) != -1)
		rc = attach_option(request, opt);
	if (rc)
		return rc;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one target directory", ctl.path);
	canonical(argv[optind], request->target);
	canonical(request->lower ? request->lower : request->target, request->lower_path);
	return CTL_OK;
}

static int check_places(const struct attach_request *request, struct place *lower)
{
	struct place target = place_at(request->target, match_exactly);

	*lower = place_at(request->lower_path, match_above);
	if (target.found && !strcmp(target.type, "blobcache"))
		return ctl_fail("%s %s: blobcache is mounted there already; 'cachectl mount "
				"detach %s' takes it off",
				ctl.path, request->target, request->target);
	if (!strcmp(lower->type, "blobcache"))
		return ctl_fail("%s %s: the lower directory %s lies in a blobcache mount itself; "
				"give one that does not with --lower", ctl.path, request->target,
				request->lower_path);
	return CTL_OK;
}

static int choose_source(struct attach_request *request, const struct place *lower)
{
	if (!request->source || !strcmp(request->source, "auto")) {
		if (infer_source(lower->type, lower->source, request->inferred))
			return ctl_fail("%s %s: %s", ctl.path, request->target, request->inferred);
		request->source = request->inferred;
	}
	if (source_check(request->source))
		return ctl_usage("%s: '%s' is no source; it begins with azure://, s3://, http://, "
				 "https:// or file:///", ctl.path, request->source);
	return CTL_OK;
}

static int mount_refused(const struct attach_request *request, int error, const char *step,
			 const char *log)
{
	if (*log)
		return ctl_fail("%s %s: %s", ctl.path, request->target, log);
	switch (error) {
	case -ENODEV:
		ctl_fail("%s %s: the kernel does not know the filesystem blobcache; run "
			 "'modprobe blobcache'", ctl.path, request->target);
		return CTL_NOTHING;
	case -EPERM:
		return ctl_fail("%s %s: permission denied; this needs root", ctl.path,
				request->target);
	case -ENOENT:
	case -ENOTDIR:
		return ctl_fail("%s %s: %s; the target and the lower %s must be directories",
				ctl.path, request->target, strerror(-error), request->lower_path);
	default:
		return ctl_fail("%s %s: %s: %s; 'dmesg' may tell more", ctl.path, request->target,
				step, strerror(-error));
	}
}

static int show_attached(const struct attach_request *request, const struct place *lower)
{
	json_t *answer;

	if (ctl.json) {
		answer = out_schema("mount.attach");
		json_object_set_new(answer, "target",
				    out_text(request->target, strlen(request->target)));
		json_object_set_new(answer, "lower",
				    out_text(request->lower_path, strlen(request->lower_path)));
		json_object_set_new(answer, "lower_type", json_string(lower->type));
		json_object_set_new(answer, "source",
				    out_text(request->source, strlen(request->source)));
		return out_json(stdout, answer, 0);
	}
	printf("attached %s over %s (%s), source %s\n", request->target, request->lower_path,
	       lower->type, request->source);
	return CTL_OK;
}

static int attach(struct attach_request *request)
{
	struct place lower;
	char log[4096];
	const char *step;
	int rc = check_places(request, &lower);

	if (!rc)
		rc = choose_source(request, &lower);
	if (!rc)
		rc = add_option(request, "source", request->lower_path);
	if (!rc)
		rc = add_option(request, "volume", request->source);
	while (request->prefix && *request->prefix == '/')
		request->prefix++;
	if (!rc && request->prefix && *request->prefix)
		rc = add_option(request, "prefix", request->prefix);
	if (rc)
		return rc;
	rc = mountapi_mount("blobcache", request->options, request->target, request->attributes,
			    log, sizeof(log), &step);
	if (rc)
		return mount_refused(request, rc, step, log);
	return show_attached(request, &lower);
}

static int run_attach(const struct command *cmd, int argc, char **argv)
{
	struct attach_request request = { 0 };
	int rc = attach_parse(cmd, argc, argv, &request);

	return rc ? rc : attach(&request);
}

/* --- detach --- */

static const struct option detach_options[] = {
	{ "lazy", no_argument, NULL, 'l' },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ 0 }
};

static int show_detached(const char *path)
{
	json_t *answer;

	if (ctl.json) {
		answer = out_schema("mount.detach");
		json_object_set_new(answer, "target", out_text(path, strlen(path)));
		return out_json(stdout, answer, 0);
	}
	printf("detached %s\n", path);
	return CTL_OK;
}

static int run_detach(const struct command *cmd, int argc, char **argv)
{
	int opt, rc, flags = UMOUNT_NOFOLLOW;
	char path[PATH_MAX];
	struct place place;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1)
		flags |= opt == 'l' ? MNT_DETACH : MNT_FORCE;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one mount", ctl.path);
	rc = find_mount(argv[optind], path, &place);
	if (rc)
		return rc;
	if (!umount2(path, flags))
		return show_detached(path);
	if (errno == EBUSY)
		return ctl_fail("%s %s: it is in use; 'fuser -vm %s' shows by whom, --lazy takes "
				"it off now and ends it when they are done", ctl.path, path, path);
	return ctl_fail("%s %s: %s", ctl.path, path, strerror(errno));
}

/* --- list, show --- */

static int run_list(const struct command *cmd, int argc, char **argv)
{
	json_t *mounts, *answer;
	struct bcnl *nl;
	int rc;

	rc = ctl_no_arguments(cmd, argc, argv);
	if (rc)
		return rc;
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = mountlist_get(nl, &mounts) ? bcnl_failed(nl, "") : CTL_OK;
	bcnl_close(nl);
	if (rc)
		return rc;
	if (ctl.json) {
		answer = out_schema("mount.list");
		json_object_set_new(answer, "mounts", mounts);
		return out_json(stdout, answer, 0);
	}
	if (json_array_size(mounts))
		rc = mountlist_table(stdout, mounts, true);
	else
		printf("nothing is mounted; 'cachectl mount attach --help' shows how\n");
	json_decref(mounts);
	return rc;
}

static bool has_target(const json_t *mount, const char *target)
{
	const json_t *targets = json_object_get(mount, "targets");
	size_t i;

	for (i = 0; i < json_array_size(targets); i++)
		if (!strcmp(json_string_value(json_array_get(targets, i)), target))
			return true;
	return false;
}

static json_t *pick(const json_t *mounts, const char *target)
{
	size_t i;

	for (i = 0; i < json_array_size(mounts); i++)
		if (has_target(json_array_get(mounts, i), target))
			return json_incref(json_array_get(mounts, i));
	return NULL;
}

static void show_line(const char *name, const char *text)
{
	printf("  %-16s %s\n", name, text);
}

static void show_mount(const char *path, const json_t *mount)
{
	char text[FMT_SIZE];

	printf("%s%s\n", path, out_bool(mount, "lower_suspect") ?
	       ": the lower mount does not answer; cached files go on being served" : "");
	show_line("source", out_str(mount, "source"));
	show_line("prefix", *out_str(mount, "prefix") ? out_str(mount, "prefix") : "(all)");
	show_line("volume id", out_str(mount, "volume_id"));
	show_line("lower", out_str(mount, "lower_type"));
	show_line("lower is exact", out_bool(mount, "lower_exact") ? "yes" : "no");
	show_line("lower stuck", fmt_count(text, out_num(mount, "lower_stuck")));
	show_line("mode", out_bool(mount, "read_only") ? "read-only" : "write-through");
	show_line("consistency", out_str(mount, "consistency"));
	show_line("ttl", fmt_ms(text, out_num(mount, "ttl_ms")));
	show_line("stale for", json_is_null(json_object_get(mount, "stale_ms")) ? "ever" :
		  fmt_ms(text, out_num(mount, "stale_ms")));
	show_line("on daemon loss", out_str(mount, "on_daemon_loss"));
	show_line("open files", fmt_count(text, out_num(mount, "open_files")));
	show_line("stale opens", fmt_count(text, out_num(mount, "stale_opens")));
}

static int show(const char *path, const json_t *mount)
{
	json_t *answer;

	if (!ctl.json) {
		show_mount(path, mount);
		return CTL_OK;
	}
	answer = out_schema("mount.show");
	json_object_update_missing(answer, (json_t *)mount);
	return out_json(stdout, answer, 0);
}

static int run_show(const struct command *cmd, int argc, char **argv)
{
	json_t *mounts = NULL, *mount;
	char path[PATH_MAX];
	struct place place;
	struct bcnl *nl;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one mount", ctl.path);
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = find_mount(argv[optind], path, &place);
	if (!rc && mountlist_get(nl, &mounts))
		rc = bcnl_failed(nl, path);
	mount = pick(mounts, path);
	if (mount)
		rc = show(path, mount);
	else if (!rc)
		rc = ctl_fail("%s %s: the kernel does not list this mount; try again",
			      ctl.path, path);
	json_decref(mount);
	json_decref(mounts);
	bcnl_close(nl);
	return rc;
}

/* --- relower --- */

static int open_directory(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		ctl_fail("%s %s: cannot open the directory: %s", ctl.path, path, strerror(errno));
	return fd;
}

static int relower(struct bcnl *nl, const char *target, const char *lower)
{
	int fd = open_directory(target), fd2 = fd < 0 ? -1 : open_directory(lower);
	struct nl_msg *message;
	json_t *answer;
	int rc = CTL_FAILED;
	struct stat st;

	/* The module looks at its owner and rights, which a FUSE mount may not have asked for. */
	if (fd2 >= 0 && fstat(fd2, &st)) {
		ctl_fail("%s %s: %s", ctl.path, lower, strerror(errno));
		close(fd2);
		fd2 = -1;
	}
	if (fd2 >= 0) {
		message = bcnl_message(nl, BC_CMD_MOUNT_RELOWER);
		nla_put_u32(message, BC_A_FD, (uint32_t)fd);
		nla_put_u32(message, BC_A_FD2, (uint32_t)fd2);
		rc = bcnl_do(nl, message, BC_A_UNSPEC, NULL) ? bcnl_failed(nl, target) : CTL_OK;
		close(fd2);
	}
	if (fd >= 0)
		close(fd);
	if (rc)
		return rc;
	if (ctl.json) {
		answer = out_schema("mount.relower");
		json_object_set_new(answer, "target", out_text(target, strlen(target)));
		json_object_set_new(answer, "lower", out_text(lower, strlen(lower)));
		return out_json(stdout, answer, 0);
	}
	printf("%s now lies over %s\n", target, lower);
	return CTL_OK;
}

static int run_relower(const struct command *cmd, int argc, char **argv)
{
	char path[PATH_MAX], lower[PATH_MAX];
	struct place place;
	struct bcnl *nl;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	if (argc - optind != 2)
		return ctl_usage("%s: give the mount and its new lower directory", ctl.path);
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = find_mount(argv[optind], path, &place);
	if (!rc)
		rc = relower(nl, path, canonical(argv[optind + 1], lower));
	bcnl_close(nl);
	return rc;
}

static const struct command mount_attach = {
	.name = "attach",
	.summary = "lay the cache over a directory, usually a mount that exists",
	.usage = "[OPTION ...] TARGET",
	.options = attach_options,
	.run = run_attach,
	.arg = CTL_ARG_DIR,
	.help =
"\n"
"TARGET keeps its path and content; reads are served from page cache, NVMe and the\n"
"store, in this order, everything else goes to the lower directory.\n"
"\n"
"Options\n"
"      --source SOURCE   the store behind the lower directory:\n"
"                          azure://ACCOUNT.blob.core.windows.net/CONTAINER\n"
"                          file:///DIR   a directory that the daemon reads\n"
"                          auto          find out (the default; works for NFS of Blob)\n"
"      --lower DIR       what is below (default: what TARGET shows now)\n"
"      --prefix PATH     where in the container the lower directory begins\n"
"  -r, --read-only       refuse writes; else they go to the lower at once\n"
"  -o, --options LIST    comma-separated:\n"
"        consistency=strict|close-to-open|immutable   when to ask for new versions:\n"
"                          at each open; after ttl (default); never\n"
"        ttl=TIME          how long a version counts as known (default 3s)\n"
"        stale=TIME        how long beyond that an old version may be opened while\n"
"                          nobody can be asked, or 'forever' (default 1h)\n"
"        on_daemon_loss=lower|wait|fail   misses while the daemon is away\n"
"        lower_exact=1     the lower never shows old bytes: it may stand in for the store\n"
"        deadline=TIME     how long a read waits before it fails (default 30s)\n"
"        domain=TEXT       nodes share cached data of one source and domain only\n"
"        ro, nosuid, nodev, noexec, noatime\n"
"\n"
"The same by mount(8):\n"
"  mount -t blobcache LOWER TARGET -o volume=SOURCE,prefix=PATH,ttl=3s,ro\n"
"\n"
"Examples\n"
"  cachectl mount attach /mnt/data \\\n"
"      --source azure://acct.blob.core.windows.net/train\n"
"  cachectl mount attach /mnt/weights --read-only -o consistency=immutable \\\n"
"      --source azure://acct.blob.core.windows.net/models --prefix llama\n"
"  cachectl mount attach /fast --lower /mnt/nfs --source auto\n",
};

static const struct command mount_detach = {
	.name = "detach",
	.summary = "take the cache off; the lower mount shows again",
	.usage = "[OPTION ...] TARGET",
	.options = detach_options,
	.run = run_detach,
	.arg = CTL_ARG_MOUNT,
	.help =
"\n"
"What is cached stays on the tier.\n"
"\n"
"Options\n"
"  -l, --lazy   take it off now; it ends when the last file in it is closed\n"
"      --force  fail what waits in it\n"
"\n"
"Example\n"
"  cachectl mount detach /mnt/data\n",
};

static const struct command mount_list = {
	.name = "list",
	.summary = "the mounts: source, lower, how they behave, state",
	.usage = "",
	.run = run_list,
	.help =
"\n"
"State: ok; or \"lower suspect\": the lower mount failed or hung, nobody waits for it\n"
"any more, and cached files go on being served. 'mount relower' gives it a new one.\n"
"\n"
"Examples\n"
"  cachectl mount list\n"
"  cachectl mount list --json | jq -r '.mounts[] | select(.lower_suspect) | .targets[0]'\n",
};

static const struct command mount_show = {
	.name = "show",
	.summary = "all about one mount",
	.usage = "TARGET",
	.run = run_show,
	.arg = CTL_ARG_MOUNT,
	.help =
"\n"
"Example\n"
"  cachectl mount show /mnt/data\n",
};

static const struct command mount_relower = {
	.name = "relower",
	.summary = "give a mount a new lower directory after the old one died",
	.usage = "TARGET NEWLOWER",
	.run = run_relower,
	.arg = CTL_ARG_MOUNT,
	.help =
"\n"
"For an over-mount whose FUSE process died: start it again on another directory, then\n"
"hand that over. Open files and what is cached stay.\n"
"\n"
"Example\n"
"  rclone mount blob:train /run/lower.new --daemon\n"
"  cachectl mount relower /mnt/data /run/lower.new\n",
};

static const struct command *const mount_sub[] = {
	&mount_attach, &mount_detach, &mount_list, &mount_show, &mount_relower, NULL,
};

const struct command cmd_mount = {
	.name = "mount",
	.summary = "lay the cache over a mount, take it off, list, show, relower",
	.usage = "COMMAND ...",
	.sub = mount_sub,
	.help =
"\n"
"Examples\n"
"  cachectl mount attach /mnt/data --source azure://acct.blob.core.windows.net/train\n"
"  cachectl mount list\n"
"  cachectl mount detach /mnt/data\n",
};
