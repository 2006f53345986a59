/* From lines to numbered events in the outbox. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/publish_stream_private.h"

/* A line that leaves out more numbers than this is a mistake. */
enum { NUMBERS_LEFT_OUT_MAX = 1000000 };

/* "FILE:LINE: code: reason", the form that editors jump to. */
void stream_refuse_line(struct stream *stream, uint64_t connection, uint64_t line, const char *code,
	const char *reason)
{
	char text[ERROR_TEXT_BYTES_MAX * 2];
	stream->totals->refused++;
	if (connection == 0) {
		stream_say(
			stream, "%s:%" PRIu64 ": %s: %s", stream->source->name, line, code, reason);
		if (stream->options->skip_invalid)
			return;
		stream->result = PUBLISH_FAILED;
		feeder_stop(&stream->feeder);
		return;
	}
	stream_say(stream, "%s: connection %" PRIu64 ", line %" PRIu64 ": %s: %s",
		stream->source->name, connection, line, code, reason);
	if (stream->options->skip_invalid)
		return;
	snprintf(text, sizeof(text), "line %" PRIu64 ": %s: %s\n", line, code, reason);
	feeder_refuse(&stream->feeder, connection, text);
}

/* Takes the numbers that were left out as nil. 0 or -ENOMEM. */
static int skip_numbers(struct stream *stream, struct outbox_worker *worker, uint64_t number)
{
	const struct outbox_event nothing = {0};
	int r = 0;
	while (r == 0 && worker->next_number < number)
		r = outbox_add(&stream->outbox, worker, NULL, 0, &nothing);
	return r;
}

/* The worker of a line, asked for when it is new. NULL: out of memory, or not connected any more.
 */
static struct publish_worker *worker_of(struct stream *stream, const struct publish_line *line)
{
	if (line->worker_id == NULL)
		return stream->only;
	struct publish_worker *worker = publish_workers_get(&stream->workers, line->worker_id);
	bool is_new = worker != NULL && !worker->is_position_known && worker->question_id == 0;
	if (is_new && stream->state == STREAM_SENDING && stream_send_position(stream, worker) != 0)
		return NULL;
	return worker;
}

/* 0 or -ENOMEM. */
static int take_line(struct stream *stream, const struct publish_line *line, uint64_t connection,
	uint64_t line_number)
{
	struct publish_worker *worker = worker_of(stream, line);
	if (worker == NULL)
		return -ENOMEM;
	uint64_t number = line->number != 0 ? line->number : worker->out.next_number;
	if (number < worker->out.next_number) {
		stream->totals->already_there++;
		return 0;
	}
	if (number - worker->out.next_number > NUMBERS_LEFT_OUT_MAX) {
		stream_refuse_line(stream, connection, line_number, "producer_gap",
			"too many numbers are left out before it");
		return 0;
	}
	const struct outbox_event about = {.line = line_number,
		.connection = connection,
		.has_source_time = line->has_source_time,
		.source_time_ns = line->source_time_ns};
	int r = skip_numbers(stream, &worker->out, number);
	return r < 0 ? r
		     : outbox_add(&stream->outbox, &worker->out, line->payload, line->payload_len,
			       &about);
}

static void stream_on_line(
	void *owner, const struct line *line, uint64_t connection, uint64_t number)
{
	struct stream *stream = owner;
	const struct publish_source *source = stream->source;
	bool are_numbered = stream->only != NULL && source->type != PUBLISH_LISTEN;
	struct publish_line read;
	number += source->lines_before;
	if (are_numbered && number < stream->only->out.next_number) {
		stream->totals->already_there++;
		return;
	}
	int r = source->read_line(source->line_owner, line, stream->max_event_bytes, &read);
	if (are_numbered)
		read.number = number;
	if (r == PUBLISH_LINE_REFUSED) {
		stream_refuse_line(stream, connection, number, read.code, read.reason);
		bool has_number = stream->only != NULL || read.worker_id != NULL;
		if (!stream->options->skip_invalid || !has_number)
			return;
		read.payload = NULL;
	}
	if (r == PUBLISH_LINE_EVENT || r == PUBLISH_LINE_REFUSED)
		r = take_line(stream, &read, connection, number);
	if (r < 0)
		stream_fail(stream, "out of memory");
}

static void stream_on_feeder_error(void *owner, uint64_t connection, int error)
{
	struct stream *stream = owner;
	if (connection != 0) {
		stream_say(stream, "%s: connection %" PRIu64 ": %s", stream->source->name,
			connection, strerror(-error));
		return;
	}
	stream_say(stream, "%s: %s", stream->source->name, strerror(-error));
	stream->result = PUBLISH_FAILED; /* what was read before is still published */
}

static int open_feeder(struct stream *stream)
{
	const struct publish_source *source = stream->source;
	stream->feeder = (struct feeder){
		.owner = stream, .on_line = stream_on_line, .on_error = stream_on_feeder_error};
	stream->is_feeding = true;
	size_t max_line_bytes = source->line_bytes_max != 0 ? source->line_bytes_max
							    : (size_t)stream->max_event_bytes;
	if (source->type == PUBLISH_LISTEN)
		return feeder_open_listener(
			&stream->feeder, &stream->loop, source->name, max_line_bytes);
	int fd = fcntl(source->fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : feeder_open_fd(&stream->feeder, &stream->loop, fd, max_line_bytes);
}

void stream_start_feeding(struct stream *stream)
{
	const struct publish_source *source = stream->source;
	outbox_reset(&stream->outbox, (size_t)stream->max_event_bytes);
	uint64_t next_number = stream->only != NULL ? stream->only->out.next_number : 1;
	if (next_number > 1 && source->type != PUBLISH_LISTEN)
		stream_say(stream,
			"%s: the log has lines 1 to %" PRIu64 " of it: going on behind them",
			source->name, next_number - 1);
	int r = open_feeder(stream);
	if (r < 0)
		stream_fail(stream, "%s: %s", source->name, strerror(-r));
	else if (source->type == PUBLISH_LISTEN)
		stream_say(stream, "listening on %s", source->name);
}
