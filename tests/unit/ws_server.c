/*
 * proto/ws/ws_server: exchanges and peers over a Unix socket, the other end a plain socket that
 * writes and reads the bytes itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "tests/lib/ws_fixture.h"

enum { QUEUE_BYTES = 1024 * 1024, HEAD_TIMEOUT_MS = 300, CONNECTIONS_MAX = 8 };

struct fixture {
	struct ws_fixture ws;
	char directory[32], path[64];
	int fd; /* the other end */
	struct buf received;

	struct ws_exchange *exchange; /* waiting for an answer */
	struct ws_peer *peer;
	unsigned int exchanges, gone, opened, data, writable, closed, sent;
	uint16_t closed_code;
};

static struct fixture *fixture_of(const struct ws_server *server)
{
	return ws_server_owner(server);
}

static void on_exchange(struct ws_server *server, struct ws_exchange *exchange)
{
	struct fixture *f = fixture_of(server);
	f->exchange = exchange;
	f->exchanges++;
}

static void on_gone(struct ws_server *server, struct ws_exchange *exchange)
{
	struct fixture *f = fixture_of(server);
	assert_ptr_equal(f->exchange, exchange);
	f->exchange = NULL;
	f->gone++;
}

static const struct ws_server_handler server_handler = {on_exchange, on_gone, ws_fixture_on_error};

static void on_open(struct ws_peer *peer)
{
	((struct fixture *)ws_peer_owner(peer))->opened++;
}

static void on_data(struct ws_peer *peer)
{
	((struct fixture *)ws_peer_owner(peer))->data++;
}

static void on_writable(struct ws_peer *peer)
{
	((struct fixture *)ws_peer_owner(peer))->writable++;
}

static void on_closed(struct ws_peer *peer, uint16_t code)
{
	struct fixture *f = ws_peer_owner(peer);
	f->closed++;
	f->closed_code = code;
	f->peer = NULL;
}

static const struct ws_peer_handler peer_handler = {on_open, on_data, on_writable, on_closed};

static int setup_with(void **state, const struct ws_context_config *context_config)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	strcpy(f->directory, "/tmp/ws_server.XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->directory);
	ws_fixture_open(&f->ws, context_config);
	struct ws_server_config config = {
		.fd = unix_socket_listen(f->path, 0600),
		.max_connections = CONNECTIONS_MAX,
		.max_queued_bytes = QUEUE_BYTES,
		.head_timeout_ms = HEAD_TIMEOUT_MS,
	};
	ws_fixture_serve(&f->ws, &config, &server_handler, f);
	f->fd = unix_socket_connect(f->path);
	assert_true(f->fd >= 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	static const struct ws_context_config config = {.max_connections = 64, .server_only = true};
	return setup_with(state, &config);
}

static int setup_impatient(void **state)
{
	static const struct ws_context_config config = {.max_connections = 64,
		.server_only = true,
		.ping_after_s = 1,
		.hang_up_after_s = 2};
	return setup_with(state, &config);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	close(f->fd);
	ws_fixture_close(&f->ws);
	assert_null(f->peer);
	buf_free(&f->received);
	unlink(f->path);
	rmdir(f->directory);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 3; i++)
		uv_run(&f->ws.loop, UV_RUN_NOWAIT);
}

static void peer_sends(struct fixture *f, const void *bytes, size_t len)
{
	assert_int_equal(write(f->fd, bytes, len), len);
}

/* Takes what is there; answers false at the end of the stream. */
static bool peer_reads(struct fixture *f, size_t max)
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

static bool has_received(struct fixture *f, const char *text)
{
	peer_reads(f, SIZE_MAX);
	return f->received.len > 0 &&
	       memmem(f->received.data, f->received.len, text, strlen(text)) != NULL;
}

#define UPGRADE \
	"GET /v1/events/ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
/* RFC 6455 section 1.3. */
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static const uint8_t masked_text[] = {0x81, 0x82, 1, 2, 3, 4, 'h' ^ 1, 'i' ^ 2};
static const uint8_t masked_ping[] = {0x89, 0x81, 1, 2, 3, 4, 'p' ^ 1};

