/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers, times and ids as people write them. Pure; unit tested. */
#ifndef CACHECTL_FORMAT_H
#define CACHECTL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FMT_SIZE	32	/* enough for any text made here */
#define FMT_UUID_SIZE	37

/**
 * fmt_bytes - "1.5 GiB"
 * @buf: of FMT_SIZE bytes
 * @bytes: the number
 * Return: @buf
 */
const char *fmt_bytes(char *buf, uint64_t bytes);

/**
 * fmt_ms - a span of time: "340 ms", "12.5 s", "3m07s", "2h03m", "5d04h"
 * @buf: of FMT_SIZE bytes
 * @ms: milliseconds
 * Return: @buf
 */
const char *fmt_ms(char *buf, uint64_t ms);

/**
 * fmt_count - a number with thousands apart: "1 234 567"
 * @buf: of FMT_SIZE bytes
 * @count: the number
 * Return: @buf
 */
const char *fmt_count(char *buf, uint64_t count);

/**
 * fmt_percent - "97.4 %", or "-" of nothing
 * @buf: of FMT_SIZE bytes
 * @part: numerator
 * @whole: denominator
 * Return: @buf. Less than all is never shown as "100 %", more than nothing never as "0 %".
 */
const char *fmt_percent(char *buf, uint64_t part, uint64_t whole);

/**
 * fmt_bar - "[####------]"
 * @buf: of at least @width + 3 bytes
 * @width: inner width
 * @part: numerator
 * @whole: denominator
 * Return: @buf
 */
const char *fmt_bar(char *buf, unsigned int width, uint64_t part, uint64_t whole);

/**
 * fmt_uuid - 16 bytes as xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx
 * @buf: of FMT_UUID_SIZE bytes
 * @uuid: 16 bytes
 * Return: @buf
 */
const char *fmt_uuid(char *buf, const uint8_t uuid[16]);

/**
 * parse_uuid - the reverse; hyphens may be missing
 * @text: zero terminated
 * @uuid: out
 * Return: 0 or -EINVAL
 */
int parse_uuid(const char *text, uint8_t uuid[16]);

/**
 * parse_size - bytes with an optional IEC suffix: 4096, 64K, 1.5GiB, 16 MiB
 * @text: zero terminated
 * @bytes: out
 * Return: 0, -EINVAL, or -ERANGE beyond 64 bits
 */
int parse_size(const char *text, uint64_t *bytes);

/**
 * parse_ms - a span of time: 500ms, 3s, 3, 10m, 1h, 2d (a bare number is seconds)
 * @text: zero terminated
 * @ms: out
 * Return: 0, -EINVAL or -ERANGE
 */
int parse_ms(const char *text, uint64_t *ms);

/**
 * parse_u32 - a decimal number and nothing else
 * @text: zero terminated
 * @min: smallest allowed
 * @max: greatest allowed
 * @value: out
 * Return: 0, -EINVAL or -ERANGE
 */
int parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *value);

/**
 * text_distance - edits between two words, for "did you mean"
 * @a: up to 31 bytes count
 * @b: likewise
 * Return: number of insertions, removals, changes and swaps of neighbours
 */
unsigned int text_distance(const char *a, const char *b);

#endif /* CACHECTL_FORMAT_H */
