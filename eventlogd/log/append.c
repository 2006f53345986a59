/* Staging batches, and writing what is staged into the active segment. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/footer.h"
#include "eventlogd/log/note.h"
#include "proto/base/clock.h"
#include "proto/base/crc32c.h"
#include "proto/record.h"

#define STAGED_BYTES_DEFAULT (UINT64_C(64) << 20)
#define FOOTER_SLACK_MAX (UINT64_C(64) << 10)
#define INDEX_ENTRY_BYTES 8u

uint64_t log_footer_slack(const struct event_log *log)
{
	uint64_t share = log->config.segment_bytes / 32;
	return share < FOOTER_SLACK_MAX ? share : FOOTER_SLACK_MAX;
}

bool log_fits_active(const struct event_log *log, uint64_t bytes, uint64_t records)
{
	const struct segment *active = log->active;
	uint64_t sparse = records < bytes / INDEX_SPARSE_BYTES + 2 ? records
								   : bytes / INDEX_SPARSE_BYTES + 2;
	uint64_t footer = footer_bytes(active->index, &log->view.table, records, sparse);
	return active->data_end + bytes + footer + log_footer_slack(log) <= active->file_bytes;
}

static bool fits_a_segment(const struct event_log *log, uint64_t bytes, uint64_t records)
{
	uint64_t footer = log->view.table.encoded_bytes + SEGMENT_TRAILER_BYTES +
			  (2 * records + 16) * INDEX_ENTRY_BYTES;
	return SEGMENT_HEADER_BYTES + bytes + footer + log_footer_slack(log) <=
	       log->config.segment_bytes;
}

/* Rows that are there may still change, and new producers take the place of older ones. */
static bool table_is_full(const struct event_log *log)
{
	return log->view.table.encoded_bytes > log->config.segment_bytes / TABLE_SHARE_OF_SEGMENT;
}

/*
 * A kind with the byte 0 or 1 counts as none: every record's length ends in one of them, so no
 * text that a publisher chooses can look like a record (scan.h).
 */
static uint8_t usable_kind_len(const struct event_log_event *event)
{
	for (uint8_t i = 0; i < event->kind_len; i++)
		if ((uint8_t)event->kind[i] <= 1)
			return 0;
	return event->kind_len;
}

/* One batch on its way into the stage. */
struct staging {
	const struct event_log_batch *batch;
	uint64_t wall_ns;
	size_t skip;      /* events that are stored already */
	uint32_t records; /* to be stored */
	size_t bytes;
	bool has_note; /* its last number stores nothing, and has to be remembered */
};

/* Whether the batch's numbers go on from the last; how many of its events are known already. */
static int check_numbers(const struct worker *worker, struct staging *staging)
{
	const struct event_log_batch *batch = staging->batch;
	if (!batch->has_producer_seq)
		return EVENT_LOG_OK;
	const struct producer *producer = worker == NULL
						  ? NULL
						  : worker_find_producer(worker, batch->producer);
	uint64_t last = producer == NULL ? 0 : producer->staged;
	if (batch->producer_seq == 0 || batch->producer_seq - 1 > last ||
		batch->event_count > UINT64_MAX - batch->producer_seq)
		return EVENT_LOG_PRODUCER_GAP;
	uint64_t known = last - (batch->producer_seq - 1);
	staging->skip = known < batch->event_count ? (size_t)known : batch->event_count;
	return EVENT_LOG_OK;
}

