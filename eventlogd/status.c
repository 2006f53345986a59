#include "eventlogd/status.h"

#include <errno.h>
#include <string.h>

#include "proto/cursor.h"
#include "proto/ids.h"

/* Epochs told in the status, newest first: enough to name the recent part of a log by sequence. */
enum { STATUS_EPOCHS_MAX = 32 };

static void write_cursor(struct message_writer *w, const struct log_view *view, uint64_t sequence)
{
	struct cursor cursor;
	char text[CURSOR_TEXT_BYTES + 1];
	log_view_cursor(view, sequence, &cursor);
	cursor_format(&cursor, text);
	write_text_n(w, text, CURSOR_TEXT_BYTES);
}

static uint16_t epoch_of(const struct log_view *view, uint64_t sequence)
{
	struct cursor cursor;
	log_view_cursor(view, sequence, &cursor);
	return cursor.epoch;
}

struct epoch_start {
	uint16_t epoch;
	uint64_t first_seq;
};

/* Epochs only grow with the sequence, so each beginning is found by bisection. */
static uint32_t find_epochs(const struct log_view *view, const struct log_ends *ends,
	struct epoch_start out[STATUS_EPOCHS_MAX])
{
	uint32_t count = 0;
	uint64_t low = ends->oldest_seq, last = ends->newest_seq;
	while (count < STATUS_EPOCHS_MAX && last >= low && last > 0) {
		uint16_t epoch = epoch_of(view, last);
		uint64_t first = low, beyond = last;
		while (first < beyond) {
			uint64_t middle = first + (beyond - first) / 2;
			if (epoch_of(view, middle) == epoch)
				beyond = middle;
			else
				first = middle + 1;
		}
		out[count++] = (struct epoch_start){epoch, first};
		last = first - 1;
	}
	return count;
}

static void write_epochs(
	struct message_writer *w, const struct log_view *view, const struct log_ends *ends)
{
	struct epoch_start epochs[STATUS_EPOCHS_MAX];
	uint32_t count = find_epochs(view, ends, epochs);
	write_array(w, count);
	for (uint32_t i = 0; i < count; i++) {
		write_array(w, 2);
		write_u64(w, epochs[i].epoch);
		write_u64(w, epochs[i].first_seq);
	}
}

struct number {
	const char *name;
	uint64_t value;
};

static void write_numbers(struct message_writer *w, const struct number *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		write_text(w, numbers[i].name);
		write_u64(w, numbers[i].value);
	}
}

static void write_counters(struct message_writer *w, const struct counters *c)
{
	const struct number numbers[] = {
#define COUNTER(name) {#name, c->name},
#include "eventlogd/counters.def"
#undef COUNTER
	};
	write_map(w, ARRAY_SIZE(numbers));
	write_numbers(w, numbers, ARRAY_SIZE(numbers));
}

