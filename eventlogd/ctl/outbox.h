/*
 * What `publish` and `import` have read and eventlogd has not acknowledged: numbered events in
 * batches, oldest first. Pure: it makes frames and takes replies; whoever owns it sends and
 * receives.
 *
 * Events are numbered in the producer's own count for their worker, from 1 and without holes. A
 * batch is of one worker. Batches leave in order and are kept until acknowledged; outbox_rewind()
 * makes all of them leave again, which is safe because eventlogd skips what it has. An event may be
 * nil, or be made so: it has its number and stores nothing.
 *
 * Limits: outbox_is_full() past OUTBOX_BYTES, OUTBOX_BATCHES or OUTBOX_EVENTS; the owner then stops
 * reading.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"

enum {
	OUTBOX_BYTES = 8 * 1024 * 1024,
	OUTBOX_BATCHES = 1024,
	OUTBOX_EVENTS = 64 * 1024,
	OUTBOX_BATCH_BYTES = 256 * 1024,
	OUTBOX_BATCH_EVENTS = 1024,
};

struct outbox_worker {
	const char *id; /* borrowed */
	uint64_t next_number;
	unsigned int batch_count; /* that are not acknowledged */
};

struct outbox_event {
	size_t offset, len;  /* of the payload in its batch */
	uint64_t line;       /* where it came from, for messages */
	uint64_t connection; /* 0: not from a connection */
	int64_t source_time_ns;
	bool has_source_time;
	bool is_nil;
};

struct outbox_batch {
	struct outbox_batch *next;
	struct outbox_worker *worker;
	uint64_t first_number;
	uint64_t request_id; /* 0: not sent since the last rewind */
	struct buf payloads;
	struct outbox_event *event;
	uint32_t count, allocated;
};

struct outbox {
	struct outbox_batch *first, *last, *unsent;
	unsigned int batch_count, event_count;
	size_t bytes;
	size_t batch_bytes; /* payload of one batch, unless one event alone is larger */
	uint64_t last_request_id;
};

/*
 * Empties it. Request ids go on, so that late replies to what was sent before are told apart.
 * `batch_bytes` is cut to OUTBOX_BATCH_BYTES.
 */
void outbox_reset(struct outbox *outbox, size_t batch_bytes);
void outbox_free(struct outbox *outbox);

/*
 * Copies one event, which takes the worker's next number; `bytes` NULL makes it nil. Of `about`
 * what says where it came from and when. The worker outlives its batches. 0 or -ENOMEM.
 */
_must_check_ int outbox_add(struct outbox *outbox, struct outbox_worker *worker,
	const uint8_t *bytes, size_t len, const struct outbox_event *about);
bool outbox_is_full(const struct outbox *outbox);
bool outbox_is_empty(const struct outbox *outbox);
/* The worker's oldest number that is not acknowledged; its next_number when there is none. */
uint64_t outbox_first_number(const struct outbox *outbox, const struct outbox_worker *worker);
/* For a request of another kind that goes between the batches. */
uint64_t outbox_take_request_id(struct outbox *outbox);

/*
 * Appends the PUBLISH frame of the next batch that has not been sent. 0, OUTBOX_NOTHING, or
 * -ENOMEM.
 */
enum outbox_result { OUTBOX_OK = 0, OUTBOX_NOTHING = 1 };
_must_check_ int outbox_next_frame(struct outbox *outbox, struct buf *frames);

void outbox_rewind(struct outbox *outbox);

/* The batch that this reply is for if it is the oldest one, else NULL (a reply to ignore). */
struct outbox_batch *outbox_match(struct outbox *outbox, uint64_t request_id);
/* Drops the oldest batch. */
void outbox_acknowledged(struct outbox *outbox);
