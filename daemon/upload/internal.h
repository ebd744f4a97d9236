/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the upload share: upload.c drives, prepare.c reads, stage.c sends,
 * publish.c commits.
 */
#ifndef BC_UPLOAD_INTERNAL_H
#define BC_UPLOAD_INTERNAL_H

#include <sys/queue.h>

#include "upload/piece.h"
#include "upload/plan.h"
#include "upload/staged.h"
#include "upload/upload.h"

/* What bc_upload_step() does next, when nothing else runs. */
enum bc_upload_next {
	BC_NEXT_LOOK,			/* HEAD */
	BC_NEXT_LIST,			/* which blocks there are */
	BC_NEXT_STAGE,
	BC_NEXT_COMMIT,
	BC_NEXT_NOTHING,
};

enum bc_block_state {
	BC_BLOCK_TODO,
	BC_BLOCK_TAKEN,			/* a slot has it */
	BC_BLOCK_DONE,
};

#define BC_PREPARE_THREADS_MAX	16U

/* One block on its way: it is made ready, then sent. */
struct bc_slot {
	struct bc_stage stage;		/* first */
	STAILQ_ENTRY(bc_slot) link;	/* until it is made ready */
	struct bc_upload *upload;
	uint32_t index;
	bool busy;

	/* Set by a thread of prepare.c. */
	struct bc_piece piece;
	struct bc_block_id block;
	uint32_t checksum;		/* of the block */
	bool checksum_known;
	bool reused;			/* the store has it */
	bool ready;			/* atomic: all of that is set */

	uint64_t sent;
	char id[BC_ID_TEXT + 1];
	bool sending;
	bool ended;			/* set by the store; bc_upload_step() looks at it */
};

struct bc_preparer;

struct bc_upload {
	struct bc_upload_job job;
	struct bc_upload_config config;
	struct bc_net *net;
	struct bc_store *store;
	char *path;			/* as asked for */
	char *aside;			/* where it goes instead, or NULL */
	unsigned int aside_count;
	char node[BC_NODE_MAX];
	struct bc_mine mine;
	uint64_t run;			/* random: what it stages is its own, where stores tell */
	bool begun;			/* a block of it was staged that is still wanted */
	struct bc_base base;

	enum bc_upload_next next;
	int64_t due_ms;			/* not before */
	unsigned int tries;		/* in a row, without progress */
	unsigned int restaged;
	int64_t failing_ms;		/* since when; 0 = all is well */
	bool replace;			/* base is whatever the next look finds */
	bool held;			/* no commit, for now */
	bool committing;		/* one was sent, ever */

	/* The one request beside blocks. */
	union {
		struct bc_transfer head;
		struct bc_block_list list;
		struct bc_commit commit;
	} control;
	bool control_busy;
	bool control_ended;
	struct bc_meta meta;		/* what the commit tells */
	enum bc_step step;		/* what a look is about, */
	enum bc_answer answer;		/* and what was answered to it */
	char text[192];			/* with that answer */

	/* Blocks. */
	uint32_t count;
	uint32_t cursor;		/* all before are taken or done */
	uint32_t done;
	struct bc_block_id *ids;	/* of blocks that are done, as is */
	uint32_t *checksums;
	uint8_t *states;
	bool checksum_known;
	struct bc_staged staged;
	struct bc_slot *slots;
	unsigned int busy;
	unsigned int window;		/* how many at once; halved when the store is busy */
	unsigned int credit;		/* sent since the window grew */
	uint64_t memory;		/* taken by slots */
	struct bc_preparer *preparer;	/* NULL until it is needed */

	struct bc_upload_progress progress;
	bool moved;			/* since progress was told */
	int64_t told_ms;
	struct bc_upload_result result;
	bool end_told;
};

/* upload.c */
void bc_upload_wait(struct bc_upload *upload, enum bc_trouble trouble, unsigned int least_ms,
		    const char *text);
void bc_upload_moved(struct bc_upload *upload);
void bc_upload_end(struct bc_upload *upload, enum bc_upload_end end, const char *text);
void bc_upload_source_failed(struct bc_upload *upload, enum bc_source_status status,
			     const char *text);
void bc_upload_prepare(struct bc_upload *upload, struct bc_transfer *transfer, enum bc_verb verb);
void bc_upload_release(struct bc_transfer *transfer);

/* prepare.c */
void bc_prepare(struct bc_upload *upload, struct bc_slot *slot);
void bc_prepare_stop(struct bc_upload *upload);
void bc_prepare_end(struct bc_upload *upload);

/* stage.c */
bool bc_stage_blocks(struct bc_upload *upload);
bool bc_stage_collect(struct bc_upload *upload);
void bc_stage_drop_ready(struct bc_upload *upload);
void bc_stage_again(struct bc_upload *upload);
void bc_stage_stop(struct bc_upload *upload);

/* publish.c */
void bc_publish_look(struct bc_upload *upload);
void bc_publish_list(struct bc_upload *upload);
void bc_publish_commit(struct bc_upload *upload);
void bc_publish_collect(struct bc_upload *upload);
void bc_publish_decide(struct bc_upload *upload, enum bc_step step,
		       const struct bc_result *result);
void bc_publish_stop(struct bc_upload *upload);

#endif /* BC_UPLOAD_INTERNAL_H */
