/*
 * proto/ws/ws_client and ws_get against a server of ours in the same loop, and against sockets
 * that answer what a hostile or broken server would.
 */
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/ws/ws_client.h"
#include "proto/ws/ws_get.h"
#include "tests/lib/ws_fixture.h"

enum { MAX_MESSAGE_BYTES = 3 * 1024 * 1024, QUEUE_BYTES = 8 * 1024 * 1024 };

struct fixture {
	struct ws_fixture ws;
	struct ws_url url;
	int raw_listener; /* a TCP server whose answers the test writes */
	struct ws_url raw_url;

	struct ws_peer *peer;
	unsigned int answer_status; /* 0: upgrade */
	char path[256], bearer[64];
	uint16_t peer_code;

	struct ws_client *client;
	char subprotocol[64];
	unsigned int opened, ended, messages;
	struct ws_client_end end;
	struct buf last;
	enum ws_message_type type;
	unsigned int pause_after;

	unsigned int done;
	struct ws_get_answer answer;
	char body[64];
};

/* ---- our server ---- */

static void peer_on_open(struct ws_peer *peer)
{
	(void)peer;
}

static void peer_on_closed(struct ws_peer *peer, uint16_t code)
{
	struct fixture *f = ws_peer_owner(peer);
	f->peer = NULL;
	f->peer_code = code;
}

static const struct ws_peer_handler peer_handler = {
	peer_on_open, peer_on_open, peer_on_open, peer_on_closed};

static void on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	struct fixture *f = ws_server_owner(server);
	const struct ws_request *request = ws_exchange_request(exchange);
	const char *bearer = ws_request_bearer(request);
	snprintf(f->path, sizeof(f->path), "%s", ws_request_path(request));
	snprintf(f->bearer, sizeof(f->bearer), "%s", bearer != NULL ? bearer : "");
	if (f->answer_status == 200)
		ws_exchange_respond(exchange, 200, NULL, "application/json", "{\"a\":1}", 7);
	else if (f->answer_status != 0)
		ws_exchange_refuse(
			exchange, f->answer_status, "runtime.worker_not_found", "no such worker");
	else
		assert_int_equal(ws_exchange_upgrade(exchange,
					 ws_request_asks_for(request, "sightline.v1.msgpack")
						 ? "sightline.v1.msgpack"
						 : NULL,
					 &peer_handler, f, &f->peer),
			0);
}

static const struct ws_server_handler server_handler = {
	.on_exchange = on_exchange, .on_gone = ws_fixture_on_gone, .on_error = ws_fixture_on_error};

/* ---- the client ---- */

static void client_on_open(struct ws_client *client, const char *subprotocol)
{
	struct fixture *f = ws_client_owner(client);
	f->opened++;
	snprintf(f->subprotocol, sizeof(f->subprotocol), "%s", subprotocol);
}

static void client_on_message(
	struct ws_client *client, enum ws_message_type type, const uint8_t *bytes, size_t len)
{
	struct fixture *f = ws_client_owner(client);
	assert_false(ws_client_is_paused(client));
	f->messages++;
	f->type = type;
	f->last.len = 0;
	assert_int_equal(buf_append(&f->last, bytes, len), 0);
	if (f->pause_after != 0 && f->messages % f->pause_after == 0)
		ws_client_pause(client);
}

static void client_on_end(struct ws_client *client, const struct ws_client_end *end)
{
	struct fixture *f = ws_client_owner(client);
	f->ended++;
	f->end = *end;
	f->client = NULL;
}

static const struct ws_client_handler client_handler = {
	client_on_open, client_on_message, client_on_end};

static void on_get_done(struct ws_get *get, const struct ws_get_answer *answer)
{
	struct fixture *f = ws_get_owner(get);
	f->done++;
	f->answer = *answer;
	snprintf(f->body, sizeof(f->body), "%.*s", (int)answer->len,
		answer->body != NULL ? (const char *)answer->body : "");
}

/* ---- fixture ---- */

