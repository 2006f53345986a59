/* eventlogd/log: the keyframe reserve: what stays of quiet workers, what is given up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/event_log_private.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "tests/lib/reserve_fixture.h"

static void a_quiet_worker_outlives_fifty_times_the_limit(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	/* Its keyframe makes all of its noise a tail that would be kept. */
	assert_int_equal(reserve_append(f, "noisy", NOISY_UID, true, 10), EVENT_LOG_OK);
	uint64_t noisy_cursor = f->staged.first_seq;
	reserve_append_quiet(f, false);
	uint64_t keyframe = reserve_append_quiet(f, true);
	uint64_t tail = reserve_append_quiet(f, false);
	reserve_make_noise(f, RESERVE_LIMIT_SEGMENTS);
	uint64_t late = reserve_append_quiet(f, false);
	reserve_make_noise(f, 50 * RESERVE_LIMIT_SEGMENTS);
	char expected[RESERVE_TEXT_BYTES], text[RESERVE_TEXT_BYTES];
	snprintf(expected, sizeof(expected), "%llu-%llu %llu", (unsigned long long)keyframe,
		(unsigned long long)tail, (unsigned long long)late);
	for (int i = 0; i < 3; i++) {
		reserve_read_after(f, "quiet", keyframe - 1, text);
		assert_string_equal(text, expected);
		assert_int_equal(reserve_try_open(f, "quiet", late, NULL), READER_OPENED);
		/* What was before the keyframe is gone, and said so. */
		assert_int_equal(
			reserve_try_open(f, "quiet", keyframe - 2, NULL), READER_CURSOR_EXPIRED);
		struct log_worker quiet, noisy;
		assert_true(event_log_worker(f->log, "quiet", 5, &quiet));
		assert_int_equal(quiet.newest_keyframe, keyframe);
		assert_int_equal(quiet.retained_count, 3);
		assert_true(event_log_worker(f->log, "noisy", 5, &noisy));
		struct reader_opened opened;
		assert_int_equal(
			reserve_try_open(f, "noisy", noisy_cursor, &opened), READER_CURSOR_EXPIRED);
		assert_int_equal(opened.oldest_seq, noisy.highest_pruned + 1);
		assert_int_equal(
			reserve_try_open(f, "noisy", noisy.highest_pruned, NULL), READER_OPENED);
		struct log_ends ends;
		log_view_ends(event_log_view(f->log), &ends);
		assert_true(ends.allocated_bytes <= f->config.retention.bytes);
		assert_int_equal(reserve_damage_found(f), 0);
		if (i < 2)
			reserve_restart(f, i == 0);
	}
}

static void who_takes_most_gives_up_first(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	char name[24];
	/* One uid with many workers that are each as quiet as the other's. */
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "crowd-%d", i);
		assert_int_equal(reserve_append(f, name, NOISY_UID, true, 4000), EVENT_LOG_OK);
	}
	reserve_make_noise(f, 4 * RESERVE_LIMIT_SEGMENTS);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_true(status.reserve_evictions > 0);
	assert_true(status.reserve_bytes <= status.reserve_bytes_max);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
	unsigned int kept = 0;
	for (int i = 0; i < 40; i++) {
		struct log_worker worker;
		snprintf(name, sizeof(name), "crowd-%d", i);
		assert_true(event_log_worker(f->log, name, strlen(name), &worker));
		kept += worker.newest_keyframe != 0;
		assert_int_equal(worker.retained_count, worker.newest_keyframe != 0);
	}
	assert_true(kept > 0 && kept < 40);
}

static void a_newer_keyframe_gives_the_room_back(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t cursor = 0;
	for (int i = 0; i < 30; i++) {
		cursor = reserve_append_quiet(f, true) - 1;
		for (int j = 0; j < 8; j++)
			assert_int_equal(
				reserve_append(f, "quiet", QUIET_UID, false, 1000), EVENT_LOG_OK);
		reserve_make_noise(f, 2);
	}
	reserve_make_noise(f, 2 * RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(reserve_try_open(f, "quiet", cursor, NULL), READER_OPENED);
	struct log_worker quiet;
	assert_true(event_log_worker(f->log, "quiet", 5, &quiet));
	assert_int_equal(quiet.newest_keyframe, cursor + 1);
	assert_int_equal(quiet.retained_count, 9);
	struct log_ends ends;
	log_view_ends(event_log_view(f->log), &ends);
	assert_true(ends.allocated_bytes <= f->config.retention.bytes);
}

static void without_a_reserve_the_plain_rule_applies(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	reserve_make_noise(f, 2 * RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
	assert_int_equal(log_fixture_close(f), 0);
	/* Also for what an earlier configuration has kept. */
	f->config.retention.keyframe_reserve = 0;
	log_fixture_open(f);
	reserve_make_noise(f, RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_CURSOR_EXPIRED);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe, NULL), READER_OPENED);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_int_equal(status.reserve_segments, 0);
}

