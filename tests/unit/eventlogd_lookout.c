/* eventlogd/lookout: the loop stays awake for publishers that answer at once, and not for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "eventlogd/lookout.h"
#include "proto/base/clock.h"

struct fixture {
	uv_loop_t loop;
	struct lookout lookout;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){0};
	assert_int_equal(uv_loop_init(&f.loop), 0);
	lookout_init(&f.lookout, &f.loop);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	lookout_close(&f->lookout);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	return 0;
}

static bool looks_out(const struct fixture *f)
{
	return uv_is_active((const uv_handle_t *)&f->lookout.idle);
}

static void batch_right_behind_an_ack_is_looked_out_for(void **state)
{
	struct fixture *f = *state;
	uint64_t now_ns = clock_monotonic_ns();
	lookout_note(&f->lookout, false, now_ns); /* the first comes behind no ACK */
	assert_false(looks_out(f));
	lookout_note(&f->lookout, true, now_ns + 1000);
	lookout_note(&f->lookout, false, now_ns + LOOKOUT_SOON_NS / 2);
	assert_true(looks_out(f));
	lookout_note(&f->lookout, true, now_ns + LOOKOUT_SOON_NS);
	assert_false(looks_out(f));
}

static void publisher_that_takes_its_time_costs_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t now_ns = clock_monotonic_ns();
	lookout_note(&f->lookout, true, now_ns);
	lookout_note(&f->lookout, true, now_ns + LOOKOUT_SOON_NS); /* a turn in between */
	lookout_note(&f->lookout, false, now_ns + LOOKOUT_SOON_NS + 1000);
	assert_false(looks_out(f));
	/* Another batch while that one waits is behind no ACK either. */
	lookout_note(&f->lookout, false, now_ns + LOOKOUT_SOON_NS + 2000);
	assert_false(looks_out(f));
}

static void slow_disk_is_not_waited_for_awake(void **state)
{
	struct fixture *f = *state;
	uint64_t now_ns = clock_monotonic_ns();
	lookout_note(&f->lookout, true, now_ns);
	lookout_note(&f->lookout, false, now_ns + 1000);
	assert_true(looks_out(f));
	while (looks_out(f)) /* its end comes by itself */
		uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_true(clock_monotonic_ns() >= now_ns + LOOKOUT_NS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(batch_right_behind_an_ack_is_looked_out_for),
		TEST(publisher_that_takes_its_time_costs_nothing),
		TEST(slow_disk_is_not_waited_for_awake),
	};
	return cmocka_run_group_tests_name("eventlogd_lookout", tests, NULL, NULL);
}
