/*
 * Publishing one stream of lines as events, of one worker or of many, until all is acknowledged.
 *
 * Asks for each worker's POSITION and goes on behind what the log has; keeps batches in flight
 * without waiting for each reply; waits, visibly, while there is no room and while eventlogd is
 * away, and sends again what had no answer (eventlogd skips what it has). Numbers that lines leave
 * out, and those of blank and skipped lines, are taken as nil.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/ctl/publish_line.h"
#include "proto/base/attributes.h"
#include "proto/limits.h"

enum publish_source_type {
	PUBLISH_FILE,   /* read from its beginning; lines that the log has are skipped */
	PUBLISH_PIPE,   /* the same, but can't be read again */
	PUBLISH_LISTEN, /* connections to a socket; each line is new */
};

struct publish_source {
	enum publish_source_type type;
	const char *name; /* for messages; the socket's path for PUBLISH_LISTEN */
	int fd;           /* borrowed; -1 for PUBLISH_LISTEN */
	uint64_t total_bytes;
	uint64_t lines_before; /* that have been read of `fd` already */
	/* Of all lines, which are then numbered as they come; NULL: each names its own. */
	const char *worker_id;
	char producer_id[NAME_BYTES_MAX + 1];
	publish_line_fn read_line;
	void *line_owner;
	size_t line_bytes_max; /* 0: what eventlogd takes for an event */
};

struct publish_options {
	const char *who; /* "eventlogctl publish", for messages */
	const char *socket;
	bool skip_invalid;
	bool no_progress;
};

struct publish_totals {
	uint64_t published, already_there, refused;
};

enum publish_result {
	PUBLISH_DONE = 0,
	PUBLISH_FAILED = 1,  /* told on stderr */
	PUBLISH_RESTART = 2, /* the log lost acknowledged events: read the file again */
};

_must_check_ enum publish_result publish_stream_run(const struct publish_options *options,
	const struct publish_source *source, struct publish_totals *totals);
