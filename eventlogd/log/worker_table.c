#include "eventlogd/log/worker_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/bytes.h"

struct uid_count {
	UT_hash_handle hh;
	uint32_t uid;
	uint32_t count;
};

void worker_table_init(struct worker_table *table, uint32_t max)
{
	*table = (struct worker_table){.max = max, .oldest_base = 1, .sorted_is_stale = true};
}

static void worker_free(struct worker *worker)
{
	free(worker->producers);
	free(worker);
}

void worker_table_free(struct worker_table *table)
{
	struct worker *worker, *next;
	map_for_each (table->workers, worker, next) {
		HASH_DEL(table->workers, worker);
		worker_free(worker);
	}
	struct uid_count *uid, *next_uid;
	map_for_each (table->uids, uid, next_uid) {
		HASH_DEL(table->uids, uid);
		free(uid);
	}
	free(table->sorted);
	free(table->idle);
	worker_table_init(table, table->max);
}

size_t worker_row_bytes(const struct worker *worker)
{
	return WORKER_ROW_OFFSET_BYTES + WORKER_ROW_BYTES + align_up(worker->id_len, 8) +
	       (size_t)worker->producer_count * WORKER_ROW_PRODUCER_BYTES;
}

struct worker *worker_table_find(const struct worker_table *table, const char *id, size_t len)
{
	struct worker *worker = NULL;
	HASH_FIND(hh, table->workers, id, len, worker);
	return worker;
}

static struct uid_count *find_uid(const struct worker_table *table, uint32_t uid)
{
	struct uid_count *entry = NULL;
	HASH_FIND(hh, table->uids, &uid, sizeof(uid), entry);
	return entry;
}

uint32_t worker_table_uid_count(const struct worker_table *table, uint32_t uid)
{
	const struct uid_count *entry = find_uid(table, uid);
	return entry == NULL ? 0 : entry->count;
}

static int uid_take(struct worker_table *table, uint32_t uid)
{
	struct uid_count *entry = find_uid(table, uid);
	if (entry == NULL) {
		entry = calloc(1, sizeof(*entry));
		if (entry == NULL)
			return -ENOMEM;
		entry->uid = uid;
		HASH_ADD(hh, table->uids, uid, sizeof(entry->uid), entry);
		if (!map_has_handle(entry)) {
			free(entry);
			return -ENOMEM;
		}
	}
	entry->count++;
	return 0;
}

static void uid_release(struct worker_table *table, uint32_t uid)
{
	struct uid_count *entry = find_uid(table, uid);
	if (entry == NULL || --entry->count != 0)
		return;
	HASH_DEL(table->uids, entry);
	free(entry);
}

void worker_table_set_owner(struct worker_table *table, struct worker *worker, uint32_t uid)
{
	if (worker->owner_uid == uid || uid_take(table, uid) != 0)
		return;
	uid_release(table, worker->owner_uid);
	worker->owner_uid = uid;
}

static void forget_idle_rows(struct worker_table *table)
{
	free(table->idle);
	table->idle = NULL;
	table->idle_count = table->idle_next = 0;
	table->idle_is_stale = true;
}

static void remove_row(struct worker_table *table, struct worker *worker)
{
	assert(worker->retained_count == 0 && worker->staged_batches == 0);
	uint64_t end = worker->newest_seq > worker->highest_pruned ? worker->newest_seq
								   : worker->highest_pruned;
	if (end > table->forgotten_through)
		table->forgotten_through = end;
	table->loss_count++;
	table->encoded_bytes -= worker_row_bytes(worker);
	uid_release(table, worker->owner_uid);
	HASH_DEL(table->workers, worker);
	worker_free(worker);
	table->count--;
	table->sorted_is_stale = true;
}

void worker_table_forget(struct worker_table *table, struct worker *worker)
{
	forget_idle_rows(table); /* it may be one of them */
	remove_row(table, worker);
}

static bool is_idle(const struct worker *worker)
{
	return worker->retained_count == 0 && worker->staged_batches == 0;
}

static int compare_newest(const void *a, const void *b)
{
	const struct worker *const *x = a, *const *y = b;
	return (*x)->newest_seq < (*y)->newest_seq ? -1 : (*x)->newest_seq > (*y)->newest_seq;
}

/* Without memory none are found, as if every row had records. */
static void find_idle_rows(struct worker_table *table)
{
	struct worker *worker, *next;
	forget_idle_rows(table);
	table->idle = malloc(table->count * sizeof(struct worker *));
	if (table->idle == NULL)
		return;
	map_for_each (table->workers, worker, next) {
		if (is_idle(worker))
			table->idle[table->idle_count++] = worker;
	}
	qsort(table->idle, table->idle_count, sizeof(struct worker *), compare_newest);
	table->idle_is_stale = false;
}

