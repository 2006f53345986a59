/*
 * Course: where one client reads its stream, and what it has of it.
 *
 *	catching up ──begins at a place of the live ring, or joins it, or becomes it──▶ live
 *	     ▲────────────────────── lapped, or the ring is abandoned ───────────────────┘
 *
 * catching up: reads a catch-up of its own (catch_up.h). live: reads its view's ring (feed.h).
 * Between the two no event is missing and none comes twice: what comes next is told by what the
 * client has, and what it has already is known (course_knows()).
 *
 * The seam is where history ends for a client that begins live: what the ring held then.
 *
 * Says nothing to the client and ends nothing; its owner does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend-relay/catch_up.h"
#include "backend-relay/client_cursor.h"
#include "backend-relay/feed.h"
#include "backend-relay/stream.h"

/* All of it outlives the course. */
struct course_config {
	struct projector *projector;
	struct streams *streams;
	const struct runtime *runtime;
	const char *worker_id, *role;
	size_t catch_up_bytes; /* what waits at most for this client */
};

struct course {
	struct course_config config;
	struct feed_reader reader; /* the owner sets on_ready; no feed: it does not read */
	bool has_position;
	struct client_position position; /* what the client has; at first, its cursor */
	bool has_caught_up;              /* and its owner was told */

	/* private */
	struct view *view;
	struct catch_up *catch_up;     /* NULL when live */
	struct cursor has_joined_with; /* older deliveries of the live ring are skipped */
	uint64_t events_before;        /* of its feed, before what it reads next */
	bool has_seam;
	uint64_t seam; /* index in the live ring */
};

/* Goes to the log, on from what the client has. 0 or -ENOMEM, and then it reads nothing. */
_must_check_ int course_catch_up(struct course *course);
/* Lets go of everything; fine at any time. */
void course_leave(struct course *course);

enum course_result {
	COURSE_OK = 0,
	COURSE_JOINED = 1,         /* is live now, at a place of the ring */
	COURSE_POLICY_CHANGED = 2, /* the position is of another view */
};

/* Catches up, and nothing was asked of the runtime yet. */
bool course_is_to_begin(const struct course *course);
/* Then, once its feed is open: asks the runtime, or begins live. An enum course_result or -ENOMEM.
 */
_must_check_ int course_begin(struct course *course);
/* A catch-up that has met the live ring ends there. COURSE_OK or COURSE_JOINED. */
enum course_result course_try_to_go_live(struct course *course);
/* Time has passed: nothing in a quiet stream would say that the ring has come since. */
void course_look_again(struct course *course);

/* Whether its upstream has been there at least once. */
bool course_is_connected(const struct course *course);
/* Of its upstream, for the client: DIAGNOSTIC_COUNT when there is nothing to say. */
enum diagnostic course_trouble(const struct course *course);
enum diagnostic course_refusal(const struct course *course);

/* How many events it has not read of a live ring. */
uint64_t course_events_behind(const struct course *course);

/* The log has lost what the client has had of it, and something else stands there now. */
bool course_has_parted(const struct course *course, const struct delivery *delivery);
/* The client has it already: to be passed over in silence. */
bool course_knows(const struct course *course, const struct delivery *delivery);
/* What feed_reader_peek() gave is with the client, or passed over. It may be gone afterwards. */
void course_take(struct course *course, const struct delivery *delivery);

/* Whether it stands at its seam, or behind it. */
bool course_is_at_seam(const struct course *course);
/* History has ended. True once, when there is a position to tell with it. */
bool course_note_caught_up(struct course *course);
