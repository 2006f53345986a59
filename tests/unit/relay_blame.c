/* backend-relay/blame: three deaths by one event, wherever it was under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend-relay/projector/blame.h"

static struct blame blame;
static const struct id run = {"run"}, worker = {"w"}, other = {"v"};

static int setup(void **state)
{
	(void)state;
	blame = (struct blame){.count = 0};
	return 0;
}

static unsigned int add(uint64_t sequence, uint64_t now_ns)
{
	return blame_add(&blame, &run, &worker, &(struct cursor){1, 1, sequence}, now_ns);
}

static bool poisonous(const struct id *worker_id, uint64_t sequence, uint64_t now_ns)
{
	return blame_is_poisonous(
		&blame, &run, worker_id, &(struct cursor){1, 1, sequence}, now_ns);
}

static void third_death_makes_an_event_poisonous(void **state)
{
	(void)state;
	assert_int_equal(add(7, 1), 1);
	assert_int_equal(add(8, 2), 1);
	assert_int_equal(add(7, 3), 2);
	assert_false(poisonous(&worker, 7, 4));
	assert_int_equal(add(7, 5), DEATHS_MAX);
	assert_true(poisonous(&worker, 7, 6));
	assert_false(poisonous(&worker, 8, 6));
	assert_false(poisonous(&other, 7, 6));
	assert_int_equal(blame.count, 2);
}

static void blame_is_forgotten_after_a_while(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < DEATHS_MAX; i++)
		add(7, i);
	assert_true(poisonous(&worker, 7, BLAME_EXPIRES_NS));
	assert_false(poisonous(&worker, 7, 2 * BLAME_EXPIRES_NS));
	assert_int_equal(add(7, 2 * BLAME_EXPIRES_NS), 1);
}

static void oldest_makes_room(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < DEATHS_MAX; i++)
		add(1, 100 + i);
	for (uint64_t sequence = 2; sequence < 2 + BLAME_EVENTS_MAX; sequence++)
		add(sequence, 1000 + sequence);
	assert_int_equal(blame.count, BLAME_EVENTS_MAX);
	assert_false(poisonous(&worker, 1, 2000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(third_death_makes_an_event_poisonous, setup),
		cmocka_unit_test_setup(blame_is_forgotten_after_a_while, setup),
		cmocka_unit_test_setup(oldest_makes_room, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
