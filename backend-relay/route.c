#include "backend-relay/route.h"

#include <string.h>

#include "backend-relay/api.h"
#include "backend-relay/client.h"
#include "backend-relay/relay.h"
#include "proto/base/clock.h"

static const char observe_route[] = "/api/runtimes/{}/workers/{}/events/ws";

/* A refusal that is known before anybody is asked; DIAGNOSTIC_COUNT: none. */
static enum diagnostic judge(const struct relay *relay, enum authenticator_result result,
	const struct client_request *request)
{
	if (relay->stopping)
		return DIAGNOSTIC_BACKEND_GOING_AWAY;
	if (result != AUTHENTICATOR_ACCEPTED)
		return authenticator_refusal(result);
	if (!crowd_has_room(&relay->crowd, request->identity->who))
		return DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS;
	if (request->runtime == NULL || request->worker_id == NULL)
		return DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND;
	return DIAGNOSTIC_COUNT;
}

/* For the audit: who asks, where what is asked for is not known (yet). */
static struct audit_subject subject_of(const struct identity *identity)
{
	return (struct audit_subject){
		.peer = identity->peer,
		.subject = identity->subject,
		.role = identity->role.text,
	};
}

static void observe(struct relay *relay, struct ws_exchange *exchange,
	enum authenticator_result result, const struct identity *identity,
	const struct ws_segment segments[2])
{
	struct client_request request = {
		.runtime_id = id_is_valid(segments[0].text, segments[0].len) ? segments[0].text
									     : NULL,
		.runtime = registry_find(&relay->registry, segments[0].text),
		.worker_id = id_is_valid(segments[1].text, segments[1].len) ? segments[1].text
									    : NULL,
		.identity = identity,
	};
	if (!ws_request_is_upgrade(ws_exchange_request(exchange))) {
		struct audit_subject subject = subject_of(identity);
		subject.runtime_id = request.runtime != NULL ? request.runtime->id.text : NULL;
		subject.worker_id = request.worker_id;
		relay_refuse_status(relay, exchange, &subject, 426, "this is a WebSocket");
		return;
	}
	request.refusal = judge(relay, result, &request);
	client_open(relay, exchange, &request);
}

static void route_on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	struct relay *relay = ws_server_owner(server);
	const struct ws_request *head = ws_exchange_request(exchange);
	struct identity identity;
	enum authenticator_result result = authenticator_check(
		&relay->authenticator, exchange, &identity);
	const struct audit_subject subject = subject_of(&identity);
	if (ws_request_method(head) != WS_METHOD_GET && !api_is_command(head)) {
		relay_refuse_status(relay, exchange, &subject, 405, "only GET is answered here");
		return;
	}
	if (result == AUTHENTICATOR_ORIGIN_REFUSED) {
		relay_note_refusal(relay, &subject, DIAGNOSTIC_BACKEND_UNAUTHORIZED);
		ws_exchange_refuse(exchange, 403,
			diagnostic_row(DIAGNOSTIC_BACKEND_UNAUTHORIZED)->code,
			"this origin is not allowed");
		return;
	}
	relay->counters.unauthorized += result == AUTHENTICATOR_WRONG;
	relay->counters.too_often += result == AUTHENTICATOR_TOO_OFTEN;
	struct ws_segment segments[2];
	if (ws_request_matches(head, observe_route, segments, ARRAY_SIZE(segments)))
		observe(relay, exchange, result, &identity, segments);
	else
		api_on_exchange(relay, exchange, result, &identity);
}

static void route_on_gone(struct ws_server *server, struct ws_exchange *exchange)
{
	(void)server;
	struct waiting_exchange *waiting = ws_exchange_owner(exchange);
	if (waiting == NULL)
		return;
	waiting->exchange = NULL;
	waiting->on_gone(waiting);
}

static void route_on_error(struct ws_server *server, int error)
{
	struct relay *relay = ws_server_owner(server);
	unsigned int suppressed;
	if (journal_limit_pass(&relay->accept_log, clock_monotonic_ns(), &suppressed))
		journal(LOG_WARNING, "accepting connections: %s", strerror(-error));
}

/* Whom a proxy names is not known: the head was not read to its end. */
static void route_on_refused(
	struct ws_server *server, struct ws_exchange *exchange, unsigned int status)
{
	const struct audit_subject subject = {.peer = ws_exchange_peer_text(exchange)};
	relay_note_refused_status(ws_server_owner(server), &subject, status);
}

const struct ws_server_handler route_handler = {
	route_on_exchange, route_on_gone, route_on_error, route_on_refused};
