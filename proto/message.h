/*
 * Messages: what is inside a frame on a Unix socket.
 *
 * A frame's body is exactly one msgpack array [type, field...]. Reading one goes in a fixed order:
 * the shape of the bytes (msgpack_check, which bounds depth and counts before the library
 * allocates anything), the type, the direction, the arity, and only then, by the caller, the
 * meaning of the fields. What is wrong is told as a text for ERROR and closes that peer.
 *
 * Decoded fields borrow from the frame's bytes and from the decoder's zone: both live until the
 * next message_decode() with the same decoder.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"

enum message_sender {
	FROM_WORKER = 1,      /* a publisher, on publish.sock */
	FROM_PUBLISH = 2,     /* eventlogd, on publish.sock */
	FROM_READER = 4,      /* a tail reader, on tail.sock */
	FROM_TAIL = 8,        /* eventlogd, on tail.sock */
	FROM_RELAY = 16,      /* backend-relay, on projection.sock */
	FROM_PROJECTION = 32, /* projection, on projection.sock */
};

enum message_type {
#define MESSAGE(name, number, sent_by, arity) MESSAGE_##name = number,
#include "proto/messages.def"
#undef MESSAGE
};

struct message {
	enum message_type type;
	const msgpack_object *field; /* `arity` of them, after the type */
	uint32_t arity;
};

struct message_decoder {
	msgpack_zone *zone;
};

_must_check_ int message_decoder_init(struct message_decoder *decoder); /* 0 or -ENOMEM */
void message_decoder_free(struct message_decoder *decoder);

enum message_result {
	MESSAGE_OK = 0,
	MESSAGE_MALFORMED = 1, /* `why` says what; answer ERROR protocol_error and close */
};

/*
 * Decodes one body received from `sender`. Returns enum message_result or -ENOMEM. `why` points to
 * a static text.
 */
_must_check_ int message_decode(struct message_decoder *decoder, enum message_sender sender,
	const uint8_t *body, size_t len, struct message *out, const char **why);

/* "PUBLISH" and so on; "?" for a number that is not in the table. */
const char *message_name(enum message_type type);

/*
 * Reading fields. Each answers false when the field is not of that type or range; outputs are set
 * only on success. Texts are checked to be UTF-8 and free of NUL. An empty text or run of bytes is
 * not NULL.
 */
bool field_is_nil(const msgpack_object *field);
bool field_u64(const msgpack_object *field, uint64_t *out);
bool field_i64(const msgpack_object *field, int64_t *out);
bool field_bool(const msgpack_object *field, bool *out);
bool field_text(const msgpack_object *field, const char **text, size_t *len, size_t max_len);
/* str or bin, unchecked bytes */
bool field_bytes(const msgpack_object *field, const uint8_t **bytes, size_t *len);
bool field_array(const msgpack_object *field, const msgpack_object **items, uint32_t *count);
/* The value of a text key in a map, or NULL. */
const msgpack_object *field_map_get(const msgpack_object *field, const char *key);

/*
 * Building a frame into a buffer: length word, array header and type; then exactly `arity` fields;
 * then message_end(), which fills in the length. All calls report trouble at the end only.
 *
 *	struct message_writer w;
 *	message_begin(&w, buf, MESSAGE_CAUGHT_UP);
 *	write_u64(&w, seq);
 *	r = message_end(&w);
 */
struct message_writer {
	struct buf *buf;
	size_t start; /* of this frame within buf */
	msgpack_packer packer;
	int error; /* first -errno, sticky */
};

void message_begin(struct message_writer *writer, struct buf *buf, enum message_type type);
/* 0; or the first -errno, with `buf` as it was before message_begin(). */
_must_check_ int message_end(struct message_writer *writer);

void write_nil(struct message_writer *writer);
void write_u64(struct message_writer *writer, uint64_t value);
void write_i64(struct message_writer *writer, int64_t value);
void write_bool(struct message_writer *writer, bool value);
void write_text(struct message_writer *writer, const char *text); /* NULL writes nil */
void write_text_n(struct message_writer *writer, const char *text, size_t len);
void write_bin(struct message_writer *writer, const void *bytes, size_t len);
void write_array(struct message_writer *writer, uint32_t count);
void write_map(struct message_writer *writer, uint32_t pairs);

/* [request_id or nil, code, message, details]; details is nil. request_id UINT64_MAX writes nil. */
_must_check_ int message_write_error(
	struct buf *buf, uint64_t request_id, const char *code, const char *text);
