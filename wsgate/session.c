#include "wsgate/session.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "proto/base/clock.h"
#include "wsgate/output.h"

enum {
	HEARTBEAT_S = 30,
	BACKOFF_FIRST_MS = 50,
	BACKOFF_MAX_MS = 2000,
	BACKOFF_DOUBLINGS_MAX = 6,
};

enum session_state {
	SESSION_ASKING,       /* the exchange waits for eventlogd's answer */
	SESSION_STREAMING,    /* subscribed */
	SESSION_RECONNECTING, /* eventlogd is away; the peer is told and waits */
	SESSION_ENDING,       /* a final diagnostic is on its way */
	SESSION_GONE,         /* no exchange, no peer: waits for its handles */
};

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

static void open_tail(struct session *session);
static void session_on_timer(uv_timer_t *timer);

static void move(struct session *session, enum session_state state)
{
	assert(allowed_moves[session->state][state]);
	session->state = state;
}

/* ---- going ---- */

static void free_if_all_closed(struct session *session)
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
	free_if_all_closed(session);
}

static void session_on_tail_closed(struct tail *tail)
{
	struct session *session = tail->owner;
	session->tail_is_open = false;
	if (session->state == SESSION_GONE)
		free_if_all_closed(session);
}

static void close_tail(struct session *session)
{
	session->tail_is_usable = false;
	if (session->tail_is_open)
		tail_close(&session->tail, session_on_tail_closed);
}

static void session_gone(struct session *session)
{
	move(session, SESSION_GONE);
	close_tail(session);
	uv_close((uv_handle_t *)&session->timer, session_on_timer_closed);
}

static void session_refuse(
	struct session *session, unsigned int status, const char *code, const char *message)
{
	session->gate->counters.sessions_refused++;
	ws_exchange_refuse(session->exchange, status, code, message);
	session->exchange = NULL;
	session_gone(session);
}

static void session_refuse_as_unavailable(struct session *session)
{
	session_refuse(session, 503, "runtime.unavailable", "the event log does not answer");
}

/* ---- sending ---- */

/* Stops reading eventlogd while the peer does not read us. */
static void hold_back(struct session *session)
{
	if (session->tail_is_usable)
		tail_pause(&session->tail);
}

static void session_flush(struct session *session)
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
		hold_back(session);
	if (session->state == SESSION_STREAMING)
		uv_timer_start(&session->timer, session_on_timer,
			session->gate->config->limits.bookmark_ms, 0);
}

static void add_diagnostic(struct session *session, enum diagnostic diagnostic,
	const struct diagnostic_details *details)
{
	session->gate->counters.diagnostics_sent++;
	output_add_diagnostic(&session->output, diagnostic, details);
}

static void session_end(struct session *session, enum diagnostic diagnostic,
	const struct diagnostic_details *details)
{
	const struct diagnostic_row *row = diagnostic_row(diagnostic);
	move(session, SESSION_ENDING);
	uv_timer_stop(&session->timer);
	close_tail(session);
	/* What a full queue refused is not told; the peer resumes from what it has. */
	ws_frames_unref(session->unsent);
	session->unsent = NULL;
	add_diagnostic(session, diagnostic, details);
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
		if (ws_peer_send(peer, session->unsent) == WS_FULL)
			return;
		ws_frames_unref(session->unsent);
		session->unsent = NULL;
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
				output_init(&session->output, known[k].form);
				return known[k].name;
			}
		}
	}
	output_init(&session->output, OUTPUT_PLAIN);
	return NULL;
}

/* False: there is no session any more. */
static bool session_upgrade(struct session *session)
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

static void say_hello(struct session *session)
{
	char oldest[CURSOR_TEXT_BYTES + 1], newest[CURSOR_TEXT_BYTES + 1];
	cursor_format(&session->status.oldest_cursor, oldest);
	cursor_format(&session->status.newest_cursor, newest);
	const struct hello hello = {.heartbeat_s = HEARTBEAT_S, .oldest = oldest, .newest = newest};
	output_add_hello(&session->output, &hello);
}

/* ---- losing eventlogd and coming back ---- */

static uint64_t backoff_ms(unsigned int attempts)
{
	unsigned int doublings = attempts < BACKOFF_DOUBLINGS_MAX ? attempts
								  : BACKOFF_DOUBLINGS_MAX;
	uint32_t ceiling = BACKOFF_FIRST_MS << doublings;
	if (ceiling > BACKOFF_MAX_MS)
		ceiling = BACKOFF_MAX_MS;
	return 1 + randombytes_uniform(ceiling);
}

static void log_lost_tail(struct session *session, const char *why)
{
	unsigned int suppressed;
	session->gate->counters.tail_lost++;
	if (session->gate->stopping ||
		!journal_limit_pass(&session->gate->tail_log, clock_monotonic_ns(), &suppressed))
		return;
	journal(LOG_WARNING,
		"lost eventlogd under a session (%s), reconnecting (%u such lines suppressed)", why,
		suppressed);
}

