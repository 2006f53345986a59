/* proto/ws/ws_server: exchanges, from the head to the answer or the upgrade, and the cap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "tests/lib/ws_server_fixture.h"

/* RFC 6455 section 1.3. */
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static const uint8_t masked_text[] = {0x81, 0x82, 1, 2, 3, 4, 'h' ^ 1, 'i' ^ 2};

static void upgrade_works_wherever_the_head_is_cut(void **state)
{
	struct server_fixture *f = *state;
	static const char head[] = SERVER_FIXTURE_UPGRADE;
	for (size_t cut = 0; cut <= strlen(head); cut += 1 + cut / 16) {
		server_fixture_send(f, head, cut);
		server_fixture_turn(f);
		server_fixture_send(f, &head[cut], strlen(head) - cut);
		WAIT_UNTIL(f, f->exchange != NULL);
		const struct ws_request *request = ws_exchange_request(f->exchange);
		assert_string_equal(ws_request_path(request), "/v1/events/ws");
		f->opened = f->closed = 0;
		assert_int_equal(ws_exchange_upgrade(f->exchange, "chosen",
					 &server_fixture_peer_handler, f, &f->peer),
			0);
		f->exchange = NULL;
		WAIT_UNTIL(f, server_fixture_has_received(f, "\r\n\r\n"));
		assert_true(server_fixture_has_received(f, "HTTP/1.1 101 "));
		assert_true(server_fixture_has_received(f, ACCEPT));
		assert_true(server_fixture_has_received(f, "Sec-WebSocket-Protocol: chosen\r\n"));
		assert_int_equal(f->opened, 1);
		close(f->fd);
		WAIT_UNTIL(f, f->closed == 1);
		buf_reset(&f->received, 0);
		f->fd = unix_socket_connect(f->path);
	}
}

static void bytes_behind_the_head_reach_the_websocket(void **state)
{
	struct server_fixture *f = *state;
	char bytes[sizeof(SERVER_FIXTURE_UPGRADE) + sizeof(server_fixture_masked_ping) +
		   sizeof(masked_text)];
	memcpy(bytes, SERVER_FIXTURE_UPGRADE, strlen(SERVER_FIXTURE_UPGRADE));
	size_t len = strlen(SERVER_FIXTURE_UPGRADE);
	memcpy(bytes + len, server_fixture_masked_ping, sizeof(server_fixture_masked_ping));
	len += sizeof(server_fixture_masked_ping);
	server_fixture_send(f, bytes, len);
	WAIT_UNTIL(f, f->exchange != NULL);
	/* More comes while the answer is not there yet. */
	server_fixture_send(f, masked_text, sizeof(masked_text));
	server_fixture_turn(f);
	assert_int_equal(
		ws_exchange_upgrade(f->exchange, NULL, &server_fixture_peer_handler, f, &f->peer),
		0);
	WAIT_UNTIL(f, f->data == 1);
	WAIT_UNTIL(f, server_fixture_has_received(f, "\x8a\x01p")); /* the pong */
	assert_false(server_fixture_has_received(f, "Sec-WebSocket-Protocol"));
}

