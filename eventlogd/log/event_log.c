/* Opening and closing the log, time, and what it tells of itself. */
#include "eventlogd/log/event_log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "eventlogd/log/event_log_private.h"
#include "eventlogd/log/note.h"
#include "eventlogd/log/recovery.h"
#include "eventlogd/log/reserve.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/record.h"

#define IDLE_BEFORE_MARK_NS (NS_PER_S / 2)
#define SPARE_RETRY_NS NS_PER_S
#define SEGMENT_ALIGNMENT 4096u

void event_log_config_init(struct event_log_config *config)
{
	*config = (struct event_log_config){
		.durability = DURABILITY_INTERVAL,
		.sync_interval_ns = 20 * NS_PER_MS,
		.sync_bytes = UINT64_C(1) << 20,
		.segment_bytes = SEGMENT_BYTES_DEFAULT,
		.max_event_bytes = EVENT_BYTES_DEFAULT,
		.max_workers = MAX_WORKERS_DEFAULT,
		.retention.keyframe_reserve = UINT64_MAX,
	};
}

static bool config_is_valid(const struct event_log_config *config)
{
	return config->directory != NULL && config->segment_bytes >= SEGMENT_BYTES_MIN &&
	       config->segment_bytes <= SEGMENT_BYTES_MAX && config->max_workers >= 1 &&
	       config->max_event_bytes <= EVENT_BYTES_MAX &&
	       /* The largest event, its footer and the slack fit one segment. */
	       config->max_event_bytes + (uint64_t)RECORD_OVERHEAD_MAX <= config->segment_bytes / 2;
}

