/*
 * WebSocket context: libwebsockets on the daemon's own libuv loop.
 *
 * Everything that touches libwebsockets stands in proto/ws. It is used for the WebSocket protocol
 * and TLS, and as HTTP client; the heads of requests that strangers send are parsed by
 * http_parser (ws_request.h), so that libwebsockets sees only heads that were written here.
 *
 * One context a process. Opening it loads the event-loop plugin with dlopen() and reads the
 * certificate store, so it stands before any sandbox. Its log lines go to the journal, at most
 * some a minute, with nothing of a peer's bytes in them.
 *
 * Limits. Tables are sized for max_connections (sessions, exchanges and outgoing connections
 * together); RLIMIT_NOFILE must leave room for them, see ws_context_fds_needed().
 *
 * Lifecycle. ws_context_open(), servers and clients, ws_context_close() when all of them are
 * closed or may be cut off; then the loop must run until it is empty (daemon_close() does), then
 * ws_context_free().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proto/base/attributes.h"

struct ws_context;

struct ws_context_config {
	unsigned int max_connections;
	bool server_only;      /* no ws_client, no ws_get: the certificate store is not loaded */
	const char *ca_file;   /* PEM; what clients trust instead of the system's store; or NULL */
	uint16_t ping_after_s; /* without a sign of life; 0: 20 */
	uint16_t hang_up_after_s; /* must be longer; 0: 40 */
	uint16_t handshake_s;     /* for each step until a connection is established; 0: 10 */
};

/* 0, -ENOMEM, -EMFILE when RLIMIT_NOFILE is too low, or -ENOTSUP without the libuv plugin. */
_must_check_ int ws_context_open(
	struct ws_context **out, uv_loop_t *loop, const struct ws_context_config *config);

/* Descriptors that a process needs for this many connections, its own few included. */
unsigned int ws_context_fds_needed(unsigned int max_connections);

/* Cuts off every connection that is left (their on_closed or on_end is called). */
void ws_context_close(struct ws_context *context);

/* After the loop has run empty. Accepts NULL. */
void ws_context_free(struct ws_context *context);
