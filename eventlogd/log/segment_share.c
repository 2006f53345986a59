#include "eventlogd/log/segment_share.h"

#include <errno.h>

#include "eventlogd/log/footer.h"
#include "eventlogd/log/map_guard.h"

/* One row, so that nothing is allocated while the guard may jump away. */
struct row_walk {
	const struct segment *segment;
	uint32_t row; /* the next one, in the footer */
	char id[ID_BYTES_MAX];
	struct segment_share share;
};

static int read_footer_row(void *argument)
{
	struct row_walk *walk = argument;
	const struct segment *segment = walk->segment;
	const struct segment_trailer *trailer = &segment->trailer;
	struct footer_row row;
	for (;; walk->row++) {
		if (walk->row >= trailer->sections[SECTION_ROW_OFFSETS].count)
			return 1;
		if (!footer_row(segment->map, trailer, walk->row, &row) ||
			row.id_len > ID_BYTES_MAX)
			return -EBADMSG;
		if (row.entry_count != 0)
			break;
	}
	struct index_entry first, last;
	if (row.entry_count - 1 > UINT32_MAX - row.first_entry ||
		!footer_entry(segment->map, trailer, row.first_entry, &first) ||
		!footer_entry(segment->map, trailer, row.first_entry + row.entry_count - 1, &last))
		return -EBADMSG;
	walk->row++;
	for (uint8_t i = 0; i < row.id_len; i++)
		walk->id[i] = row.id[i];
	walk->share = (struct segment_share){
		.worker = walk->id,
		.worker_len = row.id_len,
		.first_seq = segment->base + first.seq_delta,
		.last_seq = segment->base + last.seq_delta,
		.count = row.entry_count,
		.bytes = row.bytes_here,
	};
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

static int shares_of_footer(struct segment *segment, segment_share_fn fn, void *owner)
{
	int r = map_guard_run(segment->map, segment->file_bytes, check_footer, segment);
	struct row_walk walk = {.segment = segment};
	/* All of them before the first is told: nobody has to be told twice. */
	while (r == 0)
		r = map_guard_run(segment->map, segment->file_bytes, read_footer_row, &walk);
	if (r != 1)
		return r;
	walk.row = 0;
	r = 0;
	while (r == 0) {
		r = map_guard_run(segment->map, segment->file_bytes, read_footer_row, &walk);
		if (r == 1)
			return 0;
		if (r == 0)
			r = fn(owner, &walk.share);
	}
	return r;
}

static int shares_of_index(const struct segment *segment, segment_share_fn fn, void *owner)
{
	struct index_list *list, *next;
	map_for_each (segment->index->lists, list, next) {
		if (list->count == 0)
			continue;
		struct segment_share share = {
			.worker = list->worker.text,
			.worker_len = (uint8_t)list->hh.keylen,
			.first_seq = segment->base + list->entries[0].seq_delta,
			.last_seq = segment->base + list->entries[list->count - 1].seq_delta,
			.count = list->count,
			.bytes = list->record_bytes,
		};
		int r = fn(owner, &share);
		if (r != 0)
			return r;
	}
	return 0;
}

int segment_shares(struct log_view *view, struct segment *segment, segment_share_fn fn, void *owner)
{
	int r = catalog_map(view, segment);
	if (r == 0 && segment->index == NULL && segment->is_sealed) {
		r = shares_of_footer(segment, fn, owner);
		if (r != -EBADMSG)
			return r;
		r = 0;
	}
	if (r == 0 && segment->index == NULL)
		r = segment_build_index(segment);
	return r == 0 ? shares_of_index(segment, fn, owner) : r;
}

int segment_share_after(struct log_view *view, struct segment *segment,
	const struct segment_share *share, uint64_t sequence, uint64_t *count, uint64_t *bytes)
{
	enum { ENTRIES_PER_LOOKUP = 256 };
	struct index_entry entries[ENTRIES_PER_LOOKUP];
	*count = share->count;
	*bytes = share->bytes;
	if (share->first_seq > sequence)
		return 0;
	*count = 0;
	int r = catalog_map(view, segment);
	for (uint64_t from = sequence + 1; r == 0 && from <= share->last_seq;) {
		size_t found = 0;
		r = segment_worker_entries(segment, share->worker, share->worker_len, from, entries,
			ENTRIES_PER_LOOKUP, &found);
		*count += found;
		if (found < ENTRIES_PER_LOOKUP)
			break;
		from = segment->base + entries[found - 1].seq_delta + 1;
	}
	if (*count > share->count)
		*count = share->count;
	*bytes = share->bytes / share->count * *count;
	return r < 0 && r != -EBADMSG ? r : 0;
}
