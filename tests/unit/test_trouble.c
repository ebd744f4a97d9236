/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sources: kmod/trouble.c */
/*
 * A unit of the clean table that fails is left alone ever longer, does not hide
 * others, and is like any other once it was written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "trouble.h"

#define NOW	5000000000ULL

static void test_waits_ever_longer(void **state)
{
	struct bc_troubles troubles = {};
	u64 now = NOW, pause;
	u32 i;

	(void)state;
	assert_false(bc_trouble_waits(&troubles, 7, now));
	for (i = 0, pause = BC_TROUBLE_MS; i < 40; i++) {
		assert_int_equal(bc_trouble_failed(&troubles, 7, now), i + 1);
		assert_true(bc_trouble_waits(&troubles, 7, now + pause - 1));
		assert_false(bc_trouble_waits(&troubles, 7, now + pause));
		now += pause;
		pause = min_t(u64, 2 * pause, BC_TROUBLE_MAX_MS);
	}
	assert_int_equal(troubles.count, 1);
}

static void test_others_do_not_wait(void **state)
{
	struct bc_troubles troubles = {};

	(void)state;
	bc_trouble_failed(&troubles, 7, NOW);
	assert_false(bc_trouble_waits(&troubles, 6, NOW));
	assert_int_equal(bc_trouble_failed(&troubles, 6, NOW), 1);
	assert_int_equal(bc_trouble_failed(&troubles, 7, NOW), 2);
}

static void test_over(void **state)
{
	struct bc_troubles troubles = {};
	u64 unit;

	(void)state;
	for (unit = 1; unit <= 3; unit++)
		bc_trouble_failed(&troubles, unit, NOW);
	bc_trouble_over(&troubles, 99);
	bc_trouble_over(&troubles, 1);
	assert_false(bc_trouble_waits(&troubles, 1, NOW));
	assert_true(bc_trouble_waits(&troubles, 2, NOW));
	assert_true(bc_trouble_waits(&troubles, 3, NOW));
	assert_int_equal(bc_trouble_failed(&troubles, 1, NOW), 1);
	for (unit = 1; unit <= 3; unit++)
		bc_trouble_over(&troubles, unit);
	assert_int_equal(troubles.count, 0);
}

static void test_full(void **state)
{
	struct bc_troubles troubles = {};
	u64 unit;

	(void)state;
	for (unit = 0; unit < BC_TROUBLES; unit++)
		assert_int_equal(bc_trouble_failed(&troubles, unit, NOW), 1);
	/* One more is not remembered, nor does it take the place of another. */
	assert_int_equal(bc_trouble_failed(&troubles, unit, NOW), 1);
	assert_int_equal(bc_trouble_failed(&troubles, unit, NOW), 1);
	assert_false(bc_trouble_waits(&troubles, unit, NOW));
	assert_true(bc_trouble_waits(&troubles, 0, NOW));
	bc_trouble_over(&troubles, unit);
	assert_int_equal(troubles.count, BC_TROUBLES);
	bc_trouble_over(&troubles, 3);
	assert_int_equal(bc_trouble_failed(&troubles, unit, NOW), 1);
	assert_true(bc_trouble_waits(&troubles, unit, NOW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_ever_longer),
		cmocka_unit_test(test_others_do_not_wait),
		cmocka_unit_test(test_over),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests_name("trouble", tests, NULL, NULL);
}
