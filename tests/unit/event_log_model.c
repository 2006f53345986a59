/*
 * eventlogd/log against a small reference model: seeded schedules of appends, rolls, retention,
 * clean stops, kills and torn tails, with readers of every kind in between.
 *
 * MODEL_SEED repeats a run, MODEL_OPERATIONS makes it longer:
 *	MODEL_SEED=17 MODEL_OPERATIONS=1000000 test_event_log_model
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventlogd/log/catalog.h"
#include "proto/base/clock.h"
#include "proto/base/crc32c.h"
#include "proto/record.h"
#include "tests/lib/log_fixture.h"

enum {
	OPERATIONS_DEFAULT = 20000,
	WORKERS = 6,
	READERS = 8,
	BATCH_MAX = 6,
	PAYLOAD_MAX = 3000,
	RETAINED_SEGMENTS = 6,
	EPOCHS_SURE = 380,
	PATH_BYTES = 128,
};

/* What the model knows of one sequence. */
struct event {
	uint32_t payload_check;
	uint16_t epoch;
	uint8_t worker;
	bool is_keyframe;
};

struct model_reader {
	struct reader *reader;
	int worker; /* -1: all */
	uint64_t next_seq;
};

struct model {
	struct log_fixture log;
	uint64_t random;
	struct event *events; /* by sequence; 0 is not used */
	uint64_t count, allocated;
	uint64_t pruned[WORKERS], all_pruned; /* up to here nothing is promised any more */
	uint16_t epoch;
	uint64_t producer_seq[WORKERS];
	struct model_reader readers[READERS];
	uint64_t operations, kills, cuts, evictions, compactions;
	uint64_t seen_evictions, seen_compactions; /* since the log was opened */
};

static const char *const worker_ids[WORKERS] = {"a", "b", "c", "d:1", "e.2", "f-3"};

static uint64_t draw(struct model *m, uint64_t below)
{
	/* xorshift64* */
	m->random ^= m->random >> 12;
	m->random ^= m->random << 25;
	m->random ^= m->random >> 27;
	return (m->random * UINT64_C(2685821657736338717) >> 11) % below;
}

static void model_push(struct model *m, const struct event *event)
{
	if (m->count + 1 >= m->allocated) {
		m->allocated = m->allocated * 2 + 1024;
		m->events = realloc(m->events, m->allocated * sizeof(*m->events));
		assert_non_null(m->events);
	}
	m->events[++m->count] = *event;
}

static bool is_of(const struct model *m, uint64_t sequence, int worker)
{
	return worker < 0 || m->events[sequence].worker == worker;
}

/* The first one from a sequence on that a selection has; count + 1 when there is none. */
static uint64_t next_of(const struct model *m, uint64_t sequence, int worker)
{
	while (sequence <= m->count && !is_of(m, sequence, worker))
		sequence++;
	return sequence;
}

/* Whether something selected from a sequence on was pruned. */
static bool is_lost_since(const struct model *m, uint64_t sequence, int worker)
{
	if (worker < 0)
		return m->all_pruned >= sequence;
	return m->pruned[worker] >= sequence;
}

static bool is_known(const struct model *m, int worker)
{
	return worker < 0 || next_of(m, 1, worker) <= m->count;
}

static void check_ends(struct model *m)
{
	struct log_ends ends;
	log_view_ends(event_log_view(m->log.log), &ends);
	assert_int_equal(ends.newest_seq, m->count);
	assert_int_equal(ends.epoch, m->epoch);
}

/* What was pruned is the log's decision; that it never says less than before is not. */
static void learn_pruned(struct model *m)
{
	uint64_t highest = 0;
	for (int i = 0; i < WORKERS; i++) {
		struct log_worker row;
		if (!log_view_worker(
			    event_log_view(m->log.log), worker_ids[i], strlen(worker_ids[i]), &row))
			continue;
		assert_true(row.highest_pruned >= m->pruned[i]);
		m->pruned[i] = row.highest_pruned;
		if (row.highest_pruned > highest)
			highest = row.highest_pruned;
	}
	m->all_pruned = event_log_view(m->log.log)->table.highest_pruned;
	assert_int_equal(m->all_pruned, highest);
	struct event_log_status status;
	event_log_status(m->log.log, &status);
	if (status.reserve_evictions > m->seen_evictions)
		m->evictions += status.reserve_evictions - m->seen_evictions;
	if (status.compacted_segments > m->seen_compactions)
		m->compactions += status.compacted_segments - m->seen_compactions;
	m->seen_evictions = status.reserve_evictions;
	m->seen_compactions = status.compacted_segments;
}

