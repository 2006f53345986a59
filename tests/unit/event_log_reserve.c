/* eventlogd/log: the keyframe reserve (what stays of quiet workers, what is given up); the scrub.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/event_log_inside.h"
#include "eventlogd/log/verify.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/base/crc32c.h"
#include "tests/lib/fault_ops.h"
#include "tests/lib/log_fixture.h"

enum { TEXT_BYTES = 4096, LIMIT_SEGMENTS = 6, QUIET_UID = 1001, NOISY_UID = 1002 };

struct reserve_fixture {
	struct log_fixture log;
	struct fault_ops faults;
};

static int setup(void **state)
{
	struct reserve_fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	log_fixture_init(&f->log);
	fault_ops_init(&f->faults);
	f->log.config.ops = &f->faults.ops;
	f->log.config.retention.bytes = LIMIT_SEGMENTS * SEGMENT_BYTES_MIN;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct reserve_fixture *f = *state;
	fault_ops_clear(&f->faults);
	log_fixture_free(&f->log);
	fault_ops_free(&f->faults);
	free(f);
	return 0;
}

static int try_append(struct log_fixture *f, const char *worker, uint32_t uid, bool is_keyframe,
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

static uint64_t append_quiet(struct log_fixture *f, bool is_keyframe)
{
	assert_int_equal(try_append(f, "quiet", QUIET_UID, is_keyframe, 50), EVENT_LOG_OK);
	return f->staged.first_seq;
}

/* Ticks until retention has nothing left to do. */
static void let_retention_work(struct log_fixture *f)
{
	const struct compacting *compacting = &f->log->compacting;
	log_fixture_tick(f, 2 * NS_PER_S);
	if (f->log->is_read_only || f->log->has_no_space)
		return;
	while (compacting->state != COMPACT_NONE || compacting->goes_on ||
		syncer_has_removals(&f->log->syncer)) {
		if (compacting->state == COMPACT_RUNS || compacting->state == COMPACT_REPLACES)
			log_fixture_wait(f);
		else
			log_fixture_tick(f, 2 * NS_PER_S);
		(void)event_log_commit(f->log, f->wall_ns);
		if (f->log->is_read_only || f->log->has_no_space)
			return;
	}
}

/* Appends for some workers in turn until there have been so many more rolls. */
static void make_noise(struct log_fixture *f, const char *const *workers, unsigned int rolls)
{
	struct event_log_status status;
	event_log_status(f->log, &status);
	uint64_t until = status.rolls + rolls, rolls_before = status.rolls;
	for (unsigned int i = 0; status.rolls < until; i++) {
		if (workers[i] == NULL)
			i = 0;
		assert_int_equal(try_append(f, workers[i], NOISY_UID, false, 1000), EVENT_LOG_OK);
		event_log_status(f->log, &status);
		if (status.rolls != rolls_before)
			let_retention_work(f);
		rolls_before = status.rolls;
	}
}

static const char *const one_noisy[] = {"noisy", NULL};