static void make_url(struct ws_url *url, const char *host, uint16_t port)
{
	char text[64];
	snprintf(text, sizeof(text), "ws://%s:%u/base/", host, port);
	assert_int_equal(ws_url_parse(text, url), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	struct ws_context_config context_config = {
		.max_connections = 64, .ping_after_s = 1, .hang_up_after_s = 2};
	ws_fixture_open(&f->ws, &context_config);
	uint16_t port;
	struct ws_server_config config = {
		.fd = ws_fixture_listen(&port),
		.max_connections = 8,
		.max_queued_bytes = QUEUE_BYTES,
	};
	make_url(&f->url, "localhost", port);
	ws_fixture_serve(&f->ws, &config, &server_handler, f);
	f->raw_listener = ws_fixture_listen(&port);
	make_url(&f->raw_url, "127.0.0.1", port);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	if (f->client != NULL)
		ws_client_close(f->client);
	ws_fixture_close(&f->ws);
	close(f->raw_listener);
	buf_free(&f->last);
	free(f);
	return 0;
}

static void start(
	struct fixture *f, const struct ws_url *url, const char *subprotocols, uint64_t timeout_ms)
{
	struct ws_client_config config = {
		.url = url,
		.path = "/v1/workers/w%3A1/events/ws?from=keyframe",
		.bearer = "secret-token",
		.subprotocols = subprotocols,
		.max_message_bytes = MAX_MESSAGE_BYTES,
		.connect_timeout_ms = timeout_ms,
	};
	assert_int_equal(ws_client_open(&f->client, f->ws.context, &config, &client_handler, f), 0);
	assert_int_equal(f->ended, 0);
}

static void start_and_open(struct fixture *f)
{
	start(f, &f->url, NULL, 0);
	WAIT_UNTIL(f, f->opened == 1 && f->peer != NULL);
}

/* Accepts on the raw socket, reads the request, sends `answer`. Returns the connection. */
static int raw_answer(struct fixture *f, const char *answer, char *request, size_t size)
{
	int fd = -1;
	WAIT_UNTIL(
		f, (fd = accept4(f->raw_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	size_t len = 0;
	ssize_t n;
	WAIT_UNTIL(f, (n = read(fd, request + len, size - len - 1)) > 0 &&
			      (len += (size_t)n, request[len] = '\0',
				      strstr(request, "\r\n\r\n") != NULL));
	assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
	return fd;
}

/* The 101 that belongs to a request. RFC 6455 section 4.2.2. */
static void make_answer(const char *request, char *answer, size_t size)
{
	static const char name[] = "Sec-WebSocket-Key: ";
	char key[64];
	const char *at = strcasestr(request, name);
	assert_non_null(at);
	int n = snprintf(
		key, sizeof(key), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", at + strlen(name));
	unsigned char digest[SHA_DIGEST_LENGTH], text[32];
	SHA1((const unsigned char *)key, (size_t)n, digest);
	EVP_EncodeBlock(text, digest, sizeof(digest));
	snprintf(answer, size,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		(const char *)text);
}

static void send_message(struct fixture *f, enum ws_message_type type, size_t len, uint8_t first)
{
	uint8_t *body = malloc(len + 1);
	assert_non_null(body);
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)('a' + (first + i) % 26);
	struct ws_frames *frames = ws_frames_new(len);
	assert_int_equal(ws_frames_add_message(frames, type, body, len), 0);
	assert_int_equal(ws_peer_send(f->peer, frames), WS_SENT);
	ws_frames_unref(frames);
	free(body);
}

/* ---- tests ---- */

static void request_carries_path_token_and_subprotocols(void **state)
{
	struct fixture *f = *state;
	start(f, &f->url, "sightline.v1.msgpack, sightline.v1", 0);
	WAIT_UNTIL(f, f->opened == 1);
	assert_string_equal(f->path, "/base/v1/workers/w%3A1/events/ws");
	assert_string_equal(f->bearer, "secret-token");
	assert_string_equal(f->subprotocol, "sightline.v1.msgpack");
}

static void no_subprotocol_asked_for_and_none_given(void **state)
{
	struct fixture *f = *state;
	start_and_open(f);
	assert_string_equal(f->subprotocol, "");
}

static void messages_of_every_size_come_whole(void **state)
{
	struct fixture *f = *state;
	static const size_t sizes[] = {
		0, 1, 125, 126, 65519, 65520, 65521, 65536, 1000000, MAX_MESSAGE_BYTES};
	start_and_open(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		send_message(f, i % 2 != 0 ? WS_TEXT : WS_BINARY, sizes[i], (uint8_t)i);
		WAIT_UNTIL(f, f->messages == i + 1);
		assert_int_equal(f->type, i % 2 != 0 ? WS_TEXT : WS_BINARY);
		assert_int_equal(f->last.len, sizes[i]);
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(f->last.data[k], 'a' + (i + k) % 26);
	}
}

static void paused_client_gets_nothing_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 300 };
	start_and_open(f);
	f->pause_after = 7;
	for (unsigned int i = 0; i < COUNT; i++)
		send_message(f, WS_BINARY, 1 + (i * 977) % 9000, (uint8_t)i);
	unsigned int pauses = 0;
	while (f->messages < COUNT) {
		WAIT_UNTIL(f, ws_client_is_paused(f->client) || f->messages == COUNT);
		unsigned int before = f->messages;
		for (int i = 0; i < 5; i++)
			uv_run(&f->ws.loop, UV_RUN_NOWAIT);
		assert_int_equal(f->messages, before);
		assert_int_equal(f->last.len, 1 + ((before - 1) * 977) % 9000);
		ws_client_resume(f->client);
		pauses++;
	}
	assert_true(pauses >= COUNT / 7);
}

static void too_long_message_ends_it_without_being_held(void **state)
{
	struct fixture *f = *state;
	start_and_open(f);
	send_message(f, WS_BINARY, MAX_MESSAGE_BYTES + 1, 0);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_TOO_LONG);
	assert_int_equal(f->messages, 0);
}

static void close_of_the_server_is_reported_with_its_code(void **state)
{
	struct fixture *f = *state;
	start_and_open(f);
	send_message(f, WS_TEXT, 10, 0);
	ws_peer_close(f->peer, 4409, "runtime.cursor_unknown", 2000);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->messages, 1);
	assert_int_equal(f->end.result, WS_CLIENT_CLOSED);
	assert_int_equal(f->end.close_code, 4409);
}

