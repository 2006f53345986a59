#include "proto/runtime_batch.h"

#include <errno.h>
#include <string.h>

#include "proto/message.h"
#include "proto/msgpack_check.h"

enum {
	ARRAY_32 = 0xdd,
	ARRAY_HEAD_BYTES = 5,
	ITEM_DEPTH_MAX = 4,         /* the array, a map, the map in it, and room for one more */
	ELEMENTS_PER_ITEM_MAX = 40, /* members of both maps, twice; an event has 17 */
	ITEM_OVERHEAD_BYTES = 512,
	ZONE_CHUNK_BYTES = 64 * 1024,
};

/* ---- writing ---- */

static int append_packed(void *data, const char *bytes, size_t len)
{
	struct runtime_batch_writer *writer = data;
	if (writer->error == 0)
		writer->error = buf_append(writer->buf, bytes, len);
	return writer->error;
}

void runtime_batch_begin(struct runtime_batch_writer *writer, struct buf *buf)
{
	static const uint8_t head[ARRAY_HEAD_BYTES] = {ARRAY_32};
	*writer = (struct runtime_batch_writer){.buf = buf, .start = buf->len};
	msgpack_packer_init(&writer->packer, writer, append_packed);
	writer->error = buf_append(buf, head, sizeof(head));
}

static void pack_text(struct runtime_batch_writer *writer, const char *text, size_t len)
{
	msgpack_pack_str(&writer->packer, len);
	msgpack_pack_str_body(&writer->packer, text, len);
}

static void pack_name(struct runtime_batch_writer *writer, const char *name)
{
	pack_text(writer, name, strlen(name));
}

static void pack_text_member(
	struct runtime_batch_writer *writer, const char *name, const char *value)
{
	if (value == NULL)
		return;
	pack_name(writer, name);
	pack_name(writer, value);
}

static void pack_int_member(struct runtime_batch_writer *writer, const char *name, int64_t value)
{
	pack_name(writer, name);
	msgpack_pack_int64(&writer->packer, value);
}

/* {"kind":KIND,BODY: — the body's value follows. */
static void begin_item(struct runtime_batch_writer *writer, const char *kind, const char *body)
{
	msgpack_pack_map(&writer->packer, 2);
	pack_text_member(writer, "kind", kind);
	pack_name(writer, body);
	writer->items++;
}

void runtime_batch_add_event(struct runtime_batch_writer *writer, const struct runtime_event *event)
{
	char cursor[CURSOR_TEXT_BYTES + 1];
	cursor_format(&event->cursor, cursor);
	begin_item(writer, "event", "envelope");
	msgpack_pack_map(&writer->packer, event->has_source_ts ? 6 : 5);
	pack_text_member(writer, "cursor", cursor);
	pack_text_member(writer, "event_id", cursor);
	pack_text_member(writer, "worker_id", event->worker_id.text);
	pack_int_member(writer, "ts_ms", event->ts_ms);
	if (event->has_source_ts)
		pack_int_member(writer, "source_ts_ms", event->source_ts_ms);
	pack_name(writer, "payload");
	msgpack_pack_bin(&writer->packer, event->payload_len);
	msgpack_pack_bin_body(&writer->packer, event->payload, event->payload_len);
}

