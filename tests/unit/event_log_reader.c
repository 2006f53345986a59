/* eventlogd/log: where readers start, what they select, and what retention does to them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/retention.h"
#include "proto/base/clock.h"
#include "proto/record.h"
#include "tests/lib/log_fixture.h"

enum { TEXT_BYTES = 4096 };

static void append(struct log_fixture *f, const char *worker, bool is_keyframe, size_t fill_bytes)
{
	static char payload[16 * 1024];
	assert_true(fill_bytes + 16 < sizeof(payload));
	memset(payload, ' ', fill_bytes + 2);
	payload[0] = '{';
	payload[fill_bytes + 1] = '}';
	struct event_log_event event = {.payload = (const uint8_t *)payload,
		.payload_len = fill_bytes + 2,
		.is_keyframe = is_keyframe};
	assert_int_equal(log_fixture_append_event(f, worker, &event), EVENT_LOG_OK);
}

/* Appends for one worker until there have been so many more rolls. */
static void fill_segments(struct log_fixture *f, const char *worker, unsigned int rolls)
{
	struct event_log_status status;
	event_log_status(f->log, &status);
	uint64_t until = status.rolls + rolls;
	while (status.rolls < until) {
		append(f, worker, false, 1000);
		event_log_status(f->log, &status);
	}
}

static struct log_view *view_of(struct log_fixture *f)
{
	return event_log_view(f->log);
}

static int try_open(struct log_fixture *f, const char *worker, const struct reader_start *start,
	struct reader_opened *opened)
{
	struct reader *reader = NULL;
	size_t len = worker == NULL ? 0 : strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	int r = reader_open(
		&reader, view_of(f), worker == NULL ? NULL : &selection, start, false, opened);
	reader_close(reader);
	return r;
}

static struct reader_start from_cursor(struct log_fixture *f, uint64_t sequence)
{
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(view_of(f), sequence, &start.cursor);
	return start;
}

static void read_from(struct log_fixture *f, const char *worker, const struct reader_start *start,
	char text[TEXT_BYTES])
{
	size_t len = worker == NULL ? 0 : strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	log_fixture_read(view_of(f), worker == NULL ? NULL : &selection, start, text, TEXT_BYTES);
}

static void a_cursor_gives_exactly_what_is_after_it(void **state)
{
	struct log_fixture *f = *state;
	char text[TEXT_BYTES];
	for (int i = 0; i < 10; i++)
		append(f, i % 2 == 0 ? "a" : "b", false, 10);
	for (uint64_t i = 0; i <= 10; i++) {
		struct reader_start start = from_cursor(f, i);
		char expected[32] = "";
		if (i < 9)
			snprintf(expected, sizeof(expected), "%llu-10", (unsigned long long)i + 1);
		else if (i == 9)
			strcpy(expected, "10");
		read_from(f, NULL, &start, text);
		assert_string_equal(text, expected);
	}
	struct reader_start start = from_cursor(f, 4);
	read_from(f, "a", &start, text);
	assert_string_equal(text, "5 7 9");
	read_from(f, "b", &start, text);
	assert_string_equal(text, "6 8 10");
}

static void cursors_of_nowhere_are_unknown(void **state)
{
	struct log_fixture *f = *state;
	append(f, "w", false, 10);
	struct reader_start good = from_cursor(f, 1), start = good;
	assert_int_equal(try_open(f, "w", &start, NULL), READER_OPENED);
	start.cursor.sequence = 2; /* ahead */
	assert_int_equal(try_open(f, NULL, &start, NULL), READER_CURSOR_UNKNOWN);
	start = good;
	start.cursor.log ^= 1;
	assert_int_equal(try_open(f, NULL, &start, NULL), READER_CURSOR_UNKNOWN);
	start = good;
	start.cursor.epoch++;
	assert_int_equal(try_open(f, NULL, &start, NULL), READER_CURSOR_UNKNOWN);
	assert_int_equal(try_open(f, "nobody", &good, NULL), READER_WORKER_NOT_FOUND);
}

static void before_the_first_record_is_a_place_in_every_epoch(void **state)
{
	struct log_fixture *f = *state;
	char text[TEXT_BYTES];
	struct reader_start start = from_cursor(f, 0);
	for (int i = 0; i < 3; i++) {
		log_fixture_kill(f);
		log_fixture_open(f);
	}
	append(f, "w", false, 10);
	read_from(f, NULL, &start, text);
	assert_string_equal(text, "1");
}

