#include "backend-relay/status.h"

#include "proto/ws/ws_status.h"

#define PREFIX "sightline_relay"

static int write_clients(struct buf *out, const struct relay *relay)
{
	const struct relay_counters *own = &relay->counters;
	const struct ws_metric metrics[] = {
		{WS_GAUGE, "clients", "Observation sessions now", relay->client_count},
		{WS_COUNTER, "sessions", "Sessions that were admitted", own->sessions},
		{WS_COUNTER, "sessions_refused", "Sessions refused before they were admitted",
			own->sessions_refused},
		{WS_COUNTER, "unauthorized", "Requests with a wrong credential", own->unauthorized},
		{WS_COUNTER, "too_often", "Requests of peers with too many wrong credentials",
			own->too_often},
		{WS_COUNTER, "events_delivered", "Events handed to clients' sockets",
			own->events_delivered},
		{WS_COUNTER, "bytes_delivered", "Their bytes", own->bytes_delivered},
		{WS_COUNTER, "clients_lagging", "Times that a client left the live ring",
			own->lagging},
		{WS_COUNTER, "clients_stalled", "Clients that read nothing at all", own->stalled},
		{WS_COUNTER, "clients_joined", "Times that a client joined a live ring",
			own->joins},
	};
	return ws_metrics_write(out, PREFIX, metrics, ARRAY_SIZE(metrics));
}

static int write_upstreams(
	struct buf *out, const struct streams *streams, const struct sources *sources)
{
	const struct ws_metric metrics[] = {
		{WS_GAUGE, "streams", "Streams with clients now", streams->count},
		{WS_COUNTER, "live_feeds_adopted", "Catch-ups that became a live ring",
			streams->adoptions},
		{WS_COUNTER, "live_feeds_lost", "Live rings that were given up",
			streams->feeds_lost},
		{WS_GAUGE, "upstreams", "Connections to runtimes now", sources->open},
		{WS_COUNTER, "upstream_connects", "Attempts to connect to a runtime",
			sources->connects},
		{WS_COUNTER, "upstream_failures", "Connections to runtimes that failed or ended",
			sources->failures},
		{WS_COUNTER, "upstream_malformed", "Messages of runtimes that were malformed",
			sources->malformed},
		{WS_COUNTER, "upstream_events", "Events received", sources->events},
		{WS_COUNTER, "upstream_duplicates", "Events received again and dropped",
			sources->duplicates},
	};
	return ws_metrics_write(out, PREFIX, metrics, ARRAY_SIZE(metrics));
}

static int write_projection(struct buf *out, const struct projector *projector)
{
	const struct projector_counters *counters = projector_counters(projector);
	const struct ws_metric metrics[] = {
		{WS_GAUGE, "projection_up", "Whether projection answers",
			projector_is_up(projector)},
		{WS_COUNTER, "projection_connects", "Connections to projection",
			counters->connects},
		{WS_COUNTER, "projection_deaths", "Connections to projection that were lost",
			counters->deaths},
		{WS_GAUGE, "projection_passes", "Passes open now", counters->passes_open},
		{WS_COUNTER, "events_passed", "Verdicts pass", counters->passed},
		{WS_COUNTER, "events_rewritten", "Verdicts rewrite", counters->rewritten},
		{WS_COUNTER, "events_denied", "Verdicts deny", counters->denied},
		{WS_COUNTER, "events_withheld", "Verdicts refused", counters->refused},
		{WS_COUNTER, "events_poisonous", "Of these, events that ended projection",
			counters->withheld},
		{WS_COUNTER, "events_warm", "Events fed again to rebuild state", counters->warm},
	};
	return ws_metrics_write(out, PREFIX, metrics, ARRAY_SIZE(metrics));
}

static int write_metrics(struct buf *out, const void *owner)
{
	const struct relay *relay = owner;
	int r = ws_metrics_write_server(out, PREFIX, ws_server_counters(relay->server));
	if (r == 0)
		r = write_clients(out, relay);
	if (r == 0)
		r = write_upstreams(out, &relay->streams, &relay->sources);
	return r < 0 ? r : write_projection(out, relay->projector);
}

static void status_on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	const struct relay *relay = ws_server_owner(server);
	ws_status_answer(exchange, relay->stopping, write_metrics, relay);
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
	.on_exchange = status_on_exchange, .on_gone = status_on_gone, .on_error = status_on_error};

int status_open(struct relay *relay, int fd, unsigned int max_connections)
{
	const struct ws_server_config config = {
		.fd = fd,
		.max_connections = max_connections,
		.max_queued_bytes = 64 * 1024,
	};
	return ws_server_open(&relay->status_server, relay->context, &config, &handler, relay);
}