static int open_directory(struct event_log *log, const char *path)
{
	int fd = log->ops->open_at(log->ops->owner, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	log->directory_fd = fd;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return log->ops->prepare_directory(log->ops->owner, fd);
}

static void report(const struct event_log *log, enum finding_kind kind, const char *file)
{
	struct finding finding = {.kind = kind, .file = file};
	finding_report(&log->config.findings, &finding);
}

static int remove_temporary(struct event_log *log, const struct recovery *recovery)
{
	const struct file_ops *ops = log->ops;
	int r = 0;
	if (recovery->has_spare) {
		r = ops->unlink_at(ops->owner, log->directory_fd, SEGMENT_SPARE_NAME);
		if (r == 0)
			report(log, FINDING_TEMPORARY_REMOVED, SEGMENT_SPARE_NAME);
		/* Something else by that name, a directory for example: it is not ours. */
		if (r == -EISDIR || r == -EPERM)
			report(log, FINDING_FOREIGN_FILE, SEGMENT_SPARE_NAME);
	}
	if (r != 0 && r != -ENOENT)
		return r;
	r = ops->unlink_at(ops->owner, log->directory_fd, SEGMENT_COMPACT_NAME);
	if (r == -EISDIR || r == -EPERM)
		report(log, FINDING_FOREIGN_FILE, SEGMENT_COMPACT_NAME);
	return 0;
}

/* Only once recovery_settle() has synced the note that gave them up: a power loss may keep any of
 * these removals, and without the note each would be a hole. */
static void remove_pruned(struct event_log *log, const struct recovery *recovery)
{
	const struct file_ops *ops = log->ops;
	for (size_t i = 0; i < recovery->pruned_count; i++) {
		int removed = ops->unlink_at(ops->owner, log->directory_fd, recovery->pruned[i]);
		if (removed == 0)
			report(log, FINDING_SEGMENT_PRUNED, recovery->pruned[i]);
	}
}

/*
 * Begins an epoch, or stays in it. What is not ours may lie there by the name that the first
 * segment would get: then a later epoch is begun, and with it another name.
 */
static int begin_free_epoch(struct event_log *log, unsigned int epoch, uint64_t next_seq)
{
	char name[SEGMENT_NAME_BYTES + 1];
	for (; epoch <= UINT16_MAX; epoch++) {
		segment_name_format(next_seq, (uint16_t)epoch, name);
		if (!file_exists(log->ops, log->directory_fd, name)) {
			if (epoch != log->view.epoch)
				catalog_begin_epoch(&log->view, (uint16_t)epoch, next_seq);
			return 0;
		}
	}
	return -EOVERFLOW;
}

static int begin_epoch(struct event_log *log, const struct recovery *recovery)
{
	struct log_view *view = &log->view;
	if (recovery->is_empty) {
		randombytes_buf(view->log_id, sizeof(view->log_id));
		log->is_new = true;
		return begin_free_epoch(log, 1, 1);
	}
	if (recovery->is_clean) {
		/* Sealed without anything in it: the first segment will get its name. */
		const struct segment *newest = catalog_newest(view);
		if (newest->data_end == SEGMENT_HEADER_BYTES) {
			memcpy(log->replaced_name, newest->name, sizeof(log->replaced_name));
			catalog_remove(view, view->segment_count - 1);
			return 0;
		}
		return begin_free_epoch(log, view->epoch, recovery->next_seq);
	}
	struct finding finding = {.kind = FINDING_UNCLEAN_STOP, .first = recovery->next_seq};
	finding_report(&log->config.findings, &finding);
	return begin_free_epoch(log, recovery->newest_epoch + 1u, recovery->next_seq);
}

static int recover(struct event_log *log)
{
	struct recovery recovery;
	int r = recovery_read(&log->view, &log->config.findings, &recovery);
	if (r == 0)
		r = remove_temporary(log, &recovery);
	if (r == 0)
		r = recovery_settle(&log->view, &recovery);
	if (r == 0)
		remove_pruned(log, &recovery);
	if (r == 0)
		r = begin_epoch(log, &recovery);
	if (r == 0) {
		/* Everything that counts has been synced, now or before. */
		log->next_seq = recovery.next_seq;
		log->written.seq = log->synced.seq = recovery.next_seq - 1;
		log->view.visible_seq = recovery.next_seq - 1;
		log->counters.damaged_ranges = recovery.damaged_ranges;
	}
	recovery_free(&recovery);
	return r;
}

/* Waits for the first segment; a disk without room for it is no reason not to serve reads. */
static int begin_first_segment(struct event_log *log, uint64_t wall_ns)
{
	log_need_spare(log);
	while (log->active == NULL && !log->has_no_space && !log->is_read_only) {
		syncer_wait(&log->syncer);
		log_take_news(log);
		if (log->roll == NULL && log->spare_fd >= 0 && log->active == NULL) {
			int r = log_begin_roll(log, wall_ns);
			if (r != 0)
				return r;
		}
		if (log->spare_error == -ENOSPC || log->spare_error == -EDQUOT)
			log->has_no_space = true;
		else if (log->spare_error != 0)
			return log->spare_error;
	}
	return log->is_read_only ? log->sync_error : 0;
}

static bool is_empty_leftover(const struct event_log *log, const struct segment *segment)
{
	return segment != log->active && segment->base == log->active->base &&
	       !segment->is_sealed && !segment->header_is_damaged &&
	       segment->data_end == SEGMENT_HEADER_BYTES;
}

/*
 * A stop right after a roll leaves a segment without any record. It can go once the new one, with
 * its newer epoch, is on the disk; not before, or the epoch could be given twice. Otherwise a crash
 * loop would fill the directory.
 */
static void drop_empty_leftovers(struct event_log *log)
{
	struct log_view *view = &log->view;
	size_t end = view->segment_count, first = end;
	if (log->active == NULL)
		return;
	while (first > 0 && view->segments[first - 1]->base == log->active->base)
		first--;
	/* What an unsealed segment before them holds is judged by there being a newer one. */
	if (first > 0 && !view->segments[first - 1]->is_sealed)
		return;
	for (size_t i = end; i-- > first;)
		if (is_empty_leftover(log, view->segments[i]) &&
			syncer_request_removal(&log->syncer, view->segments[i]->name))
			catalog_remove(view, i);
}

/*
 * A log that was written with larger segments may have a worker table that would leave no room for
 * records in those that are configured now. (It ends at its share while the log runs, give or take
 * a row, which half as much more allows for.)
 */
static void fit_segments_to_table(struct event_log *log)
{
	uint64_t table_bytes = log->view.table.encoded_bytes;
	uint64_t share = log->config.segment_bytes / TABLE_SHARE_OF_SEGMENT;
	if (table_bytes <= share + share / 2)
		return;
	uint64_t wanted = align_up(table_bytes * TABLE_SHARE_OF_SEGMENT, SEGMENT_ALIGNMENT);
	log->config.segment_bytes = wanted < SEGMENT_BYTES_MAX ? wanted : SEGMENT_BYTES_MAX;
	struct finding finding = {.kind = FINDING_TABLE_LARGE, .bytes = log->config.segment_bytes};
	finding_report(&log->config.findings, &finding);
}

static int start(struct event_log *log, const char *directory, uint64_t wall_ns)
{
	int r = open_directory(log, directory);
	if (r != 0)
		return r;
	catalog_init(&log->view, log->ops, log->directory_fd, log->config.max_workers);
	log->view.is_live = true;
	r = recover(log);
	if (r == 0)
		r = reserve_survey(&log->view);
	if (r != 0)
		return r;
	fit_segments_to_table(log);
	log->compacting.garbage_positions = catalog_compacted_count(&log->view);
	log_forget_released(log);
	struct syncer_config syncer = {
		.start = log->written,
		.ops = log->ops,
		.directory_fd = log->directory_fd,
		.durability = log->config.durability,
		.interval_ns = log->config.sync_interval_ns,
		.sync_bytes = log->config.sync_bytes,
		.segment_bytes = log->config.segment_bytes,
		.wake = log->config.wake,
		.wake_owner = log->config.wake_owner,
	};
	r = syncer_start(&log->syncer, &syncer);
	if (r == 0)
		r = begin_first_segment(log, wall_ns);
	if (r == 0)
		drop_empty_leftovers(log);
	return r;
}

static void free_roll(struct event_log *log)
{
	struct roll *roll = log->roll;
	if (roll == NULL)
		return;
	if (roll->old_fd >= 0)
		log->ops->close(log->ops->owner, roll->old_fd);
	if (roll->next_fd >= 0)
		log->ops->close(log->ops->owner, roll->next_fd);
	seal_free(&roll->seal);
	free(roll);
	log->roll = NULL;
}

/* Ends the thread first: after that nothing else touches what is freed. */
static void stop(struct event_log *log)
{
	syncer_stop(&log->syncer);
	log_compaction_stop(log);
	if (log->syncer.spare.fd >= 0 && log->spare_fd < 0)
		log->spare_fd = log->syncer.spare.fd;
	free_roll(log);
	segment_free(log->next);
	if (log->active_fd >= 0)
		log->ops->close(log->ops->owner, log->active_fd);
	if (log->spare_fd >= 0) {
		log->ops->close(log->ops->owner, log->spare_fd);
		(void)log->ops->unlink_at(log->ops->owner, log->directory_fd, SEGMENT_SPARE_NAME);
	}
	stage_free(&log->stage);
	catalog_clear(&log->view);
	if (log->directory_fd >= 0)
		log->ops->close(log->ops->owner, log->directory_fd);
	free(log);
}

int event_log_open(struct event_log **out, const struct event_log_config *config, uint64_t wall_ns)
{
	if (!config_is_valid(config))
		return -EINVAL;
	struct event_log *log = calloc(1, sizeof(*log));
	if (log == NULL)
		return -ENOMEM;
	log->config = *config;
	log->config.directory = NULL;
	log->config.segment_bytes = align_up(config->segment_bytes, SEGMENT_ALIGNMENT);
	log->ops = config->ops == NULL ? &file_ops_system : config->ops;
	log->directory_fd = log->active_fd = log->spare_fd = -1;
	log->syncer.spare.fd = -1;
	log->next_ticket = 1;
	stage_init(&log->stage);
	int r = start(log, config->directory, wall_ns);
	if (r != 0) {
		stop(log);
		return r;
	}
	*out = log;
	return 0;
}

/* Writes what is staged, also across rolls. */
static int drain(struct event_log *log, uint64_t wall_ns)
{
	for (;;) {
		enum event_log_result result = event_log_commit(log, wall_ns);
		if (result != EVENT_LOG_OK)
			return result == EVENT_LOG_READ_ONLY ? log->sync_error : -ENOSPC;
		if (log->stage.count == 0 && log->roll == NULL)
			return 0;
		syncer_wait(&log->syncer);
	}
}

static int seal_active(struct event_log *log)
{
	struct roll *roll = calloc(1, sizeof(*roll));
	if (roll == NULL)
		return syncer_flush(&log->syncer);
	roll->next_fd = -1;
	roll->old_fd = log->active_fd;
	roll->has_seal = seal_prepare(&roll->seal, log->active, &log->view.table, 0,
				 log->view.log_id) == 0;
	log->active = NULL;
	log->active_fd = -1;
	log->roll = roll;
	syncer_request_roll(&log->syncer, roll);
	while (log->roll != NULL && !log->is_read_only) {
		syncer_wait(&log->syncer);
		log_take_news(log);
	}
	return log->is_read_only ? log->sync_error : 0;
}

/*
 * Whether the active segment says nothing that the one before it does not. Its epoch may: then it
 * is sealed as it is, and the next start puts its own in its place, by the same name.
 */
static bool active_is_superfluous(const struct event_log *log)
{
	const struct log_view *view = &log->view;
	if (log->active->data_end != SEGMENT_HEADER_BYTES || view->segment_count < 2)
		return false;
	const struct segment *before = view->segments[view->segment_count - 2];
	/* A compacted segment does not have the whole worker table. */
	return before->is_sealed && !segment_is_compacted(before) &&
	       before->epoch == log->active->epoch;
}

static int remove_active(struct event_log *log)
{
	const struct file_ops *ops = log->ops;
	int r = ops->unlink_at(ops->owner, log->directory_fd, log->active->name);
	return r == 0 ? ops->fsync(ops->owner, log->directory_fd) : r;
}

int event_log_close(struct event_log *log, uint64_t wall_ns)
{
	if (log == NULL)
		return 0;
	int r = drain(log, wall_ns);
	while (!log->is_read_only && syncer_has_removals(&log->syncer)) {
		syncer_wait(&log->syncer);
		log_take_news(log);
	}
	/* With a full disk what is there can still be sealed: its footer has its room. */
	if ((r == 0 || r == -ENOSPC) && log->active != NULL && !log->heal_is_due)
		r = active_is_superfluous(log) ? remove_active(log) : seal_active(log);
	stop(log);
	return r;
}

struct log_view *event_log_view(struct event_log *log)
{
	return &log->view;
}

void event_log_progress(const struct event_log *log, struct event_log_progress *out)
{
	bool is_durable = log->config.durability == DURABILITY_DURABLE;
	uint64_t acked = is_durable ? log->synced.ticket : log->written.ticket;
	*out = (struct event_log_progress){
		/* What a poisoned log has not acknowledged by now, it never will. */
		.written = log->is_read_only ? acked : log->written.ticket,
		.synced = log->synced.ticket,
		.acked = acked,
		.visible_seq = log->view.visible_seq,
	};
}

/* So that a stop after a quiet time finds a durable mark for the last records too. */
static void write_mark(struct event_log *log, uint64_t wall_ns, uint64_t monotonic_ns)
{
	if (log->stage.count != 0 || log->active == NULL || log->marked_seq >= log->synced.seq ||
		monotonic_ns < log->last_append_ns + IDLE_BEFORE_MARK_NS)
		return;
	struct record mark = note_record(NOTE_MARK, log->written.seq, wall_ns);
	log_append_note(log, &mark); /* what went wrong is in the log's state */
}

static bool has_free_space(const struct event_log *log)
{
	uint64_t free_bytes;
	return log->ops->free_bytes(log->ops->owner, log->directory_fd, &free_bytes) != 0 ||
	       free_bytes >= 2 * log->config.segment_bytes;
}

/* Tries again what a full disk kept from happening, once there is room for two segments. */
static void try_space_again(struct event_log *log, uint64_t wall_ns, uint64_t monotonic_ns)
{
	bool wants = log->has_no_space || log->spare_error != 0;
	if (!wants || log->is_read_only || monotonic_ns < log->last_spare_try_ns + SPARE_RETRY_NS ||
		!has_free_space(log))
		return;
	log->last_spare_try_ns = monotonic_ns;
	if (log->heal_is_due) {
		if (!log->heal_asked && log->active != NULL) {
			log->heal_asked = true;
			syncer_request_heal(&log->syncer, log->active->data_end, log->heal_bytes);
		}
		return;
	}
	if (log->roll != NULL) {
		if (!log->roll_asked) {
			log->roll_asked = true;
			log->has_no_space = false;
			syncer_request_roll(&log->syncer, log->roll);
		}
		return;
	}
	if (log->spare_fd < 0) {
		log_need_spare(log);
		return;
	}
	log->has_no_space = log->active == NULL && log_begin_roll(log, wall_ns) != 0;
}

void event_log_tick(struct event_log *log, uint64_t wall_ns, uint64_t monotonic_ns)
{
	log_take_news(log);
	uint64_t now_ns = retention_clock_now(&log->retention_clock, wall_ns, monotonic_ns);
	if (log->is_read_only)
		return;
	try_space_again(log, wall_ns, monotonic_ns);
	write_mark(log, wall_ns, monotonic_ns);
	log->compacting.now_ns = now_ns;
	log->compacting.monotonic_ns = monotonic_ns;
	log_prune(log, wall_ns);
	log_scrub_tick(log, monotonic_ns);
}

bool event_log_worker(struct event_log *log, const char *worker, size_t len, struct log_worker *out)
{
	const struct worker *row = worker_table_find(&log->view.table, worker, len);
	if (row == NULL)
		return false;
	worker_describe(row, out);
	return true;
}

bool event_log_producer_seq(
	struct event_log *log, const char *worker, size_t len, uint64_t producer, uint64_t *out)
{
	const struct worker *row = worker_table_find(&log->view.table, worker, len);
	const struct producer *found = row == NULL ? NULL : worker_find_producer(row, producer);
	if (found == NULL || found->staged == 0)
		return false;
	*out = found->staged;
	return true;
}

uint32_t event_log_workers_of_uid(const struct event_log *log, uint32_t uid)
{
	return worker_table_uid_count(&log->view.table, uid);
}

void event_log_status(const struct event_log *log, struct event_log_status *out)
{
	*out = log->counters;
	out->durability = log->config.durability;
	out->is_read_only = log->is_read_only;
	out->has_no_space = log->has_no_space;
	out->sync_error = log->sync_error;
	out->staged_bytes = stage_bytes(&log->stage);
	out->staged_bytes_max = log->config.staged_bytes_max;
	out->written_seq = log->written.seq;
	out->durable_seq = log->synced.seq;
	out->reserve_bytes = reserve_bytes(&log->view);
	out->reserve_bytes_max = log_reserve_limit(log);
	out->reserve_segments = catalog_compacted_count(&log->view);
	out->workers = log->view.table.count;
	out->max_workers = log->config.max_workers;
}
