#include "proto/channel.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "proto/base/bytes.h"
#include "proto/base/fd.h"

enum {
	LENGTH_WORD_BYTES = 4,
	READ_PER_EVENT_BYTES = 256 * 1024,
	KEEP_BUFFER_BYTES = 64 * 1024, /* by an idle channel; there may be thousands */
	LAST_READS = 8,
};

static void channel_on_poll(uv_poll_t *handle, int status, int events);
static void channel_flush(struct channel *channel);

static void update_poll(struct channel *channel)
{
	if (channel->closing)
		return;
	int events = 0;
	if (!channel->paused && !channel->ended && !channel->flushing_to_close)
		events |= UV_READABLE;
	if (channel->waiting_writable && !channel->ended)
		events |= UV_WRITABLE;
	if (events == 0)
		uv_poll_stop(&channel->poll);
	else
		uv_poll_start(&channel->poll, events, channel_on_poll);
}

static void channel_end(struct channel *channel, enum channel_end end)
{
	if (channel->ended || channel->closing)
		return;
	channel->ended = true;
	uv_idle_stop(&channel->flush_soon);
	uv_timer_stop(&channel->flush_deadline);
	update_poll(channel);
	channel->handler->on_end(channel, end);
}

static void channel_fail(struct channel *channel, int error)
{
	channel->error = error;
	channel_end(channel, CHANNEL_END_ERROR);
}

/* Delivers the complete frames in the buffer, as long as the owner wants any. */
static void deliver_frames(struct channel *channel)
{
	if (channel->dispatching)
		return; /* channel_resume() from within on_frame: the outer loop goes on */
	channel->dispatching = true;
	while (!channel->paused && !channel->ended && !channel->closing &&
		!channel->flushing_to_close) {
		size_t have = channel->in.len - channel->in_start;
		if (have < LENGTH_WORD_BYTES)
			break;
		const uint8_t *at = channel->in.data + channel->in_start;
		size_t body_len = get_le32(at);
		if (body_len == 0 || body_len > channel->max_frame_bytes) {
			channel_end(channel, CHANNEL_END_FRAME_TOO_LONG);
			break;
		}
		if (have < LENGTH_WORD_BYTES + body_len)
			break;
		channel->in_start += LENGTH_WORD_BYTES + body_len;
		channel->frames_received++;
		channel->handler->on_frame(channel, at + LENGTH_WORD_BYTES, body_len);
	}
	channel->dispatching = false;
	buf_consume(&channel->in, channel->in_start);
	channel->in_start = 0;
	if (channel->in.len == 0)
		buf_reset(&channel->in, KEEP_BUFFER_BYTES);
}

/* What to read next: the rest of a large frame at once, else a chunk. */
static size_t wanted_bytes(const struct channel *channel)
{
	if (channel->in.len >= LENGTH_WORD_BYTES) {
		size_t frame = LENGTH_WORD_BYTES + (size_t)get_le32(channel->in.data);
		if (frame > channel->in.len && frame - channel->in.len < READ_PER_EVENT_BYTES)
			return frame - channel->in.len + LENGTH_WORD_BYTES;
	}
	return READ_PER_EVENT_BYTES;
}

static void channel_on_readable(struct channel *channel)
{
	size_t wanted = wanted_bytes(channel);
	if (wanted < READ_PER_EVENT_BYTES / 4)
		wanted = READ_PER_EVENT_BYTES / 4;
	int r = buf_reserve(&channel->in, wanted);
	if (r < 0) {
		channel_fail(channel, r);
		return;
	}
	struct iovec part = {channel->in.data + channel->in.len, wanted};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n = recvmsg(channel->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			channel_fail(channel, -errno);
		return;
	}
	/* Without room for control data the kernel closes passed descriptors and says so. */
	if (message.msg_flags & MSG_CTRUNC) {
		channel_end(channel, CHANNEL_END_PASSED_FD);
		return;
	}
	if (n == 0) {
		channel_end(channel,
			channel->in.len == 0 ? CHANNEL_END_PEER_CLOSED : CHANNEL_END_MID_FRAME);
		return;
	}
	channel->bytes_received += (size_t)n;
	channel->in.len += (size_t)n;
	deliver_frames(channel);
}

/*
 * The connection is broken, but what the peer had sent before is still in the socket: its last word
 * comes first. Bounded: a peer that only refuses to read is not served for ever.
 */