void runtime_batch_add_diagnostic(struct runtime_batch_writer *writer, enum diagnostic diagnostic,
	const struct diagnostic_details *details)
{
	const struct diagnostic_row *row = diagnostic_row(diagnostic);
	const char *retry = diagnostic_retry_name(row->retry);
	const char *const texts[] = {
		retry, details->oldest, details->from, details->to, details->cursor};
	const int64_t numbers[] = {details->behind, details->retry_after_ms};
	uint32_t members = 3;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		members += texts[i] != NULL;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		members += numbers[i] >= 0;
	begin_item(writer, "diagnostic", "diagnostic");
	msgpack_pack_map(&writer->packer, members);
	pack_text_member(writer, "code", row->code);
	pack_text_member(writer, "message", row->message);
	pack_name(writer, "final");
	if (diagnostic_is_final(diagnostic, details))
		msgpack_pack_true(&writer->packer);
	else
		msgpack_pack_false(&writer->packer);
	pack_text_member(writer, "retry", retry);
	pack_text_member(writer, "oldest", details->oldest);
	pack_text_member(writer, "from", details->from);
	pack_text_member(writer, "to", details->to);
	pack_text_member(writer, "cursor", details->cursor);
	if (details->behind >= 0)
		pack_int_member(writer, "behind", details->behind);
	if (details->retry_after_ms >= 0)
		pack_int_member(writer, "retry_after_ms", details->retry_after_ms);
}

void runtime_batch_add_hello(struct runtime_batch_writer *writer, const struct hello *hello)
{
	begin_item(writer, "hello", "hello");
	msgpack_pack_map(&writer->packer, 1u + (hello->max_lifetime_s != 0) +
						  (hello->oldest != NULL) +
						  (hello->newest != NULL));
	pack_int_member(writer, "heartbeat_s", (int64_t)hello->heartbeat_s);
	if (hello->max_lifetime_s != 0)
		pack_int_member(writer, "max_lifetime_s", (int64_t)hello->max_lifetime_s);
	pack_text_member(writer, "oldest", hello->oldest);
	pack_text_member(writer, "newest", hello->newest);
}

static void add_position(
	struct runtime_batch_writer *writer, const char *kind, const struct cursor *cursor)
{
	char text[CURSOR_TEXT_BYTES + 1];
	cursor_format(cursor, text);
	begin_item(writer, kind, "cursor");
	pack_name(writer, text);
}

void runtime_batch_add_caught_up(struct runtime_batch_writer *writer, const struct cursor *cursor)
{
	add_position(writer, "caught_up", cursor);
}

void runtime_batch_add_bookmark(struct runtime_batch_writer *writer, const struct cursor *cursor)
{
	add_position(writer, "bookmark", cursor);
}

bool runtime_batch_is_empty(const struct runtime_batch_writer *writer)
{
	return writer->items == 0;
}

bool runtime_batch_is_full(const struct runtime_batch_writer *writer, size_t payload_len)
{
	size_t len = writer->buf->len - writer->start;
	return writer->items > 0 &&
	       (writer->items >= RUNTIME_BATCH_ITEMS_MAX ||
		       len + payload_len + ITEM_OVERHEAD_BYTES > RUNTIME_BATCH_BYTES);
}

int runtime_batch_end(struct runtime_batch_writer *writer)
{
	if (writer->error < 0) {
		writer->buf->len = writer->start;
		return writer->error;
	}
	uint8_t *count = writer->buf->data + writer->start + 1;
	for (int i = 0; i < 4; i++)
		count[i] = (uint8_t)(writer->items >> (24 - 8 * i));
	return 0;
}

/* ---- reading ---- */

int runtime_batch_reader_init(struct runtime_batch_reader *reader)
{
	*reader = (struct runtime_batch_reader){.zone = msgpack_zone_new(ZONE_CHUNK_BYTES)};
	return reader->zone != NULL ? 0 : -ENOMEM;
}

void runtime_batch_reader_free(struct runtime_batch_reader *reader)
{
	if (reader->zone != NULL)
		msgpack_zone_free(reader->zone);
	*reader = (struct runtime_batch_reader){0};
}

static int malformed(const char **why, const char *text)
{
	*why = text;
	return RUNTIME_BATCH_MALFORMED;
}

