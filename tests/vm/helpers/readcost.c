// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a read costs, in nanoseconds of the clock: in a machine whose clock counts instructions
 * ("# vm: icount=yes") that is how many it executes.
 *
 * usage: readcost direct|buffered|fault FILE SIZE BLOCK OPS
 *
 * OPS reads of BLOCK bytes each, in an order that visits each block of the first SIZE bytes once
 * before any a second time; "fault" touches a page of a mapping for each. The first eighth is not
 * counted. Prints the median of 15 parts, so that a tick of the clock in one of them does not show.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PARTS	15
#define ALIGN	4096

static volatile unsigned char sink;

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "readcost: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct job {
	int fd;
	const unsigned char *map;
	unsigned char *buffer;
	uint64_t blocks, block, next;
};

/* Blocks are a power of two, and the step is odd: it visits all. */
static void one(struct job *job)
{
	uint64_t pos = (job->next++ * 0x9e3779b1u & (job->blocks - 1)) * job->block;

	if (job->map)
		sink = job->map[pos];
	else if (pread(job->fd, job->buffer, job->block, pos) != (ssize_t)job->block)
		die("read");
}

int main(int argc, char **argv)
{
	double part[PARTS], start;
	struct job job = { 0 };
	uint64_t ops, size, i;
	int n;

	if (argc != 6 || (strcmp(argv[1], "direct") && strcmp(argv[1], "buffered") &&
			  strcmp(argv[1], "fault"))) {
		fprintf(stderr, "usage: readcost direct|buffered|fault FILE SIZE BLOCK OPS\n");
		return 2;
	}
	size = strtoull(argv[3], NULL, 10);
	job.block = strtoull(argv[4], NULL, 10);
	ops = strtoull(argv[5], NULL, 10);
	job.blocks = job.block ? size / job.block : 0;
	if (!job.blocks || job.blocks & (job.blocks - 1) || ops < 8 * PARTS) {
		errno = EINVAL;
		die("SIZE / BLOCK is no power of two, or OPS too few");
	}
	job.fd = open(argv[2], O_RDONLY | (*argv[1] == 'd' ? O_DIRECT : 0));
	if (job.fd < 0)
		die(argv[2]);
	if (*argv[1] == 'b')
		posix_fadvise(job.fd, 0, 0, POSIX_FADV_RANDOM);
	if (posix_memalign((void **)&job.buffer, ALIGN, job.block))
		die("memory");
	memset(job.buffer, 1, job.block);
	if (*argv[1] == 'f') {
		void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, job.fd, 0);

		if (map == MAP_FAILED || madvise(map, size, MADV_RANDOM))
			die("mmap");
		job.map = map;
	}
	for (i = 0; i < ops / 8; i++)
		one(&job);
	for (n = 0; n < PARTS; n++) {
		start = now();
		for (i = 0; i < (ops - ops / 8) / PARTS; i++)
			one(&job);
		part[n] = (now() - start) / ((ops - ops / 8) / PARTS);
	}
	qsort(part, PARTS, sizeof(*part), by_size);
	printf("%.1f\n", part[PARTS / 2]);
	return 0;
}
