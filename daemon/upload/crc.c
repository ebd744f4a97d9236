// SPDX-License-Identifier: GPL-2.0-or-later
#include "upload/crc.h"

#include <string.h>

#define POLYNOMIAL	0x82f63b78U	/* bits reversed: x^31 is bit 0 */
#define ONE		0x80000000U	/* x^0 */
#define COMMON		65536U		/* most parts are that long: */
#define COMMON_SHIFT	0xfe7740e6U	/* x^(8 * COMMON) */

static uint32_t soft(uint32_t crc, const uint8_t *at, size_t length)
{
	unsigned int bit;

	for (; length; length--) {
		crc ^= *at++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
	}
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2")))
static uint32_t hard(uint32_t crc, const uint8_t *at, size_t length)
{
	uint64_t value = crc, word;

	for (; length >= sizeof(word); length -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		value = __builtin_ia32_crc32di(value, word);
	}
	for (; length; length--)
		value = __builtin_ia32_crc32qi((uint32_t)value, *at++);
	return (uint32_t)value;
}
#endif

/**
 * bc_crc_bytes - the CRC-32C of bytes
 * @crc: of what comes before; 0 at the beginning
 * @bytes: the bytes
 * @length: how many
 *
 * Of the nine bytes "123456789" it is 0xe3069283.
 */
uint32_t bc_crc_bytes(uint32_t crc, const void *bytes, size_t length)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return ~hard(~crc, bytes, length);
#endif
	return ~soft(~crc, bytes, length);
}

/* Product of two polynomials modulo that of the CRC. */
static uint32_t times(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (; a; a <<= 1) {
		if (a & ONE)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? POLYNOMIAL : 0);
	}
	return product;
}

/* x^(8 * length) */
static uint32_t shift_of(uint64_t length)
{
	uint32_t result = ONE, square = ONE >> 8;	/* x^8 */

	if (length == COMMON)
		return COMMON_SHIFT;
	for (; length; length >>= 1) {
		if (length & 1)
			result = times(result, square);
		square = times(square, square);
	}
	return result;
}

/**
 * bc_crc_join - the CRC-32C of two parts, one after the other
 * @crc: of the first
 * @next: of the second
 * @length: of the second in bytes
 */
uint32_t bc_crc_join(uint32_t crc, uint32_t next, uint64_t length)
{
	return times(shift_of(length), crc) ^ next;
}
