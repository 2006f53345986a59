/* eventlogd/log: torn tails, damage behind them, numbers that were lost. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventlogd/log/segment_format.h"
#include "proto/base/clock.h"
#include "proto/record.h"
#include "tests/lib/recovery_fixture.h"

static void a_tail_torn_at_any_byte_keeps_what_was_whole(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 8);
	log_fixture_kill(f);
	char expected[32];
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	uint8_t *zeros = calloc(1, len);
	assert_non_null(zeros);
	size_t end = recovery_end_of_records(bytes, len);
	for (size_t cut = SEGMENT_HEADER_BYTES; cut < end; cut++) {
		log_fixture_patch_segment(f, 0, cut, zeros, end - cut);
		/* A record may end in zeros of its own: then it is whole without them. */
		uint64_t whole = 0;
		while (whole < 8) {
			size_t from = recovery_offset_of(bytes, len, whole + 1);
			size_t to = whole == 7 ? end : recovery_offset_of(bytes, len, whole + 2);
			while (to > from && bytes[to - 1] == 0)
				to--;
			if (to > cut)
				break;
			whole++;
		}
		if (whole == 0)
			expected[0] = '\0';
		else
			snprintf(expected, sizeof(expected), whole == 1 ? "1" : "1-%llu",
				(unsigned long long)whole);
		recovery_expect_directory(f, NULL, expected);
		log_fixture_patch_segment(f, 0, cut, bytes + cut, end - cut);
	}
	free(bytes);
	free(zeros);
	log_fixture_open(f);
}

static void recovery_run_twice_gives_the_same_state(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 8);
	log_fixture_kill(f);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	size_t torn = recovery_offset_of(bytes, len, 6) + RECORD_HEADER_BYTES;
	uint8_t wrong = (uint8_t)~bytes[torn];
	log_fixture_patch_segment(f, 0, torn, &wrong, 1);
	free(bytes);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_TORN_TAIL], 1);
	assert_int_equal(f->last[FINDING_TORN_TAIL].first, 6);
	assert_int_equal(f->last[FINDING_TORN_TAIL].count, 2);
	recovery_expect_log(f, NULL, "1-5");
	for (uint16_t i = 0; i < 5; i++) {
		struct log_ends ends;
		log_fixture_kill(f);
		log_fixture_open(f);
		log_view_ends(event_log_view(f->log), &ends);
		assert_int_equal(ends.newest_seq, 5);
		assert_int_equal(ends.epoch, 3 + i);
		recovery_expect_log(f, "w", "1-5");
	}
	recovery_append_n(f, "w", 2);
	recovery_expect_log(f, NULL, "1-7");
}

static void a_cursor_of_lost_records_is_unknown(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 8);
	struct cursor lost, kept;
	log_view_cursor(event_log_view(f->log), 7, &lost);
	log_view_cursor(event_log_view(f->log), 5, &kept);
	log_fixture_kill(f);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	size_t at = recovery_offset_of(bytes, len, 6);
	uint8_t *zeros = calloc(1, len);
	log_fixture_patch_segment(f, 0, at, zeros, recovery_end_of_records(bytes, len) - at);
	free(bytes);
	free(zeros);
	log_fixture_open(f);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_CURSOR, .cursor = lost};
	struct log_view *view = event_log_view(f->log);
	assert_int_equal(
		reader_open(&reader, view, NULL, &start, false, NULL), READER_CURSOR_UNKNOWN);
	recovery_append_n(f, "w", 8);
	assert_int_equal(
		reader_open(&reader, view, NULL, &start, false, NULL), READER_CURSOR_UNKNOWN);
	char text[RECOVERY_TEXT_BYTES];
	start.cursor = kept;
	log_fixture_read(view, NULL, &start, text, sizeof(text));
	assert_string_equal(text, "6-13");
}

/* What was cut off stays cut off where its segment could not be sealed for want of room. */
static void numbers_given_again_are_read_once(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 8);
	log_fixture_kill(f);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	log_fixture_patch_segment(f, 0, recovery_offset_of(bytes, len, 4), "\xff", 1);
	free(bytes);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_TORN_TAIL], 1);
	recovery_append_n(f, "w", 6);
	log_fixture_kill(f);
	static const uint8_t no_trailer[SEGMENT_TRAILER_BYTES];
	log_fixture_patch_segment(f, 0, len - sizeof(no_trailer), no_trailer, sizeof(no_trailer));
	recovery_expect_directory(f, NULL, "1-9");
	recovery_expect_directory(f, "w", "1-9");
	log_fixture_open(f);
	recovery_expect_log(f, NULL, "1-9");
	recovery_expect_log(f, "w", "1-9");
	assert_int_equal(f->findings[FINDING_DAMAGED], 0);
}

