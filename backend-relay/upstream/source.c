#include "backend-relay/upstream/source.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/backoff.h"
#include "backend-relay/upstream/source_failure.h"
#include "proto/base/clock.h"
#include "proto/base/journal.h"

enum {
	BACKOFF_BASE_MS = 200,
	BACKOFF_CAP_MS = 10000,
	STABLE_AFTER_MS =
		5000, /* a connection that lasted this long, or brought an event, was good */
	PATH_BYTES = 3 * ID_BYTES_MAX + CURSOR_TEXT_BYTES + 64,
};

enum source_state {
	SOURCE_CONNECTING,
	SOURCE_AWAITING_HELLO,
	SOURCE_CONNECTED,
	SOURCE_WAITING, /* for the next attempt */
	SOURCE_REFUSED,
	SOURCE_CLOSED,
};

struct source {
	struct sources *sources;
	const struct runtime *runtime;
	struct id worker_id;
	const struct source_handler *handler;
	void *owner;

	enum source_state state;
	enum source_from from;
	struct cursor last; /* handed on; valid when from is SOURCE_FROM_CURSOR */
	struct ws_client *client;
	struct runtime_batch_reader reader;
	struct backoff backoff;
	uint64_t connected_ns;
	bool paused, troubled, in_callback, timer_closed;
	enum diagnostic trouble;       /* while troubled: the newest reason */
	struct source_failure failure; /* said by the runtime before it closed */
	bool has_failure;
	uv_timer_t timer;
};

static void connect_now(struct source *source);

static void log_source(const struct source *source, int level, const char *what)
{
	unsigned int suppressed;
	if (!journal_limit_pass(&source->sources->log_limit, clock_monotonic_ns(), &suppressed))
		return;
	const struct journal_field fields[] = {
		{"RUNTIME_ID", source->runtime->id.text},
		{"WORKER_ID", source->worker_id.text},
		{NULL, NULL},
	};
	journal_fields(level, fields, "upstream of worker %s at runtime %s: %s",
		source->worker_id.text, source->runtime->id.text, what);
}

static void free_when_done(struct source *source)
{
	if (source->client != NULL || !source->timer_closed)
		return;
	runtime_batch_reader_free(&source->reader);
	free(source);
}

static void source_on_timer_closed(uv_handle_t *handle)
{
	struct source *source = handle->data;
	source->timer_closed = true;
	free_when_done(source);
}

static void source_on_timer(uv_timer_t *handle)
{
	connect_now(handle->data);
}

static void wait_for_next_attempt(struct source *source)
{
	uint64_t delay = backoff_next_ms(&source->backoff, randombytes_random());
	source->state = SOURCE_WAITING;
	uv_timer_start(&source->timer, source_on_timer, delay, 0);
}

static void tell_trouble(struct source *source, enum diagnostic diagnostic)
{
	if (source->troubled && source->trouble == diagnostic)
		return;
	source->troubled = true;
	source->trouble = diagnostic;
	source->handler->on_trouble(source, diagnostic);
}

/* The stream moves: whatever trouble there was is over. */
static void tell_connected(struct source *source)
{
	source->troubled = false;
	source->handler->on_connected(source);
}

static void on_failure(struct source *source, struct source_failure failure)
{
	source->sources->failures++;
	log_source(source, LOG_NOTICE, diagnostic_row(failure.diagnostic)->code);
	if (failure.refused) {
		source->state = SOURCE_REFUSED;
		source->handler->on_refused(source, failure.diagnostic);
		return;
	}
	tell_trouble(source, failure.diagnostic);
	wait_for_next_attempt(source);
}

/* The message that is being read breaks the protocol: the connection is of no more use. */
static void on_malformed(struct source *source, const char *why)
{
	source->sources->malformed++;
	log_source(source, LOG_WARNING, why);
	source->failure = (struct source_failure){DIAGNOSTIC_BACKEND_MALFORMED_FRAME, false};
	source->has_failure = true;
	ws_client_close(source->client);
}

