#include "eventlogd/log/reader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/reader_private.h"

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

/* Up to here something of a selected worker may be gone that the reader was to have; 0: nothing. */
static uint64_t lost_of(const struct reader *reader, const struct selected *selected)
{
	const struct worker *row = row_of(reader, selected);
	uint64_t through = row != NULL ? row->highest_pruned
				       : reader->view->table.forgotten_through;
	return through > selected->gone_before ? through : 0;
}

static void remember_unknown(struct reader *reader)
{
	struct selected *selected, *next;
	map_for_each (reader->workers, selected, next) {
		if (row_of(reader, selected) == NULL)
			selected->gone_before = reader->view->table.forgotten_through;
	}
}

/* Whether a selected record with at least this sequence was pruned. */
static bool lost_since(const struct reader *reader, uint64_t sequence)
{
	/* A reader of what is retained was opened with all of it accounted for. */
	if (sequence <= reader->pruned_through)
		sequence = reader->pruned_through + 1;
	if (reader->workers == NULL)
		return reader->view->table.highest_pruned >= sequence;
	struct selected *selected, *next;
	map_for_each (reader->workers, selected, next) {
		if (lost_of(reader, selected) >= sequence)
			return true;
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
		uint64_t whole = lost_of(reader, selected) + 1;
		if (whole > oldest)
			oldest = whole;
	}
	uint64_t oldest_here = oldest_of_log(reader->view);
	return oldest > oldest_here ? oldest : oldest_here;
}

/* Of one worker, everything behind what was pruned; otherwise judged record by record. */
static uint64_t oldest_retained(struct reader *reader)
{
	if (reader->worker_count == 1)
		return oldest_whole(reader);
	reader->pruned_through = reader->view->table.highest_pruned;
	return oldest_of_log(reader->view);
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
	if (cursor->log != ours.log || cursor->sequence > view->visible_seq)
		return READER_CURSOR_UNKNOWN;
	/* Older than the epochs that a header has room for: whose it was can't be told any more. */
	if (cursor->sequence != 0 && cursor->sequence < view->epochs[0].first_seq)
		return lost_since(reader, cursor->sequence + 1) ? READER_CURSOR_EXPIRED
								: READER_CURSOR_UNKNOWN;
	if (!is_epoch_right)
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
	case READER_FROM_RETAINED:
		reader->next_seq = oldest_retained(reader);
		if (reader->next_seq <= start->sequence)
			reader->next_seq = start->sequence + 1;
		break;
	}
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
		(start->from == READER_FROM_KEYFRAME && count != 1) ||
		(start->from == READER_FROM_RETAINED && view->is_live))
		return -EINVAL;
	struct reader *reader = calloc(1, sizeof(*reader));
	if (reader == NULL)
		return -ENOMEM;
	reader->view = view;
	int r = 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = select_worker(reader, selection->workers[i], selection->worker_lens[i]);
	remember_unknown(reader);
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
	reader->seen_losses = view->table.loss_count;
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
	if (reader->seen_losses != table->loss_count) {
		reader->seen_losses = table->loss_count;
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

uint64_t reader_last_visible_of(const struct log_view *view, size_t position)
{
	uint64_t last = catalog_last_of(view, position);
	return last < view->visible_seq ? last : view->visible_seq;
}

int reader_give_gap(struct reader *reader, size_t position, uint64_t first, uint64_t last,
	uint64_t offset, struct reader_piece *out)
{
	const struct log_view *view = reader->view;
	const struct segment *segment = view->segments[position];
	*out = (struct reader_piece){
		.first = first, .last = last, .file = segment->name, .offset = offset};
	reader->next_seq = last + 1;
	if (first > segment->last_seq && !catalog_is_whole_behind(view, position)) {
		out->reason = READER_GAP_LOST;
		return READER_GAP;
	}
	out->reason = READER_GAP_DAMAGED;
	return READER_CORRUPT;
}

bool reader_find_segment(struct reader *reader, size_t *position)
{
	struct log_view *view = reader->view;
	if (catalog_find(view, reader->next_seq, position))
		return true;
	/* Nothing selected was there, or the reader would have been overrun. */
	reader->next_seq = view->segment_count == 0 ? view->visible_seq + 1
						    : view->segments[0]->base;
	return false;
}

int reader_next(struct reader *reader, size_t max_bytes, struct reader_piece *out)
{
	if (is_overrun(reader)) {
		*out = (struct reader_piece){.first = oldest_whole(reader)};
		return READER_OVERRUN;
	}
	if (reader->next_seq > reader->view->visible_seq)
		return READER_END;
	return reader->worker_count == 1 ? reader_next_of_one(reader, max_bytes, out)
					 : reader_next_by_walking(reader, max_bytes, out);
}
