// SPDX-License-Identifier: GPL-2.0-or-later
#include "flush/flush.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flush/lane.h"
#include "flush/mark.h"
#include "log.h"
#include "util.h"

enum { LANE_NETWORK, LANE_BLOCKING, LANES };

#define POLL_MS		10
#define MARKS		"/commits"

struct bc_flush {
	struct bc_lane lanes[LANES];
	bool dumping;			/* the main thread's, as what follows */
	bool marks_done;
	bc_flush_find_fn *find;
	void *find_context;
	int marks;			/* directory, or -1 */
	char *state;			/* file; NULL = none */
	pthread_mutex_t lock;		/* of what follows, and the file */
	json_t *reports[LANES];
};

/* --- what is told */

/* Beside, then in its place: who reads it sees all of it. */
static void write_state(const struct bc_flush *flush, json_t *report)
{
	char path[4096];
	FILE *file;
	bool good;

	if (snprintf(path, sizeof(path), "%s.new", flush->state) >= (int)sizeof(path))
		return;
	file = fopen(path, "we");
	if (!file) {
		bc_warn_limited("cannot write %s: %s", path, strerror(errno));
		return;
	}
	good = !json_dumpf(report, file, JSON_COMPACT);
	good &= !fclose(file);
	if (!good || rename(path, flush->state))
		bc_warn_limited("cannot write %s: %s", flush->state, strerror(errno));
}

/**
 * bc_flush_publish - tell the world
 * @lane: whose report it is
 * @report: taken over; NULL if there was no memory
 */
void bc_flush_publish(struct bc_lane *lane, json_t *report)
{
	struct bc_flush *flush = lane->flush;
	json_t *all;

	pthread_mutex_lock(&flush->lock);
	json_decref(flush->reports[lane - flush->lanes]);
	flush->reports[lane - flush->lanes] = report;
	if (flush->state) {
		all = json_pack("{s:s, s:i, s:[O*, O*]}", "schema", "blobcached.flush/1",
				"pid", (int)getpid(), "lanes", flush->reports[LANE_NETWORK],
				flush->reports[LANE_BLOCKING]);
		if (all)
			write_state(flush, all);
		json_decref(all);
	}
	pthread_mutex_unlock(&flush->lock);
}

/* --- the main thread's side */

static void send_news(struct bc_lane *lane, struct bc_news *news)
{
	pthread_mutex_lock(&lane->lock);
	STAILQ_INSERT_TAIL(&lane->inbox, news, link);
	pthread_mutex_unlock(&lane->lock);
	bc_net_wake(lane->net);
}

static struct bc_lane *lane_of(struct bc_flush *flush, const struct bc_store *store)
{
	bool blocks = store && store->ops->capabilities & BC_STORE_BLOCKS;

	return &flush->lanes[blocks ? LANE_BLOCKING : LANE_NETWORK];
}

/*
 * Who was before us was killed. Without a store the mark stays for who comes next; so it does while
 * the tier is not there: the object may be on it as it was, and be lost with it.
 */
static void send_mark(const struct bc_mark *mark, void *context)
{
	struct bc_flush *flush = context;
	struct bc_store *store = flush->find(mark->source, mark->device, flush->find_context);
	struct bc_news *news = store ? calloc(1, sizeof(*news)) : NULL;

	if (!news) {
		bc_store_put(store);
		return;
	}
	news->kind = BC_NEWS_MARK;
	news->store = store;
	memcpy(news->told.generation, mark->generation, sizeof(news->told.generation));
	news->told.path = strdup(mark->path);
	if (news->told.path)
		send_news(lane_of(flush, store), news);
	else
		bc_news_free(news);
}

static void send_round(struct bc_flush *flush, int kind, bool complete)
{
	int i;

	for (i = 0; i < LANES; i++) {
		struct bc_news *news = calloc(1, sizeof(*news));

		/* Without a begin nothing is swept at the end. */
		if (!news)
			return;
		news->kind = kind;
		news->complete = complete;
		send_news(&flush->lanes[i], news);
	}
}

/**
 * bc_flush_round_begin - all dirty objects are told of now, by bc_flush_tell()
 * @flush: the flush
 */
void bc_flush_round_begin(struct bc_flush *flush)
{
	send_round(flush, BC_NEWS_ROUND_BEGIN, false);
	flush->dumping = true;
}

/**
 * bc_flush_round_end - those were all
 * @flush: the flush
 * @complete: none was left out
 */
void bc_flush_round_end(struct bc_flush *flush, bool complete)
{
	flush->dumping = false;
	send_round(flush, BC_NEWS_ROUND_END, complete);
	if (!complete || flush->marks_done || !flush->find)
		return;
	flush->marks_done = true;
	bc_mark_each(flush->marks, send_mark, flush);
}

/**
 * bc_flush_set_find - how to find the stores of marks
 * @flush: the flush
 * @find: called from bc_flush_round_end()
 * @context: for @find
 */
