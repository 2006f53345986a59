#include "eventlogd/log/note.h"

#include <assert.h>
#include <string.h>

#include "eventlogd/log/worker_table.h"
#include "proto/base/buf.h"
#include "proto/base/bytes.h"

enum { PRUNE_HEAD_BYTES = 20, PRUNE_COUNT_AT = 16, PRUNE_ROW_BYTES = 25 };

static const char *const kind_names[] = {[NOTE_MARK] = "mark",
	[NOTE_POSITION] = "position",
	[NOTE_PRUNE] = "prune",
	[NOTE_FORGET] = "forget"};

enum note_kind note_kind(const struct record *record)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(kind_names); i++)
		if (strlen(kind_names[i]) == record->kind_len &&
			memcmp(kind_names[i], record->kind, record->kind_len) == 0)
			return (enum note_kind)i;
	return NOTE_OTHER;
}

struct record note_record(enum note_kind kind, uint64_t newest_seq, uint64_t wall_ns)
{
	assert(kind < NOTE_OTHER);
	return (struct record){
		.sequence = newest_seq,
		.time_ns = wall_ns,
		.flags = RECORD_INTERNAL,
		.kind = kind_names[kind],
		.kind_len = (uint8_t)strlen(kind_names[kind]),
	};
}

int note_prune_begin(struct buf *out, uint64_t oldest_base, uint64_t highest_pruned)
{
	uint8_t head[PRUNE_HEAD_BYTES] = {0};
	put_le64(head, oldest_base);
	put_le64(head + 8, highest_pruned);
	buf_reset(out, SIZE_MAX);
	return buf_append(out, head, sizeof(head));
}

int note_prune_add(struct buf *out, const struct prune_row *row)
{
	uint8_t bytes[PRUNE_ROW_BYTES];
	put_le64(bytes, row->through);
	put_le64(bytes + 8, row->count);
	put_le64(bytes + 16, row->bytes);
	bytes[24] = row->worker_len;
	int r = buf_append(out, bytes, sizeof(bytes));
	if (r == 0)
		r = buf_append(out, row->worker, row->worker_len);
	if (r == 0)
		put_le32(out->data + PRUNE_COUNT_AT, get_le32(out->data + PRUNE_COUNT_AT) + 1);
	return r;
}

/* Takes the next row off the front; false when there is less than one. */
static bool prune_row_next(const uint8_t **p, const uint8_t *end, struct prune_row *out)
{
	if (end - *p < PRUNE_ROW_BYTES || end - *p - PRUNE_ROW_BYTES < (*p)[24])
		return false;
	*out = (struct prune_row){
		.through = get_le64(*p),
		.count = get_le64(*p + 8),
		.bytes = get_le64(*p + 16),
		.worker_len = (*p)[24],
		.worker = (const char *)*p + PRUNE_ROW_BYTES,
	};
	*p += PRUNE_ROW_BYTES + out->worker_len;
	return true;
}

bool note_prune_apply(const struct record *note, struct worker_table *table)
{
	if (note->payload_len < PRUNE_HEAD_BYTES)
		return false;
	uint32_t count = get_le32(note->payload + PRUNE_COUNT_AT);
	const uint8_t *end = note->payload + note->payload_len;
	struct prune_row row;
	for (int pass = 0; pass < 2; pass++) {
		const uint8_t *p = note->payload + PRUNE_HEAD_BYTES;
		for (uint32_t i = 0; i < count; i++) {
			if (!prune_row_next(&p, end, &row))
				return false;
			if (pass == 0)
				continue;
			struct worker *worker = worker_table_find(
				table, row.worker, row.worker_len);
			if (worker != NULL)
				worker_table_prune(
					table, worker, row.through, row.count, row.bytes);
		}
	}
	uint64_t oldest_base = get_le64(note->payload);
	uint64_t highest = get_le64(note->payload + 8);
	if (oldest_base > table->oldest_base)
		table->oldest_base = oldest_base;
	if (highest > table->highest_pruned)
		table->highest_pruned = highest;
	table->loss_count++;
	return true;
}