int status_write(
	struct buf *out, const struct server *server, uint64_t request_id, const uint64_t *position)
{
	struct log_ends ends;
	struct event_log_status log;
	log_view_ends(server->view, &ends);
	event_log_status(server->log, &log);
	char log_id[LOG_ID_TEXT_BYTES + 1];
	log_id_format(ends.log_id, log_id);
	const struct number numbers[] = {
		{"epoch", ends.epoch},
		{"oldest_seq", ends.oldest_seq},
		{"newest_seq", ends.newest_seq},
		{"written_seq", log.written_seq},
		{"durable_seq", log.durable_seq},
		{"segments", ends.segments},
		{"allocated_bytes", ends.allocated_bytes},
		{"staged_bytes", log.staged_bytes},
		{"staged_bytes_max", log.staged_bytes_max},
		{"workers", log.workers},
		{"max_workers", log.max_workers},
		{"publishers", server->publisher_count},
		{"readers", server->subscriber_count},
		{"appended_records", log.appended_records},
		{"appended_bytes", log.appended_bytes},
		{"writes", log.writes},
		{"syncs", log.syncs},
		{"rolls", log.rolls},
		{"no_space_count", log.no_space_count},
		{"busy_count", log.busy_count},
		{"pruned_segments", log.pruned_segments},
		{"pruned_records", log.pruned_records},
		{"pruned_bytes", log.pruned_bytes},
		{"damaged_ranges", log.damaged_ranges},
		{"compacted_segments", log.compacted_segments},
		{"reserve_bytes", log.reserve_bytes},
		{"reserve_bytes_max", log.reserve_bytes_max},
		{"reserve_segments", log.reserve_segments},
		{"reserve_evictions", log.reserve_evictions},
		{"scrubbed_segments", log.scrubbed_segments},
		{"scrubbed_bytes", log.scrubbed_bytes},
		{"scrub_mismatches", log.scrub_mismatches},
		{"scrub_errors", log.scrub_errors},
	};
	struct message_writer w;
	message_begin(&w, out, MESSAGE_STATUS_REPLY);
	write_u64(&w, request_id);
	write_map(&w, ARRAY_SIZE(numbers) + 8 + (position != NULL));
	write_text(&w, "log_id");
	write_text(&w, log_id);
	write_text(&w, "durability");
	write_text(&w, durability_name(log.durability));
	write_text(&w, "read_only");
	write_bool(&w, log.is_read_only);
	write_text(&w, "no_space");
	write_bool(&w, log.has_no_space);
	write_text(&w, "oldest_cursor");
	write_cursor(&w, server->view, ends.oldest_seq > 0 ? ends.oldest_seq - 1 : 0);
	write_text(&w, "newest_cursor");
	write_cursor(&w, server->view, ends.newest_seq);
	if (position != NULL) {
		write_text(&w, "position_cursor");
		write_cursor(&w, server->view, *position);
	}
	write_text(&w, "epochs");
	write_epochs(&w, server->view, &ends);
	write_numbers(&w, numbers, ARRAY_SIZE(numbers));
	write_text(&w, "counters");
	write_counters(&w, &server->counters);
	return message_end(&w);
}

int forgotten_write(struct buf *out, uint64_t request_id, const char *worker, size_t len,
	const struct log_forgotten *forgotten)
{
	struct id id;
	if (!id_set(&id, worker, len))
		return -EINVAL;
	const struct number numbers[] = {
		{"reserve_records", forgotten->reserve_count},
		{"reserve_bytes", forgotten->reserve_bytes},
	};
	struct message_writer w;
	message_begin(&w, out, MESSAGE_FORGET_REPLY);
	write_u64(&w, request_id);
	write_map(&w, ARRAY_SIZE(numbers) + 1);
	write_text(&w, "worker_id");
	write_text(&w, id.text);
	write_numbers(&w, numbers, ARRAY_SIZE(numbers));
	return message_end(&w);
}

static void write_worker(
	struct message_writer *w, const struct log_view *view, const struct log_worker *worker)
{
	const struct number numbers[] = {
		{"owner_uid", worker->owner_uid},
		{"newest_seq", worker->newest_seq},
		{"newest_keyframe", worker->newest_keyframe},
		{"highest_pruned", worker->highest_pruned},
		{"records", worker->retained_count},
		{"bytes", worker->retained_bytes},
	};
	write_map(w, ARRAY_SIZE(numbers) + 2);
	write_text(w, "worker_id");
	write_text(w, worker->id);
	write_text(w, "newest_cursor");
	write_cursor(w, view, worker->newest_seq);
	write_numbers(w, numbers, ARRAY_SIZE(numbers));
}

int workers_write(struct buf *out, const struct server *server, uint64_t request_id,
	const char *after, size_t after_len, uint64_t limit)
{
	static struct log_worker page[WORKERS_PAGE_MAX + 1];
	size_t wanted = limit > 0 && limit < WORKERS_PAGE_MAX ? (size_t)limit : WORKERS_PAGE_MAX;
	/* One more than is sent tells whether there are more. */
	size_t found = log_view_workers(server->view, after, after_len, page, wanted + 1);
	size_t count = found < wanted ? found : wanted;
	struct message_writer w;
	message_begin(&w, out, MESSAGE_WORKERS_REPLY);
	write_u64(&w, request_id);
	write_map(&w, 2);
	write_text(&w, "workers");
	write_array(&w, (uint32_t)count);
	for (size_t i = 0; i < count; i++)
		write_worker(&w, server->view, &page[i]);
	write_text(&w, "more");
	write_bool(&w, found > wanted);
	return message_end(&w);
}
