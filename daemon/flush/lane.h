/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the flush share: flush.c takes what the main thread tells, lane.c is the
 * thread, entry.c knows the objects, past.c those that were, order.c says who may be seen next,
 * run.c uploads, undo.c takes back, report.c tells.
 */
#ifndef BC_FLUSH_LANE_H
#define BC_FLUSH_LANE_H

#include <jansson.h>
#include <pthread.h>
#include <sys/queue.h>

#include "flush/flush.h"
#include "store/http.h"
#include "upload/upload.h"

#define BC_ENTRY_BUCKETS	1024U
#define BC_RUNNING_MAX		64U	/* those that only wait for others included */

/* A dirty object, as far as the kernel told. */
struct bc_entry {
	TAILQ_ENTRY(bc_entry) link;	/* of bc_lane.entries */
	LIST_ENTRY(bc_entry) same_hash;
	struct bc_dirty_told told;
	struct bc_store *store;		/* NULL: it cannot be uploaded; see why */
	char *why;
	bool found;			/* it was there before us, or news of it were lost */
	bool renamed;			/* since it was committed last: it may be seen as it is */
	uint64_t round;			/* of the last dump that had it */
	int64_t since_ms;		/* the store does not have all of it */
	int64_t changed_ms;

	struct bc_upload *upload;	/* NULL: none is under way */
	struct bc_kernel_cut cut;	/* of it */
	bool staging;			/* it ends without a commit */
	char *marked;			/* a mark says that it may be under this name */
	unsigned int retries;		/* of it, that were counted */
	bool tried;			/* it is not the first one */
	struct bc_base base;		/* what the first one was to replace */
	bool has_base;
	uint64_t flushed_step;		/* of the last commit, or of the last conflict */
	uint64_t staged_step;
	uint64_t staged_size;
	int64_t staged_ms;
	unsigned int tries;		/* in a row, without a commit */
	int64_t due_ms;			/* not before */
	char *aside;			/* somebody else's version is there: ours is so, or "" */
};

/* What was committed under a name that the file does not have any more. */
struct bc_undo {
	struct bc_transfer transfer;	/* first */
	TAILQ_ENTRY(bc_undo) link;
	struct bc_object object;
	uint8_t generation[BC_GENERATION_SIZE];	/* of what is to be deleted */
	bool look;			/* which version it is nobody knows yet */
	char *path;
	bool running;
	bool ended;
	unsigned int tries;
	int64_t due_ms;
};

/* An object that is gone. */
struct bc_past {
	TAILQ_ENTRY(bc_past) link;
	char *source;
	char *path;
	uint8_t generation[BC_GENERATION_SIZE];
};

/* What the main thread told. */
struct bc_news {
	STAILQ_ENTRY(bc_news) link;
	/* BC_NEWS_MARK: a version may be under that name */
	enum { BC_NEWS_TOLD, BC_NEWS_ROUND_BEGIN, BC_NEWS_ROUND_END, BC_NEWS_MARK } kind;
	struct bc_dirty_told told;
	struct bc_store *store;
	char *why;
	bool dump;			/* by a dump, not by an event */
	bool complete;			/* BC_NEWS_ROUND_END */
};

TAILQ_HEAD(bc_entries, bc_entry);
LIST_HEAD(bc_bucket, bc_entry);
TAILQ_HEAD(bc_undos, bc_undo);
TAILQ_HEAD(bc_pasts, bc_past);
STAILQ_HEAD(bc_inbox, bc_news);

/* Since the daemon started. */
struct bc_flush_counts {
	uint64_t bytes;			/* sent and committed */
	uint64_t reused;		/* of what was committed, the store had */
	uint64_t commits;
	uint64_t conflicts;
	uint64_t undone;
	uint64_t failures[BC_TROUBLE_COUNT];
};

struct bc_lane {
	struct bc_flush *flush;
	struct bc_kernel *kernel;
	int marks;			/* directory of them, or -1 */
	struct bc_net *net;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;		/* protects what follows */
	struct bc_inbox inbox;
	struct bc_flush_config *next;	/* a new configuration, or NULL */
	bool stop;
	bool ended;

	/* The thread's own. */
	struct bc_flush_config *config;
	struct bc_entries entries;	/* by their last change, the oldest first */
	struct bc_bucket buckets[BC_ENTRY_BUCKETS];
	struct bc_undos undos;
	struct bc_pasts past;		/* the last one first */
	unsigned int past_count;
	struct bc_rate rate;
	struct bc_flush_counts counts;
	char node[BC_NODE_MAX];
	unsigned int running;
	uint64_t round;			/* of the dump under way, or 0 */
	uint64_t rounds;
	bool look;			/* something changed: who may begin, who may go on? */
	int64_t look_ms;		/* or time will do it */
	int64_t told_ms;		/* when its state was written */
	bool to_tell;
};

/* entry.c */
struct bc_entry *bc_entry_find(struct bc_lane *lane, const uint8_t *generation);
void bc_entry_take(struct bc_lane *lane, struct bc_news *news);
void bc_entry_forget(struct bc_lane *lane, struct bc_entry *entry);
void bc_entry_sweep(struct bc_lane *lane);
bool bc_entry_pending(const struct bc_entry *entry);

/* order.c */
bool bc_order_below(const char *path, const char *other, bool is_marker);
bool bc_order_is_marker(const struct bc_flush_config *config, const char *path);
bool bc_order_may_commit(const struct bc_entries *entries, const struct bc_entry *entry,
			 const struct bc_flush_config *config);

/* run.c */
void bc_run_begin(struct bc_lane *lane);
void bc_run_cancel(struct bc_lane *lane, struct bc_entry *entry);
int bc_run_step(struct bc_lane *lane);

/* undo.c */
void bc_undo_add(struct bc_lane *lane, const struct bc_entry *entry, const char *path,
		 const char *etag);
void bc_undo_marked(struct bc_lane *lane, struct bc_news *news);
bool bc_undo_busy(const struct bc_lane *lane, const char *source, const char *path);
int bc_undo_step(struct bc_lane *lane);
void bc_undo_stop(struct bc_lane *lane);

/* past.c */
void bc_past_add(struct bc_lane *lane, const struct bc_entry *entry);
const uint8_t *bc_past_find(const struct bc_lane *lane, const struct bc_entry *entry);
void bc_past_free(struct bc_lane *lane);

/* report.c */
json_t *bc_report_lane(struct bc_lane *lane);
void bc_flush_publish(struct bc_lane *lane, json_t *report);

/* lane.c */
bool bc_lane_start(struct bc_lane *lane);
void bc_lane_free(struct bc_lane *lane);
void bc_news_free(struct bc_news *news);

#endif /* BC_FLUSH_LANE_H */
