/* eventlogd/log: what lies in the directory and is not ours. */
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

#include "eventlogd/log/segment_format.h"
#include "proto/base/clock.h"
#include "tests/lib/recovery_fixture.h"

static void what_is_not_ours_is_reported_and_left_alone(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 3);
	assert_int_equal(log_fixture_close(f), 0);
	char path[LOG_FIXTURE_PATH_BYTES + 64];
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
	recovery_expect_log(f, NULL, "1-3");
	recovery_append_n(f, "w", 1);
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
	uint64_t count = recovery_fill(f, 2);
	char first[LOG_FIXTURE_PATH_BYTES], path[LOG_FIXTURE_PATH_BYTES], text[RECOVERY_TEXT_BYTES],
		expected[64];
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_segment_path(f, 0, first);
	snprintf(path, sizeof(path), "%s/0000000000000010-0001.seg", f->directory);
	snprintf(expected, sizeof(expected), "1-%llu", (unsigned long long)count);
	size_t len;
	uint8_t *copy = log_fixture_load_segment(f, 0, &len);
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

/* A copy of the other's n-th segment. */
static void put_segment(const struct log_fixture *f, const char *name,
	const struct log_fixture *other, unsigned int number)
{
	char copy[LOG_FIXTURE_PATH_BYTES];
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(other, number, &len);
	snprintf(copy, sizeof(copy), "%s/%s", f->directory, name);
	int fd = open(copy, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
	free(bytes);
}

static void a_segment_of_another_log_is_left_alone(void **state)
{
	struct log_fixture *f = *state;
	recovery_fill(f, 2);
	struct log_fixture other;
	log_fixture_init(&other);
	log_fixture_open(&other);
	recovery_append_n(&other, "x", 3);
	assert_int_equal(log_fixture_close(&other), 0);
	assert_int_equal(log_fixture_close(f), 0);
	put_segment(f, "0000000000000001-0002.seg", &other, 0);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_OTHER_LOG] + f->findings[FINDING_FOREIGN_FILE], 1);
	struct log_worker worker;
	assert_false(event_log_worker(f->log, "x", 1, &worker));
	log_fixture_free(&other);
}

/* Which epoch gave what has been pruned is in headers alone. */
static void another_logs_segment_hides_no_epoch(void **state)
{
	struct log_fixture *f = *state;
	static char payload[8 * 1024];
	memset(payload, ' ', sizeof(payload) - 1);
	payload[0] = '{';
	payload[sizeof(payload) - 2] = '}';
	f->config.retention.bytes = 3 * SEGMENT_BYTES_MIN;
	for (int i = 0; i < 3; i++) {
		recovery_append_n(f, "w", 3); /* 1 to 3 in epoch 1, 4 to 6 in epoch 2, … */
		log_fixture_kill(f);
		log_fixture_open(f);
	}
	for (int i = 0; i < 40; i++)
		assert_int_equal(log_fixture_append(f, "w", payload), EVENT_LOG_OK);
	log_fixture_tick(f, NS_PER_S);
	struct log_ends ends;
	log_view_ends(event_log_view(f->log), &ends);
	assert_true(ends.oldest_seq > 9);
	assert_int_equal(log_fixture_close(f), 0);

	struct log_fixture other;
	log_fixture_init(&other);
	log_fixture_open(&other);
	while (log_fixture_segments(&other) < 2)
		recovery_append_n(&other, "x", 100);
	assert_int_equal(log_fixture_close(&other), 0);
	char path[LOG_FIXTURE_PATH_BYTES], name[LOG_FIXTURE_PATH_BYTES];
	log_fixture_segment_path(&other, 1, path);
	snprintf(name, sizeof(name), "%s", strrchr(path, '/') + 1);
	put_segment(f, name, &other, 1);
	log_fixture_free(&other);

	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_OTHER_LOG], 1);
	for (unsigned int i = 0; i < 9; i++) {
		struct cursor cursor;
		log_view_cursor(event_log_view(f->log), i + 1, &cursor);
		assert_int_equal(cursor.epoch, i / 3 + 1);
	}
}

static void a_newer_format_is_refused_where_it_matters(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 3);
	assert_int_equal(log_fixture_close(f), 0);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	struct segment_header *header = malloc(sizeof(*header));
	assert_int_equal(segment_header_decode(bytes, header), SEGMENT_FORMAT_OK);
	header->features = 0x80000000u;
	uint8_t page[SEGMENT_HEADER_BYTES];
	segment_header_encode(header, page);
	log_fixture_patch_segment(f, 0, 0, page, sizeof(page));
	free(header);
	assert_int_equal(log_fixture_try_open(f), -EPROTONOSUPPORT);
	assert_int_equal(f->findings[FINDING_NEWER_FORMAT], 1);
	log_fixture_patch_segment(f, 0, 0, bytes, SEGMENT_HEADER_BYTES);
	free(bytes);
	log_fixture_open(f);
	recovery_expect_log(f, NULL, "1-3");
}

static void a_spare_that_lies_around_is_dropped(void **state)
{
	struct log_fixture *f = *state;
	recovery_append_n(f, "w", 3);
	log_fixture_kill(f);
	char path[LOG_FIXTURE_PATH_BYTES];
	snprintf(path, sizeof(path), "%s/%s", f->directory, SEGMENT_SPARE_NAME);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "garbage", 7), 7);
	close(fd);
	log_fixture_open(f);
	assert_int_equal(f->findings[FINDING_TEMPORARY_REMOVED], 1);
	recovery_expect_log(f, NULL, "1-3");
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, recovery_setup, log_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(what_is_not_ours_is_reported_and_left_alone),
		LOG_TEST(a_file_in_the_middle_of_a_segment_costs_no_record),
		LOG_TEST(a_segment_of_another_log_is_left_alone),
		LOG_TEST(another_logs_segment_hides_no_epoch),
		LOG_TEST(a_newer_format_is_refused_where_it_matters),
		LOG_TEST(a_spare_that_lies_around_is_dropped),
	};
	return cmocka_run_group_tests_name("event_log_foreign", tests, NULL, NULL);
}
