// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl device: the block devices that hold the cache. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blkdev.h"
#include "cachectl.h"
#include "format.h"
#include "netlink.h"
#include "nodeid.h"
#include "output.h"
#include "tierfmt.h"

enum {
	OPT_INDEX_RATIO = CTL_OPT_OWN,
	OPT_DIRTY,
	OPT_IDENTITIES,
	OPT_SET_ID,
	OPT_NODE_ID,
	OPT_FORCE,
};

/* What "device format" was asked for. */
struct format_request {
	struct tier_options tier;
	bool force, yes, node_given, set_given;
	const char *path;
};

static const struct option format_options[] = {
	{ "label", required_argument, NULL, 'L' },
	{ "index-ratio", required_argument, NULL, OPT_INDEX_RATIO },
	{ "dirty-percent", required_argument, NULL, OPT_DIRTY },
	{ "identities-per-frame", required_argument, NULL, OPT_IDENTITIES },
	{ "set-id", required_argument, NULL, OPT_SET_ID },
	{ "node-id", required_argument, NULL, OPT_NODE_ID },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "yes", no_argument, NULL, 'y' },
	{ 0 }
};

static int take_label(struct format_request *request, const char *text)
{
	if (strlen(text) > TIER_LABEL_MAX)
		return ctl_usage("--label: longer than %d bytes", TIER_LABEL_MAX);
	snprintf(request->tier.label, sizeof(request->tier.label), "%s", text);
	return CTL_OK;
}

static int take_number(const char *option, const char *text, uint32_t max, uint32_t *value)
{
	if (parse_u32(text, 1, max, value))
		return ctl_usage("%s: '%s' is not a number from 1 to %u", option, text, max);
	return CTL_OK;
}

static int take_id(const char *option, const char *text, uint8_t id[16], bool *given)
{
	*given = true;
	if (parse_uuid(text, id))
		return ctl_usage("%s: '%s' is not a UUID of 32 hexadecimal digits", option, text);
	return CTL_OK;
}

static int format_option(struct format_request *request, int opt)
{
	struct tier_options *tier = &request->tier;

	switch (opt) {
	case 'L':
		return take_label(request, optarg);
	case OPT_INDEX_RATIO:
		return take_number("--index-ratio", optarg, tier_index_ratio_max,
				   &tier->index_ratio);
	case OPT_DIRTY:
		return take_number("--dirty-percent", optarg, 100, &tier->dirty_percent);
	case OPT_IDENTITIES:
		return take_number("--identities-per-frame", optarg, tier_identities_max,
				   &tier->identities_per_frame);
	case OPT_SET_ID:
		return take_id("--set-id", optarg, tier->set_id, &request->set_given);
	case OPT_NODE_ID:
		return take_id("--node-id", optarg, tier->node_id, &request->node_given);
	case OPT_FORCE:
		request->force = true;
		return CTL_OK;
	default:
		request->yes = true;
		return CTL_OK;
	}
}

static void format_ids(struct format_request *request)
{
	uint8_t node[16], set[16];

	if (!node_id_default(node, set) && !request->node_given)
		ctl_warn("%s: no /etc/machine-id; the tier gets a random node id "
			 "(--node-id sets it)", ctl.path);
	if (!request->node_given)
		memcpy(request->tier.node_id, node, 16);
	if (!request->set_given)
		memcpy(request->tier.set_id, set, 16);
}

static int format_parse(const struct command *cmd, int argc, char **argv,
			struct format_request *request)
{
	int opt, rc = CTL_OK;

	while (!rc && (opt = ctl_getopt(cmd, argc, argv)) != -1)
		rc = format_option(request, opt);
	if (rc)
		return rc;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one device", ctl.path);
	request->path = argv[optind];
	format_ids(request);
	return CTL_OK;
}

