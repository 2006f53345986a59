#include "eventlogd/log/recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/footer.h"
#include "eventlogd/log/inventory.h"
#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/note.h"
#include "eventlogd/log/scan.h"
#include "eventlogd/log/seal.h"

/* What the functions below share while one directory is read. */
struct recoverer {
	struct log_view *view;
	const struct finding_sink *findings;
	struct recovery *result;
};

static void report(const struct recoverer *recoverer, const struct finding *finding)
{
	if (finding_severity(finding->kind) == FINDING_DAMAGE)
		recoverer->result->damaged_ranges++;
	finding_report(recoverer->findings, finding);
}

struct table_load {
	struct segment *segment;
	struct worker_table *table;
};

static int check_table_sections(void *argument)
{
	const struct table_load *load = argument;
	const struct segment *segment = load->segment;
	return footer_section_is_valid(segment->map, &segment->trailer, SECTION_ROWS) &&
			       footer_section_is_valid(
				       segment->map, &segment->trailer, SECTION_ROW_OFFSETS)
		       ? 0
		       : -EBADMSG;
}

static int load_table(void *argument)
{
	const struct table_load *load = argument;
	return footer_load_table(load->segment->map, &load->segment->trailer, load->table);
}

/* Loads the newest worker table that is whole; returns how many segments it covers. */
static int find_table(struct recoverer *recoverer, size_t *covered)
{
	struct log_view *view = recoverer->view;
	for (size_t i = view->segment_count; i-- > 0;) {
		struct segment *segment = view->segments[i];
		struct table_load load = {segment, &view->table};
		/* A compacted segment has rows of its own workers only. */
		if (!segment->is_sealed || segment_is_compacted(segment))
			continue;
		int r = catalog_map(view, segment);
		if (r == 0)
			r = map_guard_run(
				segment->map, segment->file_bytes, check_table_sections, &load);
		if (r == 0)
			r = map_guard_run(segment->map, segment->file_bytes, load_table, &load);
		if (r == 0) {
			*covered = i + 1;
			return 0;
		}
		if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
			return r;
		worker_table_free(&view->table);
		struct finding finding = {
			.kind = FINDING_FOOTER_DAMAGED, .file = segment->name, .error = r};
		report(recoverer, &finding);
	}
	*covered = 0;
	return 0;
}

static int apply_to_table(struct log_view *view, const struct scan_item *item)
{
	const struct record *record = &item->record;
	enum note_kind kind = record_is_internal(record) ? note_kind(record) : NOTE_OTHER;
	if (kind == NOTE_PRUNE)
		note_prune_apply(record, &view->table);
	if (kind == NOTE_FORGET) {
		struct worker *finished = worker_table_find(
			&view->table, record->worker, record->worker_len);
		if (finished != NULL)
			finished->is_released = true;
	}
	if (record_is_internal(record) && kind != NOTE_POSITION)
		return 0;
	struct worker *worker;
	int r = worker_table_get(
		&view->table, record->worker, record->worker_len, record->owner_uid, true, &worker);
	if (r != 0)
		return r == -EINVAL ? 0 : r; /* an id that no writer of ours lets through */
	if (!record_is_internal(record)) {
		worker_table_set_owner(&view->table, worker, record->owner_uid);
		worker_table_apply_record(&view->table, worker, record, item->bytes, UINT64_MAX);
	}
	return worker_table_apply_producer(&view->table, worker, record);
}

/* One segment being scanned for what counts in it. */
struct survey {
	struct segment *segment;
	struct segment_index *index;
	bool needs_index, needs_table, is_newest;
	uint64_t limit_seq; /* what is above belongs to the next segment */
	uint64_t damaged_at, damaged_bytes;
	uint64_t not_durable_from; /* offset of what may not be on the disk; 0: nothing yet */
};