int runtime_batch_open(
	struct runtime_batch_reader *reader, const uint8_t *bytes, size_t len, const char **why)
{
	reader->count = reader->next = 0;
	if (len > RUNTIME_BATCH_BYTES_MAX)
		return malformed(why, "batch too long");
	msgpack_object object;
	int r = msgpack_check_and_unpack(reader->zone, bytes, len, ITEM_DEPTH_MAX,
		RUNTIME_BATCH_ITEMS_MAX * ELEMENTS_PER_ITEM_MAX, &object, why);
	if (r != MSGPACK_CHECK_OK)
		return r < 0 ? r : RUNTIME_BATCH_MALFORMED;
	if (!field_array(&object, &reader->items, &reader->count))
		return malformed(why, "batch is not an array");
	if (reader->count > RUNTIME_BATCH_ITEMS_MAX) {
		reader->count = 0;
		return malformed(why, "too many items in a batch");
	}
	return RUNTIME_BATCH_OK;
}

static bool is_text(const msgpack_object *field, const char *expected)
{
	return field != NULL && field->type == MSGPACK_OBJECT_STR &&
	       field->via.str.size == strlen(expected) &&
	       memcmp(field->via.str.ptr, expected, field->via.str.size) == 0;
}

static bool read_cursor(const msgpack_object *map, const char *name, struct cursor *out)
{
	const msgpack_object *field = field_map_get(map, name);
	const char *text;
	size_t len;
	return field != NULL && field_text(field, &text, &len, CURSOR_TEXT_BYTES) &&
	       cursor_parse(text, len, out);
}

/* Absent is good; there and no cursor is not. */
static bool read_optional_cursor(
	const msgpack_object *map, const char *name, bool *has, struct cursor *out)
{
	*has = field_map_get(map, name) != NULL;
	return !*has || read_cursor(map, name, out);
}

static int read_event(const msgpack_object *envelope, struct runtime_event *event, const char **why)
{
	struct cursor event_id;
	const char *worker;
	size_t worker_len;
	if (!read_cursor(envelope, "cursor", &event->cursor) ||
		!read_cursor(envelope, "event_id", &event_id))
		return malformed(why, "event without cursor and id");
	if (event_id.log != event->cursor.log || event_id.epoch != event->cursor.epoch ||
		event_id.sequence != event->cursor.sequence)
		return malformed(why, "event's id is not its cursor");
	const msgpack_object *field = field_map_get(envelope, "worker_id");
	if (field == NULL || !field_text(field, &worker, &worker_len, ID_BYTES_MAX) ||
		!id_set(&event->worker_id, worker, worker_len))
		return malformed(why, "event without a worker id");
	field = field_map_get(envelope, "ts_ms");
	if (field == NULL || !field_i64(field, &event->ts_ms))
		return malformed(why, "event without a time");
	field = field_map_get(envelope, "source_ts_ms");
	event->has_source_ts = field != NULL;
	if (field != NULL && !field_i64(field, &event->source_ts_ms))
		return malformed(why, "source time is not a number");
	field = field_map_get(envelope, "payload");
	if (field == NULL || field->type != MSGPACK_OBJECT_BIN ||
		field->via.bin.size > EVENT_BYTES_MAX)
		return malformed(why, "event without a payload");
	event->payload = (const uint8_t *)field->via.bin.ptr;
	event->payload_len = field->via.bin.size;
	return RUNTIME_BATCH_OK;
}

static void copy_code(char out[64], const char *code, size_t len)
{
	size_t n = 0;
	for (; n < len && n < 63 && code[n] > ' ' && code[n] < 0x7f; n++)
		out[n] = code[n];
	out[n] = '\0';
}

