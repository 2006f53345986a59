/* proto/runtime_batch: any bytes are refused or read; what is read can be written and read again.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/runtime_batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static void write_again(const struct runtime_event *event)
{
	struct buf buf = {0};
	struct runtime_batch_writer writer;
	struct runtime_batch_reader reader;
	struct runtime_item item;
	const char *why;
	runtime_batch_begin(&writer, &buf);
	runtime_batch_add_event(&writer, event);
	expect(runtime_batch_end(&writer) == 0);
	expect(runtime_batch_reader_init(&reader) == 0);
	expect(runtime_batch_open(&reader, buf.data, buf.len, &why) == RUNTIME_BATCH_OK);
	expect(runtime_batch_next(&reader, &item, &why) == RUNTIME_BATCH_OK);
	expect(item.kind == RUNTIME_EVENT);
	expect(item.event.cursor.sequence == event->cursor.sequence);
	expect(strcmp(item.event.worker_id.text, event->worker_id.text) == 0);
	expect(item.event.payload_len == event->payload_len);
	expect(event->payload_len == 0 ||
		memcmp(item.event.payload, event->payload, event->payload_len) == 0);
	runtime_batch_reader_free(&reader);
	buf_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct runtime_batch_reader reader;
	struct runtime_item item;
	const char *why;
	expect(runtime_batch_reader_init(&reader) == 0);
	int r = runtime_batch_open(&reader, bytes, len, &why);
	while (r == RUNTIME_BATCH_OK) {
		r = runtime_batch_next(&reader, &item, &why);
		if (r == RUNTIME_BATCH_OK && item.kind == RUNTIME_EVENT)
			write_again(&item.event);
	}
	runtime_batch_reader_free(&reader);
	return 0;
}
