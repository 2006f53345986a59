/*
 * Stage: batches that were taken and are not written yet, encoded, in order.
 *
 * All records lie back to back in one buffer, so that a commit is one write; only their place in
 * the segment is filled in then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/worker_table.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"

struct staged_batch {
	struct worker *worker; /* it counts this batch in staged_batches */
	uint64_t ticket;
	uint64_t producer;     /* key, when has_producer */
	uint64_t producer_seq; /* its last number in this batch */
	bool has_producer;
	uint32_t records; /* with sequences; a position note is not one */
	size_t bytes;
};

struct stage {
	struct buf records;
	size_t start; /* of the first batch in `records` */
	struct staged_batch *batches;
	size_t first, count, allocated; /* ring */
};

void stage_init(struct stage *stage);
void stage_free(struct stage *stage);

/* Makes room for one more batch of so many bytes; they are then written at the returned place.
 * NULL: no memory. */
uint8_t *stage_reserve(struct stage *stage, size_t bytes);
/* Adds what was put there. */
void stage_push(struct stage *stage, const struct staged_batch *batch);

size_t stage_bytes(const struct stage *stage);
/* The batch behind `skip` others. */
struct staged_batch *stage_peek(struct stage *stage, size_t skip);
uint8_t *stage_data(struct stage *stage);
void stage_pop(struct stage *stage);
