/*
 * Reader: one position in a log that moves forward, for subscribers and tools alike.
 *
 * reader_open() takes a place to start and what to select; reader_next() gives whole records as raw
 * bytes, fit for a RECORDS frame as they are, verified, in large pieces. At the end it answers
 * READER_END; call again when more is visible. A reader owns no descriptor and no buffer: thousands
 * are cheap, whatever their lag, and none keeps a pruned segment alive. Its position is a sequence.
 *
 * One worker is read through the per-worker indexes, so that its cost does not depend on the
 * others'; a set of workers or all are read by walking.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/view.h"
#include "proto/base/attributes.h"
#include "proto/cursor.h"

struct reader;

enum reader_from {
	READER_FROM_CURSOR,   /* after this cursor */
	READER_FROM_KEYFRAME, /* one worker: its newest keyframe, or its oldest record without one
			       */
	/* From where nothing that is selected is missing. */
	READER_FROM_OLDEST,
	READER_FROM_NEWEST, /* only what becomes visible from now on */
	/*
	 * Everything of the selected workers that is retained behind `sequence`: also what the
	 * keyframe reserve keeps of quiet ones, among which others' events are missing; that is not
	 * told. Of a view from log_view_open() only, and until that is refreshed.
	 */
	READER_FROM_RETAINED,
};

struct reader_start {
	enum reader_from from;
	struct cursor cursor; /* READER_FROM_CURSOR */
	uint64_t sequence;    /* READER_FROM_RETAINED; 0: all */
};

/* Copied by reader_open(). */
struct reader_selection {
	const char *const *workers; /* NULL: all */
	const size_t *worker_lens;
	size_t worker_count; /* at most READER_WORKERS_MAX */
};
#define READER_WORKERS_MAX 4096u

enum reader_open_result {
	READER_OPENED = 0,
	READER_CURSOR_UNKNOWN =
		1, /* another log's, ahead of this one, or of records that were lost */
	READER_CURSOR_EXPIRED = 2,   /* something selected after it was pruned; see oldest_seq */
	READER_WORKER_NOT_FOUND = 3, /* a selected worker is not known */
};

struct reader_opened {
	uint64_t start_seq;  /* the first sequence that it may give */
	uint64_t oldest_seq; /* of the log, or of what is selected where that is known */
	uint64_t newest_seq; /* visible */
};

/*
 * An enum reader_open_result, -EINVAL (KEYFRAME without exactly one worker; too many workers;
 * RETAINED of a live log) or -ENOMEM. `*out` is set with READER_OPENED only; `*opened` always (may
 * be NULL). A worker that is not known: READER_CURSOR_EXPIRED when the cursor is older than what
 * was forgotten, else READER_WORKER_NOT_FOUND. OLDEST and NEWEST also accept workers that are not
 * known yet when `allow_unknown`: they are read as soon as they appear.
 */
_must_check_ int reader_open(struct reader **out, struct log_view *view,
	const struct reader_selection *selection, const struct reader_start *start,
	bool allow_unknown, struct reader_opened *opened);
void reader_close(struct reader *reader);

enum reader_result {
	READER_RECORDS = 0,
	READER_END = 1,     /* nothing more is visible */
	READER_OVERRUN = 2, /* something selected was pruned before it was read; the reader stays */
	READER_GAP = 3,     /* first..last are not there: reason; the reader is behind it now */
	READER_CORRUPT = 4, /* first..last fail their checks; the reader is behind them now */
};

enum reader_gap_reason { READER_GAP_DAMAGED, READER_GAP_LOST, READER_GAP_PRUNED };

/* "damaged", "lost", "pruned": as in the GAP frame. */
const char *reader_gap_reason_name(enum reader_gap_reason reason);

struct reader_piece {
	/* READER_RECORDS: whole records, borrowed until the next call on any reader of this view,
	 * on the view or on the log. */
	const uint8_t *bytes;
	size_t len;
	uint64_t count;
	/* READER_RECORDS: of the first and last record. READER_GAP, READER_CORRUPT: the bounds.
	 * READER_OVERRUN: `first` is the oldest sequence that can still be read. */
	uint64_t first, last;
	enum reader_gap_reason reason;
	/* READER_CORRUPT: where; the name is borrowed as the bytes are. */
	const char *file;
	uint64_t offset;
};

/*
 * Gives at most max_bytes, but at least one record. An enum reader_result; or -errno when the disk
 * does not answer (-EIO): that says nothing about the log, and the reader stays where it is.
 * One call reads at most READER_WALK_BYTES, so a filter that selects little may answer
 * READER_RECORDS with no bytes: call again.
 */
_must_check_ int reader_next(struct reader *reader, size_t max_bytes, struct reader_piece *out);
#define READER_WALK_BYTES (UINT64_C(4) << 20)

/* Everything selected up to and including this sequence has been given (or told as a gap). */
uint64_t reader_position(const struct reader *reader);

/* Goes on after READER_OVERRUN with what is left, where the caller has told its peer. */
void reader_skip_pruned(struct reader *reader);