/* Upgrades; `received` begins behind the 101 afterwards. */
static void open_peer(struct fixture *f, const char *subprotocol)
{
	peer_sends(f, UPGRADE, strlen(UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(
		ws_exchange_upgrade(f->exchange, subprotocol, &peer_handler, f, &f->peer), 0);
	f->exchange = NULL;
	WAIT_UNTIL(f, has_received(f, "\r\n\r\n"));
	assert_int_equal(f->opened, 1);
	uint8_t *end = memmem(f->received.data, f->received.len, "\r\n\r\n", 4);
	buf_consume(&f->received, (size_t)(end + 4 - f->received.data));
}

static void upgrade_works_wherever_the_head_is_cut(void **state)
{
	struct fixture *f = *state;
	static const char head[] = UPGRADE;
	for (size_t cut = 0; cut <= strlen(head); cut += 1 + cut / 16) {
		peer_sends(f, head, cut);
		turn(f);
		peer_sends(f, &head[cut], strlen(head) - cut);
		WAIT_UNTIL(f, f->exchange != NULL);
		const struct ws_request *request = ws_exchange_request(f->exchange);
		assert_string_equal(ws_request_path(request), "/v1/events/ws");
		f->opened = f->closed = 0;
		assert_int_equal(
			ws_exchange_upgrade(f->exchange, "chosen", &peer_handler, f, &f->peer), 0);
		f->exchange = NULL;
		WAIT_UNTIL(f, has_received(f, "\r\n\r\n"));
		assert_true(has_received(f, "HTTP/1.1 101 "));
		assert_true(has_received(f, ACCEPT));
		assert_true(has_received(f, "Sec-WebSocket-Protocol: chosen\r\n"));
		assert_int_equal(f->opened, 1);
		close(f->fd);
		WAIT_UNTIL(f, f->closed == 1);
		buf_reset(&f->received, 0);
		f->fd = unix_socket_connect(f->path);
	}
}

static void bytes_behind_the_head_reach_the_websocket(void **state)
{
	struct fixture *f = *state;
	char bytes[sizeof(UPGRADE) + sizeof(masked_ping) + sizeof(masked_text)];
	memcpy(bytes, UPGRADE, strlen(UPGRADE));
	size_t len = strlen(UPGRADE);
	memcpy(bytes + len, masked_ping, sizeof(masked_ping));
	len += sizeof(masked_ping);
	peer_sends(f, bytes, len);
	WAIT_UNTIL(f, f->exchange != NULL);
	/* More comes while the answer is not there yet. */
	peer_sends(f, masked_text, sizeof(masked_text));
	turn(f);
	assert_int_equal(ws_exchange_upgrade(f->exchange, NULL, &peer_handler, f, &f->peer), 0);
	WAIT_UNTIL(f, f->data == 1);
	WAIT_UNTIL(f, has_received(f, "\x8a\x01p")); /* the pong */
	assert_false(has_received(f, "Sec-WebSocket-Protocol"));
}

static void answer_may_come_later_and_is_complete(void **state)
{
	struct fixture *f = *state;
	peer_sends(f, UPGRADE, strlen(UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	turn(f);
	ws_exchange_refuse(f->exchange, 404, "runtime.worker_not_found", "no such worker");
	f->exchange = NULL;
	WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX));
	assert_true(has_received(f, "HTTP/1.1 404 Not Found\r\n"));
	assert_true(has_received(f, "\r\nSightline-Code: runtime.worker_not_found\r\n"));
	assert_true(has_received(f, "\r\n\r\n{\"error\":{\"code\":\"runtime.worker_not_found\","
				    "\"message\":\"no such worker\"}}\n"));
	assert_int_equal(f->gone, 0);
}

static void refusal_without_a_code_says_the_status_in_words(void **state)
{
	struct fixture *f = *state;
	peer_sends(f, UPGRADE, strlen(UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	ws_exchange_refuse(f->exchange, 404, NULL, "no such route");
	f->exchange = NULL;
	WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX));
	assert_true(has_received(f, "\r\n\r\n{\"error\":{\"code\":\"not_found\","
				    "\"message\":\"no such route\"}}\n"));
	assert_false(has_received(f, "Sightline-Code"));
}

static void upgrade_of_a_plain_request_answers_426(void **state)
{
	struct fixture *f = *state;
	static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
				   "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
	peer_sends(f, head, strlen(head));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(
		ws_exchange_upgrade(f->exchange, NULL, &peer_handler, f, &f->peer), -EPROTO);
	WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX));
	assert_true(has_received(f, "HTTP/1.1 426 "));
	assert_int_equal(f->closed, 0);
}

