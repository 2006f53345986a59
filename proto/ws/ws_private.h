/*
 * What the files of proto/ws share, and nobody else includes.
 *
 * Every libwebsockets connection (wsi) carries a struct ws_link as its opaque pointer, and every
 * event of it is handed to the link's handler. libwebsockets may not be entered from within one of
 * its own callbacks on behalf of another connection (they share one buffer), so whatever makes it
 * work on a connection (adopting, connecting) is done from an idle handle, never directly; asking
 * for a writable event is allowed everywhere.
 */
#pragma once

#include <libwebsockets.h>
#include <stdbool.h>
#include <uv.h>

#include "proto/base/buf.h"
#include "proto/base/journal.h"
#include "proto/ws/ws_context.h"
#include "proto/ws/ws_liveness.h"

extern const lws_retry_bo_t ws_no_idle_policy;

struct ws_link {
	struct lws *wsi; /* NULL before it is attached and after it is gone */
	/* Answers as a libwebsockets callback does: non-zero closes the connection. */
	int (*on_event)(
		struct ws_link *link, enum lws_callback_reasons reason, void *in, size_t len);
	/* The connection is about to be freed; last event. */
	void (*on_destroyed)(struct ws_link *link);
};

/* From a writable event. Its pong is reported. -1: close the connection. */
int ws_link_write_ping(struct ws_link *link);

enum { WS_OWN_HANDLES_MAX = 8 };

struct ws_context {
	uv_loop_t *loop;
	struct lws_context *lws;
	struct lws_vhost *vhost;  /* without a listener: adopted plain sockets, and clients */
	struct ws_link *adopting; /* the next connection that is instantiated becomes this one's */
	unsigned int links;       /* connections that libwebsockets knows */
	struct ws_liveness_policy liveness_policy;
	uint16_t handshake_s;
	uint8_t *write_buffer; /* LWS_PRE + WS_WRITE_BYTES, for one write at a time */

	/* Handles that libwebsockets keeps on our loop for itself. */
	uv_handle_t *own_handles[WS_OWN_HANDLES_MAX];
	unsigned int own_handle_count;
	uv_idle_t finish;
	bool closing;
	struct ws_context *left_behind;
};

/* Lets libwebsockets' messages through to the journal while something is set up. */
void ws_log_setup_messages(bool on);

/* A vhost for TLS with this certificate, or NULL. */
struct lws_vhost *ws_context_add_tls_vhost(
	struct ws_context *context, const char *certificate_file, const char *key_file);

/* Names of the handlers that a connection is bound to. */
extern const char ws_client_protocol_name[], ws_raw_protocol_name[];

/* Makes `link` the one that hears of this connection's events. */
void ws_link_attach(struct ws_context *context, struct ws_link *link, struct lws *wsi);

/* Ends a connection at its next event, which is forced to come soon. */
void ws_link_abort(struct ws_link *link);
