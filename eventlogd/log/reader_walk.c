/* Reading all workers, or a set of them: record by record through the segments. */
#include <errno.h>

#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/reader_private.h"
#include "eventlogd/log/scan.h"

/* Whether this record, wherever it still lies, is one that its worker's row accounts for. */
static bool is_retained(const struct reader *reader, const struct record *record)
{
	const struct worker *row = worker_table_find(
		&reader->view->table, record->worker, record->worker_len);
	return row != NULL && record->sequence > row->highest_pruned;
}

static bool is_selected(const struct reader *reader, const struct record *record)
{
	if (record->sequence <= reader->pruned_through && !is_retained(reader, record))
		return false;
	if (reader->workers == NULL)
		return true;
	struct selected *selected = NULL;
	HASH_FIND(hh, reader->workers, record->worker, record->worker_len, selected);
	return selected != NULL;
}

/* Walking through one segment, record by record. */
enum walk_end {
	WALK_PIECE,       /* the piece can't grow */
	WALK_GAP,         /* next_seq..gap_last are missing */
	WALK_SEGMENT_END, /* no more records that may be given */
	WALK_BUDGET,
};

struct walk {
	const struct reader *reader;
	struct buf *gather;
	struct scan scan;
	uint64_t next_seq, last_seq, budget;
	size_t max_bytes;
	enum walk_end end;
	bool is_filtered;  /* what is given is gathered; else it is one run of bytes in the map */
	bool skips_pruned; /* a compacted segment: a missing sequence alone is no gap */
	bool saw_damage;   /* since the last record */
	uint64_t gap_last, damaged_at;
	int error;
	/* the piece */
	const uint8_t *start;
	size_t len;
	uint64_t count, first, last;
};

/* Lets the next call see this record, or what is before it, again. */
static void walk_back(struct walk *walk, uint64_t offset, uint64_t sequence)
{
	walk->scan.offset = offset;
	walk->scan.next_seq = sequence;
}

static bool walk_add(struct walk *walk, const struct scan_item *item)
{
	const uint8_t *bytes = walk->scan.bytes + item->offset;
	if (!walk->is_filtered) {
		if (walk->count == 0)
			walk->start = bytes;
		walk->len += item->bytes;
	} else {
		walk->error = buf_append(walk->gather, bytes, item->bytes);
		if (walk->error != 0)
			return false;
		walk->len = walk->gather->len;
	}
	if (walk->count++ == 0)
		walk->first = item->record.sequence;
	walk->last = item->record.sequence;
	return true;
}

/* Takes one record; false when the walk ends with it or before it. */
static bool walk_record(struct walk *walk, const struct scan_item *item)
{
	uint64_t sequence = item->record.sequence;
	if (sequence < walk->next_seq)
		return true;
	bool is_far = sequence > walk->last_seq;
	uint64_t missing_last = is_far ? walk->last_seq : sequence - 1;
	bool is_gap = walk->next_seq <= missing_last && (!walk->skips_pruned || walk->saw_damage);
	bool is_wanted = !is_far && !is_gap && is_selected(walk->reader, &item->record);
	bool is_full = is_wanted && walk->count != 0 && walk->len + item->bytes > walk->max_bytes;
	if (is_far || is_gap || is_full) {
		walk_back(walk, item->offset, sequence);
		walk->gap_last = missing_last;
		walk->end = walk->count != 0 ? WALK_PIECE : is_gap ? WALK_GAP : WALK_SEGMENT_END;
		return false;
	}
	if (is_wanted && !walk_add(walk, item))
		return false;
	walk->next_seq = sequence + 1;
	walk->saw_damage = false;
	return true;
}

static int walk_segment(void *argument)
{
	struct walk *walk = argument;
	struct scan_item item;
	for (uint64_t from = walk->scan.offset; walk->scan.offset - from < walk->budget;) {
		uint64_t at = walk->scan.offset;
		enum scan_result r = scan_next(&walk->scan, &item);
		if (r == SCAN_NOTHING) {
			walk->end = walk->count == 0 ? WALK_SEGMENT_END : WALK_PIECE;
			walk->damaged_at = at;
			walk->saw_damage |= item.bytes != 0;
			return 0;
		}
		bool is_record = r == SCAN_RECORD && !record_is_internal(&item.record);
		if (!is_record) {
			if (r == SCAN_DAMAGED) {
				walk->damaged_at = item.offset;
				walk->saw_damage = true;
			}
			if (walk->count != 0 && !walk->is_filtered) {
				walk_back(walk, at, walk->next_seq);
				walk->end = WALK_PIECE;
				return 0;
			}
			continue;
		}
		if (!walk_record(walk, &item))
			return walk->error;
	}
	walk->end = walk->count == 0 ? WALK_BUDGET : WALK_PIECE;
	return 0;
}

