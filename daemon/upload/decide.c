// SPDX-License-Identifier: GPL-2.0-or-later
#include "upload/decide.h"

#include <string.h>

#include "store/meta.h"
#include "util.h"

static struct bc_decision say(enum bc_verdict verdict, enum bc_trouble trouble)
{
	return (struct bc_decision){ verdict, trouble };
}

/**
 * bc_decide - what to do, as far as the answer alone tells
 * @step: what was asked for
 * @answer: what the store said
 *
 * BC_VERDICT_LOOK wants a HEAD and bc_decide_found().
 */
struct bc_decision bc_decide(enum bc_step step, enum bc_answer answer)
{
	switch (answer) {
	case BC_ANSWER_DONE:
		return say(step == BC_STEP_COMMIT ? BC_VERDICT_DONE : BC_VERDICT_GO,
			   BC_TROUBLE_NONE);
	case BC_ANSWER_NONE:
		/* To stage a block twice does no harm; a commit may have been done. */
		if (step == BC_STEP_COMMIT)
			return say(BC_VERDICT_LOOK, BC_TROUBLE_NETWORK);
		return say(BC_VERDICT_WAIT, BC_TROUBLE_NETWORK);
	case BC_ANSWER_CONDITION:
	case BC_ANSWER_BLOCK_LIST:
		return say(BC_VERDICT_LOOK, BC_TROUBLE_RIVAL);
	case BC_ANSWER_BLOCK_ID:
		return say(BC_VERDICT_ALARM, BC_TROUBLE_FOREIGN_BLOCKS);
	case BC_ANSWER_CHECKSUM:
		return say(BC_VERDICT_WAIT, BC_TROUBLE_DAMAGED);
	case BC_ANSWER_LEASED:
		return say(BC_VERDICT_ALARM, BC_TROUBLE_LEASED);
	case BC_ANSWER_GONE:
		/* What was to be replaced; a block needs nothing but the container. */
		if (step == BC_STEP_COMMIT)
			return say(BC_VERDICT_LOOK, BC_TROUBLE_GONE);
		return say(BC_VERDICT_ALARM, BC_TROUBLE_GONE);
	case BC_ANSWER_NO_CONTAINER:
		return say(BC_VERDICT_ALARM, BC_TROUBLE_GONE);
	case BC_ANSWER_DENIED:
		return say(BC_VERDICT_ALARM, BC_TROUBLE_DENIED);
	case BC_ANSWER_BUSY:
		return say(BC_VERDICT_WAIT, BC_TROUBLE_BUSY);
	default:
		/* A blob of another kind may be in the way. */
		return say(BC_VERDICT_LOOK, BC_TROUBLE_REFUSED);
	}
}

static void set_base(struct bc_base *base, const struct bc_found *found)
{
	base->condition = found->exists ? BC_IF_MATCH : BC_IF_NONE;
	memcpy(base->etag, found->object.etag, sizeof(base->etag));
}

static bool is_base(const struct bc_base *base, const struct bc_found *found)
{
	if (base->condition == BC_IF_NONE)
		return !found->exists;
	return found->exists && !strcmp(base->etag, found->object.etag);
}

static bool same_generation(const struct bc_found *found, const uint8_t *generation)
{
	return found->exists && bc_meta_ours(&found->meta) &&
	       !memcmp(found->meta.generation, generation, BC_GENERATION_SIZE);
}

/* What is there is what we expect: why did the store not do what we asked for? */
static struct bc_decision as_expected(enum bc_step step, enum bc_answer answer,
				      unsigned int restaged)
{
	if (step == BC_STEP_BEGIN)
		return say(BC_VERDICT_GO, BC_TROUBLE_NONE);
	if (answer == BC_ANSWER_REFUSED)
		return say(BC_VERDICT_ALARM, BC_TROUBLE_REFUSED);
	if (answer == BC_ANSWER_BLOCK_LIST && restaged < BC_RESTAGE_MAX)
		return say(BC_VERDICT_RESTAGE, BC_TROUBLE_NONE);
	if (answer == BC_ANSWER_BLOCK_LIST)
		return say(BC_VERDICT_ALARM, BC_TROUBLE_RIVAL);
	/* 412 although nothing moved: a front end lags, or somebody was there and went. */
	if (answer == BC_ANSWER_CONDITION)
		return say(BC_VERDICT_WAIT, BC_TROUBLE_RIVAL);
	return say(BC_VERDICT_GO, BC_TROUBLE_NONE);
}