static struct record record_of(
	const struct event_log *log, const struct staging *staging, size_t number)
{
	const struct event_log_batch *batch = staging->batch;
	const struct event_log_event *event = &batch->events[number];
	struct record record = {
		.time_ns = staging->wall_ns,
		.owner_uid = batch->owner_uid,
		.epoch = log->view.epoch,
		.worker = batch->worker,
		.worker_len = (uint8_t)batch->worker_len,
		.kind = event->kind,
		.kind_len = usable_kind_len(event),
		.payload = event->payload,
		.payload_len = event->payload_len,
	};
	if (event->is_keyframe)
		record.flags |= RECORD_KEYFRAME;
	if (event->has_source_time) {
		record.flags |= RECORD_HAS_SOURCE_TIME;
		record.source_time_ns = event->source_time_ns;
	}
	if (batch->has_producer_seq) {
		record.flags |= RECORD_HAS_PRODUCER;
		record.producer = batch->producer;
		record.producer_seq = batch->producer_seq + number;
	}
	return record;
}

static struct record position_note(const struct event_log *log, const struct staging *staging)
{
	const struct event_log_batch *batch = staging->batch;
	struct record note = note_record(NOTE_POSITION, log->next_seq - 1, staging->wall_ns);
	note.owner_uid = batch->owner_uid;
	note.epoch = log->view.epoch;
	note.worker = batch->worker;
	note.worker_len = (uint8_t)batch->worker_len;
	note.flags |= RECORD_HAS_PRODUCER;
	note.producer = batch->producer;
	note.producer_seq = batch->producer_seq + batch->event_count - 1;
	return note;
}

static void measure(const struct event_log *log, struct staging *staging)
{
	const struct event_log_batch *batch = staging->batch;
	for (size_t i = staging->skip; i < batch->event_count; i++) {
		if (batch->events[i].payload == NULL)
			continue;
		struct record record = record_of(log, staging, i);
		staging->bytes += record_size(&record);
		staging->records++;
	}
	staging->has_note = batch->has_producer_seq && staging->skip < batch->event_count &&
			    batch->events[batch->event_count - 1].payload == NULL;
	if (staging->has_note) {
		struct record note = position_note(log, staging);
		staging->bytes += record_size(&note);
	}
}

static void encode(struct event_log *log, const struct staging *staging, uint8_t *out)
{
	const struct event_log_batch *batch = staging->batch;
	for (size_t i = staging->skip; i < batch->event_count; i++) {
		if (batch->events[i].payload == NULL)
			continue;
		struct record record = record_of(log, staging, i);
		record.sequence = log->next_seq++;
		record_encode(&record, out);
		out += record_size(&record);
	}
	if (staging->has_note) {
		struct record note = position_note(log, staging);
		record_encode(&note, out);
	}
}

static int check_room(struct event_log *log, const struct staging *staging)
{
	if (log->is_read_only)
		return EVENT_LOG_READ_ONLY;
	if (log->has_no_space)
		return EVENT_LOG_NO_SPACE;
	if (!fits_a_segment(log, staging->bytes, staging->records))
		return EVENT_LOG_BATCH_TOO_LARGE;
	uint64_t max = log->config.staged_bytes_max == 0 ? STAGED_BYTES_DEFAULT
							 : log->config.staged_bytes_max;
	if (log->stage.count != 0 && stage_bytes(&log->stage) + staging->bytes > max) {
		log->counters.busy_count++;
		return EVENT_LOG_BUSY;
	}
	return EVENT_LOG_OK;
}

/* The row of a worker that has none yet, if it may have one. */
static int make_worker(
	struct event_log *log, const struct event_log_batch *batch, struct worker **out)
{
	struct worker_table *table = &log->view.table;
	if (log->config.max_workers_per_uid != 0 && batch->owner_uid != 0 &&
		worker_table_uid_count(table, batch->owner_uid) >= log->config.max_workers_per_uid)
		return EVENT_LOG_QUOTA;
	if (table_is_full(log))
		return EVENT_LOG_QUOTA;
	int r = worker_table_get(
		table, batch->worker, batch->worker_len, batch->owner_uid, false, out);
	return r == WORKER_TABLE_FULL ? EVENT_LOG_QUOTA : r;
}

