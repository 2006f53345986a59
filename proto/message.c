#include "proto/message.h"

#include <errno.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/base/utf8.h"
#include "proto/limits.h"
#include "proto/msgpack_check.h"

enum { LENGTH_WORD_BYTES = 4, ZONE_CHUNK_BYTES = 16 * 1024 };

struct message_row {
	const char *name;
	unsigned int sent_by;
	uint32_t arity;
};

static const struct message_row table[] = {
#define MESSAGE(name, number, sent_by, arity) [number] = {#name, sent_by, arity},
#include "proto/messages.def"
#undef MESSAGE
};

static const struct message_row *row_of(uint64_t type)
{
	return type < ARRAY_SIZE(table) && table[type].name != NULL ? &table[type] : NULL;
}

const char *message_name(enum message_type type)
{
	const struct message_row *row = row_of((uint64_t)type);
	return row != NULL ? row->name : "?";
}

int message_decoder_init(struct message_decoder *decoder)
{
	decoder->zone = msgpack_zone_new(ZONE_CHUNK_BYTES);
	return decoder->zone != NULL ? 0 : -ENOMEM;
}

void message_decoder_free(struct message_decoder *decoder)
{
	if (decoder->zone != NULL)
		msgpack_zone_free(decoder->zone);
	decoder->zone = NULL;
}

static int malformed(const char **why, const char *text)
{
	*why = text;
	return MESSAGE_MALFORMED;
}

int message_decode(struct message_decoder *decoder, enum message_sender sender, const uint8_t *body,
	size_t len, struct message *out, const char **why)
{
	msgpack_object object;
	int r = msgpack_check_and_unpack(
		decoder->zone, body, len, MSGPACK_DEPTH_MAX, MSGPACK_ELEMENTS_MAX, &object, why);
	if (r != MSGPACK_CHECK_OK)
		return r < 0 ? r : MESSAGE_MALFORMED;
	if (object.type != MSGPACK_OBJECT_ARRAY || object.via.array.size == 0)
		return malformed(why, "not an array that begins with a type");
	const msgpack_object *fields = object.via.array.ptr;
	uint64_t type;
	const struct message_row *row = field_u64(&fields[0], &type) ? row_of(type) : NULL;
	if (row == NULL)
		return malformed(why, "unknown message type");
	if ((row->sent_by & (unsigned int)sender) == 0)
		return malformed(why, "message type does not go in this direction");
	if (object.via.array.size != row->arity + 1)
		return malformed(why, "wrong number of fields");
	*out = (struct message){(enum message_type)type, fields + 1, row->arity};
	return MESSAGE_OK;
}

bool field_is_nil(const msgpack_object *field)
{
	return field->type == MSGPACK_OBJECT_NIL;
}

