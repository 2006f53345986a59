/* eventlogd/log: full disks, short writes, failed syncs; and every operation failing everyhow. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/verify.h"
#include "proto/base/attributes.h"
#include "proto/base/clock.h"
#include "tests/lib/fault_ops.h"
#include "tests/lib/log_fixture.h"

enum { TEXT_BYTES = 4096 };

struct fault_fixture {
	struct log_fixture log;
	struct fault_ops faults;
};

static int setup(void **state)
{
	struct fault_fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	fault_ops_init(&f->faults);
	log_fixture_init(&f->log);
	f->log.config.ops = &f->faults.ops;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fault_fixture *f = *state;
	fault_ops_clear(&f->faults);
	fault_ops_release_syncs(&f->faults); /* of a test that failed meanwhile */
	log_fixture_free(&f->log);
	fault_ops_free(&f->faults);
	free(f);
	return 0;
}

/* Appends until the log has rolled so many times or says something else than OK. */
static int fill(struct log_fixture *f, unsigned int rolls, uint64_t *count)
{
	char payload[1024];
	struct event_log_status status;
	snprintf(payload, sizeof(payload), "{\"fill\":\"%0700d\"}", 0);
	for (;;) {
		event_log_status(f->log, &status);
		if (status.rolls > rolls)
			return EVENT_LOG_OK;
		int r = log_fixture_append(f, "w", payload);
		if (r != EVENT_LOG_OK)
			return r;
		(*count)++;
	}
}

static void expect_from(struct log_fixture *f, uint64_t first, uint64_t last)
{
	char text[TEXT_BYTES], expected[64];
	log_fixture_read_all(event_log_view(f->log), NULL, text, sizeof(text));
	snprintf(expected, sizeof(expected), first == last ? "%llu" : "%llu-%llu",
		(unsigned long long)first, (unsigned long long)last);
	if (last < first)
		expected[0] = '\0';
	assert_string_equal(text, expected);
}

static void expect(struct log_fixture *f, uint64_t count)
{
	expect_from(f, 1, count);
}

/* Ticks until appending works again, as the disk has room. */
static void append_once_there_is_room(struct log_fixture *f)
{
	for (int i = 0; i < 100; i++) {
		log_fixture_tick(f, 2 * NS_PER_S);
		int r = log_fixture_append(f, "w", "{}");
		if (r == EVENT_LOG_OK)
			return;
		assert_int_equal(r, EVENT_LOG_NO_SPACE);
		struct event_log_status status;
		event_log_status(f->log, &status);
		if (!status.has_no_space)
			continue;
		/* Something is on its way: the tick asked the sync thread for it. */
		log_fixture_wait(f);
	}
	fail_msg("no room after 100 ticks");
}

static void a_full_disk_stops_writing_and_not_reading(void **state)
{
	struct fault_fixture *f = *state;
	uint64_t count = 0;
	log_fixture_open(&f->log);
	assert_int_equal(fill(&f->log, 1, &count), EVENT_LOG_OK);
	fault_ops_set(&f->faults, FAULT_FALLOCATE, -ENOSPC, 0, true);
	assert_int_equal(fill(&f->log, 100, &count), EVENT_LOG_NO_SPACE);
	expect(&f->log, count);
	assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_NO_SPACE);
	fault_ops_clear(&f->faults);
	append_once_there_is_room(&f->log);
	expect(&f->log, count + 1);
	assert_int_equal(fill(&f->log, 6, &count), EVENT_LOG_OK);
	expect(&f->log, count + 1);
}

static void a_disk_full_at_the_start_serves_reads(void **state)
{
	struct fault_fixture *f = *state;
	uint64_t count = 0;
	log_fixture_open(&f->log);
	assert_int_equal(fill(&f->log, 2, &count), EVENT_LOG_OK);
	assert_int_equal(log_fixture_close(&f->log), 0);
	fault_ops_set(&f->faults, FAULT_FALLOCATE, -ENOSPC, 0, true);
	log_fixture_open(&f->log);
	expect(&f->log, count);
	assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_NO_SPACE);
	fault_ops_clear(&f->faults);
	append_once_there_is_room(&f->log);
	expect(&f->log, count + 1);
}

