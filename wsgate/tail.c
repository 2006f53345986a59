#include "wsgate/tail.h"

#include <errno.h>
#include <string.h>

#include "proto/base/unix_socket.h"
#include "proto/limits.h"

enum {
	QUEUED_BYTES_MAX = 64 * 1024, /* our requests are small */
	REQUEST_ID = 1,               /* one connection asks one thing at a time of each kind */
};

static void tail_end(struct tail *tail, const char *why)
{
	if (tail->ended || tail->closing)
		return;
	tail->ended = true;
	uv_timer_stop(&tail->deadline);
	channel_pause(&tail->channel);
	tail->handler->on_end(tail, why);
}

/* ---- asking ---- */

static void tail_on_deadline(uv_timer_t *timer)
{
	tail_end(timer->data, "no answer in time");
}

static void begin(struct tail *tail, struct message_writer *writer, enum message_type type)
{
	tail->out.len = 0;
	message_begin(writer, &tail->out, type);
}

static void send_request(struct tail *tail, struct message_writer *writer)
{
	int r = message_end(writer);
	if (r == 0)
		r = channel_send(&tail->channel, tail->out.data, tail->out.len);
	/* A request that is lost makes the deadline come. */
	tail->answers_awaited++;
	uint64_t timeout_ms = r == CHANNEL_OK ? TAIL_ANSWER_TIMEOUT_MS : 0;
	uv_timer_start(&tail->deadline, tail_on_deadline, timeout_ms, 0);
}

static void answered(struct tail *tail)
{
	if (tail->answers_awaited > 0 && --tail->answers_awaited == 0)
		uv_timer_stop(&tail->deadline);
}

static void tail_greet(struct tail *tail)
{
	struct message_writer writer;
	begin(tail, &writer, MESSAGE_HELLO);
	write_u64(&writer, PROTOCOL_VERSION);
	write_text(&writer, "wsgate");
	send_request(tail, &writer);
}

void tail_ask_status(struct tail *tail)
{
	struct message_writer writer;
	begin(tail, &writer, MESSAGE_STATUS);
	write_u64(&writer, REQUEST_ID);
	send_request(tail, &writer);
}

void tail_ask_workers(struct tail *tail, const char *after, size_t after_len, uint64_t limit)
{
	struct message_writer writer;
	begin(tail, &writer, MESSAGE_WORKERS);
	write_u64(&writer, REQUEST_ID);
	if (after == NULL)
		write_nil(&writer);
	else
		write_bin(&writer, after, after_len);
	write_u64(&writer, limit);
	send_request(tail, &writer);
}

void tail_subscribe(struct tail *tail, const char *worker_id, const struct tail_start *start)
{
	static const char *const words[] = {
		[TAIL_FROM_CURSOR] = "cursor",
		[TAIL_FROM_KEYFRAME] = "keyframe",
		[TAIL_FROM_OLDEST] = "oldest",
		[TAIL_FROM_NEWEST] = "newest",
	};
	char cursor[CURSOR_TEXT_BYTES + 1];
	struct message_writer writer;
	begin(tail, &writer, MESSAGE_SUBSCRIBE);
	write_u64(&writer, REQUEST_ID);
	if (worker_id == NULL) {
		write_nil(&writer);
	} else {
		write_array(&writer, 1);
		write_text(&writer, worker_id);
	}
	write_array(&writer, start->from == TAIL_FROM_CURSOR ? 2 : 1);
	write_text(&writer, words[start->from]);
	if (start->from == TAIL_FROM_CURSOR) {
		cursor_format(&start->cursor, cursor);
		write_text(&writer, cursor);
	}
	write_bool(&writer, true);
	send_request(tail, &writer);
}

/* ---- answers ---- */

static bool read_cursor(const msgpack_object *map, const char *name, struct cursor *out)
{
	const char *text;
	size_t len;
	const msgpack_object *field = field_map_get(map, name);
	return field != NULL && field_text(field, &text, &len, CURSOR_TEXT_BYTES) &&
	       cursor_parse(text, len, out);
}

static bool read_number(const msgpack_object *map, const char *name, uint64_t max, uint64_t *out)
{
	const msgpack_object *field = field_map_get(map, name);
	return field != NULL && field_u64(field, out) && *out <= max;
}

