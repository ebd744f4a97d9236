/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: tools/cachectl/walk.c tools/cachectl/cli.c tools/cachectl/format.c tools/cachectl/output.c */
/* libs: jansson smartcols */
/* The files that PATH ... [-r] means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachectl.h"
#include "walk.h"

static char top[64];

/* top/{a (3 bytes), d/b (5), d/e/c (7), d/pipe, d/link -> ../a, s -> d} */
static int set_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/test_cachectl_walk.XXXXXX");
	if (!mkdtemp(top) || chdir(top))
		return -1;
	return system("mkdir -p d/e && printf 123 >a && printf 12345 >d/b && printf 1234567 >d/e/c && "
		      "mkfifo d/pipe && ln -s ../a d/link && ln -s d s && ln -s nowhere x");
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "cd / && rm -r %s", top);
	return chdir("/") || system(command);
}

static int count(const char *path, int fd, uint64_t size, void *arg)
{
	struct stat st;

	(void)path;
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_size, size);
	(*(int *)arg)++;
	return 0;
}

static int refuse(const char *path, int fd, uint64_t size, void *arg)
{
	(void)path;
	(void)fd;
	(void)size;
	(void)arg;
	return -1;
}

static void plain_file(void **state)
{
	char *paths[] = { "a", "d/b", NULL };
	struct walk walk;
	int calls = 0;

	(void)state;
	assert_int_equal(walk_files(paths, false, count, &calls, &walk), CTL_OK);
	assert_int_equal(calls, 2);
	assert_int_equal(walk.files, 2);
	assert_int_equal(walk.bytes, 8);
	assert_int_equal(walk.failed, 0);
}

/* Neither the pipe (it would block) nor the link is a file of the directory. */
static void directory(void **state)
{
	char *paths[] = { "d", NULL };
	struct walk walk;
	int calls = 0;

	(void)state;
	assert_int_equal(walk_files(paths, true, count, &calls, &walk), CTL_OK);
	assert_int_equal(walk.files, 2);
	assert_int_equal(walk.bytes, 12);
	assert_int_equal(walk_files(paths, false, count, &calls, &walk), CTL_FAILED);
	assert_int_equal(walk.files, 0);
	assert_int_equal(walk.failed, 1);
	assert_int_equal(calls, 2);
}

static void named_links(void **state)
{
	char *paths[] = { "s", "d/link", NULL };
	struct walk walk;
	int calls = 0;

	(void)state;
	assert_int_equal(walk_files(paths, true, count, &calls, &walk), CTL_OK);
	assert_int_equal(walk.files, 3);
}

static void what_is_not_there(void **state)
{
	char *paths[] = { "none", "x", "d/pipe", "a", NULL };
	struct walk walk;
	int calls = 0;

	(void)state;
	assert_int_equal(walk_files(paths, true, count, &calls, &walk), CTL_FAILED);
	assert_int_equal(walk.files, 1);
	assert_int_equal(walk.failed, 3);
}

static void refused_by_callee(void **state)
{
	char *paths[] = { "d", NULL };
	struct walk walk;

	(void)state;
	assert_int_equal(walk_files(paths, true, refuse, NULL, &walk), CTL_FAILED);
	assert_int_equal(walk.files, 0);
	assert_int_equal(walk.failed, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_file), cmocka_unit_test(directory),
		cmocka_unit_test(named_links), cmocka_unit_test(what_is_not_there),
		cmocka_unit_test(refused_by_callee),
	};

	return cmocka_run_group_tests_name("cachectl walk", tests, set_up, tear_down);
}