static int check_blank(const struct blkdev *device, const struct format_request *request)
{
	char found[1024];
	int rc = blkdev_signatures(device, false, found, sizeof(found));

	if (rc)
		return ctl_fail("%s %s: cannot read the device: %s", ctl.path, device->path,
				strerror(-rc));
	if (!*found)
		return CTL_OK;
	if (!request->force)
		return ctl_fail("%s %s: the device is not blank: it holds %s; choose another "
				"device, or --force to destroy what is there",
				ctl.path, device->path, found);
	if (!request->yes && !ctl_confirm("This destroys what is on %s: %s. Go on?", device->path,
					  found))
		return ctl_fail("%s %s: nothing was changed", ctl.path, device->path);
	rc = blkdev_signatures(device, true, found, sizeof(found));
	if (rc)
		return ctl_fail("%s %s: cannot erase the old signatures: %s", ctl.path,
				device->path, strerror(-rc));
	return CTL_OK;
}

static int check_size(const struct blkdev *device, const struct format_request *request,
		      struct tier_info *plan)
{
	char have[FMT_SIZE], need[FMT_SIZE];
	int rc = tier_plan(device->bytes, &request->tier, plan);

	if (rc == -ENOSPC)
		return ctl_fail("%s %s: the device is too small: it has %s, a tier with these "
				"options needs at least %s", ctl.path, device->path,
				fmt_bytes(have, device->bytes),
				fmt_bytes(need, tier_minimum(&request->tier)));
	if (rc)
		return ctl_fail("%s %s: these options make no layout for a device of %s: %s",
				ctl.path, device->path, fmt_bytes(have, device->bytes),
				strerror(-rc));
	return CTL_OK;
}

static int check_sector(const struct blkdev *device)
{
	int sector = 0;

	if (!ioctl(device->fd, BLKSSZGET, &sector) && sector > 4096)
		return ctl_fail("%s %s: sectors of %d bytes are not supported, 4096 at most",
				ctl.path, device->path, sector);
	return CTL_OK;
}

static void show_plan(const struct blkdev *device, const struct tier_info *plan)
{
	char size[FMT_SIZE], frames[FMT_SIZE], tables[FMT_SIZE], memory[FMT_SIZE];

	printf("%s: %s\n", device->path, fmt_bytes(size, device->bytes));
	printf("  for chunks  %s\n", fmt_bytes(frames, plan->frame_bytes));
	printf("  tables      %s (%.2f %% of the device)\n", fmt_bytes(tables, plan->table_bytes),
	       100.0 * (double)plan->table_bytes / (double)device->bytes);
	printf("  memory      about %s of the kernel's while attached\n",
	       fmt_bytes(memory, plan->memory_bytes));
	fflush(stdout);
}

static int show_formatted(const struct blkdev *device, const struct tier_info *info)
{
	char uuid[FMT_UUID_SIZE];
	json_t *answer;

	if (ctl.json) {
		answer = out_schema("device.format");
		json_object_set_new(answer, "device", out_text(device->path, strlen(device->path)));
		json_object_update_missing_new(answer, tier_json(info));
		return out_json(stdout, answer, 0);
	}
	printf("formatted as tier %s; 'cachectl device attach %s' puts it to use\n",
	       fmt_uuid(uuid, info->uuid), device->path);
	return CTL_OK;
}

static int format_device(const struct blkdev *device, const struct format_request *request)
{
	struct tier_info info;
	int rc = check_sector(device);

	if (!rc)
		rc = check_size(device, request, &info);
	if (!rc)
		rc = check_blank(device, request);
	if (rc)
		return rc;
	if (!ctl.json)
		show_plan(device, &info);
	rc = tier_write(device->fd, device->bytes, &request->tier, &info);
	if (rc)
		return ctl_fail("%s %s: writing failed: %s; the device holds no valid tier now",
				ctl.path, device->path, strerror(-rc));
	return show_formatted(device, &info);
}

static int run_format(const struct command *cmd, int argc, char **argv)
{
	struct format_request request = { 0 };
	struct blkdev device;
	int rc = format_parse(cmd, argc, argv, &request);

	if (!rc)
		rc = blkdev_open(request.path, true, &device);
	if (rc)
		return rc;
	rc = format_device(&device, &request);
	blkdev_close(&device);
	return rc;
}

