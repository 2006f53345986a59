#include "eventlogd/log/footer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/bytes.h"
#include "proto/base/crc32c.h"

enum { ROW_RELEASED = 1 };
enum { ENTRY_BYTES = 8, DAMAGE_BYTES = 16, SECTION_ALIGNMENT = 8 };

uint64_t footer_bytes(const struct segment_index *index, const struct worker_table *table,
	uint64_t more_entries, uint64_t more_sparse)
{
	return table->encoded_bytes + SECTION_COUNT * SECTION_ALIGNMENT +
	       (index->entry_count + more_entries) * ENTRY_BYTES +
	       (index->sparse_count + more_sparse) * ENTRY_BYTES +
	       (uint64_t)index->damage_count * DAMAGE_BYTES + SEGMENT_TRAILER_BYTES;
}

static int append_entry(struct buf *out, const struct index_entry *entry)
{
	uint8_t bytes[ENTRY_BYTES];
	put_le32(bytes, entry->offset);
	put_le32(bytes + 4, entry->seq_delta);
	return buf_append(out, bytes, sizeof(bytes));
}

static int append_zeros(struct buf *out, size_t len)
{
	static const uint8_t zeros[SECTION_ALIGNMENT];
	assert(len <= sizeof(zeros));
	return len == 0 ? 0 : buf_append(out, zeros, len);
}

/* Producers that are only staged are not in the log, and have no room in its footers. */
static uint32_t count_stored(const struct worker *worker)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < worker->producer_count; i++)
		count += worker->producers[i].stored != 0;
	return count;
}

/* Nor have workers. Those of a compacted segment have its records only. */
static bool has_row(const struct worker *worker, const struct index_list *list)
{
	return (list != NULL && list->count != 0) || worker->newest_seq != 0 ||
	       worker->highest_pruned != 0 || count_stored(worker) != 0;
}

static int append_row(struct buf *out, const struct worker *worker, const struct index_list *list,
	uint32_t first_entry)
{
	uint8_t row[WORKER_ROW_BYTES] = {0};
	row[0] = worker->id_len;
	row[1] = worker->is_released ? ROW_RELEASED : 0;
	put_le16(row + 2, (uint16_t)count_stored(worker));
	put_le32(row + 4, worker->owner_uid);
	put_le64(row + 8, worker->newest_seq);
	put_le64(row + 16, worker->newest_keyframe);
	put_le64(row + 24, worker->highest_pruned);
	put_le64(row + 32, worker->retained_count);
	put_le64(row + 40, worker->retained_bytes);
	put_le32(row + 48, first_entry);
	if (list != NULL) {
		put_le32(row + 52, list->count);
		put_le32(row + 56, list->keyframe);
		put_le32(row + 60, (uint32_t)(list->record_bytes / 8));
	}
	int r = buf_append(out, row, sizeof(row));
	if (r == 0)
		r = buf_append(out, worker->id.text, worker->id_len);
	if (r == 0)
		r = append_zeros(out, align_up(worker->id_len, 8) - worker->id_len);
	for (uint32_t i = 0; r == 0 && i < worker->producer_count; i++) {
		uint8_t producer[WORKER_ROW_PRODUCER_BYTES];
		if (worker->producers[i].stored == 0)
			continue;
		put_le64(producer, worker->producers[i].key);
		put_le64(producer + 8, worker->producers[i].stored);
		put_le64(producer + 16, worker->producers[i].used);
		r = buf_append(out, producer, sizeof(producer));
	}
	return r;
}

/* Collects the sections one behind the other; offsets are relative to the body until the end. */
struct encoder {
	struct buf *out;
	size_t body; /* where the body begins in `out` */
	struct segment_trailer *trailer;
	const struct segment_index *index;
	struct worker_table *table;
	struct worker *const *sorted;
};

static void section_begin(struct encoder *encoder, enum segment_section_kind kind)
{
	encoder->trailer->sections[kind].offset = encoder->out->len - encoder->body;
}

