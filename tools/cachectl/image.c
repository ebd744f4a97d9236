// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl image: a directory as one object, and that as a directory again. */
#include <blkid.h>
#include <errno.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachectl.h"
#include "disk.h"
#include "filecmd.h"
#include "format.h"
#include "imagebuild.h"
#include "imageupload.h"
#include "interrupt.h"
#include "mountapi.h"
#include "mountinfo.h"
#include "output.h"
#include "prefetch.h"

enum {
	OPT_ORDER = CTL_OPT_OWN,
	OPT_COMPRESS,
	OPT_NAME,
	OPT_VOLUME,
	OPT_PREFETCH,
	OPT_TEMPORARY,
	OPT_CONFIG,
};

/* --- build --- */

static const struct option build_options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "order", required_argument, NULL, OPT_ORDER },
	{ "compress", required_argument, NULL, OPT_COMPRESS },
	{ "temporary", required_argument, NULL, OPT_TEMPORARY },
	{ "volume", required_argument, NULL, OPT_VOLUME },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ 0 }
};

struct build_request {
	struct image_request image;
	struct upload_request upload;
	const char *output, *temporary, *volume;
};

/* A file, or file:///DIR/NAME; NULL if it is of another store. */
static const char *output_file(const char *output)
{
	const char *scheme = strstr(output, "://");

	if (!strncmp(output, "file:///", 8))
		return output + 7;
	return scheme ? NULL : output;
}

static int show_built(const struct image_request *request)
{
	char size[FMT_SIZE];
	json_t *answer;
	struct stat st;

	if (stat(request->output, &st))
		return ctl_fail("%s %s: %s", ctl.path, request->output, strerror(errno));
	if (ctl.json) {
		answer = filecmd_schema();
		json_object_set_new(answer, "output",
				    out_text(request->output, strlen(request->output)));
		json_object_set_new(answer, "size", json_integer((json_int_t)st.st_size));
		return out_json(stdout, answer, 0);
	}
	printf("packed %s into %s, %s\n", request->directory, request->output,
	       fmt_bytes(size, (uint64_t)st.st_size));
	return CTL_OK;
}

static int show_uploaded(const struct upload_request *request, const struct upload_answer *done)
{
	char size[FMT_SIZE], reused[FMT_SIZE];
	json_t *answer;

	if (ctl.json) {
		answer = filecmd_schema();
		json_object_set_new(answer, "output", out_text(request->url, strlen(request->url)));
		json_object_set_new(answer, "size", json_integer((json_int_t)done->size));
		json_object_set_new(answer, "reused_bytes", json_integer((json_int_t)done->reused));
		json_object_set_new(answer, "etag", json_string(done->etag));
		return out_json(stdout, answer, 0);
	}
	printf("uploaded %s, %s, version %s", request->url, fmt_bytes(size, done->size),
	       done->etag);
	if (done->reused)
		printf("; the store had %s of it", fmt_bytes(reused, done->reused));
	printf("\n");
	return CTL_OK;
}

static int upload(const struct upload_request *request)
{
	struct upload_answer answer = { 0 };
	int rc = imageupload_check(request);

	if (!rc)
		rc = imageupload(request, &answer);
	return rc ? rc : show_uploaded(request, &answer);
}

/* By way of a file of our own, which is gone once the store has it. */
static int build_and_upload(struct build_request *request)
{
	const char *parent = request->temporary ? request->temporary : getenv("TMPDIR");
	char directory[PATH_MAX], file[PATH_MAX + sizeof("/image")];
	int rc;

	if (!parent || !*parent)
		parent = "/var/tmp";
	if (snprintf(directory, sizeof(directory), "%s/cachectl-image-XXXXXX", parent) >=
	    (int)sizeof(directory))
		return ctl_fail("%s: '%s' is too long", ctl.path, parent);
	if (!mkdtemp(directory))
		return ctl_fail("%s: no directory for the image in %s: %s; --temporary says where else",
				ctl.path, parent, strerror(errno));
	snprintf(file, sizeof(file), "%s/image", directory);
	request->image.output = file;
	request->upload.file = file;
	rc = imagebuild(&request->image, directory);
	if (!rc) {
		rc = upload(&request->upload);
		if (rc) {
			ctl_warn("%s: the image is kept: 'cachectl image upload %s %s' goes on",
				 ctl.path, file, request->upload.url);
			return rc;
		}
	}
	unlink(file);
	rmdir(directory);
	return rc;
}

