/* eventlogd/log: the next segment in the making, and that nothing waits for its zeros. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/spare.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "tests/lib/fault_ops.h"
#include "tests/lib/log_fixture.h"

#define SEGMENT_BYTES (UINT64_C(1) << 20)
#define SMALL_SYNC_BYTES 4096u
#define LARGE_SYNC_BYTES (UINT64_C(1) << 17)

struct spare_fixture {
	struct log_fixture log;
	struct fault_ops faults;
	struct spare_config config;
	struct spare spare;
};

static int setup(void **state)
{
	struct spare_fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	fault_ops_init(&f->faults);
	log_fixture_init(&f->log);
	f->log.config.ops = &f->faults.ops;
	f->log.config.durability = DURABILITY_DURABLE;
	f->config = (struct spare_config){.ops = &f->faults.ops,
		.directory_fd = open(f->log.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.segment_bytes = SEGMENT_BYTES,
		.has_zeros = true};
	assert_true(f->config.directory_fd >= 0);
	spare_begin(&f->spare, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct spare_fixture *f = *state;
	fault_ops_clear(&f->faults);
	fd_close(f->spare.fd);
	fd_close(f->config.directory_fd);
	log_fixture_free(&f->log);
	fault_ops_free(&f->faults);
	free(f);
	return 0;
}

static bool is_finished(const struct spare_fixture *f, uint64_t now_ns)
{
	return spare_is_finished(&f->spare, &f->config, now_ns);
}

static bool is_due(const struct spare_fixture *f)
{
	return spare_step_is_due(&f->spare, &f->config);
}

static void step(struct spare_fixture *f)
{
	assert_int_equal(spare_step(&f->spare, &f->config, 0), 0);
}

static void a_spare_without_zeros_is_finished_once_it_is_there(void **state)
{
	struct spare_fixture *f = *state;
	struct stat st;
	f->config.has_zeros = false;
	assert_false(is_finished(f, 0));
	assert_true(is_due(f));
	step(f);
	assert_true(is_finished(f, 0));
	assert_int_equal(fstat(f->spare.fd, &st), 0);
	assert_int_equal(st.st_size, SEGMENT_BYTES);
	assert_true(st.st_blocks * 512 >= (blkcnt_t)SEGMENT_BYTES);
}

static void zeros_keep_pace_with_small_syncs(void **state)
{
	struct spare_fixture *f = *state;
	step(f);
	uint64_t synced = 0;
	while (!is_finished(f, 0)) {
		while (is_due(f) && !is_finished(f, 0))
			step(f);
		/* No more than twice what was synced, and never far behind that. */
		assert_true(f->spare.zeroed_bytes <= 2 * synced);
		assert_true(f->spare.zeroed_bytes + SEGMENT_BYTES / 4 >= 2 * synced);
		spare_earn(&f->spare, SMALL_SYNC_BYTES);
		synced += SMALL_SYNC_BYTES;
	}
	assert_true(synced <= SEGMENT_BYTES / 2 + SMALL_SYNC_BYTES);
	assert_int_equal(f->spare.zeroed_bytes, SEGMENT_BYTES);
	assert_int_equal(fault_ops_calls(&f->faults, FAULT_FDATASYNC), 1);
}

static void large_syncs_are_not_kept_waiting_for_zeros(void **state)
{
	struct spare_fixture *f = *state;
	step(f);
	for (uint64_t synced = 0; synced < SEGMENT_BYTES; synced += LARGE_SYNC_BYTES) {
		spare_earn(&f->spare, LARGE_SYNC_BYTES);
		assert_false(is_due(f));
	}
}

