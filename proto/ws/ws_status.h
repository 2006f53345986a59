/*
 * Status: what a status listener answers, the same at each daemon that has one.
 *
 *	GET /healthz   200 {"status":"ok"}; 503 {"status":"stopping"} once it is asked to end
 *	GET /metrics   Prometheus text, version 0.0.4
 *
 * Health is the process's own, not that of its neighbours: restarting it would not bring them back.
 * Without a token: metrics carry nothing of an endpoint, token, path, or payload.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/ws/ws_server.h"

enum ws_metric_type {
	WS_GAUGE = 0,
	WS_COUNTER = 1, /* "_total" is added to its name */
};

struct ws_metric {
	enum ws_metric_type type;
	const char *name, *help;
	uint64_t value;
};

/* Each metric's name goes behind `prefix` and '_'. 0 or -errno of the buffer. */
_must_check_ int ws_metrics_write(
	struct buf *out, const char *prefix, const struct ws_metric *metrics, size_t count);

/* What every server counts. 0 or -errno of the buffer. */
_must_check_ int ws_metrics_write_server(
	struct buf *out, const char *prefix, const struct ws_server_counters *counters);

/* Answers the exchange; `write` appends all metrics of `owner`: 0 or -errno. */
void ws_status_answer(struct ws_exchange *exchange, bool stopping,
	int (*write)(struct buf *out, const void *owner), const void *owner);