static void readers_inside_go_on_or_are_told(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	const char *workers[] = {"quiet", "noisy"};
	size_t lens[] = {5, 5};
	struct reader *readers[3];
	struct reader_selection quiet = {workers, lens, 1}, both = {workers, lens, 2};
	assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 1000), EVENT_LOG_OK);
	reserve_append_quiet(f, false);
	struct reader_start start = {.from = READER_FROM_OLDEST};
	const struct reader_selection *selections[] = {&quiet, &both, NULL};
	struct reader_piece piece;
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		assert_int_equal(reader_open(&readers[i], event_log_view(f->log), selections[i],
					 &start, false, NULL),
			READER_OPENED);
		assert_int_equal(reader_next(readers[i], 1, &piece), READER_RECORDS);
		assert_int_equal(piece.first, keyframe);
		assert_int_equal(piece.last, keyframe);
	}
	reserve_make_noise(f, 4 * RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(reader_next(readers[0], 1, &piece), READER_RECORDS);
	assert_int_equal(piece.first, keyframe + 2);
	assert_int_equal(reader_next(readers[0], 1, &piece), READER_END);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(reader_next(readers[i], 1, &piece), READER_OVERRUN);
		reader_skip_pruned(readers[i]);
		assert_int_equal(reader_next(readers[i], 1, &piece), READER_RECORDS);
	}
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++)
		reader_close(readers[i]);
}

static void a_set_of_workers_is_read_through_compacted_segments(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t first = reserve_append_quiet(f, true);
	assert_int_equal(reserve_append(f, "other", QUIET_UID, true, 10), EVENT_LOG_OK);
	for (int i = 0; i < 3; i++) {
		reserve_make_noise(f, 2);
		reserve_append_quiet(f, false);
		assert_int_equal(reserve_append(f, "other", QUIET_UID, false, 10), EVENT_LOG_OK);
	}
	reserve_make_noise(f, 4 * RESERVE_LIMIT_SEGMENTS);
	const char *workers[] = {"quiet", "other"};
	size_t lens[] = {5, 5};
	struct reader_selection both = {workers, lens, 2};
	struct reader_start start = {.from = READER_FROM_CURSOR};
	struct reader *reader;
	log_view_cursor(event_log_view(f->log), first - 1, &start.cursor);
	assert_int_equal(reader_open(&reader, event_log_view(f->log), &both, &start, false, NULL),
		READER_OPENED);
	struct reader_piece piece;
	uint64_t count = 0;
	int r;
	while ((r = reader_next(reader, 4096, &piece)) == READER_RECORDS)
		count += piece.count;
	assert_int_equal(r, READER_END);
	assert_int_equal(count, 8);
	reader_close(reader);
}

