/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Userspace stand-ins for the kernel interfaces that the pure logic uses, with
 * the kernel's names and meaning. Included by pure.h only.
 */
#ifndef BC_PURE_USER_H
#define BC_PURE_USER_H

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#define U8_MAX		((u8)~0U)
#define U16_MAX		((u16)~0U)
#define S16_MAX		((s16)(U16_MAX >> 1))
#define U32_MAX		((u32)~0U)
#define U64_MAX		((u64)~0ULL)
#define S64_MAX		((s64)(U64_MAX >> 1))
#define S64_MIN		(-S64_MAX - 1)

#define cpu_to_le16(x)	htole16(x)
#define cpu_to_le32(x)	htole32(x)
#define cpu_to_le64(x)	htole64(x)
#define le16_to_cpu(x)	le16toh(x)
#define le32_to_cpu(x)	le32toh(x)
#define le64_to_cpu(x)	le64toh(x)

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

#define fallthrough	__attribute__((__fallthrough__))

#define BUILD_BUG_ON(cond)	_Static_assert(!(cond), "BUILD_BUG_ON: " #cond)
#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define IS_ALIGNED(x, a)	(((x) & ((__typeof__(x))(a) - 1)) == 0)
#define ALIGN(x, a)		(((x) + (__typeof__(x))(a) - 1) & ~((__typeof__(x))(a) - 1))
#define BIT(nr)			(1UL << (nr))
#define GENMASK(h, l)		((~0UL >> (8 * sizeof(long) - 1 - (h))) & (~0UL << (l)))

#define min_t(type, a, b) \
	({ type min_a_ = (a); type min_b_ = (b); min_a_ < min_b_ ? min_a_ : min_b_; })
#define max_t(type, a, b) \
	({ type max_a_ = (a); type max_b_ = (b); max_a_ > max_b_ ? max_a_ : max_b_; })
#define min(a, b)	min_t(__typeof__(a), a, b)
#define max(a, b)	max_t(__typeof__(a), a, b)

/* Relaxed atomics instead of volatile, so that the thread sanitizer knows them. */
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, value)	__atomic_store_n(&(x), (value), __ATOMIC_RELAXED)

#define cmpxchg(ptr, old, new) ({						\
	__typeof__(*(ptr)) cmpxchg_old_ = (old);				\
	__atomic_compare_exchange_n(ptr, &cmpxchg_old_, new, false,		\
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
	cmpxchg_old_;								\
})

typedef struct {
	int counter;
} atomic_t;

#define ATOMIC_INIT(i)	{ (i) }

static inline u64 mul_u64_u32_shr(u64 a, u32 mul, unsigned int shift)
{
	return (u64)(((__uint128_t)a * mul) >> shift);
}

static inline int atomic_read(const atomic_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

static inline int atomic_read_acquire(const atomic_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_ACQUIRE);
}

static inline void atomic_set(atomic_t *v, int i)
{
	__atomic_store_n(&v->counter, i, __ATOMIC_RELAXED);
}

static inline void atomic_inc(atomic_t *v)
{
	__atomic_add_fetch(&v->counter, 1, __ATOMIC_RELAXED);
}

static inline void atomic_add(int i, atomic_t *v)
{
	__atomic_add_fetch(&v->counter, i, __ATOMIC_RELAXED);
}

typedef struct {
	s64 counter;
} atomic64_t;

