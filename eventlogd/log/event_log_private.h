/*
 * The inside of an event log, shared by the files that make it up: event_log.c (opening and
 * closing), append.c (staging and writing), roll.c (from segment to segment), prune.c and
 * prune_compact.c (retention, and what the reserve keeps), scrub_turn.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/event_log.h"
#include "eventlogd/log/retention.h"
#include "eventlogd/log/scrub.h"
#include "eventlogd/log/stage.h"
#include "eventlogd/log/syncer.h"

/* A segment on its way to be replaced by what retention keeps of it. One at a time. */
struct compacting {
	enum { COMPACT_NONE, COMPACT_RUNS, COMPACT_MADE, COMPACT_FAILED, COMPACT_REPLACES } state;
	struct compaction *compaction;
	unsigned int failures;    /* one after the other */
	uint64_t try_again_ns;    /* monotonic */
	size_t garbage_positions; /* compacted segments that are still to be looked through */
	unsigned int forgets_due;
	bool goes_on;                  /* another step can follow before the next tick */
	uint64_t now_ns, monotonic_ns; /* of the last tick */
};

struct event_log {
	struct event_log_config config; /* `directory` is not valid any more */
	const struct file_ops *ops;
	int directory_fd; /* locked */
	struct log_view view;
	struct syncer syncer;
	struct stage stage;

	/* The segment that is written: the newest of the view. */
	struct segment *active; /* NULL: none yet, or on the way to the next */
	int active_fd;
	uint64_t marked_seq; /* durable sequence that the last record tells */

	uint64_t next_seq; /* the next to be given to a staged record */
	uint64_t next_ticket;
	struct sync_mark written, synced;
	uint64_t last_append_ns; /* monotonic; 0: nothing since the last mark */

	int spare_fd; /* -1: none */
	int spare_error;
	bool spare_asked;
	struct roll *roll; /* the one that runs or has to run again; NULL: none */
	bool roll_asked;
	/* An empty segment whose name the first one gets; "" when there is none. */
	char replaced_name[SEGMENT_NAME_BYTES + 1];
	bool is_new;          /* its first segment is still to be made, and told of */
	struct segment *next; /* becomes active when the roll is done */
	bool has_no_space, heal_is_due, heal_asked;
	uint64_t heal_bytes;
	bool is_read_only;
	int sync_error;

	struct retention_clock retention_clock;
	struct compacting compacting;
	struct scrub scrub; /* the sync thread's while scrub_asked */
	bool scrub_asked;
	uint64_t last_spare_try_ns;
	struct event_log_status counters; /* only those that count something */
};

/* A worker table that outgrows this part of a segment would leave no room for records. */
#define TABLE_SHARE_OF_SEGMENT 4u

/* A cautious figure for what the worker table may grow by before the segment is sealed. */
uint64_t log_footer_slack(const struct event_log *log);

/* Whether a batch or note of so many bytes and records fits the active segment and its footer,
 * behind `pending` of them. */
bool log_fits_active(const struct event_log *log, uint64_t bytes, uint64_t records);

/* Drops everything that is staged. */
void log_drop_staged(struct event_log *log);

/* Writes one internal record, before what is staged. 0, or an enum event_log_result. */
int log_append_note(struct event_log *log, struct record *note);

/* Asks for the next segment; needs a spare. 0 or -ENOMEM. */
_must_check_ int log_begin_roll(struct event_log *log, uint64_t wall_ns);
/* Takes over what the syncer reports. */
void log_take_news(struct event_log *log);
/* Keeps a spare in the making. */
void log_want_spare(struct event_log *log);
/* The same, when something waits for it. */
void log_need_spare(struct event_log *log);

/* Prunes what retention does not keep; a tick has set the clocks in log->compacting. */
void log_prune(struct event_log *log, uint64_t wall_ns);

/* scrub_turn.c */
void log_scrub_tick(struct event_log *log, uint64_t monotonic_ns);
void log_scrub_done(struct event_log *log, int result);

/* prune_compact.c: one segment after the other into the keyframe reserve. */

/* Bytes that the reserve may take. */
uint64_t log_reserve_limit(const struct event_log *log);

/* What has to be noted before a segment goes or is replaced; `compaction` NULL: nothing stays. */
_must_check_ int log_collect_losses(struct event_log *log, struct segment *segment,
	const struct compaction *compaction, struct buf *note, uint64_t oldest_base,
	uint64_t highest_pruned);
/* Writes the note; 0, or anything else: not now. */
_must_check_ int log_note_losses(struct event_log *log, struct buf *note, uint64_t wall_ns);

enum prune_step {
	PRUNE_STEP_DONE,  /* something was done: look again */
	PRUNE_STEP_WAITS, /* nothing can be done now */
	PRUNE_STEP_PLAIN, /* nothing of the segment stays: it can go */
};
/* The oldest whole segment has to go: begins to keep what stays of it. */
enum prune_step log_compact_oldest(struct event_log *log, uint64_t wall_ns);
/* A finished worker has something in the reserve all the same: forgets it once more. */
void log_forget_released(struct event_log *log);
/* Writes the notes of event_log_forget(). False: not all of them could be written now. */
bool log_forget_due(struct event_log *log, uint64_t wall_ns);
/* Goes on with what runs, and with compacted segments that hold little any more. */
enum prune_step log_compact_go_on(struct event_log *log, uint64_t wall_ns);
/* What log_take_news() was told. */
void log_compaction_done(struct event_log *log, int error);
void log_compaction_replaced(struct event_log *log);
/* The thread has ended. */
void log_compaction_stop(struct event_log *log);
