/* proto/channel: frames over a socket pair, bounds, flow control, the ways that it ends. */
#include <fcntl.h>
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
#include "proto/base/bytes.h"
#include "proto/channel.h"

enum { MAX_FRAME_BYTES = 4096, MAX_QUEUED_BYTES = 64 * 1024 };

struct fixture {
	uv_loop_t loop;
	struct channel channel;
	int peer;            /* the other end, blocking */
	struct buf received; /* bodies, one after the other */
	unsigned int frames, drained, ends;
	enum channel_end end;
	unsigned int pause_after;
	const uint8_t *last_word; /* sent from within on_end */
	size_t last_word_len;
};

static void fixture_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct fixture *f = channel->owner;
	f->frames++;
	assert_int_equal(buf_append(&f->received, body, len), 0);
	if (f->pause_after != 0 && f->frames == f->pause_after)
		channel_pause(channel);
}

static void fixture_on_drained(struct channel *channel)
{
	((struct fixture *)channel->owner)->drained++;
}

static void fixture_on_end(struct channel *channel, enum channel_end end)
{
	struct fixture *f = channel->owner;
	f->ends++;
	f->end = end;
	if (f->last_word != NULL)
		channel_send_last(channel, f->last_word, f->last_word_len);
}

static const struct channel_handler handler = {
	fixture_on_frame, fixture_on_drained, fixture_on_end};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->peer = pair[1];
	assert_int_equal(uv_loop_init(&f->loop), 0);
	struct channel_limits limits = {MAX_FRAME_BYTES, MAX_QUEUED_BYTES};
	assert_int_equal(channel_open(&f->channel, &f->loop, pair[0], &limits, &handler, f), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	channel_close(&f->channel, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	close(f->peer);
	buf_free(&f->received);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void peer_sends(struct fixture *f, const void *bytes, size_t len)
{
	assert_int_equal(write(f->peer, bytes, len), len);
}

static void frames_cut_anywhere_arrive_whole(void **state)
{
	struct fixture *f = *state;
	static const uint8_t bytes[] = {3, 0, 0, 0, 'a', 'b', 'c', 1, 0, 0, 0, 'd'};
	for (size_t i = 0; i < sizeof(bytes); i++) {
		peer_sends(f, bytes + i, 1);
		turn(f);
	}
	assert_int_equal(f->frames, 2);
	assert_memory_equal(f->received.data, "abcd", 4);
}

static void too_long_or_empty_frame_ends_the_channel_at_once(void **state)
{
	struct fixture *f = *state;
	static const uint8_t four_gib[] = {0xff, 0xff, 0xff, 0xff};
	peer_sends(f, four_gib, sizeof(four_gib));
	turn(f);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->end, CHANNEL_END_FRAME_TOO_LONG);
	assert_int_equal(f->frames, 0);
}

static void peer_that_leaves_within_a_frame_is_told_apart(void **state)
{
	struct fixture *f = *state;
	static const uint8_t half[] = {3, 0, 0, 0, 'a'};
	peer_sends(f, half, sizeof(half));
	turn(f);
	shutdown(f->peer, SHUT_WR);
	turn(f);
	assert_int_equal(f->end, CHANNEL_END_MID_FRAME);
}

static void passed_descriptor_ends_the_channel(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[] = {1, 0, 0, 0, 'x'};
	struct iovec part = {frame, sizeof(frame)};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &f->peer, sizeof(int));
	assert_int_equal(sendmsg(f->peer, &message, 0), sizeof(frame));
	turn(f);
	assert_int_equal(f->end, CHANNEL_END_PASSED_FD);
	assert_int_equal(f->frames, 0);
}

static void pause_keeps_frames_and_resume_delivers_them_in_order(void **state)
{
	struct fixture *f = *state;
	static const uint8_t bytes[] = {1, 0, 0, 0, 'a', 1, 0, 0, 0, 'b', 1, 0, 0, 0, 'c'};
	f->pause_after = 1;
	peer_sends(f, bytes, sizeof(bytes));
	turn(f);
	turn(f);
	assert_int_equal(f->frames, 1);
	channel_resume(&f->channel);
	assert_int_equal(f->frames, 3);
	assert_memory_equal(f->received.data, "abc", 3);
}

