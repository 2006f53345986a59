/* backend-relay/outage: one outage is one, however often it seems to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend-relay/outage.h"

enum { START = 1000 };

#define LIMIT_NS (60 * NS_PER_S)

static void a_failure_is_told_once(void **state)
{
	(void)state;
	struct outage outage = {0};
	assert_true(outage_note_failure(&outage, START));
	assert_false(outage_note_failure(&outage, START + 1));
}

static void what_comes_back_only_to_break_is_one_outage_and_is_given_up(void **state)
{
	(void)state;
	struct outage outage = {0};
	uint64_t now_ns = START;
	assert_true(outage_note_failure(&outage, now_ns));
	while (!outage_is_too_long(&outage, LIMIT_NS, now_ns)) {
		outage_note_better(&outage, now_ns + 1);
		now_ns += NS_PER_S;
		assert_false(outage_note_failure(&outage, now_ns));
	}
	assert_in_range(now_ns, START + LIMIT_NS, START + LIMIT_NS + NS_PER_S);
}

static void progress_ends_it_when_nothing_fails_any_more(void **state)
{
	(void)state;
	struct outage outage = {0};
	assert_true(outage_note_failure(&outage, START));
	outage_note_progress(&outage); /* what was on its way before */
	assert_false(outage_note_failure(&outage, START + 1));
	outage_note_better(&outage, START + 2);
	assert_true(outage_note_failure(&outage, START + 2));
	outage_note_better(&outage, START + 2);
	outage_note_progress(&outage);
	assert_true(outage_note_failure(&outage, START + 3));
	assert_false(outage_is_too_long(&outage, LIMIT_NS, START + LIMIT_NS + 3));
	assert_true(outage_is_too_long(&outage, LIMIT_NS, START + LIMIT_NS + 4));
}

static void time_without_a_failure_ends_it(void **state)
{
	(void)state;
	struct outage outage = {0};
	assert_true(outage_note_failure(&outage, START));
	outage_note_better(&outage, START + 1);
	outage_note_better(&outage, START + NS_PER_S); /* the first one counts */
	assert_true(outage_note_failure(&outage, START + 1 + OUTAGE_OVER_NS));
	outage_note_better(&outage, START + 2 * OUTAGE_OVER_NS);
	assert_false(outage_note_failure(&outage, START + 3 * OUTAGE_OVER_NS - 1));
}

static void it_is_not_given_up_while_nothing_fails(void **state)
{
	(void)state;
	struct outage outage = {0};
	assert_false(outage_is_too_long(&outage, LIMIT_NS, START + LIMIT_NS + 1));
	assert_true(outage_note_failure(&outage, START));
	outage_note_better(&outage, START + LIMIT_NS);
	assert_false(outage_is_too_long(&outage, LIMIT_NS, START + LIMIT_NS + 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_is_told_once),
		cmocka_unit_test(what_comes_back_only_to_break_is_one_outage_and_is_given_up),
		cmocka_unit_test(progress_ends_it_when_nothing_fails_any_more),
		cmocka_unit_test(time_without_a_failure_ends_it),
		cmocka_unit_test(it_is_not_given_up_while_nothing_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