static int section_end(struct encoder *encoder, enum segment_section_kind kind, uint32_t count)
{
	struct segment_section *section = &encoder->trailer->sections[kind];
	size_t start = encoder->body + section->offset;
	section->bytes = encoder->out->len - start;
	section->count = count;
	section->check = crc32c(encoder->out->data + start, section->bytes);
	size_t aligned = align_up(section->bytes, SECTION_ALIGNMENT);
	return append_zeros(encoder->out, aligned - section->bytes);
}

static int encode_entries(struct encoder *encoder)
{
	const struct segment_index *index = encoder->index;
	int r = 0;
	section_begin(encoder, SECTION_SPARSE);
	for (uint32_t i = 0; r == 0 && i < index->sparse_count; i++)
		r = append_entry(encoder->out, &index->sparse[i]);
	if (r == 0)
		r = section_end(encoder, SECTION_SPARSE, index->sparse_count);
	if (r != 0)
		return r;

	uint32_t count = 0;
	section_begin(encoder, SECTION_ENTRIES);
	for (uint32_t i = 0; r == 0 && i < encoder->table->count; i++) {
		const struct worker *worker = encoder->sorted[i];
		const struct index_list *list = segment_index_find(
			index, worker->id.text, worker->id_len);
		for (uint32_t j = 0; r == 0 && list != NULL && j < list->count; j++)
			r = append_entry(encoder->out, &list->entries[j]);
		count += list == NULL ? 0 : list->count;
	}
	/* A worker with records has a row; entries that are not reached would be lost. */
	assert(r != 0 || count == index->entry_count);
	return r == 0 ? section_end(encoder, SECTION_ENTRIES, count) : r;
}

static int encode_rows(struct encoder *encoder, struct buf *offsets)
{
	uint32_t first_entry = 0, count = 0;
	int r = 0;
	section_begin(encoder, SECTION_ROWS);
	size_t start = encoder->out->len;
	for (uint32_t i = 0; r == 0 && i < encoder->table->count; i++) {
		const struct worker *worker = encoder->sorted[i];
		const struct index_list *list = segment_index_find(
			encoder->index, worker->id.text, worker->id_len);
		if (!has_row(worker, list))
			continue;
		uint8_t offset[WORKER_ROW_OFFSET_BYTES];
		put_le32(offset, (uint32_t)(encoder->out->len - start));
		r = buf_append(offsets, offset, sizeof(offset));
		if (r == 0)
			r = append_row(encoder->out, worker, list, first_entry);
		first_entry += list == NULL ? 0 : list->count;
		count++;
	}
	if (r == 0)
		r = section_end(encoder, SECTION_ROWS, count);
	if (r != 0)
		return r;
	section_begin(encoder, SECTION_ROW_OFFSETS);
	r = count == 0 ? 0 : buf_append(encoder->out, offsets->data, offsets->len);
	return r == 0 ? section_end(encoder, SECTION_ROW_OFFSETS, count) : r;
}

static int encode_damage(struct encoder *encoder)
{
	const struct segment_index *index = encoder->index;
	int r = 0;
	section_begin(encoder, SECTION_DAMAGE);
	for (uint32_t i = 0; r == 0 && i < index->damage_count; i++) {
		uint8_t bytes[DAMAGE_BYTES];
		put_le64(bytes, index->damage[i].first);
		put_le64(bytes + 8, index->damage[i].last);
		r = buf_append(encoder->out, bytes, sizeof(bytes));
	}
	return r == 0 ? section_end(encoder, SECTION_DAMAGE, index->damage_count) : r;
}

