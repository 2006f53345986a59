/*
 * eventlogd/log against a small reference model: seeded schedules of appends, rolls, retention,
 * workers that are finished, clean stops, kills and torn tails, with readers of every kind in
 * between.
 *
 * One run is one seed's (MODEL_SEED, or the time) and MODEL_OPERATIONS long. The seed also chooses
 * the durability, the size of the reserve, and whether the workers take turns with a table that is
 * too small for all of them, so that they are forgotten and come again: 24 in a row have each with
 * each.
 * tests/crash/model does many runs. When the sync thread gets its turn is the system's choice: a
 * run that failed may have to be repeated more than once.
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
	ROWS_WITH_TURNS = 4,
	TURN_OPERATIONS = 400,
	WORKERS_PER_TURN = 2,
	EPOCHS_SURE = 380,
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
	unsigned int workers; /* a bit each; 0: all */
	uint64_t next_seq;
};

struct model {
	struct log_fixture log;
	uint64_t random;
	struct event *events; /* by sequence; 0 is not used */
	uint64_t count, allocated;
	uint64_t newest[WORKERS]; /* that was ever stored and not lost with a tail */
	bool is_known[WORKERS];   /* there is a row */
	bool takes_turns;
	uint64_t forgotten;                   /* up to here a worker without a row is not known */
	uint64_t pruned[WORKERS], all_pruned; /* up to here nothing is promised any more */
	uint64_t finished[WORKERS];           /* and up to here nothing of the reserve */
	uint16_t epoch;
	uint64_t producer_seq[WORKERS];
	struct model_reader readers[READERS];
	uint64_t operations, kills, cuts, evictions, compactions, returns;
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
	m->newest[event->worker] = m->count;
}

/* A tail was lost. */
static void model_cut(struct model *m, uint64_t count)
{
	m->count = count;
	memset(m->newest, 0, sizeof(m->newest));
	for (uint64_t s = 1; s <= count; s++)
		m->newest[m->events[s].worker] = s;
}

static bool is_of(const struct model *m, uint64_t sequence, unsigned int workers)
{
	return workers == 0 || (workers >> m->events[sequence].worker & 1) != 0;
}

/* The first one from a sequence on that a selection has; count + 1 when there is none. */
static uint64_t next_of(const struct model *m, uint64_t sequence, unsigned int workers)
{
	while (sequence <= m->count && !is_of(m, sequence, workers))
		sequence++;
	return sequence;
}

/* The newest sequence of a selection that was pruned. */
static uint64_t pruned_of(const struct model *m, unsigned int workers)
{
	uint64_t pruned = workers == 0 ? m->all_pruned : 0;
	for (unsigned int i = 0; i < WORKERS; i++)
		if ((workers >> i & 1) != 0 && m->pruned[i] > pruned)
			pruned = m->pruned[i];
	return pruned;
}

static bool are_known(const struct model *m, unsigned int workers)
{
	for (unsigned int i = 0; i < WORKERS; i++)
		if ((workers >> i & 1) != 0 && !m->is_known[i])
			return false;
	return true;
}

static void check_ends(struct model *m)
{
	struct log_ends ends;
	log_view_ends(event_log_view(m->log.log), &ends);
	assert_int_equal(ends.newest_seq, m->count);
	assert_int_equal(ends.epoch, m->epoch);
}

/* Who is forgotten is the log's decision too, but nobody who has a record. */
static void learn_forgotten(struct model *m, int worker)
{
	assert_true(m->newest[worker] <= m->forgotten);
	assert_true(m->takes_turns || m->newest[worker] == 0);
	m->is_known[worker] = false;
	m->pruned[worker] = m->forgotten;
	m->producer_seq[worker] = 0;
}

