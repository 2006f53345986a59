/* proto/ws over TLS: a server with a certificate, and clients that trust it, or should not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/ws/ws_client.h"
#include "proto/ws/ws_get.h"
#include "tests/lib/ws_fixture.h"

enum { HANDSHAKE_S = 3, MESSAGE_BYTES = 2 * 1024 * 1024, MESSAGES = 20 };

struct fixture {
	struct ws_fixture ws;
	uint16_t port;
	char directory[32], certificate[64], key[64];

	struct ws_peer *peer;
	struct ws_frames *frames;
	unsigned int sent;

	struct ws_client *client;
	unsigned int opened, ended, messages, done;
	struct ws_client_end end;
	enum ws_client_result get_result;
	unsigned int get_status;
};

static void send_all(struct fixture *f)
{
	while (f->sent < MESSAGES && !ws_peer_is_congested(f->peer) &&
		ws_peer_send(f->peer, f->frames) == WS_SENT)
		f->sent++;
}

static void peer_on_open(struct ws_peer *peer)
{
	send_all(ws_peer_owner(peer));
}

static void peer_on_data(struct ws_peer *peer)
{
	(void)peer;
}

static void peer_on_closed(struct ws_peer *peer, uint16_t code)
{
	(void)code;
	((struct fixture *)ws_peer_owner(peer))->peer = NULL;
}

static const struct ws_peer_handler peer_handler = {
	peer_on_open, peer_on_data, peer_on_open, peer_on_closed};

static void on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	struct fixture *f = ws_server_owner(server);
	if (!ws_request_is_upgrade(ws_exchange_request(exchange)))
		ws_exchange_respond(exchange, 200, NULL, "text/plain", "hello\n", 6);
	else
		assert_int_equal(
			ws_exchange_upgrade(exchange, NULL, &peer_handler, f, &f->peer), 0);
}

static const struct ws_server_handler server_handler = {
	.on_exchange = on_exchange, .on_gone = ws_fixture_on_gone, .on_error = ws_fixture_on_error};

static void client_on_open(struct ws_client *client, const char *subprotocol)
{
	(void)subprotocol;
	((struct fixture *)ws_client_owner(client))->opened++;
}

static void client_on_message(
	struct ws_client *client, enum ws_message_type type, const uint8_t *bytes, size_t len)
{
	assert_int_equal(type, WS_BINARY);
	assert_int_equal(len, MESSAGE_BYTES);
	for (size_t i = 0; i < len; i += 4093)
		assert_int_equal(bytes[i], (uint8_t)(i * 7));
	((struct fixture *)ws_client_owner(client))->messages++;
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
	f->get_result = answer->result;
	f->get_status = answer->http_status;
	if (answer->result == WS_CLIENT_CLOSED) {
		assert_int_equal(answer->len, 6);
		assert_memory_equal(answer->body, "hello\n", 6);
	}
}

static bool make_certificate(struct fixture *f)
{
	char command[512];
	strcpy(f->directory, "/tmp/ws_tls.XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->certificate, sizeof(f->certificate), "%s/cert.pem", f->directory);
	snprintf(f->key, sizeof(f->key), "%s/key.pem", f->directory);
	snprintf(command, sizeof(command),
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		"-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout %s -out %s "
		">/dev/null 2>&1",
		f->key, f->certificate);
	return system(command) == 0;
}

static void make_frames(struct fixture *f)
{
	uint8_t *body = malloc(MESSAGE_BYTES);
	assert_non_null(body);
	for (size_t i = 0; i < MESSAGE_BYTES; i++)
		body[i] = (uint8_t)(i * 7);
	f->frames = ws_frames_new(MESSAGE_BYTES);
	assert_int_equal(ws_frames_add_message(f->frames, WS_BINARY, body, MESSAGE_BYTES), 0);
	free(body);
}

static int setup_with(void **state, bool trusting)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	*state = f;
	if (!make_certificate(f)) {
		fprintf(stderr, "SKIPPED: no openssl to make a certificate with\n");
		return 0;
	}
	make_frames(f);
	struct ws_context_config context_config = {.max_connections = 64,
		.ca_file = trusting ? f->certificate : NULL,
		.handshake_s = HANDSHAKE_S};
	ws_fixture_open(&f->ws, &context_config);
	struct ws_server_config config = {
		.fd = ws_fixture_listen(&f->port),
		.certificate_file = f->certificate,
		.key_file = f->key,
		.max_connections = 8,
		.max_queued_bytes = 1024 * 1024,
	};
	ws_fixture_serve(&f->ws, &config, &server_handler, f);
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, true);
}

static int setup_distrusting(void **state)
{
	return setup_with(state, false);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	if (f->ws.server != NULL) {
		if (f->client != NULL)
			ws_client_close(f->client);
		ws_fixture_close(&f->ws);
	}
	ws_frames_unref(f->frames);
	unlink(f->certificate);
	unlink(f->key);
	rmdir(f->directory);
	free(f);
	return 0;
}

static void make_url(const struct fixture *f, const char *host, struct ws_url *url)
{
	char text[64];
	snprintf(text, sizeof(text), "wss://%s:%u", host, f->port);
	assert_int_equal(ws_url_parse(text, url), 0);
}

static void start(struct fixture *f, const char *host)
{
	struct ws_url url;
	make_url(f, host, &url);
	struct ws_client_config config = {
		.url = &url, .path = "/x", .max_message_bytes = MESSAGE_BYTES};
	assert_int_equal(ws_client_open(&f->client, f->ws.context, &config, &client_handler, f), 0);
}

static void messages_pass_whole_also_when_the_client_pauses(void **state)
{
	struct fixture *f = *state;
	if (f->ws.server == NULL)
		skip();
	start(f, "localhost");
	WAIT_UNTIL(f, f->messages == 2);
	ws_client_pause(f->client);
	for (int i = 0; i < 50; i++)
		uv_run(&f->ws.loop, UV_RUN_NOWAIT);
	assert_in_range(f->messages, 2, 3);
	ws_client_resume(f->client);
	WAIT_UNTIL(f, f->messages == MESSAGES);
	assert_int_equal(f->opened, 1);
}

static void close_codes_pass_too(void **state)
{
	struct fixture *f = *state;
	if (f->ws.server == NULL)
		skip();
	start(f, "localhost");
	WAIT_UNTIL(f, f->messages == MESSAGES);
	ws_peer_close(f->peer, 4404, "gone", 2000);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_CLOSED);
	assert_int_equal(f->end.close_code, 4404);
}

static void session_outlives_the_time_for_a_handshake(void **state)
{
	struct fixture *f = *state;
	if (f->ws.server == NULL)
		skip();
	start(f, "localhost");
	WAIT_UNTIL(f, f->messages == 1);
	uint64_t over_ns = clock_monotonic_ns() + (HANDSHAKE_S + 1) * NS_PER_S;
	WAIT_UNTIL(f, f->ended == 1 || clock_monotonic_ns() > over_ns);
	assert_int_equal(f->ended, 0);
	WAIT_UNTIL(f, f->messages == MESSAGES);
	ws_peer_close(f->peer, 4404, "gone", 2000);
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.close_code, 4404);
}

static void get_passes_too(void **state)
{
	struct fixture *f = *state;
	struct ws_url url;
	struct ws_get *get;
	if (f->ws.server == NULL)
		skip();
	make_url(f, "localhost", &url);
	struct ws_get_config config = {.url = &url, .path = "/y", .max_body_bytes = 100};
	assert_int_equal(ws_get_open(&get, f->ws.context, &config, on_get_done, f), 0);
	WAIT_UNTIL(f, f->done == 1);
	assert_int_equal(f->get_result, WS_CLIENT_CLOSED);
	assert_int_equal(f->get_status, 200);
}

static void certificate_of_another_name_is_refused(void **state)
{
	struct fixture *f = *state;
	if (f->ws.server == NULL)
		skip();
	start(f, "127.0.0.1");
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_TLS);
	assert_int_equal(f->opened, 0);
}

static void certificate_that_nobody_vouches_for_is_refused(void **state)
{
	struct fixture *f = *state;
	if (f->ws.server == NULL)
		skip();
	start(f, "localhost");
	WAIT_UNTIL(f, f->ended == 1);
	assert_int_equal(f->end.result, WS_CLIENT_TLS);
	assert_int_equal(f->opened, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(messages_pass_whole_also_when_the_client_pauses),
		TEST(close_codes_pass_too),
		TEST(session_outlives_the_time_for_a_handshake),
		TEST(get_passes_too),
		TEST(certificate_of_another_name_is_refused),
		cmocka_unit_test_setup_teardown(certificate_that_nobody_vouches_for_is_refused,
			setup_distrusting, teardown),
	};
	return cmocka_run_group_tests_name("ws_tls", tests, NULL, NULL);
}