/* D: the first pass over the newest segment, which only looks at durable marks. */
static int find_durable(struct recoverer *recoverer, const struct segment *segment)
{
	struct scan scan = segment_scan(segment, true);
	struct scan_item item;
	int r;
	while ((r = segment_scan_next(segment, &scan, &item)) != SCAN_NOTHING) {
		if (r < 0)
			return r;
		if (r == SCAN_DAMAGED || item.record.durable_lag == RECORD_LAG_MAX ||
			item.record.durable_lag > item.record.sequence)
			continue;
		uint64_t durable = item.record.sequence - item.record.durable_lag;
		if (durable > recoverer->result->durable_seq)
			recoverer->result->durable_seq = durable;
	}
	return 0;
}

static int note_damage(
	struct recoverer *recoverer, struct survey *survey, uint64_t first, uint64_t last)
{
	struct finding finding = {.kind = FINDING_DAMAGED,
		.file = survey->segment->name,
		.offset = survey->damaged_at,
		.bytes = survey->damaged_bytes,
		.first = first,
		.last = last};
	if (first > last)
		finding.first = finding.last = 0;
	report(recoverer, &finding);
	return first > last || survey->index == NULL
		       ? 0
		       : segment_index_add_damage(survey->index, first, last);
}

static void report_torn_tail(struct recoverer *recoverer, const struct survey *survey,
	struct scan *scan, uint64_t cut, uint64_t expected)
{
	struct finding finding = {.kind = FINDING_TORN_TAIL,
		.file = survey->segment->name,
		.offset = cut,
		.first = expected};
	struct scan_item item;
	uint64_t end = cut;
	int r;
	while ((r = segment_scan_next(survey->segment, scan, &item)) == SCAN_RECORD ||
		r == SCAN_DAMAGED) {
		if (r == SCAN_DAMAGED)
			continue;
		finding.count++;
		end = item.offset + item.bytes;
	}
	finding.bytes = end - cut;
	report(recoverer, &finding);
}

static int keep_record(
	struct recoverer *recoverer, struct survey *survey, const struct scan_item *item)
{
	struct segment *segment = survey->segment;
	const struct record *record = &item->record;
	int r = 0;
	if (!record_is_internal(record)) {
		if (survey->needs_index)
			r = segment_index_add_item(survey->index, segment->base, item);
		if (r == 0 && !segment->is_sealed) {
			segment->last_seq = record->sequence;
			segment->last_time_ns = record->time_ns;
			segment->count++;
			segment->trailer.first_seq = segment->count == 1
							     ? record->sequence
							     : segment->trailer.first_seq;
			segment->trailer.first_time_ns = segment->count == 1
								 ? record->time_ns
								 : segment->trailer.first_time_ns;
		}
	}
	if (r == 0 && survey->needs_table)
		r = apply_to_table(recoverer->view, item);
	if (r == 0 && !segment->is_sealed)
		segment->data_end = item->offset + item->bytes;
	/* A record that is durable vouches for everything before it; a note does not. */
	if (!record_is_internal(record) && record->sequence <= recoverer->result->durable_seq)
		survey->not_durable_from = 0;
	else if (survey->not_durable_from == 0)
		survey->not_durable_from = item->offset;
	return r;
}

/* The second pass: keeps what counts. */
static int keep_records(struct recoverer *recoverer, struct survey *survey)
{
	struct segment *segment = survey->segment;
	struct scan scan = segment_scan(segment, !segment->is_sealed);
	struct scan_item item;
	bool is_compacted = segment_is_compacted(segment);
	for (;;) {
		uint64_t expected = scan.next_seq;
		int r = segment_scan_next(segment, &scan, &item);
		if (r < 0 || r == SCAN_NOTHING)
			return r < 0 ? r : 0;
		if (r == SCAN_DAMAGED) {
			survey->damaged_at = item.offset;
			survey->damaged_bytes = item.bytes;
		}
		bool is_record = r == SCAN_RECORD && !record_is_internal(&item.record);
		bool jumps = is_record && item.record.sequence > expected && !is_compacted;
		if ((r == SCAN_DAMAGED || jumps) && survey->is_newest &&
			expected > recoverer->result->durable_seq) {
			uint64_t cut = item.offset;
			if (r == SCAN_RECORD) {
				scan.offset = cut;
				scan.next_seq = expected;
			}
			report_torn_tail(recoverer, survey, &scan, cut, expected);
			return 0;
		}
		/*
		 * Cut off before, notes too: the next segment gave these numbers again. A note
		 * behind damage that stands where they would was cut off with it.
		 */
		if (r == SCAN_DAMAGED && !segment->is_sealed && expected > survey->limit_seq)
			return 0;
		if (r == SCAN_DAMAGED)
			continue;
		if (item.record.sequence > survey->limit_seq)
			return 0;
		r = 0;
		if (jumps || survey->damaged_bytes != 0)
			r = note_damage(recoverer, survey, expected,
				is_record ? item.record.sequence - 1 : expected - 1);
		survey->damaged_bytes = 0;
		if (r == 0)
			r = keep_record(recoverer, survey, &item);
		if (r != 0)
			return r;
	}
}

