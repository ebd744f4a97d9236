// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A tree of many small files, and how fast it is read.
 *
 * usage: manyfiles make DIR COUNT
 *	  manyfiles read|stat DIR COUNT SAMPLE SEED
 *	  manyfiles walk DIR DIRECTORIES
 *
 * File n is DIR/nnnnn/nnnnnnnn, a thousand of them in each directory; its size and its bytes
 * follow from n. "read" opens, reads, compares and closes SAMPLE files chosen by SEED, "stat" asks
 * for their sizes, "walk" lists the first DIRECTORIES directories with the size of each file. All
 * but "make" print files per second.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PER_DIRECTORY	1000U
#define SIZE_MIN	64U
#define SIZE_SPREAD	1900U

static char path[4096];

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "manyfiles: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

/* splitmix64, by Vigna: public domain. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static size_t content(uint64_t n, unsigned char *data)
{
	size_t size = SIZE_MIN + mix(n) % SIZE_SPREAD, i;

	for (i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t word = mix(n << 12 | i);

		memcpy(data + i, &word, size - i < sizeof(word) ? size - i : sizeof(word));
	}
	return size;
}

static const char *name(const char *dir, uint64_t n)
{
	snprintf(path, sizeof(path), "%s/%05llu/%08llu", dir,
		 (unsigned long long)(n / PER_DIRECTORY), (unsigned long long)n);
	return path;
}

static void make(const char *dir, uint64_t count)
{
	unsigned char data[SIZE_MIN + SIZE_SPREAD + sizeof(uint64_t)];
	uint64_t n;

	for (n = 0; n < count; n++) {
		size_t size = content(n, data);
		int fd;

		if (n % PER_DIRECTORY == 0) {
			snprintf(path, sizeof(path), "%s/%05llu", dir,
				 (unsigned long long)(n / PER_DIRECTORY));
			if (mkdir(path, 0755))
				die("%s: %s", path, strerror(errno));
		}
		fd = open(name(dir, n), O_WRONLY | O_CREAT | O_EXCL, 0644);
		if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd))
			die("%s: %s", path, strerror(errno));
	}
}

static void read_one(const char *dir, uint64_t n)
{
	unsigned char want[SIZE_MIN + SIZE_SPREAD + sizeof(uint64_t)], got[sizeof(want)];
	size_t size = content(n, want);
	int fd = open(name(dir, n), O_RDONLY);
	ssize_t length;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	length = read(fd, got, sizeof(got));
	if (length < 0)
		die("%s: %s", path, strerror(errno));
	if ((size_t)length != size || memcmp(want, got, size))
		die("%s: wrong bytes", path);
	close(fd);
}

static void stat_one(const char *dir, uint64_t n)
{
	unsigned char data[SIZE_MIN + SIZE_SPREAD + sizeof(uint64_t)];
	struct stat st;

	if (stat(name(dir, n), &st))
		die("%s: %s", path, strerror(errno));
	if ((size_t)st.st_size != content(n, data))
		die("%s: wrong size", path);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static uint64_t walk_one(const char *dir, uint64_t directory)
{
	char parent[2048];
	struct dirent *entry;
	uint64_t files = 0;
	struct stat st;
	DIR *d;

	snprintf(parent, sizeof(parent), "%s/%05llu", dir, (unsigned long long)directory);
	d = opendir(parent);
	if (!d)
		die("%s: %s", parent, strerror(errno));
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			die("%s/%s: %s", parent, entry->d_name, strerror(errno));
		files++;
	}
	closedir(d);
	if (files != PER_DIRECTORY)
		die("%s: %llu files", parent, (unsigned long long)files);
	return files;
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || end == text)
		die("%s is no number", text);
	return value;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *dir = argc > 2 ? argv[2] : "";
	uint64_t count = argc > 3 ? number(argv[3]) : 0, done = 0, i;
	double start = now();

	if (!strcmp(what, "make") && argc == 4 && count % PER_DIRECTORY == 0) {
		make(dir, count);
		return 0;
	}
	if (!strcmp(what, "walk") && argc == 4) {
		for (i = 0; i < count; i++)
			done += walk_one(dir, i);
	} else if ((!strcmp(what, "read") || !strcmp(what, "stat")) && argc == 6 && count) {
		uint64_t seed = mix(number(argv[5]));

		done = number(argv[4]);
		for (i = 0; i < done; i++) {
			uint64_t n = mix(seed + i) % count;

			if (*what == 'r')
				read_one(dir, n);
			else
				stat_one(dir, n);
		}
	} else {
		die("usage: manyfiles make DIR COUNT | read|stat DIR COUNT SAMPLE SEED | walk DIR DIRECTORIES");
	}
	printf("%.1f\n", done / (now() - start));
	return 0;
}
