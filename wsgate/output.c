#include "wsgate/output.h"

#include <errno.h>
#include <string.h>

enum { KEEP_SCRATCH_BYTES = 2 * RUNTIME_BATCH_BYTES };

void output_init(struct output *output, enum output_form form, struct buf *scratch)
{
	*output = (struct output){.form = form, .scratch = scratch};
}

void output_free(struct output *output)
{
	ws_frames_unref(output->frames);
	*output = (struct output){0};
}

static bool has_frames(struct output *output)
{
	if (output->frames == NULL && output->error == 0) {
		output->frames = ws_frames_new(0);
		if (output->frames == NULL)
			output->error = -ENOMEM;
	}
	return output->error == 0;
}

/* ---- batches ---- */

static void close_batch(struct output *output)
{
	if (!output->batch_is_open)
		return;
	output->batch_is_open = false;
	int r = runtime_batch_end(&output->batch);
	if (r == 0 && has_frames(output))
		r = ws_frames_add_message(
			output->frames, WS_BINARY, output->scratch->data, output->scratch->len);
	if (r < 0)
		output->error = r;
	buf_reset(output->scratch, KEEP_SCRATCH_BYTES);
}

static struct runtime_batch_writer *batch_for(struct output *output, size_t payload_len)
{
	if (output->batch_is_open && runtime_batch_is_full(&output->batch, payload_len))
		close_batch(output);
	if (!output->batch_is_open) {
		runtime_batch_begin(&output->batch, output->scratch);
		output->batch_is_open = true;
	}
	return &output->batch;
}

/* ---- JSON ---- */

/* Adds the text that a writer has left in the scratch buffer; `r` is the writer's result. */
static void add_text(struct output *output, int r)
{
	if (r == 0 && has_frames(output))
		r = ws_frames_add_message(
			output->frames, WS_TEXT, output->scratch->data, output->scratch->len);
	if (r < 0)
		output->error = r;
	output->scratch->len = 0;
}

static int64_t source_ms(const struct record *record)
{
	return envelope_ms(record->source_time_ns);
}

static bool has_source_time(const struct record *record)
{
	return (record->flags & RECORD_HAS_SOURCE_TIME) != 0;
}

static void add_event_text(struct output *output, const struct cursor *cursor,
	const struct id *worker_id, const struct record *record)
{
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(cursor, text);
	const struct envelope envelope = {
		.cursor = text,
		.event_id = text,
		.worker_id = worker_id->text,
		.ts_ms = envelope_ms((int64_t)record->time_ns),
		.has_source_ts = has_source_time(record),
		.source_ts_ms = source_ms(record),
	};
	int r = envelope_write_event_head(output->scratch, &envelope);
	if (r == 0 && has_frames(output)) {
		const struct iovec pieces[] = {
			{output->scratch->data, output->scratch->len},
			{(void *)record->payload, record->payload_len},
			{(void *)ENVELOPE_EVENT_TAIL, strlen(ENVELOPE_EVENT_TAIL)},
		};
		r = ws_frames_add(output->frames, WS_TEXT, pieces, ARRAY_SIZE(pieces));
	}
	if (r < 0)
		output->error = r;
	output->scratch->len = 0;
}

/* ---- items ---- */

void output_add_event(struct output *output, uint32_t log, const struct record *record)
{
	struct cursor cursor = {log, record->epoch, record->sequence};
	struct id worker_id;
	if (!id_set(&worker_id, record->worker, record->worker_len)) {
		output->error = -EINVAL; /* the caller has verified the record */
		return;
	}
	if (output->form != OUTPUT_BATCH) {
		add_event_text(output, &cursor, &worker_id, record);
		return;
	}
	const struct runtime_event event = {
		.cursor = cursor,
		.worker_id = worker_id,
		.ts_ms = envelope_ms((int64_t)record->time_ns),
		.has_source_ts = has_source_time(record),
		.source_ts_ms = source_ms(record),
		.payload = record->payload,
		.payload_len = record->payload_len,
	};
	runtime_batch_add_event(batch_for(output, record->payload_len), &event);
}

void output_add_diagnostic(
	struct output *output, enum diagnostic diagnostic, const struct diagnostic_details *details)
{
	if (output->form == OUTPUT_BATCH)
		runtime_batch_add_diagnostic(batch_for(output, 0), diagnostic, details);
	else
		add_text(output, diagnostic_write_json(output->scratch, diagnostic, details));
}

void output_add_hello(struct output *output, const struct hello *hello)
{
	if (output->form == OUTPUT_BATCH)
		runtime_batch_add_hello(batch_for(output, 0), hello);
	else if (output->form == OUTPUT_V1)
		add_text(output, envelope_write_hello(output->scratch, hello));
}

void output_add_caught_up(struct output *output, const struct cursor *cursor)
{
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(cursor, text);
	if (output->form == OUTPUT_BATCH)
		runtime_batch_add_caught_up(batch_for(output, 0), cursor);
	else if (output->form == OUTPUT_V1)
		add_text(output, envelope_write_caught_up(output->scratch, text));
}

void output_add_bookmark(struct output *output, const struct cursor *cursor)
{
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(cursor, text);
	if (output->form == OUTPUT_BATCH)
		runtime_batch_add_bookmark(batch_for(output, 0), cursor);
	else if (output->form == OUTPUT_V1)
		add_text(output, envelope_write_bookmark(output->scratch, text));
}

int output_take(struct output *output, struct ws_frames **frames)
{
	close_batch(output);
	int r = output->error;
	if (r < 0) {
		ws_frames_unref(output->frames);
		output->frames = NULL;
	}
	*frames = output->frames;
	output->frames = NULL;
	output->error = 0;
	buf_reset(output->scratch, KEEP_SCRATCH_BYTES);
	return r;
}
