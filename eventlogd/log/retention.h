/*
 * Retention: how many of the oldest segments have to go.
 *
 * Pure. Whole sealed segments, oldest first; the newest one is never asked about. By the bytes that
 * they occupy on the disk, and by the age of their last record.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct retention_limits {
	uint64_t bytes;  /* 0: no limit */
	uint64_t age_ns; /* 0: no limit */
};

struct retention_item {
	uint64_t allocated_bytes;
	uint64_t last_time_ns; /* 0: it has no record */
};

/*
 * `items`: the segments that may go, oldest first. `other_bytes`: what the rest of the log takes.
 * `now_ns`: retention's clock.
 */
size_t retention_plan(const struct retention_limits *limits, const struct retention_item *items,
	size_t count, uint64_t other_bytes, uint64_t now_ns);

/*
 * The clock that ages are judged by: the wall clock, except that a jump of more than a minute
 * between two looks is not followed: it then goes on with the monotonic clock. A wall clock that
 * was set back makes everything younger, never older.
 */
struct retention_clock {
	uint64_t wall_ns, monotonic_ns; /* of the last look; 0: none yet */
};
uint64_t retention_clock_now(
	struct retention_clock *clock, uint64_t wall_ns, uint64_t monotonic_ns);
