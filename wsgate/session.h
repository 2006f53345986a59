/*
 * Session: one backend that observes one worker, or all.
 *
 * Begins with an exchange: eventlogd is asked for the subscription first, so that what it refuses
 * is an HTTP status. Then frames go from one tail connection to one WebSocket. While the peer does
 * not read, the tail connection is not read either, so that eventlogd keeps what waits.
 *
 * When eventlogd goes away the session tells runtime.unavailable, reconnects with backoff and goes
 * on after the last record that it handed on. It ends with a final diagnostic and a close frame.
 */
#pragma once

#include "proto/ids.h"
#include "wsgate/gate.h"
#include "wsgate/tail.h"

struct session_request {
	const struct id *worker_id; /* NULL: all workers */
	struct tail_start start;
	bool cursor_is_malformed;
};

/* Answers the exchange, now or later. */
void session_open(
	struct gate *gate, struct ws_exchange *exchange, const struct session_request *request);

/* runtime.going_away to each of them; those that still ask are refused. */
void session_say_goodbye_to_all(struct gate *gate);

unsigned int session_count(const struct gate *gate);