static void room_for_one_segment_is_not_enough_to_resume(void **state)
{
	struct fault_fixture *f = *state;
	log_fixture_open(&f->log);
	f->faults.free_bytes = SEGMENT_BYTES_MIN;
	fault_ops_set(&f->faults, FAULT_PWRITEV, -EDQUOT, 0, false);
	assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_NO_SPACE);
	for (int i = 0; i < 5; i++) {
		log_fixture_tick(&f->log, 2 * NS_PER_S);
		assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_NO_SPACE);
	}
	f->faults.free_bytes = UINT64_MAX;
	append_once_there_is_room(&f->log);
	expect(&f->log, 1);
}

static void an_epoch_is_not_given_twice_when_recovery_ends_on_a_full_disk(void **state)
{
	struct fault_fixture *f = *state;
	log_fixture_open(&f->log);
	assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_OK);
	log_fixture_kill(&f->log);
	/* It seals the old segment, and has no room to begin the new one. */
	fault_ops_set(&f->faults, FAULT_FALLOCATE, -ENOSPC, 0, true);
	log_fixture_open(&f->log);
	log_fixture_kill(&f->log);
	fault_ops_clear(&f->faults);
	log_fixture_open(&f->log);
	struct log_ends ends;
	log_view_ends(event_log_view(f->log.log), &ends);
	assert_int_equal(ends.epoch, 2);
	expect(&f->log, 1);
}

static void a_short_write_goes_on_at_the_same_place(void **state)
{
	struct fault_fixture *f = *state;
	log_fixture_open(&f->log);
	for (unsigned int i = 0; i < 20; i++) {
		fault_ops_set(&f->faults, FAULT_PWRITEV, 0, i % 2, false);
		assert_int_equal(log_fixture_append(&f->log, "w", "{\"a\":1}"), EVENT_LOG_OK);
	}
	fault_ops_clear(&f->faults);
	expect(&f->log, 20);
}

static void an_interrupted_write_goes_on(void **state)
{
	struct fault_fixture *f = *state;
	log_fixture_open(&f->log);
	fault_ops_set(&f->faults, FAULT_PWRITEV, -EINTR, 0, false);
	assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_OK);
	assert_int_equal(f->faults.failed, 1);
	expect(&f->log, 1);
}

static void half_a_refused_write_never_becomes_a_record(void **state)
{
	struct fault_fixture *f = *state;
	log_fixture_open(&f->log);
	assert_int_equal(log_fixture_append(&f->log, "w", "{\"a\":1}"), EVENT_LOG_OK);
	f->faults.does_write = true;
	fault_ops_set(&f->faults, FAULT_PWRITEV, -ENOSPC, 0, false);
	struct event_log_event events[4];
	for (size_t i = 0; i < 4; i++)
		events[i] = (struct event_log_event){
			.payload = (const uint8_t *)"{\"refused\":true}", .payload_len = 16};
	struct event_log_batch batch = {
		.worker = "v", .worker_len = 1, .events = events, .event_count = 4};
	assert_int_equal(log_fixture_append_batch(&f->log, &batch), EVENT_LOG_NO_SPACE);
	struct log_worker worker;
	assert_false(event_log_worker(f->log.log, "v", 1, &worker));
	/* Of the refused records' size, so that it ends where the second of them begins. */
	struct event_log_status status;
	do {
		log_fixture_tick(&f->log, 2 * NS_PER_S);
		log_fixture_wait(&f->log);
		(void)event_log_commit(f->log.log, f->log.wall_ns);
		event_log_status(f->log.log, &status);
	} while (status.has_no_space);
	assert_int_equal(log_fixture_append(&f->log, "w", "{\"refused\":nope}"), EVENT_LOG_OK);
	assert_int_equal(f->log.staged.first_seq, 2);
	log_fixture_kill(&f->log);
	log_fixture_open(&f->log);
	expect(&f->log, 2);
	assert_false(event_log_worker(f->log.log, "v", 1, &worker));
}