static int build(struct build_request *request)
{
	struct image_request *image = &request->image;
	char directory[PATH_MAX];
	struct stat st;
	int rc;

	if (!realpath(image->directory, directory) || stat(directory, &st))
		return ctl_fail("%s %s: %s", ctl.path, image->directory, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return ctl_fail("%s %s: is no directory", ctl.path, image->directory);
	image->directory = directory;
	image->output = output_file(request->output);
	if (!image->output)
		return build_and_upload(request);
	rc = imagebuild(image, NULL);
	return rc ? rc : show_built(image);
}

static int place(struct upload_request *request, const char *url, const char *volume)
{
	const char *wrong = diskname_split(url, volume, &request->place);

	request->url = url;
	return wrong ? ctl_usage("%s: '%s' is no object: %s", ctl.path, url, wrong) : CTL_OK;
}

static void build_option(struct build_request *request, int opt)
{
	switch (opt) {
	case 'o':
		request->output = optarg;
		break;
	case OPT_ORDER:
		request->image.order = optarg;
		break;
	case OPT_COMPRESS:
		request->image.compress = optarg;
		break;
	case OPT_TEMPORARY:
		request->temporary = optarg;
		break;
	case OPT_VOLUME:
		request->volume = optarg;
		break;
	case OPT_CONFIG:
		request->upload.config = optarg;
		break;
	}
}

static int run_build(const struct command *cmd, int argc, char **argv)
{
	struct build_request request = { .volume = NULL };
	int opt, rc = CTL_OK;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1)
		build_option(&request, opt);
	if (argc - optind != 1 || !request.output)
		return ctl_usage("%s: give one directory, and where to with -o", ctl.path);
	if (request.image.order && request.image.compress)
		return ctl_usage("%s: what is compressed has no order: --order or --compress",
				 ctl.path);
	request.image.directory = argv[optind];
	/* Before hours are spent on packing. */
	if (!output_file(request.output))
		rc = place(&request.upload, request.output, request.volume);
	if (!rc && request.upload.url)
		rc = imageupload_check(&request.upload);
	return rc ? rc : build(&request);
}

/* --- upload --- */

static const struct option upload_options[] = {
	{ "volume", required_argument, NULL, OPT_VOLUME },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ 0 }
};

static int run_upload(const struct command *cmd, int argc, char **argv)
{
	struct upload_request request = { .file = NULL };
	const char *volume = NULL;
	int opt, rc;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1) {
		if (opt == OPT_VOLUME)
			volume = optarg;
		else
			request.config = optarg;
	}
	if (argc - optind != 2)
		return ctl_usage("%s: give a file and an object", ctl.path);
	request.file = argv[optind];
	rc = place(&request, argv[optind + 1], volume);
	return rc ? rc : upload(&request);
}

/* --- mount --- */

static const struct option mount_options[] = {
	{ "name", required_argument, NULL, OPT_NAME },
	{ "volume", required_argument, NULL, OPT_VOLUME },
	{ "type", required_argument, NULL, 't' },
	{ "prefetch", no_argument, NULL, OPT_PREFETCH },
	{ 0 }
};

struct mount_request {
	struct disk_wish wish;
	const char *name, *volume, *type, *target;
	char node[DISKNAME_PATH];
	dev_t dev;		/* the disk's */
	bool prefetch;
	bool mounted;		/* found to be */
};

/* What is on the disk, of malloc(); NULL if that is not known. */
static char *find_type(const char *node)
{
	blkid_probe probe = blkid_new_probe_from_filename(node);
	const char *type = NULL;
	char *found = NULL;

	if (!probe)
		return NULL;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
	if (!blkid_do_safeprobe(probe) &&
	    !blkid_probe_lookup_value(probe, "TYPE", &type, NULL))
		found = strdup(type);
	blkid_free_probe(probe);
	return found;
}

