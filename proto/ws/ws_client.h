/*
 * The client side: one connection to a Runtime WebSocket.
 *
 * Names are resolved off the loop; each address is tried in turn; connecting, TLS and the answer
 * to the upgrade together take at most connect_timeout_ms. Redirects are never followed, proxies
 * and environment variables never consulted, certificates and names always verified.
 *
 * Messages come whole. One that is longer than max_message_bytes ends the connection
 * (WS_CLIENT_TOO_LONG) before more than that is held. ws_client_pause() stops reading: the
 * kernel's buffers, and with them the sender, hold the rest.
 * A server that shows no sign of life (not even an answer to our pings, every 20 s) for 40 s while
 * we read is WS_CLIENT_LOST.
 *
 * Lifecycle. ws_client_open(); on_open at most once; on_end exactly once and last, also after
 * ws_client_close(), never from within ws_client_open(). The struct frees itself after on_end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/ws/ws_client_end.h"
#include "proto/ws/ws_context.h"
#include "proto/ws/ws_frames.h"
#include "proto/ws/ws_url.h"

struct ws_client;

struct ws_client_handler {
	/* `subprotocol`: what the server chose, "" for none. */
	void (*on_open)(struct ws_client *client, const char *subprotocol);
	void (*on_message)(struct ws_client *client, enum ws_message_type type,
		const uint8_t *bytes, size_t len);
	void (*on_end)(struct ws_client *client, const struct ws_client_end *end);
};

struct ws_client_config {
	const struct ws_url *url;
	const char *path;         /* with query: "/v1/workers/w/events/ws?from=keyframe" */
	const char *bearer;       /* token or NULL */
	const char *subprotocols; /* "sightline.v1.msgpack, sightline.v1" or NULL */
	size_t max_message_bytes;
	uint64_t connect_timeout_ms; /* 0: 10,000 */
};

/* Borrows everything in `config` until return. 0, -EINVAL or -ENOMEM (no callbacks then). */
_must_check_ int ws_client_open(struct ws_client **out, struct ws_context *context,
	const struct ws_client_config *config, const struct ws_client_handler *handler,
	void *owner);
void *ws_client_owner(const struct ws_client *client);

void ws_client_pause(struct ws_client *client);
void ws_client_resume(struct ws_client *client);
bool ws_client_is_paused(const struct ws_client *client);

/* Says goodbye with 1000 if it is open; on_end follows from the loop. No more messages. */
void ws_client_close(struct ws_client *client);
