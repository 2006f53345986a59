/*
 * A log in a directory of its own, and short ways to append to it and read it, for tests of
 * eventlogd/log. The fixture is a loop's thread without a loop: it waits on a condition for wakes,
 * with a deadline.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/event_log.h"
#include "eventlogd/log/reader.h"
#include "eventlogd/log/view.h"

enum { LOG_FIXTURE_KINDS = 24, LOG_FIXTURE_PATH_BYTES = 128 };

struct log_fixture {
	char directory[64];
	struct event_log_config config;
	struct event_log *log; /* NULL: closed */
	uint64_t wall_ns, monotonic_ns;
	struct event_log_staged staged; /* of the last append */
	uint64_t unsynced_bytes;        /* at the last log_fixture_kill() */

	pthread_mutex_t mutex;
	pthread_cond_t woken;
	unsigned int wakes;

	unsigned int findings[LOG_FIXTURE_KINDS]; /* by kind */
	struct finding last[LOG_FIXTURE_KINDS];   /* without the name */
};

/* For cmocka: the state is a struct log_fixture, open. */
int log_fixture_setup(void **state);
int log_fixture_teardown(void **state);

/* A private directory and a configuration with small segments (64 KiB, events to 16 KiB). */
void log_fixture_init(struct log_fixture *fixture);
/* Closes the log and removes the directory. */
void log_fixture_free(struct log_fixture *fixture);

void log_fixture_open(struct log_fixture *fixture); /* fails the test when it can't */
int log_fixture_try_open(struct log_fixture *fixture);
int log_fixture_close(struct log_fixture *fixture);
/*
 * Ends the log as kill -9 would: what was written stays, nothing is sealed or synced. Sets how many
 * bytes at the end of the active segment a power loss might have taken.
 */
void log_fixture_kill(struct log_fixture *fixture);

/* Stages and commits one event, waiting where the log is busy. An enum event_log_result. */
int log_fixture_append(struct log_fixture *fixture, const char *worker, const char *payload);
int log_fixture_append_event(
	struct log_fixture *fixture, const char *worker, const struct event_log_event *event);
int log_fixture_append_batch(struct log_fixture *fixture, const struct event_log_batch *batch);

/* Commits until everything staged is written and acknowledged. An enum event_log_result. */
int log_fixture_settle(struct log_fixture *fixture);
/* Commits until the durable mark is at the written one (not in os mode). */
void log_fixture_sync(struct log_fixture *fixture);
/* Lets `ns` pass and ticks. */
void log_fixture_tick(struct log_fixture *fixture, uint64_t ns);
/* Waits for the next wake. */
void log_fixture_wait(struct log_fixture *fixture);

unsigned int log_fixture_segments(const struct log_fixture *fixture); /* files in the directory */
/* Name of the n-th segment file, by ascending name. */
void log_fixture_segment_path(
	const struct log_fixture *fixture, unsigned int number, char out[LOG_FIXTURE_PATH_BYTES]);

/* The whole file in memory; free() it. */
uint8_t *log_fixture_load_segment(
	const struct log_fixture *fixture, unsigned int number, size_t *len);
/* Writes `len` bytes at an offset of the file, in place. */
void log_fixture_patch_segment(const struct log_fixture *fixture, unsigned int number,
	size_t offset, const void *bytes, size_t len);

/* What a reader gives from its position to the end, in one line: "1-4 !5-6 7 ?8-9": records, what
 * is corrupt, what is a gap; "overrun" ends it. */
void log_fixture_read(struct log_view *view, const struct reader_selection *selection,
	const struct reader_start *start, char *out, size_t len);
/* The same from the oldest record, for all workers or one. */
void log_fixture_read_all(struct log_view *view, const char *worker, char *out, size_t len);