static int show_attached(const char *path, json_t *tier)
{
	char frames[FMT_SIZE], used[FMT_SIZE];
	json_t *answer;

	if (!tier)
		tier = json_object();
	if (ctl.json) {
		answer = out_schema("device.attach");
		json_object_update_missing_new(answer, tier);
		return out_json(stdout, answer, 0);
	}
	printf("attached %s: %s for chunks, %s in use%s\n", path,
	       fmt_bytes(frames, out_num(tier, "frame_bytes")),
	       fmt_bytes(used, out_num(tier, "used_bytes")),
	       json_is_false(json_object_get(tier, "was_clean")) ?
	       " (it was not detached in order; every block is checked on its first use)" : "");
	json_decref(tier);
	return CTL_OK;
}

static const struct option attach_options[] = {
	{ "node-id", required_argument, NULL, OPT_NODE_ID },
	{ 0 }
};

static int attach_device(const char *path, const uint8_t *node_id)
{
	char canonical[4096];
	struct nl_msg *message;
	json_t *tier = NULL;
	struct bcnl *nl;
	int rc = bcnl_open(&nl);

	if (rc)
		return rc;
	blkdev_canonical(path, canonical);
	message = bcnl_message(nl, BC_CMD_TIER_ATTACH);
	nla_put_string(message, BC_A_DEVICE, canonical);
	if (node_id)
		nla_put(message, BC_A_NODE_ID, 16, node_id);
	if (bcnl_do(nl, message, BC_A_TIER, &tier))
		rc = bcnl_failed(nl, canonical);
	else
		rc = show_attached(canonical, tier);
	bcnl_close(nl);
	return rc;
}

static int run_attach(const struct command *cmd, int argc, char **argv)
{
	uint8_t node_id[16];
	bool given = false;
	int opt, rc = CTL_OK;

	while (!rc && (opt = ctl_getopt(cmd, argc, argv)) != -1)
		rc = take_id("--node-id", optarg, node_id, &given);
	if (rc)
		return rc;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one device", ctl.path);
	if (access(argv[optind], F_OK))
		return ctl_fail("%s %s: %s; 'cachectl device list --all' lists the tiers there are",
				ctl.path, argv[optind], strerror(errno)), CTL_NOTHING;
	return attach_device(argv[optind], given ? node_id : NULL);
}

static int show_detached(const char *path)
{
	json_t *answer;

	if (ctl.json) {
		answer = out_schema("device.detach");
		json_object_set_new(answer, "device", out_text(path, strlen(path)));
		return out_json(stdout, answer, 0);
	}
	printf("detached %s; what it holds is kept for the next attach\n", path);
	return CTL_OK;
}

static int run_detach(const struct command *cmd, int argc, char **argv)
{
	char canonical[4096];
	struct nl_msg *message;
	struct bcnl *nl;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one device", ctl.path);
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	blkdev_canonical(argv[optind], canonical);
	message = bcnl_message(nl, BC_CMD_TIER_DETACH);
	nla_put_string(message, BC_A_DEVICE, canonical);
	rc = bcnl_do(nl, message, BC_A_UNSPEC, NULL);
	if (rc == -ENOENT || rc == -ENODEV)
		rc = (bcnl_failed(nl, canonical), CTL_NOTHING);
	else if (rc)
		rc = bcnl_failed(nl, canonical);
	else
		rc = show_detached(canonical);
	bcnl_close(nl);
	return rc;
}

/* --- device list --- */

static bool listed(const json_t *tiers, dev_t dev)
{
	struct stat st;
	size_t i;

	for (i = 0; i < json_array_size(tiers); i++)
		if (!stat(out_str(json_array_get(tiers, i), "device"), &st) && st.st_rdev == dev)
			return true;
	return false;
}

static void add_unattached(json_t *tiers, const char *path)
{
	struct tier_info info;
	struct stat st;
	const char *why;
	uint64_t bytes;
	json_t *tier;
	int fd, rc;

	if (stat(path, &st) || !S_ISBLK(st.st_mode) || listed(tiers, st.st_rdev))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return;
	rc = ioctl(fd, BLKGETSIZE64, &bytes) ? -errno : tier_read(fd, bytes, &info, &why);
	close(fd);
	/* A disk of somebody else that cannot be read is not ours to report. */
	if (rc && rc != -EBADMSG && rc != -EPROTONOSUPPORT && rc != -EINVAL && rc != -EFBIG)
		return;
	tier = json_object();
	json_object_set_new(tier, "device", out_text(path, strlen(path)));
	json_object_set_new(tier, "state", json_string(rc ? "damaged" : "unattached"));
	if (rc)
		json_object_set_new(tier, "why", json_string(*why ? why : strerror(-rc)));
	else
		json_object_update_missing_new(tier, tier_json(&info));
	json_array_append_new(tiers, tier);
}