static void check_workers(struct model *m)
{
	for (int i = 0; i < WORKERS; i++) {
		struct log_worker row;
		uint64_t newest = 0, keyframe = 0, retained = 0, newest_keyframe_ever = 0;
		for (uint64_t s = 1; s <= m->count; s++) {
			if (!is_of(m, s, i))
				continue;
			newest = s;
			retained += s > m->pruned[i];
			if (s > m->pruned[i] && m->events[s].is_keyframe)
				keyframe = s;
			if (m->events[s].is_keyframe)
				newest_keyframe_ever = s;
		}
		bool found = log_view_worker(
			event_log_view(m->log.log), worker_ids[i], strlen(worker_ids[i]), &row);
		assert_int_equal(found, newest != 0);
		if (!found)
			continue;
		assert_int_equal(row.newest_seq, newest);
		assert_int_equal(row.newest_keyframe, keyframe);
		assert_int_equal(row.retained_count, retained);
		/* The promise of the reserve, as long as there was room in it. */
		if (m->evictions == 0 && m->cuts == 0 &&
			m->log.config.retention.keyframe_reserve != 0)
			assert_int_equal(row.newest_keyframe, newest_keyframe_ever);
	}
}

static void append(struct model *m)
{
	static char payloads[BATCH_MAX][PAYLOAD_MAX];
	struct event_log_event events[BATCH_MAX];
	struct event expected[BATCH_MAX];
	size_t count = 1 + draw(m, BATCH_MAX);
	uint8_t worker = (uint8_t)draw(m, WORKERS);
	bool is_numbered = worker % 2 == 0;
	uint64_t repeated = is_numbered ? draw(m, 3) : 0;
	if (repeated > m->producer_seq[worker] || repeated > count)
		repeated = 0;
	for (size_t i = 0; i < count; i++) {
		size_t len = 2 + draw(m, draw(m, 8) == 0 ? PAYLOAD_MAX - 2 : 120);
		memset(payloads[i], (int)(' ' + draw(m, 90)), len);
		bool is_keyframe = draw(m, 20) == 0;
		events[i] = (struct event_log_event){.payload = (const uint8_t *)payloads[i],
			.payload_len = len,
			.kind = "kind",
			.kind_len = (uint8_t)draw(m, 5),
			.is_keyframe = is_keyframe};
		expected[i] = (struct event){
			crc32c(payloads[i], len), m->epoch, worker, is_keyframe};
	}
	struct event_log_batch batch = {.worker = worker_ids[worker],
		.worker_len = strlen(worker_ids[worker]),
		.owner_uid = 1000u + worker,
		.has_producer_seq = is_numbered,
		.producer = 99,
		.producer_seq = m->producer_seq[worker] + 1 - repeated,
		.events = events,
		.event_count = count};
	assert_int_equal(log_fixture_append_batch(&m->log, &batch), EVENT_LOG_OK);
	assert_int_equal(m->log.staged.skipped, repeated);
	for (size_t i = repeated; i < count; i++)
		model_push(m, &expected[i]);
	if (is_numbered)
		m->producer_seq[worker] += count - repeated;
	if (count > repeated)
		assert_int_equal(m->log.staged.last_seq, m->count);
}

static void close_readers(struct model *m)
{
	for (int i = 0; i < READERS; i++) {
		reader_close(m->readers[i].reader);
		m->readers[i].reader = NULL;
	}
}

/* What the producers have in the log after some of it was lost. */
static void learn_positions(struct model *m)
{
	for (int i = 0; i < WORKERS; i += 2) {
		uint64_t position = 0;
		(void)event_log_producer_seq(
			m->log.log, worker_ids[i], strlen(worker_ids[i]), 99, &position);
		assert_true(position <= m->producer_seq[i]);
		m->producer_seq[i] = position;
	}
}

static void restart(struct model *m)
{
	close_readers(m);
	assert_int_equal(log_fixture_close(&m->log), 0);
	log_fixture_open(&m->log);
	struct log_ends ends;
	log_view_ends(event_log_view(m->log.log), &ends);
	/* A new epoch only where the newest segment had nothing but notes. */
	if (ends.epoch != m->epoch && ends.epoch != m->epoch + 1)
		fail_msg("epoch %u after %u", ends.epoch, m->epoch);
	m->epoch = ends.epoch;
}