static void damage_in_a_compacted_segment_is_told(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	uint64_t second = reserve_append_quiet(f, false);
	reserve_make_noise(f, 4 * RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(log_fixture_close(f), 0);
	char text[RESERVE_TEXT_BYTES], expected[64];
	/* In the payload of its first record. */
	log_fixture_patch_segment(f, 0, SEGMENT_HEADER_BYTES + 70, "x", 1);
	log_fixture_open(f);
	reserve_read_after(f, "quiet", keyframe - 1, text);
	snprintf(expected, sizeof(expected), "!%llu %llu", (unsigned long long)keyframe,
		(unsigned long long)second);
	assert_string_equal(text, expected);
	assert_true(reserve_damage_found(f) > 0);
}

static void damage_before_compaction_is_told_after_it(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	f->config.retention.bytes = 0;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	reserve_append_quiet(f, false);
	uint64_t third = reserve_append_quiet(f, false);
	reserve_make_noise(f, RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(log_fixture_close(f), 0);
	char text[RESERVE_TEXT_BYTES], expected[64];
	/* In the second record: the first takes 48 + 5 + 1 + 52 bytes and some zeros. */
	log_fixture_patch_segment(f, 0, SEGMENT_HEADER_BYTES + 112 + 70, "x", 1);
	f->config.retention.bytes = RESERVE_LIMIT_SEGMENTS * SEGMENT_BYTES_MIN;
	log_fixture_open(f);
	reserve_make_noise(f, RESERVE_LIMIT_SEGMENTS);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_true(status.reserve_segments > 0);
	reserve_read_after(f, "quiet", keyframe - 1, text);
	snprintf(expected, sizeof(expected), "%llu !%llu %llu", (unsigned long long)keyframe,
		(unsigned long long)keyframe + 1, (unsigned long long)third);
	assert_string_equal(text, expected);
}

/*
 * A life with retention in it, with a fault somewhere, then a restart: the quiet worker's records
 * are all there, or its cursor is refused.
 */
static void live_through(struct log_fixture *f, uint64_t *first_quiet, uint64_t *last_quiet)
{
	if (log_fixture_try_open(f) != 0)
		return;
	for (unsigned int i = 0; i < 400; i++) {
		bool is_quiet = i % 50 == 1;
		int r = is_quiet ? reserve_append(f, "quiet", QUIET_UID, i == 1, 50)
				 : reserve_append(f, "noisy", NOISY_UID, false, 1400);
		if (r == EVENT_LOG_READ_ONLY || r < 0)
			break;
		if (r == EVENT_LOG_OK && is_quiet)
			*(*first_quiet == 0 ? first_quiet : last_quiet) = f->staged.last_seq;
		if (i % 25 == 0)
			reserve_let_retention_work(f);
	}
}

static void expect_quiet_or_expired(
	struct log_fixture *f, uint64_t first_quiet, uint64_t last_quiet, const char *what)
{
	struct log_worker quiet;
	uint64_t count = 0, last = 0;
	int r = reserve_try_open(f, "quiet", first_quiet - 1, NULL);
	if (first_quiet == 0 || r == READER_CURSOR_EXPIRED)
		return;
	assert_int_equal(r, READER_OPENED);
	assert_true(event_log_worker(f->log, "quiet", 5, &quiet));
	struct reader *reader;
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(event_log_view(f->log), first_quiet - 1, &start.cursor);
	const char *worker = "quiet";
	size_t len = 5;
	struct reader_selection selection = {&worker, &len, 1};
	assert_int_equal(
		reader_open(&reader, event_log_view(f->log), &selection, &start, false, NULL),
		READER_OPENED);
	struct reader_piece piece;
	while ((r = reader_next(reader, 64 * 1024, &piece)) == READER_RECORDS) {
		count += piece.count;
		last = piece.last;
	}
	reader_close(reader);
	assert_int_equal(r, READER_END);
	if (last < last_quiet || quiet.retained_count != count)
		fail_msg("%s: %llu records to %llu of %llu to %llu", what,
			(unsigned long long)count, (unsigned long long)last,
			(unsigned long long)quiet.retained_count, (unsigned long long)last_quiet);
}

static void whatever_fails_the_reserve_is_whole_or_expired(void **state)
{
	(void)state;
	static const int errors[] = {-EIO, -ENOSPC, -ENOMEM, 0};
	for (enum fault_op op = FAULT_OPEN; op < FAULT_OP_COUNT; op++) {
		for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
			if (errors[i] == 0 && op != FAULT_PWRITEV && op != FAULT_PREAD)
				continue;
			for (unsigned int point = 0; point < 16; point++) {
				void *fresh = NULL;
				assert_int_equal(reserve_setup(&fresh), 0);
				struct reserve_fixture *g = fresh;
				uint64_t first_quiet = 0, last_quiet = 0;
				fault_ops_set(&g->faults, op, errors[i], point * 5, point % 2 == 1);
				live_through(&g->log, &first_quiet, &last_quiet);
				if (g->log.log != NULL && point % 3 == 0)
					log_fixture_kill(&g->log);
				else
					(void)log_fixture_close(&g->log);
				fault_ops_clear(&g->faults);
				log_fixture_open(&g->log);
				char what[96];
				snprintf(what, sizeof(what), "%s %s at %u", fault_op_name(op),
					strerror(-errors[i]), point);
				expect_quiet_or_expired(&g->log, first_quiet, last_quiet, what);
				reserve_teardown(&fresh);
			}
		}
	}
}

/* Ends the process' life in each state of a compaction. */
static void a_kill_at_any_step_repeats_it(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	/* Room for a tail that is in one compacted segment after the other. */
	f->config.retention.keyframe_reserve = 3 * SEGMENT_BYTES_MIN;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	reserve_make_noise(f, 2);
	reserve_append_quiet(f, false);
	char text[RESERVE_TEXT_BYTES], before[RESERVE_TEXT_BYTES];
	reserve_read_after(f, "quiet", keyframe - 1, before);
	static const int states[] = {COMPACT_RUNS, COMPACT_MADE, COMPACT_REPLACES};
	for (unsigned int i = 0; i < 12; i++) {
		int wanted = states[i % ARRAY_SIZE(states)];
		struct event_log_status status;
		event_log_status(f->log, &status);
		uint64_t until = status.rolls + 2 * RESERVE_LIMIT_SEGMENTS;
		while ((int)f->log->compacting.state != wanted && status.rolls < until) {
			assert_int_equal(
				reserve_append(f, "noisy", NOISY_UID, false, 3000), EVENT_LOG_OK);
			log_fixture_tick(f, NS_PER_S);
			event_log_status(f->log, &status);
		}
		log_fixture_kill(f);
		log_fixture_open(f);
		reserve_read_after(f, "quiet", keyframe - 1, text);
		assert_string_equal(text, before);
		reserve_append_quiet(f, false);
		reserve_read_after(f, "quiet", keyframe - 1, before);
		assert_int_equal(reserve_damage_found(f), 0);
	}
}

static void a_finished_worker_stays_finished_after_a_kill(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	struct log_forgotten forgotten;
	assert_true(event_log_forget(f->log, "quiet", 5, &forgotten));
	log_fixture_tick(f, NS_PER_S);
	reserve_restart(f, false);
	reserve_make_noise(f, 2 * RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_CURSOR_EXPIRED);
}

static void a_finished_worker_gives_its_reserve_back(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	assert_int_equal(reserve_append(f, "other", QUIET_UID, true, 50), EVENT_LOG_OK);
	reserve_make_noise(f, 2 * RESERVE_LIMIT_SEGMENTS);
	struct log_forgotten forgotten;
	assert_false(event_log_forget(f->log, "nobody", 6, &forgotten));
	assert_true(event_log_forget(f->log, "quiet", 5, &forgotten));
	assert_int_equal(forgotten.reserve_count, 1);
	reserve_let_retention_work(f);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_CURSOR_EXPIRED);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe, NULL), READER_OPENED);
	assert_int_equal(reserve_try_open(f, "other", keyframe, NULL), READER_OPENED);
	/* Finished while its keyframe is in a whole segment: it is not kept later. */
	keyframe = reserve_append_quiet(f, true);
	assert_true(event_log_forget(f->log, "quiet", 5, &forgotten));
	assert_int_equal(forgotten.reserve_count, 0);
	reserve_let_retention_work(f);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
		reserve_restart(f, i == 0);
	}
	reserve_make_noise(f, 2 * RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_CURSOR_EXPIRED);
	assert_int_equal(reserve_try_open(f, "other", 1, NULL), READER_OPENED);
	/* Publishing again, it is kept again. */
	keyframe = reserve_append_quiet(f, true);
	reserve_make_noise(f, 2 * RESERVE_LIMIT_SEGMENTS);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
	assert_int_equal(reserve_damage_found(f), 0);
}

