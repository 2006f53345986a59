/* proto/ws/ws_server: peers, from the upgrade to the close frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "tests/lib/ws_server_fixture.h"

static int setup_impatient(void **state)
{
	static const struct ws_context_config config = {.max_connections = 64,
		.server_only = true,
		.ping_after_s = 1,
		.hang_up_after_s = 2};
	return server_fixture_setup_with(state, &config);
}

/* Sends up to `count` messages of `len` bytes, as many as the queue takes at once. */
static unsigned int send_messages(struct server_fixture *f, unsigned int count, size_t len)
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
	struct server_fixture *f = *state;
	enum { COUNT = 200, LEN = 100 * 1000 };
	server_fixture_open_peer(f, NULL);
	unsigned int sent = 0, control = 0, pings = 0;
	uint64_t end = clock_monotonic_ns() + WS_FIXTURE_DEADLINE_S * NS_PER_S;
	while (sent < COUNT || messages(&f->received, LEN, &control) < COUNT) {
		assert_true(clock_monotonic_ns() < end);
		if (sent < COUNT && !ws_peer_is_congested(f->peer))
			sent += send_messages(f, 1, LEN);
		if (pings < 50) {
			server_fixture_send(
				f, server_fixture_masked_ping, sizeof(server_fixture_masked_ping));
			pings++;
		}
		uv_run(&f->ws.loop, UV_RUN_NOWAIT);
		server_fixture_read(f, 50 * 1000);
	}
	WAIT_UNTIL(f, (server_fixture_read(f, SIZE_MAX), messages(&f->received, LEN, &control)) ==
				      COUNT &&
			      control > 0);
	assert_int_equal(f->closed, 0);
}

static void slow_peer_congests_and_is_told_when_it_has_room(void **state)
{
	struct server_fixture *f = *state;
	enum { LEN = 10 * 1000 };
	server_fixture_open_peer(f, NULL);
	unsigned int sent = 0, more = 1, control;
	while (more > 0) { /* until kernel and queue are full */
		more = send_messages(f, 1000, LEN);
		sent += more;
		server_fixture_turn(f);
	}
	assert_true(ws_peer_is_congested(f->peer));
	assert_true(ws_peer_queued_bytes(f->peer) <= SERVER_FIXTURE_QUEUE_BYTES);
	assert_int_equal(f->writable, 0);
	WAIT_UNTIL(f, (server_fixture_read(f, SIZE_MAX), f->writable == 1));
	WAIT_UNTIL(f,
		(server_fixture_read(f, SIZE_MAX), messages(&f->received, LEN, &control)) == sent);
	assert_false(ws_peer_is_congested(f->peer));
}

static void a_short_run_finds_room_behind_what_fills_the_queue(void **state)
{
	struct server_fixture *f = *state;
	enum { LEN = 1000 * 1000, SHORT = 1000 };
	server_fixture_open_peer(f, NULL);
	do /* until the kernel takes no more: then one long run is all that the queue takes */
		server_fixture_turn(f);
	while (send_messages(f, 1, LEN) == 1);
	assert_int_equal(send_messages(f, 1, LEN), 0);
	unsigned int taken = send_messages(f, 1000, SHORT);
	assert_in_range(taken, 16, 256); /* and no end of them */
	assert_true(ws_peer_is_congested(f->peer));
}

static void peer_is_slow_only_since_it_has_something_to_take(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_open_peer(f, NULL);
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
	struct server_fixture *f = *state;
	unsigned int control;
	server_fixture_open_peer(f, NULL);
	assert_int_equal(send_messages(f, 1, 3 * SERVER_FIXTURE_QUEUE_BYTES), 1);
	assert_int_equal(send_messages(f, 1, 10), 0);
	WAIT_UNTIL(
		f, (server_fixture_read(f, SIZE_MAX),
			   messages(&f->received, 3 * SERVER_FIXTURE_QUEUE_BYTES, &control)) == 1);
}

static void close_comes_after_all_that_is_queued(void **state)
{
	struct server_fixture *f = *state;
	enum { LEN = 50 * 1000, COUNT = 15 };
	unsigned int control;
	server_fixture_open_peer(f, NULL);
	assert_int_equal(send_messages(f, COUNT, LEN), COUNT);
	ws_peer_close(f->peer, 4410, "runtime.cursor_expired", 5000);
	assert_int_equal(send_messages(f, 1, LEN), 1); /* nobody gets it */
	WAIT_UNTIL(f, server_fixture_has_received(f, "runtime.cursor_expired"));
	assert_int_equal(messages(&f->received, LEN, &control), COUNT);
	assert_int_equal(control, 1);
	size_t frame = 2 + 2 + strlen("runtime.cursor_expired");
	const uint8_t *last = f->received.data + f->received.len - frame;
	assert_int_equal(last[0], 0x88);
	assert_int_equal(last[2] << 8 | last[3], 4410);
	static const uint8_t answer[] = {0x88, 0x82, 0, 0, 0, 0, 4410 >> 8, 4410 & 0xff};
	server_fixture_send(f, answer, sizeof(answer));
	WAIT_UNTIL(f, f->closed == 1);
	assert_false(server_fixture_read(f, SIZE_MAX));
}

