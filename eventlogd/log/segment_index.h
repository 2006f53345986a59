/*
 * Index of one segment in memory: sequence to offset, and each worker's records.
 *
 * For the active segment it grows with every record; for a segment without a usable footer it is
 * built by scanning. A sealed segment's index lies in its footer instead (footer.h). 8 bytes a
 * record, and 8 every 16 KiB. Sequences are kept as differences to the segment's base.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/base/map.h"
#include "proto/ids.h"

struct index_entry {
	uint32_t offset;
	uint32_t seq_delta;
};

/* The records of one worker, in order. */
struct index_list {
	UT_hash_handle hh;
	struct id worker;
	struct index_entry *entries;
	uint32_t count, allocated;
	uint32_t reserved; /* announced by segment_index_reserve() and not added yet */
	uint32_t keyframe; /* seq_delta + 1 of the newest keyframe; 0: none */
	uint64_t record_bytes;
};

/* Sequences first..last can't be read, and whose they were is not known. */
struct damage_range {
	uint64_t first, last;
};

struct segment_index {
	struct index_list *lists; /* by worker id */
	uint32_t list_count;
	uint32_t entry_count;
	uint32_t reserved; /* of all lists */
	struct index_entry *sparse;
	uint32_t sparse_count, sparse_allocated;
	struct damage_range *damage;
	uint32_t damage_count, damage_allocated;
};

#define INDEX_SPARSE_BYTES (16u * 1024)

_must_check_ int segment_index_new(struct segment_index **out); /* 0 or -ENOMEM */
void segment_index_free(struct segment_index *index);           /* NULL is allowed */

/* The list of a worker, made when it is not there. 0 or -ENOMEM. */
_must_check_ int segment_index_list(
	struct segment_index *index, const char *worker, size_t len, struct index_list **out);
struct index_list *segment_index_find(
	const struct segment_index *index, const char *worker, size_t len);

/* Makes sure that `count` more records of this worker can be added without failing. */
_must_check_ int segment_index_reserve(
	struct segment_index *index, struct index_list *list, uint32_t count);

/* Adds a reserved record. Offsets and sequences ascend. */
void segment_index_add(struct segment_index *index, struct index_list *list, uint32_t offset,
	uint32_t seq_delta, uint32_t size, bool is_keyframe);

/* Gives back what was reserved and not added. */
void segment_index_unreserve(struct segment_index *index, struct index_list *list);

_must_check_ int segment_index_add_damage(
	struct segment_index *index, uint64_t first, uint64_t last);

/* The last sparse entry at or before a difference; NULL: before the first. */
const struct index_entry *segment_index_sparse(
	const struct segment_index *index, uint32_t seq_delta);

/* Position of the first entry with at least this difference; `count` when there is none. */
uint32_t segment_index_lower_bound(const struct index_list *list, uint32_t seq_delta);
