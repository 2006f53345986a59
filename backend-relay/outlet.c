#include "backend-relay/outlet.h"

#include "proto/base/clock.h"
#include "proto/envelope.h"

enum { CLOSE_DEADLINE_MS = 3000, HEARTBEAT_S = 30 };

static bool send_text(struct outlet *outlet, const struct buf *text)
{
	struct ws_frames *frames = ws_frames_new(text->len);
	bool sent = frames != NULL &&
		    ws_frames_add_message(frames, WS_TEXT, text->data, text->len) == 0 &&
		    ws_peer_send(outlet->peer, frames) == WS_SENT;
	if (sent)
		outlet->last_sent_ns = clock_monotonic_ns();
	ws_frames_unref(frames);
	return sent;
}

static bool send_diagnostic(
	struct outlet *outlet, enum diagnostic diagnostic, const struct diagnostic_details *details)
{
	_cleanup_buf_ struct buf text = {0};
	return diagnostic_write_json(&text, diagnostic, details) == 0 && send_text(outlet, &text);
}

static void seal(const struct outlet *outlet, const struct client_position *position,
	char out[CLIENT_CURSOR_TEXT_BYTES + 1])
{
	client_cursor_seal_place(
		outlet->keys, outlet->runtime_id, outlet->worker_id, position, out);
}

bool outlet_send_event(struct outlet *outlet, const struct projected_event *event)
{
	if (ws_peer_send(outlet->peer, projected_event_frames(event)) != WS_SENT)
		return false;
	outlet->last_sent_ns = clock_monotonic_ns();
	return true;
}

void outlet_send_hello(struct outlet *outlet, uint64_t max_lifetime_s)
{
	if (!outlet->has_subprotocol)
		return;
	/*
	 * No oldest and newest: a client that began there would begin without projection's state.
	 */
	const struct hello hello = {.heartbeat_s = HEARTBEAT_S, .max_lifetime_s = max_lifetime_s};
	_cleanup_buf_ struct buf text = {0};
	if (envelope_write_hello(&text, &hello) == 0)
		send_text(outlet, &text);
}

void outlet_send_caught_up(struct outlet *outlet, const struct client_position *position)
{
	if (!outlet->has_subprotocol)
		return;
	char cursor[CLIENT_CURSOR_TEXT_BYTES + 1];
	_cleanup_buf_ struct buf text = {0};
	seal(outlet, position, cursor);
	if (envelope_write_caught_up(&text, cursor) == 0)
		send_text(outlet, &text);
}

void outlet_send_bookmark(struct outlet *outlet, const struct client_position *position)
{
	if (!outlet->has_subprotocol)
		return;
	char cursor[CLIENT_CURSOR_TEXT_BYTES + 1];
	_cleanup_buf_ struct buf text = {0};
	seal(outlet, position, cursor);
	if (envelope_write_bookmark(&text, cursor) == 0)
		send_text(outlet, &text);
}

void outlet_send_diagnostic(
	struct outlet *outlet, enum diagnostic diagnostic, const struct diagnostic_details *details)
{
	send_diagnostic(outlet, diagnostic, details);
}

bool outlet_send_notice(struct outlet *outlet, const struct pass_output *output)
{
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	char from[CLIENT_CURSOR_TEXT_BYTES + 1], to[CLIENT_CURSOR_TEXT_BYTES + 1];
	struct client_position begin = output->position;
	seal(outlet, &output->position, to);
	if (output->notice == DIAGNOSTIC_BACKEND_EVENT_WITHHELD) {
		details.cursor = to;
	} else {
		/* State that reaches back further than needed is right for an earlier position too.
		 */
		begin.at = output->from;
		if (begin.warm_from.log != begin.at.log ||
			begin.warm_from.sequence > begin.at.sequence)
			begin.warm_from = begin.at;
		seal(outlet, &begin, from);
		details.from = from;
		details.to = to;
	}
	return send_diagnostic(outlet, output->notice, &details);
}

void outlet_end(struct outlet *outlet, enum diagnostic diagnostic, int64_t retry_after_ms)
{
	const struct diagnostic_row *row = diagnostic_row(diagnostic);
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	details.final = true;
	details.retry_after_ms = retry_after_ms;
	outlet_send_diagnostic(outlet, diagnostic, &details);
	ws_peer_close(outlet->peer, row->close_code, row->code, CLOSE_DEADLINE_MS);
}
