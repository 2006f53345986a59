#include "backend-relay/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/projector/authorization.h"
#include "backend-relay/refusal.h"
#include "backend-relay/upstream/source_failure.h"
#include "proto/base/clock.h"
#include "proto/json.h"
#include "proto/ws/ws_get.h"

enum {
	LIMIT_DEFAULT = 100,
	PAGE_MAX = 1000, /* of a limit, and what a runtime is asked for at a time */
	ANSWER_BYTES_MAX = 1024 * 1024,
	REQUESTS_MAX = 256, /* at once */
	REQUESTS_OF_ONE_MAX = 64,
	PATH_BYTES = 3 * ID_BYTES_MAX + 64,
};

enum api_route { API_RUNTIMES, API_WORKERS, API_WORKER };

/* A request that needs projection's word for each name, and perhaps the runtime's list of them. */
struct api_request {
	struct waiting_exchange waiting;
	struct relay *relay;
	enum api_route route;
	struct id worker_id;
	struct identity identity;
	uint64_t not_found_ns; /* monotonic; not before that it hears what is there or not */
	struct deferral deferral;
	const struct runtime *runtime;
	struct authorization *authorization;
	struct ws_get *get;

	/* Of a list: what is put to projection, one after the other, and what came of it. */
	struct id *workers; /* a page of the runtime's */
	size_t worker_count, next;
	struct id after;     /* the last one of the runtime's page before */
	struct id following; /* the last one of this page, when another follows; else empty */
	struct id last_told;
	uint64_t limit, told;
	struct buf body;
	TAILQ_ENTRY(api_request) link;
};

/* ---- ending ---- */

static void api_free(struct api_request *request)
{
	authorization_cancel(request->authorization);
	deferral_cancel(&request->relay->deferrals, &request->deferral);
	if (request->get != NULL) {
		ws_get_cancel(request->get); /* the struct waits for its on_done */
		request->waiting.exchange = NULL;
		request->authorization = NULL;
		return;
	}
	TAILQ_REMOVE(&request->relay->api_requests, request, link);
	buf_free(&request->body);
	free(request->workers);
	free(request);
}

static struct audit_subject subject_of(const struct api_request *request)
{
	return (struct audit_subject){
		.peer = request->identity.peer,
		.subject = request->identity.subject,
		.role = request->identity.role.text,
		.runtime_id = request->runtime != NULL ? request->runtime->id.text : NULL,
		.worker_id = request->worker_id.text,
	};
}

static void note_refusal(const struct api_request *request, enum diagnostic diagnostic)
{
	const struct audit_subject subject = subject_of(request);
	relay_note_refusal(request->relay, &subject, diagnostic);
}

static void api_refuse(struct api_request *request, enum diagnostic diagnostic);

static void api_on_refusal_due(struct deferral *refusal)
{
	api_refuse((struct api_request *)((char *)refusal - offsetof(struct api_request, deferral)),
		DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND);
}

/* What is hidden takes as long as what is not there; see client.c. */
static void api_refuse(struct api_request *request, enum diagnostic diagnostic)
{
	struct ws_exchange *exchange = request->waiting.exchange;
	if (diagnostic == DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND &&
		request->not_found_ns > clock_monotonic_ns()) {
		deferral_start(&request->relay->deferrals, &request->deferral,
			request->not_found_ns, api_on_refusal_due);
		return;
	}
	note_refusal(request, diagnostic);
	ws_exchange_set_owner(exchange, NULL);
	api_free(request);
	refusal_answer(exchange, diagnostic);
}

static void api_answer(struct api_request *request);

static void api_on_answer_due(struct deferral *answer)
{
	api_answer((struct api_request *)((char *)answer - offsetof(struct api_request, deferral)));
}

