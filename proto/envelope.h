/*
 * JSON text frames of the WebSockets, for wsgate and backend-relay: one definition of each frame's
 * members and their order.
 *
 *	{"kind":"event","envelope":{["runtime_id":…,]"cursor":…,"event_id":…,"worker_id":…,
 *	 "ts_ms":…,["source_ts_ms":…,]"payload":…as published…}}
 *	{"kind":"hello","hello":{"heartbeat_s":…,"max_lifetime_s":…,"oldest":…,"newest":…}}
 *	{"kind":"caught_up","cursor":…}
 *	{"kind":"bookmark","cursor":…}
 *
 * Diagnostics stand in diagnostic.h. The payload is the last member of its envelope and is spliced
 * in as it is: a head is written here, the payload and ENVELOPE_EVENT_TAIL follow as they are.
 *
 * Texts given here are ids and cursors, which hold no character that JSON escapes; anything else
 * is a bug of the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct buf;

struct envelope {
	const char *runtime_id; /* NULL: left out, as wsgate does */
	const char *cursor;
	const char *event_id;
	const char *worker_id;
	int64_t ts_ms;
	bool has_source_ts;
	int64_t source_ts_ms;
};

#define ENVELOPE_EVENT_TAIL "}}"

/* Appends everything before the payload. 0 or -errno of the buffer, which is then unchanged. */
_must_check_ int envelope_write_event_head(struct buf *buf, const struct envelope *envelope);

struct hello {
	uint64_t heartbeat_s;    /* a peer hears something at least this often */
	uint64_t max_lifetime_s; /* 0: no limit; left out then */
	const char *oldest;      /* cursors; NULL: left out (nothing is retained) */
	const char *newest;
};

_must_check_ int envelope_write_hello(struct buf *buf, const struct hello *hello);
_must_check_ int envelope_write_caught_up(struct buf *buf, const char *cursor);
_must_check_ int envelope_write_bookmark(struct buf *buf, const char *cursor);

/* Nanoseconds since 1970 to milliseconds, towards the past. */
int64_t envelope_ms(int64_t ns);
