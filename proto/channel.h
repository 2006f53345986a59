/*
 * Channel: one end of a Unix stream socket that carries frames.
 *
 * A frame is a u32 little-endian body length and that many bytes. The channel cuts the byte stream
 * into frames and queues what is sent; it does not look inside a body (message.h does).
 *
 * Bounds. A frame that announces more than max_frame_bytes ends the channel before anything is
 * allocated for it; memory for a frame grows only as its bytes arrive. At most max_queued_bytes
 * wait to be sent: channel_send() answers CHANNEL_FULL beyond. One readable event reads at most
 * 256 KiB. Descriptors passed by the peer are never received (SCM_RIGHTS is closed by the kernel)
 * and end the channel.
 *
 * The last word. What the peer sent before it closed is delivered before on_end tells that sending
 * failed, so an ERROR in front of a close is not lost to a broken pipe.
 *
 * Flow control. channel_pause() stops reading (the kernel's buffer then holds the peer back);
 * frames already read are kept and delivered after channel_resume(). on_drained tells when the
 * queue has become empty after channel_send() or channel_is_congested() said that it was not.
 *
 * Lifecycle. channel_open() takes the descriptor. Until channel_close() the channel calls back;
 * on_end comes at most once, and after it there is nothing but channel_close(). Closing takes a
 * turn of the loop: the memory must live until on_closed. Every function may be called from within
 * the callbacks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"

struct channel;

enum channel_end {
	CHANNEL_END_PEER_CLOSED,    /* end of file between two frames */
	CHANNEL_END_MID_FRAME,      /* end of file within a frame */
	CHANNEL_END_FRAME_TOO_LONG, /* the announced length is over the limit, or zero */
	CHANNEL_END_PASSED_FD,      /* the peer tried to pass a descriptor */
	CHANNEL_END_FLUSHED,        /* channel_close_after_flush() has sent everything */
	CHANNEL_END_ERROR,          /* a system call failed, or no memory: see channel->error */
};

struct channel_handler {
	/* A whole body; borrowed until return. */
	void (*on_frame)(struct channel *channel, const uint8_t *body, size_t len);
	/* The send queue is empty again. May be NULL. */
	void (*on_drained)(struct channel *channel);
	void (*on_end)(struct channel *channel, enum channel_end end);
};

enum channel_result { CHANNEL_OK = 0, CHANNEL_FULL = 1 };

struct channel {
	const struct channel_handler *handler;
	void *owner;
	int error; /* -errno behind CHANNEL_END_ERROR */

	uint64_t bytes_received, bytes_sent, frames_received;

	/* private */
	uv_poll_t poll;
	uv_timer_t flush_deadline;
	uv_idle_t flush_soon;
	int fd;
	size_t max_frame_bytes, max_queued_bytes;
	struct buf in;
	size_t in_start;
	struct buf out;
	size_t out_start;
	bool paused, ended, closing, dispatching, want_drained, flushing_to_close, waiting_writable;
	int handles_open;
	void (*on_closed)(struct channel *channel);
};

struct channel_limits {
	size_t max_frame_bytes;  /* body of one received frame */
	size_t max_queued_bytes; /* waiting to be sent */
};

/* Takes `fd` (also on failure). 0 or -errno. Reading starts at once. */
_must_check_ int channel_open(struct channel *channel, uv_loop_t *loop, int fd,
	const struct channel_limits *limits, const struct channel_handler *handler, void *owner);

/*
 * Queues one or more complete frames (length words included), as message_end() leaves them.
 * CHANNEL_OK, CHANNEL_FULL (nothing queued), or -ENOMEM. Sent before the loop waits again,
 * so that many small messages leave in one system call.
 */
_must_check_ int channel_send(struct channel *channel, const void *frames, size_t len);

/*
 * The same with two pieces, the second borrowed only until return: sent at once when nothing is
 * queued, and only what the socket does not take is copied. For large pieces that are mapped.
 */
_must_check_ int channel_send_pieces(struct channel *channel, const void *head, size_t head_len,
	const void *body, size_t body_len);

/*
 * The last word before channel_close_after_flush(), above the cap; also from within on_end when the
 * peer broke the framing: then what the socket takes at once. Best effort.
 */
void channel_send_last(struct channel *channel, const void *frames, size_t len);

/* Whether something still waits to be sent; on_drained will then come. */
bool channel_is_congested(struct channel *channel);
size_t channel_queued_bytes(const struct channel *channel);

void channel_pause(struct channel *channel);
void channel_resume(struct channel *channel);
bool channel_is_paused(const struct channel *channel);

/* Stops reading, sends what is queued within deadline_ms, then on_end(CHANNEL_END_FLUSHED). */
void channel_close_after_flush(struct channel *channel, uint64_t deadline_ms);

/* No more callbacks but on_closed (may be NULL), from the loop. Unsent bytes are dropped. */
void channel_close(struct channel *channel, void (*on_closed)(struct channel *channel));

/* For logs: "peer closed", "frame too long", … */
const char *channel_end_name(enum channel_end end);
