/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: tools/cachectl/diskname.c tools/cachectl/imageorder.c */
/* Names of disks and objects; the order of files in an image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachectl.h"
#include "diskname.h"
#include "imageorder.h"

struct ctl ctl = { .path = "image build" };
static char said[512];

int ctl_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	return CTL_FAILED;
}

static void split(void **state)
{
	static const struct {
		const char *url, *volume, *source, *path;
	} cases[] = {
		{ "azure://h/c/p", NULL, "azure://h/c", "p" },
		{ "azure://h/c/a/b.img", NULL, "azure://h/c", "a/b.img" },
		{ "azure://h/c/a/b.img", "azure://h/c/a", "azure://h/c/a", "b.img" },
		{ "azure://h/c/a/b.img", "azure://h/c/a/", "azure://h/c/a", "b.img" },
		{ "azure://h/c/a/b.img", "azure://h/x", NULL, NULL },
		{ "azure://h/cc/a", "azure://h/c", NULL, NULL },
		{ "azure://h/c/", NULL, NULL, NULL }, { "azure://h/c", NULL, NULL, NULL },
		{ "azure:///c/p", NULL, NULL, NULL }, { "azure://", NULL, NULL, NULL },
		{ "s3://bucket/a/b", NULL, "s3://bucket", "a/b" },
		{ "file:///d/e/f", NULL, "file:///d/e", "f" },
		{ "file:///d/e/f", "file:///d", "file:///d", "e/f" },
		{ "file:///d/", NULL, NULL, NULL }, { "/d/e", NULL, NULL, NULL },
		{ "", NULL, NULL, NULL },
	};
	struct disk_place place;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!cases[i].source) {
			assert_non_null(diskname_split(cases[i].url, cases[i].volume, &place));
			continue;
		}
		assert_null(diskname_split(cases[i].url, cases[i].volume, &place));
		assert_string_equal(place.source, cases[i].source);
		assert_string_equal(place.path, cases[i].path);
	}
}

static void too_long(void **state)
{
	static char url[BC_NL_SOURCE_MAX + BC_NL_PATH_MAX + 20];
	struct disk_place place;

	(void)state;
	memset(url, 'x', sizeof(url) - 1);
	memcpy(url, "azure://h/c/", 12);
	assert_non_null(diskname_split(url, NULL, &place));
	url[12 + BC_NL_PATH_MAX] = '\0';
	assert_null(diskname_split(url, NULL, &place));
	assert_int_equal(strlen(place.path), BC_NL_PATH_MAX);
}

static void names(void **state)
{
	static const struct {
		const char *path, *name;
	} cases[] = {
		{ "a/b/imagenet.erofs", "imagenet" }, { "imagenet", "imagenet" },
		{ "train-2026.v1.img", "train-2026.v1" }, { "with space.img", "with-space" },
		{ "a/.hidden", "hidden" }, { "a/", "" }, { "..", "" },
		{ "0123456789abcdef01234567.img", "0123456789abcdef01234" },
		{ "\xc3\xbc.img", "--" },
	};
	char name[BC_DISK_NAME_MAX + 1], path[DISKNAME_PATH];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(diskname_default(cases[i].path, name), cases[i].name);
	assert_string_equal(diskname_of("/dev/blobcache/x"), "x");
	assert_string_equal(diskname_of("x"), "x");
	assert_string_equal(diskname_path("x", path), "/dev/blobcache/x");
}

static char directory[] = "/tmp/order.XXXXXX";

static void make(const char *name, bool is_directory)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (is_directory) {
		assert_int_equal(mkdir(path, 0700), 0);
		return;
	}
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
}

static int make_tree(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	make("d", true);
	make("d/e", true);
	make("d/e/1", false);
	make("d/2", false);
	make("3", false);
	make("4", false);
	return 0;
}

static int remove_tree(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

/* The names that come out, each with a ',' behind it; NULL if it failed. */
static const char *order(const char *list)
{
	static char text[256];
	char *written = NULL;
	FILE *in = fmemopen((char *)list, strlen(list) + 1, "r");
	size_t size, i;
	FILE *out = open_memstream(&written, &size);
	int rc;

	said[0] = '\0';
	rc = imageorder_write(directory, in, out);
	fclose(in);
	fclose(out);
	for (i = 0; i < size && i < sizeof(text) - 1; i++)
		text[i] = written[i] ? written[i] : ',';
	text[i] = '\0';
	free(written);
	return rc ? NULL : text;
}

static void orders(void **state)
{
	(void)state;
	assert_string_equal(strstr(order("d/2\n4\n./d/e/1"), "d/2"), "d/2,4,d/e/1,3,");
	assert_string_equal(strstr(order("\n\n"), "3,"), "3,4,d/2,d/e/1,");
	/* A directory comes before what is in it. */
	assert_non_null(strstr(order("4"), ".,d,d/e,"));
	assert_null(order("d/2\nnone\n"));
	assert_non_null(strstr(said, "'none'"));
	assert_null(order("d\n"));
	assert_null(order("4\n3\n4\n"));
	assert_non_null(strstr(said, "twice"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split),
		cmocka_unit_test(too_long),
		cmocka_unit_test(names),
		cmocka_unit_test_setup_teardown(orders, make_tree, remove_tree),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("names of disks, order of images", tests, NULL, NULL);
}