/* It may be replaced, but is another version than we thought: that is the base now. */
static struct bc_decision go_on_from(enum bc_step step, struct bc_base *base,
				     const struct bc_found *found, unsigned int restaged)
{
	set_base(base, found);
	if (step == BC_STEP_BEGIN)
		return say(BC_VERDICT_GO, BC_TROUBLE_NONE);
	/* What was committed since may have dropped blocks of ours. */
	if (restaged < BC_RESTAGE_MAX)
		return say(BC_VERDICT_RESTAGE, BC_TROUBLE_NONE);
	return say(BC_VERDICT_ALARM, BC_TROUBLE_RIVAL);
}

/**
 * bc_decide_found - what to do, now that it is known what lies there
 * @step: what was asked for; BC_STEP_BEGIN with BC_ANSWER_NONE: nothing yet
 * @answer: what the store said
 * @mine: whose upload it is
 * @base: what we thought lies there; set to what does, if that may be replaced
 * @found: what lies there
 * @restaged: how often we staged again, in vain
 */
struct bc_decision bc_decide_found(enum bc_step step, enum bc_answer answer,
				   const struct bc_mine *mine, struct bc_base *base,
				   const struct bc_found *found, unsigned int restaged)
{
	if (same_generation(found, mine->generation)) {
		if (found->meta.cut > mine->cut)
			return say(BC_VERDICT_SUPERSEDED, BC_TROUBLE_NONE);
		/* Of another size somebody else wrote it, and kept our metadata. */
		if (found->meta.cut == mine->cut)
			return say(found->object.size == mine->size ? BC_VERDICT_DONE :
				   BC_VERDICT_ASIDE, BC_TROUBLE_NONE);
		return is_base(base, found) ? as_expected(step, answer, restaged) :
					      go_on_from(step, base, found, restaged);
	}
	if (is_base(base, found))
		return as_expected(step, answer, restaged);
	/* Deleted: nothing is written over. What it had we have to stage ourselves. */
	if (!found->exists)
		return go_on_from(step, base, found, restaged);
	if (base->has_generation && same_generation(found, base->generation))
		return go_on_from(step, base, found, restaged);
	return say(BC_VERDICT_ASIDE, BC_TROUBLE_NONE);
}

/**
 * bc_verdict_name - a verdict as a word
 * @verdict: the verdict
 */
const char *bc_verdict_name(enum bc_verdict verdict)
{
	static const char *const names[BC_VERDICT_COUNT] = {
		[BC_VERDICT_GO]		= "go",
		[BC_VERDICT_DONE]	= "done",
		[BC_VERDICT_SUPERSEDED]	= "superseded",
		[BC_VERDICT_LOOK]	= "look",
		[BC_VERDICT_RESTAGE]	= "restage",
		[BC_VERDICT_ASIDE]	= "aside",
		[BC_VERDICT_WAIT]	= "wait",
		[BC_VERDICT_ALARM]	= "alarm",
	};

	return (unsigned int)verdict < BC_COUNT(names) ? names[verdict] : "?";
}

static const struct {
	const char *name;
	const char *advice;
} troubles[BC_TROUBLE_COUNT] = {
	[BC_TROUBLE_NONE] = {
		"none",
		"",
	},
	[BC_TROUBLE_NETWORK] = {
		"network",
		"it is tried again",
	},
	[BC_TROUBLE_BUSY] = {
		"busy",
		"it is tried again when the store said",
	},
	[BC_TROUBLE_DENIED] = {
		"denied",
		"renew the credentials, or grant them write access; the data is kept",
	},
	[BC_TROUBLE_LEASED] = {
		"leased",
		"break the lease on the blob, or wait until it ends",
	},
	[BC_TROUBLE_GONE] = {
		"gone",
		"create the container again; the data is kept",
	},
	[BC_TROUBLE_FOREIGN_BLOCKS] = {
		"foreign-blocks",
		"another program has staged blocks under this name: let it commit, or delete the blob; they go after 7 days",
	},
	[BC_TROUBLE_RIVAL] = {
		"rival",
		"another program writes to this name at the same time: stop one of them",
	},
	[BC_TROUBLE_DAMAGED] = {
		"damaged",
		"bytes arrive damaged: look for a proxy or a faulty network card",
	},
	[BC_TROUBLE_REFUSED] = {
		"refused",
		"see what the store says; the data is kept",
	},
	[BC_TROUBLE_SOURCE] = {
		"source",
		"see the kernel log for the device",
	},
};

/**
 * bc_trouble_name - a trouble as a word
 * @trouble: the trouble
 */
const char *bc_trouble_name(enum bc_trouble trouble)
{
	return (unsigned int)trouble < BC_COUNT(troubles) ? troubles[trouble].name : "?";
}

/**
 * bc_trouble_advice - what to do about a trouble
 * @trouble: the trouble
 */
const char *bc_trouble_advice(enum bc_trouble trouble)
{
	return (unsigned int)trouble < BC_COUNT(troubles) ? troubles[trouble].advice : "";
}
