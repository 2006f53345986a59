/*
 * A log with a keyframe reserve, a worker called "quiet" and one called "noisy", for tests of
 * retention. Its file operations can fail (fault_ops.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/lib/fault_ops.h"
#include "tests/lib/log_fixture.h"

enum {
	RESERVE_TEXT_BYTES = 4096,
	RESERVE_LIMIT_SEGMENTS = 6, /* what retention keeps */
	QUIET_UID = 1001,
	NOISY_UID = 1002,
};

struct reserve_fixture {
	struct log_fixture log;
	struct fault_ops faults;
};

/* For cmocka. The log is not open yet. */
int reserve_setup(void **state);
int reserve_teardown(void **state);

/* One event of so many bytes and two. An enum event_log_result. */
int reserve_append(struct log_fixture *f, const char *worker, uint32_t uid, bool is_keyframe,
	size_t fill_bytes);
/* Its sequence. */
uint64_t reserve_append_quiet(struct log_fixture *f, bool is_keyframe);
/* The noisy worker's events until there have been so many more rolls. */
void reserve_make_noise(struct log_fixture *f, unsigned int rolls);
/* Ticks until retention has nothing left to do. */
void reserve_let_retention_work(struct log_fixture *f);

/* One worker's reader behind the cursor of a sequence: an enum reader_open_result. */
int reserve_try_open(
	struct log_fixture *f, const char *worker, uint64_t sequence, struct reader_opened *opened);
/* What that reader gives, as log_fixture_read() does. */
void reserve_read_after(struct log_fixture *f, const char *worker, uint64_t sequence,
	char text[RESERVE_TEXT_BYTES]);
/* What log_verify() finds. */
uint64_t reserve_damage_found(struct log_fixture *f);

/* Ends the log, as kill -9 does when not cleanly, and opens it again. */
void reserve_restart(struct log_fixture *f, bool is_clean);
