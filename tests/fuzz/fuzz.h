/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzzers share: input taken apart, and assertions that libFuzzer sees.
 * Input that has run out reads as zeroes, so that every input is a valid one.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define need(condition) do {							\
	if (!(condition)) {							\
		fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);	\
		abort();							\
	}									\
} while (0)

struct input {
	const uint8_t *at;
	size_t left;
};

static inline void take(struct input *input, void *to, size_t length)
{
	size_t part = length < input->left ? length : input->left;

	memset(to, 0, length);
	if (part)
		memcpy(to, input->at, part);
	input->at += part;
	input->left -= part;
}

static inline uint8_t take8(struct input *input)
{
	uint8_t value;

	take(input, &value, sizeof(value));
	return value;
}

static inline uint16_t take16(struct input *input)
{
	uint16_t value;

	take(input, &value, sizeof(value));
	return value;
}

static inline uint32_t take32(struct input *input)
{
	uint32_t value;

	take(input, &value, sizeof(value));
	return value;
}

static inline uint64_t take64(struct input *input)
{
	uint64_t value;

	take(input, &value, sizeof(value));
	return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* FUZZ_H */