/* A segment whose header page is damaged is read with the salt of its records. */
static int cope_with_lost_header(struct recoverer *recoverer, struct segment *segment)
{
	struct finding finding = {.kind = FINDING_HEADER_DAMAGED, .file = segment->name};
	report(recoverer, &finding);
	if (segment->is_sealed)
		return 0;
	int r = segment_infer_salt(segment);
	return r < 0 ? r : 0;
}

/* What is missing at the end of a segment, up to `last`. */
static int note_missing_end(struct recoverer *recoverer, struct survey *survey, uint64_t last)
{
	struct segment *segment = survey->segment;
	if (segment->last_seq >= last)
		return 0;
	survey->damaged_at = segment->data_end;
	survey->damaged_bytes = 0;
	return note_damage(recoverer, survey, segment->last_seq + 1, last);
}

static int survey_segment(struct recoverer *recoverer, size_t position, bool needs_table)
{
	struct log_view *view = recoverer->view;
	struct segment *segment = view->segments[position];
	struct survey survey = {.segment = segment,
		.needs_index = !segment->is_sealed,
		.needs_table = needs_table,
		.is_newest = position + 1 == view->segment_count && !segment->is_sealed,
		.limit_seq = catalog_last_of(view, position)};
	int r = catalog_map(view, segment);
	if (r == 0 && segment->header_is_damaged)
		r = cope_with_lost_header(recoverer, segment);
	if (r == 0 && survey.is_newest)
		r = find_durable(recoverer, segment);
	if (r == 0 && survey.needs_index)
		r = segment_index_new(&survey.index);
	if (r == 0)
		r = keep_records(recoverer, &survey);
	if (r == 0 && survey.is_newest) {
		recoverer->result->rewrite_from = survey.not_durable_from == 0
							  ? segment->data_end
							  : survey.not_durable_from;
		r = note_missing_end(recoverer, &survey, recoverer->result->durable_seq);
	}
	if (r != 0) {
		segment_index_free(survey.index);
		return r;
	}
	segment->index = survey.index;
	return 0;
}

/* An older segment that can't be read is kept as one that answers -EIO. */
static int survey_or_mark(struct recoverer *recoverer, size_t position, bool needs_table)
{
	struct segment *segment = recoverer->view->segments[position];
	int r = segment->is_unreadable ? -EIO : survey_segment(recoverer, position, needs_table);
	if (r != -EIO)
		return r;
	struct finding finding = {.kind = FINDING_READ_ERROR, .file = segment->name, .error = r};
	report(recoverer, &finding);
	segment->is_unreadable = true;
	return position + 1 == recoverer->view->segment_count ? r : 0;
}