static void close_of_a_peer_that_does_not_read_is_bounded(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_open_peer(f, NULL);
	send_messages(f, 100, 100 * 1000);
	ws_peer_close(f->peer, 1001, "runtime.going_away", 200);
	WAIT_UNTIL(f, f->closed == 1);
}

static void close_from_the_peer_is_answered_and_reported(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_open_peer(f, NULL);
	static const uint8_t frame[] = {0x88, 0x82, 0, 0, 0, 0, 1000 >> 8, 1000 & 0xff};
	server_fixture_send(f, frame, sizeof(frame));
	WAIT_UNTIL(f, server_fixture_has_received(f, "\x88"));
	WAIT_UNTIL(f, f->closed == 1);
	assert_int_equal(f->closed_code, 1000);
}

static void aborted_peer_ends_at_once_also_when_it_does_not_read(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_open_peer(f, NULL);
	send_messages(f, 100, 100 * 1000);
	server_fixture_turn(f);
	ws_peer_abort(f->peer);
	WAIT_UNTIL(f, f->closed == 1);
}

static void silent_peer_is_pinged_then_hung_up_on(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_open_peer(f, NULL);
	uint64_t start_ns = clock_monotonic_ns();
	WAIT_UNTIL(f, server_fixture_has_received(f, "\x89"));
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
	struct server_fixture *f = *state;
	static const uint8_t masked_pong[] = {0x8a, 0x81, 1, 2, 3, 4, 'p' ^ 1};
	server_fixture_open_peer(f, NULL);
	for (int turns = 0; turns < 4; turns++) {
		uint64_t start_ns = clock_monotonic_ns();
		spin_until(start_ns + NS_PER_S * 9 / 10);
		server_fixture_send(
			f, server_fixture_masked_ping, sizeof(server_fixture_masked_ping));
		for (int i = 0; i < turns; i++)
			uv_run(&f->ws.loop, UV_RUN_NOWAIT);
		spin_until(start_ns + NS_PER_S * 11 / 10);
		WAIT_UNTIL(f, server_fixture_has_received(f, "\x89"));
		server_fixture_send(f, masked_pong, sizeof(masked_pong));
		WAIT_UNTIL(f, server_fixture_has_received(f, "\x8a\x01p"));
		server_fixture_turn(f); /* it hears our answer */
		assert_int_equal(f->closed, 0);
		buf_reset(&f->received, 0);
	}
}

/* Reads slowly and never answers a ping: what it takes shows that it lives. */
static void slow_peer_that_makes_progress_is_kept(void **state)
{
	struct server_fixture *f = *state;
	server_fixture_open_peer(f, NULL);
	uint64_t end_ns = clock_monotonic_ns() + 4 * NS_PER_S;
	while (clock_monotonic_ns() < end_ns) {
		while (!ws_peer_is_congested(f->peer))
			send_messages(f, 1, 10 * 1000);
		server_fixture_read(f, 20 * 1000);
		uv_run(&f->ws.loop, UV_RUN_ONCE);
		assert_int_equal(f->closed, 0);
	}
}

int main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, server_fixture_setup, server_fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(frames_arrive_whole_with_control_frames_between_them),
		TEST(slow_peer_congests_and_is_told_when_it_has_room),
		TEST(a_short_run_finds_room_behind_what_fills_the_queue),
		TEST(peer_is_slow_only_since_it_has_something_to_take),
		TEST(one_run_is_taken_whatever_its_length),
		TEST(close_comes_after_all_that_is_queued),
		TEST(close_of_a_peer_that_does_not_read_is_bounded),
		TEST(close_from_the_peer_is_answered_and_reported),
		TEST(aborted_peer_ends_at_once_also_when_it_does_not_read),
		cmocka_unit_test_setup_teardown(silent_peer_is_pinged_then_hung_up_on,
			setup_impatient, server_fixture_teardown),
		cmocka_unit_test_setup_teardown(
			ping_that_meets_ours_is_answered, setup_impatient, server_fixture_teardown),
		cmocka_unit_test_setup_teardown(slow_peer_that_makes_progress_is_kept,
			setup_impatient, server_fixture_teardown),
	};
	return cmocka_run_group_tests_name("ws_peer", tests, NULL, NULL);
}
