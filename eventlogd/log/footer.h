/*
 * Footer of a sealed segment: its indexes, and the worker table as it was at the seal.
 *
 *	SECTION_SPARSE       { offset 4, sequence - base 4 }  about every 16 KiB, ascending
 *	SECTION_ENTRIES      { offset 4, sequence - base 4 }  every record, worker by worker
 *	SECTION_ROWS         worker rows, each a multiple of 8 bytes:
 *		0   1  length of the id              32  8  retained records
 *		1   1  bit 0: finished                       40  8  retained bytes
 *		2   2  number of producers           48  4  first entry in this segment
 *		4   4  owner uid                     52  4  number of entries in this segment
 *		8   8  newest sequence               56  4  newest keyframe here - base + 1, 0: none
 *		16  8  newest keyframe, 0: none      60  4  bytes of its records here / 8
 *		24  8  highest pruned sequence       64     id, zeros up to a multiple of 8
 *		then for each producer: key 8, last number 8, sequence of last use 8
 *	SECTION_ROW_OFFSETS  4 each: where a row begins in SECTION_ROWS, by ascending id
 *	SECTION_DAMAGE       { first sequence 8, last sequence 8 }  unreadable when it was sealed
 *
 * The worker table covers all workers of the log, also those without records in this segment, so
 * the newest footer is the whole state up to it. Sections are checked one by one, when they are
 * first used. What is read from a map is inside map_guard_run().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/segment_index.h"
#include "eventlogd/log/worker_table.h"
#include "proto/base/attributes.h"

struct buf;

/*
 * Appends body and trailer to `out`; the whole belongs at the end of the file. Fills in the
 * trailer's sections and what it takes from the table. 0, -ENOMEM, -EMSGSIZE (`out`'s cap), or
 * -ENOSPC when it would reach into the data.
 */
_must_check_ int footer_encode(const struct segment_index *index, struct worker_table *table,
	uint64_t file_bytes, struct segment_trailer *trailer, struct buf *out);

/* Bytes of body and trailer for an index of that many entries. Never less than what is encoded. */
uint64_t footer_bytes(const struct segment_index *index, const struct worker_table *table,
	uint64_t more_entries, uint64_t more_sparse);

struct footer_row {
	const char *id;
	uint8_t id_len;
	bool is_released;
	uint32_t owner_uid, producer_count;
	uint64_t newest_seq, newest_keyframe, highest_pruned, retained_count, retained_bytes;
	uint32_t first_entry, entry_count, keyframe;
	uint64_t bytes_here;
	const uint8_t *producers;
};

bool footer_section_is_valid(
	const uint8_t *map, const struct segment_trailer *trailer, enum segment_section_kind kind);

/* By number, ascending by id. False: there is no such row, or it is malformed. */
bool footer_row(const uint8_t *map, const struct segment_trailer *trailer, uint32_t number,
	struct footer_row *out);
bool footer_find_row(const uint8_t *map, const struct segment_trailer *trailer, const char *id,
	size_t len, struct footer_row *out);

/* False when the number is out of range. */
bool footer_entry(const uint8_t *map, const struct segment_trailer *trailer, uint32_t number,
	struct index_entry *out);
/* The number, within the row, of its first entry with at least this difference. */
uint32_t footer_lower_bound(const uint8_t *map, const struct segment_trailer *trailer,
	const struct footer_row *row, uint32_t seq_delta);
/* The last sparse entry at or before a difference; false: before the first. */
bool footer_sparse(const uint8_t *map, const struct segment_trailer *trailer, uint32_t seq_delta,
	struct index_entry *out);
bool footer_damage(const uint8_t *map, const struct segment_trailer *trailer, uint32_t number,
	struct damage_range *out);

/* Fills an empty table. 0, -ENOMEM, or -EBADMSG. */
_must_check_ int footer_load_table(
	const uint8_t *map, const struct segment_trailer *trailer, struct worker_table *table);