static void keyframe_starts_at_the_newest_one(void **state)
{
	struct log_fixture *f = *state;
	char text[TEXT_BYTES];
	struct reader_start start = {.from = READER_FROM_KEYFRAME};
	assert_int_equal(try_open(f, "a", &start, NULL), READER_WORKER_NOT_FOUND);
	assert_int_equal(try_open(f, NULL, &start, NULL), -EINVAL);
	append(f, "b", false, 10);
	append(f, "a", false, 10);
	append(f, "a", false, 10);
	read_from(f, "a", &start, text);
	assert_string_equal(text, "2-3"); /* its oldest without one */
	append(f, "a", true, 10);
	append(f, "b", true, 10);
	append(f, "a", false, 10);
	append(f, "a", true, 10);
	append(f, "a", false, 10);
	read_from(f, "a", &start, text);
	assert_string_equal(text, "7-8");
	fill_segments(f, "b", 3);
	read_from(f, "a", &start, text);
	assert_string_equal(text, "7-8");
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	read_from(f, "a", &start, text);
	assert_string_equal(text, "7-8");
}

static void newest_gives_only_what_comes(void **state)
{
	struct log_fixture *f = *state;
	append(f, "w", false, 10);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_NEWEST};
	struct reader_piece piece;
	assert_int_equal(
		reader_open(&reader, view_of(f), NULL, &start, false, NULL), READER_OPENED);
	assert_int_equal(reader_next(reader, 4096, &piece), READER_END);
	for (uint64_t i = 2; i < 500; i++) {
		append(f, "w", false, 500);
		assert_int_equal(reader_next(reader, 4096, &piece), READER_RECORDS);
		assert_int_equal(piece.first, i);
		assert_int_equal(piece.count, 1);
		assert_int_equal(reader_next(reader, 4096, &piece), READER_END);
		assert_int_equal(reader_position(reader), i);
	}
	reader_close(reader);
}

static void a_worker_that_comes_later_can_be_waited_for(void **state)
{
	struct log_fixture *f = *state;
	append(f, "a", false, 10);
	const char *worker = "later";
	size_t len = 5;
	struct reader_selection selection = {&worker, &len, 1};
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader_piece piece;
	assert_int_equal(reader_open(&reader, view_of(f), &selection, &start, false, NULL),
		READER_WORKER_NOT_FOUND);
	assert_int_equal(
		reader_open(&reader, view_of(f), &selection, &start, true, NULL), READER_OPENED);
	assert_int_equal(reader_next(reader, 4096, &piece), READER_END);
	append(f, "later", false, 10);
	assert_int_equal(reader_next(reader, 4096, &piece), READER_RECORDS);
	assert_int_equal(piece.first, 2);
	reader_close(reader);
}

static void a_set_of_workers_is_read_in_order(void **state)
{
	struct log_fixture *f = *state;
	static const char *const all[] = {"a", "b", "c"};
	for (int i = 0; i < 300; i++)
		append(f, all[i % 3], false, 800);
	const char *ids[] = {"a", "c"};
	size_t lens[] = {1, 1};
	struct reader_selection selection = {ids, lens, 2};
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader *reader;
	struct reader_piece piece;
	assert_int_equal(
		reader_open(&reader, view_of(f), &selection, &start, false, NULL), READER_OPENED);
	uint64_t next = 1, count = 0;
	while (reader_next(reader, 16384, &piece) == READER_RECORDS) {
		for (size_t at = 0; at < piece.len; count++) {
			struct record record;
			size_t size;
			assert_int_equal(
				record_decode(piece.bytes + at, piece.len - at, &record, &size),
				RECORD_OK);
			assert_int_equal(record.sequence, next);
			next += next % 3 == 1 ? 2 : 1;
			at += size;
		}
	}
	assert_int_equal(count, 200);
	reader_close(reader);
}

static void pieces_keep_to_their_size(void **state)
{
	struct log_fixture *f = *state;
	for (int i = 0; i < 50; i++)
		append(f, "w", false, 1000);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader_piece piece;
	static const size_t sizes[] = {1, 1000, 1100, 5000, 20000};
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(
			reader_open(&reader, view_of(f), NULL, &start, false, NULL), READER_OPENED);
		uint64_t count = 0;
		while (reader_next(reader, sizes[i], &piece) == READER_RECORDS) {
			assert_true(piece.len <= sizes[i] || piece.count == 1);
			count += piece.count;
		}
		assert_int_equal(count, 50);
		reader_close(reader);
	}
}

static void limit_bytes(struct log_fixture *f, unsigned int segments)
{
	assert_int_equal(log_fixture_close(f), 0);
	f->config.retention.bytes = segments * SEGMENT_BYTES_MIN;
	log_fixture_open(f);
}

