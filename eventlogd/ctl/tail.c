/* eventlogctl tail: what workers say, from eventlogd, also as it comes. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "eventlogd/ctl/connection.h"
#include "eventlogd/ctl/event_view.h"
#include "eventlogd/ctl/gist.h"
#include "eventlogd/ctl/last_lines.h"
#include "eventlogd/ctl/positions.h"
#include "eventlogd/ctl/stdout_watch.h"
#include "eventlogd/ctl/tail_start.h"
#include "eventlogd/ctl/verb.h"
#include "proto/base/fd.h"
#include "proto/cursor.h"
#include "proto/ids.h"
#include "proto/limits.h"

enum { DEFAULT_LINES = 10, SAVE_MS = 1000, KEEP_LINE_BYTES = 1024 * 1024 };
enum { REQUEST_STATUS = 1, REQUEST_SUBSCRIBE = 2 };

struct options {
	const char *socket, *after_cursor, *from, *cursor_file;
	struct option_list workers, kinds;
	struct option_count lines;
	bool follow, json, show_cursor;
};

static const char *const from_choices[] = {"keyframe", "oldest", "newest", NULL};

static const struct option_row rows[] = {
	{"socket", 's', OPTION_TEXT, offsetof(struct options, socket), "PATH",
		"eventlogd's tail socket (default: $" ENVIRONMENT_TAIL_SOCKET
		",\nelse " DEFAULT_TAIL_SOCKET ").",
		NULL},
	{"follow", 'f', OPTION_FLAG, offsetof(struct options, follow), NULL,
		"Go on with what comes; survives a restart of eventlogd.", NULL},
	{"worker", 'w', OPTION_LIST, offsetof(struct options, workers), "ID",
		"Only this worker; may be given more than once.", NULL},
	{"kind", 'k', OPTION_LIST, offsetof(struct options, kinds), "GLOB",
		"Only kinds that match; may be given more than once.", NULL},
	{"from", 0, OPTION_CHOICE, offsetof(struct options, from), "WHERE",
		"Start at keyframe (of one worker), oldest or newest.", from_choices},
	{"after-cursor", 0, OPTION_TEXT, offsetof(struct options, after_cursor), "CURSOR",
		"Start behind this cursor.", NULL},
	{"lines", 'n', OPTION_COUNT, offsetof(struct options, lines), "N",
		"At most the last N events of what is there already (default: 10\n"
		"where nothing else says where to start).",
		NULL},
	{"cursor-file", 0, OPTION_TEXT, offsetof(struct options, cursor_file), "FILE",
		"Start behind the cursor in FILE, if it exists, and keep it up to date.", NULL},
	{"show-cursor", 0, OPTION_FLAG, offsetof(struct options, show_cursor), NULL,
		"At the end print \"-- cursor: CURSOR\" (with --json on stderr).", NULL},
	{"json", 'j', OPTION_FLAG, offsetof(struct options, json), NULL, "One JSON object a line.",
		NULL},
	{0},
};

struct tail {
	const struct options *options;
	int result; /* exit code */
	bool has_ended, is_away_told, is_caught_up;
	struct tail_start start;
	struct positions positions; /* as told on this connection, before the subscription */
	bool has_cursor;            /* everything up to it was received, or is not there */
	struct cursor cursor;
	struct cursor saved;
	struct event_view view;
	struct last_lines last_lines; /* of the history, with --lines */
	uv_loop_t loop;
	struct connection connection;
	uv_timer_t save;
	uv_signal_t sigint, sigterm;
	struct stdout_watch stdout_watch; /* with --follow */
	struct buf frames;
};

static void tail_flush_lines(struct tail *tail)
{
	if (tail->last_lines.max == 0)
		return;
	for (size_t i = 0; i < last_lines_count(&tail->last_lines); i++) {
		const struct buf *line = last_lines_at(&tail->last_lines, i);
		event_view_write(&tail->view, line->data, line->len);
	}
	last_lines_clear(&tail->last_lines);
}

