// SPDX-License-Identifier: GPL-2.0-or-later
/* The mount system calls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mountapi.h"

unsigned int mountapi_attribute(const char *word)
{
	static const struct {
		const char *word;
		unsigned int bit;
	} attributes[] = {
		{ "ro", MOUNT_ATTR_RDONLY }, { "nosuid", MOUNT_ATTR_NOSUID },
		{ "nodev", MOUNT_ATTR_NODEV }, { "noexec", MOUNT_ATTR_NOEXEC },
		{ "noatime", MOUNT_ATTR_NOATIME }, { "nodiratime", MOUNT_ATTR_NODIRATIME },
	};
	size_t i;

	for (i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (!strcmp(word, attributes[i].word))
			return attributes[i].bit;
	return 0;
}

static int result(long rc)
{
	return rc < 0 ? -errno : (int)rc;
}

/* One read is one message: "e ", "w " or "i " and the text. */
static void read_log(int fd, char *log, size_t size)
{
	char line[1024];
	size_t used = 0;
	ssize_t n;

	log[0] = '\0';
	while ((n = read(fd, line, sizeof(line) - 1)) > 0) {
		if (line[n - 1] == '\n')
			n--;
		if (n < 2 || used + (size_t)n >= size)
			continue;
		if (used)
			log[used++] = '\n';
		memcpy(log + used, line + 2, (size_t)n - 2);
		used += (size_t)n - 2;
		log[used] = '\0';
	}
}

static int configure(int fd, const struct mount_option *option)
{
	unsigned int command = option->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

	return result(syscall(SYS_fsconfig, fd, command, option->name, option->value, 0));
}

static int build(int fd, const struct mount_option *options, unsigned int attributes,
		 const char **step)
{
	int rc = 0;

	for (; !rc && options->name; options++) {
		*step = options->name;
		rc = configure(fd, options);
	}
	if (rc)
		return rc;
	*step = "mount";
	rc = result(syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	if (rc)
		return rc;
	return result(syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes));
}

int mountapi_mount(const char *type, const struct mount_option *options, const char *target,
		   unsigned int attributes, char *log, size_t log_size, const char **step)
{
	int fd, mount, rc;

	log[0] = '\0';
	*step = "open the filesystem";
	fd = result(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
	if (fd < 0)
		return fd;
	mount = build(fd, options, attributes, step);
	rc = mount;
	if (mount >= 0) {
		*step = "attach the mount";
		rc = result(syscall(SYS_move_mount, mount, "", AT_FDCWD, target,
				    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS));
		close(mount);
	}
	if (rc)
		read_log(fd, log, log_size);
	close(fd);
	return rc;
}