/*
 * Makes room by forgetting the row without records whose newest one is oldest. They are all looked
 * for at once, so that as many new workers as there are rows cost one look.
 */
static bool make_room(struct worker_table *table)
{
	bool has_looked = table->idle_is_stale || table->idle_next == table->idle_count;
	if (has_looked)
		find_idle_rows(table);
	while (table->idle_next < table->idle_count) {
		struct worker *worker = table->idle[table->idle_next++];
		if (!is_idle(worker))
			continue; /* it has published since */
		remove_row(table, worker);
		return true;
	}
	return !has_looked && make_room(table);
}

int worker_table_get(struct worker_table *table, const char *id, size_t len, uint32_t owner_uid,
	bool grow_past_max, struct worker **out)
{
	struct worker *worker = worker_table_find(table, id, len);
	if (worker != NULL) {
		*out = worker;
		return WORKER_TABLE_OK;
	}
	if (table->count >= table->max && !make_room(table) && !grow_past_max)
		return WORKER_TABLE_FULL;
	worker = calloc(1, sizeof(*worker));
	if (worker == NULL)
		return -ENOMEM;
	if (!id_set(&worker->id, id, len)) {
		free(worker);
		return -EINVAL;
	}
	worker->id_len = (uint8_t)len;
	worker->owner_uid = owner_uid;
	if (uid_take(table, owner_uid) != 0) {
		free(worker);
		return -ENOMEM;
	}
	HASH_ADD_KEYPTR(hh, table->workers, worker->id.text, len, worker);
	if (!map_has_handle(worker)) {
		uid_release(table, owner_uid);
		free(worker);
		return -ENOMEM;
	}
	table->count++;
	table->sorted_is_stale = true;
	table->encoded_bytes += worker_row_bytes(worker);
	*out = worker;
	return WORKER_TABLE_OK;
}

struct producer *worker_find_producer(const struct worker *worker, uint64_t key)
{
	for (uint32_t i = 0; i < worker->producer_count; i++)
		if (worker->producers[i].key == key)
			return &worker->producers[i];
	return NULL;
}

/* The place of the producer that has been quiet for longest and has nothing staged. */
static struct producer *oldest_producer(struct worker *worker)
{
	struct producer *oldest = NULL;
	for (uint32_t i = 0; i < worker->producer_count; i++) {
		struct producer *producer = &worker->producers[i];
		if (producer->staged == producer->stored &&
			(oldest == NULL || producer->used < oldest->used))
			oldest = producer;
	}
	return oldest;
}

static int add_producer(struct worker_table *table, struct worker *worker, struct producer **out)
{
	if (worker->producer_count == worker->producers_allocated) {
		uint32_t wanted = worker->producers_allocated * 2 + 1;
		void *grown = realloc(worker->producers, wanted * sizeof(*worker->producers));
		if (grown == NULL)
			return -ENOMEM;
		worker->producers = grown;
		worker->producers_allocated = wanted;
	}
	*out = &worker->producers[worker->producer_count++];
	table->encoded_bytes += WORKER_ROW_PRODUCER_BYTES;
	return 0;
}

int worker_table_producer(struct worker_table *table, struct worker *worker, uint64_t key,
	bool may_grow, struct producer **out)
{
	struct producer *producer = worker_find_producer(worker, key);
	if (producer == NULL) {
		int r = 0;
		if (may_grow && worker->producer_count < PRODUCERS_PER_WORKER_MAX)
			r = add_producer(table, worker, &producer);
		else if (worker->producer_count == 0)
			r = WORKER_TABLE_FULL;
		else if ((producer = oldest_producer(worker)) == NULL)
			r = WORKER_TABLE_BUSY;
		if (r != 0)
			return r;
		*producer = (struct producer){.key = key};
	}
	*out = producer;
	return 0;
}

/*
 * Whose first record this is may have been forgotten before: what was pruned then may have been its
 * own. The record itself, which may stand before that where no footer was left, is retained.
 */
static void begin_worker(
	const struct worker_table *table, struct worker *worker, const struct record *record)
{
	uint64_t through = table->forgotten_through;
	if (through >= record->sequence)
		through = record->sequence == 0 ? 0 : record->sequence - 1;
	if (through > worker->highest_pruned)
		worker->highest_pruned = through;
}