static void queue_is_capped_and_drained_comes_after_congestion(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[4 + 1000];
	memset(frame, 'x', sizeof(frame));
	put_le32(frame, 1000);
	unsigned int queued = 0;
	int r = CHANNEL_OK;
	/* The peer does not read: the kernel's buffer fills, then the queue. */
	for (; queued < 10000 && r == CHANNEL_OK; queued += r == CHANNEL_OK) {
		r = channel_send(&f->channel, frame, sizeof(frame));
		if (queued % 8 == 0)
			turn(f);
	}
	assert_int_equal(r, CHANNEL_FULL);
	assert_true(channel_queued_bytes(&f->channel) <= MAX_QUEUED_BYTES);
	assert_true(channel_is_congested(&f->channel));
	size_t expected = (size_t)queued * sizeof(frame), got = 0;
	while (got < expected) {
		uint8_t sink[16384];
		ssize_t n = read(f->peer, sink, sizeof(sink));
		assert_true(n > 0);
		got += (size_t)n;
		turn(f);
	}
	assert_int_equal(got, expected);
	assert_int_equal(f->drained, 1);
}

static void pieces_behind_a_full_socket_are_sent_completely(void **state)
{
	struct fixture *f = *state;
	enum { BODY_BYTES = 1024 * 1024 };
	uint8_t *body = malloc(BODY_BYTES);
	assert_non_null(body);
	for (size_t i = 0; i < BODY_BYTES; i++)
		body[i] = (uint8_t)(i * 7);
	uint8_t head[4];
	put_le32(head, BODY_BYTES);
	assert_int_equal(
		channel_send_pieces(&f->channel, head, sizeof(head), body, BODY_BYTES), CHANNEL_OK);
	struct buf got = {0};
	while (got.len < sizeof(head) + BODY_BYTES) {
		uint8_t sink[65536];
		ssize_t n = read(f->peer, sink, sizeof(sink));
		assert_true(n > 0);
		assert_int_equal(buf_append(&got, sink, (size_t)n), 0);
		turn(f);
	}
	assert_int_equal(get_le32(got.data), BODY_BYTES);
	assert_memory_equal(got.data + 4, body, BODY_BYTES);
	buf_free(&got);
	free(body);
}

static void close_after_flush_sends_what_is_queued_first(void **state)
{
	struct fixture *f = *state;
	static const uint8_t frame[] = {1, 0, 0, 0, 'x'};
	assert_int_equal(channel_send(&f->channel, frame, sizeof(frame)), CHANNEL_OK);
	channel_close_after_flush(&f->channel, 1000);
	assert_int_equal(f->ends, 0);
	turn(f);
	assert_int_equal(f->end, CHANNEL_END_FLUSHED);
	uint8_t got[sizeof(frame)];
	assert_int_equal(read(f->peer, got, sizeof(got)), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
}

static void last_word_reaches_a_peer_that_broke_the_framing(void **state)
{
	struct fixture *f = *state;
	static const uint8_t bomb[] = {0xff, 0xff, 0xff, 0xff};
	static const uint8_t last[] = {1, 0, 0, 0, 'x'};
	f->last_word = last;
	f->last_word_len = sizeof(last);
	peer_sends(f, bomb, sizeof(bomb));
	turn(f);
	assert_int_equal(f->end, CHANNEL_END_FRAME_TOO_LONG);
	uint8_t got[sizeof(last)];
	assert_int_equal(read(f->peer, got, sizeof(got)), sizeof(last));
	assert_memory_equal(got, last, sizeof(last));
}

static void last_word_of_a_peer_that_closed_comes_before_the_broken_pipe(void **state)
{
	struct fixture *f = *state;
	static const uint8_t ours[] = {1, 0, 0, 0, 'x'}, theirs[] = {1, 0, 0, 0, 'y'};
	/* Unread bytes at the peer turn its close into a reset. */
	assert_int_equal(channel_send(&f->channel, ours, sizeof(ours)), CHANNEL_OK);
	turn(f);
	peer_sends(f, theirs, sizeof(theirs));
	close(f->peer);
	f->peer = open("/dev/null", O_RDONLY);
	assert_int_equal(channel_send(&f->channel, ours, sizeof(ours)), CHANNEL_OK);
	for (int i = 0; i < 3 && f->ends == 0; i++)
		turn(f);
	assert_int_equal(f->ends, 1);
	assert_int_equal(f->frames, 1);
	assert_memory_equal(f->received.data, "y", 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(frames_cut_anywhere_arrive_whole),
		TEST(too_long_or_empty_frame_ends_the_channel_at_once),
		TEST(peer_that_leaves_within_a_frame_is_told_apart),
		TEST(passed_descriptor_ends_the_channel),
		TEST(pause_keeps_frames_and_resume_delivers_them_in_order),
		TEST(queue_is_capped_and_drained_comes_after_congestion),
		TEST(pieces_behind_a_full_socket_are_sent_completely),
		TEST(close_after_flush_sends_what_is_queued_first),
		TEST(last_word_reaches_a_peer_that_broke_the_framing),
		TEST(last_word_of_a_peer_that_closed_comes_before_the_broken_pipe),
	};
	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
