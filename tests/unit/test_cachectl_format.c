/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: tools/cachectl/format.c tools/cachectl/infer.c tools/cachectl/progress.c */
/* Numbers, times and ids as people write them; sources behind mounts; progress lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "format.h"
#include "infer.h"
#include "progress.h"

static void bytes(void **state)
{
	static const struct {
		uint64_t value;
		const char *text;
	} cases[] = {
		{ 0, "0 B" }, { 1, "1 B" }, { 1023, "1023 B" }, { 1024, "1.00 KiB" },
		{ 1536, "1.50 KiB" }, { 10240, "10.0 KiB" }, { 102400, "100 KiB" },
		{ 1048575, "1.00 MiB" }, { 1048576, "1.00 MiB" },
		{ 3865470566ULL, "3.60 GiB" }, { UINT64_MAX, "16.0 EiB" },
	};
	char buf[FMT_SIZE];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(fmt_bytes(buf, cases[i].value), cases[i].text);
}

static void spans(void **state)
{
	char buf[FMT_SIZE];

	(void)state;
	assert_string_equal(fmt_ms(buf, 0), "0 ms");
	assert_string_equal(fmt_ms(buf, 999), "999 ms");
	assert_string_equal(fmt_ms(buf, 3000), "3.0 s");
	assert_string_equal(fmt_ms(buf, 59999), "59.9 s");
	assert_string_equal(fmt_ms(buf, 187000), "3m07s");
	assert_string_equal(fmt_ms(buf, 7380000), "2h03m");
	assert_string_equal(fmt_ms(buf, 446400000), "5d04h");
	assert_true(strlen(fmt_ms(buf, UINT64_MAX)) < FMT_SIZE);
}

static void counts(void **state)
{
	char buf[FMT_SIZE];

	(void)state;
	assert_string_equal(fmt_count(buf, 0), "0");
	assert_string_equal(fmt_count(buf, 999), "999");
	assert_string_equal(fmt_count(buf, 1000), "1 000");
	assert_string_equal(fmt_count(buf, 1234567), "1 234 567");
	assert_string_equal(fmt_count(buf, UINT64_MAX), "18 446 744 073 709 551 615");
}

static void percents(void **state)
{
	char buf[FMT_SIZE];

	(void)state;
	assert_string_equal(fmt_percent(buf, 0, 0), "-");
	assert_string_equal(fmt_percent(buf, 0, 7), "0 %");
	assert_string_equal(fmt_percent(buf, 7, 7), "100 %");
	assert_string_equal(fmt_percent(buf, 1, 8), "12.5 %");
	/* Almost all is not all, almost nothing is not nothing. */
	assert_string_equal(fmt_percent(buf, 999999, 1000000), "99.9 %");
	assert_string_equal(fmt_percent(buf, 1, 1000000), "<0.1 %");
}

static void bars(void **state)
{
	char buf[16];

	(void)state;
	assert_string_equal(fmt_bar(buf, 10, 0, 0), "[----------]");
	assert_string_equal(fmt_bar(buf, 10, 5, 10), "[#####-----]");
	assert_string_equal(fmt_bar(buf, 10, 99, 100), "[#########-]");
	assert_string_equal(fmt_bar(buf, 10, 100, 100), "[##########]");
	assert_string_equal(fmt_bar(buf, 10, 200, 100), "[##########]");
}

static void uuids(void **state)
{
	const char *text = "01234567-89ab-cdef-0123-456789abcdef";
	char buf[FMT_UUID_SIZE];
	uint8_t uuid[16];

	(void)state;
	assert_int_equal(parse_uuid(text, uuid), 0);
	assert_string_equal(fmt_uuid(buf, uuid), text);
	assert_int_equal(parse_uuid("0123456789ABCDEF0123456789ABCDEF", uuid), 0);
	assert_string_equal(fmt_uuid(buf, uuid), text);
	assert_int_equal(parse_uuid("", uuid), -EINVAL);
	assert_int_equal(parse_uuid("01234567-89ab-cdef-0123-456789abcde", uuid), -EINVAL);
	assert_int_equal(parse_uuid("01234567-89ab-cdef-0123-456789abcdef0", uuid), -EINVAL);
	assert_int_equal(parse_uuid("01234567-89ab-cdef-0123-456789abcdeg", uuid), -EINVAL);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{ "0", 0 }, { "4096", 4096 }, { "64K", 65536 }, { "64k", 65536 },
		{ "1.5GiB", 1610612736 }, { "16 MiB", 16777216 }, { "7B", 7 }, { "2TB", 2199023255552 },
		{ "18446744073709551615", UINT64_MAX }, { "15E", 17293822569102704640ULL },
	};
	static const char *const bad[] = {
		"", " ", "-1", "+1", "1.", ".5", "1e3", "K", "1KK", "1 K B", "0x10", "inf", "nan", "1X",
	};
	uint64_t value;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(parse_size(good[i].text, &value), 0);
		assert_true(value == good[i].value);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse_size(bad[i], &value), -EINVAL);
	assert_int_equal(parse_size("16E", &value), -ERANGE);
	assert_int_equal(parse_size("16.0E", &value), -ERANGE);
	assert_int_equal(parse_size("18446744073709551616", &value), -ERANGE);
}

