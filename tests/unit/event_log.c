/* eventlogd/log: appending, rolling, restarting, tickets, producers, workers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventlogd/log/catalog.h"
#include "proto/base/clock.h"
#include "proto/record.h"
#include "tests/lib/log_fixture.h"

/* Appends numbered events until the log has gone through so many segments. */
static uint64_t fill_segments(struct log_fixture *f, const char *worker, unsigned int segments)
{
	char payload[1024];
	uint64_t n = 0;
	struct event_log_status status;
	for (;;) {
		event_log_status(f->log, &status);
		if (status.rolls > segments)
			return n;
		snprintf(payload, sizeof(payload), "{\"n\":%llu,\"fill\":\"%0700d\"}",
			(unsigned long long)n++, 0);
		assert_int_equal(log_fixture_append(f, worker, payload), EVENT_LOG_OK);
	}
}

/* Reads all that is there and checks that it is 1..count without a hole. */
static void expect_all(struct log_view *view, uint64_t first, uint64_t last)
{
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_OLDEST};
	assert_int_equal(reader_open(&reader, view, NULL, &start, false, NULL), READER_OPENED);
	uint64_t next = first;
	struct reader_piece piece;
	while (reader_next(reader, 16 * 1024, &piece) == READER_RECORDS) {
		for (size_t at = 0; at < piece.len;) {
			struct record record;
			size_t size;
			assert_int_equal(
				record_decode(piece.bytes + at, piece.len - at, &record, &size),
				RECORD_OK);
			assert_int_equal(record.sequence, next);
			next++;
			at += size;
		}
	}
	assert_int_equal(reader_next(reader, 16 * 1024, &piece), READER_END);
	assert_int_equal(next, last + 1);
	reader_close(reader);
}

static void what_is_appended_can_be_read(void **state)
{
	struct log_fixture *f = *state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(log_fixture_append(f, "w", "{\"a\":1}"), EVENT_LOG_OK);
	expect_all(event_log_view(f->log), 1, 100);
}

static void a_full_segment_is_sealed_and_the_next_goes_on(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill_segments(f, "w", 5);
	assert_true(log_fixture_segments(f) >= 5);
	expect_all(event_log_view(f->log), 1, count);
}

static void a_clean_restart_keeps_epoch_records_and_table(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill_segments(f, "w", 3);
	struct log_ends before, after;
	log_view_ends(event_log_view(f->log), &before);
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	log_view_ends(event_log_view(f->log), &after);
	assert_memory_equal(before.log_id, after.log_id, sizeof(before.log_id));
	assert_int_equal(after.epoch, before.epoch);
	assert_int_equal(after.newest_seq, count);
	expect_all(event_log_view(f->log), 1, count);
	struct log_worker worker;
	assert_true(event_log_worker(f->log, "w", 1, &worker));
	assert_int_equal(worker.newest_seq, count);
	assert_int_equal(worker.retained_count, count);
	assert_int_equal(worker.owner_uid, 1000);
	assert_int_equal(log_fixture_append(f, "w", "{}"), EVENT_LOG_OK);
	assert_int_equal(f->staged.first_seq, count + 1);
}

static void restarts_of_an_idle_log_leave_nothing_behind(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_append(f, "w", "{}"), EVENT_LOG_OK);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(log_fixture_close(f), 0);
		assert_int_equal(log_fixture_segments(f), 1);
		log_fixture_open(f);
	}
	for (int i = 0; i < 10; i++) {
		log_fixture_kill(f);
		log_fixture_open(f);
		log_fixture_sync(f);
	}
	assert_int_equal(log_fixture_close(f), 0);
	assert_true(log_fixture_segments(f) <= 2);
	log_fixture_open(f);
	expect_all(event_log_view(f->log), 1, 1);
}