static bool read_epochs(const msgpack_object *map, struct tail_status *status)
{
	const msgpack_object *items, *pair, *field = field_map_get(map, "epochs");
	uint32_t count, pair_count;
	if (field == NULL || !field_array(field, &items, &count) || count > TAIL_EPOCHS_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t epoch, first;
		if (!field_array(&items[i], &pair, &pair_count) || pair_count != 2 ||
			!field_u64(&pair[0], &epoch) || epoch > UINT16_MAX ||
			!field_u64(&pair[1], &first))
			return false;
		status->epochs[i].epoch = (uint16_t)epoch;
		status->epochs[i].first = first;
	}
	status->epoch_count = count;
	return true;
}

static bool read_status(const msgpack_object *map, struct tail_status *status)
{
	uint64_t epoch;
	*status = (struct tail_status){.map = map};
	if (!read_number(map, "epoch", UINT16_MAX, &epoch) ||
		!read_number(map, "newest_seq", UINT64_MAX, &status->newest) ||
		!read_cursor(map, "oldest_cursor", &status->oldest_cursor) ||
		!read_cursor(map, "newest_cursor", &status->newest_cursor) ||
		!read_epochs(map, status))
		return false;
	status->epoch = (uint16_t)epoch;
	status->log = status->newest_cursor.log;
	status->has_position = field_map_get(map, "position_cursor") != NULL;
	return !status->has_position || read_cursor(map, "position_cursor", &status->position);
}

struct cursor tail_cursor_of(const struct tail_status *status, uint64_t sequence)
{
	struct cursor cursor = {status->log, status->epoch, sequence};
	if (sequence == status->oldest_cursor.sequence)
		return status->oldest_cursor;
	if (sequence > status->newest)
		return cursor; /* written since: nobody else's epoch can have begun */
	uint32_t i = 0;
	while (i + 1 < status->epoch_count && status->epochs[i].first > sequence)
		i++;
	if (i < status->epoch_count)
		cursor.epoch = status->epochs[i].epoch;
	return cursor;
}

static bool tail_on_error(struct tail *tail, const struct message *message)
{
	const char *text;
	size_t len;
	char code[TAIL_CODE_BYTES];
	struct cursor oldest;
	if (!field_text(&message->field[1], &text, &len, sizeof(code) - 1))
		return false;
	memcpy(code, text, len);
	code[len] = '\0';
	bool has_oldest = read_cursor(&message->field[3], "oldest", &oldest);
	answered(tail);
	tail->handler->on_error(tail, code, has_oldest, has_oldest ? &oldest : NULL);
	return true;
}

static bool tail_on_gap(struct tail *tail, const struct message *message)
{
	uint64_t first, last;
	const char *reason;
	size_t len;
	if (!field_u64(&message->field[0], &first) || !field_u64(&message->field[1], &last) ||
		first > last || !field_text(&message->field[2], &reason, &len, NAME_BYTES_MAX))
		return false;
	bool is_pruned = len == strlen("pruned") && memcmp(reason, "pruned", len) == 0;
	tail->handler->on_gap(tail, first, last, is_pruned ? TAIL_GAP_PRUNED : TAIL_GAP_CORRUPT);
	return true;
}

static bool tail_on_welcome(struct tail *tail, const struct message *message)
{
	uint64_t version;
	if (tail->greeted || !field_u64(&message->field[0], &version) ||
		version != PROTOCOL_VERSION)
		return false;
	tail->greeted = true;
	answered(tail);
	tail->handler->on_ready(tail);
	return true;
}

static bool tail_on_status_reply(struct tail *tail, const struct message *message)
{
	struct tail_status status;
	if (!read_status(&message->field[1], &status))
		return false;
	answered(tail);
	tail->handler->on_status(tail, &status);
	return true;
}

static bool tail_on_subscribed(struct tail *tail, const struct message *message)
{
	uint64_t start;
	if (!field_u64(&message->field[1], &start))
		return false;
	answered(tail);
	tail->handler->on_subscribed(tail, start);
	return true;
}

