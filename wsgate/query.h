/*
 * Query: one question about the log's bookkeeping, asked of eventlogd and answered as JSON.
 */
#pragma once

#include "proto/ids.h"
#include "wsgate/gate.h"

enum query_kind {
	QUERY_RUNTIME, /* GET /v1/runtime */
	QUERY_WORKERS, /* GET /v1/workers?after=…&limit=… */
	QUERY_WORKER,  /* GET /v1/workers/{worker_id} */
};

enum { QUERY_PAGE_DEFAULT = 100, QUERY_PAGE_MAX = 1000 };

struct query_request {
	enum query_kind kind;
	struct id worker_id; /* QUERY_WORKER: which; QUERY_WORKERS: behind which, or empty */
	uint64_t limit;
};

/* Answers the exchange, later. */
void query_open(
	struct gate *gate, struct ws_exchange *exchange, const struct query_request *request);

/* Refuses those that still wait. */
void query_refuse_all(struct gate *gate);
