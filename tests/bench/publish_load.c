/*
 * publish_load: a publisher that does what a good one does, as fast as it can or at a given rate.
 *
 *	publish_load SOCKET WORKER CORPUS EVENTS BATCH IN_FLIGHT [RATE]
 *
 * Publishes EVENTS numbered events in batches of BATCH, with at most IN_FLIGHT batches not yet
 * acknowledged. Measured, from before the first frame is built to the last ACK: building every
 * frame from the events in memory, sending, and reading every ACK. The delay of a batch runs from
 * before its frame is built until its ACK is read. With RATE (events a second, evenly spaced; 0:
 * none) the source time of each event is CLOCK_MONOTONIC at that moment, for the reader to measure
 * with.
 *
 * SIGTERM ends it early, with every batch acknowledged.
 *
 * One JSON line: {"events":…,"seconds":…,"payload_bytes":…,"p50_us":…,…}. Exit 1 on any refusal.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/buf.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/message.h"
#include "tests/bench/corpus.h"
#include "tests/bench/delays.h"
#include "tests/bench/stream.h"

enum { SEND_BYTES = 128 * 1024, EVENT_HEAD_BYTES = 16, FRAME_HEAD_BYTES = 32 + ID_BYTES_MAX };
enum { DELAYS_MAX = 16 << 20 };

static volatile sig_atomic_t is_stopping;

static void on_sigterm(int number)
{
	(void)number;
	is_stopping = 1;
}

struct load {
	struct stream stream;
	struct corpus corpus;
	struct delays delays;
	const char *worker;
	uint64_t events, batch, in_flight, rate;
	uint64_t sent, batches_sent, batches_acked, payload_bytes, start_ns;
	uint64_t *begun_ns; /* of the batches in flight, a ring */
	struct buf out;
};

static uint8_t *put_be(uint8_t *p, uint64_t value, unsigned int bytes)
{
	while (bytes-- > 0)
		*p++ = (uint8_t)(value >> 8 * bytes);
	return p;
}

static uint8_t *put_u64(uint8_t *p, uint64_t value)
{
	*p++ = 0xcf;
	return put_be(p, value, 8);
}

/* [source time or nil, payload as bin] */
static uint8_t *put_event(uint8_t *p, const struct corpus_event *event, uint64_t source_ns)
{
	*p++ = 0x92;
	if (source_ns != 0)
		p = put_u64(p, source_ns);
	else
		*p++ = 0xc0;
	if (event->len <= UINT8_MAX) {
		*p++ = 0xc4;
		*p++ = (uint8_t)event->len;
	} else {
		*p++ = 0xc6;
		p = put_be(p, event->len, 4);
	}
	memcpy(p, event->bytes, event->len);
	return p + event->len;
}

static int build_batch(struct load *load)
{
	uint64_t count = load->events - load->sent;
	if (count > load->batch)
		count = load->batch;
	uint64_t now_ns = clock_monotonic_ns(), source_ns = load->rate != 0 ? now_ns : 0;
	size_t most = FRAME_HEAD_BYTES;
	for (uint64_t i = 0; i < count; i++)
		most += EVENT_HEAD_BYTES + corpus_get(&load->corpus, load->sent + i)->len;
	int r = buf_reserve(&load->out, most);
	if (r < 0)
		return r;
	load->begun_ns[load->batches_sent % load->in_flight] = now_ns;
	uint8_t *start = load->out.data + load->out.len, *p = start + 4;
	size_t worker_len = strlen(load->worker);
	*p++ = 0x95;
	*p++ = MESSAGE_PUBLISH;
	p = put_u64(p, load->batches_sent++);
	*p++ = 0xd9;
	*p++ = (uint8_t)worker_len;
	memcpy(p, load->worker, worker_len);
	p = put_u64(p + worker_len, load->sent + 1);
	*p++ = 0xdc;
	p = put_be(p, count, 2);
	for (uint64_t i = 0; i < count; i++) {
		const struct corpus_event *event = corpus_get(&load->corpus, load->sent++);
		load->payload_bytes += event->len;
		p = put_event(p, event, source_ns);
	}
	put_le32(start, (uint32_t)(p - start - 4));
	load->out.len += (size_t)(p - start);
	return 0;
}