/* Once what it covers is on stdout. */
static void tail_save_cursor(struct tail *tail)
{
	if (tail->options->cursor_file == NULL || !tail->has_cursor || tail->view.is_broken ||
		(tail->saved.sequence == tail->cursor.sequence &&
			tail->saved.epoch == tail->cursor.epoch))
		return;
	char text[CURSOR_TEXT_BYTES + 2];
	cursor_format(&tail->cursor, text);
	text[CURSOR_TEXT_BYTES] = '\n';
	int r = fd_write_file_atomically(
		tail->options->cursor_file, text, CURSOR_TEXT_BYTES + 1, 0644);
	if (r < 0) {
		fprintf(stderr, "eventlogctl tail: %s: %s\n", tail->options->cursor_file,
			strerror(-r));
		tail->result = EXIT_FAILED;
		return;
	}
	tail->saved = tail->cursor;
}

static void tail_end(struct tail *tail, int result)
{
	if (tail->has_ended)
		return;
	tail->has_ended = true;
	if (tail->result == EXIT_DONE)
		tail->result = result;
	tail_flush_lines(tail);
	event_view_flush(&tail->view);
	tail_save_cursor(tail);
	connection_stop(&tail->connection);
	uv_close((uv_handle_t *)&tail->save, NULL);
	uv_close((uv_handle_t *)&tail->sigint, NULL);
	uv_close((uv_handle_t *)&tail->sigterm, NULL);
	if (tail->options->follow)
		stdout_watch_close(&tail->stdout_watch);
}

static void tail_flush(struct tail *tail)
{
	event_view_flush(&tail->view);
	if (tail->view.is_broken)
		tail_end(tail, EXIT_FAILED); /* whoever reads stdout has left */
}

static void tail_fail(struct tail *tail, const char *what, const char *why)
{
	if (!tail->has_ended)
		fprintf(stderr, "eventlogctl tail: %s: %s\n", what, why);
	tail_end(tail, EXIT_FAILED);
}

static void tail_fail_malformed(struct tail *tail)
{
	tail_fail(tail, tail->start.socket, "eventlogd sent what can't be understood");
}

static void tail_send(struct tail *tail, int r)
{
	if (r == 0)
		r = connection_send(&tail->connection, &tail->frames);
	if (r != 0)
		tail_fail(tail, tail->start.socket, r < 0 ? strerror(-r) : "out of room to send");
}

static void tail_subscribe(struct tail *tail)
{
	const struct option_list *workers = &tail->options->workers;
	struct message_writer w;
	char text[CURSOR_TEXT_BYTES + 1];
	buf_reset(&tail->frames, 0);
	message_begin(&w, &tail->frames, MESSAGE_SUBSCRIBE);
	write_u64(&w, REQUEST_SUBSCRIBE);
	if (workers->count == 0) {
		write_nil(&w);
	} else {
		write_array(&w, (uint32_t)workers->count);
		for (size_t i = 0; i < workers->count; i++)
			write_text(&w, workers->item[i]);
	}
	const char *cursor = tail->start.cursor;
	if (tail->has_cursor) {
		cursor_format(&tail->cursor, text);
		cursor = text;
	}
	write_array(&w, cursor != NULL ? 2 : 1);
	write_text(&w, cursor != NULL ? "cursor" : tail->start.from);
	if (cursor != NULL)
		write_text(&w, cursor);
	write_bool(&w, tail->options->follow);
	tail_send(tail, message_end(&w));
}

static void tail_on_welcome(struct connection *connection, const msgpack_object *map)
{
	struct tail *tail = connection->owner;
	const msgpack_object *id = field_map_get(map, "log_id");
	const char *text;
	size_t len;
	if (id == NULL || !field_text(id, &text, &len, 32) || len != 32) {
		tail_fail_malformed(tail);
		return;
	}
	char digits[9];
	snprintf(digits, sizeof(digits), "%.8s", text);
	tail->view.log = (uint32_t)strtoul(digits, NULL, 16);
	if (tail->is_away_told)
		fputs("eventlogctl tail: eventlogd is back: going on\n", stderr);
	tail->is_away_told = false;
	struct message_writer w;
	buf_reset(&tail->frames, 0);
	message_begin(&w, &tail->frames, MESSAGE_STATUS);
	write_u64(&w, REQUEST_STATUS);
	tail_send(tail, message_end(&w));
}

