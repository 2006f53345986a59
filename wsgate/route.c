#include "wsgate/route.h"

#include <sodium.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/yaml_config.h"
#include "proto/ws/ws_status.h"
#include "wsgate/metrics.h"
#include "wsgate/query.h"
#include "wsgate/session.h"

static void refuse_parameter(struct ws_exchange *exchange, const char *message)
{
	ws_exchange_refuse(exchange, 400, "runtime.invalid_request", message);
}

static bool token_is_right(const struct gate *gate, const char *token)
{
	uint8_t hash[TOKEN_HASH_BYTES];
	if (token == NULL)
		return false;
	/* Hashes are compared, so that neither content nor length shows in the time. */
	crypto_generichash(hash, sizeof(hash), (const uint8_t *)token, strlen(token), NULL, 0);
	return sodium_memcmp(hash, gate->token_hash, sizeof(hash)) == 0;
}

static bool may_ask(const struct gate *gate, const struct ws_exchange *exchange)
{
	const struct ws_request *request = ws_exchange_request(exchange);
	if (gate->needs_token)
		return token_is_right(gate, ws_request_bearer(request));
	/* Without a token a page in somebody's browser could ask too; backends send no Origin. */
	return ws_request_header(request, "origin") == NULL;
}

static void refuse_unauthorized(struct gate *gate, struct ws_exchange *exchange)
{
	const struct journal_field fields[] = {
		{"PEER", ws_exchange_peer_text(exchange)}, {NULL, NULL}};
	unsigned int suppressed;
	gate->counters.unauthorized++;
	if (journal_limit_pass(&gate->refusal_log, clock_monotonic_ns(), &suppressed))
		journal_fields(LOG_NOTICE, fields,
			"refused an unauthorized request (%u more before it)", suppressed);
	ws_exchange_refuse(
		exchange, 401, "runtime.unauthorized", "a token is needed, and this is not it");
}

/* ---- observation ---- */

static bool read_from(const char *text, bool is_worker, enum tail_from *from)
{
	if (strcmp(text, "oldest") == 0)
		*from = TAIL_FROM_OLDEST;
	else if (strcmp(text, "newest") == 0)
		*from = TAIL_FROM_NEWEST;
	else if (strcmp(text, "keyframe") == 0 && is_worker)
		*from = TAIL_FROM_KEYFRAME;
	else
		return false;
	return true;
}

/* False: `from` is there and is none. A cursor goes before it. */
static bool read_start(const struct ws_request *request, struct session_request *session)
{
	char text[CURSOR_TEXT_BYTES + 1];
	size_t len;
	bool is_worker = session->worker_id != NULL;
	session->start.from = is_worker ? TAIL_FROM_KEYFRAME : TAIL_FROM_NEWEST;
	switch (ws_request_parameter(request, "from", text, sizeof(text), &len)) {
	case WS_PARAMETER_ABSENT:
		break;
	case WS_PARAMETER_MALFORMED:
		return false;
	case WS_PARAMETER_FOUND:
		if (!read_from(text, is_worker, &session->start.from))
			return false;
		break;
	}
	enum ws_parameter_result cursor = ws_request_parameter(
		request, "cursor", text, sizeof(text), &len);
	if (cursor != WS_PARAMETER_ABSENT) {
		session->start.from = TAIL_FROM_CURSOR;
		session->cursor_is_malformed = cursor == WS_PARAMETER_MALFORMED ||
					       !cursor_parse(text, len, &session->start.cursor);
	}
	return true;
}

static void observe(struct gate *gate, struct ws_exchange *exchange, const struct id *worker_id)
{
	const struct ws_request *request = ws_exchange_request(exchange);
	struct session_request session = {.worker_id = worker_id};
	if (!ws_request_is_upgrade(request))
		ws_exchange_refuse(exchange, 426, NULL, "this address is a WebSocket");
	else if (!read_start(request, &session))
		refuse_parameter(exchange, "from is not keyframe, oldest or newest");
	else
		session_open(gate, exchange, &session);
}

static void observe_all(
	struct gate *gate, struct ws_exchange *exchange, const struct ws_segment *segments)
{
	(void)segments;
	observe(gate, exchange, NULL);
}

