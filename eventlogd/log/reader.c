#include "eventlogd/log/reader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/scan.h"
#include "proto/base/map.h"
#include "proto/ids.h"

/* Kept of the buffer that pieces are gathered in; a large event makes it larger for one piece. */
#define GATHER_KEEP_BYTES ((size_t)1 << 20)

enum {
	ENTRIES_PER_LOOKUP = 256,
	SEGMENTS_PER_CALL = 256, /* that a reader of one worker passes without a record of it */
};

struct selected {
	UT_hash_handle hh;
	struct id id;
	uint8_t len;
	bool was_known; /* the log had a row for it when this was looked at last */
};

struct reader {
	struct log_view *view;
	uint64_t next_seq;
	struct selected *workers; /* by id; NULL: all */
	size_t worker_count;
	/* Where walking goes on, while the segment with this id is there. */
	uint64_t segment_id, offset;
	/* What was pruned and forgotten when it was last asked whether this reader lost anything.
	 */
	uint64_t seen_pruned, seen_forgotten;
	bool is_overrun;
};

static const char *const reason_names[] = {
	[READER_GAP_DAMAGED] = "damaged",
	[READER_GAP_LOST] = "lost",
	[READER_GAP_PRUNED] = "pruned",
};

const char *reader_gap_reason_name(enum reader_gap_reason reason)
{
	return reason_names[reason];
}

void reader_close(struct reader *reader)
{
	if (reader == NULL)
		return;
	struct selected *selected, *next;
	map_for_each (reader->workers, selected, next) {
		HASH_DEL(reader->workers, selected);
		free(selected);
	}
	free(reader);
}

static int select_worker(struct reader *reader, const char *id, size_t len)
{
	struct selected *selected = NULL;
	HASH_FIND(hh, reader->workers, id, len, selected);
	if (selected != NULL)
		return 0;
	selected = calloc(1, sizeof(*selected));
	if (selected == NULL)
		return -ENOMEM;
	if (!id_set(&selected->id, id, len)) {
		free(selected);
		return -EINVAL;
	}
	selected->len = (uint8_t)len;
	HASH_ADD_KEYPTR(hh, reader->workers, selected->id.text, len, selected);
	if (!map_has_handle(selected)) {
		free(selected);
		return -ENOMEM;
	}
	reader->worker_count++;
	return 0;
}

static const struct worker *row_of(const struct reader *reader, const struct selected *selected)
{
	const struct worker *row = worker_table_find(
		&reader->view->table, selected->id.text, selected->len);
	return row != NULL && (row->newest_seq != 0 || row->highest_pruned != 0) ? row : NULL;
}

/* Whether a selected record with at least this sequence was pruned. */
static bool lost_since(struct reader *reader, uint64_t sequence)
{
	const struct worker_table *table = &reader->view->table;
	if (reader->workers == NULL)
		return table->highest_pruned >= sequence;
	struct selected *selected, *next;
	map_for_each (reader->workers, selected, next) {
		const struct worker *row = row_of(reader, selected);
		if (row != NULL) {
			selected->was_known = true;
			if (row->highest_pruned >= sequence)
				return true;
		} else if (selected->was_known && table->forgotten_through >= sequence) {
			return true;
		}
	}
	return false;
}

static uint64_t oldest_of_log(const struct log_view *view)
{
	struct log_ends ends;
	log_view_ends(view, &ends);
	return ends.oldest_seq;
}

/* The oldest sequence from which nothing that is selected is missing. */
static uint64_t oldest_whole(const struct reader *reader)
{
	uint64_t oldest = reader->workers == NULL ? reader->view->table.highest_pruned + 1 : 1;
	struct selected *selected, *next;
	map_for_each (reader->workers, selected, next) {
		const struct worker *row = row_of(reader, selected);
		uint64_t whole = row != NULL           ? row->highest_pruned + 1
				 : selected->was_known ? reader->view->table.forgotten_through + 1
						       : 1;
		if (whole > oldest)
			oldest = whole;
	}
	uint64_t oldest_here = oldest_of_log(reader->view);
	return oldest > oldest_here ? oldest : oldest_here;
}

