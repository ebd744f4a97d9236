// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Crash images of a tier: what the device may hold after the power went at any moment of a
 * recorded run, and what an attach makes of it, by the module's own code.
 *
 * usage: crash --base FILE --log FILE [--images N] [--seed N] [--chunks N]
 *		[--image N --write FILE] [--no-flushes]
 *
 * BASE is the device before, LOG what dm-log-writes recorded since. After a power cut all
 * that was written before the last completed flush is there; of what came later any part may
 * be, in any order, each write torn at logical blocks. Image n is made from the seed and n.
 *
 * Of each image: a superblock is chosen, no descriptor is lost or twice, and each block of
 * a recovered chunk has the bytes that its descriptor says, unless its place was given to
 * another chunk later. So a record never comes before its data.
 *
 * If the run marked what it did (dirty.h), each dirty file has what was durable when the power
 * went, and nothing that was removed, replaced or cut off is back.
 *
 * --chunks: at least one image must have so many. --write: write image N there and say how
 * many chunks an attach finds. --no-flushes: as if the module had made none; that must be
 * found out.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dirty.h"
#include "evict.h"
#include "frame.h"
#include "index.h"
#include "recover.h"

#define LOG_MAGIC	0x6a736677736872ULL
#define LOG_FLUSH	1U
#define LOG_FUA		2U
#define LOG_DISCARD	4U
#define LOG_MARK	8U
#define TEAR		512U

#define die(...) do { fprintf(stderr, "crash: " __VA_ARGS__); exit(2); } while (0)

struct log_super {
	__le64 magic, version, nr_entries;
	__le32 sectorsize;
};

struct log_entry {
	__le64 sector, nr_sectors, flags, data_len;
};

struct record {
	u64 offset, length, flags;
	const u8 *data;
};

static struct record *records;
static u32 nr_records;
static u8 *base, *durable, *image;
static u64 device_bytes;
static bool no_flushes;
static u32 durable_records;	/* the first so many are in @durable */
static u64 rng;

static u32 roll(u32 below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (u32)(rng >> 20) % below;
}

static u8 *map_file(const char *name, u64 *bytes)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	u8 *at;

	if (end <= 0)
		die("%s: cannot be read\n", name);
	at = mmap(NULL, end, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		die("%s: cannot be mapped\n", name);
	close(fd);
	*bytes = end;
	return at;
}

static void read_log(const char *name)
{
	const struct log_super *super;
	u64 bytes, at, n, sector;
	u8 *log = map_file(name, &bytes);

	super = (const void *)log;
	sector = le32_to_cpu(super->sectorsize);
	if (le64_to_cpu(super->magic) != LOG_MAGIC || le64_to_cpu(super->version) != 1 ||
	    sector < 512 || sector > 4096)
		die("%s: no log of dm-log-writes\n", name);
	n = le64_to_cpu(super->nr_entries);
	records = calloc(n + 1, sizeof(*records));
	for (at = sector; nr_records < n; nr_records++) {
		const struct log_entry *entry = (const void *)(log + at);
		struct record *r = &records[nr_records];

		if (at + sector > bytes)
			die("%s: ends after %u of %llu records\n", name, nr_records,
			    (unsigned long long)n);
		r->offset = le64_to_cpu(entry->sector) * sector;
		r->length = le64_to_cpu(entry->nr_sectors) * sector;
		r->flags = le64_to_cpu(entry->flags);
		r->data = log + at + sector;
		at += sector;
		if (r->flags & LOG_MARK) {
			char text[128], *colon;

			snprintf(text, sizeof(text), "%.*s",
				 (int)min_t(u64, le64_to_cpu(entry->data_len), sizeof(text)),
				 (const char *)(entry + 1));
			while ((colon = strchr(text, ':')))
				*colon = ' ';
			dirty_mark(text, nr_records);
			r->length = 0;
		} else if (r->flags & LOG_DISCARD) {
			r->length = 0;
		} else {
			at += r->length;
		}
		if (r->offset + r->length > device_bytes)
			r->length = 0;
	}
}

/* Of the device, in blocks: which ones of @image are not as in @durable, and checksums of these. */
static struct {
	bool differs;
	u32 length, crc;	/* length 0 = not known */
} *blocks;

