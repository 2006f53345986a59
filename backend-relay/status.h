/*
 * The status listener (proto/ws/ws_status.h) and what this process has counted.
 *
 * Metrics carry runtime_id at most as a label; nothing of an endpoint, token or path.
 */
#pragma once

#include "backend-relay/relay.h"

/* Takes the listening descriptor. 0 or -errno. */
_must_check_ int status_open(struct relay *relay, int fd, unsigned int max_connections);