static const struct event_log_event small_event = {
	.payload = (const uint8_t *)"{}", .payload_len = 2};
static const struct event_log_batch numbered_batch = {
	.worker = "w",
	.worker_len = 1,
	.has_producer_seq = true,
	.producer = 42,
	.producer_seq = 1,
	.events = &small_event,
	.event_count = 1,
};

static void a_refused_numbered_batch_can_be_sent_again(void **state)
{
	struct fault_fixture *f = *state;
	log_fixture_open(&f->log);
	struct event_log_batch batch = numbered_batch;
	assert_int_equal(log_fixture_append_batch(&f->log, &batch), EVENT_LOG_OK);
	fault_ops_set(&f->faults, FAULT_PWRITEV, -ENOSPC, 0, false);
	batch.producer_seq = 2;
	assert_int_equal(log_fixture_append_batch(&f->log, &batch), EVENT_LOG_NO_SPACE);
	uint64_t position;
	assert_true(event_log_producer_seq(f->log.log, "w", 1, 42, &position));
	assert_int_equal(position, 1);
	append_once_there_is_room(&f->log);
	assert_int_equal(log_fixture_append_batch(&f->log, &batch), EVENT_LOG_OK);
	assert_int_equal(f->log.staged.skipped, 0);
}

static void repetitions_during_a_sync_are_acknowledged_with_it(void **state)
{
	struct fault_fixture *f = *state;
	f->log.config.durability = DURABILITY_DURABLE;
	log_fixture_open(&f->log);
	struct event_log_batch batch = numbered_batch;
	struct event_log_staged *staged = &f->log.staged;
	struct event_log *log = f->log.log;
	fault_ops_hold_syncs(&f->faults);
	assert_int_equal(event_log_stage(log, &batch, f->log.wall_ns, staged), EVENT_LOG_OK);
	assert_int_equal(event_log_commit(log, f->log.wall_ns), EVENT_LOG_OK);
	fault_ops_await_held(&f->faults);
	assert_int_equal(event_log_stage(log, &batch, f->log.wall_ns, staged), EVENT_LOG_OK);
	assert_int_equal(staged->skipped, 1);
	assert_int_equal(event_log_commit(log, f->log.wall_ns), EVENT_LOG_OK);
	struct event_log_progress progress;
	event_log_progress(log, &progress);
	assert_int_equal(progress.acked, 0);
	assert_int_equal(progress.visible_seq, 0);
	fault_ops_release_syncs(&f->faults);
	assert_int_equal(log_fixture_settle(&f->log), EVENT_LOG_OK);
}

static void a_failed_sync_poisons_the_log_for_good(void **state)
{
	struct fault_fixture *f = *state;
	f->log.config.durability = DURABILITY_DURABLE;
	log_fixture_open(&f->log);
	assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_OK);
	fault_ops_set(&f->faults, FAULT_FDATASYNC, -EIO, 0, false);
	assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_READ_ONLY);
	unsigned int syncs = fault_ops_calls(&f->faults, FAULT_FDATASYNC);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(log_fixture_append(&f->log, "w", "{}"), EVENT_LOG_READ_ONLY);
		log_fixture_tick(&f->log, NS_PER_S);
	}
	struct event_log_status status;
	event_log_status(f->log.log, &status);
	assert_true(status.is_read_only);
	assert_int_equal(status.sync_error, -EIO);
	expect(&f->log, 1); /* readers go on, up to what was durable */
	assert_int_equal(log_fixture_close(&f->log), -EIO);
	assert_int_equal(fault_ops_calls(&f->faults, FAULT_FDATASYNC), syncs);
	log_fixture_open(&f->log);
	assert_int_equal(f->log.findings[FINDING_UNCLEAN_STOP], 1);
}

