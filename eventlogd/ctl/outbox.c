#include "eventlogd/ctl/outbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proto/message.h"

static void drop_first(struct outbox *outbox)
{
	struct outbox_batch *batch = outbox->first;
	outbox->first = batch->next;
	if (outbox->unsent == batch)
		outbox->unsent = batch->next;
	if (outbox->first == NULL)
		outbox->last = NULL;
	outbox->batch_count--;
	outbox->event_count -= batch->count;
	batch->worker->batch_count--;
	outbox->bytes -= batch->payloads.len;
	buf_free(&batch->payloads);
	free(batch->event);
	free(batch);
}

void outbox_reset(struct outbox *outbox, size_t batch_bytes)
{
	outbox_free(outbox);
	outbox->batch_bytes = batch_bytes < OUTBOX_BATCH_BYTES ? batch_bytes : OUTBOX_BATCH_BYTES;
}

void outbox_free(struct outbox *outbox)
{
	while (outbox->first != NULL)
		drop_first(outbox);
}

uint64_t outbox_take_request_id(struct outbox *outbox)
{
	return ++outbox->last_request_id;
}

static struct outbox_batch *add_batch(struct outbox *outbox, struct outbox_worker *worker)
{
	struct outbox_batch *batch = calloc(1, sizeof(*batch));
	if (batch == NULL)
		return NULL;
	batch->worker = worker;
	batch->first_number = worker->next_number;
	worker->batch_count++;
	if (outbox->last != NULL)
		outbox->last->next = batch;
	else
		outbox->first = batch;
	outbox->last = batch;
	if (outbox->unsent == NULL)
		outbox->unsent = batch;
	outbox->batch_count++;
	return batch;
}

static bool batch_takes(const struct outbox *outbox, const struct outbox_batch *batch,
	const struct outbox_worker *worker, size_t len)
{
	return batch->worker == worker && batch->request_id == 0 &&
	       batch->count < OUTBOX_BATCH_EVENTS &&
	       (batch->count == 0 || batch->payloads.len + len <= outbox->batch_bytes);
}

static int make_room(struct outbox_batch *batch)
{
	if (batch->count < batch->allocated)
		return 0;
	uint32_t wanted = batch->allocated == 0 ? 8 : batch->allocated * 2;
	void *grown = realloc(batch->event, wanted * sizeof(*batch->event));
	if (grown == NULL)
		return -ENOMEM;
	batch->event = grown;
	batch->allocated = wanted;
	return 0;
}

int outbox_add(struct outbox *outbox, struct outbox_worker *worker, const uint8_t *bytes,
	size_t len, const struct outbox_event *about)
{
	struct outbox_batch *batch = outbox->last;
	if (batch == NULL || !batch_takes(outbox, batch, worker, len))
		batch = add_batch(outbox, worker);
	if (batch == NULL || make_room(batch) < 0)
		return -ENOMEM;
	struct outbox_event event = *about;
	event.offset = batch->payloads.len;
	event.len = bytes != NULL ? len : 0;
	event.is_nil = bytes == NULL;
	if (bytes != NULL) {
		int r = buf_append(&batch->payloads, bytes, len);
		if (r < 0)
			return r;
		outbox->bytes += len;
	}
	batch->event[batch->count++] = event;
	outbox->event_count++;
	worker->next_number++;
	return 0;
}

bool outbox_is_full(const struct outbox *outbox)
{
	return outbox->bytes >= OUTBOX_BYTES || outbox->batch_count >= OUTBOX_BATCHES ||
	       outbox->event_count >= OUTBOX_EVENTS;
}

bool outbox_is_empty(const struct outbox *outbox)
{
	return outbox->first == NULL;
}

uint64_t outbox_first_number(const struct outbox *outbox, const struct outbox_worker *worker)
{
	const struct outbox_batch *batch = worker->batch_count > 0 ? outbox->first : NULL;
	while (batch != NULL && batch->worker != worker)
		batch = batch->next;
	return batch != NULL ? batch->first_number : worker->next_number;
}

int outbox_next_frame(struct outbox *outbox, struct buf *frames)
{
	struct outbox_batch *batch = outbox->unsent;
	if (batch == NULL || batch->count == 0)
		return OUTBOX_NOTHING;
	struct message_writer w;
	message_begin(&w, frames, MESSAGE_PUBLISH);
	write_u64(&w, outbox->last_request_id + 1);
	write_text(&w, batch->worker->id);
	write_u64(&w, batch->first_number);
	write_array(&w, batch->count);
	for (uint32_t i = 0; i < batch->count; i++) {
		const struct outbox_event *event = &batch->event[i];
		write_array(&w, 2);
		if (event->has_source_time)
			write_i64(&w, event->source_time_ns);
		else
			write_nil(&w);
		if (event->is_nil)
			write_nil(&w);
		else
			write_bin(&w, batch->payloads.data + event->offset, event->len);
	}
	int r = message_end(&w);
	if (r < 0)
		return r;
	batch->request_id = outbox_take_request_id(outbox);
	outbox->unsent = batch->next;
	return OUTBOX_OK;
}

void outbox_rewind(struct outbox *outbox)
{
	for (struct outbox_batch *batch = outbox->first; batch != NULL; batch = batch->next)
		batch->request_id = 0;
	outbox->unsent = outbox->first;
}

struct outbox_batch *outbox_match(struct outbox *outbox, uint64_t request_id)
{
	struct outbox_batch *batch = outbox->first;
	return batch != NULL && batch->request_id == request_id && request_id != 0 ? batch : NULL;
}

void outbox_acknowledged(struct outbox *outbox)
{
	assert(outbox->first != NULL);
	drop_first(outbox);
}