/* A row that was made for a batch that is not staged after all. */
static void drop_unused_worker(struct event_log *log, struct worker *worker)
{
	if (worker->newest_seq == 0 && worker->staged_batches == 0 && worker->highest_pruned == 0 &&
		worker->producer_count == 0)
		worker_table_forget(&log->view.table, worker);
}

int event_log_stage(struct event_log *log, const struct event_log_batch *batch, uint64_t wall_ns,
	struct event_log_staged *staged)
{
	assert(batch->worker_len >= 1 && batch->worker_len <= ID_BYTES_MAX);
	struct staging staging = {.batch = batch, .wall_ns = wall_ns};
	struct worker *worker = worker_table_find(
		&log->view.table, batch->worker, batch->worker_len);
	int r = check_numbers(worker, &staging);
	if (r != EVENT_LOG_OK)
		return r;
	measure(log, &staging);
	r = check_room(log, &staging);
	if (r == EVENT_LOG_OK && worker == NULL)
		r = make_worker(log, batch, &worker);
	if (r != EVENT_LOG_OK)
		return r;

	struct producer *producer = NULL;
	uint8_t *place = stage_reserve(&log->stage, staging.bytes);
	if (place == NULL)
		r = -ENOMEM;
	else if (batch->has_producer_seq)
		r = worker_table_producer(
			&log->view.table, worker, batch->producer, !table_is_full(log), &producer);
	if (r != 0) {
		drop_unused_worker(log, worker);
		return r == WORKER_TABLE_FULL   ? EVENT_LOG_QUOTA
		       : r == WORKER_TABLE_BUSY ? EVENT_LOG_BUSY
						: r;
	}
	worker_table_set_owner(&log->view.table, worker, batch->owner_uid);
	uint64_t first_seq = log->next_seq;
	encode(log, &staging, place);
	if (producer != NULL && staging.skip < batch->event_count)
		producer->staged = batch->producer_seq + batch->event_count - 1;

	struct staged_batch entry = {
		.worker = worker,
		.ticket = log->next_ticket++,
		.has_producer = batch->has_producer_seq,
		.producer = batch->producer,
		.producer_seq = producer == NULL ? 0 : producer->staged,
		.records = staging.records,
		.bytes = staging.bytes,
	};
	worker->staged_batches++;
	stage_push(&log->stage, &entry);
	*staged = (struct event_log_staged){
		.ticket = entry.ticket,
		.first_seq = staging.records == 0 ? 0 : first_seq,
		.last_seq = staging.records == 0 ? 0 : log->next_seq - 1,
		.skipped = (uint32_t)staging.skip,
	};
	return EVENT_LOG_OK;
}

void log_drop_staged(struct event_log *log)
{
	while (log->stage.count != 0) {
		struct staged_batch batch = *stage_peek(&log->stage, 0);
		stage_pop(&log->stage);
		struct producer *producer = batch.has_producer ? worker_find_producer(batch.worker,
									 batch.producer)
							       : NULL;
		if (producer != NULL)
			producer->staged = producer->stored;
		batch.worker->staged_batches--;
		drop_unused_worker(log, batch.worker);
	}
	log->next_seq = log->written.seq + 1;
}

/* The list of a worker in the active segment's index. */
static struct index_list *active_list(struct event_log *log, struct worker *worker)
{
	if (worker->active_list == NULL || worker->active_segment_id != log->active->id) {
		struct index_list *list;
		if (segment_index_list(
			    log->active->index, worker->id.text, worker->id_len, &list) != 0)
			return NULL;
		worker->active_list = list;
		worker->active_segment_id = log->active->id;
	}
	return worker->active_list;
}

static int reserve_index(struct event_log *log, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct staged_batch *batch = stage_peek(&log->stage, i);
		if (batch->records == 0)
			continue;
		struct index_list *list = active_list(log, batch->worker);
		if (list == NULL ||
			segment_index_reserve(log->active->index, list, batch->records) != 0)
			return -ENOMEM;
	}
	return 0;
}

