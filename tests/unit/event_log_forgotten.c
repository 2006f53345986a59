/* eventlogd/log: a worker that is forgotten and publishes again has lost what it lost before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/segment_format.h"
#include "proto/base/clock.h"
#include "tests/lib/log_fixture.h"

enum { TEXT_BYTES = 4096, MAX_WORKERS = 3, OF_A = 5, LIMIT_SEGMENTS = 3 };

static void append(struct log_fixture *f, const char *worker)
{
	assert_int_equal(log_fixture_append(f, worker, "{}"), EVENT_LOG_OK);
}

static void roll(struct log_fixture *f, unsigned int rolls)
{
	static char payload[8 * 1024];
	memset(payload, ' ', sizeof(payload) - 1);
	payload[0] = '{';
	payload[sizeof(payload) - 2] = '}';
	struct event_log_status status;
	event_log_status(f->log, &status);
	uint64_t until = status.rolls + rolls;
	while (status.rolls < until) {
		assert_int_equal(log_fixture_append(f, "noisy", payload), EVENT_LOG_OK);
		event_log_status(f->log, &status);
	}
}

static void prune(struct log_fixture *f, const char *worker)
{
	struct log_worker row;
	roll(f, LIMIT_SEGMENTS + 2);
	for (int i = 0; i < 8; i++)
		log_fixture_tick(f, NS_PER_S);
	assert_true(event_log_worker(f->log, worker, strlen(worker), &row));
	assert_int_equal(row.retained_count, 0);
}

/* Of so few workers and segments that they have to go soon. */
static void open_small(struct log_fixture *f, uint64_t keyframe_reserve)
{
	assert_int_equal(log_fixture_close(f), 0);
	f->config.max_workers = MAX_WORKERS;
	f->config.retention.bytes = LIMIT_SEGMENTS * SEGMENT_BYTES_MIN;
	f->config.retention.keyframe_reserve = keyframe_reserve;
	log_fixture_open(f);
}

static void append_of_a(struct log_fixture *f)
{
	for (int i = 0; i < OF_A; i++)
		append(f, "a");
}

/* Sequences 1 to 5 are a's, and pruned; the table is full. */
static void begin(struct log_fixture *f)
{
	open_small(f, 0);
	append_of_a(f);
	append(f, "c");
	prune(f, "a");
}

static void forget_a(struct log_fixture *f)
{
	struct log_worker row;
	append(f, "b");
	assert_false(event_log_worker(f->log, "a", 1, &row));
}

static uint64_t newest(struct log_view *view)
{
	struct log_ends ends;
	log_view_ends(view, &ends);
	return ends.newest_seq;
}

/* Its new record. */
static uint64_t a_again(struct log_fixture *f)
{
	append(f, "a");
	return newest(event_log_view(f->log));
}

static int try_open(struct log_view *view, const char *worker, uint64_t sequence)
{
	struct reader *reader = NULL;
	size_t len = strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(view, sequence, &start.cursor);
	int r = reader_open(&reader, view, &selection, &start, false, NULL);
	reader_close(reader);
	return r;
}

/* What a reader of one worker gives from where it starts; nothing of it may be missing silently. */
static void expect_again(struct log_view *view, const char *worker, uint64_t record)
{
	static const enum reader_from froms[] = {READER_FROM_OLDEST, READER_FROM_KEYFRAME};
	char text[TEXT_BYTES], expected[32];
	snprintf(expected, sizeof(expected), "%llu", (unsigned long long)record);
	size_t len = strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	for (size_t i = 0; i < ARRAY_SIZE(froms); i++) {
		struct reader_start start = {.from = froms[i]};
		log_fixture_read(view, &selection, &start, text, sizeof(text));
		assert_string_equal(text, expected);
	}
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(view, record - 1, &start.cursor);
	log_fixture_read(view, &selection, &start, text, sizeof(text));
	assert_string_equal(text, expected);
}

static void expect_a_again(struct log_view *view, uint64_t record)
{
	for (uint64_t cursor = 0; cursor < OF_A; cursor++)
		assert_int_equal(try_open(view, "a", cursor), READER_CURSOR_EXPIRED);
	expect_again(view, "a", record);
}

