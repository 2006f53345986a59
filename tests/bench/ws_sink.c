/*
 * ws_sink: a WebSocket client that does as little as a client can, so that a benchmark measures
 * the server and not its own client.
 *
 *	ws_sink HOST PORT PATH TOKEN EVENTS
 *
 * Connects, asks for no subprotocol, reads frames until EVENTS event frames have come, and prints
 * one JSON line: {"events":…,"diagnostics":…,"bytes":…,"first_ns":…,"last_ns":…}, where the times
 * are CLOCK_MONOTONIC, which the benchmark's own clock can be held against. A line "connected" on
 * stdout before says that the handshake is done. Exit 0 when all came, 1 otherwise.
 */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"

enum { READ_BYTES = 1024 * 1024, HEAD_BYTES = 8192, OPCODE_CLOSE = 8, OPCODE_PING = 9 };

struct sink {
	int fd;
	uint8_t *buffer;
	size_t len, allocated;
	uint64_t events, diagnostics, bytes, first_ns, last_ns;
	bool closed;
};

static int connect_to(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	if (getaddrinfo(host, port, &hints, &found) != 0)
		return -EHOSTUNREACH;
	int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) < 0 ? -errno : fd;
	freeaddrinfo(found);
	return r;
}

/* Sends the handshake and reads the response head; what follows it stays in the buffer. */
static int handshake(struct sink *sink, const char *host, const char *path, const char *token)
{
	char request[HEAD_BYTES];
	int n = snprintf(request, sizeof(request),
		"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
		"Authorization: Bearer %s\r\n\r\n",
		path, host, token);
	if (n < 0 || (size_t)n >= sizeof(request) || write(sink->fd, request, (size_t)n) != n)
		return -EIO;
	while (sink->len < HEAD_BYTES) {
		ssize_t got = read(sink->fd, sink->buffer + sink->len, HEAD_BYTES - sink->len);
		if (got <= 0)
			return -EPROTO;
		sink->len += (size_t)got;
		uint8_t *end = memmem(sink->buffer, sink->len, "\r\n\r\n", 4);
		if (end == NULL)
			continue;
		if (memcmp(sink->buffer, "HTTP/1.1 101", 12) != 0) {
			fprintf(stderr, "ws_sink: %.*s\n", 40, (char *)sink->buffer);
			return -EPROTO;
		}
		sink->len -= (size_t)(end + 4 - sink->buffer);
		memmove(sink->buffer, end + 4, sink->len);
		return 0;
	}
	return -EPROTO;
}

static int answer_ping(struct sink *sink, const uint8_t *payload, size_t len)
{
	/* A client masks; a mask of zero leaves the payload as it is. */
	uint8_t frame[6 + 125] = {0x8a, (uint8_t)(0x80 | len)};
	memcpy(frame + 6, payload, len);
	return write(sink->fd, frame, 6 + len) == (ssize_t)(6 + len) ? 0 : -EIO;
}

/* One frame from the front. Returns its length, 0 when it is not all there, or -errno. */
static ssize_t take_frame(struct sink *sink, const uint8_t *p, size_t have)
{
	static const char event[] = "{\"kind\":\"event\"";
	size_t head = 2;
	if (have < head)
		return 0;
	uint64_t len = p[1] & 0x7f;
	size_t extended = len == 126 ? 2 : len == 127 ? 8 : 0;
	head += extended;
	if (have < head)
		return 0;
	if (extended != 0) {
		len = 0;
		for (size_t i = 0; i < extended; i++)
			len = len << 8 | p[2 + i];
	}
	if (have - head < len)
		return 0;
	if ((p[0] & 0xf) == OPCODE_CLOSE)
		sink->closed = true;
	else if ((p[0] & 0xf) == OPCODE_PING && answer_ping(sink, p + head, (size_t)len) < 0)
		return -EIO;
	else if (len > sizeof(event) && memcmp(p + head, event, sizeof(event) - 1) == 0)
		sink->events++;
	else if ((p[0] & 0xf) < OPCODE_CLOSE)
		sink->diagnostics++;
	return (ssize_t)(head + len);
}

static int read_more(struct sink *sink)
{
	if (sink->allocated - sink->len < READ_BYTES) {
		uint8_t *larger = realloc(sink->buffer, sink->allocated * 2);
		if (larger == NULL)
			return -ENOMEM;
		sink->buffer = larger;
		sink->allocated *= 2;
	}
	ssize_t n = read(sink->fd, sink->buffer + sink->len, READ_BYTES);
	if (n <= 0)
		return -EPIPE;
	sink->len += (size_t)n;
	sink->bytes += (size_t)n;
	return 0;
}

static int drain(struct sink *sink, uint64_t expected)
{
	while (sink->events < expected && !sink->closed) {
		size_t at = 0;
		ssize_t n;
		while ((n = take_frame(sink, sink->buffer + at, sink->len - at)) > 0)
			at += (size_t)n;
		if (n < 0)
			return (int)n;
		if (at > 0 && sink->events > 0) {
			sink->last_ns = clock_monotonic_ns();
			if (sink->first_ns == 0)
				sink->first_ns = sink->last_ns;
		}
		sink->len -= at;
		memmove(sink->buffer, sink->buffer + at, sink->len);
		int r = sink->events < expected && !sink->closed ? read_more(sink) : 0;
		if (r < 0)
			return r;
	}
	return sink->events == expected ? 0 : -EPIPE;
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: ws_sink HOST PORT PATH TOKEN EVENTS\n");
		return 2;
	}
	struct sink sink = {.allocated = 4 * READ_BYTES, .buffer = malloc(4 * READ_BYTES)};
	sink.fd = connect_to(argv[1], argv[2]);
	int r = sink.fd < 0 || sink.buffer == NULL ? -EIO
						   : handshake(&sink, argv[1], argv[3], argv[4]);
	if (r == 0) {
		puts("connected");
		fflush(stdout);
		r = drain(&sink, strtoull(argv[5], NULL, 10));
	}
	if (r < 0)
		fprintf(stderr, "ws_sink: %s\n", strerror(-r));
	printf("{\"events\":%" PRIu64 ",\"diagnostics\":%" PRIu64 ",\"bytes\":%" PRIu64
	       ",\"first_ns\":%" PRIu64 ",\"last_ns\":%" PRIu64 "}\n",
		sink.events, sink.diagnostics, sink.bytes, sink.first_ns, sink.last_ns);
	free(sink.buffer);
	fd_close(sink.fd);
	return r == 0 ? 0 : 1;
}