/*
 * Whoever can write the object chooses what is found, and with it the code of the kernel that
 * reads it: so only those that images are made of.
 */
static bool is_accepted(const char *type)
{
	static const char *const accepted[] = {
		"erofs", "squashfs", "ext2", "ext3", "ext4", "xfs",
	};
	size_t i;

	for (i = 0; i < sizeof(accepted) / sizeof(*accepted); i++)
		if (!strcmp(type, accepted[i]))
			return true;
	return false;
}

/* A journal cannot be replayed on what is read-only. */
static const char *without_journal(const char *type)
{
	if (!strcmp(type, "ext4") || !strcmp(type, "ext3"))
		return "noload";
	return strcmp(type, "xfs") ? NULL : "norecovery";
}

static int mount_type(const struct mount_request *request, const char *type)
{
	const struct mount_option options[] = {
		{ "source", request->node }, { "ro", NULL }, { without_journal(type), NULL },
		{ NULL, NULL },
	};
	const char *step;
	char log[4096];
	int rc = mountapi_mount(type, options, request->target,
				MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, log,
				sizeof(log), &step);

	if (!rc)
		return CTL_OK;
	return ctl_fail("%s %s: cannot mount %s as %s: %s: %s; 'dmesg' may tell more", ctl.path,
			request->target, request->node, type, step, *log ? log : strerror(-rc));
}

static int mount_disk(const struct mount_request *request)
{
	char *found = request->type ? NULL : find_type(request->node);
	const char *type = request->type ? request->type : found;
	int rc;

	if (type && (request->type || is_accepted(type)))
		rc = mount_type(request, type);
	else if (type)
		rc = ctl_fail("%s %s: a filesystem of type %s is in it, which is mounted only if "
			      "'--type %s' says so: the kernel's code for it must be trusted with "
			      "this object", ctl.path, request->node, type, type);
	else
		rc = ctl_fail("%s %s: no filesystem is known to be in it; --type says which it is",
			      ctl.path, request->node);
	free(found);
	return rc;
}

static int show_mounted(const struct mount_request *request)
{
	json_t *answer;

	if (!ctl.json) {
		printf("mounted %s on %s\n", request->node, request->target);
		return CTL_OK;
	}
	answer = filecmd_schema();
	json_object_set_new(answer, "path", json_string(request->node));
	json_object_set_new(answer, "target", out_text(request->target, strlen(request->target)));
	return out_json(stdout, answer, 0);
}

static int mount_step(void *request)
{
	return mount_disk(request);
}

static void match_disk(const struct mountinfo *mount, void *arg)
{
	struct mount_request *request = arg;

	if (mount->dev == request->dev && !strcmp(mount->target, request->target))
		request->mounted = true;
}

/* Nobody was told of the disk; who looks at it all the same, as udev does, may fail. */
static void undo_mount(struct bcnl *nl, struct mount_request *request, pid_t child)
{
	disk_detach(nl, request->wish.name, true);
	if (child <= 0)
		return;
	/* What it waited for has failed. It may have been done before it was killed. */
	waitpid(child, NULL, 0);
	mountinfo_each(match_disk, request);
	if (request->mounted)
		umount2(request->target, UMOUNT_NOFOLLOW | MNT_DETACH);
}

static int attach_and_mount(struct bcnl *nl, struct mount_request *request)
{
	struct stat st;
	pid_t child = 0;
	sigset_t old;
	int rc;

	interrupt_hold(&old);
	rc = disk_attach(nl, &request->wish);
	if (!rc) {
		diskname_path(request->wish.name, request->node);
		if (!stat(request->node, &st))
			request->dev = st.st_rdev;
		rc = interrupt_run(&old, mount_step, request, &child);
		if (rc)
			undo_mount(nl, request, rc == INTERRUPT_HIT ? child : 0);
	}
	interrupt_release(&old);
	return rc == INTERRUPT_HIT ? CTL_FAILED : rc;
}

