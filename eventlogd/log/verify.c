#include "eventlogd/log/verify.h"

#include <errno.h>
#include <string.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/footer.h"
#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/scan.h"
#include "proto/base/crc32c.h"

struct verifier {
	struct log_view *view;
	const struct finding_sink *findings;
	verify_progress_fn progress;
	void *progress_owner;
	struct verify_result *result;
	uint64_t done_bytes, total_bytes, told_bytes;
};

/* Between two calls of the progress function. */
#define PROGRESS_BYTES (UINT64_C(8) << 20)

static void report(struct verifier *verifier, const struct finding *finding)
{
	if (finding_severity(finding->kind) == FINDING_DAMAGE)
		verifier->result->damage_count++;
	finding_report(verifier->findings, finding);
}

static void report_at(struct verifier *verifier, enum finding_kind kind,
	const struct segment *segment, uint64_t offset, uint64_t sequence)
{
	struct finding finding = {.kind = kind,
		.file = segment->name,
		.offset = offset,
		.first = sequence,
		.last = sequence};
	report(verifier, &finding);
}

static bool goes_on(struct verifier *verifier, uint64_t done_here)
{
	uint64_t done = verifier->done_bytes + done_here;
	if (verifier->progress == NULL || done < verifier->told_bytes + PROGRESS_BYTES)
		return true;
	verifier->told_bytes = done;
	return verifier->progress(verifier->progress_owner, done, verifier->total_bytes);
}

/* Whether the index leads to this record. */
static int check_entry(
	struct verifier *verifier, struct segment *segment, const struct scan_item *item)
{
	struct index_entry entry;
	size_t count = 0;
	const struct record *record = &item->record;
	int r = segment_worker_entries(
		segment, record->worker, record->worker_len, record->sequence, &entry, 1, &count);
	if (r < 0)
		return r;
	if (r == 1 || segment->base + entry.seq_delta != record->sequence ||
		entry.offset != item->offset)
		report_at(verifier, FINDING_INDEX_WRONG, segment, item->offset, record->sequence);
	return 0;
}

static void check_gap(struct verifier *verifier, const struct segment *segment, uint64_t offset,
	uint64_t bytes, uint64_t first, uint64_t last)
{
	if ((segment->features & SEGMENT_COMPACTED) != 0 && bytes == 0)
		return;
	struct finding finding = {.kind = FINDING_DAMAGED,
		.file = segment->name,
		.offset = offset,
		.bytes = bytes,
		.first = first <= last ? first : 0,
		.last = first <= last ? last : 0};
	report(verifier, &finding);
}

static int check_records(struct verifier *verifier, struct segment *segment)
{
	struct scan scan = segment_scan(segment, false);
	struct scan_item item;
	uint64_t records = 0, damaged_at = 0, damaged_bytes = 0;
	bool has_index = true, has_damage = false;
	for (;;) {
		uint64_t expected = scan.next_seq;
		int r = segment_scan_next(segment, &scan, &item);
		if (r < 0)
			return r;
		if (!goes_on(verifier, scan.offset))
			return -ECANCELED;
		if (r == SCAN_NOTHING) {
			has_damage |= item.bytes != 0 || expected <= segment->last_seq;
			if (item.bytes != 0 || expected <= segment->last_seq)
				check_gap(verifier, segment, item.offset, item.bytes, expected,
					segment->last_seq);
			break;
		}
		if (r == SCAN_DAMAGED) {
			damaged_at = item.offset;
			damaged_bytes = item.bytes;
			continue;
		}
		bool is_record = !record_is_internal(&item.record);
		uint64_t last = is_record ? item.record.sequence - 1 : expected - 1;
		has_damage |= damaged_bytes != 0 || expected <= last;
		if (damaged_bytes != 0 || expected <= last)
			check_gap(verifier, segment, damaged_bytes != 0 ? damaged_at : item.offset,
				damaged_bytes, expected, last);
		damaged_bytes = 0;
		if (!is_record)
			continue;
		records++;
		r = has_index ? check_entry(verifier, segment, &item) : 0;
		if (r == -EBADMSG)
			has_index = false;
		else if (r < 0)
			return r;
	}
	verifier->result->records += records;
	/* Entries of damaged records lead nowhere; without damage every entry has its record. */
	uint64_t entries = segment->trailer.sections[SECTION_ENTRIES].count;
	if (segment->is_sealed && has_index &&
		(records > entries || (records < entries && !has_damage)))
		report_at(verifier, FINDING_INDEX_WRONG, segment, 0, 0);
	return 0;
}

