/*
 * The inside of a reader, shared by the files that make it up: reader.c (where it starts, what it
 * has lost), reader_walk.c (all workers, or a set, record by record), reader_pick.c (one worker,
 * through the indexes).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/reader.h"
#include "proto/base/map.h"
#include "proto/ids.h"

/* Kept of the buffer that pieces are gathered in; a large event makes it larger for one piece. */
#define GATHER_KEEP_BYTES ((size_t)1 << 20)

struct selected {
	UT_hash_handle hh;
	struct id id;
	uint8_t len;
	/* Unknown to the log when the reader was opened: what had been forgotten by then, which is
	 * not the reader's loss; else 0. */
	uint64_t gone_before;
};

struct reader {
	struct log_view *view;
	uint64_t next_seq;
	struct selected *workers; /* by id; NULL: all */
	size_t worker_count;
	/* Where walking goes on, while the segment with this id is there. */
	uint64_t segment_id, offset;
	/* The table's loss_count when it was last asked whether this reader lost anything. The
	 * newest sequence that is gone would not do: the reserve gives up what is older than that.
	 */
	uint64_t seen_losses;
	bool is_overrun;
	/* READER_FROM_RETAINED: up to here a worker's pruned records may stand among others. */
	uint64_t pruned_through;
};

/* The last sequence that can come from this segment now. */
uint64_t reader_last_visible_of(const struct log_view *view, size_t position);

/*
 * Tells of a range that is not there: READER_GAP or READER_CORRUPT, with the reader behind it.
 * `offset`: where in the segment.
 */
int reader_give_gap(struct reader *reader, size_t position, uint64_t first, uint64_t last,
	uint64_t offset, struct reader_piece *out);

/* The segment that holds next_seq; false: below the first one, and the reader has moved on. */
bool reader_find_segment(struct reader *reader, size_t *position);

/* reader_next() without what concerns retention. */
_must_check_ int reader_next_by_walking(
	struct reader *reader, size_t max_bytes, struct reader_piece *out);
_must_check_ int reader_next_of_one(
	struct reader *reader, size_t max_bytes, struct reader_piece *out);
