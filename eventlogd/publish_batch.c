#include "eventlogd/publish_batch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ids.h"
#include "proto/json.h"
#include "proto/limits.h"

static const char KEYFRAME_KIND[] = "snapshot";
enum { NO_INDEX = -1 };

int publish_batch_init(struct publish_batch *batch)
{
	*batch = (struct publish_batch){
		.events = calloc(BATCH_EVENTS_MAX, sizeof(*batch->events)),
		.kind_at = calloc(BATCH_EVENTS_MAX, sizeof(*batch->kind_at)),
	};
	if (batch->events != NULL && batch->kind_at != NULL)
		return 0;
	publish_batch_free(batch);
	return -ENOMEM;
}

void publish_batch_free(struct publish_batch *batch)
{
	free(batch->events);
	free(batch->kind_at);
	buf_free(&batch->kinds);
	*batch = (struct publish_batch){0};
}

_printf_(4, 5) static int refuse(
	struct publish_refusal *refusal, const char *code, int64_t index, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(refusal->text, sizeof(refusal->text), format, args);
	va_end(args);
	refusal->code = code;
	refusal->has_index = index != NO_INDEX;
	refusal->index = index != NO_INDEX ? (uint64_t)index : 0;
	return PUBLISH_BATCH_REFUSED;
}

static int malformed(struct publish_refusal *refusal, const char *text)
{
	snprintf(refusal->text, sizeof(refusal->text), "%s", text);
	refusal->code = NULL;
	refusal->has_index = false;
	return PUBLISH_BATCH_MALFORMED;
}

static int check_payload(struct publish_batch *batch, uint32_t index, uint64_t max_event_bytes,
	struct publish_refusal *refusal)
{
	struct event_log_event *event = &batch->events[index];
	if (event->payload_len > max_event_bytes)
		return refuse(refusal, "event_too_large", index, "%zu bytes, the limit is %" PRIu64,
			event->payload_len, max_event_bytes);
	struct json_event_info info;
	switch (json_check_event(event->payload, event->payload_len, &info)) {
	case JSON_OK:
		break;
	case JSON_NOT_OBJECT:
		return refuse(refusal, "not_an_object", index, "%s", info.error.reason);
	default:
		return refuse(refusal, "invalid_json", index, "%s at byte %zu", info.error.reason,
			info.error.offset + 1);
	}
	batch->kind_at[index] = batch->kinds.len;
	event->kind_len = info.kind_len;
	event->is_keyframe = info.kind_len == sizeof(KEYFRAME_KIND) - 1 &&
			     memcmp(info.kind, KEYFRAME_KIND, info.kind_len) == 0;
	batch->payload_bytes += event->payload_len;
	return buf_append(&batch->kinds, info.kind, info.kind_len);
}

static int read_event(struct publish_batch *batch, uint32_t index, const msgpack_object *object,
	uint64_t max_event_bytes, struct publish_refusal *refusal)
{
	const msgpack_object *pair;
	uint32_t count;
	if (!field_array(object, &pair, &count) || count != 2)
		return malformed(refusal, "an event is not an array of time and payload");
	struct event_log_event *event = &batch->events[index];
	*event = (struct event_log_event){0};
	batch->kind_at[index] = batch->kinds.len;
	if (!field_is_nil(&pair[0])) {
		if (!field_i64(&pair[0], &event->source_time_ns))
			return malformed(refusal, "the time of an event is not an integer or nil");
		event->has_source_time = true;
	}
	if (field_is_nil(&pair[1]))
		return 0;
	if (!field_bytes(&pair[1], &event->payload, &event->payload_len))
		return malformed(refusal, "a payload is neither str, bin nor nil");
	if (event->payload_len == 0)
		return refuse(refusal, "invalid_json", index, "an empty payload");
	return check_payload(batch, index, max_event_bytes, refusal);
}

static int read_header(
	struct publish_batch *batch, const struct message *message, struct publish_refusal *refusal)
{
	struct event_log_batch *out = &batch->batch;
	if (!field_u64(&message->field[0], &batch->request_id) || batch->request_id == UINT64_MAX)
		return malformed(refusal, "the request id is not a number");
	const uint8_t *worker;
	if (!field_bytes(&message->field[1], &worker, &out->worker_len))
		return malformed(refusal, "the worker id is not a text");
	out->worker = (const char *)worker;
	if (!field_is_nil(&message->field[2])) {
		if (!field_u64(&message->field[2], &out->producer_seq) || out->producer_seq == 0 ||
			out->producer_seq > INT64_MAX)
			return malformed(refusal, "producer_seq is not a number from 1 on");
		out->has_producer_seq = true;
	}
	return PUBLISH_BATCH_OK;
}

int publish_batch_read(struct publish_batch *batch, const struct message *message,
	uint64_t max_event_bytes, struct publish_refusal *refusal)
{
	batch->batch = (struct event_log_batch){.events = batch->events};
	batch->payload_bytes = 0;
	buf_reset(&batch->kinds, 64 * 1024);
	int r = read_header(batch, message, refusal);
	if (r != PUBLISH_BATCH_OK)
		return r;
	const msgpack_object *events;
	uint32_t count;
	if (!field_array(&message->field[3], &events, &count))
		return malformed(refusal, "the events are not an array");
	if (!id_is_valid(batch->batch.worker, batch->batch.worker_len))
		return refuse(refusal, "worker_id_invalid", NO_INDEX,
			"a worker id is 1 to %d bytes of A-Z a-z 0-9 _ . : -", ID_BYTES_MAX);
	if (count > BATCH_EVENTS_MAX)
		return refuse(refusal, "batch_too_large", NO_INDEX,
			"%" PRIu32 " events, the limit is %d", count, BATCH_EVENTS_MAX);
	batch->batch.event_count = count;
	for (uint32_t i = 0; i < count; i++) {
		r = read_event(batch, i, &events[i], max_event_bytes, refusal);
		if (r != PUBLISH_BATCH_OK)
			return r;
	}
	/* Only now: the buffer moved while it grew. */
	for (uint32_t i = 0; i < count; i++)
		batch->events[i].kind = batch->kinds.len > 0 ? (const char *)batch->kinds.data +
								       batch->kind_at[i]
							     : "";
	return PUBLISH_BATCH_OK;
}
