/*
 * jetstream_load: NATS JetStream with its own C client.
 *
 *	jetstream_load append URL CORPUS EVENTS PENDING
 *	jetstream_load replay URL EVENTS
 *
 * append: a stream with file storage is made, then asynchronous publishing with at most PENDING
 * messages not yet acknowledged; measured from the first publish to the last acknowledgement.
 * replay: an ordered consumer with a callback that counts; measured from the subscription to the
 * last message. The client library does what it does; nothing of ours is in between.
 *
 * One JSON line: {"events":…,"seconds":…}.
 */
#include <errno.h>
#include <inttypes.h>
#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/bench/corpus.h"

static const char STREAM_NAME[] = "bench", SUBJECT[] = "bench.s";
enum { STALL_WAIT_MS = 60000, WAIT_MS = 60000 };

struct counter {
	pthread_mutex_t mutex;
	pthread_cond_t done;
	uint64_t count, expected;
};

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
	void *argument)
{
	(void)connection;
	(void)subscription;
	struct counter *counter = argument;
	natsMsg_Destroy(message);
	if (++counter->count == counter->expected) {
		pthread_mutex_lock(&counter->mutex);
		pthread_cond_signal(&counter->done);
		pthread_mutex_unlock(&counter->mutex);
	}
}

static natsStatus make_stream(jsCtx *js)
{
	jsStreamConfig config;
	jsErrCode code = 0;
	const char *subjects[] = {SUBJECT};
	natsStatus s = jsStreamConfig_Init(&config);
	if (s != NATS_OK)
		return s;
	config.Name = STREAM_NAME;
	config.Subjects = subjects;
	config.SubjectsLen = 1;
	config.Storage = js_FileStorage;
	(void)js_DeleteStream(js, STREAM_NAME, NULL, &code);
	return js_AddStream(NULL, js, &config, NULL, &code);
}

static natsStatus append(
	jsCtx *js, const struct corpus *corpus, uint64_t events, uint64_t *taken_ns)
{
	natsStatus s = make_stream(js);
	uint64_t start_ns = clock_monotonic_ns();
	for (uint64_t i = 0; s == NATS_OK && i < events; i++) {
		const struct corpus_event *event = corpus_get(corpus, i);
		s = js_PublishAsync(js, SUBJECT, event->bytes, (int)event->len, NULL);
	}
	jsPubOptions options;
	jsPubOptions_Init(&options);
	options.MaxWait = WAIT_MS;
	if (s == NATS_OK)
		s = js_PublishAsyncComplete(js, &options);
	*taken_ns = clock_monotonic_ns() - start_ns;
	return s;
}

static natsStatus replay(jsCtx *js, uint64_t events, uint64_t *taken_ns)
{
	struct counter counter = {.mutex = PTHREAD_MUTEX_INITIALIZER,
		.done = PTHREAD_COND_INITIALIZER,
		.expected = events};
	natsSubscription *subscription = NULL;
	jsSubOptions options;
	jsErrCode code = 0;
	jsSubOptions_Init(&options);
	options.Stream = STREAM_NAME;
	options.Ordered = true;
	uint64_t start_ns = clock_monotonic_ns();
	pthread_mutex_lock(&counter.mutex);
	natsStatus s = js_Subscribe(
		&subscription, js, SUBJECT, on_message, &counter, NULL, &options, &code);
	if (s == NATS_OK)
		s = natsSubscription_SetPendingLimits(subscription, -1, -1);
	if (s == NATS_OK)
		pthread_cond_wait(&counter.done, &counter.mutex);
	pthread_mutex_unlock(&counter.mutex);
	*taken_ns = clock_monotonic_ns() - start_ns;
	natsSubscription_Destroy(subscription);
	return s;
}

static natsStatus open_context(
	const char *url, int64_t pending, natsConnection **connection, jsCtx **js)
{
	jsOptions options;
	natsStatus s = natsConnection_ConnectTo(connection, url);
	if (s != NATS_OK)
		return s;
	jsOptions_Init(&options);
	options.PublishAsync.MaxPending = pending;
	options.PublishAsync.StallWait = STALL_WAIT_MS;
	return natsConnection_JetStream(js, *connection, &options);
}

int main(int argc, char **argv)
{
	bool is_append = argc == 6 && strcmp(argv[1], "append") == 0;
	if (!is_append && (argc != 4 || strcmp(argv[1], "replay") != 0)) {
		fprintf(stderr, "usage: jetstream_load append URL CORPUS EVENTS PENDING\n"
				"       jetstream_load replay URL EVENTS\n");
		return 2;
	}
	struct corpus corpus = {0};
	if (is_append && corpus_load(&corpus, argv[3]) < 0) {
		fprintf(stderr, "jetstream_load: can't read %s\n", argv[3]);
		return 1;
	}
	natsConnection *connection = NULL;
	jsCtx *js = NULL;
	uint64_t events = strtoull(argv[is_append ? 4 : 3], NULL, 10), taken_ns = 0;
	natsStatus s = open_context(
		argv[2], is_append ? strtoll(argv[5], NULL, 10) : 0, &connection, &js);
	if (s == NATS_OK)
		s = is_append ? append(js, &corpus, events, &taken_ns)
			      : replay(js, events, &taken_ns);
	if (s == NATS_OK)
		printf("{\"events\":%" PRIu64 ",\"seconds\":%.6f}\n", events,
			(double)taken_ns / 1e9);
	else
		fprintf(stderr, "jetstream_load: %s\n", natsStatus_GetText(s));
	jsCtx_Destroy(js);
	natsConnection_Destroy(connection);
	nats_Close();
	corpus_free(&corpus);
	return s == NATS_OK ? 0 : 1;
}
