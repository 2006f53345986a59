/*
 * Retention, where something of a segment stays: into the keyframe reserve.
 *
 * The order is: the compacted segment is made and synced under a temporary name (sync thread); a
 * "prune" note that says what each worker loses is written; the sync thread syncs the note and
 * renames over the old segment; then the catalog takes the new one. Readers stay on the old
 * segment's map until then, and what the note speaks of is hidden from them from the note on. A
 * stop in between leaves the old segment, or the new one in its place: both hold what stays, and
 * what a note has accounted for (highest pruned of each worker) is never counted again.
 */
#include <assert.h>
#include <errno.h>

#include "eventlogd/log/compaction.h"
#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/note.h"
#include "eventlogd/log/reserve.h"
#include "eventlogd/log/segment_share.h"
#include "proto/base/clock.h"

enum {
	EVICTIONS_PER_STEP = 16,
	FAILURES_MAX = 5, /* one after the other; then the plain rule */
	GARBAGE_PER_STEP = 16,
	/* A log that is limited by age only has no size to take a quarter of. */
	RESERVE_DEFAULT_SEGMENTS = 4,
};
#define TRY_AGAIN_NS NS_PER_S

uint64_t log_reserve_limit(const struct event_log *log)
{
	uint64_t bytes = log->config.retention.bytes;
	uint64_t reserve = log->config.retention.keyframe_reserve;
	if (reserve == UINT64_MAX)
		return bytes != 0 ? bytes / 4
				  : RESERVE_DEFAULT_SEGMENTS * log->config.segment_bytes;
	return bytes != 0 && reserve > bytes ? bytes : reserve;
}

/* Of a segment that is going to be replaced: who keeps what. */
struct plan {
	struct event_log *log;
	struct segment *segment;
	struct compaction *compaction;
	uint64_t kept_bytes; /* at most */
};

static int plan_keep(struct plan *plan, const struct worker *worker,
	const struct segment_share *share, uint64_t keep_from)
{
	struct compaction_keep keep = {
		.worker = worker->id,
		.worker_len = worker->id_len,
		.owner_uid = worker->owner_uid,
		.pruned = worker->highest_pruned,
		.keep_from = keep_from,
		.share_last = share->last_seq,
	};
	int r = segment_share_after(&plan->log->view, plan->segment, share, worker->highest_pruned,
		&keep.share_count, &keep.share_bytes);
	plan->kept_bytes += keep.share_bytes;
	return r == 0 ? compaction_add(plan->compaction, &keep) : r;
}

static const struct worker *worker_with(const struct plan *plan, const struct segment_share *share)
{
	const struct worker *worker = worker_table_find(
		&plan->log->view.table, share->worker, share->worker_len);
	return worker != NULL && share->last_seq > worker->highest_pruned ? worker : NULL;
}

static int plan_newest_keyframe(void *owner, const struct segment_share *share)
{
	struct plan *plan = owner;
	const struct worker *worker = worker_with(plan, share);
	uint64_t from = worker == NULL ? 0 : reserve_kept_from(&plan->log->view, worker);
	return from == 0 || from > share->last_seq ? 0 : plan_keep(plan, worker, share, from);
}

/* A compacted segment keeps what no note has given up since. */
static int plan_what_counts(void *owner, const struct segment_share *share)
{
	struct plan *plan = owner;
	const struct worker *worker = worker_with(plan, share);
	return worker == NULL ? 0 : plan_keep(plan, worker, share, 0);
}

static int plan_begin(struct plan *plan, segment_share_fn fn)
{
	int r = catalog_map(&plan->log->view, plan->segment);
	if (r == 0)
		r = compaction_new(&plan->compaction, &plan->log->view, plan->segment);
	if (r == 0)
		r = segment_shares(&plan->log->view, plan->segment, fn, plan);
	/* Looking for shares may have mapped others. */
	return r == 0 ? catalog_map(&plan->log->view, plan->segment) : r;
}

static void plan_start(struct plan *plan)
{
	struct compacting *compacting = &plan->log->compacting;
	plan->segment->is_pinned = true;
	compacting->compaction = plan->compaction;
	compacting->state = COMPACT_RUNS;
	syncer_request_compaction(&plan->log->syncer, plan->compaction);
}

