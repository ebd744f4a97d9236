// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fills with many readers, between a front end and a daemon that are made up here: every byte is
 * right or its read fails, every read ends, and every object is let go.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/mman.h>
#include <linux/random.h>
#include <linux/uaccess.h>

#include "../fill.h"
#include "threads.h"

#define SIZE		(3 * BC_CHUNK_SIZE + 12345ULL)
#define PAGES		8		/* of a read, at most */
#define ROUNDS		150
#define EPOCH		4711		/* of the made up daemon */
#define PIECE		SZ_64K
#define PATIENCE	(60 * HZ)

struct scene {
	struct bc_client *client;
	struct bc_object *object;
	struct bc_kunit_threads readers;
	struct completion released;
	struct completion gate;		/* the lower answers only once it is open */
	struct completion at_gate;
	bool gated;
	int late_error;			/* what those say who were behind the gate */
	u32 failing;			/* one lower read in so many fails; 0 none */
	atomic_t lower_reads, right, failed, wrong, stuck;
};

static u8 pattern(u64 page)
{
	return page * 7 + 1;
}

/* What a page of the object is: all bytes alike, but for the number of the page. */
static void write_pattern(void *to, u64 page)
{
	memset(to, pattern(page), PAGE_SIZE);
	memcpy(to, &page, sizeof(page));
}

static bool is_right(const void *bytes, u64 page)
{
	u64 left = page << PAGE_SHIFT < SIZE ? SIZE - (page << PAGE_SHIFT) : 0;

	if (!left)
		return !memchr_inv(bytes, 0, PAGE_SIZE);
	left = min_t(u64, left, PAGE_SIZE);
	return !memcmp(bytes, &page, sizeof(page)) &&
	       !memchr_inv(bytes + sizeof(page), pattern(page), left - sizeof(page)) &&
	       !memchr_inv(bytes + left, 0, PAGE_SIZE - left);
}

static int read_lower(void *private, u64 pos, u32 length, struct page **pages,
		      struct bc_version *version)
{
	struct scene *scene = private;
	u32 done;

	atomic_inc(&scene->lower_reads);
	if (scene->gated) {
		complete_all(&scene->at_gate);
		wait_for_completion(&scene->gate);
		if (scene->late_error)
			return scene->late_error;
	}
	if (scene->failing && !get_random_u32_below(scene->failing))
		return get_random_u32_below(2) ? -EIO : -ESTALE;
	*version = (struct bc_version){ .size = SIZE, .etag_length = 5, .etag = "lower" };
	if (pos >= SIZE)
		return 0;
	length = min_t(u64, length, SIZE - pos);
	for (done = 0; done < length; done += PAGE_SIZE) {
		void *to = kmap_local_page(pages[done >> PAGE_SHIFT]);

		write_pattern(to, (pos + done) >> PAGE_SHIFT);
		kunmap_local(to);
	}
	return length;
}

static void scene_release(void *private)
{
	struct scene *scene = private;

	complete(&scene->released);
}

static const struct bc_object_ops lower_ops = {
	.read_lower = read_lower,
	.release = scene_release,
};

static const struct bc_object_ops store_ops = {
	.release = scene_release,
};

struct read {
	struct bc_io io;
	struct bio_vec bvecs[PAGES];
	struct completion done;
	int error;
};

static void read_done(struct bc_io *io, int error)
{
	struct read *read = container_of(io, struct read, io);

	read->error = error;
	complete(&read->done);
}

static void check(struct scene *scene, struct read *read)
{
	u32 i;

	if (read->error) {
		atomic_inc(&scene->failed);
		return;
	}
	for (i = 0; i < read->io.nr_bvecs; i++) {
		void *bytes = kmap_local_page(read->bvecs[i].bv_page);

		if (!is_right(bytes, (read->io.pos >> PAGE_SHIFT) + i))
			atomic_inc(&scene->wrong);
		kunmap_local(bytes);
	}
	atomic_inc(&scene->right);
}

static void read_once(struct scene *scene, struct read *read)
{
	u32 chunk = get_random_u32_below(4), first = get_random_u32_below(BC_CHUNK_PAGES);
	struct bc_io *io = &read->io;

	if (chunk == 3)
		first %= 8;
	*io = (struct bc_io){
		.object = scene->object,
		.pos = ((u64)chunk << BC_CHUNK_SHIFT) + ((u64)first << PAGE_SHIFT),
		.nr_bvecs = min_t(u32, 1 + get_random_u32_below(PAGES), BC_CHUNK_PAGES - first),
		.bvecs = read->bvecs,
		.priority = BC_PRIORITY_DEMAND,
		.done = read_done,
	};
	io->length = io->nr_bvecs << PAGE_SHIFT;
	init_completion(&read->done);
	bc_read(io);
	if (!wait_for_completion_timeout(&read->done, PATIENCE)) {
		atomic_inc(&scene->stuck);
		/* It is not ours as long as it is not done. */
		wait_for_completion(&read->done);
	}
	check(scene, read);
}