/* A list takes time for each name that is left out of it: it is no sooner there than any other. */
static void api_answer(struct api_request *request)
{
	struct ws_exchange *exchange = request->waiting.exchange;
	if (request->route != API_WORKER && request->not_found_ns > clock_monotonic_ns()) {
		deferral_start(&request->relay->deferrals, &request->deferral,
			request->not_found_ns, api_on_answer_due);
		return;
	}
	ws_exchange_set_owner(exchange, NULL);
	ws_exchange_respond(
		exchange, 200, NULL, "application/json", request->body.data, request->body.len);
	api_free(request);
}

static void api_on_exchange_gone(struct waiting_exchange *waiting)
{
	api_free((struct api_request *)((char *)waiting - offsetof(struct api_request, waiting)));
}

/* ---- names, one after the other, as projection answers ---- */

static void ask_next(struct api_request *request);

static int write_runtime(struct api_request *request, const struct runtime *runtime)
{
	struct buf *out = &request->body;
	int r = buf_printf(out,
		"%s{\"runtime_id\":\"%s\",\"display_name\":", request->told > 0 ? "," : "",
		runtime->id.text);
	if (r == 0)
		r = json_append_quoted(out, runtime->display_name, strlen(runtime->display_name));
	return r == 0 ? buf_append_str(out, "}") : r;
}

static int write_worker(struct api_request *request, const char *worker_id)
{
	return buf_printf(&request->body, "%s{\"runtime_id\":\"%s\",\"worker_id\":\"%s\"}",
		request->told > 0 ? "," : "", request->runtime->id.text, worker_id);
}

/* `more`: a further page may have more; it begins behind the last one that was told. */
static void finish_list(struct api_request *request, bool more)
{
	int r = more ? buf_printf(&request->body, "],\"next_after\":\"%s\"}\n",
			       request->last_told.text)
		     : buf_append_str(&request->body, "]}\n");
	if (r < 0)
		api_refuse(request, DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS);
	else
		api_answer(request);
}

static int tell(struct api_request *request)
{
	int r;
	if (request->route == API_RUNTIMES) {
		r = write_runtime(request, &request->relay->registry.runtimes[request->next]);
	} else {
		request->last_told = request->workers[request->next];
		r = write_worker(request, request->last_told.text);
	}
	request->told++;
	return r;
}

static void api_on_verdict(void *owner, enum authorization_verdict verdict)
{
	struct api_request *request = owner;
	request->authorization = NULL;
	if (verdict == AUTHORIZATION_UNAVAILABLE) {
		api_refuse(request, DIAGNOSTIC_BACKEND_PROJECTION_UNAVAILABLE);
		return;
	}
	bool is_told = verdict == AUTHORIZATION_ALLOW;
	/* Only one that the role may observe makes a further page: the hidden ones would show. */
	if (is_told && request->route == API_WORKERS && request->told == request->limit) {
		finish_list(request, true);
		return;
	}
	int r = is_told ? tell(request) : 0;
	request->next++;
	if (r < 0)
		api_refuse(request, DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS);
	else
		ask_next(request);
}

static void ask_runtime(struct api_request *request);

static void ask_next(struct api_request *request)
{
	struct relay *relay = request->relay;
	bool is_runtimes = request->route == API_RUNTIMES;
	size_t count = is_runtimes ? relay->registry.count : request->worker_count;
	bool at_end = request->next == count, goes_on = request->following.text[0] != '\0';
	if (at_end && goes_on) {
		request->after = request->following;
		ask_runtime(request);
		return;
	}
	if (at_end) {
		finish_list(request, false);
		return;
	}
	const struct runtime *runtime = is_runtimes ? &relay->registry.runtimes[request->next]
						    : request->runtime;
	const char *worker_id = is_runtimes ? NULL : request->workers[request->next].text;
	if (authorization_open(&request->authorization, relay->projector,
		    request->identity.role.text, runtime->id.text, worker_id, "observe",
		    api_on_verdict, request) < 0)
		api_refuse(request, DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS);
}

