/*
 * Blame: which events have ended projection, and how often.
 *
 * An event is known by its place (stream and position), whichever pass it was under way in, so
 * that a poisonous one costs DEATHS_MAX deaths in all and not for each client that comes to it.
 * What has not killed for BLAME_EXPIRES_NS is forgotten: another projection may take it. At most
 * BLAME_EVENTS_MAX are remembered; the one that was blamed longest ago makes room.
 *
 * Pure: time comes in.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/clock.h"
#include "proto/cursor.h"
#include "proto/ids.h"

enum {
	DEATHS_MAX = 3,
	BLAME_EVENTS_MAX = 64,
};

#define BLAME_EXPIRES_NS (10 * 60 * NS_PER_S)

struct blamed_event {
	struct id runtime_id, worker_id;
	struct cursor position;
	unsigned int deaths;
	uint64_t last_ns;
};

/* Zero-initialise. */
struct blame {
	struct blamed_event events[BLAME_EVENTS_MAX];
	size_t count;
};

/* One more death. Returns how many it has caused by now. */
unsigned int blame_add(struct blame *blame, const struct id *runtime_id, const struct id *worker_id,
	const struct cursor *position, uint64_t now_ns);

/* Whether it has caused DEATHS_MAX of them. */
bool blame_is_poisonous(const struct blame *blame, const struct id *runtime_id,
	const struct id *worker_id, const struct cursor *position, uint64_t now_ns);