static void reader(void *arg)
{
	struct scene *scene = arg;
	struct read *read = kzalloc(sizeof(*read), GFP_KERNEL);
	int i;

	if (!read)
		goto failed;
	for (i = 0; i < PAGES; i++) {
		struct page *page = alloc_page(GFP_KERNEL);

		if (!page)
			goto failed;
		bvec_set_page(&read->bvecs[i], page, PAGE_SIZE, 0);
	}
	for (i = 0; i < ROUNDS && !READ_ONCE(scene->client->dead); i++)
		read_once(scene, read);
	goto out;
failed:
	atomic_inc(&scene->wrong);
out:
	for (i = 0; read && i < PAGES; i++) {
		if (read->bvecs[i].bv_page)
			__free_page(read->bvecs[i].bv_page);
	}
	kfree(read);
}

static struct scene *scene_create(struct kunit *test, enum bc_daemon_loss loss, bool lower)
{
	static const struct bc_version version = { .size = SIZE, .etag_length = 4, .etag = "etag" };
	struct bc_client_options options = {
		.source = "file:///kunit",
		.on_daemon_loss = loss,
		.deadline_ms = 30000,
		.lower_workers = 2,
	};
	struct scene *scene = kunit_kzalloc(test, sizeof(*scene), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, scene);
	init_completion(&scene->released);
	init_completion(&scene->gate);
	init_completion(&scene->at_gate);
	scene->client = bc_client_create(&options);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, scene->client);
	scene->object = lower ? bc_object_create_lower(scene->client, "a/b", &lower_ops, scene) :
				bc_object_create(scene->client, "a/b", &version, &store_ops, scene);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, scene->object);
	return scene;
}

/* Nobody holds on to the object once the readers are gone, whatever became of their fills. */
static void scene_end(struct kunit *test, struct scene *scene)
{
	bc_kunit_wait(&scene->readers);
	bc_object_put(scene->object);
	bc_client_destroy(scene->client);
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&scene->released, PATIENCE), 0);
	kunit_info(test, "%d reads right, %d failed, %d times the lower\n",
		   atomic_read(&scene->right), atomic_read(&scene->failed),
		   atomic_read(&scene->lower_reads));
	KUNIT_EXPECT_EQ(test, atomic_read(&scene->wrong), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&scene->stuck), 0);
	KUNIT_EXPECT_EQ(test, bc_fills_pending(), 0);
}

/* Guards: readers of one chunk share a read of the lower. */
static void fill_lower(struct kunit *test)
{
	struct scene *scene = scene_create(test, BC_LOSS_LOWER, true);

	bc_kunit_start(test, &scene->readers, reader, scene);
	scene_end(test, scene);
	KUNIT_EXPECT_EQ(test, atomic_read(&scene->right), BC_KUNIT_THREADS * ROUNDS);
	KUNIT_EXPECT_GT(test, atomic_read(&scene->lower_reads), 0);
	KUNIT_EXPECT_LT(test, atomic_read(&scene->lower_reads), BC_KUNIT_THREADS * ROUNDS);
}

/* Guards: a lower that fails now and then fails reads, no more of them, and nothing else. */
static void fill_lower_fails(struct kunit *test)
{
	struct scene *scene = scene_create(test, BC_LOSS_LOWER, true);

	scene->failing = 3;
	bc_kunit_start(test, &scene->readers, reader, scene);
	scene_end(test, scene);
	KUNIT_EXPECT_GT(test, atomic_read(&scene->right), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&scene->failed), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&scene->right) + atomic_read(&scene->failed),
			BC_KUNIT_THREADS * ROUNDS);
}

/* Guards: an abort ends all reads while the lower has its workers, which come back too late. */
static void fill_abort(struct kunit *test)
{
	struct scene *scene = scene_create(test, BC_LOSS_LOWER, true);

	scene->gated = true;
	bc_kunit_start(test, &scene->readers, reader, scene);
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&scene->at_gate, PATIENCE), 0);
	bc_client_abort(scene->client);
	/* For those that the abort was too early for: what they start now it would not meet. */
	WRITE_ONCE(scene->client->dead, true);
	bc_client_abort(scene->client);
	bc_kunit_wait(&scene->readers);
	KUNIT_EXPECT_EQ(test, atomic_read(&scene->right), 0);
	KUNIT_EXPECT_GT(test, atomic_read(&scene->failed), 0);
	KUNIT_EXPECT_FALSE(test, completion_done(&scene->released));
	complete_all(&scene->gate);
	scene_end(test, scene);
}

static void renew(struct kunit *test, int late_error)
{
	struct scene *scene = scene_create(test, BC_LOSS_LOWER, true);

	scene->gated = true;
	scene->late_error = late_error;
	bc_kunit_start(test, &scene->readers, reader, scene);
	KUNIT_EXPECT_NE(test, wait_for_completion_timeout(&scene->at_gate, PATIENCE), 0);
	WRITE_ONCE(scene->gated, false);
	bc_client_lower_renewed(scene->client);
	KUNIT_EXPECT_GT(test, bc_client_lower_busy(scene->client), 0);
	/* They come back while reads are under way, or after all of these. */
	if (late_error)
		complete_all(&scene->gate);
	bc_kunit_wait(&scene->readers);
	KUNIT_EXPECT_EQ(test, atomic_read(&scene->right), BC_KUNIT_THREADS * ROUNDS);
	complete_all(&scene->gate);
	scene_end(test, scene);
}