static void unreserve_index(struct event_log *log, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct worker *worker = stage_peek(&log->stage, i)->worker;
		if (worker->active_list != NULL && worker->active_segment_id == log->active->id)
			segment_index_unreserve(log->active->index, worker->active_list);
	}
}

static size_t size_at(const uint8_t *bytes)
{
	return align_up(get_le32(bytes + RECORD_LENGTH_AT), RECORD_ALIGNMENT);
}

static void place_records(struct event_log *log, uint8_t *bytes, size_t len)
{
	for (size_t at = 0; at < len; at += size_at(bytes + at))
		record_place(bytes + at, log->active->salt, (uint32_t)(log->active->data_end + at),
			log->synced.seq);
	log->marked_seq = log->synced.seq;
}

/* A record is in the segment: index, worker table and ends learn of it. */
static void apply_record(struct event_log *log, struct worker *worker, const uint8_t *bytes)
{
	struct segment *active = log->active;
	size_t size = size_at(bytes);
	if (!record_is_internal_at(bytes)) {
		struct record record = {.sequence = record_sequence_at(bytes),
			.time_ns = get_le64(bytes + RECORD_TIME_AT),
			.flags = bytes[RECORD_FLAGS_AT]};
		segment_index_add(active->index, worker->active_list, (uint32_t)active->data_end,
			(uint32_t)(record.sequence - active->base), (uint32_t)size,
			record_is_keyframe(&record));
		worker_table_apply_record(
			&log->view.table, worker, &record, size, log->view.visible_seq);
		if (active->count++ == 0) {
			active->trailer.first_seq = record.sequence;
			active->trailer.first_time_ns = record.time_ns;
		}
		active->last_seq = log->written.seq = record.sequence;
		active->last_time_ns = record.time_ns;
		log->counters.appended_records++;
	}
	active->data_end += size;
}

static void apply_batch(struct event_log *log, const struct staged_batch *batch)
{
	const uint8_t *bytes = stage_data(&log->stage);
	for (size_t at = 0; at < batch->bytes; at += size_at(bytes + at))
		apply_record(log, batch->worker, bytes + at);
	struct producer *producer = batch->has_producer
					    ? worker_find_producer(batch->worker, batch->producer)
					    : NULL;
	if (producer != NULL && batch->producer_seq > producer->stored) {
		producer->stored = batch->producer_seq;
		producer->used = log->written.seq;
	}
	batch->worker->staged_batches--;
	log->written.ticket = batch->ticket;
	log->written.bytes += batch->bytes;
	log->counters.appended_bytes += batch->bytes;
}

static void tell_syncer(struct event_log *log)
{
	if (syncer_written(&log->syncer, &log->written))
		log->synced = log->written;
	if (log->config.durability != DURABILITY_DURABLE)
		log->view.visible_seq = log->written.seq;
	log->last_append_ns = clock_monotonic_ns();
}

static bool is_passing(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -ENOMEM || error == -EAGAIN ||
	       error == -EFBIG;
}

/* What a failed write may have left has to be cleared before the place is written again. */
static enum event_log_result on_write_error(struct event_log *log, int error, size_t len)
{
	if (!is_passing(error)) {
		log->is_read_only = true;
		log->sync_error = error;
		return EVENT_LOG_READ_ONLY;
	}
	log->has_no_space = true;
	log->heal_is_due = true;
	log->heal_bytes = len;
	log->counters.no_space_count++;
	return EVENT_LOG_NO_SPACE;
}

static enum event_log_result write_batches(struct event_log *log, size_t count, size_t len)
{
	if (reserve_index(log, count) != 0) {
		unreserve_index(log, count);
		return EVENT_LOG_NO_SPACE;
	}
	uint8_t *bytes = stage_data(&log->stage);
	place_records(log, bytes, len);
	int r = file_write(log->ops, log->active_fd, bytes, len, log->active->data_end, NULL);
	if (r != 0) {
		unreserve_index(log, count);
		return on_write_error(log, r, len);
	}
	log->counters.writes += len != 0;
	log->active->digest = crc32c_extend(log->active->digest, bytes, len);
	for (size_t i = 0; i < count; i++) {
		apply_batch(log, stage_peek(&log->stage, 0));
		stage_pop(&log->stage);
	}
	tell_syncer(log);
	return EVENT_LOG_OK;
}

