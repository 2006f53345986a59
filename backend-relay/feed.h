/*
 * Feed: what came out of one pass, waiting for its readers.
 *
 * A view's live ring is a feed with many readers: each holds the index of what it wants next, the
 * projected frames are shared, and one that is too slow is lapped (feed_reader_is_lapped()). A
 * catch-up is a feed with one reader: nothing is dropped that it has not read, and whoever fills
 * the feed stops at feed_is_full(). feed_share() turns the second into the first.
 *
 * Counted by reference: its owner (view or catch-up) and each reader hold one; the pass closes with
 * the last. An owner that gives it up calls feed_abandon(), and the readers go elsewhere.
 *
 * Arrivals only wake the feed; `on_wake` and then every reader's `on_ready` run from the loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "backend-relay/projector/pass.h"
#include "backend-relay/ring.h"
#include "backend-relay/wakeup.h"

struct delivery {
	struct ring_slot slot;
	struct pass_output output; /* holds a reference to the event */
	uint64_t events_before;    /* events that came out of this feed before it */
};

enum feed_state {
	FEED_OPENING,
	FEED_OPEN,
	FEED_DENIED,       /* the role may not observe this stream */
	FEED_VIEW_CHANGED, /* what the role may see of it is no longer the same */
	FEED_ABANDONED,    /* no more comes: go back to the log */
};

struct feed;

struct feed_reader {
	struct feed *feed; /* NULL while it reads nothing */
	uint64_t next;
	void (*on_ready)(struct feed_reader *reader); /* may detach any reader, itself too */
	TAILQ_ENTRY(feed_reader) link;
};
TAILQ_HEAD(feed_reader_list, feed_reader);

struct feed {
	enum feed_state state;
	bool is_troubled; /* no verdicts at the moment */
	struct pass *pass;
	struct ring deliveries;
	uint64_t events;
	struct feed_reader_list readers;
	unsigned int reader_count;

	void (*on_wake)(struct feed *feed); /* the owner's; NULL when abandoned */
	void *owner;

	/* private */
	unsigned int refs;
	size_t full_bytes; /* 0 once it is shared */
	struct wakeup wakeup;
};

/* With one reference, the owner's. `full_bytes`: what waits at most for the one reader. */
_must_check_ int feed_open(struct feed **out, struct projector *projector, struct wakeups *wakeups,
	const char *role, const char *runtime_id, const char *worker_id, size_t full_bytes,
	void (*on_wake)(struct feed *feed), void *owner);

void feed_wake(struct feed *feed);

/* Another owner; from now on the oldest deliveries are dropped beyond max_bytes. */
void feed_share(
	struct feed *feed, size_t max_bytes, void (*on_wake)(struct feed *feed), void *owner);
/* Drops the owner's reference. */
void feed_abandon(struct feed *feed);

/* Whether to stop submitting to its pass: the reader or projection is behind. */
bool feed_is_full(struct feed *feed);

void feed_attach(struct feed *feed, struct feed_reader *reader, uint64_t next);
void feed_detach(struct feed_reader *reader); /* fine when it is not attached */

bool feed_reader_is_lapped(const struct feed_reader *reader);
/* What it wants next, or NULL. Borrowed until the loop goes on. Not to be called when lapped. */
const struct delivery *feed_reader_peek(const struct feed_reader *reader);
void feed_reader_take(struct feed_reader *reader);
