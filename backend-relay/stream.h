/*
 * Stream: one (runtime, worker), with the one live upstream that all its clients share.
 *
 * The live upstream starts at the newest event. What it brings goes into `recent`, a bounded ring
 * of items that projection has not judged, which covers everything after a known position; each
 * view of the stream (one for a role) submits from there to its pass, at its pace.
 *
 * A view begins without a feed: a projection state that began in the middle of a stream would not
 * be the one that a reader from the log has. The first catch-up of the role that has met `recent`
 * hands its feed over (view_adopt_feed()), with the state that it has built, and is the view's
 * live ring from then on; others read their way up to it and join.
 *
 * Lost is a view's feed when its pass was lapped by the stream (held back, or projection too slow
 * for too long), lost its state, or when the runtime refuses to go on from where the live upstream
 * stood. Its readers find the feed abandoned and go back to the log, each from its own position.
 *
 * The upstream is paused while a view is behind by half of `recent`, so that projection's pace is
 * the runtime's; slow clients never hold it up.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "backend-relay/feed.h"
#include "backend-relay/upstream/source.h"
#include "proto/base/map.h"

struct stream;

struct view {
	struct stream *stream;
	struct id role;
	struct feed *feed; /* live; NULL until a catch-up has brought one */
	uint64_t next;     /* in the stream's recent: what its pass gets next */
	struct cursor has; /* its pass had everything up to here when the feed came */
	unsigned int users;
	TAILQ_ENTRY(view) link;
};

struct streams {
	struct sources *sources;
	struct wakeups *wakeups;
	size_t recent_bytes, view_bytes;

	struct stream *by_name; /* table */
	unsigned int count;
	uint64_t adoptions, feeds_lost;
};

/* A role's view of a stream, made when there is none. NULL: no memory. */
struct view *view_join(struct streams *streams, const struct runtime *runtime,
	const char *worker_id, const char *role);
/* The last one to leave ends the view; the last view ends the stream. Accepts NULL. */
void view_leave(struct view *view);

/* What clients are to be told of the live upstream's outage; DIAGNOSTIC_COUNT when there is none.
 */
enum diagnostic view_trouble(const struct view *view);
/* The runtime will not serve this stream any more: what clients are to be told. */
enum diagnostic view_refusal(const struct view *view);

/* The live feed, when readers can join it; else NULL. */
struct feed *view_live_feed(const struct view *view);

/*
 * Hands a feed over whose pass has been given everything up to `submitted`. True when it meets
 * `recent` and the view had none: the view then owns the caller's reference.
 */
bool view_adopt_feed(struct view *view, struct feed *feed, const struct cursor *submitted);
