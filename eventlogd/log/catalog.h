/*
 * Catalog: the inside of a view: which segments there are, the worker table, the marks.
 *
 * There is no catalogue on disk; this one is derived from the segments (recovery.h) and kept up to
 * date by the append side. It holds at most CATALOG_MAPS_MAX maps at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/segment.h"
#include "eventlogd/log/worker_table.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"

#define CATALOG_MAPS_MAX 32u

struct log_view {
	const struct file_ops *ops;
	int directory_fd;
	uint8_t log_id[LOG_ID_BYTES];
	uint16_t epoch;
	struct epoch_entry epochs[SEGMENT_EPOCHS_MAX]; /* ascending in both */
	uint32_t epoch_count;
	struct segment **segments; /* ascending by base, then epoch */
	size_t segment_count, segments_allocated;
	struct worker_table table;
	uint64_t visible_seq;
	bool is_live;

	uint64_t map_clock;
	struct buf gather; /* pieces that are not in one place in the log */
};

void catalog_init(
	struct log_view *view, const struct file_ops *ops, int directory_fd, uint32_t max_workers);
/* Frees what it holds, not the descriptor. */
void catalog_clear(struct log_view *view);

/* Appends the newest segment, which the view then owns. 0 or -ENOMEM (it does not). */
_must_check_ int catalog_add(struct log_view *view, struct segment *segment);
/* Makes room so that the next catalog_add() can't fail. */
_must_check_ int catalog_reserve(struct log_view *view);
void catalog_remove(struct log_view *view, size_t position);
/* Puts another segment of the same base in its place, which the view then owns. */
void catalog_replace_take(struct log_view *view, size_t position, struct segment *segment);

/* The oldest segments may be compacted ones; how many. All behind them are not. */
size_t catalog_compacted_count(const struct log_view *view);

/* False when a segment is missing between this one and the next, and retention did not take it. */
bool catalog_is_whole_behind(const struct log_view *view, size_t position);

struct segment *catalog_newest(const struct log_view *view); /* NULL: none */

/* Position of the last segment whose base is not above the sequence; false: none. */
bool catalog_find(const struct log_view *view, uint64_t sequence, size_t *position);

/* The last sequence that belongs to a segment, whether it is there or not. */
uint64_t catalog_last_of(const struct log_view *view, size_t position);

/* Maps it, and drops the map that was not used for longest when there are too many. 0 or -errno. */
_must_check_ int catalog_map(struct log_view *view, struct segment *segment);

/* The epoch in which a sequence was given; the first one's for sequence 0. */
uint16_t catalog_epoch_of(const struct log_view *view, uint64_t sequence);

/* Begins an epoch with the next sequence to be given. The oldest entry goes when there are more
 * than a header holds; an epoch that gave no sequence is replaced. */
void catalog_begin_epoch(struct log_view *view, uint16_t epoch, uint64_t first_seq);

uint64_t catalog_allocated_bytes(const struct log_view *view);
