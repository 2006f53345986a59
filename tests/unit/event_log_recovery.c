/* eventlogd/log: torn tails, damage in the middle, lost footers and headers, foreign files. */
#include <errno.h>
#include <fcntl.h>
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

#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/verify.h"
#include "proto/base/clock.h"
#include "proto/record.h"
#include "tests/lib/log_fixture.h"

enum { PATH_BYTES = 128, TEXT_BYTES = 4096 };

static int setup(void **state)
{
	struct log_fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	log_fixture_init(f);
	/* Nothing is synced but at a roll, so that what is written last is above the durable mark.
	 */
	f->config.durability = DURABILITY_OS;
	log_fixture_open(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	log_fixture_free(*state);
	free(*state);
	return 0;
}

static void append_n(struct log_fixture *f, const char *worker, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(log_fixture_append(f, worker, "{\"k\":\"v\"}"), EVENT_LOG_OK);
}

/* Appends alternately for workers a and b until `segments` segments are sealed. */
static uint64_t fill(struct log_fixture *f, unsigned int segments)
{
	char payload[1024];
	struct event_log_status status;
	for (uint64_t n = 0;; n++) {
		event_log_status(f->log, &status);
		if (status.rolls > segments)
			return n;
		snprintf(payload, sizeof(payload), "{\"n\":%llu,\"fill\":\"%0600d\"}",
			(unsigned long long)n, 0);
		assert_int_equal(
			log_fixture_append(f, n % 2 == 0 ? "a" : "b", payload), EVENT_LOG_OK);
	}
}

static void expect_directory(struct log_fixture *f, const char *worker, const char *expected)
{
	char text[TEXT_BYTES];
	struct log_view *view;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	log_fixture_read_all(view, worker, text, sizeof(text));
	log_view_close(view);
	assert_string_equal(text, expected);
}

static void expect_log(struct log_fixture *f, const char *worker, const char *expected)
{
	char text[TEXT_BYTES];
	log_fixture_read_all(event_log_view(f->log), worker, text, sizeof(text));
	assert_string_equal(text, expected);
}

/* Offset of a record in a segment's bytes. */
static size_t offset_of(const uint8_t *bytes, size_t len, uint64_t sequence)
{
	size_t at = SEGMENT_HEADER_BYTES;
	while (at < len) {
		struct record record;
		size_t size;
		assert_int_equal(record_decode(bytes + at, len - at, &record, &size), RECORD_OK);
		if (!record_is_internal(&record) && record.sequence == sequence)
			return at;
		at += size;
	}
	fail_msg("no record %llu", (unsigned long long)sequence);
	return 0;
}

static size_t end_of_records(const uint8_t *bytes, size_t len)
{
	size_t at = SEGMENT_HEADER_BYTES, size;
	struct record record;
	while (record_decode(bytes + at, len - at, &record, &size) == RECORD_OK)
		at += size;
	return at;
}

static void a_tail_torn_at_any_byte_keeps_what_was_whole(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 8);
	log_fixture_kill(f);
	char path[PATH_BYTES], expected[32];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	uint8_t *zeros = calloc(1, len);
	assert_non_null(zeros);
	size_t end = end_of_records(bytes, len);
	for (size_t cut = SEGMENT_HEADER_BYTES; cut < end; cut++) {
		log_fixture_patch(path, cut, zeros, end - cut);
		/* A record may end in zeros of its own: then it is whole without them. */
		uint64_t whole = 0;
		while (whole < 8) {
			size_t from = offset_of(bytes, len, whole + 1);
			size_t to = whole == 7 ? end : offset_of(bytes, len, whole + 2);
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
		expect_directory(f, NULL, expected);
		log_fixture_patch(path, cut, bytes + cut, end - cut);
	}
	free(bytes);
	free(zeros);
	log_fixture_open(f);
}

static void recovery_run_twice_gives_the_same_state(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 8);
	log_fixture_kill(f);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	size_t torn = offset_of(bytes, len, 6) + RECORD_HEADER_BYTES;
	uint8_t wrong = (uint8_t)~bytes[torn];
	log_fixture_patch(path, torn, &wrong, 1);
	free(bytes);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_TORN_TAIL], 1);
	assert_int_equal(f->last[FINDING_TORN_TAIL].first, 6);
	assert_int_equal(f->last[FINDING_TORN_TAIL].count, 2);
	expect_log(f, NULL, "1-5");
	for (uint16_t i = 0; i < 5; i++) {
		struct log_ends ends;
		log_fixture_kill(f);
		log_fixture_open(f);
		log_view_ends(event_log_view(f->log), &ends);
		assert_int_equal(ends.newest_seq, 5);
		assert_int_equal(ends.epoch, 3 + i);
		expect_log(f, "w", "1-5");
	}
	append_n(f, "w", 2);
	expect_log(f, NULL, "1-7");
}