static void retention_by_bytes_expires_exactly_what_it_pruned(void **state)
{
	struct log_fixture *f = *state;
	limit_bytes(f, 4);
	append(f, "quiet", false, 10); /* 1, gone with the first segment */
	struct reader_start early = from_cursor(f, 0);
	struct reader_start after_quiet = from_cursor(f, 1);
	struct reader *reader;
	assert_int_equal(
		reader_open(&reader, view_of(f), NULL, &early, false, NULL), READER_OPENED);
	fill_segments(f, "noisy", 8);
	log_fixture_tick(f, NS_PER_S);
	struct log_ends ends;
	log_view_ends(view_of(f), &ends);
	assert_true(ends.oldest_seq > 1);
	assert_true(ends.allocated_bytes <= 4 * SEGMENT_BYTES_MIN);
	assert_int_equal(f->findings[FINDING_SEGMENT_PRUNED] > 0, 1);

	struct reader_piece piece;
	assert_int_equal(reader_next(reader, 4096, &piece), READER_OVERRUN);
	assert_int_equal(piece.first, ends.oldest_seq);
	reader_skip_pruned(reader);
	assert_int_equal(reader_next(reader, 4096, &piece), READER_RECORDS);
	assert_int_equal(piece.first, ends.oldest_seq);
	reader_close(reader);

	struct reader_opened opened;
	assert_int_equal(try_open(f, NULL, &early, &opened), READER_CURSOR_EXPIRED);
	assert_int_equal(opened.oldest_seq, ends.oldest_seq);
	assert_int_equal(try_open(f, "noisy", &after_quiet, NULL), READER_CURSOR_EXPIRED);
	assert_int_equal(try_open(f, "quiet", &early, NULL), READER_CURSOR_EXPIRED);
	/* Nothing of the quiet worker was pruned behind this one. */
	assert_int_equal(try_open(f, "quiet", &after_quiet, NULL), READER_OPENED);

	/* And the same after a stop of either kind. */
	for (int i = 0; i < 2; i++) {
		if (i == 0)
			assert_int_equal(log_fixture_close(f), 0);
		else
			log_fixture_kill(f);
		log_fixture_open(f);
		assert_int_equal(try_open(f, "quiet", &early, NULL), READER_CURSOR_EXPIRED);
		assert_int_equal(try_open(f, "quiet", &after_quiet, NULL), READER_OPENED);
		assert_int_equal(try_open(f, "noisy", &after_quiet, NULL), READER_CURSOR_EXPIRED);
		struct log_worker worker;
		assert_true(event_log_worker(f->log, "quiet", 5, &worker));
		assert_int_equal(worker.highest_pruned, 1);
		assert_int_equal(worker.retained_count, 0);
	}
}

/* Publishers that are faster than the disk leave it no time in which nothing waits for a roll. */
static void retention_keeps_up_while_batches_wait(void **state)
{
	enum { PAYLOAD_BYTES = 12 * 1024, BATCHES = 100, LIMIT = 6 };
	struct log_fixture *f = *state;
	limit_bytes(f, LIMIT);
	static char payload[PAYLOAD_BYTES];
	memset(payload, ' ', sizeof(payload));
	payload[0] = '{';
	payload[PAYLOAD_BYTES - 1] = '}';
	struct event_log_event event = {
		.payload = (const uint8_t *)payload, .payload_len = sizeof(payload)};
	struct event_log_batch batch = {
		.worker = "w", .worker_len = 1, .events = &event, .event_count = 1};
	for (int i = 0; i < BATCHES; i++)
		assert_int_equal(
			event_log_stage(f->log, &batch, f->wall_ns, &f->staged), EVENT_LOG_OK);
	struct event_log_status status;
	for (;;) {
		assert_int_equal(event_log_commit(f->log, f->wall_ns), EVENT_LOG_OK);
		event_log_status(f->log, &status);
		if (status.staged_bytes == 0)
			break;
		struct log_ends ends;
		log_view_ends(view_of(f), &ends);
		assert_true(ends.segments <= LIMIT + 2);
		log_fixture_tick(f, NS_PER_S / 4);
		log_fixture_wait(f);
	}
	assert_int_equal(log_fixture_settle(f), EVENT_LOG_OK);
	assert_true(f->findings[FINDING_SEGMENT_PRUNED] > BATCHES / 5 - LIMIT - 2);
}

static void retention_by_age_counts_from_the_last_record(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.retention.age_ns = 60 * NS_PER_S;
	log_fixture_open(f);
	fill_segments(f, "w", 3);
	log_fixture_tick(f, 30 * NS_PER_S);
	struct log_ends ends;
	log_view_ends(view_of(f), &ends);
	assert_int_equal(ends.oldest_seq, 1);
	log_fixture_tick(f, 40 * NS_PER_S);
	log_view_ends(view_of(f), &ends);
	assert_int_equal(ends.segments, 1);
	assert_true(ends.oldest_seq > 1);
}