static void a_cut_off_note_is_no_damage_before_its_segment_is_removed(void **state)
{
	struct log_fixture *f = *state;
	struct event_log_event events[2] = {{.payload = (const uint8_t *)"{}", .payload_len = 2}};
	struct event_log_batch batch = {
		.worker = "w",
		.worker_len = 1,
		.has_producer_seq = true,
		.producer = 42,
		.producer_seq = 1,
		.events = events,
		.event_count = 2, /* an event, and a number that stores nothing: a note */
	};
	assert_int_equal(log_fixture_append_batch(f, &batch), EVENT_LOG_OK);
	log_fixture_kill(f);
	char path[LOG_FIXTURE_PATH_BYTES];
	log_fixture_segment_path(f, 0, path);
	log_fixture_patch_segment(f, 0, SEGMENT_HEADER_BYTES + RECORD_LENGTH_AT, "\xff", 1);
	size_t len;
	uint8_t *torn = log_fixture_load_segment(f, 0, &len);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_TORN_TAIL], 1);
	log_fixture_kill(f);
	/* As if it had been killed before the segment without records was gone. */
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, torn, len), len);
	close(fd);
	free(torn);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_DAMAGED], 0);
	log_fixture_kill(f);
	assert_int_equal(access(path, F_OK), -1);
	log_fixture_open(f);
}

static void damage_below_the_durable_mark_is_a_gap_and_the_log_goes_on(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.durability = DURABILITY_INTERVAL;
	log_fixture_open(f);
	recovery_append_n(f, "a", 4);
	recovery_append_n(f, "b", 1);
	recovery_append_n(f, "a", 5);
	log_fixture_sync(f);
	f->monotonic_ns = clock_monotonic_ns();
	log_fixture_tick(f, NS_PER_S); /* the idle mark tells that 10 is durable */
	log_fixture_kill(f);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	size_t at = recovery_offset_of(bytes, len, 5);
	uint8_t wrong = (uint8_t)~bytes[at];
	log_fixture_patch_segment(f, 0, at, &wrong, 1);
	free(bytes);
	for (int i = 0; i < 3; i++) {
		log_fixture_open(f);
		recovery_expect_log(f, NULL, "1-4 !5 6-10");
		/* Nobody knows any more whose record that was. */
		recovery_expect_log(f, "a", "1-4 !5 6-10");
		log_fixture_kill(f);
	}
	log_fixture_open(f);
	recovery_append_n(f, "a", 1);
	recovery_expect_log(f, NULL, "1-4 !5 6-11");
}

static void a_lost_tail_below_the_durable_mark_keeps_its_numbers(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.durability = DURABILITY_INTERVAL;
	log_fixture_open(f);
	recovery_append_n(f, "a", 9);
	log_fixture_sync(f);
	recovery_append_n(f, "a", 1); /* tells that 9 is durable */
	log_fixture_kill(f);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	uint8_t *zeros = calloc(1, len);
	size_t from = recovery_offset_of(bytes, len, 8), to = recovery_offset_of(bytes, len, 10);
	log_fixture_patch_segment(f, 0, from, zeros, to - from);
	log_fixture_open(f);
	recovery_expect_log(f, NULL, "1-7 !8-9 10");
	recovery_append_n(f, "a", 1);
	recovery_expect_log(f, NULL, "1-7 !8-9 10-11");
	free(bytes);
	free(zeros);
}

static void a_lost_end_below_the_durable_mark_keeps_its_numbers(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.durability = DURABILITY_INTERVAL;
	log_fixture_open(f);
	recovery_append_n(f, "a", 9);
	log_fixture_sync(f);
	log_fixture_tick(f, NS_PER_S); /* a mark tells that 9 is durable */
	log_fixture_kill(f);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	uint8_t *zeros = calloc(1, len);
	size_t from = recovery_offset_of(bytes, len, 8),
	       of_one = recovery_offset_of(bytes, len, 9) - from;
	log_fixture_patch_segment(f, 0, from, zeros, 2 * of_one);
	log_fixture_open(f);
	recovery_append_n(f, "a", 1);
	assert_int_equal(f->staged.first_seq, 10);
	recovery_expect_log(f, NULL, "1-7 !8-9 10");
	free(bytes);
	free(zeros);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, recovery_setup, log_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(a_tail_torn_at_any_byte_keeps_what_was_whole),
		LOG_TEST(recovery_run_twice_gives_the_same_state),
		LOG_TEST(a_cursor_of_lost_records_is_unknown),
		LOG_TEST(numbers_given_again_are_read_once),
		LOG_TEST(a_cut_off_note_is_no_damage_before_its_segment_is_removed),
		LOG_TEST(damage_below_the_durable_mark_is_a_gap_and_the_log_goes_on),
		LOG_TEST(a_lost_tail_below_the_durable_mark_keeps_its_numbers),
		LOG_TEST(a_lost_end_below_the_durable_mark_keeps_its_numbers),
	};
	return cmocka_run_group_tests_name("event_log_recovery", tests, NULL, NULL);
}
