/*
 * Catch-up: one client's own way through the log, until it meets its view's live ring.
 *
 * First its pass is opened: what the role may not observe is found out by names alone, before the
 * runtime is asked. Then an upstream of its own starts at the client's position, or at the worker's
 * keyframe. What a resumed projection state needs is fed first, as warm, from an upstream before
 * that one: so the runtime judges the client's position itself, whatever the state reaches back to.
 * The upstream is paused while its reader or projection is behind, so a slow client costs nothing
 * but its own pace.
 *
 * It ends by joining (its reader goes over to the live feed) or by handing over (its feed becomes
 * the view's); both are its client's doing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend-relay/feed.h"
#include "backend-relay/stream.h"
#include "backend-relay/upstream/source.h"

struct catch_up {
	struct feed *feed;       /* ours, until it was handed over */
	enum diagnostic trouble; /* of its upstream, for clients; DIAGNOSTIC_COUNT: none */
	enum diagnostic refusal; /* the runtime's last word; DIAGNOSTIC_COUNT: none */
	bool is_connected;       /* its upstream has said hello at least once */
	bool has_caught_up;      /* the end of history has been submitted */

	/* private */
	struct sources *sources;
	const struct runtime *runtime;
	struct id worker_id;
	struct source *source;
	bool has_begun, has_start;
	struct client_position start;
	bool is_warming, warm_is_over; /* over: the next turn goes on from the client's position */
	bool has_submitted;
	struct cursor submitted; /* the pass has been given everything up to here */
};

/* `start`: the position to go on from; NULL: the worker's keyframe. 0 or -ENOMEM. */
_must_check_ int catch_up_open(struct catch_up **out, struct projector *projector,
	struct streams *streams, const struct runtime *runtime, const char *worker_id,
	const char *role, const struct client_position *start, size_t full_bytes);
/* Accepts NULL. Its feed is abandoned unless it was handed over. */
void catch_up_close(struct catch_up *catch_up);

/* Asks the runtime, once the feed is open and its reader agrees. 0 or -ENOMEM. */
_must_check_ int catch_up_begin(struct catch_up *catch_up);
bool catch_up_has_begun(const struct catch_up *catch_up);

/* True when the feed is the view's now; only catch_up_close() is left to do. */
bool catch_up_hand_over(struct catch_up *catch_up, struct view *view);