static void a_roll_that_can_not_be_synced_poisons(void **state)
{
	struct fault_fixture *f = *state;
	uint64_t count = 0;
	log_fixture_open(&f->log);
	/* The next fsyncs: of the spare, then of the header in it. */
	fault_ops_set(&f->faults, FAULT_FSYNC, -EIO, 1, true);
	assert_int_equal(fill(&f->log, 100, &count), EVENT_LOG_READ_ONLY);
	expect(&f->log, count);
}

/* A footer may find no room, and the next header says that everything before it is on the disk. */
static void a_roll_syncs_what_was_written_before_it_writes_a_footer(void **state)
{
	struct fault_fixture *f = *state;
	f->log.config.durability = DURABILITY_OS;
	log_fixture_open(&f->log);
	char payload[1024];
	snprintf(payload, sizeof(payload), "{\"fill\":\"%0700d\"}", 0);
	struct event_log_event event = {
		.payload = (const uint8_t *)payload, .payload_len = strlen(payload)};
	struct event_log_batch batch = {
		.worker = "w", .worker_len = 1, .events = &event, .event_count = 1};
	const struct event_log *log = f->log.log;
	unsigned int writes = 0;
	fault_ops_hold_syncs(&f->faults);
	while (log->roll == NULL) {
		/* It begins once there is a spare. */
		if (log->stage.count != 0)
			log_fixture_wait(&f->log);
		else
			assert_int_equal(
				event_log_stage(f->log.log, &batch, f->log.wall_ns, &f->log.staged),
				EVENT_LOG_OK);
		writes = fault_ops_calls(&f->faults, FAULT_PWRITEV);
		assert_int_equal(event_log_commit(f->log.log, f->log.wall_ns), EVENT_LOG_OK);
	}
	fault_ops_await_held(&f->faults);
	assert_int_equal(fault_ops_calls(&f->faults, FAULT_PWRITEV), writes);
	fault_ops_release_syncs(&f->faults);
	assert_int_equal(log_fixture_settle(&f->log), EVENT_LOG_OK);
}

/* kill -9 may come between a trailer and its sync, and the power may go after the next start. */
static void a_seal_is_synced_before_it_is_relied_on(void **state)
{
	struct fault_fixture *f = *state;
	uint64_t count = 0;
	log_fixture_open(&f->log);
	assert_int_equal(fill(&f->log, 1, &count), EVENT_LOG_OK);
	assert_int_equal(log_fixture_close(&f->log), 0);
	fault_ops_set(&f->faults, FAULT_FDATASYNC, -EIO, 0, true);
	assert_int_equal(log_fixture_try_open(&f->log), -EIO);
	fault_ops_clear(&f->faults);
	log_fixture_open(&f->log);
	assert_int_equal(f->log.findings[FINDING_UNCLEAN_STOP], 0);
	expect(&f->log, count);
}

static void a_segment_removed_while_a_view_opens_is_no_error(void **state)
{
	struct fault_fixture *f = *state;
	uint64_t count = 0;
	log_fixture_open(&f->log);
	assert_int_equal(fill(&f->log, 2, &count), EVENT_LOG_OK);
	assert_int_equal(log_fixture_close(&f->log), 0);
	/* From the second call on: the first opens the directory. */
	for (unsigned int after = 1; after < 12; after++) {
		struct log_view *view;
		fault_ops_set(&f->faults, FAULT_OPEN, -ENOENT, after, false);
		assert_int_equal(log_view_open(&view, f->log.directory, &f->faults.ops, NULL), 0);
		log_view_close(view);
	}
}