static void who_is_finished_while_it_is_being_kept_is_not_kept(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	reserve_append_quiet(f, true);
	assert_int_equal(reserve_append(f, "other", QUIET_UID, true, 50), EVENT_LOG_OK);
	const struct compacting *compacting = &f->log->compacting;
	while (compacting->state != COMPACT_RUNS) {
		assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 1000), EVENT_LOG_OK);
		log_fixture_tick(f, NS_PER_S / 4);
	}
	struct log_forgotten forgotten;
	assert_true(event_log_forget(f->log, "quiet", 5, &forgotten));
	assert_int_equal(forgotten.reserve_count, 0);
	struct log_worker quiet, other;
	for (int i = 0; i < 2; i++) {
		reserve_let_retention_work(f);
		log_fixture_tick(f, NS_PER_S / 4);
		reserve_let_retention_work(f);
		assert_true(event_log_worker(f->log, "quiet", 5, &quiet));
		assert_true(event_log_worker(f->log, "other", 5, &other));
		assert_int_equal(quiet.retained_count, 0);
		assert_int_equal(other.retained_count, 1);
		reserve_restart(f, i == 0);
	}
	assert_int_equal(reserve_damage_found(f), 0);
}

/* What the reserve gives up is older than what was pruned last, and has its readers too. */
static void a_reader_is_told_of_what_the_reserve_gives_up(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	reserve_append_quiet(f, false);
	reserve_make_noise(f, 2 * RESERVE_LIMIT_SEGMENTS);
	const char *worker = "quiet";
	size_t len = strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	struct reader_start start = {.from = READER_FROM_KEYFRAME};
	struct reader *reader;
	struct reader_piece piece;
	assert_int_equal(
		reader_open(&reader, event_log_view(f->log), &selection, &start, false, NULL),
		READER_OPENED);
	assert_int_equal(reader_next(reader, 1, &piece), READER_RECORDS);
	assert_int_equal(piece.first, keyframe);
	struct log_forgotten forgotten;
	assert_true(event_log_forget(f->log, worker, len, &forgotten));
	reserve_let_retention_work(f);
	assert_int_equal(reader_next(reader, 1, &piece), READER_OVERRUN);
	reader_close(reader);
}

