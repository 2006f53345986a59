#include "backend-relay/client.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/course.h"
#include "backend-relay/outage.h"
#include "backend-relay/outlet.h"
#include "backend-relay/refusal.h"
#include "proto/base/clock.h"

#define SUBPROTOCOL "sightline.v1"

enum client_state {
	CLIENT_OPENING, /* not admitted: has heard nothing but perhaps the 101 */
	CLIENT_REFUSED, /* the same; its refusal is known, and its time has not come */
	CLIENT_OPEN,
	CLIENT_ENDED, /* the close frame is on its way */
};

struct client {
	struct relay *relay;
	enum client_state state;
	const struct runtime *runtime;
	struct id worker_id;
	struct identity identity;
	struct audit_session session; /* while open */
	bool is_in_crowd;

	struct waiting_exchange waiting; /* while the request is not answered */
	uint64_t not_found_ns;           /* monotonic; not before that it hears of nothing there */
	struct deferral refusal;
	struct outlet outlet;      /* its peer is there after that */
	enum diagnostic last_word; /* to be said after the upgrade; DIAGNOSTIC_COUNT: none */

	struct course course;
	struct outage upstream, projection;
	enum diagnostic upstream_trouble; /* of the outage; DIAGNOSTIC_COUNT: not at the moment */
	uint64_t lifetime_end_ns;         /* 0: no limit */
	TAILQ_ENTRY(client) link;
};

struct client *client_next(struct client *client)
{
	return TAILQ_NEXT(client, link);
}

/* ---- the end ---- */

static struct audit_subject subject_of(const struct client *client)
{
	return (struct audit_subject){
		.peer = client->identity.peer,
		.subject = client->identity.subject,
		.role = client->identity.role.text,
		.runtime_id = client->runtime != NULL ? client->runtime->id.text : NULL,
		.worker_id = client->worker_id.text,
	};
}

/* DIAGNOSTIC_COUNT: the client left. */
static void note_end(const struct client *client, enum diagnostic diagnostic)
{
	const struct audit_subject subject = subject_of(client);
	if (client->state <= CLIENT_REFUSED && diagnostic != DIAGNOSTIC_COUNT)
		relay_note_refusal(client->relay, &subject, diagnostic);
	if (client->state == CLIENT_OPEN)
		audit_end(&client->relay->audit, &client->session, &subject,
			diagnostic != DIAGNOSTIC_COUNT ? diagnostic_row(diagnostic)->code : NULL,
			clock_monotonic_ns());
}

/* It no longer takes a place, though its last words may still be on their way. */
static void leave_crowd(struct client *client)
{
	if (client->is_in_crowd)
		crowd_leave(&client->relay->crowd, client->identity.who);
	client->is_in_crowd = false;
}

static void client_free(struct client *client)
{
	struct relay *relay = client->relay;
	note_end(client, DIAGNOSTIC_COUNT);
	leave_crowd(client);
	course_leave(&client->course);
	deferral_cancel(&client->relay->deferrals, &client->refusal);
	TAILQ_REMOVE(&relay->clients, client, link);
	free(client);
	relay_client_gone(relay);
}

static void client_upgrade(struct client *client);

static void client_end(struct client *client, enum diagnostic diagnostic, int64_t retry_after_ms);

static void client_on_refusal_due(struct deferral *refusal)
{
	client_end((struct client *)((char *)refusal - offsetof(struct client, refusal)),
		DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND, -1);
}

/*
 * What is hidden is refused sooner than what the runtime has to be asked for: neither is told
 * before the time that both can keep.
 */
static bool must_wait(const struct client *client, enum diagnostic diagnostic)
{
	return client->state == CLIENT_OPENING &&
	       diagnostic == DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND &&
	       client->not_found_ns > clock_monotonic_ns();
}

/* The client may be gone when this returns. */
static void client_end(struct client *client, enum diagnostic diagnostic, int64_t retry_after_ms)
{
	if (client->state == CLIENT_ENDED)
		return;
	if (must_wait(client, diagnostic)) {
		client->state = CLIENT_REFUSED;
		course_leave(&client->course);
		deferral_start(&client->relay->deferrals, &client->refusal, client->not_found_ns,
			client_on_refusal_due);
		return;
	}
	note_end(client, diagnostic);
	if (client->state != CLIENT_OPEN)
		client->relay->counters.sessions_refused++;
	client->state = CLIENT_ENDED;
	leave_crowd(client);
	deferral_cancel(&client->relay->deferrals, &client->refusal);
	course_leave(&client->course);
	if (client->outlet.peer != NULL) {
		outlet_end(&client->outlet, diagnostic, retry_after_ms);
		return;
	}
	struct ws_exchange *exchange = client->waiting.exchange;
	client->last_word = diagnostic;
	if (refusal_http_status(diagnostic) == 0) {
		client_upgrade(client);
		return;
	}
	ws_exchange_set_owner(exchange, NULL);
	client_free(client);
	refusal_answer(exchange, diagnostic);
}

