#include "tests/crash/log_dump.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/reader.h"
#include "proto/base/bytes.h"
#include "proto/record.h"

static const char HOLE[] = "a hole without a gap";

/* Eight bytes at a time: whole logs are hashed a hundred thousand times. */
static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t len)
{
	for (; len >= 8; bytes += 8, len -= 8)
		hash = (hash ^ get_le64(bytes)) * UINT64_C(0x9e3779b97f4a7c15), hash ^= hash >> 29;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t dump_hash(const void *worker, size_t worker_len, const void *payload, size_t payload_len)
{
	uint64_t hash = hash_bytes(worker_len, worker, worker_len);
	return hash_bytes(hash, payload, payload_len);
}

static void *grown(void *items, size_t count, size_t *allocated, size_t size)
{
	if (count < *allocated)
		return items;
	*allocated = *allocated * 2 + 64;
	items = realloc(items, *allocated * size);
	if (items == NULL)
		abort();
	return items;
}

static void set_problem(struct log_dump *dump, const char *what, uint64_t first, uint64_t last)
{
	if (dump->problem[0] == '\0')
		snprintf(dump->problem, sizeof(dump->problem), "%s at %llu-%llu", what,
			(unsigned long long)first, (unsigned long long)last);
}

static void take_record(struct log_dump *dump, const struct record *record, uint64_t *next)
{
	if (record_is_internal(record))
		set_problem(dump, "an internal record", record->sequence, record->sequence);
	if (*next != 0 && record->sequence != *next)
		set_problem(dump, HOLE, *next, record->sequence);
	*next = record->sequence + 1;
	dump->records = grown(dump->records, dump->count, &dump->allocated, sizeof(*dump->records));
	dump->records[dump->count++] = (struct dumped_record){
		.sequence = record->sequence,
		.producer_seq = record->producer_seq,
		.hash = dump_hash(
			record->worker, record->worker_len, record->payload, record->payload_len),
		.epoch = record->epoch,
		.worker = (uint8_t)(record->worker_len > 1 ? record->worker[1] - '0' : 0),
	};
}

static void take_piece(struct log_dump *dump, const struct reader_piece *piece, uint64_t *next)
{
	for (size_t at = 0; at < piece->len;) {
		struct record record;
		size_t size;
		if (record_decode(piece->bytes + at, piece->len - at, &record, &size) !=
			RECORD_OK) {
			set_problem(
				dump, "a record that does not verify", piece->first, piece->last);
			return;
		}
		take_record(dump, &record, next);
		at += size;
	}
}

static void take_gap(
	struct log_dump *dump, const struct reader_piece *piece, bool is_gap, uint64_t *next)
{
	if (piece->first > piece->last || (*next != 0 && piece->first != *next))
		set_problem(dump, "a gap out of place", piece->first, piece->last);
	*next = piece->last + 1;
	dump->gaps = grown(dump->gaps, dump->gap_count, &dump->gaps_allocated, sizeof(*dump->gaps));
	dump->gaps[dump->gap_count++] = (struct dumped_gap){
		piece->first, piece->last, is_gap && piece->reason == READER_GAP_PRUNED};
}

static int read_selected(
	struct log_dump *dump, struct log_view *view, const struct reader_selection *selection)
{
	const struct reader_start start = {.from = READER_FROM_OLDEST};
	struct reader *reader;
	struct reader_piece piece;
	uint64_t next = 0;
	*dump = (struct log_dump){0};
	int r = reader_open(&reader, view, selection, &start, true, NULL);
	if (r != 0)
		return r < 0 ? r : -EPROTO;
	while ((r = reader_next(reader, SIZE_MAX, &piece)) > READER_END || r == READER_RECORDS) {
		if (r == READER_RECORDS) {
			take_piece(dump, &piece, &next);
		} else if (r == READER_GAP || r == READER_CORRUPT) {
			take_gap(dump, &piece, r == READER_GAP, &next);
		} else {
			set_problem(dump, "an overrun", piece.first, piece.last);
			break;
		}
	}
	reader_close(reader);
	return r < 0 ? r : 0;
}

int log_dump_read(struct log_dump *dump, struct log_view *view)
{
	return read_selected(dump, view, NULL);
}

int log_dump_read_worker(struct log_dump *dump, struct log_view *view, const char *worker)
{
	const size_t len = strlen(worker);
	const struct reader_selection selection = {&worker, &len, 1};
	int r = read_selected(dump, view, &selection);
	/* Others' records stand between its own. */
	if (strncmp(dump->problem, HOLE, strlen(HOLE)) == 0)
		dump->problem[0] = '\0';
	return r;
}

void log_dump_free(struct log_dump *dump)
{
	free(dump->records);
	free(dump->gaps);
	*dump = (struct log_dump){0};
}

const struct dumped_record *log_dump_find(const struct log_dump *dump, uint64_t sequence)
{
	size_t low = 0, high = dump->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (dump->records[middle].sequence < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low < dump->count && dump->records[low].sequence == sequence ? &dump->records[low]
									    : NULL;
}

bool log_dumps_are_equal(const struct log_dump *a, const struct log_dump *b)
{
	if (a->count != b->count || a->gap_count != b->gap_count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->records[i].sequence != b->records[i].sequence ||
			a->records[i].epoch != b->records[i].epoch ||
			a->records[i].hash != b->records[i].hash)
			return false;
	for (size_t i = 0; i < a->gap_count; i++)
		if (a->gaps[i].first != b->gaps[i].first || a->gaps[i].last != b->gaps[i].last)
			return false;
	return true;
}