static int try_open(
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

static void read_after(
	struct log_fixture *f, const char *worker, uint64_t sequence, char text[TEXT_BYTES])
{
	struct reader_start start = {.from = READER_FROM_CURSOR};
	log_view_cursor(event_log_view(f->log), sequence, &start.cursor);
	size_t len = strlen(worker);
	struct reader_selection selection = {&worker, &len, 1};
	log_fixture_read(event_log_view(f->log), &selection, &start, text, TEXT_BYTES);
}

static uint64_t damage_found(struct log_fixture *f)
{
	struct log_view *view;
	struct verify_result result;
	assert_int_equal(log_view_open(&view, f->directory, NULL, NULL), 0);
	assert_int_equal(log_verify(view, NULL, NULL, NULL, &result), 0);
	log_view_close(view);
	return result.damage_count;
}

static void restart(struct log_fixture *f, bool is_clean)
{
	if (is_clean)
		assert_int_equal(log_fixture_close(f), 0);
	else
		log_fixture_kill(f);
	log_fixture_open(f);
}

static void a_quiet_worker_outlives_fifty_times_the_limit(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	/* Its keyframe makes all of its noise a tail that would be kept. */
	assert_int_equal(try_append(f, "noisy", NOISY_UID, true, 10), EVENT_LOG_OK);
	uint64_t noisy_cursor = f->staged.first_seq;
	append_quiet(f, false);
	uint64_t keyframe = append_quiet(f, true);
	uint64_t tail = append_quiet(f, false);
	make_noise(f, one_noisy, LIMIT_SEGMENTS);
	uint64_t late = append_quiet(f, false);
	make_noise(f, one_noisy, 50 * LIMIT_SEGMENTS);
	char expected[TEXT_BYTES], text[TEXT_BYTES];
	snprintf(expected, sizeof(expected), "%llu-%llu %llu", (unsigned long long)keyframe,
		(unsigned long long)tail, (unsigned long long)late);
	for (int i = 0; i < 3; i++) {
		read_after(f, "quiet", keyframe - 1, text);
		assert_string_equal(text, expected);
		assert_int_equal(try_open(f, "quiet", late, NULL), READER_OPENED);
		/* What was before the keyframe is gone, and said so. */
		assert_int_equal(try_open(f, "quiet", keyframe - 2, NULL), READER_CURSOR_EXPIRED);
		struct log_worker quiet, noisy;
		assert_true(event_log_worker(f->log, "quiet", 5, &quiet));
		assert_int_equal(quiet.newest_keyframe, keyframe);
		assert_int_equal(quiet.retained_count, 3);
		assert_true(event_log_worker(f->log, "noisy", 5, &noisy));
		struct reader_opened opened;
		assert_int_equal(
			try_open(f, "noisy", noisy_cursor, &opened), READER_CURSOR_EXPIRED);
		assert_int_equal(opened.oldest_seq, noisy.highest_pruned + 1);
		assert_int_equal(try_open(f, "noisy", noisy.highest_pruned, NULL), READER_OPENED);
		struct log_ends ends;
		log_view_ends(event_log_view(f->log), &ends);
		assert_true(ends.allocated_bytes <= f->config.retention.bytes);
		assert_int_equal(damage_found(f), 0);
		if (i < 2)
			restart(f, i == 0);
	}
}

static void who_takes_most_gives_up_first(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = append_quiet(f, true);
	char name[24];
	/* One uid with many workers that are each as quiet as the other's. */
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "crowd-%d", i);
		assert_int_equal(try_append(f, name, NOISY_UID, true, 4000), EVENT_LOG_OK);
	}
	make_noise(f, one_noisy, 4 * LIMIT_SEGMENTS);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_true(status.reserve_evictions > 0);
	assert_true(status.reserve_bytes <= status.reserve_bytes_max);
	assert_int_equal(try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
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
		cursor = append_quiet(f, true) - 1;
		for (int j = 0; j < 8; j++)
			assert_int_equal(
				try_append(f, "quiet", QUIET_UID, false, 1000), EVENT_LOG_OK);
		make_noise(f, one_noisy, 2);
	}
	make_noise(f, one_noisy, 2 * LIMIT_SEGMENTS);
	assert_int_equal(try_open(f, "quiet", cursor, NULL), READER_OPENED);
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
	uint64_t keyframe = append_quiet(f, true);
	make_noise(f, one_noisy, 2 * LIMIT_SEGMENTS);
	assert_int_equal(try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
	assert_int_equal(log_fixture_close(f), 0);
	/* Also for what an earlier configuration has kept. */
	f->config.retention.keyframe_reserve = 0;
	log_fixture_open(f);
	make_noise(f, one_noisy, LIMIT_SEGMENTS);
	assert_int_equal(try_open(f, "quiet", keyframe - 1, NULL), READER_CURSOR_EXPIRED);
	assert_int_equal(try_open(f, "quiet", keyframe, NULL), READER_OPENED);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_int_equal(status.reserve_segments, 0);
}

static void readers_inside_go_on_or_are_told(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = append_quiet(f, true);
	const char *workers[] = {"quiet", "noisy"};
	size_t lens[] = {5, 5};
	struct reader *readers[3];
	struct reader_selection quiet = {workers, lens, 1}, both = {workers, lens, 2};
	assert_int_equal(try_append(f, "noisy", NOISY_UID, false, 1000), EVENT_LOG_OK);
	append_quiet(f, false);
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
	make_noise(f, one_noisy, 4 * LIMIT_SEGMENTS);
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
	uint64_t first = append_quiet(f, true);
	assert_int_equal(try_append(f, "other", QUIET_UID, true, 10), EVENT_LOG_OK);
	for (int i = 0; i < 3; i++) {
		make_noise(f, one_noisy, 2);
		append_quiet(f, false);
		assert_int_equal(try_append(f, "other", QUIET_UID, false, 10), EVENT_LOG_OK);
	}
	make_noise(f, one_noisy, 4 * LIMIT_SEGMENTS);
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
	uint64_t keyframe = append_quiet(f, true);
	uint64_t second = append_quiet(f, false);
	make_noise(f, one_noisy, 4 * LIMIT_SEGMENTS);
	assert_int_equal(log_fixture_close(f), 0);
	char path[128], text[TEXT_BYTES], expected[64];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	/* In the payload of its first record. */
	log_fixture_patch(path, SEGMENT_HEADER_BYTES + 70, "x", 1);
	log_fixture_open(f);
	read_after(f, "quiet", keyframe - 1, text);
	snprintf(expected, sizeof(expected), "!%llu %llu", (unsigned long long)keyframe,
		(unsigned long long)second);
	assert_string_equal(text, expected);
	assert_true(damage_found(f) > 0);
}

