#include "eventlogd/ctl/publish_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "eventlogd/ctl/connection.h"
#include "eventlogd/ctl/feeder.h"
#include "eventlogd/ctl/gist.h"
#include "eventlogd/ctl/outbox.h"
#include "eventlogd/ctl/progress.h"
#include "proto/base/clock.h"
#include "proto/json.h"

enum { RETRY_MS = 500, TICK_MS = 100, SEND_AHEAD_BYTES = 4 * 1024 * 1024 };

enum stream_state {
	STREAM_CONNECTING,  /* until WELCOME */
	STREAM_POSITIONING, /* until POSITION_REPLY */
	STREAM_SENDING,
	STREAM_WAITING, /* the log can't take more now; tried again by timer */
	STREAM_ENDED,
};

struct stream {
	const struct publish_options *options;
	const struct publish_source *source;
	struct publish_totals *totals;
	enum stream_state state;
	enum publish_result result;
	bool is_feeding;      /* the feeder is open */
	bool is_waiting_told; /* said why nothing goes on */
	uint64_t position_request_id;
	uint64_t skip_through; /* lines up to this one are in the log */
	uint64_t max_event_bytes;
	uv_loop_t loop;
	uv_prepare_t turn;
	uv_timer_t retry, tick;
	uv_signal_t sigint, sigterm;
	struct connection connection;
	struct feeder feeder;
	struct outbox outbox;
	struct progress progress;
	struct buf frames;
};