static void recovery_removes_nothing_before_the_note_is_synced(void **state)
{
	struct fault_fixture *f = *state;
	uint64_t count = 0;
	f->log.config.durability = DURABILITY_OS;
	log_fixture_open(&f->log);
	assert_int_equal(fill(&f->log, 6, &count), EVENT_LOG_OK);
	assert_int_equal(log_fixture_close(&f->log), 0);
	f->log.config.retention.bytes = 3 * SEGMENT_BYTES_MIN;
	log_fixture_open(&f->log);
	unsigned int segments = log_fixture_segments(&f->log);
	fault_ops_set(&f->faults, FAULT_UNLINK, -EIO, 0, true);
	log_fixture_tick(&f->log, NS_PER_S);
	log_fixture_kill(&f->log);
	assert_int_equal(log_fixture_segments(&f->log), segments);
	fault_ops_set(&f->faults, FAULT_FDATASYNC, -EIO, 0, true);
	assert_int_equal(log_fixture_try_open(&f->log), -EIO);
	assert_int_equal(log_fixture_segments(&f->log), segments);
	fault_ops_clear(&f->faults);
	log_fixture_open(&f->log);
	assert_true(f->log.findings[FINDING_SEGMENT_PRUNED] > 0);
}

static void on_damage(void *owner, const struct finding *finding)
{
	if (finding_severity(finding->kind) == FINDING_DAMAGE)
		(*(unsigned int *)owner)++;
}

static void a_segment_removed_while_it_is_verified_is_no_damage(void **state)
{
	struct fault_fixture *f = *state;
	uint64_t count = 0;
	log_fixture_open(&f->log);
	assert_int_equal(fill(&f->log, 2, &count), EVENT_LOG_OK);
	assert_int_equal(log_fixture_close(&f->log), 0);
	unsigned int damage = 0;
	const struct finding_sink findings = {on_damage, &damage};
	struct log_view *view;
	struct verify_result result;
	assert_int_equal(log_view_open(&view, f->log.directory, &f->faults.ops, NULL), 0);
	fault_ops_set(&f->faults, FAULT_OPEN, -ENOENT, 0, false);
	assert_int_equal(log_verify(view, &findings, NULL, NULL, &result), 0);
	assert_int_equal(f->faults.failed, 1);
	assert_int_equal(damage, 0);
	log_view_close(view);
}

/* Reads to the end or to the first error; a reader may not answer anything else. */
static void read_through(struct log_view *view)
{
	const struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader *reader;
	struct reader_piece piece;
	if (reader_open(&reader, view, NULL, &start, false, NULL) != READER_OPENED)
		return;
	int r;
	while ((r = reader_next(reader, 4096, &piece)) == READER_RECORDS)
		;
	assert_true(r == READER_END || r == READER_OVERRUN || r < 0);
	reader_close(reader);
}

static void append_some(struct log_fixture *f, unsigned int count, uint64_t *acked)
{
	char payload[2048];
	snprintf(payload, sizeof(payload), "{\"fill\":\"%01800d\"}", 0);
	for (unsigned int i = 0; i < count; i++) {
		int r = log_fixture_append(f, i % 3 == 0 ? "a" : "b", payload);
		if (r == EVENT_LOG_OK)
			*acked = f->staged.last_seq;
		else if (r == EVENT_LOG_READ_ONLY || r < 0)
			break;
		if (i % 20 == 19)
			log_fixture_tick(f, 2 * NS_PER_S);
	}
}

/* Recovery, appends, rolls, pruning, reading, the end: one life of a log that was killed. */
static void live_through(struct log_fixture *f, uint64_t *acked)
{
	if (log_fixture_try_open(f) != 0)
		return;
	append_some(f, 100, acked);
	read_through(event_log_view(f->log));
	(void)log_fixture_close(f);
	f->log = NULL;
}