/* A start without a record leaves a segment that the next start takes away. */
static void starts_without_a_record_are_no_gap_behind_a_compacted_segment(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	f->config.retention.bytes = 0;
	f->config.retention.age_ns = 3600 * NS_PER_S;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 50), EVENT_LOG_OK);
	uint64_t next = f->staged.first_seq + 1;
	for (int i = 0; i < 3; i++)
		reserve_restart(f, false);
	/* The first segment is too old now, and its neighbour will not be. */
	log_fixture_tick(f, 2 * f->config.retention.age_ns);
	reserve_make_noise(f, 2);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_int_equal(status.reserve_segments, 1);
	assert_int_equal(event_log_view(f->log)->segments[1]->base, next);
	char expected[RESERVE_TEXT_BYTES], text[RESERVE_TEXT_BYTES];
	snprintf(expected, sizeof(expected), "%llu", (unsigned long long)keyframe);
	reserve_read_after(f, "quiet", keyframe - 1, text);
	assert_string_equal(text, expected);
	assert_int_equal(reserve_damage_found(f), 0);
}

/* Neither the old segment nor the compacted one can be relied on then. */
static void a_replacement_that_fails_poisons(void **state)
{
	struct reserve_fixture *fixture = *state;
	struct log_fixture *f = &fixture->log;
	f->config.retention.bytes = 0;
	f->config.retention.age_ns = 3600 * NS_PER_S;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	reserve_make_noise(f, 2);
	f->wall_ns += 2 * f->config.retention.age_ns;
	f->monotonic_ns += 2 * f->config.retention.age_ns;
	/* The active segment is young, so that nothing else is renamed. */
	assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 50), EVENT_LOG_OK);
	fault_ops_set(&fixture->faults, FAULT_RENAME, -EIO, 0, true);
	reserve_let_retention_work(f);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_true(status.is_read_only);
	assert_int_equal(status.compacted_segments, 0);
	fault_ops_clear(&fixture->faults);
	assert_int_equal(log_fixture_close(f), -EIO);
	log_fixture_open(f);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
}

/* There is nowhere to note it, and unnoted it would be lost records between the reserve and the
 * rest. */
