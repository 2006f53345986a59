/*
 * Pass: one reading position of a view, moving forward, with projection's state behind it.
 *
 * Items of a stream go in, in order; what a client may know of each comes out, in the same order:
 * a projected event, nothing but a move of the position (denied, or nothing there), or a notice
 * (withheld, a gap). What needs no verdict waits for the events before it, so that a position never
 * passes an event without a verdict.
 *
 * Warm items only rebuild projection's state; nothing comes out for them.
 *
 * If projection dies while state is open (a block of which the beginning has been answered
 * already), the state can't be rebuilt from here: on_state_lost, and its owner goes back to the
 * log. Without open state the pass goes on by itself.
 *
 * A pass may not be closed from within its callbacks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend-relay/client_cursor.h"
#include "backend-relay/projector/projected_event.h"
#include "backend-relay/projector/projector.h"
#include "backend-relay/upstream/source_item.h"

struct pass;

enum pass_output_kind {
	PASS_EVENT,     /* deliver `event` */
	PASS_SILENT,    /* only the position moves */
	PASS_DENIED,    /* the same: there is an event, and the role may not see it */
	PASS_NOTICE,    /* tell `notice`, with `from` and `to` */
	PASS_CAUGHT_UP, /* history ends here */
};

struct pass_output {
	enum pass_output_kind kind;
	struct cursor before;            /* where the stream stood */
	struct client_position position; /* a client's, once it has taken this */
	struct projected_event *event;   /* borrowed; projected_event_ref() keeps it */
	enum diagnostic notice;
	struct cursor from, to; /* equal for one event */
};

struct pass_handler {
	/* Once: the role may observe this stream; pass_view() is known. */
	void (*on_opened)(struct pass *pass);
	/* The role may not observe the stream (any more); nothing comes after it. */
	void (*on_denied)(struct pass *pass);
	/* Opened again with another view; nothing comes after it. */
	void (*on_view_changed)(struct pass *pass);
	/* See above; nothing comes after it. */
	void (*on_state_lost)(struct pass *pass);
	void (*on_output)(struct pass *pass, const struct pass_output *output);
	/* It was full and no longer is. */
	void (*on_room)(struct pass *pass);
	/* No verdicts at the moment; and again. */
	void (*on_trouble)(struct pass *pass);
	void (*on_recovered)(struct pass *pass);
};

/*
 * Asks projection for the pass at once, or as soon as it is there. 0 or -ENOMEM. Callbacks come
 * from the loop.
 */
_must_check_ int pass_open(struct pass **out, struct projector *projector, const char *role,
	const char *runtime_id, const char *worker_id, const struct pass_handler *handler,
	void *owner);
void pass_close(struct pass *pass); /* accepts NULL */

void *pass_owner(const struct pass *pass);

/* Valid after on_opened. */
const uint8_t *pass_view(const struct pass *pass);

/* Where the stream begins, before the first item. Without it the first item tells. */
void pass_set_start(struct pass *pass, const struct cursor *start);

/* Takes a copy of the item. Always taken; heed pass_is_full(). 0 or -ENOMEM. */
_must_check_ int pass_submit(struct pass *pass, const struct source_item *item, bool warm);
/* on_room will come. */
bool pass_is_full(struct pass *pass);
/* Held back because its events killed projection. */
bool pass_is_held(const struct pass *pass);
