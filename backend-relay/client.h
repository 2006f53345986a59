/*
 * Client: one observation session, from the request to the close frame.
 *
 *	opening ──admitted──▶ catching up ◀──lagging── live ──▶ ended
 *	                           └────caught up────────▲
 *
 * opening: the credential has been accepted; projection says whether the role may observe the
 * stream, the runtime whether the worker is there. With the subprotocol sightline.v1 the client is
 * a WebSocket already and hears of a refusal there; without, its request still waits and is refused
 * with an HTTP status.
 * catching up, live: the two ways in which it reads (course.h). Between them it sees neither a gap
 * nor an event twice, and is told `caught_up` once.
 *
 * The only payload that goes to a client is a struct projected_event. The socket takes at most
 * client_queue_bytes; the rest stays in the feed, and behind that in the runtime's log.
 *
 * A client belongs to itself: it is freed when its peer or exchange has gone.
 */
#pragma once

#include <stdint.h>

#include "backend-relay/relay.h"

/* What a request for an observation asks for. */
struct client_request {
	const char *runtime_id, *worker_id; /* NULL: not an id */
	const struct runtime *runtime;      /* NULL: no such runtime */
	const struct identity *identity;
	enum diagnostic refusal; /* known before anything is asked; else DIAGNOSTIC_COUNT */
};

/* Takes the exchange: it is answered from here. */
void client_open(
	struct relay *relay, struct ws_exchange *exchange, const struct client_request *request);

/* Time has passed. */
void client_tick(struct client *client, uint64_t now_ns);

/* Says goodbye with a final diagnostic. retry_after_ms: -1 when not said. */
void client_send_away(struct client *client, enum diagnostic diagnostic, int64_t retry_after_ms);

/* Lets go of feeds, upstreams and passes, for the end of the process. Its peer may still be there.
 */
void client_abandon(struct client *client);

/* Tokens and keys were read again: ends the session unless its own is still good. */
void client_check_identity(struct client *client);

struct client *client_next(struct client *client);
