// SPDX-License-Identifier: GPL-2.0-or-later
/* See dirty.h. Recovery is the module's own. */
#include "dirty.h"
#include "dirty_recover.h"

#define PAGE		4096U
#define PAGES_MAX	512U
#define FILES_MAX	64U
#define NAME_SIZE	64U

struct file {
	char name[NAME_SIZE];
	bool there;
	u64 size;
	u32 tag[PAGES_MAX];	/* the operation that wrote a page; 0 = zeroes */
};

struct op {
	u32 number, begin, end;
	char kind, name[NAME_SIZE], other[NAME_SIZE];
	u64 offset, length;
};

static struct op *ops;
static u32 nr_ops;
static struct file before[FILES_MAX], after[FILES_MAX], found[FILES_MAX];
static u32 applied;		/* operations that are in @before */
static char text[512];

static struct file *file_of(struct file *files, const char *name)
{
	u32 i;

	for (i = 0; i < FILES_MAX && files[i].name[0]; i++)
		if (!strcmp(files[i].name, name))
			return &files[i];
	assert(i < FILES_MAX);
	snprintf(files[i].name, NAME_SIZE, "%s", name);
	return &files[i];
}

static u32 pages_of(u64 size)
{
	u64 pages = (size + PAGE - 1) / PAGE;

	assert(pages <= PAGES_MAX);
	return pages;
}

static void set_size(struct file *file, u64 size)
{
	u32 page;

	for (page = pages_of(size); page < PAGES_MAX; page++)
		file->tag[page] = 0;
	file->size = size;
}

static void write_pages(struct file *file, const struct op *op)
{
	u64 end = op->offset + op->length;
	u32 page;

	for (page = op->offset / PAGE; page < pages_of(end); page++)
		file->tag[page] = op->number;
	file->size = max(file->size, end);
}

static void apply(struct file *files, const struct op *op)
{
	struct file *file = file_of(files, op->name), *other;

	switch (op->kind) {
	case 'w':
		file->there = true;
		set_size(file, 0);
		write_pages(file, op);
		break;
	case 'o':
		write_pages(file, op);
		break;
	case 't':
		set_size(file, op->length);
		break;
	case 'r':
		other = file_of(files, op->other);
		other->there = true;
		other->size = file->size;
		memcpy(other->tag, file->tag, sizeof(file->tag));
		file->there = false;
		break;
	case 'u':
		file->there = false;
		break;
	}
}

void dirty_mark(const char *mark, u32 record)
{
	struct op *op;
	u32 number;
	char what;
	int at = 0;

	if (sscanf(mark, "%c %u %n", &what, &number, &at) < 2)
		return;
	if (what == 'E') {
		assert(nr_ops && ops[nr_ops - 1].number == number);
		ops[nr_ops - 1].end = record;
		return;
	}
	ops = realloc(ops, (nr_ops + 1) * sizeof(*ops));
	op = &ops[nr_ops++];
	*op = (struct op){ .number = number, .begin = record, .end = U32_MAX, .kind = mark[at] };
	mark += at + 1;
	if (op->kind == 'r')
		sscanf(mark, "%63s %63s", op->name, op->other);
	else if (op->kind == 'o')
		sscanf(mark, "%63s %llu %llu", op->name, (unsigned long long *)&op->offset,
		       (unsigned long long *)&op->length);
	else
		sscanf(mark, "%63s %llu", op->name, (unsigned long long *)&op->length);
}

bool dirty_marked(void)
{
	return nr_ops;
}

/* What must be there when so many records were made. Return: what was being done, or NULL. */
static const struct op *replay(u32 until)
{
	if (applied && ops[applied - 1].end >= until) {
		memset(before, 0, sizeof(before));
		applied = 0;
	}
	for (; applied < nr_ops && ops[applied].end < until; applied++)
		apply(before, &ops[applied]);
	return applied < nr_ops && ops[applied].begin < until ? &ops[applied] : NULL;
}

/* --- what is there */

struct device {
	const u8 *image;
	const struct bc_super *super;
};

