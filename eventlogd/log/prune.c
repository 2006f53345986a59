/*
 * Taking away what retention does not keep.
 *
 * A segment goes in this order: a "prune" note that says what each worker loses is written; the
 * catalog forgets the segment, so that readers get READER_OVERRUN from now on; the syncer syncs the
 * note and removes the file. A stop in between repeats the removal at the next start (recovery.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "eventlogd/log/event_log_inside.h"
#include "eventlogd/log/footer.h"
#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/note.h"

/* A tick takes away at most this many, so that the loop is not held up. */
enum { SEGMENTS_PER_TICK = 8 };

/* What every worker has in one segment, as the rows of a note. */
struct loss {
	struct segment *segment;
	struct buf *note;
	uint32_t row; /* the next one, in a footer */
};

static int add_row(struct buf *note, const char *worker, size_t worker_len, uint64_t through,
	uint64_t count, uint64_t bytes)
{
	struct prune_row row = {worker, (uint8_t)worker_len, through, count, bytes};
	return note_prune_add(note, &row);
}

/* One row, so that nothing is allocated while the guard may jump away. */
struct footer_loss {
	struct loss *loss;
	char id[ID_BYTES_MAX];
	uint8_t id_len;
	uint64_t through, count, bytes;
};

static int read_footer_row(void *argument)
{
	struct footer_loss *out = argument;
	struct loss *loss = out->loss;
	const struct segment *segment = loss->segment;
	struct footer_row row;
	for (;; loss->row++) {
		if (loss->row >= segment->trailer.sections[SECTION_ROW_OFFSETS].count)
			return 1;
		if (!footer_row(segment->map, &segment->trailer, loss->row, &row) ||
			row.id_len > ID_BYTES_MAX)
			return -EBADMSG;
		if (row.entry_count != 0)
			break;
	}
	struct index_entry last;
	if (!footer_entry(
		    segment->map, &segment->trailer, row.first_entry + row.entry_count - 1, &last))
		return -EBADMSG;
	loss->row++;
	for (uint8_t i = 0; i < row.id_len; i++)
		out->id[i] = row.id[i];
	out->id_len = row.id_len;
	out->through = segment->base + last.seq_delta;
	out->count = row.entry_count;
	out->bytes = row.bytes_here;
	return 0;
}

static int check_footer(void *argument)
{
	const struct segment *segment = argument;
	static const enum segment_section_kind kinds[] = {
		SECTION_ROWS, SECTION_ROW_OFFSETS, SECTION_ENTRIES};
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!footer_section_is_valid(segment->map, &segment->trailer, kinds[i]))
			return -EBADMSG;
	return 0;
}

static int losses_of_footer(struct loss *loss)
{
	struct segment *segment = loss->segment;
	int r = map_guard_run(segment->map, segment->file_bytes, check_footer, segment);
	struct footer_loss row = {.loss = loss};
	while (r == 0) {
		r = map_guard_run(segment->map, segment->file_bytes, read_footer_row, &row);
		if (r == 0)
			r = add_row(
				loss->note, row.id, row.id_len, row.through, row.count, row.bytes);
	}
	return r == 1 ? 0 : r;
}

static int losses_of_index(struct loss *loss)
{
	const struct segment *segment = loss->segment;
	struct index_list *list, *next;
	map_for_each (segment->index->lists, list, next) {
		if (list->count == 0)
			continue;
		int r = add_row(loss->note, list->worker.text, list->hh.keylen,
			segment->base + list->entries[list->count - 1].seq_delta, list->count,
			list->record_bytes);
		if (r != 0)
			return r;
	}
	return 0;
}

/* Nobody can tell any more whose records those were: they may have been anyone's. */
static int losses_of_unknown(struct event_log *log, struct loss *loss, uint64_t through)
{
	struct worker *worker, *next;
	map_for_each (log->view.table.workers, worker, next) {
		uint64_t last = worker->newest_seq < through ? worker->newest_seq : through;
		int r = add_row(loss->note, worker->id.text, worker->id_len, last, 0, 0);
		if (r != 0)
			return r;
	}
	return 0;
}