/* Cuts the newest segment somewhere behind what is durable, as a power loss might. */
static void cut_tail(struct model *m)
{
	char path[PATH_BYTES];
	log_fixture_segment_path(&m->log, log_fixture_segments(&m->log) - 1, path, sizeof(path));
	size_t len, end = SEGMENT_HEADER_BYTES, size;
	uint8_t *bytes = log_fixture_load(path, &len);
	struct record record;
	while (record_decode(bytes + end, len - end, &record, &size) == RECORD_OK)
		end += size;
	free(bytes);
	size_t unsynced = m->log.unsynced_bytes;
	if (unsynced == 0)
		return;
	assert_true(unsynced <= end - SEGMENT_HEADER_BYTES);
	size_t lost = 1 + draw(m, unsynced);
	uint8_t *zeros = calloc(1, lost);
	assert_non_null(zeros);
	log_fixture_patch(path, end - lost, zeros, lost);
	free(zeros);
	m->cuts++;
}

static void kill_and_recover(struct model *m, bool loses_tail)
{
	struct event_log_status status;
	event_log_status(m->log.log, &status);
	close_readers(m);
	log_fixture_kill(&m->log);
	if (loses_tail)
		cut_tail(m);
	log_fixture_open(&m->log);
	struct log_ends ends;
	log_view_ends(event_log_view(m->log.log), &ends);
	assert_true(ends.newest_seq >= status.durable_seq);
	assert_true(ends.newest_seq <= m->count);
	assert_true(loses_tail || ends.newest_seq == m->count);
	m->count = ends.newest_seq;
	/* With the tail the note of a pruning may be lost, and then nothing was removed yet. */
	if (loses_tail)
		memset(m->pruned, 0, sizeof(m->pruned));
	learn_pruned(m);
	assert_int_equal(ends.epoch, m->epoch + 1);
	m->epoch = ends.epoch;
	m->kills++;
	learn_positions(m);
}

static void tick(struct model *m)
{
	log_fixture_tick(&m->log, (1 + draw(m, 5)) * NS_PER_S);
	learn_pruned(m);
}

static uint64_t newest_keyframe(const struct model *m, int worker)
{
	for (uint64_t s = m->count; s > m->pruned[worker]; s--)
		if (is_of(m, s, worker) && m->events[s].is_keyframe)
			return s;
	return next_of(m, m->pruned[worker] + 1, worker);
}

/* A cursor of anything that ever was, and of some things that never were. */
static int expect_of_cursor(
	struct model *m, int worker, const struct cursor *cursor, const struct cursor *ours)
{
	if (cursor->log != ours->log || cursor->sequence > m->count)
		return READER_CURSOR_UNKNOWN;
	bool is_right = cursor->sequence == 0 ? cursor->epoch >= 1 && cursor->epoch <= m->epoch
					      : cursor->epoch == m->events[cursor->sequence].epoch;
	if (!is_right)
		return READER_CURSOR_UNKNOWN;
	if (!is_known(m, worker))
		return READER_WORKER_NOT_FOUND;
	return is_lost_since(m, cursor->sequence + 1, worker) ? READER_CURSOR_EXPIRED
							      : READER_OPENED;
}

static void open_reader(struct model *m)
{
	struct model_reader *slot = &m->readers[draw(m, READERS)];
	reader_close(slot->reader);
	slot->reader = NULL;
	slot->worker = draw(m, 2) == 0 ? -1 : (int)draw(m, WORKERS);
	struct reader_start start = {.from = (enum reader_from)draw(m, 4)};
	if (start.from == READER_FROM_KEYFRAME && slot->worker < 0)
		slot->worker = 0;
	struct log_view *view = event_log_view(m->log.log);
	int expected = is_known(m, slot->worker) ? READER_OPENED : READER_WORKER_NOT_FOUND;
	bool is_old = false;
	switch (start.from) {
	case READER_FROM_CURSOR: {
		struct cursor ours;
		log_view_cursor(view, draw(m, m->count + 3), &ours);
		start.cursor = ours;
		if (draw(m, 10) == 0)
			start.cursor.epoch ^= 1;
		if (draw(m, 20) == 0)
			start.cursor.log ^= 1;
		expected = expect_of_cursor(m, slot->worker, &start.cursor, &ours);
		slot->next_seq = start.cursor.sequence + 1;
		is_old = ours.sequence != 0 && ours.sequence <= m->count &&
			 m->epoch - m->events[ours.sequence].epoch > EPOCHS_SURE;
		break;
	}
	case READER_FROM_KEYFRAME:
		slot->next_seq = newest_keyframe(m, slot->worker);
		break;
	case READER_FROM_OLDEST:
		slot->next_seq = (slot->worker < 0 ? m->all_pruned : m->pruned[slot->worker]) + 1;
		break;
	case READER_FROM_NEWEST:
		slot->next_seq = m->count + 1;
		break;
	case READER_FROM_RETAINED: /* not of a live log */
		break;
	}
	const char *id = slot->worker < 0 ? NULL : worker_ids[slot->worker];
	size_t len = id == NULL ? 0 : strlen(id);
	struct reader_selection selection = {&id, &len, 1};
	int r = reader_open(
		&slot->reader, view, id == NULL ? NULL : &selection, &start, false, NULL);
	/* A header lists the newest 400 epochs only: an older cursor is refused, one way or the
	 * other. */
	if (is_old && (r == READER_CURSOR_UNKNOWN || r == READER_CURSOR_EXPIRED))
		return;
	assert_int_equal(r, expected);
}

