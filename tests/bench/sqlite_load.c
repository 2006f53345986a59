/*
 * sqlite_load: SQLite in WAL mode with synchronous=FULL, one transaction a batch.
 *
 *	sqlite_load FILE CORPUS EVENTS BATCH
 *
 * In its own process, without a socket in between: the least that a log in SQLite can cost.
 * Measured: binding and inserting each event from memory, and the commit of each batch, which is on
 * the disk then; the delay is that of one batch. Checkpoints are SQLite's own.
 *
 * One JSON line, as publish_load.
 */
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/bench/corpus.h"
#include "tests/bench/delays.h"

static int prepare(sqlite3 *db, sqlite3_stmt **insert)
{
	int r = sqlite3_exec(db,
		"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		"CREATE TABLE event (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
		NULL, NULL, NULL);
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

static int run(sqlite3 *db, sqlite3_stmt *insert, const struct corpus *corpus, uint64_t events,
	uint64_t batch, struct delays *delays)
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

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: sqlite_load FILE CORPUS EVENTS BATCH\n");
		return 2;
	}
	struct corpus corpus;
	struct delays delays;
	sqlite3 *db = NULL;
	sqlite3_stmt *insert = NULL;
	uint64_t events = strtoull(argv[3], NULL, 10);
	if (corpus_load(&corpus, argv[2]) < 0 || delays_init(&delays, events) < 0) {
		fprintf(stderr, "sqlite_load: can't read %s\n", argv[2]);
		return 1;
	}
	int r = sqlite3_open(argv[1], &db);
	if (r == SQLITE_OK)
		r = prepare(db, &insert);
	uint64_t start_ns = clock_monotonic_ns();
	if (r == SQLITE_OK)
		r = run(db, insert, &corpus, events, strtoull(argv[4], NULL, 10), &delays);
	if (r == SQLITE_OK) {
		printf("{\"events\":%" PRIu64 ",\"seconds\":%.6f,", events,
			(double)(clock_monotonic_ns() - start_ns) / 1e9);
		delays_print(&delays);
		puts("}");
	} else {
		fprintf(stderr, "sqlite_load: %s\n", sqlite3_errmsg(db));
	}
	sqlite3_finalize(insert);
	sqlite3_close(db);
	delays_free(&delays);
	corpus_free(&corpus);
	return r == SQLITE_OK ? 0 : 1;
}