static void a_cursor_of_lost_records_is_unknown(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 8);
	struct cursor lost, kept;
	log_view_cursor(event_log_view(f->log), 7, &lost);
	log_view_cursor(event_log_view(f->log), 5, &kept);
	log_fixture_kill(f);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	size_t at = offset_of(bytes, len, 6);
	uint8_t *zeros = calloc(1, len);
	log_fixture_patch(path, at, zeros, end_of_records(bytes, len) - at);
	free(bytes);
	free(zeros);
	log_fixture_open(f);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_CURSOR, .cursor = lost};
	struct log_view *view = event_log_view(f->log);
	assert_int_equal(
		reader_open(&reader, view, NULL, &start, false, NULL), READER_CURSOR_UNKNOWN);
	append_n(f, "w", 8);
	assert_int_equal(
		reader_open(&reader, view, NULL, &start, false, NULL), READER_CURSOR_UNKNOWN);
	char text[TEXT_BYTES];
	start.cursor = kept;
	log_fixture_read(view, NULL, &start, text, sizeof(text));
	assert_string_equal(text, "6-13");
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
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	log_fixture_patch(path, SEGMENT_HEADER_BYTES + RECORD_LENGTH_AT, "\xff", 1);
	size_t len;
	uint8_t *torn = log_fixture_load(path, &len);
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
	append_n(f, "a", 4);
	append_n(f, "b", 1);
	append_n(f, "a", 5);
	log_fixture_sync(f);
	f->monotonic_ns = clock_monotonic_ns();
	log_fixture_tick(f, NS_PER_S); /* the idle mark tells that 10 is durable */
	log_fixture_kill(f);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	size_t at = offset_of(bytes, len, 5);
	uint8_t wrong = (uint8_t)~bytes[at];
	log_fixture_patch(path, at, &wrong, 1);
	free(bytes);
	for (int i = 0; i < 3; i++) {
		log_fixture_open(f);
		expect_log(f, NULL, "1-4 !5 6-10");
		/* Nobody knows any more whose record that was. */
		expect_log(f, "a", "1-4 !5 6-10");
		log_fixture_kill(f);
	}
	log_fixture_open(f);
	append_n(f, "a", 1);
	expect_log(f, NULL, "1-4 !5 6-11");
}

static void a_lost_tail_below_the_durable_mark_keeps_its_numbers(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.durability = DURABILITY_INTERVAL;
	log_fixture_open(f);
	append_n(f, "a", 9);
	log_fixture_sync(f);
	append_n(f, "a", 1); /* tells that 9 is durable */
	log_fixture_kill(f);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	uint8_t *zeros = calloc(1, len);
	size_t from = offset_of(bytes, len, 8), to = offset_of(bytes, len, 10);
	log_fixture_patch(path, from, zeros, to - from);
	log_fixture_open(f);
	expect_log(f, NULL, "1-7 !8-9 10");
	append_n(f, "a", 1);
	expect_log(f, NULL, "1-7 !8-9 10-11");
	free(bytes);
	free(zeros);
}

static void a_lost_end_below_the_durable_mark_keeps_its_numbers(void **state)
{
	struct log_fixture *f = *state;
	assert_int_equal(log_fixture_close(f), 0);
	f->config.durability = DURABILITY_INTERVAL;
	log_fixture_open(f);
	append_n(f, "a", 9);
	log_fixture_sync(f);
	log_fixture_tick(f, NS_PER_S); /* a mark tells that 9 is durable */
	log_fixture_kill(f);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	uint8_t *zeros = calloc(1, len);
	size_t from = offset_of(bytes, len, 8), of_one = offset_of(bytes, len, 9) - from;
	log_fixture_patch(path, from, zeros, 2 * of_one);
	log_fixture_open(f);
	append_n(f, "a", 1);
	assert_int_equal(f->staged.first_seq, 10);
	expect_log(f, NULL, "1-7 !8-9 10");
	free(bytes);
	free(zeros);
}

