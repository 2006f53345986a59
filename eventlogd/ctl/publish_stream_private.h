/*
 * The inside of a stream that is published, shared by the files that make it up: publish_stream.c
 * (the connection, replies, the states), publish_stream_lines.c (from lines to the outbox).
 */
#pragma once

#include <uv.h>

#include "eventlogd/ctl/connection.h"
#include "eventlogd/ctl/feeder.h"
#include "eventlogd/ctl/outbox.h"
#include "eventlogd/ctl/progress.h"
#include "eventlogd/ctl/publish_stream.h"
#include "eventlogd/ctl/publish_worker.h"

enum stream_state {
	STREAM_CONNECTING,  /* until WELCOME */
	STREAM_POSITIONING, /* until the last POSITION_REPLY */
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
	uint64_t max_event_bytes;
	uv_loop_t loop;
	uv_prepare_t turn;
	uv_timer_t retry, tick;
	uv_signal_t sigint, sigterm;
	struct connection connection;
	struct feeder feeder;
	struct publish_workers workers;
	struct publish_worker *only; /* of source->worker_id */
	struct outbox outbox;
	struct progress progress;
	struct buf frames;
};

/* One line on stderr, in the verb's name. */
_printf_(2, 3) void stream_say(struct stream *stream, const char *format, ...);
/* The same, and the stream ends as failed. */
_printf_(2, 3) void stream_fail(struct stream *stream, const char *format, ...);

/* Asks how far the log is with a worker. 0, or as channel_send(). */
_must_check_ int stream_send_position(struct stream *stream, struct publish_worker *worker);

/* Begins to read: every position that matters is known. */
void stream_start_feeding(struct stream *stream);
/*
 * Names a line that is refused. Without --skip-invalid nothing behind it is published: nothing of
 * that file, or of that connection; others go on.
 */
void stream_refuse_line(struct stream *stream, uint64_t connection, uint64_t line, const char *code,
	const char *reason);