static void an_unclean_stop_begins_an_epoch(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill_segments(f, "w", 2);
	struct log_ends ends;
	log_view_ends(event_log_view(f->log), &ends);
	uint16_t epoch = ends.epoch;
	log_fixture_kill(f);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_UNCLEAN_STOP], 1);
	log_view_ends(event_log_view(f->log), &ends);
	assert_int_equal(ends.epoch, epoch + 1);
	assert_int_equal(ends.newest_seq, count);
	assert_int_equal(log_fixture_append(f, "w", "{}"), EVENT_LOG_OK);
	expect_all(event_log_view(f->log), 1, count + 1);
	struct cursor cursor;
	log_view_cursor(event_log_view(f->log), count, &cursor);
	assert_int_equal(cursor.epoch, epoch);
	log_view_cursor(event_log_view(f->log), count + 1, &cursor);
	assert_int_equal(cursor.epoch, epoch + 1);
}

static void a_second_daemon_is_refused(void **state)
{
	struct log_fixture *f = *state;
	struct event_log *second;
	assert_int_equal(event_log_open(&second, &f->config, f->wall_ns), -EBUSY);
}

static struct event_log_event event_of(const char *payload)
{
	return (struct event_log_event){.payload = (const uint8_t *)payload,
		.payload_len = payload == NULL ? 0 : strlen(payload)};
}

static int append_numbered(struct log_fixture *f, uint64_t first, size_t count, size_t nil_from)
{
	struct event_log_event events[16];
	for (size_t i = 0; i < count; i++)
		events[i] = event_of(i >= nil_from ? NULL : "{}");
	struct event_log_batch batch = {
		.worker = "w",
		.worker_len = 1,
		.owner_uid = 7,
		.has_producer_seq = true,
		.producer = record_producer(7, "p", 1),
		.producer_seq = first,
		.events = events,
		.event_count = count,
	};
	return log_fixture_append_batch(f, &batch);
}

static void numbered_batches_are_stored_once(void **state)
{
	struct log_fixture *f = *state;
	uint64_t position;
	uint64_t producer = record_producer(7, "p", 1);
	assert_false(event_log_producer_seq(f->log, "w", 1, producer, &position));
	assert_int_equal(append_numbered(f, 2, 1, 16), EVENT_LOG_PRODUCER_GAP);
	assert_int_equal(append_numbered(f, 1, 4, 16), EVENT_LOG_OK);
	assert_int_equal(f->staged.last_seq, 4);
	assert_int_equal(append_numbered(f, 3, 4, 16), EVENT_LOG_OK);
	assert_int_equal(f->staged.skipped, 2);
	assert_int_equal(f->staged.first_seq, 5);
	assert_int_equal(f->staged.last_seq, 6);
	assert_int_equal(append_numbered(f, 1, 6, 16), EVENT_LOG_OK);
	assert_int_equal(f->staged.skipped, 6);
	assert_int_equal(f->staged.first_seq, 0);
	assert_int_equal(append_numbered(f, 8, 1, 16), EVENT_LOG_PRODUCER_GAP);
	assert_true(event_log_producer_seq(f->log, "w", 1, producer, &position));
	assert_int_equal(position, 6);
	expect_all(event_log_view(f->log), 1, 6);
}

static void producer_positions_survive_stops_of_both_kinds(void **state)
{
	struct log_fixture *f = *state;
	uint64_t position;
	uint64_t producer = record_producer(7, "p", 1);
	assert_int_equal(append_numbered(f, 1, 3, 16), EVENT_LOG_OK);
	assert_int_equal(append_numbered(f, 4, 2, 0), EVENT_LOG_OK); /* stores nothing */
	assert_int_equal(f->staged.first_seq, 0);
	log_fixture_kill(f);
	log_fixture_open(f);
	assert_true(event_log_producer_seq(f->log, "w", 1, producer, &position));
	assert_int_equal(position, 5);
	assert_int_equal(append_numbered(f, 6, 1, 16), EVENT_LOG_OK);
	assert_int_equal(f->staged.first_seq, 4);
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	assert_true(event_log_producer_seq(f->log, "w", 1, producer, &position));
	assert_int_equal(position, 6);
}