static void damage_in_a_sealed_segment_has_exact_bounds(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill(f, 2);
	assert_int_equal(log_fixture_close(f), 0);
	char path[PATH_BYTES], expected[TEXT_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	/* Records 11 (worker a) and 12 (b), across their border. */
	size_t at = offset_of(bytes, len, 12) - 8;
	uint8_t noise[64];
	memset(noise, 0xa5, sizeof(noise));
	log_fixture_patch(path, at, noise, sizeof(noise));
	free(bytes);
	log_fixture_open(f);
	struct reader_start start = {.from = READER_FROM_OLDEST};
	char text[TEXT_BYTES];
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
	append_n(f, "c", 1);
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
	uint64_t count = fill(f, 3);
	assert_int_equal(log_fixture_close(f), 0);
	char path[PATH_BYTES], next_path[PATH_BYTES], expected[TEXT_BYTES];
	log_fixture_segment_path(f, 1, path, sizeof(path));
	log_fixture_segment_path(f, 2, next_path, sizeof(next_path));
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
	expect_log(f, NULL, expected);
}

static void segments_removed_by_hand_expire_old_cursors(void **state)
{
	struct log_fixture *f = *state;
	fill(f, 3);
	struct cursor cursor;
	log_view_cursor(event_log_view(f->log), 2, &cursor);
	assert_int_equal(log_fixture_close(f), 0);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
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
	uint64_t count = fill(f, 3);
	assert_int_equal(log_fixture_close(f), 0);
	char path[PATH_BYTES], expected[64];
	snprintf(expected, sizeof(expected), "1-%llu", (unsigned long long)count);
	/* The last bytes of the trailer, and of the sections before it, of each segment. */
	for (unsigned int i = 0; i < log_fixture_segments(f); i++) {
		static const size_t from_end[] = {8, SEGMENT_TRAILER_BYTES + 16, 1024};
		log_fixture_segment_path(f, i, path, sizeof(path));
		for (size_t j = 0; j < 3; j++) {
			size_t len;
			uint8_t *bytes = log_fixture_load(path, &len);
			size_t at = len - from_end[j];
			uint8_t wrong = (uint8_t)~bytes[at];
			log_fixture_patch(path, at, &wrong, 1);
			expect_directory(f, NULL, expected);
			struct log_view *view;
			char text[TEXT_BYTES];
			assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
			log_fixture_read_all(view, "a", text, sizeof(text));
			assert_memory_equal(text, "1 3 5 7 ", 8);
			assert_null(strchr(text, '!'));
			struct log_worker worker;
			assert_true(log_view_worker(view, "a", 1, &worker));
			assert_int_equal(worker.retained_count, (count + 1) / 2);
			log_view_close(view);
			log_fixture_patch(path, at, bytes + at, 1);
			free(bytes);
		}
	}
	log_fixture_open(f);
}

static void a_damaged_header_page_costs_no_record(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill(f, 2);
	append_n(f, "a", 3);
	log_fixture_kill(f);
	char path[PATH_BYTES], expected[64];
	snprintf(expected, sizeof(expected), "1-%llu", (unsigned long long)count + 3);
	for (unsigned int i = 0; i < log_fixture_segments(f); i++) {
		log_fixture_segment_path(f, i, path, sizeof(path));
		size_t len;
		uint8_t *bytes = log_fixture_load(path, &len);
		uint8_t noise[64];
		memset(noise, 0x5a, sizeof(noise));
		log_fixture_patch(path, 0, noise, sizeof(noise));
		expect_directory(f, NULL, expected);
		log_fixture_patch(path, 0, bytes, sizeof(noise));
		free(bytes);
	}
	log_fixture_open(f);
}

static void every_flipped_byte_costs_at_most_its_record(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "a", 6);
	append_n(f, "b", 6);
	assert_int_equal(log_fixture_close(f), 0);
	char path[PATH_BYTES], text[TEXT_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	size_t end = end_of_records(bytes, len);
	for (size_t at = 0; at < len; at++) {
		if (at == end)
			at = len - 2048; /* what was never written is of no interest */
		uint8_t wrong = (uint8_t)~bytes[at];
		log_fixture_patch(path, at, &wrong, 1);
		struct log_view *view;
		int r = log_view_open(&view, f->directory, NULL, NULL);
		if (r == 0) {
			log_fixture_read_all(view, NULL, text, sizeof(text));
			log_view_close(view);
			uint64_t hit = 0;
			for (uint64_t n = 1; n <= 12; n++)
				if (at >= offset_of(bytes, len, n) && at < end)
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
		log_fixture_patch(path, at, bytes + at, 1);
	}
	free(bytes);
	log_fixture_open(f);
}

static void moved_and_copied_records_never_validate(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 8);
	log_fixture_kill(f);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	/* Record 3 in the place of record 6, of the same length. */
	size_t from = offset_of(bytes, len, 3), size = offset_of(bytes, len, 4) - from;
	log_fixture_patch(path, offset_of(bytes, len, 6), bytes + from, size);
	free(bytes);
	expect_directory(f, NULL, "1-5");
	log_fixture_open(f);
}

static void a_record_whose_worker_is_no_id_stops_nothing(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 3);
	log_fixture_kill(f);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len, size;
	uint8_t *bytes = log_fixture_load(path, &len);
	size_t at = offset_of(bytes, len, 2);
	struct record record;
	assert_int_equal(record_decode(bytes + at, len - at, &record, &size), RECORD_OK);
	uint8_t forged[256];
	assert_true(size <= sizeof(forged));
	record.worker = "/";
	record_encode(&record, forged);
	record_place(forged, get_le32(bytes + at + RECORD_SALT_AT), (uint32_t)at, 0);
	log_fixture_patch(path, at, forged, size);
	free(bytes);
	log_fixture_open(f);
	expect_log(f, "w", "1 3");
	append_n(f, "w", 1);
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	expect_log(f, "w", "1 3-4");
}