static void what_is_waited_for_is_finished_in_time(void **state)
{
	struct spare_fixture *f = *state;
	step(f);
	f->config.segment_bytes = 8 * SEGMENT_BYTES;
	assert_false(is_due(f));
	for (int i = 0; i < 8; i++)
		spare_earn(&f->spare, LARGE_SYNC_BYTES / 8);
	assert_true(is_due(f));
	step(f);
	assert_false(is_due(f));
	f->spare.is_urgent = true;
	assert_true(is_due(f));
	assert_false(is_finished(f, NS_PER_MS));
	/* What it has is synced first. */
	assert_false(is_finished(f, NS_PER_S));
	assert_int_equal(spare_step(&f->spare, &f->config, NS_PER_S), 0);
	assert_int_equal(fault_ops_calls(&f->faults, FAULT_FDATASYNC), 1);
	assert_true(is_finished(f, NS_PER_S));
}

static void a_failed_step_leaves_no_file(void **state)
{
	struct spare_fixture *f = *state;
	static const enum fault_op ops[] = {FAULT_FALLOCATE, FAULT_FSYNC};
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		fault_ops_set(&f->faults, ops[i], -ENOSPC, 0, false);
		assert_int_equal(spare_step(&f->spare, &f->config, 0), -ENOSPC);
		assert_int_equal(f->spare.fd, -1);
		assert_int_equal(
			faccessat(f->config.directory_fd, SEGMENT_SPARE_NAME, F_OK, 0), -1);
	}
	step(f);
	f->spare.is_urgent = true;
	fault_ops_set(&f->faults, FAULT_FDATASYNC, -EIO, 0, false);
	assert_int_equal(spare_step(&f->spare, &f->config, 0), -EIO);
	assert_int_equal(f->spare.fd, -1);
	assert_int_equal(faccessat(f->config.directory_fd, SEGMENT_SPARE_NAME, F_OK, 0), -1);
}

static void a_log_rolls_with_a_spare_that_has_earned_no_zeros(void **state)
{
	struct spare_fixture *f = *state;
	uint8_t payload[12 * 1024];
	memset(payload, 'x', sizeof(payload));
	memcpy(payload, "{\"x\":\"", 6);
	memcpy(payload + sizeof(payload) - 2, "\"}", 2);
	/* More than a sync that zeros pay for, and each fills a segment. */
	struct event_log_event event = {.payload = payload, .payload_len = sizeof(payload)};
	struct event_log_event events[] = {event, event, event};
	struct event_log_batch batch = {
		.worker = "w", .worker_len = 1, .events = events, .event_count = 3};
	struct event_log_status status = {0};
	log_fixture_open(&f->log);
	while (status.rolls < 4) {
		assert_int_equal(log_fixture_append_batch(&f->log, &batch), EVENT_LOG_OK);
		event_log_status(f->log.log, &status);
	}
}

static void a_quiet_log_that_is_too_old_is_sealed_all_the_same(void **state)
{
	struct spare_fixture *f = *state;
	struct event_log_status status = {0};
	f->log.config.retention.age_ns = 60 * NS_PER_S;
	log_fixture_open(&f->log);
	assert_int_equal(log_fixture_append(&f->log, "w", "{\"n\":1}"), EVENT_LOG_OK);
	assert_int_equal(log_fixture_settle(&f->log), EVENT_LOG_OK);
	event_log_status(f->log.log, &status);
	for (unsigned int before = (unsigned int)status.rolls; status.rolls == before;) {
		log_fixture_tick(&f->log, 30 * NS_PER_S);
		event_log_status(f->log.log, &status);
	}
}

int main(void)
{
#define SPARE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		SPARE_TEST(a_spare_without_zeros_is_finished_once_it_is_there),
		SPARE_TEST(zeros_keep_pace_with_small_syncs),
		SPARE_TEST(large_syncs_are_not_kept_waiting_for_zeros),
		SPARE_TEST(what_is_waited_for_is_finished_in_time),
		SPARE_TEST(a_failed_step_leaves_no_file),
		SPARE_TEST(a_log_rolls_with_a_spare_that_has_earned_no_zeros),
		SPARE_TEST(a_quiet_log_that_is_too_old_is_sealed_all_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
