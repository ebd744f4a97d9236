/* sources: daemon/upload/decide.c daemon/store/meta.c */
// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an upload does about each answer: never writes over what is not ours, never
 * commits twice what is there, never drops what it has. Line by line the table of
 * docs/failure.md.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "upload/decide.h"
#include "util.h"

#define CUT	10U
#define SIZE	1000U

static void test_answers(void **state)
{
	static const struct {
		enum bc_answer answer;
		enum bc_verdict staging, committing;
		enum bc_trouble trouble;
	} cases[] = {
		{ BC_ANSWER_DONE, BC_VERDICT_GO, BC_VERDICT_DONE, BC_TROUBLE_NONE },
		{ BC_ANSWER_NONE, BC_VERDICT_WAIT, BC_VERDICT_LOOK, BC_TROUBLE_NETWORK },
		{ BC_ANSWER_CONDITION, BC_VERDICT_LOOK, BC_VERDICT_LOOK, BC_TROUBLE_RIVAL },
		{ BC_ANSWER_BLOCK_LIST, BC_VERDICT_LOOK, BC_VERDICT_LOOK, BC_TROUBLE_RIVAL },
		{ BC_ANSWER_BLOCK_ID, BC_VERDICT_ALARM, BC_VERDICT_ALARM, BC_TROUBLE_FOREIGN_BLOCKS },
		{ BC_ANSWER_CHECKSUM, BC_VERDICT_WAIT, BC_VERDICT_WAIT, BC_TROUBLE_DAMAGED },
		{ BC_ANSWER_LEASED, BC_VERDICT_ALARM, BC_VERDICT_ALARM, BC_TROUBLE_LEASED },
		{ BC_ANSWER_GONE, BC_VERDICT_ALARM, BC_VERDICT_LOOK, BC_TROUBLE_GONE },
		{ BC_ANSWER_NO_CONTAINER, BC_VERDICT_ALARM, BC_VERDICT_ALARM, BC_TROUBLE_GONE },
		{ BC_ANSWER_DENIED, BC_VERDICT_ALARM, BC_VERDICT_ALARM, BC_TROUBLE_DENIED },
		{ BC_ANSWER_BUSY, BC_VERDICT_WAIT, BC_VERDICT_WAIT, BC_TROUBLE_BUSY },
		{ BC_ANSWER_REFUSED, BC_VERDICT_LOOK, BC_VERDICT_LOOK, BC_TROUBLE_REFUSED },
	};
	size_t i;

	(void)state;
	assert_int_equal(BC_COUNT(cases), BC_ANSWER_COUNT);
	for (i = 0; i < BC_COUNT(cases); i++) {
		struct bc_decision stage = bc_decide(BC_STEP_STAGE, cases[i].answer);
		struct bc_decision commit = bc_decide(BC_STEP_COMMIT, cases[i].answer);

		assert_int_equal(stage.verdict, cases[i].staging);
		assert_int_equal(commit.verdict, cases[i].committing);
		assert_int_equal(stage.trouble, cases[i].trouble);
		assert_int_equal(commit.trouble, cases[i].trouble);
	}
}

/* What may lie there. */
enum lies {
	NOTHING,
	BASE,			/* the version we began with */
	OTHER,			/* a version of nobody that we know */
	OTHER_OURS,		/* of another generation of this product */
	MINE,			/* of our generation and cut */
	MINE_OTHER_SIZE,
	OLDER,			/* our generation, a lower cut, not the base */
	OLDER_BASE,		/* and the base */
	NEWER,
	REPLACED,		/* the generation that ours was renamed over */
	LIES_COUNT
};

static struct bc_found find(enum lies lies)
{
	struct bc_found found = {
		.exists = lies != NOTHING,
		.object = { .size = SIZE, .etag = "other" },
		.meta = { .has_generation = true, .has_cut = true, .cut = CUT },
	};