static void cut_connection_is_lost(void **state)
{
	struct fixture *f = *state;
	start_and_open(f);
	ws_peer_abort(f->peer);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_LOST);
}

static void closing_says_goodbye(void **state)
{
	struct fixture *f = *state;
	start_and_open(f);
	ws_client_close(f->client);
	assert_int_equal(f->ended, 0);
	WAIT_UNTIL(f, f->ended == 1 && f->peer == NULL);
	assert_int_equal(f->end.result, WS_CLIENT_CLOSED);
	assert_int_equal(f->peer_code, 1000);
}

static void closing_while_it_connects_ends_it(void **state)
{
	struct fixture *f = *state;
	start(f, &f->raw_url, NULL, 0); /* nobody accepts there */
	for (int i = 0; i < 5; i++)
		uv_run(&f->ws.loop, UV_RUN_NOWAIT);
	ws_client_close(f->client);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_CLOSED);
	f->ended = 0;
	start(f, &f->url, NULL, 0);
	ws_client_close(f->client); /* at once */
	WAIT_UNTIL(f, f->ended == 1);
}

static void refusal_is_reported_with_status_and_code(void **state)
{
	struct fixture *f = *state;
	static const unsigned int statuses[] = {401, 404, 503};
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		f->answer_status = statuses[i];
		f->ended = 0;
		start(f, &f->url, NULL, 0);
		WAIT_UNTIL(f, f->ended == 1);
		assert_int_equal(f->end.result, WS_CLIENT_STATUS);
		assert_int_equal(f->end.http_status, statuses[i]);
		assert_string_equal(f->end.code, "runtime.worker_not_found");
	}
	assert_int_equal(f->opened, 0);
}

static void redirect_is_not_followed_and_the_token_stays(void **state)
{
	struct fixture *f = *state;
	char request[4096], answer[256];
	snprintf(answer, sizeof(answer),
		"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://localhost:%u/\r\n"
		"Content-Length: 0\r\n\r\n",
		f->url.port);
	start(f, &f->raw_url, NULL, 0);
	int fd = raw_answer(f, answer, request, sizeof(request));
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_STATUS);
	assert_int_equal(f->end.http_status, 307);
	assert_string_equal(f->path, ""); /* our server was not asked */
	close(fd);
}

