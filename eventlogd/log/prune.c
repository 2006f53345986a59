/*
 * Taking away what retention does not keep.
 *
 * A segment goes in this order: a "prune" note that says what each worker loses is written; the
 * catalog forgets the segment, so that readers get READER_OVERRUN from now on; the syncer syncs the
 * note and removes the file. A stop in between repeats the removal at the next start (recovery.c).
 * Where something of it stays, a compacted segment takes its place (prune_compact.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "eventlogd/log/compaction.h"
#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/note.h"
#include "eventlogd/log/segment_share.h"

/* A turn takes away at most this many, so that the loop is not held up. */
enum { SEGMENTS_PER_TURN = 8 };

/* What every worker loses with one segment, as the rows of a note. */
struct loss {
	struct event_log *log;
	struct segment *segment;
	const struct compaction *compaction; /* NULL: nothing stays */
	struct buf *note;
};

/* Who loses something here has lost what the reserve keeps of it, which is older. */
static int add_row(const struct loss *loss, const struct worker *worker, uint64_t through,
	uint64_t count, uint64_t bytes)
{
	struct prune_row row = {worker->id.text, worker->id_len, through,
		count + worker->reserve_count, bytes + worker->reserve_bytes};
	return note_prune_add(loss->note, &row);
}

static int lose_share(void *owner, const struct segment_share *share)
{
	const struct loss *loss = owner;
	struct log_view *view = &loss->log->view;
	const struct worker *worker = worker_table_find(
		&view->table, share->worker, share->worker_len);
	/* What a note has accounted for before is not counted again. */
	if (worker == NULL || share->last_seq <= worker->highest_pruned)
		return 0;
	const struct compaction_keep *keep = loss->compaction == NULL
						     ? NULL
						     : compaction_find(loss->compaction,
							       share->worker, share->worker_len);
	if (keep != NULL)
		return keep->lost_through <= worker->highest_pruned
			       ? 0
			       : add_row(loss, worker, keep->lost_through, keep->lost_count,
					 keep->lost_bytes);
	uint64_t count, bytes;
	int r = segment_share_after(
		view, loss->segment, share, worker->highest_pruned, &count, &bytes);
	return r == 0 ? add_row(loss, worker, share->last_seq, count, bytes) : r;
}

/* Nobody can tell any more whose records those were: they may have been anyone's. */
static int losses_of_unknown(const struct loss *loss, uint64_t through)
{
	struct worker *worker, *next;
	map_for_each (loss->log->view.table.workers, worker, next) {
		uint64_t last = worker->newest_seq < through ? worker->newest_seq : through;
		int r = last <= worker->highest_pruned ? 0 : add_row(loss, worker, last, 0, 0);
		if (r != 0)
			return r;
	}
	return 0;
}

int log_collect_losses(struct event_log *log, struct segment *segment,
	const struct compaction *compaction, struct buf *note, uint64_t oldest_base,
	uint64_t highest_pruned)
{
	struct loss loss = {log, segment, compaction, note};
	int r = note_prune_begin(note, oldest_base, highest_pruned);
	if (r == 0)
		r = segment_shares(&log->view, segment, lose_share, &loss);
	if (r != -EIO || compaction != NULL)
		return r;
	r = note_prune_begin(note, oldest_base, highest_pruned);
	return r == 0 ? losses_of_unknown(&loss, highest_pruned) : r;
}

int log_note_losses(struct event_log *log, struct buf *note, uint64_t wall_ns)
{
	struct record record = note_record(NOTE_PRUNE, log->written.seq, wall_ns);
	record.payload = note->data;
	record.payload_len = note->len;
	int r = log_append_note(log, &record);
	if (r == 0)
		note_prune_apply(&record, &log->view.table);
	return r;
}

static void report_pruned(const struct event_log *log, const struct segment *segment)
{
	struct finding finding = {
		.kind = FINDING_SEGMENT_PRUNED,
		.file = segment->name,
		.bytes = segment->allocated_bytes,
		.first = segment->base,
		.last = segment->last_seq,
		.count = segment->count,
	};
	finding_report(&log->config.findings, &finding);
}

/*
 * Takes the oldest whole segment away. 0, or anything else: not now. Without an active segment (no
 * space to begin one) nothing can be noted: recovery then counts every worker as pruned, which is
 * cautious and true enough. Behind compacted segments it would be taken for lost, and stays.
 */