int footer_encode(const struct segment_index *index, struct worker_table *table,
	uint64_t file_bytes, struct segment_trailer *trailer, struct buf *out)
{
	struct encoder encoder = {.out = out,
		.body = out->len,
		.trailer = trailer,
		.index = index,
		.table = table,
		.sorted = worker_table_sorted(table)};
	if (encoder.sorted == NULL)
		return -ENOMEM;
	int r = buf_reserve(out, (size_t)footer_bytes(index, table, 0, 0));
	if (r == 0)
		r = encode_entries(&encoder);
	_cleanup_buf_ struct buf offsets;
	buf_init(&offsets, 0);
	if (r == 0)
		r = encode_rows(&encoder, &offsets);
	if (r == 0)
		r = encode_damage(&encoder);
	if (r != 0)
		return r;
	uint64_t body_bytes = out->len - encoder.body;
	if (body_bytes + SEGMENT_TRAILER_BYTES > file_bytes - trailer->data_end)
		return -ENOSPC;
	uint64_t start = file_bytes - SEGMENT_TRAILER_BYTES - body_bytes;
	for (int i = 0; i < SECTION_COUNT; i++)
		trailer->sections[i].offset += start;
	trailer->highest_pruned = table->highest_pruned;
	trailer->forgotten_through = table->forgotten_through;
	trailer->oldest_base = table->oldest_base;
	uint8_t bytes[SEGMENT_TRAILER_BYTES];
	segment_trailer_encode(trailer, bytes);
	return buf_append(out, bytes, sizeof(bytes));
}

bool footer_section_is_valid(
	const uint8_t *map, const struct segment_trailer *trailer, enum segment_section_kind kind)
{
	static const uint8_t element_bytes[SECTION_COUNT] = {
		[SECTION_SPARSE] = ENTRY_BYTES,
		[SECTION_ROWS] = WORKER_ROW_BYTES,
		[SECTION_ROW_OFFSETS] = WORKER_ROW_OFFSET_BYTES,
		[SECTION_ENTRIES] = ENTRY_BYTES,
		[SECTION_DAMAGE] = DAMAGE_BYTES,
	};
	const struct segment_section *section = &trailer->sections[kind];
	return section->count <= section->bytes / element_bytes[kind] &&
	       crc32c(map + section->offset, section->bytes) == section->check;
}

bool footer_row(const uint8_t *map, const struct segment_trailer *trailer, uint32_t number,
	struct footer_row *out)
{
	const struct segment_section *rows = &trailer->sections[SECTION_ROWS];
	const struct segment_section *offsets = &trailer->sections[SECTION_ROW_OFFSETS];
	if (number >= offsets->count)
		return false;
	uint64_t at = get_le32(map + offsets->offset + (uint64_t)number * WORKER_ROW_OFFSET_BYTES);
	if (at > rows->bytes || rows->bytes - at < WORKER_ROW_BYTES)
		return false;
	const uint8_t *row = map + rows->offset + at;
	uint64_t left = rows->bytes - at - WORKER_ROW_BYTES;
	uint32_t id_len = row[0], producer_count = get_le16(row + 2);
	uint64_t id_bytes = align_up(id_len, 8);
	if (id_bytes + (uint64_t)producer_count * WORKER_ROW_PRODUCER_BYTES > left)
		return false;
	*out = (struct footer_row){
		.id = (const char *)row + WORKER_ROW_BYTES,
		.id_len = (uint8_t)id_len,
		.is_released = (row[1] & ROW_RELEASED) != 0,
		.owner_uid = get_le32(row + 4),
		.producer_count = producer_count,
		.newest_seq = get_le64(row + 8),
		.newest_keyframe = get_le64(row + 16),
		.highest_pruned = get_le64(row + 24),
		.retained_count = get_le64(row + 32),
		.retained_bytes = get_le64(row + 40),
		.first_entry = get_le32(row + 48),
		.entry_count = get_le32(row + 52),
		.keyframe = get_le32(row + 56),
		.bytes_here = (uint64_t)get_le32(row + 60) * 8,
		.producers = row + WORKER_ROW_BYTES + id_bytes,
	};
	return true;
}