static void check_piece(
	struct model *m, struct model_reader *slot, const struct reader_piece *piece)
{
	for (size_t at = 0; at < piece->len;) {
		struct record record;
		size_t size;
		assert_int_equal(record_decode(piece->bytes + at, piece->len - at, &record, &size),
			RECORD_OK);
		slot->next_seq = next_of(m, slot->next_seq, slot->worker);
		assert_int_equal(record.sequence, slot->next_seq);
		const struct event *event = &m->events[record.sequence];
		assert_int_equal(record.epoch, event->epoch);
		assert_int_equal(record_is_keyframe(&record), event->is_keyframe);
		assert_int_equal(crc32c(record.payload, record.payload_len), event->payload_check);
		assert_int_equal(record.owner_uid, 1000u + event->worker);
		slot->next_seq++;
		at += size;
	}
}

static void read_some(struct model *m)
{
	struct model_reader *slot = &m->readers[draw(m, READERS)];
	if (slot->reader == NULL)
		return;
	struct reader_piece piece;
	int r = reader_next(slot->reader, 1 + draw(m, 20000), &piece);
	bool is_lost = is_lost_since(m, slot->next_seq, slot->worker);
	if (is_lost) {
		assert_int_equal(r, READER_OVERRUN);
		reader_skip_pruned(slot->reader);
		uint64_t pruned = slot->worker < 0 ? m->all_pruned : m->pruned[slot->worker];
		if (slot->next_seq <= pruned)
			slot->next_seq = pruned + 1;
	} else if (next_of(m, slot->next_seq, slot->worker) <= m->count) {
		assert_int_equal(r, READER_RECORDS);
		check_piece(m, slot, &piece);
	} else {
		assert_int_equal(r, READER_END);
	}
}

static void operate(struct model *m)
{
	uint64_t choice = draw(m, 1000);
	if (choice < 450)
		append(m);
	else if (choice < 550)
		open_reader(m);
	else if (choice < 930)
		read_some(m);
	else if (choice < 960)
		tick(m);
	else if (choice < 975 && m->log.config.durability != DURABILITY_OS)
		log_fixture_sync(&m->log);
	else if (choice < 982)
		restart(m);
	else if (choice < 990)
		kill_and_recover(m, false);
	else if (choice < 998)
		kill_and_recover(m, true);
	else
		check_workers(m);
	learn_pruned(m);
	check_ends(m);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void the_log_does_what_the_model_says(void **state)
{
	(void)state;
	uint64_t seed = number_from("MODEL_SEED", clock_wall_ns() % 1000000007 + 1);
	uint64_t operations = number_from("MODEL_OPERATIONS", OPERATIONS_DEFAULT);
	struct model *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->random = seed;
	m->epoch = 1;
	print_message("MODEL_SEED=%" PRIu64 " MODEL_OPERATIONS=%" PRIu64 "\n", seed, operations);
	log_fixture_init(&m->log);
	m->log.config.retention.bytes = RETAINED_SEGMENTS * SEGMENT_BYTES_MIN;
	static const uint64_t reserves[] = {UINT64_MAX, 24 * 1024, 0, 128 * 1024};
	m->log.config.retention.keyframe_reserve = reserves[seed / 3 % ARRAY_SIZE(reserves)];
	m->log.config.durability = (enum durability)(seed % 3);
	log_fixture_open(&m->log);
	for (; m->operations < operations; m->operations++)
		operate(m);
	close_readers(m);
	print_message("%" PRIu64 " records, %" PRIu64 " pruned, %" PRIu64 " compactions, %" PRIu64
		      " evictions, %" PRIu64 " kills, %" PRIu64 " cuts, epoch %u\n",
		m->count, m->all_pruned, m->compactions, m->evictions, m->kills, m->cuts, m->epoch);
	log_fixture_free(&m->log);
	free(m->events);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_log_does_what_the_model_says)};
	return cmocka_run_group_tests_name("event_log_model", tests, NULL, NULL);
}
