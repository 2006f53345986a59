#include "wsgate/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "wsgate/tail.h"

struct query {
	struct asker asker; /* first */
	struct query *prev, *next;
	struct gate *gate;
	struct ws_exchange *exchange; /* NULL: answered, or gone */
	struct query_request request;
	struct tail tail;
	struct buf body;
};

/* ---- ending ---- */

static void query_free(struct tail *tail)
{
	struct query *query = tail->owner;
	struct gate *gate = query->gate;
	DL_DELETE(gate->queries, query);
	buf_free(&query->body);
	free(query);
	gate_left(gate);
}

static void query_refuse(
	struct query *query, unsigned int status, const char *code, const char *message)
{
	struct ws_exchange *exchange = query->exchange;
	query->exchange = NULL;
	if (exchange != NULL)
		ws_exchange_refuse(exchange, status, code, message);
	tail_close(&query->tail, query_free);
}

static void query_refuse_as_unavailable(struct query *query)
{
	query_refuse(query, 503, "runtime.unavailable", "the event log does not answer");
}

/* Answers with the body; `r` is the result of building it. */
static void query_answer(struct query *query, int r)
{
	if (r < 0) {
		query_refuse_as_unavailable(query);
		return;
	}
	struct ws_exchange *exchange = query->exchange;
	query->exchange = NULL;
	query->gate->counters.queries++;
	ws_exchange_respond(
		exchange, 200, NULL, "application/json", query->body.data, query->body.len);
	tail_close(&query->tail, query_free);
}

static void query_on_exchange_gone(struct asker *asker)
{
	struct query *query = (struct query *)asker;
	query->exchange = NULL;
	tail_close(&query->tail, query_free);
}

/* ---- members of the answers ---- */

static int add_number(
	struct buf *body, const msgpack_object *map, const char *from, const char *name)
{
	uint64_t value;
	const msgpack_object *field = field_map_get(map, from);
	if (field == NULL || !field_u64(field, &value))
		return -EPROTO;
	return buf_printf(body, ",\"%s\":%llu", name, (unsigned long long)value);
}

static int add_flag(struct buf *body, const msgpack_object *map, const char *name)
{
	bool value;
	const msgpack_object *field = field_map_get(map, name);
	if (field == NULL || !field_bool(field, &value))
		return -EPROTO;
	return buf_printf(body, ",\"%s\":%s", name, value ? "true" : "false");
}

/* Ids, cursors and names of modes: texts that JSON does not escape. */
static int add_name(struct buf *body, const msgpack_object *map, const char *from,
	const char *before, const char *name)
{
	const char *text;
	size_t len;
	const msgpack_object *field = field_map_get(map, from);
	if (field == NULL || !field_text(field, &text, &len, ID_BYTES_MAX) ||
		!id_is_valid(text, len))
		return -EPROTO;
	return buf_printf(body, "%s\"%s\":\"%.*s\"", before, name, (int)len, text);
}

static int build_runtime(struct query *query, const msgpack_object *map)
{
	static const char *const numbers[] = {
		"epoch", "oldest_seq", "newest_seq", "durable_seq", "segments", "allocated_bytes"};
	static const char *const flags[] = {"read_only", "no_space"};
	struct buf *body = &query->body;
	int r = buf_printf(
		body, "{\"runtime_id\":\"%s\",\"log\":{", query->gate->config->runtime_id);
	if (r == 0)
		r = add_name(body, map, "log_id", "", "log_id");
	if (r == 0)
		r = add_name(body, map, "durability", ",", "durability");
	if (r == 0)
		r = add_name(body, map, "oldest_cursor", ",", "oldest");
	if (r == 0)
		r = add_name(body, map, "newest_cursor", ",", "newest");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(numbers); i++)
		r = add_number(body, map, numbers[i], numbers[i]);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(flags); i++)
		r = add_flag(body, map, flags[i]);
	if (r == 0)
		r = buf_append_str(body, "}");
	if (r == 0)
		r = add_number(body, map, "workers", "workers");
	return r == 0 ? buf_append_str(body, "}\n") : r;
}

static int add_worker(struct buf *body, const msgpack_object *worker)
{
	static const struct {
		const char *from, *name;
	} numbers[] = {
		{"newest_seq", "newest_seq"},
		{"newest_keyframe", "newest_keyframe_seq"},
		{"records", "records"},
		{"bytes", "bytes"},
	};
	int r = add_name(body, worker, "worker_id", "{", "worker_id");
	if (r == 0)
		r = add_name(body, worker, "newest_cursor", ",", "newest");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(numbers); i++)
		r = add_number(body, worker, numbers[i].from, numbers[i].name);
	return r == 0 ? buf_append_str(body, "}") : r;
}

static int build_workers(
	struct query *query, const msgpack_object *workers, uint32_t count, bool more)
{
	struct buf *body = &query->body;
	int r = buf_append_str(body, "{\"workers\":[");
	for (uint32_t i = 0; r == 0 && i < count; i++) {
		r = i > 0 ? buf_append_str(body, ",") : 0;
		if (r == 0)
			r = add_worker(body, &workers[i]);
	}
	if (r == 0)
		r = buf_append_str(body, "]");
	/* The place to go on from: ?after=… */
	if (r == 0 && more && count > 0)
		r = add_name(body, &workers[count - 1], "worker_id", ",", "next_after");
	return r == 0 ? buf_append_str(body, "}\n") : r;
}