static int take_acks(struct load *load, bool wait)
{
	const uint8_t *body;
	size_t len;
	int r;
	while ((r = stream_frame(&load->stream, wait, &body, &len)) == 0) {
		if (len < 2 || body[1] != MESSAGE_ACK) {
			fprintf(stderr, "publish_load: refused: %.*s\n", (int)len,
				(const char *)body);
			return -EPROTO;
		}
		uint64_t begun = load->begun_ns[load->batches_acked++ % load->in_flight];
		delays_add(&load->delays, clock_monotonic_ns() - begun);
		wait = false;
	}
	return r == -EAGAIN ? 0 : r;
}

/* When the next event is due; sleeps until then. */
static void wait_for_turn(const struct load *load)
{
	uint64_t at = load->start_ns + load->sent * NS_PER_S / load->rate;
	struct timespec due = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

static int run(struct load *load)
{
	int r = 0;
	load->start_ns = clock_monotonic_ns();
	while (r == 0 && (load->sent < load->events || load->batches_acked < load->batches_sent)) {
		if (is_stopping)
			load->events = load->sent;
		if (load->rate != 0 && load->sent < load->events)
			wait_for_turn(load);
		while (r == 0 && load->sent < load->events && load->out.len < SEND_BYTES &&
			load->batches_sent - load->batches_acked < load->in_flight) {
			r = build_batch(load);
			if (load->rate != 0)
				break;
		}
		bool is_idle = load->out.len == 0;
		if (r == 0 && !is_idle)
			r = stream_send(&load->stream, load->out.data, load->out.len);
		load->out.len = 0;
		bool is_full = load->batches_sent - load->batches_acked == load->in_flight ||
			       load->sent == load->events;
		if (r == 0 && load->batches_acked < load->batches_sent)
			r = take_acks(load, is_full || is_idle);
	}
	return r;
}

static void report(struct load *load, uint64_t taken_ns)
{
	printf("{\"events\":%" PRIu64 ",\"seconds\":%.6f,\"payload_bytes\":%" PRIu64 ",",
		load->sent, (double)taken_ns / 1e9, load->payload_bytes);
	delays_print(&load->delays);
	puts("}");
}

int main(int argc, char **argv)
{
	if (argc < 7 || argc > 8) {
		fprintf(stderr, "usage: publish_load SOCKET WORKER CORPUS EVENTS BATCH IN_FLIGHT "
				"[RATE]\n");
		return 2;
	}
	struct load load = {.worker = argv[2],
		.events = strtoull(argv[4], NULL, 10),
		.batch = strtoull(argv[5], NULL, 10),
		.in_flight = strtoull(argv[6], NULL, 10),
		.rate = argc == 8 ? strtoull(argv[7], NULL, 10) : 0,
		.stream = {.fd = -1}};
	if (load.batch == 0 || load.batch > BATCH_EVENTS_MAX || load.in_flight == 0)
		return 2;
	signal(SIGTERM, on_sigterm);
	load.begun_ns = calloc(load.in_flight, sizeof(*load.begun_ns));
	int r = load.begun_ns == NULL ? -ENOMEM : corpus_load(&load.corpus, argv[3]);
	uint64_t batches = load.events / load.batch + 1;
	if (r == 0)
		r = delays_init(&load.delays, batches < DELAYS_MAX ? batches : DELAYS_MAX);
	if (r == 0)
		r = stream_open(&load.stream, argv[1]);
	/* A producer of its own: the numbers of an earlier run would be duplicates. */
	char producer[32];
	snprintf(producer, sizeof(producer), "publish_load-%ld", (long)getpid());
	if (r == 0)
		r = stream_greet(&load.stream, producer);
	if (r == 0)
		r = run(&load);
	if (r == 0)
		report(&load, clock_monotonic_ns() - load.start_ns);
	else
		fprintf(stderr, "publish_load: %s\n", strerror(-r));
	stream_close(&load.stream);
	buf_free(&load.out);
	free(load.begun_ns);
	delays_free(&load.delays);
	corpus_free(&load.corpus);
	return r == 0 ? 0 : 1;
}
