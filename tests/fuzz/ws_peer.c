/*
 * proto/ws/ws_server with libwebsockets behind it: whatever a peer sends after the upgrade, the
 * session ends or goes on, and everything is given back. The library itself is not instrumented,
 * but what it does to the heap is seen.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/ws/ws_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { TURNS_MAX = 200, INPUT_MAX = 64 * 1024 };

static struct {
	uv_loop_t loop;
	struct ws_server *server;
	char path[64];
	struct ws_peer *peer;
	bool ended;
} world;

static void on_exchange(struct ws_server *server, struct ws_exchange *exchange);

static void on_gone(struct ws_server *server, struct ws_exchange *exchange)
{
	(void)server;
	(void)exchange;
	world.ended = true;
}

static void on_error(struct ws_server *server, int error)
{
	(void)server;
	(void)error;
	abort();
}

static void on_open(struct ws_peer *peer)
{
	(void)peer;
}

static void on_data(struct ws_peer *peer)
{
	ws_peer_close(peer, 1008, "observation_only", 100);
}

static void on_closed(struct ws_peer *peer, uint16_t code)
{
	(void)code;
	if (peer != world.peer)
		abort();
	world.peer = NULL;
	world.ended = true;
}

static void on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	static const struct ws_peer_handler handler = {on_open, on_data, on_open, on_closed};
	(void)server;
	if (ws_exchange_upgrade(exchange, NULL, &handler, NULL, &world.peer) < 0)
		abort();
}

static void remove_socket(void)
{
	unlink(world.path);
}

static void set_up(void)
{
	static const struct ws_server_handler handler = {
		.on_exchange = on_exchange, .on_gone = on_gone, .on_error = on_error};
	struct ws_context *context;
	struct ws_context_config context_config = {.max_connections = 16, .server_only = true};
	struct ws_server_config config = {.max_connections = 4, .max_queued_bytes = 65536};
	snprintf(world.path, sizeof(world.path), "/tmp/fuzz_ws_peer.%d", (int)getpid());
	uv_loop_init(&world.loop);
	config.fd = unix_socket_listen(world.path, 0600);
	if (config.fd < 0 || ws_context_open(&context, &world.loop, &context_config) < 0 ||
		ws_server_open(&world.server, context, &config, &handler, NULL) < 0)
		abort();
	atexit(remove_socket);
}

static void send_all(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	for (size_t sent = 0; sent < len;) {
		ssize_t n = send(fd, at + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && world.ended)
			return;
		if (n > 0)
			sent += (size_t)n;
		uv_run(&world.loop, UV_RUN_NOWAIT);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const char head[] =
		"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
	if (world.server == NULL)
		set_up();
	if (len > INPUT_MAX)
		return 0;
	int fd = unix_socket_connect(world.path);
	if (fd < 0)
		abort();
	world.ended = false;
	/* The first byte says whether the rest comes with the head or after it. */
	send_all(fd, head, strlen(head));
	for (int i = 0; i < 4 && len > 0 && (bytes[0] & 1) != 0; i++)
		uv_run(&world.loop, UV_RUN_NOWAIT);
	if (len > 1)
		send_all(fd, bytes + 1, len - 1);
	for (int i = 0; i < 4; i++)
		uv_run(&world.loop, UV_RUN_NOWAIT);
	close(fd);
	for (int i = 0; !world.ended && i < TURNS_MAX; i++)
		uv_run(&world.loop, UV_RUN_ONCE);
	if (!world.ended || ws_server_counters(world.server)->peers != 0)
		abort();
	return 0;
}
