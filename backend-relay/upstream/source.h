/*
 * Source: one Runtime WebSocket, upstream of this relay, for one worker.
 *
 * Connects with the subprotocol sightline.v1.msgpack and hands on what the runtime sends, in order,
 * each event once: an event at or before the last one handed on is dropped. A lost connection is
 * made again with backoff and full jitter, from the last position handed on, for as long as the
 * source is open; how long is too long is its owner's matter.
 *
 * on_connected comes after each connection's hello, on_trouble once for each outage with a code for
 * clients and again when its reason changes, on_refused when the runtime has said no to what was
 * asked (the cursor, the worker): then the source does nothing more until it is closed.
 *
 * source_pause() stops reading from the socket; what the current message holds is still handed on.
 *
 * source_close() may not be called from within the callbacks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "backend-relay/upstream/registry.h"
#include "backend-relay/upstream/source_item.h"
#include "proto/base/journal.h"
#include "proto/diagnostic.h"
#include "proto/ws/ws_context.h"

struct source;

enum source_from { SOURCE_FROM_KEYFRAME, SOURCE_FROM_NEWEST, SOURCE_FROM_CURSOR };

struct source_handler {
	/* A hello has come. Where a stream from the newest begins only its first item tells. */
	void (*on_connected)(struct source *source);
	/* Borrowed; source_item_copy() keeps it. */
	void (*on_item)(struct source *source, const struct source_item *item);
	void (*on_trouble)(struct source *source, enum diagnostic diagnostic);
	void (*on_refused)(struct source *source, enum diagnostic diagnostic);
};

/* Shared by all sources of a process. */
struct sources {
	uv_loop_t *loop;
	struct ws_context *context;
	uint64_t timeout_ms;
	unsigned int max_open;
	struct journal_limit log_limit;

	unsigned int open;
	uint64_t connects, failures, reconnects, events, duplicates, malformed;
};

/* Starts to connect. `runtime` must outlive the source. 0 or -ENOMEM. */
_must_check_ int source_open(struct source **out, struct sources *sources,
	const struct runtime *runtime, const char *worker_id, enum source_from from,
	const struct cursor *cursor, const struct source_handler *handler, void *owner);
void *source_owner(const struct source *source);
void source_close(struct source *source); /* accepts NULL */

void source_pause(struct source *source);
void source_resume(struct source *source);

bool source_is_connected(const struct source *source);