static void peer_that_leaves_while_it_waits_is_gone(void **state)
{
	struct fixture *f = *state;
	peer_sends(f, UPGRADE, strlen(UPGRADE));
	WAIT_UNTIL(f, f->exchange != NULL);
	close(f->fd);
	WAIT_UNTIL(f, f->gone == 1);
	f->fd = unix_socket_connect(f->path);
}

static const char plain_head[] = "GET /v1/runtime HTTP/1.1\r\nHost: h\r\n\r\n";

static void half_closed_peer_is_answered(void **state)
{
	struct fixture *f = *state;
	for (int pipelined = 0; pipelined < 2; pipelined++) {
		peer_sends(f, plain_head, strlen(plain_head));
		WAIT_UNTIL(f, f->exchange != NULL);
		/* Enough behind it, and it is no longer read when the end comes. */
		for (int i = 0; pipelined == 1 && i < 100; i++)
			peer_sends(f, plain_head, strlen(plain_head));
		assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
		for (int i = 0; i < 10; i++)
			turn(f);
		assert_int_equal(f->gone, 0);
		ws_exchange_respond(f->exchange, 200, NULL, "text/plain", "ok\n", 3);
		f->exchange = NULL;
		WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX));
		assert_true(has_received(f, "HTTP/1.1 200 "));
		assert_true(has_received(f, "\r\n\r\nok\n"));
		close(f->fd);
		buf_reset(&f->received, 0);
		f->fd = unix_socket_connect(f->path);
	}
}

static void half_closed_peer_that_leaves_is_gone(void **state)
{
	struct fixture *f = *state;
	peer_sends(f, plain_head, strlen(plain_head));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
	turn(f);
	assert_int_equal(f->gone, 0);
	close(f->fd);
	WAIT_UNTIL(f, f->gone == 1);
	f->fd = unix_socket_connect(f->path);
}

/* Wakes of the fixture's timer between which the loop had next to nothing to do, of the next 10. */
static unsigned int count_quiet_wakes(struct fixture *f)
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
	struct fixture *f = *state;
	enum { LEN = 8 * 1024 * 1024 };
	char *body = calloc(1, LEN);
	assert_non_null(body);
	peer_sends(f, plain_head, strlen(plain_head));
	WAIT_UNTIL(f, f->exchange != NULL);
	assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
	ws_exchange_respond(f->exchange, 200, NULL, "text/plain", body, LEN);
	f->exchange = NULL;
	free(body);
	turn(f);
	assert_in_range(count_quiet_wakes(f), 5, 10);
	WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX));
	assert_true(f->received.len > LEN);
}

static void half_a_head_ends_with_408_and_garbage_with_400(void **state)
{
	struct fixture *f = *state;
	peer_sends(f, UPGRADE, 20);
	WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX));
	assert_true(has_received(f, "HTTP/1.1 408 "));
	close(f->fd);
	f->fd = unix_socket_connect(f->path);
	buf_reset(&f->received, 0);
	peer_sends(f, "\x16\x03\x01 what is this", 10);
	WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX));
	assert_true(has_received(f, "HTTP/1.1 400 "));
	assert_int_equal(f->exchanges, 0);
	assert_int_equal(ws_server_counters(f->ws.server)->heads_refused, 2);
}

/* Sends up to `count` messages of `len` bytes, as many as the queue takes at once. */
static unsigned int send_messages(struct fixture *f, unsigned int count, size_t len)
{
	uint8_t *body = malloc(len);
	assert_non_null(body);
	unsigned int sent = 0;
	for (; sent < count; sent++) {
		memset(body, 'a' + (int)((f->sent + sent) % 26), len);
		_cleanup_ws_frames_ struct ws_frames *frames = ws_frames_new(len);
		assert_int_equal(ws_frames_add_message(frames, WS_BINARY, body, len), 0);
		int r = ws_peer_send(f->peer, frames);
		if (r == WS_FULL)
			break;
		assert_int_equal(r, WS_SENT);
	}
	free(body);
	f->sent += sent;
	return sent;
}

