/*
 * Outlet: everything that goes out to one client.
 *
 * The only payload that it takes is a struct projected_event: what projection has not answered for
 * has another type and does not compile here. All other frames are made here, from cursors that
 * are sealed here and texts of our own tables, so nothing of a runtime can stand in them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend-relay/client_cursor.h"
#include "backend-relay/projector/pass.h"
#include "backend-relay/projector/projected_event.h"
#include "proto/diagnostic.h"
#include "proto/ws/ws_server.h"

struct outlet {
	struct ws_peer *peer; /* NULL until the 101 is on its way */
	bool has_subprotocol; /* hears hello, caught_up and bookmarks too */
	const struct client_cursor_keys *keys;
	const char *runtime_id, *worker_id;
	uint64_t last_sent_ns; /* monotonic */
};

/* False when the peer takes no more at the moment; its on_writable will come. */
bool outlet_send_event(struct outlet *outlet, const struct projected_event *event);

/*
 * The others are short and find room in the peer's reserve. A peer that has used that up too reads
 * nothing, and they are dropped: what they say shows again, in a later cursor or the close code.
 */
void outlet_send_hello(struct outlet *outlet, uint64_t max_lifetime_s);
void outlet_send_caught_up(struct outlet *outlet, const struct client_position *position);
void outlet_send_bookmark(struct outlet *outlet, const struct client_position *position);
void outlet_send_diagnostic(struct outlet *outlet, enum diagnostic diagnostic,
	const struct diagnostic_details *details);
/*
 * Of an output PASS_NOTICE: a range that is missing, or one event that is withheld. False when it
 * could not be sent: it may not be passed over.
 */
_must_check_ bool outlet_send_notice(struct outlet *outlet, const struct pass_output *output);

/* A final diagnostic and the close frame with its code. */
void outlet_end(struct outlet *outlet, enum diagnostic diagnostic, int64_t retry_after_ms);