static int survey_segments(struct recoverer *recoverer, size_t covered)
{
	struct log_view *view = recoverer->view;
	for (size_t i = 0; i < view->segment_count; i++) {
		struct segment *segment = view->segments[i];
		uint64_t known = segment->is_sealed ? segment->last_seq : segment->durable_seq;
		/* A footer or a header says that everything up to there had been synced. */
		if (known > recoverer->result->durable_seq)
			recoverer->result->durable_seq = known;
		bool needs_table = i >= covered;
		if (segment->is_sealed && !needs_table && !segment->header_is_damaged)
			continue;
		if (segment->is_sealed && !needs_table) {
			struct finding finding = {
				.kind = FINDING_HEADER_DAMAGED, .file = segment->name};
			report(recoverer, &finding);
			continue;
		}
		if (!segment->is_sealed && i + 1 < view->segment_count) {
			struct finding finding = {
				.kind = FINDING_FOOTER_DAMAGED, .file = segment->name};
			report(recoverer, &finding);
		}
		int r = survey_or_mark(recoverer, i, needs_table);
		if (r != 0)
			return r;
	}
	return 0;
}

static void report_missing_between(struct recoverer *recoverer)
{
	const struct log_view *view = recoverer->view;
	for (size_t i = 0; i + 1 < view->segment_count; i++) {
		const struct segment *segment = view->segments[i], *next = view->segments[i + 1];
		if (segment->last_seq + 1 >= next->base || segment->is_unreadable ||
			(segment_is_compacted(segment) && catalog_is_whole_behind(view, i)))
			continue;
		struct finding finding = {
			.kind = next->previous_base == segment->base ? FINDING_DAMAGED
								     : FINDING_LOST,
			.file = segment->name,
			.offset = segment->data_end,
			.first = segment->last_seq + 1,
			.last = next->base - 1,
		};
		report(recoverer, &finding);
	}
}

static int note_pruned(struct recovery *result, const char *name)
{
	if (result->pruned_count == result->pruned_allocated) {
		size_t wanted = result->pruned_allocated * 2 + 4;
		void *grown = realloc(result->pruned, wanted * sizeof(*result->pruned));
		if (grown == NULL)
			return -ENOMEM;
		result->pruned = grown;
		result->pruned_allocated = wanted;
	}
	memcpy(result->pruned[result->pruned_count++], name, SEGMENT_NAME_BYTES + 1);
	return 0;
}

/*
 * Segments that retention had given up, and was stopped before it took them away: what is whole
 * and below oldest_base. Compacted ones below it are the keyframe reserve and stay.
 */
static int drop_pruned(struct recoverer *recoverer)
{
	struct log_view *view = recoverer->view;
	struct worker_table *table = &view->table;
	size_t i = 0;
	while (i + 1 < view->segment_count && view->segments[i + 1]->base <= table->oldest_base) {
		if (segment_is_compacted(view->segments[i])) {
			i++;
			continue;
		}
		int r = note_pruned(recoverer->result, view->segments[i]->name);
		if (r != 0)
			return r;
		catalog_remove(view, i);
	}
	/* The first one that the table's numbers are about; a compacted one may be in its place. */
	while (i + 1 < view->segment_count && view->segments[i]->base < table->oldest_base &&
		segment_is_compacted(view->segments[i]))
		i++;
	if (view->segments[i]->base > table->oldest_base)
		worker_table_prune_unaccounted(table, view->segments[i]->base);
	return 0;
}

static size_t first_whole(const struct log_view *view)
{
	size_t first = catalog_compacted_count(view);
	return first == view->segment_count ? first - 1 : first;
}

/*
 * No footer tells what was pruned: what is older than the oldest whole segment may have been, of
 * any worker that the records are going to tell of.
 */
static void begin_without_table(struct log_view *view)
{
	view->table.forgotten_through = view->segments[first_whole(view)]->base - 1;
}

/* What the reserve holds can't be told from what was given up, unless a note spoke of it. */
static void end_without_table(struct log_view *view)
{
	size_t first = first_whole(view);
	uint64_t base = view->segments[first]->base;
	if (first > 0 && base > view->table.oldest_base)
		worker_table_prune_unaccounted(&view->table, base);
}

