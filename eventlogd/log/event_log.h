/*
 * Event log, the append side: one directory of segments, one writer.
 *
 * Everything here is called from one thread, the loop's. A second thread inside syncs, seals and
 * makes spare segments; it never calls back except for config.wake. The loop's thread waits for the
 * disk in one place only: the pwritev of event_log_commit().
 *
 * One turn of the loop: event_log_stage() for every batch that came in, then event_log_commit()
 * once, then event_log_progress() to see what may be acknowledged and read. When the sync thread
 * has something new, it calls config.wake (uv_async_send); the loop answers with commit and
 * progress again. event_log_tick() about every 250 ms.
 *
 * Tickets. Every staged batch gets the next ticket. Tickets are written, and then synced, strictly
 * in order, so a publisher's reply is due when `progress.acked >= ticket`. When a commit answers
 * EVENT_LOG_NO_SPACE or EVENT_LOG_READ_ONLY, every ticket above `progress.written` has been dropped
 * and never comes back: answer those publishers with NACK. Sequences of dropped batches are given
 * out again; nobody has seen them. (A log that is read-only tells `acked` as `written`: what was
 * written and could not be synced may or may not be there after the restart.)
 *
 * Bounds: staged_bytes_max in memory (EVENT_LOG_BUSY beyond, nothing staged: stop reading
 * publishers until the next wake); a batch never takes more than one segment's room
 * (EVENT_LOG_BATCH_TOO_LARGE); max_workers rows; PRODUCERS_PER_WORKER_MAX producers a worker
 * (worker_table.h), of which the one that has not published for longest is forgotten first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/durability.h"
#include "eventlogd/log/finding.h"
#include "eventlogd/log/log_worker.h"
#include "eventlogd/log/segment_format.h"
#include "proto/base/attributes.h"

struct event_log;
struct file_ops;
struct log_view;

#define SEGMENT_BYTES_DEFAULT (UINT64_C(64) << 20)
#define MAX_WORKERS_DEFAULT 16384u

struct event_log_config {
	const char *directory; /* must exist; borrowed during open */
	enum durability durability;
	uint64_t sync_interval_ns; /* interval mode; default 20 ms */
	uint64_t sync_bytes;       /* interval mode; default 1 MiB */
	uint64_t segment_bytes;    /* rounded up to 4096 */
	uint32_t max_event_bytes;
	uint32_t max_workers;
	uint32_t max_workers_per_uid; /* 0: only max_workers counts; root is exempt */
	uint64_t staged_bytes_max; /* 0: 64 MiB; a single batch may exceed it when nothing waits */
	struct {
		uint64_t bytes;            /* allocated on disk; 0: no limit */
		uint64_t age_ns;           /* of the last record of a segment; 0: no limit */
		uint64_t keyframe_reserve; /* bytes within `bytes`; UINT64_MAX: a quarter */
	} retention;

	const struct file_ops *ops; /* NULL: the system's */
	struct finding_sink findings;
	void (*wake)(void *owner); /* from the sync thread: uv_async_send() and nothing else */
	void *wake_owner;
};

/* Defaults for everything but the directory and the callbacks. */
void event_log_config_init(struct event_log_config *config);

enum event_log_result {
	EVENT_LOG_OK = 0,
	EVENT_LOG_BUSY = 1,            /* as much is staged as may be; try again after a wake */
	EVENT_LOG_NO_SPACE = 2,        /* disk full or over quota; goes on by itself later */
	EVENT_LOG_READ_ONLY = 3,       /* poisoned by a failed sync, for good: restart */
	EVENT_LOG_QUOTA = 4,           /* no room for one more worker, or its first producer */
	EVENT_LOG_PRODUCER_GAP = 5,    /* the first number is above last + 1 */
	EVENT_LOG_BATCH_TOO_LARGE = 6, /* more than one segment holds */
};

/*
 * Locks the directory, recovers, starts the sync thread. 0, or -errno:
 * -EBUSY (locked by another process), -EROFS/-EACCES/-ENOENT/-ENOTDIR of the directory,
 * -EOPNOTSUPP (a file system that can't promise what the log needs; see docs/log-format.md),
 * -EINVAL (configuration), -ENOTUNIQ (segments of two logs and none that could be told to be ours),
 * -EPROTONOSUPPORT (the newest segment is of a newer format), -EOVERFLOW (65,535 unclean stops),
 * or what the disk answers. A full disk is no error: the log opens, reads are served, and staging
 * answers EVENT_LOG_NO_SPACE until there is room.
 */
_must_check_ int event_log_open(
	struct event_log **out, const struct event_log_config *config, uint64_t wall_ns);