static void a_jump_of_the_clock_prunes_nothing(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.retention.age_ns = 60 * NS_PER_S;
	log_fixture_open(f);
	fill_segments(f, "w", 3);
	log_fixture_tick(f, NS_PER_S);
	f->wall_ns += UINT64_C(365) * 24 * 3600 * NS_PER_S;
	log_fixture_tick(f, NS_PER_S);
	log_fixture_tick(f, NS_PER_S);
	struct log_ends ends;
	log_view_ends(view_of(f), &ends);
	assert_int_equal(ends.oldest_seq, 1);
}

static void the_plan_of_retention_is_oldest_first(void **state)
{
	(void)state;
	struct retention_item items[] = {{100, 10}, {100, 20}, {100, 30}};
	struct retention_limits none = {0}, bytes = {.bytes = 250}, age = {.age_ns = 15};
	assert_int_equal(retention_plan(&none, items, 3, 100, 1000), 0);
	assert_int_equal(retention_plan(&bytes, items, 3, 100, 0), 2);
	assert_int_equal(retention_plan(&bytes, items, 3, 400, 0), 3);
	assert_int_equal(retention_plan(&age, items, 3, 100, 30), 1);
	assert_int_equal(retention_plan(&age, items, 3, 100, 5), 0);
	struct retention_clock clock = {0};
	assert_int_equal(retention_clock_now(&clock, 1000, 1), 1000);
	assert_int_equal(retention_clock_now(&clock, 2000, 1001), 2000);
	assert_int_equal(retention_clock_now(&clock, 1000000 * NS_PER_S, 2001), 3000);
	assert_int_equal(retention_clock_now(&clock, 1500, 2002), 1500);
}

static void a_forgotten_worker_is_told_from_one_that_never_was(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.max_workers = 2;
	log_fixture_open(f);
	limit_bytes(f, 3);
	append(f, "old", false, 10);
	struct reader_start early = from_cursor(f, 0);
	fill_segments(f, "noisy", 6);
	log_fixture_tick(f, NS_PER_S);
	append(f, "new", false, 10); /* takes the row of the one without records */
	struct log_worker worker;
	assert_false(event_log_worker(f->log, "old", 3, &worker));
	assert_int_equal(try_open(f, "old", &early, NULL), READER_CURSOR_EXPIRED);
	struct log_ends ends;
	log_view_ends(view_of(f), &ends);
	assert_int_equal(ends.forgotten_through, 1);
	struct reader_start late = from_cursor(f, ends.newest_seq);
	assert_int_equal(try_open(f, "old", &late, NULL), READER_WORKER_NOT_FOUND);
}

static void readers_of_many_segments_map_only_a_few(void **state)
{
	struct log_fixture *f = *state;
	fill_segments(f, "w", 60);
	struct reader_start start = {.from = READER_FROM_OLDEST};
	char text[TEXT_BYTES], expected[64];
	struct log_ends ends;
	log_view_ends(view_of(f), &ends);
	snprintf(expected, sizeof(expected), "1-%llu", (unsigned long long)ends.newest_seq);
	read_from(f, NULL, &start, text);
	assert_string_equal(text, expected);
	read_from(f, "w", &start, text);
	assert_string_equal(text, expected);
}

#define LOG_TEST(name) \
	cmocka_unit_test_setup_teardown(name, log_fixture_setup, log_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(a_cursor_gives_exactly_what_is_after_it),
		LOG_TEST(cursors_of_nowhere_are_unknown),
		LOG_TEST(before_the_first_record_is_a_place_in_every_epoch),
		LOG_TEST(keyframe_starts_at_the_newest_one),
		LOG_TEST(newest_gives_only_what_comes),
		LOG_TEST(a_worker_that_comes_later_can_be_waited_for),
		LOG_TEST(a_set_of_workers_is_read_in_order),
		LOG_TEST(pieces_keep_to_their_size),
		LOG_TEST(retention_by_bytes_expires_exactly_what_it_pruned),
		LOG_TEST(retention_keeps_up_while_batches_wait),
		LOG_TEST(retention_by_age_counts_from_the_last_record),
		LOG_TEST(a_jump_of_the_clock_prunes_nothing),
		cmocka_unit_test(the_plan_of_retention_is_oldest_first),
		LOG_TEST(a_forgotten_worker_is_told_from_one_that_never_was),
		LOG_TEST(readers_of_many_segments_map_only_a_few),
	};
	return cmocka_run_group_tests_name("event_log_reader", tests, NULL, NULL);
}