static int image_mount(struct bcnl *nl, struct mount_request *request)
{
	int rc = attach_and_mount(nl, request);

	if (!rc)
		rc = show_mounted(request);
	if (!rc && request->prefetch)
		rc = prefetch_path(nl, request->node);
	return rc;
}

static int run_mount(const struct command *cmd, int argc, char **argv)
{
	struct mount_request request = { .wish.on_daemon_loss = BC_LOSS_WAIT };
	struct bcnl *nl;
	int opt, rc;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1) {
		if (opt == OPT_NAME)
			request.name = optarg;
		else if (opt == OPT_VOLUME)
			request.volume = optarg;
		else if (opt == 't')
			request.type = optarg;
		else
			request.prefetch = true;
	}
	if (argc - optind != 2)
		return ctl_usage("%s: give an object and a directory", ctl.path);
	request.target = argv[optind + 1];
	rc = disk_wish_place(&request.wish, argv[optind], request.volume, request.name);
	if (!rc)
		rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = image_mount(nl, &request);
	bcnl_close(nl);
	return rc;
}

/* --- umount --- */

struct mounted {
	const char *target;
	char dev[32];		/* as the kernel's list has it; "" = nothing is there */
};

static void match_target(const struct mountinfo *mount, void *arg)
{
	struct mounted *mounted = arg;

	if (!strcmp(mount->target, mounted->target))
		snprintf(mounted->dev, sizeof(mounted->dev), "%u:%u", major(mount->dev),
			 minor(mount->dev));
}

/* The name of the disk with this number, of malloc(); NULL if there is none. */
static char *disk_of(struct bcnl *nl, const char *dev)
{
	json_t *disks, *disk;
	char *name = NULL;
	size_t i;

	if (bcnl_dump(nl, BC_CMD_DISK_GET, BC_A_DISK, &disks))
		return NULL;
	json_array_foreach(disks, i, disk)
		if (!name && !strcmp(out_str(disk, "dev"), dev))
			name = strdup(out_str(disk, "name"));
	json_decref(disks);
	return name;
}

static int show_unmounted(const char *target, const char *name)
{
	json_t *answer;

	if (!ctl.json) {
		printf("unmounted %s, detached %s\n", target, name);
		return CTL_OK;
	}
	answer = filecmd_schema();
	json_object_set_new(answer, "target", out_text(target, strlen(target)));
	json_object_set_new(answer, "name", json_string(name));
	return out_json(stdout, answer, 0);
}

static int image_umount(struct bcnl *nl, const char *target)
{
	struct mounted mounted = { .target = target };
	char *name;
	int rc;

	mountinfo_each(match_target, &mounted);
	name = *mounted.dev ? disk_of(nl, mounted.dev) : NULL;
	if (!name) {
		ctl_fail("%s %s: no disk of blobcache is mounted there; 'cachectl disk list' and "
			 "'findmnt' show what there is", ctl.path, target);
		return CTL_NOTHING;
	}
	if (umount2(target, UMOUNT_NOFOLLOW))
		rc = ctl_fail("%s %s: %s%s", ctl.path, target, strerror(errno), errno == EBUSY ?
			      "; 'fuser -vm' with this path shows who uses it" : "");
	else
		rc = disk_detach(nl, name, false);
	if (!rc)
		rc = show_unmounted(target, name);
	free(name);
	return rc;
}

static int run_umount(const struct command *cmd, int argc, char **argv)
{
	char target[PATH_MAX];
	struct bcnl *nl;
	int rc;

	while (ctl_getopt(cmd, argc, argv) != -1)
		;
	if (argc - optind != 1)
		return ctl_usage("%s: give exactly one directory", ctl.path);
	if (!realpath(argv[optind], target))
		return ctl_fail("%s %s: %s", ctl.path, argv[optind], strerror(errno));
	rc = bcnl_open(&nl);
	if (rc)
		return rc;
	rc = image_umount(nl, target);
	bcnl_close(nl);
	return rc;
}

