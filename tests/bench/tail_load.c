/*
 * tail_load: readers of the log that verify every record and keep none.
 *
 *	tail_load SOCKET WORKER|- FROM FOLLOW EVENTS READERS
 *
 * Opens READERS subscriptions of one worker (-: all), from `oldest` or `newest`, prints "ready"
 * once all are answered, and reads until each has EVENTS records (0: until CAUGHT_UP). Measured:
 * from before the first SUBSCRIBE is sent to the last record; each record's header and body are
 * checked and taken apart, as a reader has to. The delay of a record runs from its source time,
 * where it has one (publish_load with a rate), to its receipt.
 *
 * One JSON line: {"events":…,"bytes":…,"seconds":…,"gaps":…,"p50_us":…,…}.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/message.h"
#include "proto/record.h"
#include "tests/bench/delays.h"
#include "tests/bench/stream.h"

enum { RECORDS_HEAD_BYTES = 7, READERS_MAX = 1000, DELAYS_MAX = 4 << 20 };

struct reader {
	struct stream stream;
	uint64_t events;
	bool is_done;
};

struct load {
	const char *socket, *worker, *from;
	bool follow;
	uint64_t expected, events, bytes, gaps, last_ns;
	struct reader *readers;
	unsigned int reader_count, done_count;
	struct delays delays;
};

static int subscribe(const struct load *load, struct stream *stream)
{
	struct buf out = {0};
	struct message_writer w;
	message_begin(&w, &out, MESSAGE_SUBSCRIBE);
	write_u64(&w, 1);
	if (strcmp(load->worker, "-") == 0) {
		write_nil(&w);
	} else {
		write_array(&w, 1);
		write_text(&w, load->worker);
	}
	write_array(&w, 1);
	write_text(&w, load->from);
	write_bool(&w, load->follow);
	int r = message_end(&w);
	if (r == 0)
		r = stream_send(stream, out.data, out.len);
	buf_free(&out);
	return r;
}

static int open_reader(const struct load *load, struct reader *reader)
{
	int r = stream_open(&reader->stream, load->socket);
	if (r == 0)
		r = stream_greet(&reader->stream, "tail_load");
	if (r == 0)
		r = subscribe(load, &reader->stream);
	const uint8_t *body;
	size_t len;
	if (r == 0)
		r = stream_frame(&reader->stream, true, &body, &len);
	return r == 0 && (len < 2 || body[1] != MESSAGE_SUBSCRIBED) ? -EPROTO : r;
}

static int take_records(struct load *load, struct reader *reader, const uint8_t *bytes, size_t len)
{
	uint64_t now_ns = clock_monotonic_ns();
	for (size_t at = 0, size; at < len; at += size) {
		struct record record;
		if (record_decode(bytes + at, len - at, &record, &size) != RECORD_OK)
			return -EBADMSG;
		reader->events++;
		load->events++;
		if ((record.flags & RECORD_HAS_SOURCE_TIME) != 0)
			delays_add(&load->delays, now_ns - (uint64_t)record.source_time_ns);
	}
	load->bytes += len;
	return 0;
}

static void finish(struct load *load, struct reader *reader)
{
	if (!reader->is_done)
		load->done_count++;
	reader->is_done = true;
	load->last_ns = clock_monotonic_ns();
}

static int take_frame(struct load *load, struct reader *reader, const uint8_t *body, size_t len)
{
	int r = 0;
	if (len < 2)
		return -EPROTO;
	switch (body[1]) {
	case MESSAGE_RECORDS:
		if (len < RECORDS_HEAD_BYTES || body[2] != 0xc6)
			return -EPROTO;
		r = take_records(load, reader, body + RECORDS_HEAD_BYTES, len - RECORDS_HEAD_BYTES);
		if (load->expected != 0 && reader->events >= load->expected)
			finish(load, reader);
		return r;
	case MESSAGE_GAP:
		load->gaps++;
		return 0;
	case MESSAGE_CAUGHT_UP:
		if (load->expected == 0)
			finish(load, reader);
		return 0;
	default:
		fprintf(stderr, "tail_load: %.*s\n", (int)len, (const char *)body);
		return -EPROTO;
	}
}

static int take_frames(struct load *load, struct reader *reader, bool wait)
{
	const uint8_t *body;
	size_t len;
	int r = stream_frame(&reader->stream, wait, &body, &len);
	while (r == 0) {
		r = take_frame(load, reader, body, len);
		if (r != 0 || reader->is_done)
			return r;
		if (stream_have(&reader->stream) == 0)
			return 0;
		/* What is there; a frame that is not whole waits for the next turn. */
		r = stream_frame(&reader->stream, false, &body, &len);
	}
	return r == -EAGAIN ? 0 : r;
}

static int run_many(struct load *load)
{
	struct pollfd polls[READERS_MAX];
	int r = 0;
	while (r == 0 && load->done_count < load->reader_count) {
		for (unsigned int i = 0; i < load->reader_count; i++) {
			struct reader *reader = &load->readers[i];
			polls[i] = (struct pollfd){
				reader->is_done ? -1 : reader->stream.fd, POLLIN, 0};
		}
		if (poll(polls, load->reader_count, -1) < 0)
			return -errno;
		for (unsigned int i = 0; r == 0 && i < load->reader_count; i++) {
			if (polls[i].revents != 0)
				r = take_frames(load, &load->readers[i], false);
		}
	}
	return r;
}

static int run(struct load *load)
{
	int r = 0;
	for (unsigned int i = 0; r == 0 && i < load->reader_count; i++)
		r = open_reader(load, &load->readers[i]);
	if (r < 0)
		return r;
	puts("ready");
	fflush(stdout);
	if (load->reader_count > 1)
		return run_many(load);
	while (r == 0 && load->done_count == 0)
		r = take_frames(load, &load->readers[0], true);
	return r;
}

static void report(struct load *load, uint64_t start_ns)
{
	printf("{\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"gaps\":%" PRIu64
	       ",",
		load->events, load->bytes, (double)(load->last_ns - start_ns) / 1e9, load->gaps);
	delays_print(&load->delays);
	puts("}");
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "usage: tail_load SOCKET WORKER|- FROM FOLLOW EVENTS READERS\n");
		return 2;
	}
	struct load load = {.socket = argv[1],
		.worker = argv[2],
		.from = argv[3],
		.follow = atoi(argv[4]) != 0,
		.expected = strtoull(argv[5], NULL, 10),
		.reader_count = (unsigned int)atoi(argv[6])};
	if (load.reader_count == 0 || load.reader_count > READERS_MAX)
		return 2;
	load.readers = calloc(load.reader_count, sizeof(*load.readers));
	int r = load.readers == NULL ? -ENOMEM : delays_init(&load.delays, DELAYS_MAX);
	uint64_t start_ns = clock_monotonic_ns();
	if (r == 0)
		r = run(&load);
	if (r == 0)
		report(&load, start_ns);
	else
		fprintf(stderr, "tail_load: %s\n", strerror(-r));
	for (unsigned int i = 0; load.readers != NULL && i < load.reader_count; i++) {
		if (load.readers[i].stream.in != NULL)
			stream_close(&load.readers[i].stream);
	}
	free(load.readers);
	delays_free(&load.delays);
	return r == 0 ? 0 : 1;
}