/* Counts the data messages in what was received; `control` counts other frames. */
static unsigned int messages(const struct buf *in, size_t len, unsigned int *control)
{
	unsigned int count = 0;
	size_t at = 0, message = 0;
	*control = 0;
	while (in->len - at >= 4) {
		const uint8_t *p = in->data + at;
		size_t n = p[1], head = 2;
		if (n == 126) {
			n = (size_t)p[2] << 8 | p[3];
			head = 4;
		}
		if (in->len - at < head + n)
			break;
		if ((p[0] & 0x0f) >= 8) {
			++*control;
		} else {
			for (size_t i = 0; i < n; i++)
				assert_int_equal(p[head + i], 'a' + (int)(count % 26));
			message += n;
			if ((p[0] & 0x80) != 0) {
				assert_int_equal(message, len);
				message = 0;
				count++;
			}
		}
		at += head + n;
	}
	return count;
}

/*
 * This pins what the adapter relies on: LWS_WRITE_HTTP on an established WebSocket sends bytes as
 * they are, through the buffer for what the socket did not take, and the library's own control
 * frames find their place between ours.
 */
static void frames_arrive_whole_with_control_frames_between_them(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 200, LEN = 100 * 1000 };
	open_peer(f, NULL);
	unsigned int sent = 0, control = 0, pings = 0;
	uint64_t end = clock_monotonic_ns() + WS_FIXTURE_DEADLINE_S * NS_PER_S;
	while (sent < COUNT || messages(&f->received, LEN, &control) < COUNT) {
		assert_true(clock_monotonic_ns() < end);
		if (sent < COUNT && !ws_peer_is_congested(f->peer))
			sent += send_messages(f, 1, LEN);
		if (pings < 50) {
			peer_sends(f, masked_ping, sizeof(masked_ping));
			pings++;
		}
		uv_run(&f->ws.loop, UV_RUN_NOWAIT);
		peer_reads(f, 50 * 1000);
	}
	WAIT_UNTIL(f, (peer_reads(f, SIZE_MAX), messages(&f->received, LEN, &control)) == COUNT &&
			      control > 0);
	assert_int_equal(f->closed, 0);
}

static void slow_peer_congests_and_is_told_when_it_has_room(void **state)
{
	struct fixture *f = *state;
	enum { LEN = 10 * 1000 };
	open_peer(f, NULL);
	unsigned int sent = 0, more = 1, control;
	while (more > 0) { /* until kernel and queue are full */
		more = send_messages(f, 1000, LEN);
		sent += more;
		turn(f);
	}
	assert_true(ws_peer_is_congested(f->peer));
	assert_true(ws_peer_queued_bytes(f->peer) <= QUEUE_BYTES);
	assert_int_equal(f->writable, 0);
	WAIT_UNTIL(f, (peer_reads(f, SIZE_MAX), f->writable == 1));
	WAIT_UNTIL(f, (peer_reads(f, SIZE_MAX), messages(&f->received, LEN, &control)) == sent);
	assert_false(ws_peer_is_congested(f->peer));
}

static void a_short_run_finds_room_behind_what_fills_the_queue(void **state)
{
	struct fixture *f = *state;
	enum { LEN = 1000 * 1000, SHORT = 1000 };
	open_peer(f, NULL);
	do /* until the kernel takes no more: then one long run is all that the queue takes */
		turn(f);
	while (send_messages(f, 1, LEN) == 1);
	assert_int_equal(send_messages(f, 1, LEN), 0);
	unsigned int taken = send_messages(f, 1000, SHORT);
	assert_in_range(taken, 16, 256); /* and no end of them */
	assert_true(ws_peer_is_congested(f->peer));
}

static void peer_is_slow_only_since_it_has_something_to_take(void **state)
{
	struct fixture *f = *state;
	open_peer(f, NULL);
	uint64_t before = clock_monotonic_ns();
	assert_int_equal(send_messages(f, 1, 10), 1);
	assert_true(ws_peer_queued_bytes(f->peer) > 0);
	assert_true(ws_peer_last_progress_ns(f->peer) >= before);
	uint64_t first = clock_monotonic_ns();
	assert_int_equal(send_messages(f, 1, 10), 1);
	assert_true(ws_peer_last_progress_ns(f->peer) < first);
}