/* A log of its own through which one rule goes; false: it was never met. */
static bool survives(enum fault_op op, int error, unsigned int after, bool is_sticky)
{
	void *fresh = NULL;
	assert_int_equal(setup(&fresh), 0);
	struct fault_fixture *f = fresh;
	f->log.config.durability = (enum durability)(after % 3);
	f->log.config.retention.bytes = after % 2 == 0 ? 0 : 3 * SEGMENT_BYTES_MIN;
	uint64_t acked = 0;
	log_fixture_open(&f->log);
	append_some(&f->log, 50, &acked);
	log_fixture_kill(&f->log);
	fault_ops_set(&f->faults, op, error, after, is_sticky);
	live_through(&f->log, &acked);
	bool was_met = f->faults.failed != 0;
	fault_ops_clear(&f->faults);
	if (log_fixture_try_open(&f->log) != 0)
		fail_msg("%s%s %s at %u: can't be opened any more", is_sticky ? "always " : "",
			fault_op_name(op), strerror(-error), after);
	struct log_ends ends;
	log_view_ends(event_log_view(f->log.log), &ends);
	if (ends.newest_seq < acked)
		fail_msg("%s%s %s at %u: %llu of %llu are left", is_sticky ? "always " : "",
			fault_op_name(op), strerror(-error), after,
			(unsigned long long)ends.newest_seq, (unsigned long long)acked);
	expect_from(&f->log, ends.oldest_seq, ends.newest_seq);
	teardown(&fresh);
	return was_met;
}

/* All calls of the rare operations; of appending, the first and then some. */
static unsigned int nth_point(enum fault_op op, unsigned int n)
{
	enum { ALL_OF = 24, THEN_EVERY = 7 };
	return op != FAULT_PWRITEV || n < ALL_OF ? n : ALL_OF + (n - ALL_OF) * THEN_EVERY;
}

static void whatever_fails_nothing_acknowledged_is_lost(_unused_ void **state)
{
	static const int errors[] = {-EIO, -ENOSPC, -EDQUOT, -EINTR, -EAGAIN, -ENOMEM, -EMFILE, 0};
	for (enum fault_op op = FAULT_OPEN; op < FAULT_OP_COUNT; op++) {
		for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
			bool can_be_short = op == FAULT_PWRITEV || op == FAULT_PREAD;
			if (errors[i] == 0 && !can_be_short)
				continue;
			unsigned int n = 0; /* points, once and sticky */
			while (survives(op, errors[i], nth_point(op, n), false)) {
				/* Sticky EINTR would be a call that never gets through. */
				if (errors[i] != -EINTR)
					survives(op, errors[i], nth_point(op, n), true);
				n++;
			}
			/* What a life always does. */
			if (op != FAULT_UNMAP && op != FAULT_FREE_BYTES)
				assert_true(n > 0);
		}
	}
}

#define FAULT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(a_full_disk_stops_writing_and_not_reading),
		FAULT_TEST(a_disk_full_at_the_start_serves_reads),
		FAULT_TEST(room_for_one_segment_is_not_enough_to_resume),
		FAULT_TEST(an_epoch_is_not_given_twice_when_recovery_ends_on_a_full_disk),
		FAULT_TEST(a_short_write_goes_on_at_the_same_place),
		FAULT_TEST(an_interrupted_write_goes_on),
		FAULT_TEST(half_a_refused_write_never_becomes_a_record),
		FAULT_TEST(a_refused_numbered_batch_can_be_sent_again),
		FAULT_TEST(repetitions_during_a_sync_are_acknowledged_with_it),
		FAULT_TEST(a_failed_sync_poisons_the_log_for_good),
		FAULT_TEST(a_roll_that_can_not_be_synced_poisons),
		FAULT_TEST(a_roll_syncs_what_was_written_before_it_writes_a_footer),
		FAULT_TEST(a_seal_is_synced_before_it_is_relied_on),
		FAULT_TEST(a_segment_removed_while_a_view_opens_is_no_error),
		FAULT_TEST(a_segment_removed_while_it_is_verified_is_no_damage),
		FAULT_TEST(recovery_removes_nothing_before_the_note_is_synced),
		FAULT_TEST(whatever_fails_nothing_acknowledged_is_lost),
	};
	return cmocka_run_group_tests_name("event_log_faults", tests, NULL, NULL);
}