static struct buf *tail_empty_line(struct tail *tail)
{
	buf_reset(&tail->view.line, KEEP_LINE_BYTES);
	return &tail->view.line;
}

/* Takes what has been formatted; `r` is the formatter's result. */
static void tail_show_line(struct tail *tail, int r)
{
	const struct buf *line = &tail->view.line;
	if (r == 0 && tail->last_lines.max > 0 && !tail->is_caught_up)
		r = last_lines_add(&tail->last_lines, line);
	else if (r == 0)
		event_view_write(&tail->view, line->data, line->len);
	if (r < 0)
		tail_fail(tail, "stdout", strerror(-r));
}

static void tail_on_records(struct tail *tail, const struct message *message)
{
	const uint8_t *bytes;
	size_t len;
	if (!field_bytes(&message->field[0], &bytes, &len)) {
		tail_fail_malformed(tail);
		return;
	}
	while (len > 0 && !tail->has_ended) {
		struct record record;
		size_t size;
		if (record_decode(bytes, len, &record, &size) != RECORD_OK) {
			tail_fail_malformed(tail);
			return;
		}
		if (event_view_selects(&tail->view, &record))
			tail_show_line(tail,
				event_view_format(&tail->view, &record, tail_empty_line(tail)));
		tail->cursor = (struct cursor){tail->view.log, record.epoch, record.sequence};
		tail->has_cursor = true;
		bytes += size;
		len -= size;
	}
	if (tail->is_caught_up || tail->view.is_broken)
		tail_flush(tail);
}

/* Also where no record stands: it is a place to come back to. */
static void tail_move_cursor(struct tail *tail, uint64_t sequence)
{
	if ((!tail->has_cursor || sequence > tail->cursor.sequence) &&
		positions_cursor(&tail->positions, sequence, &tail->cursor))
		tail->has_cursor = true;
}

static void tail_on_gap(struct tail *tail, const struct message *message)
{
	uint64_t first, last;
	const char *reason;
	size_t len;
	char text[ID_BYTES_MAX + 1];
	if (!field_u64(&message->field[0], &first) || !field_u64(&message->field[1], &last) ||
		!field_text(&message->field[2], &reason, &len, ID_BYTES_MAX) ||
		!id_is_valid(reason, len)) {
		tail_fail_malformed(tail);
		return;
	}
	snprintf(text, sizeof(text), "%.*s", (int)len, reason);
	tail_show_line(
		tail, event_view_format_gap(&tail->view, first, last, text, tail_empty_line(tail)));
	if (tail->has_ended)
		return;
	tail_move_cursor(tail, last);
	if (tail->is_caught_up || tail->view.is_broken)
		tail_flush(tail);
}

static void tail_on_caught_up(struct tail *tail, const struct message *message)
{
	uint64_t sequence;
	if (!field_u64(&message->field[0], &sequence)) {
		tail_fail_malformed(tail);
		return;
	}
	tail_move_cursor(tail, sequence);
	tail_flush_lines(tail);
	tail->is_caught_up = true;
	if (tail->options->follow)
		tail_flush(tail);
	else
		tail_end(tail, EXIT_DONE);
}