static int read_diagnostic(
	const msgpack_object *map, struct runtime_diagnostic *diagnostic, const char **why)
{
	const char *code;
	size_t len;
	const msgpack_object *field = field_map_get(map, "code");
	if (field == NULL || !field_text(field, &code, &len, NAME_BYTES_MAX))
		return malformed(why, "diagnostic without a code");
	diagnostic->diagnostic = diagnostic_by_code(code, len);
	copy_code(diagnostic->code, code, len);
	field = field_map_get(map, "final");
	if (field == NULL || !field_bool(field, &diagnostic->final))
		return malformed(why, "diagnostic does not say whether it is final");
	if (!read_optional_cursor(map, "oldest", &diagnostic->has_oldest, &diagnostic->oldest) ||
		!read_optional_cursor(map, "from", &diagnostic->has_from, &diagnostic->from) ||
		!read_optional_cursor(map, "to", &diagnostic->has_to, &diagnostic->to))
		return malformed(why, "diagnostic with a malformed cursor");
	diagnostic->retry_after_ms = -1;
	field = field_map_get(map, "retry_after_ms");
	if (field != NULL &&
		(!field_i64(field, &diagnostic->retry_after_ms) || diagnostic->retry_after_ms < 0))
		return malformed(why, "diagnostic with a malformed retry_after_ms");
	return RUNTIME_BATCH_OK;
}

static int read_hello(const msgpack_object *map, struct runtime_hello *hello, const char **why)
{
	*hello = (struct runtime_hello){0};
	const msgpack_object *field = field_map_get(map, "heartbeat_s");
	if (field != NULL && !field_u64(field, &hello->heartbeat_s))
		return malformed(why, "hello with a malformed heartbeat_s");
	field = field_map_get(map, "max_lifetime_s");
	if (field != NULL && !field_u64(field, &hello->max_lifetime_s))
		return malformed(why, "hello with a malformed max_lifetime_s");
	if (!read_optional_cursor(map, "oldest", &hello->has_oldest, &hello->oldest) ||
		!read_optional_cursor(map, "newest", &hello->has_newest, &hello->newest))
		return malformed(why, "hello with a malformed cursor");
	return RUNTIME_BATCH_OK;
}

static int read_position(const msgpack_object *item, struct cursor *cursor, const char **why)
{
	return read_cursor(item, "cursor", cursor) ? RUNTIME_BATCH_OK
						   : malformed(why, "position without a cursor");
}

/* RUNTIME_BATCH_END for a kind that is not known. */
static int read_item(const msgpack_object *item, struct runtime_item *out, const char **why)
{
	const msgpack_object *kind = field_map_get(item, "kind");
	if (kind == NULL || kind->type != MSGPACK_OBJECT_STR)
		return malformed(why, "item without a kind");
	const msgpack_object *envelope = field_map_get(item, "envelope");
	const msgpack_object *diagnostic = field_map_get(item, "diagnostic");
	const msgpack_object *hello = field_map_get(item, "hello");
	if (is_text(kind, "event") && envelope != NULL) {
		out->kind = RUNTIME_EVENT;
		return read_event(envelope, &out->event, why);
	}
	if (is_text(kind, "diagnostic") && diagnostic != NULL) {
		out->kind = RUNTIME_DIAGNOSTIC;
		return read_diagnostic(diagnostic, &out->diagnostic, why);
	}
	if (is_text(kind, "hello") && hello != NULL) {
		out->kind = RUNTIME_HELLO;
		return read_hello(hello, &out->hello, why);
	}
	if (is_text(kind, "caught_up")) {
		out->kind = RUNTIME_CAUGHT_UP;
		return read_position(item, &out->cursor, why);
	}
	if (is_text(kind, "bookmark")) {
		out->kind = RUNTIME_BOOKMARK;
		return read_position(item, &out->cursor, why);
	}
	if (is_text(kind, "event") || is_text(kind, "diagnostic") || is_text(kind, "hello"))
		return malformed(why, "item without its body");
	return RUNTIME_BATCH_END;
}

int runtime_batch_next(
	struct runtime_batch_reader *reader, struct runtime_item *out, const char **why)
{
	while (reader->next < reader->count) {
		int r = read_item(&reader->items[reader->next++], out, why);
		if (r != RUNTIME_BATCH_END)
			return r;
	}
	return RUNTIME_BATCH_END;
}
