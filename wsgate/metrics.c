#include "wsgate/metrics.h"

#include "wsgate/session.h"

static int write_metric(struct buf *out, const char *name, const char *suffix, const char *type,
	const char *help, uint64_t value)
{
	return buf_printf(out,
		"# HELP sightline_wsgate_%s%s %s.\n# TYPE sightline_wsgate_%s%s %s\n"
		"sightline_wsgate_%s%s %llu\n",
		name, suffix, help, name, suffix, type, name, suffix, (unsigned long long)value);
}

int metrics_write(struct buf *out, const struct gate *gate)
{
	const struct ws_server_counters *server = ws_server_counters(gate->runtime);
	const struct {
		const char *name, *help;
		uint64_t value;
	} gauges[] = {
		{"connections", "Connections of backends now", server->connections},
		{"sessions_open", "Observation sessions now", session_count(gate)},
	};
	const struct {
		const char *name, *help;
		uint64_t value;
	} counters[] = {
#define COUNTER(name, help) {#name, help, gate->counters.name},
#include "wsgate/counters.def"
#undef COUNTER
		{"connections_accepted", "Connections of backends that were accepted",
			server->accepted},
		{"heads_refused", "Requests that were too long, too slow or malformed",
			server->heads_refused},
		{"idle_connections_dropped", "Connections without a request that made room",
			server->idle_dropped},
	};
	int r = 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(gauges); i++)
		r = write_metric(out, gauges[i].name, "", "gauge", gauges[i].help, gauges[i].value);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(counters); i++)
		r = write_metric(out, counters[i].name, "_total", "counter", counters[i].help,
			counters[i].value);
	return r;
}