static void tail_on_error(struct tail *tail, const struct message *message)
{
	const char *code, *text, *oldest;
	size_t code_len, text_len, oldest_len;
	if (!field_text(&message->field[1], &code, &code_len, NAME_BYTES_MAX) ||
		!field_text(&message->field[2], &text, &text_len, ERROR_TEXT_BYTES_MAX)) {
		tail_fail_malformed(tail);
		return;
	}
	bool passes = (code_len == 13 && memcmp(code, "shutting_down", 13) == 0) ||
		      (code_len == 11 && memcmp(code, "unavailable", 11) == 0);
	if (passes && tail->options->follow)
		return; /* the connection ends now, and is made again */
	char what[128], why[2 * ERROR_TEXT_BYTES_MAX + 2 * CURSOR_TEXT_BYTES];
	terminal_copy(what, sizeof(what), code, code_len);
	terminal_copy(why, 2 * ERROR_TEXT_BYTES_MAX, text, text_len);
	const msgpack_object *value = field_map_get(&message->field[3], "oldest");
	struct cursor cursor;
	if (value != NULL && field_text(value, &oldest, &oldest_len, CURSOR_TEXT_BYTES) &&
		cursor_parse(oldest, oldest_len, &cursor))
		snprintf(why + strlen(why), sizeof(why) - strlen(why), " (oldest: %.*s)",
			(int)oldest_len, oldest);
	tail_fail(tail, what, why);
}

static void tail_on_status(struct tail *tail, const struct message *message)
{
	if (!positions_read(&tail->positions, &message->field[1])) {
		tail_fail_malformed(tail);
		return;
	}
	if (!tail->has_cursor && tail_start_needs_status(&tail->start)) {
		tail_start_at(&tail->start, &tail->positions);
		/* At the newest event everything before it counts as seen. */
		if (tail->start.back == 0)
			tail->has_cursor = cursor_parse(
				tail->start.cursor, CURSOR_TEXT_BYTES, &tail->cursor);
	}
	tail_subscribe(tail);
}

static void tail_on_message(struct connection *connection, const struct message *message)
{
	struct tail *tail = connection->owner;
	switch (message->type) {
	case MESSAGE_STATUS_REPLY:
		tail_on_status(tail, message);
		break;
	case MESSAGE_RECORDS:
		tail_on_records(tail, message);
		break;
	case MESSAGE_GAP:
		tail_on_gap(tail, message);
		break;
	case MESSAGE_CAUGHT_UP:
		tail_on_caught_up(tail, message);
		break;
	case MESSAGE_ERROR:
		tail_on_error(tail, message);
		break;
	default:
		break;
	}
}

static void tail_on_lost(struct connection *connection, const char *why)
{
	struct tail *tail = connection->owner;
	if (!connection->ever_welcomed || !tail->options->follow) {
		tail_fail(tail, tail->start.socket, why);
		return;
	}
	if (!tail->is_away_told)
		fprintf(stderr, "eventlogctl tail: eventlogd is away (%s): waiting\n", why);
	tail->is_away_told = true;
	if (!tail->is_caught_up && tail->last_lines.max > 0) {
		/* Nothing of it has been shown: the history is read again. */
		last_lines_clear(&tail->last_lines);
		tail->has_cursor = false;
	}
	tail_flush(tail);
}

static void tail_on_wait(struct connection *connection, const char *why)
{
	const struct tail *tail = connection->owner;
	fprintf(stderr, "eventlogctl tail: %s: %s: waiting\n", tail->start.socket, why);
}

static const struct connection_handler handler = {
	tail_on_welcome, tail_on_message, NULL, tail_on_wait, tail_on_lost};

static void tail_on_save(uv_timer_t *timer)
{
	struct tail *tail = timer->data;
	tail_flush(tail);
	if (!tail->has_ended && (tail->is_caught_up || tail->last_lines.max == 0))
		tail_save_cursor(tail);
}

static void tail_on_stop_signal(uv_signal_t *handle, int signum)
{
	(void)signum;
	tail_end(handle->data, EXIT_DONE);
}

static void tail_on_left(void *owner)
{
	tail_end(owner, EXIT_FAILED);
}

