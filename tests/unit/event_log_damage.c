/* eventlogd/log: damage in sealed segments, lost footers and headers, missing segments. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/verify.h"
#include "proto/record.h"
#include "tests/lib/recovery_fixture.h"

static void damage_in_a_sealed_segment_has_exact_bounds(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = recovery_fill(f, 2);
	assert_int_equal(log_fixture_close(f), 0);
	char expected[RECOVERY_TEXT_BYTES];
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	/* Records 11 (worker a) and 12 (b), across their border. */
	size_t at = recovery_offset_of(bytes, len, 12) - 8;
	uint8_t noise[64];
	memset(noise, 0xa5, sizeof(noise));
	log_fixture_patch_segment(f, 0, at, noise, sizeof(noise));
	free(bytes);
	log_fixture_open(f);
	struct reader_start start = {.from = READER_FROM_OLDEST};
	char text[RECOVERY_TEXT_BYTES];
	log_fixture_read(event_log_view(f->log), NULL, &start, text, sizeof(text));
	snprintf(expected, sizeof(expected), "1-10 !11-12 13-%llu", (unsigned long long)count);
	assert_string_equal(text, expected);
	/* The footer still knows whose they were. */
	log_fixture_read_all(event_log_view(f->log), "a", text, sizeof(text));
	assert_non_null(strstr(text, "9 !11 13"));
	assert_null(strstr(text, "!12"));
	log_fixture_read_all(event_log_view(f->log), "b", text, sizeof(text));
	assert_non_null(strstr(text, "10 !12 14"));
	assert_null(strstr(text, "!11"));
	/* A set without either of them is not told. */
	recovery_append_n(f, "c", 1);
	const char *ids[] = {"c", "d"};
	size_t lens[] = {1, 1};
	struct reader_selection selection = {ids, lens, 2};
	struct reader *reader;
	struct reader_piece piece;
	assert_int_equal(
		reader_open(&reader, event_log_view(f->log), &selection, &start, true, NULL),
		READER_OPENED);
	int r;
	while ((r = reader_next(reader, 4096, &piece)) == READER_RECORDS)
		assert_true(piece.count == 0 || piece.first == count + 1);
	assert_int_equal(r, READER_END);
	reader_close(reader);
}

static void a_missing_segment_is_a_lost_range(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = recovery_fill(f, 3);
	assert_int_equal(log_fixture_close(f), 0);
	char path[LOG_FIXTURE_PATH_BYTES], next_path[LOG_FIXTURE_PATH_BYTES],
		expected[RECOVERY_TEXT_BYTES];
	log_fixture_segment_path(f, 1, path);
	log_fixture_segment_path(f, 2, next_path);
	uint64_t base, next_base;
	uint16_t epoch;
	assert_true(segment_name_parse(strrchr(path, '/') + 1, &base, &epoch));
	assert_true(segment_name_parse(strrchr(next_path, '/') + 1, &next_base, &epoch));
	assert_int_equal(unlink(path), 0);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_LOST], 1);
	snprintf(expected, sizeof(expected), "1-%llu ?%llu-%llu %llu-%llu",
		(unsigned long long)base - 1, (unsigned long long)base,
		(unsigned long long)next_base - 1, (unsigned long long)next_base,
		(unsigned long long)count);
	recovery_expect_log(f, NULL, expected);
}

static void segments_removed_by_hand_expire_old_cursors(void **state)
{
	struct log_fixture *f = *state;
	recovery_fill(f, 3);
	struct cursor cursor;
	log_view_cursor(event_log_view(f->log), 2, &cursor);
	assert_int_equal(log_fixture_close(f), 0);
	char path[LOG_FIXTURE_PATH_BYTES];
	log_fixture_segment_path(f, 0, path);
	assert_int_equal(unlink(path), 0);
	log_fixture_open(f);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_CURSOR, .cursor = cursor};
	struct reader_opened opened;
	assert_int_equal(reader_open(&reader, event_log_view(f->log), NULL, &start, false, &opened),
		READER_CURSOR_EXPIRED);
	assert_true(opened.oldest_seq > 3);
}

