/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What to do about what a store answered to a step of an upload. Pure: the same table
 * is in docs/failure.md, and in tests/unit/test_upload_decide.c line by line.
 */
#ifndef BC_UPLOAD_DECIDE_H
#define BC_UPLOAD_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/* What lies under the name now, by a HEAD. */
struct bc_found {
	bool exists;
	struct bc_object object;
	struct bc_meta meta;
};

/* What may lie there so that we may replace it. */
struct bc_base {
	enum bc_condition condition;
	char etag[BC_ETAG_MAX + 1];	/* with BC_IF_MATCH */
	bool has_generation;		/* a file of ours that this one was renamed over */
	uint8_t generation[BC_GENERATION_SIZE];
};

/* Whose upload it is. */
struct bc_mine {
	uint8_t generation[BC_GENERATION_SIZE];
	uint64_t cut;
	uint64_t size;
};

enum bc_step {
	BC_STEP_BEGIN,			/* nothing is staged yet: only looking */
	BC_STEP_STAGE,
	BC_STEP_COMMIT,
};

enum bc_verdict {
	BC_VERDICT_GO,			/* on as planned; at BC_STEP_COMMIT: commit (again) */
	BC_VERDICT_DONE,		/* it is in the store */
	BC_VERDICT_SUPERSEDED,		/* a later cut of the same file is */
	BC_VERDICT_LOOK,		/* HEAD, then decide again */
	BC_VERDICT_RESTAGE,		/* ask which blocks there are, stage what is missing */
	BC_VERDICT_ASIDE,		/* somebody else's: keep ours under another name */
	BC_VERDICT_WAIT,		/* the same again, after a while */
	BC_VERDICT_ALARM,		/* and somebody has to do something about it */
	BC_VERDICT_COUNT
};

/* Why an upload does not move on, for those who watch it. */
enum bc_trouble {
	BC_TROUBLE_NONE,
	BC_TROUBLE_NETWORK,		/* no whole answer */
	BC_TROUBLE_BUSY,
	BC_TROUBLE_DENIED,
	BC_TROUBLE_LEASED,
	BC_TROUBLE_GONE,		/* no container, as it seems */
	BC_TROUBLE_FOREIGN_BLOCKS,	/* somebody's staged blocks have ids of another length */
	BC_TROUBLE_RIVAL,		/* our staged blocks go missing again and again */
	BC_TROUBLE_DAMAGED,		/* bytes arrive damaged */
	BC_TROUBLE_REFUSED,
	BC_TROUBLE_SOURCE,		/* our own bytes cannot be read */
	BC_TROUBLE_COUNT
};

struct bc_decision {
	enum bc_verdict verdict;
	enum bc_trouble trouble;	/* with WAIT and ALARM */
};

#define BC_RESTAGE_MAX	5U

struct bc_decision bc_decide(enum bc_step step, enum bc_answer answer);
struct bc_decision bc_decide_found(enum bc_step step, enum bc_answer answer,
				   const struct bc_mine *mine, struct bc_base *base,
				   const struct bc_found *found, unsigned int restaged);
const char *bc_verdict_name(enum bc_verdict verdict);
const char *bc_trouble_name(enum bc_trouble trouble);
const char *bc_trouble_advice(enum bc_trouble trouble);

#endif /* BC_UPLOAD_DECIDE_H */
