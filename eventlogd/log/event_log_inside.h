/*
 * The inside of an event log, shared by the files that make it up: event_log.c (opening and
 * closing), append.c (staging and writing), roll.c (from segment to segment), retention.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/event_log.h"
#include "eventlogd/log/retention.h"
#include "eventlogd/log/stage.h"
#include "eventlogd/log/syncer.h"

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
	struct segment *next; /* becomes active when the roll is done */
	bool has_no_space, heal_is_due, heal_asked;
	uint64_t heal_bytes;
	bool is_read_only;
	int sync_error;

	struct retention_clock retention_clock;
	uint64_t last_spare_try_ns;
	struct event_log_status counters; /* only those that count something */
};

/* A cautious figure for what the worker table may grow by before the segment is sealed. */
uint64_t log_footer_slack(const struct event_log *log);

/* Whether a batch or note of so many bytes and records fits the active segment and its footer,
 * behind `pending` of them. */
bool log_fits_active(const struct event_log *log, uint64_t bytes, uint64_t records);

/* Drops everything that is staged. */
void log_drop_staged(struct event_log *log);

/* Writes one internal record, while nothing is staged. 0, or an enum event_log_result. */
int log_append_note(struct event_log *log, struct record *note);

/* Asks for the next segment; needs a spare. 0 or -ENOMEM. */
_must_check_ int log_begin_roll(struct event_log *log, uint64_t wall_ns);
/* Takes over what the syncer reports. */
void log_take_news(struct event_log *log);
/* Keeps a spare in the making. */
void log_want_spare(struct event_log *log);

/* Prunes what retention does not keep; `now_ns` is retention's clock. */
void log_prune(struct event_log *log, uint64_t now_ns, uint64_t wall_ns);