/* ---- what eventlogd says ---- */

/*
 * A page begins behind an id; to ask for one worker, the page begins behind the greatest text below
 * its id.
 */
static size_t text_below(const char *id, char out[ID_BYTES_MAX])
{
	size_t len = strlen(id);
	memset(out, 0xff, ID_BYTES_MAX);
	memcpy(out, id, len);
	out[len - 1]--;
	return ID_BYTES_MAX;
}

static void query_on_tail_ready(struct tail *tail)
{
	const struct query *query = tail->owner;
	const char *worker_id = query->request.worker_id.text;
	char below[ID_BYTES_MAX];
	switch (query->request.kind) {
	case QUERY_RUNTIME:
		tail_ask_status(tail);
		break;
	case QUERY_WORKERS:
		tail_ask_workers(tail, *worker_id != '\0' ? worker_id : NULL, strlen(worker_id),
			query->request.limit);
		break;
	case QUERY_WORKER:
		tail_ask_workers(tail, below, text_below(worker_id, below), 1);
		break;
	}
}

static void query_on_tail_status(struct tail *tail, const struct tail_status *status)
{
	struct query *query = tail->owner;
	query_answer(query, build_runtime(query, status->map));
}

static bool is_worker(const msgpack_object *worker, const char *worker_id)
{
	const char *text;
	size_t len;
	const msgpack_object *field = field_map_get(worker, "worker_id");
	return field != NULL && field_text(field, &text, &len, ID_BYTES_MAX) &&
	       len == strlen(worker_id) && memcmp(text, worker_id, len) == 0;
}

static void query_on_tail_workers(struct tail *tail, const msgpack_object *map)
{
	struct query *query = tail->owner;
	const msgpack_object *workers, *field = field_map_get(map, "workers");
	const msgpack_object *more_field = field_map_get(map, "more");
	uint32_t count;
	bool more;
	if (field == NULL || !field_array(field, &workers, &count) || more_field == NULL ||
		!field_bool(more_field, &more)) {
		query_refuse_as_unavailable(query);
	} else if (query->request.kind == QUERY_WORKERS) {
		query_answer(query, build_workers(query, workers, count, more));
	} else if (count == 0 || !is_worker(&workers[0], query->request.worker_id.text)) {
		query_refuse(query, 404, "runtime.worker_not_found", "no such worker");
	} else {
		int r = add_worker(&query->body, &workers[0]);
		query_answer(query, r == 0 ? buf_append_str(&query->body, "\n") : r);
	}
}

static void query_on_tail_error(
	struct tail *tail, const char *code, bool has_oldest, const struct cursor *oldest)
{
	(void)code;
	(void)has_oldest;
	(void)oldest;
	query_refuse_as_unavailable(tail->owner);
}

static void query_on_tail_end(struct tail *tail, const char *why)
{
	(void)why;
	query_refuse_as_unavailable(tail->owner);
}

/* What belongs to a subscription was not asked for. */
static void query_on_tail_subscribed(struct tail *tail, uint64_t start)
{
	(void)start;
	query_refuse_as_unavailable(tail->owner);
}

static void query_on_tail_records(struct tail *tail, const uint8_t *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	query_refuse_as_unavailable(tail->owner);
}

static void query_on_tail_gap(struct tail *tail, uint64_t first, uint64_t last, enum tail_gap gap)
{
	(void)first;
	(void)last;
	(void)gap;
	query_refuse_as_unavailable(tail->owner);
}

static const struct tail_handler tail_handler = {
	.on_ready = query_on_tail_ready,
	.on_status = query_on_tail_status,
	.on_workers = query_on_tail_workers,
	.on_subscribed = query_on_tail_subscribed,
	.on_records = query_on_tail_records,
	.on_gap = query_on_tail_gap,
	.on_caught_up = query_on_tail_subscribed,
	.on_error = query_on_tail_error,
	.on_end = query_on_tail_end,
};

/* ---- beginning ---- */

void query_open(
	struct gate *gate, struct ws_exchange *exchange, const struct query_request *request)
{
	struct query *query = calloc(1, sizeof(*query));
	if (query == NULL || tail_open(&query->tail, &gate->daemon->loop, gate->config->tail_socket,
				     &tail_handler, query) < 0) {
		free(query);
		ws_exchange_refuse(
			exchange, 503, "runtime.unavailable", "the event log does not answer");
		return;
	}
	query->asker.on_gone = query_on_exchange_gone;
	query->gate = gate;
	query->exchange = exchange;
	query->request = *request;
	DL_APPEND(gate->queries, query);
	ws_exchange_set_owner(exchange, &query->asker);
}

void query_refuse_all(struct gate *gate)
{
	struct query *query, *next;
	DL_FOREACH_SAFE(gate->queries, query, next)
	query_refuse_as_unavailable(query);
}
