/*
 * View: everything that can be read of a log, for readers, status and tools.
 *
 * A live log has one (event_log_view()); log_view_open() makes one of a directory, read-only,
 * without lock and without the daemon, also while a daemon writes there: it shows what was whole
 * when it was opened or refreshed last. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/finding.h"
#include "eventlogd/log/log_worker.h"
#include "eventlogd/log/segment_format.h"
#include "proto/base/attributes.h"
#include "proto/cursor.h"

struct file_ops;
struct log_view;

/*
 * Opens a directory for reading. Findings go to the sink (may be NULL). 0; -ENOENT also when there
 * is no segment in it; or another -errno as in event_log_open().
 */
_must_check_ int log_view_open(struct log_view **out, const char *directory,
	const struct file_ops *ops, const struct finding_sink *findings);

/* Looks again: new records, new segments, pruned ones. Not for the view of a live log. 0 or -errno.
 */
_must_check_ int log_view_refresh(struct log_view *view);

/* Of log_view_open() only; NULL is allowed. Close the readers first. */
void log_view_close(struct log_view *view);

enum { LOG_ID_TEXT_BYTES = 2 * LOG_ID_BYTES };

struct log_ends {
	uint8_t log_id[LOG_ID_BYTES];
	uint16_t epoch;      /* of what is written now */
	uint64_t oldest_seq; /* of the oldest retained record; newest_seq + 1 when there is none */
	uint64_t newest_seq; /* visible to readers; 0 in an empty log */
	uint64_t segments;
	uint64_t allocated_bytes;
	uint64_t forgotten_through; /* workers with nothing above this may have been forgotten */
};
void log_view_ends(const struct log_view *view, struct log_ends *out);

/* A log id as hex digits, and a NUL. */
void log_id_format(const uint8_t log_id[LOG_ID_BYTES], char out[LOG_ID_TEXT_BYTES + 1]);

/* The cursor behind a sequence of this log, with the epoch of that record. */
void log_view_cursor(const struct log_view *view, uint64_t sequence, struct cursor *out);

/* False when nobody knows the worker or nothing of it has become visible. */
bool log_view_worker(
	const struct log_view *view, const char *worker, size_t len, struct log_worker *out);

/*
 * Up to `limit` workers by ascending id (bytes), those after `after` (NULL: from the first).
 * Returns how many were put into `out`; fewer than `limit` means that there are no more. The ids
 * are borrowed until the next call on the log or view.
 */
size_t log_view_workers(struct log_view *view, const char *after, size_t after_len,
	struct log_worker *out, size_t limit);