static void times(void **state)
{
	uint64_t ms;

	(void)state;
	assert_int_equal(parse_ms("3s", &ms), 0);
	assert_int_equal(ms, 3000);
	assert_int_equal(parse_ms("3", &ms), 0);
	assert_int_equal(ms, 3000);
	assert_int_equal(parse_ms("0.5", &ms), 0);
	assert_int_equal(ms, 500);
	assert_int_equal(parse_ms("250ms", &ms), 0);
	assert_int_equal(ms, 250);
	assert_int_equal(parse_ms("2d", &ms), 0);
	assert_int_equal(ms, 172800000);
	assert_int_equal(parse_ms("", &ms), -EINVAL);
	assert_int_equal(parse_ms("3 s", &ms), -EINVAL);
	assert_int_equal(parse_ms("s", &ms), -EINVAL);
	assert_int_equal(parse_ms("18446744073709551615d", &ms), -ERANGE);
}

static void numbers(void **state)
{
	uint32_t value;

	(void)state;
	assert_int_equal(parse_u32("64", 1, 64, &value), 0);
	assert_int_equal(value, 64);
	assert_int_equal(parse_u32("65", 1, 64, &value), -ERANGE);
	assert_int_equal(parse_u32("0", 1, 64, &value), -ERANGE);
	assert_int_equal(parse_u32("4294967297", 0, UINT32_MAX, &value), -ERANGE);
	assert_int_equal(parse_u32("99999999999999999999", 0, UINT32_MAX, &value), -ERANGE);
	assert_int_equal(parse_u32("", 0, 1, &value), -EINVAL);
	assert_int_equal(parse_u32("-1", 0, 1, &value), -EINVAL);
	assert_int_equal(parse_u32(" 1", 0, 1, &value), -EINVAL);
	assert_int_equal(parse_u32("1x", 0, 1, &value), -EINVAL);
}

static void distances(void **state)
{
	(void)state;
	assert_int_equal(text_distance("status", "status"), 0);
	assert_int_equal(text_distance("status", "statuz"), 1);
	assert_int_equal(text_distance("abcd", "abdc"), 1);
	assert_int_equal(text_distance("format", "formaat"), 1);
	assert_int_equal(text_distance("", "pin"), 3);
	/* Longer words are cut, not overrun. */
	assert_int_equal(text_distance("0123456789012345678901234567890123456789",
				       "0123456789012345678901234567890999999999"), 0);
}

static void sources(void **state)
{
	char out[INFER_SIZE];

	(void)state;
	assert_int_equal(infer_source("nfs", "acct.blob.core.windows.net:/acct/train", out), 0);
	assert_string_equal(out, "azure://acct.blob.core.windows.net/train");
	assert_int_equal(infer_source("nfs4", "filer:/export/train", out), -ENOENT);
	assert_int_equal(infer_source("nfs", "acct.blob.core.windows.net:/acct", out), -ENOENT);
	assert_int_equal(infer_source("fuse.rclone", "blob:train/a/b", out), -ENOENT);
	assert_non_null(strstr(out, "windows.net/train --prefix a/b"));
	assert_int_equal(infer_source("fuse.rclone", "blob:", out), -ENOENT);
	assert_int_equal(infer_source("fuse", "blobfuse2", out), -ENOENT);
	assert_non_null(strstr(out, "blobfuse2"));
	assert_int_equal(infer_source("ext4", "/dev/sda1", out), -ENOENT);
	assert_non_null(strstr(out, "file:///DIR"));
	assert_int_equal(source_check("azure://h/c"), 0);
	assert_int_equal(source_check("file:///data"), 0);
	assert_int_equal(source_check("lower:"), 0);
	assert_int_equal(source_check("azure://"), -EINVAL);
	assert_int_equal(source_check("file://data"), -EINVAL);
	assert_int_equal(source_check("lower:x"), -EINVAL);
	assert_int_equal(source_check(""), -EINVAL);
}

static void progress_lines(void **state)
{
	struct progress progress = { .total = 2097152, .sampled_at = 1000 };
	char line[256];

	(void)state;
	assert_string_equal(progress_text(line, sizeof(line), 0, &progress),
			    "   0 %  0 B of 2.00 MiB  0 B/s  ETA -");
	progress.shown = 1048576;
	progress_rate(&progress, 2000);
	assert_string_equal(progress_text(line, sizeof(line), 0, &progress),
			    "50.0 %  1.00 MiB of 2.00 MiB  1.00 MiB/s  ETA 1.0 s");
	assert_int_equal(line[0], '5');
	progress_text(line, sizeof(line), 79, &progress);
	assert_int_equal(line[0], '[');
	assert_true(strlen(line) <= 79);
	progress_text(line, sizeof(line), 100000, &progress);
	assert_true(strlen(line) < sizeof(line));
	/* Too early for another sample. */
	progress.shown = 2097152;
	progress_rate(&progress, 2100);
	assert_int_equal((int)progress.rate, 1048576);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes), cmocka_unit_test(spans), cmocka_unit_test(counts),
		cmocka_unit_test(percents), cmocka_unit_test(bars), cmocka_unit_test(uuids),
		cmocka_unit_test(sizes), cmocka_unit_test(times), cmocka_unit_test(numbers),
		cmocka_unit_test(distances), cmocka_unit_test(sources),
		cmocka_unit_test(progress_lines),
	};

	return cmocka_run_group_tests_name("cachectl format", tests, NULL, NULL);
}