/* ---- the runtime's answer ---- */

/* The text of a member of an object, as an id. */
static bool member_id(const uint8_t *body, const struct json_tape *tape, uint32_t object,
	const char *name, struct id *out)
{
	for (uint32_t i = object + 1; i < tape->token[object].next;) {
		const struct json_token *key = &tape->token[i], *value = &tape->token[i + 1];
		size_t len = key->end - key->start;
		bool same = !key->escaped && len == strlen(name) + 2 &&
			    memcmp(body + key->start + 1, name, strlen(name)) == 0;
		if (same && value->type == JSON_STRING && !value->escaped)
			return id_set(out, (const char *)body + value->start + 1,
				value->end - value->start - 2);
		i = value->next;
	}
	return false;
}

static const struct json_token *find_array(
	const uint8_t *body, const struct json_tape *tape, const char *name)
{
	for (uint32_t i = 1; i < tape->token[0].next;) {
		const struct json_token *key = &tape->token[i], *value = &tape->token[i + 1];
		if (value->type == JSON_ARRAY && key->end - key->start == strlen(name) + 2 &&
			memcmp(body + key->start + 1, name, strlen(name)) == 0)
			return value;
		i = value->next;
	}
	return NULL;
}

/* {"workers":[{"worker_id":…}…],"next_after":…} */
static bool read_workers(struct api_request *request, const uint8_t *body, size_t len)
{
	struct json_tape tape = {0};
	struct json_error error;
	bool well = json_tape_build(&tape, body, len, &error) == JSON_OK &&
		    tape.token[0].type == JSON_OBJECT;
	const struct json_token *array = well ? find_array(body, &tape, "workers") : NULL;
	if (array != NULL && request->workers == NULL)
		request->workers = calloc(PAGE_MAX, sizeof(*request->workers));
	well = array != NULL && request->workers != NULL;
	request->worker_count = request->next = 0;
	request->following.text[0] = '\0';
	if (well)
		member_id(body, &tape, 0, "next_after", &request->following);
	for (uint32_t i = well ? (uint32_t)(array - tape.token) + 1 : 0; well && i < array->next;
		i = tape.token[i].next) {
		well = tape.token[i].type == JSON_OBJECT && request->worker_count < PAGE_MAX &&
		       member_id(body, &tape, i, "worker_id",
			       &request->workers[request->worker_count]);
		request->worker_count++;
	}
	/* Pages go forward, or this would not end. */
	if (request->following.text[0] != '\0')
		well &= request->worker_count > 0 &&
			strcmp(request->following.text, request->after.text) > 0;
	json_tape_free(&tape);
	return well;
}

static void api_on_runtime_answer(struct ws_get *get, const struct ws_get_answer *answer)
{
	struct api_request *request = ws_get_owner(get);
	request->get = NULL;
	if (request->waiting.exchange == NULL) {
		api_free(request);
		return;
	}
	if (answer->result != WS_CLIENT_CLOSED || answer->http_status != 200) {
		struct ws_client_end end = {
			.result = answer->result == WS_CLIENT_CLOSED ? WS_CLIENT_STATUS
								     : answer->result,
			.http_status = answer->http_status,
		};
		memcpy(end.code, answer->code, sizeof(end.code));
		api_refuse(request, source_failure_of_end(&end).diagnostic);
		return;
	}
	if (request->route == API_WORKER) {
		if (write_worker(request, request->worker_id.text) < 0 ||
			buf_append_str(&request->body, "\n") < 0)
			api_refuse(request, DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS);
		else
			api_answer(request);
	} else if (!read_workers(request, answer->body, answer->len)) {
		api_refuse(request, DIAGNOSTIC_BACKEND_MALFORMED_FRAME);
	} else {
		ask_next(request);
	}
}

