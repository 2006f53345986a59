/*
 * One outgoing HTTP request up to its answer: what ws_client.c and ws_get.c share.
 *
 * Resolves the name off the loop, tries each address with a connection of its own, and hands
 * libwebsockets' events to its owner from the moment that the request is on its way. It ends when
 * the owner asks or the connection is gone; on_finished is the last call.
 */
#pragma once

#include <netdb.h>
#include <netinet/in.h>

#include "proto/ws/ws_client_end.h"
#include "proto/ws/ws_private.h"
#include "proto/ws/ws_url.h"

enum { CONNECTOR_ADDRESSES_MAX = 8, CONNECTOR_ADDRESS_BYTES = INET6_ADDRSTRLEN };

enum connector_state {
	CONNECTOR_RESOLVING,
	CONNECTOR_CONNECTING,
	CONNECTOR_ASKING, /* connected; the request is on its way */
	CONNECTOR_OPEN,   /* the owner has said so */
	CONNECTOR_ENDING, /* only waits for what is still open */
};

struct connector;

/* One connection; outlives the connector when the library still has it. */
struct connector_attempt {
	struct ws_link link; /* first */
	struct connector *connector;
	uv_loop_t *loop;
};

struct connector {
	struct ws_context *context;
	/* Events of the connection. Non-zero closes it. */
	int (*on_event)(struct connector *connector, enum lws_callback_reasons reason, void *in,
		size_t len);
	/* Periodic, while open. */
	void (*on_tick)(struct connector *connector);
	/* All is closed; the memory is the owner's. */
	void (*on_finished)(struct connector *connector);

	struct ws_url url;
	const char *method; /* NULL: upgrade to a WebSocket */
	char *path, *bearer, *subprotocols;

	enum connector_state state;
	struct ws_client_end end; /* what will be reported */
	struct connector_attempt *attempt;
	char addresses[CONNECTOR_ADDRESSES_MAX][CONNECTOR_ADDRESS_BYTES];
	unsigned int address_count, next_address;

	uv_getaddrinfo_t lookup;
	bool looking_up;
	uv_timer_t timer;
	uv_idle_t soon; /* work that may not be done from within the library's callbacks */
	unsigned int handles_open;
};

struct connector_request {
	const struct ws_url *url;
	const char *method;
	const char *path;
	const char *bearer;
	const char *subprotocols;
	uint64_t timeout_ms; /* up to connector_opened(), or for everything */
};

/* 0, -EINVAL or -ENOMEM. The callbacks must be set. */
_must_check_ int connector_start(struct connector *connector, struct ws_context *context,
	const struct connector_request *request);

/* No more deadline; on_tick every tick_ms from now on. */
void connector_opened(struct connector *connector, uint64_t tick_ms);

/* Ends it with this result, unless it ends already. on_finished follows from the loop. */
void connector_end(struct connector *connector, enum ws_client_result result);