/* False for a message whose fields are not what they must be. */
static bool tail_on_message(struct tail *tail, const struct message *message)
{
	const uint8_t *bytes;
	size_t len;
	uint64_t sequence;
	switch (message->type) {
	case MESSAGE_WELCOME:
		return tail_on_welcome(tail, message);
	case MESSAGE_ERROR:
		return tail_on_error(tail, message);
	case MESSAGE_STATUS_REPLY:
		return tail_on_status_reply(tail, message);
	case MESSAGE_WORKERS_REPLY:
		answered(tail);
		tail->handler->on_workers(tail, &message->field[1]);
		return true;
	case MESSAGE_SUBSCRIBED:
		return tail_on_subscribed(tail, message);
	case MESSAGE_RECORDS:
		if (!field_bytes(&message->field[0], &bytes, &len))
			return false;
		tail->handler->on_records(tail, bytes, len);
		return true;
	case MESSAGE_GAP:
		return tail_on_gap(tail, message);
	case MESSAGE_CAUGHT_UP:
		if (!field_u64(&message->field[0], &sequence))
			return false;
		tail->handler->on_caught_up(tail, sequence);
		return true;
	default:
		return false;
	}
}

static void tail_on_frame(struct channel *channel, const uint8_t *body, size_t len)
{
	struct tail *tail = channel->owner;
	struct message message;
	const char *why = "a field is not what it must be";
	if (tail->ended || tail->closing)
		return;
	int r = message_decode(&tail->decoder, FROM_TAIL, body, len, &message, &why);
	if (r < 0)
		tail_end(tail, "out of memory");
	else if (r != MESSAGE_OK || (!tail->greeted && message.type != MESSAGE_WELCOME &&
					    message.type != MESSAGE_ERROR))
		tail_end(tail, r != MESSAGE_OK ? why : "no WELCOME first");
	else if (!tail_on_message(tail, &message))
		tail_end(tail, why);
}

static void tail_on_channel_end(struct channel *channel, enum channel_end end)
{
	tail_end(channel->owner, channel_end_name(end));
}

/* ---- opening and closing ---- */

int tail_open(struct tail *tail, uv_loop_t *loop, const char *path,
	const struct tail_handler *handler, void *owner)
{
	static const struct channel_handler channel_handler = {
		.on_frame = tail_on_frame, .on_end = tail_on_channel_end};
	static const struct channel_limits limits = {FRAME_BYTES_MAX, QUEUED_BYTES_MAX};
	*tail = (struct tail){.handler = handler, .owner = owner};
	int r = message_decoder_init(&tail->decoder);
	if (r < 0)
		return r;
	int fd = unix_socket_connect(path);
	r = fd < 0 ? fd : channel_open(&tail->channel, loop, fd, &limits, &channel_handler, tail);
	if (r < 0) {
		message_decoder_free(&tail->decoder);
		return r;
	}
	uv_timer_init(loop, &tail->deadline);
	tail->deadline.data = tail;
	tail->handles_open = 2;
	tail_greet(tail);
	return 0;
}

/* While nothing is read no answer can come, so its deadline waits too. */
void tail_pause(struct tail *tail)
{
	if (tail->ended || tail->closing)
		return;
	channel_pause(&tail->channel);
	uv_timer_stop(&tail->deadline);
}

void tail_resume(struct tail *tail)
{
	if (tail->ended || tail->closing)
		return;
	if (tail->answers_awaited > 0)
		uv_timer_start(&tail->deadline, tail_on_deadline, TAIL_ANSWER_TIMEOUT_MS, 0);
	channel_resume(&tail->channel);
}

static void tail_finish(struct tail *tail)
{
	if (--tail->handles_open > 0)
		return;
	message_decoder_free(&tail->decoder);
	buf_free(&tail->out);
	tail->on_closed(tail);
}

static void tail_on_channel_closed(struct channel *channel)
{
	tail_finish(channel->owner);
}

static void tail_on_timer_closed(uv_handle_t *handle)
{
	tail_finish(handle->data);
}

void tail_close(struct tail *tail, void (*on_closed)(struct tail *tail))
{
	if (tail->closing)
		return;
	tail->closing = true;
	tail->on_closed = on_closed;
	channel_close(&tail->channel, tail_on_channel_closed);
	uv_close((uv_handle_t *)&tail->deadline, tail_on_timer_closed);
}
