#include "backend-relay/projector/pass.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "backend-relay/projector/answer.h"
#include "backend-relay/projector/projector_private.h"
#include "proto/base/clock.h"
#include "proto/base/journal.h"
#include "proto/envelope.h"
#include "proto/limits.h"
#include "proto/ws/ws_frames.h"

enum {
	HOLD_BASE_MS = 500,
	HOLD_CAP_MS = 30000,
	REVISION_BYTES_MAX = 256,
};

/* ---- the projected event, and the only way to make one ---- */

struct projected_event {
	unsigned int refs;
	bool redacted;
	struct ws_frames *frames;
};

struct projected_event *projected_event_ref(struct projected_event *event)
{
	event->refs++;
	return event;
}

void projected_event_unref(struct projected_event *event)
{
	if (event == NULL || --event->refs > 0)
		return;
	ws_frames_unref(event->frames);
	free(event);
}

struct ws_frames *projected_event_frames(const struct projected_event *event)
{
	return event->frames;
}

bool projected_event_is_redacted(const struct projected_event *event)
{
	return event->redacted;
}

size_t projected_event_bytes(const struct projected_event *event)
{
	return sizeof(*event) + ws_frames_bytes(event->frames);
}

static struct ws_frames *frame_event(const struct pass *pass, const struct source_event *from,
	const struct client_position *position, const uint8_t *payload, size_t len)
{
	const struct projector_config *config = projector_config(pass->projector);
	char cursor[CLIENT_CURSOR_TEXT_BYTES + 1], id[EVENT_ID_TEXT_BYTES + 1];
	client_cursor_seal(
		config->cursor_keys, pass->runtime_id.text, pass->worker_id.text, position, cursor);
	event_id_format(config->event_id_key, pass->runtime_id.text, pass->worker_id.text,
		&from->position, id);
	const struct envelope envelope = {
		.runtime_id = pass->runtime_id.text,
		.cursor = cursor,
		.event_id = id,
		.worker_id = pass->worker_id.text,
		.ts_ms = from->ts_ms,
		.has_source_ts = from->has_source_ts,
		.source_ts_ms = from->source_ts_ms,
	};
	_cleanup_buf_ struct buf head = {0};
	if (envelope_write_event_head(&head, &envelope) < 0)
		return NULL;
	const struct iovec pieces[] = {
		{head.data, head.len},
		{(void *)(uintptr_t)payload, len},
		{(void *)(uintptr_t)ENVELOPE_EVENT_TAIL, strlen(ENVELOPE_EVENT_TAIL)},
	};
	struct ws_frames *frames = ws_frames_new(head.len + len + strlen(ENVELOPE_EVENT_TAIL));
	if (frames != NULL && ws_frames_add(frames, WS_TEXT, pieces, ARRAY_SIZE(pieces)) < 0) {
		ws_frames_unref(frames);
		frames = NULL;
	}
	return frames;
}

/* `payload`: the bytes of a verdict `rewrite`; NULL after `pass`, which lets the original through.
 */
static struct projected_event *projected_event_new(const struct pass *pass,
	const struct source_event *from, const struct client_position *position,
	const uint8_t *payload, size_t len)
{
	struct projected_event *event = malloc(sizeof(*event));
	struct ws_frames *frames = payload != NULL ? frame_event(pass, from, position, payload, len)
						   : frame_event(pass, from, position,
							     from->payload, from->len);
	if (event == NULL || frames == NULL) {
		free(event);
		ws_frames_unref(frames);
		return NULL;
	}
	*event = (struct projected_event){1, payload != NULL, frames};
	return event;
}

/* ---- opening and closing ---- */

static void release_item(void *element)
{
	source_item_release(&((struct pass_item *)element)->source);
}

int pass_open(struct pass **out, struct projector *projector, const char *role,
	const char *runtime_id, const char *worker_id, const struct pass_handler *handler,
	void *owner)
{
	struct pass *pass = calloc(1, sizeof(*pass));
	if (pass == NULL)
		return -ENOMEM;
	pass->projector = projector;
	pass->handler = handler;
	pass->owner = owner;
	bool valid = id_set(&pass->role, role, strlen(role)) &&
		     id_set(&pass->runtime_id, runtime_id, strlen(runtime_id)) &&
		     id_set(&pass->worker_id, worker_id, strlen(worker_id));
	assert(valid);
	(void)valid;
	pass->hold = (struct backoff){.base_ms = HOLD_BASE_MS, .cap_ms = HOLD_CAP_MS};
	ring_init(&pass->items, sizeof(struct pass_item), SIZE_MAX, SIZE_MAX, release_item);
	ring_number_from(&pass->items, projector_first_ticket(projector));
	projector_add_pass(projector, pass);
	*out = pass;
	return 0;
}