static int prune_oldest(struct event_log *log, uint64_t wall_ns)
{
	struct log_view *view = &log->view;
	size_t position = catalog_compacted_count(view);
	struct segment *segment = view->segments[position];
	if (!syncer_can_remove(&log->syncer) || (log->active == NULL && position != 0))
		return EVENT_LOG_BUSY;
	_cleanup_buf_ struct buf note;
	buf_init(&note, RECORD_BYTES_MAX);
	uint64_t next_base = view->segments[position + 1]->base;
	/* Where no sequence belongs to it, nothing goes with it; what is before it may stay. */
	uint64_t through = segment->base < next_base ? next_base - 1 : 0;
	int r = log_collect_losses(log, segment, NULL, &note, next_base, through);
	struct record unwritten = {.payload = note.data, .payload_len = note.len};
	if (r == 0 && log->active != NULL)
		r = log_note_losses(log, &note, wall_ns);
	else if (r == 0)
		note_prune_apply(&unwritten, &view->table);
	if (r != 0)
		return r;
	bool is_taken = syncer_request_removal(&log->syncer, segment->name);
	assert(is_taken); /* there was room, and nobody else asks */
	(void)is_taken;
	report_pruned(log, segment);
	log->counters.pruned_segments++;
	log->counters.pruned_records += segment->count;
	log->counters.pruned_bytes += segment->allocated_bytes;
	log->compacting.garbage_positions = position;
	catalog_remove(view, position);
	return 0;
}

/* Only sealed segments can go, so a quiet log seals what has become too old. */
static void seal_what_is_old(struct event_log *log, uint64_t now_ns, uint64_t wall_ns)
{
	const struct segment *active = log->active;
	uint64_t age_ns = log->config.retention.age_ns;
	if (age_ns == 0 || active == NULL || active->count == 0 || active->last_time_ns > now_ns ||
		now_ns - active->last_time_ns <= age_ns)
		return;
	if (log->spare_fd < 0) {
		log_need_spare(log);
		return;
	}
	/* Without memory for it now, the next tick tries again. */
	int r = log_begin_roll(log, wall_ns);
	(void)r;
}

/* How many of the oldest whole segments have to go. */
static size_t count_going(const struct event_log *log)
{
	const struct log_view *view = &log->view;
	size_t first = catalog_compacted_count(view), gone = 0;
	if (first + 1 >= view->segment_count)
		return 0;
	size_t count = view->segment_count - 1 - first;
	struct retention_item *items = calloc(count, sizeof(*items));
	if (items == NULL)
		return 0;
	/* The spare takes room too, also while it is made, and so does what stays of segments. */
	bool has_spare = log->spare_fd >= 0 || log->spare_asked;
	uint64_t other = catalog_newest(view)->allocated_bytes +
			 (has_spare ? log->config.segment_bytes : 0);
	for (size_t i = 0; i < first; i++)
		other += view->segments[i]->allocated_bytes;
	for (size_t i = 0; i < count; i++) {
		const struct segment *segment = view->segments[first + i];
		items[i] = (struct retention_item){segment->allocated_bytes, segment->last_time_ns};
	}
	struct retention_limits limits = {
		log->config.retention.bytes, log->config.retention.age_ns};
	gone = retention_plan(&limits, items, count, other, log->compacting.now_ns);
	free(items);
	return gone;
}

static void prune_oldest_ones(struct event_log *log, uint64_t wall_ns)
{
	for (unsigned int i = 0; i < SEGMENTS_PER_TURN; i++) {
		enum prune_step step = log_compact_go_on(log, wall_ns);
		if (step == PRUNE_STEP_PLAIN)
			step = count_going(log) == 0 ? PRUNE_STEP_WAITS
						     : log_compact_oldest(log, wall_ns);
		if (step == PRUNE_STEP_PLAIN && prune_oldest(log, wall_ns) != 0)
			return;
		if (step == PRUNE_STEP_WAITS)
			return;
	}
	log->compacting.goes_on = true;
}

void log_prune(struct event_log *log, uint64_t wall_ns)
{
	if (log->is_read_only)
		return;
	/* Under load there may be no other time than before what waits for the roll is written. */
	log->compacting.goes_on = log->roll != NULL;
	if (log->roll != NULL)
		return;
	if (!log_forget_due(log, wall_ns))
		return;
	prune_oldest_ones(log, wall_ns);
	seal_what_is_old(log, log->compacting.now_ns, wall_ns);
}
