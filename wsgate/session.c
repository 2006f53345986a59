#include "wsgate/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "wsgate/session_private.h"

static const bool allowed_moves[][SESSION_GONE + 1] = {
	[SESSION_ASKING] =
		{[SESSION_STREAMING] = true, [SESSION_ENDING] = true, [SESSION_GONE] = true},
	[SESSION_STREAMING] =
		{[SESSION_RECONNECTING] = true, [SESSION_ENDING] = true, [SESSION_GONE] = true},
	[SESSION_RECONNECTING] =
		{[SESSION_STREAMING] = true, [SESSION_ENDING] = true, [SESSION_GONE] = true},
	[SESSION_ENDING] = {[SESSION_GONE] = true},
	[SESSION_GONE] = {false},
};

void session_move(struct session *session, enum session_state state)
{
	assert(allowed_moves[session->state][state]);
	session->state = state;
}

/* ---- going ---- */

void session_free_if_all_closed(struct session *session)
{
	if (session->tail_is_open || session->timer_is_open)
		return;
	struct gate *gate = session->gate;
	output_free(&session->output);
	ws_frames_unref(session->unsent);
	DL_DELETE(gate->sessions, session);
	free(session);
	gate_left(gate);
}

static void session_on_timer_closed(uv_handle_t *handle)
{
	struct session *session = handle->data;
	session->timer_is_open = false;
	session_free_if_all_closed(session);
}

static void session_gone(struct session *session)
{
	session_move(session, SESSION_GONE);
	session_close_tail(session);
	uv_close((uv_handle_t *)&session->timer, session_on_timer_closed);
}

void session_refuse(
	struct session *session, unsigned int status, const char *code, const char *message)
{
	session->gate->counters.sessions_refused++;
	ws_exchange_refuse(session->exchange, status, code, message);
	session->exchange = NULL;
	session_gone(session);
}

void session_refuse_as_unavailable(struct session *session)
{
	session_refuse(session, 503, "runtime.unavailable", "the event log does not answer");
}

/* ---- sending ---- */

void session_flush(struct session *session)
{
	struct ws_frames *frames;
	int r = output_take(&session->output, &frames);
	if (session->unsent != NULL) { /* nothing is read from eventlogd then: only diagnostics */
		ws_frames_unref(frames);
		return;
	}
	if (r == 0 && frames != NULL)
		r = ws_peer_send(session->peer, frames);
	if (r == WS_FULL)
		session->unsent = ws_frames_ref(frames);
	else if (r < 0)
		ws_peer_abort(session->peer); /* no memory: a hole is not an option */
	ws_frames_unref(frames);
	if (session->unsent != NULL || ws_peer_is_congested(session->peer))
		session_hold_back(session);
	session_wait_for_silence(session);
}

void session_add_diagnostic(struct session *session, enum diagnostic diagnostic,
	const struct diagnostic_details *details)
{
	session->gate->counters.diagnostics_sent++;
	output_add_diagnostic(&session->output, diagnostic, details);
}

void session_end(struct session *session, enum diagnostic diagnostic,
	const struct diagnostic_details *details)
{
	const struct diagnostic_row *row = diagnostic_row(diagnostic);
	session_move(session, SESSION_ENDING);
	uv_timer_stop(&session->timer);
	session_close_tail(session);
	/* What a full queue refused is not told; the peer resumes from what it has. */
	ws_frames_unref(session->unsent);
	session->unsent = NULL;
	session_add_diagnostic(session, diagnostic, details);
	session_flush(session);
	ws_peer_close(
		session->peer, row->close_code, row->code, session->gate->config->limits.drain_ms);
}

static void session_end_plainly(struct session *session, enum diagnostic diagnostic)
{
	session_end(session, diagnostic, &DIAGNOSTIC_NO_DETAILS);
}

/* ---- the peer ---- */

static void session_on_peer_open(struct ws_peer *peer)
{
	(void)peer; /* sending began when the exchange was upgraded */
}

static void session_on_peer_data(struct ws_peer *peer)
{
	struct session *session = ws_peer_owner(peer);
	if (session->state == SESSION_ENDING)
		return;
	session->gate->counters.data_from_peers++;
	session_end_plainly(session, DIAGNOSTIC_RUNTIME_OBSERVATION_ONLY);
}