static void answers_that_are_none_are_told_apart(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *answer;
		enum ws_client_result result;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", WS_CLIENT_STATUS},
		{"HTTP/1.1 500 Oops\r\nSightline-Code: <script>\r\n\r\n", WS_CLIENT_STATUS},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		 "Connection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
			WS_CLIENT_MALFORMED},
		{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n"
		 "Connection: Upgrade\r\n\r\n",
			WS_CLIENT_MALFORMED},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char request[4096];
		f->ended = 0;
		start(f, &f->raw_url, NULL, 0);
		int fd = raw_answer(f, cases[i].answer, request, sizeof(request));
		WAIT_UNTIL(f, f->ended == 1);
		assert_int_equal(f->end.result, cases[i].result);
		assert_string_equal(f->end.code, "");
		close(fd);
	}
	assert_int_equal(f->opened, 0);
}

static void garbage_instead_of_an_answer_ends_it(void **state)
{
	struct fixture *f = *state;
	char request[4096];
	start(f, &f->raw_url, NULL, 1000);
	int fd = raw_answer(f, "\x16\x03\x01SSH-2.0\r\n\r\n\r\n", request, sizeof(request));
	close(fd);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->opened, 0);
	assert_int_not_equal(f->end.result, WS_CLIENT_CLOSED);
}

static void silence_times_out(void **state)
{
	struct fixture *f = *state;
	start(f, &f->raw_url, NULL, 200);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_TIMEOUT);
}

/* Each attempt gets the descriptor's number of the one before. */
static void silent_server_behind_wss_times_out_again_and_again(void **state)
{
	struct fixture *f = *state;
	struct ws_url url = f->raw_url;
	url.scheme = WS_URL_TLS;
	for (int i = 0; i < 3; i++) {
		f->ended = 0;
		start(f, &url, NULL, 50);
		WAIT_UNTIL(f, f->ended == 1);
		assert_int_equal(f->end.result, WS_CLIENT_TIMEOUT);
	}
}

static void nobody_there_is_unreachable(void **state)
{
	struct fixture *f = *state;
	close(f->raw_listener);
	start(f, &f->raw_url, NULL, 0);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_UNREACHABLE);
	struct ws_url url;
	assert_int_equal(ws_url_parse("unix:/nonexistent/socket", &url), 0);
	f->ended = 0;
	start(f, &url, NULL, 0);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_UNREACHABLE);
	f->raw_listener = -1;
}

/* A server that has upgraded and then says nothing, not even to a ping. */
static void silent_server_is_lost_but_not_while_we_pause(void **state)
{
	struct fixture *f = *state;
	char request[4096], answer[256];
	start(f, &f->raw_url, NULL, 0);
	int fd = -1;
	WAIT_UNTIL(
		f, (fd = accept4(f->raw_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
	WAIT_UNTIL(f, read(fd, request, sizeof(request)) > 0);
	make_answer(request, answer, sizeof(answer));
	assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
	WAIT_UNTIL(f, f->opened == 1);
	ws_client_pause(f->client);
	uint64_t resume_ns = clock_monotonic_ns() + 3 * NS_PER_S;
	WAIT_UNTIL(f, clock_monotonic_ns() > resume_ns);
	assert_int_equal(f->ended, 0);
	ws_client_resume(f->client);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_LOST);
	assert_true(read(fd, request, sizeof(request)) > 0); /* our ping */
	assert_int_equal(request[0] & 0xff, 0x89);
	close(fd);
}

/* Longer than either side bears silence: each hears the other's pongs. */
static void quiet_session_lives(void **state)
{
	struct fixture *f = *state;
	start_and_open(f);
	uint64_t over_ns = clock_monotonic_ns() + 5 * NS_PER_S;
	WAIT_UNTIL(f, f->ended == 1 || clock_monotonic_ns() > over_ns);
	assert_int_equal(f->ended, 0);
}

static void unknown_name_is_told_apart(void **state)
{
	struct fixture *f = *state;
	struct ws_url url;
	assert_int_equal(ws_url_parse("ws://no-such-name.invalid:1", &url), 0);
	start(f, &url, NULL, 0);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_NAME);
}

static void plain_server_behind_wss_fails_in_tls(void **state)
{
	struct fixture *f = *state;
	struct ws_url url = f->url;
	url.scheme = WS_URL_TLS;
	start(f, &url, NULL, 3000);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_TLS);
}

