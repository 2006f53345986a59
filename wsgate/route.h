/*
 * Routes: what a request asks for, and whether it may.
 */
#pragma once

#include "wsgate/gate.h"

/* The listener for backends. */
void route_runtime_request(struct gate *gate, struct ws_exchange *exchange);

/* The listener for health and metrics. */
void route_status_request(struct gate *gate, struct ws_exchange *exchange);