void client_send_away(struct client *client, enum diagnostic diagnostic, int64_t retry_after_ms)
{
	client_end(client, diagnostic, retry_after_ms);
}

void client_abandon(struct client *client)
{
	note_end(client, DIAGNOSTIC_BACKEND_GOING_AWAY);
	client->state = CLIENT_ENDED;
	leave_crowd(client);
	deferral_cancel(&client->relay->deferrals, &client->refusal);
	course_leave(&client->course);
}

void client_check_identity(struct client *client)
{
	if (client->state != CLIENT_ENDED &&
		!authenticator_still_accepts(&client->relay->authenticator, &client->identity))
		client_end(client, DIAGNOSTIC_BACKEND_SESSION_EXPIRED, -1);
}

static bool identity_is_over(const struct client *client)
{
	int64_t expires_s = client->identity.expires_s;
	return expires_s != 0 && (int64_t)(clock_wall_ns() / NS_PER_S) >= expires_s;
}

/* ---- the peer ---- */

static void client_run(struct client *client);

static void say_hello(struct client *client)
{
	outlet_send_hello(&client->outlet, client->relay->config.session_lifetime_ms / 1000);
}

static void client_on_peer_open(struct ws_peer *peer)
{
	(void)peer; /* sending has begun before */
}

static void client_on_peer_data(struct ws_peer *peer)
{
	client_end(ws_peer_owner(peer), DIAGNOSTIC_BACKEND_OBSERVATION_ONLY, -1);
}

static void client_on_peer_writable(struct ws_peer *peer)
{
	client_run(ws_peer_owner(peer));
}

static void client_on_peer_closed(struct ws_peer *peer, uint16_t code)
{
	(void)code;
	client_free(ws_peer_owner(peer));
}

static const struct ws_peer_handler peer_handler = {
	client_on_peer_open, client_on_peer_data, client_on_peer_writable, client_on_peer_closed};

/* From now on it is told within the stream. The client may be gone when this returns. */
static void client_upgrade(struct client *client)
{
	struct ws_exchange *exchange = client->waiting.exchange;
	struct outlet *outlet = &client->outlet;
	client->waiting.exchange = NULL;
	ws_exchange_set_owner(exchange, NULL);
	if (ws_exchange_upgrade(exchange, outlet->has_subprotocol ? SUBPROTOCOL : NULL,
		    &peer_handler, client, &outlet->peer) < 0) {
		client_free(client);
		return;
	}
	outlet->last_sent_ns = clock_monotonic_ns();
	if (client->last_word != DIAGNOSTIC_COUNT)
		outlet_end(outlet, client->last_word, -1);
	else if (client->state == CLIENT_OPEN)
		say_hello(client);
	if (client->course.reader.feed != NULL)
		feed_wake(client->course.reader.feed);
}

static void client_on_exchange_gone(struct waiting_exchange *waiting)
{
	client_free((struct client *)((char *)waiting - offsetof(struct client, waiting)));
}

/* ---- trouble that may pass ---- */

/* False when the session has ended over it: one that never was connected does not wait. */
static bool note_trouble(struct client *client, struct outage *outage, enum diagnostic diagnostic)
{
	if (diagnostic == DIAGNOSTIC_COUNT) {
		outage_note_better(outage, clock_monotonic_ns());
		return true;
	}
	if (client->state == CLIENT_OPENING) {
		client_end(client, diagnostic, -1);
		return false;
	}
	const struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	if (outage_note_failure(outage, clock_monotonic_ns()))
		outlet_send_diagnostic(&client->outlet, diagnostic, &details);
	return true;
}

static void note_progress(struct client *client)
{
	outage_note_progress(&client->upstream);
	outage_note_progress(&client->projection);
}