static void durable_mode_shows_only_what_is_synced(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.durability = DURABILITY_DURABLE;
	log_fixture_open(f);
	struct event_log_event event = event_of("{}");
	struct event_log_batch batch = {
		.worker = "w", .worker_len = 1, .events = &event, .event_count = 1};
	assert_int_equal(event_log_stage(f->log, &batch, f->wall_ns, &f->staged), EVENT_LOG_OK);
	assert_int_equal(log_fixture_settle(f), EVENT_LOG_OK);
	struct event_log_progress progress;
	event_log_progress(f->log, &progress);
	assert_int_equal(progress.acked, progress.synced);
	assert_int_equal(progress.visible_seq, 1);
	expect_all(event_log_view(f->log), 1, 1);
}

static void os_mode_appends_and_rolls(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.durability = DURABILITY_OS;
	log_fixture_open(f);
	uint64_t count = fill_segments(f, "w", 3);
	expect_all(event_log_view(f->log), 1, count);
}

static void a_batch_larger_than_a_segment_is_refused(void **state)
{
	struct log_fixture *f = *state;
	static char payload[15 * 1024];
	memset(payload, 'x', sizeof(payload) - 1);
	struct event_log_event events[5];
	for (size_t i = 0; i < 5; i++)
		events[i] = event_of(payload);
	struct event_log_batch batch = {
		.worker = "w", .worker_len = 1, .events = events, .event_count = 5};
	assert_int_equal(log_fixture_append_batch(f, &batch), EVENT_LOG_BATCH_TOO_LARGE);
	batch.event_count = 3;
	assert_int_equal(log_fixture_append_batch(f, &batch), EVENT_LOG_OK);
	expect_all(event_log_view(f->log), 1, 3);
}

static void too_much_staged_answers_busy(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.staged_bytes_max = 4096;
	log_fixture_open(f);
	struct event_log_event event = event_of("{\"some\":\"payload\"}");
	struct event_log_batch batch = {
		.worker = "w", .worker_len = 1, .events = &event, .event_count = 1};
	int r = EVENT_LOG_OK;
	uint64_t staged = 0;
	while (r == EVENT_LOG_OK && staged < 1000) {
		r = event_log_stage(f->log, &batch, f->wall_ns, &f->staged);
		staged += r == EVENT_LOG_OK;
	}
	assert_int_equal(r, EVENT_LOG_BUSY);
	assert_int_equal(log_fixture_settle(f), EVENT_LOG_OK);
	assert_int_equal(event_log_stage(f->log, &batch, f->wall_ns, &f->staged), EVENT_LOG_OK);
	assert_int_equal(log_fixture_settle(f), EVENT_LOG_OK);
	expect_all(event_log_view(f->log), 1, staged + 1);
}

static void workers_are_listed_page_by_page(void **state)
{
	struct log_fixture *f = *state;
	static const char *const ids[] = {"b", "a", "ab", "c", "a.1"};
	static const char *const sorted[] = {"a", "a.1", "ab", "b", "c"};
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(log_fixture_append(f, ids[i], "{}"), EVENT_LOG_OK);
	struct log_worker page[2];
	const char *after = NULL;
	size_t seen = 0, n;
	char last[16];
	do {
		n = log_view_workers(
			event_log_view(f->log), after, after == NULL ? 0 : strlen(after), page, 2);
		for (size_t i = 0; i < n; i++)
			assert_string_equal(page[i].id, sorted[seen++]);
		if (n != 0)
			after = strcpy(last, page[n - 1].id);
	} while (n == 2);
	assert_int_equal(seen, 5);
}

