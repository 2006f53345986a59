/*
 * Compaction: a segment written again with only the records that retention keeps of it, under
 * SEGMENT_COMPACT_NAME, sealed and synced. Putting it in the segment's place is the caller's.
 *
 * Made and read on the loop's thread; compaction_step() runs on the sync thread and reads the
 * source through its map: the source stays in the catalog and pinned until the work has ended.
 * Sequences, epoch and the records' bodies stay as they are; place and header check are new, so
 * every record is verified on the way, and what is damaged is not copied.
 *
 * Nothing refers to the file before it is renamed, so a failure or a stop anywhere costs nothing
 * but the work: the file is dropped and can be made again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/catalog.h"
#include "proto/base/attributes.h"

/* Read of the source in one step. */
#define COMPACTION_STEP_BYTES (UINT64_C(1) << 20)

/* One worker of which something stays. Records up to `pruned` have been accounted for and go;
 * those below keep_from go and are counted. */
struct compaction_keep {
	UT_hash_handle hh;
	struct id worker;
	uint8_t worker_len;
	uint32_t owner_uid;
	uint64_t pruned, keep_from;
	uint64_t share_count, share_bytes, share_last; /* of its records above `pruned` */
	uint64_t lost_count, lost_bytes, lost_through;
	uint64_t kept_count, kept_bytes, kept_last;
};

struct compaction;

/* 0 or -ENOMEM. The source is borrowed and has to be mapped and pinned. */
_must_check_ int compaction_new(
	struct compaction **out, const struct log_view *view, struct segment *source);
/* Ends what is open; the file stays where it is. NULL is allowed. */
void compaction_free(struct compaction *compaction);

/* Before the first step: keeps this worker's records. Ids are told once. 0 or -ENOMEM. */
_must_check_ int compaction_add(struct compaction *compaction, const struct compaction_keep *keep);

enum compaction_result { COMPACTION_DONE = 0, COMPACTION_GOES_ON = 1 };

/* An enum compaction_result; or -errno, and the file is gone. */
_must_check_ int compaction_step(struct compaction *compaction);

/* The rest after COMPACTION_DONE. */

struct segment *compaction_source(const struct compaction *compaction);
/* By id; for map_for_each. NULL: none. */
struct compaction_keep *compaction_keeps(const struct compaction *compaction);
/* Also of NULL, which keeps nothing. */
struct compaction_keep *compaction_find(
	const struct compaction *compaction, const char *worker, size_t len);
/* The highest sequence that did not stay; 0: all stayed. */
uint64_t compaction_dropped_through(const struct compaction *compaction);
/* No record was left to keep: there is no segment to take. */
bool compaction_is_empty(const struct compaction *compaction);
/* The segment as it is once it has its name. */
struct segment *compaction_take_segment(struct compaction *compaction);
