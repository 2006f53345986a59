#include "wsgate/metrics.h"

#include "proto/ws/ws_status.h"
#include "wsgate/session.h"

#define PREFIX "sightline_wsgate"

int metrics_write(struct buf *out, const void *owner)
{
	const struct gate *gate = owner;
	const struct ws_metric metrics[] = {
		{WS_GAUGE, "sessions_open", "Observation sessions now", session_count(gate)},
#define COUNTER(name, help) {WS_COUNTER, #name, help, gate->counters.name},
#include "wsgate/counters.def"
#undef COUNTER
	};
	int r = ws_metrics_write_server(out, PREFIX, ws_server_counters(gate->runtime));
	return r < 0 ? r : ws_metrics_write(out, PREFIX, metrics, ARRAY_SIZE(metrics));
}