void worker_table_apply_record(const struct worker_table *table, struct worker *worker,
	const struct record *record, size_t size, uint64_t visible_seq)
{
	if (worker->newest_seq == 0)
		begin_worker(table, worker, record);
	worker->newest_seq = record->sequence;
	worker->is_released = false;
	worker->retained_count++;
	worker->retained_bytes += size;
	if (record_is_keyframe(record)) {
		if (worker->newest_keyframe <= visible_seq)
			worker->visible_keyframe = worker->newest_keyframe;
		worker->newest_keyframe = record->sequence;
	}
}

int worker_table_apply_producer(
	struct worker_table *table, struct worker *worker, const struct record *record)
{
	if ((record->flags & RECORD_HAS_PRODUCER) == 0)
		return 0;
	struct producer *producer;
	int r = worker_table_producer(table, worker, record->producer, true, &producer);
	if (r != 0)
		return r;
	if (record->producer_seq > producer->stored)
		producer->stored = record->producer_seq;
	if (producer->staged < producer->stored)
		producer->staged = producer->stored;
	producer->used = record->sequence;
	return 0;
}

static void worker_leave_reserve(struct worker *worker)
{
	worker->reserve_count = worker->reserve_bytes = worker->reserve_last = 0;
	worker->reserve_segments = 0;
}

void worker_table_prune(struct worker_table *table, struct worker *worker, uint64_t through,
	uint64_t count, uint64_t bytes)
{
	if (through > table->highest_pruned)
		table->highest_pruned = through;
	/* What the row does not count, as it began behind that, is not taken off it. */
	if (through <= worker->highest_pruned)
		return;
	worker->highest_pruned = through;
	worker->retained_count -= count < worker->retained_count ? count : worker->retained_count;
	worker->retained_bytes -= bytes < worker->retained_bytes ? bytes : worker->retained_bytes;
	if (worker->retained_count == 0) {
		worker->retained_bytes = 0;
		table->idle_is_stale = true;
	}
	if (worker->highest_pruned >= worker->reserve_last)
		worker_leave_reserve(worker);
	if (worker->newest_keyframe <= worker->highest_pruned)
		worker->newest_keyframe = 0;
	if (worker->visible_keyframe <= worker->highest_pruned)
		worker->visible_keyframe = 0;
}

void worker_table_prune_unaccounted(struct worker_table *table, uint64_t oldest_base)
{
	struct worker *worker, *next;
	map_for_each (table->workers, worker, next) {
		uint64_t through = worker->newest_seq < oldest_base ? worker->newest_seq
								    : oldest_base - 1;
		worker_table_prune(table, worker, through, 0, 0);
		if (worker->newest_seq < oldest_base)
			worker->retained_count = worker->retained_bytes = 0;
	}
	table->loss_count++;
	table->idle_is_stale = true;
	if (oldest_base - 1 > table->highest_pruned)
		table->highest_pruned = oldest_base - 1;
	table->oldest_base = oldest_base;
}

static int compare_ids(const void *a, const void *b)
{
	const struct worker *const *x = a, *const *y = b;
	return strcmp((*x)->id.text, (*y)->id.text);
}

struct worker *const *worker_table_sorted(struct worker_table *table)
{
	if (!table->sorted_is_stale && table->sorted != NULL)
		return table->sorted;
	struct worker **sorted = realloc(table->sorted, (table->count + 1u) * sizeof(*sorted));
	if (sorted == NULL)
		return NULL;
	size_t n = 0;
	struct worker *worker, *next;
	map_for_each (table->workers, worker, next) {
		sorted[n++] = worker;
	}
	qsort(sorted, n, sizeof(*sorted), compare_ids);
	table->sorted = sorted;
	table->sorted_is_stale = false;
	return sorted;
}

size_t worker_table_after(struct worker_table *table, const char *id, size_t len)
{
	struct worker *const *sorted = worker_table_sorted(table);
	size_t low = 0, high = sorted == NULL ? 0 : table->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct worker *worker = sorted[middle];
		size_t shared = worker->id_len < len ? worker->id_len : len;
		int order = memcmp(worker->id.text, id, shared);
		if (order < 0 || (order == 0 && worker->id_len <= len))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void worker_describe(const struct worker *worker, struct log_worker *out)
{
	*out = (struct log_worker){
		.id = worker->id.text,
		.owner_uid = worker->owner_uid,
		.newest_seq = worker->newest_seq,
		.newest_keyframe = worker->newest_keyframe,
		.highest_pruned = worker->highest_pruned,
		.retained_count = worker->retained_count,
		.retained_bytes = worker->retained_bytes,
	};
}