static void what_is_not_ours_is_reported_and_left_alone(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 3);
	assert_int_equal(log_fixture_close(f), 0);
	char path[PATH_BYTES + 64];
	static const char *const names[] = {"00000000000000a0-0001.seg",
		"00000000000000a1-0001.seg", "00000000000000a2-0001.seg",
		"00000000000000a3-0001.seg"};
	snprintf(path, sizeof(path), "%s/%s", f->directory, names[0]);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/%s", f->directory, names[1]);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	snprintf(path, sizeof(path), "%s/%s", f->directory, names[2]);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s", f->directory, names[3]);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "short", 5), 5);
	close(fd);
	snprintf(path, sizeof(path), "%s/notes.txt", f->directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_FOREIGN_FILE], 5);
	expect_log(f, NULL, "1-3");
	append_n(f, "w", 1);
	assert_int_equal(log_fixture_close(f), 0);
	for (size_t i = 0; i < 4; i++) {
		struct stat st;
		snprintf(path, sizeof(path), "%s/%s", f->directory, names[i]);
		assert_int_equal(lstat(path, &st), 0);
	}
	log_fixture_open(f);
}

static void a_file_in_the_middle_of_a_segment_costs_no_record(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill(f, 2);
	char first[PATH_BYTES], path[PATH_BYTES], text[TEXT_BYTES], expected[64];
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_segment_path(f, 0, first, sizeof(first));
	snprintf(path, sizeof(path), "%s/0000000000000010-0001.seg", f->directory);
	snprintf(expected, sizeof(expected), "1-%llu", (unsigned long long)count);
	size_t len;
	uint8_t *copy = log_fixture_load(first, &len);
	for (int is_garbage = 0; is_garbage < 2; is_garbage++) {
		if (is_garbage)
			memset(copy, 0x5a, len);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, copy, len), len);
		close(fd);
		log_fixture_open(f);
		assert_int_equal(f->findings[FINDING_FOREIGN_FILE], 1);
		log_fixture_read_all(event_log_view(f->log), NULL, text, sizeof(text));
		assert_string_equal(text, expected);
		assert_int_equal(log_fixture_close(f), 0);
		assert_int_equal(access(path, F_OK), 0);
	}
	free(copy);
}

static void a_segment_of_another_log_is_left_alone(void **state)
{
	struct log_fixture *f = *state;
	fill(f, 2);
	struct log_fixture other;
	log_fixture_init(&other);
	log_fixture_open(&other);
	append_n(&other, "x", 3);
	assert_int_equal(log_fixture_close(&other), 0);
	char path[PATH_BYTES], copy[PATH_BYTES];
	log_fixture_segment_path(&other, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	assert_int_equal(log_fixture_close(f), 0);
	snprintf(copy, sizeof(copy), "%s/0000000000000001-0002.seg", f->directory);
	int fd = open(copy, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
	free(bytes);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_OTHER_LOG] + f->findings[FINDING_FOREIGN_FILE], 1);
	struct log_worker worker;
	assert_false(event_log_worker(f->log, "x", 1, &worker));
	log_fixture_free(&other);
}