static void answer_may_come_later_and_is_complete(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_send(f, SERVER_FIXTURE_UPGRADE, strlen(SERVER_FIXTURE_UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	server_fixture_turn(f);
	ws_exchange_refuse(f->exchange, 404, "runtime.worker_not_found", "no such worker");
	f->exchange = NULL;
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
	assert_true(server_fixture_has_received(f, "HTTP/1.1 404 Not Found\r\n"));
	assert_true(
		server_fixture_has_received(f, "\r\nSightline-Code: runtime.worker_not_found\r\n"));
	assert_true(server_fixture_has_received(f,
		"\r\n\r\n{\"error\":{\"code\":\"runtime.worker_not_found\","
		"\"message\":\"no such worker\"}}\n"));
	assert_int_equal(f->gone, 0);
}

static void refusal_without_a_code_says_the_status_in_words(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_send(f, SERVER_FIXTURE_UPGRADE, strlen(SERVER_FIXTURE_UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	ws_exchange_refuse(f->exchange, 404, NULL, "no such route");
	f->exchange = NULL;
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
	assert_true(server_fixture_has_received(f, "\r\n\r\n{\"error\":{\"code\":\"not_found\","
						   "\"message\":\"no such route\"}}\n"));
	assert_false(server_fixture_has_received(f, "Sightline-Code"));
}

static void upgrade_of_a_plain_request_answers_426(void **state)
{
	struct server_fixture *f = *state;
	static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
				   "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
	server_fixture_send(f, head, strlen(head));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(
		ws_exchange_upgrade(f->exchange, NULL, &server_fixture_peer_handler, f, &f->peer),
		-EPROTO);
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
	assert_true(server_fixture_has_received(f, "HTTP/1.1 426 "));
	assert_int_equal(f->closed, 0);
}

static void peer_that_leaves_while_it_waits_is_gone(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_send(f, SERVER_FIXTURE_UPGRADE, strlen(SERVER_FIXTURE_UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	close(f->fd);
	WAIT_UNTIL(f, f->gone == 1);
	f->fd = unix_socket_connect(f->path);
}

static const char plain_head[] = "GET /v1/runtime HTTP/1.1\r\nHost: h\r\n\r\n";

static void half_closed_peer_is_answered(void **state)
{
	struct server_fixture *f = *state;
	for (int pipelined = 0; pipelined < 2; pipelined++) {
		server_fixture_send(f, plain_head, strlen(plain_head));
		WAIT_UNTIL(f, f->exchange != NULL);
		/* Enough behind it, and it is no longer read when the end comes. */
		for (int i = 0; pipelined == 1 && i < 100; i++)
			server_fixture_send(f, plain_head, strlen(plain_head));
		assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
		for (int i = 0; i < 10; i++)
			server_fixture_turn(f);
		assert_int_equal(f->gone, 0);
		ws_exchange_respond(f->exchange, 200, NULL, "text/plain", "ok\n", 3);
		f->exchange = NULL;
		WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
		assert_true(server_fixture_has_received(f, "HTTP/1.1 200 "));
		assert_true(server_fixture_has_received(f, "\r\n\r\nok\n"));
		close(f->fd);
		buf_reset(&f->received, 0);
		f->fd = unix_socket_connect(f->path);
	}
}

static void half_closed_peer_that_leaves_is_gone(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_send(f, plain_head, strlen(plain_head));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
	server_fixture_turn(f);
	assert_int_equal(f->gone, 0);
	close(f->fd);
	WAIT_UNTIL(f, f->gone == 1);
	f->fd = unix_socket_connect(f->path);
}

/* Wakes of the fixture's timer between which the loop had next to nothing to do, of the next 10. */
static unsigned int count_quiet_wakes(struct server_fixture *f)
{
	unsigned int quiet = 0;
	for (unsigned int i = 0; i < 10; i++) {
		unsigned int turns = 0;
		for (unsigned int wakes = f->ws.wakes; f->ws.wakes == wakes; turns++)
			uv_run(&f->ws.loop, UV_RUN_ONCE);
		quiet += turns <= 10;
	}
	return quiet;
}

/*
 * The kernel says "half-closed" again at each look: nobody may be woken by that for ever.
 * (libwebsockets itself spins for the last part of a millisecond before each timer of its own.)
 */
static void half_closed_peer_that_reads_slowly_does_not_keep_the_loop_awake(void **state)
{
	struct server_fixture *f = *state;
	enum { LEN = 8 * 1024 * 1024 };
	char *body = calloc(1, LEN);
	assert_non_null(body);
	server_fixture_send(f, plain_head, strlen(plain_head));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
	ws_exchange_respond(f->exchange, 200, NULL, "text/plain", body, LEN);
	f->exchange = NULL;
	free(body);
	server_fixture_turn(f);
	assert_in_range(count_quiet_wakes(f), 5, 10);
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
	assert_true(f->received.len > LEN);
}

static void half_a_head_ends_with_408_and_garbage_with_400(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_send(f, SERVER_FIXTURE_UPGRADE, 20);
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
	assert_true(server_fixture_has_received(f, "HTTP/1.1 408 "));
	close(f->fd);
	f->fd = unix_socket_connect(f->path);
	buf_reset(&f->received, 0);
	server_fixture_send(f, "\x16\x03\x01 what is this", 10);
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
	assert_true(server_fixture_has_received(f, "HTTP/1.1 400 "));
	assert_int_equal(f->exchanges, 0);
	assert_int_equal(ws_server_counters(f->ws.server)->heads_refused, 2);
	assert_int_equal(f->refused, 2);
	assert_int_equal(f->refused_status, 400);
}

static void silence_ends_with_408_and_is_no_refused_request(void **state)
{
	struct server_fixture *f = *state;
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX));
	assert_true(server_fixture_has_received(f, "HTTP/1.1 408 "));
	assert_int_equal(ws_server_counters(f->ws.server)->heads_refused, 1);
	assert_int_equal(f->refused, 0);
}

static void silent_connections_at_the_cap_make_room(void **state)
{
	struct server_fixture *f = *state;
	int fds[SERVER_FIXTURE_CONNECTIONS_MAX];
	for (int i = 0; i < SERVER_FIXTURE_CONNECTIONS_MAX; i++) {
		fds[i] = unix_socket_connect(f->path);
		assert_true(fds[i] >= 0);
	}
	static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
	assert_int_equal(
		write(fds[SERVER_FIXTURE_CONNECTIONS_MAX - 1], head, strlen(head)), strlen(head));
	WAIT_UNTIL(f, f->exchanges == 1);
	assert_true(ws_server_counters(f->ws.server)->idle_dropped > 0);
	assert_int_equal(ws_server_counters(f->ws.server)->heads_refused, 0);
	ws_exchange_respond(f->exchange, 200, NULL, "text/plain", "ok\n", 3);
	WAIT_UNTIL(f, !server_fixture_read(f, SIZE_MAX)); /* the oldest */
	for (int i = 0; i < SERVER_FIXTURE_CONNECTIONS_MAX; i++)
		close(fds[i]);
}

static void connections_over_the_cap_wait_in_the_backlog(void **state)
{
	struct server_fixture *f = *state;
	int fds[SERVER_FIXTURE_CONNECTIONS_MAX];
	for (int i = 0; i < SERVER_FIXTURE_CONNECTIONS_MAX; i++) {
		fds[i] = i == 0 ? dup(f->fd) : unix_socket_connect(f->path);
		assert_true(fds[i] >= 0);
		assert_int_equal(
			write(fds[i], SERVER_FIXTURE_UPGRADE, strlen(SERVER_FIXTURE_UPGRADE)),
			strlen(SERVER_FIXTURE_UPGRADE));
		WAIT_UNTIL(f, f->exchange != NULL);
		assert_int_equal(ws_exchange_upgrade(f->exchange, NULL,
					 &server_fixture_peer_handler, f, &f->peer),
			0);
		f->exchange = NULL;
	}
	int late = unix_socket_connect(f->path);
	assert_true(late >= 0);
	assert_int_equal(write(late, SERVER_FIXTURE_UPGRADE, strlen(SERVER_FIXTURE_UPGRADE)),
		strlen(SERVER_FIXTURE_UPGRADE));
	WAIT_UNTIL(f, f->opened == SERVER_FIXTURE_CONNECTIONS_MAX);
	server_fixture_turn(f);
	assert_int_equal(f->exchanges, SERVER_FIXTURE_CONNECTIONS_MAX);
	assert_int_equal(ws_server_counters(f->ws.server)->idle_dropped, 0);
	close(fds[SERVER_FIXTURE_CONNECTIONS_MAX - 1]);
	WAIT_UNTIL(f, f->exchange != NULL);
	ws_exchange_respond(f->exchange, 200, NULL, "text/plain", "ok\n", 3);
	for (int i = 0; i < SERVER_FIXTURE_CONNECTIONS_MAX - 1; i++)
		close(fds[i]);
	close(late);
}

int main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, server_fixture_setup, server_fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(upgrade_works_wherever_the_head_is_cut),
		TEST(bytes_behind_the_head_reach_the_websocket),
		TEST(answer_may_come_later_and_is_complete),
		TEST(refusal_without_a_code_says_the_status_in_words),
		TEST(upgrade_of_a_plain_request_answers_426),
		TEST(peer_that_leaves_while_it_waits_is_gone),
		TEST(half_closed_peer_is_answered),
		TEST(half_closed_peer_that_leaves_is_gone),
		TEST(half_closed_peer_that_reads_slowly_does_not_keep_the_loop_awake),
		TEST(half_a_head_ends_with_408_and_garbage_with_400),
		TEST(silence_ends_with_408_and_is_no_refused_request),
		TEST(silent_connections_at_the_cap_make_room),
		TEST(connections_over_the_cap_wait_in_the_backlog),
	};
	return cmocka_run_group_tests_name("ws_server", tests, NULL, NULL);
}