static void get(struct fixture *f, const struct ws_url *url, size_t max, uint64_t timeout_ms)
{
	struct ws_get *get;
	struct ws_get_config config = {.url = url,
		.path = "/v1/workers",
		.bearer = "secret-token",
		.max_body_bytes = max,
		.timeout_ms = timeout_ms};
	f->done = 0;
	assert_int_equal(ws_get_open(&get, f->ws.context, &config, on_get_done, f), 0);
	assert_int_equal(f->done, 0);
}

static void get_brings_status_code_and_body(void **state)
{
	struct fixture *f = *state;
	f->answer_status = 200;
	get(f, &f->url, 1000, 0);
	WAIT_UNTIL(f, f->done == 1);
	assert_int_equal(f->answer.result, WS_CLIENT_CLOSED);
	assert_int_equal(f->answer.http_status, 200);
	assert_string_equal(f->body, "{\"a\":1}");
	assert_string_equal(f->path, "/base/v1/workers");
	f->answer_status = 404;
	get(f, &f->url, 1000, 0);
	WAIT_UNTIL(f, f->done == 1);
	assert_int_equal(f->answer.http_status, 404);
	assert_string_equal(f->answer.code, "runtime.worker_not_found");
}

static void get_is_bounded_in_bytes_and_time(void **state)
{
	struct fixture *f = *state;
	f->answer_status = 200;
	get(f, &f->url, 6, 0);
	WAIT_UNTIL(f, f->done == 1);
	assert_int_equal(f->answer.result, WS_CLIENT_TOO_LONG);
	get(f, &f->raw_url, 1000, 200);
	WAIT_UNTIL(f, f->done == 1);
	assert_int_equal(f->answer.result, WS_CLIENT_TIMEOUT);
}

static void get_that_is_cut_off_is_no_answer(void **state)
{
	struct fixture *f = *state;
	char request[4096];
	get(f, &f->raw_url, 1000, 0);
	int fd = raw_answer(f, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half", request,
		sizeof(request));
	for (int i = 0; i < 5; i++)
		uv_run(&f->ws.loop, UV_RUN_NOWAIT);
	close(fd);
	WAIT_UNTIL(f, f->done == 1);
	assert_int_equal(f->answer.result, WS_CLIENT_LOST);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(request_carries_path_token_and_subprotocols),
		TEST(no_subprotocol_asked_for_and_none_given),
		TEST(messages_of_every_size_come_whole),
		TEST(paused_client_gets_nothing_and_loses_nothing),
		TEST(too_long_message_ends_it_without_being_held),
		TEST(close_of_the_server_is_reported_with_its_code),
		TEST(cut_connection_is_lost),
		TEST(closing_says_goodbye),
		TEST(closing_while_it_connects_ends_it),
		TEST(refusal_is_reported_with_status_and_code),
		TEST(redirect_is_not_followed_and_the_token_stays),
		TEST(answers_that_are_none_are_told_apart),
		TEST(garbage_instead_of_an_answer_ends_it),
		TEST(silence_times_out),
		TEST(silent_server_behind_wss_times_out_again_and_again),
		TEST(nobody_there_is_unreachable),
		TEST(silent_server_is_lost_but_not_while_we_pause),
		TEST(quiet_session_lives),
		TEST(unknown_name_is_told_apart),
		TEST(plain_server_behind_wss_fails_in_tls),
		TEST(get_brings_status_code_and_body),
		TEST(get_is_bounded_in_bytes_and_time),
		TEST(get_that_is_cut_off_is_no_answer),
	};
	return cmocka_run_group_tests_name("ws_client", tests, NULL, NULL);
}
