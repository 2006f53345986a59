/*
 * Replies that a publisher has not been sent yet, in the order of its requests.
 *
 * An ACK waits for its ticket; NACK and POSITION_REPLY wait only for what stands before them. At
 * most REPLIES_MAX wait; the publisher is not read meanwhile. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/event_log.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"

enum { REPLIES_MAX = 1024 };

enum reply_type { REPLY_ACK, REPLY_NACK, REPLY_POSITION };

struct reply {
	enum reply_type type;
	uint64_t request_id;
	union {
		struct event_log_staged ack;
		struct {
			const char *code; /* static */
			char *text;       /* owned; may be NULL */
			bool has_index;
			uint64_t index;
		} nack;
		struct {
			bool has_last;
			uint64_t last;
		} position;
	};
};

struct reply_queue {
	struct reply *ring;
	size_t head, count, allocated; /* a power of two */
	size_t waiting_acks;
};

void reply_queue_free(struct reply_queue *queue);
bool reply_queue_is_full(const struct reply_queue *queue);

/* Takes over nack.text, also on failure. 0 or -ENOMEM. The queue must not be full. */
_must_check_ int reply_queue_push(struct reply_queue *queue, const struct reply *reply);

/*
 * Writes the replies that are due as frames, until `out` has max_bytes, and drops them. `ack_word`
 * is what ACK says: "written" or "synced". 0 or -ENOMEM.
 */
_must_check_ int reply_queue_write_due(struct reply_queue *queue, uint64_t acked_ticket,
	const char *ack_word, size_t max_bytes, struct buf *out);

/* Every ACK above this ticket becomes a NACK: the log has dropped its batch. */
void reply_queue_refuse_above(
	struct reply_queue *queue, uint64_t ticket, const char *code, const char *text);
