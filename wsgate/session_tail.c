#include <sodium.h>
#include <string.h>

#include "proto/base/clock.h"
#include "wsgate/session_private.h"

enum {
	HEARTBEAT_S = 30,
	BACKOFF_FIRST_MS = 50,
	BACKOFF_MAX_MS = 2000,
	BACKOFF_DOUBLINGS_MAX = 6,
};

static void session_on_timer(uv_timer_t *timer);

/* ---- the connection ---- */

static void session_on_tail_closed(struct tail *tail)
{
	struct session *session = tail->owner;
	session->tail_is_open = false;
	if (session->state == SESSION_GONE)
		session_free_if_all_closed(session);
}

void session_close_tail(struct session *session)
{
	session->tail_is_usable = false;
	if (session->tail_is_open)
		tail_close(&session->tail, session_on_tail_closed);
}

void session_hold_back(struct session *session)
{
	if (session->tail_is_usable)
		tail_pause(&session->tail);
}

void session_wait_for_silence(struct session *session)
{
	if (session->state == SESSION_STREAMING)
		uv_timer_start(&session->timer, session_on_timer,
			session->gate->config->limits.bookmark_ms, 0);
}

/* ---- losing eventlogd and coming back ---- */

static uint64_t backoff_ms(unsigned int attempts)
{
	unsigned int doublings = attempts < BACKOFF_DOUBLINGS_MAX ? attempts
								  : BACKOFF_DOUBLINGS_MAX;
	uint32_t ceiling = (uint32_t)BACKOFF_FIRST_MS << doublings;
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
	session_close_tail(session);
	if (session->state == SESSION_ASKING) {
		session_refuse_as_unavailable(session);
		return;
	}
	if (session->state == SESSION_STREAMING) {
		log_lost_tail(session, why);
		session_move(session, SESSION_RECONNECTING);
		session->lost_since_ns = clock_monotonic_ns();
		session->attempts = 0;
	}
	if (!session->told_unavailable) {
		session->told_unavailable = true;
		session_add_diagnostic(
			session, DIAGNOSTIC_RUNTIME_UNAVAILABLE, &DIAGNOSTIC_NO_DETAILS);
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
		session_wait_for_silence(session);
	} else if (session->state == SESSION_RECONNECTING) {
		if (session->tail_is_open)
			try_again_later(session); /* the old one has not closed yet */
		else
			session_open_tail(session);
	}
}

/* ---- what eventlogd says ---- */

/* What came between STATUS and SUBSCRIBE is before the beginning of a stream from the newest. */
static void say_hello(struct session *session)
{
	char oldest[CURSOR_TEXT_BYTES + 1], newest[CURSOR_TEXT_BYTES + 1];
	bool begins_there = session->start.from == TAIL_FROM_NEWEST && session->has_last;
	cursor_format(&session->status.oldest_cursor, oldest);
	cursor_format(begins_there ? &session->last : &session->status.newest_cursor, newest);
	const struct hello hello = {.heartbeat_s = HEARTBEAT_S, .oldest = oldest, .newest = newest};
	output_add_hello(&session->output, &hello);
}

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
	session_move(session, SESSION_STREAMING);
	session_flush(session);
	if (session->unsent != NULL)
		session_hold_back(session);
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
	session_add_diagnostic(session,
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

void session_open_tail(struct session *session)
{
	struct gate *gate = session->gate;
	int r = tail_open(&session->tail, &gate->daemon->loop, gate->config->tail_socket,
		&tail_handler, session);
	session->tail_is_open = session->tail_is_usable = r == 0;
	if (r < 0)
		session_on_tail_lost(session, strerror(-r));
}