static const struct command image_build = {
	.name = "build",
	.summary = "pack a directory into one file or object, by mkfs.erofs",
	.usage = "[OPTION ...] DIR -o FILE|OBJECT",
	.options = build_options,
	.run = run_build,
	.arg = CTL_ARG_DIR,
	.help =
"\n"
"The file, or the object, is there when it is complete; what was there is replaced. An object is\n"
"uploaded with the credentials that blobcached's configuration has for its source.\n"
"\n"
"Options\n"
"  -o, --output WHERE   a file, also as file:///DIR/NAME; or azure://HOST/CONTAINER/PATH\n"
"      --order LIST     a file with names relative to DIR, one a line: their content comes in\n"
"                       this order, before all others. The order of an epoch, or hot files\n"
"                       first, makes reads follow each other. Needs erofs-utils 1.8 or later\n"
"      --compress ALG   as mkfs.erofs -z: lz4, lz4hc,12 ... (default: not)\n"
"      --temporary DIR  where the image is until it is uploaded (default: $TMPDIR, /var/tmp)\n"
"      --volume VOLUME  which part of the object is the source, see 'cachectl disk attach'\n"
"      --config FILE    blobcached's configuration (default: /etc/blobcache/blobcached.json)\n"
"\n"
"Example\n"
"  cachectl image build /data/imagenet -o imagenet.erofs --order epoch-0.txt\n"
"  cachectl image build /data/imagenet -o azure://acct.blob.core.windows.net/train/imagenet.erofs\n",
};

static const struct command image_upload = {
	.name = "upload",
	.summary = "make a file an object, with progress, and go on where an upload broke off",
	.usage = "[OPTION ...] FILE OBJECT",
	.options = upload_options,
	.run = run_upload,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"The object is there when it is complete; what was there is replaced. An interrupted upload leaves\n"
"it as it was, and the same command goes on with what the store has, for seven days. The store is\n"
"asked with the credentials that blobcached's configuration has for the object's source.\n"
"\n"
"Options\n"
"      --volume VOLUME  which part of OBJECT is the source, see 'cachectl disk attach'\n"
"      --config FILE    blobcached's configuration (default: /etc/blobcache/blobcached.json)\n"
"\n"
"Example\n"
"  cachectl image upload imagenet.erofs azure://acct.blob.core.windows.net/train/imagenet.erofs\n",
};

static const struct command image_mount_command = {
	.name = "mount",
	.summary = "attach the disk of an image, and mount it read-only",
	.usage = "[OPTION ...] OBJECT DIR",
	.options = mount_options,
	.run = run_mount,
	.help =
"\n"
"If it cannot be mounted, no disk is left.\n"
"\n"
"Options\n"
"      --name NAME       of the disk (default: the object's name without its ending)\n"
"      --volume VOLUME   which part of OBJECT is the source, see 'cachectl disk attach'\n"
"  -t, --type TYPE       of the filesystem (default: what is found: erofs, squashfs, ext2, ext3,\n"
"                        ext4 or xfs; others only by this option)\n"
"      --prefetch        fetch all of it, and wait for that\n"
"\n"
"Example\n"
"  cachectl image mount azure://acct.blob.core.windows.net/train/imagenet.erofs /mnt/imagenet\n",
};

static const struct command image_umount_command = {
	.name = "umount",
	.summary = "unmount an image, and detach its disk",
	.usage = "DIR",
	.run = run_umount,
	.arg = CTL_ARG_DIR,
	.help =
"\n"
"Example\n"
"  cachectl image umount /mnt/imagenet\n",
};

static const struct command *const image_sub[] = {
	&image_build, &image_upload, &image_mount_command, &image_umount_command, NULL,
};

const struct command cmd_image = {
	.name = "image",
	.summary = "a directory as one object, mounted as a disk: build, mount, umount",
	.usage = "COMMAND ...",
	.sub = image_sub,
	.help =
"\n"
"Examples\n"
"  cachectl image build /data/imagenet -o imagenet.erofs\n"
"  cachectl image mount azure://acct.blob.core.windows.net/train/imagenet.erofs /mnt/imagenet\n"
"  cachectl image umount /mnt/imagenet\n",
};