/* Their rows are not in a footer before they have something in the log. */
static void new_workers_at_a_roll_leave_the_footer_its_room(void **state)
{
	struct log_fixture *f = *state;
	char payload[512], id[16];
	snprintf(payload, sizeof(payload), "{\"fill\":\"%0400d\"}", 0);
	const struct segment *first = catalog_newest(event_log_view(f->log));
	while (first->data_end < SEGMENT_BYTES_MIN * 92 / 100)
		assert_int_equal(log_fixture_append(f, "w", payload), EVENT_LOG_OK);
	struct event_log_event event = {.payload = (const uint8_t *)"{}", .payload_len = 2};
	struct event_log_batch batch = {.worker = id,
		.has_producer_seq = true,
		.producer = 7,
		.producer_seq = 1,
		.events = &event,
		.event_count = 1};
	for (unsigned int i = 0; i + 1 < f->config.max_workers; i++) {
		batch.worker_len = (size_t)snprintf(id, sizeof(id), "new-%u", i);
		assert_int_equal(
			event_log_stage(f->log, &batch, f->wall_ns, &f->staged), EVENT_LOG_OK);
	}
	assert_int_equal(log_fixture_settle(f), EVENT_LOG_OK);
	assert_true(first->is_sealed);
	log_fixture_kill(f);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_FOOTER_DAMAGED], 0);
	assert_int_equal(event_log_workers_of_uid(f->log, 0), f->config.max_workers - 1);
}

static void one_worker_too_many_is_refused_while_all_have_records(void **state)
{
	struct log_fixture *f = *state;
	char id[16];
	for (unsigned int i = 0; i < f->config.max_workers; i++) {
		snprintf(id, sizeof(id), "w%u", i);
		assert_int_equal(log_fixture_append(f, id, "{}"), EVENT_LOG_OK);
	}
	assert_int_equal(log_fixture_append(f, "one-more", "{}"), EVENT_LOG_QUOTA);
	assert_int_equal(event_log_workers_of_uid(f->log, 1000), f->config.max_workers);
}

/* 24 bytes of the worker table each. */
static void append_for_many_producers(struct log_fixture *f)
{
	char id[16];
	struct event_log_event event = {.payload = (const uint8_t *)"{}", .payload_len = 2};
	struct event_log_batch batch = {.worker = id,
		.has_producer_seq = true,
		.producer_seq = 1,
		.events = &event,
		.event_count = 1};
	for (batch.producer = 1; batch.producer <= PRODUCERS_PER_WORKER_MAX; batch.producer++)
		for (unsigned int i = 0; i < f->config.max_workers; i++) {
			batch.worker_len = (size_t)snprintf(id, sizeof(id), "w%u", i);
			assert_int_equal(log_fixture_append_batch(f, &batch), EVENT_LOG_OK);
		}
}

static void expect_room_for_the_largest_event(struct log_fixture *f)
{
	enum { EVENT_BYTES = 16 * 1024 };
	static char payload[EVENT_BYTES + 1];
	memset(payload, ' ', EVENT_BYTES);
	payload[0] = '{';
	payload[EVENT_BYTES - 1] = '}';
	assert_int_equal(log_fixture_append(f, "w0", payload), EVENT_LOG_OK);
	assert_int_equal(log_fixture_settle(f), EVENT_LOG_OK);
}

static void many_producers_leave_records_their_room(void **state)
{
	struct log_fixture *f = *state;
	append_for_many_producers(f);
	expect_room_for_the_largest_event(f);
	/* Each has taken the place of an older one since the table had its share. */
	uint64_t position;
	assert_false(event_log_producer_seq(f->log, "w0", 2, 1, &position));
	assert_true(event_log_producer_seq(f->log, "w0", 2, 64, &position));
}

static void a_table_of_larger_segments_leaves_records_their_room(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.segment_bytes = 1024 * 1024;
	log_fixture_open(f);
	append_for_many_producers(f);
	assert_int_equal(log_fixture_close(f), 0);
	assert_int_equal(f->findings[FINDING_TABLE_LARGE], 0);
	f->config.segment_bytes = SEGMENT_BYTES_MIN;
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_TABLE_LARGE], 1);
	expect_room_for_the_largest_event(f);
}

static void an_idle_log_marks_what_is_durable(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_append(f, "w", "{}"), EVENT_LOG_OK);
	log_fixture_sync(f);
	f->monotonic_ns = clock_monotonic_ns();
	struct event_log_status before, after;
	event_log_status(f->log, &before);
	log_fixture_tick(f, NS_PER_S);
	event_log_status(f->log, &after);
	assert_int_equal(after.writes, before.writes + 1);
	log_fixture_tick(f, NS_PER_S);
	log_fixture_tick(f, 10 * NS_PER_S);
	event_log_status(f->log, &after);
	assert_int_equal(after.writes, before.writes + 1);
	expect_all(event_log_view(f->log), 1, 1);
}