static inline s64 atomic64_read(const atomic64_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

static inline void atomic64_add(s64 i, atomic64_t *v)
{
	__atomic_add_fetch(&v->counter, i, __ATOMIC_RELAXED);
}

static inline int atomic_add_return(int i, atomic_t *v)
{
	return __atomic_add_fetch(&v->counter, i, __ATOMIC_SEQ_CST);
}

static inline int atomic_dec_return(atomic_t *v)
{
	return __atomic_sub_fetch(&v->counter, 1, __ATOMIC_SEQ_CST);
}

static inline int atomic_cmpxchg(atomic_t *v, int old, int new)
{
	return cmpxchg(&v->counter, old, new);
}

typedef struct {
	pthread_spinlock_t raw;
} spinlock_t;

static inline void spin_lock_init(spinlock_t *lock)
{
	pthread_spin_init(&lock->raw, PTHREAD_PROCESS_PRIVATE);
}

static inline void spin_lock(spinlock_t *lock)
{
	pthread_spin_lock(&lock->raw);
}

static inline void spin_unlock(spinlock_t *lock)
{
	pthread_spin_unlock(&lock->raw);
}

#define spin_lock_irqsave(lock, flags)		do { (flags) = 0; spin_lock(lock); } while (0)
#define spin_unlock_irqrestore(lock, flags)	do { (void)(flags); spin_unlock(lock); } while (0)

#define prefetch(p)	__builtin_prefetch(p)
#define prefetchw(p)	__builtin_prefetch(p, 1)

/* Where the kernel's data_race() says that a race is meant. */
#define data_race(expression)	(expression)

#define cond_resched()	do { } while (0)

static inline s64 ktime_get_real_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

static inline u32 get_random_u32(void)
{
	u32 number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		abort();
	return number;
}

#define NSEC_PER_SEC	1000000000L

static inline u64 ktime_get_boottime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (u64)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

#define GFP_KERNEL	0U
#define __GFP_ZERO	0U

static inline size_t array_size(size_t n, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? SIZE_MAX : bytes;
}

static inline void *kvmalloc_array(size_t n, size_t size, unsigned int gfp)
{
	size_t bytes = array_size(n, size);

	(void)gfp;
	return bytes > (size_t)PTRDIFF_MAX ? NULL : malloc(bytes);
}

#define BC_HUGE_PAGE	(2UL << 20)

/* As in the kernel, what is large lies on huge pages where there are any, and begins a line. */
static inline void *vmalloc_huge(size_t bytes, unsigned int gfp)
{
	void *p;

	(void)gfp;
	if (bytes < BC_HUGE_PAGE)
		return calloc(1, bytes);
	if (bytes > (size_t)PTRDIFF_MAX || posix_memalign(&p, BC_HUGE_PAGE, bytes))
		return NULL;
	madvise(p, bytes, MADV_HUGEPAGE);
	return memset(p, 0, bytes);
}

static inline void *kvcalloc(size_t n, size_t size, unsigned int gfp)
{
	return vmalloc_huge(array_size(n, size), gfp);
}

static inline void kvfree(const void *p)
{
	free((void *)p);
}

static inline void kfree(const void *p)
{
	free((void *)p);
}

static inline int fls64(u64 x)
{
	return x ? 64 - __builtin_clzll(x) : 0;
}

static inline unsigned long __ffs64(u64 x)
{
	return __builtin_ctzll(x);
}

static inline int ilog2(u64 x)
{
	return fls64(x) - 1;
}

static inline bool is_power_of_2(unsigned long x)
{
	return x && !(x & (x - 1));
}

static inline unsigned long roundup_pow_of_two(unsigned long x)
{
	return 1UL << fls64(x - 1);
}

static inline unsigned long rounddown_pow_of_two(unsigned long x)
{
	return 1UL << ilog2(x);
}

#define BITS_PER_LONG		(8 * sizeof(long))
#define BITS_TO_LONGS(bits)	DIV_ROUND_UP(bits, BITS_PER_LONG)

static inline bool test_bit(unsigned long nr, const unsigned long *map)
{
	return map[nr / BITS_PER_LONG] & BIT(nr % BITS_PER_LONG);
}

static inline bool __test_and_set_bit(unsigned long nr, unsigned long *map)
{
	bool was = test_bit(nr, map);

	map[nr / BITS_PER_LONG] |= BIT(nr % BITS_PER_LONG);
	return was;
}

static inline bool __test_and_clear_bit(unsigned long nr, unsigned long *map)
{
	bool was = test_bit(nr, map);

	map[nr / BITS_PER_LONG] &= ~BIT(nr % BITS_PER_LONG);
	return was;
}

static inline void __set_bit(unsigned long nr, unsigned long *map)
{
	map[nr / BITS_PER_LONG] |= BIT(nr % BITS_PER_LONG);
}

static inline void __clear_bit(unsigned long nr, unsigned long *map)
{
	map[nr / BITS_PER_LONG] &= ~BIT(nr % BITS_PER_LONG);
}

static inline unsigned long find_next_bit(const unsigned long *map, unsigned long size,
					  unsigned long nr)
{
	while (nr < size && !test_bit(nr, map))
		nr++;
	return nr < size ? nr : size;
}

static inline unsigned int hweight16(u16 w)
{
	return __builtin_popcount(w);
}

static inline u64 div_u64(u64 dividend, u32 divisor)
{
	return dividend / divisor;
}

static inline void sort(void *base, size_t count, size_t size,
			int (*compare)(const void *, const void *), void *unused)
{
	(void)unused;
	qsort(base, count, size, compare);
}

static inline void *memchr_inv(const void *start, int c, size_t bytes)
{
	const u8 *p = start;

	/* Mostly there is nothing, and the library is quick to say so. */
	if (bytes && *p == (u8)c && !memcmp(p, p + 1, bytes - 1))
		return NULL;
	for (; bytes; bytes--, p++)
		if (*p != (u8)c)
			return (void *)p;
	return NULL;
}

/* How often a WARN fired. Weak: one for the whole program, whoever includes this. */
__attribute__((weak)) unsigned int bc_warnings;

static inline bool bc_warn(bool condition, const char *file, int line, const char *text)
{
	if (unlikely(condition) && !__atomic_fetch_add(&bc_warnings, 1, __ATOMIC_RELAXED))
		fprintf(stderr, "WARNING: %s:%d: %s\n", file, line, text);
	return condition;
}

#define WARN_ON_ONCE(cond)	bc_warn(!!(cond), __FILE__, __LINE__, #cond)
#define WARN_ON(cond)		WARN_ON_ONCE(cond)

/* The kernel's convention: neither inverts the seed nor the result. */
static inline u32 bc_crc32c_soft(u32 crc, const u8 *p, size_t length)
{
	/* Reflected polynomial 0x82f63b78, four bits at a time. */
	static const u32 table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	for (; length; length--) {
		crc ^= *p++;
		crc = table[crc & 15] ^ crc >> 4;
		crc = table[crc & 15] ^ crc >> 4;
	}
	return crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2")))
static inline u32 bc_crc32c_sse42(u32 crc, const u8 *p, size_t length)
{
	u64 c = crc, word;

	for (; length >= sizeof(word); length -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		c = __builtin_ia32_crc32di(c, word);
	}
	for (; length; length--)
		c = __builtin_ia32_crc32qi((u32)c, *p++);
	return (u32)c;
}
#endif

static inline u32 crc32c(u32 crc, const void *address, size_t length)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return bc_crc32c_sse42(crc, address, length);
#endif
	return bc_crc32c_soft(crc, address, length);
}

/* BLAKE2s, RFC 7693. */
struct blake2s_ctx {
	u32 h[8];
	u8 buf[64];
	u64 hashed;
	u32 buflen, outlen;
};

static inline u32 bc_ror32(u32 x, unsigned int n)
{
	return x >> n | x << (32 - n);
}

static inline u32 bc_get_le32(const u8 *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24;
}

static inline u32 bc_blake2s_iv(unsigned int i)
{
	static const u32 iv[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};

	return iv[i];
}

static inline void bc_blake2s_mix(u32 v[16], unsigned int a, unsigned int b, unsigned int c,
				  unsigned int d, u32 x, u32 y)
{
	v[a] += v[b] + x;
	v[d] = bc_ror32(v[d] ^ v[a], 16);
	v[c] += v[d];
	v[b] = bc_ror32(v[b] ^ v[c], 12);
	v[a] += v[b] + y;
	v[d] = bc_ror32(v[d] ^ v[a], 8);
	v[c] += v[d];
	v[b] = bc_ror32(v[b] ^ v[c], 7);
}

static inline void bc_blake2s_compress(struct blake2s_ctx *ctx, bool last)
{
	static const u8 sigma[10][16] = {
		{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
		{ 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
		{ 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 },
		{ 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
		{ 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 },
		{ 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
		{ 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 },
		{ 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
		{ 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 },
		{ 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
	};
	u32 m[16], v[16];
	unsigned int i;

	for (i = 0; i < 16; i++)
		m[i] = bc_get_le32(ctx->buf + 4 * i);
	for (i = 0; i < 8; i++) {
		v[i] = ctx->h[i];
		v[i + 8] = bc_blake2s_iv(i);
	}
	v[12] ^= (u32)ctx->hashed;
	v[13] ^= (u32)(ctx->hashed >> 32);
	if (last)
		v[14] = ~v[14];
	for (i = 0; i < 10; i++) {
		const u8 *s = sigma[i];

		bc_blake2s_mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
		bc_blake2s_mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
		bc_blake2s_mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
		bc_blake2s_mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
		bc_blake2s_mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
		bc_blake2s_mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
		bc_blake2s_mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
		bc_blake2s_mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
	}
	for (i = 0; i < 8; i++)
		ctx->h[i] ^= v[i] ^ v[i + 8];
}

static inline void blake2s_init_key(struct blake2s_ctx *ctx, size_t outlen, const void *key,
				    size_t keylen)
{
	unsigned int i;

	memset(ctx, 0, sizeof(*ctx));
	for (i = 0; i < 8; i++)
		ctx->h[i] = bc_blake2s_iv(i);
	ctx->h[0] ^= 0x01010000 ^ (u32)keylen << 8 ^ (u32)outlen;
	ctx->outlen = outlen;
	if (keylen) {
		memcpy(ctx->buf, key, keylen);
		ctx->buflen = sizeof(ctx->buf);
	}
}

static inline void blake2s_update(struct blake2s_ctx *ctx, const u8 *in, size_t inlen)
{
	/* A full buffer waits: only more input tells that it is not the last block. */
	for (; inlen; inlen--) {
		if (ctx->buflen == sizeof(ctx->buf)) {
			ctx->hashed += sizeof(ctx->buf);
			bc_blake2s_compress(ctx, false);
			ctx->buflen = 0;
		}
		ctx->buf[ctx->buflen++] = *in++;
	}
}

static inline void blake2s_final(struct blake2s_ctx *ctx, u8 *out)
{
	unsigned int i;

	ctx->hashed += ctx->buflen;
	memset(ctx->buf + ctx->buflen, 0, sizeof(ctx->buf) - ctx->buflen);
	bc_blake2s_compress(ctx, true);
	for (i = 0; i < ctx->outlen; i++)
		out[i] = ctx->h[i / 4] >> 8 * (i % 4);
}

#endif /* BC_PURE_USER_H */