static void without_an_active_segment_nothing_behind_the_reserve_goes(void **state)
{
	struct reserve_fixture *fixture = *state;
	struct log_fixture *f = &fixture->log;
	log_fixture_open(f);
	uint64_t keyframe = reserve_append_quiet(f, true);
	reserve_make_noise(f, 10);
	log_fixture_kill(f);
	f->config.retention.bytes = 3 * SEGMENT_BYTES_MIN;
	fault_ops_set(&fixture->faults, FAULT_FALLOCATE, -ENOSPC, 0, true);
	log_fixture_open(f);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_true(status.has_no_space);
	assert_int_equal(status.reserve_segments, 1);
	unsigned int segments = log_fixture_segments(f);
	log_fixture_tick(f, 2 * NS_PER_S);
	while (syncer_has_removals(&f->log->syncer))
		log_fixture_wait(f);
	assert_int_equal(log_fixture_segments(f), segments);
	fault_ops_clear(&fixture->faults);
	reserve_restart(f, false);
	assert_int_equal(f->findings[FINDING_LOST], 0);
	reserve_make_noise(f, 1);
	event_log_status(f->log, &status);
	assert_true(status.pruned_segments > 0);
	assert_int_equal(reserve_try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
	assert_int_equal(reserve_damage_found(f), 0);
}

/* What stands before it stays readable for all workers too. */
static void a_segment_without_a_record_takes_nothing_away(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	f->config.retention.bytes = 0;
	f->config.retention.age_ns = 3600 * NS_PER_S;
	log_fixture_open(f);
	assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 50), EVENT_LOG_OK);
	uint64_t keyframe = reserve_append_quiet(f, true);
	reserve_restart(f, false);
	struct log_forgotten forgotten;
	assert_true(event_log_forget(f->log, "noisy", 5, &forgotten));
	log_fixture_tick(f, NS_PER_S); /* its note is all that the segment holds */
	reserve_restart(f, false);
	assert_int_equal(log_fixture_segments(f), 3);
	log_fixture_tick(f, 2 * f->config.retention.age_ns);
	reserve_make_noise(f, 2);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_int_equal(status.reserve_segments, 1);
	assert_int_equal(status.pruned_segments, 1);
	assert_int_equal(event_log_view(f->log)->table.highest_pruned, keyframe - 1);
	char text[RESERVE_TEXT_BYTES];
	log_fixture_read_all(event_log_view(f->log), NULL, text, sizeof(text));
	assert_int_equal(strtoull(text, NULL, 10), keyframe);
}

#define RESERVE_TEST(name) cmocka_unit_test_setup_teardown(name, reserve_setup, reserve_teardown)

/* Retention may be what makes room for publishers: it does not wait for one to begin a segment. */
static void a_note_that_finds_the_segment_full_begins_the_next(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	reserve_append_quiet(f, true);
	while (log_fits_active(f->log, 2048, 1))
		assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 1000), EVENT_LOG_OK);
	while (log_fits_active(f->log, 128, 1))
		assert_int_equal(reserve_append(f, "noisy", NOISY_UID, false, 10), EVENT_LOG_OK);
	struct event_log_status before, after;
	struct log_forgotten forgotten;
	event_log_status(f->log, &before);
	after = before;
	for (int notes = 0; notes < 100 && after.rolls == before.rolls; notes++) {
		assert_true(event_log_forget(f->log, "quiet", strlen("quiet"), &forgotten));
		for (int i = 0; i < 5 && f->log->compacting.forgets_due != 0; i++) {
			log_fixture_tick(f, NS_PER_S);
			while (f->log->roll != NULL || f->log->spare_asked) {
				log_fixture_wait(f);
				assert_int_equal(
					event_log_commit(f->log, f->wall_ns), EVENT_LOG_OK);
			}
		}
		assert_int_equal(f->log->compacting.forgets_due, 0);
		event_log_status(f->log, &after);
	}
	assert_int_equal(after.rolls, before.rolls + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESERVE_TEST(a_quiet_worker_outlives_fifty_times_the_limit),
		RESERVE_TEST(who_takes_most_gives_up_first),
		RESERVE_TEST(a_newer_keyframe_gives_the_room_back),
		RESERVE_TEST(without_a_reserve_the_plain_rule_applies),
		RESERVE_TEST(readers_inside_go_on_or_are_told),
		RESERVE_TEST(a_reader_is_told_of_what_the_reserve_gives_up),
		RESERVE_TEST(starts_without_a_record_are_no_gap_behind_a_compacted_segment),
		RESERVE_TEST(a_replacement_that_fails_poisons),
		RESERVE_TEST(without_an_active_segment_nothing_behind_the_reserve_goes),
		RESERVE_TEST(a_segment_without_a_record_takes_nothing_away),
		RESERVE_TEST(a_set_of_workers_is_read_through_compacted_segments),
		RESERVE_TEST(damage_in_a_compacted_segment_is_told),
		RESERVE_TEST(damage_before_compaction_is_told_after_it),
		RESERVE_TEST(a_kill_at_any_step_repeats_it),
		RESERVE_TEST(a_finished_worker_gives_its_reserve_back),
		RESERVE_TEST(a_finished_worker_stays_finished_after_a_kill),
		RESERVE_TEST(who_is_finished_while_it_is_being_kept_is_not_kept),
		RESERVE_TEST(a_note_that_finds_the_segment_full_begins_the_next),
		cmocka_unit_test(whatever_fails_the_reserve_is_whole_or_expired),
	};
	return cmocka_run_group_tests_name("event_log_reserve", tests, NULL, NULL);
}
