/*
 * proto/channel: a peer's bytes, cut anywhere, against a few lines that cut the same into frames.
 *
 * The first byte chooses how the rest is cut into writes, the second where reading pauses. The
 * channel's owner sends each frame back: the peer gets exactly the frames that channel_send() took.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/bytes.h"
#include "proto/channel.h"

enum {
	MAX_FRAME_BYTES = 1024,
	MAX_QUEUED_BYTES = 4096,
	LENGTH_WORD_BYTES = 4,
	CONTROL_BYTES = 2,
	INPUT_BYTES_MAX = 32 * 1024, /* fits into a socket's buffer: nothing here may block */
	TURNS_MAX = 100000,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct run {
	uv_loop_t loop;
	struct channel channel;
	int peer;
	unsigned int pause_every, frames, ends;
	enum channel_end end;
	struct buf received, echoed, returned; /* frames with their length words */
};

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static void run_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct run *run = channel->owner;
	uint8_t word[LENGTH_WORD_BYTES];
	expect(run->ends == 0 && !channel_is_paused(channel));
	expect(len > 0 && len <= MAX_FRAME_BYTES);
	put_le32(word, (uint32_t)len);
	size_t start = run->received.len;
	expect(buf_append(&run->received, word, sizeof(word)) == 0);
	expect(buf_append(&run->received, body, len) == 0);
	const uint8_t *frame = run->received.data + start;
	int r = channel_send(channel, frame, sizeof(word) + len);
	expect(r == CHANNEL_OK || r == CHANNEL_FULL);
	expect(channel_queued_bytes(channel) <= MAX_QUEUED_BYTES);
	if (r == CHANNEL_OK)
		expect(buf_append(&run->echoed, frame, sizeof(word) + len) == 0);
	if (run->pause_every != 0 && ++run->frames % run->pause_every == 0)
		channel_pause(channel);
}

static void run_on_end(struct channel *channel, enum channel_end end)
{
	struct run *run = channel->owner;
	run->ends++;
	run->end = end;
}

static const struct channel_handler handler = {.on_frame = run_on_frame, .on_end = run_on_end};

static void peer_reads(struct run *run)
{
	uint8_t piece[4096];
	ssize_t n;
	while ((n = recv(run->peer, piece, sizeof(piece), MSG_DONTWAIT)) > 0)
		expect(buf_append(&run->returned, piece, (size_t)n) == 0);
}

static void turn(struct run *run)
{
	uv_run(&run->loop, UV_RUN_NOWAIT);
	if (run->ends == 0)
		channel_resume(&run->channel);
	peer_reads(run);
}

/* What must come out: the length of the leading frames, and the end behind them. */
static size_t cut(const uint8_t *bytes, size_t len, enum channel_end *end)
{
	size_t at = 0;
	*end = CHANNEL_END_PEER_CLOSED;
	while (at < len) {
		*end = CHANNEL_END_MID_FRAME;
		if (len - at < LENGTH_WORD_BYTES)
			break;
		size_t body = get_le32(bytes + at);
		if (body == 0 || body > MAX_FRAME_BYTES) {
			*end = CHANNEL_END_FRAME_TOO_LONG;
			break;
		}
		if (len - at - LENGTH_WORD_BYTES < body)
			break;
		at += LENGTH_WORD_BYTES + body;
		*end = CHANNEL_END_PEER_CLOSED;
	}
	return at;
}

static void open_run(struct run *run)
{
	int pair[2];
	struct channel_limits limits = {MAX_FRAME_BYTES, MAX_QUEUED_BYTES};
	expect(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	run->peer = pair[1];
	expect(uv_loop_init(&run->loop) == 0);
	expect(channel_open(&run->channel, &run->loop, pair[0], &limits, &handler, run) == 0);
}

static void close_run(struct run *run)
{
	channel_close(&run->channel, NULL);
	uv_run(&run->loop, UV_RUN_DEFAULT);
	expect(uv_loop_close(&run->loop) == 0);
	peer_reads(run);
	close(run->peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len < CONTROL_BYTES || len > INPUT_BYTES_MAX)
		return 0;
	struct run run = {.pause_every = bytes[1] % 8};
	size_t step = (size_t)bytes[0] * bytes[0] + 1;
	bytes += CONTROL_BYTES;
	len -= CONTROL_BYTES;
	open_run(&run);
	for (size_t at = 0; at < len && run.ends == 0; at += step) {
		size_t n = len - at < step ? len - at : step;
		expect(send(run.peer, bytes + at, n, MSG_NOSIGNAL) == (ssize_t)n);
		turn(&run);
	}
	shutdown(run.peer, SHUT_WR);
	for (unsigned int turns = 0; run.ends == 0; turns++) {
		expect(turns < TURNS_MAX);
		turn(&run);
	}
	close_run(&run);

	enum channel_end end;
	size_t whole = cut(bytes, len, &end);
	expect(run.ends == 1 && run.end == end);
	expect(run.received.len == whole &&
		(whole == 0 || memcmp(run.received.data, bytes, whole) == 0));
	/* What was taken but not yet flushed when the peer left may be missing, from the end on. */
	expect(run.returned.len <= run.echoed.len &&
		(run.returned.len == 0 ||
			memcmp(run.returned.data, run.echoed.data, run.returned.len) == 0));
	buf_free(&run.received);
	buf_free(&run.echoed);
	buf_free(&run.returned);
	return 0;
}