void bc_flush_set_find(struct bc_flush *flush, bc_flush_find_fn *find, void *context)
{
	flush->find = find;
	flush->find_context = context;
}

/**
 * bc_flush_tell - the kernel told of a dirty object
 * @flush: the flush
 * @told: what it told; its strings are taken over
 * @store: of its source; the reference is taken over; NULL = there is none
 * @why: why there is none
 */
void bc_flush_tell(struct bc_flush *flush, struct bc_dirty_told *told, struct bc_store *store,
		   const char *why)
{
	struct bc_news *news = calloc(1, sizeof(*news));

	if (!news) {
		bc_store_put(store);
		return;
	}
	news->kind = BC_NEWS_TOLD;
	news->told = *told;
	told->source = NULL;
	told->path = NULL;
	told->device = NULL;
	news->store = store;
	news->why = store ? NULL : strdup(why);
	news->dump = flush->dumping;
	send_news(lane_of(flush, store), news);
}

/**
 * bc_flush_configure - take over a new configuration
 * @flush: the flush
 * @config: copied
 */
void bc_flush_configure(struct bc_flush *flush, const struct bc_flush_config *config)
{
	int i;

	for (i = 0; i < LANES; i++) {
		struct bc_lane *lane = &flush->lanes[i];
		struct bc_flush_config *next = bc_flush_config_copy(config);

		if (!next)
			continue;
		pthread_mutex_lock(&lane->lock);
		bc_flush_config_free(lane->next);
		lane->next = next;
		pthread_mutex_unlock(&lane->lock);
		bc_net_wake(lane->net);
	}
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		bc_warn("cannot make %s: %s", path, strerror(errno));
}

/* The directory that the state is in, and that of the marks in it. */
static void make_directories(struct bc_flush *flush)
{
	char path[4096];
	char *slash;

	if (snprintf(path, sizeof(path) - sizeof(MARKS), "%s", flush->state) >=
	    (int)(sizeof(path) - sizeof(MARKS)))
		return;
	slash = strrchr(path, '/');
	if (!slash || slash == path)
		return;
	*slash = 0;
	make_directory(path);
	strcpy(slash, MARKS);
	make_directory(path);
	flush->marks = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/**
 * bc_flush_create - start the threads
 * @kernel: outlives it
 * @config: copied
 * @state: file that tells how it goes; NULL = none
 */
struct bc_flush *bc_flush_create(struct bc_kernel *kernel, const struct bc_flush_config *config,
				 const char *state)
{
	struct bc_flush *flush = calloc(1, sizeof(*flush));
	bool good = flush;
	int i;

	if (!flush)
		return NULL;
	pthread_mutex_init(&flush->lock, NULL);
	flush->marks = -1;
	flush->state = state ? strdup(state) : NULL;
	if (flush->state)
		make_directories(flush);
	for (i = 0; i < LANES && good; i++) {
		flush->lanes[i].flush = flush;
		flush->lanes[i].kernel = kernel;
		flush->lanes[i].marks = flush->marks;
		flush->lanes[i].config = bc_flush_config_copy(config);
		good = flush->lanes[i].config && bc_lane_start(&flush->lanes[i]);
	}
	if (good)
		return flush;
	bc_flush_stop(flush, 1000);
	return NULL;
}

static bool has_ended(struct bc_lane *lane)
{
	bool ended;

	if (!lane->started)
		return true;
	pthread_mutex_lock(&lane->lock);
	ended = lane->ended;
	pthread_mutex_unlock(&lane->lock);
	return ended;
}

static void ask_to_stop(struct bc_lane *lane)
{
	if (!lane->started)
		return;
	pthread_mutex_lock(&lane->lock);
	lane->stop = true;
	pthread_mutex_unlock(&lane->lock);
	bc_net_wake(lane->net);
}

/**
 * bc_flush_stop - end the threads; what is under way is left as it is
 * @flush: freed
 * @timeout_ms: how long to wait for them
 *
 * Returns false if one hangs in a file system. Nothing is left but to exit then.
 */
bool bc_flush_stop(struct bc_flush *flush, int timeout_ms)
{
	int64_t until = bc_now_ms() + timeout_ms;
	int i;

	for (i = 0; i < LANES; i++)
		ask_to_stop(&flush->lanes[i]);
	for (i = 0; i < LANES; i++)
		while (!has_ended(&flush->lanes[i])) {
			if (bc_now_ms() >= until)
				return false;
			usleep(POLL_MS * 1000);
		}
	for (i = 0; i < LANES; i++) {
		if (flush->lanes[i].config)
			bc_lane_free(&flush->lanes[i]);
		json_decref(flush->reports[i]);
	}
	if (flush->state)
		unlink(flush->state);
	if (flush->marks >= 0)
		close(flush->marks);
	pthread_mutex_destroy(&flush->lock);
	free(flush->state);
	free(flush);
	return true;
}
