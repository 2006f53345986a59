/*
 * Whether the other end of a WebSocket still lives: silent for a time, it is asked by a ping;
 * silent for longer, it is lost. Client and server keep this themselves: the library's own check
 * (4.1, Debian 12) writes its ping over the payload of a pong that still has to go out, and a peer
 * that gets another pong than it asked for takes the connection for dead.
 */
#pragma once

#include <stdint.h>

struct ws_liveness_policy {
	uint64_t ping_after_ns, hang_up_after_ns; /* of silence; the second is longer */
};

/* Monotonic times. */
struct ws_liveness {
	uint64_t heard_ns; /* the last sign of life */
	uint64_t asked_ns; /* the last ping; 0: none */
};

enum ws_liveness_verdict {
	WS_ALIVE,
	WS_ASK,  /* send a ping: it counts as sent */
	WS_LOST, /* behind a ping that had a second or more to be answered */
};

enum ws_liveness_verdict ws_liveness_check(
	struct ws_liveness *liveness, const struct ws_liveness_policy *policy, uint64_t now_ns);