bool field_u64(const msgpack_object *field, uint64_t *out)
{
	if (field->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
		return false;
	*out = field->via.u64;
	return true;
}

bool field_i64(const msgpack_object *field, int64_t *out)
{
	if (field->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
		*out = field->via.i64;
		return true;
	}
	if (field->type == MSGPACK_OBJECT_POSITIVE_INTEGER && field->via.u64 <= INT64_MAX) {
		*out = (int64_t)field->via.u64;
		return true;
	}
	return false;
}

bool field_bool(const msgpack_object *field, bool *out)
{
	if (field->type != MSGPACK_OBJECT_BOOLEAN)
		return false;
	*out = field->via.boolean;
	return true;
}

bool field_text(const msgpack_object *field, const char **text, size_t *len, size_t max_len)
{
	if (field->type != MSGPACK_OBJECT_STR || field->via.str.size > max_len)
		return false;
	size_t size = field->via.str.size;
	const char *bytes = size != 0 ? field->via.str.ptr : "";
	if (size != 0 && memchr(bytes, '\0', size) != NULL)
		return false;
	if (!utf8_is_valid((const uint8_t *)bytes, size))
		return false;
	*text = bytes;
	*len = size;
	return true;
}

bool field_bytes(const msgpack_object *field, const uint8_t **bytes, size_t *len)
{
	const char *start;
	uint32_t size;
	if (field->type == MSGPACK_OBJECT_STR) {
		start = field->via.str.ptr;
		size = field->via.str.size;
	} else if (field->type == MSGPACK_OBJECT_BIN) {
		start = field->via.bin.ptr;
		size = field->via.bin.size;
	} else {
		return false;
	}
	/* The library gives NULL for an empty one. */
	*bytes = (const uint8_t *)(size != 0 ? start : "");
	*len = size;
	return true;
}

bool field_array(const msgpack_object *field, const msgpack_object **items, uint32_t *count)
{
	if (field->type != MSGPACK_OBJECT_ARRAY)
		return false;
	*items = field->via.array.ptr;
	*count = field->via.array.size;
	return true;
}

const msgpack_object *field_map_get(const msgpack_object *field, const char *key)
{
	if (field->type != MSGPACK_OBJECT_MAP)
		return NULL;
	size_t key_len = strlen(key);
	for (uint32_t i = 0; i < field->via.map.size; i++) {
		const msgpack_object *name = &field->via.map.ptr[i].key;
		if (name->type == MSGPACK_OBJECT_STR && name->via.str.size == key_len &&
			memcmp(name->via.str.ptr, key, key_len) == 0)
			return &field->via.map.ptr[i].val;
	}
	return NULL;
}

static int append_packed(void *data, const char *bytes, size_t len)
{
	struct message_writer *writer = data;
	if (writer->error == 0)
		writer->error = buf_append(writer->buf, bytes, len);
	return writer->error;
}

void message_begin(struct message_writer *writer, struct buf *buf, enum message_type type)
{
	static const uint8_t no_length_yet[LENGTH_WORD_BYTES];
	const struct message_row *row = row_of((uint64_t)type);
	*writer = (struct message_writer){.buf = buf, .start = buf->len};
	msgpack_packer_init(&writer->packer, writer, append_packed);
	writer->error = buf_append(buf, no_length_yet, sizeof(no_length_yet));
	msgpack_pack_array(&writer->packer, row->arity + 1);
	msgpack_pack_uint8(&writer->packer, (uint8_t)type);
}

int message_end(struct message_writer *writer)
{
	if (writer->error < 0) {
		writer->buf->len = writer->start;
		return writer->error;
	}
	size_t body_len = writer->buf->len - writer->start - LENGTH_WORD_BYTES;
	if (body_len > FRAME_BYTES_MAX) {
		writer->buf->len = writer->start;
		return -EMSGSIZE;
	}
	put_le32(writer->buf->data + writer->start, (uint32_t)body_len);
	return 0;
}

void write_nil(struct message_writer *writer)
{
	msgpack_pack_nil(&writer->packer);
}

void write_u64(struct message_writer *writer, uint64_t value)
{
	msgpack_pack_uint64(&writer->packer, value);
}

void write_i64(struct message_writer *writer, int64_t value)
{
	msgpack_pack_int64(&writer->packer, value);
}

void write_bool(struct message_writer *writer, bool value)
{
	if (value)
		msgpack_pack_true(&writer->packer);
	else
		msgpack_pack_false(&writer->packer);
}

void write_text(struct message_writer *writer, const char *text)
{
	if (text == NULL)
		write_nil(writer);
	else
		write_text_n(writer, text, strlen(text));
}

void write_text_n(struct message_writer *writer, const char *text, size_t len)
{
	msgpack_pack_str(&writer->packer, len);
	msgpack_pack_str_body(&writer->packer, text, len);
}

void write_bin(struct message_writer *writer, const void *bytes, size_t len)
{
	msgpack_pack_bin(&writer->packer, len);
	msgpack_pack_bin_body(&writer->packer, bytes, len);
}

void write_array(struct message_writer *writer, uint32_t count)
{
	msgpack_pack_array(&writer->packer, count);
}

void write_map(struct message_writer *writer, uint32_t pairs)
{
	msgpack_pack_map(&writer->packer, pairs);
}

int message_write_error(struct buf *buf, uint64_t request_id, const char *code, const char *text)
{
	struct message_writer writer;
	message_begin(&writer, buf, MESSAGE_ERROR);
	if (request_id == UINT64_MAX)
		write_nil(&writer);
	else
		write_u64(&writer, request_id);
	write_text(&writer, code);
	write_text(&writer, text);
	write_nil(&writer);
	return message_end(&writer);
}
