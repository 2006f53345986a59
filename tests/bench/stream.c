#include "tests/bench/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/base/bytes.h"
#include "proto/base/fd.h"
#include "proto/limits.h"
#include "proto/message.h"

enum { READ_BYTES = 512 * 1024, LENGTH_WORD_BYTES = 4 };

int stream_open(struct stream *stream, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	*stream = (struct stream){.fd = -1};
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	stream->in_allocated = READ_BYTES;
	stream->in = malloc(stream->in_allocated);
	stream->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (stream->in != NULL && stream->fd >= 0 &&
		connect(stream->fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	int r = stream->in == NULL ? -ENOMEM : -errno;
	stream_close(stream);
	return r;
}

void stream_close(struct stream *stream)
{
	stream->fd = fd_close(stream->fd);
	free(stream->in);
	*stream = (struct stream){.fd = -1};
}

int stream_send(struct stream *stream, const void *bytes, size_t len)
{
	for (const uint8_t *p = bytes; len > 0;) {
		ssize_t n = send(stream->fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int make_room(struct stream *stream)
{
	if (stream->in_start > 0) {
		memmove(stream->in, stream->in + stream->in_start, stream_have(stream));
		stream->in_len -= stream->in_start;
		stream->in_start = 0;
	}
	if (stream->in_allocated - stream->in_len >= READ_BYTES / 2)
		return 0;
	uint8_t *larger = realloc(stream->in, stream->in_allocated * 2);
	if (larger == NULL)
		return -ENOMEM;
	stream->in = larger;
	stream->in_allocated *= 2;
	return 0;
}

int stream_fill(struct stream *stream, bool wait)
{
	int r = make_room(stream);
	if (r < 0)
		return r;
	ssize_t n;
	do
		n = recv(stream->fd, stream->in + stream->in_len,
			stream->in_allocated - stream->in_len, wait ? 0 : MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -EPIPE : -errno;
	stream->in_len += (size_t)n;
	return 0;
}

int stream_frame(struct stream *stream, bool wait, const uint8_t **body, size_t *len)
{
	for (;;) {
		size_t have = stream_have(stream);
		if (have >= LENGTH_WORD_BYTES) {
			size_t body_len = get_le32(stream_data(stream));
			if (have - LENGTH_WORD_BYTES >= body_len) {
				*body = stream_data(stream) + LENGTH_WORD_BYTES;
				*len = body_len;
				stream_take(stream, LENGTH_WORD_BYTES + body_len);
				return 0;
			}
		}
		int r = stream_fill(stream, wait);
		if (r < 0)
			return r;
	}
}

int stream_greet(struct stream *stream, const char *name)
{
	struct buf out = {0};
	struct message_writer w;
	message_begin(&w, &out, MESSAGE_HELLO);
	write_u64(&w, PROTOCOL_VERSION);
	write_text(&w, name);
	int r = message_end(&w);
	if (r == 0)
		r = stream_send(stream, out.data, out.len);
	buf_free(&out);
	const uint8_t *body;
	size_t len;
	if (r == 0)
		r = stream_frame(stream, true, &body, &len);
	if (r == 0 && (len < 2 || body[1] != MESSAGE_WELCOME))
		r = -EPROTO;
	return r;
}