static void a_damaged_footer_falls_back_to_a_scan(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = recovery_fill(f, 3);
	assert_int_equal(log_fixture_close(f), 0);
	char expected[64];
	snprintf(expected, sizeof(expected), "1-%llu", (unsigned long long)count);
	/* The last bytes of the trailer, and of the sections before it, of each segment. */
	for (unsigned int i = 0; i < log_fixture_segments(f); i++) {
		static const size_t from_end[] = {8, SEGMENT_TRAILER_BYTES + 16, 1024};
		for (size_t j = 0; j < 3; j++) {
			size_t len;
			uint8_t *bytes = log_fixture_load_segment(f, i, &len);
			size_t at = len - from_end[j];
			uint8_t wrong = (uint8_t)~bytes[at];
			log_fixture_patch_segment(f, i, at, &wrong, 1);
			recovery_expect_directory(f, NULL, expected);
			struct log_view *view;
			char text[RECOVERY_TEXT_BYTES];
			assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
			log_fixture_read_all(view, "a", text, sizeof(text));
			assert_memory_equal(text, "1 3 5 7 ", 8);
			assert_null(strchr(text, '!'));
			struct log_worker worker;
			assert_true(log_view_worker(view, "a", 1, &worker));
			assert_int_equal(worker.retained_count, (count + 1) / 2);
			log_view_close(view);
			log_fixture_patch_segment(f, i, at, bytes + at, 1);
			free(bytes);
		}
	}
	log_fixture_open(f);
}

static void a_damaged_header_page_costs_no_record(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = recovery_fill(f, 2);
	recovery_append_n(f, "a", 3);
	log_fixture_kill(f);
	char expected[64];
	snprintf(expected, sizeof(expected), "1-%llu", (unsigned long long)count + 3);
	for (unsigned int i = 0; i < log_fixture_segments(f); i++) {
		size_t len;
		uint8_t *bytes = log_fixture_load_segment(f, i, &len);
		uint8_t noise[64];
		memset(noise, 0x5a, sizeof(noise));
		log_fixture_patch_segment(f, i, 0, noise, sizeof(noise));
		recovery_expect_directory(f, NULL, expected);
		log_fixture_patch_segment(f, i, 0, bytes, sizeof(noise));
		free(bytes);
	}
	log_fixture_open(f);
}

static void every_flipped_byte_costs_at_most_its_record(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "a", 6);
	recovery_append_n(f, "b", 6);
	assert_int_equal(log_fixture_close(f), 0);
	char text[RECOVERY_TEXT_BYTES];
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	size_t end = recovery_end_of_records(bytes, len);
	for (size_t at = 0; at < len; at++) {
		if (at == end)
			at = len - 2048; /* what was never written is of no interest */
		uint8_t wrong = (uint8_t)~bytes[at];
		log_fixture_patch_segment(f, 0, at, &wrong, 1);
		struct log_view *view;
		int r = log_view_open(&view, f->directory, NULL, NULL);
		if (r == 0) {
			log_fixture_read_all(view, NULL, text, sizeof(text));
			log_view_close(view);
			uint64_t hit = 0;
			for (uint64_t n = 1; n <= 12; n++)
				if (at >= recovery_offset_of(bytes, len, n) && at < end)
					hit = n;
			char expected[80] = "1-12";
			if (hit == 1)
				strcpy(expected, "!1 2-12");
			else if (hit == 2)
				strcpy(expected, "1 !2 3-12");
			else if (hit == 11)
				strcpy(expected, "1-10 !11 12");
			else if (hit == 12)
				strcpy(expected, "1-11 !12");
			else if (hit != 0)
				snprintf(expected, sizeof(expected), "1-%llu !%llu %llu-12",
					(unsigned long long)hit - 1, (unsigned long long)hit,
					(unsigned long long)hit + 1);
			if (strcmp(text, expected) != 0)
				fail_msg("byte %zu: %s instead of %s", at, text, expected);
		} else {
			fail_msg("byte %zu: %d", at, r);
		}
		log_fixture_patch_segment(f, 0, at, bytes + at, 1);
	}
	free(bytes);
	log_fixture_open(f);
}

