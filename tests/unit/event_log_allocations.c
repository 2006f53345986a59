/* eventlogd/log: every allocation failing, once and from then on, in a life and in its recovery. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/verify.h"
#include "proto/base/attributes.h"
#include "proto/base/clock.h"
#include "tests/lib/failing_malloc.h"
#include "tests/lib/log_fixture.h"

enum { TEXT_BYTES = 4096 };

static int append(struct log_fixture *f, unsigned int number)
{
	static const char payload[2000] = "{\"x\":1}";
	char worker[8];
	snprintf(worker, sizeof(worker), "w%u", number % 7);
	struct event_log_event event = {
		.payload = (const uint8_t *)payload, .payload_len = sizeof(payload)};
	return log_fixture_append_event(f, worker, &event);
}

static void append_some(struct log_fixture *f, unsigned int count, uint64_t *acked)
{
	for (unsigned int i = 0; i < count; i++) {
		int r = append(f, i);
		if (r == EVENT_LOG_OK)
			*acked = f->staged.last_seq;
		else
			assert_true(r == EVENT_LOG_NO_SPACE || r == -ENOMEM);
		if (i % 20 == 19)
			log_fixture_tick(f, 2 * NS_PER_S);
	}
}

static void read_through(struct log_fixture *f)
{
	const struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader *reader;
	struct reader_piece piece;
	int r = reader_open(&reader, event_log_view(f->log), NULL, &start, false, NULL);
	assert_true(r == READER_OPENED || r == -ENOMEM);
	if (r != READER_OPENED)
		return;
	while ((r = reader_next(reader, 4096, &piece)) == READER_RECORDS)
		;
	assert_true(r == READER_END || r == READER_OVERRUN || r == -ENOMEM);
	reader_close(reader);
}

static void look_at(struct log_fixture *f)
{
	struct log_view *view;
	struct verify_result result;
	int r = log_view_open(&view, f->directory, NULL, NULL);
	assert_true(r == 0 || r == -ENOMEM);
	if (r != 0)
		return;
	r = log_verify(view, NULL, NULL, NULL, &result);
	assert_true(r == -ENOMEM || (r == 0 && result.damage_count == 0));
	log_view_close(view);
}

/* Once there was memory again, everything works. */
static void check_afterwards(struct log_fixture *f, uint64_t acked)
{
	char text[TEXT_BYTES], expected[64];
	struct log_ends ends;
	log_fixture_open(f);
	assert_int_equal(append(f, 0), EVENT_LOG_OK);
	log_view_ends(event_log_view(f->log), &ends);
	assert_true(ends.newest_seq > acked);
	log_fixture_read_all(event_log_view(f->log), NULL, text, sizeof(text));
	snprintf(expected, sizeof(expected),
		ends.oldest_seq == ends.newest_seq ? "%llu" : "%llu-%llu",
		(unsigned long long)ends.oldest_seq, (unsigned long long)ends.newest_seq);
	assert_string_equal(text, expected);
}

/* False: there are no more allocations. */
static bool survives(uint32_t after, bool sticky)
{
	struct log_fixture f;
	uint64_t acked = 0;
	log_fixture_init(&f);
	f.config.durability = (enum durability)(after % 3);
	f.config.retention.bytes = after % 2 == 0 ? 0 : 3 * SEGMENT_BYTES_MIN;
	log_fixture_open(&f);
	append_some(&f, 40, &acked);
	log_fixture_kill(&f);
	failing_malloc_arm(after, sticky);
	int r = log_fixture_try_open(&f);
	assert_true(r == 0 || r == -ENOMEM);
	if (r == 0) {
		append_some(&f, 60, &acked);
		read_through(&f);
		look_at(&f);
		r = log_fixture_close(&f);
		f.log = NULL;
		assert_true(r == 0 || r == -ENOMEM || r == -ENOSPC);
	}
	bool met = failing_malloc_disarm();
	check_afterwards(&f, acked);
	log_fixture_free(&f);
	return met;
}

static void each_allocation_may_fail_once(_unused_ void **state)
{
	uint32_t n = 0;
	while (survives(n, false))
		n++;
	assert_true(n > 20);
}

static void each_allocation_may_fail_from_then_on(_unused_ void **state)
{
	uint32_t n = 0;
	while (survives(n, true))
		n++;
	assert_true(n > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_may_fail_once),
		cmocka_unit_test(each_allocation_may_fail_from_then_on),
	};
	return cmocka_run_group_tests_name("event_log_allocations", tests, NULL, NULL);
}