static void mark(u64 offset, u64 length, bool differs)
{
	u64 i;

	for (i = offset >> BC_BLOCK_SHIFT; length && i <= (offset + length - 1) >> BC_BLOCK_SHIFT; i++) {
		blocks[i].differs = true;
		if (!differs)
			blocks[i].length = 0;
	}
}

static void apply(u8 *to, const struct record *r)
{
	memcpy(to + r->offset, r->data, r->length);
	mark(r->offset, r->length, to == image);
}

/* Of a block of the image; most are as they were in the last one. */
static u32 block_crc(u64 offset, u32 length)
{
	u64 i = offset >> BC_BLOCK_SHIFT;
	u32 crc;

	if (!blocks[i].differs && blocks[i].length == length)
		return blocks[i].crc;
	crc = bc_crc32c(image + offset, length);
	if (!blocks[i].differs) {
		blocks[i].length = length;
		blocks[i].crc = crc;
	}
	return crc;
}

static void reset_image(void)
{
	u64 i, n = DIV_ROUND_UP(device_bytes, BC_BLOCK_SIZE);

	for (i = 0; i < n; i++) {
		u64 at = i << BC_BLOCK_SHIFT;

		if (blocks[i].differs)
			memcpy(image + at, durable + at, min_t(u64, BC_BLOCK_SIZE, device_bytes - at));
		blocks[i].differs = false;
	}
}

/* --- what an image is like */

struct verdict {
	u32 chunks, stale;
	const char *wrong;
	u32 frame, slot;
};

/* Is it so because the place was given to somebody else, before the power went? */
static bool place_reused(u64 offset, const struct bc_desc *desc, u32 until)
{
	u32 i, written = U32_MAX;

	for (i = 0; i < until; i++) {
		const struct record *r = &records[i];

		if (!r->length || r->offset >= offset + desc->length ||
		    r->offset + r->length <= offset)
			continue;
		if (written != U32_MAX)
			return true;
		if (r->offset > offset || offset + desc->length > r->offset + r->length)
			continue;
		if (bc_crc32c(r->data + (offset - r->offset), desc->length) == desc->crc)
			written = i;
	}
	return false;
}

static void check_extent(const struct bc_layout *layout, const struct bc_disk_desc *descs,
			 u32 frame, const struct bc_extent *extent, u32 until,
			 struct verdict *verdict)
{
	bool stale = false;
	u32 slot;

	for (slot = extent->slot; slot < (u32)extent->slot + extent->count; slot++) {
		u64 offset = layout->frames_offset + ((u64)frame << BC_CHUNK_SHIFT) +
			     ((u64)slot << BC_BLOCK_SHIFT);
		struct bc_desc desc;

		if (!(extent->valid >> (slot - extent->slot) & 1))
			continue;

		if (bc_desc_decode(&descs[slot], &desc))
			verdict->wrong = "a descriptor that makes no sense was kept";
		else if (block_crc(offset, desc.length) == desc.crc)
			continue;
		else if (!place_reused(offset, &desc, until))
			verdict->wrong = "a record without its data";
		else
			stale = true;
		verdict->frame = frame;
		verdict->slot = slot;
	}
	verdict->stale += stale;
}

static void check_frame(const struct bc_layout *layout, struct bc_frames *frames,
			struct bc_index *index, struct bc_disk_desc *descs, u32 frame, u32 until,
			struct verdict *verdict)
{
	struct bc_extent extent;
	struct bc_hit hit;
	u32 slot = 0;
	u16 used = 0;

	while (bc_recover_chunk(descs, UINT64_MAX, &slot, &extent)) {
		if (!bc_index_lookup(index, &extent.key, extent.chunk, &hit) ||
		    hit.place.frame != frame || hit.place.slot != extent.slot ||
		    hit.place.count != extent.count || hit.bytes != extent.bytes ||
		    hit.valid != extent.valid) {
			verdict->wrong = "a descriptor without an entry";
			return;
		}
		bc_index_unpin(index, hit.id);
		verdict->chunks++;
		used |= bc_blocks_mask(extent.count) << extent.slot;
		check_extent(layout, descs, frame, &extent, until, verdict);
	}
	if (used != frames->used[frame])
		verdict->wrong = "free space and descriptors disagree";
}

