#include "tests/lib/recovery_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "eventlogd/log/segment_format.h"
#include "proto/record.h"

int recovery_setup(void **state)
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

void recovery_append_n(struct log_fixture *f, const char *worker, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		assert_int_equal(log_fixture_append(f, worker, "{\"k\":\"v\"}"), EVENT_LOG_OK);
}

uint64_t recovery_fill(struct log_fixture *f, unsigned int segments)
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

void recovery_expect_directory(struct log_fixture *f, const char *worker, const char *expected)
{
	char text[RECOVERY_TEXT_BYTES];
	struct log_view *view;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	log_fixture_read_all(view, worker, text, sizeof(text));
	log_view_close(view);
	assert_string_equal(text, expected);
}

void recovery_expect_log(struct log_fixture *f, const char *worker, const char *expected)
{
	char text[RECOVERY_TEXT_BYTES];
	log_fixture_read_all(event_log_view(f->log), worker, text, sizeof(text));
	assert_string_equal(text, expected);
}

size_t recovery_offset_of(const uint8_t *bytes, size_t len, uint64_t sequence)
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

size_t recovery_end_of_records(const uint8_t *bytes, size_t len)
{
	size_t at = SEGMENT_HEADER_BYTES, size;
	struct record record;
	while (record_decode(bytes + at, len - at, &record, &size) == RECORD_OK)
		at += size;
	return at;
}
