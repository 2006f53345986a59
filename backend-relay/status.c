#include "backend-relay/status.h"

#include <inttypes.h>

static void answer_text(struct ws_exchange *exchange, unsigned int status, const struct buf *text)
{
	ws_exchange_respond(exchange, status, NULL, "text/plain; version=0.0.4; charset=utf-8",
		text->data, text->len);
}

struct metric {
	const char *name, *type, *help;
	uint64_t value;
};

static int write_metrics(struct buf *out, const struct relay *relay)
{
	const struct relay_counters *own = &relay->counters;
	const struct sources *sources = &relay->sources;
	const struct streams *streams = &relay->streams;
	const struct projector_counters *projector = projector_counters(relay->projector);
	const struct ws_server_counters *server = ws_server_counters(relay->server);
	const struct metric metrics[] = {
		{"clients", "gauge", "Observation sessions now", relay->client_count},
		{"sessions_total", "counter", "Sessions that were admitted", own->sessions},
		{"sessions_refused_total", "counter", "Sessions refused before they were admitted",
			own->sessions_refused},
		{"unauthorized_total", "counter", "Requests with a wrong credential",
			own->unauthorized},
		{"too_often_total", "counter", "Requests of peers with too many wrong credentials",
			own->too_often},
		{"connections_total", "counter", "Connections accepted", server->accepted},
		{"heads_refused_total", "counter", "Requests whose head was refused",
			server->heads_refused},
		{"idle_connections_dropped_total", "counter",
			"Connections without a request that made room", server->idle_dropped},
		{"events_delivered_total", "counter", "Events handed to clients' sockets",
			own->events_delivered},
		{"bytes_delivered_total", "counter", "Their bytes", own->bytes_delivered},
		{"clients_lagging_total", "counter", "Times that a client left the live ring",
			own->lagging},
		{"clients_stalled_total", "counter", "Clients that read nothing at all",
			own->stalled},
		{"clients_joined_total", "counter", "Times that a client joined a live ring",
			own->joins},
		{"streams", "gauge", "Streams with clients now", streams->count},
		{"live_feeds_adopted_total", "counter", "Catch-ups that became a live ring",
			streams->adoptions},
		{"live_feeds_lost_total", "counter", "Live rings that were given up",
			streams->feeds_lost},
		{"upstreams", "gauge", "Connections to runtimes now", sources->open},
		{"upstream_connects_total", "counter", "Attempts to connect to a runtime",
			sources->connects},
		{"upstream_failures_total", "counter",
			"Connections to runtimes that failed or ended", sources->failures},
		{"upstream_malformed_total", "counter", "Messages of runtimes that were malformed",
			sources->malformed},
		{"upstream_events_total", "counter", "Events received", sources->events},
		{"upstream_duplicates_total", "counter", "Events received again and dropped",
			sources->duplicates},
		{"projection_up", "gauge", "Whether projection answers",
			projector_is_up(relay->projector)},
		{"projection_connects_total", "counter", "Connections to projection",
			projector->connects},
		{"projection_deaths_total", "counter", "Connections to projection that were lost",
			projector->deaths},
		{"projection_passes", "gauge", "Passes open now", projector->passes_open},
		{"events_passed_total", "counter", "Verdicts pass", projector->passed},
		{"events_rewritten_total", "counter", "Verdicts rewrite", projector->rewritten},
		{"events_denied_total", "counter", "Verdicts deny", projector->denied},
		{"events_withheld_total", "counter", "Verdicts refused", projector->refused},
		{"events_poisonous_total", "counter", "Of these, events that ended projection",
			projector->withheld},
		{"events_warm_total", "counter", "Events fed again to rebuild state",
			projector->warm},
	};
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(metrics); i++)
		r = buf_printf(out,
			"# HELP sightline_relay_%s %s\n# TYPE sightline_relay_%s %s\n"
			"sightline_relay_%s %" PRIu64 "\n",
			metrics[i].name, metrics[i].help, metrics[i].name, metrics[i].type,
			metrics[i].name, metrics[i].value);
	return r;
}

static void status_on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	const struct relay *relay = ws_server_owner(server);
	const struct ws_request *request = ws_exchange_request(exchange);
	_cleanup_buf_ struct buf text = {0};
	if (ws_request_matches(request, "/healthz", NULL, 0)) {
		bool well = !relay->stopping;
		if (buf_append_str(&text, well ? "ok\n" : "stopping\n") == 0)
			answer_text(exchange, well ? 200 : 503, &text);
		else
			ws_exchange_refuse(exchange, 503, NULL, "out of memory");
	} else if (ws_request_matches(request, "/metrics", NULL, 0)) {
		if (write_metrics(&text, relay) == 0)
			answer_text(exchange, 200, &text);
		else
			ws_exchange_refuse(exchange, 503, NULL, "out of memory");
	} else {
		ws_exchange_refuse(exchange, 404, NULL, "not found");
	}
}

static void status_on_gone(struct ws_server *server, struct ws_exchange *exchange)
{
	(void)server, (void)exchange;
}

static void status_on_error(struct ws_server *server, int error)
{
	(void)server, (void)error; /* the client listener says it */
}

static const struct ws_server_handler handler = {
	status_on_exchange, status_on_gone, status_on_error};

int status_open(struct relay *relay, int fd, unsigned int max_connections)
{
	const struct ws_server_config config = {
		.fd = fd,
		.max_connections = max_connections,
		.max_queued_bytes = 64 * 1024,
	};
	return ws_server_open(&relay->status_server, relay->context, &config, &handler, relay);
}
