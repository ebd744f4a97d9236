/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Upload of one file, or of one cut of it, to a store.
 *
 * Blocks are staged, those that the store has already left out; then the list of them
 * is committed, on condition that what lies under the name is what is to be replaced.
 * Until then nothing shows, and whoever is killed meanwhile goes on where he was.
 * Somebody else's version is never replaced: ours is kept aside as
 * NAME.conflict-NODE-TIME then.
 *
 * An upload belongs to one thread and its bc_net, and uses nothing global; the process
 * ignores SIGPIPE and has called bc_http_init():
 *
 *	upload = bc_upload_create(&job, net, text, sizeof(text));
 *	while ((wait_ms = bc_upload_step(upload)) >= 0) {
 *		bc_net_wait(net, wait_ms);
 *		bc_net_run(net);
 *	}
 *	... bc_upload_result(upload) ...
 *	bc_upload_free(upload);
 *
 * which is what bc_upload_run() does. Several uploads, and transfers of other kinds, may
 * share a net: step all, wait the shortest. Callbacks come from within
 * bc_upload_step(); they may call what pauses, cancels and tells, not step, run or free.
 */
#ifndef BC_UPLOAD_H
#define BC_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"
#include "upload/decide.h"
#include "upload/rate.h"
#include "upload/source.h"

struct bc_upload;

struct bc_upload_config {
	unsigned int blocks;		/* sent at once, at most */
	unsigned int threads;		/* that read and hash them; 0 = the caller's */
	uint64_t memory;		/* bytes for them; one is always sent */
	unsigned int connect_timeout_ms;
	unsigned int stall_timeout_ms;
	unsigned int backoff_ms;	/* grows from here, with jitter */
	unsigned int backoff_max_ms;
	unsigned int give_up_ms;	/* so long without any progress; 0 = never */
	struct bc_rate *rate;		/* shared by the uploads of a thread; NULL = no limit */
};

#define BC_UPLOAD_CONFIG_DEFAULT ((struct bc_upload_config){	\
	.blocks = 8,						\
	.threads = 2,						\
	.memory = (uint64_t)256 << 20,				\
	.connect_timeout_ms = 5000,				\
	.stall_timeout_ms = 30000,				\
	.backoff_ms = 500,					\
	.backoff_max_ms = 30000,				\
})

enum bc_upload_end {
	BC_UPLOAD_RUNNING,		/* not yet */
	BC_UPLOAD_COMMITTED,		/* it is in the store, as result.object */
	BC_UPLOAD_STAGED,		/* all blocks are; a commit was not asked for */
	BC_UPLOAD_CONFLICT,		/* somebody else's version is there; see result.path */
	BC_UPLOAD_SUPERSEDED,		/* a later cut of the same file is there */
	BC_UPLOAD_STALE,		/* the source is not what it was: take another cut */
	BC_UPLOAD_FAILED,		/* given up; nothing was committed, as far as is known */
	BC_UPLOAD_CANCELLED,
	BC_UPLOAD_END_COUNT
};

/* Everything is zeroed at the beginning of a result. */
struct bc_upload_result {
	enum bc_upload_end end;
	struct bc_object object;	/* what was committed */
	const char *path;		/* under which name; NULL if nothing was */
	char text[256];			/* for people; never holds a secret */
};

struct bc_upload_progress {
	uint64_t size;
	uint64_t done;			/* bytes that the store has; 0 again if it lost them */
	uint64_t reused;		/* of them: it had them before */
	uint64_t sending;		/* bytes on their way, beside done */
	uint32_t blocks;
	uint32_t blocks_done;
	unsigned int retries;
	bool paused;
	enum bc_trouble trouble;	/* why it does not move on */
	char text[256];			/* of the trouble */
};

struct bc_upload_ops {
	/* Something moved on. Not more often than ten times a second. */
	void (*progress)(struct bc_upload *upload, void *context);
	/* Another trouble than before, or none any more: see bc_upload_progress(). */
	void (*trouble)(struct bc_upload *upload, void *context);
	/* Once, whatever the end. */
	void (*end)(struct bc_upload *upload, void *context);
};

/* What is to be uploaded, where to, and what it may replace. */
struct bc_upload_job {
	const struct bc_upload_config *config;	/* copied */
	struct bc_store *store;			/* a reference is taken */
	const char *path;			/* in the store; copied */
	struct bc_source *source;		/* taken over, also if create fails */
	struct bc_base base;
	bool replace;			/* whatever lies there at the beginning, instead of base */
	bool stage_only;		/* no commit */
	bool fresh;			/* nothing of it was sent before: do not ask for it */
	bool keep_aside;		/* in a conflict; otherwise it ends there */
	const char *node;		/* this one's name, for metadata and conflicts; copied */
	const struct bc_upload_ops *ops;	/* NULL, and each of them may be */
	void *context;
};

struct bc_net;

struct bc_upload *bc_upload_create(const struct bc_upload_job *job, struct bc_net *net,
				   char *text, size_t size);
int bc_upload_step(struct bc_upload *upload);
const struct bc_upload_result *bc_upload_run(struct bc_upload *upload);
void bc_upload_pause(struct bc_upload *upload, bool pause);
void bc_upload_hold(struct bc_upload *upload, bool hold);
void bc_upload_set_store(struct bc_upload *upload, struct bc_store *store);
void bc_upload_cancel(struct bc_upload *upload);
void bc_upload_free(struct bc_upload *upload);

const struct bc_upload_result *bc_upload_result(const struct bc_upload *upload);
const struct bc_upload_progress *bc_upload_progress(struct bc_upload *upload);
const char *bc_upload_path(const struct bc_upload *upload);
const struct bc_base *bc_upload_base(const struct bc_upload *upload);
bool bc_upload_waits(const struct bc_upload *upload);
bool bc_upload_may_show(const struct bc_upload *upload);
const char *bc_upload_end_name(enum bc_upload_end end);

#endif /* BC_UPLOAD_H */