/* Adds what one worker has in the reserve, and in the segment of the plan, to a note. */
static int add_victim(struct buf *note, const struct worker *worker, const struct plan *plan)
{
	struct prune_row row = {worker->id.text, worker->id_len, worker->reserve_last,
		worker->reserve_count, worker->reserve_bytes};
	const struct compaction_keep *keep = compaction_find(
		plan->compaction, worker->id.text, worker->id_len);
	if (keep != NULL) {
		row.through = keep->share_last;
		row.count += keep->share_count;
		row.bytes += keep->share_bytes;
	}
	return note_prune_add(note, &row);
}

/* Makes room in the reserve. DONE: some gave theirs up; PLAIN: there is room; WAITS. */
static enum prune_step make_room(struct plan *plan, uint64_t wall_ns)
{
	struct event_log *log = plan->log;
	uint64_t limit = log_reserve_limit(log);
	enum prune_step step = PRUNE_STEP_PLAIN;
	for (unsigned int i = 0; i < EVICTIONS_PER_STEP; i++) {
		const struct worker *victim = reserve_choose_victim(
			&log->view, plan->compaction, limit);
		if (victim == NULL)
			break;
		_cleanup_buf_ struct buf note;
		buf_init(&note, RECORD_BYTES_MAX);
		int r = note_prune_begin(&note, plan->segment->base, 0);
		if (r == 0)
			r = add_victim(&note, victim, plan);
		if (r == 0)
			r = log_note_losses(log, &note, wall_ns);
		if (r != 0)
			return PRUNE_STEP_WAITS;
		struct compaction_keep *keep = compaction_find(
			plan->compaction, victim->id.text, victim->id_len);
		if (keep != NULL)
			keep->share_bytes = 0;
		log->counters.reserve_evictions++;
		log->compacting.garbage_positions = catalog_compacted_count(&log->view);
		step = PRUNE_STEP_DONE;
	}
	return step;
}

enum prune_step log_compact_oldest(struct event_log *log, uint64_t wall_ns)
{
	struct log_view *view = &log->view;
	struct compacting *compacting = &log->compacting;
	size_t position = catalog_compacted_count(view);
	/* The newest sealed segment has the worker table that the reserve is understood with. */
	bool is_last = position + 2 >= view->segment_count;
	struct plan plan = {.log = log, .segment = view->segments[position]};
	/* There was one, and the configuration says now that there is to be none. */
	if (log_reserve_limit(log) < RESERVE_SEGMENT_BYTES && position != 0 &&
		make_room(&plan, wall_ns) == PRUNE_STEP_DONE)
		return PRUNE_STEP_DONE;
	if (log_reserve_limit(log) < RESERVE_SEGMENT_BYTES ||
		compacting->failures >= FAILURES_MAX) {
		compacting->failures = 0;
		return is_last && position != 0 ? PRUNE_STEP_WAITS : PRUNE_STEP_PLAIN;
	}
	if (compacting->failures != 0 && log->compacting.monotonic_ns < compacting->try_again_ns)
		return PRUNE_STEP_WAITS;
	int r = plan_begin(&plan, plan_newest_keyframe);
	enum prune_step step = PRUNE_STEP_PLAIN;
	if (r == -ENOMEM)
		step = PRUNE_STEP_WAITS;
	else if (r == 0 && plan.kept_bytes != 0 && log->active == NULL)
		step = PRUNE_STEP_WAITS;
	else if (is_last && (position != 0 || (r == 0 && plan.kept_bytes != 0)))
		step = PRUNE_STEP_WAITS;
	else if (r == 0 && plan.kept_bytes != 0) {
		step = make_room(&plan, wall_ns);
		if (step == PRUNE_STEP_PLAIN) {
			plan_start(&plan);
			return PRUNE_STEP_WAITS;
		}
	}
	compaction_free(plan.compaction);
	return step;
}

static size_t position_of(const struct log_view *view, const struct segment *segment)
{
	size_t position = 0;
	while (view->segments[position] != segment)
		position++;
	return position;
}

static void end_compaction(struct event_log *log)
{
	struct compacting *compacting = &log->compacting;
	if (compacting->compaction != NULL)
		compaction_source(compacting->compaction)->is_pinned = false;
	compaction_free(compacting->compaction);
	compacting->compaction = NULL;
	compacting->state = COMPACT_NONE;
}

void log_compaction_done(struct event_log *log, int error)
{
	struct compacting *compacting = &log->compacting;
	assert(compacting->state == COMPACT_RUNS);
	compacting->goes_on = true;
	if (error == 0) {
		compacting->state = COMPACT_MADE;
		return;
	}
	compacting->state = COMPACT_FAILED;
	if (segment_is_compacted(compaction_source(compacting->compaction)))
		return; /* it stays as it is */
	/* Without room or memory later; what can't be read now goes by the plain rule. */
	compacting->failures = error == -EIO ? FAILURES_MAX : compacting->failures + 1;
	compacting->try_again_ns = compacting->monotonic_ns + TRY_AGAIN_NS;
}