/* How many of the staged batches the active segment takes. */
static size_t count_fitting(struct event_log *log, size_t *len)
{
	size_t bytes = 0, records = 0, count = 0;
	for (; count < log->stage.count; count++) {
		const struct staged_batch *batch = stage_peek(&log->stage, count);
		if (!log_fits_active(log, bytes + batch->bytes, records + batch->records))
			break;
		bytes += batch->bytes;
		records += batch->records;
	}
	*len = bytes;
	return count;
}

/* The active segment is full, or there is none. */
static enum event_log_result go_to_next_segment(struct event_log *log, uint64_t wall_ns)
{
	if (log->roll != NULL)
		return EVENT_LOG_OK;
	if (log->spare_fd >= 0)
		return log_begin_roll(log, wall_ns) == 0 ? EVENT_LOG_OK : EVENT_LOG_NO_SPACE;
	if (log->spare_error == 0) {
		log_need_spare(log);
		return EVENT_LOG_OK;
	}
	log->has_no_space = true;
	log->counters.no_space_count++;
	return EVENT_LOG_NO_SPACE;
}

enum event_log_result event_log_commit(struct event_log *log, uint64_t wall_ns)
{
	log_take_news(log);
	if (log->compacting.goes_on)
		log_prune(log, wall_ns);
	enum event_log_result result = EVENT_LOG_OK;
	if (log->is_read_only)
		result = EVENT_LOG_READ_ONLY;
	else if (log->has_no_space)
		result = EVENT_LOG_NO_SPACE;
	while (result == EVENT_LOG_OK && log->stage.count != 0) {
		size_t len, count = log->active == NULL ? 0 : count_fitting(log, &len);
		if (count == 0) {
			result = go_to_next_segment(log, wall_ns);
			break;
		}
		result = write_batches(log, count, len);
	}
	if (result != EVENT_LOG_OK)
		log_drop_staged(log);
	return result;
}

/* What waits for its note may be what makes room for publishers: none of them need write first. */
static void make_room_for_note(struct event_log *log, uint64_t wall_ns)
{
	if (log->active->data_end == SEGMENT_HEADER_BYTES)
		return; /* there is no more room than this */
	if (log->spare_fd < 0) {
		if (log->spare_error == 0) /* else try_space_again() asks */
			log_need_spare(log);
		return;
	}
	/* Without memory for it now, the next tick tries again. */
	int r = log_begin_roll(log, wall_ns);
	(void)r;
}

int log_append_note(struct event_log *log, struct record *note)
{
	size_t size = record_size(note);
	if (log->active == NULL || log->is_read_only || log->has_no_space)
		return EVENT_LOG_BUSY;
	if (!log_fits_active(log, size, 0)) {
		make_room_for_note(log, note->time_ns);
		return EVENT_LOG_BUSY;
	}
	/* Behind what is staged, which comes into the segment after it. */
	uint8_t *bytes = stage_reserve(&log->stage, size);
	if (bytes == NULL)
		return EVENT_LOG_BUSY;
	note->epoch = log->view.epoch;
	record_encode(note, bytes);
	place_records(log, bytes, size);
	int r = file_write(log->ops, log->active_fd, bytes, size, log->active->data_end, NULL);
	if (r != 0)
		return (int)on_write_error(log, r, size);
	log->active->digest = crc32c_extend(log->active->digest, bytes, size);
	log->active->data_end += size;
	log->written.bytes += size;
	log->counters.writes++;
	tell_syncer(log);
	return EVENT_LOG_OK;
}