	memset(found.meta.generation, 'm', BC_GENERATION_SIZE);
	switch (lies) {
	case NOTHING:
		found.object.etag[0] = 0;
		/* fall through */
	case BASE:
	case OTHER:
		memset(&found.meta, 0, sizeof(found.meta));
		break;
	case OTHER_OURS:
		found.meta.generation[15] = 'x';
		break;
	case MINE_OTHER_SIZE:
		found.object.size++;
		break;
	case OLDER:
	case OLDER_BASE:
		found.meta.cut = CUT - 1;
		break;
	case NEWER:
		found.meta.cut = CUT + 1;
		break;
	case REPLACED:
		memset(found.meta.generation, 'r', BC_GENERATION_SIZE);
		found.meta.cut = 99;
		break;
	default:
		break;
	}
	if (lies == BASE || lies == OLDER_BASE)
		strcpy(found.object.etag, "base");
	return found;
}

struct found_case {
	enum lies lies;
	enum bc_verdict at_begin, lost, condition, list, refused;
};

#define GO		BC_VERDICT_GO
#define DONE		BC_VERDICT_DONE
#define ASIDE		BC_VERDICT_ASIDE
#define WAIT		BC_VERDICT_WAIT
#define ALARM		BC_VERDICT_ALARM
#define RESTAGE		BC_VERDICT_RESTAGE
#define SUPERSEDED	BC_VERDICT_SUPERSEDED

/* There was to be none of that name. */
static const struct found_case with_none[] = {
	{ NOTHING, GO, GO, WAIT, RESTAGE, ALARM },
	{ OTHER, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE },
	{ OTHER_OURS, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE },
	{ MINE, DONE, DONE, DONE, DONE, DONE },
	{ MINE_OTHER_SIZE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE },
	{ OLDER, GO, RESTAGE, RESTAGE, RESTAGE, RESTAGE },
	{ NEWER, SUPERSEDED, SUPERSEDED, SUPERSEDED, SUPERSEDED, SUPERSEDED },
	{ REPLACED, GO, RESTAGE, RESTAGE, RESTAGE, RESTAGE },
};

/* Version "base" was to be there. */
static const struct found_case with_match[] = {
	{ NOTHING, GO, RESTAGE, RESTAGE, RESTAGE, RESTAGE },
	{ BASE, GO, GO, WAIT, RESTAGE, ALARM },
	{ OTHER, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE },
	{ OTHER_OURS, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE },
	{ MINE, DONE, DONE, DONE, DONE, DONE },
	{ MINE_OTHER_SIZE, ASIDE, ASIDE, ASIDE, ASIDE, ASIDE },
	{ OLDER, GO, RESTAGE, RESTAGE, RESTAGE, RESTAGE },
	{ OLDER_BASE, GO, GO, WAIT, RESTAGE, ALARM },
	{ NEWER, SUPERSEDED, SUPERSEDED, SUPERSEDED, SUPERSEDED, SUPERSEDED },
	{ REPLACED, GO, RESTAGE, RESTAGE, RESTAGE, RESTAGE },
};

static void check_one(const struct found_case *c, enum bc_condition condition, enum bc_step step,
		      enum bc_answer answer, enum bc_verdict expected)
{
	struct bc_mine mine = { .cut = CUT, .size = SIZE };
	struct bc_base base = { .condition = condition, .has_generation = true };
	struct bc_found found = find(c->lies);
	struct bc_decision decision;

	memset(mine.generation, 'm', BC_GENERATION_SIZE);
	memset(base.generation, 'r', BC_GENERATION_SIZE);
	if (condition == BC_IF_MATCH)
		strcpy(base.etag, "base");
	decision = bc_decide_found(step, answer, &mine, &base, &found, 0);
	if (decision.verdict != expected)
		fail_msg("condition %d, lies %d, step %d, answer %d: %s", condition, c->lies, step,
			 answer, bc_verdict_name(decision.verdict));
	/* Where it goes on, it does so on condition of what was seen, never of less. */
	if (expected == GO || expected == RESTAGE) {
		assert_int_equal(base.condition, found.exists ? BC_IF_MATCH : BC_IF_NONE);
		assert_string_equal(base.etag, found.object.etag);
	}
}