/* What the compacted segment holds belongs to the reserve from the note on. */
static void count_kept(struct event_log *log)
{
	const struct compaction *compaction = log->compacting.compaction;
	struct compaction_keep *keep, *next;
	map_for_each (compaction_keeps(compaction), keep, next) {
		struct worker *worker = worker_table_find(
			&log->view.table, keep->worker.text, keep->worker_len);
		log->counters.pruned_records += keep->lost_count;
		/* Given up while it was made: it is garbage already. */
		if (worker == NULL || keep->kept_count == 0 ||
			keep->kept_last <= worker->highest_pruned)
			continue;
		worker->reserve_count += keep->kept_count;
		worker->reserve_bytes += keep->kept_bytes;
		worker->reserve_last = keep->kept_last;
		worker->reserve_segments++;
	}
	log_forget_released(log); /* while it was made */
}

/* The compacted segment is there: notes what is lost and has it put in place. */
static enum prune_step replace(struct event_log *log, uint64_t wall_ns)
{
	struct compaction *compaction = log->compacting.compaction;
	struct segment *source = compaction_source(compaction);
	if (!syncer_can_remove(&log->syncer))
		return PRUNE_STEP_WAITS;
	if (!segment_is_compacted(source)) {
		_cleanup_buf_ struct buf note;
		buf_init(&note, RECORD_BYTES_MAX);
		int r = log_collect_losses(log, source, compaction, &note, source->base,
			compaction_dropped_through(compaction));
		if (r == 0)
			r = log_note_losses(log, &note, wall_ns);
		if (r == -EIO) {
			log->compacting.failures = FAILURES_MAX;
			end_compaction(log);
			return PRUNE_STEP_DONE;
		}
		if (r != 0)
			return PRUNE_STEP_WAITS;
		count_kept(log);
	}
	bool is_taken = syncer_request_replacement(&log->syncer, source->name);
	assert(is_taken); /* there was room, and nobody else asks */
	(void)is_taken;
	log->compacting.state = COMPACT_REPLACES;
	log->compacting.failures = 0;
	return PRUNE_STEP_WAITS;
}

void log_compaction_replaced(struct event_log *log)
{
	struct compacting *compacting = &log->compacting;
	assert(compacting->state == COMPACT_REPLACES);
	struct segment *source = compaction_source(compacting->compaction);
	struct segment *made = compaction_take_segment(compacting->compaction);
	struct finding finding = {
		.kind = FINDING_SEGMENT_COMPACTED,
		.file = source->name,
		.bytes = made->allocated_bytes,
		.first = made->trailer.first_seq,
		.last = made->last_seq,
		.count = made->count,
	};
	finding_report(&log->config.findings, &finding);
	size_t position = position_of(&log->view, source);
	log->counters.compacted_segments++;
	if (!segment_is_compacted(source))
		compacting->garbage_positions = position;
	end_compaction(log);
	catalog_replace_take(&log->view, position, made);
	compacting->goes_on = true;
}

/* Nothing of it counts any more; its removal needs no row, only the place where the log begins. */
static enum prune_step remove_compacted(struct event_log *log, size_t position, uint64_t wall_ns)
{
	struct log_view *view = &log->view;
	_cleanup_buf_ struct buf note;
	buf_init(&note, RECORD_BYTES_MAX);
	if (!syncer_can_remove(&log->syncer) || log->active == NULL)
		return PRUNE_STEP_WAITS;
	size_t first = catalog_compacted_count(view);
	int r = note_prune_begin(&note, view->segments[first]->base, 0);
	if (r == 0)
		r = log_note_losses(log, &note, wall_ns);
	if (r != 0)
		return PRUNE_STEP_WAITS;
	bool is_taken = syncer_request_removal(&log->syncer, view->segments[position]->name);
	assert(is_taken);
	(void)is_taken;
	log->counters.pruned_segments++;
	log->counters.pruned_bytes += view->segments[position]->allocated_bytes;
	catalog_remove(view, position);
	return PRUNE_STEP_DONE;
}