void pass_close(struct pass *pass)
{
	if (pass == NULL)
		return;
	assert(!pass->in_callback);
	projector_remove_pass(pass->projector, pass);
	ring_free(&pass->items);
	open_state_free(&pass->open);
	free(pass);
}

void *pass_owner(const struct pass *pass)
{
	return pass->owner;
}

const uint8_t *pass_view(const struct pass *pass)
{
	return pass->view;
}

void pass_set_start(struct pass *pass, const struct cursor *start)
{
	assert(pass->items.first == pass->items.end);
	pass->items.floor = *start;
	pass->has_start = true;
}

/* ---- output ---- */

static struct pass_item *item_at(const struct pass *pass, uint64_t ticket)
{
	return ring_at(&pass->items, ticket);
}

static struct client_position position_after(const struct pass *pass, const struct pass_item *item)
{
	struct client_position position = {.at = item->source.slot.position};
	position.warm_from = pass->open.is_open ? pass->open.from : position.at;
	memcpy(position.view, pass->view, VIEW_DIGEST_BYTES);
	return position;
}

/* The oldest item is done: hands on what comes of it, and forgets it. */
static void complete_first(
	struct pass *pass, enum pass_output_kind kind, struct projected_event *event)
{
	const struct pass_item *item = item_at(pass, pass->items.first);
	struct pass_output output = {
		.kind = kind,
		.before = pass->items.floor,
		.position = position_after(pass, item),
		.event = event,
	};
	if (kind == PASS_NOTICE && item->source.kind == SOURCE_GAP) {
		output.notice = item->source.gap;
		output.from = item->source.from;
		output.to = item->source.to;
	} else if (kind == PASS_NOTICE) {
		output.notice = DIAGNOSTIC_BACKEND_EVENT_WITHHELD;
		output.from = output.to = item->source.slot.position;
	}
	if (!item->warm) {
		pass->in_callback = true;
		pass->handler->on_output(pass, &output);
		pass->in_callback = false;
	}
	ring_drop_before(&pass->items, pass->items.first + 1);
	if (pass->sent < pass->items.first)
		pass->sent = pass->items.first;
}

static bool needs_verdict(const struct pass_item *item)
{
	return item->source.kind == SOURCE_EVENT || item->source.kind == SOURCE_GAP;
}

/* There are events, and no bytes of them to judge. */
static bool is_missing(const struct pass_item *item)
{
	return item->source.kind == SOURCE_GAP || item->withheld;
}

/* Completes what stands first and needs no verdict. */
static void settle(struct pass *pass)
{
	while (pass->items.first < pass->items.end) {
		switch (item_at(pass, pass->items.first)->source.kind) {
		case SOURCE_EVENT:
		case SOURCE_GAP:
			return;
		case SOURCE_POSITION:
			complete_first(pass, PASS_SILENT, NULL);
			break;
		case SOURCE_CAUGHT_UP:
			complete_first(pass, PASS_CAUGHT_UP, NULL);
			break;
		}
	}
}

static size_t full_bytes(const struct pass *pass)
{
	return projector_config(pass->projector)->pass_bytes;
}

static void tell_room(struct pass *pass)
{
	if (!pass->was_full || pass->items.bytes > full_bytes(pass) / 2 ||
		pass->items.end - pass->items.first > PASS_ITEMS_MAX / 2)
		return;
	pass->was_full = false;
	pass->in_callback = true;
	pass->handler->on_room(pass);
	pass->in_callback = false;
}

bool pass_is_full(struct pass *pass)
{
	bool full = pass->items.bytes >= full_bytes(pass) ||
		    pass->items.end - pass->items.first >= PASS_ITEMS_MAX;
	pass->was_full |= full;
	return full;
}

bool pass_is_held(const struct pass *pass)
{
	return pass->held_until_ns > clock_monotonic_ns();
}

/* ---- input ---- */

static bool is_poisonous(const struct pass *pass, const struct source_item *item, uint64_t now_ns)
{
	const struct blame *blame = projector_blame(pass->projector);
	return blame->count > 0 && item->kind == SOURCE_EVENT &&
	       blame_is_poisonous(
		       blame, &pass->runtime_id, &pass->worker_id, &item->slot.position, now_ns);
}

