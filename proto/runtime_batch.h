/*
 * Batches: the binary messages of the subprotocol sightline.v1.msgpack, from wsgate to
 * backend-relay.
 *
 * A message is one msgpack array of items, in stream order. Each item is a map of the same shape
 * as the JSON frame of its kind, with the payload as bin:
 *
 *	{"kind":"event","envelope":{"cursor":str,"event_id":str,"worker_id":str,"ts_ms":int,
 *	 ["source_ts_ms":int,]"payload":bin}}
 *	{"kind":"diagnostic","diagnostic":{"code":str,"message":str,"final":bool,…}}
 *	{"kind":"hello","hello":{"heartbeat_s":uint,…}}
 *	{"kind":"caught_up","cursor":str}        {"kind":"bookmark","cursor":str}
 *
 * The writer adds items to a buffer until a batch has RUNTIME_BATCH_ITEMS_MAX of them or
 * RUNTIME_BATCH_BYTES; one larger event makes a batch of its own. The reader is strict: the shape
 * of the bytes is checked before anything is allocated, each item must have the members of its kind
 * with their types and ranges, ids and cursors must be ids and cursors, and an event's id must be
 * its cursor. Members and kinds that it does not know are ignored.
 *
 * What an item refers to is borrowed from the message and lives until the next
 * runtime_batch_open() with the same reader. Text is not NUL-terminated unless it is an array.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/cursor.h"
#include "proto/diagnostic.h"
#include "proto/envelope.h"
#include "proto/ids.h"
#include "proto/limits.h"

#define RUNTIME_BATCH_SUBPROTOCOL "sightline.v1.msgpack"

enum {
	RUNTIME_BATCH_ITEMS_MAX = 1024,
	RUNTIME_BATCH_BYTES = 256 * 1024,
	/* What a reader must be ready to take: one event of the largest size and its envelope. */
	RUNTIME_BATCH_BYTES_MAX = EVENT_BYTES_MAX + RUNTIME_BATCH_BYTES,
};

enum runtime_item_kind {
	RUNTIME_EVENT,
	RUNTIME_DIAGNOSTIC,
	RUNTIME_HELLO,
	RUNTIME_CAUGHT_UP,
	RUNTIME_BOOKMARK,
};

struct runtime_event {
	struct cursor cursor; /* also the event's id */
	struct id worker_id;
	int64_t ts_ms;
	bool has_source_ts;
	int64_t source_ts_ms;
	const uint8_t *payload;
	size_t payload_len;
};

/* A diagnostic as received. Cursors are optional: `has` tells. */
struct runtime_diagnostic {
	enum diagnostic diagnostic; /* DIAGNOSTIC_COUNT: a code that is not in the table */
	char code[64];              /* as sent, cut to printable ASCII, for the log */
	bool final;
	bool has_oldest, has_from, has_to;
	struct cursor oldest, from, to;
	int64_t retry_after_ms; /* -1: not said */
};

struct runtime_hello {
	uint64_t heartbeat_s, max_lifetime_s; /* 0: not said */
	bool has_oldest, has_newest;
	struct cursor oldest, newest;
};

struct runtime_item {
	enum runtime_item_kind kind;
	union {
		struct runtime_event event;
		struct runtime_diagnostic diagnostic;
		struct runtime_hello hello;
		struct cursor cursor; /* of caught_up and bookmark */
	};
};

/* ---- writing ---- */

struct runtime_batch_writer {
	struct buf *buf;
	size_t start;
	uint32_t items;
	msgpack_packer packer;
	int error; /* first -errno, sticky until runtime_batch_end() */
};

void runtime_batch_begin(struct runtime_batch_writer *writer, struct buf *buf);
void runtime_batch_add_event(
	struct runtime_batch_writer *writer, const struct runtime_event *event);
void runtime_batch_add_diagnostic(struct runtime_batch_writer *writer, enum diagnostic diagnostic,
	const struct diagnostic_details *details);
void runtime_batch_add_hello(struct runtime_batch_writer *writer, const struct hello *hello);
void runtime_batch_add_caught_up(struct runtime_batch_writer *writer, const struct cursor *cursor);
void runtime_batch_add_bookmark(struct runtime_batch_writer *writer, const struct cursor *cursor);
/* Whether another item of this payload size should start a new batch. */
bool runtime_batch_is_full(const struct runtime_batch_writer *writer, size_t payload_len);
bool runtime_batch_is_empty(const struct runtime_batch_writer *writer);
/* 0; or the first -errno, with `buf` as it was before runtime_batch_begin(). */
_must_check_ int runtime_batch_end(struct runtime_batch_writer *writer);

/* ---- reading ---- */

struct runtime_batch_reader {
	msgpack_zone *zone;
	const msgpack_object *items;
	uint32_t count, next;
};

_must_check_ int runtime_batch_reader_init(struct runtime_batch_reader *reader); /* or -ENOMEM */
void runtime_batch_reader_free(struct runtime_batch_reader *reader);

enum runtime_batch_result {
	RUNTIME_BATCH_OK = 0,
	RUNTIME_BATCH_END = 1,       /* no more items */
	RUNTIME_BATCH_MALFORMED = 2, /* `why` says what: nothing after it can be used */
};

/* Opens one message. RUNTIME_BATCH_OK, RUNTIME_BATCH_MALFORMED or -ENOMEM. */
_must_check_ int runtime_batch_open(
	struct runtime_batch_reader *reader, const uint8_t *bytes, size_t len, const char **why);
/* The next item of a kind that is known. enum runtime_batch_result. */
_must_check_ int runtime_batch_next(
	struct runtime_batch_reader *reader, struct runtime_item *out, const char **why);
