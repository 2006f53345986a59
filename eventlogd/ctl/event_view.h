/*
 * Event view: how `tail` and `cat` show records on stdout.
 *
 * For people: time, worker, kind, gist, on one line of the terminal's width, coloured by kind on a
 * terminal unless NO_COLOR is set. With --json one object a line: cursor, sequence, worker_id,
 * kind, ts_ms, source_ts_ms, payload; line breaks between the payload's tokens are left out, all
 * its other bytes are as published.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/ctl/options.h"
#include "proto/base/buf.h"
#include "proto/record.h"

struct event_view {
	bool json, colour;
	unsigned int columns;            /* 0: as long as it is */
	uint32_t log;                    /* for cursors: first 32 bits of the log id */
	const struct option_list *kinds; /* globs; none: all */
	struct buf line;
	bool is_broken; /* stdout takes no more */
};

/* Looks at stdout and the environment. */
void event_view_init(struct event_view *view, bool json, const struct option_list *kinds);
void event_view_free(struct event_view *view);

bool event_view_selects(const struct event_view *view, const struct record *record);

/* Formats one record, with its line end, behind what `out` has. 0 or -ENOMEM. */
_must_check_ int event_view_format(
	const struct event_view *view, const struct record *record, struct buf *out);
_must_check_ int event_view_format_gap(const struct event_view *view, uint64_t first, uint64_t last,
	const char *reason, struct buf *out);

/* Writes to stdout. A failure is told, but for a closed pipe, and remembered in is_broken. */
void event_view_write(struct event_view *view, const void *bytes, size_t len);
void event_view_flush(struct event_view *view);