static void ask_runtime(struct api_request *request)
{
	char path[PATH_BYTES];
	if (request->route == API_WORKER)
		snprintf(path, sizeof(path), "/v1/workers/%s", request->worker_id.text);
	else
		snprintf(path, sizeof(path), "/v1/workers?limit=%d%s%s", PAGE_MAX,
			request->after.text[0] != '\0' ? "&after=" : "", request->after.text);
	const struct ws_get_config config = {
		.url = &request->runtime->url,
		.path = path,
		.bearer = request->runtime->token,
		.max_body_bytes = ANSWER_BYTES_MAX,
		.timeout_ms = request->relay->config.upstream_timeout_ms,
	};
	if (ws_get_open(&request->get, request->relay->context, &config, api_on_runtime_answer,
		    request) < 0) {
		request->get = NULL;
		api_refuse(request, DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE);
	}
}

/* May the role see anything of this runtime, or this worker? Only then the runtime is asked. */
static void api_on_first_verdict(void *owner, enum authorization_verdict verdict)
{
	struct api_request *request = owner;
	request->authorization = NULL;
	if (verdict == AUTHORIZATION_ALLOW)
		ask_runtime(request);
	else
		api_refuse(request, verdict == AUTHORIZATION_DENY
					    ? DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND
					    : DIAGNOSTIC_BACKEND_PROJECTION_UNAVAILABLE);
}

/* ---- routes ---- */

/* False when a parameter is not what it should be. */
static bool read_page(struct api_request *request, const struct ws_request *head)
{
	char after[ID_BYTES_MAX + 1], limit[8];
	size_t len;
	request->limit = LIMIT_DEFAULT;
	enum ws_parameter_result r = ws_request_parameter(
		head, "limit", limit, sizeof(limit), &len);
	if (r == WS_PARAMETER_MALFORMED)
		return false;
	if (r == WS_PARAMETER_FOUND && (config_parse_uint(limit, &request->limit) < 0 ||
					       request->limit < 1 || request->limit > PAGE_MAX))
		return false;
	r = ws_request_parameter(head, "after", after, sizeof(after), &len);
	return r == WS_PARAMETER_ABSENT ||
	       (r == WS_PARAMETER_FOUND && id_set(&request->after, after, len));
}

static void api_start(struct api_request *request, const struct ws_request *head)
{
	bool is_worker = request->route == API_WORKER;
	if (request->route == API_WORKERS && !read_page(request, head)) {
		struct ws_exchange *exchange = request->waiting.exchange;
		const struct audit_subject subject = subject_of(request);
		relay_note_refused_status(request->relay, &subject, 400);
		ws_exchange_set_owner(exchange, NULL);
		api_free(request);
		ws_exchange_refuse(exchange, 400, NULL, "limit or after is not valid");
		return;
	}
	int r = 0;
	if (!is_worker)
		r = buf_printf(&request->body, "{\"%s\":[",
			request->route == API_RUNTIMES ? "runtimes" : "workers");
	if (r == 0 && request->route == API_RUNTIMES) {
		ask_next(request);
		return;
	}
	if (r == 0)
		r = authorization_open(&request->authorization, request->relay->projector,
			request->identity.role.text, request->runtime->id.text,
			is_worker ? request->worker_id.text : NULL, "observe", api_on_first_verdict,
			request);
	if (r < 0)
		api_refuse(request, DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS);
}

static const char worker_command_route[] = "/api/runtimes/{}/workers/{}/{}";
static const char workers_route[] = "/api/runtimes/{}/workers";

/* …/workers/{worker_id}/{command}; and creating a worker. */
bool api_is_command(const struct ws_request *head)
{
	struct ws_segment segments[3];
	return ws_request_matches(head, worker_command_route, segments, ARRAY_SIZE(segments)) ||
	       (ws_request_method(head) == WS_METHOD_OTHER &&
		       ws_request_matches(head, workers_route, segments, ARRAY_SIZE(segments)));
}

