/*
 * JSON, strictly: one pass over the bytes that checks them and, on request, leaves a tape.
 *
 * Accepted is exactly RFC 8259 in UTF-8 as in RFC 3629: no byte order mark, no comments, no
 * trailing commas, no unescaped control characters, no escapes of lone surrogates, nothing behind
 * the value. Duplicate keys are accepted and all of them are on the tape. Numbers are checked, and
 * never converted.
 *
 * The bytes are hostile. The pass is iterative, reads each byte once, needs memory only for the
 * tape, and refuses more than JSON_DEPTH_MAX arrays and objects open at once.
 *
 * Results: enum json_result, with the place and the reason for all but JSON_OK; building a tape can
 * also answer -ENOMEM. Offsets are in bytes from the beginning of the document.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/limits.h"

enum json_result {
	JSON_OK = 0,
	JSON_INVALID = 1,    /* not JSON, not UTF-8, nested too deeply, or JSON_BYTES_MAX passed */
	JSON_NOT_OBJECT = 2, /* JSON, but an event must be an object */
};

/* Offsets on the tape are 32 bits wide. Far above what any frame carries. */
#define JSON_BYTES_MAX (1u << 30)

struct json_error {
	size_t offset;      /* of the first byte that can't stand where it does; len: ends early */
	const char *reason; /* static text, without a byte of the document */
};

/* What eventlogd needs to know of an event. */
struct json_event_info {
	struct json_error error; /* set unless JSON_OK */
	/*
	 * The first top-level member `event` if that is a string, else the first `type` if that is
	 * one, unescaped. Empty where neither, or longer than KIND_BYTES_MAX. It is the publisher's
	 * text: UTF-8, with any character in it, NUL too (so use kind_len).
	 */
	uint8_t kind_len;
	char kind[KIND_BYTES_MAX + 1]; /* NUL-terminated besides */
};

/* Checks one event without allocating. enum json_result. */
_must_check_ int json_check_event(const uint8_t *bytes, size_t len, struct json_event_info *info);

enum json_type {
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL,
	JSON_KEY, /* of a member; the token behind it is the member's value */
};

/*
 * One value or key. An object's tokens follow it, key and value in turn, an array's its elements;
 * `next` leads past all of them, to what comes after this value.
 */
struct json_token {
	uint32_t start, end; /* bytes [start, end), quotes and brackets included */
	uint32_t next;       /* index of the token behind this one and all that is inside it */
	uint8_t type;        /* enum json_type */
	bool escaped;        /* a key or string with a backslash in it */
	uint16_t user;       /* the caller's; 0 at first */
};

struct json_tape {
	struct json_token *token;
	uint32_t count, allocated;
};

/*
 * Reads a document onto the tape, whose allocation is used again. token[0] is the root.
 * JSON_OK, JSON_INVALID with `error`, or -ENOMEM. Zero-initialise the tape before its first use.
 */
_must_check_ int json_tape_build(
	struct json_tape *tape, const uint8_t *bytes, size_t len, struct json_error *error);

/* Empties it; keeps the allocation unless it is for more than keep_tokens. */
void json_tape_reset(struct json_tape *tape, uint32_t keep_tokens);
void json_tape_free(struct json_tape *tape);

/*
 * The text of a key or string that has been checked, given with its quotes: writes it unescaped
 * into `out`, which has room for len bytes, and returns how many bytes it has.
 */
size_t json_unescape(const uint8_t *quoted, size_t len, uint8_t *out);

/*
 * The place in such a key or string, given with its quotes, of a byte of its text: moves *at, where
 * the text's byte *text_at stands (at first: 1 and 0), on to where `target` stands or ends.
 */
void json_seek_text(const uint8_t *quoted, size_t *at, size_t *text_at, size_t target);

struct buf;

/* Appends a text (UTF-8; NULL if empty) as a JSON string with its quotes. 0 or the -errno of the
 * buffer. */
_must_check_ int json_append_quoted(struct buf *buf, const char *text, size_t len);