static void damage_before_compaction_is_told_after_it(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	f->config.retention.bytes = 0;
	log_fixture_open(f);
	uint64_t keyframe = append_quiet(f, true);
	append_quiet(f, false);
	uint64_t third = append_quiet(f, false);
	make_noise(f, one_noisy, LIMIT_SEGMENTS);
	assert_int_equal(log_fixture_close(f), 0);
	char path[128], text[TEXT_BYTES], expected[64];
	log_fixture_segment_path(f, 0, path, sizeof(path));
	/* In the second record: the first takes 48 + 5 + 1 + 52 bytes and some zeros. */
	log_fixture_patch(path, SEGMENT_HEADER_BYTES + 112 + 70, "x", 1);
	f->config.retention.bytes = LIMIT_SEGMENTS * SEGMENT_BYTES_MIN;
	log_fixture_open(f);
	make_noise(f, one_noisy, LIMIT_SEGMENTS);
	struct event_log_status status;
	event_log_status(f->log, &status);
	assert_true(status.reserve_segments > 0);
	read_after(f, "quiet", keyframe - 1, text);
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
		int r = is_quiet ? try_append(f, "quiet", QUIET_UID, i == 1, 50)
				 : try_append(f, "noisy", NOISY_UID, false, 1400);
		if (r == EVENT_LOG_READ_ONLY || r < 0)
			break;
		if (r == EVENT_LOG_OK && is_quiet)
			*(*first_quiet == 0 ? first_quiet : last_quiet) = f->staged.last_seq;
		if (i % 25 == 0)
			let_retention_work(f);
	}
}

static void expect_quiet_or_expired(
	struct log_fixture *f, uint64_t first_quiet, uint64_t last_quiet, const char *what)
{
	struct log_worker quiet;
	uint64_t count = 0, last = 0;
	int r = try_open(f, "quiet", first_quiet - 1, NULL);
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
				assert_int_equal(setup(&fresh), 0);
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
				teardown(&fresh);
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
	uint64_t keyframe = append_quiet(f, true);
	make_noise(f, one_noisy, 2);
	append_quiet(f, false);
	char text[TEXT_BYTES], before[TEXT_BYTES];
	read_after(f, "quiet", keyframe - 1, before);
	static const int states[] = {COMPACT_RUNS, COMPACT_MADE, COMPACT_REPLACES};
	for (unsigned int i = 0; i < 12; i++) {
		int wanted = states[i % ARRAY_SIZE(states)];
		struct event_log_status status;
		event_log_status(f->log, &status);
		uint64_t until = status.rolls + 2 * LIMIT_SEGMENTS;
		while ((int)f->log->compacting.state != wanted && status.rolls < until) {
			assert_int_equal(
				try_append(f, "noisy", NOISY_UID, false, 3000), EVENT_LOG_OK);
			log_fixture_tick(f, NS_PER_S);
			event_log_status(f->log, &status);
		}
		log_fixture_kill(f);
		log_fixture_open(f);
		read_after(f, "quiet", keyframe - 1, text);
		assert_string_equal(text, before);
		append_quiet(f, false);
		read_after(f, "quiet", keyframe - 1, before);
		assert_int_equal(damage_found(f), 0);
	}
}

static void a_finished_worker_gives_its_reserve_back(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	uint64_t keyframe = append_quiet(f, true);
	assert_int_equal(try_append(f, "other", QUIET_UID, true, 50), EVENT_LOG_OK);
	make_noise(f, one_noisy, 2 * LIMIT_SEGMENTS);
	struct log_forgotten forgotten;
	assert_false(event_log_forget(f->log, "nobody", 6, &forgotten));
	assert_true(event_log_forget(f->log, "quiet", 5, &forgotten));
	assert_int_equal(forgotten.reserve_count, 1);
	let_retention_work(f);
	assert_int_equal(try_open(f, "quiet", keyframe - 1, NULL), READER_CURSOR_EXPIRED);
	assert_int_equal(try_open(f, "quiet", keyframe, NULL), READER_OPENED);
	assert_int_equal(try_open(f, "other", keyframe, NULL), READER_OPENED);
	/* Finished while its keyframe is in a whole segment: it is not kept later. */
	keyframe = append_quiet(f, true);
	assert_true(event_log_forget(f->log, "quiet", 5, &forgotten));
	assert_int_equal(forgotten.reserve_count, 0);
	let_retention_work(f);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
		restart(f, i == 0);
	}
	make_noise(f, one_noisy, 2 * LIMIT_SEGMENTS);
	assert_int_equal(try_open(f, "quiet", keyframe - 1, NULL), READER_CURSOR_EXPIRED);
	assert_int_equal(try_open(f, "other", 1, NULL), READER_OPENED);
	/* Publishing again, it is kept again. */
	keyframe = append_quiet(f, true);
	make_noise(f, one_noisy, 2 * LIMIT_SEGMENTS);
	assert_int_equal(try_open(f, "quiet", keyframe - 1, NULL), READER_OPENED);
	assert_int_equal(damage_found(f), 0);
}

