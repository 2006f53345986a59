/*
 * Outage: how long something that a session needs has been failing, as its client is to see it.
 *
 * An outage begins with the first failure and is over when the stream has moved again, or when
 * nothing has failed for OUTAGE_OVER_NS. In between it is one outage, however often it seemed to
 * end: what comes back only to break again is told once, and is given up in the end. After every
 * event that has come through the next failure is another outage.
 *
 * Pure: time comes in. Zero-initialise.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/clock.h"

#define OUTAGE_OVER_NS (5 * NS_PER_S)

struct outage {
	uint64_t since_ns;  /* monotonic; 0: there is none */
	uint64_t better_ns; /* since then it has not failed; 0: it fails */
	bool moved;         /* what had been on its way came through while it failed */
};

/* It fails. True at the beginning of an outage. */
bool outage_note_failure(struct outage *outage, uint64_t now_ns);
/* It does not fail at the moment. */
void outage_note_better(struct outage *outage, uint64_t now_ns);
/* The stream has moved. */
void outage_note_progress(struct outage *outage);

/* Whether it fails now, in an outage that is older than the limit. */
bool outage_is_too_long(const struct outage *outage, uint64_t limit_ns, uint64_t now_ns);