/* In windows, as an attach does it. */
#define WINDOW	3U

/* What an attach makes of the table. Return: it, when all that an attach finds to erase is erased. */
static struct bc_disk_clean_unit *recover(struct bc_recovery *recovery)
{
	const struct bc_layout *layout = &recovery->super->layout;
	struct bc_disk_clean_unit *units = malloc(layout->clean_units << BC_UNIT_SHIFT);
	struct bc_disk_clean_unit window[WINDOW];
	u64 unit, frame;

	if (!units)
		die("out of memory\n");
	memcpy(units, image + layout->clean_offset, layout->clean_units << BC_UNIT_SHIFT);
	recovery->units = window;
	for (; recovery->first < layout->clean_units; recovery->first += recovery->count) {
		recovery->count = min_t(u64, WINDOW, layout->clean_units - recovery->first);
		memcpy(window, &units[recovery->first], recovery->count << BC_UNIT_SHIFT);
		/* Units are written whole, and a torn one is void: but it has cost its chunks. */
		for (unit = 0; unit < recovery->count; unit++)
			bc_recover_unit(recovery, recovery->first + unit);
		for (frame = bc_recover_first(recovery); frame < bc_recover_end(recovery); frame++)
			bc_recover_frame(recovery, frame);
	}
	for (unit = 0; unit < layout->clean_units; unit++)
		bc_pending_apply(recovery->pending, unit, &units[unit]);
	return units;
}

/* @until: the records that the device may have seen. */
static struct verdict check_image(u32 until, bool list)
{
	struct bc_disk_super copies[BC_DISK_SUPER_COPIES];
	struct verdict verdict = {};
	struct bc_pending pending;
	struct bc_frames frames;
	struct bc_index index;
	struct bc_super super;
	struct bc_recovery recovery = {
		.super = &super, .pending = &pending, .frames = &frames, .index = &index,
	};
	struct bc_disk_clean_unit *units;
	const char *why;
	u64 entries;
	u32 frame;

	memcpy(copies, image, sizeof(copies));
	if (bc_super_choose(copies, device_bytes, &super, &why) < 0) {
		verdict.wrong = why;
		return verdict;
	}
	entries = super.layout.frame_count * super.layout.index_ratio;
	if (bc_frames_init(&frames, super.layout.frame_count) ||
	    bc_index_init(&index, entries, bc_evict_groups(entries)) ||
	    bc_pending_init(&pending, super.layout.frame_count, 0))
		die("out of memory\n");
	units = recover(&recovery);
	for (frame = 0; frame < super.layout.frame_count && !verdict.wrong; frame++)
		check_frame(&super.layout, &frames, &index,
			    &units[bc_clean_unit_of(frame)].desc[bc_clean_desc_of(frame, 0)],
			    frame, until, &verdict);
	if (!verdict.wrong && index.used != verdict.chunks)
		verdict.wrong = "entries without descriptors";
	if (!verdict.wrong && dirty_marked())
		verdict.wrong = dirty_check(image, &super, until, list);
	free(units);
	bc_pending_free(&pending);
	bc_index_free(&index);
	bc_frames_free(&frames);
	return verdict;
}

/* --- making them */

/* The part of a write that was not lost. */
static void apply_torn(const struct record *r)
{
	u64 at;

	for (at = 0; at < r->length; at += TEAR)
		if (roll(2))
			memcpy(image + r->offset + at, r->data + at, TEAR);
	mark(r->offset, r->length, true);
}

/* Records before this are on the device for sure when @until were made. */
static u32 flushed(u32 until)
{
	while (until && (no_flushes || !(records[until - 1].flags & LOG_FLUSH)))
		until--;
	return until;
}

/* Back to the durable image where image @until left it. */
static void make_durable(u32 first)
{
	if (first < durable_records) {
		memcpy(durable, base, device_bytes);
		mark(0, device_bytes, false);
		durable_records = 0;
	}
	for (; durable_records < first; durable_records++)
		apply(durable, &records[durable_records]);
}

/* When the power goes in this image: so many records were made. */
static u32 moment(u64 seed, u64 number)
{
	rng = (seed << 32 ^ number) * 0x9e3779b97f4a7c15ULL + 1;
	return 1 + roll(nr_records);
}