static void expect_a_again_on_disk(struct log_fixture *f, uint64_t record)
{
	struct log_view *view;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	expect_a_again(view, record);
	log_view_close(view);
}

static void a_forgotten_worker_that_publishes_again_keeps_its_losses(void **state)
{
	struct log_fixture *f = *state;
	begin(f);
	assert_int_equal(try_open(event_log_view(f->log), "a", 2), READER_CURSOR_EXPIRED);
	forget_a(f);
	assert_int_equal(try_open(event_log_view(f->log), "a", 2), READER_CURSOR_EXPIRED);
	uint64_t record = a_again(f);
	expect_a_again(event_log_view(f->log), record);
	expect_a_again_on_disk(f, record);
}

static void and_after_a_stop(void **state)
{
	struct log_fixture *f = *state;
	begin(f);
	forget_a(f);
	uint64_t record = a_again(f);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(log_fixture_close(f), 0);
		expect_a_again_on_disk(f, record);
		log_fixture_open(f);
		expect_a_again(event_log_view(f->log), record);
	}
}

static void and_when_the_log_was_stopped_in_between(void **state)
{
	struct log_fixture *f = *state;
	begin(f);
	forget_a(f);
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	uint64_t record = a_again(f);
	expect_a_again(event_log_view(f->log), record);
	expect_a_again_on_disk(f, record);
	log_fixture_kill(f);
	expect_a_again_on_disk(f, record);
	log_fixture_open(f);
	expect_a_again(event_log_view(f->log), record);
}

static void and_after_a_kill(void **state)
{
	struct log_fixture *f = *state;
	begin(f);
	forget_a(f);
	uint64_t record = a_again(f);
	for (int i = 0; i < 2; i++) {
		log_fixture_kill(f);
		expect_a_again_on_disk(f, record);
		log_fixture_open(f);
		expect_a_again(event_log_view(f->log), record);
	}
}

static void and_when_a_smaller_table_forgot_it_at_the_start(void **state)
{
	struct log_fixture *f = *state;
	begin(f);
	assert_int_equal(log_fixture_close(f), 0);
	f->config.max_workers = 2;
	log_fixture_open(f);
	struct log_worker row;
	assert_false(event_log_worker(f->log, "a", 1, &row));
	assert_int_equal(try_open(event_log_view(f->log), "a", 2), READER_CURSOR_EXPIRED);
	append(f, "a");
	expect_a_again(event_log_view(f->log), newest(event_log_view(f->log)));
}

/* All that was sealed is gone, and with it every footer that a kill could leave. */
static void and_when_a_kill_leaves_no_footer(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.retention.age_ns = 60 * NS_PER_S;
	f->config.retention.keyframe_reserve = 0;
	log_fixture_open(f);
	append_of_a(f);
	roll(f, 1);
	log_fixture_tick(f, 40 * NS_PER_S);
	append(f, "a");
	while (f->findings[FINDING_SEGMENT_PRUNED] == 0) {
		log_fixture_tick(f, 10 * NS_PER_S);
		log_fixture_sync(f);
	}
	struct log_ends ends;
	log_view_ends(event_log_view(f->log), &ends);
	assert_int_equal(ends.segments, 1);
	append(f, "a");
	log_fixture_kill(f);
	assert_int_equal(log_fixture_segments(f), 1);
	log_fixture_open(f);
	struct log_worker row;
	assert_true(event_log_worker(f->log, "a", 1, &row));
	assert_int_equal(row.retained_count, 2);
	for (uint64_t cursor = 0; cursor < OF_A; cursor++)
		assert_int_equal(
			try_open(event_log_view(f->log), "a", cursor), READER_CURSOR_EXPIRED);
	assert_int_equal(try_open(event_log_view(f->log), "a", ends.oldest_seq - 1), READER_OPENED);
	char text[TEXT_BYTES], expected[64];
	uint64_t last = newest(event_log_view(f->log));
	snprintf(expected, sizeof(expected), "%llu-%llu", (unsigned long long)last - 1,
		(unsigned long long)last);
	log_fixture_read_all(event_log_view(f->log), "a", text, sizeof(text));
	assert_string_equal(text, expected);
}

