/*
 * What eventlogd makes of a frame's body on either of its sockets: PUBLISH and SUBSCRIBE, down to
 * the batch and the selection that the log is given.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "eventlogd/publish_batch.h"
#include "eventlogd/subscribe.h"
#include "proto/ids.h"
#include "proto/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { MAX_EVENT_BYTES = 64 * 1024 };

static void use_batch(const struct publish_batch *batch)
{
	const struct event_log_batch *b = &batch->batch;
	uint64_t payload_bytes = 0;
	assert(id_is_valid(b->worker, b->worker_len));
	assert(b->event_count <= BATCH_EVENTS_MAX);
	assert(!b->has_producer_seq || b->producer_seq > 0);
	for (size_t i = 0; i < b->event_count; i++) {
		const struct event_log_event *event = &b->events[i];
		if (event->payload == NULL)
			continue;
		assert(event->payload_len >= 2 && event->payload_len <= MAX_EVENT_BYTES);
		assert(memchr(event->payload, '{', event->payload_len) != NULL);
		assert(event->is_keyframe ==
			(event->kind_len == 8 && memcmp(event->kind, "snapshot", 8) == 0));
		payload_bytes += event->payload_len;
	}
	assert(payload_bytes == batch->payload_bytes);
}

static void use_subscribe(const struct subscribe *subscribe)
{
	const struct reader_selection *selection = &subscribe->selection;
	assert(selection->worker_count <= READER_WORKERS_MAX);
	for (size_t i = 0; i < selection->worker_count; i++)
		assert(id_is_valid(selection->workers[i], selection->worker_lens[i]));
	assert(subscribe->start.from != READER_FROM_KEYFRAME || selection->worker_count == 1);
}

static void read_publish(const struct message *message)
{
	static struct publish_batch batch;
	if (batch.events == NULL)
		assert(publish_batch_init(&batch) == 0);
	struct publish_refusal refusal = {0};
	int r = publish_batch_read(&batch, message, MAX_EVENT_BYTES, &refusal);
	if (r == PUBLISH_BATCH_OK)
		use_batch(&batch);
	else
		assert((r == PUBLISH_BATCH_REFUSED) == (refusal.code != NULL));
}

static void read_subscribe(const struct message *message)
{
	struct subscribe subscribe = {0};
	const char *code = NULL, *text = NULL;
	int r = subscribe_read(&subscribe, message, &code, &text);
	if (r == SUBSCRIBE_OK)
		use_subscribe(&subscribe);
	else
		assert(code != NULL && text != NULL);
	subscribe_free(&subscribe);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct message_decoder decoder;
	struct message message;
	const char *why;
	if (decoder.zone == NULL)
		assert(message_decoder_init(&decoder) == 0);
	if (message_decode(&decoder, FROM_WORKER, data, len, &message, &why) == MESSAGE_OK &&
		message.type == MESSAGE_PUBLISH)
		read_publish(&message);
	if (message_decode(&decoder, FROM_READER, data, len, &message, &why) == MESSAGE_OK &&
		message.type == MESSAGE_SUBSCRIBE)
		read_subscribe(&message);
	return 0;
}