static void hand_on(struct source *source, const struct source_item *item)
{
	if (item->kind != SOURCE_GAP || item->slot.position.sequence != 0) {
		source->last = item->slot.position;
		source->from = SOURCE_FROM_CURSOR;
	}
	if (source->troubled)
		tell_connected(source);
	source->handler->on_item(source, item);
}

/* Whether a position may follow the last one; *is_new tells whether it moves. */
static bool follows(const struct source *source, const struct cursor *at, bool *is_new)
{
	*is_new = true;
	if (source->from != SOURCE_FROM_CURSOR)
		return true;
	*is_new = at->sequence > source->last.sequence;
	return at->log == source->last.log && (!*is_new || at->epoch >= source->last.epoch);
}

static bool take_event(struct source *source, const struct runtime_event *event)
{
	bool is_new;
	if (strcmp(event->worker_id.text, source->worker_id.text) != 0) {
		on_malformed(source, "an event of another worker, reconnecting");
		return false;
	}
	if (!follows(source, &event->cursor, &is_new)) {
		on_malformed(source, "an event of another log or epoch, reconnecting");
		return false;
	}
	if (!is_new) {
		source->sources->duplicates++;
		return true;
	}
	struct source_event *copy = source_event_new(event);
	if (copy == NULL) {
		on_malformed(source, "out of memory, reconnecting");
		return false;
	}
	source->sources->events++;
	backoff_reset(&source->backoff);
	struct source_item item = {
		.slot = {event->cursor, sizeof(*copy) + copy->len},
		.kind = SOURCE_EVENT,
		.event = copy,
	};
	hand_on(source, &item);
	source_event_unref(copy);
	return true;
}

static bool take_position(
	struct source *source, enum source_item_kind kind, const struct cursor *at)
{
	bool is_new;
	if (!follows(source, at, &is_new)) {
		on_malformed(source, "a position of another log or epoch, reconnecting");
		return false;
	}
	if (!is_new && kind == SOURCE_POSITION) {
		if (source->troubled)
			tell_connected(source);
		return true;
	}
	struct source_item item = {
		.slot = {is_new ? *at : source->last, sizeof(item)},
		.kind = kind,
	};
	hand_on(source, &item);
	return true;
}

static bool take_gap(struct source *source, enum diagnostic gap, const struct runtime_diagnostic *w)
{
	bool is_new = false;
	if (w->has_to && !follows(source, &w->to, &is_new)) {
		on_malformed(source, "a gap in another log, reconnecting");
		return false;
	}
	/* A gap that has no place of its own is told where the stream stands. */
	if (!w->has_to && source->from != SOURCE_FROM_CURSOR)
		return true;
	struct source_item item = {
		.slot = {is_new ? w->to : source->last, sizeof(item)},
		.kind = SOURCE_GAP,
		.gap = gap,
	};
	item.from = w->has_from ? w->from : item.slot.position;
	item.to = w->has_to ? w->to : item.slot.position;
	hand_on(source, &item);
	return true;
}

static bool take_word(struct source *source, const struct runtime_diagnostic *word)
{
	struct source_failure failure;
	switch (source_failure_of_word(word, &failure)) {
	case SOURCE_WORD_GAP:
		return take_gap(source, failure.diagnostic, word);
	case SOURCE_WORD_FAILURE:
		if (word->final || failure.refused) {
			source->failure = failure;
			source->has_failure = true;
			ws_client_close(source->client);
			return false;
		}
		tell_trouble(source, failure.diagnostic);
		return true;
	case SOURCE_WORD_IGNORED:
		log_source(source, LOG_INFO, word->code);
		return true;
	}
	return true;
}

/*
 * Its `newest` is not taken for the place where a stream from there begins: the runtime may have
 * looked before it began, and what came in between would be missing unseen. The first item tells.
 */
static bool take_hello(struct source *source)
{
	if (source->state == SOURCE_CONNECTED)
		return true;
	source->state = SOURCE_CONNECTED;
	uv_timer_stop(&source->timer);
	source->connected_ns = clock_monotonic_ns();
	if (source->paused)
		ws_client_pause(source->client); /* not before: the hello has to be read */
	tell_connected(source);
	return true;
}