static void test_found(void **state)
{
	const struct found_case *tables[] = { with_none, with_match };
	size_t counts[] = { BC_COUNT(with_none), BC_COUNT(with_match) }, i, t;

	(void)state;
	for (t = 0; t < 2; t++) {
		enum bc_condition condition = t ? BC_IF_MATCH : BC_IF_NONE;

		for (i = 0; i < counts[t]; i++) {
			const struct found_case *c = &tables[t][i];

			check_one(c, condition, BC_STEP_BEGIN, BC_ANSWER_NONE, c->at_begin);
			check_one(c, condition, BC_STEP_COMMIT, BC_ANSWER_NONE, c->lost);
			check_one(c, condition, BC_STEP_COMMIT, BC_ANSWER_CONDITION, c->condition);
			check_one(c, condition, BC_STEP_COMMIT, BC_ANSWER_BLOCK_LIST, c->list);
			check_one(c, condition, BC_STEP_COMMIT, BC_ANSWER_REFUSED, c->refused);
			check_one(c, condition, BC_STEP_STAGE, BC_ANSWER_REFUSED, c->refused);
		}
	}
}

/* A file that ours was not renamed over is nobody's that we know. */
static void test_no_base_generation(void **state)
{
	struct bc_mine mine = { .cut = CUT, .size = SIZE };
	struct bc_base base = { .condition = BC_IF_NONE };
	struct bc_found found = find(REPLACED);

	(void)state;
	memset(mine.generation, 'm', BC_GENERATION_SIZE);
	memset(base.generation, 'r', BC_GENERATION_SIZE);
	assert_int_equal(bc_decide_found(BC_STEP_COMMIT, BC_ANSWER_CONDITION, &mine, &base, &found,
					 0).verdict, ASIDE);
	assert_int_equal(base.condition, BC_IF_NONE);
}

/* Metadata that do not make sense make nothing ours, equal generation or not. */
static void test_bad_meta(void **state)
{
	struct bc_mine mine = { .cut = CUT, .size = SIZE };
	struct bc_base base = { .condition = BC_IF_NONE };
	struct bc_found found = find(MINE);

	(void)state;
	memset(mine.generation, 'm', BC_GENERATION_SIZE);
	found.meta.bad = true;
	assert_int_equal(bc_decide_found(BC_STEP_COMMIT, BC_ANSWER_NONE, &mine, &base, &found,
					 0).verdict, ASIDE);
}

/* Staging again has an end; the data are kept, and somebody is told. */
static void test_bounded(void **state)
{
	static const enum lies lies[] = { NOTHING, OLDER };
	struct bc_mine mine = { .cut = CUT, .size = SIZE };
	size_t i;

	(void)state;
	memset(mine.generation, 'm', BC_GENERATION_SIZE);
	for (i = 0; i < BC_COUNT(lies); i++) {
		struct bc_found found = find(lies[i]);
		struct bc_base base = { .condition = BC_IF_NONE };
		struct bc_decision decision;

		decision = bc_decide_found(BC_STEP_COMMIT, BC_ANSWER_BLOCK_LIST, &mine, &base,
					   &found, BC_RESTAGE_MAX - 1);
		assert_int_equal(decision.verdict, RESTAGE);
		base = (struct bc_base){ .condition = BC_IF_NONE };
		decision = bc_decide_found(BC_STEP_COMMIT, BC_ANSWER_BLOCK_LIST, &mine, &base,
					   &found, BC_RESTAGE_MAX);
		assert_int_equal(decision.verdict, ALARM);
		assert_int_equal(decision.trouble, BC_TROUBLE_RIVAL);
	}
}

static void test_names(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < BC_VERDICT_COUNT; i++)
		assert_string_not_equal(bc_verdict_name(i), "?");
	for (i = BC_TROUBLE_NONE + 1; i < BC_TROUBLE_COUNT; i++) {
		assert_string_not_equal(bc_trouble_name(i), "?");
		assert_true(*bc_trouble_advice(i));
	}
	assert_string_equal(bc_verdict_name(BC_VERDICT_COUNT), "?");
	assert_string_equal(bc_trouble_name(BC_TROUBLE_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_no_base_generation),
		cmocka_unit_test(test_bad_meta),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