/* A worker that the log does not know: was it forgotten after this, or never there? */
static int judge_unknown(const struct reader *reader, const struct reader_start *start)
{
	struct selected *selected, *next;
	map_for_each (reader->workers, selected, next) {
		if (row_of(reader, selected) != NULL)
			continue;
		return start->from == READER_FROM_CURSOR &&
				       start->cursor.sequence <
					       reader->view->table.forgotten_through
			       ? READER_CURSOR_EXPIRED
			       : READER_WORKER_NOT_FOUND;
	}
	return READER_OPENED;
}

static int judge_cursor(struct reader *reader, const struct cursor *cursor)
{
	const struct log_view *view = reader->view;
	struct cursor ours;
	log_view_cursor(view, cursor->sequence, &ours);
	/* Before the first record is the same place in every epoch. */
	bool is_epoch_right = cursor->sequence == 0
				      ? cursor->epoch != 0 && cursor->epoch <= view->epoch
				      : cursor->epoch == ours.epoch;
	if (cursor->log != ours.log || !is_epoch_right || cursor->sequence > view->visible_seq)
		return READER_CURSOR_UNKNOWN;
	return READER_OPENED;
}

static uint64_t keyframe_start(const struct reader *reader)
{
	const struct worker *row = row_of(reader, reader->workers);
	if (row == NULL)
		return reader->view->visible_seq + 1;
	if (row->newest_keyframe != 0 && row->newest_keyframe <= reader->view->visible_seq)
		return row->newest_keyframe;
	if (row->visible_keyframe != 0)
		return row->visible_keyframe;
	return oldest_whole(reader);
}

/* Finds the first sequence; an enum reader_open_result. */
static int place(struct reader *reader, const struct reader_start *start, bool allow_unknown)
{
	int r = READER_OPENED;
	if (start->from == READER_FROM_CURSOR)
		r = judge_cursor(reader, &start->cursor);
	if (r == READER_OPENED && !(allow_unknown && start->from != READER_FROM_CURSOR &&
					  start->from != READER_FROM_KEYFRAME))
		r = judge_unknown(reader, start);
	if (r != READER_OPENED)
		return r;
	switch (start->from) {
	case READER_FROM_CURSOR:
		reader->next_seq = start->cursor.sequence + 1;
		return lost_since(reader, reader->next_seq) ? READER_CURSOR_EXPIRED : READER_OPENED;
	case READER_FROM_KEYFRAME:
		reader->next_seq = keyframe_start(reader);
		break;
	case READER_FROM_OLDEST:
		reader->next_seq = oldest_whole(reader);
		break;
	case READER_FROM_NEWEST:
		reader->next_seq = reader->view->visible_seq + 1;
		break;
	}
	(void)lost_since(reader, reader->next_seq); /* remembers which workers are known */
	return READER_OPENED;
}

int reader_open(struct reader **out, struct log_view *view,
	const struct reader_selection *selection, const struct reader_start *start,
	bool allow_unknown, struct reader_opened *opened)
{
	size_t count = selection == NULL || selection->workers == NULL ? 0
								       : selection->worker_count;
	bool selects_none = selection != NULL && selection->workers != NULL && count == 0;
	if (count > READER_WORKERS_MAX || selects_none ||
		(start->from == READER_FROM_KEYFRAME && count != 1))
		return -EINVAL;
	struct reader *reader = calloc(1, sizeof(*reader));
	if (reader == NULL)
		return -ENOMEM;
	reader->view = view;
	int r = 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = select_worker(reader, selection->workers[i], selection->worker_lens[i]);
	if (r == 0)
		r = place(reader, start, allow_unknown);
	if (opened != NULL)
		*opened = (struct reader_opened){
			.start_seq = reader->next_seq,
			.oldest_seq = oldest_whole(reader),
			.newest_seq = view->visible_seq,
		};
	if (r != READER_OPENED) {
		reader_close(reader);
		return r;
	}
	reader->seen_pruned = view->table.highest_pruned;
	reader->seen_forgotten = view->table.forgotten_through;
	*out = reader;
	return READER_OPENED;
}