static int check_footer(void *argument)
{
	const struct segment *segment = argument;
	for (int i = 0; i < SECTION_COUNT; i++)
		if (!footer_section_is_valid(
			    segment->map, &segment->trailer, (enum segment_section_kind)i))
			return -EBADMSG;
	uint64_t data_bytes = segment->data_end - SEGMENT_HEADER_BYTES;
	return crc32c(segment->map + SEGMENT_HEADER_BYTES, data_bytes) == segment->trailer.digest
		       ? 0
		       : 1;
}

static int check_segment(struct verifier *verifier, struct segment *segment)
{
	int r = catalog_map(verifier->view, segment);
	/* Pruned or compacted since the view was opened. */
	if (r == -ENOENT)
		return 0;
	uint64_t damage_before = verifier->result->damage_count;
	bool is_digest_wrong = false;
	if (r == 0 && segment->is_sealed) {
		r = map_guard_run(segment->map, segment->file_bytes, check_footer, segment);
		if (r == -EBADMSG)
			report_at(verifier, FINDING_FOOTER_DAMAGED, segment,
				segment->trailer.data_end, 0);
		is_digest_wrong = r == 1;
		if (r == -EBADMSG || r == 1)
			r = 0; /* the records tell what the digest only says */
	}
	if (r == 0)
		r = check_records(verifier, segment);
	/* Where the records tell which of them it is, that says more. */
	if (r == 0 && is_digest_wrong && verifier->result->damage_count == damage_before)
		report_at(verifier, FINDING_DIGEST_WRONG, segment, SEGMENT_HEADER_BYTES, 0);
	verifier->result->segments++;
	verifier->result->bytes += segment->data_end;
	verifier->done_bytes += segment->data_end;
	if (r == 0 || r == -ECANCELED || r == -ENOMEM)
		return r;
	struct finding finding = {.kind = FINDING_READ_ERROR, .file = segment->name, .error = r};
	report(verifier, &finding);
	return 0;
}

static void check_between(struct verifier *verifier, size_t position)
{
	const struct log_view *view = verifier->view;
	const struct segment *segment = view->segments[position];
	uint64_t last = catalog_last_of(view, position);
	if (last == UINT64_MAX)
		last = view->visible_seq;
	if (segment->last_seq >= last || segment->is_unreadable ||
		(segment_is_compacted(segment) && catalog_is_whole_behind(view, position)))
		return;
	struct finding finding = {.kind = FINDING_LOST,
		.file = segment->name,
		.offset = segment->data_end,
		.first = segment->last_seq + 1,
		.last = last};
	if (position + 1 == view->segment_count ||
		view->segments[position + 1]->previous_base == segment->base)
		finding.kind = FINDING_DAMAGED;
	report(verifier, &finding);
}

int log_verify(struct log_view *view, const struct finding_sink *findings,
	verify_progress_fn progress, void *progress_owner, struct verify_result *out)
{
	*out = (struct verify_result){0};
	struct verifier verifier = {.view = view,
		.findings = findings,
		.progress = progress,
		.progress_owner = progress_owner,
		.result = out};
	struct log_ends ends;
	log_view_ends(view, &ends);
	out->oldest_seq = ends.oldest_seq;
	out->newest_seq = ends.newest_seq;
	for (size_t i = 0; i < view->segment_count; i++)
		verifier.total_bytes += view->segments[i]->data_end;
	for (size_t i = 0; i < view->segment_count; i++) {
		if (view->segments[i]->header_is_damaged)
			report_at(&verifier, FINDING_HEADER_DAMAGED, view->segments[i], 0, 0);
		int r = check_segment(&verifier, view->segments[i]);
		if (r != 0)
			return r;
		check_between(&verifier, i);
	}
	return 0;
}