static void a_directory_can_be_read_beside_the_daemon(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill_segments(f, "w", 2);
	struct log_view *view;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	expect_all(view, 1, count);
	assert_int_equal(log_fixture_append(f, "w", "{}"), EVENT_LOG_OK);
	assert_int_equal(log_view_refresh(view), 0);
	expect_all(view, 1, count + 1);
	log_view_close(view);
}

static void a_directory_without_segments_is_no_log(void **state)
{
	(void)state;
	char directory[] = "/tmp/sightline-log-XXXXXX";
	assert_non_null(mkdtemp(directory));
	struct log_view *view;
	assert_int_equal(log_view_open(&view, directory, NULL, NULL), -ENOENT);
	assert_int_equal(rmdir(directory), 0);
	assert_int_equal(log_view_open(&view, directory, NULL, NULL), -ENOENT);
}

static void payloads_come_back_byte_for_byte(void **state)
{
	struct log_fixture *f = *state;
	struct event_log_event event = event_of("{\"n\":1.10000,\"s\":\"\\u0041\"}");
	event.kind = "tool_call";
	event.kind_len = 9;
	event.is_keyframe = true;
	event.has_source_time = true;
	event.source_time_ns = -5;
	assert_int_equal(log_fixture_append_event(f, "w:1", &event), EVENT_LOG_OK);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader_piece piece;
	assert_int_equal(reader_open(&reader, event_log_view(f->log), NULL, &start, false, NULL),
		READER_OPENED);
	assert_int_equal(reader_next(reader, 4096, &piece), READER_RECORDS);
	struct record record;
	size_t size;
	assert_int_equal(record_decode(piece.bytes, piece.len, &record, &size), RECORD_OK);
	assert_int_equal(record.payload_len, event.payload_len);
	assert_memory_equal(record.payload, event.payload, event.payload_len);
	assert_memory_equal(record.kind, "tool_call", 9);
	assert_memory_equal(record.worker, "w:1", 3);
	assert_true(record_is_keyframe(&record));
	assert_int_equal(record.source_time_ns, -5);
	assert_int_equal(record.time_ns, f->wall_ns);
	assert_int_equal(record.owner_uid, 1000);
	reader_close(reader);
}

#define LOG_TEST(name) \
	cmocka_unit_test_setup_teardown(name, log_fixture_setup, log_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(what_is_appended_can_be_read),
		LOG_TEST(payloads_come_back_byte_for_byte),
		LOG_TEST(a_full_segment_is_sealed_and_the_next_goes_on),
		LOG_TEST(a_clean_restart_keeps_epoch_records_and_table),
		LOG_TEST(restarts_of_an_idle_log_leave_nothing_behind),
		LOG_TEST(an_unclean_stop_begins_an_epoch),
		LOG_TEST(a_second_daemon_is_refused),
		LOG_TEST(numbered_batches_are_stored_once),
		LOG_TEST(producer_positions_survive_stops_of_both_kinds),
		LOG_TEST(durable_mode_shows_only_what_is_synced),
		LOG_TEST(os_mode_appends_and_rolls),
		LOG_TEST(a_batch_larger_than_a_segment_is_refused),
		LOG_TEST(too_much_staged_answers_busy),
		LOG_TEST(workers_are_listed_page_by_page),
		LOG_TEST(new_workers_at_a_roll_leave_the_footer_its_room),
		LOG_TEST(one_worker_too_many_is_refused_while_all_have_records),
		LOG_TEST(many_producers_leave_records_their_room),
		LOG_TEST(a_table_of_larger_segments_leaves_records_their_room),
		LOG_TEST(an_idle_log_marks_what_is_durable),
		LOG_TEST(a_directory_can_be_read_beside_the_daemon),
		cmocka_unit_test(a_directory_without_segments_is_no_log),
	};
	return cmocka_run_group_tests_name("event_log", tests, NULL, NULL);
}
