/*
 * sqlite_load: SQLite in WAL mode, one transaction a batch.
 *
 *	sqlite_load append FILE CORPUS EVENTS BATCH full|normal
 *	sqlite_load replay FILE EVENTS
 *
 * In its own process, without a socket in between: the least that a log in SQLite can cost. append:
 * binding and inserting each event from memory, and the commit of each batch, which with `full` is
 * on the disk then; the delay is that of one batch. Checkpoints are SQLite's own. replay: every row
 * in order, each payload fetched.
 *
 * One JSON line, as publish_load.
 */
#include <inttypes.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/bench/corpus.h"
#include "tests/bench/delays.h"

static int prepare(sqlite3 *db, bool is_full, sqlite3_stmt **insert)
{
	int r = sqlite3_exec(db,
		"PRAGMA journal_mode=WAL;"
		"CREATE TABLE event (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
		NULL, NULL, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_exec(db,
			is_full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL,
			NULL, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_prepare_v2(
			db, "INSERT INTO event (payload) VALUES (?)", -1, insert, NULL);
	return r;
}

static int insert_one(sqlite3_stmt *insert, const struct corpus_event *event)
{
	sqlite3_bind_blob(insert, 1, event->bytes, (int)event->len, SQLITE_STATIC);
	int r = sqlite3_step(insert);
	sqlite3_reset(insert);
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int insert_all(sqlite3 *db, sqlite3_stmt *insert, const struct corpus *corpus,
	uint64_t events, uint64_t batch, struct delays *delays)
{
	int r = SQLITE_OK;
	for (uint64_t done = 0; r == SQLITE_OK && done < events;) {
		uint64_t begun = clock_monotonic_ns();
		r = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
		for (uint64_t i = 0; r == SQLITE_OK && i < batch && done < events; i++)
			r = insert_one(insert, corpus_get(corpus, done++));
		if (r == SQLITE_OK)
			r = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
		delays_add(delays, clock_monotonic_ns() - begun);
	}
	return r;
}

static void report(uint64_t events, uint64_t start_ns, struct delays *delays)
{
	printf("{\"events\":%" PRIu64 ",\"seconds\":%.6f,", events,
		(double)(clock_monotonic_ns() - start_ns) / 1e9);
	delays_print(delays);
	puts("}");
}

static int append(sqlite3 *db, char **argv)
{
	struct corpus corpus;
	struct delays delays;
	sqlite3_stmt *insert = NULL;
	uint64_t events = strtoull(argv[1], NULL, 10);
	if (corpus_load(&corpus, argv[0]) < 0 || delays_init(&delays, events) < 0)
		return SQLITE_NOMEM;
	int r = prepare(db, strcmp(argv[3], "full") == 0, &insert);
	uint64_t start_ns = clock_monotonic_ns();
	if (r == SQLITE_OK)
		r = insert_all(db, insert, &corpus, events, strtoull(argv[2], NULL, 10), &delays);
	if (r == SQLITE_OK)
		report(events, start_ns, &delays);
	sqlite3_finalize(insert);
	delays_free(&delays);
	corpus_free(&corpus);
	return r;
}

static int replay(sqlite3 *db, uint64_t events)
{
	struct delays none = {0};
	sqlite3_stmt *select = NULL;
	uint64_t count = 0, bytes = 0, start_ns = clock_monotonic_ns();
	int r = sqlite3_prepare_v2(
		db, "SELECT seq, payload FROM event ORDER BY seq", -1, &select, NULL);
	while (r == SQLITE_OK && sqlite3_step(select) == SQLITE_ROW) {
		if ((uint64_t)sqlite3_column_int64(select, 0) != ++count ||
			sqlite3_column_blob(select, 1) == NULL)
			r = SQLITE_CORRUPT;
		bytes += (uint64_t)sqlite3_column_bytes(select, 1);
	}
	if (r == SQLITE_OK && (count != events || bytes == 0))
		r = SQLITE_CORRUPT;
	if (r == SQLITE_OK)
		report(count, start_ns, &none);
	sqlite3_finalize(select);
	return r;
}

int main(int argc, char **argv)
{
	bool is_append = argc == 7 && strcmp(argv[1], "append") == 0;
	if (!is_append && (argc != 4 || strcmp(argv[1], "replay") != 0)) {
		fprintf(stderr, "usage: sqlite_load append FILE CORPUS EVENTS BATCH full|normal\n"
				"       sqlite_load replay FILE EVENTS\n");
		return 2;
	}
	sqlite3 *db = NULL;
	int r = sqlite3_open(argv[2], &db);
	if (r == SQLITE_OK)
		r = is_append ? append(db, argv + 3) : replay(db, strtoull(argv[3], NULL, 10));
	if (r != SQLITE_OK)
		fprintf(stderr, "sqlite_load: %s\n", sqlite3_errstr(r));
	sqlite3_close(db);
	return r == SQLITE_OK ? 0 : 1;
}