static void add_all_unattached(json_t *tiers)
{
	FILE *partitions = fopen("/proc/partitions", "re");
	char line[256], name[128], path[160];
	char *slash;

	while (partitions && fgets(line, sizeof(line), partitions)) {
		if (sscanf(line, "%*u %*u %*u %127s", name) != 1)
			continue;
		while ((slash = strchr(name, '!')))
			*slash = '/';
		snprintf(path, sizeof(path), "/dev/%s", name);
		add_unattached(tiers, path);
	}
	if (partitions)
		fclose(partitions);
}

static void text_device(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "device"));
}

static void text_label(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "label"));
}

static void text_state(char *buf, size_t size, const json_t *row)
{
	const char *state = out_str(row, "state");

	if (!strcmp(state, "unattached") && !out_bool(row, "was_clean"))
		snprintf(buf, size, "unattached (unclean)");
	else if (!strcmp(state, "damaged"))
		snprintf(buf, size, "damaged: %s", out_str(row, "why"));
	else
		snprintf(buf, size, "%s", state);
}

static enum out_color color_state(const json_t *row)
{
	const char *state = out_str(row, "state");

	if (!strcmp(state, "live"))
		return OUT_GOOD;
	return strcmp(state, "unattached") ? OUT_BAD : OUT_DIM;
}

static void text_bytes(char *buf, size_t size, const json_t *row, const char *key)
{
	char text[FMT_SIZE];

	if (json_object_get(row, key))
		snprintf(buf, size, "%s", fmt_bytes(text, out_num(row, key)));
	else
		snprintf(buf, size, "-");
}

static void text_size(char *buf, size_t size, const json_t *row)
{
	text_bytes(buf, size, row, "frame_bytes");
}

static void text_used(char *buf, size_t size, const json_t *row)
{
	text_bytes(buf, size, row, "used_bytes");
}

static void text_free(char *buf, size_t size, const json_t *row)
{
	text_bytes(buf, size, row, "free_bytes");
}

static void text_pinned(char *buf, size_t size, const json_t *row)
{
	text_bytes(buf, size, row, "pinned_bytes");
}

static void text_uuid(char *buf, size_t size, const json_t *row)
{
	snprintf(buf, size, "%s", out_str(row, "uuid"));
}

static const struct out_column list_columns[] = {
	{ "DEVICE", false, false, text_device, NULL },
	{ "STATE", false, false, text_state, color_state },
	{ "CAPACITY", true, false, text_size, NULL },
	{ "USED", true, false, text_used, NULL },
	{ "FREE", true, false, text_free, NULL },
	{ "PINNED", true, false, text_pinned, NULL },
	{ "LABEL", false, false, text_label, NULL },
	{ "UUID", false, true, text_uuid, NULL },
	{ 0 }
};

static int show_list(json_t *tiers, bool all)
{
	json_t *answer;
	int rc = CTL_OK;

	if (ctl.json) {
		answer = out_schema("device.list");
		json_object_set_new(answer, "devices", tiers);
		return out_json(stdout, answer, 0);
	}
	if (json_array_size(tiers))
		rc = out_table(stdout, list_columns, tiers);
	else if (all)
		printf("no tier on any device; 'cachectl device format DEV' makes one\n");
	else
		printf("no tier is attached; "
		       "'cachectl device list --all' looks for formatted ones\n");
	json_decref(tiers);
	return rc;
}

static const struct option list_options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ 0 }
};

static int run_list(const struct command *cmd, int argc, char **argv)
{
	json_t *tiers = NULL;
	struct bcnl *nl;
	bool all = false;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		all = true;
	if (optind != argc)
		return ctl_usage("%s: takes no arguments", ctl.path);
	/* Without the module nothing can be attached. */
	rc = all ? bcnl_open_if_loaded(&nl) : bcnl_open(&nl);
	if (rc && !(all && rc == CTL_NOTHING))
		return rc;
	if (nl && bcnl_dump(nl, BC_CMD_TIER_GET, BC_A_TIER, &tiers))
		rc = bcnl_failed(nl, "");
	else
		rc = CTL_OK;
	bcnl_close(nl);
	if (rc)
		return rc;
	if (!tiers)
		tiers = json_array();
	if (all)
		add_all_unattached(tiers);
	return show_list(tiers, all);
}