static struct reader *stand(struct log_fixture *f, const char *worker, enum reader_from from)
{
	struct reader *reader;
	size_t len = strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	struct reader_start start = {.from = from};
	log_view_cursor(event_log_view(f->log), 2, &start.cursor);
	assert_int_equal(
		reader_open(&reader, event_log_view(f->log), &selection, &start, true, NULL),
		READER_OPENED);
	return reader;
}

static void a_reader_that_stood_all_that_time_is_overrun(void **state)
{
	struct log_fixture *f = *state;
	open_small(f, 0);
	append_of_a(f);
	append(f, "c");
	struct reader *reader = stand(f, "a", READER_FROM_CURSOR);
	prune(f, "a");
	forget_a(f);
	uint64_t record = a_again(f);
	struct reader_piece piece;
	assert_int_equal(reader_next(reader, TEXT_BYTES, &piece), READER_OVERRUN);
	reader_skip_pruned(reader);
	assert_int_equal(reader_next(reader, TEXT_BYTES, &piece), READER_RECORDS);
	assert_int_equal(piece.first, record);
	assert_int_equal(piece.count, 1);
	reader_close(reader);
}

/* It came and went, and came again, between two looks of one that waited for it. */
static void a_reader_that_waited_for_what_came_and_was_forgotten_is_overrun(void **state)
{
	struct log_fixture *f = *state;
	open_small(f, 0);
	append(f, "c");
	struct reader *reader = stand(f, "a", READER_FROM_OLDEST);
	struct reader *other = stand(f, "a", READER_FROM_OLDEST);
	append_of_a(f);
	append(f, "c");
	prune(f, "a");
	forget_a(f);
	struct reader_piece piece;
	assert_int_equal(reader_next(reader, TEXT_BYTES, &piece), READER_OVERRUN);
	append(f, "a");
	assert_int_equal(reader_next(other, TEXT_BYTES, &piece), READER_OVERRUN);
	reader_close(reader);
	reader_close(other);
}

static void a_new_worker_is_read_from_its_first_record(void **state)
{
	struct log_fixture *f = *state;
	begin(f);
	forget_a(f);
	struct log_view *view = event_log_view(f->log);
	struct reader *oldest = stand(f, "new", READER_FROM_OLDEST);
	struct reader *waiting = stand(f, "new", READER_FROM_NEWEST);
	uint64_t before = newest(view), all_pruned = view->table.highest_pruned;
	append(f, "new"); /* c goes */
	assert_int_equal(view->table.highest_pruned, all_pruned);
	expect_again(view, "new", before + 1);
	assert_int_equal(try_open(view, "new", before), READER_OPENED);
	/* Below what was forgotten nobody can tell it from one that was. */
	uint64_t forgotten = view->table.forgotten_through;
	assert_int_equal(forgotten, OF_A + 1);
	assert_int_equal(try_open(view, "new", forgotten), READER_OPENED);
	assert_int_equal(try_open(view, "new", forgotten - 1), READER_CURSOR_EXPIRED);
	struct reader_piece piece;
	assert_int_equal(reader_next(oldest, TEXT_BYTES, &piece), READER_RECORDS);
	assert_int_equal(piece.first, before + 1);
	assert_int_equal(reader_next(waiting, TEXT_BYTES, &piece), READER_RECORDS);
	assert_int_equal(piece.first, before + 1);
	reader_close(oldest);
	reader_close(waiting);
}

static void nobody_is_expired_where_nobody_was_forgotten(void **state)
{
	struct log_fixture *f = *state;
	begin(f);
	assert_int_equal(log_fixture_close(f), 0);
	f->config.max_workers = MAX_WORKERS + 1;
	log_fixture_open(f);
	append(f, "new");
	for (uint64_t cursor = 0; cursor <= OF_A; cursor++)
		assert_int_equal(try_open(event_log_view(f->log), "new", cursor), READER_OPENED);
	struct log_worker row;
	assert_true(event_log_worker(f->log, "new", 3, &row));
	assert_int_equal(row.highest_pruned, 0);
}