static void channel_fail_after_reading(struct channel *channel, int error)
{
	for (int i = 0; i < LAST_READS && !channel->paused && !channel->ended &&
			!channel->closing && !channel->flushing_to_close;
		i++) {
		uint64_t before = channel->bytes_received;
		channel_on_readable(channel);
		if (channel->bytes_received == before)
			break;
	}
	if (!channel->ended && !channel->closing)
		channel_fail(channel, error);
}

/* libuv says EBADF for every error that the socket has. */
static int pending_error(const struct channel *channel, int status)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(channel->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error == 0)
		return status == UV_EBADF ? -ECONNRESET : status;
	return -error;
}

static void channel_on_poll(uv_poll_t *handle, int status, int events)
{
	struct channel *channel = handle->data;
	if (status < 0) {
		channel_fail_after_reading(channel, pending_error(channel, status));
		return;
	}
	if (events & UV_WRITABLE) {
		channel->waiting_writable = false;
		channel_flush(channel);
		if (!channel->ended && !channel->closing)
			update_poll(channel);
	}
	if ((events & UV_READABLE) && !channel->paused && !channel->ended && !channel->closing &&
		!channel->flushing_to_close)
		channel_on_readable(channel);
}

static void channel_on_drained(struct channel *channel)
{
	buf_reset(&channel->out, KEEP_BUFFER_BYTES);
	channel->out_start = 0;
	if (channel->flushing_to_close) {
		channel_end(channel, CHANNEL_END_FLUSHED);
		return;
	}
	if (!channel->want_drained)
		return;
	channel->want_drained = false;
	if (channel->handler->on_drained != NULL)
		channel->handler->on_drained(channel);
}

static void wait_until_writable(struct channel *channel)
{
	channel->waiting_writable = true;
	channel->want_drained = true;
	update_poll(channel);
}

static void channel_flush(struct channel *channel)
{
	uv_idle_stop(&channel->flush_soon);
	while (channel->out_start < channel->out.len && !channel->ended) {
		ssize_t n = send(channel->fd, channel->out.data + channel->out_start,
			channel->out.len - channel->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			wait_until_writable(channel);
			return;
		}
		if (n < 0) {
			channel_fail_after_reading(channel, -errno);
			return;
		}
		channel->out_start += (size_t)n;
		channel->bytes_sent += (size_t)n;
	}
	if (!channel->ended)
		channel_on_drained(channel);
}

static void channel_on_idle(uv_idle_t *handle)
{
	channel_flush(handle->data);
}

int channel_open(struct channel *channel, uv_loop_t *loop, int fd,
	const struct channel_limits *limits, const struct channel_handler *handler, void *owner)
{
	*channel = (struct channel){.handler = handler,
		.owner = owner,
		.fd = fd,
		.max_frame_bytes = limits->max_frame_bytes,
		.max_queued_bytes = limits->max_queued_bytes};
	int r = uv_poll_init(loop, &channel->poll, fd);
	if (r < 0) {
		channel->fd = fd_close(fd);
		return r;
	}
	uv_timer_init(loop, &channel->flush_deadline);
	uv_idle_init(loop, &channel->flush_soon);
	uv_unref((uv_handle_t *)&channel->flush_soon);
	channel->poll.data = channel;
	channel->flush_deadline.data = channel;
	channel->flush_soon.data = channel;
	channel->handles_open = 3;
	update_poll(channel);
	return 0;
}

size_t channel_queued_bytes(const struct channel *channel)
{
	return channel->out.len - channel->out_start;
}

bool channel_is_congested(struct channel *channel)
{
	if (channel_queued_bytes(channel) == 0)
		return false;
	channel->want_drained = true;
	return true;
}

static int enqueue(struct channel *channel, const void *bytes, size_t len)
{
	if (channel->out_start > channel->out.len / 2) {
		buf_consume(&channel->out, channel->out_start);
		channel->out_start = 0;
	}
	return buf_append(&channel->out, bytes, len);
}

int channel_send(struct channel *channel, const void *frames, size_t len)
{
	if (channel->ended || channel->closing || channel->flushing_to_close)
		return CHANNEL_OK; /* nobody will read it; on_end tells the owner, or has */
	if (channel_queued_bytes(channel) + len > channel->max_queued_bytes) {
		channel->want_drained = true;
		return CHANNEL_FULL;
	}
	int r = enqueue(channel, frames, len);
	if (r < 0)
		return r;
	/* Idle handles run before the loop waits again: after every callback that may add more. */
	if (!channel->waiting_writable && !uv_is_active((uv_handle_t *)&channel->flush_soon))
		uv_idle_start(&channel->flush_soon, channel_on_idle);
	return CHANNEL_OK;
}