/* False when nothing after it can be used. */
static bool take_item(struct source *source, const struct runtime_item *item)
{
	if (item->kind == RUNTIME_DIAGNOSTIC)
		return take_word(source, &item->diagnostic);
	if (item->kind == RUNTIME_HELLO)
		return take_hello(source);
	if (source->state != SOURCE_CONNECTED) {
		on_malformed(source, "no hello at the beginning, reconnecting");
		return false;
	}
	switch (item->kind) {
	case RUNTIME_EVENT:
		return take_event(source, &item->event);
	case RUNTIME_CAUGHT_UP:
		return take_position(source, SOURCE_CAUGHT_UP, &item->cursor);
	case RUNTIME_BOOKMARK:
		return take_position(source, SOURCE_POSITION, &item->cursor);
	default:
		return true;
	}
}

static void source_on_runtime_message(
	struct ws_client *client, enum ws_message_type type, const uint8_t *bytes, size_t len)
{
	struct source *source = ws_client_owner(client);
	if (source->state == SOURCE_CLOSED || source->has_failure)
		return;
	const char *why = "a text message, reconnecting";
	int r = type == WS_BINARY ? runtime_batch_open(&source->reader, bytes, len, &why)
				  : RUNTIME_BATCH_MALFORMED;
	source->in_callback = true;
	struct runtime_item item;
	while (r == RUNTIME_BATCH_OK) {
		r = runtime_batch_next(&source->reader, &item, &why);
		if (r == RUNTIME_BATCH_OK && !take_item(source, &item))
			r = RUNTIME_BATCH_END;
	}
	if (r != RUNTIME_BATCH_END)
		on_malformed(source, r == -ENOMEM ? "out of memory, reconnecting" : why);
	source->in_callback = false;
}

static void source_on_runtime_open(struct ws_client *client, const char *subprotocol)
{
	struct source *source = ws_client_owner(client);
	if (source->state == SOURCE_CLOSED)
		return;
	source->state = SOURCE_AWAITING_HELLO;
	if (strcmp(subprotocol, RUNTIME_BATCH_SUBPROTOCOL) != 0) {
		source->failure = (struct source_failure){
			DIAGNOSTIC_BACKEND_RUNTIME_UNSUPPORTED, true};
		source->has_failure = true;
		ws_client_close(client);
		return;
	}
	/* The hello has the time of an answer. */
	uv_timer_start(&source->timer, source_on_timer, source->sources->timeout_ms, 0);
}

static void source_on_runtime_end(struct ws_client *client, const struct ws_client_end *end)
{
	struct source *source = ws_client_owner(client);
	source->client = NULL;
	source->sources->open--;
	if (source->state == SOURCE_CLOSED) {
		free_when_done(source);
		return;
	}
	uv_timer_stop(&source->timer);
	if (source->state == SOURCE_CONNECTED &&
		clock_monotonic_ns() - source->connected_ns > STABLE_AFTER_MS * NS_PER_MS)
		backoff_reset(&source->backoff);
	struct source_failure failure = source->has_failure ? source->failure
							    : source_failure_of_end(end);
	source->has_failure = false;
	source->in_callback = true;
	on_failure(source, failure);
	source->in_callback = false;
}

static const struct ws_client_handler client_handler = {
	source_on_runtime_open, source_on_runtime_message, source_on_runtime_end};

/* Ids hold no character but ':' that a path's segment would need escaped, and that is allowed. */
static void format_path(const struct source *source, char out[PATH_BYTES])
{
	char cursor[CURSOR_TEXT_BYTES + 1];
	int n = snprintf(out, PATH_BYTES, "/v1/workers/%s/events/ws?", source->worker_id.text);
	assert(n > 0 && n < PATH_BYTES);
	char *query = out + n;
	size_t room = PATH_BYTES - (size_t)n;
	switch (source->from) {
	case SOURCE_FROM_KEYFRAME:
		snprintf(query, room, "from=keyframe");
		return;
	case SOURCE_FROM_NEWEST:
		snprintf(query, room, "from=newest");
		return;
	case SOURCE_FROM_CURSOR:
		cursor_format(&source->last, cursor);
		snprintf(query, room, "cursor=%s", cursor);
		return;
	}
}

