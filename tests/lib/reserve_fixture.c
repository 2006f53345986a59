#include "tests/lib/reserve_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/verify.h"
#include "proto/base/clock.h"

int reserve_setup(void **state)
{
	struct reserve_fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	log_fixture_init(&f->log);
	fault_ops_init(&f->faults);
	f->log.config.ops = &f->faults.ops;
	f->log.config.retention.bytes = RESERVE_LIMIT_SEGMENTS * SEGMENT_BYTES_MIN;
	*state = f;
	return 0;
}

int reserve_teardown(void **state)
{
	struct reserve_fixture *f = *state;
	fault_ops_clear(&f->faults);
	log_fixture_free(&f->log);
	fault_ops_free(&f->faults);
	free(f);
	return 0;
}

int reserve_append(struct log_fixture *f, const char *worker, uint32_t uid, bool is_keyframe,
	size_t fill_bytes)
{
	static char payload[16 * 1024];
	assert_true(fill_bytes + 2 < sizeof(payload));
	memset(payload, ' ', fill_bytes + 2);
	payload[0] = '{';
	payload[fill_bytes + 1] = '}';
	struct event_log_event event = {.payload = (const uint8_t *)payload,
		.payload_len = fill_bytes + 2,
		.is_keyframe = is_keyframe};
	struct event_log_batch batch = {.worker = worker,
		.worker_len = strlen(worker),
		.owner_uid = uid,
		.events = &event,
		.event_count = 1};
	return log_fixture_append_batch(f, &batch);
}

uint64_t reserve_append_quiet(struct log_fixture *f, bool is_keyframe)
{
	assert_int_equal(reserve_append(f, "quiet", QUIET_UID, is_keyframe, 50), EVENT_LOG_OK);
	return f->staged.first_seq;
}

/* Whether the sync thread has something in hand that it will wake the loop for. */
static bool is_at_work(struct log_fixture *f)
{
	const struct compacting *compacting = &f->log->compacting;
	return compacting->state == COMPACT_RUNS || compacting->state == COMPACT_REPLACES ||
	       syncer_has_removals(&f->log->syncer);
}

void reserve_let_retention_work(struct log_fixture *f)
{
	const struct compacting *compacting = &f->log->compacting;
	log_fixture_tick(f, 2 * NS_PER_S);
	while (!f->log->is_read_only && !f->log->has_no_space &&
		(compacting->state != COMPACT_NONE || compacting->goes_on || is_at_work(f))) {
		if (is_at_work(f))
			log_fixture_wait(f);
		else
			log_fixture_tick(f, 2 * NS_PER_S);
		(void)event_log_commit(f->log, f->wall_ns);
	}
}

void reserve_make_noise(struct log_fixture *f, unsigned int rolls)
{
	struct event_log_status status;
	event_log_status(f->log, &status);
	uint64_t until = status.rolls + rolls, rolls_before = status.rolls;
	while (status.rolls < until) {
		assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 1000), EVENT_LOG_OK);
		event_log_status(f->log, &status);
		if (status.rolls != rolls_before)
			reserve_let_retention_work(f);
		rolls_before = status.rolls;
	}
}

int reserve_try_open(
	struct log_fixture *f, const char *worker, uint64_t sequence, struct reader_opened *opened)
{
	struct reader *reader = NULL;
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(event_log_view(f->log), sequence, &start.cursor);
	size_t len = strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	int r = reader_open(&reader, event_log_view(f->log), &selection, &start, false, opened);
	reader_close(reader);
	return r;
}

void reserve_read_after(
	struct log_fixture *f, const char *worker, uint64_t sequence, char text[RESERVE_TEXT_BYTES])
{
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(event_log_view(f->log), sequence, &start.cursor);
	size_t len = strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	log_fixture_read(event_log_view(f->log), &selection, &start, text, RESERVE_TEXT_BYTES);
}

uint64_t reserve_damage_found(struct log_fixture *f)
{
	struct log_view *view;
	struct verify_result result;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	assert_int_equal(log_verify(view, NULL, NULL, NULL, &result), 0);
	log_view_close(view);
	return result.damage_count;
}

void reserve_restart(struct log_fixture *f, bool is_clean)
{
	if (is_clean)
		assert_int_equal(log_fixture_close(f), 0);
	else
		log_fixture_kill(f);
	log_fixture_open(f);
}
