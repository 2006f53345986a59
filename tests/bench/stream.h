/*
 * A blocking connection over a Unix socket, with what was read and not yet taken.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct stream {
	int fd;
	uint8_t *in;
	size_t in_start, in_len, in_allocated;
};

_must_check_ int stream_open(struct stream *stream, const char *path); /* 0 or -errno */
void stream_close(struct stream *stream);

_must_check_ int stream_send(struct stream *stream, const void *bytes, size_t len);

/* Reads what is there. Without `wait` -EAGAIN when nothing is; -EPIPE at the end. */
_must_check_ int stream_fill(struct stream *stream, bool wait);

static inline const uint8_t *stream_data(const struct stream *stream)
{
	return stream->in + stream->in_start;
}

static inline size_t stream_have(const struct stream *stream)
{
	return stream->in_len - stream->in_start;
}

static inline void stream_take(struct stream *stream, size_t len)
{
	stream->in_start += len;
}

/*
 * The body of the next frame of ours, valid until the next call. 0; -EAGAIN when it is not all
 * there and `wait` is false; or -errno.
 */
_must_check_ int stream_frame(struct stream *stream, bool wait, const uint8_t **body, size_t *len);

/* HELLO with this name, and the WELCOME that answers it. */
_must_check_ int stream_greet(struct stream *stream, const char *name);
