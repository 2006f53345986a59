/*
 * redis_load: Redis Streams at their best, from one connection over a Unix socket.
 *
 *	redis_load append SOCKET CORPUS EVENTS PIPELINE
 *	redis_load replay SOCKET EVENTS COUNT
 *
 * append: XADD with one short field, PIPELINE commands at a time, then as many replies. Measured:
 * building the commands from the events in memory, sending, reading every reply; the delay is that
 * of one pipeline. replay: XRANGE COUNT after COUNT until EVENTS entries have come; every reply is
 * taken apart. A client of its own, so that no library's objects are measured.
 *
 * One JSON line, as publish_load.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "tests/bench/corpus.h"
#include "tests/bench/delays.h"
#include "tests/bench/stream.h"

enum { ID_MAX = 48 };

struct reply {
	char type;
	int64_t number;      /* of *, :, and the length of $ */
	const uint8_t *text; /* of $, valid until the next read */
};

static int append_command(struct buf *out, const struct corpus_event *event)
{
	static const char head[] = "*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nd\r\n$";
	int r = buf_reserve(out, sizeof(head) + event->len + 32);
	if (r < 0)
		return r;
	uint8_t *p = out->data + out->len;
	memcpy(p, head, sizeof(head) - 1);
	p += sizeof(head) - 1;
	p += sprintf((char *)p, "%" PRIu32 "\r\n", event->len);
	memcpy(p, event->bytes, event->len);
	p += event->len;
	*p++ = '\r';
	*p++ = '\n';
	out->len = (size_t)(p - out->data);
	return 0;
}

static int take_line(struct stream *stream, char *type, int64_t *number)
{
	for (size_t seen = 0;;) {
		const uint8_t *data = stream_data(stream);
		size_t have = stream_have(stream);
		const uint8_t *newline = memchr(data + seen, '\n', have - seen);
		if (newline != NULL) {
			*type = (char)data[0];
			*number = strtoll((const char *)data + 1, NULL, 10);
			stream_take(stream, (size_t)(newline + 1 - data));
			return *type == '-' ? -EPROTO : 0;
		}
		seen = have;
		int r = stream_fill(stream, true);
		if (r < 0)
			return r;
	}
}

static int take_reply(struct stream *stream, struct reply *reply)
{
	int r = take_line(stream, &reply->type, &reply->number);
	if (r < 0 || reply->type != '$')
		return r;
	if (reply->number < 0)
		return -EPROTO;
	size_t len = (size_t)reply->number + 2;
	while (stream_have(stream) < len) {
		r = stream_fill(stream, true);
		if (r < 0)
			return r;
	}
	reply->text = stream_data(stream);
	stream_take(stream, len);
	return 0;
}

static int append(struct stream *stream, struct corpus *corpus, uint64_t events, uint64_t pipeline,
	struct delays *delays)
{
	struct buf out = {0};
	int r = 0;
	for (uint64_t sent = 0; r == 0 && sent < events;) {
		uint64_t begun = clock_monotonic_ns(), count = 0;
		out.len = 0;
		for (; r == 0 && count < pipeline && sent < events; count++)
			r = append_command(&out, corpus_get(corpus, sent++));
		if (r == 0)
			r = stream_send(stream, out.data, out.len);
		struct reply reply;
		for (uint64_t i = 0; r == 0 && i < count; i++)
			r = take_reply(stream, &reply);
		delays_add(delays, clock_monotonic_ns() - begun);
	}
	buf_free(&out);
	return r;
}

/* One entry: [id, [field, value]]. */
static int take_entry(struct stream *stream, char id[ID_MAX], uint64_t *bytes)
{
	struct reply reply;
	int r = take_reply(stream, &reply);
	if (r == 0)
		r = take_reply(stream, &reply);
	if (r < 0 || reply.type != '$' || reply.number >= ID_MAX)
		return r < 0 ? r : -EPROTO;
	memcpy(id, reply.text, (size_t)reply.number);
	id[reply.number] = '\0';
	for (int i = 0; r == 0 && i < 3; i++)
		r = take_reply(stream, &reply);
	*bytes += (uint64_t)reply.number;
	return r;
}

static int replay(struct stream *stream, uint64_t events, unsigned int count, uint64_t *bytes)
{
	char id[ID_MAX] = "", command[160];
	int r = 0;
	for (uint64_t got = 0; r == 0 && got < events;) {
		char from[ID_MAX + 2];
		snprintf(from, sizeof(from), "%s%s", got == 0 ? "-" : "(", id);
		char digits[16];
		int digits_len = snprintf(digits, sizeof(digits), "%u", count);
		int n = snprintf(command, sizeof(command),
			"*6\r\n$6\r\nXRANGE\r\n$1\r\ns\r\n$%zu\r\n%s\r\n$1\r\n+\r\n$5\r\nCOUNT\r\n"
			"$%d\r\n%s\r\n",
			strlen(from), from, digits_len, digits);
		struct reply reply = {0};
		r = stream_send(stream, command, (size_t)n);
		if (r == 0)
			r = take_reply(stream, &reply);
		if (r == 0 && (reply.type != '*' || reply.number == 0))
			r = -ENODATA;
		for (int64_t i = 0; r == 0 && i < reply.number; i++, got++)
			r = take_entry(stream, id, bytes);
	}
	return r;
}

int main(int argc, char **argv)
{
	bool is_append = argc == 6 && strcmp(argv[1], "append") == 0;
	if (!is_append && (argc != 5 || strcmp(argv[1], "replay") != 0)) {
		fprintf(stderr, "usage: redis_load append SOCKET CORPUS EVENTS PIPELINE\n"
				"       redis_load replay SOCKET EVENTS COUNT\n");
		return 2;
	}
	struct stream stream;
	struct corpus corpus = {0};
	struct delays delays = {0};
	uint64_t events = strtoull(argv[is_append ? 4 : 3], NULL, 10), bytes = 0, start_ns = 0;
	int r = stream_open(&stream, argv[2]);
	if (r == 0 && is_append)
		r = corpus_load(&corpus, argv[3]);
	if (r == 0)
		r = delays_init(&delays, events);
	if (r == 0) {
		start_ns = clock_monotonic_ns();
		r = is_append
			    ? append(&stream, &corpus, events, strtoull(argv[5], NULL, 10), &delays)
			    : replay(&stream, events, (unsigned int)atoi(argv[4]), &bytes);
	}
	if (r == 0) {
		printf("{\"events\":%" PRIu64 ",\"seconds\":%.6f,", events,
			(double)(clock_monotonic_ns() - start_ns) / 1e9);
		delays_print(&delays);
		puts("}");
	} else {
		fprintf(stderr, "redis_load: %s\n", strerror(-r));
	}
	stream_close(&stream);
	delays_free(&delays);
	corpus_free(&corpus);
	return r == 0 ? 0 : 1;
}
