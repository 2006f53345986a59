/*
 * Projector: the channel to projection, shared by every pass of this process.
 *
 * Requests are answered in the order in which they were sent; each answer must fit the oldest one
 * that is open. An answer that does not, one that is malformed, and one that is late end the
 * connection: then nothing is delivered, every pass is told, and after a short, jittered wait the
 * projector connects again, opens every pass again and submits again what had no answer.
 *
 * What a death leaves unanswered is suspect: those events go one at a time, with no other under
 * way, until all of them are answered. When projection dies with a single one under way, that event
 * is to blame; after three deaths it is withheld (as if its verdict had been `refused`), and in
 * between its pass is held back for a growing time while the others go on.
 *
 * Bounds: a pass holds at most pass_bytes of unanswered events (pass_is_full()); at most 4 MiB wait
 * to be written to the socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "backend-relay/client_cursor.h"
#include "backend-relay/event_id.h"
#include "backend-relay/wakeup.h"
#include "proto/base/attributes.h"

struct projector;

struct projector_config {
	uv_loop_t *loop;
	struct wakeups *wakeups;
	const char *socket_path;
	uint64_t timeout_ms; /* for an answer, and for connecting */
	size_t pass_bytes;
	const struct client_cursor_keys *cursor_keys;
	const struct event_id_key *event_id_key;
};

struct projector_counters {
	uint64_t connects, deaths;
	uint64_t passed, rewritten, denied, refused, warm;
	uint64_t withheld; /* of `refused`: those that killed projection */
	uint64_t passes_open;
};

/* Starts to connect. Everything in `config` must outlive the projector. 0 or -errno. */
_must_check_ int projector_open(struct projector **out, const struct projector_config *config);
/* All passes are closed before. Frees itself from the loop. */
void projector_close(struct projector *projector);

/* Whether verdicts can be expected: connected, or trying for the first time. */
bool projector_is_up(const struct projector *projector);
const struct projector_counters *projector_counters(const struct projector *projector);
