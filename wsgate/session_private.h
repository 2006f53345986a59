/*
 * The session's own structure, shared by session.c (its beginning, its peer, its end) and
 * session_tail.c (what eventlogd sends, losing eventlogd and coming back).
 */
#pragma once

#include "wsgate/output.h"
#include "wsgate/session.h"

enum session_state {
	SESSION_ASKING,       /* the exchange waits for eventlogd's answer */
	SESSION_STREAMING,    /* subscribed */
	SESSION_RECONNECTING, /* eventlogd is away; the peer is told and waits */
	SESSION_ENDING,       /* a final diagnostic is on its way */
	SESSION_GONE,         /* no exchange, no peer: waits for its handles */
};

struct session {
	struct asker asker; /* first */
	struct session *prev, *next;
	struct gate *gate;
	enum session_state state;
	struct ws_exchange *exchange; /* while asking */
	struct ws_peer *peer;         /* after the upgrade, until it is gone */
	struct tail tail;
	bool tail_is_open;   /* until its memory may be used again */
	bool tail_is_usable; /* false from its end on */
	uv_timer_t timer;    /* bookmarks while streaming, backoff while reconnecting */
	bool timer_is_open;

	struct id worker_id; /* empty: all */
	struct tail_start start;
	struct tail_status status; /* of the current tail connection */
	struct cursor last;        /* everything up to here has been handed on */
	bool has_last, told_caught_up, told_unavailable;
	struct output output;
	struct ws_frames *unsent; /* refused by a full queue; goes first */
	uint64_t lost_since_ns;
	unsigned int attempts;
};

/* A move that the table in session.c does not allow is a bug. */
void session_move(struct session *session, enum session_state state);

/* Called when one of its handles has closed. */
void session_free_if_all_closed(struct session *session);

/* While asking: answers the exchange with this refusal; the session goes. */
void session_refuse(
	struct session *session, unsigned int status, const char *code, const char *message);
void session_refuse_as_unavailable(struct session *session);

/* Makes the exchange a WebSocket. False: there is no session any more. */
bool session_upgrade(struct session *session);

void session_add_diagnostic(struct session *session, enum diagnostic diagnostic,
	const struct diagnostic_details *details);
/* Sends what was added to the output. */
void session_flush(struct session *session);

/* A final diagnostic, then the close frame. */
void session_end(struct session *session, enum diagnostic diagnostic,
	const struct diagnostic_details *details);

/* ---- session_tail.c ---- */

void session_open_tail(struct session *session);
void session_close_tail(struct session *session);
/* Stops reading eventlogd while the peer does not read us. */
void session_hold_back(struct session *session);
/* Waits for the next bookmark, while streaming. */
void session_wait_for_silence(struct session *session);