/* Sequence 1 is c's keyframe, which the reserve keeps; 2 to 6 were a's. */
static void begin_with_reserve(struct log_fixture *f)
{
	open_small(f, SEGMENT_BYTES_MIN);
	struct event_log_event keyframe = {
		.payload = (const uint8_t *)"{}", .payload_len = 2, .is_keyframe = true};
	assert_int_equal(log_fixture_append_event(f, "c", &keyframe), EVENT_LOG_OK);
	append_of_a(f);
	struct event_log_status status;
	do {
		roll(f, 1);
		log_fixture_tick(f, NS_PER_S);
		event_log_status(f->log, &status);
	} while (status.reserve_segments == 0);
	prune(f, "a");
}

static void what_others_lost_is_no_loss_of_who_waits_for_a_new_worker(void **state)
{
	struct log_fixture *f = *state;
	begin_with_reserve(f);
	forget_a(f);
	assert_int_equal(log_fixture_close(f), 0);
	f->config.max_workers = MAX_WORKERS + 1;
	log_fixture_open(f);
	struct log_view *view = event_log_view(f->log);
	const char *ids[] = {"c", "new"};
	size_t lens[] = {1, 3};
	struct reader_selection selection = {ids, lens, 2};
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader *reader;
	assert_int_equal(reader_open(&reader, view, &selection, &start, true, NULL), READER_OPENED);
	append(f, "new");
	uint64_t record = newest(view), losses = view->table.loss_count;
	while (view->table.loss_count == losses) {
		roll(f, 1);
		log_fixture_tick(f, NS_PER_S);
	}
	struct reader_piece piece;
	assert_int_equal(reader_next(reader, TEXT_BYTES, &piece), READER_RECORDS);
	assert_int_equal(piece.first, 1);
	assert_int_equal(reader_next(reader, TEXT_BYTES, &piece), READER_RECORDS);
	assert_int_equal(piece.first, record);
	reader_close(reader);
}

static void the_reserve_is_still_there_when_every_footer_is_damaged(void **state)
{
	struct log_fixture *f = *state;
	begin_with_reserve(f);
	log_fixture_kill(f);
	static const uint8_t zeros[SEGMENT_TRAILER_BYTES];
	for (unsigned int i = 1; i < log_fixture_segments(f); i++) {
		size_t len;
		free(log_fixture_load_segment(f, i, &len));
		log_fixture_patch_segment(f, i, len - sizeof(zeros), zeros, sizeof(zeros));
	}
	struct log_view *view;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	assert_int_equal(try_open(view, "a", 2), READER_CURSOR_EXPIRED);
	assert_int_equal(try_open(view, "c", 0), READER_OPENED);
	char text[TEXT_BYTES];
	log_fixture_read_all(view, "c", text, sizeof(text));
	assert_string_equal(text, "1");
	log_view_close(view);
}

#define LOG_TEST(name) \
	cmocka_unit_test_setup_teardown(name, log_fixture_setup, log_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(a_forgotten_worker_that_publishes_again_keeps_its_losses),
		LOG_TEST(and_after_a_stop),
		LOG_TEST(and_when_the_log_was_stopped_in_between),
		LOG_TEST(and_after_a_kill),
		LOG_TEST(and_when_a_smaller_table_forgot_it_at_the_start),
		LOG_TEST(and_when_a_kill_leaves_no_footer),
		LOG_TEST(a_reader_that_stood_all_that_time_is_overrun),
		LOG_TEST(a_reader_that_waited_for_what_came_and_was_forgotten_is_overrun),
		LOG_TEST(a_new_worker_is_read_from_its_first_record),
		LOG_TEST(nobody_is_expired_where_nobody_was_forgotten),
		LOG_TEST(what_others_lost_is_no_loss_of_who_waits_for_a_new_worker),
		LOG_TEST(the_reserve_is_still_there_when_every_footer_is_damaged),
	};
	return cmocka_run_group_tests_name("event_log_forgotten", tests, NULL, NULL);
}