static void try_again_later(struct session *session)
{
	uint64_t away_ms = (clock_monotonic_ns() - session->lost_since_ns) / NS_PER_MS;
	if (away_ms >= session->gate->config->limits.give_up_ms) {
		struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
		details.final = true;
		session_end(session, DIAGNOSTIC_RUNTIME_UNAVAILABLE, &details);
		return;
	}
	uv_timer_start(&session->timer, session_on_timer, backoff_ms(session->attempts++), 0);
}

/* The connection to eventlogd ended, or what it said can't be used. */
static void session_on_tail_lost(struct session *session, const char *why)
{
	close_tail(session);
	if (session->state == SESSION_ASKING) {
		session_refuse_as_unavailable(session);
		return;
	}
	if (session->state == SESSION_STREAMING) {
		log_lost_tail(session, why);
		move(session, SESSION_RECONNECTING);
		session->lost_since_ns = clock_monotonic_ns();
		session->attempts = 0;
	}
	if (!session->told_unavailable) {
		session->told_unavailable = true;
		add_diagnostic(session, DIAGNOSTIC_RUNTIME_UNAVAILABLE, &DIAGNOSTIC_NO_DETAILS);
		session_flush(session);
	}
	try_again_later(session);
}

static void session_on_timer(uv_timer_t *timer)
{
	struct session *session = timer->data;
	if (session->state == SESSION_STREAMING) {
		/* Nothing was sent for a while: how far has the subscription come? */
		if (session->output.form != OUTPUT_PLAIN && session->unsent == NULL &&
			!ws_peer_is_congested(session->peer))
			tail_ask_status(&session->tail);
		uv_timer_start(
			timer, session_on_timer, session->gate->config->limits.bookmark_ms, 0);
	} else if (session->state == SESSION_RECONNECTING) {
		if (session->tail_is_open)
			try_again_later(session); /* the old one has not closed yet */
		else
			open_tail(session);
	}
}

/* ---- what eventlogd says ---- */

static void session_on_tail_ready(struct tail *tail)
{
	tail_ask_status(tail);
}

static void subscribe(struct session *session)
{
	const struct tail_start resume = {TAIL_FROM_CURSOR, session->last};
	const char *worker_id = session->worker_id.text[0] != '\0' ? session->worker_id.text : NULL;
	tail_subscribe(&session->tail, worker_id, session->has_last ? &resume : &session->start);
}

static void session_on_tail_status(struct tail *tail, const struct tail_status *status)
{
	struct session *session = tail->owner;
	session->status = *status;
	session->status.map = NULL;
	if (session->state != SESSION_STREAMING) {
		subscribe(session);
	} else if (status->has_position) {
		if (!session->has_last || status->position.sequence > session->last.sequence) {
			session->last = status->position;
			session->has_last = true;
		}
		output_add_bookmark(&session->output, &session->last);
		session_flush(session);
	}
}

static void session_on_tail_subscribed(struct tail *tail, uint64_t start)
{
	struct session *session = tail->owner;
	if (session->state == SESSION_STREAMING) {
		session_on_tail_lost(session, "SUBSCRIBED twice");
		return;
	}
	/* From here on "now" is a place to come back to. */
	if (!session->has_last && session->start.from == TAIL_FROM_NEWEST && start > 0) {
		session->last = tail_cursor_of(&session->status, start - 1);
		session->has_last = true;
	}
	if (session->state == SESSION_ASKING) {
		if (!session_upgrade(session))
			return;
		say_hello(session);
	} else {
		session->gate->counters.tail_reconnects++;
	}
	session->told_unavailable = false;
	move(session, SESSION_STREAMING);
	session_flush(session);
	if (session->unsent != NULL)
		hold_back(session);
}

/* Whether a record is one that this subscription can bring next. */
static bool is_expected(const struct session *session, const struct record *record)
{
	const char *worker_id = session->worker_id.text;
	if (record_is_internal(record) || !id_is_valid(record->worker, record->worker_len))
		return false;
	if (session->has_last && record->sequence <= session->last.sequence)
		return false;
	return *worker_id == '\0' ||
	       (strlen(worker_id) == record->worker_len &&
		       memcmp(worker_id, record->worker, record->worker_len) == 0);
}

static void hand_on(struct session *session, const struct record *record)
{
	struct counters *counters = &session->gate->counters;
	counters->events_sent++;
	counters->payload_bytes_sent += record->payload_len;
	output_add_event(&session->output, session->status.log, record);
	session->last = (struct cursor){session->status.log, record->epoch, record->sequence};
	session->has_last = true;
}