static bool note_upstream(struct client *client, enum diagnostic trouble, enum diagnostic refusal)
{
	if (refusal != DIAGNOSTIC_COUNT) {
		client_end(client, refusal, -1);
		return false;
	}
	client->upstream_trouble = trouble;
	return note_trouble(client, &client->upstream, trouble);
}

static bool note_projection(struct client *client)
{
	return note_trouble(client, &client->projection,
		client->course.reader.feed->is_troubled ? DIAGNOSTIC_BACKEND_PROJECTION_UNAVAILABLE
							: DIAGNOSTIC_COUNT);
}

/* ---- where it reads ---- */

static void client_on_feed_ready(struct feed_reader *reader)
{
	client_run((struct client *)((char *)reader - offsetof(struct client, course.reader)));
}

/* Goes back to the log from what it has. False when the session has ended over it. */
static bool client_catch_up(struct client *client)
{
	if (course_catch_up(&client->course) == 0)
		return true;
	client_end(client, DIAGNOSTIC_BACKEND_GOING_AWAY, -1);
	return false;
}

/* The client may be gone when this returns. */
static void client_admit(struct client *client)
{
	const struct audit_subject subject = subject_of(client);
	client->state = CLIENT_OPEN;
	client->relay->counters.sessions++;
	audit_begin(&client->relay->audit, &client->session, &subject, clock_monotonic_ns());
	if (client->outlet.peer == NULL) {
		client_upgrade(client);
		return;
	}
	say_hello(client);
	feed_wake(client->course.reader.feed);
}

/* The role may observe this stream. Is the cursor good for it? False when the session has ended. */
static bool client_begin(struct client *client)
{
	int r = course_begin(&client->course);
	if (r < 0 || r == COURSE_POLICY_CHANGED) {
		client_end(client,
			r < 0 ? DIAGNOSTIC_BACKEND_GOING_AWAY : DIAGNOSTIC_BACKEND_POLICY_CHANGED,
			-1);
		return false;
	}
	client->relay->counters.joins += r == COURSE_JOINED;
	return true;
}

/* What the feed's own state asks for. False when there is nothing to read (yet). */
static bool client_heed_feed(struct client *client)
{
	switch (client->course.reader.feed->state) {
	case FEED_OPENING:
		note_projection(client);
		return false;
	case FEED_OPEN:
		break;
	case FEED_DENIED:
		client_end(client, DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND, -1);
		return false;
	case FEED_VIEW_CHANGED:
		client_end(client, DIAGNOSTIC_BACKEND_POLICY_CHANGED, -1);
		return false;
	case FEED_ABANDONED:
		client_catch_up(client);
		return false;
	}
	if (!note_projection(client))
		return false;
	if (course_is_to_begin(&client->course) && !client_begin(client))
		return false;
	return note_upstream(
		client, course_trouble(&client->course), course_refusal(&client->course));
}

/* Left the live ring: goes on from the log, and is told. */
static void client_lag(struct client *client)
{
	struct diagnostic_details details = DIAGNOSTIC_NO_DETAILS;
	details.behind = (int64_t)course_events_behind(&client->course);
	client->relay->counters.lagging++;
	outlet_send_diagnostic(&client->outlet, DIAGNOSTIC_BACKEND_LAGGING, &details);
	client_catch_up(client);
}

static void tell_caught_up(struct client *client)
{
	if (course_note_caught_up(&client->course))
		outlet_send_caught_up(&client->outlet, &client->course.position);
}

/* False when the peer takes no more. */
static bool client_send(struct client *client, const struct pass_output *output)
{
	struct relay_counters *counters = &client->relay->counters;
	struct audit_counts *counts = &client->session.counts;
	switch (output->kind) {
	case PASS_NOTICE:
		if (!outlet_send_notice(&client->outlet, output))
			return false;
		counts->withheld += output->notice == DIAGNOSTIC_BACKEND_EVENT_WITHHELD;
		break;
	case PASS_EVENT:
		if (!outlet_send_event(&client->outlet, output->event))
			return false;
		counts->delivered++;
		counts->redacted += projected_event_is_redacted(output->event);
		counters->events_delivered++;
		counters->bytes_delivered += projected_event_bytes(output->event);
		break;
	case PASS_DENIED:
		counts->denied++;
		break;
	case PASS_SILENT:
	case PASS_CAUGHT_UP:
		return true;
	}
	note_progress(client);
	return true;
}