/* What was pruned is the log's decision; that it never says less than before is not. */
static void learn_pruned(struct model *m)
{
	uint64_t highest = 0;
	m->forgotten = event_log_view(m->log.log)->table.forgotten_through;
	for (int i = 0; i < WORKERS; i++) {
		struct log_worker row;
		if (!log_view_worker(event_log_view(m->log.log), worker_ids[i],
			    strlen(worker_ids[i]), &row)) {
			learn_forgotten(m, i);
			continue;
		}
		m->returns += !m->is_known[i] && row.highest_pruned != 0;
		m->is_known[i] = true;
		assert_true(row.highest_pruned >= m->pruned[i]);
		m->pruned[i] = row.highest_pruned;
		if (row.highest_pruned > highest)
			highest = row.highest_pruned;
	}
	m->all_pruned = event_log_view(m->log.log)->table.highest_pruned;
	assert_true(m->takes_turns ? m->all_pruned >= highest : m->all_pruned == highest);
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
	for (unsigned int i = 0; i < WORKERS; i++) {
		struct log_worker row;
		uint64_t newest = 0, keyframe = 0, retained = 0, newest_keyframe_ever = 0;
		for (uint64_t s = 1; s <= m->count; s++) {
			if (m->events[s].worker != i)
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
		assert_int_equal(newest, m->newest[i]);
		assert_int_equal(found, m->is_known[i]);
		if (!found)
			continue;
		assert_int_equal(row.newest_seq, newest);
		assert_int_equal(row.newest_keyframe, keyframe);
		assert_int_equal(row.retained_count, retained);
		/* The promise of the reserve, as long as there was room in it. */
		if (m->evictions == 0 && m->cuts == 0 && newest_keyframe_ever > m->finished[i] &&
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
	uint64_t turn = m->operations / TURN_OPERATIONS;
	uint8_t worker = m->takes_turns ? (uint8_t)((turn + draw(m, WORKERS_PER_TURN)) % WORKERS)
					: (uint8_t)draw(m, WORKERS);
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
	int r = log_fixture_append_batch(&m->log, &batch);
	if (m->takes_turns && r == EVENT_LOG_QUOTA && !m->is_known[worker])
		return; /* all of the others have records */
	assert_int_equal(r, EVENT_LOG_OK);
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
		/* Who was forgotten may be remembered again: what the log says holds. */
		assert_true(m->takes_turns || position <= m->producer_seq[i]);
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
	size_t len, end = SEGMENT_HEADER_BYTES, size;
	uint8_t *bytes = log_fixture_load_segment(&m->log, log_fixture_segments(&m->log) - 1, &len);
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
	log_fixture_patch_segment(
		&m->log, log_fixture_segments(&m->log) - 1, end - lost, zeros, lost);
	free(zeros);
	m->cuts++;
}

/* Of a forgotten worker a recovery may know again what it lost, and no more than that. */
static void learn_losses(struct model *m)
{
	for (unsigned int i = 0; m->takes_turns && i < WORKERS; i++) {
		uint64_t lost = m->pruned[i] < m->count ? m->pruned[i] : m->count;
		while (lost > 0 && m->events[lost].worker != i)
			lost--;
		m->pruned[i] = lost;
	}
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
	model_cut(m, ends.newest_seq);
	/* With the tail the note of a pruning may be lost, and then nothing was removed yet. */
	if (loses_tail)
		memset(m->pruned, 0, sizeof(m->pruned));
	else
		learn_losses(m);
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

static void finish_worker(struct model *m)
{
	size_t worker = draw(m, WORKERS);
	struct log_forgotten forgotten;
	bool found = event_log_forget(
		m->log.log, worker_ids[worker], strlen(worker_ids[worker]), &forgotten);
	assert_int_equal(found, are_known(m, 1u << worker));
	m->finished[worker] = m->count;
}

static uint64_t newest_keyframe(const struct model *m, uint8_t worker)
{
	for (uint64_t s = m->count; s > m->pruned[worker]; s--)
		if (m->events[s].worker == worker && m->events[s].is_keyframe)
			return s;
	return next_of(m, m->pruned[worker] + 1, 1u << worker);
}

/* A cursor of anything that ever was, and of some things that never were. */
static int expect_of_cursor(const struct model *m, unsigned int workers,
	const struct cursor *cursor, const struct cursor *ours)
{
	if (cursor->log != ours->log || cursor->sequence > m->count)
		return READER_CURSOR_UNKNOWN;
	bool is_right = cursor->sequence == 0 ? cursor->epoch >= 1 && cursor->epoch <= m->epoch
					      : cursor->epoch == m->events[cursor->sequence].epoch;
	if (!is_right)
		return READER_CURSOR_UNKNOWN;
	if (!are_known(m, workers))
		return cursor->sequence < m->forgotten ? READER_CURSOR_EXPIRED
						       : READER_WORKER_NOT_FOUND;
	return pruned_of(m, workers) > cursor->sequence ? READER_CURSOR_EXPIRED : READER_OPENED;
}

/* What opening should answer; `*is_old`: or that the cursor is too old to be told. */
static int choose_cursor(
	struct model *m, struct model_reader *slot, struct cursor *cursor, bool *is_old)
{
	struct cursor ours;
	log_view_cursor(event_log_view(m->log.log), draw(m, m->count + 3), &ours);
	*cursor = ours;
	if (draw(m, 10) == 0)
		cursor->epoch ^= 1;
	if (draw(m, 20) == 0)
		cursor->log ^= 1;
	slot->next_seq = cursor->sequence + 1;
	/* A header lists the newest 400 epochs only. */
	*is_old = ours.sequence != 0 && ours.sequence <= m->count &&
		  m->epoch - m->events[ours.sequence].epoch > EPOCHS_SURE;
	return expect_of_cursor(m, slot->workers, cursor, &ours);
}

static int open_selected(
	struct model *m, struct model_reader *slot, const struct reader_start *start)
{
	const char *ids[WORKERS];
	size_t lens[WORKERS], count = 0;
	for (unsigned int i = 0; i < WORKERS; i++) {
		if ((slot->workers >> i & 1) == 0)
			continue;
		ids[count] = worker_ids[i];
		lens[count++] = strlen(worker_ids[i]);
	}
	struct reader_selection selection = {ids, lens, count};
	return reader_open(&slot->reader, event_log_view(m->log.log),
		count == 0 ? NULL : &selection, start, false, NULL);
}

static void open_reader(struct model *m)
{
	struct model_reader *slot = &m->readers[draw(m, READERS)];
	reader_close(slot->reader);
	slot->reader = NULL;
	struct reader_start start = {.from = (enum reader_from)draw(m, 4)};
	uint8_t one = (uint8_t)draw(m, WORKERS);
	unsigned int kind = (unsigned int)draw(m, 4);
	slot->workers = start.from == READER_FROM_KEYFRAME || kind == 0 ? 1u << one
			: kind == 1 ? (unsigned int)draw(m, 1u << WORKERS)
				    : 0;
	int expected = are_known(m, slot->workers) ? READER_OPENED : READER_WORKER_NOT_FOUND;
	bool is_old = false;
	switch (start.from) {
	case READER_FROM_CURSOR:
		expected = choose_cursor(m, slot, &start.cursor, &is_old);
		break;
	case READER_FROM_KEYFRAME:
		slot->next_seq = newest_keyframe(m, one);
		break;
	case READER_FROM_OLDEST:
		slot->next_seq = pruned_of(m, slot->workers) + 1;
		break;
	case READER_FROM_NEWEST:
		slot->next_seq = m->count + 1;
		break;
	case READER_FROM_RETAINED: /* not of a live log */
		break;
	}
	int r = open_selected(m, slot, &start);
	if (!is_old || (r != READER_CURSOR_UNKNOWN && r != READER_CURSOR_EXPIRED))
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
		slot->next_seq = next_of(m, slot->next_seq, slot->workers);
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
	uint64_t pruned = pruned_of(m, slot->workers);
	uint64_t next = next_of(m, slot->next_seq, slot->workers);
	/* What was forgotten may have been another's, and the reader behind it already. */
	bool may_be_overrun = m->takes_turns && pruned >= slot->next_seq;
	if (next <= pruned || (r == READER_OVERRUN && may_be_overrun)) {
		assert_int_equal(r, READER_OVERRUN);
		reader_skip_pruned(slot->reader);
		slot->next_seq = pruned + 1;
	} else if (next <= m->count) {
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
	else if (choice < 962)
		finish_worker(m);
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
	m->takes_turns = (seed + seed / 12) % 2 == 0;
	if (m->takes_turns)
		m->log.config.max_workers = ROWS_WITH_TURNS;
	log_fixture_open(&m->log);
	for (; m->operations < operations; m->operations++)
		operate(m);
	close_readers(m);
	print_message("%" PRIu64 " records, %" PRIu64 " pruned, %" PRIu64 " compactions, %" PRIu64
		      " evictions, %" PRIu64 " returns, %" PRIu64 " kills, %" PRIu64
		      " cuts, epoch %u\n",
		m->count, m->all_pruned, m->compactions, m->evictions, m->returns, m->kills,
		m->cuts, m->epoch);
	log_fixture_free(&m->log);
	free(m->events);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_log_does_what_the_model_says)};
	return cmocka_run_group_tests_name("event_log_model", tests, NULL, NULL);
}