static u32 make_image(u64 seed, u64 number)
{
	u32 until = moment(seed, number), first, pending[4096], count = 0, keep, i;

	first = flushed(until);
	make_durable(first);
	reset_image();
	for (i = first; i < until && count < ARRAY_SIZE(pending); i++)
		if (records[i].length)
			pending[count++] = i;
	/* All, none, few, most: each has found something in its time. */
	keep = roll(101);
	for (i = count; i > 1; i--) {
		u32 j = roll(i), other = pending[j];

		pending[j] = pending[i - 1];
		pending[i - 1] = other;
	}
	for (i = 0; i < count; i++) {
		const struct record *r = &records[pending[i]];

		if (roll(100) < keep)
			apply(image, r);
		else if (!roll(3))
			apply_torn(r);
	}
	/* What was written through is there, and nothing that was written there before. */
	for (i = first; i < until && !no_flushes; i++)
		if (records[i].length && records[i].flags & LOG_FUA)
			apply(image, &records[i]);
	return until;
}

static const char *argument(int argc, char **argv, const char *name)
{
	int i;

	for (i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return NULL;
}

static u64 number(int argc, char **argv, const char *name, u64 otherwise)
{
	const char *text = argument(argc, argv, name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void write_image(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	u64 done = 0;

	while (fd >= 0 && done < device_bytes) {
		ssize_t put = write(fd, image + done, min_t(u64, device_bytes - done, 1 << 20));

		if (put <= 0)
			die("%s: cannot be written\n", name);
		done += put;
	}
	if (fd < 0 || fsync(fd) || close(fd))
		die("%s: cannot be written\n", name);
}

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	const char *base_name = argument(argc, argv, "--base"), *log = argument(argc, argv, "--log");
	u64 images = number(argc, argv, "--images", 5000), seed = number(argc, argv, "--seed", 1);
	const char *to = argument(argc, argv, "--write");
	u64 only = number(argc, argv, "--image", 0), n, at, *order, stale = 0, bad = 0;
	u32 least = number(argc, argv, "--chunks", 1), most = 0, flushes = 0, i;
	struct verdict verdict;

	if (!base_name || !log)
		die("--base and --log are needed\n");
	no_flushes = argc > 1 && !strcmp(argv[argc - 1], "--no-flushes");
	base = map_file(base_name, &device_bytes);
	durable = malloc(device_bytes);
	image = malloc(device_bytes);
	blocks = calloc(DIV_ROUND_UP(device_bytes, BC_BLOCK_SIZE), sizeof(*blocks));
	if (!durable || !image || !blocks)
		die("out of memory\n");
	memcpy(durable, base, device_bytes);
	mark(0, device_bytes, false);
	read_log(log);
	if (!nr_records)
		die("the log is empty\n");
	if (to) {
		u32 until = make_image(seed, only);

		verdict = check_image(until, true);
		write_image(to);
		printf("image %llu: chunks=%u stale=%u records=%u %s\n", (unsigned long long)only,
		       verdict.chunks, verdict.stale, until, verdict.wrong ?: "");
		return !!verdict.wrong;
	}
	for (i = 0; i < nr_records; i++)
		flushes += records[i].flags & LOG_FLUSH;
	/* In the order of time, so that what is durable only grows. */
	order = calloc(images, sizeof(*order));
	for (n = 0; n < images; n++)
		order[n] = (u64)moment(seed, n) << 32 | n;
	qsort(order, images, sizeof(*order), compare);
	for (at = 0; at < images; at++) {
		u32 until = make_image(seed, n = (u32)order[at]);

		verdict = check_image(until, false);
		most = max(most, verdict.chunks);
		stale += verdict.stale;
		if (!verdict.wrong)
			continue;
		if (bad++ < 5)
			printf("image %llu of seed %llu, after %u of %u records: %s (frame %u, block %u)\n",
			       (unsigned long long)n, (unsigned long long)seed, until, nr_records,
			       verdict.wrong, verdict.frame, verdict.slot);
	}
	printf("images=%llu records=%u flushes=%u chunks=%u stale=%llu wrong=%llu\n",
	       (unsigned long long)images, nr_records, flushes, most, (unsigned long long)stale,
	       (unsigned long long)bad);
	return bad || most < least;
}
