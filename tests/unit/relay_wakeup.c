/* backend-relay/wakeup: once, from the loop, and never after it was cancelled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend-relay/wakeup.h"

static uv_loop_t loop;
static struct wakeups wakeups;
static struct wakeup a, b, c;
static unsigned int runs;
static struct wakeup *cancels; /* what `a` cancels when it runs */
static bool again;

static void count(struct wakeup *wakeup)
{
	runs++;
	if (wakeup == &a && cancels != NULL)
		wakeup_cancel(cancels);
	if (wakeup == &a && again)
		wakeup_schedule(&a);
}

static int setup(void **state)
{
	(void)state;
	runs = 0;
	cancels = NULL;
	again = false;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(wakeups_open(&wakeups, &loop), 0);
	wakeup_init(&a, &wakeups, count, NULL);
	wakeup_init(&b, &wakeups, count, NULL);
	wakeup_init(&c, &wakeups, count, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	wakeups_close(&wakeups);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

static void many_schedules_are_one_run(void **state)
{
	(void)state;
	for (int i = 0; i < 10; i++)
		wakeup_schedule(&a);
	wakeup_schedule(&b);
	assert_int_equal(runs, 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(runs, 2);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(runs, 2);
}

static void cancelled_ones_do_not_run_wherever_they_stand(void **state)
{
	(void)state;
	struct wakeup *const all[] = {&a, &b, &c};
	for (size_t i = 0; i < 3; i++) {
		runs = 0;
		for (size_t j = 0; j < 3; j++)
			wakeup_schedule(all[j]);
		wakeup_cancel(all[i]);
		wakeup_cancel(all[i]);
		uv_run(&loop, UV_RUN_NOWAIT);
		assert_int_equal(runs, 2);
	}
}

static void one_may_cancel_another_while_they_run(void **state)
{
	(void)state;
	struct wakeup *const victims[] = {&b, &c};
	for (size_t i = 0; i < 2; i++) {
		runs = 0;
		cancels = victims[i];
		wakeup_schedule(&a);
		wakeup_schedule(&b);
		wakeup_schedule(&c);
		uv_run(&loop, UV_RUN_NOWAIT);
		assert_int_equal(runs, 2);
		wakeup_schedule(victims[i]);
		uv_run(&loop, UV_RUN_NOWAIT);
		assert_int_equal(runs, 3);
	}
}

static void one_that_schedules_itself_lets_the_loop_go_on(void **state)
{
	(void)state;
	again = true;
	wakeup_schedule(&a);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(runs, 1);
	cancels = &a;
	again = false;
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(runs, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(many_schedules_are_one_run),
		TEST(cancelled_ones_do_not_run_wherever_they_stand),
		TEST(one_may_cancel_another_while_they_run),
		TEST(one_that_schedules_itself_lets_the_loop_go_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
