/*
 * The keyframe reserve: what retention keeps of workers beyond the plain rule.
 *
 * When the oldest whole segment has to go, the records from each worker's newest keyframe on stay
 * in a compacted segment in its place, as long as all compacted segments together stay within the
 * reserve. Where they do not, workers give theirs up: first what a newer keyframe has made
 * superfluous, then the largest worker of the uid that takes most. So who writes much loses its own
 * reserve and not that of a quiet neighbour.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/catalog.h"
#include "proto/base/attributes.h"

struct compaction;

/* A compacted segment's header, footer and rounding up. */
#define RESERVE_SEGMENT_BYTES UINT64_C(8192)
/* So that the directory does not fill with small files; the worker in most of them gives way. */
#define RESERVE_SEGMENTS_MAX 1024u

/* What stays of a worker: its records from this sequence on; 0: nothing. */
uint64_t reserve_kept_from(const struct log_view *view, const struct worker *worker);

/* Counts what the compacted segments hold, when the log is opened. 0, -EIO or -ENOMEM. */
_must_check_ int reserve_survey(struct log_view *view);

/* What all workers together have in the reserve, and its files. */
uint64_t reserve_bytes(const struct log_view *view);

/*
 * The worker that has to give up its reserve so that `more` (by worker, of a compaction that is
 * being planned; may be NULL) finds room; NULL: it has room. One look at every row.
 */
struct worker *reserve_choose_victim(
	const struct log_view *view, const struct compaction *more, uint64_t limit);