static bool take_worker_id(
	struct ws_exchange *exchange, const struct ws_segment *segment, struct id *worker_id)
{
	if (id_set(worker_id, segment->text, segment->len))
		return true;
	ws_exchange_refuse(exchange, 400, "runtime.invalid_worker_id",
		"a worker id is 1 to 128 characters of A-Z a-z 0-9 _ . : -");
	return false;
}

static void observe_worker(
	struct gate *gate, struct ws_exchange *exchange, const struct ws_segment *segments)
{
	struct id worker_id;
	if (take_worker_id(exchange, &segments[0], &worker_id))
		observe(gate, exchange, &worker_id);
}

/* ---- bookkeeping ---- */

static void show_runtime(
	struct gate *gate, struct ws_exchange *exchange, const struct ws_segment *segments)
{
	(void)segments;
	const struct query_request query = {.kind = QUERY_RUNTIME};
	query_open(gate, exchange, &query);
}

static void show_worker(
	struct gate *gate, struct ws_exchange *exchange, const struct ws_segment *segments)
{
	struct query_request query = {.kind = QUERY_WORKER};
	if (take_worker_id(exchange, &segments[0], &query.worker_id))
		query_open(gate, exchange, &query);
}

static bool read_limit(const struct ws_request *request, uint64_t *limit)
{
	char text[8];
	size_t len;
	*limit = QUERY_PAGE_DEFAULT;
	switch (ws_request_parameter(request, "limit", text, sizeof(text), &len)) {
	case WS_PARAMETER_ABSENT:
		return true;
	case WS_PARAMETER_MALFORMED:
		return false;
	case WS_PARAMETER_FOUND:
		return config_parse_uint(text, limit) == 0 && *limit > 0 &&
		       *limit <= QUERY_PAGE_MAX;
	}
	return false;
}

static bool read_after(const struct ws_request *request, struct id *after)
{
	char text[ID_BYTES_MAX + 1];
	size_t len;
	switch (ws_request_parameter(request, "after", text, sizeof(text), &len)) {
	case WS_PARAMETER_ABSENT:
		return true;
	case WS_PARAMETER_MALFORMED:
		return false;
	case WS_PARAMETER_FOUND:
		return id_set(after, text, len);
	}
	return false;
}

static void list_workers(
	struct gate *gate, struct ws_exchange *exchange, const struct ws_segment *segments)
{
	(void)segments;
	struct query_request query = {.kind = QUERY_WORKERS};
	const struct ws_request *request = ws_exchange_request(exchange);
	if (!read_limit(request, &query.limit))
		refuse_parameter(exchange, "limit is not a number from 1 to 1000");
	else if (!read_after(request, &query.worker_id))
		refuse_parameter(exchange, "after is not a worker id");
	else
		query_open(gate, exchange, &query);
}

/* ---- which is which ---- */

struct route {
	const char *pattern;
	void (*serve)(
		struct gate *gate, struct ws_exchange *exchange, const struct ws_segment *segments);
};

static void serve(struct gate *gate, struct ws_exchange *exchange)
{
	static const struct route routes[] = {
		{"/v1/workers/{}/events/ws", observe_worker},
		{"/v1/events/ws", observe_all},
		{"/v1/runtime", show_runtime},
		{"/v1/workers", list_workers},
		{"/v1/workers/{}", show_worker},
	};
	struct ws_segment segments[1];
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (ws_request_matches(ws_exchange_request(exchange), routes[i].pattern, segments,
			    ARRAY_SIZE(segments))) {
			routes[i].serve(gate, exchange, segments);
			return;
		}
	}
	/* Without a code: the address is not one of ours at all. */
	ws_exchange_refuse(exchange, 404, NULL, "no such address");
}

void route_runtime_request(struct gate *gate, struct ws_exchange *exchange)
{
	if (gate->stopping)
		ws_exchange_refuse(exchange, 503, "runtime.unavailable", "the server is stopping");
	else if (!may_ask(gate, exchange))
		refuse_unauthorized(gate, exchange);
	else
		serve(gate, exchange);
}

void route_status_request(struct gate *gate, struct ws_exchange *exchange)
{
	ws_status_answer(exchange, gate->stopping, metrics_write, gate);
}