static int open_client(struct source *source)
{
	char path[PATH_BYTES];
	format_path(source, path);
	const struct ws_client_config config = {
		.url = &source->runtime->url,
		.path = path,
		.bearer = source->runtime->token,
		.subprotocols = RUNTIME_BATCH_SUBPROTOCOL,
		.max_message_bytes = RUNTIME_BATCH_BYTES_MAX,
		.connect_timeout_ms = source->sources->timeout_ms,
	};
	if (source->sources->open >= source->sources->max_open)
		return -EMFILE;
	return ws_client_open(
		&source->client, source->sources->context, &config, &client_handler, source);
}

static void connect_now(struct source *source)
{
	if (source->client != NULL) { /* no hello in time */
		source->failure = (struct source_failure){
			DIAGNOSTIC_BACKEND_RUNTIME_TIMEOUT, false};
		source->has_failure = true;
		ws_client_close(source->client);
		return;
	}
	if (source->sources->connects++ > 0 && source->backoff.attempts > 0)
		source->sources->reconnects++;
	source->state = SOURCE_CONNECTING;
	int r = open_client(source);
	if (r == 0) {
		source->sources->open++;
		return;
	}
	source->client = NULL;
	log_source(source, LOG_WARNING, strerror(-r));
	source->in_callback = true;
	on_failure(source, (struct source_failure){DIAGNOSTIC_BACKEND_RUNTIME_UNAVAILABLE, false});
	source->in_callback = false;
}

int source_open(struct source **out, struct sources *sources, const struct runtime *runtime,
	const char *worker_id, enum source_from from, const struct cursor *cursor,
	const struct source_handler *handler, void *owner)
{
	struct source *source = calloc(1, sizeof(*source));
	if (source == NULL)
		return -ENOMEM;
	int r = runtime_batch_reader_init(&source->reader);
	if (r < 0) {
		free(source);
		return r;
	}
	source->sources = sources;
	source->runtime = runtime;
	source->handler = handler;
	source->owner = owner;
	source->from = from;
	source->backoff = (struct backoff){.base_ms = BACKOFF_BASE_MS, .cap_ms = BACKOFF_CAP_MS};
	bool valid = id_set(&source->worker_id, worker_id, strlen(worker_id));
	assert(valid);
	(void)valid;
	if (cursor != NULL)
		source->last = *cursor;
	uv_timer_init(sources->loop, &source->timer);
	source->timer.data = source;
	/* The first attempt too comes from the loop: no callbacks from within source_open(). */
	source->state = SOURCE_WAITING;
	uv_timer_start(&source->timer, source_on_timer, 0, 0);
	*out = source;
	return 0;
}

void *source_owner(const struct source *source)
{
	return source->owner;
}

void source_close(struct source *source)
{
	if (source == NULL)
		return;
	assert(!source->in_callback && source->state != SOURCE_CLOSED);
	source->state = SOURCE_CLOSED;
	uv_close((uv_handle_t *)&source->timer, source_on_timer_closed);
	if (source->client != NULL)
		ws_client_close(source->client);
}

void source_pause(struct source *source)
{
	if (source->paused)
		return;
	source->paused = true;
	if (source->client != NULL && source->state == SOURCE_CONNECTED)
		ws_client_pause(source->client);
}

void source_resume(struct source *source)
{
	if (!source->paused)
		return;
	source->paused = false;
	if (source->client != NULL && source->state == SOURCE_CONNECTED)
		ws_client_resume(source->client);
}

bool source_is_connected(const struct source *source)
{
	return source->state == SOURCE_CONNECTED && !source->troubled;
}