_printf_(2, 3) static void say(struct stream *stream, const char *format, ...)
{
	progress_clear(&stream->progress);
	va_list args;
	va_start(args, format);
	fputs("eventlogctl publish: ", stderr);
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

_printf_(2, 3) static void stream_fail(struct stream *stream, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (stream->state != STREAM_ENDED)
		say(stream, "%s", text);
	stream_end(stream, PUBLISH_FAILED);
}

/*
 * "FILE:LINE: code: reason", the form that editors jump to. Without --skip-invalid nothing behind a
 * refused line is published: nothing of that file, or of that connection; others go on.
 */
static void refuse_line(struct stream *stream, uint64_t connection, uint64_t line, const char *code,
	const char *reason)
{
	char text[ERROR_TEXT_BYTES_MAX * 2];
	stream->totals->refused++;
	if (connection == 0) {
		say(stream, "%s:%" PRIu64 ": %s: %s", stream->source->name, line, code, reason);
		if (stream->options->skip_invalid)
			return;
		stream->result = PUBLISH_FAILED;
		feeder_stop(&stream->feeder);
		return;
	}
	say(stream, "%s: connection %" PRIu64 ", line %" PRIu64 ": %s: %s", stream->source->name,
		connection, line, code, reason);
	if (stream->options->skip_invalid)
		return;
	snprintf(text, sizeof(text), "line %" PRIu64 ": %s: %s\n", line, code, reason);
	feeder_refuse(&stream->feeder, connection, text);
}

static bool is_blank(const struct line *line)
{
	for (size_t i = 0; i < line->len; i++) {
		if (memchr(" \t\r", line->bytes[i], 3) == NULL)
			return false;
	}
	return !line->too_long;
}

static bool line_is_event(
	struct stream *stream, const struct line *line, uint64_t connection, uint64_t number)
{
	char reason[160];
	if (line->too_long) {
		snprintf(reason, sizeof(reason), "more than %" PRIu64 " bytes",
			stream->max_event_bytes);
		refuse_line(stream, connection, number, "event_too_large", reason);
		return false;
	}
	struct json_event_info info;
	int r = json_check_event(line->bytes, line->len, &info);
	if (r == JSON_OK)
		return true;
	snprintf(
		reason, sizeof(reason), "%s at byte %zu", info.error.reason, info.error.offset + 1);
	refuse_line(stream, connection, number,
		r == JSON_NOT_OBJECT ? "not_an_object" : "invalid_json", reason);
	return false;
}

static void stream_on_line(
	void *owner, const struct line *line, uint64_t connection, uint64_t number)
{
	struct stream *stream = owner;
	if (stream->source->type != PUBLISH_LISTEN && number <= stream->skip_through) {
		stream->totals->already_there++;
		return;
	}
	const uint8_t *payload = line->bytes;
	if (is_blank(line)) {
		payload = NULL;
	} else if (!line_is_event(stream, line, connection, number)) {
		if (!stream->options->skip_invalid)
			return;
		payload = NULL;
	}
	if (outbox_add(&stream->outbox, payload, line->len, connection, number) < 0)
		stream_fail(stream, "out of memory");
}

static void stream_on_feeder_error(void *owner, uint64_t connection, int error)
{
	struct stream *stream = owner;
	if (connection != 0) {
		say(stream, "%s: connection %" PRIu64 ": %s", stream->source->name, connection,
			strerror(-error));
		return;
	}
	say(stream, "%s: %s", stream->source->name, strerror(-error));
	stream->result = PUBLISH_FAILED; /* what was read before is still published */
}

static int open_feeder(struct stream *stream)
{
	const struct publish_source *source = stream->source;
	stream->feeder = (struct feeder){
		.owner = stream, .on_line = stream_on_line, .on_error = stream_on_feeder_error};
	stream->is_feeding = true;
	size_t max_line_bytes = (size_t)stream->max_event_bytes;
	if (source->type == PUBLISH_LISTEN)
		return feeder_open_listener(
			&stream->feeder, &stream->loop, source->name, max_line_bytes);
	int fd = fcntl(source->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : feeder_open_fd(&stream->feeder, &stream->loop, fd, max_line_bytes);
}

static void stream_start_feeding(struct stream *stream, uint64_t position)
{
	outbox_reset(&stream->outbox, position + 1, (size_t)stream->max_event_bytes);
	stream->skip_through = position;
	if (position > 0 && stream->source->type != PUBLISH_LISTEN)
		say(stream, "%s: the log has lines 1 to %" PRIu64 " of it: going on behind them",
			stream->source->name, position);
	int r = open_feeder(stream);
	if (r < 0)
		stream_fail(stream, "%s: %s", stream->source->name, strerror(-r));
	else if (stream->source->type == PUBLISH_LISTEN)
		say(stream, "listening on %s", stream->source->name);
}

static void stream_on_position(struct stream *stream, const struct message *message)
{
	uint64_t request_id, last = 0;
	if (stream->state != STREAM_POSITIONING || !field_u64(&message->field[0], &request_id) ||
		request_id != stream->position_request_id)
		return;
	if (!field_is_nil(&message->field[1]) && !field_u64(&message->field[1], &last)) {
		stream_fail(stream, "eventlogd sent a malformed POSITION_REPLY");
		return;
	}
	stream->state = STREAM_SENDING;
	if (!stream->is_feeding) {
		stream_start_feeding(stream, last);
		return;
	}
	uint64_t first = outbox_first_number(&stream->outbox);
	if (first > last + 1) {
		/* Acknowledged as `written`, then the machine lost power. */
		say(stream, "the log has lost events %" PRIu64 " to %" PRIu64, last + 1, first - 1);
		if (stream->source->type == PUBLISH_FILE)
			stream_end(stream, PUBLISH_RESTART);
		else
			stream_fail(stream, "they can't be read again: giving up");
		return;
	}
	outbox_rewind(&stream->outbox);
}

static int send_position(struct stream *stream)
{
	struct message_writer w;
	buf_reset(&stream->frames, 0);
	stream->position_request_id = outbox_take_request_id(&stream->outbox);
	message_begin(&w, &stream->frames, MESSAGE_POSITION);
	write_u64(&w, stream->position_request_id);
	write_text(&w, stream->source->worker_id);
	int r = message_end(&w);
	return r < 0 ? r : connection_send(&stream->connection, &stream->frames);
}

static void stream_ask_position(struct stream *stream)
{
	stream->state = STREAM_POSITIONING;
	int r = send_position(stream);
	if (r != 0)
		stream_fail(stream, "%s", r < 0 ? strerror(-r) : "too much is waiting to be sent");
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
		say(stream, "eventlogd is back: going on");
	stream->is_waiting_told = false;
	stream_ask_position(stream);
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
		say(stream, "there is room again: going on");
		stream->is_waiting_told = false;
	}
}

static void stream_on_retry(uv_timer_t *timer)
{
	struct stream *stream = timer->data;
	if (stream->state == STREAM_WAITING)
		stream_ask_position(stream);
}

static void stream_wait(struct stream *stream, const char *code, const char *text)
{
	if (!stream->is_waiting_told)
		say(stream, "%s: %s: waiting", code, text);
	stream->is_waiting_told = true;
	stream->state = STREAM_WAITING;
	uv_timer_start(&stream->retry, stream_on_retry, RETRY_MS, 0);
}

/* eventlogd refused one event that looked good here. */
static void refuse_event(struct stream *stream, struct outbox_batch *batch, uint64_t index,
	const char *code, const char *text)
{
	struct outbox_event *event = &batch->event[index];
	refuse_line(stream, event->connection, event->line, code, text);
	if (event->connection == 0 && !stream->options->skip_invalid) {
		stream_end(stream, PUBLISH_FAILED);
		return;
	}
	event->is_nil = true;
	outbox_rewind(&stream->outbox);
}

static bool code_is_one_of(const char *code, const char *const *codes)
{
	for (; *codes != NULL; codes++) {
		if (strcmp(code, *codes) == 0)
			return true;
	}
	return false;
}

static void copy_text(const msgpack_object *field, char *out, size_t out_size)
{
	const char *text;
	size_t len;
	if (!field_text(field, &text, &len, ERROR_TEXT_BYTES_MAX))
		len = 0;
	terminal_copy(out, out_size, len > 0 ? text : "", len);
}

static void stream_on_nack(struct stream *stream, const struct message *message)
{
	static const char *const of_one_event[] = {
		"invalid_json", "not_an_object", "event_too_large", NULL};
	static const char *const passing[] = {
		"no_space", "quota_exceeded", "read_only", "shutting_down", "producer_gap", NULL};
	uint64_t request_id, index;
	struct outbox_batch *batch;
	if (!field_u64(&message->field[0], &request_id) ||
		(batch = outbox_match(&stream->outbox, request_id)) == NULL)
		return; /* of a batch that is being sent again */
	char code[128], text[2 * ERROR_TEXT_BYTES_MAX];
	copy_text(&message->field[1], code, sizeof(code));
	copy_text(&message->field[2], text, sizeof(text));
	if (code_is_one_of(code, of_one_event) && field_u64(&message->field[3], &index) &&
		index < batch->count)
		refuse_event(stream, batch, index, code, text);
	else if (code_is_one_of(code, passing))
		stream_wait(stream, code, text);
	else
		stream_fail(stream, "%s: %s: %s", stream->source->worker_id, code, text);
}

static void stream_on_error(struct stream *stream, const struct message *message)
{
	char code[128], text[2 * ERROR_TEXT_BYTES_MAX];
	copy_text(&message->field[1], code, sizeof(code));
	copy_text(&message->field[2], text, sizeof(text));
	if (strcmp(code, "shutting_down") != 0 && strcmp(code, "unavailable") != 0)
		stream_fail(stream, "%s: %s", code, text);
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
		say(stream, "eventlogd is away (%s): waiting", why);
	stream->is_waiting_told = true;
	stream->state = STREAM_CONNECTING;
	uv_timer_stop(&stream->retry);
}

static void stream_on_wait(struct connection *connection, const char *why)
{
	struct stream *stream = connection->owner;
	say(stream, "%s: %s: waiting", stream->options->socket, why);
}

static const struct connection_handler connection_handler = {
	stream_on_welcome, stream_on_message, NULL, stream_on_wait, stream_on_lost};

static void stream_send(struct stream *stream)
{
	while (channel_queued_bytes(&stream->connection.channel) < SEND_AHEAD_BYTES) {
		buf_reset(&stream->frames, OUTBOX_BYTES);
		int r = outbox_next_frame(
			&stream->outbox, stream->source->worker_id, &stream->frames);
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
	say(stream, "stopping: no more is read");
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
	int r = uv_loop_init(&stream.loop);
	if (r == 0)
		r = connection_init(&stream.connection, &stream.loop, options->socket,
			source->producer_id, FROM_PUBLISH, &connection_handler, &stream);
	if (r < 0) {
		fprintf(stderr, "eventlogctl publish: %s\n", strerror(-r));
		return PUBLISH_FAILED;
	}
	start_handles(&stream);
	connection_start(&stream.connection);
	uv_run(&stream.loop, UV_RUN_DEFAULT);
	uv_loop_close(&stream.loop);
	progress_clear(&stream.progress);
	connection_free(&stream.connection);
	outbox_free(&stream.outbox);
	buf_free(&stream.frames);
	return stream.result;
}