void channel_send_last(struct channel *channel, const void *frames, size_t len)
{
	if (channel->closing || channel->flushing_to_close || enqueue(channel, frames, len) < 0)
		return;
	if (channel->ended) {
		ssize_t n = send(channel->fd, channel->out.data + channel->out_start,
			channel_queued_bytes(channel), MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0)
			channel->out_start += (size_t)n;
	} else if (!channel->waiting_writable &&
		   !uv_is_active((uv_handle_t *)&channel->flush_soon)) {
		uv_idle_start(&channel->flush_soon, channel_on_idle);
	}
}

int channel_send_pieces(struct channel *channel, const void *head, size_t head_len,
	const void *body, size_t body_len)
{
	if (channel->ended || channel->closing || channel->flushing_to_close)
		return CHANNEL_OK;
	size_t sent = 0;
	if (channel_queued_bytes(channel) == 0) {
		struct iovec parts[] = {{(void *)head, head_len}, {(void *)body, body_len}};
		struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
		ssize_t n = sendmsg(channel->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n > 0) {
			sent = (size_t)n;
			channel->bytes_sent += sent;
		}
		/* An error shows again when the rest is flushed, with its own reason. */
	} else if (channel_queued_bytes(channel) + head_len + body_len >
		   channel->max_queued_bytes) {
		channel->want_drained = true;
		return CHANNEL_FULL;
	}
	if (sent == head_len + body_len)
		return CHANNEL_OK;
	int r = 0;
	if (sent < head_len) {
		r = enqueue(channel, (const uint8_t *)head + sent, head_len - sent);
		sent = head_len;
	}
	if (r == 0)
		r = enqueue(channel, (const uint8_t *)body + (sent - head_len),
			body_len - (sent - head_len));
	if (r < 0) {
		channel_fail(channel, r); /* half a frame may be out: the stream can't go on */
		return r;
	}
	if (!channel->waiting_writable)
		wait_until_writable(channel);
	return CHANNEL_OK;
}

void channel_pause(struct channel *channel)
{
	channel->paused = true;
	update_poll(channel);
}

void channel_resume(struct channel *channel)
{
	if (!channel->paused)
		return;
	channel->paused = false;
	update_poll(channel);
	deliver_frames(channel);
}

bool channel_is_paused(const struct channel *channel)
{
	return channel->paused;
}

static void channel_on_flush_deadline(uv_timer_t *handle)
{
	struct channel *channel = handle->data;
	channel_fail(channel, -ETIMEDOUT);
}

void channel_close_after_flush(struct channel *channel, uint64_t deadline_ms)
{
	if (channel->ended || channel->closing || channel->flushing_to_close)
		return;
	channel->flushing_to_close = true;
	update_poll(channel);
	uv_timer_start(&channel->flush_deadline, channel_on_flush_deadline, deadline_ms, 0);
	/* Also with an empty queue: on_end must not come from within this call. */
	if (!channel->waiting_writable)
		uv_idle_start(&channel->flush_soon, channel_on_idle);
}

static void channel_on_handle_closed(uv_handle_t *handle)
{
	struct channel *channel = handle->data;
	if (--channel->handles_open > 0)
		return;
	channel->fd = fd_close(channel->fd);
	buf_free(&channel->in);
	buf_free(&channel->out);
	if (channel->on_closed != NULL)
		channel->on_closed(channel);
}

void channel_close(struct channel *channel, void (*on_closed)(struct channel *channel))
{
	assert(!channel->closing);
	channel->closing = true;
	channel->on_closed = on_closed;
	uv_close((uv_handle_t *)&channel->poll, channel_on_handle_closed);
	uv_close((uv_handle_t *)&channel->flush_deadline, channel_on_handle_closed);
	uv_close((uv_handle_t *)&channel->flush_soon, channel_on_handle_closed);
}

const char *channel_end_name(enum channel_end end)
{
	static const char *const names[] = {
		[CHANNEL_END_PEER_CLOSED] = "peer closed",
		[CHANNEL_END_MID_FRAME] = "peer closed within a frame",
		[CHANNEL_END_FRAME_TOO_LONG] = "frame length out of range",
		[CHANNEL_END_PASSED_FD] = "peer passed a descriptor",
		[CHANNEL_END_FLUSHED] = "closed by us",
		[CHANNEL_END_ERROR] = "error",
	};
	return names[end];
}
