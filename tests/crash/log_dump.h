/*
 * Everything that a reader gives of a log, from its oldest record to its end, for comparing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/view.h"
#include "proto/base/attributes.h"

struct dumped_record {
	uint64_t sequence, producer_seq;
	uint64_t hash; /* of worker, kind and payload: see dump_hash() */
	uint16_t epoch;
	uint8_t worker; /* number: tests call their workers w0, w1, … */
};

struct dumped_gap {
	uint64_t first, last;
	bool is_pruned;
};

struct log_dump {
	struct dumped_record *records;
	size_t count, allocated;
	struct dumped_gap *gaps; /* also what is corrupt */
	size_t gap_count, gaps_allocated;
	char problem[128]; /* what a reader must not do; empty: nothing */
};

uint64_t dump_hash(const void *worker, size_t worker_len, const void *payload, size_t payload_len);

/* Reads on from the oldest. 0, or -errno of the reader. Free it in any case. */
_must_check_ int log_dump_read(struct log_dump *dump, struct log_view *view);
/* The same for one worker; empty when the log does not know it. */
_must_check_ int log_dump_read_worker(
	struct log_dump *dump, struct log_view *view, const char *worker);
void log_dump_free(struct log_dump *dump);

/* The record of a sequence; NULL: it was not given. */
const struct dumped_record *log_dump_find(const struct log_dump *dump, uint64_t sequence);
bool log_dumps_are_equal(const struct log_dump *a, const struct log_dump *b);
