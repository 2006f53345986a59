/*
 * The connections of backend-relays, and what they ask: docs/protocol.md, "projection.sock".
 *
 * Each connection begins with HELLO and has passes of its own. Answers come in the order of the
 * requests, one for each; a relay that does not read its answers is not read either. A message that
 * does not follow the protocol, a descriptor passed, or an unknown pass closes that connection,
 * with an ERROR where that can still be said, and no other.
 *
 * Limits: RELAYS_MAX connections (more wait to be accepted), PASSES_MAX passes for each.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "projection/engine.h"
#include "projection/policy.h"
#include "projection/rules.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/base/journal.h"
#include "proto/base/unix_socket.h"
#include "proto/message.h"

enum { RELAYS_MAX = 16, PASSES_MAX = 65536 };

/* Totals since the start. */
struct relay_counters {
	uint64_t relays, passes, denied_passes;
	uint64_t by_verdict[VERDICT_REFUSED + 1];
	uint64_t authorizations, denied_authorizations;
	uint64_t protocol_errors;
};

struct relay;

struct relay_server {
	const struct policy *policy;
	struct rules **rules; /* by role, in the order of the policy */
	struct engine engine;
	struct message_decoder decoder;
	struct buf reply;
	struct unix_listener listener;
	uv_loop_t *loop;
	struct relay *first;
	struct relay_counters counters;
	struct journal_limit refusals, errors;
	bool stopping;
	/* After relay_server_stop(), once the last connection has ended. */
	void (*on_stopped)(struct relay_server *server);
	void *owner;
};

/* Compiles the rules. 0 or -errno. `policy` must outlive the server. */
_must_check_ int relay_server_init(
	struct relay_server *server, const struct policy *policy, const struct projection_key *key);

/* Takes the listening descriptor; accepts from the next turn of the loop on. 0 or -errno. */
_must_check_ int relay_server_start(struct relay_server *server, uv_loop_t *loop, int listen_fd);

/* Accepts no more, sends what is queued, closes; then on_stopped. */
void relay_server_stop(struct relay_server *server);

/* Closes at once what is still open, for the end of the process. */
void relay_server_close_all(struct relay_server *server);
void relay_server_free(struct relay_server *server);