static int run_loop(struct tail *tail)
{
	int r = uv_loop_init(&tail->loop);
	if (r == 0)
		r = connection_init(&tail->connection, &tail->loop, tail->start.socket,
			"eventlogctl tail", FROM_TAIL, &handler, tail);
	if (r == 0 && tail->options->follow)
		r = stdout_watch_start(&tail->stdout_watch, &tail->loop, tail_on_left, tail);
	if (r < 0)
		return r;
	uv_timer_init(&tail->loop, &tail->save);
	uv_signal_init(&tail->loop, &tail->sigint);
	uv_signal_init(&tail->loop, &tail->sigterm);
	tail->save.data = tail->sigint.data = tail->sigterm.data = tail;
	uv_signal_start(&tail->sigint, tail_on_stop_signal, SIGINT);
	uv_signal_start(&tail->sigterm, tail_on_stop_signal, SIGTERM);
	if (tail->options->follow && tail->options->cursor_file != NULL)
		uv_timer_start(&tail->save, tail_on_save, SAVE_MS, SAVE_MS);
	connection_start(&tail->connection);
	uv_run(&tail->loop, UV_RUN_DEFAULT);
	uv_loop_close(&tail->loop);
	connection_free(&tail->connection);
	return 0;
}

static void show_cursor(const struct tail *tail)
{
	char text[CURSOR_TEXT_BYTES + 1];
	const char *cursor = tail->start.cursor;
	if (tail->has_cursor) {
		cursor_format(&tail->cursor, text);
		cursor = text;
	}
	if (cursor != NULL)
		fprintf(tail->options->json ? stderr : stdout, "-- cursor: %s\n", cursor);
}

/* 0, or an exit code told already. */
static int choose_start(struct tail *tail)
{
	const struct options *options = tail->options;
	struct tail_start *start = &tail->start;
	start->socket = verb_socket(options->socket, ENVIRONMENT_TAIL_SOCKET, DEFAULT_TAIL_SOCKET);
	if (options->from != NULL && options->after_cursor != NULL) {
		fputs("eventlogctl tail: --from and --after-cursor exclude each other\n", stderr);
		return EXIT_USAGE;
	}
	if (options->from != NULL && strcmp(options->from, "keyframe") == 0 &&
		options->workers.count != 1) {
		fputs("eventlogctl tail: --from keyframe needs exactly one --worker\n", stderr);
		return EXIT_USAGE;
	}
	start->from = options->from;
	start->cursor = options->after_cursor;
	if (options->cursor_file != NULL) {
		int r = tail_start_read_file(start, options->cursor_file);
		if (r < 0) {
			fprintf(stderr, "eventlogctl tail: %s: %s\n", options->cursor_file,
				r == -EBADMSG ? "holds no cursor" : strerror(-r));
			return EXIT_FAILED;
		}
	}
	uint64_t lines = options->lines.value;
	bool has_start = start->from != NULL || start->cursor != NULL;
	if (!options->lines.given)
		lines = DEFAULT_LINES;
	if (!has_start && lines == 0) {
		start->from = "newest";
	} else if (!has_start) {
		start->from = "oldest";
		/* Without a filter, a sequence close to the end can be named. */
		if (options->workers.count == 0 && options->kinds.count == 0)
			start->back = lines;
	}
	if (!has_start || options->lines.given)
		last_lines_init(&tail->last_lines, (size_t)(lines < 1000000 ? lines : 1000000));
	return 0;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct options options = {0};
	int count;
	int result = verb_parse(verb, &options, argc, argv, 0, &count);
	if (result >= 0)
		return result;
	static struct tail tail;
	tail.options = &options;
	result = choose_start(&tail);
	if (result != 0)
		return result;
	event_view_init(&tail.view, options.json, &options.kinds);
	int r = run_loop(&tail);
	if (r < 0) {
		fprintf(stderr, "eventlogctl tail: %s\n", strerror(-r));
		tail.result = EXIT_FAILED;
	}
	if (options.show_cursor)
		show_cursor(&tail);
	event_view_flush(&tail.view);
	if (tail.view.is_broken)
		tail.result = EXIT_FAILED;
	event_view_free(&tail.view);
	last_lines_free(&tail.last_lines);
	buf_free(&tail.frames);
	return tail.result;
}

const struct verb verb_tail = {
	.name = "tail",
	.arguments = "",
	.summary = "Show events, from where you say, also as they come.",
	.description =
		"Without a place to start: the last 10 events. With --follow it goes on behind\n"
		"them, and behind a restart of eventlogd, without a gap and without a repeat.",
	.options = rows,
	.run = run,
};