/* Whether a range that can't be read may hold something selected. */
static int concerns(
	struct reader *reader, size_t position, uint64_t first, uint64_t last, bool is_damaged)
{
	struct segment *segment = reader->view->segments[position];
	/* Nothing selected was pruned, or the reader would have been overrun. */
	if (segment_is_compacted(segment) && catalog_is_whole_behind(reader->view, position)) {
		if (last > segment->last_seq)
			last = segment->last_seq;
		if (first > last || (segment->index != NULL && !is_damaged))
			return 0;
	}
	if (reader->workers == NULL || !segment->is_sealed || segment->index != NULL ||
		last > segment->last_seq)
		return 1;
	struct damage_range range;
	int r = segment_damage_next(segment, first, &range);
	if (r != 1)
		return r < 0 && r != -EBADMSG ? r : 1;
	struct selected *selected, *next;
	map_for_each (reader->workers, selected, next) {
		struct index_entry entry;
		size_t count;
		r = segment_worker_entries(
			segment, selected->id.text, selected->len, first, &entry, 1, &count);
		if (r == -EBADMSG)
			return 1;
		if (r < 0)
			return r;
		if (r == 0 && segment->base + entry.seq_delta <= last)
			return 1;
	}
	return 0;
}

static int find_place(struct reader *reader, struct segment *segment, uint64_t *offset)
{
	if (reader->segment_id == segment->id) {
		*offset = reader->offset;
		return 0;
	}
	return segment_seek(segment, reader->next_seq, offset);
}

static int walk_once(struct reader *reader, size_t position, struct walk *walk)
{
	struct log_view *view = reader->view;
	struct segment *segment = view->segments[position];
	int r = catalog_map(view, segment);
	if (r == 0)
		r = find_place(reader, segment, &walk->scan.offset);
	if (r != 0)
		return r;
	uint64_t offset = walk->scan.offset;
	walk->scan = segment_scan(segment, false);
	walk->scan.offset = offset;
	walk->next_seq = reader->next_seq;
	walk->last_seq = reader_last_visible_of(view, position);
	walk->damaged_at = offset;
	walk->skips_pruned = segment_is_compacted(segment);
	r = map_guard_run(segment->map, segment->file_bytes, walk_segment, walk);
	if (r != 0)
		return r;
	reader->next_seq = walk->next_seq;
	reader->segment_id = segment->id;
	reader->offset = walk->scan.offset;
	return 0;
}

int reader_next_by_walking(struct reader *reader, size_t max_bytes, struct reader_piece *out)
{
	struct log_view *view = reader->view;
	uint64_t budget = READER_WALK_BYTES;
	buf_reset(&view->gather, GATHER_KEEP_BYTES);
	while (reader->next_seq <= view->visible_seq) {
		size_t position;
		if (!reader_find_segment(reader, &position))
			continue;
		struct walk walk = {.reader = reader,
			.gather = &view->gather,
			.budget = budget,
			.max_bytes = max_bytes,
			.is_filtered = reader->workers != NULL ||
				       reader->next_seq <= reader->pruned_through};
		int r = walk_once(reader, position, &walk);
		if (r != 0)
			return r;
		if (walk.count != 0) {
			*out = (struct reader_piece){
				.bytes = walk.is_filtered ? view->gather.data : walk.start,
				.len = walk.len,
				.count = walk.count,
				.first = walk.first,
				.last = walk.last,
			};
			return READER_RECORDS;
		}
		if (walk.end == WALK_BUDGET) {
			*out = (struct reader_piece){0};
			return READER_RECORDS;
		}
		uint64_t last = walk.end == WALK_GAP ? walk.gap_last : walk.last_seq;
		if (reader->next_seq > last)
			continue;
		r = concerns(reader, position, reader->next_seq, last, walk.saw_damage);
		if (r < 0)
			return r;
		if (r == 1)
			return reader_give_gap(
				reader, position, reader->next_seq, last, walk.damaged_at, out);
		reader->next_seq = last + 1;
	}
	return READER_END;
}