/*
 * Writes what is staged, syncs, seals, keeps the epoch. May wait for the disk. 0, or the first
 * -errno (the next start recovers then). Frees the log in any case; NULL is allowed. Close the
 * readers first.
 */
int event_log_close(struct event_log *log, uint64_t wall_ns);

/* What can be read: for readers, status and worker pages. Lives as long as the log. */
struct log_view *event_log_view(struct event_log *log);

/* An event of a batch, validated by the caller. */
struct event_log_event {
	const uint8_t *payload; /* NULL: takes its producer's number and stores nothing */
	size_t payload_len;
	const char *kind;
	uint8_t kind_len;
	bool is_keyframe;
	bool has_source_time;
	int64_t source_time_ns;
};

struct event_log_batch {
	const char *worker; /* a valid id (ids.h) */
	size_t worker_len;
	uint32_t owner_uid;    /* whom the worker belongs to from now on: the caller decides */
	bool has_producer_seq; /* then both below count */
	uint64_t producer;     /* record_producer(uid of the peer, its producer id) */
	uint64_t producer_seq; /* of the first event, from 1 */
	const struct event_log_event *events;
	size_t event_count;
};

struct event_log_staged {
	uint64_t ticket;
	uint64_t first_seq, last_seq; /* 0, 0 when nothing is to be stored */
	uint32_t skipped;             /* already stored before, by their numbers */
};

/*
 * Takes a whole batch or nothing. Copies it. An enum event_log_result or -ENOMEM; `*staged` is set
 * with EVENT_LOG_OK only. A batch of nothing but duplicates is OK too: its ticket is due when
 * everything before it is.
 */
_must_check_ int event_log_stage(struct event_log *log, const struct event_log_batch *batch,
	uint64_t wall_ns, struct event_log_staged *staged);

/*
 * Takes over what the sync thread finished and writes what is staged, in one pwritev where it is in
 * one segment. EVENT_LOG_OK also when some has to wait for a new segment (a wake follows).
 * EVENT_LOG_NO_SPACE, EVENT_LOG_READ_ONLY: see tickets above. Never an -errno: what the disk
 * says is in the status.
 */
enum event_log_result event_log_commit(struct event_log *log, uint64_t wall_ns);

struct event_log_progress {
	uint64_t written;     /* ticket: handed to the kernel */
	uint64_t synced;      /* ticket: on the disk */
	uint64_t acked;       /* ticket: what the durability mode promises is kept up to here */
	uint64_t visible_seq; /* readers see sequences up to this one */
};
void event_log_progress(const struct event_log *log, struct event_log_progress *out);

/* Marks, retention, and trying again after NO_SPACE. Both clocks; about every 250 ms. */
void event_log_tick(struct event_log *log, uint64_t wall_ns, uint64_t monotonic_ns);

/* Also workers whose first batch is only staged. False: the log does not know it. */
bool event_log_worker(
	struct event_log *log, const char *worker, size_t len, struct log_worker *out);

struct log_forgotten {
	uint64_t reserve_count, reserve_bytes; /* what the keyframe reserve holds of it */
};
/*
 * An operator says that this worker is finished: what the keyframe reserve holds of it goes with
 * the next ticks, and nothing more of it is kept beyond the plain rule until it publishes again.
 * False: the log does not know it.
 */
bool event_log_forget(
	struct event_log *log, const char *worker, size_t len, struct log_forgotten *out);

/* A producer's last number for a worker, staged ones included. False: none. */
bool event_log_producer_seq(
	struct event_log *log, const char *worker, size_t len, uint64_t producer, uint64_t *out);

/* Workers that belong to this uid. */
uint32_t event_log_workers_of_uid(const struct event_log *log, uint32_t uid);

struct event_log_status {
	enum durability durability;
	bool is_read_only, has_no_space;
	int sync_error; /* the -errno that poisoned the log */
	uint64_t staged_bytes, staged_bytes_max;
	uint64_t written_seq, durable_seq;
	uint64_t appended_records, appended_bytes; /* since open */
	uint64_t writes, syncs, rolls;             /* since open */
	uint64_t no_space_count, busy_count;
	uint64_t pruned_segments, pruned_records, pruned_bytes;
	uint64_t scrubbed_segments, scrubbed_bytes; /* since open */
	uint64_t scrub_mismatches, scrub_errors;    /* segments: not what was sealed; unreadable */
	uint64_t compacted_segments;                /* made since open */
	uint64_t reserve_bytes, reserve_bytes_max;  /* what the keyframe reserve holds, and may */
	uint64_t reserve_segments, reserve_evictions; /* evictions since open */
	uint64_t damaged_ranges;                      /* found at open */
	uint32_t workers, max_workers;
};
void event_log_status(const struct event_log *log, struct event_log_status *out);
