#include "proto/ws/ws_status.h"

#include <inttypes.h>
#include <string.h>

int ws_metrics_write(
	struct buf *out, const char *prefix, const struct ws_metric *metrics, size_t count)
{
	int r = 0;
	for (size_t i = 0; r == 0 && i < count; i++) {
		const struct ws_metric *metric = &metrics[i];
		bool is_counter = metric->type == WS_COUNTER;
		char name[128];
		snprintf(name, sizeof(name), "%s_%s%s", prefix, metric->name,
			is_counter ? "_total" : "");
		r = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name,
			metric->help, name, is_counter ? "counter" : "gauge", name, metric->value);
	}
	return r;
}

int ws_metrics_write_server(
	struct buf *out, const char *prefix, const struct ws_server_counters *counters)
{
	const struct ws_metric metrics[] = {
		{WS_GAUGE, "connections", "Connections now", counters->connections},
		{WS_COUNTER, "connections_accepted", "Connections that were accepted",
			counters->accepted},
		{WS_COUNTER, "heads_refused",
			"Requests that were too long, too slow, malformed or no GET",
			counters->heads_refused},
		{WS_COUNTER, "idle_connections_dropped",
			"Connections without a request, or behind their last word, that made room",
			counters->idle_dropped},
	};
	return ws_metrics_write(out, prefix, metrics, ARRAY_SIZE(metrics));
}

static void answer_health(struct ws_exchange *exchange, bool stopping)
{
	const char *body = stopping ? "{\"status\":\"stopping\"}\n" : "{\"status\":\"ok\"}\n";
	ws_exchange_respond(
		exchange, stopping ? 503 : 200, NULL, "application/json", body, strlen(body));
}

void ws_status_answer(struct ws_exchange *exchange, bool stopping,
	int (*write)(struct buf *out, const void *owner), const void *owner)
{
	const struct ws_request *request = ws_exchange_request(exchange);
	_cleanup_buf_ struct buf text = {0};
	if (ws_request_matches(request, "/healthz", NULL, 0))
		answer_health(exchange, stopping);
	else if (!ws_request_matches(request, "/metrics", NULL, 0))
		ws_exchange_refuse_status(exchange, 404);
	else if (write(&text, owner) < 0)
		ws_exchange_refuse_status(exchange, 503);
	else
		ws_exchange_respond(exchange, 200, NULL, "text/plain; version=0.0.4; charset=utf-8",
			text.data, text.len);
}