/* One compacted segment: removes it, rewrites it, or lets it be. */
static enum prune_step collect_garbage(struct event_log *log, size_t position, uint64_t wall_ns)
{
	struct plan plan = {.log = log, .segment = log->view.segments[position]};
	enum prune_step step = PRUNE_STEP_DONE;
	int r = plan_begin(&plan, plan_what_counts);
	uint64_t data_bytes = plan.segment->data_end - SEGMENT_HEADER_BYTES;
	if (r == 0 && plan.kept_bytes == 0) {
		step = remove_compacted(log, position, wall_ns);
	} else if (r == 0 && plan.kept_bytes <= data_bytes / 2) {
		plan_start(&plan);
		return PRUNE_STEP_WAITS;
	}
	compaction_free(plan.compaction);
	return step;
}

enum prune_step log_compact_go_on(struct event_log *log, uint64_t wall_ns)
{
	struct compacting *compacting = &log->compacting;
	if (compacting->state == COMPACT_FAILED)
		end_compaction(log);
	if (compacting->state == COMPACT_MADE) {
		bool is_empty = compaction_is_empty(compacting->compaction);
		if (!is_empty)
			return replace(log, wall_ns);
		/* Every record that was to stay turned out to be damaged. */
		if (!segment_is_compacted(compaction_source(compacting->compaction)))
			compacting->failures = FAILURES_MAX;
		end_compaction(log);
	}
	if (compacting->state != COMPACT_NONE)
		return PRUNE_STEP_WAITS;
	for (unsigned int i = 0; i < GARBAGE_PER_STEP && compacting->garbage_positions != 0; i++) {
		size_t position = --compacting->garbage_positions;
		if (position >= catalog_compacted_count(&log->view))
			continue;
		enum prune_step step = collect_garbage(log, position, wall_ns);
		if (step == PRUNE_STEP_WAITS) {
			compacting->garbage_positions += compacting->state == COMPACT_NONE;
			return step;
		}
	}
	return compacting->garbage_positions != 0 ? PRUNE_STEP_DONE : PRUNE_STEP_PLAIN;
}

void log_forget_released(struct event_log *log)
{
	struct worker *worker, *next;
	map_for_each (log->view.table.workers, worker, next) {
		if (!worker->is_released || worker->reserve_count == 0)
			continue;
		log->compacting.forgets_due += !worker->forget_is_due;
		worker->forget_is_due = true;
	}
}

bool event_log_forget(
	struct event_log *log, const char *worker, size_t len, struct log_forgotten *out)
{
	struct worker *row = worker_table_find(&log->view.table, worker, len);
	if (row == NULL || row->newest_seq == 0)
		return false;
	*out = (struct log_forgotten){row->reserve_count, row->reserve_bytes};
	row->is_released = true;
	log->compacting.forgets_due += !row->forget_is_due;
	row->forget_is_due = true;
	return true;
}

/* One note that survives the worker's newer keyframes, one that gives up what is kept now. */
static int note_forgotten(struct event_log *log, struct worker *worker, uint64_t wall_ns)
{
	struct record record = note_record(NOTE_FORGET, log->written.seq, wall_ns);
	record.worker = worker->id.text;
	record.worker_len = worker->id_len;
	record.owner_uid = worker->owner_uid;
	int r = worker->is_released ? log_append_note(log, &record) : 0;
	if (r != 0 || worker->reserve_count == 0)
		return r;
	const struct plan plan = {.log = log};
	_cleanup_buf_ struct buf note;
	buf_init(&note, RECORD_BYTES_MAX);
	r = note_prune_begin(&note, 0, 0);
	if (r == 0)
		r = add_victim(&note, worker, &plan);
	if (r == 0)
		r = log_note_losses(log, &note, wall_ns);
	if (r == 0)
		log->compacting.garbage_positions = catalog_compacted_count(&log->view);
	return r;
}

bool log_forget_due(struct event_log *log, uint64_t wall_ns)
{
	struct worker *worker, *next;
	if (log->compacting.forgets_due == 0)
		return true;
	map_for_each (log->view.table.workers, worker, next) {
		if (!worker->forget_is_due)
			continue;
		if (note_forgotten(log, worker, wall_ns) != 0)
			return false;
		worker->forget_is_due = false;
	}
	log->compacting.forgets_due = 0;
	return true;
}

void log_compaction_stop(struct event_log *log)
{
	if (log->compacting.compaction == NULL)
		return;
	end_compaction(log);
	if (!log->is_read_only)
		(void)log->ops->unlink_at(log->ops->owner, log->directory_fd, SEGMENT_COMPACT_NAME);
}
