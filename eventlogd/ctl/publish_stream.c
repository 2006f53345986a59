#include "eventlogd/ctl/publish_stream_private.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/refusal.h"
#include "proto/base/clock.h"

enum { RETRY_MS = 500, TICK_MS = 100, SEND_AHEAD_BYTES = 4 * 1024 * 1024 };

_printf_(2, 3) void stream_say(struct stream *stream, const char *format, ...)
{
	progress_clear(&stream->progress);
	va_list args;
	va_start(args, format);
	fprintf(stderr, "%s: ", stream->options->who);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

static void stream_end(struct stream *stream, enum publish_result result)
{
	if (stream->state == STREAM_ENDED)
		return;
	stream->state = STREAM_ENDED;
	if (stream->result == PUBLISH_DONE)
		stream->result = result;
	feeder_stop(&stream->feeder);
	connection_stop(&stream->connection);
	uv_handle_t *const handles[] = {(uv_handle_t *)&stream->turn, (uv_handle_t *)&stream->retry,
		(uv_handle_t *)&stream->tick, (uv_handle_t *)&stream->sigint,
		(uv_handle_t *)&stream->sigterm};
	for (size_t i = 0; i < ARRAY_SIZE(handles); i++)
		uv_close(handles[i], NULL);
}

_printf_(2, 3) void stream_fail(struct stream *stream, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (stream->state != STREAM_ENDED)
		stream_say(stream, "%s", text);
	stream_end(stream, PUBLISH_FAILED);
}

/* Acknowledged as `written`, then the machine lost power. */
static void stream_on_lost_events(
	struct stream *stream, const struct publish_worker *worker, uint64_t first, uint64_t last)
{
	stream_say(stream, "%s: the log has lost events %" PRIu64 " to %" PRIu64, worker->id.text,
		first, last);
	if (stream->source->type == PUBLISH_FILE)
		stream_end(stream, PUBLISH_RESTART);
	else
		stream_fail(stream, "they can't be read again: giving up");
}

/* Every position that was asked for is known. */
static void stream_go_on(struct stream *stream)
{
	stream->state = STREAM_SENDING;
	if (stream->is_feeding)
		outbox_rewind(&stream->outbox);
	else
		stream_start_feeding(stream);
}

static void stream_on_position(struct stream *stream, const struct message *message)
{
	uint64_t request_id, last = 0;
	struct publish_worker *worker;
	if (!field_u64(&message->field[0], &request_id) ||
		(worker = publish_workers_answered(&stream->workers, request_id)) == NULL)
		return;
	if (!field_is_nil(&message->field[1]) &&
		(!field_u64(&message->field[1], &last) || last == UINT64_MAX)) {
		stream_fail(stream, "eventlogd sent a malformed POSITION_REPLY");
		return;
	}
	uint64_t first = outbox_first_number(&stream->outbox, &worker->out);
	if (worker->is_position_known && first > last + 1) {
		stream_on_lost_events(stream, worker, last + 1, first - 1);
		return;
	}
	worker->is_position_known = true;
	if (worker->out.next_number <= last)
		worker->out.next_number = last + 1;
	if (stream->state == STREAM_POSITIONING && stream->workers.first_asked == NULL)
		stream_go_on(stream);
}

int stream_send_position(struct stream *stream, struct publish_worker *worker)
{
	struct message_writer w;
	buf_reset(&stream->frames, 0);
	uint64_t request_id = outbox_take_request_id(&stream->outbox);
	message_begin(&w, &stream->frames, MESSAGE_POSITION);
	write_u64(&w, request_id);
	write_text(&w, worker->id.text);
	int r = message_end(&w);
	if (r == 0)
		r = connection_send(&stream->connection, &stream->frames);
	if (r == 0)
		publish_workers_asked(&stream->workers, worker, request_id);
	return r;
}

/* Of every worker after a connection is made; else of those whose events were refused. */
static void stream_ask_positions(struct stream *stream, bool of_all)
{
	struct publish_worker *worker, *next;
	int r = 0;
	stream->state = STREAM_POSITIONING;
	publish_workers_forget_questions(&stream->workers);
	map_for_each (stream->workers.all, worker, next) {
		if (r == 0 && (of_all || worker->out.batch_count > 0 || !worker->is_position_known))
			r = stream_send_position(stream, worker);
	}
	if (r != 0)
		stream_fail(stream, "%s", r < 0 ? strerror(-r) : "too much is waiting to be sent");
	else if (stream->workers.first_asked == NULL)
		stream_go_on(stream);
}

static void stream_on_welcome(struct connection *connection, const msgpack_object *map)
{
	struct stream *stream = connection->owner;
	const msgpack_object *limits = field_map_get(map, "limits");
	const msgpack_object *limit = limits != NULL ? field_map_get(limits, "max_event_bytes")
						     : NULL;
	if (limit == NULL || !field_u64(limit, &stream->max_event_bytes) ||
		stream->max_event_bytes == 0 || stream->max_event_bytes > EVENT_BYTES_MAX) {
		stream_fail(stream, "eventlogd sent a malformed WELCOME");
		return;
	}
	if (stream->is_feeding && stream->is_waiting_told)
		stream_say(stream, "eventlogd is back: going on");
	stream->is_waiting_told = false;
	stream_ask_positions(stream, true);
}

static void stream_on_ack(struct stream *stream, const struct message *message)
{
	uint64_t request_id, first, last, skipped;
	if (!field_u64(&message->field[0], &request_id) ||
		outbox_match(&stream->outbox, request_id) == NULL)
		return;
	if (field_u64(&message->field[1], &first) && field_u64(&message->field[2], &last) &&
		last >= first)
		stream->totals->published += last - first + 1;
	if (field_u64(&message->field[3], &skipped))
		stream->totals->already_there += skipped;
	outbox_acknowledged(&stream->outbox);
	if (stream->is_waiting_told) {
		stream_say(stream, "there is room again: going on");
		stream->is_waiting_told = false;
	}
}

static void stream_on_retry(uv_timer_t *timer)
{
	struct stream *stream = timer->data;
	if (stream->state == STREAM_WAITING)
		stream_ask_positions(stream, false);
}

static void stream_wait(struct stream *stream, const char *code, const char *text)
{
	if (!stream->is_waiting_told)
		stream_say(stream, "%s: %s: waiting", code, text);
	stream->is_waiting_told = true;
	stream->state = STREAM_WAITING;
	uv_timer_start(&stream->retry, stream_on_retry, RETRY_MS, 0);
}

/* eventlogd refused one event that looked good here. */
static void refuse_event(struct stream *stream, struct outbox_batch *batch, uint64_t index,
	const char *code, const char *text)
{
	struct outbox_event *event = &batch->event[index];
	stream_refuse_line(stream, event->connection, event->line, code, text);
	if (event->connection == 0 && !stream->options->skip_invalid) {
		stream_end(stream, PUBLISH_FAILED);
		return;
	}
	event->is_nil = true;
	outbox_rewind(&stream->outbox);
}

static void stream_on_nack(struct stream *stream, const struct message *message)
{
	uint64_t request_id, index;
	struct outbox_batch *batch;
	if (!field_u64(&message->field[0], &request_id) ||
		(batch = outbox_match(&stream->outbox, request_id)) == NULL)
		return; /* of a batch that is being sent again */
	struct refusal refusal;
	refusal_read(&refusal, message);
	if (refusal_is_of_event(&refusal) && field_u64(&message->field[3], &index) &&
		index < batch->count)
		refuse_event(stream, batch, index, refusal.code, refusal.text);
	else if (refusal_is_passing(&refusal))
		stream_wait(stream, refusal.code, refusal.text);
	else
		stream_fail(stream, "%s: %s: %s", batch->worker->id, refusal.code, refusal.text);
}

static void stream_on_error(struct stream *stream, const struct message *message)
{
	struct refusal refusal;
	refusal_read(&refusal, message);
	if (!refusal_is_of_stop(&refusal))
		stream_fail(stream, "%s: %s", refusal.code, refusal.text);
}

static void stream_on_message(struct connection *connection, const struct message *message)
{
	struct stream *stream = connection->owner;
	switch (message->type) {
	case MESSAGE_ACK:
		stream_on_ack(stream, message);
		break;
	case MESSAGE_NACK:
		stream_on_nack(stream, message);
		break;
	case MESSAGE_POSITION_REPLY:
		stream_on_position(stream, message);
		break;
	case MESSAGE_ERROR:
		stream_on_error(stream, message);
		break;
	default:
		break;
	}
}

static void stream_on_lost(struct connection *connection, const char *why)
{
	struct stream *stream = connection->owner;
	if (!connection->ever_welcomed) {
		stream_fail(stream, "%s: %s", stream->options->socket, why);
		return;
	}
	if (!stream->is_waiting_told)
		stream_say(stream, "eventlogd is away (%s): waiting", why);
	stream->is_waiting_told = true;
	stream->state = STREAM_CONNECTING;
	uv_timer_stop(&stream->retry);
}

static void stream_on_wait(struct connection *connection, const char *why)
{
	struct stream *stream = connection->owner;
	stream_say(stream, "%s: %s: waiting", stream->options->socket, why);
}

static const struct connection_handler connection_handler = {
	stream_on_welcome, stream_on_message, NULL, stream_on_wait, stream_on_lost};

static void stream_send(struct stream *stream)
{
	while (channel_queued_bytes(&stream->connection.channel) < SEND_AHEAD_BYTES) {
		buf_reset(&stream->frames, OUTBOX_BYTES);
		int r = outbox_next_frame(&stream->outbox, &stream->frames);
		if (r == OUTBOX_NOTHING)
			return;
		if (r == 0)
			r = connection_send(&stream->connection, &stream->frames);
		if (r != 0) {
			stream_fail(stream, "out of memory");
			return;
		}
	}
}

/* Before the loop waits again: everything that was read in this turn leaves together. */
static void stream_on_turn(uv_prepare_t *handle)
{
	struct stream *stream = handle->data;
	if (!stream->is_feeding)
		return;
	if (stream->state == STREAM_SENDING)
		stream_send(stream);
	if (stream->state == STREAM_ENDED)
		return;
	feeder_pause(&stream->feeder, outbox_is_full(&stream->outbox));
	if (stream->feeder.is_over && outbox_is_empty(&stream->outbox))
		stream_end(stream, PUBLISH_DONE);
}

static void stream_on_tick(uv_timer_t *timer)
{
	struct stream *stream = timer->data;
	const struct publish_totals *totals = stream->totals;
	progress_update(&stream->progress, feeder_bytes_read(&stream->feeder),
		totals->published + totals->already_there, clock_monotonic_ns());
}

/* The first signal ends the input, the second one ends the wait for acknowledgements. */
static void stream_on_stop_signal(uv_signal_t *handle, int signum)
{
	struct stream *stream = handle->data;
	(void)signum;
	if (stream->feeder.is_over || !stream->is_feeding || stream->state != STREAM_SENDING) {
		stream_fail(stream, "stopped; not everything was acknowledged");
		return;
	}
	if (stream->source->type != PUBLISH_LISTEN)
		stream->result = PUBLISH_FAILED;
	stream_say(stream, "stopping: no more is read");
	feeder_stop(&stream->feeder);
}

static void start_handles(struct stream *stream)
{
	uv_prepare_init(&stream->loop, &stream->turn);
	uv_timer_init(&stream->loop, &stream->retry);
	uv_timer_init(&stream->loop, &stream->tick);
	uv_signal_init(&stream->loop, &stream->sigint);
	uv_signal_init(&stream->loop, &stream->sigterm);
	stream->turn.data = stream->retry.data = stream->tick.data = stream;
	stream->sigint.data = stream->sigterm.data = stream;
	uv_prepare_start(&stream->turn, stream_on_turn);
	if (stream->progress.is_shown)
		uv_timer_start(&stream->tick, stream_on_tick, TICK_MS, TICK_MS);
	uv_signal_start(&stream->sigint, stream_on_stop_signal, SIGINT);
	uv_signal_start(&stream->sigterm, stream_on_stop_signal, SIGTERM);
}

enum publish_result publish_stream_run(const struct publish_options *options,
	const struct publish_source *source, struct publish_totals *totals)
{
	struct stream stream = {.options = options, .source = source, .totals = totals};
	progress_init(&stream.progress, "events", source->total_bytes, !options->no_progress,
		clock_monotonic_ns());
	if (source->worker_id != NULL)
		stream.only = publish_workers_get(&stream.workers, source->worker_id);
	int r = source->worker_id != NULL && stream.only == NULL ? -ENOMEM : 0;
	if (r == 0)
		r = uv_loop_init(&stream.loop);
	if (r == 0)
		r = connection_init(&stream.connection, &stream.loop, options->socket,
			source->producer_id, FROM_PUBLISH, &connection_handler, &stream);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", options->who, strerror(-r));
		publish_workers_free(&stream.workers);
		return PUBLISH_FAILED;
	}
	start_handles(&stream);
	connection_start(&stream.connection);
	uv_run(&stream.loop, UV_RUN_DEFAULT);
	uv_loop_close(&stream.loop);
	progress_clear(&stream.progress);
	connection_free(&stream.connection);
	outbox_free(&stream.outbox);
	publish_workers_free(&stream.workers);
	buf_free(&stream.frames);
	return stream.result;
}