/*
 * Guards: who waits in a lower that is replaced is served by the new one; what comes back late from
 * the old one changes nothing.
 */
static void fill_lower_renewed(struct kunit *test)
{
	renew(test, 0);
	renew(test, -EIO);
}

/* The memory of the made up daemon, with a chunk's bytes in it. */
static bool write_chunk(void __user *memory, void *page, u32 chunk)
{
	u32 i;

	for (i = 0; i < BC_CHUNK_PAGES; i++) {
		write_pattern(page, ((u64)chunk << (BC_CHUNK_SHIFT - PAGE_SHIFT)) + i);
		if (copy_to_user(memory + i * PAGE_SIZE, page, PAGE_SIZE))
			return false;
	}
	return true;
}

struct served {
	u32 done, lost, failed;
};

/* The bytes [*@begin, *@end) of the chunk: what is asked for, or all of it. */
static void choose(struct bc_fill *fill, u32 *begin, u32 *end)
{
	struct bc_fetch_request request;

	*begin = 0;
	*end = bc_chunk_bytes(fill->object, fill->chunk);
	if (!get_random_u32_below(4))
		return;
	bc_fill_request(fill, &request);
	*begin = request.offset & (BC_CHUNK_SIZE - 1);
	*end = *begin + request.length;
}

/* Return: 0, or the error of what should have worked. */
static int serve(struct bc_fill *fill, void __user *memory, struct served *served)
{
	u64 start = (u64)fill->chunk << BC_CHUNK_SHIFT, id = fill->id;
	u32 begin, end, offset;
	u64 lose;
	int ret;

	choose(fill, &begin, &end);
	lose = get_random_u32_below(4) ? U64_MAX : begin + get_random_u32_below(end - begin);
	ret = bc_fill_claim(id, EPOCH, false);
	/* From the end, so that readers of the beginning wait. */
	for (offset = round_down(end - 1, PIECE); !ret; offset -= PIECE) {
		if (lose != U64_MAX && offset <= lose) {
			served->lost++;
			bc_fills_daemon_lost();
			ret = bc_fill_copy(id, EPOCH, start + offset, min(end - offset, PIECE),
					   memory + offset);
			/* If nobody waited for it, it may have ended. */
			return ret == -ESTALE || ret == -ENOENT ? 0 : -EPROTO;
		}
		ret = bc_fill_copy(id, EPOCH, start + offset, min(end - offset, PIECE),
				   memory + offset);
		if (offset <= begin)
			break;
	}
	if (ret)
		return ret;
	if (!get_random_u32_below(8)) {
		served->failed++;
		return bc_fill_done(id, EPOCH, BC_DONE_FAILED, 0, false);
	}
	served->done++;
	return bc_fill_done(id, EPOCH, BC_DONE_OK, 0, false);
}

/*
 * Guards: bytes of a daemon that brings chunks whole or as it is asked for them, dies half way
 * through some, and fails some, reach the readers right; the claims of one that died are worth
 * nothing.
 */
static void fill_store(struct kunit *test)
{
	struct scene *scene = scene_create(test, BC_LOSS_WAIT, false);
	void *page = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);
	struct served served = {};
	void __user *memory;
	int ret = 0;

	memory = (void __user *)kunit_vm_mmap(test, NULL, 0, BC_CHUNK_SIZE, PROT_READ | PROT_WRITE,
					      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_NOT_NULL(test, (__force void *)memory);
	bc_kunit_start(test, &scene->readers, reader, scene);
	while (!ret && !completion_done(&scene->readers.ended)) {
		struct bc_fill *fill;
		u64 after = 0;

		fill = bc_fills_next(&after);
		if (!fill) {
			usleep_range(100, 1000);
			continue;
		}
		ret = write_chunk(memory, page, fill->chunk) ? serve(fill, memory, &served) :
							       -EFAULT;
		bc_fill_put(fill);
	}
	KUNIT_EXPECT_EQ(test, ret, 0);
	if (ret) {
		WRITE_ONCE(scene->client->dead, true);
		bc_client_abort(scene->client);
	}
	scene_end(test, scene);
	kunit_info(test, "%u requests done, %u lost, %u failed\n", served.done, served.lost,
		   served.failed);
	KUNIT_EXPECT_GT(test, atomic_read(&scene->right), 0);
	KUNIT_EXPECT_GT(test, served.done, 0);
}

static struct kunit_case fill_cases[] = {
	KUNIT_CASE_SLOW(fill_lower),
	KUNIT_CASE_SLOW(fill_lower_fails),
	KUNIT_CASE_SLOW(fill_abort),
	KUNIT_CASE_SLOW(fill_lower_renewed),
	KUNIT_CASE_SLOW(fill_store),
	{}
};

static struct kunit_suite fill_suite = {
	.name = "blobcache_fill",
	.test_cases = fill_cases,
};

kunit_test_suite(fill_suite);