static int collect_losses(struct event_log *log, struct loss *loss, uint64_t next_base)
{
	struct segment *segment = loss->segment;
	int r = note_prune_begin(loss->note, next_base, next_base - 1);
	if (r == 0)
		r = catalog_map(&log->view, segment);
	if (r == 0 && segment->index == NULL)
		r = losses_of_footer(loss);
	if (r == -EBADMSG) {
		r = note_prune_begin(loss->note, next_base, next_base - 1);
		if (r == 0)
			r = segment_build_index(segment);
	}
	if (r == 0 && segment->index != NULL)
		r = losses_of_index(loss);
	if (r != -EIO)
		return r;
	r = note_prune_begin(loss->note, next_base, next_base - 1);
	return r == 0 ? losses_of_unknown(log, loss, next_base - 1) : r;
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

/* Takes the oldest segment away. 0, or anything else: not now. */
static int prune_oldest(struct event_log *log, uint64_t wall_ns)
{
	struct segment *segment = log->view.segments[0];
	struct buf note_payload;
	buf_init(&note_payload, RECORD_BYTES_MAX);
	struct loss loss = {.segment = segment, .note = &note_payload};
	int r = collect_losses(log, &loss, log->view.segments[1]->base);
	struct record note = note_record(NOTE_PRUNE, log->written.seq, wall_ns);
	note.payload = note_payload.data;
	note.payload_len = note_payload.len;
	/* Without an active segment (no space to begin one) nothing can be noted: recovery then
	 * counts every worker as pruned, which is cautious and true enough. */
	if (r == 0 && log->active != NULL)
		r = log_append_note(log, &note);
	if (r == 0 && !syncer_request_removal(&log->syncer, segment->name))
		r = EVENT_LOG_BUSY;
	if (r == 0) {
		note_prune_apply(&note, &log->view.table);
		report_pruned(log, segment);
		log->counters.pruned_segments++;
		log->counters.pruned_records += segment->count;
		log->counters.pruned_bytes += segment->allocated_bytes;
		catalog_remove(&log->view, 0);
	}
	buf_free(&note_payload);
	return r;
}

/* Only sealed segments can go, so a quiet log seals what has become too old. */
static void seal_what_is_old(struct event_log *log, uint64_t now_ns, uint64_t wall_ns)
{
	const struct segment *active = log->active;
	uint64_t age_ns = log->config.retention.age_ns;
	if (age_ns == 0 || active == NULL || active->count == 0 || log->spare_fd < 0 ||
		active->last_time_ns > now_ns || now_ns - active->last_time_ns <= age_ns)
		return;
	/* Without memory for it now, the next tick tries again. */
	int r = log_begin_roll(log, wall_ns);
	(void)r;
}

static void prune_oldest_ones(struct event_log *log, uint64_t now_ns, uint64_t wall_ns)
{
	struct log_view *view = &log->view;
	if (view->segment_count < 2)
		return;
	struct retention_item *items = calloc(view->segment_count, sizeof(*items));
	if (items == NULL)
		return;
	size_t count = view->segment_count - 1;
	for (size_t i = 0; i < count; i++)
		items[i] = (struct retention_item){
			view->segments[i]->allocated_bytes, view->segments[i]->last_time_ns};
	/* The spare takes room too. */
	uint64_t other = catalog_newest(view)->allocated_bytes +
			 (log->spare_fd >= 0 ? log->config.segment_bytes : 0);
	struct retention_limits limits = {
		log->config.retention.bytes, log->config.retention.age_ns};
	size_t gone = retention_plan(&limits, items, count, other, now_ns);
	free(items);
	for (size_t i = 0; i < gone && i < SEGMENTS_PER_TICK; i++)
		if (prune_oldest(log, wall_ns) != 0)
			break;
}

void log_prune(struct event_log *log, uint64_t now_ns, uint64_t wall_ns)
{
	if (log->stage.count != 0 || log->is_read_only || log->roll != NULL)
		return;
	prune_oldest_ones(log, now_ns, wall_ns);
	seal_what_is_old(log, now_ns, wall_ns);
}
