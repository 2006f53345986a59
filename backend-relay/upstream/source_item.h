/*
 * What a runtime sends about one worker, in stream order, before projection has judged it.
 *
 * An event's payload is opaque bytes. It is counted by reference: the live ring of a stream and the
 * passes of its views hold the same one. Nothing here may reach a client: what a client gets is a
 * struct projected_event (projected_event.h), which is another type.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend-relay/ring.h"
#include "proto/diagnostic.h"
#include "proto/runtime_batch.h"

struct source_event {
	unsigned int refs;
	struct cursor position;
	int64_t ts_ms;
	bool has_source_ts;
	int64_t source_ts_ms;
	size_t len;
	uint8_t payload[];
};

/* A copy with one reference, or NULL. */
struct source_event *source_event_new(const struct runtime_event *event);
struct source_event *source_event_ref(struct source_event *event);
void source_event_unref(struct source_event *event); /* accepts NULL */

enum source_item_kind {
	SOURCE_EVENT,
	SOURCE_GAP,       /* a range is damaged or pruned: `gap` is the backend's code */
	SOURCE_POSITION,  /* nothing of this worker up to here */
	SOURCE_CAUGHT_UP, /* history ends here */
};

struct source_item {
	struct ring_slot slot; /* position: where a reader stands after this item */
	enum source_item_kind kind;
	struct source_event *event;
	enum diagnostic gap;
	struct cursor from, to; /* of a gap */
};

/* For rings of items. */
void source_item_release(void *item);
/* A copy that holds a reference of its own. */
struct source_item source_item_copy(const struct source_item *item);
