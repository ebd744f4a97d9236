// SPDX-License-Identifier: GPL-2.0-or-later
/* The thread of a lane, and what it is told. */
#include <stdlib.h>
#include <unistd.h>

#include "flush/lane.h"
#include "log.h"
#include "util.h"

#define TELL_MS		500		/* its state is not told more often */
#define CONNECTIONS	64

/**
 * bc_news_free - free what was told
 * @news: not in an inbox any more
 */
void bc_news_free(struct bc_news *news)
{
	bc_store_put(news->store);
	free(news->told.source);
	free(news->told.path);
	free(news->told.device);
	free(news->why);
	free(news);
}

static void take(struct bc_lane *lane, struct bc_news *news)
{
	switch (news->kind) {
	case BC_NEWS_TOLD:
		bc_entry_take(lane, news);
		break;
	case BC_NEWS_ROUND_BEGIN:
		lane->round = ++lane->rounds;
		break;
	case BC_NEWS_ROUND_END:
		if (news->complete)
			bc_entry_sweep(lane);
		lane->round = 0;
		break;
	case BC_NEWS_MARK:
		bc_undo_marked(lane, news);
		break;
	}
	bc_news_free(news);
}

static void configure(struct bc_lane *lane, struct bc_flush_config *config)
{
	bc_flush_config_free(lane->config);
	lane->config = config;
	lane->rate.bytes_per_second = config->bytes_per_second;
	lane->look = true;
	lane->to_tell = true;
}

/* Returns false if the thread is to end. */
static bool take_all(struct bc_lane *lane)
{
	struct bc_inbox inbox = STAILQ_HEAD_INITIALIZER(inbox);
	struct bc_flush_config *config;
	struct bc_news *news;
	bool stop;

	pthread_mutex_lock(&lane->lock);
	STAILQ_CONCAT(&inbox, &lane->inbox);
	config = lane->next;
	lane->next = NULL;
	stop = lane->stop;
	pthread_mutex_unlock(&lane->lock);
	if (config)
		configure(lane, config);
	while ((news = STAILQ_FIRST(&inbox))) {
		STAILQ_REMOVE_HEAD(&inbox, link);
		if (stop)
			bc_news_free(news);
		else
			take(lane, news);
	}
	return !stop;
}

/* Returns after how many milliseconds there is something to tell. */
static int tell(struct bc_lane *lane)
{
	int64_t now = bc_now_ms();

	if (!lane->to_tell && !lane->running)
		return TELL_MS * 100;
	if (now < lane->told_ms + TELL_MS)
		return (int)(lane->told_ms + TELL_MS - now);
	lane->told_ms = now;
	lane->to_tell = false;
	bc_flush_publish(lane, bc_report_lane(lane));
	return TELL_MS;
}

/* What is staged stays, for who comes next. */
static void drop(struct bc_lane *lane)
{
	struct bc_entry *entry;

	while ((entry = TAILQ_FIRST(&lane->entries))) {
		bc_upload_free(entry->upload);
		bc_entry_forget(lane, entry);
	}
	bc_undo_stop(lane);
	bc_past_free(lane);
}

static void *run(void *context)
{
	struct bc_lane *lane = context;
	int wait, other;

	while (take_all(lane)) {
		/* First: then it is seen what came. */
		bc_net_run(lane->net);
		bc_run_begin(lane);
		wait = bc_run_step(lane);
		other = bc_undo_step(lane);
		wait = other < wait ? other : wait;
		other = tell(lane);
		wait = other < wait ? other : wait;
		bc_net_wait(lane->net, wait);
	}
	drop(lane);
	pthread_mutex_lock(&lane->lock);
	lane->ended = true;
	pthread_mutex_unlock(&lane->lock);
	return NULL;
}

/**
 * bc_lane_start - start the thread of a lane
 * @lane: zeroed, but for flush, kernel and config
 *
 * Returns false on failure; bc_lane_free() in any case.
 */
bool bc_lane_start(struct bc_lane *lane)
{
	pthread_mutex_init(&lane->lock, NULL);
	STAILQ_INIT(&lane->inbox);
	TAILQ_INIT(&lane->entries);
	TAILQ_INIT(&lane->undos);
	TAILQ_INIT(&lane->past);
	gethostname(lane->node, sizeof(lane->node) - 1);
	lane->rate.bytes_per_second = lane->config->bytes_per_second;
	lane->to_tell = true;
	lane->net = bc_net_create(CONNECTIONS);
	lane->started = lane->net && !pthread_create(&lane->thread, NULL, run, lane);
	return lane->started;
}

/**
 * bc_lane_free - free what a lane has
 * @lane: its thread has ended, or did not start
 */
void bc_lane_free(struct bc_lane *lane)
{
	struct bc_news *news;

	if (lane->started)
		pthread_join(lane->thread, NULL);
	if (lane->net)
		bc_net_destroy(lane->net);
	while ((news = STAILQ_FIRST(&lane->inbox))) {
		STAILQ_REMOVE_HEAD(&lane->inbox, link);
		bc_news_free(news);
	}
	bc_flush_config_free(lane->next);
	bc_flush_config_free(lane->config);
	pthread_mutex_destroy(&lane->lock);
}
