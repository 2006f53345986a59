/* backend-relay/open_state: never a later place than what the state depends on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend-relay/projector/open_state.h"

static struct open_state state;

static int setup(void **unused)
{
	(void)unused;
	state = (struct open_state){0};
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	open_state_free(&state);
	return 0;
}

/* Ticket n begins behind sequence 10 * n. */
static int update(uint64_t ticket, uint64_t since)
{
	return open_state_update(&state, ticket, &(struct cursor){1, 1, 10 * ticket}, since);
}

static void block_reaches_back_to_its_first_ticket(void **unused)
{
	(void)unused;
	assert_int_equal(update(5, 5), OPEN_STATE_OK);
	assert_int_equal(update(6, 5), OPEN_STATE_OK);
	assert_int_equal(update(9, 5), OPEN_STATE_OK);
	assert_true(state.is_open);
	assert_int_equal(state.from.sequence, 50);
	open_state_close(&state);
	assert_false(state.is_open);
	assert_int_equal(update(12, 12), OPEN_STATE_OK);
	assert_int_equal(state.from.sequence, 120);
}

static void second_block_outlives_the_first(void **unused)
{
	(void)unused;
	for (uint64_t ticket = 5; ticket < 9; ticket++)
		assert_int_equal(update(ticket, 5), OPEN_STATE_OK);
	assert_int_equal(update(9, 7), OPEN_STATE_OK);
	assert_int_equal(state.from.sequence, 70);
}

static void ticket_that_was_not_seen_gives_the_one_before_it(void **unused)
{
	(void)unused;
	assert_int_equal(update(5, 5), OPEN_STATE_OK);
	assert_int_equal(update(8, 5), OPEN_STATE_OK);
	assert_int_equal(update(9, 7), OPEN_STATE_OK);
	assert_int_equal(state.from.sequence, 50);
}

static void ticket_in_the_future_is_impossible(void **unused)
{
	(void)unused;
	assert_int_equal(update(5, 6), OPEN_STATE_IMPOSSIBLE);
	assert_false(state.is_open);
}

static void long_block_is_remembered_coarsely_and_never_too_late(void **unused)
{
	(void)unused;
	enum { FIRST = 100, LAST = FIRST + 10 * OPEN_STATE_MARKS_MAX };
	for (uint64_t ticket = FIRST; ticket < LAST; ticket++)
		assert_int_equal(update(ticket, FIRST), OPEN_STATE_OK);
	assert_true(state.count <= OPEN_STATE_MARKS_MAX);
	assert_int_equal(state.from.sequence, 10 * FIRST);
	for (uint64_t since = FIRST; since < LAST; since += 97) {
		assert_int_equal(update(LAST + since, since), OPEN_STATE_OK);
		assert_true(state.from.sequence <= 10 * since);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(block_reaches_back_to_its_first_ticket),
		TEST(second_block_outlives_the_first),
		TEST(ticket_that_was_not_seen_gives_the_one_before_it),
		TEST(ticket_in_the_future_is_impossible),
		TEST(long_block_is_remembered_coarsely_and_never_too_late),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