static void one_run_is_taken_whatever_its_length(void **state)
{
	struct fixture *f = *state;
	unsigned int control;
	open_peer(f, NULL);
	assert_int_equal(send_messages(f, 1, 3 * QUEUE_BYTES), 1);
	assert_int_equal(send_messages(f, 1, 10), 0);
	WAIT_UNTIL(f,
		(peer_reads(f, SIZE_MAX), messages(&f->received, 3 * QUEUE_BYTES, &control)) == 1);
}

static void close_comes_after_all_that_is_queued(void **state)
{
	struct fixture *f = *state;
	enum { LEN = 50 * 1000, COUNT = 15 };
	unsigned int control;
	open_peer(f, NULL);
	assert_int_equal(send_messages(f, COUNT, LEN), COUNT);
	ws_peer_close(f->peer, 4410, "runtime.cursor_expired", 5000);
	assert_int_equal(send_messages(f, 1, LEN), 1); /* nobody gets it */
	WAIT_UNTIL(f, has_received(f, "runtime.cursor_expired"));
	assert_int_equal(messages(&f->received, LEN, &control), COUNT);
	assert_int_equal(control, 1);
	size_t frame = 2 + 2 + strlen("runtime.cursor_expired");
	const uint8_t *last = f->received.data + f->received.len - frame;
	assert_int_equal(last[0], 0x88);
	assert_int_equal(last[2] << 8 | last[3], 4410);
	static const uint8_t answer[] = {0x88, 0x82, 0, 0, 0, 0, 4410 >> 8, 4410 & 0xff};
	peer_sends(f, answer, sizeof(answer));
	WAIT_UNTIL(f, f->closed == 1);
	assert_false(peer_reads(f, SIZE_MAX));
}

static void close_of_a_peer_that_does_not_read_is_bounded(void **state)
{
	struct fixture *f = *state;
	open_peer(f, NULL);
	send_messages(f, 100, 100 * 1000);
	ws_peer_close(f->peer, 1001, "runtime.going_away", 200);
	WAIT_UNTIL(f, f->closed == 1);
}

static void close_from_the_peer_is_answered_and_reported(void **state)
{
	struct fixture *f = *state;
	open_peer(f, NULL);
	static const uint8_t frame[] = {0x88, 0x82, 0, 0, 0, 0, 1000 >> 8, 1000 & 0xff};
	peer_sends(f, frame, sizeof(frame));
	WAIT_UNTIL(f, has_received(f, "\x88"));
	WAIT_UNTIL(f, f->closed == 1);
	assert_int_equal(f->closed_code, 1000);
}

static void aborted_peer_ends_at_once_also_when_it_does_not_read(void **state)
{
	struct fixture *f = *state;
	open_peer(f, NULL);
	send_messages(f, 100, 100 * 1000);
	turn(f);
	ws_peer_abort(f->peer);
	WAIT_UNTIL(f, f->closed == 1);
}

static void silent_connections_at_the_cap_make_room(void **state)
{
	struct fixture *f = *state;
	int fds[CONNECTIONS_MAX];
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		fds[i] = unix_socket_connect(f->path);
		assert_true(fds[i] >= 0);
	}
	static const char head[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
	assert_int_equal(write(fds[CONNECTIONS_MAX - 1], head, strlen(head)), strlen(head));
	WAIT_UNTIL(f, f->exchanges == 1);
	assert_true(ws_server_counters(f->ws.server)->idle_dropped > 0);
	assert_int_equal(ws_server_counters(f->ws.server)->heads_refused, 0);
	ws_exchange_respond(f->exchange, 200, NULL, "text/plain", "ok\n", 3);
	WAIT_UNTIL(f, !peer_reads(f, SIZE_MAX)); /* the oldest */
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		close(fds[i]);
}