static void session_on_peer_writable(struct ws_peer *peer)
{
	struct session *session = ws_peer_owner(peer);
	if (session->unsent != NULL) {
		int r = ws_peer_send(peer, session->unsent);
		if (r == WS_FULL)
			return;
		ws_frames_unref(session->unsent);
		session->unsent = NULL;
		if (r < 0) {
			ws_peer_abort(peer); /* no memory: a hole is not an option */
			return;
		}
	}
	if (session->tail_is_usable && !ws_peer_is_congested(peer))
		tail_resume(&session->tail);
}

static void session_on_peer_closed(struct ws_peer *peer, uint16_t code)
{
	struct session *session = ws_peer_owner(peer);
	(void)code;
	session->peer = NULL;
	session_gone(session);
}

static const struct ws_peer_handler peer_handler = {session_on_peer_open, session_on_peer_data,
	session_on_peer_writable, session_on_peer_closed};

static void session_on_exchange_gone(struct asker *asker)
{
	struct session *session = (struct session *)asker;
	session->exchange = NULL;
	session_gone(session);
}

/* ---- upgrading ---- */

static const char *choose_subprotocol(struct session *session)
{
	static const struct {
		const char *name;
		enum output_form form;
	} known[] = {
		{RUNTIME_BATCH_SUBPROTOCOL, OUTPUT_BATCH},
		{"sightline.v1", OUTPUT_V1},
	};
	const struct ws_request *request = ws_exchange_request(session->exchange);
	const char *asked;
	for (size_t i = 0; (asked = ws_request_subprotocol(request, i)) != NULL; i++) {
		for (size_t k = 0; k < ARRAY_SIZE(known); k++) {
			if (strcmp(asked, known[k].name) == 0) {
				output_init(
					&session->output, known[k].form, &session->gate->scratch);
				return known[k].name;
			}
		}
	}
	output_init(&session->output, OUTPUT_PLAIN, &session->gate->scratch);
	return NULL;
}

bool session_upgrade(struct session *session)
{
	const char *subprotocol = choose_subprotocol(session);
	struct ws_exchange *exchange = session->exchange;
	session->exchange = NULL;
	if (ws_exchange_upgrade(exchange, subprotocol, &peer_handler, session, &session->peer) <
		0) {
		session_gone(session);
		return false;
	}
	session->gate->counters.sessions++;
	return true;
}

/* ---- beginning ---- */

void session_open(
	struct gate *gate, struct ws_exchange *exchange, const struct session_request *request)
{
	struct session *session = calloc(1, sizeof(*session));
	if (session == NULL) {
		gate->counters.sessions_refused++;
		ws_exchange_refuse(exchange, 503, "runtime.unavailable", "out of memory");
		return;
	}
	session->asker.on_gone = session_on_exchange_gone;
	session->gate = gate;
	session->state = SESSION_ASKING;
	session->exchange = exchange;
	session->start = request->start;
	if (request->worker_id != NULL)
		session->worker_id = *request->worker_id;
	if (request->start.from == TAIL_FROM_CURSOR && !request->cursor_is_malformed) {
		session->last = request->start.cursor;
		session->has_last = true;
	}
	uv_timer_init(&gate->daemon->loop, &session->timer);
	session->timer.data = session;
	session->timer_is_open = true;
	DL_APPEND(gate->sessions, session);
	ws_exchange_set_owner(exchange, &session->asker);
	if (!request->cursor_is_malformed)
		session_open_tail(session);
	else if (session_upgrade(session))
		session_end_plainly(session, DIAGNOSTIC_RUNTIME_CURSOR_MALFORMED);
}

void session_say_goodbye_to_all(struct gate *gate)
{
	struct session *session, *next;
	DL_FOREACH_SAFE(gate->sessions, session, next)
	{
		if (session->state == SESSION_ASKING)
			session_refuse_as_unavailable(session);
		else if (session->state == SESSION_STREAMING ||
			 session->state == SESSION_RECONNECTING)
			session_end_plainly(session, DIAGNOSTIC_RUNTIME_GOING_AWAY);
	}
}

unsigned int session_count(const struct gate *gate)
{
	unsigned int count = 0;
	const struct session *session;
	DL_COUNT(gate->sessions, session, count);
	return count;
}