int pass_submit(struct pass *pass, const struct source_item *item, bool warm)
{
	if (!pass->has_start) {
		/* The first event of a stream from a keyframe: it begins just before it. */
		struct cursor start = item->slot.position;
		if (item->kind == SOURCE_EVENT && start.sequence > 0)
			start.sequence--;
		pass_set_start(pass, &start);
	}
	struct pass_item element = {
		.source = source_item_copy(item),
		.warm = warm,
		.withheld = is_poisonous(pass, item, clock_monotonic_ns()),
	};
	int r = ring_push(&pass->items, &element);
	if (r < 0) {
		release_item(&element);
		return r;
	}
	if (pass->state == PASS_OPEN)
		settle(pass);
	projector_pump_soon(pass->projector);
	return 0;
}

static uint64_t next_to_send(const struct pass *pass)
{
	uint64_t ticket = pass->sent > pass->items.first ? pass->sent : pass->items.first;
	while (ticket < pass->items.end && !needs_verdict(item_at(pass, ticket)))
		ticket++;
	return ticket;
}

bool pass_wants_to_send(const struct pass *pass, uint64_t now_ns)
{
	return pass->state == PASS_OPEN && pass->held_until_ns <= now_ns &&
	       next_to_send(pass) < pass->items.end;
}

bool pass_is_suspect(const struct pass *pass, uint64_t now_ns)
{
	return pass_wants_to_send(pass, now_ns) && next_to_send(pass) < pass->suspect_end;
}

/*
 * What is missing is asked about without bytes. That is refused, and projection knows that it
 * did not see everything: it shows nothing of a text that may go on behind it.
 */
static size_t bytes_to_send(const struct pass_item *item)
{
	return is_missing(item) ? 0 : item->source.event->len;
}

/* How many events go into one PROJECT, and the ticket behind them. */
static uint32_t measure_batch(
	const struct pass *pass, uint64_t first, uint32_t max_events, uint64_t *end)
{
	uint32_t count = 0;
	size_t bytes = 0;
	uint64_t ticket = first;
	for (; ticket < pass->items.end && count < max_events; ticket++) {
		const struct pass_item *item = item_at(pass, ticket);
		if (!needs_verdict(item))
			continue;
		if (count > 0 && bytes + bytes_to_send(item) > BATCH_BYTES)
			break;
		bytes += bytes_to_send(item);
		count++;
	}
	*end = ticket;
	return count;
}

int pass_write_project(struct pass *pass, struct buf *out, uint32_t max_events)
{
	uint64_t first = next_to_send(pass), end;
	uint32_t count = measure_batch(pass, first, max_events, &end);
	if (count == 0)
		return 0;
	struct message_writer writer;
	message_begin(&writer, out, MESSAGE_PROJECT);
	write_u64(&writer, pass->pass_id);
	write_array(&writer, count);
	for (uint64_t ticket = first; ticket < end; ticket++) {
		const struct pass_item *item = item_at(pass, ticket);
		if (!needs_verdict(item))
			continue;
		write_array(&writer, 3);
		write_u64(&writer, ticket);
		write_bool(&writer, item->warm);
		write_bin(&writer,
			is_missing(item) ? (const void *)"" : item->source.event->payload,
			bytes_to_send(item));
	}
	int r = message_end(&writer);
	if (r < 0)
		return r;
	pass->sent = end;
	return (int)count;
}

/* ---- answers ---- */

static void end_pass(struct pass *pass, void (*tell)(struct pass *pass))
{
	pass->state = PASS_OVER;
	pass->in_callback = true;
	tell(pass);
	pass->in_callback = false;
}

bool pass_on_projection_opened(struct pass *pass, const struct message *message)
{
	const uint8_t *revision;
	size_t len;
	bool allow;
	uint8_t view[VIEW_DIGEST_BYTES];
	if (!projector_read_verdict(&message->field[1], &allow))
		return false;
	if (!allow) {
		end_pass(pass, pass->was_opened ? pass->handler->on_view_changed
						: pass->handler->on_denied);
		return true;
	}
	if (!field_bytes(&message->field[2], &revision, &len) || len > REVISION_BYTES_MAX)
		return false;
	pass->is_known = true;
	client_cursor_view_digest(revision, len, view);
	if (pass->was_opened && memcmp(view, pass->view, sizeof(view)) != 0) {
		end_pass(pass, pass->handler->on_view_changed);
		return true;
	}
	if (pass->open.is_open) {
		end_pass(pass, pass->handler->on_state_lost);
		return true;
	}
	bool first_time = !pass->was_opened;
	memcpy(pass->view, view, sizeof(view));
	pass->state = PASS_OPEN;
	pass->was_opened = true;
	pass->in_callback = true;
	if (first_time)
		pass->handler->on_opened(pass);
	if (pass->troubled)
		pass->handler->on_recovered(pass);
	pass->troubled = false;
	pass->in_callback = false;
	settle(pass);
	tell_room(pass);
	return true;
}

