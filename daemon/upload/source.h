/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the bytes of an upload come from: one file as it was at one moment, the cut.
 * For a dirty file of a mount that is the kernel, which keeps what belongs to the cut
 * until it is told that it was committed; for a plain file it is that file, which
 * nobody may write to meanwhile.
 *
 * sums(), read() and check() may be called by several threads at once, and from others
 * than that of the upload; close() only when none of them runs. They may block for as long
 * as local storage does, not for the network.
 */
#ifndef BC_UPLOAD_SOURCE_H
#define BC_UPLOAD_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define BC_SUM_SIZE	65536U		/* bytes that have one sum; fewer at the end */

/*
 * 64 KiB of the file: when they were written, and what they are. Of two with one
 * sequence in one generation the bytes are the same. Where crc32c is not known (bytes
 * of the version below that are not on this node), sequence has to change with the bytes
 * all the same.
 */
struct bc_sum {
	uint64_t sequence;
	uint32_t crc32c;		/* initial value and final xor ~0 */
	bool unknown;			/* crc32c is not known: 0 */
};

enum bc_source_status {
	BC_SOURCE_OK,
	BC_SOURCE_STALE,		/* the cut is not what it was, and never will be again */
	BC_SOURCE_FAILED,		/* it cannot be read now */
};

struct bc_source;

struct bc_source_ops {
	/* Of @count times 64 KiB from number @first on; @text says why not. */
	enum bc_source_status (*sums)(struct bc_source *source, uint64_t first, size_t count,
				      struct bc_sum *sums, char *text, size_t size);
	/* All of the range or nothing. */
	enum bc_source_status (*read)(struct bc_source *source, uint64_t offset, void *to,
				      size_t length, char *text, size_t size);
	/* Whether all that was read was of the cut; asked right before a commit. */
	enum bc_source_status (*check)(struct bc_source *source, char *text, size_t size);
	void (*close)(struct bc_source *source);
};

struct bc_source {
	const struct bc_source_ops *ops;
	/* Of the file: a random number for life. What has it in the store is an earlier cut. */
	uint8_t generation[BC_GENERATION_SIZE];
	/* Whose blocks it may use: mostly the same; that of files that are alike. */
	uint8_t lineage[BC_GENERATION_SIZE];
	uint64_t cut;			/* grows with what was written */
	uint64_t size;
	bool has_mode;			/* these two: tell them in the metadata */
	bool has_mtime;
	uint32_t mode;
	int64_t mtime;			/* also names what is kept aside */
	uint32_t mtime_ns;
};

struct bc_source *bc_source_file(const char *path, const uint8_t *generation, uint64_t cut,
				 char *text, size_t size);

#endif /* BC_UPLOAD_SOURCE_H */