static void connections_over_the_cap_wait_in_the_backlog(void **state)
{
	struct fixture *f = *state;
	int fds[CONNECTIONS_MAX];
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		fds[i] = i == 0 ? dup(f->fd) : unix_socket_connect(f->path);
		assert_true(fds[i] >= 0);
		assert_int_equal(write(fds[i], UPGRADE, strlen(UPGRADE)), strlen(UPGRADE));
		WAIT_UNTIL(f, f->exchange != NULL);
		assert_int_equal(
			ws_exchange_upgrade(f->exchange, NULL, &peer_handler, f, &f->peer), 0);
		f->exchange = NULL;
	}
	int late = unix_socket_connect(f->path);
	assert_true(late >= 0);
	assert_int_equal(write(late, UPGRADE, strlen(UPGRADE)), strlen(UPGRADE));
	WAIT_UNTIL(f, f->opened == CONNECTIONS_MAX);
	turn(f);
	assert_int_equal(f->exchanges, CONNECTIONS_MAX);
	assert_int_equal(ws_server_counters(f->ws.server)->idle_dropped, 0);
	close(fds[CONNECTIONS_MAX - 1]);
	WAIT_UNTIL(f, f->exchange != NULL);
	ws_exchange_respond(f->exchange, 200, NULL, "text/plain", "ok\n", 3);
	for (int i = 0; i < CONNECTIONS_MAX - 1; i++)
		close(fds[i]);
	close(late);
}

static void silent_peer_is_pinged_then_hung_up_on(void **state)
{
	struct fixture *f = *state;
	open_peer(f, NULL);
	uint64_t start_ns = clock_monotonic_ns();
	WAIT_UNTIL(f, has_received(f, "\x89"));
	WAIT_UNTIL(f, f->closed == 1);
	assert_true(clock_monotonic_ns() - start_ns > NS_PER_S);
}

/* The loop is late meanwhile: it finds all at once what happened. */
static void spin_until(uint64_t end_ns)
{
	while (clock_monotonic_ns() < end_ns)
		;
}

/* Both sides keep alive: a ping that is there when ours is due is answered as well. */
static void ping_that_meets_ours_is_answered(void **state)
{
	struct fixture *f = *state;
	static const uint8_t masked_pong[] = {0x8a, 0x81, 1, 2, 3, 4, 'p' ^ 1};
	open_peer(f, NULL);
	for (int turns = 0; turns < 4; turns++) {
		uint64_t start_ns = clock_monotonic_ns();
		spin_until(start_ns + NS_PER_S * 9 / 10);
		peer_sends(f, masked_ping, sizeof(masked_ping));
		for (int i = 0; i < turns; i++)
			uv_run(&f->ws.loop, UV_RUN_NOWAIT);
		spin_until(start_ns + NS_PER_S * 11 / 10);
		WAIT_UNTIL(f, has_received(f, "\x89"));
		peer_sends(f, masked_pong, sizeof(masked_pong));
		WAIT_UNTIL(f, has_received(f, "\x8a\x01p"));
		turn(f); /* it hears our answer */
		assert_int_equal(f->closed, 0);
		buf_reset(&f->received, 0);
	}
}

/* Reads slowly and never answers a ping: what it takes shows that it lives. */
static void slow_peer_that_makes_progress_is_kept(void **state)
{
	struct fixture *f = *state;
	open_peer(f, NULL);
	uint64_t end_ns = clock_monotonic_ns() + 4 * NS_PER_S;
	while (clock_monotonic_ns() < end_ns) {
		while (!ws_peer_is_congested(f->peer))
			send_messages(f, 1, 10 * 1000);
		peer_reads(f, 20 * 1000);
		uv_run(&f->ws.loop, UV_RUN_ONCE);
		assert_int_equal(f->closed, 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
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
		TEST(frames_arrive_whole_with_control_frames_between_them),
		TEST(slow_peer_congests_and_is_told_when_it_has_room),
		TEST(a_short_run_finds_room_behind_what_fills_the_queue),
		TEST(peer_is_slow_only_since_it_has_something_to_take),
		TEST(one_run_is_taken_whatever_its_length),
		TEST(close_comes_after_all_that_is_queued),
		TEST(close_of_a_peer_that_does_not_read_is_bounded),
		TEST(close_from_the_peer_is_answered_and_reported),
		TEST(aborted_peer_ends_at_once_also_when_it_does_not_read),
		TEST(silent_connections_at_the_cap_make_room),
		TEST(connections_over_the_cap_wait_in_the_backlog),
		cmocka_unit_test_setup_teardown(
			silent_peer_is_pinged_then_hung_up_on, setup_impatient, teardown),
		cmocka_unit_test_setup_teardown(
			ping_that_meets_ours_is_answered, setup_impatient, teardown),
		cmocka_unit_test_setup_teardown(
			slow_peer_that_makes_progress_is_kept, setup_impatient, teardown),
	};
	return cmocka_run_group_tests_name("ws_server", tests, NULL, NULL);
}