/* False without memory; then nothing has changed. */
static bool take_open_since(struct pass *pass, const struct answer *answer)
{
	if (!answer->has_open_since) {
		open_state_close(&pass->open);
		return true;
	}
	const struct cursor before = ring_position_before(&pass->items, answer->ticket);
	return open_state_update(&pass->open, answer->ticket, &before, answer->open_since) ==
	       OPEN_STATE_OK;
}

static bool deliver(struct pass *pass, const struct pass_item *item, const struct answer *answer)
{
	const struct client_position position = position_after(pass, item);
	struct projected_event *event = projected_event_new(
		pass, item->source.event, &position, answer->payload, answer->len);
	if (event == NULL) {
		/* It will be asked again, and what was known before it is forgotten already. */
		pass->open.is_open = true;
		return false;
	}
	struct projector_counters *counters = projector_count(pass->projector);
	*(answer->payload != NULL ? &counters->rewritten : &counters->passed) += 1;
	complete_first(pass, PASS_EVENT, event);
	projected_event_unref(event);
	return true;
}

/* The answer for the oldest item. It is taken whole or not at all. */
static bool take_answer(struct pass *pass, const msgpack_object *from)
{
	struct answer answer;
	settle(pass);
	if (pass->items.first >= pass->sent)
		return false;
	const struct pass_item *item = item_at(pass, pass->items.first);
	if (!answer_read(&answer, from, item->warm) || answer.ticket != pass->items.first ||
		!take_open_since(pass, &answer))
		return false;
	struct projector_counters *counters = projector_count(pass->projector);
	if (item->warm) {
		counters->warm++;
		complete_first(pass, PASS_SILENT, NULL);
		return true;
	}
	if (is_missing(item)) {
		counters->refused += item->withheld;
		counters->withheld += item->withheld;
		complete_first(pass, PASS_NOTICE, NULL);
		return true;
	}
	switch (answer.verdict) {
	case ANSWER_PASS:
	case ANSWER_REWRITE:
		return deliver(pass, item, &answer);
	case ANSWER_DENY:
		counters->denied++;
		complete_first(pass, PASS_DENIED, NULL);
		break;
	case ANSWER_REFUSED:
		counters->refused++;
		complete_first(pass, PASS_NOTICE, NULL);
		break;
	}
	return true;
}

bool pass_on_projection_verdicts(
	struct pass *pass, const struct request *request, const struct message *message)
{
	const msgpack_object *answers;
	uint32_t count;
	if (pass->state == PASS_OVER)
		return true;
	if (pass->state != PASS_OPEN || !field_array(&message->field[1], &answers, &count) ||
		count != request->count)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!take_answer(pass, &answers[i]))
			return false;
	}
	settle(pass);
	tell_room(pass);
	if (pass->items.first >= pass->suspect_end) {
		backoff_reset(&pass->hold);
		pass->held_until_ns = 0;
	}
	return true;
}

void pass_blame_first(struct pass *pass, uint64_t now_ns)
{
	const struct cursor *position = &item_at(pass, pass->items.first)->source.slot.position;
	if (blame_add(projector_blame(pass->projector), &pass->runtime_id, &pass->worker_id,
		    position, now_ns) < DEATHS_MAX) {
		uint64_t hold_ms = HOLD_BASE_MS / 2 +
				   backoff_next_ms(&pass->hold, randombytes_random());
		pass->held_until_ns = now_ns + NS_PER_MS * hold_ms;
		return;
	}
	char id[EVENT_ID_TEXT_BYTES + 1];
	event_id_format(projector_config(pass->projector)->event_id_key, pass->runtime_id.text,
		pass->worker_id.text, position, id);
	journal(LOG_ERR, "event %s of worker %s at runtime %s ended projection %d times, withheld",
		id, pass->worker_id.text, pass->runtime_id.text, DEATHS_MAX);
	pass->held_until_ns = 0;
}

void pass_on_projection_gone(struct pass *pass, uint64_t now_ns)
{
	pass->is_known = false;
	if (pass->state == PASS_OVER)
		return;
	if (pass->sent > pass->suspect_end)
		pass->suspect_end = pass->sent;
	pass->sent = pass->items.first;
	for (uint64_t i = pass->items.first; i < pass->suspect_end; i++)
		item_at(pass, i)->withheld |= is_poisonous(pass, &item_at(pass, i)->source, now_ns);
	pass->state = PASS_CLOSED;
	if (pass->troubled)
		return;
	pass->troubled = true;
	pass->in_callback = true;
	pass->handler->on_trouble(pass);
	pass->in_callback = false;
}
