/*
 * A server on a Unix socket, the other end of which is a plain socket that writes and reads the
 * bytes itself. At most one exchange and one peer at a time. What fails ends the test.
 */
#pragma once

#include <stdbool.h>

#include "proto/base/buf.h"
#include "tests/lib/ws_fixture.h"

enum {
	SERVER_FIXTURE_QUEUE_BYTES = 1024 * 1024,
	SERVER_FIXTURE_CONNECTIONS_MAX = 8,
	SERVER_FIXTURE_PING_BYTES = 7,
};

#define SERVER_FIXTURE_UPGRADE \
	"GET /v1/events/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/* A ping with "p", as a client sends it. */
extern const uint8_t server_fixture_masked_ping[SERVER_FIXTURE_PING_BYTES];

struct server_fixture {
	struct ws_fixture ws;
	char directory[32], path[64];
	int fd; /* the other end */
	struct buf received;

	struct ws_exchange *exchange; /* waiting for an answer */
	struct ws_peer *peer;
	unsigned int exchanges, gone, refused, opened, data, writable, closed, sent;
	unsigned int refused_status;
	uint16_t closed_code;
};

/* For cmocka: the state is a struct server_fixture. */
int server_fixture_setup(void **state);
int server_fixture_setup_with(void **state, const struct ws_context_config *context_config);
int server_fixture_teardown(void **state);

/* What waits on the loop has its turn. */
void server_fixture_turn(struct server_fixture *f);

/* At the other end. */
void server_fixture_send(struct server_fixture *f, const void *bytes, size_t len);
/* Takes what is there, up to `max`; answers false at the end of the stream. */
bool server_fixture_read(struct server_fixture *f, size_t max);
bool server_fixture_has_received(struct server_fixture *f, const char *text);

/* Counts what happens to a peer whose owner is the fixture. */
extern const struct ws_peer_handler server_fixture_peer_handler;
/* Upgrades; `received` begins behind the 101 afterwards. */
void server_fixture_open_peer(struct server_fixture *f, const char *subprotocol);