static void session_on_tail_records(struct tail *tail, const uint8_t *bytes, size_t len)
{
	struct session *session = tail->owner;
	bool all_good = session->state == SESSION_STREAMING;
	while (all_good && len > 0) {
		struct record record;
		size_t size;
		all_good = record_decode(bytes, len, &record, &size) == RECORD_OK &&
			   is_expected(session, &record);
		if (all_good) {
			hand_on(session, &record);
			bytes += size;
			len -= size;
		}
	}
	if (session->state == SESSION_STREAMING)
		session_flush(session);
	if (!all_good) {
		session->gate->counters.records_refused++;
		session_on_tail_lost(session, "a record that can't be used");
	}
}

static void session_on_tail_gap(struct tail *tail, uint64_t first, uint64_t last, enum tail_gap gap)
{
	struct session *session = tail->owner;
	if (session->state != SESSION_STREAMING) {
		session_on_tail_lost(session, "GAP before SUBSCRIBED");
		return;
	}
	char from[CURSOR_TEXT_BYTES + 1], to[CURSOR_TEXT_BYTES + 1];
	struct cursor first_cursor = tail_cursor_of(&session->status, first);
	struct cursor last_cursor = tail_cursor_of(&session->status, last);
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	cursor_format(&first_cursor, from);
	cursor_format(&last_cursor, to);
	details.from = from;
	details.to = to;
	session->gate->counters.gaps++;
	add_diagnostic(session,
		gap == TAIL_GAP_PRUNED ? DIAGNOSTIC_RUNTIME_PRUNED : DIAGNOSTIC_RUNTIME_CORRUPT,
		&details);
	if (!session->has_last || last > session->last.sequence)
		session->last = last_cursor;
	session->has_last = true;
	session_flush(session);
}

static void session_on_tail_caught_up(struct tail *tail, uint64_t sequence)
{
	struct session *session = tail->owner;
	if (session->state != SESSION_STREAMING) {
		session_on_tail_lost(session, "CAUGHT_UP before SUBSCRIBED");
		return;
	}
	if (!session->has_last || sequence > session->last.sequence) {
		session->last = tail_cursor_of(&session->status, sequence);
		session->has_last = true;
	}
	if (session->told_caught_up)
		return; /* it met the end before eventlogd went away */
	session->told_caught_up = true;
	output_add_caught_up(&session->output, &session->last);
	session_flush(session);
}

/* ERROR codes that end the session, whatever came before. */
static bool ends_session(const char *code, enum diagnostic *diagnostic)
{
	static const struct {
		const char *code;
		enum diagnostic diagnostic;
	} table[] = {
		{"cursor_malformed", DIAGNOSTIC_RUNTIME_CURSOR_MALFORMED},
		{"cursor_unknown", DIAGNOSTIC_RUNTIME_CURSOR_UNKNOWN},
		{"cursor_expired", DIAGNOSTIC_RUNTIME_CURSOR_EXPIRED},
		{"overrun", DIAGNOSTIC_RUNTIME_CURSOR_EXPIRED},
		{"worker_not_found", DIAGNOSTIC_RUNTIME_WORKER_NOT_FOUND},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].code, code) == 0) {
			*diagnostic = table[i].diagnostic;
			return true;
		}
	}
	return false;
}

static void session_on_tail_error(
	struct tail *tail, const char *code, bool has_oldest, const struct cursor *oldest)
{
	struct session *session = tail->owner;
	enum diagnostic diagnostic;
	if (!ends_session(code, &diagnostic)) {
		session_on_tail_lost(session, code); /* shutting_down, unavailable, … */
		return;
	}
	if (session->state == SESSION_ASKING) {
		if (diagnostic == DIAGNOSTIC_RUNTIME_WORKER_NOT_FOUND) {
			session_refuse(session, 404, "runtime.worker_not_found", "no such worker");
			return;
		}
		if (!session_upgrade(session))
			return;
	}
	char text[CURSOR_TEXT_BYTES + 1];
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	if (has_oldest) {
		cursor_format(oldest, text);
		details.oldest = text;
	}
	session_end(session, diagnostic, &details);
}

static void session_on_tail_workers(struct tail *tail, const msgpack_object *map)
{
	(void)map;
	session_on_tail_lost(tail->owner, "WORKERS_REPLY without a question");
}

static void session_on_tail_end(struct tail *tail, const char *why)
{
	session_on_tail_lost(tail->owner, why);
}

static const struct tail_handler tail_handler = {
	.on_ready = session_on_tail_ready,
	.on_status = session_on_tail_status,
	.on_workers = session_on_tail_workers,
	.on_subscribed = session_on_tail_subscribed,
	.on_records = session_on_tail_records,
	.on_gap = session_on_tail_gap,
	.on_caught_up = session_on_tail_caught_up,
	.on_error = session_on_tail_error,
	.on_end = session_on_tail_end,
};

static void open_tail(struct session *session)
{
	struct gate *gate = session->gate;
	int r = tail_open(&session->tail, &gate->daemon->loop, gate->config->tail_socket,
		&tail_handler, session);
	session->tail_is_open = session->tail_is_usable = r == 0;
	if (r < 0)
		session_on_tail_lost(session, strerror(-r));
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
		open_tail(session);
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