static void a_newer_format_is_refused_where_it_matters(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 3);
	assert_int_equal(log_fixture_close(f), 0);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	struct segment_header *header = malloc(sizeof(*header));
	assert_int_equal(segment_header_decode(bytes, header), SEGMENT_FORMAT_OK);
	header->features = 0x80000000u;
	uint8_t page[SEGMENT_HEADER_BYTES];
	segment_header_encode(header, page);
	log_fixture_patch(path, 0, page, sizeof(page));
	free(header);
	assert_int_equal(log_fixture_try_open(f), -EPROTONOSUPPORT);
	assert_int_equal(f->findings[FINDING_NEWER_FORMAT], 1);
	log_fixture_patch(path, 0, bytes, SEGMENT_HEADER_BYTES);
	free(bytes);
	log_fixture_open(f);
	expect_log(f, NULL, "1-3");
}

static void a_spare_that_lies_around_is_dropped(void **state)
{
	struct log_fixture *f = *state;
	append_n(f, "w", 3);
	log_fixture_kill(f);
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/%s", f->directory, SEGMENT_SPARE_NAME);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "garbage", 7), 7);
	close(fd);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_TEMPORARY_REMOVED], 1);
	expect_log(f, NULL, "1-3");
}

static void verify_names_damage_and_nothing_else(void **state)
{
	struct log_fixture *f = *state;
	uint64_t count = fill(f, 2);
	assert_int_equal(log_fixture_close(f), 0);
	struct log_view *view;
	struct verify_result result;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	assert_int_equal(log_verify(view, &f->config.findings, NULL, NULL, &result), 0);
	assert_int_equal(result.damage_count, 0);
	assert_int_equal(result.records, count);
	log_view_close(view);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 1, path, sizeof(path));
	size_t len;
	uint8_t *bytes = log_fixture_load(path, &len);
	uint64_t first = record_sequence_at(bytes + SEGMENT_HEADER_BYTES);
	size_t at = offset_of(bytes, len, first + 3) + 60;
	uint8_t wrong = (uint8_t)~bytes[at];
	log_fixture_patch(path, at, &wrong, 1);
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
	fill(f, 2);
	assert_int_equal(log_fixture_close(f), 0);
	map_guard_install(); /* cmocka takes the signal for each test */
	struct log_view *view;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader_piece piece;
	assert_int_equal(reader_open(&reader, view, NULL, &start, false, NULL), READER_OPENED);
	assert_int_equal(reader_next(reader, 100, &piece), READER_RECORDS);
	char path[PATH_BYTES];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(reader_next(reader, 65536, &piece), -EIO);
	reader_close(reader);
	log_view_close(view);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(a_tail_torn_at_any_byte_keeps_what_was_whole),
		LOG_TEST(recovery_run_twice_gives_the_same_state),
		LOG_TEST(a_cursor_of_lost_records_is_unknown),
		LOG_TEST(a_cut_off_note_is_no_damage_before_its_segment_is_removed),
		LOG_TEST(damage_below_the_durable_mark_is_a_gap_and_the_log_goes_on),
		LOG_TEST(a_lost_tail_below_the_durable_mark_keeps_its_numbers),
		LOG_TEST(a_lost_end_below_the_durable_mark_keeps_its_numbers),
		LOG_TEST(damage_in_a_sealed_segment_has_exact_bounds),
		LOG_TEST(a_missing_segment_is_a_lost_range),
		LOG_TEST(segments_removed_by_hand_expire_old_cursors),
		LOG_TEST(a_damaged_footer_falls_back_to_a_scan),
		LOG_TEST(a_damaged_header_page_costs_no_record),
		LOG_TEST(every_flipped_byte_costs_at_most_its_record),
		LOG_TEST(moved_and_copied_records_never_validate),
		LOG_TEST(a_record_whose_worker_is_no_id_stops_nothing),
		LOG_TEST(what_is_not_ours_is_reported_and_left_alone),
		LOG_TEST(a_file_in_the_middle_of_a_segment_costs_no_record),
		LOG_TEST(a_segment_of_another_log_is_left_alone),
		LOG_TEST(a_newer_format_is_refused_where_it_matters),
		LOG_TEST(a_spare_that_lies_around_is_dropped),
		LOG_TEST(verify_names_damage_and_nothing_else),
		LOG_TEST(a_file_that_shrinks_under_a_reader_is_an_io_error),
	};
	return cmocka_run_group_tests_name("event_log_recovery", tests, NULL, NULL);
}