bool footer_find_row(const uint8_t *map, const struct segment_trailer *trailer, const char *id,
	size_t len, struct footer_row *out)
{
	uint32_t low = 0, high = trailer->sections[SECTION_ROW_OFFSETS].count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct footer_row row;
		if (!footer_row(map, trailer, middle, &row))
			return false;
		int order = memcmp(row.id, id, row.id_len < len ? row.id_len : len);
		if (order == 0 && row.id_len == len) {
			*out = row;
			return true;
		}
		if (order < 0 || (order == 0 && row.id_len < len))
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool entry_at(const uint8_t *map, const struct segment_section *section, uint64_t number,
	struct index_entry *out)
{
	if (number >= section->count)
		return false;
	const uint8_t *bytes = map + section->offset + number * ENTRY_BYTES;
	*out = (struct index_entry){get_le32(bytes), get_le32(bytes + 4)};
	return true;
}

bool footer_entry(const uint8_t *map, const struct segment_trailer *trailer, uint32_t number,
	struct index_entry *out)
{
	return entry_at(map, &trailer->sections[SECTION_ENTRIES], number, out);
}

uint32_t footer_lower_bound(const uint8_t *map, const struct segment_trailer *trailer,
	const struct footer_row *row, uint32_t seq_delta)
{
	uint32_t low = 0, high = row->entry_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct index_entry entry;
		if (!entry_at(map, &trailer->sections[SECTION_ENTRIES],
			    (uint64_t)row->first_entry + middle, &entry))
			return row->entry_count;
		if (entry.seq_delta < seq_delta)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool footer_sparse(const uint8_t *map, const struct segment_trailer *trailer, uint32_t seq_delta,
	struct index_entry *out)
{
	const struct segment_section *section = &trailer->sections[SECTION_SPARSE];
	uint32_t low = 0, high = section->count;
	struct index_entry entry;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (entry_at(map, section, middle, &entry) && entry.seq_delta <= seq_delta)
			low = middle + 1;
		else
			high = middle;
	}
	return low != 0 && entry_at(map, section, low - 1, out);
}

bool footer_damage(const uint8_t *map, const struct segment_trailer *trailer, uint32_t number,
	struct damage_range *out)
{
	const struct segment_section *section = &trailer->sections[SECTION_DAMAGE];
	if (number >= section->count)
		return false;
	const uint8_t *bytes = map + section->offset + (uint64_t)number * DAMAGE_BYTES;
	*out = (struct damage_range){get_le64(bytes), get_le64(bytes + 8)};
	return true;
}

static int load_row(struct worker_table *table, const struct footer_row *row)
{
	struct worker *worker;
	if (worker_table_find(table, row->id, row->id_len) != NULL ||
		row->producer_count > PRODUCERS_PER_WORKER_MAX)
		return -EBADMSG;
	int r = worker_table_get(table, row->id, row->id_len, row->owner_uid, true, &worker);
	if (r != 0)
		return r == -EINVAL ? -EBADMSG : r;
	worker->newest_seq = row->newest_seq;
	worker->newest_keyframe = row->newest_keyframe;
	worker->is_released = row->is_released;
	worker->highest_pruned = row->highest_pruned;
	worker->retained_count = row->retained_count;
	worker->retained_bytes = row->retained_bytes;
	const uint8_t *p = row->producers;
	for (uint32_t i = 0; i < row->producer_count; i++, p += WORKER_ROW_PRODUCER_BYTES) {
		struct producer *producer;
		r = worker_table_producer(table, worker, get_le64(p), true, &producer);
		if (r != 0)
			return r;
		producer->stored = producer->staged = get_le64(p + 8);
		producer->used = get_le64(p + 16);
	}
	return 0;
}

int footer_load_table(
	const uint8_t *map, const struct segment_trailer *trailer, struct worker_table *table)
{
	for (uint32_t i = 0; i < trailer->sections[SECTION_ROW_OFFSETS].count; i++) {
		struct footer_row row;
		if (!footer_row(map, trailer, i, &row))
			return -EBADMSG;
		int r = load_row(table, &row);
		if (r != 0)
			return r;
	}
	table->highest_pruned = trailer->highest_pruned;
	/* Rows may have had to go, where fewer are allowed than there were. */
	if (trailer->forgotten_through > table->forgotten_through)
		table->forgotten_through = trailer->forgotten_through;
	table->oldest_base = trailer->oldest_base;
	return 0;
}