/* Ticks until the scrub has had its turn with every sealed segment. */
static void let_scrub_work(struct log_fixture *f)
{
	struct event_log_status status;
	do {
		log_fixture_tick(f, NS_PER_S / 4);
		if (f->log->scrub_asked)
			log_fixture_wait(f);
		(void)event_log_commit(f->log, f->wall_ns);
		event_log_status(f->log, &status);
	} while (f->log->scrub_asked || f->log->scrub.segment_id != 0);
}

static void the_scrub_finds_what_is_not_what_was_sealed(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	f->config.retention.bytes = 0;
	log_fixture_open(f);
	make_noise(f, one_noisy, 4);
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	struct event_log_status status;
	unsigned int sealed = 0;
	for (size_t i = 0; i < event_log_view(f->log)->segment_count; i++)
		sealed += event_log_view(f->log)->segments[i]->is_sealed;
	assert_true(sealed >= 4);
	for (unsigned int i = 0; i < sealed; i++)
		let_scrub_work(f);
	event_log_status(f->log, &status);
	assert_int_equal(status.scrubbed_segments, sealed);
	assert_int_equal(status.scrub_mismatches, 0);
	/* Not again before a day has passed. */
	let_scrub_work(f);
	event_log_status(f->log, &status);
	assert_int_equal(status.scrubbed_segments, sealed);
	char path[128];
	log_fixture_segment_path(f, 1, path, sizeof(path));
	log_fixture_patch(path, SEGMENT_HEADER_BYTES + 300, "x", 1);
	log_fixture_tick(f, SCRUB_PERIOD_NS);
	for (unsigned int i = 0; i < sealed; i++)
		let_scrub_work(f);
	event_log_status(f->log, &status);
	assert_int_equal(status.scrubbed_segments, 2 * sealed);
	assert_int_equal(status.scrub_mismatches, 1);
	assert_int_equal(f->findings[FINDING_DIGEST_WRONG], 1);
	assert_int_equal(f->findings[FINDING_READ_ERROR], 0);
}

static void verify_tells_a_wrong_digest(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	make_noise(f, one_noisy, 2);
	assert_int_equal(log_fixture_close(f), 0);
	char path[128];
	size_t len;
	log_fixture_segment_path(f, 0, path, sizeof(path));
	uint8_t *bytes = log_fixture_load(path, &len);
	/* A trailer that is whole and tells of other data. */
	uint8_t *trailer = bytes + len - SEGMENT_TRAILER_BYTES;
	put_le32(trailer + 96, get_le32(trailer + 96) ^ 1);
	put_le32(trailer + 8, crc32c(trailer + 12, SEGMENT_TRAILER_BYTES - 12));
	log_fixture_patch(path, len - SEGMENT_TRAILER_BYTES, trailer, SEGMENT_TRAILER_BYTES);
	free(bytes);
	assert_int_equal(damage_found(f), 1);
}

#define RESERVE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESERVE_TEST(a_quiet_worker_outlives_fifty_times_the_limit),
		RESERVE_TEST(who_takes_most_gives_up_first),
		RESERVE_TEST(a_newer_keyframe_gives_the_room_back),
		RESERVE_TEST(without_a_reserve_the_plain_rule_applies),
		RESERVE_TEST(readers_inside_go_on_or_are_told),
		RESERVE_TEST(a_set_of_workers_is_read_through_compacted_segments),
		RESERVE_TEST(damage_in_a_compacted_segment_is_told),
		RESERVE_TEST(damage_before_compaction_is_told_after_it),
		RESERVE_TEST(a_kill_at_any_step_repeats_it),
		RESERVE_TEST(a_finished_worker_gives_its_reserve_back),
		RESERVE_TEST(the_scrub_finds_what_is_not_what_was_sealed),
		RESERVE_TEST(verify_tells_a_wrong_digest),
		cmocka_unit_test(whatever_fails_the_reserve_is_whole_or_expired),
	};
	return cmocka_run_group_tests_name("event_log_reserve", tests, NULL, NULL);
}