/* The same; then it is still to be read. */
static bool client_take(struct client *client, const struct delivery *delivery)
{
	bool has_caught_up = delivery->output.kind == PASS_CAUGHT_UP;
	if (!course_knows(&client->course, delivery) && !client_send(client, &delivery->output))
		return false;
	course_take(&client->course, delivery);
	if (has_caught_up)
		tell_caught_up(client);
	return true;
}

static void client_deliver(struct client *client)
{
	while (!ws_peer_is_congested(client->outlet.peer)) {
		if (course_is_at_seam(&client->course))
			tell_caught_up(client);
		if (feed_reader_is_lapped(&client->course.reader)) {
			client_lag(client);
			return;
		}
		const struct delivery *delivery = feed_reader_peek(&client->course.reader);
		if (delivery != NULL && course_has_parted(&client->course, delivery)) {
			client_catch_up(client); /* hears there that its position is gone */
			return;
		}
		if (delivery == NULL || !client_take(client, delivery))
			break;
	}
}

/* Looks at everything that concerns this client and does what follows. */
static void client_run(struct client *client)
{
	if (client->state == CLIENT_ENDED || client->state == CLIENT_REFUSED ||
		client->course.reader.feed == NULL || !client_heed_feed(client))
		return;
	if (client->state == CLIENT_OPENING && course_is_connected(&client->course)) {
		client_admit(client);
		return; /* woken again, or gone */
	}
	if (client->state != CLIENT_OPEN)
		return;
	client_deliver(client);
	if (client->state == CLIENT_OPEN)
		client->relay->counters.joins += course_try_to_go_live(&client->course) ==
						 COURSE_JOINED;
}

/* ---- time ---- */

static bool is_over(uint64_t since_ns, uint64_t now_ns, uint64_t limit_ms)
{
	return now_ns > since_ns && now_ns - since_ns > limit_ms * NS_PER_MS;
}

static bool peer_is_stalled(const struct client *client, uint64_t now_ns)
{
	return ws_peer_queued_bytes(client->outlet.peer) > 0 &&
	       is_over(ws_peer_last_progress_ns(client->outlet.peer), now_ns,
		       client->relay->config.stall_ms);
}

void client_tick(struct client *client, uint64_t now_ns)
{
	const struct config *config = &client->relay->config;
	course_look_again(&client->course);
	if (client->state != CLIENT_ENDED && identity_is_over(client)) {
		client_end(client, DIAGNOSTIC_BACKEND_SESSION_EXPIRED, -1);
		return;
	}
	if (client->state != CLIENT_OPEN)
		return;
	if (peer_is_stalled(client, now_ns)) {
		client->relay->counters.stalled++;
		client_end(client, DIAGNOSTIC_BACKEND_STALLED, -1);
	} else if (outage_is_too_long(
			   &client->upstream, config->upstream_give_up_ms * NS_PER_MS, now_ns)) {
		client_end(client, client->upstream_trouble, -1);
	} else if (outage_is_too_long(&client->projection,
			   config->projection_give_up_ms * NS_PER_MS, now_ns)) {
		client_end(client, DIAGNOSTIC_BACKEND_PROJECTION_UNAVAILABLE, -1);
	} else if (client->lifetime_end_ns != 0 && now_ns >= client->lifetime_end_ns) {
		client_end(client, DIAGNOSTIC_BACKEND_GOING_AWAY, 0);
	} else if (client->course.has_position &&
		   is_over(client->outlet.last_sent_ns, now_ns, config->bookmark_ms) &&
		   !ws_peer_is_congested(client->outlet.peer)) {
		outlet_send_bookmark(&client->outlet, &client->course.position);
		client->outlet.last_sent_ns = now_ns;
	}
}

/* ---- the beginning ---- */

/*
 * Whether the cursor is one of ours for these names; nobody is asked, so that a bad one is answered
 * alike whether the stream is there, hidden or missing. DIAGNOSTIC_COUNT: it is, or there is none.
 */