/* Whom a command is for, as far as there is such a name. */
static void name_target(
	const struct relay *relay, const struct ws_request *head, struct api_request *out)
{
	struct ws_segment segments[3];
	bool one = ws_request_matches(head, worker_command_route, segments, ARRAY_SIZE(segments));
	if (!one && !ws_request_matches(head, workers_route, segments, ARRAY_SIZE(segments)))
		return;
	out->runtime = registry_find(&relay->registry, segments[0].text);
	if (one && !id_set(&out->worker_id, segments[1].text, segments[1].len))
		out->worker_id = (struct id){0};
}

static bool find_route(const struct relay *relay, const struct ws_request *head,
	struct api_request *out, enum diagnostic *refusal)
{
	struct ws_segment segment[2];
	*refusal = DIAGNOSTIC_COUNT;
	if (ws_request_matches(head, "/api/runtimes", NULL, 0)) {
		out->route = API_RUNTIMES;
		return true;
	}
	if (api_is_command(head)) {
		*refusal = DIAGNOSTIC_BACKEND_RUNTIME_UNSUPPORTED;
		name_target(relay, head, out);
		return true;
	}
	bool one = ws_request_matches(head, "/api/runtimes/{}/workers/{}", segment, 2);
	if (!one && !ws_request_matches(head, workers_route, segment, 1))
		return false;
	out->route = one ? API_WORKER : API_WORKERS;
	out->runtime = registry_find(&relay->registry, segment[0].text);
	if (out->runtime == NULL ||
		(one && !id_set(&out->worker_id, segment[1].text, segment[1].len)))
		*refusal = DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND;
	return true;
}

static bool has_room(const struct relay *relay, const struct identity *identity)
{
	size_t count = 0, of_one = 0;
	const struct api_request *request;
	TAILQ_FOREACH(request, &relay->api_requests, link)
	{
		count++;
		of_one += memcmp(request->identity.who, identity->who, sizeof(identity->who)) == 0;
	}
	return count < REQUESTS_MAX && of_one < REQUESTS_OF_ONE_MAX;
}

void api_on_exchange(struct relay *relay, struct ws_exchange *exchange,
	enum authenticator_result result, const struct identity *identity)
{
	const struct ws_request *head = ws_exchange_request(exchange);
	struct api_request found = {
		.relay = relay, .identity = *identity, .not_found_ns = relay_not_found_ns(relay)};
	enum diagnostic refusal;
	if (!find_route(relay, head, &found, &refusal)) {
		const struct audit_subject subject = subject_of(&found);
		relay_refuse_status(relay, exchange, &subject, 404, "no such route");
		return;
	}
	if (result != AUTHENTICATOR_ACCEPTED)
		refusal = authenticator_refusal(result);
	else if (!has_room(relay, identity))
		refusal = DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS;
	bool goes_on = refusal == DIAGNOSTIC_COUNT ||
		       refusal == DIAGNOSTIC_BACKEND_WORKER_NOT_FOUND;
	struct api_request *request = goes_on ? malloc(sizeof(*request)) : NULL;
	if (request == NULL) {
		if (goes_on)
			refusal = DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS;
		note_refusal(&found, refusal);
		refusal_answer(exchange, refusal);
		return;
	}
	*request = found;
	request->waiting = (struct waiting_exchange){exchange, api_on_exchange_gone};
	ws_exchange_set_owner(exchange, &request->waiting);
	TAILQ_INSERT_TAIL(&relay->api_requests, request, link);
	if (refusal == DIAGNOSTIC_COUNT)
		api_start(request, head);
	else
		api_refuse(request, refusal);
}

void api_close(struct relay *relay)
{
	struct api_request *request, *next;
	for (request = TAILQ_FIRST(&relay->api_requests); request != NULL; request = next) {
		next = TAILQ_NEXT(request, link);
		if (request->waiting.exchange != NULL)
			api_on_exchange_gone(&request->waiting);
	}
}