static const struct command device_format = {
	.name = "format",
	.summary = "make a block device a tier of the cache",
	.usage = "[OPTION ...] DEVICE",
	.options = format_options,
	.run = run_format,
	.arg = CTL_ARG_DEVICE,
	.help =
"\n"
"DEVICE is an NVMe namespace, partition, logical volume or loop device. It must be\n"
"blank: a device that carries a filesystem, a partition table or an older tier is\n"
"refused, and --force overrides that. A device in use is always refused.\n"
"\n"
"Options\n"
"  -L, --label TEXT              a name for people, shown by 'device list'\n"
"      --index-ratio N           chunks that can be indexed per MiB (default 2);\n"
"                                more for data sets of many files below 512 KiB\n"
"      --dirty-percent P         most of the tier that may hold data not yet in Blob\n"
"                                (default 25)\n"
"      --identities-per-frame N  files remembered per MiB (default 2)\n"
"      --set-id UUID             tiers with the same id belong together (default: one\n"
"                                id per node, made from /etc/machine-id)\n"
"      --node-id UUID            the node that owns the tier (default: likewise)\n"
"      --force                   destroy what is on the device\n"
"  -y, --yes                     do not ask\n"
"      --json                    print the new tier as JSON\n"
"\n"
"Examples\n"
"  cachectl device format /dev/nvme1n1 --label fast\n"
"  cachectl device format --force --yes /dev/nvme1n1     again, from scratch\n"
"  cachectl device format $(losetup --find --show tier.img)\n",
};

static const struct command device_attach = {
	.name = "attach",
	.summary = "put a formatted device to use; what it holds is found again",
	.usage = "[OPTION ...] DEVICE",
	.options = attach_options,
	.run = run_attach,
	.arg = CTL_ARG_DEVICE,
	.help =
"\n"
"Reads the tables, then serves from it. Takes about as long as reading them takes.\n"
"\n"
"Options\n"
"      --node-id UUID  attach as this node\n"
"      --json          print the tier as JSON\n"
"\n"
"Examples\n"
"  cachectl device attach /dev/nvme1n1\n"
"  cachectl device attach /dev/disk/by-id/nvme-...\n",
};

static const struct command device_detach = {
	.name = "detach",
	.summary = "take a tier out of use in order; its content stays on it",
	.usage = "DEVICE",
	.run = run_detach,
	.arg = CTL_ARG_TIER,
	.help =
"\n"
"Reads go on from other tiers, the store or the lower mount. The next attach finds\n"
"what the tier holds now.\n"
"\n"
"Example\n"
"  cachectl device detach /dev/nvme1n1\n",
};

static const struct command device_list = {
	.name = "list",
	.summary = "the tiers: state, size, what they hold",
	.usage = "[--all]",
	.options = list_options,
	.run = run_list,
	.help =
"\n"
"Options\n"
"  -a, --all   look for formatted tiers that are not attached, too\n"
"      --json  exact bytes, ids and tables\n"
"\n"
"States: live; failed (read errors took it out of use); read-only (writes fail: it serves\n"
	"what it has, and keeps nothing more); with --all also unattached\n"
"(\"unclean\": not detached in order, which costs a check of each block's first use)\n"
"and damaged (its superblocks are refused; the reason is shown).\n"
"\n"
"Examples\n"
"  cachectl device list --all\n"
"  cachectl device list --json | jq '.devices[].used_bytes'\n",
};

static const struct command *const device_sub[] = {
	&device_format, &device_attach, &device_detach, &device_list, NULL,
};

const struct command cmd_device = {
	.name = "device",
	.summary = "format, attach, detach and list the devices that hold the cache",
	.usage = "COMMAND ...",
	.sub = device_sub,
	.help =
"\n"
"Examples\n"
"  cachectl device format /dev/nvme1n1    once\n"
"  cachectl device attach /dev/nvme1n1    after each boot\n"
"  cachectl device list\n",
};
