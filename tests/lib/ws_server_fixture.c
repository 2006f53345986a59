#include "tests/lib/ws_server_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/unix_socket.h"

enum { HEAD_TIMEOUT_MS = 300 };

const uint8_t server_fixture_masked_ping[SERVER_FIXTURE_PING_BYTES] = {
	0x89, 0x81, 1, 2, 3, 4, 'p' ^ 1};

static struct server_fixture *fixture_of(const struct ws_server *server)
{
	return ws_server_owner(server);
}

static void on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	struct server_fixture *f = fixture_of(server);
	f->exchange = exchange;
	f->exchanges++;
}

static void on_gone(struct ws_server *server, struct ws_exchange *exchange)
{
	struct server_fixture *f = fixture_of(server);
	assert_ptr_equal(f->exchange, exchange);
	f->exchange = NULL;
	f->gone++;
}

static void on_refused(struct ws_server *server, struct ws_exchange *exchange, unsigned int status)
{
	struct server_fixture *f = fixture_of(server);
	assert_string_not_equal(ws_exchange_peer_text(exchange), "");
	f->refused++;
	f->refused_status = status;
}

static const struct ws_server_handler server_handler = {
	on_exchange, on_gone, ws_fixture_on_error, on_refused};

static void on_open(struct ws_peer *peer)
{
	((struct server_fixture *)ws_peer_owner(peer))->opened++;
}

static void on_data(struct ws_peer *peer)
{
	((struct server_fixture *)ws_peer_owner(peer))->data++;
}

static void on_writable(struct ws_peer *peer)
{
	((struct server_fixture *)ws_peer_owner(peer))->writable++;
}

static void on_closed(struct ws_peer *peer, uint16_t code)
{
	struct server_fixture *f = ws_peer_owner(peer);
	f->closed++;
	f->closed_code = code;
	f->peer = NULL;
}

const struct ws_peer_handler server_fixture_peer_handler = {
	on_open, on_data, on_writable, on_closed};

int server_fixture_setup_with(void **state, const struct ws_context_config *context_config)
{
	struct server_fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->directory, "/tmp/ws_server.XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->directory);
	ws_fixture_open(&f->ws, context_config);
	struct ws_server_config config = {
		.fd = unix_socket_listen(f->path, 0600),
		.max_connections = SERVER_FIXTURE_CONNECTIONS_MAX,
		.max_queued_bytes = SERVER_FIXTURE_QUEUE_BYTES,
		.head_timeout_ms = HEAD_TIMEOUT_MS,
	};
	ws_fixture_serve(&f->ws, &config, &server_handler, f);
	f->fd = unix_socket_connect(f->path);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

int server_fixture_setup(void **state)
{
	static const struct ws_context_config config = {.max_connections = 64, .server_only = true};
	return server_fixture_setup_with(state, &config);
}

int server_fixture_teardown(void **state)
{
	struct server_fixture *f = *state;
	close(f->fd);
	ws_fixture_close(&f->ws);
	assert_null(f->peer);
	buf_free(&f->received);
	unlink(f->path);
	rmdir(f->directory);
	free(f);
	return 0;
}

void server_fixture_turn(struct server_fixture *f)
{
	for (int i = 0; i < 3; i++)
		uv_run(&f->ws.loop, UV_RUN_NOWAIT);
}

void server_fixture_send(struct server_fixture *f, const void *bytes, size_t len)
{
	assert_int_equal(write(f->fd, bytes, len), len);
}

bool server_fixture_read(struct server_fixture *f, size_t max)
{
	static uint8_t bytes[1024 * 1024];
	ssize_t n = read(f->fd, bytes, max < sizeof(bytes) ? max : sizeof(bytes));
	if (n < 0 && errno == ECONNRESET)
		return false;
	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return true;
	}
	assert_int_equal(buf_append(&f->received, bytes, (size_t)n), 0);
	return n > 0;
}

bool server_fixture_has_received(struct server_fixture *f, const char *text)
{
	server_fixture_read(f, SIZE_MAX);
	return f->received.len > 0 &&
	       memmem(f->received.data, f->received.len, text, strlen(text)) != NULL;
}

void server_fixture_open_peer(struct server_fixture *f, const char *subprotocol)
{
	server_fixture_send(f, SERVER_FIXTURE_UPGRADE, strlen(SERVER_FIXTURE_UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(ws_exchange_upgrade(f->exchange, subprotocol, &server_fixture_peer_handler,
				 f, &f->peer),
		0);
	f->exchange = NULL;
	WAIT_UNTIL(f, server_fixture_has_received(f, "\r\n\r\n"));
	assert_int_equal(f->opened, 1);
	uint8_t *end = memmem(f->received.data, f->received.len, "\r\n\r\n", 4);
	buf_consume(&f->received, (size_t)(end + 4 - f->received.data));
}
