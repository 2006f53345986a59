/*
 * A log that syncs at rolls only, so that what is written last is above the durable mark, and what
 * tests of recovery and damage do with it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tests/lib/log_fixture.h"

enum { RECOVERY_TEXT_BYTES = 4096 };

/* For cmocka, with log_fixture_teardown(): the state is a struct log_fixture, open. */
int recovery_setup(void **state);

void recovery_append_n(struct log_fixture *f, const char *worker, unsigned int count);
/* Appends alternately for workers a and b until `segments` segments are sealed; how many. */
uint64_t recovery_fill(struct log_fixture *f, unsigned int segments);

/* What log_fixture_read_all() gives of the log, or of its directory, for all workers (NULL) or one.
 */
void recovery_expect_log(struct log_fixture *f, const char *worker, const char *expected);
void recovery_expect_directory(struct log_fixture *f, const char *worker, const char *expected);

/* Offset of a record in a segment's bytes; where the records from the first one on end. */
size_t recovery_offset_of(const uint8_t *bytes, size_t len, uint64_t sequence);
size_t recovery_end_of_records(const uint8_t *bytes, size_t len);
