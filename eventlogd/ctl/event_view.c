#include "eventlogd/ctl/event_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "eventlogd/ctl/gist.h"
#include "proto/base/clock.h"
#include "proto/cursor.h"
#include "proto/ids.h"
#include "proto/json.h"

enum {
	WORKER_COLUMNS = 20,
	KIND_COLUMNS = 20,
	TIME_COLUMNS = 12,
	GIST_COLUMNS_MIN = 20,
	GIST_COLUMNS_PIPE = 200, /* where there is no width to keep to */
};

void event_view_init(struct event_view *view, bool json, const struct option_list *kinds)
{
	*view = (struct event_view){.json = json, .kinds = kinds};
	if (json || isatty(STDOUT_FILENO) != 1)
		return;
	struct winsize size;
	const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
	view->colour = (no_color == NULL || no_color[0] == '\0') &&
		       (terminal == NULL || strcmp(terminal, "dumb") != 0);
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		view->columns = size.ws_col;
}

void event_view_free(struct event_view *view)
{
	buf_free(&view->line);
}

bool event_view_selects(const struct event_view *view, const struct record *record)
{
	for (size_t i = 0; i < view->kinds->count; i++) {
		const char *glob = view->kinds->item[i];
		if (glob_matches(glob, strlen(glob), record->kind, record->kind_len))
			return true;
	}
	return view->kinds->count == 0;
}

static int64_t floor_ms(int64_t ns)
{
	int64_t ms = ns / (int64_t)NS_PER_MS;
	return ns % (int64_t)NS_PER_MS < 0 ? ms - 1 : ms;
}

/* Inside a string strict JSON has no raw line break: every one stands between tokens. */
static int append_without_line_breaks(struct buf *out, const uint8_t *bytes, size_t len)
{
	const uint8_t *end = bytes + len;
	int r = buf_reserve(out, len);
	while (r == 0 && bytes < end) {
		const uint8_t *at = bytes;
		while (at < end && *at != '\n' && *at != '\r')
			at++;
		r = buf_append(out, bytes, (size_t)(at - bytes));
		bytes = at < end ? at + 1 : end;
	}
	return r;
}

static int format_json(const struct event_view *view, const struct record *record, struct buf *out)
{
	const struct cursor cursor = {view->log, record->epoch, record->sequence};
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(&cursor, text);
	int r = buf_printf(out, "{\"cursor\":\"%s\",\"sequence\":%" PRIu64 ",\"worker_id\":", text,
		record->sequence);
	if (r == 0)
		r = json_append_quoted(out, record->worker, record->worker_len);
	if (r == 0)
		r = buf_append_str(out, ",\"kind\":");
	if (r == 0)
		r = json_append_quoted(out, record->kind, record->kind_len);
	if (r == 0)
		r = buf_printf(out, ",\"ts_ms\":%" PRId64, floor_ms((int64_t)record->time_ns));
	if (r == 0 && (record->flags & RECORD_HAS_SOURCE_TIME))
		r = buf_printf(out, ",\"source_ts_ms\":%" PRId64, floor_ms(record->source_time_ns));
	if (r == 0)
		r = buf_append_str(out, ",\"payload\":");
	if (r == 0)
		r = append_without_line_breaks(out, record->payload, record->payload_len);
	return r == 0 ? buf_append_str(out, "}\n") : r;
}

static int append_padded(
	struct buf *out, const char *text, size_t len, size_t columns, const char *colour)
{
	size_t used = 0;
	int r = colour != NULL ? buf_append_str(out, colour) : 0;
	if (r == 0)
		r = terminal_append(out, text, len, columns, &used);
	if (r == 0 && colour != NULL)
		r = buf_append_str(out, "\033[0m");
	return r == 0 ? buf_printf(out, "%*s", (int)(columns - used) + 1, "") : r;
}

/* The same kind has the same colour everywhere. */
static const char *colour_of(const struct record *record)
{
	static const char *const colours[] = {"\033[31m", "\033[32m", "\033[33m", "\033[34m",
		"\033[35m", "\033[36m", "\033[91m", "\033[92m", "\033[93m", "\033[94m", "\033[95m",
		"\033[96m"};
	uint32_t hash = 2166136261u; /* FNV-1a */
	for (size_t i = 0; i < record->kind_len; i++)
		hash = (hash ^ (uint8_t)record->kind[i]) * 16777619u;
	return colours[hash % ARRAY_SIZE(colours)];
}

static int format_text(const struct event_view *view, const struct record *record, struct buf *out)
{
	time_t seconds = (time_t)(record->time_ns / NS_PER_S);
	struct tm tm;
	localtime_r(&seconds, &tm);
	int r = buf_printf(out, "%02d:%02d:%02d.%03u ", tm.tm_hour, tm.tm_min, tm.tm_sec,
		(unsigned int)(record->time_ns / NS_PER_MS % 1000));
	if (r == 0)
		r = append_padded(out, record->worker, record->worker_len, WORKER_COLUMNS, NULL);
	if (r == 0)
		r = append_padded(out, record->kind_len > 0 ? record->kind : "-",
			record->kind_len > 0 ? record->kind_len : 1, KIND_COLUMNS,
			view->colour ? colour_of(record) : NULL);
	size_t before = TIME_COLUMNS + 1 + WORKER_COLUMNS + 1 + KIND_COLUMNS + 1;
	size_t columns = view->columns == 0                          ? GIST_COLUMNS_PIPE
			 : view->columns > before + GIST_COLUMNS_MIN ? view->columns - before
								     : GIST_COLUMNS_MIN;
	if (r == 0)
		r = gist_append(out, record->payload, record->payload_len, columns);
	return r == 0 ? buf_append_str(out, "\n") : r;
}

int event_view_format(const struct event_view *view, const struct record *record, struct buf *out)
{
	return view->json ? format_json(view, record, out) : format_text(view, record, out);
}

int event_view_format_gap(const struct event_view *view, uint64_t first, uint64_t last,
	const char *reason, struct buf *out)
{
	if (view->json)
		return buf_printf(out,
			"{\"gap\":{\"first_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64
			",\"reason\":\"%s\"}}\n",
			first, last, reason);
	return buf_printf(
		out, "-- gap: sequences %" PRIu64 " to %" PRIu64 ": %s\n", first, last, reason);
}

static void note_broken(struct event_view *view)
{
	view->is_broken = true;
	/* Whoever closes a pipe has seen enough. */
	if (errno != EPIPE)
		fprintf(stderr, "eventlogctl: standard output: %s\n", strerror(errno));
}

void event_view_write(struct event_view *view, const void *bytes, size_t len)
{
	if (!view->is_broken && fwrite(bytes, 1, len, stdout) != len)
		note_broken(view);
}

void event_view_flush(struct event_view *view)
{
	if (!view->is_broken && fflush(stdout) != 0)
		note_broken(view);
}