static int read_segments(struct recoverer *recoverer)
{
	struct log_view *view = recoverer->view;
	struct recovery *result = recoverer->result;
	size_t covered = 0;
	int r = find_table(recoverer, &covered);
	if (r == 0 && covered == 0)
		begin_without_table(view);
	if (r == 0)
		r = survey_segments(recoverer, covered);
	if (r != 0)
		return r;
	if (covered == 0)
		end_without_table(view);
	r = drop_pruned(recoverer);
	if (r != 0)
		return r;
	report_missing_between(recoverer);

	const struct segment *newest = catalog_newest(view);
	result->newest_epoch = newest->epoch > view->epoch ? newest->epoch : view->epoch;
	result->next_seq = newest->last_seq + 1;
	if (result->next_seq <= result->durable_seq)
		result->next_seq = result->durable_seq + 1;
	result->is_clean = !result->has_stranger_ahead && newest->is_sealed &&
			   !segment_is_compacted(newest) &&
			   (newest->trailer.flags & TRAILER_RECOVERED) == 0 &&
			   (newest->count != 0 || newest->data_end == SEGMENT_HEADER_BYTES);
	view->visible_seq = result->next_seq - 1;
	return 0;
}

int recovery_read(struct log_view *view, const struct finding_sink *findings, struct recovery *out)
{
	*out = (struct recovery){.next_seq = 1};
	struct inventory inventory;
	int r = inventory_take(view, findings, &inventory);
	if (r != 0)
		return r;
	out->has_spare = inventory.has_spare;
	out->has_compact = inventory.has_compact;
	if (inventory.newest_is_newer)
		return -EPROTONOSUPPORT;
	out->has_stranger_ahead = inventory.has_stranger_ahead;
	out->is_empty = view->segment_count == 0;
	if (out->is_empty)
		return 0;
	struct recoverer recoverer = {view, findings, out};
	return read_segments(&recoverer);
}

void recovery_free(struct recovery *recovery)
{
	free(recovery->pruned);
	recovery->pruned = NULL;
	recovery->pruned_count = recovery->pruned_allocated = 0;
}

/* The page cache may hold what the disk does not: what is not known to be durable goes there now.
 */
static int rewrite(const struct segment *segment, int fd, uint64_t from, uint64_t to)
{
	enum { CHUNK_BYTES = 256 * 1024 };
	uint8_t *chunk = malloc(CHUNK_BYTES);
	int r = chunk == NULL ? -ENOMEM : 0;
	for (uint64_t at = from; r == 0 && at < to;) {
		uint64_t left = to - at;
		size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
		r = file_read(segment->ops, fd, chunk, len, at);
		if (r == 0)
			r = file_write(segment->ops, fd, chunk, len, at, NULL);
		at += len;
	}
	free(chunk);
	return r;
}

static int seal_recovered(struct log_view *view, struct segment *segment, int fd)
{
	struct seal seal = {0};
	int r = seal_prepare(&seal, segment, &view->table, TRAILER_RECOVERED, view->log_id);
	if (r == 0) {
		r = seal_write(&seal, view->ops, fd);
		if (r == SEAL_WRITTEN)
			segment_seal(segment, &seal.trailer, seal.allocated_bytes);
		/* Without room for it the segment is scanned again at the next start. */
		if (r == SEAL_NO_ROOM)
			r = 0;
	}
	seal_free(&seal);
	return r;
}

int recovery_settle(struct log_view *view, const struct recovery *recovery)
{
	struct segment *segment = catalog_newest(view);
	if (segment == NULL || (!segment->is_sealed && segment->data_end == SEGMENT_HEADER_BYTES))
		return 0;
	const struct file_ops *ops = view->ops;
	int fd = ops->open_at(
		ops->owner, view->directory_fd, segment->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	/* Of a sealed one the trailer: its sync may have been what the last run ended in. */
	int r = segment->is_sealed
			? rewrite(segment, fd, segment->file_bytes - SEGMENT_TRAILER_BYTES,
				  segment->file_bytes)
			: rewrite(segment, fd, recovery->rewrite_from, segment->data_end);
	if (r == 0)
		r = ops->fdatasync(ops->owner, fd);
	if (r == 0 && !segment->is_sealed)
		r = seal_recovered(view, segment, fd);
	ops->close(ops->owner, fd);
	return r == -ENOSPC || r == -EDQUOT ? 0 : r;
}