static enum diagnostic read_cursor(
	struct client *client, const struct client_request *request, const struct ws_request *head)
{
	char text[CLIENT_CURSOR_TEXT_MAX + 2];
	size_t len;
	enum client_cursor_result result = CLIENT_CURSOR_MALFORMED;
	switch (ws_request_parameter(head, "cursor", text, sizeof(text), &len)) {
	case WS_PARAMETER_ABSENT:
		return DIAGNOSTIC_COUNT;
	case WS_PARAMETER_MALFORMED:
		break;
	case WS_PARAMETER_FOUND:
		/* What is no id has no cursor; an empty name has none either. */
		result = client_cursor_open(&client->relay->cursor_keys,
			request->runtime_id != NULL ? request->runtime_id : "",
			request->worker_id != NULL ? request->worker_id : "", text, len,
			&client->course.position);
		break;
	}
	client->course.has_position = result == CLIENT_CURSOR_OK;
	if (client->course.has_position)
		return DIAGNOSTIC_COUNT;
	return result == CLIENT_CURSOR_MALFORMED ? DIAGNOSTIC_BACKEND_CURSOR_MALFORMED
						 : DIAGNOSTIC_BACKEND_CURSOR_UNKNOWN;
}

static uint64_t lifetime_end(const struct relay *relay, uint64_t now_ns)
{
	uint64_t lifetime_ms = relay->config.session_lifetime_ms;
	if (lifetime_ms == 0)
		return 0;
	/* Up to a tenth less, so that sessions that began together do not end together. */
	uint64_t jitter_ms = ((uint64_t)randombytes_random() * (lifetime_ms / 10)) >> 32;
	return now_ns + (lifetime_ms - jitter_ms) * NS_PER_MS;
}

static struct client *client_new(struct relay *relay, const struct client_request *request)
{
	struct client *client = calloc(1, sizeof(*client));
	if (client == NULL)
		return NULL;
	client->relay = relay;
	client->not_found_ns = relay_not_found_ns(relay);
	client->last_word = client->upstream_trouble = DIAGNOSTIC_COUNT;
	client->runtime = request->runtime;
	client->lifetime_end_ns = lifetime_end(relay, clock_monotonic_ns());
	client->identity = *request->identity;
	if (request->worker_id != NULL)
		id_set(&client->worker_id, request->worker_id, strlen(request->worker_id));
	client->course = (struct course){
		.config = {.projector = relay->projector,
			.streams = &relay->streams,
			.runtime = client->runtime,
			.worker_id = client->worker_id.text,
			.role = client->identity.role.text,
			.catch_up_bytes = relay->config.client_queue_bytes},
		.reader.on_ready = client_on_feed_ready,
	};
	client->outlet = (struct outlet){
		.keys = &relay->cursor_keys,
		.runtime_id = client->runtime != NULL ? client->runtime->id.text : "",
		.worker_id = client->worker_id.text,
	};
	TAILQ_INSERT_TAIL(&relay->clients, client, link);
	relay->client_count++;
	return client;
}

void client_open(
	struct relay *relay, struct ws_exchange *exchange, const struct client_request *request)
{
	struct client *client = client_new(relay, request);
	if (client == NULL) {
		const struct diagnostic_row *row = diagnostic_row(
			DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS);
		ws_exchange_refuse(exchange, 503, row->code, row->message);
		return;
	}
	client->waiting = (struct waiting_exchange){exchange, client_on_exchange_gone};
	ws_exchange_set_owner(exchange, &client->waiting);
	const struct ws_request *head = ws_exchange_request(exchange);
	client->outlet.has_subprotocol = ws_request_asks_for(head, SUBPROTOCOL);
	bool has_subprotocol = client->outlet.has_subprotocol;
	enum diagnostic refusal = request->refusal;
	if (refusal == DIAGNOSTIC_COUNT || refusal == DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND) {
		enum diagnostic cursor = read_cursor(client, request, head);
		refusal = cursor != DIAGNOSTIC_COUNT ? cursor : refusal;
	}
	client->is_in_crowd = (refusal == DIAGNOSTIC_COUNT || must_wait(client, refusal)) &&
			      crowd_enter(&relay->crowd, client->identity.who) == 0;
	if (refusal == DIAGNOSTIC_COUNT && !client->is_in_crowd)
		refusal = DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS;
	if (refusal == DIAGNOSTIC_COUNT) {
		if (client_catch_up(client) && has_subprotocol)
			client_upgrade(client);
	} else if (!has_subprotocol) {
		client_end(client, refusal, -1);
	} else if (must_wait(client, refusal)) {
		client_end(client, refusal, -1);
		client_upgrade(client);
	} else {
		note_end(client, refusal);
		client->state = CLIENT_ENDED;
		client->last_word = refusal;
		relay->counters.sessions_refused++;
		client_upgrade(client);
	}
}
