/* Reading one worker: its records from where the indexes of the segments say that they are. */
#include <errno.h>
#include <string.h>

#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/reader_private.h"
#include "proto/record.h"

enum {
	ENTRIES_PER_LOOKUP = 256,
	SEGMENTS_PER_CALL = 256, /* that may be passed without a record of the worker */
};

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
static int find_damage(struct log_view *view, size_t position, uint64_t next_seq, uint64_t last,
	struct damage_range *out)
{
	struct segment *segment = view->segments[position];
	int r = segment_damage_next(segment, next_seq, out);
	if (r == -EBADMSG) {
		/* It can't be told which: what the footer's index does not reach may be damaged. */
		r = segment_build_index(segment);
		if (r == 0)
			r = segment_damage_next(segment, next_seq, out);
	}
	/* What is missing behind a compacted segment was pruned, and nothing selected with it. */
	bool ends_early = !segment_is_compacted(segment) ||
			  !catalog_is_whole_behind(view, position);
	if (r == 1 && segment->last_seq < last && ends_early) {
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
	uint64_t last = reader_last_visible_of(view, position);
	struct damage_range damage;
	size_t count = 0;
	int r = catalog_map(view, segment);
	if (r == 0)
		r = look_up(reader, segment, entries, &count);
	if (r != 0)
		return r;
	r = find_damage(view, position, reader->next_seq, last, &damage);
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
		return reader_give_gap(
			reader, position, sequence, sequence, entries[0].offset, out);
	}
	if (r == 0)
		return reader_give_gap(
			reader, position, damage.first, damage.last, segment->data_end, out);
	reader->next_seq = last + 1;
	return READER_END;
}

int reader_next_of_one(struct reader *reader, size_t max_bytes, struct reader_piece *out)
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
		if (!reader_find_segment(reader, &position))
			continue;
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
