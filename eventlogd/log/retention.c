#include "eventlogd/log/retention.h"

#include <stdbool.h>

#include "proto/base/clock.h"

#define JUMP_NS (60 * NS_PER_S)

size_t retention_plan(const struct retention_limits *limits, const struct retention_item *items,
	size_t count, uint64_t other_bytes, uint64_t now_ns)
{
	uint64_t total = other_bytes;
	for (size_t i = 0; i < count; i++)
		total += items[i].allocated_bytes;
	size_t gone = 0;
	for (; gone < count; gone++) {
		const struct retention_item *item = &items[gone];
		bool too_much = limits->bytes != 0 && total > limits->bytes;
		bool too_old = limits->age_ns != 0 && item->last_time_ns < now_ns &&
			       now_ns - item->last_time_ns > limits->age_ns;
		if (!too_much && !too_old)
			break;
		total -= item->allocated_bytes;
	}
	return gone;
}

uint64_t retention_clock_now(struct retention_clock *clock, uint64_t wall_ns, uint64_t monotonic_ns)
{
	if (clock->monotonic_ns != 0) {
		uint64_t expected = clock->wall_ns + (monotonic_ns - clock->monotonic_ns);
		if (wall_ns > expected && wall_ns - expected > JUMP_NS)
			wall_ns = expected;
	}
	*clock = (struct retention_clock){wall_ns, monotonic_ns};
	return wall_ns;
}
