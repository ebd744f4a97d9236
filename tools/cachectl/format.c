// SPDX-License-Identifier: GPL-2.0-or-later
/* Numbers, times and ids as people write them. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

const char *fmt_bytes(char *buf, uint64_t bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned int i = 0;

	/* 1023.95 would round up to "1024 KiB". */
	while (value >= 1023.5 && i + 1 < sizeof(unit) / sizeof(unit[0])) {
		value /= 1024;
		i++;
	}
	if (i == 0)
		snprintf(buf, FMT_SIZE, "%u B", (unsigned int)bytes);
	else
		snprintf(buf, FMT_SIZE, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0,
			 value, unit[i]);
	return buf;
}

const char *fmt_ms(char *buf, uint64_t ms)
{
	unsigned long long s = ms / 1000;

	if (ms < 1000)
		snprintf(buf, FMT_SIZE, "%u ms", (unsigned int)ms);
	else if (s < 60)
		snprintf(buf, FMT_SIZE, "%llu.%u s", s, (unsigned int)(ms % 1000 / 100));
	else if (s < 3600)
		snprintf(buf, FMT_SIZE, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, FMT_SIZE, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(buf, FMT_SIZE, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return buf;
}

const char *fmt_count(char *buf, uint64_t count)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
	char *out = buf;
	int i;

	for (i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0)
			*out++ = ' ';
		*out++ = digits[i];
	}
	*out = '\0';
	return buf;
}

const char *fmt_percent(char *buf, uint64_t part, uint64_t whole)
{
	double percent;

	if (!whole) {
		snprintf(buf, FMT_SIZE, "-");
		return buf;
	}
	percent = 100.0 * (double)part / (double)whole;
	if (part == 0)
		snprintf(buf, FMT_SIZE, "0 %%");
	else if (part == whole)
		snprintf(buf, FMT_SIZE, "100 %%");
	else if (percent < 0.05)
		snprintf(buf, FMT_SIZE, "<0.1 %%");
	else if (part < whole && percent > 99.9)
		snprintf(buf, FMT_SIZE, "99.9 %%");
	else
		snprintf(buf, FMT_SIZE, "%.1f %%", percent);
	return buf;
}

const char *fmt_bar(char *buf, unsigned int width, uint64_t part, uint64_t whole)
{
	unsigned int full = 0, i;

	if (whole)
		full = part >= whole ? width : (unsigned int)((double)part / (double)whole * width);
	buf[0] = '[';
	for (i = 0; i < width; i++)
		buf[1 + i] = i < full ? '#' : '-';
	buf[1 + width] = ']';
	buf[2 + width] = '\0';
	return buf;
}

const char *fmt_uuid(char *buf, const uint8_t uuid[16])
{
	char *out = buf;
	int i;

	for (i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		out += sprintf(out, "%02x", uuid[i]);
	}
	return buf;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int parse_uuid(const char *text, uint8_t uuid[16])
{
	int n = 0, digit;

	for (; *text; text++) {
		if (*text == '-')
			continue;
		digit = hex_digit(*text);
		if (digit < 0 || n == 32)
			return -EINVAL;
		uuid[n / 2] = (uint8_t)(n % 2 ? uuid[n / 2] | digit : digit << 4);
		n++;
	}
	return n == 32 ? 0 : -EINVAL;
}

/* A decimal number with an optional fraction; no sign, no exponent, no "inf". */
static int parse_decimal(const char **text, double *value)
{
	const char *p = *text;
	char *end;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	while (isdigit((unsigned char)*p))
		p++;
	if (*p == '.') {
		if (!isdigit((unsigned char)p[1]))
			return -EINVAL;
		for (p++; isdigit((unsigned char)*p); p++)
			;
	}
	*value = strtod(*text, &end);
	*text = p;
	return 0;
}

static int parse_whole(const char *text, const char *end, uint64_t *value)
{
	char *stop;

	errno = 0;
	*value = strtoull(text, &stop, 10);
	if (stop != end)
		return -EINVAL;
	return errno ? -ERANGE : 0;
}

static int scale(const char *text, const char *end, double value, uint64_t unit, uint64_t *out)
{
	uint64_t whole;
	int rc;

	if (!memchr(text, '.', (size_t)(end - text))) {
		rc = parse_whole(text, end, &whole);
		if (rc)
			return rc;
		return __builtin_mul_overflow(whole, unit, out) ? -ERANGE : 0;
	}
	value *= (double)unit;
	if (value >= 18446744073709551616.0)
		return -ERANGE;
	*out = (uint64_t)value;
	return 0;
}

int parse_size(const char *text, uint64_t *bytes)
{
	static const char suffix[] = "KMGTPE";
	const char *p = text, *end, *at;
	uint64_t unit = 1;
	double value;

	if (parse_decimal(&p, &value))
		return -EINVAL;
	end = p;
	if (*p == ' ')
		p++;
	at = *p ? strchr(suffix, toupper((unsigned char)*p)) : NULL;
	if (at) {
		unit = 1ULL << (10 * (at - suffix + 1));
		p++;
		if (*p == 'i')
			p++;
	}
	if (*p == 'B' || *p == 'b')
		p++;
	if (*p)
		return -EINVAL;
	return scale(text, end, value, unit, bytes);
}

int parse_ms(const char *text, uint64_t *ms)
{
	static const struct {
		const char *suffix;
		uint64_t ms;
	} unit[] = {
		{ "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60000 },
		{ "h", 3600000 }, { "d", 86400000 },
	};
	const char *end = text;
	double value;
	size_t i;

	if (parse_decimal(&end, &value))
		return -EINVAL;
	for (i = 0; i < sizeof(unit) / sizeof(unit[0]); i++)
		if (!strcmp(end, unit[i].suffix))
			return scale(text, end, value, unit[i].ms, ms);
	return -EINVAL;
}

int parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
	uint64_t whole;
	int rc;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	rc = parse_whole(text, text + strlen(text), &whole);
	if (rc)
		return rc;
	if (whole < min || whole > max)
		return -ERANGE;
	*value = (uint32_t)whole;
	return 0;
}

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	if (b < a)
		a = b;
	return c < a ? c : a;
}

unsigned int text_distance(const char *a, const char *b)
{
	unsigned int d[32][32], i, j;
	unsigned int na = (unsigned int)strnlen(a, 31), nb = (unsigned int)strnlen(b, 31);

	for (i = 0; i <= na; i++)
		d[i][0] = i;
	for (j = 0; j <= nb; j++)
		d[0][j] = j;
	for (i = 1; i <= na; i++) {
		for (j = 1; j <= nb; j++) {
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				       d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[na][nb];
}