uint64_t reader_position(const struct reader *reader)
{
	return reader->next_seq - 1;
}

static bool is_overrun(struct reader *reader)
{
	const struct worker_table *table = &reader->view->table;
	if (reader->seen_pruned != table->highest_pruned ||
		reader->seen_forgotten != table->forgotten_through) {
		reader->seen_pruned = table->highest_pruned;
		reader->seen_forgotten = table->forgotten_through;
		reader->is_overrun = lost_since(reader, reader->next_seq);
	}
	return reader->is_overrun;
}

void reader_skip_pruned(struct reader *reader)
{
	uint64_t oldest = oldest_whole(reader);
	if (oldest > reader->next_seq)
		reader->next_seq = oldest;
	reader->is_overrun = false;
}

/* The last sequence that can come from this segment now. */
static uint64_t last_visible_of(const struct log_view *view, size_t position)
{
	uint64_t last = catalog_last_of(view, position);
	return last < view->visible_seq ? last : view->visible_seq;
}

/* A range that is not there. The reader is behind it afterwards. */
static int give_gap(struct reader *reader, size_t position, uint64_t first, uint64_t last,
	uint64_t offset, struct reader_piece *out)
{
	const struct log_view *view = reader->view;
	const struct segment *segment = view->segments[position];
	*out = (struct reader_piece){
		.first = first, .last = last, .file = segment->name, .offset = offset};
	reader->next_seq = last + 1;
	if ((segment->features & SEGMENT_COMPACTED) != 0) {
		out->reason = READER_GAP_PRUNED;
		return READER_GAP;
	}
	const struct segment *next = position + 1 < view->segment_count
					     ? view->segments[position + 1]
					     : NULL;
	if (first > segment->last_seq && next != NULL && next->previous_base != segment->base) {
		out->reason = READER_GAP_LOST;
		return READER_GAP;
	}
	out->reason = READER_GAP_DAMAGED;
	return READER_CORRUPT;
}