static const u8 *bytes_at(const struct device *device, const struct bc_place *place)
{
	return device->image + device->super->layout.frames_offset +
	       ((u64)place->frame << BC_CHUNK_SHIFT) + ((u64)place->slot << BC_BLOCK_SHIFT);
}

static int read_block(void *arg, const struct bc_dirty_desc *desc, void *buffer)
{
	memcpy(buffer, bytes_at(arg, &desc->place), desc->desc.length);
	return 0;
}

/* BLAKE2s-128 of its bytes, in hex. */
static const char *digest(const struct device *device, const struct bc_dirty_recovery *recovery,
			  const struct bc_dirty_object *object)
{
	u8 *bytes = calloc(1, object->name.size + BC_BLOCK_SIZE), out[BC_KEY_SIZE];
	static char hex[2 * BC_KEY_SIZE + 1];
	struct blake2s_ctx ctx;
	u32 i;

	for (i = object->first + 1; i < object->end; i++) {
		const struct bc_dirty_found *block = &recovery->found[i];

		if (block->fate == BC_FATE_LIVE)
			memcpy(bytes + (block->at.desc.block << BC_BLOCK_SHIFT),
			       bytes_at(device, &block->at.place),
			       bc_dirty_valid(&object->name, &block->at.desc));
	}
	blake2s_init_key(&ctx, sizeof(out), "crash", 5);
	blake2s_update(&ctx, bytes, object->name.size);
	blake2s_final(&ctx, out);
	for (i = 0; i < sizeof(out); i++)
		snprintf(hex + 2 * i, 3, "%02x", out[i]);
	free(bytes);
	return hex;
}

static const char *take_block(const struct device *device, const struct bc_dirty_object *object,
			      const struct bc_dirty_desc *at, struct file *file)
{
	const u8 *bytes = bytes_at(device, &at->place);
	u32 valid = bc_dirty_valid(&object->name, &at->desc), page, tag[2];

	if (bc_crc32c(bytes, at->desc.length) != at->desc.crc)
		return "a dirty block without its data";
	for (page = 0; page * PAGE < valid; page++) {
		u32 number = at->desc.block * (BC_BLOCK_SIZE / PAGE) + page;

		memcpy(tag, bytes + page * PAGE, sizeof(tag));
		if (tag[0] && tag[1] != number)
			return "a page at another's place";
		assert(number < PAGES_MAX);
		file->tag[number] = tag[0];
	}
	return NULL;
}

static const char *take_object(const struct device *device,
			       const struct bc_dirty_recovery *recovery,
			       const struct bc_dirty_object *object, bool list)
{
	const struct bc_dirty_name *name = &object->name;
	const char *wrong = NULL;
	struct file *file;
	u32 i;

	if (object->fate == BC_FATE_ASIDE)
		return object->why;
	if (object->fate != BC_FATE_LIVE || name->kind != BC_KIND_NAME)
		return NULL;
	snprintf(text, sizeof(text), "%.*s", (int)name->path_length, name->path);
	file = file_of(found, text);
	if (file->there)
		return "two of one name";
	file->there = true;
	file->size = name->size;
	for (i = object->first + 1; i < object->end && !wrong; i++)
		if (recovery->found[i].fate == BC_FATE_LIVE)
			wrong = take_block(device, object, &recovery->found[i].at, file);
	if (list)
		printf("file %s %llu %s\n", text, (unsigned long long)name->size,
		       digest(device, recovery, object));
	return wrong;
}

static const char *load(const struct device *device, struct bc_dtable *table, bool *torn)
{
	const struct bc_super *super = device->super;
	struct bc_disk_dirty_unit copies[BC_DIRTY_COPIES];
	u64 unit;

	for (unit = 0; unit < super->layout.dirty_units; unit++) {
		memcpy(copies, device->image + super->layout.dirty_offset +
		       (unit << (BC_UNIT_SHIFT + 1)), sizeof(copies));
		switch (bc_dtable_load(table, unit, copies, &super->layout, super->seq_reserved,
				       super->uuid)) {
		case BC_DTABLE_DAMAGED:
			return "a unit is damaged";
		case BC_DTABLE_TORN:
			*torn = true;
		}
	}
	if (!(super->state & BC_SUPER_CLEAN))
		return NULL;
	*torn = false;
	return bc_dtable_check(table) == super->dirty_check ? NULL : "units are old";
}