static void moved_and_copied_records_never_validate(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 8);
	log_fixture_kill(f);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	/* Record 3 in the place of record 6, of the same length. */
	size_t from = recovery_offset_of(bytes, len, 3),
	       size = recovery_offset_of(bytes, len, 4) - from;
	log_fixture_patch_segment(f, 0, recovery_offset_of(bytes, len, 6), bytes + from, size);
	free(bytes);
	recovery_expect_directory(f, NULL, "1-5");
	log_fixture_open(f);
}

static void a_record_whose_worker_is_no_id_stops_nothing(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 3);
	log_fixture_kill(f);
	size_t len, size;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	size_t at = recovery_offset_of(bytes, len, 2);
	struct record record;
	assert_int_equal(record_decode(bytes + at, len - at, &record, &size), RECORD_OK);
	uint8_t forged[256];
	assert_true(size <= sizeof(forged));
	record.worker = "/";
	record_encode(&record, forged);
	record_place(forged, get_le32(bytes + at + RECORD_SALT_AT), (uint32_t)at, 0);
	log_fixture_patch_segment(f, 0, at, forged, size);
	free(bytes);
	log_fixture_open(f);
	recovery_expect_log(f, "w", "1 3");
	recovery_append_n(f, "w", 1);
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	recovery_expect_log(f, "w", "1 3-4");
}

static void verify_names_damage_and_nothing_else(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = recovery_fill(f, 2);
	assert_int_equal(log_fixture_close(f), 0);
	struct log_view *view;
	struct verify_result result;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	assert_int_equal(log_verify(view, &f->config.findings, NULL, NULL, &result), 0);
	assert_int_equal(result.damage_count, 0);
	assert_int_equal(result.records, count);
	log_view_close(view);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 1, &len);
	uint64_t first = record_sequence_at(bytes + SEGMENT_HEADER_BYTES);
	size_t at = recovery_offset_of(bytes, len, first + 3) + 60;
	uint8_t wrong = (uint8_t)~bytes[at];
	log_fixture_patch_segment(f, 1, at, &wrong, 1);
	free(bytes);
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	assert_int_equal(log_verify(view, &f->config.findings, NULL, NULL, &result), 0);
	assert_int_equal(result.damage_count, 1);
	assert_int_equal(f->last[FINDING_DAMAGED].first, first + 3);
	assert_int_equal(f->last[FINDING_DAMAGED].last, first + 3);
	log_view_close(view);
	log_fixture_open(f);
}

static void a_file_that_shrinks_under_a_reader_is_an_io_error(void **state)
{
	struct log_fixture *f = *state;
	recovery_fill(f, 2);
	assert_int_equal(log_fixture_close(f), 0);
	map_guard_install(); /* cmocka takes the signal for each test */
	struct log_view *view;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader_piece piece;
	assert_int_equal(reader_open(&reader, view, NULL, &start, false, NULL), READER_OPENED);
	assert_int_equal(reader_next(reader, 100, &piece), READER_RECORDS);
	char path[LOG_FIXTURE_PATH_BYTES];
	log_fixture_segment_path(f, 0, path);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(reader_next(reader, 65536, &piece), -EIO);
	reader_close(reader);
	log_view_close(view);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, recovery_setup, log_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(damage_in_a_sealed_segment_has_exact_bounds),
		LOG_TEST(a_missing_segment_is_a_lost_range),
		LOG_TEST(segments_removed_by_hand_expire_old_cursors),
		LOG_TEST(a_damaged_footer_falls_back_to_a_scan),
		LOG_TEST(a_damaged_header_page_costs_no_record),
		LOG_TEST(every_flipped_byte_costs_at_most_its_record),
		LOG_TEST(moved_and_copied_records_never_validate),
		LOG_TEST(a_record_whose_worker_is_no_id_stops_nothing),
		LOG_TEST(verify_names_damage_and_nothing_else),
		LOG_TEST(a_file_that_shrinks_under_a_reader_is_an_io_error),
	};
	return cmocka_run_group_tests_name("event_log_damage", tests, NULL, NULL);
}