static bool is_selected(const struct reader *reader, const struct record *record)
{
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
	if (walk->reader->workers == NULL) {
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
	bool is_gap = walk->next_seq <= missing_last;
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
	return true;
}

static int walk_segment(void *argument)
{
	struct walk *walk = argument;
	struct scan_item item;
	bool is_filtered = walk->reader->workers != NULL;
	for (uint64_t from = walk->scan.offset; walk->scan.offset - from < walk->budget;) {
		uint64_t at = walk->scan.offset;
		enum scan_result r = scan_next(&walk->scan, &item);
		if (r == SCAN_NOTHING) {
			walk->end = walk->count == 0 ? WALK_SEGMENT_END : WALK_PIECE;
			walk->damaged_at = at;
			return 0;
		}
		bool is_record = r == SCAN_RECORD && !record_is_internal(&item.record);
		if (!is_record) {
			if (r == SCAN_DAMAGED)
				walk->damaged_at = item.offset;
			/* An unfiltered piece is one run of bytes in the map. */
			if (walk->count != 0 && !is_filtered) {
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
static int concerns(struct reader *reader, struct segment *segment, uint64_t first, uint64_t last)
{
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
	walk->last_seq = last_visible_of(view, position);
	walk->damaged_at = offset;
	r = map_guard_run(segment->map, segment->file_bytes, walk_segment, walk);
	if (r != 0)
		return r;
	reader->next_seq = walk->next_seq;
	reader->segment_id = segment->id;
	reader->offset = walk->scan.offset;
	return 0;
}

static int next_by_walking(struct reader *reader, size_t max_bytes, struct reader_piece *out)
{
	struct log_view *view = reader->view;
	uint64_t budget = READER_WALK_BYTES;
	buf_reset(&view->gather, GATHER_KEEP_BYTES);
	while (reader->next_seq <= view->visible_seq) {
		size_t position;
		if (!catalog_find(view, reader->next_seq, &position)) {
			/* Below the first segment, and nothing selected was there. */
			reader->next_seq = view->segment_count == 0 ? view->visible_seq + 1
								    : view->segments[0]->base;
			continue;
		}
		struct walk walk = {.reader = reader,
			.gather = &view->gather,
			.budget = budget,
			.max_bytes = max_bytes};
		int r = walk_once(reader, position, &walk);
		if (r != 0)
			return r;
		if (walk.count != 0) {
			*out = (struct reader_piece){
				.bytes = reader->workers == NULL ? walk.start : view->gather.data,
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
		r = concerns(reader, view->segments[position], reader->next_seq, last);
		if (r < 0)
			return r;
		if (r == 1)
			return give_gap(
				reader, position, reader->next_seq, last, walk.damaged_at, out);
		reader->next_seq = last + 1;
	}
	return READER_END;
}

/* Taking one worker's records from where the index says that they are. */
struct pick {
	const struct segment *segment;
	const struct selected *worker;
	struct buf *gather;
	const struct index_entry *entries;
	size_t count, done;
	uint64_t last_seq;
	size_t max_bytes;
	uint64_t first, last, records;
};

static bool record_is_right(const struct pick *pick, const uint8_t *bytes, size_t len,
	const struct index_entry *entry, size_t *size)
{
	struct record record;
	return record_check_place(bytes, len, pick->segment->salt, entry->offset, size) ==
		       RECORD_OK &&
	       record_check_body(bytes, *size) && record_read(bytes, &record) == RECORD_OK &&
	       !record_is_internal(&record) &&
	       record.sequence == pick->segment->base + entry->seq_delta &&
	       record.worker_len == pick->worker->len &&
	       memcmp(record.worker, pick->worker->id.text, record.worker_len) == 0;
}

/* 0 when all entries were taken or the piece is full; 1 when the next one is not what it should. */
static int pick_records(void *argument)
{
	struct pick *pick = argument;
	const struct segment *segment = pick->segment;
	for (; pick->done < pick->count; pick->done++) {
		const struct index_entry *entry = &pick->entries[pick->done];
		uint64_t sequence = segment->base + entry->seq_delta;
		size_t size;
		if (sequence > pick->last_seq)
			return 0;
		if (entry->offset >= segment->data_end ||
			!record_is_right(pick, segment->map + entry->offset,
				segment->data_end - entry->offset, entry, &size))
			return 1;
		if (pick->records != 0 && pick->gather->len + size > pick->max_bytes)
			return 0;
		int r = buf_append(pick->gather, segment->map + entry->offset, size);
		if (r != 0)
			return r;
		if (pick->records++ == 0)
			pick->first = sequence;
		pick->last = sequence;
	}
	return 0;
}

/* The first range from next_seq on that can't be read; false: none up to `last`. */
static int find_damage(
	struct segment *segment, uint64_t next_seq, uint64_t last, struct damage_range *out)
{
	int r = segment_damage_next(segment, next_seq, out);
	if (r == -EBADMSG) {
		/* It can't be told which: what the footer's index does not reach may be damaged. */
		r = segment_build_index(segment);
		if (r == 0)
			r = segment_damage_next(segment, next_seq, out);
	}
	if (r == 1 && segment->last_seq < last) {
		*out = (struct damage_range){segment->last_seq + 1, last};
		r = 0;
	}
	if (r != 0)
		return r;
	if (out->first < next_seq)
		out->first = next_seq;
	if (out->last > last)
		out->last = last;
	return out->first <= out->last ? 0 : 1;
}

static int look_up(
	struct reader *reader, struct segment *segment, struct index_entry *entries, size_t *count)
{
	const struct selected *worker = reader->workers;
	*count = 0;
	int r = segment_worker_entries(segment, worker->id.text, worker->len, reader->next_seq,
		entries, ENTRIES_PER_LOOKUP, count);
	if (r == -EBADMSG) {
		r = segment_build_index(segment);
		if (r == 0)
			r = segment_worker_entries(segment, worker->id.text, worker->len,
				reader->next_seq, entries, ENTRIES_PER_LOOKUP, count);
	}
	return r < 0 ? r : 0;
}

/*
 * Goes on within the segment that holds next_seq. READER_RECORDS: something may have been picked;
 * READER_END: go on with what follows; READER_GAP or READER_CORRUPT, or -errno.
 */
static int pick_from(
	struct reader *reader, size_t position, struct pick *pick, struct reader_piece *out)
{
	struct log_view *view = reader->view;
	struct segment *segment = view->segments[position];
	struct index_entry entries[ENTRIES_PER_LOOKUP];
	uint64_t last = last_visible_of(view, position);
	struct damage_range damage;
	size_t count = 0;
	int r = catalog_map(view, segment);
	if (r == 0)
		r = look_up(reader, segment, entries, &count);
	if (r != 0)
		return r;
	r = find_damage(segment, reader->next_seq, last, &damage);
	if (r < 0)
		return r;
	uint64_t until = r == 0 ? damage.first - 1 : last;
	*pick = (struct pick){.segment = segment,
		.worker = reader->workers,
		.gather = pick->gather,
		.entries = entries,
		.count = count,
		.last_seq = until,
		.max_bytes = pick->max_bytes};
	int picked = map_guard_run(segment->map, segment->file_bytes, pick_records, pick);
	if (picked < 0)
		return picked;
	if (pick->records != 0) {
		reader->next_seq = pick->last + 1;
		return READER_RECORDS;
	}
	if (picked == 1) {
		uint64_t sequence = segment->base + entries[0].seq_delta;
		return give_gap(reader, position, sequence, sequence, entries[0].offset, out);
	}
	if (r == 0)
		return give_gap(
			reader, position, damage.first, damage.last, segment->data_end, out);
	reader->next_seq = last + 1;
	return READER_END;
}

static int next_of_one(struct reader *reader, size_t max_bytes, struct reader_piece *out)
{
	struct log_view *view = reader->view;
	struct pick pick = {.gather = &view->gather, .max_bytes = max_bytes};
	buf_reset(&view->gather, GATHER_KEEP_BYTES);
	for (int passed = 0; reader->next_seq <= view->visible_seq; passed++) {
		size_t position;
		if (passed == SEGMENTS_PER_CALL) {
			*out = (struct reader_piece){0};
			return READER_RECORDS;
		}
		if (!catalog_find(view, reader->next_seq, &position)) {
			reader->next_seq = view->segment_count == 0 ? view->visible_seq + 1
								    : view->segments[0]->base;
			continue;
		}
		int r = pick_from(reader, position, &pick, out);
		if (r == READER_END)
			continue;
		if (r == READER_RECORDS)
			*out = (struct reader_piece){
				.bytes = view->gather.data,
				.len = view->gather.len,
				.count = pick.records,
				.first = pick.first,
				.last = pick.last,
			};
		return r;
	}
	return READER_END;
}

int reader_next(struct reader *reader, size_t max_bytes, struct reader_piece *out)
{
	if (is_overrun(reader)) {
		*out = (struct reader_piece){.first = oldest_whole(reader)};
		return READER_OVERRUN;
	}
	if (reader->next_seq > reader->view->visible_seq)
		return READER_END;
	return reader->worker_count == 1 ? next_of_one(reader, max_bytes, out)
					 : next_by_walking(reader, max_bytes, out);
}