static const char *recover(const struct device *device, bool list)
{
	struct bc_dtable table;
	struct bc_dirty_recovery recovery = {
		.table = &table, .uuid = device->super->uuid, .read = read_block,
		.arg = (void *)device,
	};
	const char *wrong;
	u32 i;

	memset(found, 0, sizeof(found));
	if (!(device->super->incompat & BC_INCOMPAT_DIRTY))
		return NULL;
	if (bc_dtable_init(&table, device->super->layout.dirty_units))
		return "out of memory";
	wrong = load(device, &table, &recovery.torn);
	if (!wrong && bc_dirty_recover(&recovery))
		wrong = "out of memory";
	for (i = 0; i < recovery.objects && !wrong; i++)
		wrong = take_object(device, &recovery, &recovery.object[i], list);
	bc_dirty_recovered(&recovery);
	bc_dtable_free(&table);
	return wrong;
}

/* --- is it what it must be? */

static bool same_pages(const struct file *a, const struct file *b, u64 size)
{
	return !memcmp(a->tag, b->tag, pages_of(size) * sizeof(*a->tag));
}

static bool same(const struct file *a, const struct file *b)
{
	if (!a->there || !b->there)
		return a->there == b->there;
	return a->size == b->size && same_pages(a, b, a->size);
}

/* Each page is of one of both. */
static bool is_mixture(const struct file *file, const struct file *a, const struct file *b)
{
	u32 page;

	for (page = 0; page < pages_of(file->size); page++)
		if (file->tag[page] != b->tag[page] &&
		    (file->tag[page] != a->tag[page] || page >= pages_of(a->size)))
			return false;
	return true;
}

/* Of a file that @op is at work on. */
static bool is_between(const struct op *op, const struct file *file, const struct file *a,
		       const struct file *b)
{
	if (same(file, a) || same(file, b))
		return true;
	if (!file->there || !b->there || file->size > max(a->size, b->size))
		return false;
	if (op->kind == 'w')
		return file->size <= b->size && same_pages(file, b, file->size);
	if (op->kind == 'o')
		return file->size >= a->size && is_mixture(file, a, b);
	return false;
}

static const char *compare(const struct op *op)
{
	const struct file *name, *other;
	u32 i;

	memcpy(after, before, sizeof(after));
	if (op) {
		file_of(before, op->name);
		if (op->kind == 'r')
			file_of(before, op->other);
		memcpy(after, before, sizeof(after));
		apply(after, op);
	}
	/* Those that nobody ever made. */
	for (i = 0; i < FILES_MAX && found[i].name[0]; i++)
		file_of(before, found[i].name);
	for (i = 0; i < FILES_MAX && before[i].name[0]; i++) {
		const struct file *file = file_of(found, before[i].name);
		const struct file *then = file_of(after, before[i].name);

		snprintf(text, sizeof(text), "operation %u %c: %.60s: %s, %llu bytes, was %llu, becomes %llu",
			 op ? op->number : 0, op ? op->kind : '-', before[i].name,
			 file->there ? "there" : "not there", (unsigned long long)file->size,
			 (unsigned long long)before[i].size, (unsigned long long)then->size);
		if (op ? !is_between(op, file, &before[i], then) : !same(file, &before[i]))
			return text;
	}
	if (!op || op->kind != 'r')
		return NULL;
	/* Both names, or neither. */
	name = file_of(found, op->name);
	other = file_of(found, op->other);
	if ((same(name, file_of(before, op->name)) && same(other, file_of(before, op->other))) ||
	    (same(name, file_of(after, op->name)) && same(other, file_of(after, op->other))))
		return NULL;
	return "a rename done by half";
}

const char *dirty_check(const u8 *image, const struct bc_super *super, u32 until, bool list)
{
	struct device device = { image, super };
	const char *wrong = recover(&device, list);

	return wrong ?: compare(replay(until));
}
