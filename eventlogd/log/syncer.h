/*
 * Syncer: the thread that waits for the disk, so that the loop does not have to.
 *
 * It syncs what was written (at once, by time and bytes, or only at a roll, as the durability mode
 * says), seals a segment and puts the spare in its place, makes the next spare, removes pruned
 * segments or puts compacted ones in their place, clears the place of a write that failed, and
 * compacts, a bounded step at a time. One job at a time, in this order of urgency: heal, roll,
 * sync, remove, spare (spare.h), compact, scrub.
 *
 * A publisher that waits for each acknowledgement comes back within microseconds. In `durable`
 * mode the thread therefore looks out for the next write for a moment before it sleeps, as long as
 * that has paid the last time: waking it costs as much as half a sync (docs/log-format.md).
 *
 * The loop's thread asks through syncer_request_… and syncer_written(), is woken by `wake`, and
 * takes the news with syncer_poll(). What a job needs is handed over with it; nothing else is
 * shared.
 *
 * A sync that fails is never tried again: after a failed fdatasync the kernel may answer 0 for
 * pages that it dropped. It sets `error`, for good, and no job runs after it.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/compaction.h"
#include "eventlogd/log/durability.h"
#include "eventlogd/log/file_ops.h"
#include "eventlogd/log/scrub.h"
#include "eventlogd/log/seal.h"
#include "eventlogd/log/segment_format.h"
#include "eventlogd/log/spare.h"
#include "proto/base/attributes.h"

/* How far the log is, written or synced. */
struct sync_mark {
	uint64_t ticket;
	uint64_t seq;
	uint64_t bytes; /* since open */
};

/* From one segment to the next. The requester owns it and leaves it alone until it is done. */
struct roll {
	/* The segment that ends; -1: there is none. Closed by the job. */
	int old_fd;
	bool has_seal; /* false: it stays without a footer */
	struct seal seal;
	bool is_sealed; /* result */
	/* The one that begins; -1: the log is being closed. */
	int next_fd;
	uint8_t header[SEGMENT_HEADER_BYTES];
	char name[SEGMENT_NAME_BYTES + 1];
	bool may_replace; /* what has this name is an empty segment of ours */
	int error;        /* result: 0, or -ENOSPC or -EDQUOT: ask again, the old part is done */
};

struct syncer_config {
	struct sync_mark start; /* what is on the disk already */
	const struct file_ops *ops;
	int directory_fd;
	enum durability durability;
	uint64_t interval_ns, sync_bytes, segment_bytes;
	void (*wake)(void *owner);
	void *wake_owner;
};

enum syncer_job {
	SYNCER_IDLE,
	SYNCER_ASKED,
	SYNCER_RUNNING,
	SYNCER_PAUSED, /* between two steps, until there is a reason for the next */
	SYNCER_DONE
};

enum { SYNCER_REMOVALS_MAX = 64 };

struct syncer_removal {
	char name[SEGMENT_NAME_BYTES + 1];
	bool is_replacement; /* SEGMENT_COMPACT_NAME takes its place */
};

struct syncer {
	struct syncer_config config;
	pthread_t thread;
	bool is_started;
	pthread_mutex_t mutex;
	pthread_cond_t asked, done;
	/* All below under the mutex. */
	bool stopping;
	int error;
	int fd; /* active segment, -1: none */
	struct sync_mark written, synced;
	uint64_t dirty_since_ns, clean_since_ns, sync_count;
	bool expects_write;     /* the last one came soon after a sync */
	atomic_bool is_written; /* since the thread looked; the only one without the mutex */
	enum syncer_job roll_job, spare_job, heal_job;
	struct roll *roll;
	struct spare_config spare_config;
	struct spare spare; /* the thread's while its job runs, but for is_urgent */
	int spare_error;
	uint64_t heal_offset, heal_bytes;
	int heal_error;
	struct syncer_removal removals[SYNCER_REMOVALS_MAX];
	unsigned int removal_count;
	bool is_removing;
	bool has_replaced; /* a replacement is done */
	enum syncer_job compact_job;
	struct compaction *compaction;
	int compact_error;
	enum syncer_job scrub_job;
	struct scrub *scrub;
	int scrub_result;
};

_must_check_ int syncer_start(struct syncer *syncer, const struct syncer_config *config);
/* Ends the thread after the job that it is in; what is not synced by then is not. */
void syncer_stop(struct syncer *syncer);

/* Segments are written through this descriptor from now on (-1: none). */
void syncer_set_fd(struct syncer *syncer, int fd);
/* True when all of it has been synced already: the mark brings tickets and no bytes. */
_must_check_ bool syncer_written(struct syncer *syncer, const struct sync_mark *mark);
void syncer_request_roll(struct syncer *syncer, struct roll *roll);
void syncer_request_spare(struct syncer *syncer);
/* The log can't go on without it: as it is will do. */
void syncer_hurry_spare(struct syncer *syncer);
/* Zeros over what a failed write may have left, synced. */
void syncer_request_heal(struct syncer *syncer, uint64_t offset, uint64_t bytes);
/* Removes a file after everything written so far has been synced. False: too many wait. */
bool syncer_request_removal(struct syncer *syncer, const char *name);
/* Whether the next such request will be taken. */
bool syncer_can_remove(struct syncer *syncer);
/* The same, and SEGMENT_COMPACT_NAME takes its name, at once. A failure poisons. */
bool syncer_request_replacement(struct syncer *syncer, const char *name);
/* The requester leaves the compaction and its source alone until it is done. */
void syncer_request_compaction(struct syncer *syncer, struct compaction *compaction);
/* One step. The requester leaves it alone until it is done. */
void syncer_request_scrub(struct syncer *syncer, struct scrub *scrub);

/* Whether files are still to be removed, or being removed. */
bool syncer_has_removals(struct syncer *syncer);

struct syncer_news {
	int error;
	struct sync_mark synced;
	uint64_t sync_count;
	bool roll_done;
	bool spare_done;
	int spare_fd, spare_error;
	bool heal_done;
	int heal_error;
	bool compact_done;
	int compact_error; /* 0, or what compaction_step() ended with */
	bool has_replaced;
	bool scrub_done;
	int scrub_result; /* of scrub_step() */
};
/* Takes what is new; a job that is reported done may be asked for again. */
void syncer_poll(struct syncer *syncer, struct syncer_news *out);

/* Waits until there is something to poll, or the thread is idle. For closing only. */
void syncer_wait(struct syncer *syncer);
/* Syncs everything written. For closing only. 0 or the error. */
_must_check_ int syncer_flush(struct syncer *syncer);
