/*
 * Reading a PUBLISH frame: from the fields of a hostile message to a batch that the log can take.
 *
 * Pure: looks at bytes and limits only. A batch is checked whole; the first fault refuses all of
 * it. Payloads are borrowed from the message; kinds are kept in the batch until the next read.
 *
 * Results: PUBLISH_BATCH_OK; PUBLISH_BATCH_REFUSED with a NACK code (the publisher goes on);
 * PUBLISH_BATCH_MALFORMED (the frame breaks the protocol: the publisher is closed); -ENOMEM.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/event_log.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/message.h"

/* One per process: reading one batch reuses the memory of the last. */
struct publish_batch {
	uint64_t request_id;
	struct event_log_batch batch; /* but for owner and producer, which the caller knows */
	uint64_t payload_bytes;

	/* private */
	struct event_log_event *events; /* BATCH_EVENTS_MAX */
	size_t *kind_at;
	struct buf kinds;
};

enum publish_batch_result {
	PUBLISH_BATCH_OK = 0,
	PUBLISH_BATCH_REFUSED = 1,
	PUBLISH_BATCH_MALFORMED = 2,
};

struct publish_refusal {
	const char *code; /* NULL with PUBLISH_BATCH_MALFORMED */
	char text[160];   /* without a byte of any payload */
	bool has_index;
	uint64_t index; /* of the first offending event */
};

_must_check_ int publish_batch_init(struct publish_batch *batch); /* 0 or -ENOMEM */
void publish_batch_free(struct publish_batch *batch);

_must_check_ int publish_batch_read(struct publish_batch *batch, const struct message *message,
	uint64_t max_event_bytes, struct publish_refusal *refusal);
